"""The nouns: what came in, what a look at ECS showed, what is remembered, what Slack answered.

Values only: nothing here does I/O, reads a clock or knows AWS's JSON.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

# --- what came in -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What every event carries. Subclasses are named as AWS names their `detail-type`.

    `occurred_at` is AWS's own time of the happening (`updatedAt` or `createdAt`; `time` where both
    are absent), `sent_at` the envelope's `time`. `identity` is equal for two copies of one event
    and for no two events. `cluster_arn` is None where the event does not say it.
    """

    id: str
    account: str
    region: str
    partition: str
    occurred_at: datetime
    sent_at: datetime
    identity: str
    cluster_arn: str | None
    name: str = ""
    type: str = ""
    reason: str = ""
    replayed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentStateChange(Event):
    """`ECS Deployment State Change`: a deployment of a service began, completed or failed."""

    service: str
    deployment_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAction(Event):
    """`ECS Service Action`: what the service scheduler did or could not do."""

    service: str
    capacity_provider_arns: tuple[str, ...] = ()
    container_instance_arns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container of a task. `exit_code` is None when it never ran or still runs."""

    name: str
    image: str = ""
    exit_code: int | None = None
    reason: str = ""
    last_status: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStateChange(Event):
    """`ECS Task State Change`. `service` is None for a task that belongs to no service."""

    task_arn: str
    version: int | None
    group: str
    started_by: str
    last_status: str
    desired_status: str
    stop_code: str
    stopped_reason: str
    task_definition_arn: str
    containers: tuple[Container, ...]
    service: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HookStateChange(Event):
    """`ECS Hook State Change`: a deployment lifecycle hook waits, failed or timed out."""

    service: str
    service_deployment_arn: str
    lifecycle_stage: str
    hook_type: str
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonServiceAction(Event):
    """`ECS Daemon Service Action`: a managed daemon's task could not start."""

    daemon: str
    failure_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonDeploymentStateChange(Event):
    """`ECS Daemon Deployment State Change`: a managed daemon's deployment moved."""

    daemon: str
    daemon_deployment_arn: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeDeployStateChange(Event):
    """`CodeDeploy Deployment State-change Notification`: `name` is its state (FAILURE, STOP…)."""

    application: str
    deployment_group: str
    deployment_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiCall(Event):
    """`AWS API Call via CloudTrail` for ECS: `name` is the operation; who called and what for."""

    error_code: str
    failure_reasons: tuple[str, ...]
    service: str | None
    caller_type: str
    caller_name: str


@dataclass(frozen=True, slots=True)
class NotOurs:
    """An event that is read, counted by its reason, and acknowledged."""

    why: str


# --- what a look at ECS showed ----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One row of a service's `deployments`, spelled as ECS spells it. Counts are tasks.

    `rollout_state` is empty where ECS does not report one (CODE_DEPLOY, EXTERNAL, Classic ELB).
    """

    id: str
    status: str
    task_definition: str
    desired_count: int
    pending_count: int
    running_count: int
    failed_tasks: int
    rollout_state: str
    rollout_state_reason: str
    created_at: datetime | None
    updated_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceReading:
    """What DescribeServices showed of a service at `read_at`. `status` MISSING: it is not there."""

    service: str
    status: str
    desired_count: int
    running_count: int
    pending_count: int
    deployments: tuple[Deployment, ...]
    read_at: datetime


# --- who is told ------------------------------------------------------------------------------

IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class Route:
    """Where the clusters that match `pattern` are told, and who is mentioned.

    `quiet` routes get no mention, no broadcast and no repeats.
    """

    pattern: str
    destination: str
    mentions: tuple[str, ...] = ()
    quiet: bool = False

    @property
    def ignored(self) -> bool:
        """Whether nothing of these clusters is told."""
        return self.destination == IGNORE


# --- what Slack answered ----------------------------------------------------------------------


class Refusal(StrEnum):
    """Why nothing was posted, sorted by what helps."""

    RATE_LIMITED = "rate_limited"  # wait as long as Slack says; other methods and channels go on
    UNAVAILABLE = "unavailable"  # try again later, unchanged; also every code nobody knows yet
    PAYLOAD = "payload"  # never unchanged: send once more as plain text
    CHANNEL = "channel"  # this channel cannot be posted to; another can
    CREDENTIALS = "credentials"  # nothing can be posted until somebody acts
    TARGET = "target"  # the message to edit or to reply to is gone or may not be changed


@dataclass(frozen=True, slots=True)
class Sent:
    """Slack has it. `channel` and `ts` name the message; a webhook returns neither."""

    channel: str | None
    ts: str | None


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was posted. `code` is Slack's own word; `retry_after` only when rate limited."""

    refusal: Refusal
    code: str
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may have been posted or not: the answer was lost, late, or said so itself."""

    code: str


Outcome = Sent | Refused | Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is sent to Slack: `text` is what a phone shows and a screen reader reads."""

    text: str
    blocks: tuple[dict[str, object], ...] = field(default=())


# --- what is remembered -----------------------------------------------------------------------


class Phase(StrEnum):
    """Where a service stands."""

    ROLLING = "rolling"  # a deployment is under way, no trouble before it
    FAILING = "failing"  # a deployment failed, tasks die or cannot start


class SubjectKind(StrEnum):
    """What kind of thing an incident's row is about; the word AWS uses for it."""

    SERVICE = "service"
    DAEMON = "daemon"
    CODEDEPLOY = "CodeDeploy deployment group"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What went wrong, in ECS's words. `event` is the eventName, empty when there was none."""

    event: str
    reason: str
    deployment_id: str | None
    occurred_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceState:
    """What is remembered of one service (or daemon, or CodeDeploy deployment group).

    `revision` is raised by every change that a reader must learn of; `told` holds, per
    destination, the revision that was told there. `count` is how often the present failure was
    reported since `since`; `seen` are the identities of the last events, newest last.
    """

    name: str
    kind: SubjectKind = SubjectKind.SERVICE
    phase: Phase = Phase.ROLLING
    revision: int = 0
    failure: Failure | None = None
    count: int = 0
    since: datetime | None = None
    destination: str | None = None
    repeat_at: datetime | None = None
    seen: tuple[str, ...] = ()
    told: Mapping[str, int] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What tells it apart within its cluster. No service's name has a space or a colon in it.

        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateService.html
        """
        return self.name if self.kind is SubjectKind.SERVICE else f"{self.kind}: {self.name}"

    def owes(self, destination: str) -> bool:
        """Whether this destination has not been told the newest revision."""
        return destination == self.destination and self.told.get(destination, 0) < self.revision


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterState:
    """What is remembered of a cluster: its version in the table and the services that were loaded.

    `services` are by their keys. `key` is the cluster's ARN, or `unknown cluster (account, region)`
    where no event told it.
    """

    key: str
    account: str
    region: str
    partition: str
    version: int = 0
    services: Mapping[str, ServiceState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """An event as it reached us: `received_at` is when the queue took it, not when we read it."""

    event: Event
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What we are about to post, written down first, so that a crash leaves a trace of it."""

    key: str
    at: datetime
    tells: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """A cluster of which something is to be told in a channel. Times are aware.

    `nonce` changes with everything new that is owed. `tries` counts turns that were begun and not
    ended, and `retry_at` is when the next may begin; `attempt` is a post whose outcome was never
    written down.
    """

    destination: str
    cluster_key: str
    nonce: str
    due_at: datetime
    retry_at: datetime | None = None
    tries: int = 0
    attempt: Attempt | None = None

    def is_due(self, now: datetime) -> bool:
        """Whether a turn may begin now."""
        return self.due_at <= now and (self.retry_at is None or self.retry_at <= now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One run of a function: who it is, what time it is, how long it may go on.

    `jitter` gives a random time up to the one given (full jitter); `unique` makes an id.
    """

    id: str
    now: Callable[[], datetime]
    remaining: Callable[[], timedelta]
    sleep: Callable[[timedelta], None]
    jitter: Callable[[timedelta], timedelta]
    unique: Callable[[], str]
