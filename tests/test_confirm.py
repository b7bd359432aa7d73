"""Is this deployment really live? Every script, and what a person at a shell gets to see."""

import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from notifier.cli import confirm as verb
from notifier.cli import main
from notifier.confirmation import Kind, Mine, Silent, confirm, deployment, since
from notifier.confirming import PAUSE, Confirmation
from notifier.errors import ReadFailed
from tests import confirm_scripts
from tests.confirm_scripts import (
    ALL_OF_RELEASES,
    MINE,
    SCRIPTS,
    FakeEcs,
    Script,
    VirtualClock,
    at,
    definition,
    is_wrong,
    ours,
    primary_is_mine,
    row,
    stock_waiter,
)

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch
Play = Callable[[Script | str], FakeEcs]
ASKED = ["confirm", "--cluster", "prod-web", "--service", "checkout"]


def script(name: str) -> Script:
    return next(one for one in SCRIPTS if one.name == name)


# --- every script -------------------------------------------------------------------------------


@pytest.mark.parametrize("one", SCRIPTS, ids=lambda one: one.name)
def test_the_verdict_is_right(one: Script) -> None:
    found, judged, _ = ours(one)

    assert found.verdict.kind is one.truth, found.verdict.evidence
    assert not is_wrong(one, judged)


@pytest.mark.parametrize("one", confirm_scripts.FAILED_ONES, ids=lambda one: one.name)
def test_a_failure_is_known_ten_seconds_after_ecs_knows_it(one: Script) -> None:
    for seed in range(5):
        _, judged, _ = ours(one, seed)

        assert judged.second - max(one.decided_at or 0, one.asked_at) <= 10


def test_names_of_scripts_are_different() -> None:
    assert len({one.name for one in SCRIPTS}) == len(SCRIPTS)


@pytest.mark.parametrize(
    "name", ["the roll-back is over before anybody asks", "stale reads for 25 s"]
)
def test_botocores_own_waiter_says_live_at_once_where_it_is_not(name: str) -> None:
    judged = stock_waiter(script(name))

    assert judged.kind is Kind.LIVE
    assert judged.second - script(name).asked_at < 1
    assert is_wrong(script(name), judged)


def test_botocores_own_waiter_waits_for_ten_minutes_where_the_circuit_breaker_has_decided() -> None:
    one = script("circuit breaker, no roll-back, before anybody asks")
    judged = stock_waiter(one)

    assert judged.kind is Kind.UNDECIDED
    assert 585 <= judged.second - one.asked_at < 590


def test_the_task_definition_of_primary_does_not_tell_a_redeployment_that_was_rolled_back() -> None:
    one = script("same revision redeployed and rolled back to itself")

    assert primary_is_mine(one).kind is Kind.LIVE


# --- what is asked of a verdict -----------------------------------------------------------------


def test_live_takes_a_minute_without_a_death_and_a_death_starts_it_anew() -> None:
    _, calm, _ = ours(script("happy"))
    _, shaken, _ = ours(script("one death while it settles"))

    assert calm.second >= 160
    assert shaken.second >= 190


def test_a_roll_back_is_waited_for_on_demand_and_stays_a_failure(play: Play) -> None:
    fake = play("circuit breaker rolls back")
    wanted = {"checkout": fake.script.wanted}
    (found,) = confirm("prod-web", wanted, client=fake, wait_rollback=True)

    assert found.verdict.kind is Kind.ROLLED_BACK
    assert found.verdict.evidence[0] == "ECS rolled it back"
    assert found.seconds > 255


def test_crashes_are_counted_as_asked_and_not_at_all_with_0() -> None:
    one = script("crash loop after RUNNING, no circuit breaker")
    two = replace(one, policy=replace(one.policy, crashes=2))
    never = replace(one, policy=replace(one.policy, crashes=0))

    assert ours(two)[1].second < 130
    assert ours(never)[1].kind is Kind.UNDECIDED


def test_an_error_that_passes_makes_the_pauses_longer_and_no_verdict() -> None:
    one = script("throttled all the time")
    found, judged, fake = ours(one)

    assert found.verdict.kind is Kind.UNDECIDED
    assert "ECS could not be read: DescribeServices: throttled" in found.verdict.evidence
    assert len(fake.calls) < (judged.second - one.asked_at) / PAUSE.total_seconds() / 5


@pytest.mark.parametrize(
    "code",
    ["AccessDeniedException", "ClusterNotFoundException", "ExpiredTokenException"],
)
def test_what_asking_again_cannot_change_ends_it(code: str) -> None:
    with pytest.raises(ReadFailed):
        ours(replace(script("happy"), errors=[(0, 1e6, code)]))


def test_several_services_are_asked_about_in_one_call(play: Play) -> None:
    fake = play("happy")
    wanted = {"search": since(at(-60)), "checkout": fake.script.wanted}
    found = confirm("prod-web", wanted, client=fake)

    assert [one.verdict.kind for one in found] == [Kind.NOT_FOUND, Kind.LIVE]
    looks = fake.calls.count("describe_services") - 1  # and one that explains nothing
    assert looks <= fake.calls.count("list_tasks") + 1


class Told(Silent):
    """Who is told of each outcome, and when."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.ends: list[tuple[str, Kind, float]] = []

    def ended(self, found: Confirmation) -> None:
        self.ends.append((found.service, found.verdict.kind, self.clock.second))


def test_a_failure_is_told_at_once_where_another_service_goes_on(
    play: Play, clock: VirtualClock
) -> None:
    fake = play("circuit breaker rolls back")
    wanted = {"search": since(at(0)), "checkout": fake.script.wanted}
    fake.beside = {"search": row(MINE, 7, begun=0, pending=2)}
    told = Told(clock)
    found = confirm("prod-web", wanted, client=fake, listener=told, timeout=timedelta(minutes=10))

    assert [one.verdict.kind for one in found] == [Kind.UNDECIDED, Kind.ROLLED_BACK]
    assert [one[:2] for one in told.ends] == [
        ("checkout", Kind.ROLLED_BACK),
        ("search", Kind.UNDECIDED),
    ]
    assert told.ends[0][2] <= 200


def test_a_failure_is_told_though_the_login_ends_before_the_other_service_does(
    play: Play, capsys: Capture
) -> None:
    one = script("circuit breaker rolls back")
    fake = play(replace(one, errors=[(400, 1e6, "ExpiredTokenException")]))
    fake.beside = {"search": row(MINE, 7, begun=0, pending=2)}
    asked = [*ASKED, "search", "--since", "2026-11-20T11:59:30Z", "--json"]

    assert main(asked) == 1
    said = capsys.readouterr()
    shown = json.loads(said.out)
    assert shown["exitCode"] == 1
    assert "ExpiredTokenException" in shown["error"]
    assert [one["service"] for one in shown["services"]] == ["checkout"]
    assert said.err.index("⛔ checkout: rolled back") < said.err.index("ExpiredTokenException")


def test_interrupted_it_shows_what_is_known_by_then(
    play: Play, capsys: Capture, monkeypatch: Patch, clock: VirtualClock
) -> None:
    fake = play("circuit breaker rolls back")
    fake.beside = {"search": row(MINE, 7, begun=0, pending=2)}

    def sleeps(seconds: float) -> None:
        clock.sleep(seconds)
        if clock.second > 400:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("notifier.confirmation.time", SimpleNamespace(sleep=sleeps))
    asked = [*ASKED, "search", "--since", "2026-11-20T11:59:30Z", "--json"]

    assert main(asked) == 130
    shown = json.loads(capsys.readouterr().out)
    assert shown["exitCode"] == 130
    assert [one["verdict"] for one in shown["services"]] == ["rolled back"]


def test_a_failure_is_explained_by_its_tasks_and_what_changed() -> None:
    found, _, _ = ours(script("never starts, no circuit breaker"))

    assert found.cause
    assert "image" in found.cause.why
    assert any("v41 → v42" in line for line in found.cause.changed)
    assert dict(found.pages)["deployments"].startswith("https://eu-west-1.console.aws.amazon.com/")


# --- at a shell ---------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: Patch) -> VirtualClock:
    """What has the real time gets this one."""
    clock = VirtualClock()
    for name in ("GITHUB_ACTIONS", "GITLAB_CI"):
        monkeypatch.delenv(name, raising=False)
    for module in ("notifier.confirmation", "notifier.cli.confirm", "notifier.cli.confirmed"):
        monkeypatch.setattr(f"{module}.clock", lambda: clock.now)
    monkeypatch.setattr("notifier.confirmation.time", SimpleNamespace(sleep=clock.sleep))
    monkeypatch.setattr("notifier.confirmation.random", Random(1))
    return clock


@pytest.fixture
def play(monkeypatch: Patch, clock: VirtualClock) -> Play:
    """Let the shell's commands meet a script."""

    def plays(one: Script | str) -> FakeEcs:
        played = script(one) if isinstance(one, str) else one
        clock.second = played.asked_at
        fake = FakeEcs(played, clock)
        monkeypatch.setattr("notifier.confirmation.client_for_ecs", lambda: fake)
        return fake

    return plays


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("happy", 0),
        ("circuit breaker, no roll-back", 1),
        ("circuit breaker rolls back", 1),
        ("somebody stops it", 1),
        ("superseded by a newer revision", 3),
        ("stuck pending for want of capacity", 4),
        ("no such service", 5),
        ("no such deployment", 5),
    ],
)
def test_the_exit_code_tells(play: Play, capsys: Capture, name: str, code: int) -> None:
    play(name)
    mine = script(name).wanted.mine
    assert mine

    assert main([*ASKED, "--deployment", mine.deployment_id, "--timeout", "5m"]) == code
    assert str(script(name).truth) in capsys.readouterr().out


def test_what_happens_is_told_line_by_line_and_ends_with_why(play: Play, capsys: Capture) -> None:
    play("circuit breaker rolls back")
    assert main([*ASKED, "--deployment", MINE]) == 1

    said = capsys.readouterr().out
    assert "checkout  new 0 of 2 running, 2 pending · old 2 running · IN_PROGRESS" in said
    assert "checkout  ECS: rolling back to deployment ecs-svc/2500." in said
    (headline,) = (line for line in said.splitlines() if line.startswith("⛔"))
    assert headline.startswith("⛔ checkout: rolled back, ")
    assert "image" in headline, "the cause"
    assert headline.endswith(" (checkout:42 · ecs-svc/2000)")
    assert "  circuit breaker 3 of 3" in said
    assert "  2 of 2 running on checkout:41" in said
    assert "Changed  app image v41 → v42" in said
    assert "  deployments: https://" in said
    assert "\x1b" not in said


def test_json_is_all_that_standard_output_gets(play: Play, capsys: Capture) -> None:
    play("circuit breaker rolls back")
    assert main([*ASKED, "--deployment", MINE, "--json"]) == 1

    said = capsys.readouterr()
    shown = json.loads(said.out)
    assert shown["exitCode"] == 1
    (one,) = shown["services"]
    assert (one["verdict"], one["deploymentId"]) == ("rolled back", MINE)
    assert one["taskDefinition"] == definition(42)
    assert "rolled back" in said.err


@pytest.mark.parametrize(
    ("variable", "mark"),
    [
        ("GITHUB_ACTIONS", "\n::error title=checkout%3A rolled back::⛔ checkout: rolled back"),
        ("GITLAB_CI", "\x1b[0Ksection_start:"),
    ],
)
def test_a_ci_system_is_shown_the_failure_in_its_own_way(
    play: Play, capsys: Capture, monkeypatch: Patch, variable: str, mark: str
) -> None:
    monkeypatch.setenv(variable, "true")
    play("circuit breaker rolls back")

    assert main([*ASKED, "--deployment", MINE]) == 1
    assert mark in capsys.readouterr().out


def test_what_a_message_says_commands_neither_terminal_nor_runner_and_leaks_nothing(
    play: Play, capsys: Capture, monkeypatch: Patch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    said = (
        "::error::x",
        "a ##[error]x",
        "\x1b[2J \u202e one\n::set-output name=a::b",
        "password=hunter2hunter2 AKIAIOSFODNN7EXAMPLE",
    )
    one = replace(script("happy"), messages=[(20.0 + n, text) for n, text in enumerate(said)])
    play(one)
    assert main([*ASKED, "--deployment", MINE]) == 0

    shown = capsys.readouterr().out
    assert not [line for line in shown.splitlines() if line.strip().startswith("::")]
    assert "##[" not in shown
    assert not {"\x1b", "\u202e"} & set(shown)
    assert "hunter2" not in shown
    assert "AKIA" not in shown


def test_in_a_terminal_the_line_is_rewritten(capsys: Capture) -> None:
    from notifier.cli.progress import Progress

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    progress = Progress(terminal)
    progress.goes_on("checkout", at(0), "new 0 of 2")
    progress.goes_on("checkout", at(4), "new 1 of 2")
    progress.says("checkout", at(5), "(service checkout) has started 1 tasks.")

    assert terminal.getvalue().count("\n") == 1
    assert terminal.getvalue().endswith("checkout  ECS: has started 1 tasks.\n")
    progress.clear()
    assert terminal.getvalue().endswith("\r\x1b[2K")


class Breaking(io.StringIO):
    """A stream that takes nothing."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, _text: str) -> int:
        raise self.error


@pytest.mark.parametrize(
    "error", [BrokenPipeError(), OSError(errno.ENOSPC, "full"), ValueError("closed")]
)
def test_what_cannot_be_written_is_no_success_and_no_failure_of_the_deployment(
    play: Play, monkeypatch: Patch, error: Exception
) -> None:
    play("happy")
    monkeypatch.setattr(sys, "stdout", Breaking(error))

    assert main([*ASKED, "--deployment", MINE]) == 4
    assert main([*ASKED, "--deployment", MINE, "--json"]) == 4


@pytest.mark.parametrize(("name", "code"), [("happy", 0), ("circuit breaker rolls back", 1)])
def test_without_standard_output_the_exit_code_tells(
    play: Play, monkeypatch: Patch, name: str, code: int
) -> None:
    play(name)
    monkeypatch.setattr(sys, "stdout", None)

    assert main([*ASKED, "--deployment", MINE]) == code
    play(name)
    assert main([*ASKED, "--deployment", MINE, "--json"]) == code


def test_an_error_that_nobody_expected_is_not_said_to_be_the_deployments(
    play: Play, monkeypatch: Patch, capsys: Capture
) -> None:
    fake = play("happy")
    monkeypatch.setattr(fake, "list_tasks", lambda **_: {"taskArns": 1 / 0})

    assert main([*ASKED, "--deployment", MINE, "--json"]) == 4
    said = capsys.readouterr()
    assert said.err.endswith("ecs-watch: no verdict: ZeroDivisionError\n")
    assert json.loads(said.out)["exitCode"] == 4


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_full_disk_does_not_change_the_exit_code_of_a_failure(tmp_path: Path) -> None:
    command = f"{sys.executable} -c 'import sys; from notifier.cli import main; sys.exit(main())'"
    refused = f"{command} confirm --cluster c --service s --since 1m --json > /dev/full"
    environment = {"PYTHONPATH": "src", "AWS_CONFIG_FILE": str(tmp_path / "none")}
    one = subprocess.run(
        ["sh", "-c", refused], env=environment, capture_output=True, timeout=60, check=False
    )

    assert one.returncode == 5  # there is no region, so nothing is asked of AWS
    assert b"ecs-watch: DescribeServices: " in one.stderr
    assert b"Exception ignored" not in one.stderr


def test_a_profile_that_is_not_there_is_no_failed_deployment(
    monkeypatch: Patch, tmp_path: Path, capsys: Capture
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))

    assert main([*ASKED, "--deployment", MINE, "--profile", "nobody"]) == 5
    assert "nobody" in capsys.readouterr().err


# --- which deployment ---------------------------------------------------------------------------


BEFORE_IT_BEGINS = replace(script("happy"), asked_at=-2)


def primary(id: str = MINE) -> dict[str, str]:
    return {
        "id": id,
        "status": "PRIMARY",
        "taskDefinition": definition(42),
        "createdAt": at(0).isoformat(),
    }


def answer(name: str = "checkout", **more: Any) -> str:
    return json.dumps({"service": {"serviceName": name, "deployments": [primary()], **more}})


def given(monkeypatch: Patch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_the_answer_of_update_service_says_which_one_it_is(
    play: Play, monkeypatch: Patch, capsys: Capture
) -> None:
    play("the roll-back is over before anybody asks")
    given(monkeypatch, f"{answer('search')}\n{answer()}")

    assert main(ASKED) == 1
    assert "rolled back" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("An error occurred (AccessDenied)", "not JSON"),
        ("[]", "no object"),
        ("[" * 100_000, "not JSON"),
        ("{}", 'no "service"'),
        ('{"service": 7}', 'no "service"'),
        (answer("search"), "not of checkout"),
        (answer(deployments=[]), "CodeDeploy"),
        (answer(deployments=[{"status": "PRIMARY"}, 3]), "CodeDeploy"),
        ("x" * 10_000_001, "too long"),
    ],
    ids=lambda one: one[:20],
)
def test_nonsense_on_standard_input_is_said_to_be_that(
    play: Play, monkeypatch: Patch, capsys: Capture, text: str, why: str
) -> None:
    fake = play("happy")
    given(monkeypatch, text)

    assert main(ASKED) == 2
    assert why in capsys.readouterr().err
    assert fake.calls == []


def test_with_nothing_on_standard_input_no_deployment_is_guessed(
    play: Play, monkeypatch: Patch, capsys: Capture
) -> None:
    fake = play("happy")
    given(monkeypatch, "")

    assert main(ASKED) == 2
    assert "--since 1m" in capsys.readouterr().err
    assert fake.calls == []


def test_an_open_pipe_into_which_nobody_writes_is_not_waited_for(monkeypatch: Patch) -> None:
    from notifier.cli import answered

    monkeypatch.setattr(answered, "WAITED_FOR", 0.05)
    reading, writing = os.pipe()
    with os.fdopen(reading) as stream:
        assert answered.answers_on(stream) == {}
    os.close(writing)


@pytest.mark.parametrize(
    "wrong",
    [
        ["confirm"],
        ["confirm", "--cluster", "c"],
        [*ASKED, "--since", "yesterday"],
        [*ASKED, "--since", "2026-11-23T12:00:00"],
        [*ASKED, "--since", "5m", "--deploy", "--force-new-deployment"],
        [*ASKED, "--deploy"],
        [*ASKED, "--task-definition", "checkout:42"],
        [*ASKED, "search", "--deployment", "ecs-svc/1"],
        [*ASKED, "search", "--deploy", "--task-definition", "x:1"],
        [*ASKED, "--timeout", "soon"],
        [*ASKED, "--timeout", "999999h"],
        [*ASKED, "--fail-after-crashes", "-1"],
    ],
    ids=" ".join,
)
def test_arguments_that_do_not_fit_are_refused(wrong: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as left:
        main(wrong)

    assert left.value.code == 2
    assert "usage:" in capsys.readouterr().err


def begins(begun: list[Any], **known: str) -> Callable[..., Any]:
    """UpdateService as it answers for services with these deployments; notes what was asked."""

    def updates(**asked: Any) -> Any:
        begun.append(asked)
        name = asked["service"]
        return json.loads(answer(name, deployments=[primary(known.get(name, MINE))]))

    return updates


def test_deploy_begins_it_and_confirms_that_one(play: Play, capsys: Capture) -> None:
    fake = play(BEFORE_IT_BEGINS)
    begun: list[Any] = []
    fake.begins = begins(begun)

    assert main([*ASKED, "--deploy", "--task-definition", "checkout:42"]) == 0
    assert begun == [
        {
            "cluster": "prod-web",
            "service": "checkout",
            "taskDefinition": "checkout:42",
            "forceNewDeployment": False,
        }
    ]
    assert "checkout: ecs-svc/2000 begun" in capsys.readouterr().err


def test_deploy_says_so_when_that_task_definition_runs_already(play: Play, capsys: Capture) -> None:
    fake = play(replace(script("happy"), asked_at=3600))
    fake.begins = begins([])

    assert main([*ASKED, "--deploy", "--task-definition", "checkout:42"]) == 0
    said = capsys.readouterr().err
    assert "checkout: nothing begun, ecs-svc/2000 has this task definition already" in said


@pytest.mark.parametrize(
    ("beside", "code", "why"),
    [
        ({}, 5, "serach: there is no such service in the cluster"),
        ({"status": "DRAINING"}, 5, "serach: it is DRAINING"),
        ({"deploymentController": {"type": "CODE_DEPLOY"}}, 2, "CodeDeploy"),
    ],
)
def test_deploy_begins_nothing_unless_all_of_the_services_can_be_deployed(
    play: Play, capsys: Capture, beside: dict[str, Any], code: int, why: str
) -> None:
    fake = play("happy")
    fake.beside = {"serach": row(MINE, 7, begun=0)} if beside else {}
    fake.of_beside = beside
    begun: list[Any] = []
    fake.begins = begins(begun)

    assert main([*ASKED, "serach", "--deploy", "--force-new-deployment"]) == code
    assert begun == []
    said = capsys.readouterr().err
    assert why in said
    assert "nothing was begun" in said


@pytest.mark.parametrize(("name", "code"), [("happy", 5), ("circuit breaker, no roll-back", 1)])
def test_what_has_begun_is_confirmed_though_another_one_cannot_be_begun(
    play: Play, capsys: Capture, name: str, code: int
) -> None:
    fake = play(replace(script(name), asked_at=-2))
    fake.beside = {"search": row("ecs-svc/9", 7, begun=-9000, state="COMPLETED", running=2)}

    def updates(**asked: Any) -> Any:
        if asked["service"] == "search":
            raise ClientError(
                {"Error": {"Code": "AccessDenied", "Message": "not search"}}, "UpdateService"
            )
        return json.loads(answer())

    fake.begins = updates
    asked = [*ASKED, "search", "--deploy", "--force-new-deployment", "--json"]

    assert main(asked) == code
    said = capsys.readouterr()
    shown = json.loads(said.out)
    assert [one["verdict"] for one in shown["services"]] == [str(script(name).truth)]
    assert "not search" in shown["error"]
    assert said.err.index("search: not begun") < said.err.index(f"checkout: {script(name).truth}")


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("AccessDeniedException", 5),
        ("ServiceNotFoundException", 5),
        ("ClientException", 5),
        ("ThrottlingException", 4),
    ],
)
def test_a_deployment_that_cannot_be_begun_is_not_waited_for(
    play: Play, capsys: Capture, code: str, exit_code: int
) -> None:
    fake = play("happy")

    def refuses(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": code, "Message": "not \x1b[2Jtoday"}}, "UpdateService")

    fake.begins = refuses
    assert main([*ASKED, "--deploy", "--force-new-deployment"]) == exit_code
    assert "not [2Jtoday" in capsys.readouterr().err


@pytest.mark.parametrize("controller", ["CODE_DEPLOY", "EXTERNAL"])
def test_another_deployment_controller_is_an_error_that_says_who_can_tell(
    play: Play, capsys: Capture, controller: str
) -> None:
    others = ALL_OF_RELEASES | {"list_tasks"}
    throttled = replace(script("happy"), errors=[(0, 1e6, "ThrottlingException")], errors_of=others)
    fake = play(replace(throttled, controller=controller))

    assert main([*ASKED, "--deployment", MINE]) == 2
    assert "ECS shows no deployments of it" in capsys.readouterr().err
    assert fake.calls == ["describe_services"]


def test_without_permission_or_region_or_login_nothing_is_said_of_the_deployment(
    play: Play, capsys: Capture, monkeypatch: Patch
) -> None:
    play(replace(script("happy"), denied=frozenset({"describe_services"})))
    assert main([*ASKED, "--deployment", MINE, "--json"]) == 5

    said = capsys.readouterr()
    assert "AccessDeniedException" in said.err
    assert json.loads(said.out)["exitCode"] == 5


def test_what_may_not_be_read_is_named_at_the_end(play: Play, capsys: Capture) -> None:
    play("no permission for service deployments")
    assert main([*ASKED, "--deployment", MINE]) == 0

    assert "no permission: ecs:ListServiceDeployments (see --iam)" in capsys.readouterr().out


def test_what_fails_for_good_is_named_at_the_end_and_is_no_lack_of_permission(
    play: Play, capsys: Capture
) -> None:
    play("list_service_deployments fails for good with InvalidParameterException")
    assert main([*ASKED, "--deployment", MINE]) == 0

    said = capsys.readouterr().out
    assert "ecs:ListServiceDeployments: unavailable (InvalidParameterException)" in said
    assert "no permission" not in said


def test_interrupted_it_leaves_the_deployment_alone(
    play: Play, capsys: Capture, monkeypatch: Patch
) -> None:
    play("happy")

    def interrupts(_seconds: float) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("notifier.confirmation.time", SimpleNamespace(sleep=interrupts))
    assert main([*ASKED, "--deployment", MINE]) == 130
    assert "the deployment is untouched" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


# --- what it needs ------------------------------------------------------------------------------


def test_the_policy_allows_what_is_called_and_nothing_that_changes_anything(
    capsys: Capture,
) -> None:
    called = {call for one in SCRIPTS for call in ours(one)[2].calls}
    assert main(["confirm", "--iam"]) == 0

    policy = json.loads(capsys.readouterr().out)
    actions = {one for row in policy["Statement"] for one in row["Action"]}
    assert actions == {f"ecs:{''.join(map(str.capitalize, one.split('_')))}" for one in called}
    assert main([*ASKED, "--iam", "--deploy"]) == 0
    shown = capsys.readouterr().out
    assert '"ecs:UpdateService"' in shown
    assert '"arn:aws:ecs:*:*:service/prod-web/checkout"' in shown


def test_the_guide_names_sessions_as_the_watcher_reads_them_and_has_every_exit_code() -> None:
    guide = Path("docs/ci.md").read_text("utf-8")
    sessions = re.findall(r"\$\(printf %s .*?cut -c1-64\)", guide)

    assert len(sessions) == 2
    assert all(one in Path("docs/causes.md").read_text("utf-8") for one in sessions)
    codes = re.findall(r"^\| (\d+) \|", guide, re.MULTILINE)
    assert codes == re.findall(r"^  (\d+) ", verb.EXIT_CODES, re.MULTILINE)


def test_the_function_for_programs_takes_ids_arns_and_times(play: Play) -> None:
    fake = play("happy")
    (found,) = confirm("prod-web", {"checkout": deployment(MINE)}, client=fake)

    assert found.verdict.kind is Kind.LIVE
    assert deployment("arn:aws:ecs:x").mine == Mine(service_deployment="arn:aws:ecs:x")
    assert since(at(0)).since == at(0)
