"""How a one-off task ended: which container decides, its exit code, and what a shell is told.

A task has no exit code of its own; its containers have. The one that decides is the one that is
named, else the only essential container that does the work. What never ran has no exit code, and
an exit code that is absent is never 0.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Container.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html#container_definition_environment
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from notifier.facts import Container, StoppedTask, TaskDefinition
from notifier.tasks import SIGKILL, SIGTERM, ended_by_itself

TIMED_OUT_CODE = 124  # as timeout(1) of GNU coreutils has it
NO_CODE = 125  # as `docker run` has it for what did not run
OTHER_FAILURE = 1  # for exit codes that a shell cannot carry


class Outcome(StrEnum):
    """How a task, or a whole run, ended."""

    EXITED = "exited"  # with the exit code of the container that decides
    NEVER_STARTED = "never started"
    UNKNOWN = "unknown"
    TIMED_OUT = "timed out"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class TaskShown:
    """A task as DescribeTasks shows it, in whatever state."""

    last_status: str
    desired_status: str
    task: StoppedTask

    @property
    def has_stopped(self) -> bool:
        """Whether all of it is over."""
        return self.last_status == "STOPPED"


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of the order in which containers ended, which the end alone does not show.

    `first` of those that may decide, empty for unknown; `by_itself`: while the task was to run on.
    """

    first: str = ""
    by_itself: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a task: `exit_code` is the deciding container's own, None where there is none."""

    outcome: Outcome
    why: str
    container: str = ""
    exit_code: int | None = None
    codes: dict[str, int | None] = field(default_factory=dict)


# --- who decides ----------------------------------------------------------------------------------


def deciders(definition: TaskDefinition, named: str = "") -> Sequence[str]:
    """The containers whose exit code may decide, in the task definition's order.

    The one that is named, also a side-car; else the essential ones without those that stand beside
    the work (a log router, a proxy), unless nothing else is there. Empty: no such container.
    """
    if named:
        return [one.name for one in definition.containers if one.name == named]
    essential = [one.name for one in definition.containers if one.is_essential]
    return [name for name in essential if name not in definition.beside] or essential


def noticed(seen: Seen, shown: TaskShown, deciding: Collection[str]) -> Seen:
    """What another look at the task adds to what was seen."""
    if seen.first:
        return seen
    names = [one for one in shown.task.containers if one.name in deciding]
    over = [one.name for one in names if _is_over(one)]
    if len(over) != 1 or (len(names) > 1 and shown.has_stopped):
        return seen
    return Seen(over[0], by_itself=shown.desired_status == "RUNNING")


def _is_over(container: Container) -> bool:
    return container.exit_code is not None or container.last_status == "STOPPED"


# --- how a task ended -----------------------------------------------------------------------------


def judged(task: StoppedTask, deciding: Sequence[str], seen: Seen | None = None) -> Ended:
    """The verdict on a task that has stopped. `deciding` as `deciders` names them."""
    seen = seen or Seen()
    end = _verdict(task, deciding, seen)
    return replace(end, codes={one.name: one.exit_code for one in task.containers})


def _verdict(task: StoppedTask, deciding: Sequence[str], seen: Seen) -> Ended:
    ran = [one for one in task.containers if one.name in deciding and one.exit_code is not None]
    if not ran:
        return _without_code(task)
    decider = _decider(ran, deciding, seen)
    if decider is None:
        among = ", ".join(f"{one.name} {one.exit_code}" for one in ran)
        return Ended(Outcome.UNKNOWN, f"which of these ended the task is not known: {among}")
    by_itself = seen.by_itself and seen.first == decider.name
    # A container that ends with 0 because its task was taken away has only obeyed.
    if decider.exit_code == 0 and not ended_by_itself(task) and not by_itself:
        why = f"{decider.name} ended with 0 because the task was stopped: {_reason(task)}"
        return Ended(Outcome.UNKNOWN, why, decider.name)
    return Ended(Outcome.EXITED, _said(task, decider), decider.name, decider.exit_code)


def _without_code(task: StoppedTask) -> Ended:
    if task.started_at is None:
        return Ended(Outcome.NEVER_STARTED, _reason(task))
    return Ended(Outcome.UNKNOWN, f"it ended without an exit code: {_reason(task)}")


def _decider(ran: Sequence[Container], deciding: Sequence[str], seen: Seen) -> Container | None:
    """The one that ended the task; None where that cannot be told.

    ECS ends the others by SIGTERM and, after their stop time-out, by SIGKILL. So a code of neither
    is the container's own; 143 is not, since nobody else sends SIGTERM; 137 may be, for the kernel
    kills too.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StopTask.html
    """
    first = next((one for one in ran if one.name == seen.first), None)
    if first or len(deciding) == 1:
        return first or ran[0]
    failed = [one for one in ran if one.exit_code not in (0, SIGTERM, SIGKILL) or one.reason]
    well = [one for one in ran if one.exit_code == 0]
    killed = [one for one in ran if one.exit_code == SIGKILL]
    if failed or not well:
        return (failed or killed or ran)[0]
    return None if killed else well[0]


def _said(task: StoppedTask, container: Container) -> str:
    """In ECS's words what stands beside the exit code."""
    return container.reason or ("" if container.exit_code == 0 else task.stopped_reason)


def _reason(task: StoppedTask) -> str:
    """All that ECS says of the stop, the containers' own words last."""
    reasons = [task.stopped_reason, *(f"{one.name}: {one.reason}" for one in task.containers)]
    said = [one for one in reasons if one and not one.endswith(": ")]
    return "; ".join(said) or task.stop_code or "ECS gives no reason"


# --- what a shell is told -------------------------------------------------------------------------


def status_of(ends: Sequence[Ended], asked: int) -> int:
    """The exit code of a run of which nothing is left to wait for.

    125 when fewer ran than were asked for, or one's outcome is not known; else the first exit code
    that is not 0, in the order in which the tasks were started.
    """
    exited = [end for end in ends if end.outcome is Outcome.EXITED]
    if len(exited) < max(asked, len(ends)):
        return NO_CODE
    return next(filter(None, (carried(end.exit_code) for end in exited)), 0)


def carried(code: int | None) -> int:
    """The code as a shell can carry it: what is outside 0 to 255, as Windows has it, becomes 1."""
    if code is None:
        return NO_CODE
    return code if 0 <= code <= 255 else OTHER_FAILURE
