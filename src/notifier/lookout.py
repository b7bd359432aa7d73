"""Step two, every minute: read again what is open or due, and see to what was not told.

Events make ecs-watch fast; this makes it right. What is due is found by the sparse index on
`due_at`, never by a scan: with nothing due a tick costs two reads of the table and none of ECS.
Once an hour the census reads every service, spread over the ticks, and finds what no event told.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from notifier import checkup, rounds, task_runs
from notifier.arns import cluster_name, parse_arn
from notifier.checkup import Finding, Verdict
from notifier.errors import Conflict, ReadFailed, StoreUnavailable
from notifier.examining import Examination
from notifier.incidents import Decision, Policy
from notifier.model import (
    BEGINNING,
    Census,
    Checkup,
    ClusterState,
    Due,
    EssentialContainers,
    Heard,
    Invocation,
    NotReadable,
    Observation,
    Owed,
    Reason,
    Route,
    ServiceReading,
    SubjectKind,
)
from notifier.progress import lacks_tasks
from notifier.saving import Table, key_of, route_of, save_decision
from notifier.thresholds import SHIPPED, Thresholds

logger = logging.getLogger(__name__)

LOOK_FOR = timedelta(seconds=60)  # then it is told what was found, and the next tick looks on
TELL_FOR = timedelta(seconds=150)
NEEDED_FOR_A_LOOK = timedelta(seconds=20)
CHECK_FOR = timedelta(seconds=60)  # then what was not looked at yet waits for the next check
NEEDED_FOR_A_CHECKUP = timedelta(seconds=120)  # calls that hang, and then telling it
A_CHANNELS_TURN = timedelta(seconds=15)
WHILE_HELD = timedelta(seconds=2)
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

    def heard(self) -> Sequence[Heard]:
        """The last heartbeat of each account and region that is watched."""

    def forget(self, heartbeat: Heard) -> None:
        """Watch this account and region no more, if this still is its last heartbeat."""

    def owe_note(self, what: str, destination: str, now: datetime, token: str) -> None:
        """Let this channel be told something that is of no cluster."""

    def checkup(self) -> Checkup:
        """What the watcher last found of itself."""

    def save_checkup(self, checkup: Checkup) -> None:
        """Remember what the watcher found of itself."""


class Ecs(Protocol):
    """What is read of ECS. Each raises ReadFailed."""

    def services(
        self, cluster_arn: str, names: Sequence[str], now: datetime
    ) -> Mapping[str, ServiceReading]:
        """What DescribeServices shows, ten a call."""

    def essential_containers(self, cluster_arn: str, task_definition: str) -> Sequence[str]:
        """The names of a task definition's essential containers."""

    def clusters(self) -> Sequence[str]:
        """The ARNs of all our own clusters."""

    def clusters_of(self, account: str, region: str) -> Sequence[str]:
        """The ARNs of all clusters of a member."""

    def is_ours(self, account: str, region: str) -> bool:
        """Whether this is our own account and region, and not a member's."""

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
    examination: Callable[[Callable[[], bool]], Examination] | None = None
    thresholds: Thresholds = SHIPPED

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
        self._tell(self._check_ourselves(run), run)
        self._measure(due, run)
        return due

    def _measure(self, due: Due, run: Invocation) -> None:
        """How much is owed, since when, and how much is open."""
        channels = {route.destination for route in self.routes if not route.ignored}
        owed = [one for channel in sorted(channels) for one in self.store.owed(channel)]
        ages = [run.now() - one.since for one in owed if one.since]
        run.tally["Owed"] += len(owed)
        run.tally["OwedAge"] += int(max([timedelta(), *ages]).total_seconds())
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
            *self._read_essential(cluster_key, [key for key in keys if key not in names]),
            *(NotReadable(service=key, why="not shown by ECS") for key in keys if key not in names),
        ]
        if not names:
            return shown
        try:
            return [*shown, *self.ecs.services(cluster_key, names, run.now()).values()]
        except ReadFailed as error:
            logger.warning("not read", extra={"cluster": cluster_key, "why": error.why})
            return [*shown, *(NotReadable(service=name, why=error.why) for name in names)]

    def _read_essential(self, cluster_key: str, keys: Sequence[str]) -> Iterator[Observation]:
        """Of tasks whose end cannot be judged without it, which containers are essential."""
        tasks = [key for key in keys if key.startswith(f"{SubjectKind.TASK}: ")]
        known = self.store.load(cluster_key, tasks) if tasks else None
        for task in known.services.values() if known else ():
            waiting = task_runs.undecided(task)
            for arn in sorted({one.launch.task_definition for one in waiting if one.launch}):
                try:
                    names = tuple(self.ecs.essential_containers(cluster_key, arn))
                except ReadFailed as error:
                    about = {"cluster": cluster_key, "task": task.name, "why": error.why}
                    logger.warning("essential containers not read", extra=about)
                else:
                    yield EssentialContainers(service=task.key, task_definition=arn, names=names)

    def _save(
        self,
        cluster_key: str,
        observations: Sequence[Observation],
        run: Invocation,
        *,
        is_first_census: bool = False,
    ) -> Iterable[str]:
        policy = self._policy(cluster_key, is_first_census=is_first_census)
        empty = _cluster(cluster_key)
        decision, owed = save_decision(self.store, empty, observations, run, policy)
        _log_why("looked", observations, decision)
        return [to for to, due_at in owed.items() if due_at <= run.now()]

    def _policy(self, cluster_key: str, *, is_first_census: bool = False) -> Policy:
        return Policy(
            route=route_of(cluster_key, self.routes),
            is_first_census=is_first_census,
            thresholds=self.thresholds,
        )

    # --- the census ---------------------------------------------------------------------------

    def _count(self, run: Invocation) -> Iterable[str]:
        """Read a part of all services; returns the channels that are owed something by it."""
        try:
            return self._census_step(run)
        except Exception:
            logger.exception("census failed")
            return ()

    def _census_step(self, run: Invocation) -> Iterable[str]:
        census = rounds.begun(self.store.census(), run.now(), self._is_ours)
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
            return self._listed(census, run.now()), 1, ()
        cluster_arn, *rest = census.clusters
        try:
            if member := rounds.as_member(cluster_arn):
                return self._with_clusters_of(member, census), 1, ()
            names, page = self.ecs.service_names(cluster_arn, census.page)
            found = self.ecs.services(cluster_arn, names, run.now()) if names else {}
        except ReadFailed as error:
            is_for_good = error.why in FOR_GOOD
            if self._is_ours(cluster_arn) and not is_for_good:
                raise
            logger.warning("cluster not read", extra={"cluster": cluster_arn, "why": str(error)})
            if is_for_good:
                return rounds.refused(census), 1, ()
            # A member that does not answer is asked again in the next round: no other waits for
            # it, but for this tick it has taken time enough.
            return rounds.without(census), CALLS_A_TICK, ()
        census, channels = self._found(census, list(found.values()), run)
        if census.finished_at is None:
            census = replace(census, services=census.services + len(names))
        left = census.clusters if page else tuple(rest)
        calls = 1 + -(-len(names) // SERVICES_A_CALL)
        return replace(census, clusters=left, page=page), calls, channels

    def _listed(self, census: Census, now: datetime) -> Census:
        """Our own clusters, then each member of which a heartbeat is known, with all of its own."""
        members = [
            rounds.member_entry(one.account, one.region)
            for one in self.store.heard()
            if self._is_member(one) and now - one.at < checkup.FORGET_AFTER
        ]
        return self._with(self.ecs.clusters(), rounds.listed(census, members))

    def _with_clusters_of(self, member: tuple[str, str], census: Census) -> Census:
        return self._with(self.ecs.clusters_of(*member), rounds.answered(census))

    def _with(self, found: Sequence[str], census: Census) -> Census:
        """The census with these clusters to read first; the first round counts them."""
        watched = tuple(arn for arn in found if not self._ignored(arn))
        count = len(watched) if census.finished_at is None else 0
        clusters = (*watched, *census.clusters)
        return replace(census, clusters=clusters, watched=census.watched + count)

    def _name(self, cluster_arn: str) -> str:
        """A cluster's name; of a member's one also where it is, for that alone is its own."""
        arn, name = parse_arn(cluster_arn), cluster_name(cluster_arn)
        is_ours = arn is None or self.ecs.is_ours(arn.account, arn.region)
        return name if is_ours or arn is None else f"{name} ({arn.account}, {arn.region})"

    def _is_ours(self, entry: str) -> bool:
        place = rounds.place_of(entry)
        return place is None or self.ecs.is_ours(*place)

    def _ignored(self, cluster_arn: str) -> bool:
        return route_of(cluster_arn, self.routes).ignored

    def _found(
        self, census: Census, readings: Sequence[ServiceReading], run: Invocation
    ) -> tuple[Census, Iterable[str]]:
        """Save only what is not as it should be: a healthy account costs the table nothing.

        What lacks tasks is looked at again until it has them, and fails if it makes no progress.
        """
        cluster_arn = census.clusters[0]
        broken = [reading for reading in readings if _is_broken(reading)]
        if not broken:
            return census, ()
        is_first = census.finished_at is None
        policy = self._policy(cluster_arn, is_first_census=is_first)
        lines: list[str] = []
        channels: dict[str, None] = {}
        for start in range(0, len(broken), SERVICES_AT_ONCE):
            part = broken[start : start + SERVICES_AT_ONCE]
            decision, owed = save_decision(self.store, _cluster(cluster_arn), part, run, policy)
            _log_why("found", part, decision)
            channels.update({to: None for to, due_at in owed.items() if due_at <= run.now()})
            lines += [
                f"{self._name(cluster_arn)} / {reading.service}"
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
            self.store.owe_note("summary", channel, run.now(), run.unique())
        return sorted(channels)

    # --- ourselves ----------------------------------------------------------------------------

    def _check_ourselves(self, run: Invocation) -> Sequence[str]:
        """Whether all of the watcher is as it should be; returns the channel that is to hear it."""
        if self.examination is None:
            return ()
        try:
            known = self.store.checkup()
            found = self._found_of_ourselves(known, run)
            return self._owe_checkup(known, found, run)
        except Exception:
            logger.exception("self-check failed")
            return ()

    def _found_of_ourselves(self, known: Checkup, run: Invocation) -> Checkup:
        """Heartbeats each minute, everything once an hour."""
        now = run.now()
        silent, ended = self._listen(known, run)
        failing = checkup.after(known, silent, asked=checkup.HEARTBEAT)
        is_time = checkup.is_stale(known, now) and run.remaining() > NEEDED_FOR_A_CHECKUP
        if self.examination and is_time:
            examination = self.examination(lambda: run.now() - now > CHECK_FOR)
            findings = [*examination.findings(), *silent]
            failing = checkup.after(known, findings)
            known = replace(known, checked_at=now)
            _log(findings)
        run.tally["FailedChecks"] += len(failing)
        return replace(known, failing=failing, ended=ended)

    def _listen(self, known: Checkup, run: Invocation) -> tuple[list[Finding], dict[str, str]]:
        """What the heartbeats say; and how those ended that are told as silent and are no more.

        Our own is never forgotten. A member's row goes once it is saved how its silence ended.
        """
        now, watched, ended = run.now(), list[Heard](), dict(known.ended)
        for one in self.store.heard():
            check, is_member = checkup.heartbeat_of(one), self._is_member(one)
            ended.pop(check, None)
            if not is_member or now - one.at < checkup.FORGET_AFTER:
                watched.append(one)
                run.tally["SilentMembers"] += is_member and checkup.is_silent(one, now)
                continue
            ended[check] = checkup.FORGOTTEN
            if check not in known.failing:
                self.store.forget(one)
        told = {check: how for check, how in ended.items() if check in known.told}
        return list(checkup.heartbeats(watched, now)), told

    def _is_member(self, one: Heard) -> bool:
        return not self.ecs.is_ours(one.account, one.region)

    def _owe_checkup(self, before: Checkup, found: Checkup, run: Invocation) -> Sequence[str]:
        now = run.now()
        if found.ticked_at is None or now - found.ticked_at >= checkup.TICKED_EVERY:
            found = replace(found, ticked_at=now)
        if found != before:
            self.store.save_checkup(found)
        channels = [route.destination for route in self.routes if not route.ignored][-1:]
        if found.news and (
            found.failing != before.failing or found.checked_at != before.checked_at
        ):
            for channel in channels:
                self.store.owe_note("checkup", channel, now, run.unique())
            return channels
        return ()

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


def _log_why(what: str, observations: Sequence[Observation], decision: Decision) -> None:
    """Why is it (not) told? One line for each observation."""
    for observation, reason in zip(observations, decision.reasons, strict=True):
        about = {"cluster": decision.cluster.key, "service": key_of(observation)}
        logger.info(what, extra={**about, "reason": str(reason)})


def _log(findings: Iterable[Finding]) -> None:
    """What fails, with what to do; and what could not be seen, for whoever wonders."""
    for one in findings:
        about = {"check": one.check, "why": one.line}
        if one.verdict is Verdict.FAILS:
            logger.error("check failed", extra=about)
        elif one.verdict is not Verdict.WORKS:
            logger.info("check left open", extra=about)


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
    told = any(told.is_failure for told in reading.messages)
    return failed or told or lacks_tasks(reading)
