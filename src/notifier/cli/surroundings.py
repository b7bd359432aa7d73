"""What a person can see of the watcher and its functions cannot: alarms, backups, CloudTrail, ECS.

Each question gives its findings; what may not be asked could not be seen.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from notifier import checkup
from notifier.arns import cluster_name
from notifier.checkup import NO_PERMISSION, Finding, Verdict, counted
from notifier.cli.stack import TABLE, TOPIC, Stack
from notifier.deployed import unread
from notifier.model import Route
from notifier.routing import route_for

NAMED_AT_MOST = 10
SERVICES_A_CALL = 10

Client = Callable[[str], Any]


def surroundings(stack: Stack, routes: tuple[Route, ...], client: Client) -> Iterator[Finding]:
    """All of it, in the order in which it matters."""
    yield from _asked("stack", lambda: _status(stack))
    no_topic = Finding("alarms", Verdict.FAILS, "have no topic any more", checkup.REVERT)
    yield from _asked("alarms", partial(_alarms, stack, client), gone=[no_topic])
    # That there is no table was said before.
    yield from _asked("backup", partial(_backup, stack, client), gone=[])
    yield from _options(stack)
    yield from _asked("CloudTrail", partial(_trail, stack, client))
    yield from _asked("services", partial(_services, routes, client))


def _asked(
    check: str, ask: Callable[[], Iterable[Finding]], gone: list[Finding] | None = None
) -> list[Finding]:
    """What was found; `gone` where what was asked for does not exist."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return list(ask())
    except (BotoCoreError, ClientError) as error:
        seen = unread(error)
    if seen.is_gone and gone is not None:
        return gone
    todo = "allow yourself to read it" if seen.why == NO_PERMISSION else "look again later"
    return [Finding(check, Verdict.UNSEEN, f"could not be read: {seen.why}", todo)]


def _status(stack: Stack) -> Iterator[Finding]:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html."""
    is_whole = stack.status.endswith("_COMPLETE") and "ROLLBACK" not in stack.status
    if is_whole or stack.status == "UPDATE_ROLLBACK_COMPLETE":
        yield Finding("stack", Verdict.WORKS, f"{stack.name} is {stack.status}")
    else:
        todo = "see its events in the CloudFormation console, and deploy it again"
        yield Finding("stack", Verdict.FAILS, f"{stack.name} is {stack.status}", todo)


def _alarms(stack: Stack, client: Client) -> Iterator[Finding]:
    """Whether the watcher's own alarms reach somebody.

    https://docs.aws.amazon.com/sns/latest/api/API_ListSubscriptionsByTopic.html
    """
    for arn in stack.of(TOPIC).values():
        listed = client("sns").list_subscriptions_by_topic(TopicArn=arn)["Subscriptions"]
        waiting = [one for one in listed if one["SubscriptionArn"] == "PendingConfirmation"]
        if waiting:
            todo = "click the link in the mail that AWS sent"
            yield Finding("alarms", Verdict.FAILS, "wait for a subscription's confirmation", todo)
        elif not listed:
            todo = "give AlarmEmail, or subscribe to the topic of the output AlarmTopicArn"
            yield Finding("alarms", Verdict.FAILS, "reach nobody", todo)
        else:
            yield Finding("alarms", Verdict.WORKS, f"reach {counted(len(listed), 'subscriber')}")


def _backup(stack: Stack, client: Client) -> Iterator[Finding]:
    """https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_DescribeContinuousBackups.html.

    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_DescribeTimeToLive.html
    """
    for name in stack.of(TABLE).values():
        shown = client("dynamodb").describe_continuous_backups(TableName=name)
        state = shown["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
        is_on = state.get("PointInTimeRecoveryStatus") == "ENABLED"
        command = (
            f"aws dynamodb update-continuous-backups --table-name {name} "
            "--point-in-time-recovery-specification PointInTimeRecoveryEnabled=true"
        )
        cost = "a table lost by mistake cannot be restored; switch it on again:"
        yield _switch("point-in-time recovery", is_on, cost, command)
        ttl = client("dynamodb").describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        is_on = ttl.get("TimeToLiveStatus") in ("ENABLED", "ENABLING")
        command = (
            f"aws dynamodb update-time-to-live --table-name {name} "
            "--time-to-live-specification Enabled=true,AttributeName=expires_at"
        )
        cost = "old rows are never deleted; switch it on again:"
        yield _switch("time to live", is_on, cost, command)


def _switch(what: str, is_on: bool, cost: str, command: str) -> Finding:
    if is_on:
        return Finding(what, Verdict.WORKS, "of the table is on")
    return Finding(what, Verdict.OPEN, "of the table is off", cost, command)


# Parameter, the value that leaves it out, and what that costs.
_OPTIONS = (
    ("ReadTaskDefinitions", "false", "it is not told what changed between two releases"),
    ("ReadLogs", "off", "the last log lines of a failed container are not shown"),
    (
        "LookUpDeployers",
        "false",
        "who deployed is known from tags and, where a trail is active, from its records alone",
    ),
)


def _options(stack: Stack) -> Iterator[Finding]:
    for parameter, off, cost in _OPTIONS:
        value = stack.parameters.get(parameter, off)
        if value == off:
            yield Finding(f"permission {parameter}", Verdict.OPEN, "is not given", cost)
        else:
            yield Finding(f"permission {parameter}", Verdict.WORKS, f"is given ({value})")


# --- CloudTrail -------------------------------------------------------------------------------


def _trail(stack: Stack, client: Client) -> Iterator[Finding]:
    """Whether CloudTrail hands calls of ECS to EventBridge here.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-service-event-cloudtrail.html
    """
    cloudtrail = client("cloudtrail")
    for trail in cloudtrail.describe_trails(includeShadowTrails=True)["trailList"]:
        arn = trail["TrailARN"]
        is_here = trail.get("IsMultiRegionTrail") or trail.get("HomeRegion") == stack.region
        if not is_here or not cloudtrail.get_trail_status(Name=arn).get("IsLogging"):
            continue
        if _logs_writes(cloudtrail.get_event_selectors(TrailName=arn)):
            yield Finding(
                "CloudTrail", Verdict.WORKS, f"trail {trail['Name']} records calls of ECS"
            )
            return
    cost = "who deployed and RunTask calls that fail are not seen"
    yield Finding("CloudTrail", Verdict.OPEN, "has no active trail with management events", cost)


def _logs_writes(selectors: Mapping[str, Any]) -> bool:
    """https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_GetEventSelectors.html."""
    classic = any(
        one.get("IncludeManagementEvents") and one.get("ReadWriteType") != "ReadOnly"
        for one in selectors.get("EventSelectors") or ()
    )
    return classic or any(map(_takes_writes, selectors.get("AdvancedEventSelectors") or ()))


def _takes_writes(selector: Mapping[str, Any]) -> bool:
    fields = {one["Field"]: one.get("Equals", []) for one in selector["FieldSelectors"]}
    return "Management" in fields.get("eventCategory", []) and "true" not in fields.get(
        "readOnly", []
    )


# --- ECS --------------------------------------------------------------------------------------


def _services(routes: tuple[Route, ...], client: Client) -> Iterator[Finding]:
    """Services whose failed deployments send no event, so that only their dying tasks are seen.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_service_deployment_events.html
    """
    ecs = client("ecs")
    other, without, watched = [], [], 0
    for cluster, service in _watched(routes, ecs):
        watched += 1
        name = f"{cluster_name(cluster)}/{service['serviceName']}"
        controller = service.get("deploymentController", {}).get("type", "ECS")
        if controller != "ECS":
            other.append(f"{name} ({controller})")
        elif not _ends_by_itself(service.get("deploymentConfiguration", {})):
            without.append(name)
    if not other and not without:
        yield Finding("services", Verdict.WORKS, f"tell ECS's own verdict: all {watched:,}")
    if without:
        cost = "a deployment that fails sends no event; it is found by its tasks and its standstill"
        yield _some("services without circuit breaker or deployment alarms", without, cost)
    if other:
        cost = "only what CodeDeploy says and the tasks that die are seen"
        yield _some("services of another deployment controller", other, cost)


def _some(which: str, names: Sequence[str], cost: str) -> Finding:
    return Finding(which, Verdict.OPEN, f"are {len(names):,}: {_named(names)}", cost)


def _watched(routes: tuple[Route, ...], ecs: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for page in ecs.get_paginator("list_clusters").paginate():
        for cluster in page["clusterArns"]:
            if route_for(cluster_name(cluster), routes).ignored:
                continue
            pages = ecs.get_paginator("list_services").paginate(cluster=cluster)
            arns = [arn for one in pages for arn in one["serviceArns"]]
            for start in range(0, len(arns), SERVICES_A_CALL):
                few = arns[start : start + SERVICES_A_CALL]
                for service in ecs.describe_services(cluster=cluster, services=few)["services"]:
                    yield cluster, service


def _ends_by_itself(configuration: Mapping[str, Any]) -> bool:
    breaker = configuration.get("deploymentCircuitBreaker") or {}
    alarms = configuration.get("alarms") or {}
    return bool(breaker.get("enable") or alarms.get("enable"))


def _named(names: Sequence[str]) -> str:
    more = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {more:,} more" if more > 0 else "")
