"""What is asked about a service, and what is kept of what was read."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from notifier.explanation import CONTAINERS_KEPT, LONGEST_TEXT, asked, explanation, is_wanted
from notifier.facts import (
    Actor,
    Confidence,
    Container,
    Explanation,
    Facts,
    LogTail,
    Missing,
    Shipment,
    StoppedTask,
)
from notifier.incidents import cause_name
from notifier.model import Death, Failure, KnownDeployment, Phase, ServiceState, SubjectKind

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TASK = "arn:aws:ecs:eu-west-1:123456789012:task/prod-web/0123456789abcdef"


def revision(number: int) -> str:
    return f"arn:aws:ecs:eu-west-1:123456789012:task-definition/shop:{number}"


def deployment(number: int, minutes: float, **more: Any) -> KnownDeployment:
    at = NOON + minutes * MINUTE
    known = {"id": f"ecs-svc/{number}", "updated_at": at, "revision": revision(number)}
    return KnownDeployment(**{**known, **more})


def failure(number: int | None = 42, **more: Any) -> Failure:
    told = {
        "event": "SERVICE_DEPLOYMENT_FAILED",
        "reason": "ECS deployment circuit breaker: tasks failed to start.",
        "deployment_id": f"ecs-svc/{number}" if number else None,
        "occurred_at": NOON,
    }
    return Failure(**{**told, **more})


SERVED = deployment(41, -500, completed_at=NOON - 500 * MINUTE)
FAILED = deployment(42, 0, began_at=NOON - 9 * MINUTE, failed_at=NOON)


def service(*deployments: KnownDeployment, **more: Any) -> ServiceState:
    known = {
        "name": "checkout",
        "phase": Phase.FAILING,
        "revision": 3,
        "causes": (failure(),),
        "deployments": deployments or (SERVED, FAILED),
    }
    return ServiceState(**{**known, **more})


def facts(**more: Any) -> Facts:
    known = {"service": "checkout", "read_at": NOON, "deployment_id": "ecs-svc/42"}
    return Facts(**{**known, **more})


def stopped(*containers: Container, reason: str = "Essential container in task exited") -> Any:
    return StoppedTask(
        arn=TASK,
        started_by="ecs-svc/42",
        stop_code="EssentialContainerExited",
        stopped_reason=reason,
        started_at=NOON - 2 * MINUTE,
        stopped_at=NOON - MINUTE,
        containers=containers,
    )


# --- what is asked ------------------------------------------------------------------------------


def test_it_is_asked_of_the_failing_deployment_with_all_that_is_known() -> None:
    question = asked(service())

    assert (question.service, question.deployment_id) == ("checkout", "ecs-svc/42")
    assert question.failing_revision == revision(42)
    assert question.completed_revision == revision(41)
    assert question.began_at == NOON - 9 * MINUTE


def test_the_newest_that_completed_is_what_served() -> None:
    older = deployment(40, -900, completed_at=NOON - 900 * MINUTE)

    assert asked(service(SERVED, older, FAILED)).completed_revision == revision(41)


@pytest.mark.parametrize("began", [NOON + MINUTE, None])
def test_a_fix_is_not_what_served_before_the_release_that_failed(began: datetime | None) -> None:
    fix = deployment(43, 5, began_at=began, completed_at=NOON + 5 * MINUTE)

    assert asked(service(SERVED, FAILED, fix)).completed_revision == revision(41)
    assert asked(service(FAILED, fix)).completed_revision == ""
    unknown = replace(FAILED, began_at=None)
    assert asked(service(SERVED, unknown, fix)).completed_revision == revision(41)


def test_what_served_is_told_by_when_it_completed_and_not_by_when_it_was_seen() -> None:
    older = deployment(40, -1, completed_at=NOON - 900 * MINUTE)

    assert asked(service(SERVED, older, FAILED)).completed_revision == revision(41)


def test_what_was_first_seen_completed_after_the_release_began_served_before_it() -> None:
    seen = replace(SERVED, began_at=NOON - 500 * MINUTE, completed_at=NOON - MINUTE)
    back = replace(SERVED, began_at=NOON - MINUTE)

    assert asked(service(seen, FAILED)).completed_revision == revision(41)
    assert asked(service(back, FAILED)).completed_revision == revision(41)


def test_what_failed_or_never_completed_did_not_serve() -> None:
    failed = replace(SERVED, failed_at=NOON - 400 * MINUTE)
    unfinished = replace(SERVED, completed_at=None)

    assert asked(service(failed, FAILED)).completed_revision == ""
    assert asked(service(unfinished, FAILED)).completed_revision == ""


def test_one_that_completed_and_fails_now_is_not_what_served_before_it() -> None:
    fails = replace(FAILED, completed_at=NOON - 8 * MINUTE, failed_at=None)
    death = Death(task="t", at=NOON, cause="exit code 1", started_by="ecs-svc/42")
    dies = service(
        SERVED, fails, causes=(failure(None, event="tasks die"),), deaths=(death, death, death)
    )

    assert asked(dies).deployment_id == "ecs-svc/42"
    assert asked(dies).completed_revision == revision(41)


def test_where_nothing_says_which_deployment_fails_none_is_asked_about() -> None:
    short = failure(None, event="SERVICE_TASK_PLACEMENT_FAILURE", reason="RESOURCE:CPU")
    question = asked(service(SERVED, causes=(short,)))

    assert (question.deployment_id, question.failing_revision) == (None, "")
    assert question.began_at is None


def test_a_deployment_that_is_named_and_not_known_is_asked_about_by_its_id() -> None:
    question = asked(service(SERVED))

    assert (question.deployment_id, question.failing_revision) == ("ecs-svc/42", "")


# --- whether it is asked ------------------------------------------------------------------------


def explained(state: ServiceState, **more: Any) -> ServiceState:
    known = explanation(state, facts(**more))
    return replace(state, explanation=replace(known, revision=state.revision))


def test_a_service_that_fails_is_to_be_explained_once() -> None:
    assert is_wanted(service())
    assert not is_wanted(explained(service()))


@pytest.mark.parametrize(
    "later",
    [
        {"revision": 4},
        {"causes": (failure(), failure(43, occurred_at=NOON + MINUTE))},
        {"deployments": (SERVED, FAILED, deployment(43, 1, failed_at=NOON + MINUTE))},
        {"causes": (failure(event="SERVICE_TASK_PLACEMENT_FAILURE", reason="AGENT"),)},
    ],
    ids=["revision", "cause", "deployment", "event"],
)
def test_what_is_not_the_same_any_more_is_to_be_explained_anew(later: Any) -> None:
    assert is_wanted(replace(explained(service()), **later))


@pytest.mark.parametrize(
    "other",
    [{"phase": Phase.RECOVERED}, {"phase": Phase.WELL}, {"kind": SubjectKind.DAEMON}],
    ids=["recovered", "well", "daemon"],
)
def test_what_does_not_fail_or_ecs_does_not_show_is_not_to_be_explained(other: Any) -> None:
    assert not is_wanted(service(**other))


@pytest.mark.parametrize(
    ("why", "is_again"),
    [
        ("throttled", True),
        ("too slow", True),
        ("unavailable (ServerException)", True),
        ("no permission", False),
        ("gone", False),
        ("app logs to splunk", False),
    ],
)
def test_what_could_not_be_read_is_asked_again_if_it_may_come(why: str, is_again: bool) -> None:
    missing = (Missing(what="stopped tasks", why=why, action="ecs:ListTasks"),)

    assert is_wanted(explained(service(), missing=missing)) is is_again


# --- what is kept -------------------------------------------------------------------------------


def test_all_that_is_told_is_kept_but_for_lines_of_logs() -> None:
    log = LogTail(container="app", group="/shop", stream="a/app/1", region="eu-west-1")
    killed = Container(name="app", exit_code=137, reason="OutOfMemoryError: killed")
    known = explanation(
        service(),
        facts(
            stopped_tasks=(stopped(killed),),
            messages=("(service checkout) port 80 is unhealthy",) * 5,
            logs=replace(log, lines=("heap exhausted",)),
            missing=(Missing(what="image digests", why="gone"),),
        ),
    )

    assert known.service == "checkout"
    assert known.read_at == NOON
    assert known.deployment_id == "ecs-svc/42"
    assert known.explains == cause_name(service())
    assert "memory" in known.diagnosis.cause
    assert known.tasks.startswith("1 of 1")
    assert (known.task, known.containers) == (TASK, (killed,))
    assert len(known.messages) == 3
    assert (known.log_group, known.log_stream, known.log_region) == (
        log.group,
        log.stream,
        log.region,
    )
    assert known.missing[0].what == "image digests"
    assert "heap exhausted" not in str(known)


def test_deaths_of_tasks_are_no_event_of_ecs() -> None:
    """Our own name for them is not looked up in AWS's catalogue."""
    dies = service(causes=(failure(event="tasks die", reason="exit code 1"),))
    by_event = explanation(service(causes=(failure(event="", reason="exit code 1"),)), facts())

    assert explanation(dies, facts()).diagnosis == by_event.diagnosis


def test_without_facts_the_events_words_are_what_is_known() -> None:
    odd = failure(event="SERVICE_ODD", reason="the moon is full")
    known = explanation(service(causes=(odd,)), facts())

    assert known.diagnosis.confidence is Confidence.UNKNOWN
    assert "the moon is full" in known.diagnosis.evidence
    assert (known.tasks, known.task, known.containers) == ("", "", ())


def test_who_shipped_it_is_named_with_the_slack_id_of_the_settings() -> None:
    made = Shipment(at=NOON - 9 * MINUTE, actor=Actor(name="Mika"), deployment_id="ecs-svc/42")
    known = explanation(service(shipments=(made,)), facts(), {"mika": "U01"})

    assert known.actor == Actor(name="Mika", is_certain=True, slack_id="U01")
    assert explanation(service(), facts(), {"mika": "U01"}).actor is None


def test_when_it_began_tells_which_of_the_calls_without_a_name_it_was() -> None:
    early = Shipment(at=NOON - 60 * MINUTE, actor=Actor(name="early"))
    near = Shipment(at=NOON - 9.5 * MINUTE, actor=Actor(name="near"))
    known = explanation(service(shipments=(early, near)), facts())

    assert known.actor == Actor(name="near")
    assert explanation(service(shipments=(early,)), facts()).actor is None


def test_foreign_texts_are_kept_as_long_as_anybody_may_need_them_and_no_longer() -> None:
    long = "x" * 100_000
    many = tuple(Container(name=f"c{n}", exit_code=1, reason=long, image=long) for n in range(50))
    known = explanation(
        service(causes=(failure(event="SERVICE_ODD", reason=long),)),
        facts(stopped_tasks=(stopped(*many, reason=long),), messages=(long,) * 9),
    )

    assert len(known.containers) == CONTAINERS_KEPT
    assert max(map(len, texts_of(known))) <= LONGEST_TEXT


def texts_of(known: Explanation) -> list[str]:
    found = known.diagnosis
    containers = [text for one in known.containers for text in (one.reason, one.image)]
    return [found.cause, found.evidence, *known.messages, *known.changes, *containers, known.tasks]
