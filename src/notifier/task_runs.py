"""How the runs of one family stand, derived from the ends that are remembered of them.

What is stored are sets of ends by who started them and with which command; whatever a reader is
told follows from these, so the order and repetition of events do not matter. What ecs-watch starts
itself is a run of the job that failed, whoever had started that: `all_runs` shows it so. Pure.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from notifier.model import Launch, RetriedCall, ServiceState, TaskEnd, TaskRuns
from notifier.retried import began_at, newest_at, with_records, without_old

# EventBridge's rules and its Scheduler start tasks under these names, cut at 36 characters.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/scheduled_tasks.html
SCHEDULES = {"events-rule/": "rule", "chronos-schedule/": "schedule"}
STARTER_AT_MOST = 36
# What ecs-watch itself starts is a run of the job that failed, whoever had started that: it is
# tried again under one name, and run by a person, who sees how it ends, or by the runbook.
TRIED_AGAIN, RUN_BY_HAND, BY_RUNBOOK = "ecsw/", "ecs-watch", "ecs-watch-runbook/"
RUNBOOK = "runbook "  # stands before its name: the starter of what it failed at

RUNS_KEPT = 10  # starters and commands of one family
FAILURES_KEPT = 10  # of each
FORGOTTEN_AFTER = timedelta(days=90)

_UNRECORDED = "of a call whose record is not known"  # no command is marked so


def mark(text: str) -> str:
    """Stands for a longer text; 16 hex digits do not collide within a row."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def starter_of(launch: Launch) -> str:
    """Who started it, without what differs from one run to the next where it is no schedule."""
    if launch.started_by.startswith(tuple(SCHEDULES)):
        return launch.started_by
    return re.sub(r"[0-9a-f-]{8,}|\d+", "#", launch.started_by.lower()) or launch.invoked_by


def belongs_to(launch: Launch) -> str:
    """The job of tasks.yaml, or the execution of its runbook, that started it; else empty."""
    if launch.started_by.startswith(TRIED_AGAIN):
        return launch.started_by.removeprefix(TRIED_AGAIN).partition("/")[0]
    if launch.started_by.startswith(BY_RUNBOOK):
        return launch.started_by.removeprefix(BY_RUNBOOK)
    return ""


# --- what is derived ------------------------------------------------------------------------------


def last_success(runs: TaskRuns) -> datetime | None:
    """When a run last ended well, as far as is known."""
    return max((one.at for one in runs.ends if one.is_success), default=None)


def failures(runs: TaskRuns) -> Sequence[TaskEnd]:
    """The failures since the last success, oldest first."""
    since = last_success(runs)
    return [one for one in _bad(runs) if not since or one.at > since]


def newest_failure(runs: TaskRuns) -> TaskEnd | None:
    """The newest failure of all, also of one that a success followed."""
    return max(_bad(runs), key=_order, default=None)


def failed_runs(task: ServiceState) -> Sequence[TaskRuns]:
    """Those whose last run ended badly, the newest failure first."""
    failing = [one for one in all_runs(task) if failures(one)]
    return sorted(failing, key=lambda one: (failures(one)[-1].at, one.command), reverse=True)


def undecided(task: ServiceState) -> Sequence[TaskEnd]:
    """The ends of which it must be read first which containers are essential, oldest first."""
    return sorted(
        (end for one in task.runs for end in one.ends if end.is_success is None), key=_order
    )


def all_runs(task: ServiceState) -> Sequence[TaskRuns]:
    """The family's runs: with what ecs-watch started for those that failed, and failed calls.

    A call that is tried again is a failure also while its own record is not known.
    """
    own = [one for one in task.runs if _is_own(one)]
    others = [one for one in task.runs if not _is_own(one)]
    whole = [_with_own(one, own) for one in (*others, *_of_unrecorded(task, own))]
    taken = {end.task for one in whole for end in _bad(one)}
    return [*whole, *(_without(taken, one) for one in own)]


def key_of(runs: TaskRuns) -> tuple[str, str]:
    """What tells them apart within a family."""
    return runs.starter, runs.command


def unrecorded_key(call: RetriedCall) -> tuple[str, str]:
    """The key of the runs that this call is one of while its record is not known."""
    return starter_of(Launch(task_definition="", started_by=call.started_by)), _UNRECORDED


def is_unrecorded(runs: TaskRuns) -> bool:
    """Whether these are calls that are tried again, of which nothing else is known."""
    return runs.command == _UNRECORDED


def _bad(runs: TaskRuns) -> list[TaskEnd]:
    return [one for one in runs.ends if one.is_success is False]


def _order(end: TaskEnd) -> tuple[datetime, str]:
    return end.at, end.task


def _is_own(runs: TaskRuns) -> bool:
    return runs.starter.startswith((TRIED_AGAIN, RUN_BY_HAND))


def _without(taken: set[str], own: TaskRuns) -> TaskRuns:
    left = (one for one in own.ends if one.is_success is not False or one.task not in taken)
    return replace(own, ends=tuple(left))


def _with_own(runs: TaskRuns, own: Sequence[TaskRuns]) -> TaskRuns:
    bad = _bad(runs)
    if not bad:
        return runs
    more = {
        end: group.revision
        for group in own
        for end in group.ends
        if end.is_success is not None and _is_of(end, group, runs, bad)
    }
    heard = (revision for end, revision in more.items() if end.is_success is False)
    return replace(
        runs,
        ends=tuple(sorted((*runs.ends, *more), key=_order)),
        revision=max((runs.revision, *heard)),
    )


def _is_of(end: TaskEnd, own: TaskRuns, runs: TaskRuns, bad: Sequence[TaskEnd]) -> bool:
    """Whether what ecs-watch started is a run of these, which failed before.

    Of an execution that failed no task says that it is well again, however it ended.
    """
    if end.of and end.of in {one.of for one in bad}:
        return is_unrecorded(runs) or end.is_success is False
    is_by_runbook = runs.starter.startswith(RUNBOOK) and own.starter.startswith(BY_RUNBOOK)
    if own.command != runs.command and not is_by_runbook:
        return False
    return end.is_success is True or bad[0].at <= end.at


def _of_unrecorded(task: ServiceState, own: Sequence[TaskRuns]) -> Iterator[TaskRuns]:
    """Failed calls of each starter; a success of this starter is theirs, with whatever command."""
    calls: dict[tuple[str, str], list[RetriedCall]] = {}
    for call in task.retries:
        if not call.is_recorded:
            calls.setdefault(unrecorded_key(call), []).append(call)
    for (starter, command), unrecorded in calls.items():
        ends = [_end_of(call, own) for call in unrecorded]
        ends += [end for one in task.runs if one.starter == starter for end in _well(one)]
        yield TaskRuns(
            starter=starter,
            command=command,
            ends=tuple(sorted(ends, key=_order)),
            revision=max(one.revision for one in unrecorded),
        )


def _well(runs: TaskRuns) -> list[TaskEnd]:
    return [one for one in runs.ends if one.is_success]


def _end_of(call: RetriedCall, own: Sequence[TaskRuns]) -> TaskEnd:
    """It failed before whatever was done for it."""
    started = [end.at for one in own for end in one.ends if call.job and end.of == call.job]
    return TaskEnd(
        task=call.call,
        at=min((began_at(call), *started)),
        is_success=False,
        of=call.job,
        reason=call.steps[0].reason,
        launch=Launch(task_definition="", started_by=call.started_by),
    )


# --- what is stored -------------------------------------------------------------------------------


def with_end(before: TaskRuns, end: TaskEnd) -> TaskRuns:
    """Of two events of one task the newer version counts; of successes the newest one is kept."""
    ends = {one.task: one for one in before.ends}
    known = ends.get(end.task)
    if known is None or (known.version, known.is_success is not None) < (end.version, True):
        ends[end.task] = end
    return replace(before, ends=_kept(ends.values()))


def without_end(before: TaskRuns, end: TaskEnd) -> TaskRuns:
    """The runs without this end."""
    return replace(before, ends=tuple(one for one in before.ends if one != end))


def with_runs(before: ServiceState, changed: TaskRuns) -> ServiceState:
    """The row with these: at most so many, those that fail before those that do not."""
    runs = {key_of(one): one for one in before.runs} | {key_of(changed): changed}
    return bounded(replace(before, runs=tuple(runs.values())))


def bounded(task: ServiceState) -> ServiceState:
    """The row without what is too much or too old, and knowing which calls have a record."""
    last = (one.ends[-1].at for one in task.runs)
    newest = max(filter(None, (newest_at(task.retries), *last)), default=None)
    fresh = [one for one in task.runs if newest and newest - one.ends[-1].at <= FORGOTTEN_AFTER]
    failing = {key_of(one) for one in all_runs(task) if failures(one)}
    ordered = sorted(
        fresh, key=lambda one: (key_of(one) in failing, one.ends[-1].at, one.starter, one.command)
    )
    recorded = (end.task for one in task.runs for end in one.ends)
    retries = with_records(without_old(task.retries, newest, FORGOTTEN_AFTER), recorded)
    return replace(task, runs=tuple(ordered[-RUNS_KEPT:]), retries=retries)


def bare(end: TaskEnd) -> TaskEnd:
    """That it ended, when and how, without why."""
    return TaskEnd(
        task=end.task, at=end.at, version=end.version, is_success=end.is_success, of=end.of
    )


def _kept(ends: Iterable[TaskEnd]) -> tuple[TaskEnd, ...]:
    """The newest success, of each execution of the runbook one, and the newest failures."""
    ordered = sorted(ends, key=_order)
    well = {one.of: one for one in ordered if one.is_success}
    newest = sorted(well.values(), key=_order)[-FAILURES_KEPT:]
    bad = [one for one in ordered if one.is_success is False][-FAILURES_KEPT:]
    open_ones = [one for one in ordered if one.is_success is None][-FAILURES_KEPT:]
    told = {one.task for one in (*bad[-1:], *open_ones)}
    kept = [one if one.task in told else bare(one) for one in (*newest, *bad, *open_ones)]
    return tuple(sorted(kept, key=_order))
