"""Reads the facts about several services of a cluster: in rounds, each all at once, in batches.

    1  DescribeServices          ten services a call
       ListTasks                 one a service: ECS takes one service
       ListServiceDeployments    one a service
    2  DescribeTasks             a hundred tasks a call, whosever they are
       DescribeServiceDeployments, DescribeServiceRevisions    twenty a call
       DescribeTaskDefinition    one a revision that this process has not read
    3  DescribeServiceRevisions, DescribeTaskDefinition    what only round 2 named
    4  GetLogEvents              one a service whose log may be read

Whatever fails is missing for the services that it was for, and the rest is read all the same.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Operations.html
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from notifier.ecs.case import SERVICE, Case
from notifier.ecs.definitions import task_definition
from notifier.ecs.fields import Row, rows, tags, text, texts
from notifier.ecs.logs import ACTION, NoLog, log_of, may_read, read_of, with_lines
from notifier.ecs.readings import reading
from notifier.ecs.reads import GONE, Budget, Read, read_errors
from notifier.ecs.tasks import stopped_task
from notifier.errors import ReadFailed
from notifier.facts import Facts, LogTail, TaskDefinition
from notifier.model import ServiceReading
from notifier.settings import ReadLogs

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient

# What a call takes at most, by the pages of the calls named.
SERVICES_A_CALL = 10
TASKS_A_CALL = 100
RELEASES_A_CALL = 20

# What is missing, in a reader's words.
TASKS = "stopped tasks"
RELEASE = "circuit breaker and alarms"
IMAGES = "image digests"
DEFINITIONS = "task definitions"
LOGS = "log lines"


@dataclass(frozen=True, slots=True)
class Step:
    """A read, what is missing without it and for whom, and what takes its answer."""

    read: Read
    what: str
    cases: Sequence[Case]
    take: Callable[[Any], None]


@dataclass(frozen=True, slots=True)
class Gathering:
    """Reads the facts about `cases`, all of one cluster.

    `logs` gives a client for a region; `which_logs` says whose may be read. `definitions` are the
    task definitions that were read before, which never change; None where none may be read.
    """

    client: "ECSClient"
    budget: Budget
    cluster_arn: str
    cases: Mapping[str, Case]
    now: datetime
    key: bytes
    definitions: MutableMapping[str, TaskDefinition] | None
    logs: Callable[[str], Any]
    which_logs: ReadLogs
    _read_already: set[str] = field(default_factory=set)

    def gather(self) -> Mapping[str, tuple[ServiceReading | None, Facts]]:
        """Read it all, as far as it can be read in the time."""
        self._round(self._services(), self._lists())
        self._round(self._tasks(), self._deployments(), self._revisions(), self._definitions())
        for case in self.cases.values():
            _miss_tasks(case)
        self._round(self._revisions(), self._definitions())
        self._round(self._log_lines())
        return {name: (case.reading, case.facts(self.now)) for name, case in self.cases.items()}

    def _round(self, *several: Iterable[Step]) -> None:
        """Ask everything at once; then let each answer be taken, in the order of the steps."""
        steps = list(chain(*several))
        answers = self.budget.answers({number: step.read for number, step in enumerate(steps)})
        for number, step in enumerate(steps):
            answer = answers[number]
            if not isinstance(answer, ReadFailed):
                step.take(answer)
                continue
            for case in step.cases:
                case.miss_read(step.what, answer, step.read.action)

    # --- round 1 ------------------------------------------------------------------------------

    def _services(self) -> Iterator[Step]:
        for names in _batches(self.cases, SERVICES_A_CALL):
            cases = [self.cases[name] for name in names]
            read = Read(
                "ecs:DescribeServices",
                partial(
                    self.client.describe_services,
                    cluster=self.cluster_arn,
                    services=names,
                    include=["TAGS"],
                ),
            )
            yield Step(read, SERVICE, cases, partial(self._show, cases))

    def _show(self, cases: Sequence[Case], answer: Row) -> None:
        shown = {text(row, "serviceName"): row for row in rows(answer, "services")}
        for case in cases:
            case.row = shown.get(case.asked.service, {})
            case.reading = reading(case.asked.service, case.row, self.now)
            if not case.row:
                case.miss(SERVICE, GONE)

    def _lists(self) -> Iterator[Step]:
        """What ECS lists for one service at a time.

        The tasks of a deployment cannot be asked for: `startedBy` would have to be the only filter,
        and without another one only running tasks are listed.
        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTasks.html
        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListServiceDeployments.html
        """
        for name, case in self.cases.items():
            tasks = partial(
                self.client.list_tasks,
                cluster=self.cluster_arn,
                serviceName=name,
                desiredStatus="STOPPED",
                maxResults=TASKS_A_CALL,
            )
            releases = partial(
                self.client.list_service_deployments,
                cluster=self.cluster_arn,
                service=name,
                maxResults=RELEASES_A_CALL,
            )
            yield Step(Read("ecs:ListTasks", tasks), TASKS, [case], partial(_take_arns, case))
            read = Read("ecs:ListServiceDeployments", releases)
            yield Step(read, RELEASE, [case], partial(_take_list, case))

    # --- rounds 2 and 3 -----------------------------------------------------------------------

    def _tasks(self) -> Iterator[Step]:
        owners = {arn: case for case in self.cases.values() for arn in case.task_arns}
        for arns in _batches(owners, TASKS_A_CALL):
            call = partial(self.client.describe_tasks, cluster=self.cluster_arn, tasks=arns)
            read = Read("ecs:DescribeTasks", call)
            yield Step(read, TASKS, _cases(owners, arns), partial(_take_tasks, owners))

    def _deployments(self) -> Iterator[Step]:
        owners = {
            text(one, "serviceDeploymentArn"): case
            for case in self.cases.values()
            for one in case.candidates
            if text(one, "serviceDeploymentArn")
        }
        for arns in _batches(owners, RELEASES_A_CALL):
            call = partial(self.client.describe_service_deployments, serviceDeploymentArns=arns)
            yield Step(
                Read("ecs:DescribeServiceDeployments", call),
                RELEASE,
                _cases(owners, arns),
                partial(_take_deployments, owners),
            )

    def _revisions(self) -> Iterator[Step]:
        owners = {
            arn: case
            for case in self.cases.values()
            for arn in case.revisions_to_read
            if arn not in self._read_already
        }
        self._read_already.update(owners)
        for arns in _batches(owners, RELEASES_A_CALL):
            call = partial(self.client.describe_service_revisions, serviceRevisionArns=arns)
            yield Step(
                Read("ecs:DescribeServiceRevisions", call),
                IMAGES,
                _cases(owners, arns),
                partial(_take_revisions, owners),
            )

    def _definitions(self) -> Iterator[Step]:
        """Each task definition that is named by now, once."""
        if self.definitions is None:
            return
        for arn, cases in self._definitions_named().items():
            if known := self.definitions.get(arn):
                self._define(arn, cases, known)
            elif arn not in self._read_already:
                self._read_already.add(arn)
                read = Read("ecs:DescribeTaskDefinition", partial(self._defined, arn))
                yield Step(read, DEFINITIONS, cases, partial(self._define, arn, cases))

    def _definitions_named(self) -> Mapping[str, list[Case]]:
        named: dict[str, list[Case]] = {}
        for case in self.cases.values():
            for arn in dict.fromkeys((case.failing_revision, case.serving_revision)):
                if arn and arn not in case.definitions:
                    named.setdefault(arn, []).append(case)
        return named

    def _defined(self, arn: str) -> TaskDefinition:
        """Parsed in the thread that read it, so that no value of a variable goes any further."""
        answer = self.client.describe_task_definition(taskDefinition=arn, include=["TAGS"])
        return task_definition(answer, self.key)

    def _define(self, arn: str, cases: Sequence[Case], definition: TaskDefinition) -> None:
        if self.definitions is not None:
            self.definitions[arn] = definition
        for case in cases:
            case.definitions[arn] = definition

    # --- round 4 ------------------------------------------------------------------------------

    def _log_lines(self) -> Iterator[Step]:
        """The last lines of each log that may be read. Where it is, is known of every log."""
        for case in self.cases.values():
            log = self._log(case)
            case.logs = log if isinstance(log, LogTail) else None
            if not may_read(self.which_logs, tags(case.row)):
                continue
            if isinstance(log, NoLog):
                case.miss(LOGS, log.why)
            elif log and (client := self._logs_client(case, log)):
                yield _tail(case, log, client)

    def _log(self, case: Case) -> LogTail | NoLog | None:
        if self.definitions is None:
            return NoLog("task definitions may not be read") if case.stopped_tasks else None
        definition = case.definitions.get(case.failing_revision)
        return log_of(case.stopped_tasks, definition) if definition else None

    def _logs_client(self, case: Case, log: LogTail) -> Any:
        """A client for the region of the log; None when there can be none."""
        try:
            with read_errors("GetLogEvents"):
                return self.logs(log.region)
        except ReadFailed as failed:
            case.miss_read(LOGS, failed, ACTION)
            return None


def _tail(case: Case, log: LogTail, client: Any) -> Step:
    return Step(read_of(client, log), LOGS, [case], partial(_take_lines, case, log))


def _take_arns(case: Case, answer: Row) -> None:
    case.task_arns = texts(answer, "taskArns")
    case.has_more_tasks = bool(text(answer, "nextToken"))


def _take_list(case: Case, answer: Row) -> None:
    case.listed = rows(answer, "serviceDeployments")


def _take_tasks(owners: Mapping[str, Case], answer: Row) -> None:
    for row in rows(answer, "tasks"):
        if case := owners.get(text(row, "taskArn")):
            case.tasks_of_service.append(stopped_task(row))


def _miss_tasks(case: Case) -> None:
    """Whether its tasks went between two reads: known when all calls for them have answered."""
    if not case.task_arns or any(one.what == TASKS for one in case.missing):
        return
    if not case.tasks_of_service:
        case.miss(TASKS, GONE)
    elif not case.stopped_tasks and case.has_more_tasks:
        case.miss(TASKS, f"none among the first {TASKS_A_CALL} that ECS lists")


def _take_deployments(owners: Mapping[str, Case], answer: Row) -> None:
    for row in rows(answer, "serviceDeployments"):
        if case := owners.get(text(row, "serviceDeploymentArn")):
            case.service_deployments[text(row, "serviceDeploymentArn")] = row


def _take_revisions(owners: Mapping[str, Case], answer: Row) -> None:
    for row in rows(answer, "serviceRevisions"):
        if case := owners.get(text(row, "serviceRevisionArn")):
            case.revisions[text(row, "serviceRevisionArn")] = row


def _take_lines(case: Case, log: LogTail, answer: Row) -> None:
    case.logs = with_lines(log, answer)


def _cases(owners: Mapping[str, Case], arns: Sequence[str]) -> list[Case]:
    """The services that these are of, each once."""
    return list({id(owners[arn]): owners[arn] for arn in arns}.values())


def _batches(names: Iterable[str], most: int) -> Iterator[list[str]]:
    every = list(names)
    for start in range(0, len(every), most):
        yield every[start : start + most]
