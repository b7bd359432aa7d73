"""The last lines of a container that failed, through its awslogs configuration.

The stream of a task is PREFIX/CONTAINER/TASK-ID; without a prefix its name cannot be known.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_awslogs.html
https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from notifier.arns import is_region, task_id
from notifier.ecs.definitions import AWSLOGS
from notifier.ecs.fields import Row, rows, text
from notifier.ecs.reads import Read
from notifier.facts import Container, ContainerDefinition, LogTail, StoppedTask, TaskDefinition
from notifier.settings import ReadLogs
from notifier.tasks import Stop, telling_container, verdict_on_stopped

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

ACTION = "logs:GetLogEvents"
LINES = 20
# Far more than is shown: what a reader sees is redacted first, and a secret that is cut here must
# not be one that the redaction no longer knows.
LONGEST_LINE = 4_000
TAG = "ecs-watch:logs"  # whose logs may be read where only those of tagged services are


def may_read(which: ReadLogs, tags: Mapping[str, str]) -> bool:
    """Whether the logs of a service with these tags may be read."""
    is_tagged = tags.get(TAG, "").strip().lower() == "true"
    return which is ReadLogs.ALL or (which is ReadLogs.TAGGED and is_tagged)


@dataclass(frozen=True, slots=True)
class NoLog:
    """Why there is no log to read, in a reader's words."""

    why: str


def log_of(tasks: tuple[StoppedTask, ...], definition: TaskDefinition) -> LogTail | NoLog | None:
    """Where the container that tells why its task stopped has said more; None where none has.

    It is that of the first task that stopped as none should. One that was only moved ends with a
    bad exit code too, and its log tells of nothing.
    """
    essential = {one.name: one for one in definition.containers if one.is_essential}
    for verdict in (Stop.FAILING, Stop.CLEAN_EXIT):
        for task in tasks:
            ran = [
                one
                for one in task.containers
                if one.name in essential and one.exit_code is not None
            ]
            container = telling_container(ran)
            if container and verdict_on_stopped(task) is verdict:
                return _place(task, container, essential[container.name])
    return None


def _place(task: StoppedTask, container: Container, asked: ContainerDefinition) -> LogTail | NoLog:
    return log_in(task.arn, replace(asked, name=container.name))


def log_in(task_arn: str, asked: ContainerDefinition) -> LogTail | NoLog:
    """Where a container of a task logs to; known as soon as the task has an id."""
    options = asked.log_options
    group, prefix = options.get("awslogs-group", ""), options.get("awslogs-stream-prefix", "")
    region = options.get("awslogs-region", "")
    if asked.log_driver != AWSLOGS:
        return NoLog(f"{asked.name} logs to {asked.log_driver or 'its host'}")
    if not prefix:
        return NoLog(f"the awslogs configuration of {asked.name} has no stream prefix")
    if not group or not is_region(region):
        return NoLog(f"the awslogs configuration of {asked.name} is incomplete")
    stream = f"{prefix}/{asked.name}/{task_id(task_arn)}"
    return LogTail(container=asked.name, group=group, stream=stream, region=region)


def place_of(group: str, stream: str, region: str) -> LogTail:
    """A log of which only the place is known."""
    container = stream.split("/")[-2] if stream.count("/") >= 2 else stream
    return LogTail(container=container, group=group, stream=stream, region=region)


def read_of(client: "CloudWatchLogsClient", log: LogTail) -> Read:
    """What reads its last lines."""
    call = partial(
        client.get_log_events,
        logGroupName=log.group,
        logStreamName=log.stream,
        limit=LINES,
        startFromHead=False,
    )
    return Read(ACTION, call)


def with_lines(log: LogTail, answer: Row) -> LogTail:
    """The log with the lines of GetLogEvents' answer, oldest first."""
    said = [text(event, "message").rstrip("\r\n") for event in rows(answer, "events")]
    return replace(log, lines=tuple(line[:LONGEST_LINE] for line in said[-LINES:]))
