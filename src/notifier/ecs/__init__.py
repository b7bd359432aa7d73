"""The door to ECS. It only reads, within a fixed time, and says in a word why a read failed.

`services`, `clusters` and `service_names` are what a look needs. `facts` reads what explains a
failure, `callers` who began a deployment, `account_alias` the account's own name.

This part says what may be asked; `gathering` in which order facts are read, `case` what follows
from them, `reads` how several reads go out at once and end in time; `readings`, `tasks`,
`deployments`, `definitions`, `logs` and `cloudtrail` know AWS's JSON, field by field.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from notifier.ecs import definitions
from notifier.ecs.case import Case
from notifier.ecs.cloudtrail import Callers, look_up
from notifier.ecs.fields import rows, text, texts
from notifier.ecs.gathering import SERVICES_A_CALL, Gathering
from notifier.ecs.readings import reading
from notifier.ecs.reads import AtOnce, Budget, Read, in_threads, read_errors
from notifier.errors import ReadFailed
from notifier.facts import Asked, Facts, TaskDefinition
from notifier.model import ServiceReading
from notifier.settings import ReadLogs

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient

__all__ = ["Callers", "Ecs", "May", "WhichLogs"]

# All reads for a message together, and one round of them: a client's own time-out is 2 s.
IN_ALL = timedelta(seconds=5)
A_ROUND = timedelta(seconds=2.5)
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

    # --- what a look needs --------------------------------------------------------------------

    def services(
        self, cluster_arn: str, names: Sequence[str], now: datetime
    ) -> Mapping[str, ServiceReading]:
        """What DescribeServices shows of each name; one that is not there has status MISSING.

        Raises ReadFailed.
        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServices.html
        """
        readings: dict[str, ServiceReading] = {}
        for start in range(0, len(names), SERVICES_A_CALL):
            asked = list(names[start : start + SERVICES_A_CALL])
            with read_errors("DescribeServices"):
                answer = self.client().describe_services(cluster=cluster_arn, services=asked)
            shown = {text(row, "serviceName"): row for row in rows(answer, "services")}
            readings |= {name: reading(name, shown.get(name, {}), now) for name in asked}
        return readings

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
        self, cluster_arn: str, asked: Sequence[Asked], now: datetime
    ) -> Mapping[str, tuple[ServiceReading | None, Facts]]:
        """What can be read in 5 s about why these services fail, by name; see `gathering`.

        What could not be read is in `Facts.missing`; the reading is None where DescribeServices
        itself failed. Raises ReadFailed only when there is no client to read with.
        """
        with read_errors("DescribeServices"):
            client = self.client()  # here: boto3 does not make clients in several threads at once
        self._forget()
        gathering = Gathering(
            client=client,
            budget=self._budget(),
            cluster_arn=cluster_arn,
            cases={one.service: Case(one) for one in asked},
            now=now,
            key=self._key,
            definitions=self._definitions if self.may.task_definitions else None,
            logs=lambda region: self.other("logs", region),
            which_logs=self.may.logs,
        )
        return gathering.gather()

    def callers(self, cluster_arn: str, asked: Sequence[Asked], now: datetime) -> Callers:
        """The records of the calls that began these deployments, where they may be looked up.

        Raises ReadFailed only when there is no client to read with.
        """
        if not self.may.callers:
            return Callers()
        with read_errors("LookupEvents"):
            client = self.other("cloudtrail", "")
        return look_up(client, self._budget(), cluster_arn, asked, now)

    def account_alias(self) -> str:
        """The account's alias; empty when it has none, or none can be read. Asked once.

        https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListAccountAliases.html
        """
        if self._alias is None:
            self._alias = self._read_alias()
        return self._alias

    def _read_alias(self) -> str:
        try:
            with read_errors("ListAccountAliases"):
                client = self.other("iam", "")
        except ReadFailed:
            return ""
        read = Read("iam:ListAccountAliases", client.list_account_aliases)
        answer = self._budget().answers({"alias": read})["alias"]
        aliases = () if isinstance(answer, ReadFailed) else texts(answer, "AccountAliases")
        return next(iter(aliases), "")

    def _budget(self) -> Budget:
        ends_at = self.monotonic() + self.in_all.total_seconds()
        return Budget(self.at_once, self.monotonic, ends_at, self.a_round.total_seconds())

    def _forget(self) -> None:
        """Keep the newest only: a process may live for hours."""
        for arn in list(self._definitions)[:-REMEMBERED]:
            del self._definitions[arn]
