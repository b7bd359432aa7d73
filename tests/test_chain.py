"""Each link of the way to Slack is broken once and noticed; of a well one, that is said."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import Mock, patch

import pytest
from botocore.exceptions import ClientError

from notifier.checkup import Unread
from notifier.cli import main
from notifier.cli.stack import Stack
from notifier.errors import NoTable
from notifier.model import Checkup
from tests import chain
from tests.alarms import NAME
from tests.chain import LINKS, World

Capture = pytest.CaptureFixture[str]

# What a person must be told of: this long after a link broke somebody knows.
SOON = {
    "schedule EveryMinute disabled": 6,
    "queue policy removed": 16,
    "event source mapping disabled": 30,
    "on_events throttled": 16,
    "on_tick throttled": 6,
    "table deleted": 6,
    "an event in the dead-letter queue": 2,
    "rule Heartbeat disabled": 46,
    "secret deleted": 46,
    "Slack token revoked": 46,
    "a member account silent": 46,
}
# Who it is that tells them, where somebody else could be taken for it.
BY = {"queue policy removed": ("DeadLetterQueuesAlarm",)}  # only heartbeats fail meanwhile
# Where something else could be noticed instead.
SAYS = {
    "queue policy removed": "queue policy does not let ",
    "redrive policy of the queue removed": "redrive policy is gone",
}
AT_THE_LATEST = 61  # minutes: the hourly check, and the tick that makes it


@pytest.mark.parametrize("link", LINKS)
def test_whatever_link_breaks_is_noticed_in_time(link: str) -> None:
    found = chain.row(link)

    assert found.is_noticed, found
    assert found.minutes <= SOON.get(link, AT_THE_LATEST)
    assert found.by == BY.get(link, found.by)
    assert found.doctor.startswith(SAYS.get(link, "")), found


def test_a_link_that_nobody_looks_at_would_be_seen_to_be_missed() -> None:
    with patch.dict(LINKS, {"nothing": lambda _world: None}), patch.object(chain, "WITHIN", 5):
        found = chain.row("nothing")

    assert not found.is_noticed
    assert "Noticed: 0 of 1." in chain.as_table([found])


# --- doctor ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared() -> Iterator[World]:
    with chain.world() as made:
        yield made


@pytest.fixture
def world(shared: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A stack that has been well for an hour; what a test breaks, the next one must not need."""
    monkeypatch.setattr(Stack, "program", lambda _stack: shared.at_a_shell())
    monkeypatch.setattr("notifier.cli.doctor.stack_of", lambda _name: shared.stack)
    monkeypatch.setattr("notifier.cli.doctor.surroundings", lambda *_: ())
    monkeypatch.setattr("notifier.cli.doctor.datetime", At(shared))
    return shared


class At:
    """The world's own clock."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now(self, _zone: object) -> Any:
        return self._world.now()


def test_a_stack_that_is_well_is_said_to_be_line_by_line(world: World, capsys: Capture) -> None:
    assert main(["doctor"]) == 0

    shown = capsys.readouterr().out
    assert "✗" not in shown
    for line in (
        "✓ secret /ecs-watch/slack-token can be read",
        "✓ rule DeploymentFailures is enabled and as shipped",
        "✓ rule EveryMinute is enabled and as shipped",
        "✓ queue ecs-watch-EventsQueue is there",
        "✓ queue policy lets the rules send",
        "✓ redrive policy sends what fails 10 times to ecs-watch-EventsDeadLetterQueue",
        "✓ dead-letter queue policy takes what the rules cannot deliver",
        "✓ event source mapping is enabled",
        "✓ function ecs-watch-TickFunction may run",
        "✓ table ecs-watch is ACTIVE",
        "✓ dead-letter queue ecs-watch-EventsDeadLetterQueue is empty",
        "✓ Slack token is valid: ecs-watch in Sandbox",
        "✓ Slack scope chat:write is there",
        "✓ channel C0DEPLOYS1 (#deploys) is open and the bot is in it",
        "✓ telling C0DEPLOYS1 gave nothing up",
        "✓ tick ran in the last 10 min",
        "✓ heartbeat of 123456789012 eu-west-1 came",
    ):
        assert line in shown
    assert shown.splitlines()[-1].endswith(" hold")


def test_a_test_message_is_posted_only_when_it_is_asked_for(world: World, capsys: Capture) -> None:
    channel = world.workspace.team.channels[chain.CHANNEL]
    before = len(channel.messages)
    main(["doctor"])
    assert len(channel.messages) == before

    assert main(["doctor", "--send-test"]) == 0

    (posted,) = channel.messages[before:]
    assert posted.text == "ecs-watch doctor: this is a test, nothing has failed."
    assert "✓ test message to C0DEPLOYS1 was posted" in capsys.readouterr().out


def test_a_missing_scope_says_what_it_costs_and_is_no_failure(
    world: World, capsys: Capture
) -> None:
    app = world.workspace.app
    with patch.object(app, "scopes", app.scopes - {"reactions:write", "channels:history"}):
        assert main(["doctor"]) == 0

    shown = capsys.readouterr().out
    assert (
        "– Slack scope reactions:write is missing\n"  # noqa: RUF001
        "    a thread's first message gets no mark when all is over"
    ) in shown


def test_doctor_fails_when_something_fails_and_says_how_much(world: World, capsys: Capture) -> None:
    events, channel = world.aws("events"), world.workspace.team.channels[chain.CHANNEL]
    events.disable_rule(Name=f"{NAME}-Heartbeat")
    with patch.object(channel, "archived", True):
        assert main(["doctor"]) == 1
    events.enable_rule(Name=f"{NAME}-Heartbeat")

    shown = capsys.readouterr().out
    assert (
        "✗ rule Heartbeat is disabled\n    run `aws events enable-rule --name ecs-watch-Heartbeat`"
    ) in shown
    assert "✗ channel C0DEPLOYS1 (#deploys) is archived" in shown
    assert shown.count("✗") == 2
    assert " hold, 2 failed" in shown


def test_a_login_that_may_not_read_the_secret_is_not_told_that_slack_refuses_it(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    answer: Any = {"Error": {"Code": "AccessDeniedException", "Message": "no"}}
    denied = ClientError(answer, "GetParameter")
    monkeypatch.setattr("notifier.secrets.Secret._ask", Mock(side_effect=denied))

    assert main(["doctor", "--send-test"]) == 1

    shown = capsys.readouterr().out
    assert "✗" not in shown
    for line in (
        "? secret /ecs-watch/slack-token may not be read by you",
        "? Slack token could not be tried: secret_not_permitted",
        "? channel C0DEPLOYS1 could not be looked at: secret_not_permitted",
        "? test message to C0DEPLOYS1 was not tried: secret_not_permitted",
    ):
        assert line in shown


def test_without_a_token_it_is_said_once(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    answer: Any = {"Error": {"Code": "ParameterNotFound", "Message": "no"}}
    missing = ClientError(answer, "GetParameter")
    monkeypatch.setattr("notifier.secrets.Secret._ask", Mock(side_effect=missing))

    assert main(["doctor", "--send-test"]) == 1

    shown = capsys.readouterr()
    assert "✗ secret /ecs-watch/slack-token cannot be used" in shown.out
    assert "? test message to C0DEPLOYS1 was not tried\n    mend the secret first" in shown.out
    assert "Slack" not in shown.out.replace("Slack bot token", "")
    assert shown.err == ""


def test_the_program_s_log_does_not_stand_between_the_answers() -> None:
    asked = "from notifier.cli import main; main(['preview', 'nowhere']);"
    logged = "import logging; logging.getLogger('notifier.slack.line').warning('a log line')"
    ran = subprocess.run(
        [sys.executable, "-c", asked + logged],
        env={**os.environ, "PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert "nowhere" in ran.stderr
    assert "a log line" not in ran.stderr


def without_news(world: World, monkeypatch: pytest.MonkeyPatch, created_at: datetime) -> None:
    """A stack in which nothing has happened by itself."""
    young = replace(world.stack, created_at=created_at)
    monkeypatch.setattr("notifier.cli.doctor.stack_of", lambda _name: young)
    monkeypatch.setattr("notifier.store.Store.heard", lambda *_: [])
    monkeypatch.setattr("notifier.store.Store.checkup", lambda *_: Checkup())


def test_a_stack_that_was_just_deployed_has_had_no_heartbeat_yet(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    without_news(world, monkeypatch, world.now() - timedelta(minutes=19))

    assert main(["doctor"]) == 1  # whether it comes was not seen yet

    shown = capsys.readouterr().out
    assert "✗" not in shown
    assert (
        "? heartbeat of 123456789012 eu-west-1 has not come yet\n"
        "    the first comes within 15 minutes of deploying; look again then"
    ) in shown


def test_later_a_heartbeat_that_never_came_is_a_fault(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    without_news(world, monkeypatch, world.now() - timedelta(minutes=21))

    assert main(["doctor"]) == 1
    assert "✗ heartbeat of 123456789012 eu-west-1 never came" in capsys.readouterr().out


def test_a_table_that_is_gone_is_said_once_with_how_it_is_restored(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(
        "notifier.deployed.Deployed.table",
        lambda *_: Unread("ResourceNotFoundException", is_gone=True),
    )
    monkeypatch.setattr("notifier.store.Store.given_up", Mock(side_effect=NoTable("no")))

    assert main(["doctor"]) == 1

    shown = capsys.readouterr().out
    assert shown.count("✗") == 1
    assert "✗ table ecs-watch does not exist\n    restore it: `aws dynamodb list-backups" in shown
    assert "could not be read" not in shown
    assert "allow yourself" not in shown
    assert "heartbeat" not in shown


def test_a_login_that_may_read_next_to_nothing_is_not_told_that_all_is_well(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("notifier.deployed._or_why", lambda _read: Unread("no permission"))
    world.aws("events").disable_rule(Name=f"{NAME}-DeploymentFailures")
    assert main(["doctor"]) == 1
    world.aws("events").enable_rule(Name=f"{NAME}-DeploymentFailures")

    shown = capsys.readouterr().out
    assert "? queue policy could not be read: no permission\n    allow it to be read" in shown
    assert "✗" not in shown
    assert " could not be seen" in shown.splitlines()[-1]
