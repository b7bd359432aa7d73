"""The door to ECS for one-off tasks: start, look, follow the log, stop. It changes ECS.

Only `ecs-watch run` opens it, with the credentials of whoever calls it; the watcher has no such
permission. https://docs.aws.amazon.com/AmazonECS/latest/developerguide/standalone-tasks.html
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from notifier.ecs.definitions import new_key, task_definition
from notifier.ecs.fields import Row, child, rows, text, texts
from notifier.ecs.reads import GONE, NO_PERMISSION, read_errors
from notifier.ecs.tasks import stopped_task
from notifier.errors import ReadFailed, WatchError
from notifier.facts import LogTail, TaskDefinition
from notifier.outcome import TaskShown

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_logs import CloudWatchLogsClient

PAGES = 20  # of a log in one go; a page holds up to 10,000 lines
# What a service has that a task of its kind needs too.
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Service.html
_LIKE_A_SERVICE = (
    "networkConfiguration",
    "launchType",
    "capacityProviderStrategy",
    "platformVersion",
)


class NotTaken(WatchError):
    """RunTask ended with an error, or without an answer (no code, status 0).

    `tasks` are those that an error names: the client token had started them before.
    """

    def __init__(self, code: str, message: str, status: int, tasks: Sequence[str] = ()) -> None:
        super().__init__(f"{code}: {message}" if code else message)
        self.code = code
        self.message = message
        self.status = status
        self.tasks = tuple(tasks)


@dataclass(frozen=True, slots=True)
class Taken:
    """RunTask's answer: the ARNs of the tasks that were started, and why others were not."""

    tasks: tuple[str, ...]
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Runs:
    """`ecs` tries a read again by itself; `once` tries nothing again, so that no start is doubled.

    botocore sends RunTask again after a time-out, when the client token may be worth nothing any
    more: its task may have ended. `logs` gives a client for a region.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html
    """

    ecs: "ECSClient"
    once: "ECSClient"
    logs: Callable[[str], "CloudWatchLogsClient"]
    cluster: str

    # --- before the start -------------------------------------------------------------------------

    def definition(self, name: str) -> TaskDefinition:
        """The task definition, by family (its newest revision), family:revision or ARN."""
        with read_errors("DescribeTaskDefinition"):
            answer: Row = self.ecs.describe_task_definition(taskDefinition=name)
        return task_definition(answer, new_key())

    def like(self, service: str) -> Row:
        """RunTask's parameters for network and capacity as a service has them.

        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServices.html
        """
        with read_errors("DescribeServices"):
            answer: Row = self.ecs.describe_services(cluster=self.cluster, services=[service])
        (shown,) = rows(answer, "services") or [{}]
        if not shown or text(shown, "status") == "INACTIVE":
            raise WatchError(f"there is no service '{service}' in this cluster")
        current = next(iter(rows(shown, "deployments")), {})
        found = {name: current.get(name) or shown.get(name) for name in _LIKE_A_SERVICE}
        if found["capacityProviderStrategy"]:
            found["launchType"] = None  # RunTask takes one of the two
        return {name: value for name, value in found.items() if value}

    # --- start, look, stop ------------------------------------------------------------------------

    def start(self, request: Mapping[str, Any]) -> Taken:
        """Send RunTask once. Raises NotTaken.

        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
        """
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        try:
            answer: Row = self.once.run_task(cluster=self.cluster, **request)
        except ClientError as error:
            raise _refused(error.response) from error
        except HTTPClientError as error:
            raise NotTaken("", f"no answer ({type(error).__name__})", 0) from error
        except BotoCoreError as error:
            # Nothing was sent. Its text alone may quote a parameter's value.
            raise NotTaken(type(error).__name__, _unsent(error), 400) from error
        arns = tuple(text(row, "taskArn") for row in rows(answer, "tasks"))
        return Taken(arns, tuple(text(row, "reason") for row in rows(answer, "failures")))

    def started(self, started_by: str, family: str) -> tuple[str, ...]:
        """The tasks that carry this mark, running and stopped; ECS shows a new one with a delay.

        `startedBy` must be the only filter, which leaves running ones; so those that have stopped
        are found among all of their family. Raises ReadFailed where these are too many to read.
        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTasks.html
        """
        running, _ = self._listed(startedBy=started_by)
        found = dict.fromkeys(running)
        token = ""
        for _ in range(PAGES):
            arns, token = self._listed(token, family=family, desiredStatus="STOPPED")
            shown = self.tasks(arns) if arns else {}
            ours = [arn for arn, one in shown.items() if one.task.started_by == started_by]
            found |= dict.fromkeys(ours)
            if not token:
                return tuple(found)
        raise ReadFailed("ListTasks", "too many stopped tasks of this family to look through")

    def _listed(self, token: str = "", **filters: Any) -> tuple[tuple[str, ...], str]:
        after = {"nextToken": token} if token else {}
        with read_errors("ListTasks"):
            client: Any = self.ecs
            answer: Row = client.list_tasks(cluster=self.cluster, **filters, **after)
        return texts(answer, "taskArns"), text(answer, "nextToken")

    def tasks(self, arns: Sequence[str]) -> Mapping[str, TaskShown]:
        """What ECS shows of the tasks; it shows a stopped one for about an hour."""
        with read_errors("DescribeTasks"):
            answer: Row = self.once.describe_tasks(cluster=self.cluster, tasks=list(arns))
        return {text(row, "taskArn"): _shown(row) for row in rows(answer, "tasks")}

    def stop(self, arn: str, reason: str) -> None:
        """Ask ECS to stop a task.

        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StopTask.html
        """
        with read_errors("StopTask"):
            self.ecs.stop_task(cluster=self.cluster, task=arn, reason=reason)

    # --- the log ----------------------------------------------------------------------------------

    def lines(self, log: LogTail, token: str) -> tuple[tuple[str, ...], str]:
        """The lines behind the token, and the token that goes on; from the first line without one.

        At the end of the stream CloudWatch Logs gives the token back that it was given.
        https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html
        """
        said: list[str] = []
        for _ in range(PAGES):
            events, following = self._page(log, token)
            said += [text(event, "message").rstrip("\r\n") for event in events]
            if following in ("", token):
                break
            token = following
        return tuple(said), token

    def _page(self, log: LogTail, token: str) -> tuple[Sequence[Row], str]:
        place = {"logGroupName": log.group, "logStreamName": log.stream}
        after = {"nextToken": token} if token else {}
        with read_errors("GetLogEvents"):
            client: Any = self.logs(log.region)
            answer = client.get_log_events(**place, **after, startFromHead=True)
        return rows(answer, "events"), text(answer, "nextForwardToken")


def is_not_there(error: ReadFailed) -> bool:
    """Whether it is only that the log stream is not there yet: its container has said nothing."""
    return error.why == GONE


def may_not(error: ReadFailed) -> bool:
    """Whether asking again is in vain."""
    return error.why in (NO_PERMISSION, GONE)


def _refused(response: Mapping[str, Any]) -> NotTaken:
    error = child(response, "Error")
    status = child(response, "ResponseMetadata").get("HTTPStatusCode", 0)
    tasks = texts(response, "resourceIds")
    return NotTaken(text(error, "Code") or "Unknown", text(error, "Message"), status, tasks)


def _unsent(error: Exception) -> str:
    from botocore.exceptions import ParamValidationError

    if isinstance(error, ParamValidationError):
        return "the parameters are not of the kinds that RunTask takes"
    return str(error)


def _shown(row: Row) -> TaskShown:
    return TaskShown(text(row, "lastStatus"), text(row, "desiredStatus"), stopped_task(row))
