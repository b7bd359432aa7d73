"""ECS's ARNs: the names in them, and the pages of the console that they lead to.

Two forms are in use: the new one names the cluster (`service/CLUSTER/NAME`), the old, short one
does not (`service/NAME`) and stays with a service until its owner migrates it.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-account-settings.html#ecs-resource-ids
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-arn-migration.html
"""

import re
from dataclasses import dataclass
from urllib.parse import quote

# How many names follow the kind, in the new form first. Kinds that are not here take any number.
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
_NAMES_OF_KIND = {
    "cluster": (1,),
    "service": (2, 1),
    "task": (2, 1),
    "container-instance": (2, 1),
    "container": (3, 1),
    "service-deployment": (3,),
    "service-revision": (3,),
    "task-set": (4, 3),  # CLUSTER/SERVICE/ecs-svc/ID
    "daemon": (2,),
    "daemon-deployment": (3,),
    "daemon-revision": (3,),
    "task-definition": (1,),
    "daemon-task-definition": (1,),
    "capacity-provider": (1,),
}
_WITHOUT_CLUSTER = {"task-definition", "daemon-task-definition", "capacity-provider"}
_OF_A_SERVICE = {"service", "service-deployment", "service-revision", "task-set"}
_OF_A_DAEMON = {"daemon", "daemon-deployment", "daemon-revision"}

# Partitions by the beginning of their regions' names; the longest match first.
# https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html
_PARTITIONS = (
    ("cn-", "aws-cn"),
    ("us-gov-", "aws-us-gov"),
    ("us-isob-", "aws-iso-b"),
    ("us-isof-", "aws-iso-f"),
    ("eu-isoe-", "aws-iso-e"),
    ("us-iso-", "aws-iso"),
    ("eusc-", "aws-eusc"),
)

# https://docs.amazonaws.cn/en_us/aws/latest/userguide/introduction.html
# https://docs.aws.amazon.com/govcloud-us/latest/UserGuide/govcloud-console.html
# The other partitions' hosts are not public; no link is better than a dead one.
_CONSOLES = {
    "aws": "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}

_LONGEST = (
    2048  # https://docs.aws.amazon.com/IAM/latest/APIReference/API_ResourceSpecificResult.html
)
_PARTITION = re.compile(r"aws(-[a-z]+)*")
_REGION = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
# Wider than the names ECS allows (letters, digits, - and _, up to 255), so that a masked sample can
# be read, and narrow enough for a table row's key and a path: printable ASCII without space and
# slash, and not a dot or two, which a browser would take for a step in the path.
_NAME = re.compile(r"(?!\.{1,2}\Z)[!-.0-~]{1,255}")
_EXECUTION_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Arn:
    """An ARN of ECS. `parts` are the names after the kind: `("shop", "checkout")` of a service."""

    partition: str
    region: str
    account: str
    kind: str
    parts: tuple[str, ...]

    def __str__(self) -> str:
        resource = "/".join((self.kind, *self.parts))
        return f"arn:{self.partition}:ecs:{self.region}:{self.account}:{resource}"


def parse_arn(text: str) -> Arn | None:
    """Read an ARN of ECS; None for every other string.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
    """
    fields = text.split(":", 5) if len(text) <= _LONGEST else []
    if len(fields) != 6 or fields[0] != "arn" or fields[2] != "ecs":
        return None
    _, partition, _, region, account, resource = fields
    kind, *parts = resource.split("/")
    arn = Arn(partition, region, account, kind, tuple(parts))
    return arn if _is_well_formed(arn) else None


def _is_well_formed(arn: Arn) -> bool:
    allowed = _NAMES_OF_KIND.get(arn.kind, (len(arn.parts),))
    return (
        _PARTITION.fullmatch(arn.partition) is not None
        and _REGION.fullmatch(arn.region) is not None
        and len(arn.parts) in allowed
        and len(arn.parts) > 0
        and all(_NAME.fullmatch(name) for name in (arn.account, arn.kind, *arn.parts))
    )


def is_name(text: str) -> bool:
    """Whether the text can stand as a name in an ARN: printable ASCII, no slash, at most 255."""
    return _NAME.fullmatch(text) is not None


def is_region(text: str) -> bool:
    """Whether the text looks like a region's name, so that it may become part of a host's name.

    https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-regions.html
    """
    return len(text) <= 40 and _REGION.fullmatch(text) is not None


def partition_of(region: str) -> str:
    """The partition that a region belongs to; `aws` for a region nobody knows yet.

    https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html
    """
    return next((name for prefix, name in _PARTITIONS if region.startswith(prefix)), "aws")


def cluster_arn_of(arn: Arn) -> Arn | None:
    """The cluster that a resource is in; None for the short form and for what is in no cluster.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-account-settings.html#ecs-resource-ids
    """
    names_cluster = arn.kind == "cluster" or len(arn.parts) > 1
    if arn.kind in _WITHOUT_CLUSTER or arn.kind not in _NAMES_OF_KIND or not names_cluster:
        return None
    return Arn(arn.partition, arn.region, arn.account, "cluster", arn.parts[:1])


def service_name(arn: Arn) -> str | None:
    """The service's name, from its own ARN in both forms or from its deployment's or revision's.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-arn-migration.html
    """
    return _name_within_cluster(arn) if arn.kind in _OF_A_SERVICE else None


def daemon_name(arn: Arn) -> str | None:
    """The managed daemon's name, from its own ARN or from that of its deployment or revision.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/managed-daemons-events.html
    """
    return _name_within_cluster(arn) if arn.kind in _OF_A_DAEMON else None


def _name_within_cluster(arn: Arn) -> str:
    return arn.parts[1] if len(arn.parts) > 1 else arn.parts[0]


def cluster_name(cluster_arn: str) -> str:
    """The cluster's name; a text that is no cluster's ARN is taken for the name itself.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Cluster.html
    """
    arn = parse_arn(cluster_arn)
    return arn.parts[0] if arn and arn.kind == "cluster" else cluster_arn


def task_id(task_arn: str) -> str:
    """The task's id, which both forms end with; a text that is no task's ARN is given back.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html
    """
    arn = parse_arn(task_arn)
    return arn.parts[-1] if arn and arn.kind == "task" else task_arn


def revision_label(task_definition_arn: str) -> str:
    """`family:revision` of a task definition's ARN; any other text is given back unchanged.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TaskDefinition.html
    """
    arn = parse_arn(task_definition_arn)
    return arn.parts[0] if arn and arn.kind == "task-definition" else task_definition_arn


# --- pages of the console ---------------------------------------------------------------------


def cluster_url(cluster_arn: str) -> str | None:
    """The page of a cluster, with its services. None for any text but a cluster's ARN.

    AWS documents no addresses of its console; this form is in public use.
    """
    return _page_in_cluster(cluster_arn, "services")


def service_deployments_url(cluster_arn: str, service: str) -> str | None:
    """The page of a service's deployments. None for any text but a cluster's ARN.

    https://github.com/aws-actions/amazon-ecs-deploy-task-definition/blob/master/index.js
    """
    return _page_in_cluster(cluster_arn, "services", service, "deployments")


def service_events_url(cluster_arn: str, service: str) -> str | None:
    """The page of a service's events. None for any text but a cluster's ARN.

    https://github.com/aws-actions/amazon-ecs-deploy-task-definition/blob/v1/index.js
    """
    return _page_in_cluster(cluster_arn, "services", service, "events")


def task_url(cluster_arn: str, task_arn: str) -> str | None:
    """The page of a task, whose ARN may be short. None for any other texts.

    AWS documents no addresses of its console; this form is in public use.
    """
    task = parse_arn(task_arn)
    if task is None or task.kind != "task":
        return None
    return _page_in_cluster(cluster_arn, "tasks", task.parts[-1])


def log_stream_url(region: str, log_group: str, log_stream: str) -> str | None:
    """The page of a log stream in CloudWatch Logs. None when the region cannot be one.

    The names stand behind the `#`, encoded twice, with `$` for the outer `%`: `/` is `$252F`, as in
    the deep links that CodeBuild gives in its answers.
    https://docs.aws.amazon.com/codebuild/latest/APIReference/API_LogsLocation.html
    """
    console = _console(region)
    if console is None:
        return None
    group, stream = _encoded_twice(log_group), _encoded_twice(log_stream)
    place = f"#logsV2:log-groups/log-group/{group}/log-events/{stream}"
    return f"{console}/cloudwatch/home?region={region}{place}"


def execution_url(region: str, execution_id: str) -> str | None:
    """The page of an Automation execution of Systems Manager. None for what is no id of one.

    AWS documents no addresses of its console; this form is in public use.
    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_AutomationExecution.html
    """
    console = _console(region)
    if console is None or not _EXECUTION_ID.fullmatch(execution_id):
        return None
    return f"{console}/systems-manager/automation/execution/{execution_id}?region={region}"


def _page_in_cluster(cluster_arn: str, *path: str) -> str | None:
    arn = parse_arn(cluster_arn)
    console = _console(arn.region) if arn and arn.kind == "cluster" else None
    if arn is None or console is None:
        return None
    pages = "/".join(_encoded(name) for name in (arn.parts[0], *path))
    return f"{console}/ecs/v2/clusters/{pages}?region={arn.region}"


def _console(region: str) -> str | None:
    """None where we do not know the console's host, or the region's name cannot be part of one."""
    host = _CONSOLES.get(partition_of(region))
    return f"https://{region}.{host}" if host and is_region(region) else None


def _encoded(name: str) -> str:
    return quote(name, safe="", errors="replace")


def _encoded_twice(name: str) -> str:
    return _encoded(_encoded(name)).replace("%", "$")
