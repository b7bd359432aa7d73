"""All rules about what is wrong, what is news, and when it is over.

`decide` is pure: the state, what came in, the time and the policy go in; the new state and a named
`Reason` for each observation come out, also for saying nothing. Nothing else in the program decides
whether a reader hears of something.

What a service's row says is derived so that the order and repetition of events do not matter: of
each deployment only what can no longer be undone is kept (it failed, it completed, it is a
roll-back), causes are kept by name with the newest wording, and only a look at ECS ends a failure.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from notifier.events import is_failure
from notifier.model import (
    ClusterState,
    CodeDeployStateChange,
    DaemonDeploymentStateChange,
    DaemonServiceAction,
    Deployment,
    DeploymentStateChange,
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
    SubjectKind,
    TaskStateChange,
    Transition,
)
from notifier.tasks import cause_of_stop, is_failing_stop

SEEN_AT_MOST = 100  # identities of events kept per service, to recognise a second copy
KEPT_AT_MOST = 10  # deployments, causes and deaths kept per service
UNTOLD_AT_MOST = 5  # transitions kept per service; what is older is folded into the newer ones

HOLD_DOWN_AT_LEAST = timedelta(minutes=5)
HOLD_DOWN_AT_MOST = timedelta(hours=6)
LOOKS_BEFORE_GREEN = 2
LATE = timedelta(minutes=15)
QUIET_AFTER = timedelta(minutes=30)
FLAPPING_AT = 3  # failures within the window
DEATHS = ((3, timedelta(minutes=15)), (6, timedelta(hours=6)))  # so many tell of a failing service
SAME_STORY = timedelta(hours=1)  # causes further apart are told by the newest alone
COUNTS_WITHIN = timedelta(minutes=5)
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
}
BEGINNING = {Reason.NEWLY_FAILING, Reason.FAILING_AGAIN, Reason.FLAPPING, Reason.FLAPS_ON}
WITHOUT_TRACE = {
    Reason.SECOND_COPY,
    Reason.IGNORED_CLUSTER,
    Reason.NO_SUBJECT,
    Reason.BENIGN_STOP,
}

# Which of several causes a reader is told first: the one that says most. Unlisted ones rank 2.
_RANK = {
    "SERVICE_TASK_CONFIGURATION_FAILURE": 4,
    "SERVICE_TASK_PLACEMENT_FAILURE": 4,
    "SERVICE_DEPLOYMENT_FAILED": 3,
    "SERVICE_DEPLOYMENT_IN_PROGRESS": 1,  # of a roll-back
    "SERVICE_TASK_START_IMPAIRED": 1,
}
# Trouble of which a look at the service's counts shows nothing.
_NOT_SHOWN_BY_ECS = {
    "SERVICE_DISCOVERY_INSTANCE_UNHEALTHY",
    "VPC_LATTICE_TARGET_UNHEALTHY",
    "ECS_OPERATION_THROTTLED",
    "SERVICE_DISCOVERY_OPERATION_THROTTLED",
    "SERVICE_HEALTH_UNKNOWN",
}
TASKS_DIE = "tasks die"  # our own name for a cause that ECS sends no event of


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the stack's owner decided. A closed incident goes on within the `window`.

    What the first census finds is told by its summary; its incident waits for the first change.
    """

    route: Route
    repeat_interval: timedelta = timedelta(hours=4)
    window: timedelta = timedelta(minutes=60)
    is_first_census: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The cluster's new state, and for each observation, in order, why it is told or not."""

    cluster: ClusterState
    reasons: tuple[Reason, ...]

    @property
    def changed(self) -> bool:
        """Whether there is anything to save."""
        return any(reason not in WITHOUT_TRACE for reason in self.reasons)


def decide(
    cluster: ClusterState, observations: Sequence[Observation], now: datetime, policy: Policy
) -> Decision:
    """Apply the observations to the cluster's state, one after another."""
    services = dict(cluster.services)
    reasons = []
    for observation in observations:
        subject = subject_of(observation)
        if subject is None:
            reasons.append(Reason.NO_SUBJECT)
            continue
        before = services.get(subject.key, subject)
        after, reason = _decide_one(before, observation, now, policy)
        services[subject.key] = _noted(before, after, reason, now, policy)
        reasons.append(reason)
    after_all = replace(cluster, services=services)
    return Decision(cluster=_with_incident(cluster, after_all, now, policy), reasons=tuple(reasons))


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
        case ServiceReading() | NotReadable():
            return ServiceState(name=observation.service)
        case Observed(event=DeploymentStateChange() | ServiceAction() | HookStateChange() as event):
            return ServiceState(name=event.service)
        case Observed(event=TaskStateChange(service=str() as name)):
            return ServiceState(name=name)
        case Observed(event=DaemonServiceAction() | DaemonDeploymentStateChange() as event):
            return ServiceState(name=event.daemon, kind=SubjectKind.DAEMON)
        case Observed(event=CodeDeployStateChange() as event):
            name = f"{event.application}/{event.deployment_group}"
            return ServiceState(name=name, kind=SubjectKind.CODEDEPLOY)
    return None


def _decide_one(
    before: ServiceState, observation: Observation, now: datetime, policy: Policy
) -> tuple[ServiceState, Reason]:
    if policy.route.ignored:
        return before, Reason.IGNORED_CLUSTER
    match observation:
        case ServiceReading():
            return _on_reading(before, observation, now, policy)
        case NotReadable():
            return _on_not_readable(before, observation, now)
        case Observed():
            return _on_event(before, observation, now, policy)


# --- events -------------------------------------------------------------------------------------


def _on_event(
    before: ServiceState, observed: Observed, now: datetime, policy: Policy
) -> tuple[ServiceState, Reason]:
    event, identity = observed.event, _short(observed.event.identity)
    if identity in before.seen:
        return before, Reason.SECOND_COPY
    noted = replace(before, seen=(*before.seen, identity)[-SEEN_AT_MOST:])
    if isinstance(event, TaskStateChange):
        return _on_stop(noted, event, observed, now, policy)
    if isinstance(event, DeploymentStateChange):
        noted = _with_deployment_event(noted, event)
    if is_failure(event) or _is_rollback(event):
        failure = Failure(
            event=event.name,
            reason=event.reason,
            deployment_id=getattr(event, "deployment_id", None),
            occurred_at=event.occurred_at,
        )
        return _on_failure(noted, failure, observed, now, policy)
    return _on_progress(noted, event, now), Reason.PROGRESS


def _short(identity: str) -> str:
    """A hundred identities must fit in a small row; 16 hex digits do not collide within it."""
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def _is_rollback(event: Event) -> bool:
    """ECS says only in the text that a deployment is a roll-back, whatever id it bears.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_service_deployment_events.html
    """
    return isinstance(event, DeploymentStateChange) and "rolling back to" in event.reason.lower()


def _with_deployment_event(before: ServiceState, event: DeploymentStateChange) -> ServiceState:
    if not event.deployment_id:
        return before
    known = KnownDeployment(
        id=event.deployment_id,
        updated_at=event.occurred_at,
        failed=event.name == "SERVICE_DEPLOYMENT_FAILED",
        completed=event.name == "SERVICE_DEPLOYMENT_COMPLETED",
        is_rollback=_is_rollback(event),
    )
    return _with_deployments(before, (known,))


def _with_deployments(before: ServiceState, news: Sequence[KnownDeployment]) -> ServiceState:
    """Join what is known of each deployment: what once was true of it stays true."""
    known = {one.id: one for one in before.deployments}
    for new in news:
        old = known.get(new.id, new)
        known[new.id] = KnownDeployment(
            id=new.id,
            updated_at=max(old.updated_at, new.updated_at),
            failed=old.failed or new.failed,
            completed=old.completed or new.completed,
            is_rollback=old.is_rollback or new.is_rollback,
            revision=old.revision or new.revision,
        )
    newest = sorted(known.values(), key=lambda one: (one.updated_at, one.id))[-KEPT_AT_MOST:]
    return replace(before, deployments=tuple(newest))


def _on_progress(before: ServiceState, event: Event, now: datetime) -> ServiceState:
    """COMPLETED and STEADY_STATE turn nothing green; they make the service due for a look."""
    if event.name == "SERVICE_DEPLOYMENT_IN_PROGRESS":
        rolls = before.phase in (Phase.WELL, Phase.RECOVERED)
        return replace(before, phase=Phase.ROLLING if rolls else before.phase)
    if event.name == "SERVICE_STEADY_STATE":
        steady_at = max(event.occurred_at, before.steady_at or event.occurred_at)
        before = replace(before, steady_at=steady_at)
    watched = before.phase.is_open or before.phase in (Phase.ROLLING, Phase.NOT_LIVE)
    return replace(before, due_at=now) if watched else before


def _on_stop(
    before: ServiceState, task: TaskStateChange, observed: Observed, now: datetime, policy: Policy
) -> tuple[ServiceState, Reason]:
    """Count the deaths of tasks: ECS tells of no service whose tasks die after they ran."""
    rolling = {one.id for one in before.deployments if not one.completed}
    if not is_failing_stop(task, in_deployment=task.started_by in rolling):
        return before, Reason.BENIGN_STOP
    deaths = tuple(sorted((*before.deaths, task.occurred_at)))[-KEPT_AT_MOST:]
    noted = replace(
        before,
        deaths=deaths,
        last_failure_at=max(task.occurred_at, before.last_failure_at or task.occurred_at),
    )
    if not before.phase.is_open and not _are_too_many(deaths):
        return noted, Reason.FEW_DEATHS
    failure = Failure(
        event=TASKS_DIE,
        reason=cause_of_stop(task),
        deployment_id=None,
        occurred_at=task.occurred_at,
    )
    return _on_failure(noted, failure, observed, now, policy)


def _are_too_many(deaths: Sequence[datetime]) -> bool:
    return any(
        len(deaths) >= count and deaths[-1] - deaths[-count] <= within for count, within in DEATHS
    )


# --- failures -----------------------------------------------------------------------------------


def cause(service: ServiceState) -> Failure | None:
    """What a reader is told first: of the causes of the same hour, the one that says most."""
    if not service.causes:
        return None
    newest = max(one.occurred_at for one in service.causes)
    same_story = (one for one in service.causes if newest - one.occurred_at <= SAME_STORY)
    return max(same_story, key=lambda one: (_RANK.get(one.event, 2), one.occurred_at, one.event))


def failed_deployment(service: ServiceState) -> KnownDeployment | None:
    """The newest deployment that is known to have failed."""
    failed = [one for one in service.deployments if one.failed]
    return max(failed, key=lambda one: (one.updated_at, one.id), default=None)


def _on_failure(
    before: ServiceState, failure: Failure, observed: Observed, now: datetime, policy: Policy
) -> tuple[ServiceState, Reason]:
    if _is_superseded(before, failure):
        return _with_cause(before, failure), Reason.SUPERSEDED
    reason = _why_news(before, failure, now, policy)
    failing = _with_cause(before, failure)
    if reason in BEGINNING:
        failing = _begin(failing, observed, now, policy)
    return replace(
        failing,
        phase=Phase.FAILING,
        well_since=None,
        looks=0,
        count=failing.count + 1,
        is_late=failing.is_late and _is_late(observed),
        last_failure_at=max(failure.occurred_at, failing.last_failure_at or failure.occurred_at),
        due_at=now,
    ), reason


def _is_late(observed: Observed) -> bool:
    return observed.received_at - observed.event.occurred_at > LATE


def _is_superseded(service: ServiceState, failure: Failure) -> bool:
    """Whether a newer deployment, which is no roll-back, has completed since this one began."""
    if service.phase.is_open or failure.event != "SERVICE_DEPLOYMENT_FAILED":
        return False
    return any(
        one.completed
        and not one.is_rollback
        and one.id != failure.deployment_id
        and one.updated_at > failure.occurred_at
        and one.revision != service.live_revision
        for one in service.deployments
    )


def _with_cause(service: ServiceState, failure: Failure) -> ServiceState:
    """Keep the newest wording of each cause, in an order that does not depend on when it came."""
    known = {one.event: one for one in service.causes}
    old = known.get(failure.event, failure)
    known[failure.event] = max(old, failure, key=lambda one: (one.occurred_at, one.reason))
    newest = sorted(known.values(), key=lambda one: (one.occurred_at, one.event))[-KEPT_AT_MOST:]
    return replace(service, causes=tuple(newest))


def _begin(
    failing: ServiceState, observed: Observed, now: datetime, policy: Policy
) -> ServiceState:
    """A service that was not failing begins to: what is told of it starts anew."""
    recent = tuple(at for at in failing.flaps if now - at <= policy.window)
    return replace(
        failing,
        impact=Impact.UNKNOWN,
        count=0,
        since=observed.event.occurred_at,
        flaps=(*recent, now)[-KEPT_AT_MOST:],
        is_late=_is_late(observed),
        destination=policy.route.destination,
    )


def _why_news(before: ServiceState, failure: Failure, now: datetime, policy: Policy) -> Reason:
    if not before.phase.is_open:
        return _why_begins(before, now, policy)
    after = _with_cause(before, failure)
    failed = failed_deployment(before)
    others = {one.deployment_id for one in before.causes if one.event == failure.event}
    if (
        failure.event == "SERVICE_DEPLOYMENT_FAILED"
        and others
        and (failure.deployment_id not in others and failed and failed.id == failure.deployment_id)
    ):
        return Reason.ANOTHER_DEPLOYMENT
    now_first, was_first = cause(after), cause(before)
    if (
        now_first
        and was_first
        and (now_first.event, now_first.reason)
        != (
            was_first.event,
            was_first.reason,
        )
    ):
        return Reason.ANOTHER_CAUSE
    if before.repeat_at is not None and before.repeat_at <= now and not policy.route.quiet:
        return Reason.STILL_FAILING
    return Reason.REPEATED


def _why_begins(before: ServiceState, now: datetime, policy: Policy) -> Reason:
    recent = [at for at in before.flaps if now - at <= policy.window]
    if len(recent) + 1 > FLAPPING_AT:
        return Reason.FLAPS_ON
    if len(recent) + 1 == FLAPPING_AT:
        return Reason.FLAPPING
    return Reason.FAILING_AGAIN if recent else Reason.NEWLY_FAILING


# --- looks at ECS -------------------------------------------------------------------------------


def _on_reading(
    before: ServiceState, reading: ServiceReading, now: datetime, policy: Policy
) -> tuple[ServiceState, Reason]:
    if before.reading is not None and reading.read_at < before.reading.read_at:
        return before, Reason.STILL_BROKEN if before.phase.is_open else Reason.NOTHING_WRONG
    looked = replace(_with_rows(before, reading), reading=reading, due_at=None)
    if reading.status in ("MISSING", "INACTIVE", "DRAINING"):
        return _ended(looked, Phase.GONE, Reason.DELETED)
    if reading.desired_count == 0:
        return _ended(looked, Phase.STOPPED, Reason.SCALED_TO_ZERO)
    if before.phase.is_open:
        return _judge_open(looked, reading, now)
    return _judge_closed(looked, reading, now, policy)


def _with_rows(before: ServiceState, reading: ServiceReading) -> ServiceState:
    rows = [
        KnownDeployment(
            id=row.id,
            updated_at=row.updated_at or reading.read_at,
            failed=row.rollout_state == "FAILED",
            completed=row.rollout_state == "COMPLETED",
            is_rollback="rolling back to" in row.rollout_state_reason.lower(),
            revision=row.task_definition,
        )
        for row in reading.deployments
        if row.id
    ]
    return _with_deployments(before, rows)


def _ended(looked: ServiceState, phase: Phase, reason: Reason) -> tuple[ServiceState, Reason]:
    if looked.phase.is_open:
        return replace(looked, phase=phase, well_since=None), reason
    return replace(looked, phase=Phase.WELL), Reason.NOTHING_WRONG


def is_well(reading: ServiceReading) -> bool:
    """One deployment, COMPLETED, and everything desired runs. An absent state counts as that.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Deployment.html
    """
    return (
        len(reading.deployments) == 1
        and reading.deployments[0].rollout_state in ("COMPLETED", "")
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


def _judge_open(
    looked: ServiceState, reading: ServiceReading, now: datetime
) -> tuple[ServiceState, Reason]:
    if not is_well(reading):
        return _still_broken(looked, reading)
    held = replace(
        looked,
        phase=Phase.RECOVERING,
        impact=max(looked.impact, Impact.SERVING),
        well_since=looked.well_since or now,
        looks=looked.looks + 1,
    )
    if looked.is_late and not looked.told and not _is_rolled_back(held, reading):
        return replace(held, phase=Phase.RECOVERED, transitions=()), Reason.OVER_BEFORE_TOLD
    if not _has_held(held, now):
        return held, Reason.LOOKS_WELL
    if _is_not_shown(held):
        return replace(held, phase=Phase.QUIET), Reason.WENT_QUIET
    if _is_rolled_back(held, reading):
        return _not_live(held), Reason.ROLLED_BACK
    live = reading.deployments[0].task_definition
    return replace(held, phase=Phase.RECOVERED, live_revision=live), Reason.RECOVERED


def _still_broken(looked: ServiceState, reading: ServiceReading) -> tuple[ServiceState, Reason]:
    impact = impact_of(reading)
    worse = impact > looked.impact and looked.impact is not Impact.UNKNOWN
    broken = replace(
        looked,
        phase=Phase.FAILING,
        impact=max(impact, looked.impact),
        well_since=None,
        looks=0,
    )
    return broken, Reason.WORSE if worse else Reason.STILL_BROKEN


def hold_down(service: ServiceState) -> timedelta:
    """For how long a service must look well: twice the longest gap between its tasks' deaths."""
    began = max(
        (one.updated_at for one in service.deployments if not one.failed),
        default=None,
    )
    if service.deaths and began and began > service.deaths[-1]:
        return HOLD_DOWN_AT_LEAST
    gaps = (b - a for a, b in zip(service.deaths, service.deaths[1:], strict=False))
    longest = max(gaps, default=timedelta())
    return min(max(2 * longest, HOLD_DOWN_AT_LEAST), HOLD_DOWN_AT_MOST)


def _has_held(service: ServiceState, now: datetime) -> bool:
    if service.well_since is None or service.looks < LOOKS_BEFORE_GREEN:
        return False
    since = max(service.well_since, service.last_failure_at or service.well_since)
    needed = QUIET_AFTER if _is_not_shown(service) else hold_down(service)
    return now - since >= needed


def _is_not_shown(service: ServiceState) -> bool:
    if service.kind is not SubjectKind.SERVICE:
        return True
    return bool(service.causes) and all(one.event in _NOT_SHOWN_BY_ECS for one in service.causes)


def _is_rolled_back(service: ServiceState, reading: ServiceReading) -> bool:
    """Whether what serves is what served before the release that failed."""
    primary = reading.deployments[0]
    known = {one.id: one for one in service.deployments}
    failed = failed_deployment(service)
    if known[primary.id].is_rollback if primary.id in known else False:
        return True
    if failed is None or failed.id == primary.id:
        return False
    return bool(service.live_revision) and primary.task_definition == service.live_revision


def _not_live(held: ServiceState) -> ServiceState:
    failed = failed_deployment(held)
    name = (failed.revision or failed.id) if failed else ""
    names = (*held.not_live, name) if name and name not in held.not_live else held.not_live
    return replace(held, phase=Phase.NOT_LIVE, not_live=names)


def _judge_closed(
    looked: ServiceState, reading: ServiceReading, now: datetime, policy: Policy
) -> tuple[ServiceState, Reason]:
    failed = next((row for row in reading.deployments if row.rollout_state == "FAILED"), None)
    if failed is not None and not _is_known_to_have_failed(looked, failed):
        return _found_failed(looked, failed, reading, now, policy)
    if not is_well(reading):
        return replace(looked, due_at=now + LOOK_EVERY[0]), Reason.PROGRESS
    primary = reading.deployments[0]
    live = replace(looked, live_revision=primary.task_definition)
    if looked.phase is not Phase.NOT_LIVE:
        phase = Phase.WELL if looked.phase is Phase.ROLLING else looked.phase
        return replace(live, phase=phase), Reason.NOTHING_WRONG
    if primary.task_definition == looked.live_revision or _is_rolled_back(looked, reading):
        return looked, Reason.NOTHING_WRONG
    return replace(live, phase=Phase.RECOVERED), Reason.NOW_LIVE


def _is_known_to_have_failed(service: ServiceState, row: Deployment) -> bool:
    return any(one.deployment_id == row.id for one in service.causes)


def _found_failed(
    looked: ServiceState, row: Deployment, reading: ServiceReading, now: datetime, policy: Policy
) -> tuple[ServiceState, Reason]:
    """A failure that no event told of, found by looking."""
    failure = Failure(
        event="SERVICE_DEPLOYMENT_FAILED",
        reason=row.rollout_state_reason,
        deployment_id=row.id,
        occurred_at=row.updated_at or now,
    )
    reason = _why_news(looked, failure, now, policy)
    if policy.is_first_census:
        reason = Reason.FOUND_BY_CENSUS
    recent = tuple(at for at in looked.flaps if now - at <= policy.window)
    return replace(
        _with_cause(looked, failure),
        phase=Phase.FAILING,
        impact=impact_of(reading),
        causes=(failure,),
        count=1,
        since=failure.occurred_at,
        flaps=(*recent, now)[-KEPT_AT_MOST:],
        last_failure_at=failure.occurred_at,
        well_since=None,
        looks=0,
        is_late=False,
        destination=policy.route.destination,
    ), reason


def _on_not_readable(
    before: ServiceState, look: NotReadable, now: datetime
) -> tuple[ServiceState, Reason]:
    """Without a look, only time and STEADY_STATE can end a failure; a root says so."""
    looked = replace(before, due_at=None)
    if not before.phase.is_open or before.last_failure_at is None:
        return looked, Reason.NOT_READABLE
    quiet_for = now - before.last_failure_at
    if _is_not_shown(before) and quiet_for >= QUIET_AFTER:
        return replace(looked, phase=Phase.QUIET), Reason.WENT_QUIET
    steady = before.steady_at is not None and before.steady_at > before.last_failure_at
    if look.why == "no permission" and steady and quiet_for >= hold_down(before):
        return replace(looked, phase=Phase.RECOVERED, reading=None), Reason.RECOVERED
    return looked, Reason.NOT_READABLE


# --- what it means for the reader -----------------------------------------------------------------


def _noted(
    before: ServiceState, after: ServiceState, reason: Reason, now: datetime, policy: Policy
) -> ServiceState:
    """Raise the revision when a reader would see a change, and say when to look again."""
    if reason in WITHOUT_TRACE:
        return after
    changed = _shown(before) != _shown(after) or reason in TOLD
    if changed:
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
            repeat_at=now + policy.repeat_interval,
        )
    return replace(after, due_at=_next_look(after, now))


def _shown(service: ServiceState) -> object:
    """What the root shows of a service, but for counts and times."""
    phase = Phase.FAILING if service.phase.is_open else service.phase
    first, failed = cause(service), failed_deployment(service)
    if phase in (Phase.WELL, Phase.ROLLING):
        return "nothing"
    return (
        phase,
        service.impact,
        first and (first.event, first.reason),
        failed and failed.id,
        service.not_live,
    )


def _next_look(service: ServiceState, now: datetime) -> datetime | None:
    """Every minute at first, then less often the longer nothing has changed."""
    if not service.phase.is_open:
        return service.due_at
    if service.due_at is not None:
        return service.due_at
    soonest, latest = LOOK_EVERY
    if service.phase is Phase.RECOVERING:
        return now + soonest
    unchanged_for = now - (service.changed_at or now)
    return now + min(max(unchanged_for / 10, soonest), latest)


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
    risen = any(service.revision > _revision(before, key) for key, service in changed.items())
    cluster = replace(
        after,
        open_services=before.open_services + opened,
        revision=before.revision + risen,
        touched_at=now,
    )
    if cluster.open_services and not before.open_services:
        cluster = _opened(cluster, now, policy)
    elif before.open_services and not cluster.open_services:
        cluster = replace(cluster, closed_at=now)
    return replace(cluster, services=_in_generation(before, cluster, changed))


def _is_open(cluster: ClusterState, key: str) -> bool:
    return key in cluster.services and cluster.services[key].phase.is_open


def _revision(cluster: ClusterState, key: str) -> int:
    return cluster.services[key].revision if key in cluster.services else 0


def _opened(cluster: ClusterState, now: datetime, policy: Policy) -> ClusterState:
    """The same incident within the window or while something of it is owed; else a new one."""
    closed_at = cluster.closed_at
    goes_on = closed_at is not None and (now - closed_at <= policy.window or cluster.is_owed)
    if goes_on:
        return replace(cluster, closed_at=None)
    return replace(cluster, closed_at=None, opened_at=now, generation=cluster.generation + 1)


def _in_generation(
    before: ClusterState, cluster: ClusterState, changed: dict[str, ServiceState]
) -> dict[str, ServiceState]:
    """A service joins the incident of the time at which it begins to fail, or is told of."""
    joining = {
        key: replace(service, generation=cluster.generation, not_live=_kept(service, cluster))
        for key, service in changed.items()
        if service.revision > _revision(before, key)
        and service.phase not in (Phase.WELL, Phase.ROLLING)
    }
    return {**cluster.services, **joining}


def _kept(service: ServiceState, cluster: ClusterState) -> tuple[str, ...]:
    """Releases that never went live are told of in their own incident only."""
    return service.not_live if service.generation in (0, cluster.generation) else ()


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
        elif service.phase.is_open:
            owed.setdefault(service.destination, now + COUNTS_WITHIN)
    return owed
