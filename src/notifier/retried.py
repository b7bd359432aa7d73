"""What is remembered of what tasks.yaml did for calls of RunTask that lacked tasks.

A call has steps: each attempt that is waited for, and an end. They are kept as a set, by the
numbers that tasks.yaml gave them, so that the order and repetition of its events do not matter.
Pure: `standalone` decides what of it is news.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from notifier.model import RetriedCall, RetryStep, TaskRetry

WAITING, STARTED = "TASK_RETRY_WAITING", "TASK_RETRY_STARTED"
CALLS_KEPT = 10  # of a family
STEPS_KEPT = 13  # of a call: tasks.yaml makes ten attempts at most; a doubt may end twice
REASON_AT_MOST = 500  # characters
NAME_AT_MOST = 128  # characters, of `startedBy` too: API_RunTask


def with_step(
    calls: tuple[RetriedCall, ...], event: TaskRetry, call: str
) -> tuple[RetriedCall, ...]:
    """The calls with this step of the one that `call` stands for; unchanged where it is known."""
    step, empty = step_of(event), _call_of(event, call)
    known = next((one for one in calls if one.call == call), empty)
    if any(_order(one) == _order(step) for one in known.steps):
        return calls
    steps = sorted((*known.steps, step), key=_order)[-STEPS_KEPT:]
    with_it = replace(known, job=known.job or empty.job, steps=tuple(steps))
    return _newest((*(one for one in calls if one.call != call), with_it))


def step_in(calls: Iterable[RetriedCall], event: TaskRetry, call: str) -> RetryStep | None:
    """The step that this event tells of, while it is kept."""
    mine = _order(step_of(event))
    steps = (step for one in calls if one.call == call for step in one.steps)
    return next((one for one in steps if _order(one) == mine), None)


def last_step(calls: Iterable[RetriedCall], call: str) -> RetryStep | None:
    """How it stands with the call that `call` stands for; None where it was never tried again."""
    return next((one.steps[-1] for one in calls if one.call == call and one.steps), None)


def began_at(call: RetriedCall) -> datetime:
    """The time of the first that is known of it, not before which it failed."""
    return min(one.occurred_at for one in call.steps)


def said_at(
    calls: Iterable[RetriedCall], step: RetryStep, call: str, within: timedelta
) -> datetime | None:
    """When the same was told of another call, if not long ago and nothing was tried meanwhile.

    Attempts have a daily budget; what is said of a call before the first, or without any, has none.
    """
    others = (one for each in calls if each.call != call for one in each.steps)
    same = (
        one.said_at
        for one in others
        if one.said_at and (one.name, one.attempt, one.reason) == (step.name, 0, step.reason)
    )
    recent = (at for at in same if not step.attempt and abs(step.occurred_at - at) < within)
    return max(recent, default=None)


def with_records(
    calls: tuple[RetriedCall, ...], recorded: Iterable[str]
) -> tuple[RetriedCall, ...]:
    """The calls, knowing which of them have a record of their own: once known, for good."""
    marks = frozenset(recorded)
    return tuple(replace(one, is_recorded=one.is_recorded or one.call in marks) for one in calls)


def with_told(
    calls: tuple[RetriedCall, ...], step: RetryStep, call: str
) -> tuple[RetriedCall, ...]:
    """The calls with what is known now of this step's telling."""
    return tuple(_with_told(one, step) if one.call == call else one for one in calls)


def without_old(
    calls: tuple[RetriedCall, ...], now: datetime | None, kept_for: timedelta
) -> tuple[RetriedCall, ...]:
    """The calls but for those of which nothing was heard for so long."""
    return tuple(one for one in calls if now is None or now - _ended_at(one) <= kept_for)


def newest_at(calls: Iterable[RetriedCall]) -> datetime | None:
    """When something was last done for any of them."""
    return max(map(_ended_at, calls), default=None)


def _with_told(call: RetriedCall, step: RetryStep) -> RetriedCall:
    steps = (step if _order(one) == _order(step) else one for one in call.steps)
    return replace(call, steps=tuple(steps))


def _newest(calls: Iterable[RetriedCall]) -> tuple[RetriedCall, ...]:
    ordered = sorted(calls, key=lambda one: (_ended_at(one), one.call))
    return tuple(ordered[-CALLS_KEPT:])


def _ended_at(call: RetriedCall) -> datetime:
    return max(one.occurred_at for one in call.steps)


def _call_of(event: TaskRetry, call: str) -> RetriedCall:
    job, started_by = event.job[:NAME_AT_MOST], event.started_by[:NAME_AT_MOST]
    return RetriedCall(call=call, job=job, started_by=started_by)


def step_of(event: TaskRetry) -> RetryStep:
    """What is kept of this event."""
    return RetryStep(
        number=event.number,
        name=event.name[:NAME_AT_MOST],
        attempt=event.attempt,
        attempts=event.attempts,
        asked=event.asked,
        missing=event.missing,
        occurred_at=event.occurred_at,
        next_at=event.next_at,
        reason=event.reason[:REASON_AT_MOST],
    )


def _order(step: RetryStep) -> tuple[int, datetime, int, str]:
    return step.number, step.occurred_at, step.attempt, step.name
