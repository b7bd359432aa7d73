"""What a task's stop says: that something is wrong, or only that ECS moved it.

Judged by `stoppedReason` and the containers' reasons, never by the stop code or exit code alone: a
scale-in and a failed health check share a stop code, and a scale-in ends with exit code 137 or 143.
"""

from notifier.model import TaskStateChange

# How the reasons of stops begin or what they contain, in ASCII, lower case.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
_FAILING = (
    "failed elb health checks",
    "failed container health checks",
    "unhealthy in service discovery",
    "cannotpull",
    "pull the image",
    "resourceinitializationerror",
    "outofmemory",
    "cannotstart",
    "cannotcreate",
    "cannotinspect",
    "containerruntime",
    "internalerror",
    "taskfailedtostart",
    "unexpected ec2 error",
    "essential container",
)
_BENIGN = (
    "scaling activity initiated",
    "task stopped by",
    "spot task was interrupted",
    "maintenance on the underlying infrastructure",
    "host ec2",
)
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html (stopCode)
_FAILING_CODES = ("TaskFailedToStart", "EssentialContainerExited")


def is_failing_stop(task: TaskStateChange, *, in_deployment: bool) -> bool:
    """Whether this stop counts as a death of its service.

    A task whose containers all ended with exit code 0 counts only inside a deployment: a release
    whose process ends at once is broken, a worker that ends when its work is done is not.
    """
    if task.last_status != "STOPPED":
        return False
    text = " ".join((task.stopped_reason, *(one.reason for one in task.containers))).lower()
    if any(words in text for words in _BENIGN):
        return False
    codes = {one.exit_code for one in task.containers}
    if codes == {0} and not in_deployment:
        return False
    return task.stop_code in _FAILING_CODES or any(words in text for words in _FAILING)


def cause_of_stop(task: TaskStateChange) -> str:
    """What the stop says of its cause: a container's own reason where there is one."""
    reasons = (one.reason for one in task.containers if one.reason)
    return next(reasons, task.stopped_reason)
