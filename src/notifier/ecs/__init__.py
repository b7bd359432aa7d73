"""The door to ECS. It only reads, within a fixed time, and says in a word why a read failed.

`services`, `clusters` and `service_names` are what the tick needs. `facts` reads what explains a
failure, `callers` who began a deployment, `account_alias` the account's own name: what is read
before one message shares the `Budget` that `begin` gives.

This part says what may be asked; `gathering` in which order facts are read, `case` what follows
from them, `reads` how several reads go out at once and end in time; `readings`, `tasks`,
`deployments`, `definitions`, `logs` and `cloudtrail` know AWS's JSON, field by field.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from notifier.ecs import definitions
from notifier.ecs.case import Case
from notifier.ecs.cloudtrail import Callers, look_up
from notifier.ecs.fields import Row, rows, tags, text, texts
from notifier.ecs.gathering import SERVICES_A_CALL, Gathering
from notifier.ecs.logs import may_read, read_of, with_lines
from notifier.ecs.readings import UNREAD_STAGE, deployment_in_stages, reading
from notifier.ecs.reads import (
    NO_PERMISSION,
    AtOnce,
    Budget,
    Read,
    in_threads,
    is_too_slow,
    read_errors,
)
from notifier.errors import ReadFailed
from notifier.facts import Asked, Facts, LogTail, TaskDefinition
from notifier.model import ServiceReading
from notifier.outcome import deciders
from notifier.progress import lacks_tasks
from notifier.settings import ReadLogs

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient

__all__ = ["Budget", "Callers", "Ecs", "May"]

# All reads for a message together, and one round of them: a client's own time-out is 2 s.
IN_ALL = timedelta(seconds=5)
A_ROUND = timedelta(seconds=2.5)
REST = timedelta(seconds=60)  # from asking what answered nothing in time
REMEMBERED = 200  # task definitions, when a read begins


@dataclass(frozen=True, slots=True, kw_only=True)
class May:
    """What may be read besides ECS's own answers: each may show what somebody keeps secret."""

    task_definitions: bool = False
    logs: ReadLogs = ReadLogs.OFF
    callers: bool = False


def _no_other(service: str, _region: str) -> Any:
    raise ReadFailed(service, "no client")


@dataclass(slots=True)
class Ecs:
    """ECS of one account and region.

    `client` is called when ECS is first needed, `other` for a client of another service: by its
    name and a region, empty for the stack's own. What never changes is remembered for its life.
    """

    client: "Callable[[], ECSClient]"
    other: Callable[[str, str], Any] = _no_other
    may: May = May()
    at_once: AtOnce = in_threads
    monotonic: Callable[[], float] = time.monotonic
    in_all: timedelta = IN_ALL
    a_round: timedelta = A_ROUND
    _key: bytes = field(default_factory=definitions.new_key, repr=False)
    _definitions: dict[str, TaskDefinition] = field(default_factory=dict, repr=False)
    _alias: str | None = None
    _ask_alias_at: float = 0.0
    _last: Budget | None = field(default=None, repr=False)

    def begin(self) -> Budget:
        """The time that all reads before a message share; none for a minute after a silent ECS.

        Else each of many clusters would wait for the same ECS, and the alerts with them.
        """
        now, last = self.monotonic(), self._last
        if last and last.ecs_is_silent and now < last.ends_at + REST.total_seconds():
            return self._budget(now)
        self._last = self._budget(now + self.in_all.total_seconds())
        return self._last

    def _budget(self, ends_at: float) -> Budget:
        return Budget(self.at_once, self.monotonic, ends_at, self.a_round.total_seconds())

    # --- what a look needs --------------------------------------------------------------------

    def services(
        self,
        cluster_arn: str,
        names: Sequence[str],
        now: datetime,
        budget: Budget | None = None,
    ) -> Mapping[str, ServiceReading]:
        """What DescribeServices shows of each name; one that is not there has status MISSING.

        Without a budget each call lasts as long as its client waits. Raises ReadFailed.
        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServices.html
        """
        readings: dict[str, ServiceReading] = {}
        for start in range(0, len(names), SERVICES_A_CALL):
            asked = list(names[start : start + SERVICES_A_CALL])
            answer = self._described(cluster_arn, asked, budget, include=["TAGS"])
            shown = {text(row, "serviceName"): row for row in rows(answer, "services")}
            found = {name: reading(name, shown.get(name, {}), now) for name in asked}
            readings |= found | self._with_stages(found, shown, budget)
        return readings

    def _with_stages(
        self, found: Mapping[str, ServiceReading], shown: Mapping[str, Row], budget: Budget | None
    ) -> dict[str, ServiceReading]:
        """Those whose tasks do not all run, and may wait for a hook: with the stage they are in.

        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServiceDeployments.html
        """
        arns = {
            name: arn
            for name, one in found.items()
            if lacks_tasks(one) and (arn := deployment_in_stages(shown[name]))
        }
        if not arns:
            return {}
        call = partial(
            self.client().describe_service_deployments, serviceDeploymentArns=[*arns.values()]
        )
        read = Read("ecs:DescribeServiceDeployments", call)
        try:
            answer = _answer(read, budget) if budget else read()
        except ReadFailed:
            answer = {}  # whether it waits is not known then, and it is not said to be stuck
        stages = {
            text(row, "serviceDeploymentArn"): text(row, "lifecycleStage")
            for row in rows(answer, "serviceDeployments")
        }
        return {
            name: replace(found[name], stage=stages.get(arn, UNREAD_STAGE))
            for name, arn in arns.items()
        }

    def _described(
        self, cluster_arn: str, names: Sequence[str], budget: Budget | None, **more: Any
    ) -> Any:
        with read_errors("DescribeServices"):
            client = self.client()
        call = partial(client.describe_services, cluster=cluster_arn, services=names, **more)
        read = Read("ecs:DescribeServices", call)
        return _answer(read, budget) if budget else read()

    def essential_containers(self, _cluster_arn: str, task_definition: str) -> tuple[str, ...]:
        """The names of the essential containers that do the work, by their task definition's ARN.

        Raises ReadFailed.
        """
        if not self.may.task_definitions:
            raise ReadFailed("ecs:DescribeTaskDefinition", NO_PERMISSION)
        known = self._definitions.get(task_definition)
        if known is None:
            with read_errors("DescribeTaskDefinition"):
                answer = self.client().describe_task_definition(taskDefinition=task_definition)
            known = definitions.task_definition(answer, self._key)
        return tuple(deciders(known))

    def clusters(self) -> Sequence[str]:
        """The ARNs of all clusters of the account and region. Raises ReadFailed."""
        with read_errors("ListClusters"):
            pages = self.client().get_paginator("list_clusters").paginate()
            return [arn for page in pages for arn in page["clusterArns"]]

    def service_names(self, cluster_arn: str, page: str) -> tuple[Sequence[str], str]:
        """A page of a cluster's services, and the token of the next page or nothing.

        Raises ReadFailed.
        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListServices.html
        """
        more: Any = {"nextToken": page} if page else {}
        with read_errors("ListServices"):
            answer = self.client().list_services(cluster=cluster_arn, maxResults=100, **more)
        names = [arn.rpartition("/")[2] for arn in answer["serviceArns"]]
        return names, answer.get("nextToken", "")

    # --- what explains a failure --------------------------------------------------------------

    def facts(
        self,
        cluster_arn: str,
        asked: Sequence[Asked],
        now: datetime,
        budget: Budget | None = None,
    ) -> Mapping[str, tuple[ServiceReading | None, Facts]]:
        """What can be read in the time about why these services fail, by name; see `gathering`.

        What could not be read is in `Facts.missing`; the reading is None where DescribeServices
        itself failed. Raises ReadFailed only when there is no client to read with.
        """
        with read_errors("DescribeServices"):
            client = self.client()  # here: boto3 does not make clients in several threads at once
        self._forget()
        gathering = Gathering(
            client=client,
            budget=budget or self.begin(),
            cluster_arn=cluster_arn,
            cases={one.service: Case(one) for one in asked},
            now=now,
            key=self._key,
            definitions=self._definitions if self.may.task_definitions else None,
            logs=lambda region: self.other("logs", region),
            which_logs=self.may.logs,
        )
        return gathering.gather()

    def callers(
        self, cluster_arn: str, asked: Sequence[Asked], now: datetime, budget: Budget | None = None
    ) -> Callers:
        """The records of the calls that began these deployments, where they may be looked up.

        Raises ReadFailed only when there is no client to read with.
        """
        if not self.may.callers:
            return Callers()
        with read_errors("LookupEvents"):
            client = self.other("cloudtrail", "")
        return look_up(client, budget or self.begin(), cluster_arn, asked, now)

    def log_lines(
        self, cluster_arn: str, service: str, log: LogTail, budget: Budget
    ) -> LogTail | None:
        """The last lines of a service's log whose place is known; None where they may not be read.

        Raises ReadFailed.
        """
        if not self._may_read_log(cluster_arn, service, budget):
            return None
        with read_errors("GetLogEvents"):
            client = self.other("logs", log.region)
        return with_lines(log, _answer(read_of(client, log), budget))

    def _may_read_log(self, cluster_arn: str, service: str, budget: Budget) -> bool:
        """Only where services are told apart by a tag, it is read."""
        if self.may.logs is not ReadLogs.TAGGED:
            return may_read(self.may.logs, {})
        answer = self._described(cluster_arn, [service], budget, include=["TAGS"])
        return any(may_read(self.may.logs, tags(row)) for row in rows(answer, "services"))

    def account_alias(self, budget: Budget | None) -> str:
        """The account's alias; empty when it has none, or none can be read. Asked once.

        What came too late is asked for again after a minute. Without a budget nothing is read.
        https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListAccountAliases.html
        """
        is_wanted = self._alias is None and self.monotonic() >= self._ask_alias_at
        if budget and is_wanted and not budget.is_over and not budget.ecs_is_silent:
            self._alias = self._read_alias(budget)
            self._ask_alias_at = self.monotonic() + REST.total_seconds()
        return self._alias or ""

    def _read_alias(self, budget: Budget) -> str | None:
        """None where it came too late."""
        try:
            with read_errors("ListAccountAliases"):
                client = self.other("iam", "")
            answer = _answer(Read("iam:ListAccountAliases", client.list_account_aliases), budget)
        except ReadFailed as failed:
            return None if is_too_slow(failed) else ""
        return next(iter(texts(answer, "AccountAliases")), "")

    def _forget(self) -> None:
        """Keep the newest only: a process may live for hours."""
        for arn in list(self._definitions)[:-REMEMBERED]:
            del self._definitions[arn]


def _answer(read: Read, budget: Budget) -> Any:
    """What it answers within the time. Raises ReadFailed."""
    answer = budget.answers({"": read})[""]
    if isinstance(answer, ReadFailed):
        raise answer
    return answer
