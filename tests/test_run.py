"""`ecs-watch run`: a one-off task is started once, followed, and ends with its own exit code."""

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from notifier.facts import Container, StoppedTask
from notifier.outcome import Outcome, Seen, carried, judged
from notifier.running import LetGo
from notifier.starting import Start, of_error, of_failure, of_failures, of_stop
from sandbox.aws_error import AwsError
from sandbox.one_off import NEVER, Ending, Job
from tests.one_off import (
    ACCESS_DENIED,
    CAPACITY,
    PASSING_STOP,
    SCRIPTS,
    TWO_ESSENTIAL,
    Scene,
    Script,
    botocores,
    client_error,
    container,
    definition,
    lost_answers,
    ours,
    status,
)

LONG = Job({"app": Ending(900)})


# --- why a start failed ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "start"),
    [
        (CAPACITY, Start.PASSING),
        ("RESOURCE:CPU", Start.PASSING),
        ("RESOURCE:FARGATE", Start.PASSING),
        ("AGENT", Start.PASSING),
        ("You’ve reached the limit on the number of vCPUs you can run", Start.PASSING),  # noqa: RUF001
        ("ATTRIBUTE", Start.FINAL),
        ("LOCATION", Start.FINAL),
        ("EMPTY CAPACITY PROVIDER", Start.FINAL),
        ("NO ACTIVE INSTANCES", Start.FINAL),
        ("AGENTS OF CHANGE", Start.FINAL),
        ("", Start.FINAL),
        ("a word that nobody knows", Start.FINAL),
    ],
)
def test_a_start_is_tried_again_only_for_a_reason_that_is_known_to_pass(
    reason: str, start: Start
) -> None:
    assert of_failure(reason).start is start


def test_one_reason_that_stays_makes_all_stay() -> None:
    assert of_failures([CAPACITY, "ATTRIBUTE"]).start is Start.FINAL
    assert of_failures([CAPACITY, "RESOURCE:CPU"]).start is Start.PASSING
    assert of_failures([]).start is Start.FINAL


@pytest.mark.parametrize(
    ("code", "message", "status", "start"),
    [
        ("ThrottlingException", "Rate exceeded", 400, Start.PASSING),
        ("ClientException", "the quota of tasks in the PROVISIONING state", 400, Start.PASSING),
        ("ClientException", "TaskDefinition not found.", 400, Start.FINAL),
        ("AccessDeniedException", "", 400, Start.FINAL),
        ("ClusterNotFoundException", "", 400, Start.FINAL),
        ("BlockedException", "", 400, Start.FINAL),
        ("ConflictException", "", 400, Start.TAKEN),
        ("ServerException", "", 500, Start.UNKNOWN),
        ("", "", 0, Start.UNKNOWN),
        ("Nobody'sError", "", 503, Start.UNKNOWN),
    ],
)
def test_an_error_of_a_start_passes_stays_or_leaves_it_open(
    code: str, message: str, status: int, start: Start
) -> None:
    assert of_error(code, message, status).start is start


def stopped(reason: str, *codes: int | None, code: str = "TaskFailedToStart") -> StoppedTask:
    names = ("app", "proxy")
    return StoppedTask(
        arn="t",
        stop_code=code,
        stopped_reason=reason,
        containers=tuple(
            Container(name=name, exit_code=one) for name, one in zip(names, codes, strict=False)
        ),
    )


@pytest.mark.parametrize(
    ("task", "start"),
    [
        (stopped(PASSING_STOP, None), Start.PASSING),
        (stopped("Timeout waiting for EphemeralStorage provisioning to complete."), Start.PASSING),
        (stopped("TaskFailedToStart: RESOURCE:ENI"), Start.PASSING),
        (stopped("CannotPullContainerError: dial tcp: i/o timeout"), Start.PASSING),
        (stopped("CannotPullContainerError: manifest unknown"), Start.FINAL),
        (stopped("ResourceInitializationError: unable to pull secrets"), Start.FINAL),
        (stopped(PASSING_STOP, 0), Start.FINAL),  # a container of it ran
        (stopped(PASSING_STOP, code="EssentialContainerExited"), Start.FINAL),
    ],
)
def test_a_task_that_never_ran_may_be_started_again_and_one_that_ran_never(
    task: StoppedTask, start: Start
) -> None:
    assert of_stop(task).start is start


# --- exit codes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_the_exit_code_is_right_when_the_task(script: Script) -> None:
    assert ours(script) == script.right


def test_the_waiter_that_we_are_compared_with_takes_a_failed_start_for_a_success() -> None:
    (pull,) = [one for one in SCRIPTS if one.name == "cannot pull its image"]
    (long,) = [one for one in SCRIPTS if one.name == "runs for 20 minutes"]
    (fine,) = [one for one in SCRIPTS if one.name == "ends well"]

    assert (botocores(pull), botocores(long), botocores(fine)) == (0, 255, 0)


@pytest.mark.parametrize(("code", "shell"), [(0, 0), (255, 255), (256, 1), (-1, 1), (None, 125)])
def test_an_exit_code_that_a_shell_cannot_carry_is_never_0(code: int | None, shell: int) -> None:
    assert carried(code) == shell


def test_which_of_two_essential_containers_ended_first_is_known_from_having_looked() -> None:
    task = stopped("Essential container in task exited", 0, 137, code="EssentialContainerExited")

    assert judged(task, ["app", "proxy"]).outcome is Outcome.UNKNOWN
    assert judged(task, ["app", "proxy"], Seen("app", by_itself=True)).exit_code == 0
    assert judged(task, ["app", "proxy"], Seen("proxy", by_itself=True)).exit_code == 137


# --- the start ------------------------------------------------------------------------------------


def losing(*operations: str, after: bool = True) -> Any:
    """The answers to the first calls of these operations are lost, after ten seconds."""
    left = list(operations)
    waits: list[Scene] = []

    def around(operation: str, call: Any) -> Any:
        if operation not in left:
            return call()
        left.remove(operation)
        if after:
            call()
        waits[0].clock.sleep(10)
        raise client_error(AwsError("ServerException", "", 500), operation)

    around.waits = waits  # type: ignore[attr-defined]
    return around


def scene_of(around: Any, job: Job) -> Scene:
    scene = Scene(job, around=around)
    around.waits.append(scene)
    return scene


def starts(scene: Scene) -> list[Mapping[str, Any]]:
    return [request for operation, request in scene.client.requests if operation == "RunTask"]


def test_a_start_whose_answer_is_lost_starts_nothing_twice_and_is_found() -> None:
    scene = scene_of(losing("RunTask"), Job({"app": Ending(2, 3)}))

    report = scene.run()

    assert status(report) == 3
    assert len(scene.launched) == len(starts(scene)) == 1
    assert "looking for it" in scene.heard.notes[0]


def test_a_request_that_was_lost_is_sent_again_to_the_letter() -> None:
    scene = scene_of(losing("RunTask", after=False), Job())

    assert status(scene.run()) == 0
    first, second = starts(scene)
    assert first == second
    assert len(first["clientToken"]) == 64


def test_nothing_is_sent_again_where_it_cannot_be_looked_for() -> None:
    def around(operation: str, call: Any) -> Any:
        if operation == "ListTasks":
            raise client_error(ACCESS_DENIED, operation)
        if operation == "RunTask":
            call()
            raise client_error(AwsError("ServerException", "", 500), operation)
        return call()

    scene = Scene(Job(), around=around)
    report = scene.run()

    assert (report.outcome, status(report)) == (Outcome.UNKNOWN, 125)
    assert len(starts(scene)) == 1
    assert "startedBy ecs-watch-run/" in report.why


def test_what_a_used_client_token_had_started_is_followed() -> None:
    arns: list[str] = []

    def around(operation: str, call: Any) -> Any:
        answer = call()
        if operation != "RunTask":
            return answer
        arns.append(answer["tasks"][0]["taskArn"])
        raise client_error(AwsError("ConflictException", more={"resourceIds": arns}), operation)

    scene = Scene(Job({"app": Ending(2, 4)}), around=around)

    assert status(scene.run()) == 4
    assert scene.heard.started == arns


def test_only_the_missing_ones_of_a_partial_start_are_started_again() -> None:
    scene = Scene(Job({"app": Ending(300)}, refusals=[[CAPACITY] * 2, [CAPACITY]]))

    report = scene.run(count=3)

    assert status(report, 3) == 0
    assert [one["count"] for one in starts(scene)] == [3, 2, 1]
    assert len({one["clientToken"] for one in starts(scene)}) == 3
    assert len(scene.launched) == 3


def test_starts_are_tried_so_often_and_so_long_and_no_longer() -> None:
    never = [[CAPACITY]] * 99

    scene = Scene(Job(refusals=never))
    report = scene.run()
    assert len(starts(scene)) == 5
    assert report.why == f"1 of 1 not started after 5 attempts. Reason: {CAPACITY}"
    assert 100 < scene.seconds < 3600

    many = Scene(Job(refusals=never))
    many.run(start_attempts=99)
    assert many.seconds < 3600
    assert 8 < len(starts(many)) < 20


def test_a_task_that_could_not_start_is_started_again_twice_at_most() -> None:
    scene = Scene(Job(fails_to_start=PASSING_STOP))

    report = scene.run()

    assert report.outcome is Outcome.NEVER_STARTED
    assert len(starts(scene)) == 3
    assert scene.launched == []


@pytest.mark.parametrize(("how", "stops"), [(LetGo.STOP, 1), (LetGo.LEAVE, 0)])
def test_a_partial_start_is_stopped_or_followed_to_its_end(how: LetGo, stops: int) -> None:
    scene = Scene(Job({"app": Ending(60)}, refusals=[["ATTRIBUTE"]]))

    report = scene.run(count=2, on_partial=how)

    assert status(report, 2) == 125
    assert scene.client.calls["StopTask"] == stops
    assert "1 of 2 not started. Reason: ATTRIBUTE" in scene.heard.notes
    (end,) = report.ends.values()
    assert end.outcome is (Outcome.NEVER_STARTED if stops else Outcome.EXITED)


# --- waiting --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "said"), [(LetGo.STOP, "told to stop"), (LetGo.LEAVE, "left")])
def test_at_the_time_out_it_is_said_what_becomes_of_the_task(how: LetGo, said: str) -> None:
    scene = Scene(LONG)

    report = scene.run(timeout=60.0, on_timeout=how)

    assert (report.outcome, status(report)) == (Outcome.TIMED_OUT, 124)
    assert scene.client.calls["StopTask"] == (how is LetGo.STOP)
    (end,) = report.ends.values()
    assert said in end.why
    assert scene.seconds == pytest.approx(60, abs=1)


def test_a_time_out_before_anything_was_started_is_said_to_be_that() -> None:
    report = Scene(Job(refusals=[[CAPACITY]] * 9)).run(timeout=5.0)

    assert (report.outcome, status(report)) == (Outcome.NEVER_STARTED, 125)


def test_a_task_that_ended_just_before_the_time_out_has_its_own_code() -> None:
    scene = Scene(Job({"app": Ending(8, 3)}, lines=["a", "b"]))

    assert status(scene.run(timeout=10.0)) == 3


@pytest.mark.parametrize(("how", "stops"), [(LetGo.STOP, 1), (LetGo.LEAVE, 0)])
def test_a_cancelled_run_stops_its_task_or_leaves_it(how: LetGo, stops: int) -> None:
    scene = Scene(LONG, cancel_at=30)

    report = scene.run(on_cancel=how)

    assert (report.outcome, report.why) == (Outcome.CANCELLED, "SIGTERM")
    assert scene.client.calls["StopTask"] == stops


def test_a_run_that_is_cancelled_while_its_start_is_in_doubt_finds_and_stops_the_task() -> None:
    scene = scene_of(losing("RunTask"), LONG)
    scene.cancel_at = 10

    report = scene.run()

    assert len(starts(scene)) == 1
    assert scene.launched[0].told_to_stop is not None
    assert report.outcome is Outcome.CANCELLED


def test_a_stop_that_is_denied_is_said() -> None:
    def around(operation: str, call: Any) -> Any:
        if operation == "StopTask":
            raise client_error(ACCESS_DENIED, operation)
        return call()

    scene = Scene(LONG, around=around, cancel_at=10)
    (end,) = scene.run().ends.values()

    assert end.why == "could not be stopped and may still run: StopTask: no permission"


@pytest.mark.parametrize(
    ("error", "at_least", "at_most"),
    [(ACCESS_DENIED, 0, 5), (AwsError("ServerException", "", 500), 600, 620)],
)
def test_tasks_that_cannot_be_read_are_unknown_in_the_end(
    error: AwsError, at_least: float, at_most: float
) -> None:
    def around(operation: str, call: Any) -> Any:
        if operation == "DescribeTasks":
            raise client_error(error, operation)
        return call()

    scene = Scene(LONG, around=around)
    report = scene.run()

    assert (report.outcome, status(report)) == (Outcome.UNKNOWN, 125)
    assert at_least <= scene.seconds <= at_most


@pytest.mark.parametrize("lag", [0.5, 2, 3, 5])
@pytest.mark.parametrize("seconds", [0.1, 15, 40, 300, 301.5, 303, 304.5])
def test_every_line_of_the_log_is_followed_in_order_to_the_late_last_one(
    seconds: float, lag: float
) -> None:
    lines = [f"line {number}" for number in range(50)]
    scene = Scene(Job({"app": Ending(seconds)}, lines=lines, log_lag=lag))

    scene.run()

    assert scene.heard.printed == lines


def test_the_late_last_line_of_one_task_is_followed_while_another_runs_on() -> None:
    lines = ["first", "last"]
    job = Job({"app": Ending(300)}, lines=lines, log_lag=5, refusals=[[CAPACITY]])
    scene = Scene(job)  # the second task is started some seconds after the first

    scene.run(count=2)

    assert sorted(scene.heard.printed) == ["first", "first", "last", "last"]


def test_a_log_that_cannot_be_read_for_a_while_is_read_once_more_before_the_end() -> None:
    def around(operation: str, call: Any) -> Any:
        if operation == "GetLogEvents" and 60 <= scene.seconds <= 75:
            raise client_error(AwsError("ThrottlingException", "Rate exceeded"), operation)
        return call()

    scene = Scene(Job({"app": Ending(62)}, lines=["first", "last"]), around=around)

    scene.run()

    assert scene.heard.printed == ["first", "last"]


def test_a_task_whose_log_cannot_be_read_any_more_ends_all_the_same() -> None:
    def around(operation: str, call: Any) -> Any:
        if operation == "GetLogEvents":
            raise client_error(AwsError("ThrottlingException", "Rate exceeded"), operation)
        return call()

    scene = Scene(Job({"app": Ending(100, 3)}, lines=["first", "last"]), around=around)

    assert status(scene.run()) == 3
    assert scene.seconds < 130


def test_a_log_that_may_not_be_read_is_said_once_and_the_task_followed() -> None:
    def around(operation: str, call: Any) -> Any:
        if operation == "GetLogEvents":
            raise client_error(ACCESS_DENIED, operation)
        return call()

    scene = Scene(Job({"app": Ending(40, 2)}, lines=["a", "b"]), around=around)

    assert status(scene.run()) == 2
    assert [note for note in scene.heard.notes if "log" in note] == [
        "the log of app could not be read: GetLogEvents: no permission"
    ]


def test_a_container_that_logs_elsewhere_is_said_to() -> None:
    shown = definition(container("app", logs=False, logConfiguration={"logDriver": "splunk"}))
    scene = Scene(Job(), shown)

    scene.run()

    (log,) = scene.heard.logs
    assert getattr(log, "why", "") == "app logs to splunk"


def test_the_first_of_two_essential_containers_is_noticed_while_they_end() -> None:
    slow = Ending(NEVER, on_term=137, term_takes=30)
    scene = Scene(Job({"app": Ending(20), "proxy": slow}), TWO_ESSENTIAL)

    assert status(scene.run()) == 0


# --- lost answers ---------------------------------------------------------------------------------


def test_no_job_runs_twice_and_none_is_told_wrongly_whatever_is_lost() -> None:
    count = lost_answers(range(30))

    assert (count["duplicates"], count["wrong"]) == (0, 0)
    assert count["lost starts"] > 10
    assert count["unknown"] < 10


def test_the_same_seed_is_the_same_history() -> None:
    assert lost_answers(range(3)) == lost_answers(range(3))


def test_without_the_client_token_and_the_look_the_measure_sees_jobs_run_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokens = (f"{number}" for number in itertools.count())
    monkeypatch.setattr("notifier.running.Run._found", lambda *_: False)
    monkeypatch.setattr("sandbox.one_off._digest", lambda _: "")
    monkeypatch.setattr("sandbox.one_off.OneOffs._by_token", lambda *_: next(tokens) and None)

    assert lost_answers(range(10))["duplicates"] > 0
