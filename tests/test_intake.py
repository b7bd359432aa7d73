"""From the queue into the table."""

import logging
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest

from notifier.actors import People, parse_session_names
from notifier.errors import Conflict, StoreUnavailable
from notifier.store import Store
from tests.watch import (
    CLUSTER,
    TableClient,
    Watch,
    api_call,
    deployment_failed,
    envelope,
    placement_failure,
    sqs_message,
    update_service,
)


def test_an_event_that_cannot_be_read_goes_back_and_the_others_are_saved(watch: Watch) -> None:
    taken = watch.take_in("not JSON", deployment_failed(), '{"source": "aws.ecs"}')

    assert taken.failed == ("m0", "m2")
    assert watch.store.load(CLUSTER, ["checkout"]) is not None


def test_what_cannot_be_read_is_said_with_the_message_id(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    watch.take_in("not JSON")

    (line,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert line.__dict__["message_id"] == "m0"
    assert line.__dict__["why"]


def test_a_record_that_is_not_eventbridges_goes_back(watch: Watch) -> None:
    assert watch.take_in('{"Type": "Notification", "Message": "hello"}').failed == ("m0",)


def test_an_event_that_is_not_ours_is_acknowledged_and_counted(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    assert watch.take_in({**deployment_failed(), "source": "aws.ec2"}).failed == ()
    assert "not ours" in caplog.messages


def test_why_a_failure_is_told_or_not_is_in_one_line(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    watch.take_in(deployment_failed(), deployment_failed())

    decided = [record.__dict__ for record in caplog.records if record.message == "decided"]
    assert [line["reason"] for line in decided] == ["newly failing", "second copy of an event"]
    assert decided[0]["service"] == "checkout"


def test_somebody_who_saved_first_makes_us_decide_again(watch: Watch) -> None:
    watch.take_in(deployment_failed("first"))
    real = Store.save
    answers = iter([Conflict(), Conflict()])

    def save(self: Store, *args: object, **kwargs: object) -> None:
        if error := next(answers, None):
            raise error
        real(self, *args, **kwargs)  # type: ignore[arg-type]

    with patch.object(Store, "save", save):
        assert watch.take_in(deployment_failed("second")).failed == ()
    state = watch.store.load(CLUSTER)
    assert state is not None
    assert set(state.services) == {"first", "second"}


def test_endless_conflicts_end_before_the_function_does(watch: Watch) -> None:
    with patch.object(Store, "save", side_effect=Conflict()):
        started_at = watch.clock.at
        assert watch.take_in(deployment_failed()).failed == ("m0",)

    assert watch.clock.at - started_at < timedelta(seconds=300)


def test_a_table_that_does_not_answer_hands_the_messages_back(watch: Watch) -> None:
    with patch.object(Store, "save", side_effect=StoreUnavailable("throttled")):
        assert watch.take_in(deployment_failed(), placement_failure()).failed == ("m0", "m1")


def test_a_table_that_hangs_does_not_make_the_function_last_too_long(watch: Watch) -> None:
    def hang(*_given: object, **_more: object) -> None:
        watch.clock.at += timedelta(seconds=16)
        raise StoreUnavailable("too slow")

    run = watch.run(seconds=60)
    messages = [sqs_message(n, deployment_failed(f"service-{n}")) for n in range(500)]
    with patch.object(Store, "save", hang):
        taken = watch.intake.take_in(messages, run)

    assert len(taken.failed) == 500
    assert run.remaining() > timedelta(seconds=2)


def test_an_event_counts_as_received_when_the_queue_took_it(watch: Watch) -> None:
    """Our own delay makes nothing late."""
    watch.clock.at += timedelta(hours=3)
    watch.take_in(deployment_failed())

    assert not watch.service().is_late


def test_an_event_whose_own_time_is_long_past_is_late(watch: Watch) -> None:
    watch.take_in(deployment_failed(updatedAt="2026-11-23T09:00:00Z"))

    assert watch.service().is_late


def test_a_second_copy_is_acknowledged_and_owes_nobody_anything(watch: Watch) -> None:
    watch.offer(deployment_failed())
    taken = watch.take_in(deployment_failed())

    assert taken.failed == ()
    assert taken.destinations == frozenset()


def test_an_ignored_cluster_is_acknowledged_and_leaves_nothing_in_the_table() -> None:
    watch = Watch("prod-*=ignore; *=C01", client=TableClient())

    assert watch.take_in(deployment_failed()).failed == ()
    assert watch.store.load(CLUSTER) is None


def test_a_storm_of_one_cluster_is_few_transactions(watch: Watch) -> None:
    real = watch.client.transact_write_items
    with patch.object(watch.client, "transact_write_items", side_effect=real) as writes:
        watch.take_in(*(deployment_failed(f"service-{n}") for n in range(400)))

    assert writes.call_count == 10


def test_a_bug_about_one_record_does_not_take_its_neighbours_with_it(watch: Watch) -> None:
    from notifier import incidents

    real = incidents.decide

    def decide(cluster, observations, now, policy):  # type: ignore[no-untyped-def]
        if any(one.event.service == "broken" for one in observations):
            raise ZeroDivisionError
        return real(cluster, observations, now, policy)

    with patch("notifier.incidents.decide", decide):
        taken = watch.take_in(deployment_failed("broken"), deployment_failed("sound"))

    assert taken.failed == ("m0",)
    assert taken.destinations == {"C01"}


def test_a_hundred_services_of_a_cluster_are_taken_in(watch: Watch) -> None:
    events = [deployment_failed(f"service-{n}") for n in range(100)]

    assert watch.take_in(*events).failed == ()
    state = watch.store.load(CLUSTER)
    assert state is not None
    assert len(state.services) == 100


def test_a_service_whose_cluster_nobody_tells_is_kept_under_account_and_region(
    watch: Watch,
) -> None:
    event = envelope("ECS Deployment State Change", "x", eventName="SERVICE_DEPLOYMENT_FAILED")
    event["resources"] = ["arn:aws:ecs:eu-west-1:123456789012:service/legacy"]
    watch.take_in(event)

    state = watch.store.load("unknown cluster (123456789012, eu-west-1)")
    assert state is not None
    assert "legacy" in state.services


def test_healthy_progress_owes_nobody_anything(watch: Watch) -> None:
    steady = envelope(
        "ECS Service Action", "checkout", eventType="INFO", eventName="SERVICE_STEADY_STATE"
    )

    assert watch.take_in(steady).destinations == frozenset()


def test_a_call_that_begins_a_deployment_is_remembered_with_who_made_it(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    taken = watch.take_in(api_call(update_service("checkout", 42)))

    (made,) = watch.service().shipments
    assert (made.deployment_id, made.actor.name) == ("ecs-svc/42", "mika")
    assert made.task_definition.endswith("task-definition/shop:42")
    assert (taken.failed, taken.destinations) == ((), frozenset())
    (line,) = [record.__dict__ for record in caplog.records if record.message == "decided"]
    assert (line["event"], line["service"]) == ("UpdateService", "checkout")
    assert line["reason"] == "somebody began a deployment: remembered"


def test_a_pipeline_is_known_by_the_name_of_its_session() -> None:
    watch = Watch(client=TableClient(), people=People(session_names=parse_session_names()))
    arn = "arn:aws:sts::123456789012:assumed-role/deployer/gh-77-octo-cat@octo-org=octo-repo"
    role = {"type": "AssumedRole", "arn": arn, "accountId": "123456789012"}
    watch.take_in(api_call(update_service(userIdentity=role)))

    (made,) = watch.service().shipments
    assert (made.actor.name, made.actor.via) == ("octo-cat", "GitHub Actions")


@pytest.mark.parametrize(
    "more",
    [
        {"errorCode": "AccessDenied", "responseElements": None},
        {
            "requestParameters": {
                "cluster": "prod-web",
                "service": "checkout",
                "desiredCount": 4,
            }
        },
        {"eventName": "DeleteService"},
    ],
    ids=["refused", "only another count", "another call"],
)
def test_a_call_that_begins_no_deployment_leaves_nothing_in_the_table(
    watch: Watch, more: Any
) -> None:
    assert watch.take_in(api_call(update_service(**more))).failed == ()
    assert watch.store.load(CLUSTER) is None


def test_the_same_call_from_two_rules_is_remembered_once(watch: Watch) -> None:
    watch.take_in(api_call(update_service()))
    watch.take_in(api_call(update_service()))

    assert len(watch.service().shipments) == 1


def test_a_call_in_an_ignored_cluster_leaves_nothing_in_the_table() -> None:
    watch = Watch("prod-*=ignore; *=C01", client=TableClient())
    watch.take_in(api_call(update_service()))

    assert watch.store.load(CLUSTER) is None


def test_the_record_of_a_call_brings_the_slack_id_of_whom_it_names() -> None:
    watch = Watch(client=TableClient(), people=People({"mika": "U0MIKA"}))
    watch.take_in(api_call(update_service()))

    (known,) = watch.service().shipments
    assert known.actor.slack_id == "U0MIKA"


def test_a_record_that_names_no_deployment_rings_nobody() -> None:
    watch = Watch(client=TableClient(), people=People({"mika": "U0MIKA"}))
    watch.take_in(api_call(update_service(responseElements=None)))

    (known,) = watch.service().shipments
    assert known.actor.slack_id == ""
