"""What Lambda calls."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import boto3
import pytest
from moto import mock_aws

from notifier import handler
from notifier.errors import SettingsError, StoreUnavailable
from notifier.settings import Settings
from notifier.wiring import Program
from tests.watch import Watch, deployment_failed, sqs_message, table


@dataclass
class Context:
    aws_request_id: str = "request-1"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


@dataclass
class Wired:
    """A program whose three steps are the test's."""

    watch: Watch

    @property
    def intake(self) -> Any:
        return self.watch.intake

    def teller(self) -> Any:
        return self.watch.teller

    def lookout(self) -> Any:
        return self.watch.lookout


@pytest.fixture
def wired(watch: Watch) -> Iterator[Watch]:
    with (
        patch("notifier.handler._program", lambda: Wired(watch)),
        patch("notifier.handler._invocation", lambda _context: watch.run()),
    ):
        yield watch


def records(*events: Any) -> dict[str, Any]:
    return {"Records": [sqs_message(n, event) for n, event in enumerate(events)]}


def test_a_batch_is_taken_in_and_told_and_only_the_bad_record_goes_back(wired: Watch) -> None:
    answer = handler.on_events(records("poison", deployment_failed()), Context())

    assert answer == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
    assert len(wired.slack.posts) == 2


def test_what_could_not_be_told_does_not_bring_the_messages_back(wired: Watch) -> None:
    wired.slack.answers = [RuntimeError("a bug in the door to Slack")]
    with patch.object(type(wired.teller), "tell", side_effect=RuntimeError):
        answer = handler.on_events(records(deployment_failed()), Context())

    assert answer == {"batchItemFailures": []}
    assert wired.store.owed("C01")


def test_two_runs_of_one_request_are_two_holders() -> None:
    """Lambda runs a failed invocation again under the same request id."""
    first, second = handler._invocation(Context()), handler._invocation(Context())

    assert first.id != second.id
    assert first.unique() != first.unique()


def test_what_happened_is_measured_in_one_line(
    wired: Watch, capsys: pytest.CaptureFixture[str]
) -> None:
    handler.on_tick({}, Context())

    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["OwedAge"] == 0


def test_a_tick_that_fails_is_measured_and_fails(wired: Watch) -> None:
    with (
        patch.object(type(wired.store), "due", side_effect=StoreUnavailable("throttled")),
        pytest.raises(StoreUnavailable),
    ):
        handler.on_tick({}, Context())


def test_a_tick_tells_what_is_still_owed(wired: Watch) -> None:
    wired.take_in(deployment_failed())
    handler.on_tick({}, Context())

    assert len(wired.slack.posts) == 2


def test_the_real_parts_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TABLE_NAME", "ecs-watch")
    monkeypatch.setenv("CHANNELS", "*=C01")
    monkeypatch.setenv("SLACK_TOKEN_NAME", "/ecs-watch/token")
    monkeypatch.setenv("SLACK_API_URL", "http://127.0.0.1:9/api/")  # nobody listens there
    handler._program.cache_clear()
    with mock_aws():
        table()
        boto3.client("ssm").put_parameter(Name="/ecs-watch/token", Value="x", Type="SecureString")
        answer = handler.on_events(records(deployment_failed()), Context())
        rows = boto3.client("dynamodb").scan(TableName="ecs-watch")["Items"]
    handler._program.cache_clear()

    assert answer == {"batchItemFailures": []}
    assert any(row["sk"]["S"].startswith("owes#") for row in rows)


@pytest.mark.parametrize(
    ("channels", "says"),
    [("*=webhook", "no webhook is configured"), ("*=#general", "not a Slack channel id")],
)
def test_channels_that_cannot_work_are_an_error_that_says_why(channels: str, says: str) -> None:
    settings = Settings(table_name="t", channels=channels, slack_token_name="/ecs-watch/token")

    with pytest.raises(SettingsError, match=says):
        _ = Program(settings).routes


def test_a_bot_channel_without_a_token_is_an_error() -> None:
    settings = Settings(table_name="t", channels="*=C01", slack_webhook_name="/ecs-watch/hook")

    with pytest.raises(SettingsError, match="no bot token is configured"):
        _ = Program(settings).routes


def test_missing_settings_hand_the_batch_back_and_say_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TABLE_NAME", raising=False)
    handler._program.cache_clear()

    with pytest.raises(SettingsError, match="TABLE_NAME is not set"):
        handler.on_events(records(deployment_failed()), Context())


@pytest.mark.parametrize(
    "module",
    ["teller", "rendering", "diagnosis", "redaction", "ecs", "slack", "examining", "retries"],
)
def test_what_explains_and_tells_is_not_imported_before_something_is_told(module: str) -> None:
    check = f"import sys, notifier.handler; sys.exit('notifier.{module}' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
