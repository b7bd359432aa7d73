"""What a reply says of what tasks.yaml did: one sentence of our own.

AWS's words beside it are the event's `reason`, which is foreign text and not part of the sentence.
"""

import math

from notifier.model import RunbookFailed, TaskRetry

_ENDINGS = {"TIMEDOUT": "ran out of time", "CANCELLED": "was cancelled"}


def sentence(event: TaskRetry | RunbookFailed) -> str:
    """What happened, for somebody who knows the job and not us."""
    if isinstance(event, RunbookFailed):
        return _of_runbook(event)
    left = f"{event.missing} of {_tasks(event.asked)}"
    attempt = f"attempt {event.attempt} of {event.attempts}"
    if event.name == "TASK_RETRY_WAITING":
        return _waiting(event, left, attempt)
    ends = {
        "TASK_RETRY_STARTED": f"Started after all, by {attempt}.",
        "TASK_RETRY_GIVEN_UP": f"Given up after {attempt}: {left} did not start.",
        "TASK_RETRY_REFUSED": f"Not tried again: {left} did not start.",
        "TASK_RETRY_UNKNOWN": (
            f"Nobody knows whether {attempt} started {left}, so it is not tried again. "
            "Look before you start it yourself."
        ),
    }
    return ends.get(event.name, f"{event.name} after {attempt}; {left} did not start.")


def _waiting(event: TaskRetry, left: str, attempt: str) -> str:
    minutes = math.ceil(
        max((event.next_at - event.occurred_at).total_seconds(), 60) / 60 if event.next_at else 1
    )
    when = f"in about {minutes} min"
    if not event.attempt:
        return f"{left} did not start; tried again {when}, at most {event.attempts} times."
    return f"After {attempt} {left} still did not start; the next is {when}."


def _of_runbook(event: RunbookFailed) -> str:
    how = _ENDINGS.get(event.name.removeprefix("RUNBOOK_"), "failed")
    at = f" at its step {event.step}" if event.step else ""
    return f"Runbook {event.runbook} {how}{at}."


def _tasks(count: int) -> str:
    return f"{count} task{'s' if count != 1 else ''}"
