"""ECS: services as ECS keeps them, the events it sends of them, and a client that shows them.

A story (see `scripts`) makes things happen to a `Service`; what DescribeServices shows and which
events EventBridge gets follows from that; so does what the other reads show of its tasks and its
releases. Beside it stands the truth, for the checker alone.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_cwe_events.html
"""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError, ReadTimeoutError

from notifier.ecs.reads import in_turn
from tests.simulator.bus import rules_that_take
from tests.simulator.faults import Dice
from tests.simulator.scheduler import START, Scheduler

ACCOUNT = "123456789012"
REGION = "eu-west-1"
FAILURES = {"ERROR", "WARN"}

SCALING = "Scaling activity initiated by (deployment {})"  # benign
SPOT = "Your Spot Task was interrupted."  # benign
EXITED = "Essential container in task exited"
UNHEALTHY = "Task failed ELB health checks in (target-group shop)"
OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"
NO_IMAGE = "CannotPullContainerError: failed to resolve ref shop/{}: not found"

# "Stopped tasks … remain visible for at least one hour."
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html
SHOWN_FOR = 3600.0
THRESHOLD = 3  # of the circuit breaker


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

    @property
    def began(self) -> tuple[float, bool]:
        """When it first began to fail."""
        return next(one for one in self._history if one[1])

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
class Release:
    """A service deployment, as ECS keeps it: its roll-back is a part of it."""

    number: int
    rollout: Rollout
    before: int | None
    status: str = ""
    stage: str = ""

    @property
    def state(self) -> str:
        shown = {"COMPLETED": "SUCCESSFUL", "FAILED": "STOPPED"}
        return self.status or shown.get(self.rollout.state, "IN_PROGRESS")


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
    has_hook: bool = False
    grace: int = 0
    stopped: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    releases: list[Release] = field(default_factory=list)
    _tasks: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _shown: list[tuple[float, dict[str, Any] | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        first = Rollout(self._new_id(), self.revision, -86_400.0, -86_000.0, state="COMPLETED")
        first.desired = first.running = self.desired
        first.reason = f"ECS deployment {first.id} completed."
        self.rollouts.append(first)
        self.releases.append(Release(1, first, None))
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
            "healthCheckGracePeriodSeconds": self.grace,
            "deploymentController": {"type": "ECS"},
            "deploymentConfiguration": self._configuration,
            "currentServiceDeployment": self.release_arn(self.releases[-1]),
            "deployments": [self._deployment(rollout) for rollout in self.rollouts],
            "events": [
                {"id": f"{self.name}-{at}", "createdAt": moment(at), "message": text}
                for at, text in reversed(self.messages[-100:])
            ],
            "createdAt": moment(-90 * 86_400.0),
        }

    @property
    def _configuration(self) -> dict[str, Any]:
        hook = {"hookTargetArn": "arn:hook", "lifecycleStages": ["PRE_SCALE_UP"]}
        strategy = "BLUE_GREEN" if self.has_hook else "ROLLING"
        return {"strategy": strategy, "lifecycleHooks": [hook] if self.has_hook else []}

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

    # --- what its tasks and releases look like ------------------------------------------------

    def stopped_tasks(self, seconds_ago: float = 0.0) -> list[dict[str, Any]]:
        """The tasks that have stopped within the hour, or had then."""
        at = self.account.scheduler.clock - seconds_ago
        return [task for since, task in self.stopped if at - SHOWN_FOR < since <= at]

    def release_arn(self, release: Release) -> str:
        return f"{self.arn.replace(':service/', ':service-deployment/')}/release-{release.number}"

    def revision_arn(self, revision: int) -> str:
        return f"{self.arn.replace(':service/', ':service-revision/')}/{revision}"

    def listed(self, release: Release) -> dict[str, Any]:
        """A row of ListServiceDeployments."""
        return {
            "serviceDeploymentArn": self.release_arn(release),
            "serviceArn": self.arn,
            "clusterArn": self.cluster_arn,
            "createdAt": moment(release.rollout.created_at),
            "targetServiceRevisionArn": self.revision_arn(release.rollout.revision),
            "status": release.state,
            **({"lifecycleStage": release.stage} if release.stage else {}),
        }

    def described(self, release: Release) -> dict[str, Any]:
        """A row of DescribeServiceDeployments."""
        ids = (release.before,) if release.before is not None else ()
        breaker = {"enable": True, "rollback": True}
        return {
            **self.listed(release),
            "targetServiceRevision": {"arn": self.revision_arn(release.rollout.revision)},
            "sourceServiceRevisions": [{"arn": self.revision_arn(one)} for one in ids],
            "deploymentConfiguration": {"deploymentCircuitBreaker": breaker},
            "deploymentCircuitBreaker": {
                "status": "TRIGGERED" if release.rollout.state == "FAILED" else "MONITORING",
                "failureCount": min(release.rollout.failed, THRESHOLD),
                "threshold": THRESHOLD,
            },
        }

    def service_revision(self, revision: int) -> dict[str, Any]:
        """A row of DescribeServiceRevisions."""
        image = {
            "containerName": "app",
            "image": self.image(revision),
            "imageDigest": f"sha256:{revision:064x}",
        }
        return {
            "serviceRevisionArn": self.revision_arn(revision),
            "serviceArn": self.arn,
            "taskDefinition": self.task_definition(revision),
            "containerImages": [image],
        }

    def definition(self, revision: int) -> dict[str, Any]:
        """What DescribeTaskDefinition shows."""
        container = {"name": "app", "image": self.image(revision), "essential": True, "cpu": 256}
        shown = {"cpu": "256", "memory": "512", "containerDefinitions": [container]}
        arn = self.task_definition(revision)
        return {"taskDefinition": {"taskDefinitionArn": arn, **shown}, "tags": []}

    def image(self, revision: int) -> str:
        return f"shop/{self.name}:v{revision}"

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
        self._release(new, is_rollback=bool(reason))
        for rollout in self.rollouts:
            rollout.status = "ACTIVE"
        self.rollouts = [new, *(old for old in self.rollouts if old.id != new.id)]
        self._state_change(new, "SERVICE_DEPLOYMENT_IN_PROGRESS", "INFO")
        return new

    def _release(self, new: Rollout, *, is_rollback: bool) -> None:
        last = self.releases[-1]
        if is_rollback:
            last.status = "ROLLBACK_IN_PROGRESS"
        else:
            more = Release(last.number + 1, new, self.primary.revision)
            self.releases.append(more)

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

    def stop_task(
        self,
        rollout: Rollout,
        reason: str,
        code: str,
        exit_code: int | None,
        container_says: str = "",
    ) -> None:
        """A task of the deployment is stopped, or dies; it ran unless it has no exit code."""
        if exit_code is None:
            rollout.pending = max(rollout.pending - 1, 0)
            rollout.failed += 1
        else:
            rollout.running = max(rollout.running - 1, 0)
        self.changed()
        self._task_stopped(rollout, reason, code, exit_code, container_says)

    def complete(self, rollout: Rollout) -> None:
        """The deployment is done; older ones are drained and vanish."""
        now = self.account.scheduler.clock
        rollout.state, rollout.updated_at = "COMPLETED", now
        rollout.reason = f"ECS deployment {rollout.id} completed."
        self.rollouts = [rollout]
        rollout.running, rollout.pending = self.desired, 0
        if self.releases[-1].status == "ROLLBACK_IN_PROGRESS":
            self.releases[-1].status = "ROLLBACK_SUCCESSFUL"
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
        self, rollout: Rollout, reason: str, code: str, exit_code: int | None, says: str
    ) -> None:
        number = next(self._tasks)
        arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/{self.cluster}/{self.name}{number:032x}"[:120]
        container: dict[str, Any] = {"name": "app", "lastStatus": "STOPPED"}
        if says:
            container["reason"] = says
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
        self._keep(detail, has_run=exit_code is not None)
        self.account.send("ECS Task State Change", arn, detail)

    def _keep(self, task: Mapping[str, Any], *, has_run: bool) -> None:
        """A stopped task is shown for a while, and can be the one whose log is read."""
        now = self.account.scheduler.clock
        times = {"createdAt": moment(now - 30), "stoppedAt": moment(now)}
        if has_run:
            times["startedAt"] = moment(now - 20)
        shown = {name: value for name, value in task.items() if name != "updatedAt"}
        self.stopped.append((now, {**shown, **times}))

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

    def send(
        self, detail_type: str, arn: str, detail: Mapping[str, Any], source: str = "aws.ecs"
    ) -> None:
        """EventBridge: what a rule takes, at least once, late at times, in no order, some never.

        https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-event-delivery.html
        """
        self.events += 1
        event = {
            "version": "0",
            "id": f"event-{self.events}",
            "detail-type": detail_type,
            "source": source,
            "account": ACCOUNT,
            "time": moment(self.scheduler.clock).isoformat(timespec="seconds"),
            "region": REGION,
            "resources": [arn],
            "detail": detail,
        }
        if not rules_that_take(event):
            return
        body = json.dumps(event)
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
    _lasted: dict[str, float] = field(default_factory=dict)

    def at_once(
        self, reads: Sequence[Callable[[], Any]], seconds: float
    ) -> Sequence[Any | Exception]:
        """Make reads as if each had its own thread: together they last as long as the longest."""
        scheduler, outcomes, longest = self.account.scheduler, [], 0.0
        me = scheduler.current
        for read in reads:
            self._lasted[me] = 0.0
            outcome = in_turn([read], seconds)[0]
            lasted = self._lasted.pop(me)
            outcomes.append(TimeoutError() if lasted > seconds else outcome)
            longest = max(longest, lasted)
        scheduler.effect("ecs answers", lambda: None, min(longest, seconds))
        return outcomes

    def describe_services(
        self, *, cluster: str, services: list[str], include: Sequence[str] = ()
    ) -> dict[str, Any]:
        assert len(services) <= 10, "DescribeServices takes ten services"
        assert set(include) <= {"TAGS"}, "DescribeServices includes tags and nothing else"

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

    # --- what explains a failure --------------------------------------------------------------

    def list_tasks(
        self,
        *,
        cluster: str,
        serviceName: str,  # noqa: N803
        desiredStatus: str,  # noqa: N803
        maxResults: int,  # noqa: N803
    ) -> dict[str, Any]:
        assert (desiredStatus, maxResults <= 100) == ("STOPPED", True)

        def show() -> dict[str, Any]:
            tasks = self._service(cluster, serviceName).stopped_tasks(self._stale())
            arns = [task["taskArn"] for task in tasks]
            more = {"nextToken": "more"} if len(arns) > maxResults else {}
            return {"taskArns": arns[:maxResults], **more}

        return self._read("ListTasks", serviceName, show)

    def describe_tasks(self, *, cluster: str, tasks: list[str]) -> dict[str, Any]:
        assert 0 < len(tasks) <= 100, "DescribeTasks takes a hundred tasks"

        def show() -> dict[str, Any]:
            here = [s for s in self.account.services.values() if s.cluster_arn == cluster]
            kept = {task["taskArn"]: task for s in here for task in s.stopped_tasks()}
            missing = [{"arn": arn, "reason": "MISSING"} for arn in tasks if arn not in kept]
            return {"tasks": [kept[arn] for arn in tasks if arn in kept], "failures": missing}

        return self._read("DescribeTasks", f"{len(tasks)}", show)

    def list_service_deployments(
        self,
        *,
        cluster: str,
        service: str,
        maxResults: int,  # noqa: N803
    ) -> dict[str, Any]:
        def show() -> dict[str, Any]:
            ours = self._service(cluster, service)
            newest = ours.releases[::-1][:maxResults]
            return {"serviceDeployments": [ours.listed(one) for one in newest]}

        return self._read("ListServiceDeployments", service, show)

    def describe_service_deployments(
        self,
        *,
        serviceDeploymentArns: list[str],  # noqa: N803
    ) -> dict[str, Any]:
        assert 0 < len(serviceDeploymentArns) <= 20

        def show() -> dict[str, Any]:
            rows = {
                s.release_arn(one): (s, one)
                for s in self.account.services.values()
                for one in s.releases
            }
            found = [rows[arn] for arn in serviceDeploymentArns if arn in rows]
            return {"serviceDeployments": [s.described(one) for s, one in found], "failures": []}

        return self._read("DescribeServiceDeployments", f"{len(serviceDeploymentArns)}", show)

    def describe_service_revisions(
        self,
        *,
        serviceRevisionArns: list[str],  # noqa: N803
    ) -> dict[str, Any]:
        assert 0 < len(serviceRevisionArns) <= 20

        def show() -> dict[str, Any]:
            rows = {
                s.revision_arn(one.rollout.revision): (s, one.rollout.revision)
                for s in self.account.services.values()
                for one in s.releases
            }
            found = [rows[arn] for arn in serviceRevisionArns if arn in rows]
            return {"serviceRevisions": [s.service_revision(n) for s, n in found], "failures": []}

        return self._read("DescribeServiceRevisions", f"{len(serviceRevisionArns)}", show)

    def describe_task_definition(
        self,
        *,
        taskDefinition: str,  # noqa: N803
        include: Sequence[str] = (),
    ) -> dict[str, Any]:
        assert set(include) <= {"TAGS"}
        family, _, revision = taskDefinition.rpartition("/")[2].partition(":")

        def show() -> dict[str, Any]:
            named = (s for s in self.account.services.values() if s.name == family)
            service = next(named, None)
            if service is None:
                raise _refused("DescribeTaskDefinition", "ClientException")
            return service.definition(int(revision))

        return self._read("DescribeTaskDefinition", taskDefinition.rpartition("/")[2], show)

    def list_account_aliases(self) -> dict[str, Any]:
        """IAM's, which is asked through the same door."""
        return self._read("ListAccountAliases", "", lambda: {"AccountAliases": ["shop"]})

    # --- how it answers -----------------------------------------------------------------------

    def _service(self, cluster: str, name: str) -> Service:
        service = self.account.services.get((cluster.rpartition("/")[2], name))
        if service is None or service.status == "MISSING":
            raise _refused("ECS", "ServiceNotFoundException")
        return service

    def _stale(self) -> float:
        stale = self.account.dice.falls("ecs_stale")
        return self.account.dice.rng.uniform(0.0, 20.0) if stale else 0.0

    def _shown(self, cluster: str, name: str) -> dict[str, Any] | None:
        service = self.account.services.get((cluster.rpartition("/")[2], name))
        seconds_ago = self._stale()
        return service.row(seconds_ago) if service else None

    def _read(
        self, operation: str, about: str, show: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        self.calls[operation] = self.calls.get(operation, 0) + 1
        dice = self.account.dice
        label, answer = f"ecs {operation} {about}", {}
        if dice.falls("ecs_throttled"):
            self._effect(f"{label} (throttled)", lambda: None, 0.1, dice.latency(0.1))
            raise _refused(operation, "ThrottlingException")
        if dice.falls("ecs_slow"):
            self._effect(f"{label} (too slow)", lambda: None, 2.0, 2.0)
            raise ReadTimeoutError(endpoint_url="ecs")
        self._effect(label, lambda: answer.update(show()), dice.latency(0.05), dice.latency(0.05))
        return answer

    def _effect(self, label: str, happens: Callable[[], None], before: float, after: float) -> None:
        scheduler = self.account.scheduler
        if scheduler.current in self._lasted:
            self._lasted[scheduler.current] = before + after
            before = after = 0.0
        scheduler.effect(label, happens, before, after)


def _refused(operation: str, code: str) -> ClientError:
    error: Any = {"Error": {"Code": code, "Message": "as AWS says it"}}
    return ClientError(error, operation)


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
