"""All rules about what is wrong, what is news and what is owed to Slack.

`decide` is pure: the state, what came in, the time and the policy go in; the new state and a named
`Reason` for each observation come out, also for saying nothing. Nothing else in the program decides
whether a reader hears of something.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from notifier.events import is_failure
from notifier.model import (
    ClusterState,
    CodeDeployStateChange,
    DaemonDeploymentStateChange,
    DaemonServiceAction,
    DeploymentStateChange,
    Event,
    Failure,
    HookStateChange,
    Observation,
    Phase,
    Route,
    ServiceAction,
    ServiceState,
    SubjectKind,
)

SEEN_AT_MOST = 100  # identities of events kept per service, to recognise a second copy


class Reason(StrEnum):
    """Why something is told, or why not. It is in the log line of every observation."""

    NEWLY_FAILING = "newly failing"
    ANOTHER_DEPLOYMENT = "another deployment failed"
    ANOTHER_CAUSE = "another cause"
    STILL_FAILING = "still failing after the repeat interval"
    REPEATED = "repeated: counted, not told again yet"
    SECOND_COPY = "second copy of an event"
    PROGRESS = "a deployment goes on"
    IGNORED_CLUSTER = "the cluster is ignored by Channels"
    NO_SUBJECT = "the event is about no service, daemon or deployment group"


TOLD = {
    Reason.NEWLY_FAILING,
    Reason.ANOTHER_DEPLOYMENT,
    Reason.ANOTHER_CAUSE,
    Reason.STILL_FAILING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the stack's owner decided. `repeat_interval` is how long the same failure stays told."""

    route: Route
    repeat_interval: timedelta = timedelta(hours=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The cluster's new state, and for each observation, in order, why it is told or not."""

    cluster: ClusterState
    reasons: tuple[Reason, ...]

    @property
    def changed(self) -> bool:
        """Whether there is anything to save."""
        return any(reason not in _WITHOUT_TRACE for reason in self.reasons)


_WITHOUT_TRACE = {Reason.SECOND_COPY, Reason.IGNORED_CLUSTER, Reason.NO_SUBJECT}


def decide(
    cluster: ClusterState, observations: Sequence[Observation], now: datetime, policy: Policy
) -> Decision:
    """Apply the observations to the cluster's state, one after another."""
    services = dict(cluster.services)
    reasons = []
    for observation in observations:
        subject = subject_of(observation.event)
        if subject is None:
            reasons.append(Reason.NO_SUBJECT)
            continue
        before = services.get(subject.key, subject)
        services[subject.key], reason = _decide_one(before, observation.event, now, policy)
        reasons.append(reason)
    return Decision(cluster=replace(cluster, services=services), reasons=tuple(reasons))


def cluster_of(event: Event) -> ClusterState:
    """The cluster that an event is about, as it is before anything is known of it."""
    unknown = f"unknown cluster ({event.account}, {event.region})"
    return ClusterState(
        key=event.cluster_arn or unknown,
        account=event.account,
        region=event.region,
        partition=event.partition,
    )


def subject_of(event: Event) -> ServiceState | None:
    """The row that an event is about, as it is before anything is known of it."""
    match event:
        case DeploymentStateChange() | ServiceAction() | HookStateChange():
            return ServiceState(name=event.service)
        case DaemonServiceAction() | DaemonDeploymentStateChange():
            return ServiceState(name=event.daemon, kind=SubjectKind.DAEMON)
        case CodeDeployStateChange():
            name = f"{event.application}/{event.deployment_group}"
            return ServiceState(name=name, kind=SubjectKind.CODEDEPLOY)
    return None


def _decide_one(
    before: ServiceState, event: Event, now: datetime, policy: Policy
) -> tuple[ServiceState, Reason]:
    identity = _short(event.identity)
    if policy.route.ignored:
        return before, Reason.IGNORED_CLUSTER
    if identity in before.seen:
        return before, Reason.SECOND_COPY
    noted = replace(before, seen=(*before.seen, identity)[-SEEN_AT_MOST:])
    if not is_failure(event):
        return noted, Reason.PROGRESS
    reason = _why_news(before, _failure(event), now)
    return _with_failure(noted, _failure(event), now, policy, reason), reason


def _short(identity: str) -> str:
    """A hundred identities must fit in a small row; 16 hex digits do not collide within it."""
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def _failure(event: Event) -> Failure:
    return Failure(
        event=event.name,
        reason=event.reason,
        deployment_id=event.deployment_id if isinstance(event, _WITH_DEPLOYMENT) else None,
        occurred_at=event.occurred_at,
    )


_WITH_DEPLOYMENT = (DeploymentStateChange, CodeDeployStateChange)


def _why_news(before: ServiceState, failure: Failure, now: datetime) -> Reason:
    known = before.failure
    if before.phase is not Phase.FAILING or known is None:
        return Reason.NEWLY_FAILING
    if failure.deployment_id and failure.deployment_id != known.deployment_id:
        return Reason.ANOTHER_DEPLOYMENT
    if (failure.event, failure.reason) != (known.event, known.reason):
        return Reason.ANOTHER_CAUSE
    if before.repeat_at is not None and before.repeat_at <= now:
        return Reason.STILL_FAILING
    return Reason.REPEATED


def _with_failure(
    before: ServiceState, failure: Failure, now: datetime, policy: Policy, reason: Reason
) -> ServiceState:
    counted = replace(before, count=before.count + 1)
    if reason not in TOLD:
        return counted
    fresh = reason in (Reason.NEWLY_FAILING, Reason.ANOTHER_DEPLOYMENT)
    return replace(
        counted,
        phase=Phase.FAILING,
        failure=failure,
        revision=before.revision + 1,
        count=1 if fresh else counted.count,
        since=failure.occurred_at if fresh else before.since,
        destination=policy.route.destination,
        repeat_at=now + policy.repeat_interval,
    )


def owing(cluster: ClusterState, destination: str) -> tuple[str, ...]:
    """The services whose newest revision this destination has not been told."""
    return tuple(name for name, service in cluster.services.items() if service.owes(destination))


def newly_owed(before: ClusterState, after: ClusterState) -> tuple[str, ...]:
    """The destinations that have something to be told now that they had not before."""
    risen = (
        service.destination
        for name, service in after.services.items()
        if service.destination and service.revision > _revision(before, name)
    )
    return tuple(sorted(set(risen)))


def _revision(cluster: ClusterState, name: str) -> int:
    return cluster.services[name].revision if name in cluster.services else 0
