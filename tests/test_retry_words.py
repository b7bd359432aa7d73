"""What is said of what tasks.yaml did; and that it arrives as it was sent."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from notifier import retries, runbooks
from notifier.events import RUNBOOK_FAILED, TASK_RETRY, TASKS, parse
from notifier.model import NotOurs, TaskRetry
from notifier.retried import step_of
from notifier.retry_words import of_runbook, sentence, standing
from tests.tasks_simulator import POLICY, Faults, World

EVENTS = Path(__file__).parent.parent / "events"


def retry() -> TaskRetry:
    event = parse((EVENTS / "task-retry-waiting-built.json").read_text())
    assert isinstance(event, TaskRetry)
    return event


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (retry(), "After attempt 1 of 5, 1 of 2 tasks still did not start; the next is in about"),
        (replace(retry(), attempt=0), "1 of 2 tasks did not start; tried again in about 3 min, at"),
        (replace(retry(), name="TASK_RETRY_STARTED"), "Started after all, by attempt 1 of 5."),
        (
            replace(retry(), name="TASK_RETRY_GIVEN_UP"),
            "Given up after attempt 1 of 5: 1 of 2 tasks did not start.",
        ),
        (
            replace(retry(), name="TASK_RETRY_GIVEN_UP", attempt=0),
            "Given up without an attempt: 1 of 2 tasks did not start.",
        ),
        (replace(retry(), name="TASK_RETRY_REFUSED", asked=1), "Not tried again: 1 of 1 task did"),
        (replace(retry(), name="TASK_RETRY_UNKNOWN"), "Nobody knows whether attempt 1 of 5 start"),
        (replace(retry(), name="TASK_RETRY_NEW"), "TASK_RETRY_NEW after attempt 1 of 5; 1 of 2"),
    ],
)
def test_each_outcome_has_its_sentence(event: TaskRetry, said: str) -> None:
    assert sentence(event).startswith(said)


@pytest.mark.parametrize(
    ("name", "step", "said"),
    [
        ("RUNBOOK_FAILED", "Look", "runbook migrate failed at its step Look"),
        ("RUNBOOK_TIMEDOUT", "", "runbook migrate ran out of time"),
        ("RUNBOOK_CANCELLED", "Follow", "runbook migrate was cancelled at its step Follow"),
        ("RUNBOOK_NEW", "", "runbook migrate failed"),
    ],
)
def test_a_runbook_says_at_which_step(name: str, step: str, said: str) -> None:
    assert of_runbook(name, "migrate", step) == said


def test_what_was_to_come_is_not_said_once_it_has_come() -> None:
    said = sentence(retry(), is_past=True)
    assert said == "After attempt 1 of 5, 1 of 2 tasks still did not start."
    assert sentence(replace(retry(), attempt=0), is_past=True) == "1 of 2 tasks did not start."


def test_how_it_stands_is_said_with_the_number_of_attempts() -> None:
    event = retry()
    said = [
        standing(step_of(replace(event, name=f"TASK_RETRY_{name}", attempt=attempt)))
        for name, attempt in (
            ("WAITING", 0),
            ("WAITING", 4),
            ("STARTED", 1),
            ("STARTED", 3),
            ("GIVEN_UP", 5),
            ("GIVEN_UP", 0),
            ("REFUSED", 0),
            ("UNKNOWN", 2),
        )
    ]
    assert said == [
        "attempt 1 of 5 is next",
        "attempt 5 of 5 is next",
        "started after 1 attempt",
        "started after 3 attempts",
        "given up after 5 attempts",
        "given up without an attempt",
        "retry refused",
        "unknown whether it started: look before you start it again",
    ]


def test_the_next_attempt_is_never_in_no_time() -> None:
    soon = replace(retry(), next_at=retry().occurred_at - timedelta(minutes=1))
    assert "in about 1 min" in sentence(soon)


def test_what_the_stack_sends_the_watcher_reads() -> None:
    assert (retries.SOURCE, retries.DETAIL_TYPE) == (TASKS, TASK_RETRY)
    assert runbooks.DETAIL_TYPE == RUNBOOK_FAILED
    world = World(1, Faults(full=0.0, partial=0.0))
    call = world.offer(3, 1)
    world.play(world.now + timedelta(hours=1))
    read = [
        parse({**json.loads(json.dumps(world._event(TASK_RETRY, one))), "source": TASKS})
        for one in world.told
    ]
    assert [event.name for event in read if isinstance(event, TaskRetry)] == [
        "TASK_RETRY_WAITING",
        "TASK_RETRY_STARTED",
    ]
    for event in read:
        assert isinstance(event, TaskRetry)
        assert (event.call, event.family, event.asked) == (call, "nightly", 3)
        assert event.cluster_arn in POLICY.clusters
    assert len({event.identity for event in read if isinstance(event, TaskRetry)}) == 2


def test_nobody_elses_source_is_believed() -> None:
    event = json.loads((EVENTS / "task-retry-waiting-built.json").read_text())
    for source in ("aws.ecs", "somebody"):
        assert isinstance(parse({**event, "source": source}), NotOurs)
