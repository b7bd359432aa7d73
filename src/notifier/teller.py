"""Step three: tell Slack what it has not been told.

hold the channel → for each cluster that is owed: read the facts, load, render → note the attempt →
post → record what was told. What is owed is the difference between what is and what was told, so
every step can die at any point and be done again.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypedDict

from notifier import incidents
from notifier.arns import cluster_name, parse_arn
from notifier.errors import LeaseLost, ReadFailed, StoreUnavailable
from notifier.model import (
    Attempt,
    ClusterState,
    Invocation,
    Message,
    Outcome,
    Owed,
    Refusal,
    Refused,
    Route,
    Sent,
    ServiceReading,
    ServiceState,
    SubjectKind,
)
from notifier.rendering import Facts, failure_message, plain
from notifier.routing import route_for

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=60)
NEEDED_FOR_A_POST = timedelta(seconds=25)  # of the lease and of the function's time
BETWEEN_POSTS = timedelta(seconds=1)  # https://docs.slack.dev/apis/web-api/rate-limits
AFTER_UNKNOWN = timedelta(seconds=30)  # Slack may still commit a post whose answer was lost
PROBE_EVERY = timedelta(seconds=60)  # of a channel or token that refuses
TRIES = 5  # turns that ended in an exception of ours, or in our death
WITHOUT_FACTS_FROM = 2


class Store(Protocol):
    """What telling needs of the table. See `notifier.store` for each."""

    def load(self, key: str, services: Sequence[str] | None = None) -> ClusterState | None: ...
    def hold(self, destination: str, owner: str, *, now: datetime, until: datetime) -> bool: ...
    def release(self, destination: str, owner: str, *, now: datetime) -> None: ...
    def not_before(self, destination: str) -> datetime | None: ...
    def wait_until(
        self, destination: str, until: datetime, *, owner: str, now: datetime
    ) -> None: ...
    def owed(self, destination: str) -> Sequence[Owed]: ...
    def begin_try(self, owed: Owed, retry_at: datetime, *, owner: str, now: datetime) -> None: ...
    def end_try(self, owed: Owed, retry_at: datetime, *, owner: str, now: datetime) -> None: ...
    def note_attempt(self, owed: Owed, attempt: Attempt, *, owner: str, now: datetime) -> None: ...
    def record_told(
        self, owed: Owed, told: Mapping[str, int], *, owner: str, now: datetime
    ) -> None: ...
    def settle(self, owed: Owed, *, owner: str, now: datetime) -> None: ...


class Ecs(Protocol):
    """What telling reads to explain a failure."""

    def services(
        self, cluster_arn: str, names: Sequence[str], now: datetime
    ) -> Mapping[str, ServiceReading]: ...


class Channel(Protocol):
    """Where messages go: a bot's channel or a webhook."""

    def post(self, channel: str, message: Message) -> Outcome: ...


class _EndTurn(Exception):
    """This cluster waits until `retry_at`; others of the channel go on."""

    def __init__(self, retry_at: datetime) -> None:
        self.retry_at = retry_at


class _EndChannel(Exception):
    """Nothing more can be posted in this channel before `until`."""

    def __init__(self, until: datetime) -> None:
        self.until = until


@dataclass(frozen=True, slots=True)
class Teller:
    """Posts what channels are owed. `door` gives the way to Slack for a destination."""

    store: Store
    ecs: Ecs
    door: Callable[[str], Channel]
    routes: tuple[Route, ...]

    def tell(self, destination: str, run: Invocation, until: datetime) -> None:
        """Tell this channel what it is owed, as long as we hold it and `until` has not come.

        Whoever finds it held leaves: the holder looks again after it lets go, and so does the
        tick every minute.
        """
        turn = _Turn(self, destination, run, until)
        while turn.wanted() and turn.renew():
            try:
                turn.work()
            except LeaseLost:
                logger.warning("lease lost", extra={"destination": destination})
                return
            self.store.release(destination, run.id, now=run.now())


@dataclass(slots=True)
class _Turn:
    """One holding of one channel."""

    teller: Teller
    destination: str
    run: Invocation
    until: datetime
    last_post_at: datetime | None = None

    @property
    def store(self) -> Store:
        return self.teller.store

    def due(self) -> Sequence[Owed]:
        now = self.run.now()
        return [owed for owed in self.store.owed(self.destination) if owed.is_due(now)]

    def wanted(self) -> bool:
        """Whether something is due, may be posted now, and time is left to post it."""
        not_before = self.store.not_before(self.destination)
        open_now = not_before is None or not_before <= self.run.now()
        return self.has_time() and open_now and bool(self.due())

    def has_time(self) -> bool:
        return self.run.now() < self.until and self.run.remaining() > NEEDED_FOR_A_POST

    def renew(self) -> bool:
        now = self.run.now()
        return self.store.hold(self.destination, self.run.id, now=now, until=now + LEASE)

    def work(self) -> None:
        for owed in self.due():
            if not self.has_time():
                return
            try:
                self.tell_cluster(owed)
            except _EndChannel as end:
                self.store.wait_until(self.destination, end.until, **self.mine())
                return

    def tell_cluster(self, owed: Owed) -> None:
        """One cluster's turn. An exception of ours ends this turn, never the holder's."""
        logged = {"destination": self.destination, "cluster": owed.cluster_key, "tries": owed.tries}
        self.store.begin_try(owed, self.run.now() + _back_off(owed.tries), **self.mine())
        try:
            self.tell_services(owed)
            self.store.settle(owed, **self.mine())
        except _EndTurn as end:
            self.store.end_try(owed, end.retry_at, **self.mine())
        except _EndChannel as end:
            self.store.end_try(owed, end.until, **self.mine())
            raise
        except (LeaseLost, StoreUnavailable):
            raise
        except Exception:
            logger.exception("turn failed", extra=logged)

    def tell_services(self, owed: Owed) -> None:
        cluster = self.store.load(owed.cluster_key)
        if cluster is None:
            return
        keys = incidents.owing(cluster, self.destination)
        if owed.tries >= TRIES:
            self.give_up(owed, cluster, keys)
            return
        readings, missing = self.read(cluster, keys, owed)
        for key in keys:
            if not self.has_time():
                raise _EndTurn(self.run.now())
            facts = Facts(reading=readings.get(key), missing=missing)
            self.tell_service(owed, cluster, cluster.services[key], facts)

    def read(
        self, cluster: ClusterState, keys: Sequence[str], owed: Owed
    ) -> tuple[Mapping[str, ServiceReading], tuple[str, ...]]:
        """What ECS shows of the services, and what could not be read. It never stops an alert."""
        services = [key for key in keys if cluster.services[key].kind is SubjectKind.SERVICE]
        if not services or parse_arn(cluster.key) is None or owed.tries + 1 >= WITHOUT_FACTS_FROM:
            return {}, ()
        try:
            return self.teller.ecs.services(cluster.key, services, self.run.now()), ()
        except ReadFailed as error:
            return {}, (f"could not be read: {error}",)

    def tell_service(
        self, owed: Owed, cluster: ClusterState, service: ServiceState, facts: Facts
    ) -> None:
        route = route_for(cluster_name(cluster.key), self.teller.routes)
        mentions = () if route.quiet else route.mentions
        message = failure_message(cluster, service, facts, mentions)
        if owed.tries + 1 >= WITHOUT_FACTS_FROM:
            message = plain(message)
        told = {service.key: service.revision}
        attempt = Attempt(key=self.run.unique(), at=self.run.now(), tells=told)
        self.store.note_attempt(owed, attempt, **self.mine())
        self.settle_outcome(owed, told, message, self.post(message))

    def settle_outcome(
        self, owed: Owed, told: Mapping[str, int], message: Message, outcome: Outcome
    ) -> None:
        """Record what was told; or say when it may be tried again."""
        now = self.run.now()
        match outcome:
            case Sent():
                self.store.record_told(owed, told, **self.mine())
            case Refused(refusal=Refusal.PAYLOAD) if message.blocks:
                logger.error("blocks refused, sent as text", extra={"code": outcome.code})
                self.settle_outcome(owed, told, plain(message), self.post(plain(message)))
            case Refused(refusal=Refusal.PAYLOAD):
                logger.error("given up", extra={"told": dict(told), "code": outcome.code})
                self.store.record_told(owed, told, **self.mine())
            case Refused():
                logger.error("refused", extra={"code": outcome.code, "refusal": outcome.refusal})
                raise _EndChannel(now + (outcome.retry_after or PROBE_EVERY))
            case _:
                logger.warning("outcome unknown, posted again later", extra={"code": outcome.code})
                raise _EndTurn(now + AFTER_UNKNOWN)

    def give_up(self, owed: Owed, cluster: ClusterState, keys: Sequence[str]) -> None:
        told = {key: cluster.services[key].revision for key in keys}
        logger.error("given up", extra={"told": told, "tries": owed.tries})
        self.store.record_told(owed, told, **self.mine())

    def post(self, message: Message) -> Outcome:
        """One post, a second after the last, under a lease that outlives it."""
        if self.last_post_at:
            wait = self.last_post_at + BETWEEN_POSTS - self.run.now()
            self.run.sleep(max(wait, timedelta()))
        if not self.renew():
            raise LeaseLost(self.destination)
        self.last_post_at = self.run.now()
        return self.teller.door(self.destination).post(self.destination, message)

    def mine(self) -> "_Mine":
        return {"owner": self.run.id, "now": self.run.now()}


class _Mine(TypedDict):
    owner: str
    now: datetime


def _back_off(tries: int) -> timedelta:
    return timedelta(seconds=min(30 * 2**tries, 900))
