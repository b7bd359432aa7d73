"""Step three: tell Slack what it has not been told.

hold the channel → for each cluster that is owed: settle what became of the last attempt → read the
facts, load, decide, save → ask what the thread needs next → render → note the attempt → post →
record. What is owed is the difference between what is and what was told, so every step can die at
any point and be done again.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Protocol, TypedDict

from notifier.arns import cluster_name, parse_arn
from notifier.errors import LeaseLost, ReadFailed, StoreUnavailable
from notifier.incidents import Policy
from notifier.model import (
    Attempt,
    CannotLook,
    Census,
    ClusterState,
    Found,
    Invocation,
    Message,
    Mute,
    Outcome,
    Owed,
    Refusal,
    Refused,
    Route,
    Sent,
    ServiceReading,
    ServiceState,
    Step,
    StepKind,
    SubjectKind,
    Thread,
)
from notifier.rendering import Telling, plain, reply_message, root_message, summary_message
from notifier.saving import Table, route_of, save_decision
from notifier.threads import BETWEEN_EDITS, Place, Wait, in_incident, next_step

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=60)
NEEDED_FOR_A_POST = timedelta(seconds=25)  # of the lease and of the function's time
BETWEEN_POSTS = timedelta(seconds=1)  # https://docs.slack.dev/apis/web-api/rate-limits
AFTER_UNKNOWN = timedelta(seconds=30)  # Slack may still commit a post whose answer was lost
PROBE_EVERY = timedelta(seconds=60)  # of a channel or token that refuses
BUDGET_IS_BACK_IN = timedelta(seconds=10)
TRIES = 5  # turns that ended in an exception of ours, or in our death
WITHOUT_FACTS_FROM = 2
SERVICES_READ_AT_ONCE = 30
SUMMARY = "summary"  # what the first census owes each channel, in place of a cluster
KEY_OF = "ecs_watch"  # event_type of the metadata by which a post is found again


class Store(Table, Protocol):
    """What telling needs of the table. See `notifier.store` for each."""

    def hold(self, destination: str, owner: str, *, now: datetime, until: datetime) -> bool: ...
    def release(self, destination: str, owner: str, *, now: datetime) -> None: ...
    def not_before(self, destination: str) -> datetime | None: ...
    def wait_until(
        self, destination: str, until: datetime, *, owner: str, now: datetime
    ) -> None: ...
    def owed(self, destination: str) -> Sequence[Owed]: ...
    def begin_try(self, owed: Owed, retry_at: datetime, *, owner: str, now: datetime) -> None: ...
    def end_try(self, owed: Owed, due_at: datetime, *, owner: str, now: datetime) -> None: ...
    def thread(self, cluster_key: str, route: str, generation: int) -> Thread | None: ...
    def note_attempt(self, owed: Owed, attempt: Attempt, *, owner: str, now: datetime) -> None: ...
    def record(
        self,
        owed: Owed,
        told: Mapping[str, int],
        thread: Thread | None,
        *,
        owner: str,
        now: datetime,
    ) -> None: ...
    def settle(self, owed: Owed, *, owner: str, now: datetime) -> None: ...
    def move(self, owed: Owed, to: str, *, owner: str, now: datetime) -> None: ...
    def take_edit(self, now: datetime) -> bool: ...
    def mutes(self) -> Sequence[Mute]: ...
    def census(self) -> Census | None: ...


class Ecs(Protocol):
    """What telling reads to explain a failure."""

    def services(
        self, cluster_arn: str, names: Sequence[str], now: datetime
    ) -> Mapping[str, ServiceReading]: ...


class Door(Protocol):
    """The way to Slack: a bot, or a webhook, which has no threads."""

    has_threads: bool

    def post(
        self,
        channel: str,
        message: Message,
        *,
        thread_ts: str | None = None,
        broadcast: bool = False,
        metadata: Mapping[str, object] | None = None,
    ) -> Outcome: ...
    def update(self, channel: str, ts: str, message: Message) -> Outcome: ...
    def find(
        self, channel: str, key: str, *, since: datetime, thread_ts: str | None = None
    ) -> Found: ...
    def mark(self, channel: str, ts: str, *, on: bool) -> Outcome: ...
    def permalink(self, channel: str, ts: str) -> str: ...


class _EndTurn(Exception):
    """This cluster waits until `retry_at`; others of the channel go on."""

    def __init__(self, retry_at: datetime) -> None:
        self.retry_at = retry_at


class _EndChannel(_EndTurn):
    """Nothing more can be posted in this channel before `retry_at`."""


class _Moved(Exception):
    """Another channel's holder tells it."""


class Mine(TypedDict):
    """Who writes, and when."""

    owner: str
    now: datetime


@dataclass(frozen=True, slots=True)
class Teller:
    """Posts what channels are owed. `door` gives the way to Slack for a destination."""

    store: Store
    ecs: Ecs
    door: Callable[[str], Door]
    routes: tuple[Route, ...]

    def tell(self, destination: str, run: Invocation, until: datetime) -> bool:
        """Tell this channel what it is owed, as long as we hold it and `until` has not come.

        Whoever finds it held leaves, with False: the holder looks again after it lets go, and so
        does the tick every minute.
        """
        holding = _Holding(self, destination, run, until)
        while holding.is_wanted():
            if not holding.renew():
                return False
            try:
                holding.work()
                self.store.release(destination, run.id, now=run.now())
            except LeaseLost:
                logger.warning("lease lost", extra={"destination": destination})
                return False
        return holding.has_time()

    def fallback(self, destination: str) -> str | None:
        """Where to tell what this channel refuses: the channel of the last rule that has one."""
        others = (route.destination for route in reversed(self.routes) if not route.ignored)
        last = next(others, destination)
        return None if last == destination else last


@dataclass(slots=True)
class _Holding:
    """One holding of one channel."""

    teller: Teller
    destination: str
    run: Invocation
    until: datetime
    last_post_at: datetime | None = None
    visited: set[str] = field(default_factory=set)

    @property
    def store(self) -> Store:
        return self.teller.store

    @property
    def mine(self) -> Mine:
        return {"owner": self.run.id, "now": self.run.now()}

    def due(self) -> Sequence[Owed]:
        now = self.run.now()
        return [owed for owed in self.store.owed(self.destination) if owed.is_due(now)]

    def is_wanted(self) -> bool:
        """Whether something is due, may be posted now, and time is left to post it."""
        not_before = self.store.not_before(self.destination)
        is_open = not_before is None or not_before <= self.run.now()
        return self.has_time() and is_open and bool(self.due())

    def has_time(self) -> bool:
        return self.run.now() < self.until and self.run.remaining() > NEEDED_FOR_A_POST

    def renew(self) -> bool:
        now = self.run.now()
        return self.store.hold(self.destination, self.run.id, now=now, until=now + LEASE)

    def work(self) -> None:
        """One cluster after another; those whose turn has not come yet first, for their roots."""
        while self.has_time() and (due := self.due()):
            owed = min(due, key=lambda one: (one.cluster_key in self.visited, one.due_at))
            try:
                self.turn(owed)
            except _EndChannel as end:
                self.store.wait_until(self.destination, end.retry_at, **self.mine)
                return
            finally:
                self.visited.add(owed.cluster_key)

    def others_wait_for_their_root(self, owed: Owed) -> bool:
        others = {one.cluster_key for one in self.due()} - self.visited - {owed.cluster_key}
        return bool(others)

    def turn(self, owed: Owed) -> None:
        """One cluster's turn. An exception of ours ends this turn, never the holder's."""
        self.store.begin_try(owed, self.run.now() + _back_off(owed.tries), **self.mine)
        try:
            self.tell(owed)
            self.store.settle(owed, **self.mine)
        except _EndTurn as end:
            self.store.end_try(owed, end.retry_at, **self.mine)
            if isinstance(end, _EndChannel):
                raise
        except _Moved:
            return
        except (LeaseLost, StoreUnavailable):
            raise
        except Exception:
            logger.exception("turn failed", extra=_about(owed))

    def tell(self, owed: Owed) -> None:
        """All that this cluster's thread needs; returns when it needs nothing more."""
        if owed.cluster_key == SUMMARY:
            self.tell_summary(owed)
            return
        self.wait_for_mute(owed)
        missing: tuple[str, ...] = ()
        if owed.attempt:
            self.settle_attempt(owed, owed.attempt)
        elif owed.tries + 1 < WITHOUT_FACTS_FROM:
            missing = self.look(owed)
        while step := self.next_step(owed):
            cluster, thread, one = step
            if owed.tries >= TRIES:
                self.give_up(owed, one, "it failed too often")
                continue
            self.take(_Taking(self, owed, cluster, thread, one, missing))
            if self.others_wait_for_their_root(owed) and owed.cluster_key not in self.visited:
                raise _EndTurn(self.run.now())

    def wait_for_mute(self, owed: Owed) -> None:
        name, now = cluster_name(owed.cluster_key), self.run.now()
        ends = [
            mute.until
            for mute in self.store.mutes()
            if mute.until > now and fnmatchcase(name, mute.pattern)
        ]
        if ends:
            logger.info("muted", extra=_about(owed))
            raise _EndTurn(max(ends))

    def next_step(self, owed: Owed) -> tuple[ClusterState, Thread | None, Step] | None:
        if not self.has_time():
            raise _EndTurn(self.run.now())
        cluster = self.store.load(owed.cluster_key)
        if cluster is None:
            return None
        thread = self.store.thread(cluster.key, owed.route, cluster.generation)
        step = next_step(cluster, thread, self.place(owed), self.run.now())
        if isinstance(step, Wait):
            raise _EndTurn(step.until)
        return (cluster, thread, step) if step else None

    def place(self, owed: Owed) -> Place:
        return Place(
            route=owed.route,
            channel=self.destination,
            has_threads=self.teller.door(self.destination).has_threads,
            quiet=self.route(owed).quiet,
        )

    def route(self, owed: Owed) -> Route:
        return route_of(owed.cluster_key, self.teller.routes)

    # --- the facts ----------------------------------------------------------------------------

    def look(self, owed: Owed) -> tuple[str, ...]:
        """Read what ECS shows of what is to be told, and save it. It never stops an alert."""
        cluster = self.store.load(owed.cluster_key)
        if cluster is None or parse_arn(cluster.key) is None:
            return ()
        names = _to_read(cluster, owed.route)
        if not names:
            return ()
        try:
            readings = self.teller.ecs.services(cluster.key, names, self.run.now())
        except ReadFailed as error:
            return (f"could not be read: {error}",)
        policy = Policy(route=self.route(owed))
        save_decision(self.store, cluster, list(readings.values()), self.run, policy)
        return ()

    # --- attempts -----------------------------------------------------------------------------

    def settle_attempt(self, owed: Owed, attempt: Attempt) -> None:
        """Find out whether the last post, whose outcome nobody wrote down, has arrived."""
        may_look_at = attempt.at + AFTER_UNKNOWN
        if self.run.now() < may_look_at:
            raise _EndTurn(may_look_at)
        cluster = self.store.load(owed.cluster_key)
        if cluster is None:
            return
        thread = self.store.thread(cluster.key, owed.route, cluster.generation)
        replied_to = thread.ts if thread and attempt.step.kind is StepKind.REPLY else None
        door = self.teller.door(self.destination)
        since = attempt.at - AFTER_UNKNOWN * 2
        found = door.find(attempt.channel, attempt.key, since=since, thread_ts=replied_to)
        if isinstance(found, Sent):
            after = _thread_after(cluster, thread, attempt.step, found, attempt.at)
            self.store.record(owed, attempt.step.tells, after, **self.mine)
        elif isinstance(found, CannotLook):
            logger.warning(
                "posted again: whether it arrived cannot be seen", extra={"code": found.code}
            )

    def give_up(self, owed: Owed, step: Step, why: str) -> None:
        logger.error("given up", extra={**_about(owed), "told": dict(step.tells), "why": why})
        cluster = self.store.load(owed.cluster_key)
        if cluster is None:
            return
        told = {
            one.key: one.revision
            for one in cluster.services.values()
            if one.destination == owed.route and one.untold(owed.route)
        }
        thread = self.store.thread(cluster.key, owed.route, cluster.generation)
        now = self.run.now()
        shown = replace(thread, shows=cluster.revision, edited_at=now) if thread else None
        self.store.record(owed, told, shown, **self.mine)
        if not told:
            raise _EndTurn(now + PROBE_EVERY)

    # --- posts --------------------------------------------------------------------------------

    def take(self, taking: "_Taking") -> None:
        match taking.step.kind:
            case StepKind.EDIT:
                taking.edit()
            case StepKind.MARK | StepKind.UNMARK:
                taking.mark()
            case _:
                taking.post()

    def tell_summary(self, owed: Owed) -> None:
        """What the first census found, once in each channel."""
        census = self.store.census()
        if census is None:
            return
        message = summary_message(census, self.destination)
        if isinstance(outcome := self.post(self.destination, message), Refused):
            raise _EndChannel(self.run.now() + (outcome.retry_after or PROBE_EVERY))

    def post(self, channel: str, message: Message, **more: "object") -> Outcome:
        """One post, a second after the last, under a lease that outlives it."""
        if self.last_post_at:
            wait = self.last_post_at + BETWEEN_POSTS - self.run.now()
            self.run.sleep(max(wait, timedelta()))
        if not self.renew():
            raise LeaseLost(self.destination)
        self.last_post_at = self.run.now()
        door = self.teller.door(self.destination)
        return door.post(channel, message, **more)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class _Taking:
    """One step being taken."""

    holding: _Holding
    owed: Owed
    cluster: ClusterState
    thread: Thread | None
    step: Step
    missing: tuple[str, ...]

    @property
    def now(self) -> datetime:
        return self.holding.run.now()

    def record(self, told: Mapping[str, int], thread: Thread | None) -> None:
        self.holding.store.record(self.owed, told, thread, **self.holding.mine)

    def post(self) -> None:
        """Note what is about to be posted, post it, and record what became of it."""
        message = self.message()
        key, channel = self.holding.run.unique(), self.channel()
        attempt = Attempt(key=key, at=self.now, channel=channel, step=self.step)
        self.holding.store.note_attempt(self.owed, attempt, **self.holding.mine)
        outcome = self.send(channel, message, key)
        if isinstance(outcome, Refused) and outcome.refusal is Refusal.PAYLOAD and message.blocks:
            logger.error("blocks refused, sent as text", extra={"code": outcome.code})
            outcome = self.send(channel, plain(message), key)
        self.settle(outcome)

    def send(self, channel: str, message: Message, key: str) -> Outcome:
        is_reply = self.step.kind is StepKind.REPLY and self.thread
        return self.holding.post(
            channel,
            message,
            thread_ts=self.thread.ts if is_reply and self.thread else None,
            broadcast=self.step.is_broadcast,
            metadata={"event_type": KEY_OF, "event_payload": {"key": key}},
        )

    def channel(self) -> str:
        if self.step.kind is StepKind.REPLY and self.thread:
            return self.thread.channel
        return self.holding.destination

    def message(self) -> Message:
        if self.step.kind in (StepKind.ROOT, StepKind.EDIT):
            shown = in_incident(self.cluster, self.owed.route)
            message = root_message(self.telling(), shown, self.previous())
        else:
            told = [self.cluster.services[key] for key in self.step.tells]
            message = reply_message(self.telling(), told, self.owed.route)
        return plain(message) if self.owed.tries + 1 >= WITHOUT_FACTS_FROM else message

    def previous(self) -> str:
        """Where the thread was before this root."""
        if self.thread is None:
            return ""
        is_new = self.step.kind is StepKind.ROOT
        channel = self.thread.channel if is_new else self.thread.previous_channel
        ts = self.thread.ts if is_new else self.thread.previous_ts
        door = self.holding.teller.door(self.holding.destination)
        return door.permalink(channel, ts) if ts else ""

    def telling(self) -> Telling:
        route = self.holding.route(self.owed)
        is_first = self.step.kind is StepKind.ROOT or (
            self.step.kind is StepKind.FLAT and self.cluster.open_services > 0
        )
        return Telling(
            cluster=self.cluster,
            now=self.now,
            mentions=route.mentions if is_first and not route.quiet else (),
            missing=self.missing,
            is_flat=self.step.kind is StepKind.FLAT,
            instead_of=self.owed.instead_of,
        )

    def settle(self, outcome: Outcome) -> None:
        """Record what was told, or say when it may be tried again."""
        match outcome:
            case Sent():
                after = _thread_after(self.cluster, self.thread, self.step, outcome, self.now)
                self.record(self.step.tells, after)
            case Refused(refusal=Refusal.PAYLOAD):
                self.holding.give_up(self.owed, self.step, outcome.code)
            case Refused(refusal=Refusal.TARGET) if self.thread:
                self.record({}, replace(self.thread, is_lost=True))
            case Refused():
                self.record({}, None)
                self.refused(outcome)
            case _:
                logger.warning("outcome unknown", extra={"code": outcome.code})
                raise _EndTurn(self.now + AFTER_UNKNOWN)

    def refused(self, outcome: Refused) -> None:
        logger.error("refused", extra={"code": outcome.code, "refusal": str(outcome.refusal)})
        fallback = self.holding.teller.fallback(self.holding.destination)
        if outcome.refusal is Refusal.CHANNEL and fallback:
            self.holding.store.move(self.owed, fallback, **self.holding.mine)
            raise _Moved
        raise _EndChannel(self.now + (outcome.retry_after or PROBE_EVERY))

    def edit(self) -> None:
        """The root shows the present state. Doing it twice does no harm, so there is no attempt."""
        thread = self.thread
        if thread is None:
            return
        if not self.holding.store.take_edit(self.now):
            raise _EndTurn(self.now + BUDGET_IS_BACK_IN)
        begun = replace(thread, edited_at=self.now)
        self.record({}, begun)
        door = self.holding.teller.door(self.holding.destination)
        outcome = door.update(thread.channel, thread.ts, self.message())
        if isinstance(outcome, Sent):
            self.record({}, replace(begun, shows=self.step.shows))
        elif isinstance(outcome, Refused):
            self.edit_refused(begun, outcome)
        else:
            # It may still arrive: the next edit must not come before it.
            later = self.now + AFTER_UNKNOWN
            self.record({}, replace(begun, edited_at=later - BETWEEN_EDITS))
            raise _EndTurn(later)

    def edit_refused(self, thread: Thread, outcome: Refused) -> None:
        logger.warning("edit refused", extra={"code": outcome.code})
        if outcome.refusal is Refusal.TARGET:
            is_lost = outcome.code == "message_not_found"
            self.record({}, replace(thread, is_lost=is_lost, is_fixed=not is_lost))
        elif outcome.refusal is Refusal.PAYLOAD:
            self.record({}, replace(thread, shows=self.step.shows))
        else:
            raise _EndTurn(self.now + (outcome.retry_after or PROBE_EVERY))

    def mark(self) -> None:
        """A reaction is a courtesy: what Slack refuses for good is not asked for again."""
        thread = self.thread
        if thread is None:
            return
        is_on = self.step.kind is StepKind.MARK
        door = self.holding.teller.door(self.holding.destination)
        outcome = door.mark(thread.channel, thread.ts, on=is_on)
        if isinstance(outcome, Refused) and outcome.refusal is Refusal.RATE_LIMITED:
            raise _EndTurn(self.now + (outcome.retry_after or PROBE_EVERY))
        self.record({}, replace(thread, is_marked=is_on))


def _thread_after(
    cluster: ClusterState, thread: Thread | None, step: Step, sent: Sent, at: datetime
) -> Thread | None:
    """The thread as it is once Slack has the step's message."""
    if step.kind is StepKind.FLAT:
        return thread
    loud = {"loud_at": at, "announced": {**_announced(thread), **step.announces}}
    if step.kind is StepKind.REPLY and thread and sent.thread_ts == thread.ts:
        more = loud if step.is_broadcast else {}
        return replace(thread, replies=thread.replies + 1, **more)  # type: ignore[arg-type]
    # A new root; or a reply whose root was deleted stands alone, and becomes the root.
    return Thread(
        generation=cluster.generation,
        number=thread.number + 1 if thread else 1,
        channel=sent.channel or "",
        ts=sent.ts or "",
        opened_at=at,
        shows=step.shows,
        edited_at=at,
        loud_at=at,
        announced={**_announced(thread), **step.announces},
        previous_channel=thread.channel if thread else "",
        previous_ts=thread.ts if thread else "",
    )


def _announced(thread: Thread | None) -> Mapping[str, int]:
    return thread.announced if thread else {}


def _to_read(cluster: ClusterState, route: str) -> list[str]:
    """The services of which something is to be told, and those that are still failing."""
    told_of = [
        service
        for service in cluster.services.values()
        if service.kind is SubjectKind.SERVICE and _is_open_or_untold(service, route)
    ]
    untold_first = sorted(told_of, key=lambda service: not service.untold(route))
    return [service.name for service in untold_first[:SERVICES_READ_AT_ONCE]]


def _is_open_or_untold(service: ServiceState, route: str) -> bool:
    return service.destination == route and bool(service.phase.is_open or service.untold(route))


def _about(owed: Owed) -> dict[str, object]:
    return {
        "destination": owed.destination,
        "cluster": owed.cluster_key,
        "tries": owed.tries,
    }


def _back_off(tries: int) -> timedelta:
    return timedelta(seconds=min(30 * 2**tries, 900))
