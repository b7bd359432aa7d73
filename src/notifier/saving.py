"""load → decide → save, and again when somebody else saved in between: for all three steps."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from notifier import incidents
from notifier.arns import cluster_name
from notifier.errors import Conflict
from notifier.incidents import Decision, Policy
from notifier.model import ClusterState, Invocation, Observation, Route
from notifier.routing import route_for

GIVE_UP_WITH_LEFT = timedelta(seconds=10)  # of the function's time
FIRST_PAUSE = timedelta(milliseconds=50)
LONGEST_PAUSE = timedelta(seconds=2)


class Table(Protocol):
    """What it needs of the table."""

    def load(
        self, cluster_key: str, services: Sequence[str] | None = None, destination: str = ""
    ) -> ClusterState | None:
        """The cluster's head and the named services, consistently; None when nothing is known."""

    def save(
        self,
        before: ClusterState,
        after: ClusterState,
        *,
        owed: Mapping[str, datetime],
        now: datetime,
        token: str,
    ) -> None:
        """Write what changed, in one transaction; raise Conflict when somebody else was first."""


def route_of(cluster_key: str, routes: tuple[Route, ...]) -> Route:
    """Where a cluster is told."""
    return route_for(cluster_name(cluster_key), routes)


def save_decision(
    table: Table,
    empty: ClusterState,
    observations: Sequence[Observation],
    run: Invocation,
    policy: Policy,
) -> tuple[Decision, Mapping[str, datetime]]:
    """Decide on observations of one cluster and save it; returns what is owed now, and from when.

    `empty` is the cluster as it is before anything is known of it. Raises Conflict when somebody
    else was first until the function's time ran out, and StoreUnavailable.
    """
    pause, token = FIRST_PAUSE, run.unique()
    while True:
        try:
            return _once(table, empty, observations, run, policy, token=token)
        except Conflict:
            if run.remaining() < GIVE_UP_WITH_LEFT:
                raise
            run.sleep(run.jitter(pause))
            pause = min(pause * 2, LONGEST_PAUSE)


def _once(
    table: Table,
    empty: ClusterState,
    observations: Sequence[Observation],
    run: Invocation,
    policy: Policy,
    *,
    token: str,
) -> tuple[Decision, Mapping[str, datetime]]:
    keys = sorted(set(filter(None, map(key_of, observations))))
    before = table.load(empty.key, keys, policy.route.destination) or empty
    now = run.now()
    decision = incidents.decide(before, observations, now, policy)
    owed = incidents.newly_owed(before, decision.cluster, now)
    if decision.changed:
        table.save(before, decision.cluster, owed=owed, now=now, token=token)
    run.tally.update(map(str, decision.reasons))
    return decision, owed


def key_of(observation: Observation) -> str:
    """The key of the row that an observation is about; empty when it is about none."""
    subject = incidents.subject_of(observation)
    return subject.key if subject else ""
