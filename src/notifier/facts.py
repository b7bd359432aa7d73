"""The nouns of an explanation: what was read about a failure, what it means, what is kept of it.

Values only: nothing here does I/O, reads a clock or knows AWS's JSON. Nothing here holds the value
of an environment variable or of a secret: of a variable there is its name, and a `fingerprint` by
which two readings made in one go can be told apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

# --- what is asked ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The service to read facts about, and what its row knows already; empty for unknown.

    `deployment_id` is the deployment that fails, `failing_revision` its task definition's ARN,
    `began_at` when it began; `completed_revision` is that of the last deployment that completed.
    """

    service: str
    deployment_id: str | None = None
    failing_revision: str = ""
    completed_revision: str = ""
    began_at: datetime | None = None


# --- what was read ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container of a task. `exit_code` is None when it never ran or still runs."""

    name: str
    image: str = ""
    image_digest: str = ""
    exit_code: int | None = None
    reason: str = ""
    last_status: str = ""


# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html (stopCode)
NEVER_STARTED = "TaskFailedToStart"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppedTask:
    """A task that has stopped, as DescribeTasks shows it. `started_at` is None: it never ran."""

    arn: str
    task_definition: str = ""
    started_by: str = ""
    stop_code: str = ""
    stopped_reason: str = ""
    created_at: datetime | None = None
    started_at: datetime | None = None
    stopped_at: datetime | None = None
    containers: tuple[Container, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerDefinition:
    """What a task definition asks of a container.

    `environment` and `secrets` map names to fingerprints, never to values. Memory is in MiB, CPU
    in units of 1/1024; 0 where the container sets none. `ports` read `8080/tcp`. `health_check` is
    its command and times in one line, empty for none. `log_options` are awslogs' group, region and
    stream prefix where `log_driver` is awslogs, else names without values.
    """

    name: str
    image: str = ""
    is_essential: bool = True
    cpu: int = 0
    memory: int = 0
    memory_reservation: int = 0
    command: tuple[str, ...] = ()
    entry_point: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[str, ...] = ()
    health_check: str = ""
    log_driver: str = ""
    log_options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDefinition:
    """A revision of a task definition. `cpu` and `memory` are the task's, as ECS writes them.

    `beside` names its log router and proxy: essential as a rule, and never the work.
    """

    arn: str
    cpu: str = ""
    memory: str = ""
    containers: tuple[ContainerDefinition, ...] = ()
    beside: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDeployment:
    """What DescribeServiceDeployments shows of a deployment.

    `failure_count` and `threshold` are the circuit breaker's, None where it is off. `alarms` are
    the names of the CloudWatch alarms that were triggered. `lifecycle_stage` is where a blue/green
    deployment is, and `task_definition` that of its target revision; empty where neither is known.
    `hooks_waiting` are the stages whose hooks wait for somebody.
    """

    arn: str
    status: str = ""
    status_reason: str = ""
    created_at: datetime | None = None
    source_revisions: tuple[str, ...] = ()
    target_revision: str = ""
    rollback_reason: str = ""
    failure_count: int | None = None
    threshold: int | None = None
    alarms: tuple[str, ...] = ()
    lifecycle_stage: str = ""
    hooks_waiting: tuple[str, ...] = ()
    task_definition: str = ""


UNREAD = "could not be read: "  # how a line about what is missing begins


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """What could not be read, in a reader's words, and why; `action` is IAM's name of the read."""

    what: str
    why: str
    action: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogTail:
    """The last lines of a container's log, oldest first, as the program wrote them."""

    container: str
    group: str
    stream: str
    region: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was read to explain why `deployment_id` of a service fails. Any part may be absent.

    `failing` and `serving` are the task definitions of the deployment that fails and of the last
    one that completed; the `…_images` map containers to the digests that ECS resolved. `messages`
    are the service's own, newest first, about this deployment's tasks or target group.
    `has_completed`: the deployment completed once, so what fails is what served; None: not known.
    """

    service: str
    read_at: datetime
    deployment_id: str | None = None
    failing_revision: str = ""
    serving_revision: str = ""
    failing: TaskDefinition | None = None
    serving: TaskDefinition | None = None
    failing_images: Mapping[str, str] = field(default_factory=dict)
    serving_images: Mapping[str, str] = field(default_factory=dict)
    last_deployment_at: datetime | None = None
    has_completed: bool | None = None
    has_circuit_breaker: bool | None = None
    service_deployment: ServiceDeployment | None = None
    stopped_tasks: tuple[StoppedTask, ...] = ()
    messages: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    logs: LogTail | None = None
    missing: tuple[Missing, ...] = ()


# --- what it means ------------------------------------------------------------------------------


class Confidence(StrEnum):
    """How far a cause is to be trusted."""

    CERTAIN = "certain"  # ECS says so in words that mean one thing
    LIKELY = "likely"  # it fits, and something else could look the same
    UNKNOWN = "unknown"  # nobody knows these words: they are quoted


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Why it fails: in a line, in ECS's own words, what to try, and AWS's page about it.

    `evidence` is foreign text: it is redacted, cut and escaped where it is shown.
    `is_of_release` says that the release itself is at fault, not capacity or AWS.
    """

    cause: str
    evidence: str = ""
    remedy: str = ""
    page: str = ""
    confidence: Confidence = Confidence.UNKNOWN
    is_of_release: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who shipped a deployment. `via` names the tool (GitHub Actions), `url` its run.

    `is_certain`: the record of the call names the deployment; only then somebody is mentioned.
    `slack_id` is whom the settings name for this actor, empty for nobody.
    """

    name: str
    via: str = ""
    url: str = ""
    is_certain: bool = False
    slack_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """A call that began a deployment, as its record tells of it, and who made it.

    `deployment_id` is the deployment that the record names, None where it names none;
    `task_definition` is an ARN, `family:revision`, a family or empty. `actor` is nobody certain
    yet. `is_person`: it is somebody's own name, not a tool's or one that nobody is known by.
    """

    at: datetime
    actor: Actor
    deployment_id: str | None = None
    task_definition: str = ""
    is_person: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What is kept of the facts in the service's row, and shown until something newer is known.

    It is of one deployment, and of the service's state at one `revision` of it, so that nothing is
    read twice; `explains` names the cause that it was read for. `changes` are lines; `tasks` says
    in a line how its tasks ended; `containers` are those of the task that shows it best, and `task`
    is that task's ARN. `log_group` and `log_stream` lead to its log, whose lines are told once and
    not kept.
    """

    service: str
    read_at: datetime
    diagnosis: Diagnosis
    deployment_id: str | None = None
    revision: int = 0
    explains: str = ""
    changes: tuple[str, ...] = ()
    tasks: str = ""
    task: str = ""
    containers: tuple[Container, ...] = ()
    circuit_breaker: str = ""
    messages: tuple[str, ...] = ()
    actor: Actor | None = None
    log_group: str = ""
    log_stream: str = ""
    log_region: str = ""
    missing: tuple[Missing, ...] = ()
