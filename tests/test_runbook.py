"""The runbook of tasks.yaml: its steps, walked against scripted answers of ECS and Lambda."""

import io
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from notifier import runbooks
from notifier.arns import log_stream_url
from notifier.ecs.tasks import stopped_task
from notifier.events import RUNBOOK_FAILED, TASKS
from notifier.outcome import Outcome as RunOutcome
from notifier.outcome import judged
from notifier.retrying import Doors
from sandbox.transform import read_template
from tests.automation import EXECUTION_ID, Execution, StepFailed
from tests.tasks_simulator import World
from tests.test_template import copied

ROOT = Path(__file__).parent.parent
CONTENT: dict[str, Any] = read_template(ROOT / "tasks.yaml")["Resources"]["Runbook"]["Properties"][
    "Content"
]
TASK = "arn:aws:ecs:eu-west-1:123456789012:task/shop/{:032x}"
EXITED = "Essential container in task exited"


def container(name: str, code: int | None = None, reason: str = "") -> dict[str, Any]:
    return {
        "name": name,
        **({} if code is None else {"exitCode": code}),
        **({"reason": reason} if reason else {}),
    }


def stopped(number: int, *containers: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "taskArn": TASK.format(number),
        "taskDefinitionArn": "arn:aws:ecs:eu-west-1:123456789012:task-definition/migration:3",
        "lastStatus": "STOPPED",
        "stopCode": "EssentialContainerExited",
        "stoppedReason": EXITED,
        "containers": list(containers),
        **more,
    }


def running(number: int) -> dict[str, Any]:
    return {**stopped(number), "lastStatus": "RUNNING"}


def refusal(operation: str, code: str, message: str, status: int = 400) -> ClientError:
    said: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(said, operation)


LOST = ReadTimeoutError(endpoint_url="RunTask")
BROKEN = refusal("RunTask", "ServerException", "", 500)
THROTTLED = refusal("RunTask", "ThrottlingException", "Rate exceeded")
DENIED = refusal("RunTask", "AccessDeniedException", "not authorized")


def missing(number: int) -> dict[str, Any]:
    return {"arn": TASK.format(number), "reason": "MISSING"}


@dataclass
class Ecs:
    """Answers DescribeTasks from a script, its last answer again and again.

    What has an `arn` in it is a failure: a task that ECS does not show.
    """

    looks: Sequence[Sequence[Mapping[str, Any]]]
    starts: int = 1
    failures: Sequence[Mapping[str, str]] = ()
    essential: Sequence[str] = ("app",)
    router: str = ""
    proxy: str = ""
    errors: Sequence[Exception | None] = ()  # of RunTask, after it was done
    cannot_stop: Collection[int] = ()
    started: list[Mapping[str, Any]] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)
    described: int = 0

    def run_task(self, **request: Any) -> Any:
        self.started.append(request)
        if error := next(iter(self.errors[len(self.started) - 1 :]), None):
            raise error
        tasks = [{"taskArn": TASK.format(number)} for number in range(self.starts)]
        return {"tasks": tasks, "failures": list(self.failures)}

    def stop_task(self, *, task: str, **_: Any) -> None:
        if task in map(TASK.format, self.cannot_stop):
            raise refusal("StopTask", "AccessDeniedException", "no")
        self.stops.append(task)

    def describe_tasks(self, **_: Any) -> Any:
        shown = self.looks[min(self.described, len(self.looks) - 1)]
        self.described += 1
        return {
            "tasks": [one for one in shown if "arn" not in one],
            "failures": [one for one in shown if "arn" in one],
        }

    def describe_task_definition(self, **_: Any) -> Any:
        log = {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": "/ecs/migration",
                "awslogs-region": "eu-west-1",
                "awslogs-stream-prefix": "run",
            },
        }
        every = ("app", "proxy", "agent")
        defined = [
            {"name": name, "essential": name in self.essential, "logConfiguration": log}
            for name in every
        ]
        for one in defined:
            if one["name"] == self.router:
                one["firelensConfiguration"] = {"type": "fluentbit"}
        beside = {"proxyConfiguration": {"containerName": self.proxy}} if self.proxy else {}
        return {"taskDefinition": {"containerDefinitions": defined, **beside}}


@dataclass
class Functions:
    error: str = ""
    called: list[tuple[str, Any]] = field(default_factory=list)

    def invoke(self, *, FunctionName: str, Payload: bytes) -> Any:  # noqa: N803
        self.called.append((FunctionName, json.loads(Payload)))
        if not self.error:
            return {"Payload": io.BytesIO(b"null")}
        said = json.dumps({"errorType": "KeyError", "errorMessage": self.error}).encode()
        return {"FunctionError": "Unhandled", "Payload": io.BytesIO(said)}


def execution(ecs: Ecs, functions: Functions | None = None, **given: Any) -> Execution:
    clients = {"ecs": ecs, "lambda": functions or Functions()}
    asked = {"Cluster": "shop", "TaskDefinition": "migration", **given}
    return Execution(CONTENT, clients, asked)


def failed(ecs: Ecs, functions: Functions | None = None, **given: Any) -> tuple[Execution, str]:
    """The execution, and why it failed; it must."""
    played = execution(ecs, functions, **given)
    with pytest.raises(StepFailed) as error:
        played.run()
    return played, str(error.value)


WELL = stopped(0, container("app", 0))


def test_a_job_that_ends_well_runs_with_functions_before_and_after() -> None:
    functions, ecs = Functions(), Ecs([[running(0)], [running(0)], [WELL]])
    played = execution(ecs, functions, BeforeFunction="before", AfterFunction="after")
    played.run()
    assert played.steps == ["Before", "Start", "Follow", "Look", "Ended", "After"]
    assert [name for name, _ in functions.called] == ["before", "after"]
    assert functions.called[1][1]["TaskArns"] == [TASK.format(0)]


def test_without_functions_none_is_called() -> None:
    functions = Functions()
    execution(Ecs([[WELL]]), functions).run()
    assert functions.called == []


def test_what_is_started_is_what_was_given() -> None:
    ecs = Ecs([[WELL]])
    execution(
        ecs,
        LaunchType="FARGATE",
        Subnets=["subnet-1"],
        SecurityGroups=["sg-1"],
        Container="app",
        Command=["migrate", "--all"],
        Environment={"A": "1"},
    ).run()
    assert ecs.started == [
        {
            "cluster": "shop",
            "taskDefinition": "migration",
            "count": 1,
            "clientToken": EXECUTION_ID,
            "startedBy": f"ecs-watch-runbook/{EXECUTION_ID}",
            "launchType": "FARGATE",
            "networkConfiguration": {
                "awsvpcConfiguration": {
                    "subnets": ["subnet-1"],
                    "securityGroups": ["sg-1"],
                    "assignPublicIp": "DISABLED",
                }
            },
            "overrides": {
                "containerOverrides": [
                    {
                        "name": "app",
                        "command": ["migrate", "--all"],
                        "environment": [{"name": "A", "value": "1"}],
                    }
                ]
            },
        }
    ]


def test_without_a_choice_ecs_uses_its_defaults() -> None:
    ecs = Ecs([[WELL]])
    execution(ecs).run()
    assert set(ecs.started[0]) == {
        "cluster",
        "taskDefinition",
        "count",
        "clientToken",
        "startedBy",
    }


def test_a_failing_exit_code_fails_it_at_once_with_the_reason_and_the_log() -> None:
    ecs, functions = Ecs([[running(0)], [stopped(0, container("app", 3))]]), Functions()
    played, why = failed(ecs, functions, AfterFunction="after", TimeoutMinutes=600)
    assert "app: exit code 3" in why
    assert EXITED in why
    url = log_stream_url("eu-west-1", "/ecs/migration", "run/app/" + "0" * 32)
    assert url is not None
    assert url in why
    assert played.clock.now - 1_000_000 < 60
    assert functions.called == []


def test_one_of_several_tasks_that_fails_fails_it_while_the_others_run() -> None:
    ecs = Ecs([[running(0), stopped(1, container("app", 1)), running(2)]], starts=3)
    played, why = failed(ecs, Count=3)
    assert TASK.format(1) in why
    assert played.clock.now - 1_000_000 < 60


def test_several_tasks_have_all_to_end() -> None:
    one, two = stopped(0, container("app", 0)), stopped(1, container("app", 0))
    ecs = Ecs([[one, running(1)], [one, running(1)], [one, two]], starts=2)
    execution(ecs, Count=2).run()
    assert ecs.described == 3 + 1  # and once more at the end


Ended = tuple[Sequence[str], Sequence[Mapping[str, Any]], bool]
ENDS: dict[str, Ended] = {
    "a side-car that is not essential does not count": (
        ["app"],
        [container("app", 0), container("agent", 137), container("proxy", 1)],
        True,
    ),
    "an essential side-car that ECS stopped": (
        ["app", "proxy"],
        [container("app", 0), container("proxy", 143)],
        True,
    ),
    "an essential side-car that failed": (
        ["app", "proxy"],
        [container("app", 0), container("proxy", 1)],
        False,
    ),
    "the memory was not enough": (
        ["app", "proxy"],
        [container("app", 137, "OutOfMemoryError: killed"), container("proxy", 0)],
        False,
    ),
    "it never ran": (["app"], [container("app")], False),
    "one never ran": (["app", "proxy"], [container("app", 0), container("proxy")], False),
    "ECS stopped it alone": (["app"], [container("app", 143)], False),
    "who was killed may have been killed first": (
        ["app", "proxy"],
        [container("app", 137), container("proxy", 0)],
        False,
    ),
    "GuardDuty's container counts for nothing": (
        ["app"],
        [container("app", 0), container("aws-guardduty-agent-x1")],
        True,
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_every_container_that_counts_is_judged(name: str) -> None:
    essential, containers, is_well = ENDS[name]
    ecs = Ecs([[stopped(0, *containers)]], essential=essential)
    if is_well:
        execution(ecs).run()
    else:
        failed(ecs)


@pytest.mark.parametrize("beside", ["router", "proxy"])
@pytest.mark.parametrize(("code", "is_well"), [(0, True), (137, False), (3, False)])
def test_a_log_router_and_a_proxy_are_not_the_work(beside: str, code: int, is_well: bool) -> None:
    """Essential as a rule: the router ends with 0 whatever became of the job, or with 137."""
    ended = stopped(0, container("app", code), container("agent", 0 if code else 137))
    ecs = Ecs([[ended]], essential=["app", "agent"], **{beside: "agent"})  # type: ignore[arg-type]
    if is_well:
        execution(ecs).run()
    else:
        assert f"app: exit code {code}" in failed(ecs)[1]


def test_where_nothing_else_is_essential_the_router_decides() -> None:
    ecs = Ecs([[stopped(0, container("agent", 3))]], essential=["agent"], router="agent")
    failed(ecs)


def test_it_says_that_nobody_knows_which_of_two_ended_the_task() -> None:
    both = [container("app", 137), container("proxy", 0)]
    _, why = failed(Ecs([[stopped(0, *both)]], essential=["app", "proxy"]))
    assert "which of them ended the task is not known" in why
    execution(Ecs([[stopped(0, *both)]], essential=["app", "proxy"]), Container="proxy").run()


def test_its_verdict_is_that_of_run() -> None:
    names, why = ("app", "proxy"), "OutOfMemoryError: killed"
    each = [(0, ""), *product((1, 137, 143), ("", why))]
    for many in (1, 2):
        for ends in product(each, repeat=many):
            pairs = zip(names[:many], ends, strict=True)
            task = stopped(0, *(container(name, *end) for name, end in pairs))
            ended = judged(stopped_task(task), names[:many])
            ecs = Ecs([[task]], essential=names[:many])
            if (ended.outcome, ended.exit_code) == (RunOutcome.EXITED, 0):
                execution(ecs).run()
            else:
                failed(ecs)


def test_the_container_that_is_named_decides_alone() -> None:
    both = [container("app", 0), container("proxy", 1)]
    execution(Ecs([[stopped(0, *both)]], essential=["app", "proxy"]), Container="app").run()
    _, why = failed(Ecs([[stopped(0, *both)]]), Container="proxy")
    assert "proxy: exit code 1" in why
    _, why = failed(Ecs([[stopped(0, *both)]]), Container="ap")
    assert "no container ap" in why


@pytest.mark.parametrize(
    "code",
    [
        "UserInitiated",
        "SpotInterruption",
        "TaskFailedToStart",
        "ServiceSchedulerInitiated",
        "OneOfTomorrow",
    ],
)
def test_who_was_stopped_before_its_end_has_not_ended_well(code: str) -> None:
    ended = stopped(0, container("app", 0), stopCode=code, stoppedReason="because")
    _, why = failed(Ecs([[ended]]))
    assert "because" in why


def test_when_not_all_tasks_can_start_none_is_left() -> None:
    ecs = Ecs([[WELL]], starts=2, failures=[{"reason": "RESOURCE:MEMORY"}])
    played, why = failed(ecs, Count=3)
    assert ecs.stops == [TASK.format(0), TASK.format(1)]
    assert "1 of 3 tasks could not start: RESOURCE:MEMORY; 2 that did were stopped" in why
    assert played.steps == ["Before", "Start"]


def test_what_of_a_partial_start_could_not_be_stopped_is_named() -> None:
    some = [{"reason": "RESOURCE:MEMORY"}]
    ecs = Ecs([[WELL]], starts=3, failures=some, cannot_stop=[0, 1])
    _, why = failed(ecs, Count=4)
    assert ecs.stops == [TASK.format(2)]
    assert f"these could not be stopped, and may run: {TASK.format(0)}, {TASK.format(1)}" in why
    assert "; 1 that did were stopped again; these could not" in why


@pytest.mark.parametrize("error", [LOST, BROKEN])
def test_a_start_without_an_answer_is_not_sent_again_and_said(error: Exception) -> None:
    """Its token ends with its task, so that a second request may start the job a second time."""
    ecs = Ecs([[WELL]], errors=[error])
    _, why = failed(ecs)
    assert len(ecs.started) == 1
    assert f"whether it started is not known ({error})" in why
    assert f"startedBy ecs-watch-runbook/{EXECUTION_ID}" in why


def test_a_start_that_is_throttled_is_tried_again_and_one_that_is_refused_is_not() -> None:
    ecs = Ecs([[WELL]], errors=[THROTTLED, THROTTLED, None])
    execution(ecs).run()
    assert len(ecs.started) == 3
    _, why = failed(Ecs([[WELL]], errors=[THROTTLED] * 20))
    assert "Rate exceeded" in why
    ecs = Ecs([[WELL]], errors=[DENIED])
    _, why = failed(ecs)
    assert "not authorized" in why
    assert "not known" not in why
    assert len(ecs.started) == 1


def test_a_task_that_ecs_does_not_show_yet_is_waited_for() -> None:
    execution(Ecs([[missing(0)], [missing(0)], [running(0)], [missing(0)], [WELL]])).run()


def test_a_task_that_ecs_never_shows_ended_nobody_knows_how() -> None:
    played, why = failed(Ecs([[missing(0)]]))
    assert f"{TASK.format(0)}: MISSING; nobody knows how it ended" in why
    assert 60 <= played.clock.now - 1_000_000 < 80


@pytest.mark.parametrize("looks", [439, 440, 441])  # a script looks 55 times
def test_a_task_that_vanishes_while_it_runs_ended_nobody_knows_how(looks: int) -> None:
    _, why = failed(Ecs([*[[running(0)]] * looks, [missing(0)]]), TimeoutMinutes=600)
    assert "MISSING; nobody knows how it ended" in why


def test_a_task_that_ended_well_more_than_an_hour_ago_may_be_forgotten() -> None:
    """ECS shows a stopped task for an hour; the others still run."""
    other = stopped(1, container("app", 0))
    looks = [*[[WELL, running(1)]] * 370, *[[missing(0), running(1)]] * 400]
    execution(Ecs([*looks, [missing(0), other]], starts=2), Count=2, TimeoutMinutes=600).run()


def test_whatever_else_ecs_does_not_say_of_a_task_fails_it_at_once() -> None:
    played, why = failed(Ecs([[{"arn": TASK.format(0), "reason": "ACCESS"}]]))
    assert "ACCESS; nobody knows how it ended" in why
    assert played.clock.now - 1_000_000 < 20


def test_the_time_out_says_what_still_runs() -> None:
    played, why = failed(Ecs([[running(0)]]), TimeoutMinutes=45)
    assert f"still running, and left so: {TASK.format(0)}" in why
    assert 45 * 60 <= played.clock.now - 1_000_000 < 46 * 60
    assert played.steps.count("Look") == 5


def test_the_longest_time_out_ends_before_the_loop_does() -> None:
    played, why = failed(Ecs([[running(0)]]), TimeoutMinutes=840)
    assert why.startswith("Look: the time is over")
    assert played.clock.now - 1_000_000 >= 840 * 60


@pytest.mark.parametrize("minutes", [-5, 0, 841, 2000])
def test_a_time_out_that_the_loop_cannot_wait_for_starts_nothing(minutes: int) -> None:
    ecs = Ecs([[running(0)]])
    _, why = failed(ecs, TimeoutMinutes=minutes)
    assert "TimeoutMinutes must be 1 to 840" in why
    assert ecs.started == []


def test_a_loop_that_ends_while_a_task_runs_is_no_success() -> None:
    functions, short = Functions(), copied(CONTENT)
    (loop,) = (one for one in short["mainSteps"] if one["action"] == "aws:loop")
    loop["inputs"]["MaxIterations"] = 2
    played = execution(Ecs([[running(0)]]), functions, AfterFunction="after", TimeoutMinutes=600)
    with pytest.raises(StepFailed, match=f"still running, and left so: {TASK.format(0)}"):
        replace(played, content=short).run()
    assert functions.called == []


def test_a_function_that_fails_fails_its_step() -> None:
    ecs = Ecs([[WELL]])
    _, why = failed(ecs, Functions(error="no backup"), BeforeFunction="before")
    assert why == "Before: before failed: KeyError: no backup"
    assert ecs.started == []


def test_a_command_needs_its_container() -> None:
    _, why = failed(Ecs([[WELL]]), Command=["x"])
    assert "need Container" in why


# --- a failed execution is told -------------------------------------------------------------------


class Told:
    """What of the default bus and of Systems Manager the function uses."""

    def __init__(self, refuses: bool = False) -> None:
        self.refuses = refuses
        self.entries: list[Any] = []

    def put_events(self, *, Entries: list[Any]) -> Any:  # noqa: N803
        self.entries += Entries
        return {"FailedEntryCount": int(self.refuses)}

    def get_automation_execution(self, *, AutomationExecutionId: str) -> Any:  # noqa: N803
        return {
            "AutomationExecution": {
                "AutomationExecutionId": AutomationExecutionId,
                "AutomationExecutionStatus": "TimedOut",
                "Parameters": {"Cluster": ["shop"], "TaskDefinition": ["migration"]},
                "StepExecutions": [],
            }
        }


@pytest.mark.parametrize("refuses", [False, True])
def test_a_failed_execution_is_handed_over_or_its_event_comes_back(refuses: bool) -> None:
    world, aws = World(0), Told(refuses)
    client: Any = aws
    doors = Doors(ecs=lambda: client, events=lambda: client, ssm=lambda: client)
    program = replace(world.program, doors=doors, runbook="run-task")
    message = {"messageId": "m1", "body": status(Status="TimedOut")}
    assert list(program.take_in([message], world.run())) == (["m1"] if refuses else [])
    (entry,) = aws.entries
    assert (entry["Source"], entry["DetailType"]) == (TASKS, RUNBOOK_FAILED)
    assert json.loads(entry["Detail"])["eventName"] == "RUNBOOK_TIMEDOUT"


def status(**detail: Any) -> str:
    """https://docs.aws.amazon.com/systems-manager/latest/userguide/monitoring-systems-manager-event-examples.html"""
    return json.dumps(
        {
            "id": "1",
            "account": "123456789012",
            "region": "eu-west-1",
            "time": "2026-11-23T12:00:00Z",
            "source": "aws.ssm",
            "detail-type": "EC2 Automation Execution Status-change Notification",
            "detail": {
                "ExecutionId": EXECUTION_ID,
                "Definition": "run-task",
                "DefinitionVersion": 1.0,
                "Status": "Failed",
                **detail,
            },
        }
    )


def test_only_failures_of_our_runbook_are_told() -> None:
    assert runbooks.failed_execution(status(), "run-task") == EXECUTION_ID
    assert runbooks.failed_execution(status(Status="TimedOut"), "run-task") == EXECUTION_ID
    assert runbooks.failed_execution(status(Status="Success"), "run-task") is None
    assert runbooks.failed_execution(status(Definition="another"), "run-task") is None


def steps_of(action: str, message: str) -> Iterator[dict[str, Any]]:
    loop = "Step fails when it is looping"
    yield {"StepName": "Start", "Action": "aws:executeScript", "StepStatus": "Success"}
    yield {
        "StepName": "Follow",
        "Action": "aws:loop",
        "StepStatus": "Failed",
        "FailureMessage": loop,
    }
    yield {"StepName": "Look", "Action": action, "StepStatus": "Failed", "FailureMessage": message}


def test_it_is_told_with_its_cluster_its_step_and_the_reason() -> None:
    told = runbooks.event_of(
        {
            "AutomationExecutionId": EXECUTION_ID,
            "AutomationExecutionStatus": "Failed",
            "DocumentName": "run-task",
            "ExecutionEndTime": datetime(2026, 11, 23, 12, 0, tzinfo=UTC),
            "Parameters": {"Cluster": ["shop"], "TaskDefinition": ["migration:3"]},
            "StepExecutions": list(steps_of("aws:executeScript", "app: exit code 3")),
        },
        "aws",
        "123456789012",
        "eu-west-1",
    )
    assert told["clusterArn"] == "arn:aws:ecs:eu-west-1:123456789012:cluster/shop"
    assert (told["family"], told["step"]) == ("migration", "Look")
    assert told["reason"] == "app: exit code 3"
    assert told["eventName"] == "RUNBOOK_FAILED"
