"""The door to the table: rows in, rows out, and the write protocol.

| pk             | sk                  | holds                                       | written by |
|----------------|---------------------|---------------------------------------------|------------|
| `cluster#KEY`  | `head`              | `version`, `saved_by`, the incident (`body`)| saves      |
|                |                     | `moved#DEST`: the incident and where to     | the holder |
| `cluster#KEY`  | `service#NAME`      | the state (`body`), `due_at`                | saves      |
|                |                     | `told#DEST`: the revision told there        | the holder |
| `cluster#KEY`  | `thread#DEST#G#N`   | the thread (`body`)                         | the holder |
| `channel#DEST` | `head`              | lease (`owner`, `held_until`)               | the holder |
|                |                     | `not_before#METHOD`                         |            |
| `channel#DEST` | `owes#KEY`          | `nonce`, `due_at`                           | saves      |
|                |                     | `tries`, `retry_at`, `attempt`, `has_root`  | the holder |
| `channel#DEST` | `owes#KEY#ROUTE`    | the same, moved here as ROUTE refused it    | holders    |
| `channel#DEST` | `gave#KEY#TIME`     | what was given up there (`body`)            | the holder |
| `workspace`    | `edits#MINUTE`      | edits of roots begun in that minute         | anybody    |
| `workspace`    | `mute#PATTERN`      | a mute (`body`)                             | a person   |
| `workspace`    | `census`            | where the census stands (`body`)            | the tick   |
| `workspace`    | `checkup`           | what the watcher found of itself (`body`)   | the tick   |
|                |                     | `told`: what Slack knows of that            | the holder |
| `workspace`    | `heartbeat#ACCOUNT#REGION` | when the last was sent (`body`, `at`)| anybody    |

Saves go through on the head's version and never write what the channel's holder writes; the holder
checks its lease in every write and never touches the version. So neither can starve the other, and
a holder that is late writes nothing. Who tells an incident stays with it: once it was moved, all of
it is told there, until a new one begins. A row that cannot be read is logged and left out, so that
it stops nothing else. Times in keys and conditions are ISO 8601 in UTC of one
length, which sort as text. `due` puts a row into the sparse index on `due_at`.
"""

import logging
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from notifier.errors import Busy, Conflict, LeaseLost, StoreUnavailable
from notifier.model import (
    Attempt,
    Census,
    Checkup,
    ClusterState,
    Due,
    GivenUp,
    Heard,
    Mute,
    Owed,
    Phase,
    ServiceState,
    Step,
    SubjectKind,
    Thread,
)
from notifier.store import dynamodb
from notifier.store.dynamodb import Row, key, plain
from notifier.store.names import full_step, full_thread, short_step, short_thread
from notifier.store.rows import from_json, moment, stamp, to_json

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

logger = logging.getLogger(__name__)

KEEP = timedelta(days=30)  # longer than a DLQ's 14 days, so that a redrive still meets its row
DUE = "due"  # the one partition of the sparse index
ROWS_AT_ONCE = 90  # of a record; a transaction takes 100 items
BUSY_PAUSES = (0.01, 0.03, 0.06, 0.1)  # seconds
NAMES_HOLD = 100_000  # characters of a row, packed; above that marks stand for names
FORGOTTEN_AFTER = KEEP * 3  # a job of every month still knows its last success
EDITS_A_MINUTE = 40  # of the whole workspace, below Slack's 50

_NOT_IN_BODY = frozenset({"told", "services", "version", "is_owed", "moved"})
_TOLD = frozenset({"told"})
_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError, zlib.error)

_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True)
class Store:
    """The table, by its name. `client` is called when the table is first needed."""

    table: str
    client: "Callable[[], DynamoDBClient]"
    sleep: Callable[[float], None] = time.sleep

    # --- what is: written by saves ------------------------------------------------------------

    def load(
        self, cluster_key: str, services: Sequence[str] | None = None, destination: str = ""
    ) -> ClusterState | None:
        """The cluster's head, then the services with these keys (all when None), consistently.

        None when nothing is known of the cluster. The head comes first: whoever saves between our
        reads changes its version, and our own save then fails rather than mixing two states. With
        a `destination`, `is_owed` says whether something of the cluster is still owed there.
        """
        pk = f"cluster#{cluster_key}"
        head = self._get(pk, "head")
        if head is None:
            return None
        rows = self._query(pk, "service#") if services is None else self._pick(pk, services)
        cluster = _cluster(head)
        # A row that TTL has deleted may be born again with nothing in it but what was told.
        born = (row for row in rows if "body" in row)
        states = {one.key: one for one in _readable(born, lambda row: _service(row, cluster))}
        is_owed = bool(destination) and self._is_owed(cluster, destination)
        return replace(cluster, services=states, is_owed=is_owed)

    def _is_owed(self, cluster: ClusterState, destination: str) -> bool:
        """Whether it is owed in this channel, or in the one that tells it instead.

        Where a new incident would begin the head is read again last: after that nothing can be
        moved that a save did not put there, and ours then fails.
        """
        if self._get(f"channel#{destination}", _owes(cluster.key)):
            return True
        if cluster.closed_at:
            head = self._get(f"cluster#{cluster.key}", "head")
            cluster = _cluster(head) if head else cluster
        to = cluster.moved.get(destination, destination)
        return bool(self._get(f"channel#{to}", _owes(cluster.key, destination, to)))

    def save(
        self,
        before: ClusterState,
        after: ClusterState,
        *,
        owed: Mapping[str, datetime],
        now: datetime,
        token: str,
    ) -> None:
        """Write the services that changed and what is owed from when on, all or nothing.

        Raises Conflict when somebody else saved first. `token` makes our own write known to us
        when its answer was lost and the same save is sent again.
        """
        changed = [
            service
            for name, service in after.services.items()
            if service != before.services.get(name)
        ]
        writes = [
            self._head_write(before, after, token),
            *(self._service_write(after.key, service, now) for service in changed),
            *(
                self._owed_write(to, before, after, due_at, now=now, token=token)
                for to, due_at in owed.items()
            ),
        ]
        try:
            self._transact(writes)
        except Conflict:
            head = self._get(f"cluster#{after.key}", "head")
            if head is None or head.get("saved_by") != token:
                raise

    def _head_write(self, before: ClusterState, after: ClusterState, token: str) -> Row:
        body = to_json(after, without=_NOT_IN_BODY)
        return self._update(
            f"cluster#{after.key}",
            "head",
            {"body": body, "version": before.version + 1, "saved_by": token},
            condition="#version = :was" if before.version else "attribute_not_exists(#pk)",
            values={"was": before.version} if before.version else {},
        )

    def _service_write(self, cluster_key: str, service: ServiceState, now: datetime) -> Row:
        changes: Row = {"body": to_json(service, without=_NOT_IN_BODY)}
        remove = []
        if service.due_at:
            changes |= {"due": DUE, "due_at": stamp(service.due_at)}
        else:
            remove += ["due", "due_at"]
        if service.phase.is_open:
            remove.append("expires_at")
        else:
            keep = FORGOTTEN_AFTER if service.kind is SubjectKind.TASK else KEEP
            changes["expires_at"] = int((now + keep).timestamp())
        pk, sk = f"cluster#{cluster_key}", f"service#{service.key}"
        return self._update(pk, sk, changes, remove=remove)

    def _owed_write(
        self,
        destination: str,
        before: ClusterState,
        after: ClusterState,
        due_at: datetime,
        *,
        now: datetime,
        token: str,
    ) -> Row:
        """Owed now: whatever waits comes forward. Owed later: only where nothing is owed yet.

        A new incident begins only when nothing of the old one is owed, by condition.
        """
        pk, sk = f"channel#{destination}", _owes(after.key)
        is_new = after.generation > before.generation > 0
        condition = "attribute_not_exists(#pk)" if is_new else ""
        due, since = {"due": DUE, "due_at": stamp(due_at)}, {"since": stamp(due_at)}
        if due_at <= now:
            changes, keep = {"nonce": token, **due}, since
        else:
            changes, keep = {"nonce": token}, {**due, **since}
        return self._update(pk, sk, changes, keep=keep, condition=condition)

    # --- what was told: written by the channel's holder ---------------------------------------

    def hold(
        self, destination: str, owner: str, *, now: datetime, until: datetime, again: bool = False
    ) -> bool:
        """Take the channel's lease; False when somebody else has it.

        `again` renews it, without a gap: who stood still until it ended, and another told all that
        was owed meanwhile, does not get it back by posting what it had in hand.
        """
        write = self._update(
            f"channel#{destination}",
            "head",
            {"owner": owner, "held_until": stamp(until)},
            condition="#owner = :owner AND #held_until > :now"
            if again
            else "attribute_not_exists(#owner) OR #owner = :owner OR #held_until < :now",
            values={"now": stamp(now)},
        )
        try:
            self._transact([write])
        except Conflict:
            return False
        return True

    def release(self, destination: str, owner: str, *, now: datetime) -> None:
        """Let go of the channel; LeaseLost when it was no longer ours."""
        self._write_channel(
            destination, {"held_until": stamp(now - timedelta(seconds=1))}, owner, now
        )

    def not_before(self, destination: str) -> Mapping[str, datetime]:
        """Until when Slack is not to be asked for what, in this channel."""
        head = self._get(f"channel#{destination}", "head") or {}
        waits = ((name, at) for name, at in head.items() if name.startswith("not_before#"))
        return {
            name.removeprefix("not_before#"): until
            for name, at in waits
            if (until := _or_none(head, at, moment))
        }

    def wait_until(
        self, destination: str, method: str, until: datetime, *, owner: str, now: datetime
    ) -> None:
        """Remember that Slack is not to be asked for this here before `until`."""
        self._write_channel(destination, {f"not_before#{method}": stamp(until)}, owner, now)

    def _write_channel(self, destination: str, changes: Row, owner: str, now: datetime) -> None:
        write = self._update(
            f"channel#{destination}",
            "head",
            changes,
            condition="#owner = :owner AND #held_until > :now",
            values={"owner": owner, "now": stamp(now)},
        )
        self._transact([write], leased=True)

    def owed(self, destination: str) -> Sequence[Owed]:
        """What this channel is owed, oldest first."""
        rows = self._query(f"channel#{destination}", "owes#")
        owed = _readable(rows, lambda row: _owed(destination, row))
        return sorted(owed, key=lambda owed: owed.due_at)

    def begin_try(self, owed: Owed, retry_at: datetime, *, owner: str, now: datetime) -> None:
        """Count a turn before it begins, so that one which kills us is known to have been tried."""
        at = stamp(retry_at)
        changes = {"tries": owed.tries + 1, "retry_at": at, "due_at": at}
        self._record(owed.destination, owner, now, [self._owed_update(owed, changes)])

    def nonce(self, owed: Owed) -> str:
        """Its nonce now. What is read of the cluster after this is at least as new."""
        row = self._get(f"channel#{owed.destination}", _owes_of(owed))
        return str(row["nonce"]) if row else owed.nonce

    def end_try(
        self,
        owed: Owed,
        due_at: datetime,
        *,
        owner: str,
        now: datetime,
        is_planned: bool = False,
    ) -> None:
        """The turn ended as it should, with something left to tell: it does not count as a try.

        What a save has added meanwhile is due at once. A wait that is planned (a mute, the pause
        between two edits) is no delay: it is owed since the wait's end.
        """
        changes = {"tries": 0, "due_at": stamp(due_at)}
        if is_planned:
            changes["since"] = stamp(due_at)
        try:
            write = self._owed_update(owed, changes, remove=("retry_at",), is_same=True)
            self._record(owed.destination, owner, now, [write])
        except LeaseLost:
            raise
        except Conflict:
            self._begin_anew(owed, owner=owner, now=now)

    def _begin_anew(self, owed: Owed, *, owner: str, now: datetime) -> None:
        """Something new is owed: it has not been tried, and waits for nothing."""
        changes = {"tries": 0, "due_at": stamp(now)}
        write = self._owed_update(owed, changes, remove=("retry_at",))
        self._record(owed.destination, owner, now, [write])

    def thread(
        self, cluster_key: str, route: str, generation: int, names: Iterable[str] = ()
    ) -> Thread | None:
        """The newest thread of this incident for this route.

        One that announced many services knows them by marks; `names` are the cluster's services.
        """
        rows = self._query(f"cluster#{cluster_key}", f"thread#{route}#{generation:08}#")
        threads = _readable(rows, lambda row: from_json(Thread, row["body"]))
        newest = max(threads, key=lambda thread: thread.number, default=None)
        return full_thread(newest, names) if newest else None

    def named(self, step: Step, names: Iterable[str]) -> Step:
        """An attempt's step, of which a row may hold marks: `names` are the cluster's services."""
        return full_step(step, names)

    def note_attempt(self, owed: Owed, attempt: Attempt, *, owner: str, now: datetime) -> None:
        """Write down what is about to be posted."""
        text = to_json(attempt)
        if len(text) > NAMES_HOLD:
            text = to_json(replace(attempt, step=short_step(attempt.step)))
        write = self._owed_update(owed, {"attempt": text})
        self._record(owed.destination, owner, now, [write])

    def record(
        self,
        owed: Owed,
        told: Mapping[str, int],
        thread: Thread | None,
        *,
        owner: str,
        now: datetime,
    ) -> None:
        """Remember what this destination has now been told, and the thread as it is now.

        The attempt stays until all that it tells is recorded.
        """
        rows = [
            self._update(
                f"cluster#{owed.cluster_key}",
                f"service#{service}",
                {f"told#{owed.route}": revision},
            )
            for service, revision in told.items()
        ]
        first, last = rows[:-ROWS_AT_ONCE], rows[-ROWS_AT_ONCE:]
        for start in range(0, len(first), ROWS_AT_ONCE):
            self._record(owed.destination, owner, now, first[start : start + ROWS_AT_ONCE])
        if thread:
            last.append(self._thread_write(owed, thread, now))
        rooted = {"has_root": 1} if thread else {}
        arrived = self._owed_update(owed, rooted, remove=("attempt",))
        self._record(owed.destination, owner, now, [*last, arrived])

    def settle(self, owed: Owed, *, owner: str, now: datetime) -> None:
        """Nothing more is owed, unless a save has renewed the nonce meanwhile: that is due now."""
        try:
            self._record(owed.destination, owner, now, [self._owed_delete(owed)])
        except LeaseLost:
            raise
        except Conflict:
            self._begin_anew(owed, owner=owner, now=now)

    def move(self, owed: Owed, to: str, generation: int, *, owner: str, now: datetime) -> None:
        """Hand what is owed to another channel, whose holder tells it instead.

        What comes later of this incident is told there too: the cluster's head says so.
        """
        changes = {"nonce": owed.nonce, "due": DUE, "due_at": stamp(now)}
        if to != owed.route:
            changes["instead_of"] = owed.route
        since = {"since": stamp(owed.since or now)}
        put = self._update(
            f"channel#{to}", _owes(owed.cluster_key, owed.route, to), changes, keep=since
        )
        moved = self._update(
            f"cluster#{owed.cluster_key}",
            "head",
            {f"moved#{owed.route}": f"{generation}#{to}"},
            condition="attribute_exists(#pk)",
        )
        try:
            self._record(owed.destination, owner, now, [self._owed_delete(owed), put, moved])
        except LeaseLost:
            raise
        except Conflict:
            self._begin_anew(owed, owner=owner, now=now)

    def _owed_update(
        self, owed: Owed, changes: Row, remove: Sequence[str] = (), *, is_same: bool = False
    ) -> Row:
        return self._update(
            f"channel#{owed.destination}",
            _owes_of(owed),
            changes,
            remove=remove,
            condition="#nonce = :nonce" if is_same else "attribute_exists(#pk)",
            values={"nonce": owed.nonce} if is_same else {},
        )

    def _owed_delete(self, owed: Owed) -> Row:
        return {
            "Delete": {
                "TableName": self.table,
                "Key": key(f"channel#{owed.destination}", _owes_of(owed)),
                **dynamodb.under("#nonce = :nonce", {"nonce": owed.nonce}),
            }
        }

    def _thread_write(self, owed: Owed, thread: Thread, now: datetime) -> Row:
        sk = f"thread#{owed.route}#{thread.generation:08}#{thread.number:08}"
        body = to_json(thread)
        if len(body) > NAMES_HOLD:
            body = to_json(short_thread(thread))
        changes = {"body": body, "expires_at": int((now + 3 * KEEP).timestamp())}
        return self._update(f"cluster#{owed.cluster_key}", sk, changes)

    def _record(self, destination: str, owner: str, now: datetime, writes: Sequence[Row]) -> None:
        """Write under our lease: when another holds the channel, nothing is written."""
        lease = {
            "ConditionCheck": {
                "TableName": self.table,
                "Key": key(f"channel#{destination}", "head"),
                **dynamodb.under(
                    "#owner = :owner AND #held_until > :now", {"owner": owner, "now": stamp(now)}
                ),
            }
        }
        self._transact([lease, *writes], leased=True)

    # --- what is due, and what the whole workspace shares ---------------------------------------

    def due(self, now: datetime) -> Due:
        """What is due by now, found by the sparse index: channels that are owed, services to read.

        The index may be a moment behind; the next tick finds what it left out.
        """
        rows = list(
            self._pages(
                IndexName="due",
                KeyConditionExpression="due = :due",
                ExpressionAttributeValues={":due": {"S": DUE}},
            )
        )
        channels: dict[str, None] = {}
        services: dict[str, list[str]] = {}
        for row in (one for one in rows if one["due_at"] <= stamp(now)):
            if row["sk"].startswith("owes#"):
                channels[row["pk"].removeprefix("channel#")] = None
            else:
                of_cluster = services.setdefault(row["pk"].removeprefix("cluster#"), [])
                of_cluster.append(row["sk"].removeprefix("service#"))
        return Due(
            channels=tuple(channels),
            services={cluster: tuple(keys) for cluster, keys in services.items()},
            open_clusters=len({row["pk"] for row in rows if row["sk"].startswith("service#")}),
        )

    def take_edit(self, now: datetime) -> bool:
        """One of this minute's edits of the whole workspace; False when all are taken."""
        write = {
            "TableName": self.table,
            "Key": key("workspace", f"edits#{stamp(now)[:16]}"),
            "UpdateExpression": "SET used = if_not_exists(used, :none) + :one, expires_at = :gone",
            "ConditionExpression": "attribute_not_exists(used) OR used < :most",
            "ExpressionAttributeValues": {
                ":none": {"N": "0"},
                ":one": {"N": "1"},
                ":most": {"N": str(EDITS_A_MINUTE)},
                ":gone": {"N": str(int((now + timedelta(hours=1)).timestamp()))},
            },
        }
        try:
            self._transact([{"Update": write}])
        except Conflict:
            return False
        return True

    def mutes(self) -> Sequence[Mute]:
        """Every mute that was not ended by hand, over or not."""
        rows = self._query("workspace", "mute#")
        return list(_readable(rows, lambda row: from_json(Mute, row["body"])))

    def mute(self, mute: Mute) -> None:
        """Begin a mute, or change the one of the same pattern."""
        expires_at = int(mute.until.timestamp())
        changes = {"body": to_json(mute), "expires_at": expires_at}
        self._transact([self._update("workspace", f"mute#{mute.pattern}", changes)])

    def unmute(self, pattern: str) -> bool:
        """End a mute; False when there is none."""
        delete = {
            "Delete": {
                "TableName": self.table,
                "Key": key("workspace", f"mute#{pattern}"),
                **dynamodb.under("attribute_exists(#pk)"),
            }
        }
        try:
            self._transact([delete])
        except Conflict:
            return False
        return True

    def owe_note(self, what: str, destination: str, now: datetime, token: str) -> None:
        """Let this channel be told something that is of no cluster, by its name."""
        owed = {"nonce": token, "due": DUE, "due_at": stamp(now)}
        pk, since = f"channel#{destination}", {"since": stamp(now)}
        self._transact([self._update(pk, f"owes#{what}", owed, keep=since)])

    def census(self) -> Census | None:
        """Where the census stands."""
        row = self._get("workspace", "census")
        return _or_none(row, row, lambda row: from_json(Census, row["body"])) if row else None

    def save_census(self, census: Census) -> None:
        """Remember where the census stands; two ticks at once merely read the same page twice."""
        self._transact([self._update("workspace", "census", {"body": to_json(census)})])

    # --- the watcher itself -------------------------------------------------------------------

    def hear(self, heartbeat: Heard) -> None:
        """Remember that a heartbeat has come the whole way, if none did that was sent later."""
        changes = {"body": to_json(heartbeat), "at": stamp(heartbeat.at)}
        is_newer = "attribute_not_exists(#at) OR #at < :at"
        sk, more = _heartbeat(heartbeat), {"remove": ["expires_at"], "condition": is_newer}
        with suppress(Conflict):
            self._transact([self._update("workspace", sk, changes, **more)])

    def heard(self) -> Sequence[Heard]:
        """The last heartbeat of each account and region, unless it was forgotten."""
        rows = self._query("workspace", "heartbeat#")
        return list(_readable(rows, lambda row: from_json(Heard, row["body"])))

    def forget(self, heartbeat: Heard) -> None:
        """Watch this account and region no more, if this still is its last heartbeat."""
        is_last = "attribute_not_exists(#at) OR #at = :at"
        delete = {
            "Delete": {
                "TableName": self.table,
                "Key": key("workspace", _heartbeat(heartbeat)),
                **dynamodb.under(is_last, {"at": stamp(heartbeat.at)}),
            }
        }
        with suppress(Conflict):
            self._transact([delete])

    def checkup(self) -> Checkup:
        """What the watcher last found of itself, and what of it Slack knows."""
        row = self._get("workspace", "checkup") or {}
        found = _or_none(row, row, lambda row: from_json(Checkup, row["body"])) if row else None
        known = _or_none(row, row, lambda row: from_json(Checkup, row.get("told", "{}")))
        return replace(found or Checkup(), told=known.told if known else ())

    def save_checkup(self, checkup: Checkup) -> None:
        """Remember what was found; what Slack knows of it is the holder's to write."""
        body = to_json(checkup, without=_TOLD)
        self._transact([self._update("workspace", "checkup", {"body": body})])

    def record_checkup(self, told: Sequence[str], owed: Owed, *, owner: str, now: datetime) -> None:
        """Remember which failing checks Slack knows of now."""
        changes = {"told": to_json(Checkup(told=tuple(told)))}
        self._record(owed.destination, owner, now, [self._update("workspace", "checkup", changes)])

    # --- what was given up --------------------------------------------------------------------

    def note_given_up(self, given_up: GivenUp, *, owner: str, now: datetime) -> None:
        """Remember what is not told for good, so that a person can have it told all the same."""
        body = {"body": to_json(given_up), "expires_at": int((now + KEEP).timestamp())}
        write = self._update(f"channel#{given_up.destination}", _gave(given_up), body)
        self._record(given_up.destination, owner, now, [write])

    def given_up(self, destination: str) -> Sequence[GivenUp]:
        """What was given up in this channel, oldest first, unless it was told since."""
        rows = self._query(f"channel#{destination}", "gave#")
        found = _readable(rows, lambda row: from_json(GivenUp, row["body"]))
        still = (replace(one, services=self._still_given_up(one)) for one in found)
        return sorted((one for one in still if one.services), key=lambda one: one.at)

    def _still_given_up(self, one: GivenUp) -> Mapping[str, tuple[int, ...]]:
        """The services of which nothing newer was told there since."""
        cluster = self.load(one.cluster_key)
        known = cluster.services if cluster else {}
        return {
            service: (before, given)
            for service, (before, given) in one.services.items()
            if service in known and known[service].told.get(one.route, 0) == given
        }

    def revive(self, given_up: GivenUp, *, owner: str, now: datetime, token: str) -> None:
        """Let it be told after all: it is owed again, as if it had not been given up.

        Whoever calls this holds the channel, for only its holder writes what was told.
        """
        told = [
            self._update(
                f"cluster#{given_up.cluster_key}",
                f"service#{service}",
                {f"told#{given_up.route}": before},
            )
            for service, (before, _) in given_up.services.items()
        ]
        sk = _owes(given_up.cluster_key, given_up.route, given_up.destination)
        due = {"nonce": token, "due": DUE, "due_at": stamp(now), "tries": 0}
        if given_up.instead_of:
            due["instead_of"] = given_up.instead_of
        channel = f"channel#{given_up.destination}"
        again = self._update(channel, sk, due, keep={"since": stamp(now)}, remove=("retry_at",))
        note = {"TableName": self.table, "Key": key(channel, _gave(given_up))}
        for start in range(0, len(told), ROWS_AT_ONCE):
            self._record(given_up.destination, owner, now, told[start : start + ROWS_AT_ONCE])
        self._record(given_up.destination, owner, now, [again, {"Delete": note}])

    # --- DynamoDB -----------------------------------------------------------------------------

    def _get(self, pk: str, sk: str) -> Row | None:
        with dynamodb.errors():
            answer = self.client().get_item(
                TableName=self.table, Key=key(pk, sk), ConsistentRead=True
            )
        return plain(answer["Item"]) if "Item" in answer else None

    def _pick(self, pk: str, services: Sequence[str]) -> Iterator[Row]:
        """The rows of these services that exist; at most 100, as BatchGetItem takes.

        https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
        """
        keys = [key(pk, f"service#{service}") for service in services]
        while keys:
            asked: Any = {self.table: {"Keys": keys, "ConsistentRead": True}}
            with dynamodb.errors():
                answer: Row = dict(self.client().batch_get_item(RequestItems=asked))
            yield from map(plain, answer["Responses"][self.table])
            left = answer["UnprocessedKeys"].get(self.table, {}).get("Keys", [])
            if len(left) == len(keys):
                raise StoreUnavailable("BatchGetItem: throttled")
            keys = list(left)

    def _query(self, pk: str, prefix: str) -> Iterator[Row]:
        return self._pages(
            KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
            ExpressionAttributeValues={":pk": {"S": pk}, ":prefix": {"S": prefix}},
            ConsistentRead=True,
        )

    def _pages(self, **query: Any) -> Iterator[Row]:
        with dynamodb.errors():
            paginator = self.client().get_paginator("query")
            for page in paginator.paginate(TableName=self.table, **query):
                yield from map(plain, page["Items"])

    def _update(self, pk: str, sk: str, changes: Row, **more: Any) -> Row:
        return {"Update": dynamodb.update(self.table, pk, sk, changes, **more)}

    def _transact(self, writes: "Sequence[Any]", *, leased: bool = False) -> None:
        """All or nothing. With `leased` the first write checks the lease.

        Two transactions that meet at a row are cancelled though no condition failed, and that is
        common here: whoever asks for a channel meets its holder. So the same is tried again.
        https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
        """
        for pause in BUSY_PAUSES:
            try:
                self._transact_once(writes, leased=leased)
            except Busy:
                self.sleep(pause)
            else:
                return
        self._transact_once(writes, leased=leased)

    def _transact_once(self, writes: "Sequence[Any]", *, leased: bool) -> None:
        with dynamodb.errors(leased=leased):
            self.client().transact_write_items(TransactItems=list(writes))


def _owes(cluster_key: str, route: str = "", to: str = "") -> str:
    """The key of what is owed. What was moved here lies beside what is owed here anyway."""
    return f"owes#{cluster_key}" if route == to else f"owes#{cluster_key}#{route}"


def _heartbeat(heard: Heard) -> str:
    return f"heartbeat#{heard.account}#{heard.region}"


def _gave(given_up: GivenUp) -> str:
    return f"gave#{given_up.cluster_key}#{stamp(given_up.at)}"


def _owes_of(owed: Owed) -> str:
    return _owes(owed.cluster_key, owed.route, owed.destination)


def _readable(rows: Iterable[Row], read: Callable[[Row], _Read]) -> Iterator[_Read]:
    """What the rows say, but for those that cannot be read."""
    for row in rows:
        if (found := _or_none(row, row, read)) is not None:
            yield found


def _or_none(row: Row, value: Any, read: Callable[[Any], _Read]) -> _Read | None:
    """What is read of this value of a row; None when it cannot be."""
    try:
        return read(value)
    except _UNREADABLE as error:
        about = {"pk": row.get("pk"), "sk": row.get("sk"), "why": repr(error)}
        logger.error("unreadable row", extra=about)
        return None


def _cluster(head: Row) -> ClusterState:
    """The head. `moved` is of the present incident: of another one it says nothing."""
    cluster = from_json(ClusterState, head["body"])
    moved: dict[str, str] = {}
    for name, value in head.items():
        generation, _, to = str(value).partition("#")
        if name.startswith("moved#") and generation == str(cluster.generation):
            moved[name.removeprefix("moved#")] = to
    return replace(cluster, version=head["version"], moved=moved)


def _service(row: Row, cluster: ClusterState) -> ServiceState:
    told = {
        name.removeprefix("told#"): at
        for name, at in row.items()
        if name.startswith("told#") and isinstance(at, int)
    }
    is_open = "expires_at" not in row
    state = _or_none(row, row, lambda row: from_json(ServiceState, row["body"]))
    if state is None:
        state = _reborn(row["sk"].removeprefix("service#"), told, cluster, is_open=is_open)
    elif state.phase.is_open and not is_open:
        state = replace(state, phase=Phase.WELL)  # of a phase that only a newer version knows
    if f"service#{state.key}" != row["sk"]:
        raise ValueError(f"it is about {state.key}")  # of a kind that only a newer version knows
    return replace(state, told=told)


def _reborn(
    service_key: str, told: Mapping[str, int], cluster: ClusterState, *, is_open: bool
) -> ServiceState:
    """What is known of a service whose state cannot be read; the next look finds out the rest.

    Its revision goes on above what was told, or nothing new of it ever would be.
    """
    kind, _, name = service_key.rpartition(": ")
    state = ServiceState(
        name=name,
        kind=SubjectKind(kind) if kind else SubjectKind.SERVICE,
        revision=max(told.values(), default=0),
    )
    if not is_open:
        return state
    return replace(
        state,
        phase=Phase.FAILING,
        generation=cluster.generation,
        since=cluster.opened_at,
        destination=next(iter(told), None),
    )


def _owed(destination: str, row: Row) -> Owed:
    retry_at, since, attempt = row.get("retry_at"), row.get("since"), row.get("attempt")
    return Owed(
        destination=destination,
        cluster_key=row["sk"].removeprefix("owes#").partition("#")[0],
        nonce=row["nonce"],
        due_at=moment(row["due_at"]),
        retry_at=moment(retry_at) if retry_at else None,
        tries=int(row.get("tries", 0)),
        # Whether it arrived is then not known; it is told again.
        attempt=_or_none(row, attempt, lambda text: from_json(Attempt, text)) if attempt else None,
        instead_of=row.get("instead_of", ""),
        since=moment(since) if since else None,
        has_root=bool(row.get("has_root")),
    )
