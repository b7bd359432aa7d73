"""Nouns as JSON and back, across versions of the program."""

import json
import string
from collections.abc import Callable
from dataclasses import is_dataclass, make_dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from random import Random
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.changes import LINES_AT_MOST
from notifier.explanation import CONTAINERS_KEPT, LONGEST_TEXT, MESSAGES_KEPT
from notifier.facts import (
    Actor,
    Confidence,
    Container,
    Diagnosis,
    Explanation,
    Missing,
    Shipment,
)
from notifier.incidents import SHIPMENTS_KEPT
from notifier.model import (
    Attempt,
    Census,
    ClusterState,
    Impact,
    Mute,
    Phase,
    Reason,
    ServiceState,
    Step,
    StepKind,
    SubjectKind,
    Thread,
    Transition,
)
from notifier.retries import Job
from notifier.retries import Phase as JobPhase
from notifier.store.rows import UNKNOWN_WORDS, from_json, stamp, to_json, unknown_word

MOMENT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
NOUNS = [Attempt, Census, ClusterState, Explanation, Job, Mute, ServiceState, Shipment, Thread]

AT_LEAST, AT_MOST = datetime(1970, 1, 3), datetime(9999, 12, 29)  # noqa: DTZ001 as hypothesis wants it
times = st.datetimes(min_value=AT_LEAST, max_value=AT_MOST, timezones=st.just(UTC))


@pytest.mark.parametrize("noun", NOUNS)
def test_what_is_written_is_read_again(noun: type) -> None:
    @settings(max_examples=15, deadline=None, database=None)
    @given(st.data())
    def written_and_read(draw: st.DataObject) -> None:
        st.register_type_strategy(datetime, times)
        before = draw.draw(st.from_type(noun))
        assert from_json(noun, to_json(before)) == before

    written_and_read()


def test_what_has_its_default_is_not_written() -> None:
    assert to_json(ServiceState(name="checkout")) == '{"name":"checkout"}'


def test_a_row_without_the_fields_of_today_is_read() -> None:
    assert from_json(ServiceState, '{"name": "checkout"}') == ServiceState(name="checkout")


def test_a_row_with_fields_that_nobody_knows_is_read() -> None:
    later = {"name": "a", "mood": {"x": [1]}, "causes": [cause(colour="red")]}
    read = from_json(ServiceState, json.dumps(later))

    assert read.name == "a"
    assert read.causes[0].event == "X"


def cause(**more: Any) -> Any:
    known = {"event": "X", "reason": "", "deployment_id": None, "occurred_at": MOMENT.isoformat()}
    return {**known, **more}


@pytest.mark.parametrize("empty", ["null", "[]"])
def test_an_optional_noun_may_be_missing(empty: str) -> None:
    text = '{"name": "a", "reading": null, "causes": ' + empty.replace("null", "[]") + "}"

    assert from_json(ServiceState, text).reading is None


def test_enumerations_come_back_as_themselves() -> None:
    step = Step(kind=StepKind.ROOT, tells={"a": 1})
    attempt = Attempt(key="k", at=MOMENT, channel="C01", step=step)
    read = from_json(Attempt, to_json(attempt))
    told = Transition(revision=1, reason=Reason.WORSE, at=MOMENT)
    state = replace(ServiceState(name="a", phase=Phase.NOT_LIVE), transitions=(told,))

    assert read.step.kind is StepKind.ROOT
    assert from_json(ServiceState, to_json(state)).phase is Phase.NOT_LIVE
    assert from_json(ServiceState, to_json(state)).transitions[0].reason is Reason.WORSE


def test_words_that_only_a_newer_version_knows_are_read_and_never_as_well() -> None:
    told = {"revision": 3, "reason": "on fire", "at": MOMENT.isoformat()}
    newer = {"name": "a", "phase": "smouldering", "impact": 7, "kind": "swarm"}
    read = from_json(ServiceState, json.dumps({**newer, "transitions": [told]}))

    assert (read.phase, read.impact, read.kind) == (
        Phase.FAILING,
        Impact.UNKNOWN,
        SubjectKind.SERVICE,
    )
    assert read.untold("C01") == (Transition(revision=3, reason=Reason.ANOTHER_CAUSE, at=MOMENT),)


def test_a_job_in_a_phase_that_only_a_newer_version_knows_is_never_tried_again() -> None:
    job = Job(
        id="1",
        event_id="e",
        account="1",
        region="r",
        cluster_arn="c",
        family="f",
        starter="",
        request="{}",
        asked=1,
        missing=1,
        phase=JobPhase.WAITING,
        due_at=MOMENT,
        deadline=MOMENT,
    )
    newer = json.loads(to_json(job)) | {"phase": "dreaming"}

    assert from_json(Job, to_json(job)) == job
    assert from_json(Job, json.dumps(newer)).phase is JobPhase.UNKNOWN


def test_an_attempt_of_a_kind_that_only_a_newer_version_knows_tells_what_it_tells() -> None:
    step = {"kind": "carrier pigeon", "tells": {"checkout": 3}}
    written = {"key": "k", "at": MOMENT.isoformat(), "channel": "C01", "step": step}

    read = from_json(Attempt, json.dumps(written)).step
    assert read == Step(kind=StepKind.FLAT, tells={"checkout": 3})


def enumerations(hint: Any) -> set[type]:
    """All that a noun's fields may hold."""
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {hint}
    within = get_type_hints(hint).values() if is_dataclass(hint) else get_args(hint)
    return {found for one in within for found in enumerations(one)}


def test_every_enumeration_says_how_an_unknown_word_is_read() -> None:
    written = {found for noun in NOUNS for found in enumerations(noun)}

    assert all(isinstance(unknown_word(kind), kind) for kind in written)
    assert set(UNKNOWN_WORDS) <= written


@given(
    st.lists(
        st.datetimes(
            min_value=AT_LEAST,
            max_value=AT_MOST,
            timezones=st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23))),
        ),
        min_size=2,
    )
)
def test_stamps_sort_as_times_whatever_their_zone(moments: list[datetime]) -> None:
    whole = [at.replace(microsecond=at.microsecond // 1000 * 1000) for at in moments]

    assert [stamp(at) for at in sorted(whole)] == sorted(map(stamp, whole))
    assert len({len(stamp(at)) for at in whole}) == 1


def test_a_thread_that_names_5000_services_of_long_names_is_a_small_row() -> None:
    team = "a-name-as-long-as-ecs-takes-" * 9
    names = [f"{team}{n:04}"[-255:] for n in range(5_000)]
    before = Thread(generation=1, announced={name: n for n, name in enumerate(names)})
    text = to_json(before)

    assert len(text) < 100_000
    assert from_json(Thread, text) == before


# --- why it fails, and who shipped it -----------------------------------------------------------


def full_explanation(text: Callable[[], str]) -> Explanation:
    """As much as is kept at most, each of its foreign texts the next of these."""
    return Explanation(
        service="checkout",
        read_at=MOMENT,
        diagnosis=Diagnosis(
            cause=text(),
            evidence=text(),
            remedy="Push the tag, or correct the image in the task definition.",
            page="https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_error.html",
            confidence=Confidence.LIKELY,
        ),
        deployment_id="ecs-svc/1234567890123456789",
        revision=7,
        explains="SERVICE_DEPLOYMENT_FAILED ecs-svc/1234567890123456789",
        changes=tuple(text() for _ in range(LINES_AT_MOST + 1)),
        tasks="3 of 3 never started",
        task="arn:aws:ecs:eu-west-1:123456789012:task/prod-web/0123456789abcdef0123456789abcdef",
        containers=tuple(
            Container(name=f"app-{n}", image=text(), image_digest="0" * 64, reason=text())
            for n in range(CONTAINERS_KEPT)
        ),
        circuit_breaker="circuit breaker 3 of 3",
        messages=tuple(text() for _ in range(MESSAGES_KEPT)),
        actor=Actor(
            name="mika", via="GitHub Actions", url="https://example.com/run", slack_id="U0"
        ),
        log_group="/ecs/shop",
        log_stream="app/app/0123456789abcdef0123456789abcdef",
        log_region="eu-west-1",
        missing=(Missing(what="log lines", why="throttled", action="logs:GetLogEvents"),) * 7,
    )


SHIPMENT = Shipment(
    at=MOMENT,
    actor=Actor(name="mika", via="role deployer"),
    deployment_id="ecs-svc/1234567890123456789",
    task_definition="arn:aws:ecs:eu-west-1:123456789012:task-definition/shop:42",
    is_person=True,
)


def explained(text: Callable[[], str] = lambda: "exec /app/run: not found") -> ServiceState:
    return ServiceState(
        name="checkout", explanation=full_explanation(text), shipments=(SHIPMENT,) * SHIPMENTS_KEPT
    )


def test_why_a_service_fails_and_who_shipped_it_come_back() -> None:
    before = explained()

    assert from_json(ServiceState, to_json(before)) == before


def test_a_version_that_knew_no_explanations_reads_the_row_and_leaves_them_out() -> None:
    """As the one before did: it knows neither of the two fields."""
    written = json.loads(to_json(explained()))
    assert {"explanation", "shipments"} <= written.keys()

    older = make_dataclass("Older", [("name", str)], frozen=True)
    assert from_json(older, json.dumps(written)) == older("checkout")


def test_what_a_newer_version_says_of_an_explanation_is_read_in_words_of_today() -> None:
    written = json.loads(to_json(explained()))
    written["explanation"] |= {"mood": "grim", "diagnosis": {"cause": "x", "confidence": "sworn"}}
    written["shipments"][0]["actor"]["pronoun"] = "they"
    read = from_json(ServiceState, json.dumps(written))

    assert read.explanation is not None
    assert read.explanation.diagnosis == Diagnosis(cause="x", confidence=Confidence.UNKNOWN)
    assert read.shipments == (SHIPMENT,) * SHIPMENTS_KEPT


def test_an_explanation_of_which_a_newer_version_wrote_little_is_read() -> None:
    least = {"service": "checkout", "read_at": MOMENT.isoformat(), "diagnosis": {"cause": "x"}}
    read = from_json(ServiceState, json.dumps({"name": "checkout", "explanation": least}))

    assert read.explanation == Explanation(
        service="checkout", read_at=MOMENT, diagnosis=Diagnosis(cause="x")
    )


def test_a_usual_explanation_is_a_small_part_of_a_row() -> None:
    """As full as it can be, of texts as ECS writes them."""
    said = "CannotPullContainerError: pull image manifest has been retried 5 time(s)"

    assert len(to_json(explained(lambda: said))) < 8_000


def test_the_longest_explanation_fits_into_one_transaction_forty_times() -> None:
    """Forty rows are saved at once, and DynamoDB takes 4 MB.

    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
    """
    rng = Random(1)
    longest = explained(lambda: "".join(rng.choices(string.printable, k=LONGEST_TEXT)))

    assert len(to_json(longest)) < 4_000_000 / 40
    assert from_json(ServiceState, to_json(longest)) == longest
