"""Nouns as JSON and back, across versions of the program."""

import json
from dataclasses import is_dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from notifier.store.rows import UNKNOWN_WORDS, from_json, stamp, to_json

MOMENT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
NOUNS = [Attempt, Census, ClusterState, Mute, ServiceState, Thread]

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

    assert written == set(UNKNOWN_WORDS)
    assert all(isinstance(word, kind) for kind, word in UNKNOWN_WORDS.items())


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
