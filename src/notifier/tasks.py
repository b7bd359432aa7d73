"""What a task's stop says: that something is wrong, or only that ECS moved it.

Judged by `stoppedReason` and the containers' reasons, never by the stop code or exit code alone: a
scale-in and a failed health check share a stop code, and a scale-in ends with exit code 137 or 143.
"""

from enum import StrEnum

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

# With a reason that nobody knows, the code decides where it leaves no doubt.
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html (stopCode)
_NEVER_STARTED = "TaskFailedToStart"
_BY_A_PERSON = "UserInitiated"  # whose words are free, and may say anything

# How a container ends that ECS stops because another one, or the task, is done.
_STOPPED_WITH_IT = {0, 137, 143}


class Stop(StrEnum):
    """The verdict on a task's stop."""

    BENIGN = "benign"
    FAILING = "failing"
    CLEAN_EXIT = "clean exit"  # done when its work is; a failure inside a deployment


def verdict_on_stop(task: TaskStateChange) -> Stop:
    """Whether something is wrong, by what ECS and the containers say of this stop.

    A release whose process ends at once with exit code 0 is broken, a worker that ends when its
    work is done is not: which of the two a clean exit is, the deployment's state tells.
    """
    if task.last_status != "STOPPED" or task.stop_code == _BY_A_PERSON:
        return Stop.BENIGN
    text = " ".join((task.stopped_reason, *(one.reason for one in task.containers))).lower()
    if any(words in text for words in _BENIGN):
        return Stop.BENIGN
    if any(words in text for words in _FAILING):
        return Stop.FAILING
    if _EXITED in text:
        return Stop.CLEAN_EXIT if _ended_well(task) else Stop.FAILING
    return Stop.FAILING if task.stop_code == _NEVER_STARTED else Stop.BENIGN


def _ended_well(task: TaskStateChange) -> bool:
    """One container ended with 0, and the others only because it did; none says why otherwise."""
    codes = {one.exit_code for one in task.containers} - {None}
    return (
        0 in codes and codes <= _STOPPED_WITH_IT and not any(one.reason for one in task.containers)
    )


def cause_of_stop(task: TaskStateChange) -> str:
    """What the stop says of its cause: a container's own reason where there is one."""
    reasons = (one.reason for one in task.containers if one.reason)
    return next(reasons, task.stopped_reason)
