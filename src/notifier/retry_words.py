"""What a message says of what tasks.yaml did: sentences of our own.

AWS's words beside them are the event's `reason`, which is foreign text and not part of a sentence.
"""

import math

from notifier.model import RetryStep, TaskRetry
from notifier.retried import STARTED, WAITING

_ENDINGS = {"TIMEDOUT": "ran out of time", "CANCELLED": "was cancelled"}
_REFUSED, _GIVEN_UP, _UNKNOWN = "TASK_RETRY_REFUSED", "TASK_RETRY_GIVEN_UP", "TASK_RETRY_UNKNOWN"


def sentence(step: TaskRetry | RetryStep, *, is_past: bool = False) -> str:
    """What happened, for somebody who knows the job and not us.

    `is_past`: more has happened since, so that what was to come is not said any more.
    """
    left = f"{step.missing} of {_counted(step.asked, 'task')}"
    attempt = f"attempt {step.attempt} of {step.attempts}"
    if step.name == WAITING:
        return _waiting(step, left, attempt, is_past=is_past)
    by = f" after {attempt}" if step.attempt else " without an attempt"
    ends = {
        STARTED: f"Started after all, by {attempt}.",
        _GIVEN_UP: f"Given up{by}: {left} did not start.",
        _REFUSED: f"Not tried again: {left} did not start.",
        _UNKNOWN: (
            f"Nobody knows whether {attempt} started {left}, so it is not tried again. "
            "Look before you start it yourself."
        ),
    }
    return ends.get(step.name, f"{step.name} after {attempt}; {left} did not start.")


def _waiting(step: TaskRetry | RetryStep, left: str, attempt: str, *, is_past: bool) -> str:
    wait = (step.next_at - step.occurred_at).total_seconds() if step.next_at else 0
    when = f"in about {math.ceil(max(wait, 60) / 60)} min"
    if not step.attempt:
        to_come = f"tried again {when}, at most {_counted(step.attempts, 'time')}"
        return f"{left} did not start{'' if is_past else f'; {to_come}'}."
    to_come = "" if is_past else f"; the next is {when}"
    return f"After {attempt}, {left} still did not start{to_come}."


def standing(step: RetryStep) -> str:
    """How it stands with what did not start, beside it: `given up after 5 attempts`."""
    times = f"after {_counted(step.attempt, 'attempt')}" if step.attempt else "without an attempt"
    stands = {
        WAITING: f"attempt {step.attempt + 1} of {step.attempts} is next",
        STARTED: f"started {times}",
        _GIVEN_UP: f"given up {times}",
        _REFUSED: "retry refused",
        _UNKNOWN: "unknown whether it started: look before you start it again",
    }
    return stands.get(step.name, f"{step.name} {times}")


def says_why(step: RetryStep) -> bool:
    """Whether the reason belongs beside how it stands: it says why nothing more will be tried."""
    return step.name not in (WAITING, STARTED, _UNKNOWN)


def sign(step: RetryStep) -> str:
    """🔁 while it is tried again, 🟠 once it has started, 🔴 where a person must look."""
    return {WAITING: "🔁", STARTED: "🟠"}.get(step.name, "🔴")


def of_runbook(name: str, runbook: str, step: str) -> str:
    """`runbook ecs-watch-tasks-run-task failed at its step Look`."""
    how = _ENDINGS.get(name.removeprefix("RUNBOOK_"), "failed")
    return f"runbook {runbook} {how}{f' at its step {step}' if step else ''}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"
