"""DescribeServices' answer as a reading: what a service looks like now.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Service.html
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta

from notifier.ecs.fields import Row, child, moment, rows, tags, text, whole
from notifier.model import Deployment, ServiceMessage, ServiceReading

MESSAGES_OF = timedelta(hours=1)
WATCH_TAG = "ecs-watch:tasks"  # set to `off`, nothing is told of the service that ECS is silent of
UNREAD_STAGE = "not read"

# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html
_FAILED = re.compile(r"\(deployment (ecs-svc/\d+)\) deployment failed: (.*)", re.DOTALL)
_ROLLS_BACK = re.compile(r"(rolling back to deployment (ecs-svc/\d+).*)", re.DOTALL)


def reading(name: str, row: Row, now: datetime) -> ServiceReading:
    """What a row of the answer shows; an empty row is a service that is not there.

    Asked for with its tags; its stage, if it has any, is read of its service deployment.
    """
    return ServiceReading(
        service=name,
        status=text(row, "status") or "MISSING",
        desired_count=whole(row, "desiredCount"),
        running_count=whole(row, "runningCount"),
        pending_count=whole(row, "pendingCount"),
        deployments=tuple(map(_deployment, rows(row, "deployments"))),
        read_at=now,
        messages=tuple(_messages(rows(row, "events"), now)),
        grace_seconds=whole(row, "healthCheckGracePeriodSeconds"),
        is_watched=tags(row).get(WATCH_TAG, "").strip().lower() != "off",
    )


def deployment_in_stages(row: Row) -> str:
    """The ARN of the service deployment that is under way, if it may wait for more than tasks.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html
    """
    configured = child(row, "deploymentConfiguration")
    is_rolling = text(configured, "strategy") in ("", "ROLLING")
    has_stages = bool(rows(configured, "lifecycleHooks")) or not is_rolling
    return text(row, "currentServiceDeployment") if has_stages else ""


def _messages(events: list[Row], now: datetime) -> Iterator[ServiceMessage]:
    """What the service's last messages tell of deployments that failed or are a way back."""
    for event in events:
        at, said = moment(event, "createdAt"), text(event, "message")
        if at is None or now - at > MESSAGES_OF:
            continue
        if found := _FAILED.search(said):
            yield ServiceMessage(deployment_id=found[1], at=at, is_failure=True, text=found[2])
        if found := _ROLLS_BACK.search(said):
            yield ServiceMessage(deployment_id=found[2], at=at, is_failure=False, text=found[1])


def _deployment(row: Row) -> Deployment:
    return Deployment(
        id=text(row, "id"),
        status=text(row, "status"),
        task_definition=text(row, "taskDefinition"),
        desired_count=whole(row, "desiredCount"),
        pending_count=whole(row, "pendingCount"),
        running_count=whole(row, "runningCount"),
        failed_tasks=whole(row, "failedTasks"),
        rollout_state=text(row, "rolloutState"),
        rollout_state_reason=text(row, "rolloutStateReason"),
        created_at=moment(row, "createdAt"),
        updated_at=moment(row, "updatedAt"),
    )
