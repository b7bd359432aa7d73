"""A heartbeat goes the whole way, and what fails of the watcher itself is told once."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from notifier import checkup, handler, wiring
from notifier.checkup import ChannelSeen, Finding, Identity, QueueSeen, RuleSeen, Unread, Verdict
from notifier.errors import StoreUnavailable
from notifier.events import parse
from notifier.examining import Examination, Parts
from notifier.model import Checkup, Heard, Heartbeat, NotOurs, Refusal, Refused, Unknown
from notifier.settings import Settings
from notifier.slack import Slack
from notifier.wiring import Program
from sandbox.workspace import Workspace
from tests.test_handler import Context
from tests.watch import START, Watch, deployment_failed

ACCOUNT, REGION = "123456789012", "eu-west-1"
NAME = "events/scheduled-heartbeat-built.json"


def heartbeat(account: str = ACCOUNT, **changes: Any) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(Path(NAME).read_text())
    resources = [f"arn:aws:events:{REGION}:{account}:rule/ecs-watch-Heartbeat-1ABC"]
    return {**event, "account": account, "resources": resources, **changes}


# --- a heartbeat ----------------------------------------------------------------------------------


def test_a_heartbeat_is_known_by_its_rule_and_comes_from_where_its_envelope_says() -> None:
    event = parse(heartbeat(detail={"account": "666666666666"}))

    assert event == Heartbeat("heartbeat", ACCOUNT, REGION, START)


@pytest.mark.parametrize(
    "changes",
    [
        {"resources": [f"arn:aws:events:{REGION}:{ACCOUNT}:rule/nightly-backup"]},
        {"resources": ["Heartbeat"]},
        {"resources": [f"arn:aws:sns:{REGION}:{ACCOUNT}:rule/Heartbeat"]},
        {"resources": []},
        {"resources": None},
    ],
)
def test_any_other_schedule_is_none_of_ours(changes: Any) -> None:
    assert parse(heartbeat(**changes)) == NotOurs("other schedule")


def test_a_heartbeat_that_somebody_sends_as_another_source_is_none() -> None:
    assert parse(heartbeat(source="acme.batch")) == NotOurs("other source")


def test_a_heartbeat_leaves_its_time_in_the_table_and_tells_nobody(watch: Watch) -> None:
    taken = watch.offer(heartbeat(), heartbeat("210987654321"))

    assert taken.heartbeats == {(ACCOUNT, REGION), ("210987654321", REGION)}
    assert (taken.failed, taken.destinations) == ((), frozenset())
    assert {one.account for one in watch.store.heard()} == {ACCOUNT, "210987654321"}
    assert watch.slack.asked == []


def test_a_heartbeat_that_cannot_be_written_goes_back_and_its_neighbours_are_told(
    watch: Watch,
) -> None:
    with patch.object(type(watch.store), "hear", side_effect=StoreUnavailable("throttled")):
        taken = watch.take_in(heartbeat(), deployment_failed())

    assert taken.failed == ("m0",)
    assert taken.heartbeats == frozenset()
    assert taken.destinations == {"C01"}


def at(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def test_a_heartbeat_counts_from_when_it_was_sent_and_not_from_when_it_came(watch: Watch) -> None:
    watch.clock.at = START + timedelta(hours=20)
    taken = watch.offer(heartbeat())

    (heard,) = watch.store.heard()
    assert heard.at == START
    assert taken.failed == ()
    assert not taken.heartbeats, "the way is not known to work now"


def test_one_that_waited_in_the_queue_for_less_than_the_next_is_a_sign_of_life(
    watch: Watch,
) -> None:
    watch.clock.at = START + timedelta(minutes=14)

    assert watch.offer(heartbeat()).heartbeats == {(ACCOUNT, REGION)}


def test_an_old_heartbeat_that_comes_after_a_newer_one_changes_nothing(watch: Watch) -> None:
    watch.clock.at = START + timedelta(hours=20)
    watch.offer(heartbeat(time=at(watch.clock.at)))
    taken = watch.offer(heartbeat(), heartbeat(time=at(watch.clock.at)))

    (heard,) = watch.store.heard()
    assert heard.at == watch.clock.at
    assert taken.failed == ()


# --- … and Slack ----------------------------------------------------------------------------------


def program(watch: Watch, workspace: Workspace, **more: Any) -> Program:
    settings = Settings(
        table_name="ecs-watch",
        channels="*=C0DEPLOYS1",
        slack_token_name="/ecs-watch/token",
        slack_api_url=workspace.api_url,
        account_id=ACCOUNT,
        region=REGION,
    )
    made = Program(replace(settings, **more))
    known: dict[str, Any] = vars(made)
    known["store"], known["token"] = watch.store, lambda _fresh=False: workspace.token
    return made


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    with Workspace(limits=None) as running:
        yield running


def metrics_of(
    made: Program, watch: Watch, capsys: pytest.CaptureFixture[str], *events: Mapping[str, Any]
) -> Mapping[str, Any]:
    records = [{"messageId": "m", "body": json.dumps(event)} for event in events]
    with (
        patch("notifier.handler._program", lambda: made),
        patch("notifier.handler._invocation", lambda _context: watch.run()),
    ):
        handler.on_events({"Records": records}, Context())
    lines = capsys.readouterr().out.splitlines()
    found: dict[str, Any] = {}
    for line in lines:
        found |= json.loads(line)
    return found


def test_a_heartbeat_counts_once_slack_has_answered_too(
    watch: Watch, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    found = metrics_of(program(watch, workspace), watch, capsys, heartbeat())

    assert found["Heartbeat"] == 1
    assert [call.method for call in workspace.history.calls] == ["auth.test"]


def test_a_heartbeat_does_not_count_when_the_token_is_revoked(
    watch: Watch, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.app.revoked = True
    found = metrics_of(program(watch, workspace), watch, capsys, heartbeat())

    assert "Heartbeat" not in found
    assert watch.store.heard()


def test_a_heartbeat_that_breaks_halfway_lets_no_message_of_its_batch_come_back(
    watch: Watch, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    records = [{"messageId": "h", "body": json.dumps(heartbeat())}]
    records += [{"messageId": "d", "body": json.dumps(deployment_failed())}]
    with (
        patch("notifier.handler._program", lambda: program(watch, workspace)),
        patch("notifier.handler._invocation", lambda _context: watch.run()),
        patch.object(Program, "teller", lambda _program: watch.teller),
        patch.object(Slack, "identity", side_effect=ZeroDivisionError),
    ):
        answer = handler.on_events({"Records": records}, Context())

    assert answer == {"batchItemFailures": []}
    assert len(watch.slack.roots) == 1
    assert "heartbeat not counted" in caplog.messages


def test_a_member_s_heartbeat_says_nothing_of_our_own(
    watch: Watch, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    member = heartbeat("210987654321")
    found = metrics_of(program(watch, workspace), watch, capsys, member)

    assert "Heartbeat" not in found
    assert workspace.history.calls == []


def test_of_a_webhook_the_way_to_the_table_is_all_that_counts(
    watch: Watch, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = {"channels": "*=webhook", "slack_token_name": "", "slack_webhook_name": "/hook"}
    found = metrics_of(program(watch, workspace, **hook), watch, capsys, heartbeat())

    assert found["Heartbeat"] == 1


# --- asking Slack ---------------------------------------------------------------------------------


def door(workspace: Workspace) -> Slack:
    return Slack(base_url=workspace.api_url, token=lambda _fresh: workspace.token)


def test_slack_says_who_we_are_and_what_the_token_may_do(workspace: Workspace) -> None:
    workspace.app.scopes = frozenset({"chat:write", "reactions:write"})

    identity = door(workspace).identity()

    assert identity == Identity(
        "Sandbox", "ecs-watch", frozenset({"chat:write", "reactions:write"})
    )


def test_a_channel_is_seen_as_the_bot_sees_it(workspace: Workspace) -> None:
    channel = workspace.team.channels["C0DEPLOYS1"]
    slack = door(workspace)

    well = ChannelSeen(name="deploys", is_archived=False, is_member=True)
    assert slack.channel("C0DEPLOYS1") == well
    channel.archived = True
    assert slack.channel("C0DEPLOYS1") == replace(well, is_archived=True)
    channel.members.clear()
    assert slack.channel("C0DEPLOYS1") == replace(well, is_archived=True, is_member=False)
    assert slack.channel("C0NOWHERE1") == Refused(Refusal.CHANNEL, "channel_not_found")


def test_without_the_scope_a_channel_cannot_be_seen(workspace: Workspace) -> None:
    workspace.app.scopes = frozenset({"chat:write"})

    assert door(workspace).channel("C0DEPLOYS1") == Refused(Refusal.CREDENTIALS, "missing_scope")


# --- what fails is told once ----------------------------------------------------------------------


class Examined:
    """An examination that finds what the test says."""

    def __init__(self, *found: Finding) -> None:
        self.found: Sequence[Finding] = found
        self.times = 0

    def __call__(self, _is_late: Any) -> Any:
        return self

    def findings(self) -> Iterator[Finding]:
        self.times += 1
        yield from self.found


def fails(check: str) -> Finding:
    return Finding(check, Verdict.FAILS, "is disabled", "enable it")


def works(check: str) -> Finding:
    return Finding(check, Verdict.WORKS, "works")


def examined(watch: Watch, *found: Finding) -> Examined:
    """Let the watch look at itself."""
    examination = Examined(*found)
    watch.lookout = replace(watch.lookout, examination=examination)
    return examination


def test_a_watcher_that_is_well_says_nothing(watch: Watch) -> None:
    examination = examined(watch, works("rule X"))
    watch.ticks(121)

    assert watch.slack.posts == []
    assert examination.times == 3


def test_what_fails_is_told_once_in_the_default_channel_and_so_is_its_end() -> None:
    from tests.watch import TableClient

    watch = Watch("prod-*=C02; *=C01", client=TableClient())
    examination = examined(watch, fails("rule X"), works("rule Y"))
    watch.ticks(200)

    (told,) = watch.slack.posts
    assert told.channel == "C01"
    assert told.message.text == ("ecs-watch itself is not well: rule X is disabled: enable it")
    examination.found = [works("rule X"), fails("rule Y")]
    watch.ticks(61)

    said = watch.slack.posts[1]
    assert "rule Y is disabled: enable it" in str(said.message.blocks)
    assert "no longer: rule X" in str(said.message.blocks)
    examination.found = [works("rule X"), works("rule Y")]
    watch.ticks(61)

    assert watch.slack.texts[2] == "ecs-watch itself is well again: rule Y"
    assert len(watch.slack.posts) == 3


def test_what_slack_refuses_is_told_when_it_answers_again(watch: Watch) -> None:
    examined(watch, fails("rule X"))
    watch.slack.refuse("C01", Refusal.CREDENTIALS, "token_revoked")
    watch.ticks(30)
    assert watch.slack.posts == []

    watch.slack.in_channel.clear()
    watch.ticks(2)

    assert len(watch.slack.posts) == 1


@pytest.mark.parametrize("is_there", [True, False])
def test_a_lost_answer_makes_no_second_message(watch: Watch, is_there: bool) -> None:
    examined(watch, fails("rule X"))
    watch.slack.answers = [Unknown("timeout")]
    watch.slack.commits_lost_posts = is_there
    watch.ticks(10)

    assert len(watch.slack.posts) == 1


def test_what_was_found_just_before_the_function_died_is_told_with_the_next_check(
    watch: Watch,
) -> None:
    examined(watch, fails("rule X"))
    with patch.object(type(watch.store), "owe_note", side_effect=ZeroDivisionError):
        watch.tick()
    assert watch.store.checkup().failing

    watch.ticks(61)

    assert len(watch.slack.posts) == 1


MEMBER = Heard(account="210987654321", region=REGION, at=START)
OURS = Heard(account=ACCOUNT, region=REGION, at=START)


def test_a_silent_account_is_told_within_the_minute_and_counted(watch: Watch) -> None:
    examined(watch)
    watch.ecs.home = (ACCOUNT, REGION)
    watch.store.hear(MEMBER)
    watch.ticks(45)
    assert watch.slack.posts == []

    watch.tick()

    (told,) = watch.slack.texts
    assert "heartbeat of 210987654321 eu-west-1 was last heard 2026-11-23 12:00 UTC" in told
    run = watch.run()
    watch.lookout.tick(run)
    assert (run.tally["SilentMembers"], run.tally["FailedChecks"]) == (1, 1)


def test_our_own_silence_is_no_member_s(watch: Watch) -> None:
    examined(watch)
    watch.ecs.home = (ACCOUNT, REGION)
    watch.store.hear(OURS)
    watch.clock.at += timedelta(hours=1)
    run = watch.run()
    watch.lookout.tick(run)

    assert (run.tally["SilentMembers"], run.tally["FailedChecks"]) == (0, 1)


def test_a_member_is_forgotten_after_seven_silent_days_and_is_not_said_to_be_well(
    watch: Watch,
) -> None:
    examined(watch)
    watch.ecs.home = (ACCOUNT, REGION)
    watch.store.hear(MEMBER)
    watch.clock.at += timedelta(hours=1)
    watch.tick()
    watch.clock.at = START + timedelta(days=6, hours=23)
    watch.tick()
    assert watch.store.checkup().failing

    watch.clock.at = START + timedelta(days=7)
    watch.ticks(3)

    silent, forgotten = watch.slack.texts
    assert "was last heard" in silent
    assert forgotten == (
        "ecs-watch itself watches less: heartbeat of 210987654321 eu-west-1 is forgotten after"
        " 7 days without one"
    )
    assert not watch.store.checkup().failing
    assert watch.store.heard() == []


def test_a_member_that_comes_back_is_watched_again(watch: Watch) -> None:
    examined(watch)
    watch.ecs.home = (ACCOUNT, REGION)
    watch.store.hear(MEMBER)
    watch.clock.at = START + timedelta(days=8)
    watch.ticks(3)
    watch.store.hear(replace(MEMBER, at=watch.clock.at))
    watch.clock.at += timedelta(hours=1)
    watch.ticks(3)

    assert "was last heard 2026-12-01 12:03 UTC" in watch.slack.texts[-1]


def test_our_own_heartbeat_is_never_forgotten(watch: Watch) -> None:
    examined(watch)
    watch.ecs.home = (ACCOUNT, REGION)
    watch.store.hear(OURS)
    watch.clock.at += timedelta(hours=1)
    watch.tick()
    watch.clock.at = START + timedelta(days=30)
    watch.ticks(3)

    assert len(watch.slack.texts) == 1
    assert watch.store.checkup().failing
    row = {"pk": {"S": "workspace"}, "sk": {"S": f"heartbeat#{ACCOUNT}#{REGION}"}}
    kept = watch.client.get_item(TableName=watch.store.table, Key=row, ConsistentRead=True)["Item"]
    assert "expires_at" not in kept


def test_each_tick_counts_what_was_found_to_fail(watch: Watch) -> None:
    examined(watch, fails("rule X"), fails("rule Y"))
    counted = []
    for _ in range(3):
        run = watch.run()
        watch.lookout.tick(run)
        counted.append(run.tally["FailedChecks"])
        watch.clock.at += timedelta(minutes=1)

    assert counted == [2, 2, 2]


def test_what_fails_is_in_the_log_with_what_to_do(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    examined(watch, fails("rule X"))
    with caplog.at_level(logging.ERROR):
        watch.tick()

    (record,) = [one for one in caplog.records if one.message == "check failed"]
    assert vars(record)["why"] == "rule X is disabled: enable it"


def test_an_examination_that_breaks_stops_no_tick(watch: Watch) -> None:
    examination = examined(watch)
    with patch.object(Examined, "findings", side_effect=ZeroDivisionError):
        watch.take_in(deployment_failed())
        watch.tick()

    assert watch.service().reading
    assert examination.times == 0


class SlowSlack:
    """Slack that takes ten seconds for each answer, which is that it has none."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.asked = 0

    def identity(self) -> Identity:
        return Identity("Acme", "ecs-watch", frozenset())

    def channel(self, _channel: str) -> Unknown:
        self.asked += 1
        self.watch.clock.sleep(timedelta(seconds=10))
        return Unknown("timeout")


def test_a_slack_that_hangs_holds_no_tick_up_until_lambda_ends_it(watch: Watch) -> None:
    slack = SlowSlack(watch)
    channels = tuple(f"C{number:02}" for number in range(40))
    parts = replace(PARTS, bot_channels=channels, channels=("C01",))
    watch.store.save_checkup(Checkup(failing={"channel C39": "was", "telling C01": "was"}))

    def examination(is_late: Any) -> Examination:
        return Examination(parts, Unreadable(), lambda: slack, NoTable(), is_late)

    watch.lookout = replace(watch.lookout, examination=examination)
    began = watch.clock.at
    watch.lookout.tick(watch.run())

    assert watch.clock.at - began <= timedelta(seconds=90)
    assert 0 < slack.asked < len(channels)
    found = watch.store.checkup()
    assert found.checked_at == began
    assert {"channel C39", "telling C01"} <= found.failing.keys()
    asked = slack.asked
    watch.tick()
    assert slack.asked == asked


def test_a_tick_leaves_its_time_every_few_minutes(watch: Watch) -> None:
    examined(watch)
    watch.ticks(3)
    first = watch.store.checkup().ticked_at
    watch.ticks(4)
    then = watch.store.checkup().ticked_at

    assert first == START + timedelta(minutes=1)
    assert then
    assert watch.clock.at - then < timedelta(minutes=5)


# --- what is read ---------------------------------------------------------------------------------


class Unreadable:
    """A stack of which nothing may be read."""

    def __getattr__(self, _name: str) -> Any:
        return lambda *_: Unread("no permission")


class NoTable:
    def given_up(self, _destination: str) -> Sequence[Any]:
        return ()


PARTS = Parts(
    rules={"DeploymentFailures": "rule-1"},
    queue_url="https://sqs.eu-west-1.amazonaws.com/123456789012/queue",
    dlq_urls=("https://sqs/dlq",),
    table_name="t",
)


def nobody() -> Any:
    raise AssertionError("Slack is not asked")


def test_a_role_that_may_read_nothing_raises_no_alarm() -> None:
    examination = Examination(PARTS, Unreadable(), nobody, NoTable())

    verdicts = {one.check: one.verdict for one in examination.findings()}

    assert verdicts == dict.fromkeys(
        (
            "rule DeploymentFailures",
            "queue policy",
            "dead-letter queue policy",
            "event source mapping",
            "function",
            "table t",
            "dead-letter queue dlq",
            "queue queue",
            "redrive policy",
        ),
        Verdict.UNSEEN,
    )


class NoQueue(Unreadable):
    """A stack whose queue was deleted by hand."""

    is_gone = True

    def queue(self, _url: str) -> QueueSeen | Unread:
        return Unread("QueueDoesNotExist", is_gone=self.is_gone)

    def rule(self, _name: str) -> RuleSeen | Unread:
        arn = "arn:aws:events:eu-west-1:123456789012:rule/x"
        to = ("arn:aws:sqs:eu-west-1:123456789012:queue",)
        pattern = checkup.shipped_rules()["DeploymentFailures"]["pattern"]
        seen = RuleSeen(arn=arn, is_enabled=self.is_gone, pattern=pattern, targets=to)
        return replace(seen, dead_letters=("arn:aws:sqs:eu-west-1:123456789012:dlq",))


def test_a_queue_that_is_gone_is_found() -> None:
    examination = Examination(PARTS, NoQueue(), nobody, NoTable())

    failing = [one.check for one in examination.findings() if one.verdict is Verdict.FAILS]

    assert failing == ["queue queue", "dead-letter queue dlq"]


class NoRules(Unreadable):
    """A stack whose rules may not be read, and whose queue has no policy."""

    def queue(self, _url: str) -> QueueSeen:
        return QueueSeen(arn="arn:aws:sqs:eu-west-1:123456789012:queue")


def test_a_queue_s_policy_is_judged_though_the_rules_cannot_be_read() -> None:
    examination = Examination(PARTS, NoRules(), nobody, NoTable())

    found = {one.check: one for one in examination.findings()}

    assert found["queue policy"].says == "does not let rule-1 send"


class BusyQueue(NoQueue):
    """A stack with a disabled rule, whose queue is throttled when it is looked at."""

    is_gone = False


def test_a_queue_that_cannot_be_read_once_lets_nothing_broken_be_no_more(watch: Watch) -> None:
    was = ("rule DeploymentFailures", "event source mapping", "function on-events", "rule Old")
    known = Checkup(failing={check: f"{check} fails" for check in was})
    examination = Examination(PARTS, BusyQueue(), nobody, NoTable())

    after = checkup.after(known, list(examination.findings()))

    assert after == {
        "rule DeploymentFailures": "rule DeploymentFailures is disabled: "
        "run `aws events enable-rule --name rule-1`",
        "event source mapping": "event source mapping fails",
        "function on-events": "function on-events fails",
    }


@pytest.mark.parametrize(
    "answer", [Refused(Refusal.CREDENTIALS, "token_revoked"), Unknown("timeout")]
)
def test_a_token_that_slack_does_not_take_lets_no_channel_be_well_again(
    answer: Refused | Unknown,
) -> None:
    class Closed:
        def identity(self) -> Refused | Unknown:
            return answer

        def channel(self, _channel: str) -> Any:
            raise AssertionError("it is not asked without a token")

    parts = replace(PARTS, bot_channels=("C01",))
    was = {check: check for check in ("channel C01", "Slack scope chat:write", "channel C02")}
    examination = Examination(parts, Unreadable(), Closed, NoTable())

    after = checkup.after(Checkup(failing=was), list(examination.findings()))

    assert after.keys() - {"Slack token"} == {"channel C01", "Slack scope chat:write"}


def test_the_checks_are_on_where_the_stack_says_what_it_is_made_of(watch: Watch) -> None:
    def lookout(**more: Any) -> Any:
        settings = Settings(table_name="t", channels="*=C01", slack_token_name="x", **more)
        return Program(settings).lookout()

    assert lookout().examination is None
    assert lookout(queue_url="https://sqs/queue").examination is not None
    assert wiring._client.cache_info().misses == 0
