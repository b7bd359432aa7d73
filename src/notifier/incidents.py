"""All rules about what is wrong, what is news, and when it is over.

`decide` is pure: the state, what came in, the time and the policy go in; the new state and a named
`Reason` for each observation come out, also for saying nothing. Nothing else in the program decides
whether a reader hears of something.

What a service's row says is derived so that the order and repetition of events do not matter: of
each deployment only what can no longer be undone is kept (it failed, it completed, it is a
roll-back), causes are kept by name with the newest wording, and only a look at ECS ends a failure.
"""

import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from notifier import standalone
from notifier.events import is_failure
from notifier.facts import Confidence, Diagnosis, Explanation, Shipment
from notifier.model import (
    BEGINNING,
    ClusterState,
    CodeDeployStateChange,
    DaemonDeploymentStateChange,
    DaemonServiceAction,
    Death,
    Deployment,
    DeploymentStateChange,
    Dying,
    EssentialContainers,
    Event,
    Failure,
    HookStateChange,
    Impact,
    KnownDeployment,
    NotReadable,
    Observation,
    Observed,
    Phase,
    Reason,
    Route,
    ServiceAction,
    ServiceReading,
    ServiceState,
    Shipped,
    SubjectKind,
    TaskStateChange,
    Transition,
)
from notifier.progress import primary_of, progress_after, stalled_since
from notifier.tasks import Stop, cause_of_stop, verdict_on_stop
from notifier.thresholds import SHIPPED, Deaths, Thresholds

SEEN_AT_MOST = 100  # identities of events kept per service, to recognise a second copy
SHIPMENTS_KEPT = 5
KEPT_AT_MOST = 10  # deployments, causes and deaths kept per service
UNTOLD_AT_MOST = 5  # transitions kept per service; what is older is folded into the newer ones

HOLD_DOWN_AT_LEAST = timedelta(minutes=5)
HOLD_DOWN_AT_MOST = timedelta(hours=6)
LATE = timedelta(minutes=15)
QUIET_AFTER = timedelta(minutes=30)
QUIET_GOES_ON_FOR = timedelta(hours=7)  # ECS withholds what it said already for six
FLAPPING_AT = 3  # failures within the window
FLAPPING_UNTIL = timedelta(minutes=60)  # without a failure
DEATHS_NEAR = timedelta(minutes=15)
DEATHS_KEPT_FOR = timedelta(hours=6)
SAME_STORY = timedelta(hours=1)  # causes further apart are told by the newest alone
# "unable to consistently start tasks": recorded 43 times in a row, a quarter of an hour apart.
IMPAIRED_EVERY = timedelta(minutes=15)
CLOCKS = timedelta(minutes=1)  # by which an event and a reading may differ about the same moment
COUNTS_WITHIN = timedelta(minutes=5)
SHOWN_WITHIN = timedelta(minutes=2)  # ECS shows a deployment that has begun
NEXT_TICK = timedelta(seconds=45)  # the next is due then, however long this one has taken
LOOK_EVERY = (timedelta(minutes=1), timedelta(minutes=15))

# Told when one of them comes; each other reason is only logged, or shown by the root's next edit.
TOLD = {
    Reason.NEWLY_FAILING,
    Reason.FAILING_AGAIN,
    Reason.FLAPPING,
    Reason.ANOTHER_DEPLOYMENT,
    Reason.ANOTHER_CAUSE,
    Reason.WORSE,
    Reason.STILL_FAILING,
    Reason.RECOVERED,
    Reason.ROLLED_BACK,
    Reason.NOW_LIVE,
    Reason.WENT_QUIET,
    Reason.SCALED_TO_ZERO,
    Reason.DELETED,
    Reason.SUPERSEDED,
    Reason.OVER_BEFORE_TOLD,
    Reason.DEPLOYER_KNOWN,
    Reason.RETRIED,
}
WITHOUT_TRACE = {
    Reason.SECOND_COPY,
    Reason.IGNORED_CLUSTER,
    Reason.NO_SUBJECT,
    Reason.BENIGN_STOP,
}

FAILED = "SERVICE_DEPLOYMENT_FAILED"
IN_PROGRESS = "SERVICE_DEPLOYMENT_IN_PROGRESS"
COMPLETED = "SERVICE_DEPLOYMENT_COMPLETED"
STEADY = "SERVICE_STEADY_STATE"
IMPAIRED = "SERVICE_TASK_START_IMPAIRED"
# Our own names for causes that ECS sends no event of.
TASKS_DIE, NO_PROGRESS = "tasks die", "no progress"
OUR_OWN = {TASKS_DIE, NO_PROGRESS}

# Which of several causes a reader is told first: the one that says most. Unlisted ones rank 2.
_RANK = {
    "SERVICE_TASK_CONFIGURATION_FAILURE": 4,
    "SERVICE_TASK_PLACEMENT_FAILURE": 4,
    "DAEMON_DEPLOYMENT_ROLLBACK_FAILED": 4,
    FAILED: 3,
    IN_PROGRESS: 1,  # of a roll-back
    IMPAIRED: 1,
    NO_PROGRESS: 1,
}
# Stages of one and the same trouble: that the next is reached is no other cause.
_ONE_TROUBLE = (
    {FAILED, IN_PROGRESS},
    {NO_PROGRESS, TASKS_DIE, IMPAIRED},
    {
        "DAEMON_DEPLOYMENT_STOP_REQUESTED",
        "DAEMON_DEPLOYMENT_STOPPED",
        "DAEMON_DEPLOYMENT_ROLLBACK_IN_PROGRESS",
        "DAEMON_DEPLOYMENT_ROLLBACK_SUCCESSFUL",
    },
)
# Trouble of which a look at the service's counts shows nothing.
_NOT_SHOWN_BY_ECS = {
    "SERVICE_DISCOVERY_INSTANCE_UNHEALTHY",
    "VPC_LATTICE_TARGET_UNHEALTHY",
    "ECS_OPERATION_THROTTLED",
    "SERVICE_DISCOVERY_OPERATION_THROTTLED",
    "SERVICE_HEALTH_UNKNOWN",
}
# Why a look failed, where the next one would fail too.
NO_PERMISSION, GONE = "no permission", "gone"
_FOR_GOOD = {NO_PERMISSION, GONE, "not shown by ECS"}
# Why a read failed that may succeed in a moment; "unavailable" may say more behind it.
_WILL_PASS = ("throttled", "too slow", "unavailable")
# What tells what changed: the releases, what each deploys, and what that asks for.
_READS_OF_CHANGES = {
    "ecs:DescribeServices",
    "ecs:ListServiceDeployments",
    "ecs:DescribeServiceDeployments",
    "ecs:DescribeServiceRevisions",
    "ecs:DescribeTaskDefinition",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the stack's owner decided. A closed incident goes on within the `window`.

    What the first census finds is told by its summary; its incident waits for the first change.
    """

    route: Route
    repeat_interval: timedelta = timedelta(hours=4)
    window: timedelta = timedelta(minutes=60)
    is_first_census: bool = False
    thresholds: Thresholds = SHIPPED


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The cluster's new state, and for each observation, in order, why it is told or not.

    `changed` says whether there is anything to save.
    """

    cluster: ClusterState
    reasons: tuple[Reason, ...]
    changed: bool


def decide(
    cluster: ClusterState, observations: Sequence[Observation], now: datetime, policy: Policy
) -> Decision:
    """Apply the observations to the cluster's state, one after another."""
    services = dict(cluster.services)
    reasons, changed = [], False
    for observation in observations:
        subject = subject_of(observation)
        if subject is None:
            reasons.append(Reason.NO_SUBJECT)
            continue
        before = services.get(subject.key, subject)
        after, reason = _decide_one(before, observation, now, policy)
        after = _noted(before, after, reason, now, policy)
        changed |= reason not in WITHOUT_TRACE or after.due_at != before.due_at
        services[subject.key] = after
        reasons.append(reason)
    after_all = _with_incident(cluster, replace(cluster, services=services), now, policy)
    return Decision(cluster=after_all, reasons=tuple(reasons), changed=changed)


def cluster_of(event: Event) -> ClusterState:
    """The cluster that an event is about, as it is before anything is known of it."""
    unknown = f"unknown cluster ({event.account}, {event.region})"
    return ClusterState(
        key=event.cluster_arn or unknown,
        account=event.account,
        region=event.region,
        partition=event.partition,
    )


def subject_of(observation: Observation) -> ServiceState | None:
    """The row that an observation is about, as it is before anything is known of it."""
    match observation:
        case ServiceReading() | NotReadable() | Explanation() | Shipped() | EssentialContainers():
            return _subject_of_look(observation.service)
        case Observed(event=DeploymentStateChange() | ServiceAction() | HookStateChange() as event):
            return ServiceState(name=event.service)
        case Observed(event=TaskStateChange(service=str() as name)):
            return ServiceState(name=name)
        case Observed(event=DaemonServiceAction() | DaemonDeploymentStateChange() as event):
            return ServiceState(name=event.daemon, kind=SubjectKind.DAEMON)
        case Observed(event=CodeDeployStateChange() as event):
            name = f"{event.application}/{event.deployment_group}"
            return ServiceState(name=name, kind=SubjectKind.CODEDEPLOY)
    return standalone.subject(observation.event)


def _subject_of_look(key: str) -> ServiceState:
    """A look names a row by its key, which tells what kind of thing it is about."""
    for kind in SubjectKind:
        name = key.removeprefix(f"{kind}: ")
        if kind is not SubjectKind.SERVICE and name != key:
            return ServiceState(name=name, kind=kind)
    return ServiceState(name=key)


def _decide_one(
    before: ServiceState, observation: Observation, now: datetime, policy: Policy
) -> tuple[ServiceState, Reason]:
    if policy.route.ignored and not before.phase.is_open:
        return replace(before, due_at=None), Reason.IGNORED_CLUSTER
    if before.kind is SubjectKind.TASK:
        limits = standalone.Limits(policy.window, policy.repeat_interval)
        return standalone.decide(before, observation, now, limits)
    return _decide_on_service(before, observation, now, policy)


def _decide_on_service(
    before: ServiceState, observation: Observation, now: datetime, policy: Policy
) -> tuple[ServiceState, Reason]:
    match observation:
        case ServiceReading():
            return _on_reading(before, observation, now, policy)
        case NotReadable():
            return _on_not_readable(before, observation, now, policy)
        case Explanation():
            return _on_explanation(before, observation)
        case Shipped():
            return _on_shipment(before, observation.shipment)
        case Observed():
            return _on_event(before, observation, now, policy)
    return before, Reason.NO_SUBJECT


@dataclass(frozen=True, slots=True)
class _Case:
    """A service before and with what an observation tells of its deployments and deaths."""

    before: ServiceState
    noted: ServiceState
    is_late: bool
    now: datetime
    policy: Policy


# --- events -------------------------------------------------------------------------------------


def _on_event(
    before: ServiceState, observed: Observed, now: datetime, policy: Policy
) -> tuple[ServiceState, Reason]:
    event, identity = observed.event, _short(observed.event.identity)
    if identity in before.seen:
        return before, Reason.SECOND_COPY
    noted = replace(before, seen=(*before.seen, identity)[-SEEN_AT_MOST:])
    case = _Case(before, noted, _is_late(observed), now, policy)
    if isinstance(event, TaskStateChange):
        return _on_stop(case, event)
    if isinstance(event, DeploymentStateChange):
        case = replace(case, noted=_with_deployments(noted, _told_by(event)))
    if is_failure(event) or _is_rollback(event):
        return _on_failure(case, _failure_of(event))
    if (failure := _unheard_deaths(case)) is not None:
        return _on_deaths(case, failure)
    return _on_progress(case.noted, event, now), Reason.PROGRESS


def _short(identity: str) -> str:
    """A hundred identities must fit in a small row; 16 hex digits do not collide within it."""
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def _is_late(observed: Observed) -> bool:
    return observed.received_at - observed.event.occurred_at > LATE


def _failure_of(event: Event) -> Failure:
    return Failure(
        event=event.name,
        reason=event.reason,
        deployment_id=getattr(event, "deployment_id", None),
        occurred_at=event.occurred_at,
    )


def _is_rollback(event: Event) -> bool:
    """ECS says only in the text that a deployment is a roll-back, whatever id it bears.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_service_deployment_events.html
    """
    return isinstance(event, DeploymentStateChange) and _rolls_back(event.name, event.reason)


def _rolls_back(state: str, reason: str) -> bool:
    """The failed deployment's own text may announce the roll-back too."""
    return not state.endswith("FAILED") and "rolling back to" in reason.lower()


def _told_by(event: DeploymentStateChange) -> tuple[KnownDeployment, ...]:
    """What a deployment's event tells of it that can no longer be undone."""
    if not event.deployment_id:
        return ()
    at, is_rollback = event.occurred_at, _is_rollback(event)
    known = KnownDeployment(
        id=event.deployment_id,
        updated_at=at,
        began_at=at if event.name == IN_PROGRESS else None,
        completed_at=at if event.name == COMPLETED else None,
        failed_at=at if event.name == FAILED else None,
        is_release=event.name == IN_PROGRESS and not is_rollback,
        is_rollback=is_rollback,
    )
    return (known,)


def _with_deployments(before: ServiceState, news: Iterable[KnownDeployment]) -> ServiceState:
    """Join what is known of each deployment: what once was true of it stays true."""
    known = {one.id: one for one in before.deployments}
    for new in news:
        known[new.id] = _joined(known.get(new.id, new), new)
    newest = sorted(known.values(), key=lambda one: (one.updated_at, one.id))[-KEPT_AT_MOST:]
    return replace(before, deployments=tuple(newest))


def _joined(old: KnownDeployment, new: KnownDeployment) -> KnownDeployment:
    return KnownDeployment(
        id=new.id,
        updated_at=max(old.updated_at, new.updated_at),
        began_at=max(filter(None, (old.began_at, new.began_at)), default=None),
        completed_at=min(filter(None, (old.completed_at, new.completed_at)), default=None),
        failed_at=min(filter(None, (old.failed_at, new.failed_at)), default=None),
        task_at=min(filter(None, (old.task_at, new.task_at)), default=None),
        is_release=old.is_release or new.is_release,
        is_rollback=old.is_rollback or new.is_rollback,
        revision=old.revision or new.revision,
    )


def _on_progress(before: ServiceState, event: Event, now: datetime) -> ServiceState:
    """COMPLETED and STEADY_STATE turn nothing green; they make the service due for a look.

    What is under way is due every minute: whether it makes progress nobody but a look tells.
    """
    if event.name == STEADY:
        steady_at = max(event.occurred_at, before.steady_at or event.occurred_at)
        before = replace(before, steady_at=steady_at)
    if event.name == IN_PROGRESS and before.phase is Phase.WELL and not _is_settled(before, event):
        before = replace(before, phase=Phase.ROLLING, due_at=now + LOOK_EVERY[0])
    elif before.phase in (Phase.ROLLING, Phase.NOT_LIVE) or event.name in (COMPLETED, IN_PROGRESS):
        before = replace(before, due_at=now)
    return replace(before, due_at=now) if before.phase.is_open else before


def _is_settled(service: ServiceState, event: Event) -> bool:
    """Whether the deployment that this event says is under way has ended already."""
    mine = [one for one in service.deployments if one.id == getattr(event, "deployment_id", None)]
    return any(one.completed_at or one.failed_at for one in mine)


# --- tasks that die -----------------------------------------------------------------------------


def _on_stop(case: _Case, task: TaskStateChange) -> tuple[ServiceState, Reason]:
    """Count the deaths of tasks: ECS tells of no service whose tasks die after they ran."""
    stop = verdict_on_stop(task)
    death = Death(
        task=_short(task.task_arn),
        at=task.occurred_at,
        cause=cause_of_stop(task),
        started_by=task.started_by,
        is_clean=stop is Stop.CLEAN_EXIT,
    )
    if stop is Stop.BENIGN or (death.is_clean and _is_after_deployment(case.noted, death)):
        return case.noted, Reason.BENIGN_STOP
    if any(one.task == death.task for one in case.before.deaths):
        return case.noted, Reason.SECOND_COPY
    noted = _with_deployments(case.noted, _told_by_task(task))
    case = replace(case, noted=_with_death(noted, death))
    if (failure := _unheard_deaths(case)) is not None:
        return _on_deaths(case, failure)
    if not _are_deaths_watched(case.noted, case.policy.thresholds):
        return case.noted, Reason.NOT_WATCHED
    if case.before.phase.is_open and _newly_counted(case):
        counted = replace(case.noted, dying=_with_newly_dead(case))
        return _relapsed(case, counted, death.at), Reason.FEW_DEATHS
    return case.noted, Reason.FEW_DEATHS


def _is_watched(service: ServiceState) -> bool:
    """Whether no tag of it says otherwise, as far as it was read."""
    return service.reading is None or service.reading.is_watched


def _are_deaths_watched(service: ServiceState, thresholds: Thresholds) -> bool:
    """Whether anybody wants to know that its tasks die, where ECS reports nothing of it."""
    return bool(thresholds.deaths) and _is_watched(service)


def _told_by_task(task: TaskStateChange) -> Iterator[KnownDeployment]:
    """A task that died tells which release its deployment is of, and that it had begun by then."""
    if task.started_by.startswith("ecs-svc/"):
        at = task.occurred_at
        yield KnownDeployment(
            id=task.started_by, updated_at=at, task_at=at, revision=task.task_definition_arn
        )


def _is_after_deployment(service: ServiceState, death: Death) -> bool:
    """Whether the task ended when its deployment had completed, or belonged to none."""
    known = {one.id: one for one in service.deployments}.get(death.started_by)
    if known is None:
        return not death.started_by.startswith("ecs-svc/")
    return known.completed_at is not None and known.completed_at <= death.at


def _with_death(before: ServiceState, death: Death) -> ServiceState:
    deaths = sorted((*before.deaths, death), key=lambda one: (one.at, one.task))
    recent = [one for one in deaths if deaths[-1].at - one.at <= DEATHS_KEPT_FOR]
    clean = [one for one in recent if one.is_clean][-KEPT_AT_MOST:]
    bad = [one for one in recent if not one.is_clean][-KEPT_AT_MOST:]
    return replace(before, deaths=tuple(one for one in recent if one in clean or one in bad))


def counted_deaths(service: ServiceState) -> tuple[Death, ...]:
    """The deaths that count, oldest first; a clean exit does inside a known deployment only."""
    known = {one.id for one in service.deployments if _is_more_than_a_task(one)}
    return tuple(
        one
        for one in service.deaths
        if not one.is_clean or (one.started_by in known and not _is_after_deployment(service, one))
    )


def _is_more_than_a_task(one: KnownDeployment) -> bool:
    return bool(one.began_at or one.completed_at or one.failed_at or one.is_rollback)


def _newly_counted(case: _Case) -> set[Death]:
    """Deaths that were not judged yet: what came now; all lately, where a look was awaited."""
    counted, over_at = set(counted_deaths(case.noted)), case.before.over_at
    if case.before.is_weighed:
        return {one for one in counted if over_at is None or one.at > over_at}
    return counted - set(counted_deaths(case.before))


def _on_deaths(case: _Case, failure: Failure) -> tuple[ServiceState, Reason]:
    if not case.before.phase.is_open and _is_under_way(case.noted, failure.deployment_id):
        # Its circuit breaker, if it has one, counts the same deaths and says more: it comes first.
        return replace(case.noted, is_weighed=True, due_at=case.now), Reason.ECS_IS_AWAITED
    return _on_dying(case, failure)


def _is_under_way(service: ServiceState, deployment_id: str | None) -> bool:
    return any(
        one.began_at and not (one.completed_at or one.failed_at)
        for one in service.deployments
        if one.id == deployment_id
    )


def _on_dying(case: _Case, failure: Failure) -> tuple[ServiceState, Reason]:
    after, reason = _on_failure(case, failure)
    after = replace(after, dying=_with_newly_dead(case) or _first_dead(case))
    deaths = len(counted_deaths(case.noted))
    return (replace(after, count=deaths) if reason in BEGINNING else after), reason


def _with_newly_dead(case: _Case) -> Dying | None:
    """The count of this trouble with the tasks that died now: the row knows only the last ones."""
    known = case.before.dying if case.before.phase.is_open else None
    if known is None:
        return None
    newly = set(counted_deaths(case.noted)) - set(counted_deaths(case.before))
    return replace(known, count=known.count + sum(one.at >= known.since for one in newly))


def _first_dead(case: _Case) -> Dying | None:
    """The count from the first death that is too many with others, by the rule of the least time.

    Three of now say more than six of which three were told hours ago.
    """
    deaths = counted_deaths(case.noted)
    for rule in sorted(case.policy.thresholds.deaths, key=lambda one: one.within):
        firsts = [first.at for first, _ in _groups(deaths, _newly_counted(case), [rule])]
        if firsts:
            return Dying(count=sum(one.at >= min(firsts) for one in deaths), since=min(firsts))
    return None


def _unheard_deaths(case: _Case) -> Failure | None:
    """What the new deaths mean, with others of their deployment: nothing unless too many die.

    A clean exit may turn out only later to be one of a deployment.
    """
    deaths, newly = counted_deaths(case.noted), _newly_counted(case)
    ends = (last for _, last in _groups(deaths, newly, case.policy.thresholds.deaths))
    last = max(ends, key=lambda one: (one.at, one.task), default=None)
    if last is None or not _is_watched(case.noted):
        return None
    of = last.started_by if last.started_by.startswith("ecs-svc/") else None
    return Failure(event=TASKS_DIE, reason=last.cause, deployment_id=of, occurred_at=last.at)


def _groups(
    deaths: Sequence[Death], newly: set[Death], rules: Sequence[Deaths]
) -> Iterator[tuple[Death, Death]]:
    """The first and the last of each so many deaths as are too many, of which some are new."""
    for rule in rules:
        for like in newly:
            group = [one for one in deaths if one.started_by == like.started_by]
            if rule.of_one_cause:
                group = [one for one in group if _words(one.cause) == _words(like.cause)]
            for first, last in zip(group, group[rule.count - 1 :], strict=False):
                if first.at <= like.at <= last.at and last.at - first.at <= rule.within:
                    yield first, last


def _words(text: str) -> str:
    """A reason without what differs from one task to the next: ids, addresses and counts."""
    return re.sub(r"[0-9a-f-]{8,}|\d+", "#", text.lower())[:200]


# --- failures -----------------------------------------------------------------------------------


def cause(service: ServiceState) -> Failure | None:
    """What a reader is told first: of the causes of the same hour, the one that says most.

    That a deployment failed is said once only, and stays the cause while others come and go.
    """
    causes = present_causes(service)
    newest = max((one.occurred_at for one in causes), default=None)
    if newest is None:
        return None
    story = [one for one in causes if newest - one.occurred_at <= SAME_STORY or one.event == FAILED]
    return max(story, key=lambda one: (_RANK.get(one.event, 2), one.occurred_at, one.reason))


def present_causes(service: ServiceState) -> Sequence[Failure]:
    """The causes since it last was well, or else those of the last failing hour.

    That a deployment failed which a newer release has replaced is a cause only where no other is.
    """
    newest = max((one.occurred_at for one in service.causes), default=None)
    fresh = [
        one for one in service.causes if not service.over_at or one.occurred_at > service.over_at
    ]
    causes = fresh or [
        one for one in service.causes if newest and newest - one.occurred_at <= SAME_STORY
    ]
    return [one for one in causes if not _is_of_superseded(service, one)] or causes


def cause_event(service: ServiceState) -> str:
    """The name of what is told first; empty where there is none."""
    first = cause(service)
    return first.event if first else ""


def is_only_ours(service: ServiceState) -> bool:
    """Whether ECS tells of no failure: nobody but us counts its tasks and watches its progress."""
    causes = present_causes(service)
    return bool(causes) and all(one.event in OUR_OWN for one in causes)


def failed_deployment(service: ServiceState) -> KnownDeployment | None:
    """The newest deployment that failed in this trouble and was not replaced by a newer release."""
    causes = present_causes(service)
    first = min((one.occurred_at for one in causes), default=None)
    return _failed_since(service, first) if first else None


def _failed_since(service: ServiceState, since: datetime) -> KnownDeployment | None:
    failed = [
        one
        for one in service.deployments
        if one.failed_at and one.failed_at >= since - CLOCKS and not _is_superseded(service, one)
    ]
    return max(failed, key=lambda one: (_began(one), one.id), default=None)


def _began(one: KnownDeployment) -> datetime:
    """When it began; or, where that is not known, the first that is: it had begun by then."""
    first = min(filter(None, (one.task_at, one.completed_at, one.failed_at)), default=None)
    return one.began_at or first or one.updated_at


def _is_of_superseded(service: ServiceState, failure: Failure) -> bool:
    known = {one.id: one for one in service.deployments}.get(failure.deployment_id or "")
    is_of_deployment = failure.event in (FAILED, IN_PROGRESS)
    return is_of_deployment and known is not None and _is_superseded(service, known)


def _is_superseded(service: ServiceState, old: KnownDeployment) -> bool:
    """Whether a release that began later, and is no way back, has completed."""
    return any(
        one.completed_at is not None
        and one.is_release
        and not one.is_rollback
        and one.id != old.id
        and _began(one) > _began(old)
        and not (one.revision and one.revision == _served_before(service, old))
        for one in service.deployments
    )


def _served_before(service: ServiceState, failed: KnownDeployment) -> str:
    """The last completed revision from before this deployment; empty where it is not known."""
    older = [
        one
        for one in service.deployments
        if one.completed_at and one.revision and _came_before(one, one.completed_at, failed)
    ]
    return max(older, key=_began).revision if older else ""


def _came_before(one: KnownDeployment, completed_at: datetime, failed: KnownDeployment) -> bool:
    """A fix may begin before the release fails that it replaces; it completes only afterwards."""
    if failed.began_at is None:
        return completed_at < _began(failed)
    return _began(one) < failed.began_at


def _on_failure(case: _Case, failure: Failure) -> tuple[ServiceState, Reason]:
    failing = _with_cause(case.noted, failure)
    if _is_of_superseded(case.noted, failure):
        told = Reason.SUPERSEDED if failure.event == FAILED else Reason.PROGRESS
        return replace(failing, due_at=case.now), told
    if _is_of_what_is_not_live(case, failure):
        return failing, Reason.REPEATED
    reason = _why_news(case, failure)
    if not case.before.phase.is_open:
        failing = _begun(case, failing, failure, reason)
    after = replace(
        failing,
        count=failing.count + _is_one_more(case, failure),
        since=min(failure.occurred_at, failing.since or failure.occurred_at),
        due_at=case.now,
    )
    return _relapsed(case, after, failure.occurred_at), reason


def _is_of_what_is_not_live(case: _Case, failure: Failure) -> bool:
    """Whether a late event tells once more why a release is not live that is told as such."""
    before, since = case.before, case.before.well_since
    if before.phase is not Phase.NOT_LIVE or since is None or failure.occurred_at >= since:
        return False
    failed = [one for one in case.noted.deployments if one.id == failure.deployment_id]
    is_named = any({one.id, one.revision} & set(before.not_live) for one in failed)
    return is_named if failure.event == FAILED else failure.event == IN_PROGRESS


def _is_one_more(case: _Case, failure: Failure) -> bool:
    """A deployment fails once, whoever tells of it: its event, a look, or its roll-back."""
    if failure.event == FAILED:
        return failure.deployment_id not in _failed_ids(case.before)
    return failure.event != IN_PROGRESS


def _failed_ids(service: ServiceState) -> set[str | None]:
    return {one.id for one in service.deployments if one.failed_at}


def _relapsed(case: _Case, service: ServiceState, at: datetime) -> ServiceState:
    """Whatever looked well before does not count any more."""
    return replace(
        service,
        phase=Phase.FAILING,
        well_since=None,
        is_weighed=False,
        is_late=service.is_late and case.is_late,
        last_failure_at=max(at, service.last_failure_at or at),
    )


def _with_cause(service: ServiceState, failure: Failure) -> ServiceState:
    """Keep the newest wording of each cause, in an order that does not depend on when it came."""
    known = {_name(one): one for one in service.causes}
    old = known.get(_name(failure), failure)
    known[_name(failure)] = max(old, failure, key=lambda one: (one.occurred_at, one.reason))
    newest = sorted(known.values(), key=lambda one: (one.occurred_at, one.event, one.reason))
    return replace(service, causes=tuple(newest[-KEPT_AT_MOST:]))


def _name(failure: Failure) -> tuple[str, str]:
    """Equal for what a reader would call the same cause. Deployments fail each by itself."""
    of_deployment = failure.event == FAILED and failure.deployment_id
    return failure.event, of_deployment or _words(failure.reason)


def _begun(case: _Case, failing: ServiceState, failure: Failure, reason: Reason) -> ServiceState:
    """A service that was not failing begins to: what is told of it starts anew."""
    is_again = _is_again(case.before, case.now, case.policy)
    chain = failing.flaps if is_again else ()
    return replace(
        failing,
        explanation=failing.explanation if is_again else _aged(failing),
        impact=Impact.UNKNOWN,
        reading=None,
        count=0,
        dying=None,
        since=failure.occurred_at,
        flaps=(*chain, case.now)[-KEPT_AT_MOST:],
        is_flapping=reason is Reason.FLAPPING,
        is_late=case.is_late,
        destination=case.policy.route.destination,
    )


def _aged(service: ServiceState) -> Explanation | None:
    """What is still true of an explanation from an earlier trouble: who shipped the deployment."""
    old, first = service.explanation, cause(service)
    if old is None or first is None:
        return None
    return Explanation(
        service=old.service,
        read_at=old.read_at,
        diagnosis=Diagnosis(cause=first.reason, evidence=first.reason),
        deployment_id=old.deployment_id,
        explains=cause_name(service),
        actor=old.actor,
    )


def _why_news(case: _Case, failure: Failure) -> Reason:
    before, now, is_quiet = case.before, case.now, case.policy.route.quiet
    if not before.phase.is_open:
        return _why_begins(before, now, case.policy)
    if _is_another_deployment(case, failure):
        return Reason.ANOTHER_DEPLOYMENT
    if _is_another_cause(case, failure):
        return Reason.ANOTHER_CAUSE
    if before.repeat_at is not None and before.repeat_at <= now and not is_quiet:
        return Reason.STILL_FAILING
    if before.is_flapping and before.phase is Phase.RECOVERING:
        return Reason.FLAPS_ON
    return Reason.REPEATED


def _why_begins(before: ServiceState, now: datetime, policy: Policy) -> Reason:
    if not _is_again(before, now, policy):
        return Reason.NEWLY_FAILING
    earlier = before.flaps[-(FLAPPING_AT - 1) :]
    is_third = len(earlier) == FLAPPING_AT - 1 and now - earlier[0] <= policy.window
    return Reason.FLAPPING if is_third else Reason.FAILING_AGAIN


def _is_again(before: ServiceState, now: datetime, policy: Policy) -> bool:
    """Whether it was over so short a time ago that it is the same story."""
    within = QUIET_GOES_ON_FOR if before.phase is Phase.QUIET else policy.window
    return before.over_at is not None and now - before.over_at <= within


def _is_another_deployment(case: _Case, failure: Failure) -> bool:
    """Whether a newer deployment than the one that is told failed, and nobody knew it yet."""
    was, is_now = (
        failed_deployment(case.before),
        failed_deployment(_with_cause(case.noted, failure)),
    )
    if failure.event != FAILED or was is None or is_now is None:
        return False
    return is_now.id == failure.deployment_id != was.id


def _is_another_cause(case: _Case, failure: Failure) -> bool:
    """Whether it says more than what is told, is not known yet and no stage of what is known."""
    was, first = cause(case.before), cause(_with_cause(case.noted, failure))
    if was is None or first is None or _name(first) != _name(failure):
        return False
    is_known = _name(failure) in {_name(one) for one in present_causes(case.before)}
    is_stage = any({was.event, failure.event} <= stages for stages in _ONE_TROUBLE)
    return not is_known and not is_stage and not _is_end_of_told(case, was, failure)


def _is_end_of_told(case: _Case, was: Failure, failure: Failure) -> bool:
    """Whether ECS gives up, or takes back, the deployment whose tasks we told of already."""
    if was.event not in OUR_OWN or failure.event not in (FAILED, IN_PROGRESS):
        return False
    told_of = {was.deployment_id, *(one.started_by for one in counted_deaths(case.before))}
    return failure.event == IN_PROGRESS or failure.deployment_id in told_of


# --- looks at ECS -------------------------------------------------------------------------------


def _on_reading(
    before: ServiceState, reading: ServiceReading, now: datetime, policy: Policy
) -> tuple[ServiceState, Reason]:
    if before.reading is not None and reading.read_at < before.reading.read_at:
        return before, Reason.STILL_BROKEN if before.phase.is_open else Reason.NOTHING_WRONG
    looked = _with_deployments(before, _shown_by(reading))
    progress = progress_after(before.progress, reading)
    looked = replace(looked, reading=reading, due_at=None, progress=progress, is_weighed=False)
    if (ended := _ended_by(looked, reading)) is not None:
        return ended
    case = _Case(before, looked, False, now, policy)
    failure = _unheard_failure(case, reading) or _unheard_deaths(case) or _stalled(case, reading)
    if failure is not None:
        return _on_found(case, failure, reading)
    if before.phase.is_open:
        return _judge_open(looked, reading, now, policy.thresholds)
    return _judge_closed(looked, reading, now, policy)


def _shown_by(reading: ServiceReading) -> Iterable[KnownDeployment]:
    """What each deployment's row tells. An absent rollout state counts as COMPLETED.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Deployment.html
    """
    for row in reading.deployments:
        at = row.updated_at or reading.read_at
        if row.id:
            yield KnownDeployment(
                id=row.id,
                updated_at=at,
                began_at=row.created_at,
                completed_at=at if row.rollout_state == "COMPLETED" or is_well(reading) else None,
                failed_at=at if row.rollout_state == "FAILED" else None,
                is_rollback=_rolls_back(row.rollout_state, row.rollout_state_reason),
                revision=row.task_definition,
            )
    for told in reading.messages:
        yield KnownDeployment(
            id=told.deployment_id,
            updated_at=told.at,
            failed_at=told.at if told.is_failure else None,
            is_rollback=not told.is_failure,
        )


def _ended_by(looked: ServiceState, reading: ServiceReading) -> tuple[ServiceState, Reason] | None:
    """How a look ends it whatever else it shows; None where it does not."""
    if reading.status in ("MISSING", "INACTIVE", "DRAINING"):
        return _ended(looked, Phase.GONE, Reason.DELETED)
    if reading.desired_count == 0:
        return _ended(looked, Phase.STOPPED, Reason.SCALED_TO_ZERO)
    if looked.phase.is_open and not reading.is_watched and is_only_ours(looked):
        return _let_go(looked)
    return None


def _ended(looked: ServiceState, phase: Phase, reason: Reason) -> tuple[ServiceState, Reason]:
    if looked.phase.is_open:
        return replace(looked, phase=phase, well_since=None), reason
    was_rolling = looked.phase is Phase.ROLLING
    return replace(looked, phase=Phase.WELL if was_rolling else looked.phase), Reason.NOTHING_WRONG


def is_well(reading: ServiceReading) -> bool:
    """One deployment, COMPLETED, and everything desired runs. An absent state counts as that.

    ECS shows no deployments, but task sets, of what CodeDeploy or an external controller deploys:
    of that the tasks alone tell.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Deployment.html
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Service.html
    """
    return (
        len(reading.deployments) <= 1
        and all(row.rollout_state in ("COMPLETED", "") for row in reading.deployments)
        and reading.running_count == reading.desired_count > 0
        and reading.pending_count == 0
    )


def impact_of(reading: ServiceReading | None) -> Impact:
    """How far the service serves, by the tasks that run. Not by the health of its targets."""
    if reading is None or reading.status == "MISSING":
        return Impact.UNKNOWN
    if reading.running_count >= reading.desired_count:
        return Impact.SERVING
    return Impact.REDUCED if reading.running_count else Impact.DOWN


def _impact(service: ServiceState, reading: ServiceReading) -> Impact:
    """As `impact_of`; but tasks that die serve badly, unless enough of another release run."""
    shown = impact_of(reading)
    if shown is not Impact.SERVING or not _is_dying(service):
        return shown
    dying = {one.started_by for one in counted_deaths(service)}
    lasting = sum(row.running_count for row in reading.deployments if row.id not in dying)
    return shown if lasting >= reading.desired_count else Impact.REDUCED


def _is_dying(service: ServiceState) -> bool:
    return any(one.event == TASKS_DIE for one in present_causes(service))


def _unheard_failure(case: _Case, reading: ServiceReading) -> Failure | None:
    """A deployment that failed, of which no event told; not one that a newer release replaced."""
    heard = _failed_ids(case.before)
    old = {one.id for one in case.noted.deployments if _is_superseded(case.noted, one)}
    found = [
        _failure_shown(row, reading)
        for row in reading.deployments
        if row.rollout_state == "FAILED" and row.id not in heard | old
    ]
    found += [
        Failure(
            event=FAILED, reason=told.text, deployment_id=told.deployment_id, occurred_at=told.at
        )
        for told in reading.messages
        if told.is_failure and told.deployment_id not in heard | old
    ]
    return max(found, key=lambda one: one.occurred_at, default=None)


def _stalled(case: _Case, reading: ServiceReading) -> Failure | None:
    """That too few tasks run and no more come to, of which ECS tells nothing; told once."""
    since = stalled_since(case.noted.progress, reading, case.policy.thresholds.no_progress)
    is_told = case.before.phase.is_open and not _is_not_shown(case.before)
    if since is None or is_told or not reading.is_watched or case.noted.progress is None:
        return None
    if any(one.event == NO_PROGRESS and one.occurred_at >= since for one in case.before.causes):
        return None
    of = case.noted.progress.deployment_id or None
    return Failure(event=NO_PROGRESS, reason="", deployment_id=of, occurred_at=since)


def _let_go(looked: ServiceState) -> tuple[ServiceState, Reason]:
    """A tag says not to watch its tasks, and nothing else is wrong: told of no more, or not at all.

    Who was told already that it fails is told that it is not watched any more.
    """
    begun = [one.revision for one in looked.transitions if one.reason in BEGINNING]
    if not begun or max(looked.told.values(), default=0) >= begun[-1]:
        return replace(looked, phase=Phase.QUIET), Reason.WENT_QUIET
    dropped = replace(
        looked,
        phase=Phase.WELL,
        transitions=tuple(one for one in looked.transitions if one.revision < begun[-1]),
        causes=tuple(one for one in looked.causes if one.event not in OUR_OWN),
        flaps=looked.flaps[:-1],
        count=0,
        since=None,
    )
    return dropped, Reason.NOT_WATCHED


def _failure_shown(row: Deployment, reading: ServiceReading) -> Failure:
    return Failure(
        event=FAILED,
        reason=row.rollout_state_reason,
        deployment_id=row.id,
        occurred_at=row.updated_at or reading.read_at,
    )


def _on_found(
    case: _Case, failure: Failure, reading: ServiceReading
) -> tuple[ServiceState, Reason]:
    """A failure that no event told of, found by looking."""
    begin = _on_dying if failure.event == TASKS_DIE else _on_failure
    failing, reason = begin(case, failure)
    broken, is_worse = _still_broken(replace(failing, reading=reading, due_at=None), reading)
    if case.policy.is_first_census and reason in BEGINNING:
        return broken, Reason.FOUND_BY_CENSUS
    return broken, is_worse if is_worse is Reason.WORSE else reason


def _judge_open(
    looked: ServiceState, reading: ServiceReading, now: datetime, thresholds: Thresholds
) -> tuple[ServiceState, Reason]:
    if _is_not_shown(looked) and impact_of(reading) is Impact.SERVING:
        return _judge_not_shown(looked, now)
    if not is_well(reading):
        return _still_broken(looked, reading)
    held = replace(
        looked,
        phase=Phase.RECOVERING,
        impact=max(looked.impact, Impact.SERVING),
        well_since=looked.well_since or now,
    )
    is_rolled_back = _is_rolled_back(held, primary_of(reading))
    if _is_unheard_of(held) and not is_rolled_back:
        return _over_unheard(held, Phase.RECOVERED)
    if not _has_held(held, now, thresholds):
        return held, Reason.LOOKS_WELL
    if is_rolled_back:
        return _not_live(held, primary_of(reading)), Reason.ROLLED_BACK
    return _live(held, reading), Reason.RECOVERED


def _still_broken(looked: ServiceState, reading: ServiceReading) -> tuple[ServiceState, Reason]:
    impact = _impact(looked, reading)
    worse = impact > looked.impact and looked.impact is not Impact.UNKNOWN
    broken = replace(
        looked,
        phase=Phase.FAILING,
        impact=max(impact, looked.impact),
        well_since=None,
        is_late=False,
    )
    return broken, Reason.WORSE if worse else Reason.STILL_BROKEN


def _judge_not_shown(looked: ServiceState, now: datetime) -> tuple[ServiceState, Reason]:
    """ECS shows nothing of this trouble: that it is not reported again is all one can say."""
    looked = replace(looked, impact=max(looked.impact, Impact.SERVING))
    if not _is_quiet_for(looked, QUIET_AFTER, now):
        return replace(looked, is_late=False), Reason.STILL_BROKEN
    if _is_unheard_of(looked):
        return _over_unheard(looked, Phase.QUIET)
    return replace(looked, phase=Phase.QUIET), Reason.WENT_QUIET


def _is_quiet_for(service: ServiceState, span: timedelta, now: datetime) -> bool:
    return service.last_failure_at is not None and now - service.last_failure_at >= span


def _is_not_shown(service: ServiceState) -> bool:
    if service.kind is not SubjectKind.SERVICE:
        return True
    causes = present_causes(service)
    return bool(causes) and all(one.event in _NOT_SHOWN_BY_ECS for one in causes)


def _is_unheard_of(service: ServiceState) -> bool:
    """Whether we heard of it late, no look showed it since, and nobody was told that it began."""
    begun = [one.revision for one in service.transitions if one.reason in BEGINNING]
    return service.is_late and bool(begun) and max(service.told.values(), default=0) < begun[-1]


def _over_unheard(service: ServiceState, phase: Phase) -> tuple[ServiceState, Reason]:
    """It is one line now: what was to be told of its beginning is not told any more."""
    begun = max(one.revision for one in service.transitions if one.reason in BEGINNING)
    earlier = tuple(one for one in service.transitions if one.revision < begun)
    after = replace(service, phase=phase, transitions=earlier, flaps=service.flaps[:-1])
    return after, Reason.OVER_BEFORE_TOLD


def hold_down(service: ServiceState, thresholds: Thresholds = SHIPPED) -> timedelta:
    """For how long a service must look well: twice the longest gap between its tasks' deaths.

    Deaths that are not to be watched count for nothing.

    A look begins it and another ends it, so that no single look turns anything green.

    What flaps must be well for an hour. What ECS repeats at its own pace counts as that far apart.
    """
    deaths = _deaths_since(service) if _are_deaths_watched(service, thresholds) else ()
    longest = max(_gaps(service, deaths), default=timedelta())
    return min(max(2 * longest, _hold_down_at_least(service, deaths)), HOLD_DOWN_AT_MOST)


def _hold_down_at_least(service: ServiceState, deaths: Sequence[Death]) -> timedelta:
    """Three deaths in a quarter of an hour are trouble: none for as long is the least all-clear.

    Few gaps say little of the next. Where tasks die at random, it is longer than twice the longest
    of n with the probability 2 / ((n + 1) (n + 2)), a sixth after two gaps: the longest is the sum
    of exponential times of the means 1, 1/2 … 1/n, so it is the product of i / (i + 2), i = 1 … n.
    """
    if service.is_flapping:
        return FLAPPING_UNTIL
    return DEATHS_NEAR if _is_dying(service) and deaths else HOLD_DOWN_AT_LEAST


def _gaps(service: ServiceState, deaths: Sequence[Death]) -> Iterator[timedelta]:
    """How far apart its trouble shows; a deployment that began since then starts anew."""
    for one, following in itertools.pairwise(deaths):
        yield following.at - one.at
    began = _last_beginning(service)
    impaired = [one.occurred_at for one in present_causes(service) if one.event == IMPAIRED]
    if impaired and not (began and began > max(impaired)):
        yield IMPAIRED_EVERY


def _deaths_since(service: ServiceState) -> Sequence[Death]:
    """The deaths that count, unless a deployment began after the last of them."""
    deaths, began = counted_deaths(service), _last_beginning(service)
    return () if deaths and began and began > deaths[-1].at else deaths


def _last_beginning(service: ServiceState) -> datetime | None:
    return max((one.began_at for one in service.deployments if one.began_at), default=None)


def _holds_until(service: ServiceState, thresholds: Thresholds) -> datetime | None:
    if service.well_since is None:
        return None
    since = max(service.well_since, service.last_failure_at or service.well_since)
    return since + hold_down(service, thresholds)


def _has_held(service: ServiceState, now: datetime, thresholds: Thresholds) -> bool:
    until = _holds_until(service, thresholds)
    return until is not None and now >= until


def _is_rolled_back(service: ServiceState, primary: Deployment | None) -> bool:
    """Whether what serves is what served before the release that failed.

    Known by the roll-back's own text, or because it bears the last revision that had completed
    before. Where nothing of this is known, only what is known to be a newer release is none; and
    nothing is known where ECS shows no deployment.
    """
    since = _lately(service)
    failed = _not_gone_live(service, primary)
    if since is None or primary is None or (failed is not None and failed.id == primary.id):
        return False
    known = {one.id: one for one in service.deployments}.get(primary.id)
    if known is not None and _is_rollback_since(known, since):
        return True
    if failed is None:
        return False
    if failed.failed_at is None:
        return True
    if served := _served_before(service, failed):
        return primary.task_definition == served
    is_release = known is not None and known.is_release
    return not is_release and not _is_newer(primary.task_definition, failed.revision)


def _not_gone_live(
    service: ServiceState, primary: Deployment | None = None
) -> KnownDeployment | None:
    """The release of this trouble that failed; or never completed, and an older one serves."""
    since = _lately(service)
    if since is None:
        return None
    failed = _failed_since(service, since)
    if failed is not None or primary is None:
        return failed
    left = [
        one
        for one in service.deployments
        if one.completed_at is None
        and _began(one) >= since
        and _is_newer(one.revision, primary.task_definition)
    ]
    return max(left, key=_began, default=None)


def _is_newer(task_definition: str, other: str) -> bool:
    """Whether it is a later revision of the same family."""
    family, _, revision = task_definition.rpartition(":")
    other_family, _, other_revision = other.rpartition(":")
    are_numbers = revision.isdecimal() and other_revision.isdecimal()
    return family == other_family and are_numbers and int(revision) > int(other_revision)


def _lately(service: ServiceState) -> datetime | None:
    """What failed since then may still be what is not live."""
    first = min((one.occurred_at for one in present_causes(service)), default=None)
    return first - SAME_STORY if first else None


def _is_rollback_since(one: KnownDeployment, since: datetime) -> bool:
    return one.is_rollback and _began(one) >= since


def _not_live(held: ServiceState, primary: Deployment | None = None) -> ServiceState:
    """The release that failed is named: by its revision, or its id where that is not known."""
    failed = _not_gone_live(held, primary)
    named = {failed.id, failed.revision} if failed else set()
    others = tuple(one for one in held.not_live if one not in named)
    names = (*others, failed.revision or failed.id) if failed else others
    return replace(held, phase=Phase.NOT_LIVE, impact=Impact.SERVING, not_live=names)


def _live(held: ServiceState, reading: ServiceReading) -> ServiceState:
    gone_live = {name for row in reading.deployments for name in (row.id, row.task_definition)}
    not_live = tuple(one for one in held.not_live if one not in gone_live)
    return replace(held, phase=Phase.RECOVERED, impact=Impact.SERVING, not_live=not_live)


def _judge_closed(
    looked: ServiceState, reading: ServiceReading, now: datetime, policy: Policy
) -> tuple[ServiceState, Reason]:
    if not is_well(reading) or _is_unshown(looked, reading, now):
        is_timed = looked.progress and reading.is_watched and policy.thresholds.no_progress
        wait = NEXT_TICK if is_timed else _back_off(now - _last_began(looked, now))
        return replace(looked, due_at=now + wait), Reason.PROGRESS
    is_rolled_back = _is_rolled_back(looked, primary_of(reading))
    match looked.phase:
        case Phase.NOT_LIVE if not is_rolled_back:
            is_recent = looked.over_at is not None and now - looked.over_at <= policy.window
            return _live(looked, reading), (Reason.NOW_LIVE if is_recent else Reason.NOTHING_WRONG)
        case Phase.WELL | Phase.ROLLING:
            return _well(looked, reading, is_rolled_back)
    return looked, Reason.NOTHING_WRONG


def _is_unshown(looked: ServiceState, reading: ServiceReading, now: datetime) -> bool:
    """Whether a deployment has just begun, and a read that may be old does not show it yet."""
    shown = {row.id for row in reading.deployments}
    return looked.phase is Phase.ROLLING and any(
        one.began_at
        and now - one.began_at < SHOWN_WITHIN
        and not (one.completed_at or one.failed_at)
        for one in looked.deployments
        if one.id not in shown
    )


def _well(
    looked: ServiceState, reading: ServiceReading, is_rolled_back: bool
) -> tuple[ServiceState, Reason]:
    """Nothing was wrong; or all that was, a newer release had replaced when we heard of it."""
    if not looked.causes:
        return replace(looked, phase=Phase.WELL), Reason.NOTHING_WRONG
    if is_rolled_back:
        return _not_live(looked, primary_of(reading)), Reason.ROLLED_BACK
    return _live(looked, reading), Reason.NOTHING_WRONG


def _last_began(service: ServiceState, now: datetime) -> datetime:
    return max((_began(one) for one in service.deployments), default=now)


def _on_not_readable(
    before: ServiceState, look: NotReadable, now: datetime, policy: Policy
) -> tuple[ServiceState, Reason]:
    """Without a look, only time and STEADY_STATE can end a failure; a root says so."""
    reading = None if look.why == NO_PERMISSION else before.reading
    looked = replace(before, due_at=None, reading=reading, is_weighed=False)
    if look.why == GONE:
        return _ended(looked, Phase.GONE, Reason.DELETED)
    if not before.phase.is_open:
        return _closed_unread(_Case(before, looked, False, now, policy), look)
    if _is_not_shown(before) and _is_quiet_for(before, QUIET_AFTER, now):
        return replace(looked, phase=Phase.QUIET), Reason.WENT_QUIET
    if look.why != NO_PERMISSION or not _is_steady(before, now, policy.thresholds):
        return looked, Reason.NOT_READABLE
    if _went_back(before):
        return _not_live(looked), Reason.ROLLED_BACK
    return replace(looked, phase=Phase.RECOVERED, impact=Impact.UNKNOWN), Reason.RECOVERED


def _closed_unread(case: _Case, look: NotReadable) -> tuple[ServiceState, Reason]:
    """What a look was to judge is judged without it; else it is looked at again, if that helps."""
    if case.before.is_weighed and (failure := _unheard_deaths(case)) is not None:
        return _on_dying(case, failure)
    is_due = case.before.due_at is not None and look.why not in _FOR_GOOD
    due_at = case.now + LOOK_EVERY[0] if is_due else None
    return replace(case.noted, due_at=due_at), Reason.NOT_READABLE


def _is_steady(service: ServiceState, now: datetime, thresholds: Thresholds) -> bool:
    """Whether ECS called it steady after its last failure, and the hold-down is over."""
    failed_at = service.last_failure_at
    steady = failed_at and service.steady_at and service.steady_at > failed_at
    return bool(steady) and _is_quiet_for(service, hold_down(service, thresholds), now)


def _went_back(service: ServiceState) -> bool:
    """Whether, by the events alone, what is steady is not the release that failed."""
    since = _lately(service)
    if since is None:
        return False
    rolled_back = any(
        _is_rollback_since(one, since) and not _is_superseded(service, one)
        for one in service.deployments
    )
    return rolled_back or _failed_since(service, since) is not None


# --- why it fails, and who shipped it -------------------------------------------------------------


def failing_id(service: ServiceState) -> str | None:
    """The deployment that is to be explained; None where nothing says which it is."""
    first, failed = cause(service), failed_deployment(service)
    of_deaths = [one.started_by for one in counted_deaths(service) if one.started_by]
    named = [
        failed.id if failed else None,
        first.deployment_id if first else None,
        *of_deaths[::-1],
    ]
    return next(filter(None, named), None)


def explanation_of(service: ServiceState) -> Explanation | None:
    """What is known of why it fails, unless that is of another deployment.

    What was read for another cause does not say why of this one: ECS's own words do, until it is.
    """
    known, first = service.explanation, cause(service)
    if known is None or failing_id(service) not in (None, known.deployment_id):
        return None
    if first is None or is_of_cause(known, service):
        return known
    return replace(known, diagnosis=Diagnosis(cause=first.reason, evidence=first.reason))


def cause_name(service: ServiceState) -> str:
    """By what the cause that is told first is known again; empty where there is none."""
    first = cause(service)
    return " ".join(_name(first)) if first else ""


def is_of_cause(known: Explanation, service: ServiceState) -> bool:
    """Whether it was read for the cause that is told now."""
    return known.explains in ("", cause_name(service))


def is_explained(service: ServiceState) -> bool:
    """Whether all was read that there is to read about the service as it is now.

    What could not be read and can be in a moment is read again before something else is told.
    """
    known = explanation_of(service)
    if known is None or known.explains != cause_name(service):
        return False
    will_pass = any(one.why.startswith(_WILL_PASS) for one in known.missing)
    return known.revision == service.revision and not will_pass


def _on_explanation(before: ServiceState, new: Explanation) -> tuple[ServiceState, Reason]:
    """Keep it. What was seen stays, for stopped tasks are shown for about an hour only.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html
    """
    old = before.explanation
    if old is not None and old.deployment_id == new.deployment_id:
        actor = new.actor if _tells_more_of_actor(new, old, before.shipments) else old.actor
        new = replace(_with_what_was_seen(new, old), actor=actor)
    return replace(before, explanation=replace(new, revision=before.revision)), Reason.EXPLAINED


def _with_what_was_seen(new: Explanation, old: Explanation) -> Explanation:
    if not new.tasks and new.explains == old.explains and _is_vague(new) and not _is_vague(old):
        new = replace(new, diagnosis=old.diagnosis)
    if old.tasks and not new.tasks:
        new = replace(new, tasks=old.tasks, task=old.task, containers=old.containers)
    return replace(
        new,
        changes=new.changes if _tells_more_of_changes(new, old) else old.changes,
        circuit_breaker=new.circuit_breaker or old.circuit_breaker,
        messages=new.messages or old.messages,
        log_group=new.log_group or old.log_group,
        log_stream=new.log_stream or old.log_stream,
        log_region=new.log_region or old.log_region,
    )


def _is_vague(known: Explanation) -> bool:
    return known.diagnosis.confidence is Confidence.UNKNOWN


def _tells_more_of_changes(new: Explanation, old: Explanation) -> bool:
    """Whether something was read that was missing before: the releases themselves never change."""
    return not old.changes or _unread_of_changes(new) < _unread_of_changes(old)


def _unread_of_changes(known: Explanation) -> set[str]:
    return {one.action for one in known.missing if one.action in _READS_OF_CHANGES}


def _tells_more_of_actor(new: Explanation, old: Explanation, shipments: Iterable[Shipment]) -> bool:
    """Who is certain stays: the record of the call named this deployment.

    But a tag that speaks against a record which is still known was weighed against it.
    """
    was_certain = old.actor is not None and old.actor.is_certain
    is_weighed = any(one.deployment_id == new.deployment_id for one in shipments)
    return new.actor is not None and (new.actor.is_certain or not was_certain or is_weighed)


def _on_shipment(before: ServiceState, shipment: Shipment) -> tuple[ServiceState, Reason]:
    """Remember who began a deployment; told once if it fails already and nobody knew who it was."""
    known = sorted((*before.shipments, shipment), key=lambda one: one.at)[-SHIPMENTS_KEPT:]
    if shipment in before.shipments or shipment not in known:
        return before, Reason.SECOND_COPY
    after = replace(before, shipments=tuple(known))
    if before.explanation is None or not _is_of_told(before, shipment):
        return after, Reason.SHIPPED
    who = replace(shipment.actor, is_certain=True)  # the record names the deployment
    told = replace(before.explanation, actor=who)
    return replace(after, explanation=told), Reason.DEPLOYER_KNOWN


def _is_of_told(service: ServiceState, shipment: Shipment) -> bool:
    told, named = explanation_of(service), shipment.deployment_id
    if told is None or not service.phase.is_open or named is None:
        return False
    is_certain = told.actor is not None and told.actor.is_certain
    is_known = is_certain or any(one.deployment_id == named for one in service.shipments)
    return told.deployment_id == named and not is_known


# --- what it means for the reader -----------------------------------------------------------------


def _noted(
    before: ServiceState, after: ServiceState, reason: Reason, now: datetime, policy: Policy
) -> ServiceState:
    """Raise the revision when a reader would see a change, and say when to look again."""
    if reason in WITHOUT_TRACE:
        return after
    if before.phase.is_open and not after.phase.is_open and reason is not Reason.NOT_WATCHED:
        after = replace(after, over_at=now)
    if _shown(before) != _shown(after) or reason in TOLD:
        after = replace(
            after,
            revision=before.revision + 1,
            changed_at=now,
            destination=after.destination or policy.route.destination,
        )
    if reason in TOLD:
        told = Transition(revision=after.revision, reason=reason, at=now)
        after = replace(
            after,
            transitions=(*after.transitions, told)[-UNTOLD_AT_MOST:],
        )
    if reason in TOLD - {Reason.RETRIED}:
        after = replace(after, repeat_at=now + policy.repeat_interval)
    return replace(after, due_at=_next_look(after, now, policy.thresholds))


def _shown(service: ServiceState) -> object:
    """What the root shows of a service, but for counts, times and wordings."""
    if service.phase in (Phase.WELL, Phase.ROLLING):
        return "nothing"
    if not service.phase.is_open:
        return (service.phase, service.not_live)
    first, failed = cause(service), failed_deployment(service)
    return (service.impact, first and _name(first), failed and failed.id, service.not_live)


def _counts(service: ServiceState) -> object:
    """What the root shows besides, and a reader need not know at once."""
    reading = service.reading
    rows = [
        (row.task_definition, row.running_count, row.rollout_state)
        for row in (reading.deployments if reading else ())
    ]
    numbers = (reading.running_count, reading.desired_count) if reading else ()
    known = explanation_of(service)
    why = known and (known.diagnosis.cause, known.actor)
    return (service.count, service.dying, service.well_since, numbers, rows, why)


def _next_look(service: ServiceState, now: datetime, thresholds: Thresholds) -> datetime | None:
    """Every minute at first, then less often the longer nothing has changed."""
    if not service.phase.is_open or service.due_at is not None:
        return service.due_at
    since = service.well_since or service.changed_at or now
    later, held = now + _back_off(now - since), _holds_until(service, thresholds)
    return later if held is None or held <= now else min(later, held)


def _back_off(unchanged_for: timedelta) -> timedelta:
    soonest, latest = LOOK_EVERY
    return min(max(unchanged_for / 10, soonest), latest)


# --- the cluster's incident -----------------------------------------------------------------------


def _with_incident(
    before: ClusterState, after: ClusterState, now: datetime, policy: Policy
) -> ClusterState:
    """Open, go on with, or close the cluster's incident, by what became of its services."""
    changed = {
        key: service
        for key, service in after.services.items()
        if service != before.services.get(key)
    }
    if not changed:
        return after
    opened = sum(_is_open(after, key) - _is_open(before, key) for key in changed)
    cluster = replace(after, open_services=before.open_services + opened)
    failed = any(_has_newly_failed(before, task) for task in changed.values())
    if cluster.open_services and not before.open_services:
        cluster = _opened(before, cluster, now, policy)
    elif before.open_services and not cluster.open_services:
        cluster = replace(cluster, closed_at=now)
    elif failed and not cluster.open_services:
        # A task that failed is told in an incident that is over as soon as it began.
        cluster = replace(_opened(before, cluster, now, policy), closed_at=now)
    cluster = replace(cluster, services=_in_generation(before, cluster, changed))
    return _touched(before, cluster, changed, now, policy)


def _has_newly_failed(before: ClusterState, task: ServiceState) -> bool:
    """Whether a failure of a standalone task is news."""
    known = _revision(before, task.key)
    news = {one.reason for one in task.transitions if one.revision > known}
    return task.kind is SubjectKind.TASK and bool(news & standalone.TOLD_AS_FAILURE)


def _is_open(cluster: ClusterState, key: str) -> bool:
    return key in cluster.services and cluster.services[key].phase.is_open


def _revision(cluster: ClusterState, key: str) -> int:
    return cluster.services[key].revision if key in cluster.services else 0


def _opened(
    before: ClusterState, cluster: ClusterState, now: datetime, policy: Policy
) -> ClusterState:
    """The same incident within the window or while something of it is owed; else a new one."""
    goes_on = cluster.closed_at is not None and (
        now - cluster.closed_at <= policy.window
        or cluster.is_owed
        or any(_was_quiet(before, cluster, key, now) for key in cluster.services)
    )
    if goes_on:
        return replace(cluster, closed_at=None)
    return replace(cluster, closed_at=None, opened_at=now, generation=cluster.generation + 1)


def _was_quiet(before: ClusterState, after: ClusterState, key: str, now: datetime) -> bool:
    """Whether it is told again what was of this incident and had only ceased to be told."""
    was = before.services.get(key)
    if was is None or was.phase is not Phase.QUIET or was.generation != before.generation:
        return False
    is_recent = was.over_at is not None and now - was.over_at <= QUIET_GOES_ON_FOR
    return is_recent and _is_open(after, key)


def _in_generation(
    before: ClusterState, cluster: ClusterState, changed: dict[str, ServiceState]
) -> dict[str, ServiceState]:
    """A service joins the incident that is open when it begins to fail, or is told of."""
    joining = {
        key: replace(service, generation=cluster.generation, not_live=_kept(service, cluster))
        for key, service in changed.items()
        if _joins(before, cluster, service)
    }
    return {**cluster.services, **joining}


def _joins(before: ClusterState, cluster: ClusterState, service: ServiceState) -> bool:
    if service.kind is SubjectKind.TASK:
        return _has_newly_failed(before, service)
    is_risen = service.revision > _revision(before, service.key)
    is_shown = service.phase not in (Phase.WELL, Phase.ROLLING)
    return cluster.open_services > 0 and is_risen and is_shown


def _kept(service: ServiceState, cluster: ClusterState) -> tuple[str, ...]:
    """Releases that never went live are told of in their own incident only."""
    return service.not_live if service.generation in (0, cluster.generation) else ()


def _touched(
    before: ClusterState,
    cluster: ClusterState,
    changed: dict[str, ServiceState],
    now: datetime,
    policy: Policy,
) -> ClusterState:
    """Note that the root shows something else now; after the window its last edit stands."""
    is_past = cluster.closed_at is not None and now - cluster.closed_at > policy.window
    mine = [
        cluster.services[key]
        for key in changed
        if cluster.services[key].generation == cluster.generation
        and (not is_past or cluster.services[key].kind is SubjectKind.TASK)
    ]
    risen = any(one.revision > _revision(before, one.key) for one in mine)
    counts = any(_has_other_counts(before, one) for one in mine)
    return replace(
        cluster,
        revision=before.revision + risen,
        touched_at=now if risen or counts else cluster.touched_at,
    )


def _has_other_counts(before: ClusterState, service: ServiceState) -> bool:
    was = before.services.get(service.key)
    return was is None or _counts(was) != _counts(service)


def newly_owed(before: ClusterState, after: ClusterState, now: datetime) -> dict[str, datetime]:
    """The destinations that are owed something they were not before, and from when on.

    News is owed at once. Counts of what is open reach the root with an edit some minutes later.
    """
    owed: dict[str, datetime] = {}
    for key, service in after.services.items():
        if not service.destination or service == before.services.get(key):
            continue
        if service.revision > _revision(before, key):
            owed[service.destination] = now
        elif service.phase.is_open and _has_other_counts(before, service):
            owed.setdefault(service.destination, now + COUNTS_WITHIN)
    return owed
