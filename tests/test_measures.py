"""What dashboard and alarms are fed with: no delay where none is, and every call and failure."""

import json
import logging
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import boto3
import pytest
from moto import mock_aws

from notifier import handler, metrics, wiring
from notifier.ecs import Callers
from notifier.facts import Asked, Facts
from notifier.model import CannotLook, Checkup, Message, Mute, Outcome, Refusal, Refused, Unknown
from notifier.settings import Settings
from notifier.wiring import Program
from tests.watch import CLUSTER, START, FakeEcs, TableClient, Watch, deployment_failed, failing


class ShowsNoMore:
    """What ECS shows besides its services: nothing that these tests are about."""

    def facts(self, _cluster: str, asked: Sequence[Asked], now: datetime, _budget: Any) -> Any:
        return {one.service: (None, Facts(service=one.service, read_at=now)) for one in asked}

    def callers(self, *_: Any) -> Callers:
        return Callers()

    def account_alias(self, *_: Any) -> str:
        return ""


@pytest.fixture(autouse=True)
def ecs_that_shows_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("facts", "callers", "account_alias"):
        monkeypatch.setattr(FakeEcs, name, getattr(ShowsNoMore, name), raising=False)


def ticked(watch: Watch) -> Counter[str]:
    run = watch.run()
    watch.lookout.tick(run)
    return run.tally


def told(watch: Watch) -> Counter[str]:
    run = watch.run()
    watch.teller.tell("C01", run, watch.clock.at + timedelta(minutes=1))
    return run.tally


# --- owed ---------------------------------------------------------------------------------------


def test_what_slack_refuses_is_owed_since_it_was_saved(watch: Watch) -> None:
    watch.slack.refuse("C01", Refusal.UNAVAILABLE, "http_503")
    watch.take_in(deployment_failed())
    for _ in range(6):
        tally = ticked(watch)
        watch.clock.at += timedelta(minutes=1)

    assert 300 <= tally["OwedAge"] < 400


def test_what_is_of_no_cluster_is_late_too_since_it_was_first_owed(watch: Watch) -> None:
    watch.slack.refuse("C01", Refusal.UNAVAILABLE, "http_503")
    watch.store.save_checkup(Checkup(failing={"rule X": "rule X is disabled"}))
    for _ in range(6):
        watch.store.owe_note("checkup", "C01", watch.clock.at, f"nonce {watch.clock.at}")
        tally = ticked(watch)
        watch.clock.at += timedelta(minutes=1)

    assert 300 <= tally["OwedAge"] < 400


def test_what_is_muted_is_owed_but_not_late_until_the_mute_ends(watch: Watch) -> None:
    watch.store.mute(Mute(pattern="prod-*", until=START + timedelta(hours=2)))
    watch.take_in(deployment_failed())
    ticked(watch)
    watch.clock.at = START + timedelta(hours=1)
    within = ticked(watch)
    watch.slack.refuse("C01", Refusal.UNAVAILABLE, "http_503")
    watch.clock.at = START + timedelta(hours=2, minutes=10)
    after = ticked(watch)

    assert (within["Owed"], within["OwedAge"]) == (1, 0)
    assert 600 <= after["OwedAge"] < 700


def test_an_outage_whose_root_is_edited_again_and_again_is_not_late(watch: Watch) -> None:
    """The pause between two edits is meant, however long the outage goes on."""
    for minute in range(12):
        watch.take_in(deployment_failed(f"service-{minute}"))
        tally = ticked(watch)
        assert tally["OwedAge"] < 60
        watch.clock.at += timedelta(minutes=1)


# --- Slack --------------------------------------------------------------------------------------


@pytest.mark.parametrize("refusal", [Refusal.CREDENTIALS, Refusal.CHANNEL])
def test_a_token_or_channel_that_refuses_is_an_open_circuit_at_every_probe(
    watch: Watch, refusal: Refusal
) -> None:
    watch.slack.refuse("C01", refusal, "no")
    watch.take_in(deployment_failed())
    counts = []
    for _ in range(3):
        counts.append(ticked(watch)["OpenCircuits"])
        watch.clock.at += timedelta(seconds=61)

    assert counts == [1, 1, 1]


@pytest.mark.parametrize(
    "answer",
    [Refused(Refusal.UNAVAILABLE, "http_503"), Unknown("timeout")],
    ids=lambda one: one.code,
)
def test_a_slack_that_does_not_answer_is_an_open_circuit_though_one_thread_is_all_that_waits(
    watch: Watch, answer: Outcome
) -> None:
    watch.slack.in_channel["C01"] = answer
    watch.slack.look_answers = [CannotLook("timeout", will_pass=True)] * 20
    watch.take_in(deployment_failed())
    counts = []
    for _ in range(12):
        counts.append(ticked(watch)["OpenCircuits"])
        watch.clock.at += timedelta(seconds=61)

    assert counts == [1] * 12


def test_one_message_that_slack_took_at_the_second_try_is_no_open_circuit_any_more(
    watch: Watch,
) -> None:
    watch.slack.answers = [Refused(Refusal.UNAVAILABLE, "http_503")]
    watch.take_in(deployment_failed("a"), deployment_failed("b"))
    watch.tick()
    watch.clock.at += timedelta(seconds=61)

    assert ticked(watch)["OpenCircuits"] == 0
    assert watch.slack.posts


def test_a_limit_of_slacks_is_no_open_circuit(watch: Watch) -> None:
    watch.slack.answers = [Refused(Refusal.RATE_LIMITED, "ratelimited", timedelta(seconds=9))]
    watch.take_in(deployment_failed())

    assert ticked(watch)["OpenCircuits"] == 0


def test_how_long_slack_did_not_have_a_failure_is_measured_from_when_aws_says_it_failed(
    watch: Watch,
) -> None:
    event = deployment_failed()
    failed_at = datetime.fromisoformat(event["detail"]["updatedAt"])
    watch.clock.at = failed_at + timedelta(seconds=42)
    watch.take_in(event)
    tally = told(watch)

    assert 42 <= tally["SecondsToSlack"] <= 44
    assert "SecondsToSlack" not in ticked(watch)


def test_the_slowest_message_of_an_invocation_is_its_measure(watch: Watch) -> None:
    late, fresh = deployment_failed("a"), deployment_failed("b")
    failed_at = datetime.fromisoformat(late["detail"]["updatedAt"])
    fresh["detail"]["updatedAt"] = (failed_at + timedelta(minutes=5)).isoformat()
    watch.clock.at = failed_at + timedelta(minutes=6)
    watch.take_in(late, fresh)

    assert 360 <= told(watch)["SecondsToSlack"] < 370


# --- the line -----------------------------------------------------------------------------------


def line(tally: dict[str, float], **calls: int) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(metrics.line(tally, START, stack="s", calls=calls))
    return shown


def test_what_is_nothing_costs_nothing_unless_a_tick_measures_it() -> None:
    shown = line({"Owed": 0, "OwedAge": 0, "OpenClusters": 0, "FailedChecks": 0, "GivenUp": 2})
    (directive,) = shown["_aws"]["CloudWatchMetrics"]

    assert {one["Name"] for one in directive["Metrics"]} == {*metrics.MEASURED, "GivenUp"}
    assert "FailedChecks" not in shown


def test_calls_are_properties_by_service() -> None:
    shown = line({}, slack=2, dynamodb=7)

    assert shown == {"Stack": "s", "Calls": {"slack": 2, "dynamodb": 7}}


# --- calls --------------------------------------------------------------------------------------


def test_every_call_of_aws_and_slack_is_counted_once() -> None:
    settings = Settings(
        table_name="t",
        channels="*=C01",
        slack_token_name="token",
        slack_api_url="http://127.0.0.1:9/api/",  # nobody listens there
    )
    program = Program(settings)
    wiring._client.cache_clear()
    with mock_aws():
        boto3.client("ssm").put_parameter(Name="token", Value="abc", Type="SecureString")
        wiring.calls_made()
        program.ecs.clusters()
        program.ecs.clusters()
        program.slack().post("C01", Message(text="hello"))
        made = wiring.calls_made()
    wiring._client.cache_clear()

    assert made == {"ecs": 2, "ssm": 1, "slack": 1}
    assert wiring.calls_made() == {}


def test_the_calls_of_an_invocation_are_in_its_line(
    watch: Watch, capsys: pytest.CaptureFixture[str]
) -> None:
    wiring.calls_made()
    wiring._count_slack()
    handler._emit(watch.run())

    assert json.loads(capsys.readouterr().out)["Calls"] == {"slack": 1}


# --- what Logs Insights counts ------------------------------------------------------------------


def test_a_failure_names_its_cluster_in_the_log_whoever_found_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    watch = Watch("*=C01", client=TableClient(), is_new=False)
    watch.take_in(deployment_failed())
    ecs = watch.ecs
    assert isinstance(ecs, FakeEcs)
    ecs.listed, ecs.shown = [CLUSTER], {"lost": failing("lost")}
    watch.clock.at += timedelta(hours=1)
    ticked(watch)

    found = {
        vars(record)["service"]: (record.message, vars(record)["cluster"])
        for record in caplog.records
        if vars(record).get("reason") == "newly failing"
    }
    assert found == {"checkout": ("decided", CLUSTER), "lost": ("found", CLUSTER)}
