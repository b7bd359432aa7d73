"""What is known so far of one service while its facts are read, and what follows from it.

Answers come in as they are read, in whatever part; every conclusion is drawn from what is there.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain, islice

from notifier.ecs import deployments
from notifier.ecs.fields import Row, moment, rows, tags, text
from notifier.ecs.reads import GONE, NOT_OF_THIS_SERVICE
from notifier.errors import ReadFailed
from notifier.facts import Asked, Facts, LogTail, Missing, StoppedTask, TaskDefinition
from notifier.model import Deployment, ServiceReading

# A service that deployed more often since is not looked for further back.
CANDIDATES = 3
MESSAGES = 5
MESSAGES_OF = timedelta(hours=6)  # so long ECS does not say the same again

# What the service's own messages say when something is wrong, in ASCII and lower case.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html
_TROUBLE = ("unhealthy", "unable to", "failed", "failure", "throttled", "degraded", "impaired")
_DEPLOYMENT = re.compile(r"ecs-svc/\d+")
_IDS = re.compile(r"\((task|instance|port) [^)]*\)")
_EVER = datetime.min.replace(tzinfo=UTC)

SERVICE = "the service"  # what is missing when it is itself


@dataclass(slots=True)
class Case:
    """One service. `None` and empty are what was not read, or not yet."""

    asked: Asked
    row: Row = field(default_factory=dict)
    reading: ServiceReading | None = None
    task_arns: Sequence[str] = ()
    has_more_tasks: bool = False
    tasks_of_service: list[StoppedTask] = field(default_factory=list)
    listed: Sequence[Row] = ()
    service_deployments: dict[str, Row] = field(default_factory=dict)
    revisions: dict[str, Row] = field(default_factory=dict)
    definitions: dict[str, TaskDefinition] = field(default_factory=dict)
    logs: LogTail | None = None
    missing: dict[Missing, None] = field(default_factory=dict)

    def miss(self, what: str, why: str, action: str = "") -> None:
        """Remember what could not be read; once, however many reads it would have taken."""
        self.missing[Missing(what=what, why=why, action=action)] = None

    def miss_read(self, what: str, failed: ReadFailed, action: str) -> None:
        """Remember a failed read; nothing is missing of what the service cannot have."""
        is_gone = failed.why == GONE and any(
            (one.what, one.why) == (SERVICE, GONE) for one in self.missing
        )
        if failed.why != NOT_OF_THIS_SERVICE and not is_gone:
            self.miss(what, failed.why, action)

    # --- the deployment that fails ------------------------------------------------------------

    @property
    def deployment_id(self) -> str | None:
        """The deployment that fails: the one we were asked about, else the one that looks it."""
        row = self._failing_row
        return self.asked.deployment_id or (row.id if row else None) or None

    @property
    def _rows(self) -> Sequence[Deployment]:
        """The service's deployments, newest first."""
        shown = self.reading.deployments if self.reading else ()
        return sorted(shown, key=lambda row: row.created_at or _EVER, reverse=True)

    @property
    def _failing_row(self) -> Deployment | None:
        if self.asked.deployment_id:
            same = (row for row in self._rows if row.id == self.asked.deployment_id)
            return next(same, None)
        failed = (row for row in self._rows if row.rollout_state == "FAILED")
        failing = (
            row for row in self._rows if row.rollout_state == "IN_PROGRESS" and row.failed_tasks
        )
        primary = (row for row in self._rows if row.status == "PRIMARY")
        return next(chain(failed, failing, primary), None)

    @property
    def _has_completed(self) -> bool | None:
        """Whether it completed once; None where neither record of it says so.

        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Deployment.html
        """
        row = self._failing_row
        state = row.rollout_state if row else text(self.service_deployment or {}, "status")
        if state in ("COMPLETED", "SUCCESSFUL"):
            return True
        return False if state else None

    @property
    def began_at(self) -> datetime | None:
        """When the deployment that fails began."""
        row = self._failing_row
        return (row.created_at if row else None) or self.asked.began_at

    @property
    def stopped_tasks(self) -> tuple[StoppedTask, ...]:
        """Those of the deployment that fails, newest first; all where nobody knows which it is."""
        ours = self.deployment_id
        tasks = [one for one in self.tasks_of_service if ours in (None, one.started_by)]
        return tuple(sorted(tasks, key=lambda one: one.stopped_at or _EVER, reverse=True))

    @property
    def failing_revision(self) -> str:
        """The ARN of its task definition."""
        return self._shown_revision or text(self._target, "taskDefinition")

    @property
    def _shown_revision(self) -> str:
        """As its row shows it, or we knew, or its tasks have it."""
        row, ran = self._failing_row, {one.task_definition for one in self.stopped_tasks}
        named = (
            row.task_definition if row else "",
            self.asked.failing_revision,
            ran.pop() if len(ran) == 1 else "",
        )
        return next(filter(None, named), "")

    # --- the one that serves ------------------------------------------------------------------

    @property
    def serving_revision(self) -> str:
        """The task definition of the last deployment that completed before the one that fails.

        That one itself, if it completed. A fix may have completed since, and served nothing before.
        """
        if self._has_completed and self.failing_revision:
            return self.failing_revision
        known = (
            self._completed_revision if self.began_at else "",
            self.asked.completed_revision,
            self._completed_revision,
            text(self._source, "taskDefinition"),
        )
        return next(filter(None, known), "")

    @property
    def _completed_revision(self) -> str:
        """As the rows show it; all of them where nobody knows when the one that fails began."""
        began_at = self.began_at
        completed = (
            row.task_definition
            for row in self._rows
            if row.rollout_state == "COMPLETED"
            if began_at is None or (row.created_at or _EVER) < began_at
        )
        return next(completed, "")

    # --- service deployments ------------------------------------------------------------------

    @property
    def candidates(self) -> Sequence[Row]:
        """What was listed and may be the deployment that fails."""
        return deployments.candidates(self.listed, self.began_at, CANDIDATES)

    @property
    def _listed_before(self) -> Sequence[Row]:
        """What was listed and began before the one that fails; all where that time is not known."""
        began_at = moment(self.service_deployment or {}, "createdAt") or self.began_at
        return [
            one
            for one in self.listed
            if began_at is None or (moment(one, "createdAt") or _EVER) < began_at
        ]

    @property
    def revisions_to_read(self) -> Sequence[str]:
        """The service revisions that tell which candidate it is, and what served before."""
        before = deployments.last_successful(self._listed_before, "")
        targets = [deployments.target_of(one) for one in (*self.candidates, *([before or {}]))]
        return [arn for arn in dict.fromkeys((*targets, *self._sources)) if arn]

    @property
    def service_deployment(self) -> Row | None:
        """The one that is the deployment which fails, as it was described."""
        found = deployments.matching(
            self.candidates,
            self.revisions,
            self._shown_revision,
            is_oldest=self.began_at is not None,
        )
        return self.service_deployments.get(text(found or {}, "serviceDeploymentArn"))

    @property
    def _target(self) -> Row:
        """The service revision that it deploys."""
        described = deployments.service_deployment(self.service_deployment or {})
        return self.revisions.get(described.target_revision, {})

    @property
    def _sources(self) -> Sequence[str]:
        described = self.service_deployment
        shown = deployments.service_deployment(described).source_revisions if described else ()
        return [arn for arn in shown if arn]

    @property
    def _source(self) -> Row:
        """The service revision that was in place before the deployment that fails."""
        found = (self.revisions[arn] for arn in self._sources if arn in self.revisions)
        return next(found, {}) or self._last_successful

    @property
    def _last_successful(self) -> Row:
        this = text(self.service_deployment or {}, "serviceDeploymentArn")
        before = deployments.last_successful(self._listed_before, this)
        return self.revisions.get(deployments.target_of(before), {}) if before else {}

    # --- image digests ------------------------------------------------------------------------

    @property
    def _failing_images(self) -> Mapping[str, str]:
        """As ECS resolved them for the revision, else as the tasks had them."""
        of_tasks = {
            one.name: one.image_digest
            for task in self.stopped_tasks
            for one in task.containers
            if one.image_digest
        }
        return deployments.images(self._target) or of_tasks

    @property
    def _serving_images(self) -> Mapping[str, str]:
        ours = self.serving_revision
        if self._has_completed:
            return self._failing_images  # what fails is what serves
        of_it = (
            one
            for one in (self._source, self._last_successful)
            if text(one, "taskDefinition") == ours != ""
        )
        return deployments.images(next(of_it, {}))

    # --- the service's own messages -----------------------------------------------------------

    def _messages(self, now: datetime) -> Iterator[str]:
        """Those that tell of trouble since the deployment began, of several alike the newest."""
        seen: set[str] = set()
        since = max(self.began_at or _EVER, now - MESSAGES_OF)
        for event in sorted(rows(self.row, "events"), key=_said_at, reverse=True):
            said = text(event, "message")
            alike = _IDS.sub("", said)
            if _said_at(event) >= since and self._is_ours(said) and alike not in seen:
                seen.add(alike)
                yield said

    def _is_ours(self, said: str) -> bool:
        named = _DEPLOYMENT.findall(said)
        is_trouble = any(words in said.lower() for words in _TROUBLE)
        is_of_another = bool(named) and self.deployment_id not in named
        return is_trouble and not is_of_another

    # --- all of it ----------------------------------------------------------------------------

    def facts(self, now: datetime) -> Facts:
        """What was read, and what was not."""
        described = self.service_deployment
        return Facts(
            service=self.asked.service,
            read_at=now,
            deployment_id=self.deployment_id,
            failing_revision=self.failing_revision,
            serving_revision=self.serving_revision,
            failing=self.definitions.get(self.failing_revision),
            serving=self.definitions.get(self.serving_revision),
            failing_images=self._failing_images,
            serving_images=self._serving_images,
            last_deployment_at=self._rows[0].created_at if self._rows else None,
            has_completed=self._has_completed,
            has_circuit_breaker=deployments.has_circuit_breaker(self.row),
            service_deployment=deployments.service_deployment(described) if described else None,
            stopped_tasks=self.stopped_tasks,
            messages=tuple(islice(self._messages(now), MESSAGES)),
            tags=tags(self.row),
            logs=self.logs,
            missing=tuple(self.missing),
        )


def _said_at(event: Row) -> datetime:
    return moment(event, "createdAt") or _EVER
