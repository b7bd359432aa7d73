"""Deployments as ECS shows them from second to second, and what has to be said of each.

A script is played through a fake of ECS's API in virtual time: by `ecs-watch confirm`, by the
`services_stable` waiter of botocore itself (its acceptors, its 15 s and 40 attempts), and by that
waiter followed by "PRIMARY has my task definition", as deploy tools do. The deployment begins at
second 0; whoever asks begins a second later.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random
from typing import Any

from botocore.exceptions import ClientError

from notifier.confirmation import Silent
from notifier.confirming import Confirmation, Confirming
from notifier.deployments import USUAL, Kind, Mine, Policy, Wanted
from notifier.ecs import Ecs, May
from notifier.ecs.reads import in_turn
from notifier.ecs.releases import Releases

Json = dict[str, Any]

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
BASE = "arn:aws:ecs:eu-west-1:123456789012"
CLUSTER = f"{BASE}:cluster/prod-web"
SERVICE = "checkout"
OLD, MINE, NEXT, BACK = "ecs-svc/1000", "ecs-svc/2000", "ecs-svc/3000", "ecs-svc/2500"
ASKED_AT = 1.0
TIMEOUT = timedelta(minutes=15)
ALL_OF_RELEASES = frozenset(
    {"list_service_deployments", "describe_service_deployments", "describe_service_revisions"}
)


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def definition(revision: int) -> str:
    return f"{BASE}:task-definition/{SERVICE}:{revision}"


def row(
    id: str,
    revision: int,
    *,
    begun: float,
    status: str = "PRIMARY",
    state: str = "IN_PROGRESS",
    desired: int = 2,
    running: int = 0,
    pending: int = 0,
    failed: int = 0,
    reason: str = "",
) -> Json:
    shown = {
        "id": id,
        "status": status,
        "taskDefinition": definition(revision),
        "desiredCount": desired,
        "runningCount": running,
        "pendingCount": pending,
        "failedTasks": failed,
        "createdAt": at(begun),
        "updatedAt": at(begun),
    }
    if state:
        reason = reason or f"ECS deployment {id} {state.lower().replace('_', ' ')}."
        shown |= {"rolloutState": state, "rolloutStateReason": reason}
    return shown


def release(id: str, revision: int, status: str, *, begun: float, **more: Any) -> Json:
    """A service deployment; ECS makes its record a moment after the deployment's."""
    name = id.rpartition("/")[2]
    arn = f"{BASE}:service-deployment/prod-web/{SERVICE}/{name:0>21}"
    target = f"{BASE}:service-revision/prod-web/{SERVICE}/{name}{revision}"
    return {
        "serviceDeploymentArn": arn,
        "clusterArn": CLUSTER,
        "status": status,
        "createdAt": at(begun + 0.4),
        "targetServiceRevision": {"arn": target},
        **more,
    }


OLD_ROW = row(OLD, 41, begun=-86_400, state="COMPLETED", running=2)
OLD_BESIDE = {**OLD_ROW, "status": "ACTIVE"}
OLD_RELEASE = release(OLD, 41, "SUCCESSFUL", begun=-86_400)


@dataclass(frozen=True)
class Frame:
    """What ECS shows of the service from this second on."""

    second: float
    rows: Sequence[Json]
    releases: Sequence[Json] = ()
    desired: int = 2
    status: str = "ACTIVE"


BEFORE = Frame(-100, [OLD_ROW], [OLD_RELEASE])


@dataclass(frozen=True)
class Script:
    """`decided_at` is the second from which ECS itself knows, None where it never does.

    `stale_until`: until then ECS answers as before the deployment, and so do the reads of the
    service alone in the seconds `stale_reads`, from and to. `errors` are seconds from and to, with
    the code that every call is refused with, or only those of `errors_of`. `asked_at` is when
    somebody begins to ask.
    """

    name: str
    truth: Kind
    decided_at: float | None
    frames: Sequence[Frame]
    tasks: Sequence[Json] = ()
    messages: Sequence[tuple[float, str]] = ()
    wanted: Wanted = field(default_factory=lambda: known())  # noqa: PLW0108 it is defined below
    policy: Policy = USUAL
    timeout: timedelta = TIMEOUT
    has_breaker: bool = False
    rolls_back: bool = True
    wait_rollback: bool = False
    controller: str = "ECS"
    strategy: str = "REPLICA"
    stale_until: float = 0
    stale_reads: Sequence[tuple[float, float]] = ()
    errors: Sequence[tuple[float, float, str]] = ()
    errors_of: frozenset[str] = frozenset()
    denied: frozenset[str] = frozenset()
    asked_at: float = ASKED_AT

    @property
    def is_healthy(self) -> bool:
        return self.truth is Kind.LIVE


def known(id: str = MINE, revision: int = 42, begun: float = 0) -> Wanted:
    """As the answer of UpdateService names it."""
    mine = Mine(deployment_id=id, task_definition=definition(revision), began_at=at(begun))
    return Wanted(mine=mine)


def by_id(id: str = MINE) -> Wanted:
    return Wanted(mine=Mine(deployment_id=id))


def since(second: float = -60) -> Wanted:
    return Wanted(since=at(second))


# --- the fake -----------------------------------------------------------------------------------


@dataclass
class VirtualClock:
    """Time that passes when somebody sleeps or asks."""

    second: float = ASKED_AT

    def now(self) -> datetime:
        return at(self.second)

    def sleep(self, seconds: float) -> None:
        self.second += seconds


@dataclass
class FakeEcs:
    """ECS's API as boto3's client has it, for one service of one cluster.

    `begins` answers UpdateService, which no script asks for; `beside` are other services, each with
    the one deployment that it has all the time, and `of_beside` what else they show.
    """

    script: Script
    clock: VirtualClock
    calls: list[str] = field(default_factory=list)
    begins: Callable[..., Json] | None = None
    beside: Mapping[str, Json] = field(default_factory=dict)
    of_beside: Json = field(default_factory=dict)

    def update_service(self, **asked: Any) -> Json:
        assert self.begins, "nothing but a test of its own may begin a deployment"
        return self.begins(**asked)

    def describe_services(self, cluster: str, services: list[str], **_: Any) -> Json:
        self._asked("describe_services")
        found = [self._service(name) for name in services if self._is_there(name)]
        missing = [name for name in services if not self._is_there(name)]
        return {
            "services": found,
            "failures": [{"arn": name, "reason": "MISSING"} for name in missing],
        }

    def _is_there(self, name: str) -> bool:
        is_mine = name == SERVICE and self._frame_of_service.status != "MISSING"
        return is_mine or name in self.beside

    def _service(self, name: str) -> Json:
        if name in self.beside:
            return {**_shown(name, Frame(0, [self.beside[name]])), **self.of_beside}
        said = [
            {"id": f"{second}", "createdAt": at(second), "message": f"(service {SERVICE}) {text}"}
            for second, text in self.script.messages
            if second <= self._second
        ]
        goes_back = self.script.has_breaker and self.script.rolls_back
        breaker = {"enable": self.script.has_breaker, "rollback": goes_back}
        return {
            **_shown(SERVICE, self._frame_of_service),
            "events": said[::-1],
            "deploymentController": {"type": self.script.controller},
            "deploymentConfiguration": {"deploymentCircuitBreaker": breaker},
            "schedulingStrategy": self.script.strategy,
        }

    def list_service_deployments(self, **asked: Any) -> Json:
        self._asked("list_service_deployments")
        after = asked.get("createdAt", {}).get("after", at(-1e6))
        listed = [
            {
                **{key: one[key] for key in ("serviceDeploymentArn", "status", "createdAt")},
                "targetServiceRevisionArn": one["targetServiceRevision"]["arn"],
            }
            for one in self._frame.releases
            if one["createdAt"] > after and asked["service"] == SERVICE
        ]
        return {"serviceDeployments": listed}

    def describe_service_deployments(self, **asked: Any) -> Json:
        self._asked("describe_service_deployments")
        wanted = [
            one
            for one in self._frame.releases
            if one["serviceDeploymentArn"] in asked["serviceDeploymentArns"]
        ]
        return {"serviceDeployments": wanted}

    def describe_service_revisions(self, **asked: Any) -> Json:
        self._asked("describe_service_revisions")
        every = {
            one["targetServiceRevision"]["arn"]
            for frame in self.script.frames
            for one in frame.releases
        }
        shown = [
            {"serviceRevisionArn": arn, "taskDefinition": definition(int(arn[-2:]))}
            for arn in asked["serviceRevisionArns"]
            if arn in every
        ]
        return {"serviceRevisions": shown}

    def list_tasks(self, **asked: Any) -> Json:
        self._asked("list_tasks")
        stopped = (
            [one["taskArn"] for one in self._stopped]
            if (asked.get("serviceName"), asked["desiredStatus"]) == (SERVICE, "STOPPED")
            else []
        )
        return {"taskArns": stopped[:100]}

    def describe_tasks(self, tasks: list[str], **_: Any) -> Json:
        self._asked("describe_tasks")
        return {"tasks": [one for one in self._stopped if one["taskArn"] in tasks]}

    def describe_task_definition(self, **asked: Any) -> Json:
        self._asked("describe_task_definition")
        wanted = asked["taskDefinition"]
        number = wanted.rpartition(":")[2]
        app = {"name": "app", "image": f"shop/checkout:v{number}", "essential": True}
        return {"taskDefinition": {"taskDefinitionArn": wanted, "containerDefinitions": [app]}}

    @property
    def _stopped(self) -> list[Json]:
        return [one for one in self.script.tasks if one["stoppedAt"] <= at(self._second)]

    @property
    def _second(self) -> float:
        return self.clock.second

    @property
    def _frame(self) -> Frame:
        return self._frame_at(-1.0 if self._second < self.script.stale_until else self._second)

    @property
    def _frame_of_service(self) -> Frame:
        stale = any(begins <= self._second < ends for begins, ends in self.script.stale_reads)
        return self._frame_at(-1.0) if stale else self._frame

    def _frame_at(self, second: float) -> Frame:
        return [one for one in self.script.frames if one.second <= second][-1]

    def _asked(self, operation: str) -> None:
        self.calls.append(operation)
        self.clock.second += 0.05
        if operation in self.script.denied:
            raise ClientError({"Error": {"Code": "AccessDeniedException"}}, operation)
        for begins, ends, code in self.script.errors:
            is_met = not self.script.errors_of or operation in self.script.errors_of
            if is_met and begins <= self._second < ends:
                raise ClientError({"Error": {"Code": code}}, operation)


def _shown(name: str, frame: Frame) -> Json:
    """What DescribeServices shows of any service."""
    return {
        "serviceName": name,
        "serviceArn": f"{BASE}:service/prod-web/{name}",
        "clusterArn": CLUSTER,
        "status": frame.status,
        "desiredCount": frame.desired,
        "runningCount": sum(one["runningCount"] for one in frame.rows),
        "pendingCount": sum(one["pendingCount"] for one in frame.rows),
        "deployments": list(frame.rows),
    }


# --- who judges ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judged:
    """What somebody says of a script, and at which second."""

    kind: Kind
    second: float


def ours(script: Script, seed: int = 0) -> tuple[Confirmation, Judged, FakeEcs]:
    """What `ecs-watch confirm` says."""
    clock = VirtualClock(script.asked_at)
    fake = FakeEcs(script, clock)
    door = Releases(fake, "prod-web")
    confirming = Confirming(
        door=door,
        explains=Ecs(
            lambda: fake,  # type: ignore[arg-type,return-value]
            may=May(task_definitions=True),
            at_once=in_turn,
            monotonic=lambda: clock.second,
        ),
        cluster="prod-web",
        now=clock.now,
        sleep=clock.sleep,
        random=Random(seed).random,
        listener=Silent(),
        policy=script.policy,
        timeout=script.timeout,
        wait_rollback=script.wait_rollback,
    )
    (found,) = confirming.confirm({SERVICE: script.wanted})
    return found, Judged(found.verdict.kind, clock.second), fake


@cache
def _services_stable() -> Any:
    import botocore.session

    model = botocore.session.get_session().get_waiter_model("ecs")
    return model.get_waiter("ServicesStable")


def stock_waiter(script: Script) -> Judged:
    """What botocore's waiter says, by its own acceptors, delay and attempts; UNDECIDED: it gave up.

    https://docs.aws.amazon.com/cli/latest/reference/ecs/wait/services-stable.html
    """
    return _waited(script)[0]


def _waited(script: Script) -> tuple[Judged, Json]:
    waiter = _services_stable()
    clock = VirtualClock(script.asked_at)
    fake = FakeEcs(script, clock)
    answer: Json = {}
    for attempt in range(waiter.max_attempts):
        if attempt:
            clock.sleep(waiter.delay)
        try:
            answer = fake.describe_services("prod-web", [SERVICE])
        except ClientError:
            return Judged(Kind.FAILED, clock.second), {}
        for acceptor in waiter.acceptors:
            if acceptor.matcher_func(answer):
                kind = Kind.LIVE if acceptor.state == "success" else Kind.FAILED
                return Judged(kind, clock.second), answer
    return Judged(Kind.UNDECIDED, clock.second), answer


def primary_is_mine(script: Script) -> Judged:
    """The waiter, then whether PRIMARY has my task definition."""
    judged, answer = _waited(script)
    if judged.kind is not Kind.LIVE:
        return judged
    mine = script.wanted.mine
    wanted = mine.task_definition if mine and mine.task_definition else definition(42)
    rows = answer["services"][0]["deployments"]
    is_mine = any(one["status"] == "PRIMARY" and one["taskDefinition"] == wanted for one in rows)
    return judged if is_mine else replace(judged, kind=Kind.FAILED)


def is_wrong(script: Script, judged: Judged) -> bool:
    """Whether it says *live* of what is not, or not yet; or does not say so of what is.

    Nobody else than us knows more kinds of an end than that: of ours each is asked for by name.
    """
    says_live = judged.kind is Kind.LIVE
    is_early = says_live and judged.second < (script.decided_at or 0)
    return says_live != script.is_healthy or is_early


# --- pieces of scripts --------------------------------------------------------------------------


def mine(**more: Any) -> Json:
    return row(MINE, 42, begun=0, **more)


def task(
    number: int,
    stopped: float,
    *,
    started_by: str = MINE,
    ran: bool = True,
    reason: str = "Essential container in task exited",
    code: str = "EssentialContainerExited",
    exit_code: int | None = 1,
    said: str = "",
) -> Json:
    container: Json = {"name": "app", "lastStatus": "STOPPED"}
    if exit_code is not None:
        container["exitCode"] = exit_code
    if said:
        container["reason"] = said
    shown = {
        "taskArn": f"{BASE}:task/prod-web/{number:032x}",
        "taskDefinitionArn": definition(42),
        "startedBy": started_by,
        "group": f"service:{SERVICE}",
        "lastStatus": "STOPPED",
        "stopCode": code,
        "stoppedReason": reason,
        "createdAt": at(stopped - 30),
        "stoppedAt": at(stopped),
        "containers": [container],
    }
    return {**shown, "startedAt": at(stopped - 10)} if ran else shown


def crashes(*seconds: float, **more: Any) -> list[Json]:
    return [task(number, second, **more) for number, second in enumerate(seconds, start=1)]


def pulls(*seconds: float) -> list[Json]:
    """Tasks whose image cannot be pulled: they never run."""
    why = "CannotPullContainerError: manifest for shop/checkout:v42 not found"
    return crashes(*seconds, ran=False, reason=why, code="TaskFailedToStart", exit_code=None)


def goes_live(second: float, *, status: str = "SUCCESSFUL", **more: Any) -> Frame:
    """From then on mine is all there is."""
    done = mine(**{"state": "COMPLETED", "running": 2, **more})
    return Frame(second, [done], [release(MINE, 42, status, begun=0), OLD_RELEASE])


def under_way(
    second: float = 0, *, old: int = 2, status: str = "IN_PROGRESS", **more: Any
) -> Frame:
    rows = [mine(**more), {**OLD_BESIDE, "runningCount": old}]
    return Frame(second, rows, [release(MINE, 42, status, begun=0), OLD_RELEASE])


def goes_back(
    second: float,
    *,
    id: str = BACK,
    revision: int = 41,
    status: str = "ROLLBACK_IN_PROGRESS",
    said: str = "ECS deployment circuit breaker: rolling back to deploymentId",
    **more: Any,
) -> Frame:
    """Mine has failed and an older release takes over."""
    begun = -86_400 if id == OLD else second
    back = row(id, revision, begun=begun, running=2, reason=f"{said} {id}.")
    failed = mine(status="ACTIVE", state="FAILED", desired=0, failed=3, reason=BREAKER)
    return Frame(second, [back, failed], [release(MINE, 42, status, begun=0, **more), OLD_RELEASE])


def is_back(
    second: float, *, id: str = BACK, revision: int = 41, begun: float = 190, **more: Any
) -> Frame:
    """The roll-back is complete: nothing in its row says that it was one."""
    done = row(id, revision, begun=-86_400 if id == OLD else begun, state="COMPLETED", running=2)
    status = more.pop("status", "ROLLBACK_SUCCESSFUL")
    return Frame(second, [done], [release(MINE, 42, status, begun=0, **more), OLD_RELEASE])


BREAKER = "ECS deployment circuit breaker: tasks failed to start."
COUNTS: Json = {
    "deploymentCircuitBreaker": {"failureCount": 3, "threshold": 3, "status": "TRIGGERED"}
}
OF_TEN: Json = {"deploymentCircuitBreaker": {"failureCount": 4, "threshold": 10}}
AGAIN = release("ecs-svc/1900", 42, "ROLLBACK_SUCCESSFUL", begun=-300)
ALARMED: Json = {"alarms": {"triggeredAlarmNames": ["checkout-5xx"], "status": "TRIGGERED"}}
SCALED_IN: Json = {
    "reason": "Scaling activity initiated by (deployment ecs-svc/2000)",
    "code": "ServiceSchedulerInitiated",
    "exit_code": 137,
}
SPOT: Json = {
    "reason": "Your Spot Task was interrupted.",
    "code": "SpotInterruption",
    "exit_code": 137,
}
WENT_BACK = (
    (190.0, f"(deployment {MINE}) deployment failed: tasks failed to start."),
    (190.0, f"rolling back to deployment {BACK}."),
)
BY_ARN = Wanted(
    mine=Mine(service_deployment=release(MINE, 42, "", begun=0)["serviceDeploymentArn"])
)
REASONED = (BEFORE, under_way(pending=2), under_way(60, running=1, pending=1))
HAPPY = (*REASONED, goes_live(100))
SAYS_FAILED = under_way(190, state="FAILED", failed=3, reason=BREAKER)
FAILING = (BEFORE, under_way(pending=2), under_way(120, pending=1, failed=2))


def staged(second: float, stage: str, **more: Any) -> Frame:
    """A blue/green deployment at a stage: both versions run."""
    hook = more.pop("hook", None)
    details = {"lifecycleHookDetails": [{"hookId": "h", "targetType": "PAUSE", "status": hook}]}
    shown = release(
        MINE, 42, "IN_PROGRESS", begun=0, lifecycleStage=stage, **(details if hook else {})
    )
    rows = [mine(running=2, **more), OLD_BESIDE]
    return Frame(second, rows, [shown, OLD_RELEASE])


def while_another_goes_back() -> Sequence[Frame]:
    """The release before mine is still being rolled back when mine begins."""
    before = "ecs-svc/1500"
    back = row(
        before,
        40,
        begun=-50,
        running=1,
        reason=f"ECS deployment circuit breaker: rolling back to deploymentId {before}.",
    )
    failed = row(OLD, 41, begun=-300, status="ACTIVE", state="FAILED", desired=0, reason=BREAKER)
    rolled_back = release(OLD, 41, "ROLLBACK_IN_PROGRESS", begun=-300)
    beside = [{**back, "status": "ACTIVE"}, failed]
    return (
        Frame(-100, [back, failed], [rolled_back]),
        Frame(0, [mine(pending=2), *beside], [release(MINE, 42, "IN_PROGRESS", begun=0)]),
        goes_live(100),
    )


def newer(second: float, revision: int = 43, **more: Any) -> Frame:
    """Somebody else's deployment has taken its place."""
    done = {"state": "IN_PROGRESS", "running": 1, **more}
    rows = [row(NEXT, revision, begun=150, **done), mine(status="ACTIVE", running=1)]
    releases = [
        release(NEXT, revision, "IN_PROGRESS", begun=150),
        release(MINE, 42, "STOPPED", begun=0),
        OLD_RELEASE,
    ]
    return Frame(second, rows, releases)


AFTER_A_ROLL_BACK = (
    Frame(-100, [row(OLD, 41, begun=-200, state="COMPLETED", running=2)], [AGAIN]),
    Frame(
        0,
        [row(NEXT, 43, begun=0, pending=2), row(OLD, 41, begun=-200, status="ACTIVE", running=2)],
        [release(NEXT, 43, "IN_PROGRESS", begun=0), AGAIN],
    ),
    Frame(
        100,
        [row(NEXT, 43, begun=0, state="COMPLETED", running=2)],
        [release(NEXT, 43, "SUCCESSFUL", begun=0), AGAIN],
    ),
)
_, UNDER_WAY_AGAIN, FIXED = AFTER_A_ROLL_BACK
LATER = replace(UNDER_WAY_AGAIN, second=20)
REPLACED = row(OLD, 41, begun=-86_400, status="INACTIVE", state="COMPLETED", desired=0)
EARLY_RECORD = release(MINE, 42, "IN_PROGRESS", begun=-1.4)
TWICE = row(OLD, 42, begun=-3, running=2)


# --- the scripts --------------------------------------------------------------------------------

HEALTHY = (
    Script("happy", Kind.LIVE, 100, HAPPY),
    Script("happy, known by its id alone", Kind.LIVE, 100, HAPPY, wanted=by_id()),
    Script(
        "happy, known by its service deployment",
        Kind.LIVE,
        100,
        HAPPY,
        wanted=BY_ARN,
    ),
    Script("happy, the newest since a minute ago", Kind.LIVE, 100, HAPPY, wanted=since()),
    Script(
        "first deployment of a service",
        Kind.LIVE,
        70,
        [
            Frame(-1, [mine(pending=2)], [release(MINE, 42, "IN_PROGRESS", begun=0)]),
            Frame(
                70, [mine(state="COMPLETED", running=2)], [release(MINE, 42, "SUCCESSFUL", begun=0)]
            ),
        ],
    ),
    Script(
        "first deployment of a service that ECS does not show for 15 s",
        Kind.LIVE,
        70,
        [Frame(-1, [], status="MISSING"), Frame(15, [mine(pending=2)]), goes_live(70)],
    ),
    Script(
        "a service made anew, which is shown as deleted for 15 s",
        Kind.LIVE,
        70,
        [Frame(-1, [], status="INACTIVE"), Frame(15, [mine(pending=2)]), goes_live(70)],
    ),
    Script(
        "a service made anew, which a later read shows as deleted",
        Kind.LIVE,
        70,
        [Frame(-1, [], status="INACTIVE"), Frame(0, [mine(pending=2)]), goes_live(70)],
        stale_reads=[(30, 34.5)],
    ),
    Script(
        "same revision redeployed",
        Kind.LIVE,
        100,
        [
            Frame(-100, [row(OLD, 42, begun=-9000, state="COMPLETED", running=2)]),
            Frame(
                0,
                [
                    mine(pending=2),
                    row(OLD, 42, begun=-9000, status="ACTIVE", state="COMPLETED", running=2),
                ],
                [release(MINE, 42, "IN_PROGRESS", begun=0)],
            ),
            goes_live(100),
        ],
    ),
    Script(
        "same revision redeployed a minute after the last one",
        Kind.LIVE,
        200,
        [
            Frame(
                -60,
                [row(OLD, 42, begun=-50, state="COMPLETED", running=2)],
                [release(OLD, 42, "SUCCESSFUL", begun=-50)],
            ),
            Frame(
                0,
                [
                    mine(pending=2),
                    row(OLD, 42, begun=-50, status="ACTIVE", state="COMPLETED", running=2),
                ],
                [
                    release(MINE, 42, "IN_PROGRESS", begun=0),
                    release(OLD, 42, "SUCCESSFUL", begun=-50),
                ],
            ),
            Frame(
                200,
                [mine(state="COMPLETED", running=2)],
                [
                    release(MINE, 42, "SUCCESSFUL", begun=0),
                    release(OLD, 42, "SUCCESSFUL", begun=-50),
                ],
            ),
        ],
    ),
    Script(
        "slow start of 9 minutes",
        Kind.LIVE,
        560,
        [BEFORE, under_way(pending=2), under_way(540, running=2), goes_live(560)],
    ),
    Script(
        "old tasks drain for 300 s",
        Kind.LIVE,
        400,
        [BEFORE, under_way(pending=2), under_way(90, running=2, state="COMPLETED"), goes_live(400)],
    ),
    Script(
        "one deployment and equal counts while the rollout is in progress",
        Kind.LIVE,
        200,
        [
            BEFORE,
            under_way(pending=2),
            goes_live(60, state="IN_PROGRESS", status="IN_PROGRESS"),
            goes_live(200),
        ],
    ),
    Script(
        "complete, and its service deployment not yet",
        Kind.LIVE,
        160,
        [*REASONED, goes_live(100, status="IN_PROGRESS"), goes_live(160)],
    ),
    Script("stale reads for 25 s", Kind.LIVE, 100, HAPPY, stale_until=25),
    Script(
        "stale reads for 25 s, without service deployments",
        Kind.LIVE,
        100,
        HAPPY,
        stale_until=25,
        denied=ALL_OF_RELEASES,
    ),
    Script(
        "stale reads for 25 s, the newest since a minute ago",
        Kind.LIVE,
        100,
        HAPPY,
        stale_until=25,
        wanted=since(),
    ),
    Script(
        "the first read shows the roll-back of an earlier release",
        Kind.LIVE,
        100,
        while_another_goes_back(),
        stale_until=3,
    ),
    Script(
        "a later read shows the roll-back of an earlier release once more",
        Kind.LIVE,
        100,
        while_another_goes_back(),
        stale_reads=[(30, 34.5)],
    ),
    Script(
        "the first read shows the roll-back of an earlier release, known by its service deployment",
        Kind.LIVE,
        100,
        while_another_goes_back(),
        wanted=BY_ARN,
        stale_reads=[(0, 3)],
    ),
    Script(
        "a later read shows the release before it",
        Kind.LIVE,
        100,
        HAPPY,
        stale_reads=[(30, 34.5)],
        denied=ALL_OF_RELEASES,
    ),
    Script(
        "scaled out meanwhile",
        Kind.LIVE,
        200,
        [
            *REASONED,
            replace(goes_live(100), desired=4),
            replace(goes_live(200, desired=4, running=4), desired=4),
        ],
    ),
    Script(
        "scaled in meanwhile", Kind.LIVE, 100, HAPPY, tasks=crashes(30, 40, 50, 110, **SCALED_IN)
    ),
    Script(
        "Spot takes tasks away meanwhile", Kind.LIVE, 100, HAPPY, tasks=crashes(30, 40, 50, **SPOT)
    ),
    Script(
        "desired count 0",
        Kind.LIVE,
        30,
        [
            replace(BEFORE, desired=0),
            replace(under_way(desired=0, old=0), desired=0),
            replace(goes_live(30, desired=0, running=0), desired=0),
        ],
    ),
    Script(
        "daemon on three instances",
        Kind.LIVE,
        120,
        [BEFORE, under_way(desired=3), replace(goes_live(120, desired=3, running=3), desired=3)],
        strategy="DAEMON",
    ),
    Script(
        "blue/green with a pause hook and bake time",
        Kind.LIVE,
        700,
        [
            BEFORE,
            staged(0, "SCALE_UP"),
            staged(60, "POST_TEST_TRAFFIC_SHIFT", hook="AWAITING_ACTION"),
            staged(300, "PRODUCTION_TRAFFIC_SHIFT"),
            staged(360, "BAKE_TIME", state="COMPLETED"),
            staged(660, "CLEAN_UP", state="COMPLETED"),
            goes_live(700),
        ],
    ),
    Script(
        "blue/green whose old tasks are gone before the clean-up ends",
        Kind.LIVE,
        500,
        [BEFORE, staged(0, "SCALE_UP"), goes_live(300, status="IN_PROGRESS"), goes_live(500)],
    ),
    Script(
        "canary in three steps",
        Kind.LIVE,
        600,
        [BEFORE, staged(0, "SCALE_UP"), staged(100, "PRODUCTION_TRAFFIC_SHIFT"), goes_live(600)],
    ),
    Script(
        "throttled for a minute", Kind.LIVE, 100, HAPPY, errors=[(20, 80, "ThrottlingException")]
    ),
    Script(
        "ECS answers with errors at the end",
        Kind.LIVE,
        100,
        HAPPY,
        errors=[(90, 130, "ServerException")],
    ),
    Script(
        "two tasks fail to start, the third one runs", Kind.LIVE, 100, HAPPY, tasks=crashes(20, 40)
    ),
    Script(
        "two tasks fail, and later the circuit breaker is satisfied",
        Kind.LIVE,
        100,
        HAPPY,
        tasks=pulls(20, 25, 30),
        has_breaker=True,
    ),
    Script(
        "three of 100 tasks die, below the circuit breaker's threshold",
        Kind.LIVE,
        300,
        [
            BEFORE,
            Frame(
                0,
                [mine(desired=100, running=60), {**OLD_BESIDE, "runningCount": 80}],
                [
                    release(
                        MINE,
                        42,
                        "IN_PROGRESS",
                        begun=0,
                        deploymentCircuitBreaker={"failureCount": 3, "threshold": 50},
                    ),
                    OLD_RELEASE,
                ],
                desired=100,
            ),
            replace(goes_live(300, desired=100, running=100), desired=100),
        ],
        tasks=crashes(20, 40, 60),
        has_breaker=True,
    ),
    Script(
        "three tasks of the old release die meanwhile",
        Kind.LIVE,
        100,
        HAPPY,
        tasks=crashes(20, 40, 60, started_by=OLD),
    ),
    Script(
        "Classic Load Balancer: no rollout state",
        Kind.LIVE,
        120,
        [
            Frame(-100, [row(OLD, 41, begun=-9000, state="", running=2)]),
            Frame(
                0,
                [
                    mine(state="", pending=2),
                    row(OLD, 41, begun=-9000, status="ACTIVE", state="", running=2),
                ],
            ),
            Frame(120, [mine(state="", running=2)]),
        ],
    ),
    Script("no permission for service deployments", Kind.LIVE, 100, HAPPY, denied=ALL_OF_RELEASES),
    Script("no permission for tasks", Kind.LIVE, 100, HAPPY, denied=frozenset({"list_tasks"})),
    *(
        Script(
            f"{operation} fails for good with {code}",
            Kind.LIVE,
            100,
            HAPPY,
            errors=[(0, 1e6, code)],
            errors_of=frozenset({operation}),
            tasks=crashes(30),
        )
        for operation, code in (
            ("list_service_deployments", "InvalidParameterException"),
            ("describe_service_revisions", "InvalidParameterException"),
            ("describe_tasks", "ClientException"),
        )
    ),
    Script("asked an hour later", Kind.LIVE, 100, HAPPY, asked_at=3600),
    Script(
        "the roll-back of an earlier release in the messages",
        Kind.LIVE,
        100,
        HAPPY,
        messages=[
            (-900, "(deployment ecs-svc/900) deployment failed: tasks failed to start."),
            (-900, f"rolling back to deployment {OLD}."),
        ],
    ),
    Script(
        "the roll-back of an earlier release in the messages, and stale reads",
        Kind.LIVE,
        100,
        HAPPY,
        messages=[(-900, f"rolling back to deployment {OLD}.")],
        stale_until=25,
    ),
    Script(
        "same revision once more after it was rolled back",
        Kind.LIVE,
        100,
        [
            replace(BEFORE, releases=[OLD_RELEASE, AGAIN]),
            replace(
                under_way(pending=2), releases=[release(MINE, 42, "IN_PROGRESS", begun=0), AGAIN]
            ),
            replace(goes_live(100), releases=[release(MINE, 42, "SUCCESSFUL", begun=0), AGAIN]),
        ],
    ),
    Script(
        "old tasks drain for 300 s, without service deployments",
        Kind.LIVE,
        400,
        [
            BEFORE,
            under_way(pending=2),
            under_way(90, running=2, state="COMPLETED"),
            goes_live(400),
        ],
        denied=ALL_OF_RELEASES,
    ),
    Script(
        "equal counts while the rollout is in progress, without service deployments",
        Kind.LIVE,
        200,
        [BEFORE, under_way(pending=2), goes_live(60, state="IN_PROGRESS"), goes_live(200)],
        denied=ALL_OF_RELEASES,
    ),
    Script(
        "service deployments are throttled while it bakes",
        Kind.LIVE,
        500,
        [BEFORE, staged(0, "SCALE_UP"), goes_live(300, status="IN_PROGRESS"), goes_live(500)],
        errors=[(290, 450, "ThrottlingException")],
        errors_of=ALL_OF_RELEASES,
    ),
    Script(
        "four tasks die where the circuit breaker's threshold is set to ten",
        Kind.LIVE,
        300,
        [
            BEFORE,
            replace(
                under_way(running=1),
                releases=[release(MINE, 42, "IN_PROGRESS", begun=0, **OF_TEN), OLD_RELEASE],
            ),
            replace(goes_live(300), releases=[release(MINE, 42, "SUCCESSFUL", begun=0, **OF_TEN)]),
        ],
        tasks=crashes(20, 40, 60, 80),
        has_breaker=True,
    ),
    Script(
        "three tasks die early, asked 50 minutes later",
        Kind.LIVE,
        100,
        HAPPY,
        tasks=crashes(20, 40, 60),
        asked_at=3100,
    ),
    Script(
        "three tasks die ten minutes apart before it is complete",
        Kind.LIVE,
        1500,
        [BEFORE, under_way(running=1), goes_live(1500)],
        tasks=crashes(20, 620, 1220),
        timeout=timedelta(minutes=40),
    ),
    Script(
        "a task more than is wanted is pending once it is complete",
        Kind.LIVE,
        300,
        [*REASONED, goes_live(100, pending=1), goes_live(300)],
    ),
    Script(
        "a fix after a release that was rolled back, asked by the time of both",
        Kind.LIVE,
        100,
        AFTER_A_ROLL_BACK,
        wanted=since(-600),
        asked_at=5,
    ),
    Script(
        "a fix whose service deployment is shown late, asked by the time of both",
        Kind.LIVE,
        100,
        [AFTER_A_ROLL_BACK[0], replace(AFTER_A_ROLL_BACK[1], releases=[AGAIN]), LATER, FIXED],
        wanted=since(-600),
        asked_at=5,
    ),
    Script(
        "the rows that are replaced are shown for a while",
        Kind.LIVE,
        100,
        [
            *REASONED,
            replace(goes_live(100), rows=[mine(state="COMPLETED", running=2), REPLACED]),
        ],
    ),
    Script(
        "a service deployment whose record is a second older than the deployment",
        Kind.LIVE,
        100,
        [
            BEFORE,
            replace(under_way(pending=2), releases=[EARLY_RECORD]),
            replace(goes_live(100), releases=[{**EARLY_RECORD, "status": "SUCCESSFUL"}]),
        ],
        wanted=BY_ARN,
    ),
    Script(
        "same revision redeployed three seconds after the last one",
        Kind.LIVE,
        100,
        [
            Frame(-3, [TWICE], [release(OLD, 42, "IN_PROGRESS", begun=-3)]),
            Frame(
                0,
                [mine(pending=2), {**TWICE, "status": "ACTIVE"}],
                [release(OLD, 42, "STOPPED", begun=-3)],
            ),
            replace(
                under_way(5, pending=2),
                releases=[
                    release(MINE, 42, "IN_PROGRESS", begun=0),
                    release(OLD, 42, "STOPPED", begun=-3),
                ],
            ),
            goes_live(100),
        ],
    ),
    Script("one death while it settles", Kind.LIVE, 100, HAPPY, tasks=crashes(130)),
)

TO_THE_OLD_ONE = (190.0, f"rolling back to deployment {OLD}.")
FAILED_MESSAGE = WENT_BACK[0]

FAILED_ONES = (
    Script(
        "circuit breaker, no roll-back",
        Kind.FAILED,
        190,
        [*FAILING, under_way(190, state="FAILED", failed=3, reason=BREAKER, status="STOPPED")],
        tasks=pulls(60, 120, 180),
        has_breaker=True,
        rolls_back=False,
    ),
    Script(
        "circuit breaker, no roll-back, before anybody asks",
        Kind.FAILED,
        190,
        [*FAILING, under_way(190, state="FAILED", failed=3, reason=BREAKER, status="STOPPED")],
        tasks=pulls(60, 120, 180),
        has_breaker=True,
        rolls_back=False,
        asked_at=200,
    ),
    Script(
        "circuit breaker, no roll-back, without service deployments",
        Kind.FAILED,
        190,
        [*FAILING, under_way(190, state="FAILED", failed=3, reason=BREAKER)],
        tasks=pulls(60, 120, 180),
        has_breaker=True,
        rolls_back=False,
        denied=ALL_OF_RELEASES,
    ),
    Script(
        "circuit breaker, no roll-back, and its service deployment says so first",
        Kind.FAILED,
        190,
        [
            *FAILING,
            replace(
                under_way(190, pending=1),
                releases=[release(MINE, 42, "STOPPED", begun=0, **COUNTS), OLD_RELEASE],
            ),
        ],
        has_breaker=True,
        rolls_back=False,
    ),
    Script(
        "circuit breaker rolls back, and its failure is shown before that",
        Kind.FAILED,
        190,
        [*FAILING, SAYS_FAILED, goes_back(205, **COUNTS), is_back(260, **COUNTS)],
        has_breaker=True,
    ),
    Script(
        "circuit breaker rolls back, its failure is shown before that, and the end is waited for",
        Kind.ROLLED_BACK,
        260,
        [*FAILING, SAYS_FAILED, goes_back(205, **COUNTS), is_back(260, **COUNTS)],
        has_breaker=True,
        wait_rollback=True,
    ),
    Script(
        "circuit breaker, no roll-back, and one is waited for",
        Kind.FAILED,
        190,
        [*FAILING, SAYS_FAILED],
        has_breaker=True,
        rolls_back=False,
        wait_rollback=True,
    ),
    Script(
        "circuit breaker, nothing to go back to, and a roll-back is waited for",
        Kind.FAILED,
        190,
        [
            Frame(-1, [mine(pending=2)], [release(MINE, 42, "IN_PROGRESS", begun=0)]),
            Frame(
                190,
                [mine(state="FAILED", failed=3, reason=BREAKER)],
                [release(MINE, 42, "STOPPED", begun=0, **COUNTS)],
            ),
        ],
        has_breaker=True,
        wait_rollback=True,
    ),
    Script(
        "circuit breaker rolls back",
        Kind.ROLLED_BACK,
        190,
        [*FAILING, goes_back(190, **COUNTS), is_back(260, **COUNTS)],
        tasks=pulls(60, 120, 180),
        messages=WENT_BACK,
        has_breaker=True,
    ),
    Script(
        "circuit breaker rolls back, without service deployments",
        Kind.ROLLED_BACK,
        190,
        [*FAILING, goes_back(190), is_back(260)],
        denied=ALL_OF_RELEASES,
        has_breaker=True,
    ),
    Script(
        "circuit breaker rolls back under the old one's id",
        Kind.ROLLED_BACK,
        190,
        [*FAILING, goes_back(190, id=OLD), is_back(260, id=OLD)],
        has_breaker=True,
    ),
    Script(
        "the roll-back is over before anybody asks",
        Kind.ROLLED_BACK,
        260,
        [*FAILING, goes_back(190, **COUNTS), is_back(260, **COUNTS)],
        asked_at=400,
        has_breaker=True,
    ),
    Script(
        "the roll-back is over before anybody asks, only messages tell",
        Kind.ROLLED_BACK,
        260,
        [*FAILING, goes_back(190), is_back(260)],
        messages=WENT_BACK,
        denied=ALL_OF_RELEASES,
        asked_at=400,
        has_breaker=True,
    ),
    Script(
        "the roll-back is over before anybody asks by the time",
        Kind.ROLLED_BACK,
        260,
        [*FAILING, goes_back(190, **COUNTS), is_back(260, **COUNTS)],
        wanted=since(),
        asked_at=400,
        has_breaker=True,
    ),
    Script(
        "a roll-back under the old one's id is over, asked by the time",
        Kind.ROLLED_BACK,
        260,
        [*FAILING, goes_back(190, id=OLD), is_back(260, id=OLD)],
        wanted=since(),
        asked_at=400,
        has_breaker=True,
    ),
    Script(
        "same revision rolled back to itself, asked by the time an hour later",
        Kind.ROLLED_BACK,
        260,
        [*FAILING, goes_back(190, revision=42), is_back(260, revision=42)],
        wanted=since(),
        asked_at=3900,
    ),
    Script(
        "same revision redeployed and rolled back to itself",
        Kind.ROLLED_BACK,
        190,
        [*FAILING, goes_back(190, revision=42), is_back(260, revision=42)],
        messages=WENT_BACK,
        denied=ALL_OF_RELEASES,
        has_breaker=True,
    ),
    Script(
        "the roll-back fails too",
        Kind.ROLLED_BACK,
        190,
        [*FAILING, goes_back(190), goes_back(400, status="ROLLBACK_FAILED")],
        has_breaker=True,
    ),
    Script(
        "an alarm rolls back",
        Kind.ROLLED_BACK,
        150,
        [
            BEFORE,
            under_way(running=1),
            goes_back(150, said="ECS deployment alarm: rolling back to deploymentId", **ALARMED),
            is_back(260, **ALARMED),
        ],
    ),
    Script(
        "an alarm rolls back after all tasks run",
        Kind.ROLLED_BACK,
        200,
        [
            BEFORE,
            under_way(),
            goes_live(80, state="IN_PROGRESS", status="IN_PROGRESS"),
            goes_back(200, **ALARMED),
            is_back(260, **ALARMED),
        ],
    ),
    Script(
        "somebody asks for the roll-back",
        Kind.ROLLED_BACK,
        120,
        [*REASONED, under_way(120, running=1, status="ROLLBACK_REQUESTED"), is_back(260)],
    ),
    Script(
        "somebody stops it",
        Kind.STOPPED,
        120,
        [
            *REASONED,
            under_way(120, running=1, status="STOP_REQUESTED"),
            under_way(130, running=1, status="STOPPED"),
        ],
    ),
    Script(
        "blue/green, a hook fails in the bake time",
        Kind.ROLLED_BACK,
        300,
        [
            BEFORE,
            staged(0, "SCALE_UP"),
            staged(100, "BAKE_TIME", state="COMPLETED"),
            goes_back(300),
            is_back(400),
        ],
    ),
    Script(
        "somebody deploys the older revision",
        Kind.ROLLED_BACK,
        150,
        [
            *REASONED,
            newer(150, 41),
            Frame(260, [row(NEXT, 41, begun=150, state="COMPLETED", running=2)]),
        ],
        denied=ALL_OF_RELEASES,
    ),
    Script(
        "the service is deleted meanwhile",
        Kind.FAILED,
        120,
        [
            *REASONED,
            Frame(120, [mine(running=1, state="")], status="DRAINING"),
            Frame(160, [], status="INACTIVE"),
        ],
    ),
    Script(
        "the service is being deleted when somebody asks",
        Kind.FAILED,
        0,
        [Frame(-1, [mine(running=1, state="")], status="DRAINING")],
    ),
    Script(
        "never starts, no circuit breaker",
        Kind.FAILED,
        180,
        [BEFORE, under_way(pending=2), under_way(180, pending=1, failed=3)],
        tasks=pulls(60, 120, 180),
    ),
    Script(
        "never starts, asked half an hour after the last task died",
        Kind.FAILED,
        180,
        [BEFORE, under_way(pending=2), under_way(180, pending=1, failed=3)],
        tasks=pulls(60, 120, 180),
        asked_at=2000,
    ),
    Script(
        "never starts, and tasks may not be read",
        Kind.FAILED,
        180,
        [BEFORE, under_way(pending=2), under_way(180, pending=1, failed=3)],
        denied=frozenset({"list_tasks"}),
    ),
    Script(
        "crash loop after RUNNING, no circuit breaker",
        Kind.FAILED,
        180,
        [BEFORE, under_way(pending=2), under_way(40, running=2)],
        tasks=crashes(60, 120, 180),
    ),
    Script(
        "crash loop that ends with exit code 0",
        Kind.FAILED,
        180,
        [BEFORE, under_way(pending=2), under_way(40, running=2)],
        tasks=crashes(60, 120, 180, exit_code=0),
    ),
    Script(
        "crash loop that the circuit breaker does not count",
        Kind.FAILED,
        180,
        [BEFORE, under_way(pending=2), under_way(40, running=2)],
        tasks=crashes(60, 120, 180),
        has_breaker=True,
    ),
    Script(
        "dies again and again once it is complete",
        Kind.FAILED,
        210,
        HAPPY,
        tasks=crashes(110, 160, 210),
    ),
    Script(
        "out of memory once it is complete",
        Kind.FAILED,
        220,
        HAPPY,
        tasks=crashes(
            120,
            170,
            220,
            exit_code=137,
            said="OutOfMemoryError: Container killed due to memory usage",
        ),
    ),
)

UNDECIDED_ONES = (
    Script("superseded by a newer revision", Kind.SUPERSEDED, 150, [*REASONED, newer(150)]),
    Script(
        "superseded by the same revision again", Kind.SUPERSEDED, 150, [*REASONED, newer(150, 42)]
    ),
    Script(
        "superseded, and the newer one is rolled back before anybody asks",
        Kind.SUPERSEDED,
        150,
        [
            *REASONED,
            newer(150),
            Frame(
                300,
                [row("ecs-svc/3500", 41, begun=280, state="COMPLETED", running=2)],
                [
                    release(NEXT, 43, "ROLLBACK_SUCCESSFUL", begun=150),
                    release(MINE, 42, "STOPPED", begun=0),
                ],
            ),
        ],
        asked_at=400,
    ),
    Script(
        "superseded, and the newer one is complete",
        Kind.SUPERSEDED,
        150,
        [
            *REASONED,
            newer(150),
            Frame(
                200,
                [row(NEXT, 43, begun=150, state="COMPLETED", running=2)],
                [release(NEXT, 43, "SUCCESSFUL", begun=150), release(MINE, 42, "STOPPED", begun=0)],
            ),
        ],
        asked_at=300,
    ),
    Script(
        "superseded, asked for by the time",
        Kind.SUPERSEDED,
        150,
        [
            *REASONED,
            newer(150),
            Frame(200, [row(NEXT, 43, begun=150, state="COMPLETED", running=2)]),
        ],
        wanted=since(),
    ),
    Script(
        "superseded, without service deployments",
        Kind.SUPERSEDED,
        150,
        [*REASONED, newer(150)],
        denied=ALL_OF_RELEASES,
    ),
    Script(
        "stuck pending for want of capacity",
        Kind.UNDECIDED,
        None,
        [BEFORE, under_way(pending=2)],
        messages=[
            (50, "was unable to place a task. Reason: Capacity is unavailable at this time.")
        ],
    ),
    Script(
        "throttled all the time",
        Kind.UNDECIDED,
        None,
        HAPPY,
        errors=[(0, 1e6, "ThrottlingException")],
    ),
    Script(
        "a hook waits for somebody for ever",
        Kind.UNDECIDED,
        None,
        [BEFORE, staged(0, "POST_TEST_TRAFFIC_SHIFT", hook="AWAITING_ACTION")],
    ),
    Script("no such service", Kind.NOT_FOUND, 0, [Frame(-1, [], status="MISSING")], wanted=by_id()),
    Script(
        "a service that was deleted before anybody asks",
        Kind.NOT_FOUND,
        0,
        [Frame(-1, [], status="INACTIVE")],
    ),
    Script("nothing was deployed", Kind.NOT_FOUND, 0, [BEFORE], wanted=since()),
    Script("no such deployment", Kind.NOT_FOUND, 0, [BEFORE], wanted=by_id("ecs-svc/77")),
)

SCRIPTS: tuple[Script, ...] = (*HEALTHY, *FAILED_ONES, *UNDECIDED_ONES)
Judge = Callable[[Script], Judged]
OTHERS: Mapping[str, Judge] = {"waiter": stock_waiter, "task definition": primary_is_mine}


# --- figures ------------------------------------------------------------------------------------


def figures(seeds: range) -> Counter[str]:
    """How many verdicts are wrong, whose, and how late a failure is known; a seed a script."""
    count: Counter[str] = Counter()
    for seed in seeds:
        script = SCRIPTS[seed]
        found, judged, _ = ours(script, seed)
        count["histories"] += 1
        count["healthy"] += script.is_healthy
        count["ours"] += found.verdict.kind is not script.truth or is_wrong(script, judged)
        for name, judge in OTHERS.items():
            count[name] += is_wrong(script, judge(script))
        if script.truth.is_failure:
            known_at = max(script.decided_at or 0, script.asked_at)
            waiter = stock_waiter(script)
            _late(count, "worst lag", judged.second - known_at)
            if waiter.kind is not Kind.LIVE:
                _late(count, "worst lag of the waiter", waiter.second - known_at)
    return count


def _late(count: Counter[str], name: str, seconds: float) -> None:
    """Keep the longest, in whole seconds."""
    count[name] = max(count[name], math.ceil(seconds))


@cache
def table() -> str:
    """Every script in Markdown: what is right, and what each says after how many seconds."""
    rows = []
    for seed, script in enumerate(SCRIPTS):
        _, judged, _ = ours(script, seed)
        others = (judge(script) for judge in OTHERS.values())
        cells = [_cell(script, one) for one in (judged, *others)]
        rows.append(f"| {script.name} | {script.truth} | {' | '.join(cells)} |")
    head = "| deployment | right | confirm | `services_stable` | and PRIMARY is my revision |"
    return "\n".join([head, "|---|---|---|---|---|", *rows])


def _cell(script: Script, judged: Judged) -> str:
    said = "gives up" if judged.kind is Kind.UNDECIDED else str(judged.kind)
    after = f"{said}, {judged.second - script.asked_at:.0f} s"
    return f"**{after}**" if is_wrong(script, judged) else after
