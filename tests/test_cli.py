"""`ecs-watch` at a shell."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws

from notifier.cli import main
from notifier.cli.files import read_json
from notifier.events import parse, renewed
from notifier.model import Event
from tests.watch import START, deployment_failed

FAILED = "events/dep-failed-circuit-breaker-docs.json"
STEADY = "events/sa-steady-state-docs.json"
ANSWERS = "events/answers/facts-release-out-of-memory-built.json"
EVENT_FILES = sorted(map(str, Path("events").rglob("*.json")))
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _without_earlier_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session keeps its profile and credentials, so that of another test must not be used."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)


def test_preview_shows_what_slack_would_get(capsys: Capture) -> None:
    assert main(["preview", FAILED]) == 0

    shown = capsys.readouterr().out
    assert "default · servicetest" in shown
    assert "deployment failed" in shown
    assert "│ ECS deployment circuit breaker: task failed to start." in shown
    assert "[deployments]" in shown


def test_preview_as_json_is_what_slacks_api_takes(capsys: Capture) -> None:
    assert main(["preview", "--format", "json", FAILED]) == 0

    row = json.loads(capsys.readouterr().out)
    assert row["channel"] == "C0000000000"
    assert {"text", "blocks"} <= set(row["message"])


def test_preview_as_html_is_a_page_of_its_own(capsys: Capture) -> None:
    assert main(["preview", "--format", "html", FAILED]) == 0

    page = capsys.readouterr().out
    assert page.startswith("<!doctype html>")
    assert "servicetest" in page


def test_preview_as_html_also_says_of_what_nothing_is_told(capsys: Capture) -> None:
    main(["preview", "--format", "html", FAILED, STEADY])

    page = capsys.readouterr().out
    assert "1 of 2 events are told" in page
    assert f"{STEADY} &#8594; no channel (nothing is told: no failure: remembered" in page


@pytest.mark.parametrize("file", EVENT_FILES)
def test_preview_takes_every_file_of_the_events_folder(file: str, capsys: Capture) -> None:
    assert main(["preview", file]) == 0

    assert file in capsys.readouterr().out


def test_preview_says_why_nothing_is_told(capsys: Capture) -> None:
    running = "events/task-running-multi-container-defra-2023.json"
    main(["preview", STEADY, "events/ci-state-change-docs-2016.json", running])

    shown = capsys.readouterr().out
    assert "nothing is told: no failure: remembered" in shown
    assert "nothing is told: container instance state change" in shown
    assert "nothing is told: no task failed" in shown


NO_EVENTS = ["{}", "null", "[1]", '"text"', '{"Type": "Notification", "Message": "{}"}']


@pytest.mark.parametrize("text", NO_EVENTS)
def test_preview_says_that_what_is_no_event_would_end_in_the_dead_letter_queue(
    text: str, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "it.json").write_text(text)

    assert main(["preview", str(tmp_path / "it.json")]) == 0
    assert "it would end in the dead-letter queue: " in capsys.readouterr().out


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_an_event_is_read_in_any_encoding_that_json_has(encoding: str, tmp_path: Path) -> None:
    text = Path(FAILED).read_text("utf-8")
    (tmp_path / "it.json").write_bytes(text.encode(encoding))

    assert read_json(str(tmp_path / "it.json")) == json.loads(text)


# --- preview --facts ----------------------------------------------------------------------------


def facts_shown(capsys: Capture, answers: str, event: str = FAILED) -> Any:
    """What recorded answers say of the event's service, as JSON prints it."""
    assert main(["preview", "--format", "json", event, "--facts", answers]) == 0
    return json.loads(capsys.readouterr().out)["facts"]


def saved(tmp_path: Path, answers: object) -> str:
    path = tmp_path / "answers.json"
    path.write_text(json.dumps(answers), "utf-8")
    return str(path)


def test_recorded_answers_are_read_as_ecs_gives_them(capsys: Capture) -> None:
    facts = facts_shown(capsys, ANSWERS)

    assert facts["deployment_id"] == "ecs-svc/123"
    assert facts["failing_revision"].endswith("servicetest:8")
    assert facts["serving"]["arn"].endswith("servicetest:7")
    assert facts["service_deployment"]["threshold"] == 3
    assert [len(facts["stopped_tasks"]), len(facts["logs"]["lines"])] == [3, 3]
    assert facts["failing_images"]["app"] != facts["serving_images"]["app"]
    assert (facts["missing"], facts["read_at"]) == ([], "2020-05-23T11:11:11.300000+00:00")


def test_no_value_of_a_variable_is_printed(capsys: Capture, tmp_path: Path) -> None:
    text = Path(ANSWERS).read_text("utf-8")
    assert '"value": "on"' in text
    (tmp_path / "it.json").write_text(text.replace('"value": "on"', '"value": "a-plain-secret"'))
    facts = facts_shown(capsys, str(tmp_path / "it.json"))

    assert "FEATURE_X" in facts["failing"]["containers"][0]["environment"]
    assert "a-plain-secret" not in json.dumps(facts)


def test_without_recorded_answers_json_has_no_facts(capsys: Capture) -> None:
    main(["preview", "--format", "json", FAILED])

    assert "facts" not in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("form", ["text", "html"])
def test_recorded_answers_go_with_every_format(form: str, capsys: Capture) -> None:
    assert main(["preview", "--format", form, FAILED, "--facts", ANSWERS]) == 0

    assert "servicetest" in capsys.readouterr().out


def test_an_event_of_no_service_has_no_facts(capsys: Capture) -> None:
    daemon = "events/daemon-action-task-failed-to-run-docs-2026.json"
    assert main(["preview", "--format", "json", daemon, "--facts", ANSWERS]) == 0

    assert "facts" not in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("file", "tasks", "deployment", "missing"),
    [
        (
            "api-describe-services-cli.json",
            0,
            "ecs-svc/1234567890123456789",
            ["stopped tasks", "circuit breaker and alarms", "task definitions"],
        ),
        (
            "api-describe-services-custodian-update.json",
            0,
            "ecs-svc/9223370485812826009",
            ["stopped tasks", "circuit breaker and alarms", "task definitions"],
        ),
        (
            "api-bugcrowd-container-failed-deployment.json",
            1,
            None,
            ["the service", "circuit breaker and alarms", "task definitions"],
        ),
        (
            "api-describe-service-deployments-cli.json",
            0,
            None,
            ["the service", "stopped tasks", "image digests"],
        ),
        (
            "api-list-service-deployments-cli.json",
            0,
            None,
            ["the service", "stopped tasks", "circuit breaker and alarms", "image digests"],
        ),
    ],
)
def test_what_one_command_printed_is_known_by_its_keys_whatever_service_it_is_of(
    file: str, tasks: int, deployment: str | None, missing: list[str], capsys: Capture
) -> None:
    facts = facts_shown(capsys, f"events/answers/{file}")

    assert (facts["service"], facts["deployment_id"]) == ("servicetest", deployment)
    assert len(facts["stopped_tasks"]) == tasks
    assert [one["what"] for one in facts["missing"]] == missing
    assert {one["why"] for one in facts["missing"]} == {"not in the file"}


def test_the_service_of_that_name_is_taken_before_any_other(
    capsys: Capture, tmp_path: Path
) -> None:
    rows = [
        {"serviceName": name, "status": "ACTIVE", "tags": [{"key": "is", "value": name}]}
        for name in ("another", "servicetest")
    ]
    facts = facts_shown(capsys, saved(tmp_path, {"DescribeServices": {"services": rows}}))

    assert facts["tags"] == {"is": "servicetest"}


def test_a_task_event_is_about_the_deployment_that_started_it(
    capsys: Capture, tmp_path: Path
) -> None:
    event = "events/task-stopped-essential-exited-fivexl.json"
    started_by = json.loads(Path(event).read_text())["detail"]["startedBy"]
    tasks = [
        {"taskArn": f"task {n}", "startedBy": by, "lastStatus": "STOPPED"}
        for n, by in enumerate((started_by, "ecs-svc/2", started_by))
    ]
    facts = facts_shown(capsys, saved(tmp_path, {"tasks": tasks}), event)

    assert facts["deployment_id"] == started_by
    assert len(facts["stopped_tasks"]) == 2


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ([], "recorded answers are an object, by operation or as the AWS CLI prints it"),
        ({}, "no answer that is known by its keys; name it, one of DescribeServices, ListTasks"),
        ({"containerInstances": []}, "no answer that is known by its keys"),
        (
            {"DescribeServices": {"tasks": []}},
            "DescribeServices: expected an answer with 'services'",
        ),
        ({"DescribeServices": [{"services": []}, 7]}, "DescribeServices: expected an answer with"),
        (
            {"DescribeServices": {"services": []}, "DescribeService": {}},
            "DescribeService is none of the answers that are read: DescribeServices",
        ),
    ],
)
def test_a_file_that_holds_no_answers_says_what_it_should_hold(
    answers: object, why: str, capsys: Capture, tmp_path: Path
) -> None:
    file = saved(tmp_path, answers)

    assert main(["preview", FAILED, "--facts", file]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"ecs-watch: {file}: {why}")
    assert captured.out == ""


def test_a_file_of_answers_that_is_not_there_or_no_json_is_said(
    capsys: Capture, tmp_path: Path
) -> None:
    (tmp_path / "broken.json").write_text("{")

    assert main(["preview", FAILED, "--facts", "nowhere.json"]) == 1
    assert main(["preview", FAILED, "--facts", str(tmp_path / "broken.json")]) == 1
    said = capsys.readouterr().err
    assert "ecs-watch: nowhere.json: No such file" in said
    assert "broken.json: not JSON" in said


@pytest.mark.parametrize(
    "file", sorted(path.name for path in Path("events/answers").glob("*.json"))
)
def test_no_recorded_answer_ends_in_a_traceback(file: str, capsys: Capture) -> None:
    code = main(["preview", FAILED, "--facts", f"events/answers/{file}"])

    shown = capsys.readouterr()
    assert code == 0 or shown.err.startswith(f"ecs-watch: events/answers/{file}: ")


def test_preview_shows_who_is_mentioned_and_where(capsys: Capture) -> None:
    main(["preview", "--channels", "default=C77,mention=S0SRE; *=C01", FAILED])

    shown = capsys.readouterr().out
    assert "→ C77" in shown
    assert "@S0SRE" in shown


def test_a_file_that_cannot_be_read_is_said_and_the_others_are_shown(
    capsys: Capture, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")

    assert main(["preview", "nowhere.json", str(broken), FAILED]) == 1
    captured = capsys.readouterr()
    assert "nowhere.json: No such file" in captured.err
    assert "broken.json: not JSON" in captured.err
    assert "servicetest" in captured.out


def test_channels_that_cannot_be_read_are_said_whatever_the_files_are(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["preview", "--channels", "nonsense", "nowhere.json"])

    assert ended.value.code == 2
    assert "argument --channels: Channels: " in capsys.readouterr().err


@pytest.mark.parametrize("form", ["text", "json", "html"])
def test_preview_prints_to_a_terminal_that_knows_nothing_but_ascii(form: str) -> None:
    command = [sys.executable, "-m", "notifier", "preview", f"../{FAILED}", "--format", form]
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd="src", env=environment
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    assert "servicetest" in ran.stdout


def test_json_and_html_say_the_same_in_whatever_encoding_they_are_printed(capsys: Capture) -> None:
    for form in ("json", "html"):
        assert main(["preview", "--format", form, FAILED]) == 0

    assert capsys.readouterr().out.isascii()


@pytest.mark.parametrize("arguments", [[], ["dance"], ["preview"], ["replay"]])
def test_a_command_line_that_is_not_understood_ends_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2


@pytest.mark.parametrize("verb", ["preview", "replay"])
def test_each_verb_has_help_with_an_example(verb: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])

    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert f"ecs-watch {verb} events/" in shown
    assert "exit codes" in shown


@pytest.fixture
def queue_url() -> Iterator[str]:
    with mock_aws():
        yield boto3.client("sqs").create_queue(QueueName="events")["QueueUrl"]


def sent_to(queue_url: str) -> list[Any]:
    messages = boto3.client("sqs").receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10)
    return [json.loads(message["Body"]) for message in messages.get("Messages", [])]


def test_replay_sends_the_event_as_if_it_happened_now(queue_url: str, capsys: Capture) -> None:
    assert main(["replay", FAILED, "--queue-url", queue_url]) == 0

    (event,) = sent_to(queue_url)
    age = datetime.now(UTC) - datetime.fromisoformat(event["time"])
    assert age.total_seconds() < 60
    assert "sent as message" in capsys.readouterr().out


def test_replay_can_send_an_event_as_it_is(queue_url: str) -> None:
    main(["replay", FAILED, "--queue-url", queue_url, "--as-is"])

    assert sent_to(queue_url) == [json.loads(Path(FAILED).read_text())]


def test_replay_can_send_what_is_no_event_so_that_the_dead_letter_queue_is_tried(
    queue_url: str, tmp_path: Path
) -> None:
    (tmp_path / "hostile.json").write_text('{"detail": 5}')

    assert main(["replay", str(tmp_path / "hostile.json"), "--queue-url", queue_url]) == 1
    assert sent_to(queue_url) == []
    main(["replay", str(tmp_path / "hostile.json"), "--queue-url", queue_url, "--as-is"])
    assert sent_to(queue_url) == [{"detail": 5}]


def test_replay_sends_the_others_and_names_the_file_that_it_cannot_send(
    queue_url: str, tmp_path: Path, capsys: Capture
) -> None:
    hostile, broken, large = (tmp_path / name for name in ("hostile", "broken", "large"))
    hostile.write_text('{"source": "aws.ecs", "detail-type": "ECS Service Action"}')
    broken.write_text("[")
    large.write_text(json.dumps(deployment_failed() | {"more": "x" * 2_000_000}))
    files = [str(hostile), str(broken), "nowhere", str(large), FAILED]

    assert main(["replay", *files, "--queue-url", queue_url]) == 1

    assert len(sent_to(queue_url)) == 1
    said = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[:4] for line in said] == [
        ["ecs-watch", str(hostile), "not sent", "not an event"],
        ["ecs-watch", str(broken), "not sent", "not JSON"],
        ["ecs-watch", "nowhere", "not sent", "No such file or directory"],
        ["ecs-watch", str(large), "not sent", "the queue refuses it"],
    ]


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch) -> Stubber:
    """CloudFormation, whose answers a test gives."""
    monkeypatch.setattr("notifier.cli.aws._account", lambda: " of account 123456789012")
    client, real = boto3.client("cloudformation"), boto3.client
    monkeypatch.setattr(boto3, "client", lambda n: client if n == "cloudformation" else real(n))
    stubber = Stubber(client)
    stubber.activate()
    return stubber


def test_replay_finds_the_queue_of_a_stack(queue_url: str, stacks: Stubber) -> None:
    row = {"StackName": "ecs-watch", "StackStatus": "CREATE_COMPLETE", "CreationTime": START}
    known = {"EventsQueueUrl": queue_url, "TableName": "ecs-watch"}
    outputs: Any = [{"OutputKey": key, "OutputValue": value} for key, value in known.items()]
    stacks.add_response("describe_stacks", {"Stacks": [{**row, "Outputs": outputs}]})

    assert main(["replay", FAILED]) == 0
    assert len(sent_to(queue_url)) == 1


def test_a_stack_that_is_not_there_is_an_error_that_names_it(
    stacks: Stubber, capsys: Capture
) -> None:
    stacks.add_client_error("describe_stacks", "ValidationError", "does not exist")

    assert main(["replay", FAILED, "--stack", "nowhere"]) == 1
    said = capsys.readouterr().err
    assert "stack 'nowhere' could not be read" in said
    assert "of account 123456789012; see --region, --profile and --stack" in said


@pytest.mark.parametrize("verb", [["mutes"], ["replay", FAILED]])
def test_without_a_region_it_is_said_how_to_set_one(
    verb: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")

    assert main(verb) == 1
    assert capsys.readouterr().err.endswith("Set AWS_REGION, or give --region.\n")


def test_the_region_may_be_named_as_the_aws_cli_names_it(
    queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "")

    assert main(["replay", FAILED, "--queue-url", queue_url]) == 0
    assert len(sent_to(queue_url)) == 1


def test_without_credentials_it_is_said_to_log_in(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobodys")

    assert main(["mutes"]) == 1
    assert "log in" in capsys.readouterr().err


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidClientTokenId"])
def test_credentials_that_are_no_longer_good_are_a_reason_to_log_in(
    code: str, stacks: Stubber, capsys: Capture
) -> None:
    stacks.add_client_error("describe_stacks", code, "The security token is expired")

    assert main(["mutes"]) == 1
    assert "log in" in capsys.readouterr().err


def test_a_stack_that_is_not_ecs_watch_is_said_to_be_so(stacks: Stubber, capsys: Capture) -> None:
    row = {"StackName": "other", "StackStatus": "CREATE_COMPLETE", "CreationTime": START}
    stacks.add_response("describe_stacks", {"Stacks": [row]})

    assert main(["replay", FAILED, "--stack", "other"]) == 1
    assert "is it ecs-watch?" in capsys.readouterr().err


@pytest.mark.parametrize("named", [("--stack", "mine"), ("--queue-url", "https://sqs/q")])
@pytest.mark.parametrize("where", [("--region", "us-east-1"), ("--profile", "")])
def test_replay_can_be_told_where_beside_which(
    named: tuple[str, str], where: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")  # --region sets it

    assert main(["replay", FAILED, "--dry-run", *named, *where]) == 0
    assert "would be sent" in capsys.readouterr().out


def test_replay_goes_to_a_stack_or_to_a_queue() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["replay", FAILED, "--stack", "mine", "--queue-url", "https://sqs/q"])

    assert ended.value.code == 2


def test_replay_sends_nothing_on_a_dry_run(queue_url: str, capsys: Capture) -> None:
    assert main(["replay", FAILED, "--queue-url", queue_url, "--dry-run"]) == 0

    assert sent_to(queue_url) == []
    assert "would be sent" in capsys.readouterr().out


def test_what_is_no_event_is_not_sent_and_said(queue_url: str, capsys: Capture) -> None:
    answer = "events/answers/api-describe-services-cli.json"

    assert main(["replay", answer, "--queue-url", queue_url]) == 1
    assert sent_to(queue_url) == []
    assert f"{answer}: not sent: not an event" in capsys.readouterr().err


def test_what_the_stack_does_not_take_is_not_sent_and_said(queue_url: str, capsys: Capture) -> None:
    other = "events/ci-state-change-docs-2016.json"

    assert main(["replay", other, "--queue-url", queue_url]) == 1
    assert sent_to(queue_url) == []
    assert f"{other}: not sent: the stack does not take it: " in capsys.readouterr().err


def test_a_renewed_event_keeps_the_distance_between_its_times() -> None:
    before = parse(deployment_failed())
    after = parse(renewed(deployment_failed(), datetime(2030, 1, 1, tzinfo=UTC)))

    assert isinstance(before, Event)
    assert isinstance(after, Event)
    assert before.sent_at == START
    assert after.sent_at == datetime(2030, 1, 1, tzinfo=UTC)
    assert after.sent_at - after.occurred_at == before.sent_at - before.occurred_at


def test_it_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "notifier", "--version"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd="src")

    assert ran.stdout.startswith("ecs-watch ")


def test_ctrl_c_ends_it_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def interrupted(_name: str) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr("notifier.cli.preview.read_json", interrupted)

    assert main(["preview", "-"]) == 130
    assert capsys.readouterr().err == ""


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = [sys.executable, "-m", "notifier", "preview", *(f"../{name}" for name in EVENT_FILES)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="src"
    ) as running:
        assert running.stdout
        assert running.stderr
        running.stdout.close()
        said = running.stderr.read()

    assert (said, running.returncode) == (b"", 0)
