"""`ecs-watch run` at a shell, against a double of ECS on this machine."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from notifier import running
from notifier.cli import interruption, main
from notifier.ecs.runs import Runs
from sandbox.aws_error import AwsError
from sandbox.ecs_double import EcsDouble, Fault
from sandbox.one_off import Ending, Job
from tests.one_off import CLUSTER, FAMILY, TWO_ESSENTIAL, WITH_SIDE_CAR, definition

Capture = pytest.CaptureFixture[str]
RUN = ("run", "--cluster", "prod", "--task-definition", FAMILY)
QUICK = Job({"app": Ending(0.1)}, starts_after=0)
SERVICE: dict[str, Any] = {
    "serviceArn": "arn:aws:ecs:eu-west-1:123456789012:service/prod/web",
    "serviceName": "web",
    "clusterArn": CLUSTER,
    "status": "ACTIVE",
    "launchType": "FARGATE",
    "platformVersion": "1.4.0",
    "networkConfiguration": {
        "awsvpcConfiguration": {"subnets": ["subnet-1"], "assignPublicIp": "DISABLED"}
    },
}


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[EcsDouble]:
    """Where the command's AWS is, and no waiting longer than it takes."""
    monkeypatch.setattr(running, "LOOK_EVERY", ((99.0, 0.03),))
    monkeypatch.setattr(running, "LOG_QUIET_FOR", 0.1)
    with EcsDouble() as started:
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECS", started.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", started.url)
        started.patch(
            {
                "clusters": [{"clusterArn": CLUSTER, "status": "ACTIVE"}],
                "taskDefinitions": [definition()],
                "services": [SERVICE],
            }
        )
        started.give(FAMILY, QUICK)
        yield started


def asked_for(double: EcsDouble) -> dict[str, Any]:
    (request,) = [request for operation, request in double.requests if operation == "RunTask"]
    return request


@pytest.mark.parametrize("code", [0, 3])
def test_it_ends_with_the_containers_exit_code_and_prints_its_log(
    double: EcsDouble, capsys: Capture, code: int
) -> None:
    ending = {"app": Ending(0.1, code)}
    double.give(FAMILY, Job(ending, starts_after=0, lines=["one", "two"], log_lag=0))

    assert main(RUN) == code

    shown = capsys.readouterr()
    assert shown.out == "one\ntwo\n"
    first, task, log, *_, end = shown.err.splitlines()
    assert first.startswith("started arn:aws:ecs:eu-west-1:123456789012:task/prod/0000")
    assert "https://eu-west-1.console.aws.amazon.com/ecs/v2/clusters/prod/tasks/" in task
    assert "log-group/$252Fecs$252Fjobs/log-events/job$252Fapp$252F0000" in log
    assert end == f"ecs-watch run: exited, exit code {code}"


def test_what_never_started_ends_with_125_and_says_what_to_do(
    double: EcsDouble, capsys: Capture
) -> None:
    double.give(FAMILY, Job(fails_to_start="CannotPullContainerError: not found", starts_after=0))

    assert main([*RUN, "--json"]) == 125

    shown = capsys.readouterr()
    end = json.loads(shown.out)
    assert (end["outcome"], end["exitStatus"]) == ("never started", 125)
    assert end["tasks"][0]["exitCodes"] == {"app": None}
    assert "never started: CannotPullContainerError: not found" in shown.err
    assert "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/" in shown.err


def test_a_start_that_ecs_refuses_is_explained(double: EcsDouble, capsys: Capture) -> None:
    double.give(FAMILY, Job(refusals=[["ATTRIBUTE"]]))

    assert main(RUN) == 125

    shown = capsys.readouterr().err
    assert "never started, exit code 125: 1 of 1 not started. Reason: ATTRIBUTE" in shown
    assert "no container instance has an attribute that the task definition needs" in shown


def test_the_time_out_ends_with_124_and_leaves_the_task(double: EcsDouble, capsys: Capture) -> None:
    double.give(FAMILY, Job({"app": Ending(60)}, starts_after=0))

    assert main([*RUN, "--timeout", "1s", "--json"]) == 124

    shown = capsys.readouterr()
    assert json.loads(shown.out)["outcome"] == "timed out"
    assert "was left running" in shown.err
    assert "to stop it: aws ecs stop-task --cluster prod --task arn:aws:ecs:" in shown.err
    assert double.calls["StopTask"] == 0


def send(double: EcsDouble, *signals: tuple[str, float, int]) -> None:
    """Send each signal so many seconds after the first call of an operation, in turn."""

    def run() -> None:
        for operation, seconds, number in signals:
            while not double.calls[operation]:
                time.sleep(0.005)
            time.sleep(seconds)
            os.kill(os.getpid(), number)

    threading.Thread(target=run, daemon=True).start()


@pytest.mark.parametrize(
    ("how", "number", "stops"), [("stop", signal.SIGTERM, 1), ("leave", signal.SIGINT, 0)]
)
def test_a_signal_stops_the_task_or_leaves_it(
    double: EcsDouble, capsys: Capture, how: str, number: int, stops: int
) -> None:
    double.give(FAMILY, Job({"app": Ending(60)}, starts_after=0))
    before = signal.getsignal(number)
    send(double, ("DescribeTasks", 0, number))

    assert main([*RUN, "--on-cancel", how]) == 128 + number

    assert double.calls["StopTask"] == stops
    assert "ecs-watch run: cancelled" in capsys.readouterr().err
    assert signal.getsignal(number) is before


def test_one_ctrl_c_that_arrives_twice_stops_the_task(double: EcsDouble, capsys: Capture) -> None:
    double.give(FAMILY, Job({"app": Ending(60)}, starts_after=0))
    double.fail("StopTask", Fault(delay=0.3))
    # The terminal sends it to all, and make, npm or a CI runner hands it on.
    send(double, ("DescribeTasks", 0, signal.SIGINT), ("DescribeTasks", 0.01, signal.SIGINT))

    assert main([*RUN, "--json"]) == 130

    assert double.calls["StopTask"] == 1
    assert json.loads(capsys.readouterr().out)["outcome"] == "cancelled"


def test_a_second_ctrl_c_ends_it_at_once_and_says_what_may_still_run(
    double: EcsDouble, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interruption, "SAME_UNTIL", 0.2)
    double.give(FAMILY, Job({"app": Ending(60)}, starts_after=0))
    double.fail("StopTask", Fault(delay=5))
    send(double, ("DescribeTasks", 0, signal.SIGINT), ("StopTask", 0.3, signal.SIGINT))
    began = time.monotonic()

    assert main([*RUN, "--json"]) == 130

    assert time.monotonic() - began < 4
    shown = capsys.readouterr()
    end = json.loads(shown.out)
    assert (end["outcome"], end["exitStatus"]) == ("cancelled", 130)
    assert [one["why"] for one in end["tasks"]] == ["may still run"]
    assert "to stop it: aws ecs stop-task" in shown.err


def test_command_variables_and_a_services_network_are_handed_on_and_values_never_printed(
    double: EcsDouble, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROM_HERE", "mine")
    double.patch({"taskDefinitions": [{**definition(), "networkMode": "awsvpc"}]})
    job = Job(QUICK.containers, starts_after=0, lines=["DB is s3cret-value", "", ""], log_lag=0)
    double.give(FAMILY, job)

    code = main(
        [
            *(*RUN, "--like", "web", "--security-groups", "sg-1"),
            *("--command", "rails 'db:migrate now'"),
            *("--env", "DB_PASSWORD=s3cret-value", "--env", "FROM_HERE", "--env", "EMPTY="),
        ]
    )

    assert code == 0
    asked = asked_for(double)
    (override,) = asked["overrides"]["containerOverrides"]
    assert override["command"] == ["rails", "db:migrate now"]
    assert {row["name"]: row["value"] for row in override["environment"]} == {
        "DB_PASSWORD": "s3cret-value",
        "FROM_HERE": "mine",
        "EMPTY": "",
    }
    assert asked["networkConfiguration"]["awsvpcConfiguration"] == {
        "subnets": ["subnet-1"],
        "assignPublicIp": "DISABLED",
        "securityGroups": ["sg-1"],
    }
    assert (asked["launchType"], asked["platformVersion"]) == ("FARGATE", "1.4.0")
    shown = capsys.readouterr()
    assert "s3cret-value" not in shown.out + shown.err
    assert "DB is [redacted" in shown.out


def test_a_file_gives_what_run_task_takes_and_flags_win(double: EcsDouble, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    given = {
        "tags": [{"key": "team", "value": "shop"}],
        "launchType": "EC2",
        "overrides": {"cpu": "512", "containerOverrides": [{"name": "app", "cpu": 256}]},
    }
    file.write_text(json.dumps(given))

    arguments = ["--file", str(file), "--capacity-provider", "FARGATE_SPOT", "--command", '["x"]']
    assert main([*RUN, *arguments]) == 0

    asked = asked_for(double)
    assert asked["tags"] == given["tags"]
    assert "launchType" not in asked
    assert asked["capacityProviderStrategy"] == [{"capacityProvider": "FARGATE_SPOT"}]
    assert asked["overrides"] == {
        "cpu": "512",
        "containerOverrides": [{"name": "app", "cpu": 256, "command": ["x"]}],
    }


def test_the_named_container_decides_and_side_cars_are_mentioned(
    double: EcsDouble, capsys: Capture
) -> None:
    double.patch({"taskDefinitions": [WITH_SIDE_CAR]})
    double.give(FAMILY, Job({"app": Ending(0.2), "agent": Ending(0.1, 6)}, starts_after=0))

    assert main(RUN) == 0
    assert "beside it ended: agent 6" in capsys.readouterr().err
    assert main([*RUN, "--container", "agent"]) == 6


@pytest.mark.parametrize(
    ("shown", "arguments", "says"),
    [
        (definition(), ["--container", "nobody"], "there is no container 'nobody'"),
        (TWO_ESSENTIAL, ["--command", "x"], "need --container, one of: app, proxy"),
        (definition(), ["--file", "/nonexistent"], "/nonexistent: No such file"),
        (definition(), ["--security-groups", "sg-1"], "need --subnets"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_started(
    double: EcsDouble, capsys: Capture, shown: Any, arguments: list[str], says: str
) -> None:
    double.patch({"taskDefinitions": [shown]})

    assert main([*RUN, *arguments]) == 2

    assert says in capsys.readouterr().err
    assert double.calls["RunTask"] == 0


def test_a_file_may_not_hold_what_options_give(double: EcsDouble, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text('{"cluster": "other", "count": 3}')

    assert main([*RUN, "--file", str(file)]) == 2
    assert double.calls["RunTask"] == 0


@pytest.mark.parametrize(
    "arguments", [["--env", "=x"], ["--env", "UNSET_HERE"], ["--count", "11"], ["--command", "'"]]
)
def test_a_command_line_that_cannot_be_understood_is_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*RUN, *arguments])
    assert ended.value.code == 2


def test_a_task_definition_that_cannot_be_read_is_a_task_that_never_started(
    double: EcsDouble, capsys: Capture
) -> None:
    assert main([*RUN[:-1], "nobodys", "--json"]) == 125

    shown = capsys.readouterr()
    assert json.loads(shown.out)["outcome"] == "never started"
    assert "DescribeTaskDefinition: gone" in shown.err


def test_a_service_that_is_not_there_is_no_pattern(double: EcsDouble, capsys: Capture) -> None:
    assert main([*RUN, "--like", "nobody"]) == 125
    assert "there is no service 'nobody'" in capsys.readouterr().err


def test_what_a_terminal_would_obey_is_taken_out_of_the_log(
    double: EcsDouble, capsys: Capture
) -> None:
    lines = ["\x1b[31mred\x1b[0m \x1b]0;title\x07and \x07bell \u202ereversed", "end"]
    double.give(FAMILY, Job(QUICK.containers, starts_after=0, lines=lines, log_lag=0))

    main(RUN)

    assert capsys.readouterr().out == "red and bell reversed\nend\n"


def test_who_stops_reading_the_log_gets_the_exit_code_all_the_same(
    double: EcsDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    double.give(FAMILY, Job({"app": Ending(0.1, 3)}, starts_after=0, lines=["a", "b"], log_lag=0))
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as nobody:
        monkeypatch.setattr("sys.stdout", nobody)

        assert main(RUN) == 3


def test_a_task_is_followed_to_its_end_though_nobody_reads_a_word(double: EcsDouble) -> None:
    double.give(FAMILY, Job({"app": Ending(0.1, 3)}, starts_after=0))
    reader, writer = os.pipe()
    os.close(reader)

    with os.fdopen(writer, "w") as nobody:  # as `2>&1 | head -1` leaves it
        program = [sys.executable, "-m", "notifier", *RUN, "--no-log"]
        ended = subprocess.run(
            program, stdout=nobody, stderr=nobody, timeout=30, check=False, cwd="src"
        )

    assert ended.returncode == 3


def test_without_standard_error_nothing_but_the_json_goes_to_standard_output(
    double: EcsDouble, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", None)  # as Python has it where it was closed: `2>&-`

    assert main([*RUN, "--no-log", "--json"]) == 0

    assert json.loads(capsys.readouterr().out)["outcome"] == "exited"


def nobody_foresaw(*_: Any, **__: Any) -> Any:
    raise KeyError("tasks")


def test_an_error_that_nobody_foresaw_is_never_a_containers_exit_code(
    double: EcsDouble, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Runs, "tasks", nobody_foresaw)

    assert main([*RUN, "--json"]) == 125

    shown = capsys.readouterr()
    end = json.loads(shown.out)
    assert (end["outcome"], end["exitStatus"]) == ("unknown", 125)
    assert end["why"] == "an error that ecs-watch did not foresee: KeyError: 'tasks'"
    assert [one["outcome"] for one in end["tasks"]] == ["unknown"]
    arn = end["tasks"][0]["taskArn"]
    assert f"{arn} unknown: may still run" in shown.err
    assert f"to stop it: aws ecs stop-task --cluster prod --task {arn}" in shown.err
    assert "in nobody_foresaw" in shown.err  # for whoever mends it
    assert double.calls["StopTask"] == 0


def test_a_start_that_ends_in_such_an_error_is_said_to_be_looked_for(
    double: EcsDouble, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.ecs.runs.Taken", nobody_foresaw)

    assert main([*RUN, "--json"]) == 125

    mark = asked_for(double)["startedBy"]
    assert mark in json.loads(capsys.readouterr().out)["why"]


def test_such_an_error_before_any_start_is_no_exit_code_of_a_container_either(
    double: EcsDouble, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Runs, "definition", nobody_foresaw)

    assert main([*RUN, "--json"]) == 125

    assert json.loads(capsys.readouterr().out)["outcome"] == "unknown"
    assert double.calls["RunTask"] == 0


def test_a_cancelled_run_stops_its_task_whatever_else_goes_wrong(
    double: EcsDouble, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended_by_a_signal(*_: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        raise KeyError("tasks")

    monkeypatch.setattr(Runs, "tasks", ended_by_a_signal)

    assert main(RUN) == 125

    assert double.calls["StopTask"] == 1
    assert "was told to stop" in capsys.readouterr().err


def test_of_several_tasks_each_line_says_whose_it_is_and_one_bad_code_counts(
    double: EcsDouble, capsys: Capture
) -> None:
    job = Job({"app": Ending(0.1, 5)}, starts_after=0, lines=["hello", "end"], log_lag=0)
    double.give(FAMILY, job)

    assert main([*RUN, "--count", "2"]) == 5
    assert {"000001 hello", "000002 hello"} <= set(capsys.readouterr().out.splitlines())


def test_an_error_of_ecs_is_told_in_its_words(double: EcsDouble, capsys: Capture) -> None:
    double.give(FAMILY, Job(refusals=[AwsError("InvalidParameterException", "No subnets.")]))

    assert main(RUN) == 125
    assert "InvalidParameterException: No subnets." in capsys.readouterr().err


def test_the_policy_that_it_needs_names_what_it_may_do_and_no_role_by_wildcard(
    capsys: Capture,
) -> None:
    assert main([*RUN, "--like", "web", "--iam", "--region", "eu-west-1"]) == 0

    statements = json.loads(capsys.readouterr().out)["Statement"]
    actions = {
        action
        for one in statements
        for action in ([one["Action"]] if isinstance(one["Action"], str) else one["Action"])
    }
    assert actions == {
        "ecs:RunTask",
        "ecs:DescribeTasks",
        "ecs:StopTask",
        "ecs:ListTasks",
        "ecs:DescribeTaskDefinition",
        "ecs:DescribeServices",
        "iam:PassRole",
        "logs:GetLogEvents",
    }
    everywhere = {one["Sid"] for one in statements if one["Resource"] == "*"}
    assert everywhere == {"FindAfterALostAnswer", "ReadTaskDefinition"}
    (roles,) = [one for one in statements if one["Action"] == "iam:PassRole"]
    assert all("*" not in arn for arn in roles["Resource"])


def test_the_policy_allows_every_call_that_is_made(double: EcsDouble, capsys: Capture) -> None:
    main([*RUN, "--like", "web", "--iam"])
    policy = capsys.readouterr().out
    double.give(FAMILY, Job({"app": Ending(60)}, starts_after=0, lines=["a", "b"]))

    main([*RUN, "--like", "web", "--timeout", "1s", "--on-timeout", "stop"])

    for operation in double.calls:
        prefix = "logs" if operation == "GetLogEvents" else "ecs"
        assert f'"{prefix}:{operation}"' in policy
