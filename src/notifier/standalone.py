"""Rules about tasks that belong to no service: jobs of a schedule, migrations, one-off runs.

A run fails or succeeds, and then it is over: it holds no incident open. What failed is told, and so
is the next success of the same starter with the same command, once. A row holds all runs of one
family, so that a command with a time in it makes no rows without end. What is kept are ends of
runs, each once, and everything else is derived from them: so their order and repetition do not
matter. Pure, like `incidents`, which asks here.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from notifier.arns import revision_label
from notifier.facts import Container
from notifier.model import (
    ApiCall,
    EssentialContainers,
    Event,
    Launch,
    NotReadable,
    Observation,
    Observed,
    Phase,
    Reason,
    ServiceState,
    SubjectKind,
    TaskEnd,
    TaskRuns,
    TaskStateChange,
)
from notifier.settings import StandaloneTasks
from notifier.tasks import BY_A_PERSON, ended_well, is_in_doubt, seems_ended_well

UNKNOWN_FAMILY = "unknown"  # of a call that was refused, CloudTrail may say nothing

# EventBridge's rules and its Scheduler start tasks under these names, cut at 36 characters.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/scheduled_tasks.html
SCHEDULES = {"events-rule/": "rule", "chronos-schedule/": "schedule"}
STARTER_AT_MOST = 36
_SCHEDULERS = ("events.amazonaws.com", "scheduler.amazonaws.com")
# What ecs-watch itself starts is a run of the job that failed, whoever had started that: it is
# tried again under one name, and run by a person, who sees how it ends, under the other.
TRIED_AGAIN, RUN_BY_HAND = "ecsw/", "ecs-watch"

WORDS_AT_MOST = 1_024  # characters of a reason
CONTAINERS_KEPT = 20  # of a task; ECS takes ten
UNKNOWN = "…"  # in the place of what is not known, or must not be shown
RUNS_KEPT = 10  # starters and commands of one family
FAILURES_KEPT = 10  # of each
FORGOTTEN_AFTER = timedelta(days=90)
FLAPPING_AT = 3  # failures told within
FLAPPING_FOR = timedelta(minutes=60)

_FAMILY = re.compile(r"[A-Za-z0-9_-]{1,255}")


@dataclass(frozen=True, slots=True)
class Limits:
    """What `Policy` says that counts here."""

    window: timedelta
    repeat_interval: timedelta


@dataclass(frozen=True, slots=True)
class _Run:
    """Which runs an event is about, and how one of them ended."""

    starter: str
    command: str
    end: TaskEnd


# --- which events count -------------------------------------------------------------------------


def is_standalone(event: Event) -> bool:
    """Whether it tells of the end of a task of no service, or of a RunTask that started less."""
    match event:
        case TaskStateChange(service=None):
            is_judged = event.last_status == "STOPPED" and event.stop_code != BY_A_PERSON
            return is_judged and not _is_of_service(event)
        case ApiCall(name="RunTask"):
            return bool(event.failure_reasons or event.error_code)
    return False


def _is_of_service(task: TaskStateChange) -> bool:
    return task.group.startswith("service:") or task.started_by.startswith("ecs-svc/")


def why_left_out(event: Event, which: StandaloneTasks) -> str:
    """Why nothing is to be remembered of this event; empty where something may be."""
    if isinstance(event, TaskStateChange) and not event.service and not _is_of_service(event):
        if event.last_status != "STOPPED":
            return "the task has not stopped yet"
        if event.stop_code == BY_A_PERSON:
            return "the task was stopped by a person"
    if not is_standalone(event):
        return ""
    launch = _launch(event)
    is_wanted = which is StandaloneTasks.ALL or (
        which is StandaloneTasks.SCHEDULED
        and (_is_scheduled(launch) or _may_end_a_failure(event, launch))
    )
    return "" if is_wanted else f"StandaloneTasks={which}"


def _may_end_a_failure(event: Event, launch: Launch) -> bool:
    if launch.started_by.startswith(TRIED_AGAIN):
        return True
    is_by_hand = launch.started_by.startswith(RUN_BY_HAND)
    return is_by_hand and isinstance(event, TaskStateChange) and ended_well(event) is not False


def _launch(event: Event) -> Launch:
    known = event.launch if isinstance(event, TaskStateChange | ApiCall) else None
    if isinstance(event, TaskStateChange) and known is None:
        return Launch(task_definition=event.task_definition_arn, started_by=event.started_by)
    return known or Launch(task_definition="")


def _is_scheduled(launch: Launch) -> bool:
    if launch.started_by:
        return launch.started_by.startswith(tuple(SCHEDULES))
    return launch.invoked_by in _SCHEDULERS


def _is_own(started_by: str) -> bool:
    return started_by.startswith((TRIED_AGAIN, RUN_BY_HAND))


# --- what an event is about -----------------------------------------------------------------------


def subject(event: Event) -> ServiceState | None:
    """The row that such an event is about, as it is before anything is known of it."""
    if not is_standalone(event):
        return None
    return ServiceState(name=family_of(_launch(event).task_definition), kind=SubjectKind.TASK)


def family_of(task_definition: str) -> str:
    """The family of an ARN, `family:revision` or a family.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html
    """
    family = revision_label(task_definition).partition(":")[0]
    return family if _FAMILY.fullmatch(family) else UNKNOWN_FAMILY


def _run_of(event: Event) -> _Run:
    launch = _launch(event)
    if isinstance(event, TaskStateChange):
        end = _end_of(event, ended_well(event))
    else:
        end = TaskEnd(
            task=_mark(event.identity),
            at=event.occurred_at,
            is_success=False,
            stop_code=event.error_code if isinstance(event, ApiCall) else "",
            reason=_why_not_started(event)[:WORDS_AT_MOST],
            launch=_bounded(launch),
        )
    return _Run(_starter(launch), _command(launch), _bare(end) if end.is_success else end)


def _end_of(task: TaskStateChange, is_success: bool | None) -> TaskEnd:
    return TaskEnd(
        task=_mark(task.task_arn),
        at=task.occurred_at,
        version=task.version or 0,
        is_success=is_success,
        arn=task.task_arn,
        started_at=task.started_at,
        stop_code=task.stop_code,
        reason=task.stopped_reason[:WORDS_AT_MOST],
        containers=tuple(map(_ended_container, task.containers[:CONTAINERS_KEPT])),
        launch=_bounded(_launch(task)),
    )


def _ended_container(one: Container) -> Container:
    return replace(one, reason=one.reason[:WORDS_AT_MOST], image="", image_digest="")


def _bounded(launch: Launch) -> Launch:
    """Without a command that is longer than ECS takes: a row holds 400 kB.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TaskOverride.html
    """
    overrides = launch.overrides[:CONTAINERS_KEPT]
    if sum(len(word) for one in overrides for word in (*one.command, *one.environment)) > 8192:
        overrides = tuple(replace(o, command=(UNKNOWN,), environment=()) for o in overrides)
        return replace(launch, overrides=overrides, left_out=(*launch.left_out, "command"))
    return replace(launch, overrides=overrides)


def _why_not_started(event: Event) -> str:
    reasons = event.failure_reasons if isinstance(event, ApiCall) else ()
    return "; ".join(dict.fromkeys(filter(None, reasons))) or event.reason


def _starter(launch: Launch) -> str:
    """Who started it, without what differs from one run to the next where it is no schedule."""
    if launch.started_by.startswith(tuple(SCHEDULES)):
        return launch.started_by
    return re.sub(r"[0-9a-f-]{8,}|\d+", "#", launch.started_by.lower()) or launch.invoked_by


def _command(launch: Launch) -> str:
    """A mark of the command override; empty where there is none."""
    commands = {one.name: one.command for one in launch.overrides if one.command}
    return _mark(json.dumps(commands, sort_keys=True)) if commands else ""


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# --- what is derived from the ends ----------------------------------------------------------------


def last_success(runs: TaskRuns) -> datetime | None:
    """When a run last ended well, as far as is known."""
    return max((one.at for one in runs.ends if one.is_success), default=None)


def failures(runs: TaskRuns) -> Sequence[TaskEnd]:
    """The failures since the last success, oldest first."""
    since = last_success(runs)
    return [one for one in runs.ends if one.is_success is False and (not since or one.at > since)]


def failed_runs(task: ServiceState) -> Sequence[TaskRuns]:
    """Those whose last run ended badly, the newest failure first."""
    failing = [one for one in task.runs if failures(one)]
    return sorted(failing, key=lambda one: (failures(one)[-1].at, one.command), reverse=True)


def newest_failure(runs: TaskRuns) -> TaskEnd | None:
    """The newest failure of all, also of one that a success followed."""
    return max((one for one in runs.ends if one.is_success is False), key=_order, default=None)


def _order(end: TaskEnd) -> tuple[datetime, str]:
    return end.at, end.task


def _with_end(before: TaskRuns, end: TaskEnd) -> TaskRuns:
    """Of two events of one task the newer version counts; of successes the newest one is kept."""
    ends = {one.task: one for one in before.ends}
    known = ends.get(end.task)
    if known is None or (known.version, known.is_success is not None) < (end.version, True):
        ends[end.task] = end
    return replace(before, ends=_kept(ends.values()))


def _kept(ends: Iterable[TaskEnd]) -> tuple[TaskEnd, ...]:
    ordered = sorted(ends, key=_order)
    well = [one for one in ordered if one.is_success][-1:]
    bad = [one for one in ordered if one.is_success is False][-FAILURES_KEPT:]
    open_ones = [one for one in ordered if one.is_success is None][-FAILURES_KEPT:]
    told = {one.task for one in (*bad[-1:], *open_ones)}
    kept = [one if one.task in told else _bare(one) for one in (*well, *bad, *open_ones)]
    return tuple(sorted(kept, key=_order))


def _bare(end: TaskEnd) -> TaskEnd:
    return TaskEnd(task=end.task, at=end.at, version=end.version, is_success=end.is_success)


def _with_runs(before: ServiceState, changed: Iterable[TaskRuns]) -> ServiceState:
    """At most so many, those that fail before those that do not; none for ever."""
    runs = {(one.starter, one.command): one for one in before.runs}
    runs |= {(one.starter, one.command): one for one in changed}
    newest = max((one.ends[-1].at for one in runs.values()), default=None)
    fresh = [one for one in runs.values() if newest and newest - one.ends[-1].at <= FORGOTTEN_AFTER]
    ordered = sorted(fresh, key=lambda one: (bool(failures(one)), one.ends[-1].at, one.command))
    return replace(before, runs=tuple(ordered[-RUNS_KEPT:]))


# --- what it means --------------------------------------------------------------------------------


def decide(
    before: ServiceState, observation: Observation, now: datetime, limits: Limits
) -> tuple[ServiceState, Reason]:
    """The row after this observation, and why somebody is told or not."""
    match observation:
        case Observed():
            return on_event(before, observation, now, limits)
        case EssentialContainers() | NotReadable():
            return on_look(before, observation, now, limits)
    return before, Reason.NO_SUBJECT


def on_event(
    before: ServiceState, observed: Observed, now: datetime, limits: Limits
) -> tuple[ServiceState, Reason]:
    """A run ended, or could not be started."""
    run = _run_of(observed.event)
    affected = _affected(before, run)
    if all(_with_end(one, run.end) == one for one in affected):
        return before, Reason.SECOND_COPY
    return _ended(before, affected, run.end, now, limits)


def _affected(before: ServiceState, run: _Run) -> Sequence[TaskRuns]:
    """The runs that it is one of: what ecs-watch started itself is a run of the job that failed."""
    if _is_own(run.end.launch.started_by if run.end.launch else run.starter):
        same = [one for one in before.runs if one.command == run.command and failures(one)]
        if same:
            return same
    known = {(one.starter, one.command): one for one in before.runs}
    new = TaskRuns(starter=run.starter, command=run.command)
    return [known.get((run.starter, run.command), new)]


def _ended(
    before: ServiceState,
    affected: Sequence[TaskRuns],
    end: TaskEnd,
    now: datetime,
    limits: Limits,
) -> tuple[ServiceState, Reason]:
    essential = _essential(before, end)
    if end.is_success is None and essential is not None:
        end = _decided(end, essential)
    if end.is_success is None:
        noted = _with_runs(before, [_with_end(one, end) for one in affected])
        return replace(noted, due_at=now), Reason.IS_UNDECIDED
    case = _Case(before, affected, end, _reason(before, affected[0], end, now), now, limits)
    return _told(case), case.reason


def _essential(before: ServiceState, end: TaskEnd) -> Collection[str] | None:
    known, *names = before.essential or ("",)
    is_known = bool(known) and end.launch is not None and known == end.launch.task_definition
    return names if is_known else None


def _decided(end: TaskEnd, essential: Collection[str] | None) -> TaskEnd:
    """The end with its verdict, also where nobody can say which containers are essential."""
    stop = _Stop(end.stop_code, end.reason, end.containers)
    verdict = None if essential is None else ended_well(stop, essential)
    is_success = seems_ended_well(stop) if verdict is None else verdict
    if is_success:
        return _bare(replace(end, is_success=True))
    doubt = essential is not None and is_in_doubt(stop, essential)
    return replace(end, is_success=False, is_in_doubt=doubt)


@dataclass(frozen=True, slots=True)
class _Stop:
    """As `tasks` wants it."""

    stop_code: str
    stopped_reason: str
    containers: tuple[Container, ...]


def on_look(
    before: ServiceState,
    look: EssentialContainers | NotReadable,
    now: datetime,
    limits: Limits,
) -> tuple[ServiceState, Reason]:
    """Which containers are essential is known now, or cannot be; or the window is over."""
    waiting = undecided(before)
    if isinstance(look, EssentialContainers):
        before = replace(before, essential=(look.task_definition, *look.names))
        waiting = [one for one in waiting if _essential(before, one) is not None]
    if not waiting:
        return _after_window(before, now)
    after, told = replace(before, due_at=None), Reason.NOTHING_WRONG
    for end in waiting:
        affected = [_without(end, one) for one in after.runs if end in one.ends]
        verdict = _decided(end, _essential(after, end))
        reason = _reason(after, affected[0], verdict, now)
        after = _told(_Case(after, affected, verdict, reason, now, limits))
        told = told if told in _TOLD and reason not in _TOLD else reason
    return after, told


def _without(end: TaskEnd, runs: TaskRuns) -> TaskRuns:
    return replace(runs, ends=tuple(one for one in runs.ends if one != end))


def undecided(task: ServiceState) -> Sequence[TaskEnd]:
    """The ends of which it must be read first which containers are essential, oldest first."""
    return sorted(
        (end for one in task.runs for end in one.ends if end.is_success is None), key=_order
    )


def _after_window(before: ServiceState, now: datetime) -> tuple[ServiceState, Reason]:
    is_over = before.due_at is not None and before.due_at <= now
    if before.phase is not Phase.TASK_FAILED or not is_over:
        return before, Reason.NOTHING_WRONG
    return replace(before, phase=Phase.NOT_RUN, due_at=None), Reason.NOT_RUN_SINCE


def _reason(before: ServiceState, runs: TaskRuns, end: TaskEnd, now: datetime) -> Reason:
    after = failures(_with_end(runs, end))
    if end.is_success:
        is_over = bool(failures(runs)) and not after
        return _reason_of_success(before, now) if is_over else Reason.PROGRESS
    if end.task in {one.task for one in runs.ends if one.is_success is False}:
        return Reason.REPEATED  # a later event of the same task, which says more of it
    if end.task not in {one.task for one in after}:
        return Reason.OVER_BEFORE_TOLD
    if after[-1].task != end.task:
        return Reason.REPEATED
    return _reason_of_failure(before, runs, end, now)


def _reason_of_success(before: ServiceState, now: datetime) -> Reason:
    is_calm = not before.flaps or now - before.flaps[-1] > FLAPPING_FOR
    return Reason.RECOVERED if is_calm or not before.is_flapping else Reason.FLAPS_ON


def _reason_of_failure(before: ServiceState, runs: TaskRuns, end: TaskEnd, now: datetime) -> Reason:
    is_repeat_due = before.repeat_at is not None and now >= before.repeat_at
    flaps = _recent(before, now)
    if failures(runs) and is_repeat_due:
        return Reason.STILL_FAILING
    if before.is_flapping and flaps:
        return Reason.FLAPS_ON
    if failures(runs) and _words(failures(runs)[-1]) == _words(end):
        return Reason.REPEATED
    if len(flaps) + 1 >= FLAPPING_AT:
        return Reason.FLAPPING
    if failures(runs):
        return Reason.ANOTHER_CAUSE
    return Reason.FAILING_AGAIN if runs.ends and newest_failure(runs) else Reason.NEWLY_FAILING


def _recent(before: ServiceState, now: datetime) -> tuple[datetime, ...]:
    return tuple(at for at in before.flaps if now - at <= FLAPPING_FOR)


def _words(end: TaskEnd) -> object:
    """Why it failed, without what differs from one run to the next."""
    codes = tuple(sorted((one.name, one.exit_code) for one in end.containers))
    said = " ".join((end.reason, *(one.reason for one in end.containers)))
    return codes, re.sub(r"[0-9a-f-]{8,}|\d+", "#", said.lower())[:200]


TOLD_AS_FAILURE = {
    Reason.NEWLY_FAILING,
    Reason.FAILING_AGAIN,
    Reason.FLAPPING,
    Reason.ANOTHER_CAUSE,
    Reason.STILL_FAILING,
}
_TOLD = {*TOLD_AS_FAILURE, Reason.RECOVERED, Reason.OVER_BEFORE_TOLD}


@dataclass(frozen=True, slots=True)
class _Case:
    """One end of a run, the runs that it is one of, and what it means to a reader."""

    before: ServiceState
    affected: Sequence[TaskRuns]
    end: TaskEnd
    reason: Reason
    now: datetime
    limits: Limits


def _told(case: _Case) -> ServiceState:
    """The row with what follows from this end; runs that are news know with which revision."""
    before, reason = case.before, case.reason
    revision = before.revision + 1
    with_end = [_with_end(one, case.end) for one in case.affected]
    news = [replace(one, revision=revision) for one in with_end] if reason in _TOLD else with_end
    after = _with_runs(before, news)
    flaps = _recent(before, case.now)
    if reason in TOLD_AS_FAILURE or reason is Reason.FLAPS_ON:
        flaps = (*flaps, case.now)[-FLAPPING_AT:]
    after = replace(
        after,
        flaps=flaps,
        is_flapping=reason is Reason.FLAPPING or (before.is_flapping and bool(flaps)),
        count=sum(len(failures(one)) for one in after.runs),
    )
    return _with_phase(case, after)


def _with_phase(case: _Case, after: ServiceState) -> ServiceState:
    """Where it stands: a failure that is the newest one begins the window anew."""
    before, failing = case.before, failed_runs(after)
    if not failing:
        phase = Phase.RECOVERED if any(map(newest_failure, after.runs)) else Phase.WELL
        return replace(after, phase=phase, over_at=case.end.at, due_at=None)
    newest = failures(failing[0])[-1]
    after = replace(after, since=newest.at, last_failure_at=newest.at)
    if case.end.task == newest.task or before.phase not in (Phase.TASK_FAILED, Phase.NOT_RUN):
        window_ends_at = case.now + case.limits.window
        return replace(after, phase=Phase.TASK_FAILED, due_at=window_ends_at)
    if before.phase is Phase.NOT_RUN:
        return replace(after, phase=before.phase, due_at=None)
    return replace(after, due_at=before.due_at or case.now + case.limits.window)
