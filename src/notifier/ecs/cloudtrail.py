"""The records of the calls that began deployments, as CloudTrail's event history has them.

A record appears within minutes, and the history may be asked twice a second in an account: one
look covers every service that is asked about. It is management events only, kept for 90 days.
https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
https://docs.aws.amazon.com/awscloudtrail/latest/userguide/WhatIsCloudTrail-Limits.html
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from notifier.arns import cluster_name
from notifier.ecs.fields import Row, child, decoded, rows, text
from notifier.ecs.reads import Budget, Read
from notifier.errors import ReadFailed
from notifier.facts import Asked, Missing

if TYPE_CHECKING:
    from mypy_boto3_cloudtrail import CloudTrailClient

ACTION = "cloudtrail:LookupEvents"
BEFORE, AFTER = timedelta(minutes=5), timedelta(minutes=2)
_OPERATIONS = ("UpdateService", "CreateService")  # the first is what most deployments begin with


@dataclass(frozen=True, slots=True)
class Callers:
    """For each service the records that name it, newest first; and what could not be read."""

    records: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    missing: tuple[Missing, ...] = ()


def look_up(
    client: "CloudTrailClient",
    budget: Budget,
    cluster_arn: str,
    asked: Sequence[Asked],
    now: datetime,
) -> Callers:
    """Look around the time at which the deployments began; what has no such time is left out."""
    wanted = {one.service: one.began_at for one in asked if one.began_at}
    found: dict[str, list[Row]] = {service: [] for service in wanted}
    for operation in _OPERATIONS:
        times = [at for service, at in wanted.items() if at and not found[service]]
        if not times:
            break
        look = _look_for(client, operation, min(times) - BEFORE, min(now, max(times) + AFTER))
        answer = budget.answers({operation: look})[operation]
        if isinstance(answer, ReadFailed):
            return Callers(found, (Missing(what="who deployed", why=answer.why, action=ACTION),))
        for record in _records(answer, cluster_arn):
            found.get(_service(record), []).append(record)
    return Callers(found)


def _look_for(client: "CloudTrailClient", operation: str, since: datetime, until: datetime) -> Read:
    """One page, newest first: fifty calls of this name within minutes are more than there are."""
    return Read(
        ACTION,
        lambda: client.lookup_events(
            LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": operation}],
            StartTime=since,
            EndTime=until,
            MaxResults=50,
        ),
    )


def _records(answer: Row, cluster_arn: str) -> list[Row]:
    """The records of calls about services of this cluster; none named is the default one."""
    every = [decoded(text(event, "CloudTrailEvent")) for event in rows(answer, "Events")]
    ours = cluster_name(cluster_arn)
    return [
        record
        for record in every
        if cluster_name(text(child(record, "requestParameters"), "cluster") or "default") == ours
    ]


def _service(record: Row) -> str:
    """UpdateService names it `service`, by name or ARN, and CreateService `serviceName`."""
    request = child(record, "requestParameters")
    return (text(request, "service") or text(request, "serviceName")).rpartition("/")[2]
