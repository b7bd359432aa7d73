"""What is news, and what is not: every reason, by its name."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from notifier import incidents
from notifier.events import parse
from notifier.incidents import Policy, Reason, decide
from notifier.model import ClusterState, Event, Observation, Phase, Route
from tests.watch import START, deployment_failed, envelope, placement_failure

POLICY = Policy(route=Route("*", "C01"))


def observe(event: Any) -> Observation:
    parsed = parse(event)
    assert isinstance(parsed, Event)
    return Observation(event=parsed, received_at=START)


EMPTY = incidents.cluster_of(observe(deployment_failed()).event)


def after(*events: Any, state: ClusterState = EMPTY) -> ClusterState:
    return decide(state, [observe(event) for event in events], START, POLICY).cluster


def reason_of(event: Any, state: ClusterState = EMPTY, **policy: Any) -> Reason:
    now = policy.pop("now", START)
    (reason,) = decide(state, [observe(event)], now, replace(POLICY, **policy)).reasons
    return reason


def test_the_first_failure_of_a_service_is_news() -> None:
    assert reason_of(deployment_failed()) is Reason.NEWLY_FAILING


def test_a_second_copy_of_an_event_is_no_news() -> None:
    assert reason_of(deployment_failed(), after(deployment_failed())) is Reason.SECOND_COPY


def test_another_deployment_that_fails_is_news() -> None:
    known = after(deployment_failed(number=42))

    assert reason_of(deployment_failed(number=43), known) is Reason.ANOTHER_DEPLOYMENT


def test_another_cause_is_news() -> None:
    known = after(placement_failure(reason="RESOURCE:FARGATE"))

    assert reason_of(placement_failure(at="11:59:30", reason="AGENT"), known) is (
        Reason.ANOTHER_CAUSE
    )


def test_the_same_failure_again_is_counted_and_not_told() -> None:
    known = after(placement_failure(at="11:58:00"))

    assert reason_of(placement_failure(at="11:59:00"), known) is Reason.REPEATED
    again = after(placement_failure(at="11:59:00"), state=known).services["search"]
    assert (again.count, again.revision) == (2, known.services["search"].revision)


def test_the_same_failure_is_told_again_after_the_repeat_interval() -> None:
    known = after(placement_failure(at="11:58:00"))
    later = START + timedelta(hours=4)

    assert reason_of(placement_failure(at="11:59:00"), known, now=later) is Reason.STILL_FAILING


def test_progress_of_a_deployment_is_remembered_and_not_told() -> None:
    began = envelope(
        "ECS Deployment State Change",
        "checkout",
        eventType="INFO",
        eventName="SERVICE_DEPLOYMENT_IN_PROGRESS",
        deploymentId="ecs-svc/42",
        updatedAt="2026-11-23T11:55:00Z",
    )

    assert reason_of(began) is Reason.PROGRESS
    assert after(began).services["checkout"].phase is Phase.ROLLING


def test_progress_does_not_make_a_failing_service_well() -> None:
    known = after(deployment_failed())
    steady = envelope(
        "ECS Service Action", "checkout", eventType="INFO", eventName="SERVICE_STEADY_STATE"
    )

    assert after(steady, state=known).services["checkout"].phase is Phase.FAILING


def test_an_ignored_cluster_leaves_no_trace() -> None:
    policy = Policy(route=Route("*", "ignore"))
    decision = decide(EMPTY, [observe(deployment_failed())], START, policy)

    assert decision.reasons == (Reason.IGNORED_CLUSTER,)
    assert not decision.changed


def test_an_event_about_no_service_is_said_to_be_so() -> None:
    call = {
        **envelope("AWS API Call via CloudTrail", "checkout"),
        "detail": {
            "eventSource": "ecs.amazonaws.com",
            "eventName": "RunTask",
            "requestParameters": {"cluster": "prod-web"},
        },
    }

    assert reason_of(call) is Reason.NO_SUBJECT


@pytest.mark.parametrize("reason", sorted(Reason))
def test_every_reason_is_reached_by_a_test_of_this_file(reason: Reason) -> None:
    with open(__file__, encoding="utf-8") as source:
        assert f"Reason.{reason.name}" in source.read()


def test_only_a_limited_number_of_identities_is_kept() -> None:
    events = [placement_failure(at=f"{11 - n // 60:02}:{n % 60:02}:00") for n in range(120)]

    assert len(after(*events).services["search"].seen) == incidents.SEEN_AT_MOST


def test_a_destination_is_owed_the_services_it_has_not_been_told() -> None:
    known = after(deployment_failed(), placement_failure())
    told = replace(known.services["checkout"], told={"C01": 1})
    known = replace(known, services={**known.services, "checkout": told})

    assert incidents.owing(known, "C01") == ("search",)
    assert incidents.owing(known, "C99") == ()


def test_only_what_is_new_is_newly_owed() -> None:
    known = after(placement_failure(at="11:58:00"))

    assert incidents.newly_owed(EMPTY, known) == ("C01",)
    assert incidents.newly_owed(known, after(placement_failure(), state=known)) == ()
