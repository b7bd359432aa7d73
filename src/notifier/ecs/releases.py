"""What is read, again and again, of a service whose deployment is being watched.

    DescribeServices            all services in one call: ten a call
    ListServiceDeployments, DescribeServiceDeployments, DescribeServiceRevisions    one a service
    ListTasks, DescribeTasks    one a service; each stopped task is described once

What may not be read, or is refused as nonsense, is not asked for again, and is None or empty then;
what was refused for the moment (throttled, too slow, an error of AWS) is never taken for "nothing":
the whole look fails.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from notifier.deployments import Mine, Shown, why_unanswerable
from notifier.ecs.deployments import (
    has_circuit_breaker,
    rolls_back,
    service_deployment,
    target_of,
)
from notifier.ecs.fields import Row, child, moment, rows, text, texts
from notifier.ecs.readings import reading
from notifier.ecs.reads import NO_PERMISSION, NOT_OF_THIS_SERVICE, Read, is_refused
from notifier.ecs.tasks import stopped_task
from notifier.errors import ReadFailed
from notifier.facts import ServiceDeployment, StoppedTask

SERVICES_A_CALL = 10
RELEASES_A_CALL = 20
TASKS_A_CALL = 100
PAGES_AT_MOST = 5  # of stopped tasks
EARLIER = timedelta(minutes=5)  # a deployment is looked for among those created so long before

# Besides DescribeServices, and not without which nothing can be said.
OPTIONAL = (
    "ecs:ListServiceDeployments",
    "ecs:DescribeServiceDeployments",
    "ecs:DescribeServiceRevisions",
    "ecs:ListTasks",
    "ecs:DescribeTasks",
)


@dataclass(slots=True)
class Releases:
    """Services of one cluster, by its name or ARN. `client` is boto3's for ECS.

    `refused` maps the reads that are not allowed, or refused as nonsense of a service, to why.
    """

    client: Any
    cluster: str
    refused: dict[str, str] = field(default_factory=dict)
    _revisions: dict[str, str] = field(default_factory=dict, repr=False)
    _tasks: dict[str, StoppedTask] = field(default_factory=dict, repr=False)
    _closed: set[tuple[str, str]] = field(default_factory=set, repr=False)

    def look(
        self, since: Mapping[str, datetime | None], now: Callable[[], datetime]
    ) -> Mapping[str, Shown]:
        """What ECS shows now of each service, by name. `since` is when its deployment may begin.

        Raises ReadFailed when a read fails that may succeed in a moment, or DescribeServices.
        """
        found = self.services(list(since), now)
        return {name: self._with_details(name, shown, since[name]) for name, shown in found}

    def services(
        self, names: Sequence[str], now: Callable[[], datetime]
    ) -> Iterator[tuple[str, Shown]]:
        """What DescribeServices alone shows of each. Raises ReadFailed."""
        for batch in _batches(names, SERVICES_A_CALL):
            call = partial(self.client.describe_services, cluster=self.cluster, services=batch)
            answer = Read("ecs:DescribeServices", call)()
            found = {text(row, "serviceName"): row for row in rows(answer, "services")}
            for name in batch:
                yield name, _shown(name, found.get(name, {}), now())

    def deploy(self, service: str, task_definition: str, *, is_forced: bool) -> Mine | None:
        """Begin a deployment; None when the answer shows none. Raises ReadFailed.

        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html
        """
        more = {"taskDefinition": task_definition} if task_definition else {}
        call = partial(
            self.client.update_service,
            cluster=self.cluster,
            service=service,
            forceNewDeployment=is_forced,
            **more,
        )
        return deployment_of(Read("ecs:UpdateService", call)())

    def _with_details(self, name: str, shown: Shown, since: datetime | None) -> Shown:
        """With its service deployments and stopped tasks, where ECS has them."""
        if shown.reading.status in ("MISSING", "INACTIVE") or why_unanswerable(shown):
            return shown
        return replace(
            shown, releases=self._releases(name, since), stopped_tasks=self._stopped_tasks(name)
        )

    # --- service deployments ------------------------------------------------------------------

    def _releases(self, name: str, since: datetime | None) -> tuple[ServiceDeployment, ...] | None:
        """The newest that began since, with their task definitions."""
        window = {"createdAt": {"after": since - EARLIER}} if since else {}
        listed = self._read(
            "ecs:ListServiceDeployments",
            name,
            self.client.list_service_deployments,
            cluster=self.cluster,
            service=name,
            maxResults=100,
            **window,
        )
        if listed is None:
            return None
        briefs = sorted(rows(listed, "serviceDeployments"), key=_created, reverse=True)
        newest = briefs[:RELEASES_A_CALL]
        described = self._described(name, newest)
        if described is None or not self._know_revisions(name, newest):
            return None
        return tuple(
            replace(one, task_definition=self._revisions.get(one.target_revision, ""))
            for one in described
        )

    def _described(self, name: str, briefs: Sequence[Row]) -> list[ServiceDeployment] | None:
        if not briefs:
            return []
        answer = self._read(
            "ecs:DescribeServiceDeployments",
            name,
            self.client.describe_service_deployments,
            serviceDeploymentArns=[text(one, "serviceDeploymentArn") for one in briefs],
        )
        if answer is None:
            return None
        return [service_deployment(one) for one in rows(answer, "serviceDeployments")]

    def _know_revisions(self, name: str, briefs: Sequence[Row]) -> bool:
        """Read the task definitions of the revisions that are new; they never change."""
        arns = {target_of(one) for one in briefs} - {"", *self._revisions}
        if not arns:
            return True
        answer = self._read(
            "ecs:DescribeServiceRevisions",
            name,
            self.client.describe_service_revisions,
            serviceRevisionArns=sorted(arns),
        )
        for one in rows(answer or {}, "serviceRevisions"):
            self._revisions[text(one, "serviceRevisionArn")] = text(one, "taskDefinition")
        return answer is not None

    # --- stopped tasks ------------------------------------------------------------------------

    def _stopped_tasks(self, name: str) -> tuple[StoppedTask, ...]:
        arns = list(self._task_arns(name))
        new = [arn for arn in arns if arn not in self._tasks]
        for batch in _batches(new, TASKS_A_CALL):
            answer = self._read(
                "ecs:DescribeTasks",
                name,
                self.client.describe_tasks,
                cluster=self.cluster,
                tasks=batch,
            )
            for row in rows(answer or {}, "tasks"):
                if text(row, "lastStatus") in ("STOPPED", ""):
                    self._tasks[text(row, "taskArn")] = stopped_task(row)
        return tuple(self._tasks[arn] for arn in arns if arn in self._tasks)

    def _task_arns(self, name: str) -> Iterator[str]:
        page: dict[str, str] = {}
        for _ in range(PAGES_AT_MOST):
            answer = self._read(
                "ecs:ListTasks",
                name,
                self.client.list_tasks,
                cluster=self.cluster,
                serviceName=name,
                desiredStatus="STOPPED",
                maxResults=TASKS_A_CALL,
                **page,
            )
            yield from texts(answer or {}, "taskArns")
            if not (token := text(answer or {}, "nextToken")):
                return
            page = {"nextToken": token}

    def _read(self, action: str, name: str, call: Callable[..., Any], **asked: Any) -> Row | None:
        """The answer; None where it may not be read. Raises ReadFailed for what will pass.

        No permission is so for every service, nonsense for this one alone.
        """
        if self._closed & {(action, ""), (action, name)}:
            return None
        try:
            answer: Row = Read(action, partial(call, **asked))()
        except ReadFailed as failed:
            if failed.why != NOT_OF_THIS_SERVICE:
                if not is_refused(failed):
                    raise
                self.refused[action] = failed.why
            self._closed.add((action, "" if failed.why == NO_PERMISSION else name))
            return None
        return answer


def _shown(name: str, row: Row, now: datetime) -> Shown:
    return Shown(
        reading=reading(name, row, now),
        cluster_arn=text(row, "clusterArn"),
        controller=text(child(row, "deploymentController"), "type"),
        has_circuit_breaker=bool(has_circuit_breaker(row)),
        rolls_back=rolls_back(row),
        said=tuple(_said(row)),
    )


def deployment_of(answer: Row) -> Mine | None:
    """The PRIMARY deployment of an answer of UpdateService or CreateService, else None."""
    service = child(answer, "service")
    for row in rows(service, "deployments"):
        if text(row, "status") == "PRIMARY" and text(row, "id"):
            return Mine(
                deployment_id=text(row, "id"),
                task_definition=text(row, "taskDefinition"),
                began_at=moment(row, "createdAt"),
            )
    return None


def _said(row: Row) -> Iterator[tuple[datetime, str]]:
    for one in rows(row, "events"):
        at, message = moment(one, "createdAt"), text(one, "message")
        if at and message:
            yield at, message


def _created(row: Row) -> float:
    at = moment(row, "createdAt")
    return at.timestamp() if at else 0.0


def _batches(names: Sequence[str], most: int) -> Iterator[list[str]]:
    for start in range(0, len(names), most):
        yield list(names[start : start + most])
