"""The door to the table: rows in, rows out, and the write protocol.

| pk             | sk             | holds                                       | written by |
|----------------|----------------|---------------------------------------------|------------|
| `cluster#KEY`  | `head`         | `version`, `saved_by`                       | saves      |
| `cluster#KEY`  | `service#NAME` | the state as JSON (`body`)                  | saves      |
|                |                | `told#DEST`: the revision told there        | the holder |
| `channel#DEST` | `head`         | lease (`owner`, `held_until`), `not_before` | the holder |
| `channel#DEST` | `owes#KEY`     | `nonce`, `due_at`                           | saves      |
|                |                | `tries`, `retry_at`, `attempt`              | the holder |

Saves go through on the head's version and never write what the channel's holder writes; the holder
checks its lease in every write and never touches the version. So neither can starve the other, and
a holder that is late writes nothing. Times are ISO 8601 in UTC of one length, which sort as text.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from notifier.errors import Conflict, LeaseLost, StoreUnavailable, WatchError
from notifier.model import Attempt, ClusterState, Failure, Owed, Phase, ServiceState, SubjectKind

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SCHEMA = 1  # of `body`
KEEP = timedelta(days=30)  # longer than a DLQ's 14 days, so that a redrive still meets its row
DUE = "due"  # the one partition of the sparse index on `due_at`

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Store:
    """The table, by its name. `client` is called when the table is first needed."""

    table: str
    client: "Callable[[], DynamoDBClient]"

    # --- what is: written by saves ------------------------------------------------------------

    def load(self, key: str, services: Sequence[str] | None = None) -> ClusterState | None:
        """The cluster's head, then the named services (all when None), each read consistently.

        None when nothing is known of the cluster. The head comes first: whoever saves between our
        two reads changes its version, and our own save then fails rather than mixing two states.
        """
        head = self._get(f"cluster#{key}", "head")
        if head is None:
            return None
        pk = f"cluster#{key}"
        rows = self._query(pk, "service#") if services is None else self._pick(pk, services)
        states = {state.key: state for state in map(_service, rows)}
        return replace(_cluster(key, head), services=states)

    def save(
        self,
        before: ClusterState,
        after: ClusterState,
        *,
        owed: Sequence[str],
        now: datetime,
        token: str,
    ) -> None:
        """Write the services that changed and the destinations owed something, all or nothing.

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
            *(self._owed_write(destination, after.key, now, token) for destination in owed),
        ]
        try:
            self._transact(writes)
        except Conflict:
            head = self._get(f"cluster#{after.key}", "head")
            if head is None or head["saved_by"] != token:
                raise

    def _head_write(self, before: ClusterState, after: ClusterState, token: str) -> Row:
        about = {name: getattr(after, name) for name in ("account", "region", "partition")}
        return self._update(
            f"cluster#{after.key}",
            "head",
            {**about, "version": before.version + 1, "saved_by": token},
            condition="#version = :was" if before.version else "attribute_not_exists(#pk)",
            values={"was": before.version} if before.version else {},
        )

    def _service_write(self, key: str, service: ServiceState, now: datetime) -> Row:
        expires_at = int((now + KEEP).timestamp())
        body = {"body": _body(service), "expires_at": expires_at}
        return self._update(f"cluster#{key}", f"service#{service.key}", body)

    def _owed_write(self, destination: str, key: str, now: datetime, token: str) -> Row:
        owed = {"nonce": token, "due": DUE, "due_at": _stamp(now)}
        return self._update(f"channel#{destination}", f"owes#{key}", owed)

    # --- what was told: written by the channel's holder ---------------------------------------

    def hold(self, destination: str, owner: str, *, now: datetime, until: datetime) -> bool:
        """Take or renew the channel's lease; False when somebody else has it."""
        write = self._update(
            f"channel#{destination}",
            "head",
            {"owner": owner, "held_until": _stamp(until)},
            condition="attribute_not_exists(#owner) OR #owner = :owner OR #held_until < :now",
            values={"now": _stamp(now)},
        )
        try:
            self._transact([write])
        except Conflict:
            return False
        return True

    def release(self, destination: str, owner: str, *, now: datetime) -> None:
        """Let go of the channel; LeaseLost when it was no longer ours."""
        write = self._update(
            f"channel#{destination}",
            "head",
            {"held_until": _stamp(now - timedelta(seconds=1))},
            condition="#owner = :owner",
            values={"owner": owner},
        )
        try:
            self._transact([write])
        except Conflict as error:
            raise LeaseLost(destination) from error

    def not_before(self, destination: str) -> datetime | None:
        """Until when Slack asked us to stay away from this channel."""
        head = self._get(f"channel#{destination}", "head")
        return _time(head["not_before"]) if head and "not_before" in head else None

    def wait_until(self, destination: str, until: datetime, *, owner: str, now: datetime) -> None:
        """Remember that nothing may be posted here before `until`."""
        self._transact(
            [
                self._update(
                    f"channel#{destination}",
                    "head",
                    {"not_before": _stamp(until)},
                    condition="#owner = :owner AND #held_until > :now",
                    values={"owner": owner, "now": _stamp(now)},
                )
            ]
        )

    def owed(self, destination: str) -> Sequence[Owed]:
        """What this channel is owed, oldest first."""
        rows = self._query(f"channel#{destination}", "owes#")
        return sorted((_owed(destination, row) for row in rows), key=lambda owed: owed.due_at)

    def begin_try(self, owed: Owed, retry_at: datetime, *, owner: str, now: datetime) -> None:
        """Count a turn before it begins, so that one which kills us is known to have been tried."""
        self._write_try(owed, owed.tries + 1, retry_at, owner, now)

    def end_try(self, owed: Owed, retry_at: datetime, *, owner: str, now: datetime) -> None:
        """The turn ended as it should, with something left to tell: it does not count as a try."""
        self._write_try(owed, owed.tries, retry_at, owner, now)

    def _write_try(
        self, owed: Owed, tries: int, retry_at: datetime, owner: str, now: datetime
    ) -> None:
        at = _stamp(retry_at)
        changes = {"tries": tries, "retry_at": at, "due_at": at}
        self._record(owed.destination, owner, now, [self._owed_update(owed, changes)])

    def note_attempt(self, owed: Owed, attempt: Attempt, *, owner: str, now: datetime) -> None:
        """Write down what is about to be posted."""
        body = json.dumps({**asdict(attempt), "at": _stamp(attempt.at)})
        self._record(owed.destination, owner, now, [self._owed_update(owed, {"attempt": body})])

    def record_told(
        self, owed: Owed, told: Mapping[str, int], *, owner: str, now: datetime
    ) -> None:
        """Remember the revision of each service that this destination has now been told."""
        services = [
            self._update(
                f"cluster#{owed.cluster_key}", f"service#{name}", {f"told#{owed.destination}": at}
            )
            for name, at in told.items()
        ]
        calm = self._owed_update(owed, {"tries": 0}, remove=("attempt", "retry_at"))
        self._record(owed.destination, owner, now, [*services, calm])

    def settle(self, owed: Owed, *, owner: str, now: datetime) -> None:
        """Nothing more is owed; nothing happens when a save has renewed the nonce meanwhile."""
        delete = {
            "Delete": {
                "TableName": self.table,
                "Key": _key(f"channel#{owed.destination}", f"owes#{owed.cluster_key}"),
                **_condition("#nonce = :nonce", {"nonce": owed.nonce}),
            }
        }
        try:
            self._record(owed.destination, owner, now, [delete])
        except LeaseLost:
            raise
        except Conflict:
            return

    def destinations_due(self, now: datetime) -> Sequence[str]:
        """The channels that are owed something by now, found by the sparse index."""
        keys = self._pages(
            IndexName="due",
            KeyConditionExpression="#due = :due AND due_at <= :now",
            ExpressionAttributeNames={"#due": "due"},
            ExpressionAttributeValues={":due": {"S": DUE}, ":now": {"S": _stamp(now)}},
        )
        owing = (row["pk"] for row in keys if row["sk"].startswith("owes#"))
        return sorted({pk.removeprefix("channel#") for pk in owing})

    def _owed_update(self, owed: Owed, changes: Row, remove: Sequence[str] = ()) -> Row:
        return self._update(
            f"channel#{owed.destination}",
            f"owes#{owed.cluster_key}",
            changes,
            remove=remove,
            condition="attribute_exists(#pk)",
        )

    def _record(self, destination: str, owner: str, now: datetime, writes: Sequence[Row]) -> None:
        """Write under our lease: when another holds the channel, nothing is written."""
        lease = {
            "ConditionCheck": {
                "TableName": self.table,
                "Key": _key(f"channel#{destination}", "head"),
                **_condition(
                    "#owner = :owner AND #held_until > :now", {"owner": owner, "now": _stamp(now)}
                ),
            }
        }
        self._transact([lease, *writes], leased=True)

    # --- DynamoDB -----------------------------------------------------------------------------

    def _get(self, pk: str, sk: str) -> Row | None:
        with _dynamodb_errors():
            answer = self.client().get_item(
                TableName=self.table, Key=_key(pk, sk), ConsistentRead=True
            )
        return _plain(answer["Item"]) if "Item" in answer else None

    def _pick(self, pk: str, services: Sequence[str]) -> Iterator[Row]:
        """The rows of these services that exist; at most 100, as BatchGetItem takes.

        https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
        """
        keys = [_key(pk, f"service#{service}") for service in services]
        while keys:
            asked: Any = {self.table: {"Keys": keys, "ConsistentRead": True}}
            with _dynamodb_errors():
                answer: Row = dict(self.client().batch_get_item(RequestItems=asked))
            yield from map(_plain, answer["Responses"][self.table])
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
        with _dynamodb_errors():
            paginator = self.client().get_paginator("query")
            for page in paginator.paginate(TableName=self.table, **query):
                yield from map(_plain, page["Items"])

    def _update(
        self,
        pk: str,
        sk: str,
        changes: Row,
        *,
        remove: Sequence[str] = (),
        condition: str = "",
        values: Row | None = None,
    ) -> Row:
        """One UpdateItem of a transaction: sets `changes`, removes `remove`, under `condition`."""
        expression = "SET " + ", ".join(f"{_place(name)} = :{_safe(name)}" for name in changes)
        if remove:
            expression += " REMOVE " + ", ".join(map(_place, remove))
        names = {_place(name): name for name in (*changes, *remove, *_names_in(condition))}
        typed = {f":{_safe(name)}": _typed(value) for name, value in changes.items()}
        typed |= {f":{name}": _typed(value) for name, value in (values or {}).items()}
        return {
            "Update": {
                "TableName": self.table,
                "Key": _key(pk, sk),
                "UpdateExpression": expression,
                "ExpressionAttributeNames": names,
                "ExpressionAttributeValues": typed,
                **({"ConditionExpression": condition} if condition else {}),
            }
        }

    def _transact(self, writes: "Sequence[Any]", *, leased: bool = False) -> None:
        """All or nothing. With `leased` the first write is the lease's check.

        https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
        """
        with _dynamodb_errors(leased=leased):
            self.client().transact_write_items(TransactItems=list(writes))


# --- rows ↔ nouns -------------------------------------------------------------------------------


def _cluster(key: str, head: Row) -> ClusterState:
    about = {name: head[name] for name in ("account", "region", "partition")}
    return ClusterState(key=key, version=head["version"], **about)


def _body(service: ServiceState) -> str:
    fields = {name: value for name, value in asdict(service).items() if name != "told"}
    return json.dumps({"v": SCHEMA, **fields}, default=_stamp)


def _service(row: Row) -> ServiceState:
    body = json.loads(row["body"])
    failure = body["failure"]
    told = {name.removeprefix("told#"): at for name, at in row.items() if name.startswith("told#")}
    return ServiceState(
        name=body["name"],
        kind=SubjectKind(body["kind"]),
        phase=Phase(body["phase"]),
        revision=body["revision"],
        failure=Failure(**{**failure, "occurred_at": _time(failure["occurred_at"])})
        if failure
        else None,
        count=body["count"],
        since=_time(body["since"]),
        destination=body["destination"],
        repeat_at=_time(body["repeat_at"]),
        seen=tuple(body["seen"]),
        told=told,
    )


def _owed(destination: str, row: Row) -> Owed:
    attempt = json.loads(row["attempt"]) if "attempt" in row else None
    return Owed(
        destination=destination,
        cluster_key=row["sk"].removeprefix("owes#"),
        nonce=row["nonce"],
        due_at=_required(row["due_at"]),
        retry_at=_time(row.get("retry_at")),
        tries=row.get("tries", 0),
        attempt=Attempt(**{**attempt, "at": _required(attempt["at"])}) if attempt else None,
    )


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds")


def _required(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _time(text: str | None) -> datetime | None:
    return _required(text) if text else None


# --- DynamoDB's JSON ----------------------------------------------------------------------------


def _key(pk: str, sk: str) -> Row:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def _typed(value: str | int) -> Row:
    return {"N": str(value)} if isinstance(value, int) else {"S": value}


def _plain(item: Row) -> Row:
    return {
        name: int(typed["N"]) if "N" in typed else typed.get("S") for name, typed in item.items()
    }


def _safe(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _place(name: str) -> str:
    """Every name goes in as a placeholder: many are reserved words, or have a `#` in them.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ReservedWords.html
    """
    return f"#{_safe(name)}"


def _names_in(condition: str) -> Sequence[str]:
    return re.findall(r"#(\w+)", condition)


def _condition(condition: str, values: Row) -> Row:
    return {
        "ConditionExpression": condition,
        "ExpressionAttributeNames": {_place(name): name for name in _names_in(condition)},
        "ExpressionAttributeValues": {f":{name}": _typed(value) for name, value in values.items()},
    }


@contextmanager
def _dynamodb_errors(*, leased: bool = False) -> Iterator[None]:
    """Say what a refusal means to us: somebody was first, the lease is lost, or try later."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise _meaning(error.response, leased=leased) from error
    except BotoCoreError as error:
        raise StoreUnavailable(str(error)) from error


_SOMEBODY_WAS_FIRST = {
    "ConditionalCheckFailed",
    "ConditionalCheckFailedException",
    "TransactionConflict",
    "TransactionConflictException",
}


def _meaning(response: Mapping[str, Any], *, leased: bool) -> WatchError:
    """Sort a refusal by DynamoDB's codes.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
    """
    code = response["Error"]["Code"]
    causes = [cause.get("Code") for cause in response.get("CancellationReasons", [])]
    if leased and causes[:1] == ["ConditionalCheckFailed"]:
        return LeaseLost(code)
    if code == "TransactionConflictException" or {
        "ConditionalCheckFailed",
        "TransactionConflict",
    } & set(causes):
        return Conflict(f"{code} {causes}")
    return StoreUnavailable(f"{code}: {response['Error'].get('Message', '')}")
