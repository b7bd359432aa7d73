"""Step three: tell Slack what it has not been told.

hold the channel → for each cluster that is owed: settle what became of the last attempt → read the
facts, load, decide, save → ask what the thread needs next → render → note the attempt → post →
record. What is owed is the difference between what is and what was told, so every step can die at
any point and be done again.
"""

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Protocol, TypedDict

from notifier import explaining
from notifier.actors import NOBODY, People
from notifier.arns import cluster_name, parse_arn
from notifier.ecs import Budget
from notifier.errors import Conflict, LeaseLost, StoreUnavailable, WatchError
from notifier.explaining import Explaining, in_our_words
from notifier.explanation import is_wanted
from notifier.facts import LogTail
from notifier.incidents import Policy
from notifier.model import (
    BEGINNING,
    Attempt,
    CannotLook,
    Census,
    Checkup,
    ClusterState,
    Found,
    GivenUp,
    Invocation,
    Message,
    Mute,
    Outcome,
    Owed,
    Phase,
    Refusal,
    Refused,
    Route,
    Sent,
    ServiceState,
    Step,
    StepKind,
    SubjectKind,
    Thread,
)
from notifier.rendering import (
    Telling,
    checkup_message,
    plain,
    reply_message,
    root_message,
    summary_message,
)
from notifier.saving import Table, route_of, save_decision
from notifier.threads import BETWEEN_EDITS, FLAT, Place, Wait, in_incident, next_step
from notifier.thresholds import SHIPPED, Thresholds

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=60)
RENEWED_AFTER = timedelta(seconds=10)  # before a turn; before each post it always is
BEFORE_ALL = datetime.min.replace(tzinfo=UTC)
NEEDED_FOR_A_POST = timedelta(seconds=25)  # of the lease and of the function's time
BETWEEN_POSTS = timedelta(seconds=1)  # https://docs.slack.dev/apis/web-api/rate-limits
AFTER_UNKNOWN = timedelta(seconds=30)  # Slack may still commit a post whose answer was lost
LOOK_AGAIN_FOR = timedelta(minutes=10)  # since the attempt; then it is posted again
PROBE_EVERY = timedelta(seconds=60)  # of a channel or token that refuses
MUTES_STAND_FOR = timedelta(seconds=10)
BUDGET_IS_BACK_IN = timedelta(seconds=10)
TRIES = 5  # turns that ended in an exception of ours, or in our death
WITHOUT_FACTS_FROM = 2
SERVICES_READ_AT_ONCE = 10  # one call of DescribeServices; the tick reads the others
READ_ANEW = 100  # services, which are one page: asking first whether anybody saved costs as much
WITHHELD = "RedactPatterns cannot be understood: only ecs-watch's own words are told"
# What is owed in place of a cluster: what the first census found, and what fails of ourselves.
SUMMARY, CHECKUP = "summary", "checkup"
KEY_OF = "ecs_watch"  # event_type of the metadata by which a post is found again

# What Slack limits, or refuses, apart from each other.
ANYTHING, POSTS, EDITS, LOOKS, MARKS = "anything", "posts", "edits", "looks", "marks"


class Store(Table, Protocol):
    """What telling needs of the table. See `notifier.store` for each."""

    def hold(
        self, destination: str, owner: str, *, now: datetime, until: datetime, again: bool = False
    ) -> bool: ...
    def release(self, destination: str, owner: str, *, now: datetime) -> None: ...
    def not_before(self, destination: str) -> Mapping[str, datetime]: ...
    def wait_until(
        self, destination: str, method: str, until: datetime, *, owner: str, now: datetime
    ) -> None: ...
    def nonce(self, owed: Owed) -> str: ...
    def owed(self, destination: str) -> Sequence[Owed]: ...
    def begin_try(self, owed: Owed, retry_at: datetime, *, owner: str, now: datetime) -> None: ...
    def end_try(
        self,
        owed: Owed,
        due_at: datetime,
        *,
        owner: str,
        now: datetime,
        is_planned: bool = False,
    ) -> None: ...
    def thread(
        self, cluster_key: str, route: str, generation: int, names: Iterable[str] = ()
    ) -> Thread | None: ...
    def named(self, step: Step, names: Iterable[str]) -> Step: ...
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
    def move(self, owed: Owed, to: str, generation: int, *, owner: str, now: datetime) -> None: ...
    def take_edit(self, now: datetime) -> bool: ...
    def mutes(self) -> Sequence[Mute]: ...
    def census(self) -> Census | None: ...
    def checkup(self) -> Checkup: ...
    def record_checkup(
        self, told: Sequence[str], owed: Owed, *, owner: str, now: datetime
    ) -> None: ...
    def note_given_up(self, given_up: GivenUp, *, owner: str, now: datetime) -> None: ...


class Ecs(explaining.Ecs, Protocol):
    """What telling reads to explain a failure, and to name the account."""

    def account_alias(self, account: str, region: str, budget: Budget | None) -> str: ...


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

    is_planned = False

    def __init__(self, retry_at: datetime) -> None:
        self.retry_at = retry_at


class _Pause(_EndTurn):
    """It waits because it is meant to, not because something is in its way."""

    is_planned = True


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
    """Posts what channels are owed. `door` gives the way to Slack for a destination.

    With `only_our_words` nothing is told that others have written: what of it is secret to the
    stack's owner cannot be known.
    """

    store: Store
    ecs: Ecs
    door: Callable[[str], Door]
    routes: tuple[Route, ...]
    people: People = NOBODY
    own_secrets: tuple[re.Pattern[str], ...] = ()
    only_our_words: bool = False
    thresholds: Thresholds = SHIPPED

    def tell(self, destination: str, run: Invocation, until: datetime) -> bool:
        """Tell this channel what it is owed, as long as we hold it and `until` has not come.

        Whoever finds it held leaves, with False: the holder looks again after it lets go, and so
        does the tick every minute.
        """
        holding = _Holding(self, destination, run, until)
        while holding.is_wanted():
            try:
                if not holding.take():
                    return False
                holding.work()
                self.store.release(destination, run.id, now=run.now())
            except LeaseLost:
                logger.warning("lease lost", extra={"destination": destination})
                return False
            except Exception:
                holding.let_go()
                raise
        fallback = self.fallback(destination)
        if holding.has_moved and fallback and not self.tell(fallback, run, until):
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
    held_at: datetime = BEFORE_ALL
    last_post_at: datetime | None = None
    seen: Sequence[Owed] = ()
    mutes_read: Sequence[Mute] = ()
    mutes_at: datetime | None = None
    visited: set[str] = field(default_factory=set)
    closed_until: dict[str, datetime] = field(default_factory=dict)
    logs: dict[str, dict[str, LogTail]] = field(default_factory=dict)
    was_unavailable: bool = False
    is_unanswered: bool = False  # Slack took nothing since it last failed to answer
    has_moved: bool = False

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
        """Whether something is due, Slack may be asked now, and time is left to do it."""
        self.closed_until = dict(self.store.not_before(self.destination))
        return self.has_time() and not self.is_closed(ANYTHING) and bool(self.due())

    def is_closed(self, method: str) -> bool:
        until = self.closed_until.get(method)
        return until is not None and until > self.run.now()

    def close(self, method: str, until: datetime) -> None:
        """Remember that Slack is not to be asked for this before then."""
        self.closed_until[method] = until
        self.store.wait_until(self.destination, method, until, **self.mine)

    def wait_if_closed(self, method: str) -> None:
        if self.is_closed(method):
            raise _EndTurn(self.closed_until[method])

    def has_time(self) -> bool:
        return self.run.now() < self.until and self.run.remaining() > NEEDED_FOR_A_POST

    @property
    def door(self) -> Door:
        return self.teller.door(self.destination)

    @property
    def fallback(self) -> str | None:
        return self.teller.fallback(self.destination)

    def hold(self) -> None:
        """Renew the lease before what may take a while; LeaseLost when it is not ours any more."""
        if not self.take(again=True):
            raise LeaseLost(self.destination)

    def take(self, *, again: bool = False) -> bool:
        now = self.run.now()
        until = now + LEASE
        self.held_at = now
        return self.store.hold(self.destination, self.run.id, now=now, until=until, again=again)

    def let_go(self) -> None:
        """Let others go on after an error, if it can be done; else when the lease ends."""
        with suppress(WatchError):
            self.store.release(self.destination, self.run.id, now=self.run.now())

    def work(self) -> None:
        """One cluster after another: those without a root first, so that none waits for replies."""
        while self.has_time() and (due := self.due()):
            self.seen = due
            owed = min(due, key=self.precedence)
            try:
                self.turn(owed)
            except _EndChannel as end:
                self.run.tally["OpenCircuits"] += 1
                self.close(ANYTHING, end.retry_at)
                return
            finally:
                self.visited.add(owed.cluster_key)
        if self.is_unanswered:
            self.run.tally["OpenCircuits"] += 1

    def precedence(self, owed: Owed) -> tuple[bool, bool, datetime]:
        return (owed.has_root, owed.cluster_key in self.visited, owed.due_at)

    def others_wait_for_their_root(self, owed: Owed, due: Sequence[Owed]) -> bool:
        """Whether others have none, and had no turn yet."""
        others = {one.cluster_key for one in due if not one.has_root} - self.visited
        return bool(others - {owed.cluster_key})

    def mutes(self) -> Sequence[Mute]:
        """The mutes, as they were some seconds ago at the most."""
        if self.mutes_at is None or self.run.now() - self.mutes_at > MUTES_STAND_FOR:
            self.mutes_read, self.mutes_at = self.store.mutes(), self.run.now()
        return self.mutes_read

    def is_hurried(self, owed: Owed) -> bool:
        """Whether others waited for their root when this turn began."""
        return self.others_wait_for_their_root(owed, self.seen)

    def let_others_have_their_root(self, owed: Owed) -> None:
        """A turn ends with each message while others wait for their root.

        Those that waited when it began are known; only if none did it is asked who came since.
        """
        if self.is_hurried(owed) or self.others_wait_for_their_root(owed, self.due()):
            raise _EndTurn(self.run.now())

    def turn(self, owed: Owed) -> None:
        """One cluster's turn. An exception of ours ends this turn, never the holder's."""
        if self.run.now() - self.held_at > RENEWED_AFTER:
            self.hold()
        self.store.begin_try(owed, self.run.now() + _back_off(owed.tries), **self.mine)
        turn = _Turn(self, owed)
        try:
            turn.tell()
            self.store.settle(turn.owed, **self.mine)
        except _EndTurn as end:
            is_planned = end.is_planned
            self.store.end_try(turn.owed, end.retry_at, is_planned=is_planned, **self.mine)
            if isinstance(end, _EndChannel):
                raise
        except _Moved:
            self.has_moved = True
        except LeaseLost:
            raise
        except StoreUnavailable:
            # The table failed, not this cluster: it is tried again, and not given up for that.
            with suppress(StoreUnavailable):
                again_at = self.run.now() + PROBE_EVERY
                self.store.end_try(turn.owed, again_at, **self.mine)
            raise
        except Exception:
            logger.exception("turn failed", extra=_about(owed))

    def post(
        self,
        channel: str,
        message: Message,
        *,
        key: str,
        thread_ts: str | None = None,
        broadcast: bool = False,
    ) -> Outcome:
        """One post, a second after the last, under a lease that outlives it."""
        if self.last_post_at:
            wait = self.last_post_at + BETWEEN_POSTS - self.run.now()
            self.run.sleep(max(wait, timedelta()))
        self.hold()
        self.last_post_at = self.run.now()
        return self.door.post(
            channel,
            message,
            thread_ts=thread_ts,
            broadcast=broadcast,
            metadata={"event_type": KEY_OF, "event_payload": {"key": key}},
        )

    def refused(self, outcome: Refused, method: str) -> _EndTurn:
        """How long Slack wants to be left alone, and with what."""
        self.run.tally["Refused"] += 1
        about = {"destination": self.destination, "code": outcome.code, "method": method}
        logger.error("refused", extra={**about, "refusal": str(outcome.refusal)})
        again_at = self.run.now() + (outcome.retry_after or PROBE_EVERY)
        if outcome.refusal is Refusal.RATE_LIMITED:
            self.close(method, again_at)
            return _EndTurn(again_at)
        self.is_unanswered |= outcome.refusal is Refusal.UNAVAILABLE
        if outcome.refusal is Refusal.UNAVAILABLE and not self.was_unavailable:
            self.was_unavailable = True  # of this message, perhaps; the next one tells
            return _EndTurn(again_at)
        return _EndChannel(again_at)


@dataclass(slots=True)
class _Turn:
    """One cluster's turn."""

    holding: _Holding
    owed: Owed
    missing: tuple[str, ...] = ()
    known: ClusterState | None = None  # as last read, with what was told since
    budget: Budget | None = None

    @property
    def store(self) -> Store:
        return self.holding.store

    @property
    def now(self) -> datetime:
        return self.holding.run.now()

    @property
    def route(self) -> Route:
        return route_of(self.owed.cluster_key, self.holding.teller.routes)

    @property
    def logs(self) -> dict[str, LogTail]:
        """What was read and is not kept; the reply that tells it may come in a later turn."""
        return self.holding.logs.setdefault(self.owed.cluster_key, {})

    @property
    def is_plain(self) -> bool:
        return self.owed.tries + 1 >= WITHOUT_FACTS_FROM

    def tell(self) -> None:
        """All that this cluster's thread needs; returns when it needs nothing more."""
        if self.owed.tries >= TRIES:
            self.give_up_all()
        elif self.owed.cluster_key == SUMMARY:
            self.tell_summary()
        elif self.owed.cluster_key == CHECKUP:
            self.tell_checkup()
        else:
            self.tell_cluster()

    def tell_cluster(self) -> None:
        self.heed_mutes()
        attempt = self.owed.attempt
        if attempt:
            self.settle_attempt(attempt)
        self.stay_where_it_is_told()
        if not attempt and not self.is_plain and not self.holding.is_closed(POSTS):
            self.missing = self.look()
        while step := self.next_step():
            step.take()
            self.holding.let_others_have_their_root(self.owed)

    def next_step(self) -> "_Taking | None":
        if not self.holding.has_time():
            raise _EndTurn(self.now)
        cluster, thread = self.load()
        if cluster is None:
            return None
        step = next_step(cluster, thread, self.place(), self.now)
        if isinstance(step, Wait):
            raise _Pause(step.until)
        shown = in_our_words(cluster) if self.holding.teller.only_our_words else cluster
        return _Taking(self, shown, thread, step) if step else None

    def load(self) -> tuple[ClusterState | None, Thread | None]:
        """What is and what was told. Whatever is saved after this has another nonce."""
        self.owed = replace(self.owed, nonce=self.store.nonce(self.owed))
        cluster = self.read()
        if cluster is None:
            return None, None
        route, names = self.owed.route, cluster.services
        return cluster, self.store.thread(cluster.key, route, cluster.generation, names)

    def read(self) -> ClusterState | None:
        """The cluster; its thousands of services only if somebody saved since the last time.

        What was told there is written by nobody but us, as long as we hold the channel.
        """
        known = self.known
        if known is None or len(known.services) <= READ_ANEW or not self.is_as(known):
            self.known = self.store.load(self.owed.cluster_key)
        return self.known

    def is_as(self, known: ClusterState) -> bool:
        """Whether nobody saved since."""
        head = self.store.load(known.key, ())
        return head is not None and head.version == known.version

    def stay_where_it_is_told(self) -> None:
        """Who tells an incident stays with it until it is over, though the channel works again.

        Else its root would stand in two channels, each with half of what happened.
        """
        cluster = self.read()
        to = cluster.moved.get(self.owed.route) if cluster else None
        if cluster and to and to != self.holding.destination:
            self.owed = replace(self.owed, nonce=self.store.nonce(self.owed))
            self.move(cluster, to)

    def move(self, cluster: ClusterState, to: str) -> None:
        """Hand it to another channel's holder, who tells all that comes of this incident."""
        self.store.move(self.owed, to, cluster.generation, **self.holding.mine)
        raise _Moved

    def place(self) -> Place:
        return Place(
            route=self.owed.route,
            channel=self.holding.destination,
            has_threads=self.holding.door.has_threads,
            quiet=self.route.quiet,
        )

    def record(self, told: Mapping[str, int], thread: Thread | None) -> None:
        self.store.record(self.owed, told, thread, **self.holding.mine)
        if self.known:
            self.known = _after_telling(self.known, told, self.owed.route)

    # --- mutes --------------------------------------------------------------------------------

    def heed_mutes(self) -> None:
        """Nothing is told before a mute's end; what began and was over by then never is."""
        name = cluster_name(self.owed.cluster_key)
        ends = [mute.until for mute in self.holding.mutes() if fnmatchcase(name, mute.pattern)]
        if not ends:
            return
        cluster, _ = self.load()
        if cluster and (told := _over_unheard(cluster, self.owed.route, max(ends))):
            logger.info("over before a mute's end", extra={**_about(self.owed), "told": told})
            self.record(told, None)
        if max(ends) > self.now:
            logger.info("muted", extra=_about(self.owed))
            raise _Pause(max(ends))

    # --- the facts ----------------------------------------------------------------------------

    def look(self) -> tuple[str, ...]:
        """Read what ECS shows of what is to be told, and save it. It never stops an alert."""
        cluster = self.known
        if cluster is None or parse_arn(cluster.key) is None:
            return ()
        services = _to_read(cluster, self.owed.route)
        if not services:
            return ()
        looking = self.looking(cluster.key)
        # In a storm every cluster has its root first; why it fails comes with the replies.
        hurried = not self.owed.has_root and self.holding.is_hurried(self.owed)
        seen = looking.look(services, only_what_runs=hurried)
        policy = Policy(route=self.route, thresholds=self.holding.teller.thresholds)
        with suppress(Conflict):  # busy for too long: what is known is told all the same
            save_decision(self.store, cluster, seen, self.in_time_to_post(), policy)
        return tuple(looking.missing)

    def in_time_to_post(self) -> Invocation:
        """This run, as if it ended when there is no time left to post."""
        run = self.holding.run
        return replace(run, remaining=lambda: run.remaining() - NEEDED_FOR_A_POST)

    def looking(self, cluster_arn: str) -> Explaining:
        teller = self.holding.teller
        budget, logs = self.reads(), self.logs
        return Explaining(teller.ecs, budget, cluster_arn, self.now, teller.people, logs)

    def reads(self) -> Budget:
        """The time that all reads of this turn have together."""
        self.budget = self.budget or self.holding.teller.ecs.begin(self.owed.cluster_key)
        return self.budget

    # --- attempts -----------------------------------------------------------------------------

    def settle_attempt(self, attempt: Attempt) -> None:
        """Find out whether the last post, whose outcome nobody wrote down, has arrived."""
        cluster, thread = self.load()
        replied_to = thread.ts if thread and attempt.step.kind is StepKind.REPLY else None
        found = self.find(attempt, replied_to)
        if found and cluster:
            step = self.store.named(attempt.step, cluster.services)
            self.record(step.tells, _thread_after(cluster, thread, step, found, attempt.at))

    def find(self, attempt: Attempt, replied_to: str | None = None) -> Sent | None:
        """The message of this attempt, once Slack had time to commit it."""
        may_look_at = attempt.at + AFTER_UNKNOWN
        if self.now < may_look_at:
            raise _EndTurn(may_look_at)
        found = self.look_for(attempt, replied_to)
        if isinstance(found, CannotLook):
            self.look_again(found, attempt)
            about = {**_about(self.owed), "code": found.code}
            logger.warning("posted again: whether it arrived cannot be seen", extra=about)
        return found if isinstance(found, Sent) else None

    def look_for(self, attempt: Attempt, replied_to: str | None) -> Found:
        if self.holding.is_closed(LOOKS):
            wait = self.holding.closed_until[LOOKS] - self.now
            return CannotLook("ratelimited", will_pass=True, retry_after=wait)
        since = attempt.at - AFTER_UNKNOWN * 2
        door = self.holding.door
        return door.find(attempt.channel, attempt.key, since=since, thread_ts=replied_to)

    def look_again(self, found: CannotLook, attempt: Attempt) -> None:
        """Wait for what will pass, but not for ever: a duplicate is better than silence."""
        if found.retry_after and not self.holding.is_closed(LOOKS):
            self.holding.close(LOOKS, self.now + found.retry_after)
        last_look_at = attempt.at + LOOK_AGAIN_FOR
        if found.will_pass and self.now < last_look_at:
            logger.info("looked in vain", extra={**_about(self.owed), "code": found.code})
            self.holding.is_unanswered |= not found.retry_after
            again_at = self.now + (found.retry_after or AFTER_UNKNOWN)
            raise _EndTurn(min(again_at, last_look_at))

    def attempt(
        self, step: Step, message: Message, channel: str, thread_ts: str | None = None
    ) -> Outcome:
        """Note what is about to be posted, and post it; once more as text if Slack wants that."""
        self.holding.wait_if_closed(POSTS)
        key = self.holding.run.unique()
        attempt = Attempt(key=key, at=self.now, channel=channel, step=step)
        self.store.note_attempt(self.owed, attempt, **self.holding.mine)

        def post(message: Message) -> Outcome:
            return self.holding.post(
                channel, message, key=key, thread_ts=thread_ts, broadcast=step.is_broadcast
            )

        outcome = post(message)
        if _is_refused(outcome, Refusal.PAYLOAD) and message.blocks:
            logger.error("blocks refused, sent as text", extra={**_about(self.owed)})
            outcome = post(plain(message))
        if isinstance(outcome, Sent):
            self.holding.was_unavailable = self.holding.is_unanswered = False
        return outcome

    def lost_sight(self, outcome: Outcome) -> _EndTurn:
        code = getattr(outcome, "code", "")
        logger.warning("outcome unknown", extra={**_about(self.owed), "code": code})
        self.holding.is_unanswered = True
        return _EndTurn(self.now + AFTER_UNKNOWN)

    # --- what is given up ---------------------------------------------------------------------

    def give_up_all(self) -> None:
        """What failed so often is left out, all of it, until something new is saved.

        What was posted before we died is looked for once more: its root must not come twice.
        """
        if self.owed.attempt and self.owed.tries == TRIES:
            self.settle_attempt(self.owed.attempt)
        cluster, thread = self.load()
        if cluster is None:
            self.given_up({}, "it failed too often")
            return
        mine = [one for one in cluster.services.values() if one.destination == self.owed.route]
        told = {one.key: one.revision for one in mine if one.untold(self.owed.route)}
        announced = {one.key: one.revision for one in mine if one.phase.alerts}
        self.given_up({**announced, **told}, "it failed too often")
        self.record(told, _silent(thread, cluster, announced, self.now))

    def given_up(self, told: Mapping[str, int], why: str) -> None:
        self.holding.run.tally["GivenUp"] += 1
        if told and self.known:
            self.store.note_given_up(self._given_up(told, self.known, why), **self.holding.mine)
        logger.error("given up", extra={**_about(self.owed), "told": dict(told), "why": why})

    def _given_up(self, told: Mapping[str, int], cluster: ClusterState, why: str) -> GivenUp:
        services = cluster.services
        return GivenUp(
            destination=self.owed.destination,
            cluster_key=cluster.key,
            at=self.now,
            why=why,
            services={
                key: (services[key].told.get(self.owed.route, 0), revision)
                for key, revision in told.items()
            },
            instead_of=self.owed.instead_of,
        )

    # --- what is of no cluster ----------------------------------------------------------------

    def tell_summary(self) -> None:
        """What the first census found, once in each channel."""
        census, attempt = self.store.census(), self.owed.attempt
        if census is None or (attempt and self.find(attempt)):
            return
        self.tell_note(summary_message(census, self.owed.route), Step(kind=StepKind.FLAT))

    def tell_checkup(self) -> None:
        """What fails of ourselves, and what is well again: each once."""
        known, attempt = self.store.checkup(), self.owed.attempt
        if attempt and self.find(attempt):
            known = self.record_checkup(known, attempt.step.tells)
        if news := known.news:
            self.tell_note(checkup_message(known), Step(kind=StepKind.FLAT, tells=news))
            self.record_checkup(known, news)

    def record_checkup(self, known: Checkup, news: Mapping[str, int]) -> Checkup:
        told = known.after_telling(news)
        self.store.record_checkup(told, self.owed, **self.holding.mine)
        return replace(known, told=told)

    def tell_note(self, message: Message, step: Step) -> None:
        """One flat message; it returns when that is told, or given up."""
        channel = self.holding.destination
        match outcome := self.attempt(step, plain(message) if self.is_plain else message, channel):
            case Sent():
                return
            case Refused(refusal=Refusal.PAYLOAD):
                self.given_up({}, outcome.code)
            case Refused():
                self.record({}, None)
                if outcome.refusal is Refusal.CHANNEL and self.holding.fallback:
                    raise _EndTurn(self.now + PROBE_EVERY)  # incidents are told elsewhere
                raise self.holding.refused(outcome, POSTS)
            case _:
                raise self.lost_sight(outcome)


@dataclass(frozen=True, slots=True)
class _Taking:
    """One step being taken."""

    turn: _Turn
    cluster: ClusterState
    thread: Thread | None
    step: Step

    @property
    def holding(self) -> _Holding:
        return self.turn.holding

    @property
    def now(self) -> datetime:
        return self.turn.now

    def take(self) -> None:
        if self.step.kind is StepKind.EDIT and self.thread:
            self.edit(self.thread)
        elif self.step.kind in (StepKind.MARK, StepKind.UNMARK) and self.thread:
            self.mark(self.thread)
        else:
            self.post()

    # --- posts --------------------------------------------------------------------------------

    def post(self) -> None:
        """Post it and record what became of it."""
        replied_to = self.thread if self.step.kind is StepKind.REPLY else None
        channel = replied_to.channel if replied_to else self.holding.destination
        outcome = self.turn.attempt(
            self.step, self.message(), channel, replied_to.ts if replied_to else None
        )
        match outcome:
            case Sent():
                self.measure()
                after = _thread_after(self.cluster, self.thread, self.step, outcome, self.now)
                self.turn.record(self.step.tells, after)
            case Refused(refusal=Refusal.PAYLOAD):
                self.give_up(outcome)
            case Refused(refusal=Refusal.TARGET) if self.thread and replied_to:
                self.turn.record({}, replace(self.thread, is_lost=True))
            case Refused():
                self.turn.record({}, None)
                self.refused(outcome)
            case _:
                raise self.turn.lost_sight(outcome)

    def measure(self) -> None:
        """How long after a failure Slack has it: the slowest of this invocation."""
        tally, begun = self.holding.run.tally, self.begun()
        ages = [self.now - one.since for one in begun if one.since and one.since <= self.now]
        if ages:
            seconds = int(max(ages).total_seconds())
            tally["SecondsToSlack"] = max(tally["SecondsToSlack"], seconds)

    def give_up(self, outcome: Refused) -> None:
        """Slack takes neither the blocks nor the text: what they tell is left out, loudly."""
        route, told = self.turn.owed.route, self.step.tells
        if self.step.kind is StepKind.ROOT:
            services = self.cluster.services.values()
            told = {one.key: one.revision for one in services if one.untold(route)}
        self.turn.given_up(told, outcome.code)
        announced = {**_announced(self.thread), **self.step.announces}
        after = replace(self.thread, announced=announced) if self.thread else None
        self.turn.record(told, after)

    def refused(self, outcome: Refused) -> None:
        to = self.holding.fallback
        if outcome.refusal is Refusal.CHANNEL and to:
            about = {**_about(self.turn.owed), "code": outcome.code, "to": to}
            logger.error("told elsewhere", extra=about)
            self.holding.run.tally["Refused"] += 1
            self.turn.move(self.cluster, to)
        raise self.holding.refused(outcome, POSTS)

    # --- what is said -------------------------------------------------------------------------

    def message(self) -> Message:
        route = self.turn.owed.route
        if self.step.kind in (StepKind.ROOT, StepKind.EDIT):
            shown = in_incident(self.cluster, route)
            message = root_message(self.telling(), shown, self.previous())
        else:
            missing = (*self.read_log(), *self.missing())
            message = reply_message(replace(self.telling(), missing=missing), self.told_of(), route)
        return plain(message) if self.turn.is_plain else message

    @property
    def only_our_words(self) -> bool:
        return self.holding.teller.only_our_words

    def missing(self) -> tuple[str, ...]:
        """What a reader must not look for in this message."""
        return (*self.turn.missing, WITHHELD) if self.only_our_words else self.turn.missing

    def told_of(self) -> list[ServiceState]:
        return [self.cluster.services[key] for key in self.step.tells]

    def read_log(self) -> Sequence[str]:
        """What a reply about one failure shows of its log; returns what could not be read of it."""
        told = self.told_of()
        is_of_one = len(told) == 1 and told[0].phase.is_open
        if not is_of_one or self.turn.is_plain or self.only_our_words:
            return ()
        looking = self.turn.looking(self.cluster.key)
        looking.read_log(told[0])
        return looking.missing

    def previous(self) -> str:
        """Where the thread was before this root."""
        if self.thread is None:
            return ""
        is_new = self.step.kind is StepKind.ROOT
        channel = self.thread.channel if is_new else self.thread.previous_channel
        ts = self.thread.ts if is_new else self.thread.previous_ts
        return self.holding.door.permalink(channel, ts) if ts else ""

    def telling(self) -> Telling:
        route = self.turn.route
        return Telling(
            cluster=self.cluster,
            now=self.now,
            mentions=route.mentions if self.rings() and not route.quiet else (),
            missing=self.missing(),
            logs={} if self.only_our_words else self.turn.logs,
            alias=self.alias(),
            own_secrets=self.holding.teller.own_secrets,
            rings_deployers=not route.quiet,
            is_flat=self.step.kind is StepKind.FLAT,
            instead_of=self.turn.owed.instead_of,
        )

    def alias(self) -> str:
        """The account's name; what alerts first does not wait for it, the root's next edit has it.

        A plain message shows none.
        """
        may_wait = not self.alerts_first and not self.turn.is_plain
        budget = self.turn.reads() if may_wait else None
        ecs, cluster = self.holding.teller.ecs, self.cluster
        return ecs.account_alias(cluster.account, cluster.region, budget)

    @property
    def alerts_first(self) -> bool:
        if self.step.kind is not StepKind.FLAT:
            return self.step.kind is StepKind.ROOT
        route = self.turn.owed.route
        return not any(route in one.told for one in self.cluster.services.values())

    def rings(self) -> bool:
        """A root rings its people; without threads, each failure that begins does."""
        if self.step.kind is not StepKind.FLAT:
            return self.step.kind is StepKind.ROOT and self.has_trouble()
        return bool(self.begun())

    def has_trouble(self) -> bool:
        shown = in_incident(self.cluster, self.turn.owed.route)
        return self.cluster.open_services > 0 or any(one.phase.alerts for one in shown)

    def begun(self) -> list[ServiceState]:
        """Those told of whose failure is news, and not over."""
        route = self.turn.owed.route
        return [
            service
            for service in self.told_of()
            if service.phase.alerts
            and any(one.reason in BEGINNING for one in service.untold(route))
        ]

    # --- edits --------------------------------------------------------------------------------

    def edit(self, thread: Thread) -> None:
        """The root shows the present state. Doing it twice does no harm, so there is no attempt."""
        self.holding.wait_if_closed(EDITS)
        message = self.message()
        if not self.holding.store.take_edit(self.now):
            raise _Pause(self.now + BUDGET_IS_BACK_IN)
        self.holding.hold()
        # As if it showed less, until it is known that it shows this: the edit comes again.
        shows = min(thread.shows, self.step.shows - 1)
        begun = replace(thread, edited_at=self.now, shows=shows)
        self.turn.record({}, begun)
        outcome = self.holding.door.update(thread.channel, thread.ts, message)
        if _is_refused(outcome, Refusal.PAYLOAD) and message.blocks:
            logger.error("blocks refused, edited as text", extra={**_about(self.turn.owed)})
            outcome = self.holding.door.update(thread.channel, thread.ts, plain(message))
        match outcome:
            case Sent():
                self.holding.is_unanswered = False
                self.turn.record({}, replace(begun, shows=self.step.shows))
            case Refused():
                self.edit_refused(begun, outcome)
            case _:
                # It may still arrive: the next edit must not come before it.
                later = self.now + AFTER_UNKNOWN
                again = replace(begun, edited_at=later - BETWEEN_EDITS)
                self.holding.is_unanswered = True
                self.turn.record({}, again)
                raise _EndTurn(later)

    def edit_refused(self, thread: Thread, outcome: Refused) -> None:
        if outcome.refusal is Refusal.TARGET:
            logger.warning("edit refused", extra={"code": outcome.code})
            is_lost = outcome.code == "message_not_found"
            self.turn.record({}, replace(thread, is_lost=is_lost, is_fixed=not is_lost))
        elif outcome.refusal is Refusal.PAYLOAD:
            self.turn.given_up({}, outcome.code)
            self.turn.record({}, replace(thread, shows=self.step.shows))
        else:
            raise self.holding.refused(outcome, EDITS)

    def mark(self, thread: Thread) -> None:
        """A reaction is a courtesy: what Slack refuses for good is not asked for again."""
        self.holding.wait_if_closed(MARKS)
        self.holding.hold()
        is_on = self.step.kind is StepKind.MARK
        outcome = self.holding.door.mark(thread.channel, thread.ts, on=is_on)
        if _is_refused(outcome, Refusal.RATE_LIMITED) and isinstance(outcome, Refused):
            self.holding.close(MARKS, self.now + (outcome.retry_after or PROBE_EVERY))
            self.holding.wait_if_closed(MARKS)
        self.turn.record({}, replace(thread, is_marked=is_on))


def _is_refused(outcome: Outcome, refusal: Refusal) -> bool:
    return isinstance(outcome, Refused) and outcome.refusal is refusal


def _over_unheard(cluster: ClusterState, route: str, until: datetime) -> dict[str, int]:
    """The services whose trouble began unheard and was over by then.

    What is not live is not over, nor is a task that failed and was not run again.
    """
    told = {}
    for one in cluster.services.values():
        untold = one.untold(route) if one.destination == route else ()
        if not untold or one.phase.alerts or one.phase in (Phase.NOT_LIVE, Phase.NOT_RUN):
            continue
        if untold[0].reason in BEGINNING | FLAT and untold[-1].at <= until:
            told[one.key] = one.revision
    return told


def _after_telling(cluster: ClusterState, told: Mapping[str, int], route: str) -> ClusterState:
    """The cluster with what this route has now been told."""
    known = cluster.services
    after = {
        key: replace(known[key], told={**known[key].told, route: revision})
        for key, revision in told.items()
        if key in known
    }
    return replace(cluster, services={**known, **after})


def _silent(
    thread: Thread | None, cluster: ClusterState, announced: Mapping[str, int], now: datetime
) -> Thread | None:
    """The thread as if it had shown and announced all that is."""
    if thread is None:
        return None
    loud = {**thread.announced, **announced}
    return replace(thread, shows=cluster.revision, edited_at=now, announced=loud)


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


def _to_read(cluster: ClusterState, route: str) -> list[ServiceState]:
    """The services of which something is to be told, and those that are still failing.

    Of the latter those first that are not explained yet: of many, some had to wait.
    """
    told_of = [
        service
        for service in cluster.services.values()
        if service.kind is SubjectKind.SERVICE and _is_open_or_untold(service, route)
    ]
    untold_first = sorted(told_of, key=lambda one: (not one.untold(route), not is_wanted(one)))
    return untold_first[:SERVICES_READ_AT_ONCE]


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
