"""Rules about tasks that belong to no service: jobs of a schedule, migrations, one-off runs.

A run fails or succeeds, and then it is over: it holds no incident open. What failed is told, and so
is the next success of the same starter with the same command, once, and what tasks.yaml does for
it. A row holds all runs of one family, so that a command with a time in it makes no rows without
end. What is kept are ends of runs and steps of retries, each once, and everything else is derived
from them (`task_runs`, `retried`): so their order and repetition do not matter. Pure, like
`incidents`, which asks here.
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from notifier import retried
from notifier.arns import revision_label
from notifier.facts import Container
from notifier.model import (
    BEGINNING,
    ApiCall,
    EssentialContainers,
    Event,
    Launch,
    NotReadable,
    Observation,
    Observed,
    Phase,
    Reason,
    RetriedCall,
    RunbookFailed,
    ServiceState,
    SubjectKind,
    TaskEnd,
    TaskRetry,
    TaskRuns,
    TaskStateChange,
)
from notifier.settings import StandaloneTasks
from notifier.task_runs import (
    RUN_BY_HAND,
    RUNBOOK,
    SCHEDULES,
    TRIED_AGAIN,
    all_runs,
    bare,
    belongs_to,
    bounded,
    failed_runs,
    failures,
    is_unrecorded,
    key_of,
    mark,
    newest_failure,
    starter_of,
    undecided,
    unrecorded_key,
    with_end,
    with_runs,
    without_end,
)
from notifier.tasks import BY_A_PERSON, ended_well, is_in_doubt, seems_ended_well

UNKNOWN_FAMILY = "unknown"  # of a call that was refused, CloudTrail may say nothing

_SCHEDULERS = ("events.amazonaws.com", "scheduler.amazonaws.com")

WORDS_AT_MOST = 1_024  # characters of a reason
NAME_AT_MOST = 128  # characters of a runbook, a step, an execution's or a job's id
CONTAINERS_KEPT = 20  # of a task; ECS takes ten
UNKNOWN = "…"  # in the place of what is not known, or must not be shown
SEEN_AT_MOST = 100  # identities of what tasks.yaml told, to recognise a second copy
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
        case TaskRetry() | RunbookFailed():
            return True
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
    if isinstance(event, TaskRetry | RunbookFailed):  # somebody listed the family for it
        return f"StandaloneTasks={which}" if which is StandaloneTasks.OFF else ""
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
    if isinstance(event, TaskRetry | RunbookFailed):
        named = event.task_definition if isinstance(event, RunbookFailed) else ""
        return Launch(task_definition=named or event.family, started_by=event.started_by)
    known = event.launch if isinstance(event, TaskStateChange | ApiCall) else None
    if isinstance(event, TaskStateChange) and known is None:
        return Launch(task_definition=event.task_definition_arn, started_by=event.started_by)
    return known or Launch(task_definition="")


def _is_scheduled(launch: Launch) -> bool:
    if launch.started_by:
        return launch.started_by.startswith(tuple(SCHEDULES))
    return launch.invoked_by in _SCHEDULERS


# --- what an event is about -----------------------------------------------------------------------


def subject(event: Event) -> ServiceState | None:
    """The row that such an event is about, as it is before anything is known of it."""
    if not is_standalone(event):
        return None
    named = event.family if isinstance(event, TaskRetry | RunbookFailed) else ""
    family = family_of(named or _launch(event).task_definition)
    return ServiceState(name=family, kind=SubjectKind.TASK)


def family_of(task_definition: str) -> str:
    """The family of an ARN, `family:revision` or a family.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html
    """
    family = revision_label(task_definition).partition(":")[0]
    return family if _FAMILY.fullmatch(family) else UNKNOWN_FAMILY


def _run_of(event: Event) -> _Run:
    launch = _launch(event)
    if isinstance(event, RunbookFailed):
        return _Run(f"{RUNBOOK}{event.runbook[:NAME_AT_MOST]}", "", _end_of_runbook(event))
    if isinstance(event, TaskStateChange):
        end = _end_of(event, ended_well(event))
    else:
        end = TaskEnd(
            task=mark(event.identity),
            at=event.occurred_at,
            is_success=False,
            stop_code=event.error_code if isinstance(event, ApiCall) else "",
            reason=_why_not_started(event)[:WORDS_AT_MOST],
            launch=_bounded(launch),
        )
    return _Run(starter_of(launch), _command(launch), bare(end) if end.is_success else end)


def _end_of_runbook(event: RunbookFailed) -> TaskEnd:
    return TaskEnd(
        task=mark(event.identity),
        at=event.occurred_at,
        is_success=False,
        of=event.execution_id[:NAME_AT_MOST],
        stop_code=event.name[:NAME_AT_MOST],
        reason=event.reason[:WORDS_AT_MOST],
        launch=_launch(event),
        runbook=event.runbook[:NAME_AT_MOST],
        step=event.step[:NAME_AT_MOST],
    )


def _end_of(task: TaskStateChange, is_success: bool | None) -> TaskEnd:
    return TaskEnd(
        task=mark(task.task_arn),
        at=task.occurred_at,
        version=task.version or 0,
        is_success=is_success,
        of=belongs_to(_launch(task))[:NAME_AT_MOST],
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


def _command(launch: Launch) -> str:
    """A mark of the command override; empty where there is none."""
    commands = {one.name: one.command for one in launch.overrides if one.command}
    return mark(json.dumps(commands, sort_keys=True)) if commands else ""


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
    """A run ended, or could not be started, or something was done for one that could not."""
    if isinstance(observed.event, TaskRetry):
        return _on_retry(before, observed.event, now, limits)
    run = _run_of(observed.event)
    new = TaskRuns(starter=run.starter, command=run.command)
    known = next((one for one in before.runs if key_of(one) == key_of(new)), new)
    if with_end(known, run.end) == known:
        return before, Reason.SECOND_COPY
    essential = _essential(before, run.end)
    is_open = run.end.is_success is None
    end = _decided(run.end, essential) if is_open and essential is not None else run.end
    noted = with_runs(before, with_end(known, end))
    if end.is_success is None:
        return replace(noted, due_at=now), Reason.IS_UNDECIDED
    return _judged(_Case(before, noted, end, now, limits))


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
        return bare(replace(end, is_success=True))
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
        verdict = _decided(end, _essential(after, end))
        runs = next(one for one in after.runs if end in one.ends)
        noted = with_runs(after, with_end(without_end(runs, end), verdict))
        after, reason = _judged(_Case(after, noted, verdict, now, limits))
        told = told if told in _TOLD and reason not in _TOLD else reason
    return after, told


def _after_window(before: ServiceState, now: datetime) -> tuple[ServiceState, Reason]:
    is_over = before.due_at is not None and before.due_at <= now
    if before.phase is not Phase.TASK_FAILED or not is_over:
        return before, Reason.NOTHING_WRONG
    return replace(before, phase=Phase.NOT_RUN, due_at=None), Reason.NOT_RUN_SINCE


def _judged(case: "_Case") -> tuple[ServiceState, Reason]:
    """What this end means to each of the runs that it is one of; what is told goes first."""
    before = {key_of(one): one for one in all_runs(case.before)}
    reasons = {}
    for runs in all_runs(case.noted):
        if case.end.task in {one.task for one in runs.ends}:
            was = before.get(key_of(runs), TaskRuns(starter=runs.starter, command=runs.command))
            reasons[key_of(runs)] = _reason(case, was, runs)
    first = sorted(reasons.values(), key=lambda one: one not in _TOLD)
    reason = first[0] if first else Reason.REPEATED
    return _told(case, {key for key, one in reasons.items() if one in _TOLD}, reason), reason


def _reason(case: "_Case", was: TaskRuns, runs: TaskRuns) -> Reason:
    """What the end of this case is to a reader of these runs."""
    end, after = case.end, failures(runs)
    if end.is_success:
        is_over = bool(failures(was)) and not after
        return _reason_of_success(case.before, case.now) if is_over else Reason.PROGRESS
    if end.task in {one.task for one in was.ends if one.is_success is False}:
        return Reason.REPEATED  # a later event of the same task, which says more of it
    is_failing = end.task in {one.task for one in after}
    if _is_told_as_retried(case):
        return Reason.RETRIED if is_failing else Reason.REPEATED
    if not is_failing:
        return Reason.OVER_BEFORE_TOLD
    if after[-1].task != end.task:
        return Reason.REPEATED
    reason = _reason_of_failure(case.before, was, end, case.now)
    return Reason.ANOTHER_CAUSE if reason in BEGINNING and _is_told_of_same(case) else reason


def _is_told_as_retried(case: "_Case") -> bool:
    """Whether this is the record of a call of which its retries have told already."""
    return any(
        one.call == case.end.task and not one.is_recorded and one.revision
        for one in case.before.retries
    )


def _is_told_of_same(case: "_Case") -> bool:
    """Whether a failure of this execution of a runbook is known: its task's, or the runbook's."""
    known = (end for one in failed_runs(case.before) for end in failures(one))
    return bool(case.end.of) and case.end.of in {one.of for one in known}


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
_TOLD = {*TOLD_AS_FAILURE, Reason.RECOVERED, Reason.OVER_BEFORE_TOLD, Reason.RETRIED}


@dataclass(frozen=True, slots=True)
class _Case:
    """One end of a run, and the row before and with it."""

    before: ServiceState
    noted: ServiceState
    end: TaskEnd
    now: datetime
    limits: Limits


def _told(case: _Case, news: Collection[tuple[str, str]], reason: Reason) -> ServiceState:
    """The row with what follows from this end; runs that are news know with which revision."""
    after = _announced(case.noted, news, case.before.revision + 1)
    flaps = _recent(case.before, case.now)
    if reason in TOLD_AS_FAILURE or reason is Reason.FLAPS_ON:
        flaps = (*flaps, case.now)[-FLAPPING_AT:]
    after = replace(
        after,
        flaps=flaps,
        is_flapping=reason is Reason.FLAPPING or (case.before.is_flapping and bool(flaps)),
        count=sum(len(failures(one)) for one in all_runs(after)),
    )
    return _with_phase(case, after)


def _announced(
    task: ServiceState, news: Collection[tuple[str, str]], revision: int
) -> ServiceState:
    """Calls without a record are announced by all of their starter."""
    runs = (replace(one, revision=revision) if key_of(one) in news else one for one in task.runs)
    calls = (
        replace(one, revision=revision) if _is_among(one, news) else one for one in task.retries
    )
    return replace(task, runs=tuple(runs), retries=tuple(calls))


def _is_among(call: RetriedCall, news: Collection[tuple[str, str]]) -> bool:
    return not call.is_recorded and unrecorded_key(call) in news


def _with_phase(case: _Case, after: ServiceState) -> ServiceState:
    """Where it stands: a failure that is the newest one begins the window anew."""
    before, failing = case.before, failed_runs(after)
    if not failing:
        ends = [end for one in all_runs(after) if (end := newest_failure(one))]
        phase = Phase.RECOVERED if ends else Phase.WELL
        since = max((one.at for one in ends), default=after.since)
        return replace(after, phase=phase, since=since, over_at=case.end.at, due_at=None)
    newest = failures(failing[0])[-1]
    after = replace(after, since=newest.at, last_failure_at=newest.at)
    if case.end.task == newest.task or before.phase not in (Phase.TASK_FAILED, Phase.NOT_RUN):
        window_ends_at = case.now + case.limits.window
        return replace(after, phase=Phase.TASK_FAILED, due_at=window_ends_at)
    if before.phase is Phase.NOT_RUN:
        return replace(after, phase=before.phase, due_at=None)
    return replace(after, due_at=before.due_at or case.now + case.limits.window)


# --- what was done for what did not start ---------------------------------------------------------


def _on_retry(
    before: ServiceState, event: TaskRetry, now: datetime, limits: Limits
) -> tuple[ServiceState, Reason]:
    """A call is tried again, or not any more. A call without a record is a failure by that."""
    call, identity = mark(f"call {event.call}"), mark(event.identity)
    calls = retried.with_step(before.retries, event, call)
    if identity in before.seen or calls == before.retries:
        return before, Reason.SECOND_COPY
    seen = (*before.seen, identity)[-SEEN_AT_MOST:]
    noted = bounded(replace(before, retries=calls, seen=seen))
    step = retried.step_in(noted.retries, event, call)
    if step is None:
        return noted, Reason.REPEATED  # of a call that is too old to be kept
    after, reason = _with_failed_call(before, noted, call, now, limits)
    said_at = retried.said_at(after.retries, step, call, limits.repeat_interval)
    if reason is Reason.REPEATED and said_at is None:
        reason = Reason.RETRIED
    if reason in _TOLD:
        step = replace(step, revision=before.revision + 1, said_at=step.occurred_at)
    else:
        step = replace(step, said_at=said_at)
    return replace(after, retries=retried.with_told(after.retries, step, call)), reason


def _with_failed_call(
    before: ServiceState, noted: ServiceState, call: str, now: datetime, limits: Limits
) -> tuple[ServiceState, Reason]:
    """What it means that this call failed, unless its own record says it."""
    ends = (end for one in all_runs(noted) if is_unrecorded(one) for end in one.ends)
    end = next((one for one in ends if one.task == call), None)
    if end is None:
        return noted, Reason.REPEATED
    return _judged(_Case(before, noted, end, now, limits))
