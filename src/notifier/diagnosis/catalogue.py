"""What ECS's words mean: one row for each thing that it says, the most specific first.

A row is known by fragments of the text: ASCII only, because AWS writes the
apostrophe of `can't` in two ways, and short, because long messages are cut and wrap others. The
wording is that of AWS's pages (each row names its own) and of reasons that were recorded.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from functools import cache

from notifier.diagnosis import names
from notifier.diagnosis.names import Said
from notifier.facts import Confidence

# What a message is about, whose name may be any word: `(service alarm-api)`.
_NAMED = re.compile(r"\((?:service|task|task set|instance|container-instance|deployment) [^()]*\)")
_GUIDE = "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/{}.html"


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that ECS says, and what to do about it.

    `when`: each fragment must be in the text; `a|b` is one or the other. Lower-case fragments
    match in any case and anywhere. Upper-case ones are codes, as ECS writes them: alone, behind the
    kind of failure, or in quotes. `name` says which image, container, secret… it is about.
    `says_why` is False where the words only say that something failed. `outcome` is how a task so
    stopped ended, in two or three words, where neither its exit code nor its start tell it better.
    """

    when: tuple[str, ...]
    cause: str
    remedy: str
    page: str
    _: KW_ONLY
    name: Callable[[Said], str] | None = None
    confidence: Confidence = Confidence.CERTAIN
    is_of_release: bool = True
    says_why: bool = True
    outcome: str = ""

    def matches(self, text: str) -> bool:
        """Whether ECS says this in the text."""
        return self.fits(_words(text))

    def fits(self, words: tuple[str, str]) -> bool:
        """The same of a text that is prepared once for all rules."""
        return all(_is_in(words, fragment) for fragment in self.when)

    def cause_of(self, said: Said) -> str:
        """The cause in a line, with what it is about where that is known."""
        name = self.name(said) if self.name else ""
        return f"{self.cause}: {name}" if name else self.cause

    @property
    def url(self) -> str:
        """AWS's page about it."""
        return _GUIDE.format(self.page)


def _words(text: str) -> tuple[str, str]:
    """The text without the names of what it is about, as it is and in lower case."""
    words = _NAMED.sub("()", text)
    return words, words.lower()


def _is_in(words: tuple[str, str], fragment: str) -> bool:
    as_it_is, lower = words
    if fragment.isupper():
        return _code(fragment).search(as_it_is) is not None
    return any(either in lower for either in fragment.split("|"))


@cache
def _code(code: str) -> re.Pattern[str]:
    """A code alone would be found in many a text; ECS puts it first, behind a colon, or in quotes.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html
    """
    before = r'^|TaskFailedToStart: ?|Reason: ?|error "'
    ends = "" if code.endswith(":") else "(?![A-Z])"
    return re.compile(f"(?:{before}){re.escape(code)}{ends}", re.MULTILINE)


LIKELY = Confidence.LIKELY

# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/resource-initialization-error.html
_NO_ROUTE = (
    "dial tcp|dial udp|i/o timeout|tls handshake timeout|connection timed out|no such host|"
    "client.timeout exceeded|request canceled|requestcanceled|signal: killed|"
    "context deadline exceeded|context canceled|connection issue|your network|network configuration"
)
_DENIED = "accessdenied|access denied|not authorized to perform|403 forbidden|: forbidden"
_PULL = (
    "cannotpull|pull the image|pull image|pulling image|ref pull|failed to resolve ref|"
    "from the amazon ecr repository"
)
# AWS Secrets Manager and Systems Manager, as ECS calls them
_ASM = "secretsmanager:|secrets manager|from asm|the secret|secret data|pull secret"
_SSM = "ssm:|from ssm|parameter store|ssm parameters"
_ECR_LOGIN = "ecr registry auth|registry auth from amazon ecr|registry authentication"
_LOGS = "logging driver|logger args|log group|log stream|logs:create|cloudwatch log"
_ENV_FILES = "env files|environment variable files|environment file"
_EFS = "efs utils|efs volume|mount.nfs|mount efs|efs mount"
_EXECUTED = "exec: |exec format|oci runtime|starting container process|unable to start container"
_UNHEALTHY = "is unhealthy in|failed elb health checks|is not healthy in"
_UNPLACED = "unable to place|closest matching|could not launch|unable to reach steady state"

# What ECS or somebody does on purpose, whatever the containers' exit codes.
STOPPED_BY_SOMEBODY = Rule(
    ("task stopped by",),
    "somebody stopped the task (StopTask)",
    "Ask who stopped it, if nobody should.",
    "stopped-task-errors",
    is_of_release=False,
    outcome="stopped by somebody",
)
STOPPED_ON_PURPOSE = (
    Rule(
        ("scaling activity initiated",),
        "ECS stopped it to scale in or to replace it, which is no failure",
        "Nothing to do.",
        "stopped-task-errors",
        is_of_release=False,
        outcome="scaled in",
    ),
    STOPPED_BY_SOMEBODY,
)
# Capacity or a machine taken away: no failure of the release, and yet a cause of fewer tasks.
TAKEN_AWAY = (
    Rule(
        ("spot task was interrupted|spotinterruption|spot interruption",),
        "AWS took back Spot capacity",
        "Run part of the tasks on capacity other than Spot, in several Availability Zones.",
        "spot-interruption-errors",
        is_of_release=False,
        outcome="lost Spot capacity",
    ),
    Rule(
        ("maintenance on the underlying infrastructure",),
        "AWS retired the task for maintenance (Fargate task retirement)",
        "Wait until ECS has replaced the task.",
        "task-maintenance",
        is_of_release=False,
        outcome="retired by AWS",
    ),
    Rule(
        ("host ec2",),
        "the EC2 instance under the task was stopped or terminated",
        "Drain container instances before they are terminated.",
        "container-instance-draining",
        name=names.instance,
        is_of_release=False,
        outcome="lost the instance",
    ),
)
_OTHER_CPU = Rule(
    ("exec format error",),
    "the image is built for another CPU architecture",
    "Build the image for the CPU architecture in the task definition, or change that.",
    "ecs-arm64",
    name=names.container,
)
_DISK_FULL = Rule(
    ("no space left on device",),
    "no disk space left for the container",
    "Free or add disk space; on Fargate, raise the task's ephemeral storage.",
    "fargate-task-storage",
    name=names.container,
    is_of_release=False,
)
_IMAGE = (
    Rule(
        ("descriptor matching platform|no matching manifest for|cannot be used on this platform",),
        "the image is not built for the platform of the task",
        "Build the image for the task's operating system and CPU architecture.",
        "ecs-arm64",
        name=names.platform,
    ),
    _OTHER_CPU,
    Rule(
        ("toomanyrequests|pull rate limit|too many requests", _PULL),
        "the registry's pull rate limit is reached",
        "Log in to the registry, or pull from a mirror in Amazon ECR.",
        "task_cannot_pull_image",
        name=names.image,
        is_of_release=False,
    ),
    Rule(
        ("no space left on device", _PULL),
        "no disk space left to pull the image",
        "Free or add disk space, or make the image smaller.",
        "task_cannot_pull_image",
        name=names.image,
        is_of_release=False,
    ),
    Rule(
        ("pull access denied",),
        "the image does not exist, or its registry asks for a login",
        "Correct the image in the task definition, or give the task credentials for the registry.",
        "task_cannot_pull_image",
        name=names.image,
    ),
    Rule(
        ("manifest unknown|not found: manifest|: not found|name unknown|does not exist", _PULL),
        "image not found",
        "Push the tag, or correct the image in the task definition.",
        "task_cannot_pull_image",
        name=names.image,
    ),
    Rule(
        ("invalid reference format",),
        "the image's name is malformed",
        "Correct the image in the task definition.",
        "task_cannot_pull_image",
    ),
    Rule(
        (f"{_ECR_LOGIN}|ecr:getauthorizationtoken", _DENIED),
        "the role may not log in to Amazon ECR",
        "Allow ecr:GetAuthorizationToken in the task execution role.",
        "task_execution_IAM_role",
        name=names.role,
    ),
    Rule(
        (_ECR_LOGIN, _NO_ROUTE),
        "no network connection to Amazon ECR",
        "Give the task's subnet a route to Amazon ECR (NAT, public IP or VPC endpoints).",
        "verify-connectivity",
    ),
    Rule(
        (f"{_DENIED}|check that the role|no basic auth credentials|unauthorized", _PULL),
        "no permission to pull the image",
        "Allow the role to pull from the registry, and check that the image exists.",
        "task_cannot_pull_image",
        name=names.image,
        confidence=LIKELY,
    ),
    Rule(
        ("invalid memory address or nil pointer", _PULL + "|pull command failed"),
        "the image's layers in Amazon S3 are out of reach",
        "Open the route and the security group to Amazon S3.",
        "task_cannot_pull_image",
        name=names.image,
        confidence=LIKELY,
    ),
    Rule(
        (_PULL, _NO_ROUTE),
        "no network connection to the image registry",
        "Give the task's subnet a route to the registry (NAT, public IP or VPC endpoints).",
        "verify-connectivity",
        name=names.image,
    ),
    Rule(
        ("httpreaderseeker|pulling image conf",),
        "the image was found, but copying it failed",
        "Check the route to the registry and its storage, and its pull rate limit.",
        "task_cannot_pull_image",
        name=names.image,
        confidence=LIKELY,
    ),
    Rule(
        ("failed to resolve ref",),
        "the image's tag or digest cannot be resolved",
        "Check that the image exists and that its registry can be reached.",
        "task_cannot_pull_image",
        name=names.image,
        confidence=LIKELY,
    ),
    Rule(
        (_PULL,),
        "the image cannot be pulled",
        "Check that the image exists and that the role may pull it.",
        "task_cannot_pull_image",
        name=names.image,
    ),
)
_MEMORY = (
    Rule(
        ("outofmemory|killed due to memory usage|oomkilled",),
        "out of memory",
        "Raise the memory in the task definition, or make the program use less.",
        "out-of-memory",
        name=names.container_with_limit,
        outcome="out of memory",
    ),
)
_CONTAINER = (
    Rule(
        ("executable file not found|no such file or|not a directory", _EXECUTED),
        "the container's command is not in the image",
        "Correct the command or entry point, or the image.",
        "task_definition_parameters",
        name=names.command,
    ),
    Rule(
        ("permission denied", _EXECUTED),
        "the container's command may not be executed",
        "Make the file executable in the image, for the user that runs it.",
        "task_definition_parameters",
        name=names.command,
    ),
    Rule(
        ("port is already allocated|address already in use",),
        "the host port is already in use",
        "Use dynamic host ports, or another container instance.",
        "service-event-messages-list",
        is_of_release=False,
    ),
    Rule(
        ("cannotstartcontainer", "failed to get container status"),
        "the container could not be started, perhaps for lack of memory",
        "Raise the memory in the task definition.",
        "cannot-start-container",
        name=names.container_with_limit,
        confidence=LIKELY,
    ),
    _DISK_FULL,
    Rule(
        ("thin pool|devmapper",),
        "the instance's storage for containers is full",
        "Free or add disk space on the container instance.",
        "CannotCreateContainerError",
        name=names.container,
        is_of_release=False,
    ),
    Rule(
        ("cannotcreatevolume",),
        "a volume of the task cannot be created",
        "Correct the volumes in the task definition.",
        "cannot-create-volume",
    ),
)
_SECRETS = (
    Rule(
        ("kms:decrypt", _DENIED),
        "the task execution role may not decrypt the secret",
        "Allow kms:Decrypt for the secret's key in the task execution role.",
        "task_execution_IAM_role",
        name=names.secret,
    ),
    Rule(
        (_SSM, _DENIED),
        "the task execution role may not read the parameter",
        "Allow ssm:GetParameters for it in the task execution role.",
        "task_execution_IAM_role",
        name=names.secret,
    ),
    Rule(
        (_ASM, _DENIED),
        "the task execution role may not read the secret",
        "Allow secretsmanager:GetSecretValue for it in the task execution role.",
        "task_execution_IAM_role",
        name=names.secret,
    ),
    Rule(
        ("did not contain json key",),
        "the secret lacks a key that the task definition asks for",
        "Add the key to the secret, or correct the task definition.",
        "resource-initialization-error",
        name=names.json_key,
    ),
    Rule(
        ("invalid ssm parameters|parameternotfound",),
        "the parameter does not exist in Parameter Store",
        "Create the parameter in the task's Region, or correct the task definition.",
        "resource-initialization-error",
        name=names.secret,
    ),
    Rule(
        ("marked for deletion|marked deleted", _ASM),
        "the secret is marked for deletion",
        "Restore the secret, or name another one in the task definition.",
        "resource-not-found-error",
        name=names.secret,
    ),
    Rule(
        (_ASM, "resourcenotfound|find the specified secret|whether the secret exists"),
        "the secret does not exist",
        "Create the secret in the task's Region, or correct its ARN in the task definition.",
        "resource-not-found-error",
        name=names.secret,
    ),
    Rule(
        (f"{_ASM}|{_SSM}|registry auth|pull command failed", _NO_ROUTE),
        "no network connection to where the secrets are",
        "Give the task's subnet a route to Secrets Manager or Systems Manager, and Amazon ECR.",
        "verify-connectivity",
        name=names.secret,
    ),
    Rule(
        (f"{_ASM}|registry auth",),
        "the task cannot get its secrets or its registry's login",
        "Check the task execution role, the secrets' ARNs and the subnet's routes.",
        "resource-initialization-error",
        name=names.secret,
        confidence=LIKELY,
    ),
)
_PREPARATION = (
    Rule(
        (_LOGS, _DENIED),
        "the task execution role may not write the log",
        "Allow logs:CreateLogStream and logs:PutLogEvents in the task execution role.",
        "task_execution_IAM_role",
        name=names.log_group,
    ),
    Rule(
        ("log group does not exist", _LOGS),
        "the log group does not exist",
        "Create the log group, or correct its name in the task definition.",
        "resource-initialization-error",
        name=names.log_group,
    ),
    Rule(
        (_LOGS, _NO_ROUTE),
        "no network connection to CloudWatch Logs",
        "Give the task's subnet a route to CloudWatch Logs (NAT, public IP or a VPC endpoint).",
        "verify-connectivity",
    ),
    Rule(
        ("logging driver|logger args|cloudwatch log group",),
        "logging cannot be set up, perhaps for lack of the log group",
        "Check the log group and the log options in the task definition.",
        "resource-initialization-error",
        name=names.log_group,
        confidence=LIKELY,
    ),
    Rule(
        (_ENV_FILES, _DENIED + "|statuscode: 403"),
        "the task execution role may not read the environment file in Amazon S3",
        "Allow s3:GetObject and s3:GetBucketLocation for it in the task execution role.",
        "use-environment-file",
    ),
    Rule(
        (_ENV_FILES, "not found|notfound|nosuchkey|nosuchbucket|statuscode: 404"),
        "the environment file is not in Amazon S3",
        "Upload the file, or correct its ARN in the task definition.",
        "use-environment-file",
    ),
    Rule(
        (_ENV_FILES, _NO_ROUTE),
        "no network connection to Amazon S3 for the environment file",
        "Give the task's subnet a route to Amazon S3 (NAT, public IP or a gateway endpoint).",
        "verify-connectivity",
    ),
    Rule(
        (_ENV_FILES,),
        "the environment file cannot be downloaded from Amazon S3",
        "Check the file's ARN, the task execution role and the route to Amazon S3.",
        "resource-initialization-error",
        confidence=LIKELY,
    ),
    Rule(
        (_EFS, _DENIED),
        "no permission to mount the EFS volume",
        "Check the file system's policy, its access point and the task role.",
        "resource-initialization-error",
        name=names.file_system,
    ),
    Rule(
        (_EFS,),
        "the EFS volume cannot be mounted",
        "Check that the path exists, the mount targets, port 2049 and the name resolution.",
        "resource-initialization-error",
        name=names.file_system,
        confidence=LIKELY,
    ),
    Rule(
        ("free addresses|insufficientfreeaddresses",),
        "no free IP address in the subnet",
        "Add a subnet with free addresses to the service.",
        "failed-to-start-error",
        name=names.subnet,
        is_of_release=False,
    ),
    Rule(
        ("unexpected ec2 error", "create network interface"),
        "no network interface, perhaps for lack of IP addresses",
        "Add a subnet with free addresses to the service.",
        "failed-to-start-error",
        name=names.subnet,
        confidence=LIKELY,
        is_of_release=False,
    ),
    Rule(
        ("network interface provisioning",),
        "the network interface was not ready in time",
        "Wait until ECS has tried again; tell AWS Support if it goes on.",
        "failed-to-start-error",
        is_of_release=False,
    ),
    Rule(
        ("unused device index",),
        "the network interface could not be attached to the instance",
        "Use instances with more network interfaces, or ask for more CPU and memory a task.",
        "failed-to-start-error",
        is_of_release=False,
    ),
    Rule(
        ("not compatible with the selected compute",),
        "the task definition does not fit the launch type or capacity provider",
        "Select a task definition that is compatible with the capacity provider.",
        "failed-to-start-error",
    ),
    Rule(
        ("unable to assume the role|trust relationship",),
        "ECS cannot assume the role of the task definition",
        "Let ecs-tasks.amazonaws.com assume the role, and check that it exists.",
        "task-iam-roles",
        name=names.role,
    ),
    Rule(
        ("iam permissions policies have been misconfigured",),
        "ECS lacks permissions that it had for this service",
        "Add the missing permissions to the role of the service or of the task.",
        "service-event-messages-list",
    ),
    Rule(
        ("new arn and resource id format",),
        "tags need the new ARN format, which is not enabled",
        "Opt in to the new ARN format for services and tasks.",
        "ecs-account-settings",
    ),
)
_BY_LOAD_BALANCER = "failed load balancer health checks"
# The load balancer finds a task unhealthy; how it does, the service's messages may tell.
UNHEALTHY = Rule(
    (_UNHEALTHY,),
    "load balancer health checks fail",
    "Check the health check's path and port, and the health check grace period.",
    "troubleshoot-service-load-balancers",
    name=names.target_group,
    outcome=_BY_LOAD_BALANCER,
)
_HEALTH = (
    Rule(
        ("target group is not found",),
        "the target group of the service was deleted",
        "Delete and create the service again with a target group that exists.",
        "service-event-messages-list",
        name=names.target_group,
        outcome=_BY_LOAD_BALANCER,
    ),
    Rule(
        ("target is not found",),
        "the task is not registered in its target group",
        "Check who deregisters targets besides ECS.",
        "service-event-messages-list",
        name=names.target_group,
        outcome=_BY_LOAD_BALANCER,
    ),
    Rule(
        ("availability zone that is not enabled", _UNHEALTHY),
        "the load balancer does not serve the task's Availability Zone",
        "Enable the Availability Zones of the service's subnets in the load balancer.",
        "troubleshoot-service-load-balancers",
        name=names.target_group,
        outcome=_BY_LOAD_BALANCER,
    ),
    Rule(
        ("codes: [404", _UNHEALTHY),
        "load balancer health checks fail, their path is not found",
        "Correct the path of the target group's health check, or serve it.",
        "troubleshoot-service-load-balancers",
        name=names.codes,
        outcome=_BY_LOAD_BALANCER,
    ),
    Rule(
        ("codes: [30|codes: [401|codes: [403", _UNHEALTHY),
        "load balancer health checks fail, the path redirects or asks for a login",
        "Let the path answer without login or redirect, or accept its code in the target group.",
        "troubleshoot-service-load-balancers",
        name=names.codes,
        outcome=_BY_LOAD_BALANCER,
    ),
    Rule(
        ("these codes: [", _UNHEALTHY),
        "load balancer health checks fail",
        "Read the log of the container that answers them.",
        "troubleshoot-service-load-balancers",
        name=names.codes,
        outcome=_BY_LOAD_BALANCER,
    ),
    Rule(
        ("request timed out|connection timed out|health checks timed out", _UNHEALTHY),
        "load balancer health checks time out",
        "Check the port, the security groups and the health check grace period.",
        "troubleshoot-service-load-balancers",
        name=names.target_group,
        outcome=_BY_LOAD_BALANCER,
    ),
    UNHEALTHY,
    Rule(
        ("failed container health checks",),
        "the container's own health check fails",
        "Run the health check's command in the container, and check its start period.",
        "healthcheck",
        name=names.container,
        outcome="failed container health checks",
    ),
)
_PLACEMENT = (
    Rule(
        ("RESOURCE:FARGATE",),
        "no Fargate capacity",
        "Wait, or add subnets in other Availability Zones; beside Spot, use FARGATE too.",
        "service-event-messages-list",
        is_of_release=False,
    ),
    Rule(
        ("capacity is unavailable",),
        "no capacity in this Availability Zone at this time",
        "Wait, or add subnets in other Availability Zones.",
        "service-event-messages-list",
        is_of_release=False,
    ),
    Rule(
        ("limit on the number of vcpu|limit on the number of tasks",),
        "the account's Fargate quota is reached",
        "Request a higher quota, or stop what is not needed.",
        "service-quotas",
        is_of_release=False,
    ),
    Rule(
        ("configuration is above your limit",),
        "the task asks for more than the account's quota allows",
        "Request a higher quota, or ask for less CPU or memory.",
        "service-quotas",
    ),
    Rule(
        ("provisioning capacity limit was exceeded",),
        "too many tasks of the cluster are provisioning at once",
        "Wait, or scale the services more gradually.",
        "service-event-messages-list",
        is_of_release=False,
    ),
    Rule(
        ("NO ACTIVE INSTANCES",),
        "the capacity provider has no active instance",
        "Check the Auto Scaling group of the capacity provider.",
        "api_failures_messages",
        is_of_release=False,
    ),
    Rule(
        ("EMPTY CAPACITY PROVIDER",),
        "the capacity provider has no instance",
        "Check its Auto Scaling group, and that its instances register in the cluster.",
        "api_failures_messages",
        is_of_release=False,
    ),
    Rule(
        ("container instances were found",),
        "there is no container instance",
        "Add container instances, or a capacity provider that does.",
        "service-event-messages-list",
        is_of_release=False,
    ),
    Rule(
        ("RESOURCE:CPU",),
        "no container instance has enough CPU left",
        "Add container instances, or ask for less CPU in the task definition.",
        "api_failures_messages",
        is_of_release=False,
    ),
    Rule(
        ("insufficient cpu",),
        "no container instance has enough CPU left",
        "Add container instances, or ask for less CPU in the task definition.",
        "service-event-messages-list",
        is_of_release=False,
    ),
    Rule(
        ("RESOURCE:MEMORY",),
        "no container instance has enough memory left",
        "Add container instances, or ask for less memory in the task definition.",
        "api_failures_messages",
        is_of_release=False,
    ),
    Rule(
        ("insufficient memory",),
        "no container instance has enough memory left",
        "Add container instances, or ask for less memory in the task definition.",
        "service-event-messages-list",
        is_of_release=False,
    ),
    Rule(
        ("RESOURCE:GPU",),
        "no container instance has a GPU left",
        "Add container instances with GPUs.",
        "api_failures_messages",
        is_of_release=False,
    ),
    Rule(
        ("RESOURCE:ENI",),
        "no container instance has a network interface left",
        "Add container instances, or turn on awsvpcTrunking for new ones.",
        "api_failures_messages",
        is_of_release=False,
    ),
    Rule(
        ("RESOURCE:PORTS",),
        "no container instance has the host port free",
        "Use dynamic host ports, or add container instances.",
        "api_failures_messages",
        is_of_release=False,
    ),
    Rule(
        ("already using a port", _UNPLACED),
        "no container instance has the host port free",
        "Use dynamic host ports, or add container instances.",
        "service-event-messages-list",
        is_of_release=False,
    ),
    Rule(
        ("RESOURCE:",),
        "the cluster lacks a resource that the task asks for",
        "Add container instances.",
        "api_failures_messages",
        is_of_release=False,
    ),
    Rule(
        ("AGENT",),
        "the ECS agent of the container instance is disconnected",
        "Restart the ECS agent, or replace the container instance.",
        "api_failures_messages",
        is_of_release=False,
    ),
    Rule(
        ("waiting for amazon ecs agent",),
        "the ECS agent of the container instance did not start",
        "Read /var/log/ecs/ecs-agent.log, or replace the container instance.",
        "service-event-messages-list",
        is_of_release=False,
    ),
    Rule(
        ("LOCATION",),
        "the container instance is in another Availability Zone than the service's subnets",
        "Add subnets of the instances' Availability Zones to the service.",
        "api_failures_messages",
    ),
    Rule(
        ("ATTRIBUTE",),
        "no container instance has an attribute that the task definition needs",
        "Add such container instances, in the service's subnets, or change the task definition.",
        "api_failures_messages",
    ),
    Rule(
        ("missing an attribute required|missing required attribute",),
        "no container instance has an attribute that the task definition needs",
        "Add such container instances, in the service's subnets, or change the task definition.",
        "service-event-messages-list",
    ),
    Rule(
        ("memberof",),
        "no container instance meets the placement constraints",
        "Correct the placement constraints, or add container instances that meet them.",
        "task-placement-constraints",
    ),
    Rule(
        ("MISSING",),
        "ECS does not find what it was asked for",
        "Check the cluster, the Region and the name of the container instance, task or service.",
        "api_failures_messages",
    ),
    Rule(
        ("INACTIVE",),
        "the container instance is no longer registered",
        "Use a container instance that is registered in the cluster.",
        "api_failures_messages",
    ),
    Rule(
        ("minimumhealthypercent or maximumpercent",),
        "the deployment's limits let ECS neither start nor stop a task",
        "Lower minimumHealthyPercent or raise maximumPercent.",
        "service-event-messages-list",
    ),
    Rule(
        ("number of protected tasks",),
        "protected tasks keep the deployment from going on",
        "Wait until their protection ends, or end it with UpdateTaskProtection.",
        "service-event-messages-list",
        is_of_release=False,
    ),
    Rule(
        ("operations are being throttled",),
        "ECS throttles the service's operations",
        "Wait; ask AWS Support for a higher API rate if it goes on.",
        "service-event-messages-list",
        is_of_release=False,
    ),
    Rule(
        ("unable to place", "internal error"),
        "ECS cannot place a task, perhaps for a subnet where Fargate is not supported",
        "Check that Fargate supports the subnets' Availability Zones.",
        "service-event-messages-list",
        confidence=LIKELY,
    ),
)
_RUNTIME = (
    Rule(
        ("cannotinspectcontainer",),
        "the agent could not inspect the container",
        "Wait until ECS has tried again; replace the container instance where it is yours.",
        "cannot-inspect-container",
        name=names.container,
        is_of_release=False,
    ),
    Rule(
        ("could not transition to|containerruntimetimeout|dockertimeout",),
        "the container did not start or stop in time",
        "Wait until ECS has tried again; look at the instance's load where it is yours.",
        "container-runtime-timeout-error",
        name=names.container,
        is_of_release=False,
    ),
    Rule(
        ("cannotstopcontainer",),
        "the container could not be stopped",
        "Let the program end at SIGTERM; replace the container instance where it is yours.",
        "cannot-stop-container",
        name=names.container,
    ),
    Rule(
        ("containerruntimeerror",),
        "the container runtime failed",
        "Wait until ECS has tried again; tell AWS Support if it goes on.",
        "container-runtime-error",
        name=names.container,
        is_of_release=False,
    ),
    Rule(
        ("cannotcreatecontainer",),
        "the container cannot be created",
        "Check its mounts, volumes and log driver, and the instance's disk.",
        "stopped-task-error-codes",
        name=names.container,
    ),
    Rule(
        ("cannotstartcontainer",),
        "the container cannot be started",
        "Check its command, its memory and its mounts.",
        "cannot-start-container",
        name=names.container,
    ),
    Rule(
        ("internalerror",),
        "an internal error of AWS, perhaps a late network interface",
        "Wait until ECS has tried again; tell AWS Support if it goes on.",
        "internal-error",
        is_of_release=False,
    ),
    Rule(
        ("resourcenotfoundexception",),
        "something that the task definition names does not exist",
        "Create it in the task's Region, or correct its ARN in the task definition.",
        "resource-not-found-error",
    ),
    Rule(
        ("resourceinitializationerror",),
        "what the task needs before it starts cannot be set up",
        "Check the task execution role, the network and what the task definition names.",
        "resource-initialization-error",
    ),
)
ALARM = Rule(
    ("alarm detected|alarm(s) detected|: alarm|cloudwatch alarm|deployment alarm",),
    "a CloudWatch alarm stopped the deployment",
    "Look at the alarm's metric and at the new release's log.",
    "deployment-alarm-failure",
    name=names.alarms,
)
# These words say that something failed, and not why.
_WITHOUT_CAUSE = (
    Rule(
        ("circuit breaker",),
        "the circuit breaker stopped the deployment, for its tasks kept failing",
        "Look at its stopped tasks.",
        "deployment-circuit-breaker",
        says_why=False,
    ),
    Rule(
        ("deployment failed|rolling back to",),
        "the deployment failed",
        "Look at its stopped tasks.",
        "deployment-circuit-breaker",
        says_why=False,
    ),
    Rule(
        ("unable to consistently start tasks",),
        "tasks keep failing to start",
        "Look at the stopped tasks.",
        "service-throttle-logic",
        says_why=False,
    ),
    Rule(
        (_UNPLACED,),
        "a task cannot be placed",
        "Look at the service's events.",
        "service-event-messages-list",
        says_why=False,
    ),
    Rule(
        ("essential container",),
        "an essential container ended",
        "Read its log.",
        "stopped-task-errors",
        name=names.container,
        says_why=False,
    ),
    Rule(
        ("task failed to start|taskfailedtostart",),
        "the task failed to start",
        "Look at the stopped task and its containers.",
        "failed-to-start-error",
        says_why=False,
    ),
)

# For words that nobody has listed, and for none.
UNLISTED = Rule(
    (),
    "a reason that is not known here",
    "",
    "stopped-task-error-codes",
    confidence=Confidence.UNKNOWN,
)
SILENT = Rule((), "ECS gives no reason", "", "stopped-task-errors", confidence=Confidence.UNKNOWN)

CATALOGUE: tuple[Rule, ...] = (
    *STOPPED_ON_PURPOSE,
    *TAKEN_AWAY,
    *_IMAGE,
    *_MEMORY,
    *_CONTAINER,
    *_SECRETS,
    *_PREPARATION,
    *_HEALTH,
    *_PLACEMENT,
    *_RUNTIME,
    ALARM,
    *_WITHOUT_CAUSE,
)


def rule_of(text: str) -> Rule | None:
    """The first row that fits; None for words that nobody has listed."""
    words = _words(text)
    return next((one for one in CATALOGUE if one.fits(words)), None)


# --- names of events ----------------------------------------------------------------------------


_DAEMON_ROLLED_BACK = Rule(
    (),
    "a deployment of the managed daemon was stopped or is rolled back",
    "Look at the daemon's stopped tasks.",
    "managed-daemons-events",
    says_why=False,
)
# What an event means whose reason says nothing more.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_service_events.html
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_service_deployment_events.html
EVENTS: Mapping[str, Rule] = {
    "SERVICE_DEPLOYMENT_FAILED": Rule(
        (),
        "the deployment failed",
        "Look at its stopped tasks.",
        "deployment-circuit-breaker",
        says_why=False,
    ),
    "SERVICE_DEPLOYMENT_IN_PROGRESS": Rule(
        (),
        "a deployment failed and is rolled back",
        "Look at its stopped tasks.",
        "deployment-circuit-breaker",
        says_why=False,
    ),
    "SERVICE_TASK_START_IMPAIRED": Rule(
        (),
        "tasks keep failing to start",
        "Look at the stopped tasks.",
        "service-throttle-logic",
        says_why=False,
    ),
    "SERVICE_TASK_PLACEMENT_FAILURE": Rule(
        (),
        "a task cannot be placed",
        "Look at the service's events.",
        "service-event-messages-list",
        says_why=False,
    ),
    "SERVICE_TASK_CONFIGURATION_FAILURE": Rule(
        (),
        "a task cannot be started because of its configuration",
        "Check the task's roles and tags.",
        "ecs_service_events",
        says_why=False,
    ),
    "SERVICE_HEALTH_UNKNOWN": Rule(
        (),
        "ECS cannot read the health of the tasks",
        "Check the target group and the role that ECS uses for the load balancer.",
        "ecs_service_events",
    ),
    "SERVICE_DISCOVERY_INSTANCE_UNHEALTHY": Rule(
        (),
        "a task is unhealthy in service discovery (AWS Cloud Map)",
        "Look at the health of the service's tasks.",
        "service-discovery",
    ),
    "VPC_LATTICE_TARGET_UNHEALTHY": Rule(
        (),
        "a target in VPC Lattice is unhealthy",
        "Check the health checks of the VPC Lattice target group.",
        "ecs-vpc-lattice",
    ),
    "SERVICE_DAEMON_PLACEMENT_CONSTRAINT_VIOLATED": Rule(
        (),
        "a task of the daemon service no longer meets its placement constraints",
        "Correct the placement constraints, or the attributes of the container instance.",
        "task-placement-constraints",
    ),
    "ECS_OPERATION_THROTTLED": Rule(
        (),
        "ECS throttles the service scheduler",
        "Wait; ask AWS Support for a higher API rate if it goes on.",
        "service-event-messages-list",
        is_of_release=False,
    ),
    "SERVICE_DISCOVERY_OPERATION_THROTTLED": Rule(
        (),
        "AWS Cloud Map throttles the service scheduler",
        "Wait; ask AWS Support for a higher API rate if it goes on.",
        "service-discovery",
        is_of_release=False,
    ),
    "FAILURE": Rule(
        (),
        "the CodeDeploy deployment failed",
        "Look at the deployment in CodeDeploy, and at the stopped tasks.",
        "deployment-type-bluegreen",
        says_why=False,
    ),
    "STOP": Rule(
        (),
        "the CodeDeploy deployment was stopped",
        "Ask who stopped it, if nobody should.",
        "deployment-type-bluegreen",
        says_why=False,
    ),
    "HOOK_FAILED": Rule(
        (),
        "a lifecycle hook of the deployment failed",
        "Read the log of the hook's Lambda function.",
        "deployment-lifecycle-hooks",
    ),
    "HOOK_TIMED_OUT": Rule(
        (),
        "a lifecycle hook of the deployment did not answer in time",
        "Read the log of the hook's Lambda function, or continue the deployment.",
        "deployment-lifecycle-hooks",
    ),
    "HOOK_AWAITING_ACTION": Rule(
        (),
        "the deployment waits for somebody to continue it",
        "Continue the deployment, or stop it (ContinueServiceDeployment).",
        "continue-service-deployment",
        is_of_release=False,
    ),
    "DAEMON_DEPLOYMENT_STOP_REQUESTED": _DAEMON_ROLLED_BACK,
    "DAEMON_DEPLOYMENT_STOPPED": _DAEMON_ROLLED_BACK,
    "DAEMON_DEPLOYMENT_ROLLBACK_IN_PROGRESS": _DAEMON_ROLLED_BACK,
    "DAEMON_DEPLOYMENT_ROLLBACK_SUCCESSFUL": _DAEMON_ROLLED_BACK,
    "DAEMON_DEPLOYMENT_ROLLBACK_FAILED": Rule(
        (),
        "a deployment of the managed daemon failed, and so did its roll-back",
        "Look at the daemon's stopped tasks, and deploy a revision that runs.",
        "managed-daemons-events",
        says_why=False,
    ),
    "DAEMON_TASK_START_IMPAIRED": Rule(
        (),
        "a task of the managed daemon fails to start",
        "Look at the daemon's stopped tasks.",
        "managed-daemons-events",
        says_why=False,
    ),
}

# --- exit codes ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ending:
    """What an exit code means: by convention, so that a program may mean something else by it."""

    meaning: str
    remedy: str
    confidence: Confidence = LIKELY


# What a program's own last words tell that its exit code does not.
LOG_LINES: tuple[Rule, ...] = (
    _OTHER_CPU,
    _DISK_FULL,
    Rule(
        ("heap out of memory|java.lang.outofmemoryerror",),
        "the program's heap is too small",
        "Give the program a larger heap, within the memory of the task definition.",
        "out-of-memory",
        name=names.container,
        confidence=LIKELY,
    ),
)

_READ_THE_LOG = "Read the container's log."
# By convention of shells: 128 and the number of the signal that ended the process.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-errors.html
# https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-erref/596a1078-e883-4972-9bbc-49e60bebca55
EXIT_CODES: Mapping[int, Ending] = {
    0: Ending(
        "it ended by itself",
        "Keep the program running in the foreground; a service's task must not end.",
        Confidence.CERTAIN,
    ),
    1: Ending("the program failed", _READ_THE_LOG, Confidence.CERTAIN),
    2: Ending("wrong arguments, or a panic of the program", _READ_THE_LOG),
    126: Ending(
        "its command cannot be executed",
        "Make the command executable in the image, for the user that runs it.",
    ),
    127: Ending(
        "its command was not found",
        "Correct the command or entry point, or the image.",
    ),
    132: Ending(
        "an instruction that the CPU does not have (SIGILL)",
        "Build the image for the CPU architecture of the task.",
    ),
    134: Ending("the program aborted (SIGABRT)", _READ_THE_LOG),
    137: Ending(
        "killed (SIGKILL), with no word of memory",
        "Look at its memory, and whether it ends within stopTimeout.",
    ),
    139: Ending("memory access violation (SIGSEGV)", _READ_THE_LOG),
    143: Ending(
        "ended by SIGTERM",
        "Find what stopped it: its log and the service's events say when.",
    ),
    255: Ending("the program failed", _READ_THE_LOG),
    0x40010004: Ending("ended because Windows shut down", "Look at the container instance."),
    0xC0000005: Ending("memory access violation", _READ_THE_LOG),
    0xC0000017: Ending("not enough memory", "Raise the memory in the task definition."),
    0xC00000FD: Ending("stack overflow", _READ_THE_LOG),
    0xC0000135: Ending("a DLL was not found", "Add the missing library to the image."),
    0xC000013A: Ending(
        "ended by Ctrl+C or a shutdown",
        "Find what stopped it: its log and the service's events say when.",
    ),
    0xC0000142: Ending("a DLL could not be initialised", "Check the image's base version."),
    0xC0000409: Ending("stack buffer overrun, or the program aborted", _READ_THE_LOG),
    0xE0434352: Ending("an unhandled .NET exception", _READ_THE_LOG),
}


def ending_of(code: int) -> Ending:
    """What the exit code means. Windows' codes come signed or unsigned."""
    if listed := EXIT_CODES.get(_unsigned(code)):
        return listed
    if 128 < code < 160:
        return Ending(f"ended by signal {code - 128}", _READ_THE_LOG)
    return Ending("a code of the program's own", _READ_THE_LOG)


def exit_code_label(code: int) -> str:
    """`137`; Windows' codes as Windows writes them: `0xC0000005`."""
    return str(code) if 0 <= code < 256 else f"0x{_unsigned(code):08X}"


def _unsigned(code: int) -> int:
    return code & 0xFFFFFFFF
