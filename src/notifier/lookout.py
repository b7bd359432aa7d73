"""Step two, every minute: read again what is open or due, and see to what was not told.

Events make ecs-watch fast; this makes it right. What is due is found by the sparse index on
`due_at`, never by a scan: with nothing due a tick costs two reads of the table and none of ECS.
Once an hour the census reads every service, spread over the ticks, and finds what no event told.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from notifier.arns import cluster_name, parse_arn
from notifier.errors import Conflict, ReadFailed, StoreUnavailable
from notifier.incidents import BEGINNING, Policy
from notifier.model import (
    Census,
    ClusterState,
    Due,
    Invocation,
    NotReadable,
    Observation,
    Owed,
    Reason,
    Route,
    ServiceReading,
)
from notifier.saving import Table, key_of, route_of, save_decision

logger = logging.getLogger(__name__)

LOOK_FOR = timedelta(seconds=60)  # then it is told what was found, and the next tick looks on
TELL_FOR = timedelta(seconds=150)
NEEDED_FOR_A_LOOK = timedelta(seconds=20)
A_CHANNELS_TURN = timedelta(seconds=15)
WHILE_HELD = timedelta(seconds=2)
CENSUS_EVERY = timedelta(hours=1)
CALLS_A_TICK = 20
SERVICES_A_CALL = 10
SERVICES_AT_ONCE = 40  # of one look and one save: DynamoDB takes 100 items, and 4 MB
# Services of which the summary knows by name, and bytes of all names: a row holds 400 kB.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
TROUBLE_AT_MOST = 1_000
TROUBLE_HOLDS = 150_000
FOR_GOOD = {"gone", "no permission"}  # what reading this cluster again in a minute does not help


class Store(Table, Protocol):
    """What the lookout needs of the table."""

    def due(self, now: datetime) -> Due:
        """What is due by now."""

    def owed(self, destination: str) -> Sequence[Owed]:
        """What this channel is owed."""

    def census(self) -> Census | None:
        """Where the census stands."""

    def save_census(self, census: Census) -> None:
        """Remember where the census stands."""

    def owe_summary(self, destination: str, now: datetime, token: str) -> None:
        """Let this channel be told what the first census found."""


class Ecs(Protocol):
    """What is read of ECS. Each raises ReadFailed."""

    def services(
        self, cluster_arn: str, names: Sequence[str], now: datetime
    ) -> Mapping[str, ServiceReading]:
        """What DescribeServices shows, ten a call."""

    def clusters(self) -> Sequence[str]:
        """The ARNs of all clusters."""

    def service_names(self, cluster_arn: str, page: str) -> tuple[Sequence[str], str]:
        """A page of a cluster's services, and the token of the next page or nothing."""


class Teller(Protocol):
    """Whoever tells a channel what it is owed."""

    def tell(self, destination: str, run: Invocation, until: datetime) -> bool:
        """Tell what is due; False when the time ran out, or another holds the channel."""


@dataclass(frozen=True, slots=True)
class Lookout:
    """The tick."""

    store: Store
    ecs: Ecs
    teller: Teller
    routes: tuple[Route, ...]

    def tick(self, run: Invocation) -> Due:
        """See to all that is due now; returns what was due."""
        began = run.now()
        due = self.store.due(began)
        channels = dict.fromkeys(due.channels)
        for cluster_key, keys in _at_once(due.services):
            if run.now() - began > LOOK_FOR or run.remaining() < NEEDED_FOR_A_LOOK:
                break
            channels.update(dict.fromkeys(self._look(cluster_key, keys, run)))
        channels.update(dict.fromkeys(self._count(run)))
        self._tell(list(channels), run)
        self._measure(due, run)
        return due

    def _measure(self, due: Due, run: Invocation) -> None:
        """How much is owed, since when, and how much is open."""
        channels = {route.destination for route in self.routes if not route.ignored}
        owed = [one for channel in sorted(channels) for one in self.store.owed(channel)]
        ages = [run.now() - one.since for one in owed if one.since]
        run.tally["Ticks"] += 1
        run.tally["Owed"] += len(owed)
        run.tally["OwedAge"] += int(max(ages, default=timedelta()).total_seconds())
        run.tally["OpenClusters"] += due.open_clusters

    # --- what is due --------------------------------------------------------------------------

    def _look(self, cluster_key: str, keys: Sequence[str], run: Invocation) -> Iterable[str]:
        """Read these services and save what it means. A bad one does not stop the others."""
        try:
            return list(self._save(cluster_key, self._read(cluster_key, keys, run), run))
        except (Conflict, StoreUnavailable) as error:
            # The table is busy; forty saves instead of one would not help it.
            logger.warning("not looked", extra={"cluster": cluster_key, "why": str(error)})
            return ()
        except Exception:
            if len(keys) > 1:
                return [to for key in keys for to in self._look(cluster_key, [key], run)]
            logger.exception("look failed", extra={"cluster": cluster_key, "service": keys[0]})
            return ()

    def _read(self, cluster_key: str, keys: Sequence[str], run: Invocation) -> list[Observation]:
        """What ECS shows of each. It shows nothing of daemons and CodeDeploy deployment groups."""
        names = [key for key in keys if ":" not in key and parse_arn(cluster_key)]
        shown: list[Observation] = [
            NotReadable(service=key, why="not shown by ECS") for key in keys if key not in names
        ]
        if not names:
            return shown
        try:
            return [*shown, *self.ecs.services(cluster_key, names, run.now()).values()]
        except ReadFailed as error:
            logger.warning("not read", extra={"cluster": cluster_key, "why": error.why})
            return [*shown, *(NotReadable(service=name, why=error.why) for name in names)]

    def _save(
        self,
        cluster_key: str,
        observations: Sequence[Observation],
        run: Invocation,
        *,
        is_first_census: bool = False,
    ) -> Iterable[str]:
        policy = Policy(route=route_of(cluster_key, self.routes), is_first_census=is_first_census)
        empty = _cluster(cluster_key)
        decision, owed = save_decision(self.store, empty, observations, run, policy)
        for observation, reason in zip(observations, decision.reasons, strict=True):
            about = {"cluster": cluster_key, "service": key_of(observation)}
            logger.info("looked", extra={**about, "reason": str(reason)})
        return [to for to, due_at in owed.items() if due_at <= run.now()]

    # --- the census ---------------------------------------------------------------------------

    def _count(self, run: Invocation) -> Iterable[str]:
        """Read a part of all services; returns the channels that are owed something by it."""
        try:
            return self._census_step(run)
        except Exception:
            logger.exception("census failed")
            return ()

    def _census_step(self, run: Invocation) -> Iterable[str]:
        census = _begun(self.store.census(), run.now())
        if census is None:
            return ()
        calls, owed = 0, dict[str, None]()
        while calls < CALLS_A_TICK and run.remaining() > NEEDED_FOR_A_LOOK:
            try:
                census, made, channels = self._read_a_page(census, run)
            except ReadFailed as error:
                logger.warning("census waits", extra={"why": str(error)})
                break
            calls += made
            owed.update(dict.fromkeys(channels))
            if not census.clusters:
                owed.update(dict.fromkeys(self._finish(census, run)))
                census = replace(census, finished_at=run.now())
                break
        self.store.save_census(census)
        return owed

    def _read_a_page(self, census: Census, run: Invocation) -> tuple[Census, int, Iterable[str]]:
        """The census after the next page of services, how many calls it took, and who is owed."""
        if not census.is_listed:
            return self._listed(census), 1, ()
        cluster_arn, *rest = census.clusters
        try:
            names, page = self.ecs.service_names(cluster_arn, census.page)
            found = self.ecs.services(cluster_arn, names, run.now()) if names else {}
        except ReadFailed as error:
            if error.why not in FOR_GOOD:
                raise
            logger.warning("cluster not read", extra={"cluster": cluster_arn, "why": str(error)})
            return replace(census, clusters=tuple(rest), page=""), 1, ()
        census, channels = self._found(census, list(found.values()), run)
        if census.finished_at is None:
            census = replace(census, services=census.services + len(names))
        left = census.clusters if page else tuple(rest)
        calls = 1 + -(-len(names) // SERVICES_A_CALL)
        return replace(census, clusters=left, page=page), calls, channels

    def _listed(self, census: Census) -> Census:
        clusters = tuple(arn for arn in self.ecs.clusters() if not self._ignored(arn))
        watched = len(clusters) if census.finished_at is None else census.watched
        return replace(census, clusters=clusters, is_listed=True, watched=watched)

    def _ignored(self, cluster_arn: str) -> bool:
        return route_of(cluster_arn, self.routes).ignored

    def _found(
        self, census: Census, readings: Sequence[ServiceReading], run: Invocation
    ) -> tuple[Census, Iterable[str]]:
        """Save only what is not as it should be: a healthy account costs the table nothing."""
        cluster_arn = census.clusters[0]
        broken = [reading for reading in readings if _is_broken(reading)]
        if not broken:
            return census, ()
        is_first = census.finished_at is None
        policy = Policy(route=route_of(cluster_arn, self.routes), is_first_census=is_first)
        lines: list[str] = []
        channels: dict[str, None] = {}
        for start in range(0, len(broken), SERVICES_AT_ONCE):
            part = broken[start : start + SERVICES_AT_ONCE]
            decision, owed = save_decision(self.store, _cluster(cluster_arn), part, run, policy)
            channels.update({to: None for to, due_at in owed.items() if due_at <= run.now()})
            lines += [
                f"{cluster_name(cluster_arn)} / {reading.service}"
                for reading, reason in zip(part, decision.reasons, strict=True)
                if reason in BEGINNING or reason is Reason.FOUND_BY_CENSUS
            ]
        if not is_first:
            return census, channels
        route = policy.route.destination
        return _with_trouble(census, route, lines), ()

    def _finish(self, census: Census, run: Invocation) -> Iterable[str]:
        """The first census ends in one message in each channel."""
        if census.finished_at is not None:
            return ()
        channels = {route.destination for route in self.routes if not route.ignored}
        for channel in sorted(channels):
            self.store.owe_summary(channel, run.now(), run.unique())
        return sorted(channels)

    # --- telling ------------------------------------------------------------------------------

    def _tell(self, channels: Sequence[str], run: Invocation) -> None:
        """Tell each channel in turn for a while, so that none with much to tell starves another.

        One that somebody else holds is waited for: it may have died with it.
        """
        until, waiting = run.now() + TELL_FOR, list(channels)
        while waiting and run.now() < until and run.remaining() > NEEDED_FOR_A_LOOK:
            began = run.now()
            waiting = [channel for channel in waiting if not self._is_told(channel, run)]
            if waiting and run.now() - began < WHILE_HELD:
                run.sleep(WHILE_HELD)

    def _is_told(self, channel: str, run: Invocation) -> bool:
        try:
            return self.teller.tell(channel, run, run.now() + A_CHANNELS_TURN)
        except Exception:
            logger.exception("not told yet", extra={"destination": channel})
            return True


def _begun(census: Census | None, now: datetime) -> Census | None:
    """The round that is under way or begins now; None when the last one is not an hour old."""
    if census is None:
        return Census(started_at=now)
    if census.clusters or not census.is_listed:
        return census
    if now - census.started_at < CENSUS_EVERY:
        return None
    # What the first round found stays: its summary may not have been told yet.
    return replace(census, started_at=now, is_listed=False)


def _with_trouble(census: Census, route: str, lines: Iterable[str]) -> Census:
    """The census with what it found in trouble, as much of it as its row can hold."""
    known = list(census.trouble.get(route, ()))
    room = TROUBLE_HOLDS - sum(len(line) for one in census.trouble.values() for line in one)
    for line in lines:
        room -= len(line)
        if room >= 0 and len(known) < TROUBLE_AT_MOST:
            known.append(line)
    return replace(census, trouble={**census.trouble, route: tuple(known)})


def _at_once(services: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, Sequence[str]]]:
    """So many services of a cluster as one look and one save take."""
    for cluster_key, keys in services.items():
        for start in range(0, len(keys), SERVICES_AT_ONCE):
            yield cluster_key, keys[start : start + SERVICES_AT_ONCE]


def _cluster(cluster_key: str) -> ClusterState:
    """A cluster as it is before anything is known of it but its key."""
    arn = parse_arn(cluster_key)
    if arn is None:
        return ClusterState(key=cluster_key, account="", region="", partition="aws")
    return ClusterState(
        key=cluster_key, account=arn.account, region=arn.region, partition=arn.partition
    )


def _is_broken(reading: ServiceReading) -> bool:
    failed = any(row.rollout_state == "FAILED" for row in reading.deployments)
    return failed or any(told.is_failure for told in reading.messages)
