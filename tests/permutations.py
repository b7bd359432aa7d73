"""Every order in which the events of a failure can come, and where each of them ends.

`wrong_end_states()` gives how many ended elsewhere than the order in which things happened, or in
an all-clear for a release that was rolled back, and how many were tried.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from notifier.facts import Container
from notifier.incidents import Policy, cause, cluster_of, decide, failed_deployment
from notifier.model import (
    ClusterState,
    Deployment,
    DeploymentStateChange,
    Event,
    Observed,
    Phase,
    Route,
    ServiceAction,
    ServiceReading,
    ServiceState,
    TaskStateChange,
)

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
CLUSTER = "arn:aws:ecs:eu-west-1:123456789012:cluster/prod-web"
POLICY = Policy(route=Route("*", "C01"))
RESTS_WITHIN = timedelta(minutes=40)
A_TICK_IS_LATE_BY = timedelta(minutes=4)
ROLLS_BACK = "ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/{}."

End = tuple[Phase, str | None, tuple[str, str] | None]


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def event(kind: type[Any], minutes: float, **fields: Any) -> Any:
    """An event of `checkout` in prod-web; its identity is all that it says."""
    told = {
        "id": "id",
        "account": "123456789012",
        "region": "eu-west-1",
        "partition": "aws",
        "occurred_at": at(minutes),
        "sent_at": at(minutes),
        "identity": f"{minutes} {sorted(fields.items(), key=str)}",
        "cluster_arn": CLUSTER,
        "type": "INFO",
        "service": "checkout",
    }
    return kind(**{**told, **fields})


def deployment(name: str, number: int | None, minutes: float, reason: str = "") -> Any:
    return event(
        DeploymentStateChange,
        minutes,
        name=f"SERVICE_DEPLOYMENT_{name}",
        type="ERROR" if name == "FAILED" else "INFO",
        deployment_id=f"ecs-svc/{number}" if number else None,
        reason=reason or f"ECS deployment {number} {name.lower()}.",
    )


def rollback(number: int, minutes: float) -> Any:
    return deployment("IN_PROGRESS", number, minutes, ROLLS_BACK.format(number))


def action(name: str, minutes: float, reason: str = "") -> Any:
    return event(ServiceAction, minutes, name=name, type="WARN", reason=reason)


def steady(minutes: float) -> Any:
    return event(ServiceAction, minutes, name="SERVICE_STEADY_STATE")


def stop(
    minutes: float,
    task: str,
    *,
    number: int | str = 42,
    reason: str = "Essential container in task exited",
    exit_code: int | None = 1,
    code: str = "EssentialContainerExited",
    **fields: Any,
) -> Any:
    more = {
        "task_arn": f"arn:aws:ecs:eu-west-1:123456789012:task/prod-web/{task}",
        "version": 5,
        "group": "service:checkout",
        "started_by": f"ecs-svc/{number}" if isinstance(number, int) else number,
        "last_status": "STOPPED",
        "desired_status": "STOPPED",
        "stop_code": code,
        "stopped_reason": reason,
        "task_definition_arn": "",
        "containers": (Container(name="app", exit_code=exit_code),),
    }
    return event(TaskStateChange, minutes, **{**more, **fields})


def row(number: int, revision: int, *, running: int = 2, began: float = 0, **more: Any) -> Any:
    shown = {
        "id": f"ecs-svc/{number}",
        "status": "PRIMARY",
        "task_definition": f"arn:aws:ecs:eu-west-1:123456789012:task-definition/shop:{revision}",
        "desired_count": 2,
        "pending_count": 0,
        "running_count": running,
        "failed_tasks": 0,
        "rollout_state": "COMPLETED",
        "rollout_state_reason": "",
        "created_at": at(began),
        "updated_at": at(began + 3),
    }
    return Deployment(**{**shown, **more})


def shows(*rows: Deployment, desired: int = 2, running: int | None = None, **more: Any) -> Any:
    counted = sum(one.running_count for one in rows) if running is None else running
    shown = {
        "service": "checkout",
        "status": "ACTIVE",
        "desired_count": desired,
        "running_count": counted,
        "pending_count": 0,
        "deployments": rows,
        "read_at": NOON,
    }
    return ServiceReading(**{**shown, **more})


@dataclass(frozen=True)
class Family:
    """Events of one story, what ECS shows after it, and whether its release was rolled back.

    `past` is what ECS had shown before.
    """

    name: str
    events: tuple[Event, ...]
    shows: ServiceReading
    ends: Phase
    is_rolled_back: bool = False
    past: ServiceReading | None = None


OLD = -10_000  # minutes: the release before began a week ago
FAMILIES = (
    Family(
        "rolled back under a new id",
        (
            deployment("IN_PROGRESS", 42, -9),
            deployment("FAILED", 42, -5),
            rollback(43, -6),
            deployment("COMPLETED", 43, -3),
            steady(-3),
        ),
        shows(row(43, 41, began=-6)),
        Phase.NOT_LIVE,
        is_rolled_back=True,
    ),
    Family(
        "rolled back under the old deployment's id",
        (
            deployment("IN_PROGRESS", 41, OLD),
            deployment("IN_PROGRESS", 42, -9),
            rollback(41, -6),
            deployment("FAILED", 42, -5),
            deployment("COMPLETED", 41, -3),
        ),
        shows(row(41, 41, began=OLD)),
        Phase.NOT_LIVE,
        is_rolled_back=True,
    ),
    Family(
        "rolled back, and its text was lost",
        (
            deployment("IN_PROGRESS", 42, -9),
            deployment("FAILED", 42, -5),
            deployment("COMPLETED", 43, -3),
            steady(-3),
        ),
        shows(row(43, 41, began=-6)),
        Phase.NOT_LIVE,
        is_rolled_back=True,
        past=shows(row(41, 41, began=OLD)),
    ),
    Family(
        "rolled back, and no event told that it failed",
        (deployment("IN_PROGRESS", 42, -9), rollback(43, -6), deployment("COMPLETED", 43, -3)),
        shows(row(43, 41, began=-6)),
        Phase.NOT_LIVE,
        is_rolled_back=True,
    ),
    Family(
        "rolled back by hand",
        (
            deployment("IN_PROGRESS", 42, -9),
            deployment("FAILED", 42, -7),
            deployment("IN_PROGRESS", 43, -6),
            deployment("COMPLETED", 43, -3),
        ),
        shows(row(43, 41, began=-6)),
        Phase.NOT_LIVE,
        is_rolled_back=True,
        past=shows(row(41, 41, began=OLD)),
    ),
    Family(
        "superseded by a fix",
        (
            deployment("IN_PROGRESS", 42, -9),
            deployment("FAILED", 42, -7),
            deployment("IN_PROGRESS", 43, -6),
            deployment("COMPLETED", 43, -3),
            steady(-3),
        ),
        shows(row(43, 43, began=-6)),
        Phase.RECOVERED,
        past=shows(row(41, 41, began=OLD)),
    ),
    Family(
        "rolled back, then fixed",
        (
            deployment("FAILED", 42, -9),
            rollback(43, -8.5),
            deployment("COMPLETED", 43, -8),
            deployment("IN_PROGRESS", 44, -6),
            deployment("COMPLETED", 44, -3),
        ),
        shows(row(44, 44, began=-6)),
        Phase.RECOVERED,
    ),
    Family(
        "two releases fail",
        (
            deployment("IN_PROGRESS", 42, -9),
            deployment("FAILED", 42, -8),
            deployment("IN_PROGRESS", 43, -6),
            deployment("FAILED", 43, -4),
        ),
        shows(row(43, 43, running=0, began=-6, rollout_state="FAILED", updated_at=at(-4))),
        Phase.FAILING,
    ),
    Family(
        "fails and is not rolled back",
        (
            deployment("IN_PROGRESS", 42, -9),
            deployment("FAILED", 42, -5),
            action("SERVICE_TASK_START_IMPAIRED", -7),
            action("SERVICE_TASK_START_IMPAIRED", -2),
        ),
        shows(row(42, 42, running=0, began=-9, rollout_state="FAILED", updated_at=at(-5))),
        Phase.FAILING,
    ),
    Family(
        "tasks die, and it recovers",
        (
            stop(-8, "a"),
            stop(-7, "b", reason="Task failed ELB health checks in (target-group x)"),
            stop(-5, "c"),
            stop(-2, "d", reason="OutOfMemoryError: container killed"),
            steady(-1),
        ),
        shows(row(42, 42, began=OLD)),
        Phase.RECOVERED,
    ),
    Family(
        "tasks of a release end at once with 0",
        (
            deployment("IN_PROGRESS", 42, -9),
            stop(-8, "a", exit_code=0),
            stop(-7, "b", exit_code=0),
            stop(-5, "c", exit_code=0),
        ),
        shows(
            row(42, 42, running=0, began=-9, rollout_state="IN_PROGRESS"),
            row(41, 41, began=OLD, status="ACTIVE"),
        ),
        Phase.FAILING,
    ),
    Family(
        "a release whose tasks die is rolled back",
        (
            stop(-8, "a"),
            stop(-7, "b"),
            stop(-6, "c"),
            deployment("FAILED", 42, -5),
            rollback(43, -5.5),
        ),
        shows(row(43, 41, began=-5.5)),
        Phase.NOT_LIVE,
        is_rolled_back=True,
    ),
    Family(
        "no capacity, and it recovers",
        (
            action("SERVICE_TASK_PLACEMENT_FAILURE", -9, "RESOURCE:CPU"),
            action("SERVICE_TASK_PLACEMENT_FAILURE", -6, "RESOURCE:MEMORY"),
            action("SERVICE_TASK_START_IMPAIRED", -4),
            steady(-2),
        ),
        shows(row(42, 42, began=OLD)),
        Phase.RECOVERED,
    ),
    Family(
        "no capacity still",
        (
            action("SERVICE_TASK_PLACEMENT_FAILURE", -9, "RESOURCE:CPU"),
            action("SERVICE_TASK_PLACEMENT_FAILURE", -6, "RESOURCE:CPU"),
            stop(-3, "a"),
            steady(-12),
        ),
        shows(row(42, 42, running=1, began=OLD)),
        Phase.FAILING,
    ),
    Family(
        "throttled",
        (
            action("ECS_OPERATION_THROTTLED", -9),
            action("ECS_OPERATION_THROTTLED", -4),
            action("VPC_LATTICE_TARGET_UNHEALTHY", -6),
            steady(-2),
        ),
        shows(row(42, 42, began=OLD)),
        Phase.QUIET,
    ),
)


@dataclass
class World:
    """A cluster's state, and the time. Deliveries and looks move it on."""

    family: Family
    cluster: ClusterState
    now: datetime = NOON
    phases: tuple[Phase, ...] = ()

    def receive(self, told: Event) -> None:
        self.decide(Observed(event=told, received_at=self.now))

    def look(self) -> None:
        self.decide(replace(self.family.shows, read_at=self.now))

    def decide(self, observation: Any) -> None:
        self.cluster = decide(self.cluster, [observation], self.now, POLICY).cluster
        self.phases = (*self.phases, self.service.phase)

    def rest(self) -> None:
        """Look whenever it is due; at once at first, as there always is a next look."""
        until = self.now + RESTS_WITHIN
        self.look()
        while self.service.due_at is not None and self.now < until:
            self.now = max(self.now, self.service.due_at) + A_TICK_IS_LATE_BY
            self.look()

    @property
    def service(self) -> ServiceState:
        return self.cluster.services["checkout"]

    @property
    def end(self) -> End:
        first, failed = cause(self.service), failed_deployment(self.service)
        why = (first.event, first.reason) if first else None
        return self.service.phase, failed.id if failed else None, why


def begun(family: Family) -> World:
    world = World(family, cluster_of(family.events[0]))
    if family.past:
        world.decide(replace(family.past, read_at=at(-60)))
    return world


def orders(events: Sequence[Event]) -> Iterator[Sequence[tuple[Event, str]]]:
    """Each order of the events, and after each event what happens then.

    "" nothing, "look" a look, "rest" two hours of looks.
    """
    for order in itertools.permutations(events):
        last = len(order) - 1
        yield [(one, "") for one in order]
        yield [(one, "look") for one in order]
        yield [(one, "") for one in order for _ in range(2)]
        yield [(one, "rest" if n == last else "") for n, one in enumerate((*order, *order))]
        yield [(one, "rest" if n == last - 1 else "") for n, one in enumerate(order)]


def played(family: Family, order: Sequence[tuple[Event, str]]) -> World:
    world = begun(family)
    for one, then in order:
        world.receive(one)
        world.now += timedelta(seconds=10)
        if then == "look":
            world.look()
        if then == "rest":
            world.rest()
            world.now += timedelta(hours=2)
    world.rest()
    return world


def expected(family: Family) -> End:
    """Where the order in which it happened ends."""
    happened = sorted(family.events, key=lambda one: one.occurred_at)
    return played(family, [(one, "") for one in happened]).end


def wrong_orders(family: Family) -> Iterator[tuple[bool, Sequence[tuple[Event, str]], World]]:
    """Whether each order ends elsewhere, or tells the all-clear of what was rolled back."""
    right = expected(family)
    for order in orders(family.events):
        world = played(family, order)
        is_false_green = family.is_rolled_back and Phase.RECOVERED in world.phases
        yield world.end != right or right[0] is not family.ends or is_false_green, order, world


def wrong_end_states() -> tuple[int, int]:
    """How many orders ended wrongly, and how many were tried."""
    wrong = [is_wrong for family in FAMILIES for is_wrong, _, _ in wrong_orders(family)]
    return sum(wrong), len(wrong)


if __name__ == "__main__":
    print("wrong end states: {} of {} orders".format(*wrong_end_states()))
