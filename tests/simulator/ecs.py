"""ECS: services as ECS keeps them, the events it sends of them, and a client that shows them.

A story (see `scripts`) makes things happen to a `Service`; what DescribeServices shows and which
events EventBridge gets follows from that. Beside it stands the truth, for the checker alone.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_cwe_events.html
"""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError, ReadTimeoutError

from tests.simulator.faults import Dice
from tests.simulator.scheduler import START, Scheduler

ACCOUNT = "123456789012"
REGION = "eu-west-1"
FAILURES = {"ERROR", "WARN"}

SCALING = "Scaling activity initiated by (deployment {})"  # benign
SPOT = "Your Spot Task was interrupted."  # benign
EXITED = "Essential container in task exited"
UNHEALTHY = "Task failed ELB health checks in (target-group shop)"
NO_IMAGE = "CannotPullContainerError: failed to resolve ref shop/{}: not found"


@dataclass(frozen=True)
class Offered:
    """An event that tells of a failure, as it was sent. `marker` stands in its reason alone."""

    service: str
    cluster_arn: str
    name: str
    cause: tuple[str, ...]
    marker: str
    at: float


@dataclass
class Truth:
    """What is so, whatever anybody was told. `settled_at` is None while the story goes on."""

    failing: bool = False
    never_live: set[int] = field(default_factory=set)
    gone: bool = False
    settled_at: float | None = None
    rolled_back_at: float | None = None
    _history: list[tuple[float, bool]] = field(default_factory=list)

    def is_failing(self, now: float, failing: bool) -> None:
        self.failing = failing
        self._history.append((now, failing))

    def was_failing(self, at: float) -> bool:
        """Whether it was failing then; for a crash loop that is also so between two deaths."""
        before = [failing for since, failing in self._history if since <= at]
        return bool(before) and before[-1]

    def is_not_green(self, at: float) -> bool:
        """Whether nobody may say then that all is well again."""
        rolled_back = self.rolled_back_at is not None and self.rolled_back_at <= at
        return rolled_back or self.was_failing(at)


@dataclass
class Rollout:
    """A deployment, as ECS keeps it."""

    id: str
    revision: int
    created_at: float
    updated_at: float
    status: str = "PRIMARY"
    state: str = "IN_PROGRESS"
    reason: str = ""
    desired: int = 0
    pending: int = 0
    running: int = 0
    failed: int = 0


@dataclass
class Service:
    """A service. Its methods are what may happen to it; each sends the event that ECS sends."""

    account: "Account"
    cluster: str
    name: str
    desired: int = 2
    scheduling: str = "REPLICA"
    status: str = "ACTIVE"
    rollouts: list[Rollout] = field(default_factory=list)
    messages: list[tuple[float, str]] = field(default_factory=list)
    truth: Truth = field(default_factory=Truth)
    revision: int = 41
    _tasks: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _shown: list[tuple[float, dict[str, Any] | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        first = Rollout(self._new_id(), self.revision, -86_400.0, -86_000.0, state="COMPLETED")
        first.desired = first.running = self.desired
        first.reason = f"ECS deployment {first.id} completed."
        self.rollouts.append(first)
        self.changed()

    # --- what it looks like -------------------------------------------------------------------

    @property
    def cluster_arn(self) -> str:
        return f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/{self.cluster}"

    @property
    def arn(self) -> str:
        return f"arn:aws:ecs:{REGION}:{ACCOUNT}:service/{self.cluster}/{self.name}"

    @property
    def running(self) -> int:
        return sum(rollout.running for rollout in self.rollouts)

    @property
    def primary(self) -> Rollout:
        return next(rollout for rollout in self.rollouts if rollout.status == "PRIMARY")

    @property
    def is_well(self) -> bool:
        """Whether one deployment is live with all its tasks, or none are wanted."""
        if self.status != "ACTIVE" or self.desired == 0:
            return True
        only = len(self.rollouts) == 1 and self.primary.state == "COMPLETED"
        return only and self.running == self.desired and not self.primary.pending

    def row(self, seconds_ago: float = 0.0) -> dict[str, Any] | None:
        """What DescribeServices shows, or showed then; None when it does not know the service."""
        if not seconds_ago:
            return self._shown[-1][1]
        at = self.account.scheduler.clock - seconds_ago
        older = [row for since, row in self._shown if since <= at]
        return older[-1] if older else self._shown[0][1]

    def changed(self) -> None:
        """Remember what is shown from now on."""
        self._shown.append((self.account.scheduler.clock, self._row()))

    def _row(self) -> dict[str, Any] | None:
        if self.status == "MISSING":
            return None
        return {
            "serviceArn": self.arn,
            "serviceName": self.name,
            "clusterArn": self.cluster_arn,
            "status": self.status,
            "desiredCount": self.desired,
            "runningCount": self.running,
            "pendingCount": sum(rollout.pending for rollout in self.rollouts),
            "schedulingStrategy": self.scheduling,
            "healthCheckGracePeriodSeconds": 0,
            "deploymentController": {"type": "ECS"},
            "deployments": [self._deployment(rollout) for rollout in self.rollouts],
            "events": [
                {"id": f"{self.name}-{at}", "createdAt": moment(at), "message": text}
                for at, text in reversed(self.messages[-100:])
            ],
            "createdAt": moment(-90 * 86_400.0),
        }

    def _deployment(self, rollout: Rollout) -> dict[str, Any]:
        return {
            "id": rollout.id,
            "status": rollout.status,
            "taskDefinition": self.task_definition(rollout.revision),
            "desiredCount": rollout.desired,
            "pendingCount": rollout.pending,
            "runningCount": rollout.running,
            "failedTasks": rollout.failed,
            "createdAt": moment(rollout.created_at),
            "updatedAt": moment(rollout.updated_at),
            "rolloutState": rollout.state,
            "rolloutStateReason": rollout.reason,
        }

    def task_definition(self, revision: int) -> str:
        return f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/{self.name}:{revision}"

    def _new_id(self) -> str:
        return f"ecs-svc/{self.account.number()}"

    # --- what happens to it -------------------------------------------------------------------

    def deploy(self, revision: int | None = None, *, id: str = "", reason: str = "") -> Rollout:
        """A deployment begins, and becomes the primary one."""
        now = self.account.scheduler.clock
        if revision is None:
            self.revision += 1
        new = Rollout(id or self._new_id(), revision or self.revision, now, now)
        new.desired = self.desired
        new.reason = reason or f"ECS deployment {new.id} in progress."
        for rollout in self.rollouts:
            rollout.status = "ACTIVE"
        self.rollouts = [new, *(old for old in self.rollouts if old.id != new.id)]
        self._state_change(new, "SERVICE_DEPLOYMENT_IN_PROGRESS", "INFO")
        return new

    def start_task(self, rollout: Rollout) -> None:
        """A task of the deployment comes to run."""
        rollout.pending = max(rollout.pending - 1, 0)
        rollout.running += 1
        rollout.failed = 0
        self.changed()

    def place_task(self, rollout: Rollout) -> None:
        """A task of the deployment is being started."""
        rollout.pending += 1
        self.changed()

    def stop_task(self, rollout: Rollout, reason: str, code: str, exit_code: int | None) -> None:
        """A task of the deployment is stopped, or dies; it ran unless it has no exit code."""
        if exit_code is None:
            rollout.pending = max(rollout.pending - 1, 0)
            rollout.failed += 1
        else:
            rollout.running = max(rollout.running - 1, 0)
        self.changed()
        self._task_stopped(rollout, reason, code, exit_code)

    def complete(self, rollout: Rollout) -> None:
        """The deployment is done; older ones are drained and vanish."""
        now = self.account.scheduler.clock
        rollout.state, rollout.updated_at = "COMPLETED", now
        rollout.reason = f"ECS deployment {rollout.id} completed."
        self.rollouts = [rollout]
        rollout.running, rollout.pending = self.desired, 0
        self._state_change(rollout, "SERVICE_DEPLOYMENT_COMPLETED", "INFO")
        self.action("SERVICE_STEADY_STATE", "INFO")

    def fail(self, rollout: Rollout, why: str) -> None:
        """The deployment failed, by the circuit breaker or an alarm: an event says so."""
        rollout.state, rollout.updated_at = "FAILED", self.account.scheduler.clock
        rollout.reason = why
        self.messages.append(
            (rollout.updated_at, f"(service {self.name}) deployment failed: {why}")
        )
        self._state_change(rollout, "SERVICE_DEPLOYMENT_FAILED", "ERROR")

    def drop(self, rollout: Rollout) -> None:
        """A deployment is not listed any more."""
        self.rollouts.remove(rollout)
        self.changed()

    def scale(self, desired: int) -> None:
        """Somebody, or auto scaling, asks for another number of tasks."""
        self.desired = self.primary.desired = desired
        self.action("SERVICE_DESIRED_COUNT_UPDATED", "INFO")

    def settle_at(self, running: int) -> None:
        """So many tasks of the primary deployment run."""
        self.primary.running, self.primary.pending = running, 0
        self.changed()

    def delete(self) -> None:
        """The service is deleted, and forgotten at once."""
        self.status, self.rollouts, self.truth.gone = "MISSING", [], True
        self.changed()

    # --- the events of it ---------------------------------------------------------------------

    def action(self, name: str, type: str, reason: str = "") -> None:
        """An `ECS Service Action`."""
        self.changed()
        detail = {"eventName": name, "createdAt": self._stamp(), "clusterArn": self.cluster_arn}
        self._send("ECS Service Action", type, reason, detail)

    def _state_change(self, rollout: Rollout, name: str, type: str) -> None:
        self.changed()
        detail = {"eventName": name, "deploymentId": rollout.id, "updatedAt": self._stamp()}
        self._send("ECS Deployment State Change", type, rollout.reason, detail)

    def _task_stopped(
        self, rollout: Rollout, reason: str, code: str, exit_code: int | None
    ) -> None:
        number = next(self._tasks)
        arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/{self.cluster}/{self.name}{number:032x}"[:120]
        container: dict[str, Any] = {"name": "app", "lastStatus": "STOPPED"}
        detail = {
            "taskArn": arn,
            "clusterArn": self.cluster_arn,
            "group": f"service:{self.name}",
            "startedBy": rollout.id,
            "lastStatus": "STOPPED",
            "desiredStatus": "STOPPED",
            "stopCode": code,
            "stoppedReason": reason,
            "taskDefinitionArn": self.task_definition(rollout.revision),
            "containers": [
                container if exit_code is None else {**container, "exitCode": exit_code}
            ],
            "updatedAt": self._stamp(),
            "version": 5,
        }
        self.account.send("ECS Task State Change", arn, detail)

    def _send(self, detail_type: str, type: str, reason: str, detail: Mapping[str, Any]) -> None:
        if type in FAILURES:
            reason = self._offer(reason, detail)
        whole = {"eventType": type, **detail, **({"reason": reason} if reason else {})}
        self.account.send(detail_type, self.arn, whole)

    def _offer(self, reason: str, detail: Mapping[str, Any]) -> str:
        """Note for the checker that a failure was told of, and make it recognisable."""
        name = str(detail["eventName"])
        cause = (self.name, name, str(detail.get("deploymentId", "")), reason)
        marker = self.account.marker(cause[1:])
        now = self.account.scheduler.clock
        self.account.offered.append(Offered(self.name, self.cluster_arn, name, cause, marker, now))
        return f"{reason} [{marker}]" if reason else f"[{marker}]"

    def _stamp(self) -> str:
        return moment(self.account.scheduler.clock).isoformat(timespec="milliseconds")


@dataclass
class Account:
    """All services of an account and region, and EventBridge; `send_message` is the queue's."""

    scheduler: Scheduler
    dice: Dice
    send_message: Callable[[str], object]
    services: dict[tuple[str, str], Service] = field(default_factory=dict)
    offered: list[Offered] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    events: int = 0
    on_its_way: int = 0
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(10**18 + 1))
    _markers: dict[tuple[str, ...], str] = field(default_factory=dict)

    def number(self) -> int:
        return next(self._numbers)

    def marker(self, cause: tuple[str, ...]) -> str:
        """A word that stands for this cause and for no other."""
        return self._markers.setdefault(cause, f"fault-{len(self._markers):04d}x")

    def service(self, cluster: str, name: str, **more: Any) -> Service:
        """A service that runs as it should."""
        self.services[cluster, name] = service = Service(self, cluster, name, **more)
        return service

    def send(self, detail_type: str, arn: str, detail: Mapping[str, Any]) -> None:
        """EventBridge: at least once, late at times, in no order; some events never come.

        https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-event-delivery.html
        """
        self.events += 1
        body = json.dumps(
            {
                "version": "0",
                "id": f"event-{self.events}",
                "detail-type": detail_type,
                "source": "aws.ecs",
                "account": ACCOUNT,
                "time": moment(self.scheduler.clock).isoformat(timespec="seconds"),
                "region": REGION,
                "resources": [arn],
                "detail": detail,
            }
        )
        if self.dice.falls("event_lost"):
            self.lost.add(str(detail.get("reason", "")))
            return
        for _ in range(2 if self.dice.falls("event_twice") else 1):
            delayed = self.dice.falls("event_delayed")
            self._deliver(body, self.dice.rng.uniform(0.1, 600.0 if delayed else 2.0))

    def _deliver(self, body: str, seconds: float) -> None:
        self.on_its_way += 1

        def arrive() -> None:
            self.on_its_way -= 1
            self.send_message(body)

        self.scheduler.after(seconds, arrive)


@dataclass
class Client:
    """A boto3 client of ECS: it only reads. A method that is not here would change something."""

    account: Account
    calls: dict[str, int] = field(default_factory=dict)

    def describe_services(self, *, cluster: str, services: list[str]) -> dict[str, Any]:
        assert len(services) <= 10, "DescribeServices takes ten services"

        def show() -> dict[str, Any]:
            rows = {name: self._shown(cluster, name) for name in services}
            missing = [name for name, row in rows.items() if row is None]
            return {
                "services": [row for row in rows.values() if row is not None],
                "failures": [{"arn": name, "reason": "MISSING"} for name in missing],
            }

        return self._read("DescribeServices", " ".join(services), show)

    def get_paginator(self, operation: str) -> "_Paginator":
        assert operation == "list_clusters", f"no paginator of {operation} is known here"
        return _Paginator(self, operation)

    def list_clusters(self, **_more: Any) -> dict[str, Any]:
        arns = {service.cluster_arn: None for service in self.account.services.values()}
        return self._read("ListClusters", "", lambda: {"clusterArns": list(arns)})

    def list_services(
        self,
        *,
        cluster: str,
        nextToken: str = "0",  # noqa: N803 as boto3 says
        maxResults: int = 10,  # noqa: N803
    ) -> dict[str, Any]:
        def show() -> dict[str, Any]:
            here = [s for s in self.account.services.values() if cluster in _names(s)]
            arns = [service.arn for service in here if service.status != "MISSING"]
            end = int(nextToken) + maxResults
            more = {"nextToken": str(end)} if end < len(arns) else {}
            return {"serviceArns": arns[int(nextToken) : end], **more}

        return self._read("ListServices", cluster, show)

    def _shown(self, cluster: str, name: str) -> dict[str, Any] | None:
        service = self.account.services.get((cluster.rpartition("/")[2], name))
        stale = self.account.dice.falls("ecs_stale")
        return (
            service.row(self.account.dice.rng.uniform(0.0, 20.0) if stale else 0.0)
            if service
            else None
        )

    def _read(
        self, operation: str, about: str, show: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        self.calls[operation] = self.calls.get(operation, 0) + 1
        dice, scheduler = self.account.dice, self.account.scheduler
        label, answer = f"ecs {operation} {about}", {}
        if dice.falls("ecs_throttled"):
            scheduler.effect(f"{label} (throttled)", lambda: None, 0.1, dice.latency(0.1))
            error: Any = {"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}
            raise ClientError(error, operation)
        if dice.falls("ecs_slow"):
            scheduler.effect(f"{label} (too slow)", lambda: None, 2.0, 2.0)
            raise ReadTimeoutError(endpoint_url="ecs")
        scheduler.effect(
            label, lambda: answer.update(show()), dice.latency(0.05), dice.latency(0.05)
        )
        return answer


@dataclass(frozen=True)
class _Paginator:
    client: Client
    operation: str

    def paginate(self, **request: Any) -> Iterator[dict[str, Any]]:
        request.pop("PaginationConfig", None)
        yield getattr(self.client, self.operation)(**request)


def _names(service: Service) -> tuple[str, str]:
    return service.cluster_arn, service.cluster


def moment(seconds: float) -> datetime:
    """A time of the history."""
    return START + timedelta(seconds=seconds)
