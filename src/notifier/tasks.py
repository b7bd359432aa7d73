"""What a task's stop says: that something is wrong, or only that ECS moved it.

Judged by `stoppedReason` and the containers' reasons, never by the stop code or exit code alone: a
scale-in and a failed health check share a stop code, and a scale-in ends with exit code 137 or 143.
"""

from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Protocol

from notifier.facts import NEVER_STARTED, Container
from notifier.model import TaskStateChange

# How the reasons of stops begin or what they contain, in ASCII, lower case.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
_BENIGN = (
    "scaling activity initiated",
    "task stopped by",
    "spot task was interrupted",
    "maintenance on the underlying infrastructure",
    "host ec2",
)
_FAILING = (
    "failed elb health checks",
    "failed container health checks",
    "is unhealthy in",
    "cannotpull",
    "pull the image",
    "resourceinitializationerror",
    "resourcenotfound",
    "outofmemory",
    "cannotstart",
    "cannotcreate",
    "cannotinspect",
    "containerruntime",
    "internalerror",
    "taskfailedtostart",
    "unexpected ec2 error",
    "timeout waiting for",
    "capacity is unavailable",
    "reached the limit on the number of",
    "no space left on device",
)
_EXITED = "essential container"
ESSENTIAL_EXITED = "Essential container in task exited"  # says less than the exit code beside it

# With a reason that nobody knows, the code decides where it leaves no doubt.
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html (stopCode)
_ENDED = "EssentialContainerExited"
BY_A_PERSON = "UserInitiated"  # whose words are free, and may say anything

# How a container ends that ECS stops because another one, or the task, is done: by SIGTERM, and
# after its stop time-out by SIGKILL. The kernel kills too, for memory, and nobody else terminates.
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StopTask.html
SIGTERM, SIGKILL = 143, 137
_STOPPED_WITH_IT = {0, SIGKILL, SIGTERM}
# Put beside a task's own containers by GuardDuty's runtime monitoring; no cause of a stop.
# https://docs.aws.amazon.com/guardduty/latest/ug/how-runtime-monitoring-works-ecs-fargate.html
_INJECTED = "aws-guardduty-agent-"


class Stop(StrEnum):
    """The verdict on a task's stop."""

    BENIGN = "benign"
    FAILING = "failing"
    CLEAN_EXIT = "clean exit"  # done when its work is; a failure inside a deployment


class StoppedTask(Protocol):
    """What a stopped task says of its end, in an event or as DescribeTasks shows it."""

    @property
    def stop_code(self) -> str:
        """ECS's own word for the kind of stop; many kinds share one."""

    @property
    def stopped_reason(self) -> str:
        """ECS's words for this stop, or those of whoever stopped it."""

    @property
    def containers(self) -> tuple[Container, ...]:
        """All containers, also those that ECS or GuardDuty added."""


def verdict_on_stop(task: TaskStateChange) -> Stop:
    """Whether something is wrong, by what ECS and the containers say of this stop.

    A release whose process ends at once with exit code 0 is broken, a worker that ends when its
    work is done is not: which of the two a clean exit is, the deployment's state tells.
    """
    return verdict_on_stopped(task) if task.last_status == "STOPPED" else Stop.BENIGN


def verdict_on_stopped(task: StoppedTask) -> Stop:
    """The same of a task that is known to have stopped."""
    if task.stop_code == BY_A_PERSON:
        return Stop.BENIGN
    text = " ".join((task.stopped_reason, *(one.reason for one in task.containers))).lower()
    if any(words in text for words in _BENIGN):
        return Stop.BENIGN
    if any(words in text for words in _FAILING):
        return Stop.FAILING
    if _EXITED in text:
        return Stop.CLEAN_EXIT if seems_ended_well(task) else Stop.FAILING
    return Stop.FAILING if task.stop_code == NEVER_STARTED else Stop.BENIGN


def ended_well(task: StoppedTask, essential: Collection[str] | None = None) -> bool | None:
    """Whether a run of a standalone task did its work; None where its containers cannot tell.

    Here no scheduler replaces what Spot or a host took away: only the end of its own process ends a
    run well. Its essential containers decide, where it is known which they are; one without an exit
    code never ran, and one that was killed may have ended the task: see `is_in_doubt`.
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html#container_definition_environment
    """
    if not ended_by_itself(task):
        return False
    deciding = _deciding(task, essential)
    if essential is None and len({_did_its_work(one) for one in deciding}) > 1:
        return None
    return _all_ran(deciding) and _all_ended_well(deciding) and not _one_was_killed(deciding)


def is_in_doubt(task: StoppedTask, essential: Collection[str]) -> bool:
    """Whether an essential container was killed where another was done: which was first?

    ECS may have killed it with the task, or the task may have ended because it was killed (for
    memory, say, of which a shell's child leaves no reason).
    """
    deciding = _deciding(task, essential)
    seems_well = _all_ran(deciding) and _all_ended_well(deciding)
    return ended_by_itself(task) and seems_well and _one_was_killed(deciding)


def _deciding(task: StoppedTask, essential: Collection[str] | None) -> Sequence[Container]:
    own = [one for one in task.containers if not one.name.startswith(_INJECTED)]
    return own if essential is None else [one for one in own if one.name in essential]


def _all_ran(containers: Collection[Container]) -> bool:
    return all(one.exit_code is not None for one in containers)


def _one_was_killed(containers: Collection[Container]) -> bool:
    return any(one.exit_code == SIGKILL for one in containers)


def ended_by_itself(task: StoppedTask) -> bool:
    """Whether the end of a container ended it. All else (ECS, Spot, a host, a person) took it away.

    Events of long ago have no stop code.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html
    """
    if not task.stop_code:
        return _EXITED in task.stopped_reason.lower()
    return task.stop_code == _ENDED


def seems_ended_well(task: StoppedTask) -> bool:
    """The same where nobody can say which containers are essential.

    One container ended with 0, and the others only because it did; none says why otherwise.
    """
    return _all_ended_well(task.containers)


def _did_its_work(container: Container) -> bool:
    return container.exit_code == 0 and not container.reason


def _all_ended_well(containers: Collection[Container]) -> bool:
    codes = {one.exit_code for one in containers} - {None}
    return 0 in codes and codes <= _STOPPED_WITH_IT and not any(one.reason for one in containers)


def cause_of_stop(task: TaskStateChange) -> str:
    """What the stop says of its cause: a container's own reason where there is one."""
    container = telling_container(task.containers)
    return (container.reason if container else "") or task.stopped_reason


def telling_container(
    containers: Collection[Container], side_cars: Collection[str] = ()
) -> Container | None:
    """The container that tells why its task stopped; None where there is none.

    A side-car (not essential) ends no task. Of the others it is the one with a reason, else the one
    that did not end as ECS ends containers when another one, or the task, is done.
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html#container_definition_environment
    """
    return min(containers, key=lambda one: _silence(one, side_cars), default=None)


def _silence(container: Container, side_cars: Collection[str]) -> tuple[bool, int, str]:
    """How little a container tells of its task's stop; by name where two tell the same."""
    is_beside = container.name in side_cars or container.name.startswith(_INJECTED)
    return is_beside, _rank(container), container.name


def _rank(container: Container) -> int:
    if container.reason:
        return 0
    if container.exit_code is None:
        return 4  # it never ran
    if container.exit_code in _STOPPED_WITH_IT:
        return 3 if container.exit_code else 2
    return 1
