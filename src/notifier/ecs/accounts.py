"""ECS of every account and region that is watched: whose cluster it is, says who is asked.

Our own clusters are read as ourselves. Those of a member (another account, or another region of
ours) through the role that forwarder.yaml makes there; where that cannot be assumed, the reads fail
and say so, and what the event told is told all the same. The ARN of a cluster has account and
region from the event's envelope, which EventBridge vouches for, never from what the event says.
https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_common-scenarios_aws-accounts.html
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from notifier.arns import is_region, parse_arn, partition_of
from notifier.ecs import Ecs
from notifier.ecs.cloudtrail import Callers
from notifier.ecs.reads import GONE, NO_PERMISSION, Budget
from notifier.ecs.roles import ACTION, Credentials, Roles
from notifier.errors import ReadFailed
from notifier.facts import Asked, Facts, LogTail
from notifier.model import ServiceReading

REMEMBERED = 20  # members, with their clients and the task definitions that were read there

_ACCOUNT = re.compile(r"[0-9]{12}")

Place = tuple[str, str]  # account, region


def reader_arn(name: str, account: str, region: str) -> str:
    """The role through which a member is read. Raises ReadFailed where there can be none.

    IAM knows no regions, so the region is part of the role's name: the stack of one region can go
    without taking the role of the others with it.
    """
    if not name:
        raise ReadFailed(ACTION, NO_PERMISSION)
    if not _ACCOUNT.fullmatch(account) or not is_region(region):
        raise ReadFailed(ACTION, GONE)
    return f"arn:{partition_of(region)}:iam::{account}:role/{name}-{region}"


@dataclass(slots=True)
class Clients:
    """Clients that act as a member's role. A new one is made when its credentials are renewed.

    `make` gets a service, a region and credentials; `role_name` is that of `reader_arn`.
    """

    roles: Roles
    make: Callable[[str, str, Credentials], Any]
    role_name: str
    account: str
    region: str
    _made: dict[tuple[str, str], tuple[Credentials, Any]] = field(default_factory=dict, repr=False)

    def ecs(self) -> Any:
        """A client of ECS. Raises ReadFailed."""
        return self.other("ecs", "")

    def other(self, service: str, region: str) -> Any:
        """A client of any service, by default in the member's region. Raises ReadFailed."""
        role = reader_arn(self.role_name, self.account, self.region)
        credentials = self.roles.credentials(role)
        made_with, client = self._made.get((service, region), (None, None))
        if made_with != credentials:
            client = self.make(service, region or self.region, credentials)
            self._made[service, region] = credentials, client
        return client


@dataclass(slots=True)
class Accounts:
    """The door to ECS, whosever the cluster is. `account` and `region` are our own.

    `member` makes the door to an account and region. Where our own account is not known, everything
    is ours.
    """

    home: Ecs
    account: str
    region: str
    member: Callable[[str, str], Ecs]
    _members: dict[Place, Ecs] = field(default_factory=dict, repr=False)

    # --- what a look needs --------------------------------------------------------------------

    def services(
        self,
        cluster_arn: str,
        names: Sequence[str],
        now: datetime,
        budget: Budget | None = None,
    ) -> Mapping[str, ServiceReading]:
        """What DescribeServices shows of each name. Raises ReadFailed."""
        return self._of(cluster_arn).services(cluster_arn, names, now, budget)

    def essential_containers(self, cluster_arn: str, task_definition: str) -> tuple[str, ...]:
        """The names of a task definition's essential containers. Raises ReadFailed."""
        return self._of(cluster_arn).essential_containers(cluster_arn, task_definition)

    def clusters(self) -> Sequence[str]:
        """The ARNs of our own clusters. Raises ReadFailed."""
        return self.home.clusters()

    def clusters_of(self, account: str, region: str) -> Sequence[str]:
        """The ARNs of a member's clusters. Raises ReadFailed."""
        return self._at(account, region).clusters()

    def service_names(self, cluster_arn: str, page: str) -> tuple[Sequence[str], str]:
        """A page of a cluster's services, and the next one's token if any. Raises ReadFailed."""
        return self._of(cluster_arn).service_names(cluster_arn, page)

    def is_ours(self, account: str, region: str) -> bool:
        """Whether this is the account and region that we run in."""
        return not self.account or (account, region) == (self.account, self.region)

    # --- what explains a failure --------------------------------------------------------------

    def begin(self, cluster_arn: str) -> Budget:
        """The time that all reads of this cluster before a message share."""
        return self._of(cluster_arn).begin()

    def facts(
        self, cluster_arn: str, asked: Sequence[Asked], now: datetime, budget: Budget
    ) -> Mapping[str, tuple[ServiceReading | None, Facts]]:
        """What can be read in the time about why these services fail. Raises ReadFailed."""
        return self._of(cluster_arn).facts(cluster_arn, asked, now, budget)

    def callers(
        self, cluster_arn: str, asked: Sequence[Asked], now: datetime, budget: Budget
    ) -> Callers:
        """The records of the calls that began these deployments. Raises ReadFailed."""
        return self._of(cluster_arn).callers(cluster_arn, asked, now, budget)

    def log_lines(
        self, cluster_arn: str, service: str, log: LogTail, budget: Budget
    ) -> LogTail | None:
        """The last lines of a log; None where they may not be read. Raises ReadFailed."""
        return self._of(cluster_arn).log_lines(cluster_arn, service, log, budget)

    def account_alias(self, account: str, region: str, budget: Budget | None) -> str:
        """An account's own name; empty when it has none, or none can be read."""
        return self._at(account, region).account_alias(budget)

    # --- whose it is --------------------------------------------------------------------------

    def _of(self, cluster_arn: str) -> Ecs:
        arn = parse_arn(cluster_arn)
        return self._at(arn.account, arn.region) if arn else self.home

    def _at(self, account: str, region: str) -> Ecs:
        if self.is_ours(account, region):
            return self.home
        place = (account, region)
        door = self._members.pop(place, None) or self.member(account, region)
        self._members[place] = door  # the last used last
        for oldest in list(self._members)[:-REMEMBERED]:
            del self._members[oldest]
        return door
