"""EventBridge's JSON → an event of ours. The only file that knows AWS's event field names.

What is needed to say where something happened (the envelope, the service, the task) must be there,
or MalformedEvent says which field is not. Everything else may be missing, null or of a wrong type,
and gives a weaker event. https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_cwe_events.html
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypedDict

from notifier.arns import (
    Arn,
    cluster_arn_of,
    daemon_name,
    is_name,
    is_region,
    parse_arn,
    partition_of,
    service_name,
)
from notifier.errors import MalformedEvent
from notifier.facts import Container
from notifier.model import (
    ApiCall,
    Caller,
    CodeDeployStateChange,
    ContainerOverride,
    DaemonDeploymentStateChange,
    DaemonServiceAction,
    DeploymentStateChange,
    Event,
    Heartbeat,
    HookStateChange,
    Launch,
    NotOurs,
    RunbookFailed,
    ServiceAction,
    TaskRetry,
    TaskStateChange,
)

# --- AWS's words ------------------------------------------------------------------------------

ECS = "aws.ecs"
CODE_DEPLOY = "aws.codedeploy"
SCHEDULE = "aws.events"
TASKS = "ecs-watch.tasks"  # the stack of tasks.yaml, which puts what it did on the default bus

SERVICE_ACTION = "ECS Service Action"
DEPLOYMENT_STATE_CHANGE = "ECS Deployment State Change"
TASK_STATE_CHANGE = "ECS Task State Change"
HOOK_STATE_CHANGE = "ECS Hook State Change"
DAEMON_SERVICE_ACTION = "ECS Daemon Service Action"
DAEMON_DEPLOYMENT_STATE_CHANGE = "ECS Daemon Deployment State Change"
CODE_DEPLOY_STATE_CHANGE = "CodeDeploy Deployment State-change Notification"
API_CALL = "AWS API Call via CloudTrail"
TASK_RETRY = "ECS Watch Task Retry"
RUNBOOK_FAILED = "ECS Watch Runbook Failed"
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-rule-schedule.html
SCHEDULED = "Scheduled Event"
HEARTBEAT = "Heartbeat"  # in the name of each rule that sends ours

# Every name of `ECS Service Action` and `ECS Deployment State Change`, and whether it is trouble.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_service_events.html
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_service_deployment_events.html
HEALTHY_NAMES = frozenset(
    {
        "SERVICE_STEADY_STATE",
        "TASKSET_STEADY_STATE",
        "CAPACITY_PROVIDER_STEADY_STATE",
        "SERVICE_DESIRED_COUNT_UPDATED",
        "TASKS_STOPPED",
        "SERVICE_DEPLOYMENT_IN_PROGRESS",
        "SERVICE_DEPLOYMENT_COMPLETED",
    }
)
FAILURE_NAMES = frozenset(
    {
        "SERVICE_DEPLOYMENT_FAILED",
        "SERVICE_TASK_START_IMPAIRED",
        "SERVICE_DISCOVERY_INSTANCE_UNHEALTHY",
        "VPC_LATTICE_TARGET_UNHEALTHY",
        "SERVICE_DAEMON_PLACEMENT_CONSTRAINT_VIOLATED",
        "ECS_OPERATION_THROTTLED",
        "SERVICE_DISCOVERY_OPERATION_THROTTLED",
        "SERVICE_TASK_PLACEMENT_FAILURE",
        "SERVICE_TASK_CONFIGURATION_FAILURE",
        "SERVICE_HEALTH_UNKNOWN",
    }
)
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_hook_state_change_events.html
HOOK_HEALTHY_NAMES = frozenset({"HOOK_IN_PROGRESS", "HOOK_SUCCEEDED"})
HOOK_FAILURE_NAMES = frozenset({"HOOK_AWAITING_ACTION", "HOOK_FAILED", "HOOK_TIMED_OUT"})
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/managed-daemons-events.html
DAEMON_FAILURE_NAMES = frozenset({"DAEMON_TASK_START_IMPAIRED"})
# STOP_REQUESTED "will now start to roll back"; STOPPED "has failed or has been replaced": ibidem.
DAEMON_DEPLOYMENT_HEALTHY_NAMES = frozenset(
    {
        "DAEMON_DEPLOYMENT_PENDING",
        "DAEMON_DEPLOYMENT_IN_PROGRESS",
        "DAEMON_DEPLOYMENT_SUCCESSFUL",
    }
)
DAEMON_DEPLOYMENT_FAILURE_NAMES = frozenset(
    {
        "DAEMON_DEPLOYMENT_STOP_REQUESTED",
        "DAEMON_DEPLOYMENT_STOPPED",
        "DAEMON_DEPLOYMENT_ROLLBACK_IN_PROGRESS",
        "DAEMON_DEPLOYMENT_ROLLBACK_SUCCESSFUL",
        "DAEMON_DEPLOYMENT_ROLLBACK_FAILED",
    }
)
# https://docs.aws.amazon.com/codedeploy/latest/userguide/monitoring-cloudwatch-events.html
CODE_DEPLOY_FAILURE_STATES = frozenset({"FAILURE", "STOP"})

_HEALTHY = HEALTHY_NAMES | HOOK_HEALTHY_NAMES | DAEMON_DEPLOYMENT_HEALTHY_NAMES
_FAILURES = (
    FAILURE_NAMES | HOOK_FAILURE_NAMES | DAEMON_FAILURE_NAMES | DAEMON_DEPLOYMENT_FAILURE_NAMES
)

# Calls that start or stop tasks or change what a service runs.
_OPERATIONS = frozenset(
    {
        "RunTask",
        "StartTask",
        "StopTask",
        "CreateService",
        "UpdateService",
        "DeleteService",
        "CreateTaskSet",
        "UpdateServicePrimaryTaskSet",
        "RegisterTaskDefinition",
        "StopServiceDeployment",
        "ContinueServiceDeployment",
    }
)
# "If you do not specify a cluster, the default cluster is assumed": not for these.
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
_OPERATIONS_WITHOUT_CLUSTER = frozenset(
    {"RegisterTaskDefinition", "StopServiceDeployment", "ContinueServiceDeployment"}
)

# What makes UpdateService begin a deployment, as each parameter's description says; the rule
# `Deployers` of template.yaml asks for the same, and for `forceNewDeployment`.
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html
DEPLOYING_PARAMETERS = frozenset(
    {
        "taskDefinition",
        "networkConfiguration",
        "platformVersion",
        "loadBalancers",
        "serviceRegistries",
        "serviceConnectConfiguration",
        "volumeConfigurations",
        "vpcLatticeConfigurations",
    }
)
# An update that changes nothing is answered with the deployment that is there already. One that the
# call began is as old as the call, which CloudTrail dates in whole seconds.
_AS_OLD_AS_ITS_CALL = timedelta(seconds=30)

_CONTAINER_INSTANCE_TYPES = {
    "ECS Container Instance State Change": "container instance state change",
    "ECS Container Instance Health Change": "container instance health change",
}

# --- limits -----------------------------------------------------------------------------------

# An SQS message holds 1 MiB at most; the rest is room for a file that somebody indented.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
LARGEST_BODY = 1_048_576 + 65_536
# Bytes of UTF-8. A row of the table holds 400 kB with all that is in it.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
_NAME_BYTES = 256
_TEXT_BYTES = 2_048
_REASON_BYTES = 8_192
_ITEMS_AT_MOST = 50
_UNKEPT_AT_MOST = 10
_EBS = "AmazonElasticBlockStorage"
# Of RunTask's parameters, what `Launch` keeps, and what makes no other job of it.
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
_KEPT = {
    "cluster",
    "taskDefinition",
    "startedBy",
    "launchType",
    "capacityProviderStrategy",
    "platformVersion",
    "networkConfiguration",
    "overrides",
}
_NOT_OF_THE_JOB = {
    "clientToken",
    "count",
    "group",
    "referenceId",
    "enableECSManagedTags",
    "enableExecuteCommand",
    "propagateTags",
}


# --- what others call -------------------------------------------------------------------------


def parse(body: str | bytes | Mapping[str, object], *, stack_name: str = "") -> Event | NotOurs:
    """Read an event as EventBridge sends it.

    `stack_name` is our own stack's: what it does itself is not told. Raises MalformedEvent when it
    is no event of EventBridge, or when the field that says what it is about cannot be read.
    https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html
    """
    values = body if isinstance(body, Mapping) else _decoded(body)
    fields = _Fields(values)
    source, detail_type = _required(fields, "source"), _required(fields, "detail-type")
    if not isinstance(values.get("detail"), Mapping):
        raise MalformedEvent(f"detail: expected an object, found {_found(values, 'detail')}")
    if (source, detail_type) == (SCHEDULE, SCHEDULED):
        return _scheduled(_envelope(fields, detail_type))
    if why := _why_not_ours(source, detail_type):
        return NotOurs(why)
    event = _READERS.get(detail_type, _unknown)(_envelope(fields, detail_type))
    return NotOurs("own stack") if _is_own(event, fields.child("detail"), stack_name) else event


def is_failure(event: Event) -> bool:
    """Whether the event itself tells of a failure.

    A name of AWS's catalogue decides by itself; any other name, or none, is a failure unless its
    eventType is INFO. Task state changes and API calls are none here: whether a stop or a refused
    call is bad is judged from its reasons, together with others of its kind. What tasks.yaml did is
    news of such a call.
    """
    match event:
        case TaskStateChange() | ApiCall() | TaskRetry() | RunbookFailed():
            return False
        case CodeDeployStateChange():
            return event.name in CODE_DEPLOY_FAILURE_STATES
    if event.name in _HEALTHY:
        return False
    return event.name in _FAILURES or event.type != "INFO"


def as_envelope(value: Mapping[str, object]) -> Mapping[str, object] | None:
    """A bare record of CloudTrail, as EventBridge would deliver it; None for anything else.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-service-event-cloudtrail.html
    """
    record = _Fields(value)
    service = record.text("eventSource").removesuffix(".amazonaws.com")
    if not (service and record.text("eventName") and record.text("eventVersion")):
        return None
    return {
        "version": "0",
        "id": record.text("eventID") or record.text("requestID"),
        "detail-type": API_CALL,
        "source": f"aws.{service}",
        "account": record.text("recipientAccountId")
        or record.child("userIdentity").text("accountId"),
        "time": value.get("eventTime"),
        "region": record.text("awsRegion"),
        "resources": [],
        "detail": value,
    }


def renewed(
    envelope: Mapping[str, object], now: datetime, *, account: str = "", region: str = ""
) -> Mapping[str, object]:
    """The same event as if it were sent now, of another deployment, and of this account and region.

    Its other times keep their distance to `now`. `envelope` must be one that `parse` takes.
    """
    fields = _Fields(envelope)
    moved = now - _envelope(fields, _required(fields, "detail-type")).sent_at
    known = fields.child("detail").values
    detail = {key: _moved(key, value, moved) for key, value in known.items()}
    if fields.child("detail").text("deploymentId").startswith("ecs-svc/"):
        detail["deploymentId"] = f"ecs-svc/{int(now.timestamp() * 1000)}"
    whose = {"account": account, "region": region}
    return {
        **envelope,
        **{key: value for key, value in whose.items() if value},
        "time": _stamp(now),
        "detail": detail,
    }


def _moved(key: str, value: object, by: timedelta) -> object:
    at = _time(value) if key.endswith("At") else None
    return _stamp(at + by) if at else value


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- the envelope -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Fields:
    """The fields of a JSON object. A missing or wrong-typed one is empty, not an error."""

    values: Mapping[str, object]

    def text(self, key: str, limit: int = _NAME_BYTES) -> str:
        """The text, at most `limit` bytes of UTF-8."""
        return _text(self.values.get(key), limit)

    def texts(self, key: str) -> tuple[str, ...]:
        """The texts of a list, without what is none."""
        items = (_text(item, _TEXT_BYTES) for item in self._list(key))
        return tuple(item for item in items if item)

    def child(self, key: str) -> "_Fields":
        value = self.values.get(key)
        return _Fields(value if isinstance(value, Mapping) else {})

    def children(self, key: str) -> tuple["_Fields", ...]:
        return tuple(_Fields(item) for item in self._list(key) if isinstance(item, Mapping))

    def integer(self, key: str) -> int | None:
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int):
            return None
        return value if abs(value) < 2**63 else None

    def time(self, *keys: str) -> datetime | None:
        """The first of the fields that holds a time."""
        return next((time for key in keys if (time := _time(self.values.get(key)))), None)

    def _list(self, key: str) -> list[object]:
        value = self.values.get(key)
        return value[:_ITEMS_AT_MOST] if isinstance(value, list) else []


@dataclass(frozen=True, slots=True)
class _Envelope:
    """What EventBridge says around each event. Account and region are trusted from here alone."""

    id: str
    account: str
    region: str
    sent_at: datetime
    detail_type: str
    resource: str
    detail: _Fields
    replayed: bool


class _Common(TypedDict):
    """The fields of Event itself."""

    id: str
    account: str
    region: str
    partition: str
    occurred_at: datetime
    sent_at: datetime
    identity: str
    cluster_arn: str | None
    name: str
    type: str
    reason: str
    replayed: bool


def _decoded(body: str | bytes) -> Mapping[str, object]:
    size = len(body if isinstance(body, bytes) else body.encode(errors="surrogatepass"))
    if size > LARGEST_BODY:
        raise MalformedEvent(f"body: {size} bytes are more than an event can have")
    try:
        values = json.loads(body)
    except RecursionError:
        raise MalformedEvent("body: nested too deeply") from None
    except ValueError as error:
        raise MalformedEvent(f"body: not JSON ({_reason_of(error)})") from None
    if not isinstance(values, dict):
        raise MalformedEvent(f"body: expected an object, found {type(values).__name__}")
    return values


def _reason_of(error: ValueError) -> str:
    """Why, without quoting the body."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, line {error.lineno}, column {error.colno}"
    return "not UTF-8" if isinstance(error, UnicodeError) else "a number with too many digits"


# Twelve digits, or what stands for them in a published sample.
_ACCOUNT = re.compile(r"[!-.0-9;-~]{1,20}")


def _envelope(fields: _Fields, detail_type: str) -> _Envelope:
    account, region = _required(fields, "account"), _required(fields, "region")
    if not _ACCOUNT.fullmatch(account):
        raise MalformedEvent("account: not an account's id")
    if not is_region(region):
        raise MalformedEvent("region: not a region's name")
    sent_at = fields.time("time")
    if sent_at is None:
        raise MalformedEvent(f"time: expected a time, found {_found(fields.values, 'time')}")
    resources = fields.values.get("resources")
    first = resources[0] if isinstance(resources, list) and resources else None
    return _Envelope(
        id=_required(fields, "id"),
        account=account,
        region=region,
        sent_at=sent_at,
        detail_type=detail_type,
        resource=_text(first, _TEXT_BYTES),
        detail=fields.child("detail"),
        # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-replay-archived-event.html
        replayed="replay-name" in fields.values,
    )


def _required(fields: _Fields, key: str) -> str:
    text = fields.text(key)
    if not text.strip():
        raise MalformedEvent(f"{key}: expected a text, found {_found(fields.values, key)}")
    return text


def _found(values: Mapping[str, object], key: str) -> str:
    """What stands there instead, in a word: foreign text does not belong in an error."""
    value = values.get(key)
    if value is None:
        return "null" if key in values else "nothing"
    if isinstance(value, str):
        return "another text" if value.strip() else "an empty text"
    return "an object" if isinstance(value, Mapping) else f"a {type(value).__name__}"


def _scheduled(envelope: _Envelope) -> NotOurs:
    """What a rule with a schedule sends; ours are known by the rule's name."""
    arn, _, rule = envelope.resource.partition(":rule/")
    if not re.fullmatch(r"arn:[a-z-]+:events:[a-z0-9-]+:[0-9]{12}", arn) or HEARTBEAT not in rule:
        return NotOurs("other schedule")
    return Heartbeat("heartbeat", envelope.account, envelope.region, envelope.sent_at)


def _why_not_ours(source: str, detail_type: str) -> str | None:
    if source == CODE_DEPLOY and detail_type == CODE_DEPLOY_STATE_CHANGE:
        return None
    if source == TASKS and detail_type in (TASK_RETRY, RUNBOOK_FAILED):
        return None
    if detail_type == "EC2 Spot Instance Interruption Warning":
        return "EC2 spot warning"
    if source != ECS or detail_type in (CODE_DEPLOY_STATE_CHANGE, TASK_RETRY, RUNBOOK_FAILED):
        return "other source"
    # Sign-ins to the console and AWS's own doings are recorded by CloudTrail too.
    if detail_type.endswith("via CloudTrail") and detail_type != API_CALL:
        return "other API call"
    return _CONTAINER_INSTANCE_TYPES.get(detail_type)


# --- one reader for each detail-type ----------------------------------------------------------


def _deployment(envelope: _Envelope) -> DeploymentStateChange:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_service_deployment_events.html"""
    detail, at = envelope.detail, envelope.detail.time("updatedAt", "createdAt")
    deployment_id = _deployment_id(detail)
    subject = deployment_id or envelope.resource
    return DeploymentStateChange(
        **_common(
            envelope,
            identity=_identity(envelope, at, "deployment", subject, detail.text("eventName")),
            occurred_at=at,
            cluster_arn=_cluster_arn(envelope, envelope.resource, _arn(detail, "clusterArn")),
        ),
        service=_service(envelope.resource),
        deployment_id=deployment_id,
    )


def _deployment_id(detail: _Fields) -> str | None:
    """The id; where the field is missing, the one that a begin or an end names in its reason."""
    if deployment_id := detail.text("deploymentId"):
        return deployment_id
    if detail.text("eventName") not in HEALTHY_NAMES:
        return None
    named = re.search(r"ecs-svc/[0-9]{1,40}", detail.text("reason", _REASON_BYTES))
    return named[0] if named else None


def _service_action(envelope: _Envelope) -> Event:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_service_events.html

    Its page lists SERVICE_DEPLOYMENT_* too: read as the event that it may be a second copy of.
    """
    detail = envelope.detail
    if detail.text("eventName").startswith("SERVICE_DEPLOYMENT_"):
        return _deployment(envelope)
    at = detail.time("createdAt", "updatedAt")
    return ServiceAction(
        **_common(
            envelope,
            identity=_identity(envelope, at, "action", envelope.resource, detail.text("eventName")),
            occurred_at=at,
            cluster_arn=_cluster_arn(envelope, envelope.resource, _arn(detail, "clusterArn")),
        ),
        service=_service(envelope.resource),
        capacity_provider_arns=detail.texts("capacityProviderArns"),
        container_instance_arns=detail.texts("containerInstanceArns"),
    )


def _task(envelope: _Envelope) -> TaskStateChange:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_task_events.html"""
    detail, at, task_arn = envelope.detail, envelope.detail.time("updatedAt"), _task_arn(envelope)
    version = detail.integer("version")
    statuses = (detail.text("lastStatus"), detail.text("desiredStatus"))
    unversioned = _identity(envelope, at, "task", task_arn, *statuses)
    reason = detail.text("stoppedReason", _REASON_BYTES)
    return TaskStateChange(
        **_common(
            envelope,
            identity=unversioned if version is None else f"task {task_arn} {version}",
            occurred_at=at,
            cluster_arn=_cluster_arn(envelope, task_arn, _arn(detail, "clusterArn")),
            reason=reason,
        ),
        task_arn=task_arn,
        version=version,
        group=detail.text("group", _TEXT_BYTES),
        started_by=detail.text("startedBy"),
        last_status=statuses[0],
        desired_status=statuses[1],
        stop_code=detail.text("stopCode"),
        stopped_reason=reason,
        task_definition_arn=_arn(detail, "taskDefinitionArn"),
        containers=tuple(_container(fields) for fields in detail.children("containers")),
        service=_service_of_group(detail.text("group", _TEXT_BYTES)),
        launch=_launched(detail),
        started_at=detail.time("startedAt"),
    )


def _launched(task: _Fields) -> Launch:
    """How a task was started. Of its security groups, and of variables' values, nothing is there.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html
    """
    pairs = [pair for one in task.children("attachments") for pair in one.children("details")]
    subnets = [pair.text("value") for pair in pairs if pair.text("name") == "subnetId"]
    return Launch(
        task_definition=_arn(task, "taskDefinitionArn"),
        started_by=task.text("startedBy"),
        launch_type=task.text("launchType"),
        capacity_provider=task.text("capacityProviderName"),
        platform_version=task.text("platformVersion"),
        subnets=tuple(subnets[:1]),
        overrides=_overrides(task),
        left_out=_named((*_unkept_overrides(task), *_volumes(task))),
    )


def _volumes(task: _Fields) -> Iterator[str]:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Attachment.html"""
    if any(one.text("type") == _EBS for one in task.children("attachments")):
        yield "volumeConfigurations"


def _overrides(fields: _Fields) -> tuple[ContainerOverride, ...]:
    """What is started instead of what the task definition says; of variables only the names.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerOverride.html
    """
    overrides = (
        ContainerOverride(
            name=one.text("name"),
            command=one.texts("command"),
            environment=tuple(filter(None, (v.text("name") for v in one.children("environment")))),
        )
        for one in fields.child("overrides").children("containerOverrides")
    )
    return tuple(one for one in overrides if one.command or one.environment)


def _unkept_overrides(fields: _Fields) -> Iterator[str]:
    """What was started otherwise than `_overrides` can say, by the names of the fields.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TaskOverride.html
    """
    overrides = fields.child("overrides")
    if fields.values.get("overrides") and not overrides.values:
        yield "overrides"  # CloudTrail hides it
    yield from _besides(overrides, {"containerOverrides"})
    if not _is_list_of(overrides, "containerOverrides", overrides.children("containerOverrides")):
        yield "containerOverrides"
    for one in overrides.children("containerOverrides"):
        yield from _besides(one, {"name", "command", "environment"})
        if (one.values.get("command") or []) != list(one.texts("command")):
            yield "command"
        names = [pair for pair in one.children("environment") if pair.text("name")]
        if not _is_list_of(one, "environment", names):
            yield "environment"


def _besides(fields: _Fields, known: Collection[str]) -> Iterator[str]:
    yield from (key for key, value in fields.values.items() if value and key not in known)


def _is_list_of(fields: _Fields, key: str, kept: Sequence[object]) -> bool:
    """Whether all of a list is kept; one that is absent or empty has nothing to keep."""
    value = fields.values.get(key) or []
    return isinstance(value, list) and len(value) == len(kept)


def _named(keys: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_text(key, _NAME_BYTES) for key in keys))[:_UNKEPT_AT_MOST]


def _task_arn(envelope: _Envelope) -> str:
    for text in (_arn(envelope.detail, "taskArn"), envelope.resource):
        arn = parse_arn(text)
        if arn and arn.kind == "task":
            return text
    raise MalformedEvent("detail.taskArn, resources[0]: neither is the ARN of a task")


def _service_of_group(group: str) -> str | None:
    prefix, _, service = group.partition(":")
    return service if prefix == "service" and is_name(service) else None


def _container(fields: _Fields) -> Container:
    return Container(
        name=fields.text("name"),
        image=fields.text("image", _TEXT_BYTES),
        exit_code=fields.integer("exitCode"),
        reason=fields.text("reason", _TEXT_BYTES),
        last_status=fields.text("lastStatus"),
    )


def _hook(envelope: _Envelope) -> HookStateChange:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_hook_state_change_events.html

    One of its samples has no `resources`; the service deployment is named in the detail too.
    """
    detail, at = envelope.detail, envelope.detail.time("updatedAt")
    deployment_arn = _arn(detail, "serviceDeploymentArn") or envelope.resource
    arns = (_arn(detail, "serviceArn"), deployment_arn, envelope.resource)
    hook = (detail.text("hookId"), detail.text("lifecycleStage"), detail.text("eventName"))
    return HookStateChange(
        **_common(
            envelope,
            identity=_identity(envelope, at, "hook", deployment_arn or arns[0], *hook),
            occurred_at=at,
            cluster_arn=_cluster_arn(envelope, *arns, _arn(detail, "clusterArn")),
        ),
        service=_service(*arns),
        service_deployment_arn=deployment_arn,
        lifecycle_stage=detail.text("lifecycleStage"),
        hook_type=detail.text("hookType"),
        expires_at=detail.time("expiresAt"),
    )


def _daemon_action(envelope: _Envelope) -> DaemonServiceAction:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/managed-daemons-events.html

    `resources` names the task, and nothing when none could be created.
    """
    detail, at = envelope.detail, envelope.detail.time("createdAt", "updatedAt")
    arns = (_arn(detail, "daemonArn"), _arn(detail, "daemonRevisionArn"))
    where = (_arn(detail, "containerInstanceArn"), _arn(detail, "taskArn"))
    return DaemonServiceAction(
        **_common(
            envelope,
            identity=_identity(envelope, at, *arns, *where, detail.text("eventName")),
            occurred_at=at,
            cluster_arn=_cluster_arn(envelope, *arns, _arn(detail, "clusterArn"), *where),
        ),
        daemon=_daemon(*arns, envelope.resource),
        failure_type=detail.text("failureType"),
    )


def _daemon_deployment(envelope: _Envelope) -> DaemonDeploymentStateChange:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/managed-daemons-events.html"""
    detail, at = envelope.detail, envelope.detail.time("updatedAt", "createdAt")
    deployment_arn = _arn(detail, "daemonDeploymentArn")
    arns = (_arn(detail, "daemonArn"), deployment_arn, envelope.resource)
    return DaemonDeploymentStateChange(
        **_common(
            envelope,
            identity=_identity(envelope, at, *arns, detail.text("eventName")),
            occurred_at=at,
            cluster_arn=_cluster_arn(envelope, *arns, _arn(detail, "clusterArn")),
        ),
        daemon=_daemon(*arns),
        daemon_deployment_arn=deployment_arn,
    )


def _code_deploy(envelope: _Envelope) -> CodeDeployStateChange:
    """https://docs.aws.amazon.com/codedeploy/latest/userguide/monitoring-cloudwatch-events.html"""
    detail = envelope.detail
    application, deployment_id = detail.text("application"), detail.text("deploymentId")
    if not (application or deployment_id):
        raise MalformedEvent("detail.application, detail.deploymentId: neither is a text")
    group, state = detail.text("deploymentGroup"), detail.text("state")
    nameless = _identity(envelope, None, "codedeploy", application, group, state)
    return CodeDeployStateChange(
        **_common(
            envelope,
            identity=f"codedeploy {deployment_id} {state}" if deployment_id else nameless,
            occurred_at=None,
            cluster_arn=None,
            name=state,
        ),
        application=application,
        deployment_group=group,
        deployment_id=deployment_id,
    )


def _task_retry(envelope: _Envelope) -> TaskRetry:
    """As `retries.event_of` writes it: its id is the job's, and a number."""
    detail = envelope.detail
    job, _, number = detail.text("id").rpartition("/")
    return TaskRetry(
        **_of_tasks_stack(envelope),
        job=job,
        number=int(number) if _NUMBER.fullmatch(number) else 0,
        family=detail.text("family"),
        started_by=detail.text("startedBy"),
        call=detail.text("callEventId"),
        attempt=detail.integer("attempt") or 0,
        attempts=detail.integer("attempts") or 0,
        asked=detail.integer("asked") or 0,
        missing=detail.integer("missing") or 0,
        next_at=detail.time("nextAt"),
        tasks=detail.texts("taskArns"),
    )


def _runbook_failed(envelope: _Envelope) -> RunbookFailed:
    """As `runbooks.event_of` writes it."""
    detail = envelope.detail
    return RunbookFailed(
        **_of_tasks_stack(envelope),
        family=detail.text("family"),
        task_definition=_arn(detail, "taskDefinition"),
        runbook=detail.text("runbook"),
        execution_id=detail.text("executionId"),
        step=detail.text("step"),
        started_by=_arn(detail, "startedBy"),
    )


def _of_tasks_stack(envelope: _Envelope) -> _Common:
    """It gives each thing that it tells an id, and tells it again when it is not sure."""
    detail = envelope.detail
    return _common(
        envelope,
        identity=f"tasks {detail.text('id') or envelope.id}",
        occurred_at=detail.time("updatedAt"),
        cluster_arn=_cluster_arn(envelope, _arn(detail, "clusterArn")),
    )


def _api_call(envelope: _Envelope) -> ApiCall | NotOurs:
    """https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html"""
    detail = envelope.detail
    if detail.text("eventName") not in _OPERATIONS:
        return NotOurs("other API call")
    request, response = detail.child("requestParameters"), detail.child("responseElements")
    at, call_id = detail.time("eventTime"), detail.text("eventID") or detail.text("requestID")
    # CloudTrail's times are whole seconds, which two calls may share: not without EventBridge's id.
    nameless = f"{_identity(envelope, at, 'call', detail.text('eventName'))} {envelope.id}"
    return ApiCall(
        **_common(
            envelope,
            identity=f"call {call_id}" if call_id else nameless,
            occurred_at=at,
            cluster_arn=_requested_cluster(envelope, request),
            reason=detail.text("errorMessage", _REASON_BYTES),
        ),
        error_code=detail.text("errorCode"),
        failure_reasons=tuple(
            failure.text("reason", _TEXT_BYTES) for failure in response.children("failures")
        ),
        service=_requested_service(request),
        caller_type=detail.child("userIdentity").text("type"),
        caller_name=_caller_name(detail.child("userIdentity")),
        caller=_caller(detail.child("userIdentity")),
        launch=_requested_launch(detail) if detail.text("eventName") == "RunTask" else None,
        **_begun(detail, at or envelope.sent_at),
    )


def _requested_launch(detail: _Fields) -> Launch:
    """What a RunTask asked for; of a refused call CloudTrail may not say it.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
    """
    request, caller = detail.child("requestParameters"), detail.child("userIdentity")
    network = request.child("networkConfiguration").child("awsvpcConfiguration")
    providers = request.children("capacityProviderStrategy")
    return Launch(
        task_definition=request.text("taskDefinition", _TEXT_BYTES),
        started_by=request.text("startedBy"),
        invoked_by=caller.text("invokedBy"),
        launch_type=request.text("launchType"),
        capacity_provider=providers[0].text("capacityProvider") if len(providers) == 1 else "",
        platform_version=request.text("platformVersion"),
        subnets=network.texts("subnets"),
        security_groups=network.texts("securityGroups"),
        public_ip=network.text("assignPublicIp"),
        overrides=_overrides(request),
        left_out=_named(_unkept(request)),
    )


def _unkept(request: _Fields) -> Iterator[str]:
    yield from _besides(request, _KEPT | _NOT_OF_THE_JOB)
    yield from _unkept_overrides(request)
    is_hidden = not request.child("networkConfiguration").values
    if is_hidden and request.values.get("networkConfiguration"):
        yield "networkConfiguration"
    is_one = len(request.children("capacityProviderStrategy")) == 1
    if not is_one and request.values.get("capacityProviderStrategy"):
        yield "capacityProviderStrategy"


class _Begun(TypedDict, total=False):
    """What only a call that begins a deployment says."""

    begins_deployment: bool
    deployment_id: str | None
    task_definition: str


def _begun(detail: _Fields, at: datetime) -> _Begun:
    """What a call began. Its answer may be absent, cut, or masked.

    https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
    """
    request, answer = detail.child("requestParameters"), detail.child("responseElements")
    service = answer.child("service")
    primary = _primary_deployment(service)
    created_at = _answered_time(primary, "createdAt")
    is_older = created_at is not None and created_at < at - _AS_OLD_AS_ITS_CALL
    if is_older or detail.text("errorCode") or not _asks_for_deployment(detail, request, primary):
        return _Begun()
    named = (_arn(fields, "taskDefinition") for fields in (primary, service, request))
    return _Begun(
        begins_deployment=True,
        deployment_id=primary.text("id") or None,
        task_definition=next((name for name in named if name), ""),
    )


def _asks_for_deployment(detail: _Fields, request: _Fields, primary: _Fields) -> bool:
    """A new service has a first deployment; of a cut record only the answer is left to ask."""
    operation = detail.text("eventName")
    if operation != "UpdateService":
        return operation == "CreateService"
    if not request.values:
        return bool(primary.values)
    forces = str(request.values.get("forceNewDeployment")).lower() == "true"
    return forces or any(request.values.get(key) is not None for key in DEPLOYING_PARAMETERS)


def _primary_deployment(service: _Fields) -> _Fields:
    """The newest of a service's deployments.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Deployment.html
    """
    deployments = service.children("deployments")
    primary = (one for one in deployments if one.text("status") == "PRIMARY")
    return next((one for one in primary if one.text("id").startswith("ecs-svc/")), _Fields({}))


def _answered_time(fields: _Fields, key: str) -> datetime | None:
    """A time as events have it, or written out: `Mar 7, 2026 12:51:06 AM`, which is UTC too."""
    words = fields.text(key).split()
    try:
        written = datetime.strptime(" ".join(words), "%b %d, %Y %I:%M:%S %p").replace(tzinfo=UTC)
    except ValueError:
        return fields.time(key)
    return _time(written.isoformat())


def _requested_cluster(envelope: _Envelope, request: _Fields) -> str | None:
    """The cluster that a call named, by ARN or by name, or the default one.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
    """
    named = request.text("cluster", _TEXT_BYTES)
    operation = envelope.detail.text("eventName")
    if not named and request.values and operation not in _OPERATIONS_WITHOUT_CLUSTER:
        named = "default"
    if is_name(named) and ":" not in named:
        return _own_cluster_arn(envelope, named)
    return _cluster_arn(envelope, named, _arn(request, "serviceDeploymentArn"))


def _requested_service(request: _Fields) -> str | None:
    """CreateService calls it `serviceName`, the others `service`, by name or by ARN."""
    for key in ("service", "serviceName", "serviceDeploymentArn"):
        text = request.text(key, _TEXT_BYTES)
        if (arn := parse_arn(text)) and (service := service_name(arn)):
            return service
        if is_name(text) and ":" not in text:
            return text
    return None


def _caller_name(caller: _Fields) -> str:
    """Who called: `role/session`, a user's name, or the AWS service that did.

    https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html
    """
    _, _, role_session = _arn(caller, "arn").partition(":assumed-role/")
    issuer = caller.child("sessionContext").child("sessionIssuer")
    names = (
        role_session,
        caller.text("userName"),
        issuer.text("userName"),
        caller.text("invokedBy"),
        "root" if caller.text("type") == "Root" else "",
        _arn(caller, "arn").rpartition("/")[2],
    )
    return next((name for name in names if name), "")


def _caller(identity: _Fields) -> Caller:
    """https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html"""
    context = identity.child("sessionContext")
    _, _, role_session = _arn(identity, "arn").partition(":assumed-role/")
    role, _, session = role_session.rpartition("/")
    is_role = bool(role_session) or identity.text("type") == "AssumedRole"
    federation = context.child("webIdFederationData")
    return Caller(
        type=identity.text("type"),
        user_name="" if is_role else _user_name(identity),
        role=role or (context.child("sessionIssuer").text("userName") if is_role else ""),
        # "AROA…:SESSION" says it where the ARN does not.
        session_name=session or (identity.text("principalId").partition(":")[2] if is_role else ""),
        invoked_by=identity.text("invokedBy"),
        identity_provider=_arn(federation, "federatedProvider")
        or _arn(identity, "identityProvider"),
    )


def _user_name(identity: _Fields) -> str:
    """A user's name; of one of Identity Center there is an id only."""
    _, slash, last = _arn(identity, "arn").rpartition("/")
    of_arn = last if slash else ""
    return identity.text("userName") or identity.child("onBehalfOf").text("userId") or of_arn


def _unknown(envelope: _Envelope) -> Event | NotOurs:
    """A detail-type that ECS did not send when this was written; trouble unless it says INFO."""
    detail = envelope.detail
    if detail.text("eventType") == "INFO":
        return NotOurs("unknown INFO event")
    arns = (envelope.resource, _arn(detail, "serviceArn"), _arn(detail, "serviceDeploymentArn"))
    if not _service_in(*arns):
        return NotOurs("unknown event without a service")
    name, at = detail.text("eventName"), detail.time("updatedAt", "createdAt")
    common = _common(
        envelope,
        identity=_identity(envelope, at, envelope.detail_type, *arns, name),
        occurred_at=at,
        cluster_arn=_cluster_arn(envelope, *arns, _arn(detail, "clusterArn")),
        name=name or envelope.detail_type,
    )
    return ServiceAction(**common, service=_service(*arns))


_READERS: Mapping[str, Callable[[_Envelope], Event | NotOurs]] = {
    SERVICE_ACTION: _service_action,
    DEPLOYMENT_STATE_CHANGE: _deployment,
    TASK_STATE_CHANGE: _task,
    HOOK_STATE_CHANGE: _hook,
    DAEMON_SERVICE_ACTION: _daemon_action,
    DAEMON_DEPLOYMENT_STATE_CHANGE: _daemon_deployment,
    CODE_DEPLOY_STATE_CHANGE: _code_deploy,
    API_CALL: _api_call,
    TASK_RETRY: _task_retry,
    RUNBOOK_FAILED: _runbook_failed,
}


# --- what the readers share -------------------------------------------------------------------


def _common(
    envelope: _Envelope,
    *,
    identity: str,
    occurred_at: datetime | None,
    cluster_arn: str | None,
    name: str | None = None,
    reason: str | None = None,
) -> _Common:
    """What every event carries. `name` and `reason` where AWS does not call them so."""
    detail = envelope.detail
    return _Common(
        id=envelope.id,
        account=envelope.account,
        region=envelope.region,
        partition=partition_of(envelope.region),
        occurred_at=occurred_at or envelope.sent_at,
        sent_at=envelope.sent_at,
        identity=identity,
        cluster_arn=cluster_arn,
        name=detail.text("eventName") if name is None else name,
        type=detail.text("eventType"),
        reason=detail.text("reason", _REASON_BYTES) if reason is None else reason,
        replayed=envelope.replayed,
    )


def _identity(envelope: _Envelope, occurred_at: datetime | None, *parts: str) -> str:
    """Equal for two copies of an event. Without a time of its own only EventBridge's id tells."""
    moment = (occurred_at or envelope.sent_at).isoformat(timespec="milliseconds")
    return " ".join((*parts, moment) if occurred_at else (*parts, moment, envelope.id))


def _arn(fields: _Fields, key: str) -> str:
    return fields.text(key, _TEXT_BYTES)


def _service(*arns: str) -> str:
    """The service that the first readable ARN names; without one there is nobody to tell it of."""
    if service := _service_in(*arns):
        return service
    raise MalformedEvent("resources[0]: not the ARN of a service")


def _service_in(*arns: str) -> str | None:
    names = (service_name(arn) for text in arns if (arn := parse_arn(text)))
    return next((name for name in names if name), None)


def _daemon(*arns: str) -> str:
    names = (daemon_name(arn) for text in arns if (arn := parse_arn(text)))
    if daemon := next((name for name in names if name), None):
        return daemon
    raise MalformedEvent("detail.daemonArn: not the ARN of a daemon")


def _cluster_arn(envelope: _Envelope, *arns: str) -> str | None:
    """The cluster that the first ARN names which names one."""
    clusters = (cluster_arn_of(arn) for text in arns if (arn := parse_arn(text)))
    name = next((cluster.parts[0] for cluster in clusters if cluster), None)
    return _own_cluster_arn(envelope, name) if name else None


def _own_cluster_arn(envelope: _Envelope, name: str) -> str:
    """Its ARN in the account and region that EventBridge vouches for."""
    partition = partition_of(envelope.region)
    return str(Arn(partition, envelope.region, envelope.account, "cluster", (name,)))


def _is_own(event: Event | NotOurs, detail: _Fields, stack_name: str) -> bool:
    """Whether our own stack did it: by its functions' roles, or deploying its functions."""
    match event:
        case ApiCall():
            return any(_is_made_by_stack(role, stack_name) for role in _roles(detail))
        case CodeDeployStateChange():
            return _is_made_by_stack(event.application, stack_name)
    return False


def _roles(detail: _Fields) -> tuple[str, ...]:
    caller = detail.child("userIdentity")
    _, _, role_session = _arn(caller, "arn").partition(":assumed-role/")
    issuer = caller.child("sessionContext").child("sessionIssuer")
    return (issuer.text("userName"), role_session.partition("/")[0])


def _is_made_by_stack(name: str, stack_name: str) -> bool:
    """Whether CloudFormation named it: STACK-LOGICALID-RANDOM, with STACK cut when it is long.

    The whole form is asked for, or a stack called `prod` would silence a role `prod-deployer`.
    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-properties-name.html
    """
    named = re.fullmatch(r"(.+)-[A-Za-z0-9]+-[A-Za-z0-9]{12,13}", name)
    stack = named[1] if named else name
    was_cut = named is not None and len(stack) >= 20
    return bool(stack_name) and (stack == stack_name or (was_cut and stack_name.startswith(stack)))


_NUMBER = re.compile(r"[0-9]{1,9}")  # of what tasks.yaml told of a job
_SURROGATE = re.compile("[\ud800-\udfff]")
_DATE_AND_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}")


def _text(value: object, limit: int) -> str:
    """The text, fit for UTF-8 and cut to `limit` bytes of it; empty for what is no text."""
    if not isinstance(value, str):
        return ""
    # JSON can escape half of a surrogate pair, which no encoder would write later.
    whole = _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value[:limit])
    return whole.encode()[:limit].decode(errors="ignore")


def _time(value: object) -> datetime | None:
    """An ISO 8601 text, or seconds or milliseconds since the epoch, as an aware time in UTC."""
    try:
        time = _time_as_written(value)
        # Without an offset AWS means UTC.
        time = time and (time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC))
    except (ValueError, OverflowError, OSError):
        return None
    # ECS began in 2014. What lies outside would overflow when durations are added to it.
    return time if time and 2010 <= time.year < 2200 else None


def _time_as_written(value: object) -> datetime | None:
    if isinstance(value, str):
        return datetime.fromisoformat(value) if _DATE_AND_TIME.match(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return datetime.fromtimestamp(value / 1000 if abs(value) > 1e11 else value, UTC)
