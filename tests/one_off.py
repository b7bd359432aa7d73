"""A one-off task in virtual time: the real program, and botocore's waiter, over the same scripts.

Underneath is the sandbox's double of ECS, called as boto3 calls; what is lost on the way, and when,
a seed decides.
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import botocore.session
import botocore.waiter
from botocore.exceptions import ClientError, ReadTimeoutError, WaiterError

from notifier.ecs.logs import NoLog
from notifier.ecs.runs import Runs
from notifier.facts import LogTail
from notifier.outcome import NO_CODE, TIMED_OUT_CODE, Outcome, status_of
from notifier.running import LetGo, Report, Run, Wanted
from sandbox.aws_error import AwsError
from sandbox.ecs_double import OPERATIONS, Answers, World, on_the_wire
from sandbox.one_off import NEVER, Ending, Job, Started

Json = dict[str, Any]
START = 1_700_000_000.0
CLUSTER = "arn:aws:ecs:eu-west-1:123456789012:cluster/prod"
FAMILY = "migrate"
ACCESS_DENIED = AwsError("AccessDeniedException", "may not")
CAPACITY = (
    "Capacity is unavailable at this time. Please try again later or in a different "
    "availability zone"
)


def container(name: str, *, essential: bool = True, logs: bool = True, **more: Any) -> Json:
    """A container of a task definition, that logs to CloudWatch Logs."""
    options = {"awslogs-group": "/ecs/jobs", "awslogs-region": "eu-west-1"}
    awslogs = {
        "logDriver": "awslogs",
        "options": {**options, "awslogs-stream-prefix": "job"},
    }
    row: Json = {"name": name, "image": f"{name}:1", "essential": essential, **more}
    return {**row, "logConfiguration": awslogs} if logs else row


def definition(*containers: Json, family: str = FAMILY, **more: Any) -> Json:
    """A task definition of these containers, else of one called app."""
    return {
        "taskDefinitionArn": f"arn:aws:ecs:eu-west-1:123456789012:task-definition/{family}:7",
        "family": family,
        "containerDefinitions": list(containers) or [container("app")],
        **more,
    }


@dataclass
class Clock:
    """Time that passes only when somebody waits."""

    now: float = START

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.001)


@dataclass
class Client:
    """boto3's client of ECS and of CloudWatch Logs, over the double. `before` may break a call."""

    world: World
    around: Callable[[str, Callable[[], Json]], Json] = lambda _operation, call: call()
    calls: Counter[str] = field(default_factory=Counter)
    requests: list[tuple[str, Json]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Callable[..., Json]:
        operation = "".join(word.capitalize() for word in name.split("_"))

        def call(**request: Any) -> Json:
            self.calls[operation] += 1
            self.requests.append((operation, request))
            return self.around(operation, lambda: self._answer(operation, request))

        return call

    def _answer(self, operation: str, request: Json) -> Json:
        self.world.go_on()
        try:
            answer: Json = on_the_wire(OPERATIONS[operation](Answers(self.world), request))
        except AwsError as error:
            raise client_error(error, operation) from error
        return answer


def client_error(error: AwsError, operation: str) -> ClientError:
    """The error as boto3 raises it."""
    response: Any = {
        "Error": {"Code": error.code, "Message": error.message},
        "ResponseMetadata": {"HTTPStatusCode": error.status},
        **error.more,
    }
    return ClientError(response, operation)


@dataclass
class Heard:
    """Everything that was told, in order."""

    started: list[str] = field(default_factory=list)
    logs: list[LogTail | NoLog] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def task(self, arn: str, logs: Sequence[LogTail | NoLog]) -> None:
        self.started.append(arn)
        self.logs += logs

    def lines(self, _arn: str, _container: str, lines: Sequence[str]) -> None:
        self.printed += lines

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass
class Scene:
    """A cluster, a task definition, a job, and the time. Everything about one run."""

    job: Job = field(default_factory=Job)
    shown: Json = field(default_factory=definition)
    around: Callable[[str, Callable[[], Json]], Json] = lambda _operation, call: call()
    clock: Clock = field(default_factory=Clock)
    heard: Heard = field(default_factory=Heard)
    chance: Callable[[], float] = lambda: 0.5
    cancel_at: float = NEVER

    def __post_init__(self) -> None:
        self.world = World(self.clock)
        self.world.patch(
            {
                "clusters": [{"clusterArn": CLUSTER, "status": "ACTIVE"}],
                "taskDefinitions": [self.shown],
            }
        )
        self.world.one_offs.jobs[FAMILY] = self.job
        self.client = Client(self.world, self.around)

    def run(self, **wanted: Any) -> Report:
        """Run it as `ecs-watch run` does."""
        client: Any = self.client
        door = Runs(client, client, lambda _region: client, "prod")
        asked = {"request": {"taskDefinition": FAMILY}, "key": "k" * 32, **wanted}
        return Run(
            wanted=Wanted(definition=door.definition(FAMILY), **asked),
            door=door,
            tell=self.heard,
            monotonic=self.clock,
            sleep=self.clock.sleep,
            chance=self.chance,
            cancelled=lambda: "SIGTERM" if self.clock() - START >= self.cancel_at else "",
        )()

    @property
    def launched(self) -> list[Started]:
        """The tasks that ECS took, without those of which nothing ever ran."""
        return [one for one in self.world.one_offs.started.values() if not one.is_doomed]

    @property
    def seconds(self) -> float:
        """How long it took, in virtual time."""
        return self.clock() - START


def status(report: Report, count: int = 1) -> int:
    """The exit code that a shell gets."""
    if report.outcome is Outcome.EXITED:
        return status_of(list(report.ends.values()), count)
    return TIMED_OUT_CODE if report.outcome is Outcome.TIMED_OUT else NO_CODE


# --- scripts, each with the exit code that is right ---------------------------------------------


@dataclass(frozen=True)
class Script:
    """A job, and the exit code that whoever started it must get."""

    name: str
    right: int
    job: Job
    shown: Json = field(default_factory=definition)
    wanted: Mapping[str, Any] = field(default_factory=dict)


def _one(name: str, right: int, *, wanted: Json | None = None, **job: Any) -> Script:
    return Script(name, right, Job(**job), wanted=wanted or {})


def _ends(after: float = 20, code: int | None = 0, **more: Any) -> Mapping[str, Ending]:
    return {"app": Ending(after, code, **more)}


WITH_SIDE_CAR = definition(container("app"), container("agent", essential=False, logs=False))
WITH_ROUTER = definition(
    container("log-router", logs=False, firelensConfiguration={"type": "fluentbit"}),
    container("app"),
)
TWO_ESSENTIAL = definition(container("app"), container("proxy"))
PASSING_STOP = "Timeout waiting for network interface provisioning to complete."

SCRIPTS = (
    _one("ends well", 0, containers=_ends()),
    _one("ends with 3", 3, containers=_ends(code=3)),
    _one("ends at once", 0, containers=_ends(0.1), starts_after=0.1),
    _one("ends at once with 1", 1, containers=_ends(0.1, 1), starts_after=0.1),
    _one("runs for 20 minutes", 0, containers=_ends(1200)),
    _one("runs for 2 hours and fails", 4, containers=_ends(7200, 4)),
    _one("is killed for memory", 137, containers=_ends(9, 137, reason="OutOfMemoryError")),
    _one("cannot pull its image", 125, fails_to_start="CannotPullContainerError: not found"),
    _one("cannot get its secret", 125, fails_to_start="ResourceInitializationError: no secret"),
    _one("no network interface, twice", 0, fails_to_start=PASSING_STOP, fails_times=2),
    _one("no network interface, ever", 125, fails_to_start=PASSING_STOP),
    _one("no capacity, then some", 0, refusals=[[CAPACITY]] * 2),
    _one("no capacity, ever", 125, refusals=[[CAPACITY]] * 99),
    _one(
        "no CPU on any instance, then some", 7, refusals=[["RESOURCE:CPU"]], containers=_ends(5, 7)
    ),
    _one("a reason that stays", 125, refusals=[["ATTRIBUTE"]]),
    _one("a reason that nobody knows", 125, refusals=[["MOON PHASE"]]),
    _one("may not be started", 125, refusals=[ACCESS_DENIED]),
    _one("throttled once", 0, refusals=[AwsError("ThrottlingException", "Rate exceeded")]),
    _one(
        "a person stops it, it obeys with 0", 125, containers=_ends(90, on_term=0), stopped_after=9
    ),
    _one("a person stops it", 143, containers=_ends(90), stopped_after=9),
    _one(
        "Spot takes it away, it obeys with 0",
        125,
        containers=_ends(900, on_term=0),
        stopped_after=30,
        stopped=("SpotInterruption", "Your Spot Task was interrupted."),
    ),
    *(
        _one(
            f"{code} ends it, it obeys with 0",
            125,
            containers=_ends(900, on_term=0),
            stopped_after=30,
            stopped=(code, "ECS's own words"),
        )
        for code in ("InfrastructureHealth", "TerminationNotice", "ACodeOfTomorrow")
    ),
    _one("is forgotten while it is waited for", 125, containers=_ends(50), forgotten_after=-45),
    _one("is not shown at first", 0, shown_after=8),
    _one("not over at the time-out", 124, containers=_ends(900), wanted={"timeout": 60.0}),
    _one("a code that a shell cannot carry", 1, containers=_ends(5, 3221225786)),
    _one("two of two end well", 0, wanted={"count": 2}),
    _one("one of two is missing", 125, refusals=[["ATTRIBUTE"]], wanted={"count": 2}),
    _one("one of two comes later", 0, refusals=[[CAPACITY]], wanted={"count": 2}),
    Script(
        "a side-car is killed when the work is done",
        0,
        Job({"app": Ending(20), "agent": Ending(NEVER, on_term=137, term_takes=30)}),
        WITH_SIDE_CAR,
    ),
    Script(
        "a side-car fails first",
        0,
        Job({"app": Ending(20), "agent": Ending(2, 1)}),
        WITH_SIDE_CAR,
    ),
    Script(
        "the log router is essential, and ends after the work",
        5,
        Job({"app": Ending(20, 5), "log-router": Ending(NEVER, on_term=0)}),
        WITH_ROUTER,
    ),
    Script(
        "two essential: the second ends it, badly",
        9,
        Job({"app": Ending(90, on_term=0), "proxy": Ending(20, 9)}),
        TWO_ESSENTIAL,
    ),
    Script(
        "two essential: the first is done, the second is told to stop",
        0,
        Job({"app": Ending(20), "proxy": Ending(NEVER)}),
        TWO_ESSENTIAL,
    ),
    Script(
        "two essential: one is killed, the other obeys with 0, and nobody saw it",
        125,
        Job(
            {"app": Ending(90, on_term=0, term_takes=0.1), "proxy": Ending(4.5, 137)},
            starts_after=0,
        ),
        TWO_ESSENTIAL,
    ),
    Script(
        "the named side-car decides",
        6,
        Job({"app": Ending(20), "agent": Ending(2, 6)}),
        WITH_SIDE_CAR,
        {"container": "agent"},
    ),
)


def ours(script: Script) -> int:
    """The exit code that `ecs-watch run` ends with."""
    scene = Scene(script.job, script.shown)
    return status(scene.run(**script.wanted), script.wanted.get("count", 1))


def botocores(script: Script) -> int | None:
    """What `aws ecs run-task` and `aws ecs wait tasks-stopped` end with: 0, or 255.

    None where RunTask started nothing, so that there is nothing to wait for.
    https://docs.aws.amazon.com/cli/latest/reference/ecs/wait/tasks-stopped.html
    """
    scene = Scene(script.job, script.shown)
    try:
        request = {"cluster": "prod", "taskDefinition": FAMILY}
        answer = scene.client.run_task(**request, count=script.wanted.get("count", 1))
    except ClientError:
        return None
    arns = [task["taskArn"] for task in answer["tasks"]]
    try:
        return _waits(scene, arns) if arns else None
    except WaiterError:
        return 255


def _waits(scene: Scene, arns: Sequence[str]) -> int:
    config = _waiters().get_waiter("TasksStopped")

    def describe(**request: Any) -> Json:
        try:
            return scene.client.describe_tasks(**request)
        except ClientError as error:  # as botocore's own NormalizedOperationMethod has it
            return dict(error.response)

    waiter = botocore.waiter.Waiter("TasksStopped", config, describe)
    with patch.object(botocore.waiter, "time", SimpleNamespace(sleep=scene.clock.sleep)):
        waiter.wait(cluster="prod", tasks=list(arns))
    return 0


@cache
def _waiters() -> Any:
    return botocore.session.get_session().get_waiter_model("ecs")


def wrong_codes(_seeds: range) -> Counter[str]:
    """How often each says something else than what is right.

    The waiter knows no exit codes: it is right with 0 for 0, and with any failure for another.
    """
    count = Counter({"histories": len(SCRIPTS)})
    for script in SCRIPTS:
        count["ours"] += ours(script) != script.right
        theirs = botocores(script)
        count["waited for"] += theirs is not None
        count["botocore"] += theirs is not None and (theirs == 0) != (script.right == 0)
    return count


# --- what is lost on the way --------------------------------------------------------------------

_LOSSES = ("none", "before", "after", "error after", "throttled")


@dataclass
class Lossy:
    """Loses requests and answers of every kind of call, as the seed has it.

    A lost answer is noticed after ten seconds, as the client's time-out has it, or at once.
    """

    chance: random.Random
    clock: Clock
    share: float
    lost: Counter[str] = field(default_factory=Counter)

    def __call__(self, operation: str, call: Callable[[], Json]) -> Json:
        if operation == "DescribeTaskDefinition" or self.chance.random() > self.share:
            return call()
        how = self.chance.choice(_LOSSES[1:])
        self.lost[f"{how} {operation}"] += 1
        if how == "throttled":
            raise client_error(AwsError("ThrottlingException", "Rate exceeded"), operation)
        if how != "before":
            call()
        if how == "error after":
            raise client_error(AwsError("ServerException", "", 500), operation)
        self.clock.sleep(self.chance.choice((0.1, 10.0)))
        raise ReadTimeoutError(endpoint_url="https://ecs.eu-west-1.amazonaws.com/")


def lossy_history(seed: int) -> tuple[Scene, Report, Lossy, int]:
    """A run of one to three tasks, of 20 s or of 2 h, of which calls are lost."""
    chance = random.Random(seed)
    clock = Clock()
    lossy = Lossy(chance, clock, share=chance.choice((0.1, 0.3, 0.6)))
    count = chance.choice((1, 1, 2, 3))
    refusals = [[CAPACITY] * chance.randint(0, count) for _ in range(chance.choice((0, 0, 1, 3)))]
    job = Job(
        containers=_ends(chance.choice((20, 20, 7200)), chance.choice((0, 3))),
        starts_after=chance.choice((0, 5)),
        refusals=refusals,
        shown_after=chance.choice((0, 1, 5)),
        fails_to_start=chance.choice(("", "", PASSING_STOP)),
        fails_times=chance.choice((1, 2)),
    )
    cancel_at = chance.choice((NEVER, NEVER, chance.uniform(0, 60)))
    scene = Scene(job, around=lossy, clock=clock, chance=chance.random, cancel_at=cancel_at)
    report = scene.run(count=count, on_cancel=chance.choice(list(LetGo)), key=f"{seed:032x}")
    return scene, report, lossy, count


def lost_answers(seeds: range) -> Counter[str]:
    """Jobs that ran twice, more tasks than asked for, and wrong words about it, in these seeds."""
    count: Counter[str] = Counter()
    for seed in seeds:
        scene, report, lossy, asked = lossy_history(seed)
        launched = len(scene.launched)
        wrong = _is_wrong(scene, report, asked)
        count["histories"] += 1
        count["losses"] += lossy.lost.total()
        count["lost starts"] += sum(lossy.lost[f"{how} RunTask"] for how in _LOSSES)
        count["launched"] += launched
        count["asked"] += asked
        count["duplicates"] += max(launched - asked, 0)
        count["unknown"] += report.outcome is Outcome.UNKNOWN
        count["wrong"] += wrong
        if wrong or launched > asked:
            count[f"seed {seed}"] += 1
    return count


def _is_wrong(scene: Scene, report: Report, asked: int) -> bool:
    """Whether the end is told as it is not: UNKNOWN is never wrong, only of little use."""
    if report.outcome is Outcome.NEVER_STARTED:
        return len(scene.launched) >= asked
    if report.outcome is not Outcome.EXITED:
        return False
    codes = {one.job.containers["app"].code for one in scene.launched}
    return len(scene.launched) != asked or {end.exit_code for end in report.ends.values()} != codes
