"""The door to ECS. It only reads, within a fixed time, and says in a word why a read failed."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from notifier.errors import ReadFailed
from notifier.model import Deployment, ServiceMessage, ServiceReading

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient

# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServices.html
SERVICES_A_CALL = 10
MESSAGES_OF = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Ecs:
    """ECS of one account and region. `client` is called when ECS is first needed."""

    client: "Callable[[], ECSClient]"

    def services(
        self, cluster_arn: str, names: Sequence[str], now: datetime
    ) -> Mapping[str, ServiceReading]:
        """What DescribeServices shows of each name; one that is not there has status MISSING.

        Raises ReadFailed.
        """
        readings: dict[str, ServiceReading] = {}
        for start in range(0, len(names), SERVICES_A_CALL):
            asked = list(names[start : start + SERVICES_A_CALL])
            with _read_errors("DescribeServices"):
                answer = self.client().describe_services(cluster=cluster_arn, services=asked)
            shown = {row["serviceName"]: row for row in answer["services"]}
            readings |= {name: _reading(name, shown.get(name, {}), now) for name in asked}
        return readings

    def clusters(self) -> Sequence[str]:
        """The ARNs of all clusters of the account and region. Raises ReadFailed."""
        with _read_errors("ListClusters"):
            pages = self.client().get_paginator("list_clusters").paginate()
            return [arn for page in pages for arn in page["clusterArns"]]

    def service_names(self, cluster_arn: str, page: str) -> tuple[Sequence[str], str]:
        """A page of a cluster's services, and the token of the next page or nothing.

        Raises ReadFailed.
        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListServices.html
        """
        more: Any = {"nextToken": page} if page else {}
        with _read_errors("ListServices"):
            answer = self.client().list_services(cluster=cluster_arn, maxResults=100, **more)
        names = [arn.rpartition("/")[2] for arn in answer["serviceArns"]]
        return names, answer.get("nextToken", "")


def _reading(name: str, row: Mapping[str, Any], now: datetime) -> ServiceReading:
    return ServiceReading(
        service=name,
        status=row.get("status", "MISSING"),
        desired_count=row.get("desiredCount", 0),
        running_count=row.get("runningCount", 0),
        pending_count=row.get("pendingCount", 0),
        deployments=tuple(map(_deployment, row.get("deployments", ()))),
        read_at=now,
        messages=tuple(_messages(row.get("events", ()), now)),
    )


# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html
_FAILED = re.compile(r"\(deployment (ecs-svc/\d+)\) deployment failed: (.*)", re.DOTALL)
_ROLLS_BACK = re.compile(r"(rolling back to deployment (ecs-svc/\d+).*)", re.DOTALL)


def _messages(events: Sequence[Mapping[str, Any]], now: datetime) -> Iterator[ServiceMessage]:
    """What the service's last messages tell of deployments that failed or are a way back."""
    for event in events:
        at, text = event.get("createdAt"), event.get("message", "")
        if not isinstance(at, datetime) or now - at > MESSAGES_OF:
            continue
        if found := _FAILED.search(text):
            yield ServiceMessage(deployment_id=found[1], at=at, is_failure=True, text=found[2])
        if found := _ROLLS_BACK.search(text):
            yield ServiceMessage(deployment_id=found[2], at=at, is_failure=False, text=found[1])


def _deployment(row: Mapping[str, Any]) -> Deployment:
    return Deployment(
        id=row.get("id", ""),
        status=row.get("status", ""),
        task_definition=row.get("taskDefinition", ""),
        desired_count=row.get("desiredCount", 0),
        pending_count=row.get("pendingCount", 0),
        running_count=row.get("runningCount", 0),
        failed_tasks=row.get("failedTasks", 0),
        rollout_state=row.get("rolloutState", ""),
        rollout_state_reason=row.get("rolloutStateReason", ""),
        created_at=row.get("createdAt"),
        updated_at=row.get("updatedAt"),
    )


# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/CommonErrors.html
_WHY = {
    "AccessDeniedException": "no permission",
    "ClusterNotFoundException": "gone",
    "ServiceNotFoundException": "gone",
    "ThrottlingException": "throttled",
}


@contextmanager
def _read_errors(operation: str) -> Iterator[None]:
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        ConnectTimeoutError,
        ReadTimeoutError,
    )

    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        raise ReadFailed(operation, _WHY.get(code, f"unavailable ({code})")) from error
    except (ConnectTimeoutError, ReadTimeoutError) as error:
        raise ReadFailed(operation, "too slow") from error
    except BotoCoreError as error:
        raise ReadFailed(operation, "unavailable") from error
