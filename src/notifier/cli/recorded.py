"""Recorded answers of ECS, as files, replayed through the door to ECS.

A file is `{"DescribeServices": {…}, "ListTasks": {…}, …}`, each value an answer or a list of them,
or what one command of the AWS CLI printed, which is known by its keys. Whatever it does not hold
is missing, as if ECS had not answered.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from notifier.cli.files import FileError, read_json
from notifier.ecs import Ecs, May
from notifier.ecs.fields import Row, child, moment, rows, text, texts
from notifier.ecs.reads import in_turn
from notifier.errors import ReadFailed
from notifier.facts import Asked, Facts
from notifier.model import Event, ServiceReading
from notifier.settings import ReadLogs

NOT_RECORDED = "not in the file"

# Each operation, and the key by which its answer is known.
_ANSWERS = {
    "DescribeServices": "services",
    "ListTasks": "taskArns",
    "DescribeTasks": "tasks",
    "DescribeTaskDefinition": "taskDefinition",
    "ListServiceDeployments": "serviceDeployments",
    "DescribeServiceDeployments": "serviceDeployments",
    "DescribeServiceRevisions": "serviceRevisions",
    "GetLogEvents": "events",
    "LookupEvents": "Events",
    "ListAccountAliases": "AccountAliases",
}


def add_facts(parser: argparse.ArgumentParser) -> None:
    """The argument that names the file."""
    parser.add_argument(
        "--facts",
        metavar="FILE",
        help="recorded answers of ECS about the service, as JSON, to see what they explain",
    )


@dataclass(frozen=True, slots=True)
class Recording:
    """The answers of a file, by operation. It answers as a client of boto3 does."""

    answers: Mapping[str, Sequence[Row]]

    def known(self, event: Event) -> tuple[ServiceReading | None, Facts] | None:
        """What the door reads of the event's service; None for an event of no service.

        The answers may be of another service and deployment: then they are taken for this one's.
        """
        service: str | None = getattr(event, "service", None)
        if service is None:
            return None
        named = {getattr(event, "deployment_id", None), getattr(event, "started_by", None)}
        recorded = next((one for one in self._deployment_ids() if one in named), None)
        asked = Asked(service=service, deployment_id=recorded)
        return self.door().facts(event.cluster_arn or "", [asked], self._at(event.sent_at))[service]

    def door(self) -> Ecs:
        """The door to ECS as it answered then; all of it may be read."""
        may = May(task_definitions=True, logs=ReadLogs.ALL, callers=True)
        client: Any = self
        return Ecs(lambda: client, lambda _service, _region: client, may, in_turn)

    def _deployment_ids(self) -> Iterator[str]:
        for answer in self.answers.get("DescribeTasks", ()):
            yield from (text(task, "startedBy") for task in rows(answer, "tasks"))
        for answer in self.answers.get("DescribeServices", ()):
            for service in rows(answer, "services"):
                yield from (text(row, "id") for row in rows(service, "deployments"))

    def _at(self, otherwise: datetime) -> datetime:
        """When the answers were given, as far as they tell: an old recording is not old news."""
        return max(_moments(list(self.answers.values())), default=otherwise)

    # --- as a client of boto3 -----------------------------------------------------------------

    def describe_services(self, *, services: Sequence[str], **_: Any) -> Row:
        """The recorded services; if none has the name, the first stands for it."""
        recorded = self._all("DescribeServices", "services")
        (asked,) = services
        same = [row for row in recorded if text(row, "serviceName") == asked]
        return {"services": same or [{**row, "serviceName": asked} for row in recorded[:1]]}

    def list_tasks(self, **_: Any) -> Row:
        """The recorded list, else all recorded tasks that have stopped."""
        if "ListTasks" in self.answers:
            listed = [
                arn for answer in self.answers["ListTasks"] for arn in texts(answer, "taskArns")
            ]
        else:
            listed = [
                text(row, "taskArn")
                for row in self._all("DescribeTasks", "tasks", asked="ListTasks")
                if "STOPPED" in (text(row, "desiredStatus"), text(row, "lastStatus"))
            ]
        return {"taskArns": listed}

    def describe_tasks(self, *, tasks: Sequence[str], **_: Any) -> Row:
        """Those of the recorded tasks."""
        return {"tasks": self._named("DescribeTasks", "tasks", "taskArn", tasks)}

    def list_service_deployments(self, **_: Any) -> Row:
        """The recorded list, else what it would show of the deployments that were described."""
        if "ListServiceDeployments" in self.answers:
            return {"serviceDeployments": self._all("ListServiceDeployments", "serviceDeployments")}
        described = self._all(
            "DescribeServiceDeployments", "serviceDeployments", asked="ListServiceDeployments"
        )
        return {
            "serviceDeployments": [
                {
                    **row,
                    "targetServiceRevisionArn": text(child(row, "targetServiceRevision"), "arn"),
                }
                for row in described
            ]
        }

    def describe_service_deployments(self, *, serviceDeploymentArns: Sequence[str]) -> Row:  # noqa: N803 as boto3 says
        """Those of the recorded deployments."""
        operation, key = "DescribeServiceDeployments", "serviceDeployments"
        return {key: self._named(operation, key, "serviceDeploymentArn", serviceDeploymentArns)}

    def describe_service_revisions(self, *, serviceRevisionArns: Sequence[str]) -> Row:  # noqa: N803 as boto3 says
        """Those of the recorded revisions."""
        operation, key = "DescribeServiceRevisions", "serviceRevisions"
        return {key: self._named(operation, key, "serviceRevisionArn", serviceRevisionArns)}

    def describe_task_definition(self, *, taskDefinition: str, **_: Any) -> Row:  # noqa: N803 as boto3 says
        """The recorded one with this ARN."""
        for answer in self._recorded("DescribeTaskDefinition"):
            if text(child(answer, "taskDefinition"), "taskDefinitionArn") == taskDefinition:
                return answer
        raise ReadFailed("DescribeTaskDefinition", NOT_RECORDED)

    def get_log_events(self, **_: Any) -> Row:
        """The recorded lines, whatever log they are of."""
        return {"events": self._all("GetLogEvents", "events")}

    def lookup_events(self, *, LookupAttributes: Sequence[Row], **_: Any) -> Row:  # noqa: N803 as boto3 says
        """The recorded records of this name, whenever they were."""
        wanted = [text(one, "AttributeValue") for one in LookupAttributes]
        found = self._all("LookupEvents", "Events")
        return {"Events": [row for row in found if text(row, "EventName") in wanted]}

    def list_account_aliases(self) -> Row:
        """The recorded alias."""
        return next(iter(self._recorded("ListAccountAliases")))

    # --- what was recorded --------------------------------------------------------------------

    def _recorded(self, operation: str, asked: str = "") -> Sequence[Row]:
        if operation not in self.answers:
            raise ReadFailed(asked or operation, NOT_RECORDED)
        return self.answers[operation]

    def _all(self, operation: str, key: str, asked: str = "") -> list[Row]:
        return [row for answer in self._recorded(operation, asked) for row in rows(answer, key)]

    def _named(self, operation: str, key: str, name: str, wanted: Sequence[str]) -> list[Row]:
        return [row for row in self._all(operation, key) if text(row, name) in wanted]


# --- files --------------------------------------------------------------------------------------


def read_recording(name: str) -> Recording:
    """The answers of a file; FileError says what is wrong with it."""
    try:
        return recording(read_json(name))
    except FileError as error:
        raise FileError(f"{name}: {error}") from error


def recording(value: object) -> Recording:
    """The answers of a file's JSON; FileError when there are none that are known."""
    if not isinstance(value, Mapping):
        raise FileError("recorded answers are an object, by operation or as the AWS CLI prints it")
    unwrapped = _unwrapped(value)
    named = unwrapped if unwrapped.keys() & _ANSWERS.keys() else _by_keys(unwrapped)
    if unknown := sorted(named.keys() - _ANSWERS.keys()):
        raise FileError(f"{unknown[0]} is none of the answers that are read: {_known()}")
    return Recording({operation: _answers(operation, one) for operation, one in named.items()})


def _known() -> str:
    return ", ".join(_ANSWERS)


def _by_keys(answer: Row) -> Row:
    """An answer as a command of the AWS CLI prints it, which does not say of what."""
    keys = [key for key in dict.fromkeys(_ANSWERS.values()) if key in answer]
    if not keys:
        raise FileError(f"no answer that is known by its keys; name it, one of {_known()}")
    return {_operation_of(key, answer): answer for key in keys}


def _operation_of(key: str, answer: Row) -> str:
    if key == "serviceDeployments":
        is_listed = any("targetServiceRevisionArn" in row for row in rows(answer, key))
        return "ListServiceDeployments" if is_listed else "DescribeServiceDeployments"
    return next(operation for operation, known in _ANSWERS.items() if known == key)


def _answers(operation: str, value: object) -> list[Row]:
    """One answer or several; each has the key by which it is known."""
    several = value if isinstance(value, list) else [value]
    answers = [_unwrapped(one) if isinstance(one, Mapping) else {} for one in several]
    if any(_ANSWERS[operation] not in one for one in answers):
        raise FileError(f"{operation}: expected an answer with '{_ANSWERS[operation]}'")
    return answers


def _unwrapped(answer: Row) -> Row:
    """The answer of a recording by placebo, which keeps it beside its HTTP status.

    https://github.com/garnaat/placebo
    """
    held = answer.get("data")
    if "status_code" not in answer or not isinstance(held, Mapping):
        return answer
    unwrapped: Row = _with_times(held)
    return unwrapped


def _with_times(value: Any) -> Any:
    """The value with each of placebo's times as a time."""
    if isinstance(value, list):
        return [_with_times(one) for one in value]
    if not isinstance(value, Mapping):
        return value
    if value.get("__class__") == "datetime":
        return _time(value)
    return {key: _with_times(one) for key, one in value.items()}


def _time(parts: Row) -> datetime | None:
    names = ("year", "month", "day", "hour", "minute", "second", "microsecond")
    try:
        return datetime(**{name: parts[name] for name in names if name in parts})  # noqa: DTZ001
    except (TypeError, ValueError):
        return None


def _moments(value: Any) -> Iterator[datetime]:
    """Every time in the answers: what ends in `At`."""
    if isinstance(value, list):
        for one in value:
            yield from _moments(one)
    elif isinstance(value, Mapping):
        for key, one in value.items():
            at = moment(value, key) if str(key).endswith("At") else None
            yield from [at] if at else _moments(one)
