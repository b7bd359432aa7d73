"""What DescribeServiceDeployments and DescribeServiceRevisions show of a release.

A service's `Deployment` (`ecs-svc/…`) and its `ServiceDeployment` (an ARN) have no key in common:
they are matched by the task definition that they deploy and by when they were created.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceDeployment.html
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceRevision.html
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from notifier.ecs.fields import Row, child, maybe_true, maybe_whole, moment, rows, text, texts
from notifier.facts import ServiceDeployment

# One happening, two records of it, each with its own time.
_AS_GOOD_AS_AT_ONCE = timedelta(minutes=1)
_EVER = datetime.min.replace(tzinfo=UTC)


def service_deployment(row: Row) -> ServiceDeployment:
    """What a row of the answer shows."""
    is_watched = has_circuit_breaker(row) is not False
    breaker = child(row, "deploymentCircuitBreaker") if is_watched else {}
    return ServiceDeployment(
        arn=text(row, "serviceDeploymentArn"),
        status=text(row, "status"),
        status_reason=text(row, "statusReason"),
        created_at=moment(row, "createdAt"),
        source_revisions=tuple(text(one, "arn") for one in rows(row, "sourceServiceRevisions")),
        target_revision=text(child(row, "targetServiceRevision"), "arn"),
        rollback_reason=text(child(row, "rollback"), "reason"),
        failure_count=maybe_whole(breaker, "failureCount"),
        threshold=maybe_whole(breaker, "threshold"),
        alarms=texts(child(row, "alarms"), "triggeredAlarmNames"),
        lifecycle_stage=text(row, "lifecycleStage"),
        hooks_waiting=tuple(
            text(row, "lifecycleStage")
            for hook in rows(row, "lifecycleHookDetails")
            if text(hook, "status") == "AWAITING_ACTION"
        ),
    )


def has_circuit_breaker(row: Row) -> bool | None:
    """What a service's or service deployment's configuration says; None where it says nothing."""
    configured = child(child(row, "deploymentConfiguration"), "deploymentCircuitBreaker")
    return maybe_true(configured, "enable")


def rolls_back(row: Row) -> bool:
    """Whether a service's deployment that fails is rolled back by ECS.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentCircuitBreaker.html
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentAlarms.html
    """
    configured = child(row, "deploymentConfiguration")
    kinds = (child(configured, name) for name in ("deploymentCircuitBreaker", "alarms"))
    return any(maybe_true(one, "enable") and maybe_true(one, "rollback") for one in kinds)


def images(revision: Row) -> Mapping[str, str]:
    """The digests that ECS resolved for a service revision, by container."""
    return {
        text(one, "containerName"): text(one, "imageDigest")
        for one in rows(revision, "containerImages")
        if text(one, "imageDigest")
    }


def candidates(listed: Sequence[Row], began_at: datetime | None, most: int) -> Sequence[Row]:
    """Those of ListServiceDeployments that may be the deployment which began then, oldest first.

    Without that time the newest ones may.
    """
    in_order = sorted(listed, key=_created_at)
    if began_at is None:
        return in_order[-most:]
    return [one for one in in_order if _created_at(one) >= began_at - _AS_GOOD_AS_AT_ONCE][:most]


def matching(
    listed: Sequence[Row], revisions: Mapping[str, Row], task_definition: str, *, is_oldest: bool
) -> Row | None:
    """The first or last of them whose target revision has this task definition.

    Where nobody knows the task definition, the time has to do: the oldest, if that is asked for.
    """
    if not task_definition:
        return listed[0] if listed and is_oldest else None
    ours = [
        one
        for one in listed
        if text(revisions.get(target_of(one), {}), "taskDefinition") == task_definition
    ]
    return ours[0 if is_oldest else -1] if ours else None


def last_successful(listed: Sequence[Row], apart_from: str) -> Row | None:
    """The newest service deployment that succeeded, other than the one with this ARN."""
    succeeded = [
        one
        for one in listed
        if text(one, "status") == "SUCCESSFUL" and text(one, "serviceDeploymentArn") != apart_from
    ]
    return max(succeeded, key=_created_at, default=None)


def target_of(listed: Row) -> str:
    """The ARN of the service revision that a row of ListServiceDeployments deploys."""
    return text(listed, "targetServiceRevisionArn")


def _created_at(row: Row) -> datetime:
    return moment(row, "createdAt") or _EVER
