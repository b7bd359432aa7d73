"""The nouns: what came in, what a look at ECS showed, what is remembered, what Slack answered.

Values only: nothing here does I/O, reads a clock or knows AWS's JSON.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum

from notifier.facts import Container, Explanation, Shipment

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
class TaskStateChange(Event):
    """`ECS Task State Change`. `service` is None for a task that belongs to no service.

    `started_at` is None for one of which ECS does not say that it ever ran.
    """

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
    launch: "Launch | None" = None
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerOverride:
    """What a start asks for instead of the task definition: `environment` are names, no values."""

    name: str
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a standalone task was started, as far as it is known; what starts it again needs this.

    `task_definition` is an ARN, `family:revision` or a family. `invoked_by` is the AWS service that
    called RunTask, where only the record of the call is known. `left_out` names what it was started
    with and is not kept here.
    """

    task_definition: str
    started_by: str = ""
    invoked_by: str = ""
    launch_type: str = ""
    capacity_provider: str = ""
    platform_version: str = ""
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    public_ip: str = ""
    overrides: tuple[ContainerOverride, ...] = ()
    left_out: tuple[str, ...] = ()


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
class Caller:
    """Who made a call, in the words of CloudTrail's `userIdentity`; what it does not say is empty.

    `user_name` is an IAM user's name, or what stands for one (a federated user's, the id of one of
    Identity Center); `role` and `session_name` are an assumed role's; `invoked_by` is the AWS
    service that made the call or passed it on; `identity_provider` gave the role's credentials.
    https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html
    """

    type: str = ""
    user_name: str = ""
    role: str = ""
    session_name: str = ""
    invoked_by: str = ""
    identity_provider: str = ""

    @property
    def is_of_identity_center(self) -> bool:
        """Whether the role is one that IAM Identity Center makes for people.

        https://docs.aws.amazon.com/singlesignon/latest/userguide/referencingpermissionsets.html
        """
        return self.role.startswith("AWSReservedSSO_")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiCall(Event):
    """`AWS API Call via CloudTrail` for ECS: `name` is the operation; who called and what for.

    `begins_deployment`: it asked for a new deployment of `service` and was not refused. Then
    `deployment_id` is the one that its answer names as begun by it, None where it names none, and
    `task_definition` what it deploys: an ARN, `family:revision` or a family, as far as it says.
    `launch` is what a RunTask asked for.
    """

    error_code: str
    failure_reasons: tuple[str, ...]
    service: str | None
    caller_type: str
    caller_name: str
    caller: Caller = Caller()
    begins_deployment: bool = False
    deployment_id: str | None = None
    task_definition: str = ""
    launch: Launch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRetry(Event):
    """`ECS Watch Task Retry`: what the stack of tasks.yaml did for a call that lacked tasks.

    `name` says how it stands. Of `asked` tasks `missing` have not started after `attempt` of at
    most `attempts` attempts. `started_by` and `call` are the failed call's own `startedBy` and
    eventID; `tasks` are the ARNs that the last attempt started. `job` is what tasks.yaml calls what
    was left to do of the call, `number` counts what it told of it, from 1.
    """

    job: str
    number: int
    family: str
    started_by: str
    call: str
    attempt: int
    attempts: int
    asked: int
    missing: int
    next_at: datetime | None
    tasks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunbookFailed(Event):
    """`ECS Watch Runbook Failed`: an execution of the runbook of tasks.yaml ended badly.

    `step` is the one that failed, `reason` its words; `started_by` is who began the execution.
    """

    family: str
    task_definition: str
    runbook: str
    execution_id: str
    step: str
    started_by: str


@dataclass(frozen=True, slots=True)
class NotOurs:
    """An event that is read, counted by its reason, and acknowledged."""

    why: str


@dataclass(frozen=True, slots=True)
class Heartbeat(NotOurs):
    """A sign of life that a rule of ours sends the whole way, from this account and region."""

    account: str
    region: str
    sent_at: datetime


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
class ServiceMessage:
    """What a service's own `events` say of a deployment: that it failed, or is a way back."""

    deployment_id: str
    at: datetime
    is_failure: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceReading:
    """What DescribeServices showed of a service at `read_at`. `status` MISSING: it is not there.

    `messages` are those of the last hour that tell of a deployment's failure or roll-back.
    `grace_seconds` is its health check grace period, `stage` the lifecycle stage of a deployment
    that has any and whose tasks do not all run yet. `is_watched`: no tag of it says otherwise.
    """

    service: str
    status: str
    desired_count: int
    running_count: int
    pending_count: int
    deployments: tuple[Deployment, ...]
    read_at: datetime
    messages: tuple[ServiceMessage, ...] = ()
    grace_seconds: int = 0
    stage: str = ""
    is_watched: bool = True


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
    """Slack has it. `channel` and `ts` name the message; a webhook returns neither.

    `thread_ts` is the root it stands under: none when it is no reply, or its root was deleted.
    """

    channel: str | None
    ts: str | None
    thread_ts: str | None = None


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


@dataclass(frozen=True, slots=True)
class NotThere:
    """We looked for a message, and Slack does not have it."""


@dataclass(frozen=True, slots=True)
class CannotLook:
    """We may not or could not look for a message. `code` is Slack's own word.

    `will_pass`: looking again later may help; `retry_after` is when Slack says so itself.
    """

    code: str
    will_pass: bool = False
    retry_after: timedelta | None = None


Found = Sent | NotThere | CannotLook


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is sent to Slack: `text` is what a phone shows and a screen reader reads."""

    text: str
    blocks: tuple[dict[str, object], ...] = field(default=())


# --- what is remembered -----------------------------------------------------------------------


class Phase(StrEnum):
    """Where a service stands."""

    WELL = "well"  # nothing is known to be wrong
    ROLLING = "rolling"  # a deployment is under way, no trouble before it
    FAILING = "failing"  # a deployment failed, tasks die or cannot start
    RECOVERING = "recovering"  # looks well, held back
    RECOVERED = "recovered"  # was well for the whole hold-down
    NOT_LIVE = "not live"  # rolled back: the old release serves well, the new one does not
    QUIET = "quiet"  # not reported again, of a kind that ECS does not show
    STOPPED = "stopped"  # scaled to zero
    GONE = "gone"  # deleted
    TASK_FAILED = "task failed"  # the last run of a standalone task ended badly
    NOT_RUN = "not run since"  # so it did, and the window is over

    @property
    def is_open(self) -> bool:
        """Whether it holds its incident open."""
        return self in (Phase.FAILING, Phase.RECOVERING)

    @property
    def alerts(self) -> bool:
        """Whether somebody should look now. A failed task should, and holds nothing open."""
        return self.is_open or self is Phase.TASK_FAILED


class Impact(IntEnum):
    """How far a service still serves; a greater value is worse."""

    UNKNOWN = 0
    SERVING = 1  # everything desired runs, if on the old release
    REDUCED = 2  # fewer run than desired
    DOWN = 3  # nothing runs


class SubjectKind(StrEnum):
    """What kind of thing a row is about; the word AWS uses for it."""

    SERVICE = "service"
    DAEMON = "daemon"
    CODEDEPLOY = "CodeDeploy deployment group"
    TASK = "standalone task"  # all runs of one task definition's family


class Reason(StrEnum):
    """Why something is told, or why not. It is in the log line of every observation."""

    NEWLY_FAILING = "newly failing"
    FAILING_AGAIN = "failing again"
    FLAPPING = "flapping: the third failure within the window"
    ANOTHER_DEPLOYMENT = "another deployment failed"
    ANOTHER_CAUSE = "another cause"
    WORSE = "a worse impact"
    STILL_FAILING = "still failing after the repeat interval"
    RECOVERED = "recovered"
    ROLLED_BACK = "rolled back: the release is not live"
    NOW_LIVE = "a release is live after one that was not"
    WENT_QUIET = "not reported again"
    SCALED_TO_ZERO = "scaled to zero"
    DELETED = "deleted"
    SUPERSEDED = "a superseded deployment failed"
    OVER_BEFORE_TOLD = "it was over before we heard of it"
    DEPLOYER_KNOWN = "who deployed it is known now"
    RETRIED = "news of a call that is tried again"
    FOUND_BY_CENSUS = "in trouble before we came"

    FLAPS_ON = "flaps on: counted, not told again"
    REPEATED = "repeated: counted, not told again yet"
    SECOND_COPY = "second copy of an event"
    PROGRESS = "no failure: remembered"
    LOOKS_WELL = "looks well: held back"
    STILL_BROKEN = "no better than before"
    NOTHING_WRONG = "nothing is wrong"
    EXPLAINED = "read why it fails"
    SHIPPED = "somebody began a deployment: remembered"
    BENIGN_STOP = "no task failed"
    NOT_RUN_SINCE = "a failed task was not run again within the window"
    IS_UNDECIDED = "which of its containers is essential must be read first"
    FEW_DEATHS = "a task died: too few to tell"
    ECS_IS_AWAITED = "tasks died in a deployment: ECS may say itself that it failed"
    NOT_WATCHED = "a tag of the service, or a setting, says not to watch its tasks"
    IGNORED_CLUSTER = "the cluster is ignored by Channels"
    NO_SUBJECT = "the event is about no service, daemon or deployment group"
    NOT_READABLE = "ECS could not be read"


# Trouble that was not there before.
BEGINNING = {Reason.NEWLY_FAILING, Reason.FAILING_AGAIN, Reason.FLAPPING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What went wrong, in ECS's words. `event` is the eventName, empty when there was none."""

    event: str
    reason: str
    deployment_id: str | None
    occurred_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownDeployment:
    """A deployment as the events and readings so far tell of it.

    `began_at` is when it began, or began again as a roll-back; `completed_at` and `failed_at` when
    it first did; `task_at` is when the first of its tasks died. `is_release`: an event said that it
    began, and not as a roll-back. `revision` is its task definition's ARN, empty until a reading or
    a task's end showed it.
    """

    id: str
    updated_at: datetime
    began_at: datetime | None = None
    completed_at: datetime | None = None
    failed_at: datetime | None = None
    task_at: datetime | None = None
    is_release: bool = False
    is_rollback: bool = False
    revision: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """A task that stopped as none should. `task` stands for its ARN, `started_by` is a deployment.

    `is_clean`: its containers ended with exit code 0, which is bad only inside a deployment.
    """

    task: str
    at: datetime
    cause: str
    started_by: str
    is_clean: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dying:
    """So many tasks died as none should, `since` the first of those that were too many."""

    count: int
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a service has come whose tasks do not all run yet, and `at` when it last came nearer.

    `running` tasks of the newest deployment run of `desired`, and `old` ones of others.
    """

    deployment_id: str
    desired: int
    stage: str
    running: int
    old: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEnd:
    """How one run of a standalone task ended, or that it could not be started.

    `task` stands for the task's ARN, or for the call that started nothing. `is_success` is None
    until it is known which containers are essential; `is_in_doubt`: taken for a failure, for nobody
    can tell. `of` is the job of tasks.yaml or the execution of its runbook that it belongs to. The
    rest is of a failure, in ECS's words, and kept of the newest only: `arn` is empty where there
    never was a task, `runbook` and `step` are where one failed.
    """

    task: str
    at: datetime
    version: int = 0
    is_success: bool | None = None
    of: str = ""
    is_in_doubt: bool = False
    arn: str = ""
    started_at: datetime | None = None
    stop_code: str = ""
    reason: str = ""
    containers: tuple[Container, ...] = ()
    launch: Launch | None = None
    runbook: str = ""
    step: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRuns:
    """The last runs of one starter with one command override: a success of theirs is their own.

    `command` stands for the override. `ends` are the newest success and the newest failures, by
    time; `revision` is the row's, with which a reader was to hear of them last.
    """

    starter: str
    command: str
    ends: tuple[TaskEnd, ...] = ()
    revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryStep:
    """One thing that tasks.yaml did for a call, in the words of `TaskRetry`.

    `revision` is the row's, with which a reader was to hear of it; 0 where it was only counted.
    `said_at` is the time of it, or of the like of it that was told before.
    """

    number: int
    name: str
    attempt: int
    attempts: int
    asked: int
    missing: int
    occurred_at: datetime
    next_at: datetime | None = None
    reason: str = ""
    revision: int = 0
    said_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetriedCall:
    """A RunTask that lacked tasks, and what was done for it, `steps` by their numbers.

    `call` stands for it, as in `TaskEnd.task`. Until its own record is known (`is_recorded`) it is
    a failure by itself, of which a reader was to hear with `revision`.
    """

    call: str
    job: str
    started_by: str
    steps: tuple[RetryStep, ...] = ()
    is_recorded: bool = False
    revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """Something that a reader is to be told: it came with this revision of the service."""

    revision: int
    reason: Reason
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceState:
    """What is remembered of one service (or daemon, or CodeDeploy deployment group).

    `revision` is raised by every change of phase, impact, cause or deployment; `told` holds, per
    destination, the revision up to which its transitions were told there. `impact` is the worst
    since it began to fail. `count` is how often the failure was reported since `since`; `seen` are
    the identities of the last events, newest last; `deaths` the last tasks that died, `dying` all
    of this trouble, None until too many have; `flaps` when it began to fail, since the last quiet
    hour; `over_at` when it last ceased to. `generation` is the incident of its cluster that it
    belongs to. `not_live` are the task definitions that were rolled back in it. `due_at` is when
    ECS is to be read next. `explanation` is why the deployment fails of which it is, `shipments`
    who began the last deployments. `progress` is None while no tasks are awaited. `is_weighed`: too
    many tasks of a deployment under way died; the next look tells unless ECS does. `runs` are those
    of a standalone task, which is named by its family, and `retries` what was done for those that
    did not start; `essential` is a task definition's ARN, and then its essential containers.
    """

    name: str
    kind: SubjectKind = SubjectKind.SERVICE
    phase: Phase = Phase.WELL
    impact: Impact = Impact.UNKNOWN
    revision: int = 0
    generation: int = 0
    causes: tuple[Failure, ...] = ()
    deployments: tuple[KnownDeployment, ...] = ()
    not_live: tuple[str, ...] = ()
    reading: ServiceReading | None = None
    count: int = 0
    since: datetime | None = None
    changed_at: datetime | None = None
    last_failure_at: datetime | None = None
    well_since: datetime | None = None
    steady_at: datetime | None = None
    deaths: tuple[Death, ...] = ()
    dying: Dying | None = None
    flaps: tuple[datetime, ...] = ()
    is_flapping: bool = False
    over_at: datetime | None = None
    is_late: bool = False
    repeat_at: datetime | None = None
    due_at: datetime | None = None
    destination: str | None = None
    transitions: tuple[Transition, ...] = ()
    seen: tuple[str, ...] = ()
    explanation: Explanation | None = None
    shipments: tuple[Shipment, ...] = ()
    progress: Progress | None = None
    is_weighed: bool = False
    runs: tuple[TaskRuns, ...] = ()
    retries: tuple[RetriedCall, ...] = ()
    essential: tuple[str, ...] = ()
    told: Mapping[str, int] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What tells it apart within its cluster. No service's name has a space or a colon in it.

        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateService.html
        """
        return self.name if self.kind is SubjectKind.SERVICE else f"{self.kind}: {self.name}"

    def untold(self, destination: str) -> tuple[Transition, ...]:
        """What this destination has not been told yet, oldest first."""
        told = self.told.get(destination, 0)
        return tuple(one for one in self.transitions if one.revision > told)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterState:
    """What is remembered of a cluster: its incident, and the services that were loaded.

    `key` is the cluster's ARN, or `unknown cluster (account, region)` where no event told it.
    `version` is raised by every save, `revision` by what a reader would see, `touched_at` by counts
    too. `open_services` counts all, loaded or not. `generation` numbers the cluster's incidents;
    one that closed goes on when something fails within the window. `is_owed` says that something
    of it was not told yet. `moved` names, by the destination that refused this incident, the one
    that tells it instead. `services` are by their keys.
    """

    key: str
    account: str
    region: str
    partition: str
    version: int = 0
    revision: int = 0
    generation: int = 0
    open_services: int = 0
    opened_at: datetime | None = None
    closed_at: datetime | None = None
    touched_at: datetime | None = None
    is_owed: bool = False
    moved: Mapping[str, str] = field(default_factory=dict)
    services: Mapping[str, ServiceState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """An event as it reached us: `received_at` is when the queue took it, not when we read it."""

    event: Event
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NotReadable:
    """A look that failed: `why` in a word. Of a daemon or CodeDeploy: ECS shows nothing."""

    service: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """Somebody began a deployment of this service, as the record of the call tells."""

    service: str
    shipment: Shipment


@dataclass(frozen=True, slots=True, kw_only=True)
class EssentialContainers:
    """Which containers of a task definition end its tasks; `service` is the key of the row."""

    service: str
    task_definition: str
    names: tuple[str, ...]


Observation = Observed | ServiceReading | NotReadable | Explanation | Shipped | EssentialContainers


# --- what was told ----------------------------------------------------------------------------


class StepKind(StrEnum):
    """What a thread needs next."""

    ROOT = "root"  # a first message, which shows the present state
    REPLY = "reply"  # what happened, below the root
    FLAT = "flat"  # the same without a thread: a webhook, or news that is over already
    EDIT = "edit"  # the root shows the present state again
    MARK = "mark"  # the root's reaction says that all is over
    UNMARK = "unmark"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One message: what it tells, of each service up to which revision, and what it shows.

    `shows` is the cluster's revision; `announces` the services' revisions that reach the channel
    itself by it.
    """

    kind: StepKind
    tells: Mapping[str, int] = field(default_factory=dict)
    shows: int = 0
    announces: Mapping[str, int] = field(default_factory=dict)
    is_broadcast: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What we are about to post, written down first, so that a crash leaves a trace of it."""

    key: str
    at: datetime
    channel: str
    step: Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """A root of an incident. `number` counts an incident's roots; `previous_…` names the last.

    `channel` and `ts` name the root in Slack; `shows` is the cluster's revision that it shows, as
    of `edited_at`. `loud_at` is when the thread last reached the channel itself, `announced` what
    of it did. `is_marked`: the root bears the reaction that says all is over. `is_fixed`: Slack
    does not let us edit it any more; `is_lost`: it was deleted.
    """

    generation: int
    number: int = 1
    channel: str = ""
    ts: str = ""
    opened_at: datetime | None = None
    shows: int = 0
    edited_at: datetime | None = None
    loud_at: datetime | None = None
    announced: Mapping[str, int] = field(default_factory=dict)
    replies: int = 0
    is_marked: bool = False
    is_fixed: bool = False
    is_lost: bool = False
    previous_channel: str = ""
    previous_ts: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """A cluster of which something is to be told in a channel. Times are aware.

    `nonce` changes with everything new that is owed. `tries` counts turns that were begun and not
    ended, and `retry_at` is when the next may begin; `attempt` is a post whose outcome was never
    written down. `instead_of` is the destination that it should have been told in, which refuses.
    `since` is when the oldest of it was saved; `has_root` says that the incident has its root.
    """

    destination: str
    cluster_key: str
    nonce: str
    due_at: datetime
    retry_at: datetime | None = None
    tries: int = 0
    attempt: Attempt | None = None
    instead_of: str = ""
    since: datetime | None = None
    has_root: bool = False

    @property
    def route(self) -> str:
        """The destination that the services' rows name."""
        return self.instead_of or self.destination

    def is_due(self, now: datetime) -> bool:
        """Whether a turn may begin now."""
        return self.due_at <= now and (self.retry_at is None or self.retry_at <= now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What is due: channels that are owed something, and by cluster the services to read again.

    `open_clusters` counts all with something open or watched, due now or later.
    """

    channels: tuple[str, ...] = ()
    services: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    open_clusters: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mute:
    """Of clusters whose names match `pattern` nothing is told before `until`, for a `why`."""

    pattern: str
    until: datetime
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """Where the hourly reading of every service stands.

    `clusters` are still to be read, `page` goes on in the first of them; a member whose clusters
    are not known yet stands among them as ACCOUNT#REGION. `silent` are members that did not answer
    when they were last asked, the one asked longest ago first. `watched` and `services` count what
    the first round has seen, `trouble` is what it found, by destination. `finished_at` is when the
    last round ended.
    """

    started_at: datetime
    clusters: tuple[str, ...] = ()
    page: str = ""
    is_listed: bool = False
    watched: int = 0
    services: int = 0
    trouble: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    finished_at: datetime | None = None
    silent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """When the last heartbeat of an account and region that came the whole way was sent."""

    account: str
    region: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """What ecs-watch found of itself.

    `checked_at` is when all of it was last looked at, `ticked_at` a tick of the last minutes.
    `failing` has a line for each check that fails, `told` are those of them that Slack knows of.
    `ended` says of some of the others how it ended, where they are not well again.
    """

    checked_at: datetime | None = None
    ticked_at: datetime | None = None
    failing: Mapping[str, str] = field(default_factory=dict)
    told: tuple[str, ...] = ()
    ended: Mapping[str, str] = field(default_factory=dict)

    @property
    def news(self) -> Mapping[str, int]:
        """What Slack is to be told: 1 for a check that fails, 0 for one that is well again."""
        begun = {check: 1 for check in self.failing if check not in self.told}
        return begun | {check: 0 for check in self.told if check not in self.failing}

    def after_telling(self, news: Mapping[str, int]) -> tuple[str, ...]:
        """What Slack knows of once it was told this."""
        kept = [check for check in self.told if news.get(check, 1)]
        return tuple(dict.fromkeys([*kept, *(check for check, on in news.items() if on)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """What a channel was not told, for good unless somebody revives it.

    `services` has for each the revision that had been told before, and the one that was given up.
    `instead_of` is the destination that had refused it, as in `Owed`.
    """

    destination: str
    cluster_key: str
    at: datetime
    why: str
    services: Mapping[str, tuple[int, ...]]
    instead_of: str = ""

    @property
    def route(self) -> str:
        """The destination that the services' rows name."""
        return self.instead_of or self.destination


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One run of a function: who it is, what time it is, how long it may go on.

    `jitter` gives a random time up to the one given (full jitter); `unique` makes an id. `tally`
    counts what happened, for the metrics.
    """

    id: str
    now: Callable[[], datetime]
    remaining: Callable[[], timedelta]
    sleep: Callable[[timedelta], None]
    jitter: Callable[[timedelta], timedelta]
    unique: Callable[[], str]
    tally: Counter[str] = field(default_factory=Counter)
