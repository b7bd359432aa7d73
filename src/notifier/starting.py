"""Why a task could not start: a reason that passes, one that stays, or an answer that never came.

RunTask says it in three ways: an answer with `failures` (HTTP 200), an error, or a task that ECS
took and then stopped before any container ran. What passes is written down here; everything else,
also every word that nobody knows, stays, because a job that is started once too often costs more
than one that a person has to look at.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from notifier.facts import NEVER_STARTED, Container, StoppedTask

_GUIDE = "https://docs.aws.amazon.com/AmazonECS/latest/developerguide"
_API = "https://docs.aws.amazon.com/AmazonECS/latest/APIReference"
FAILURES_PAGE = f"{_GUIDE}/api_failures_messages.html"
ERRORS_PAGE = f"{_API}/API_RunTask.html#API_RunTask_Errors"
COMMON_ERRORS_PAGE = f"{_API}/CommonErrors.html"
IDEMPOTENCY_PAGE = f"{_API}/ECS_Idempotency.html"
STOPS_PAGE = f"{_GUIDE}/stopped-task-error-codes.html"
MESSAGES_PAGE = f"{_GUIDE}/service-event-messages-list.html"
# "If you get a ClientException error … the quota of tasks in the PROVISIONING … has been reached."
QUOTA_PAGE = f"{_API}/API_RunTask.html"
CAPACITY_PAGE = "https://repost.aws/knowledge-center/ecs-fargate-runtask-capacity"


class Start(StrEnum):
    """What a failed start means for another one."""

    PASSING = "passing"  # nothing was started, and the same request may succeed in some minutes
    FINAL = "final"  # nothing was started, and the same request fails again, or nobody knows
    UNKNOWN = "unknown"  # nobody can tell whether something was started: look before another one
    TAKEN = "taken"  # the client token was used before; the error names the tasks that it started


@dataclass(frozen=True, slots=True)
class NotStarted:
    """The verdict on a start that failed, and the page that it follows."""

    start: Start
    page: str


@dataclass(frozen=True, slots=True)
class _Passing:
    """Words of a reason that passes: all of `words`, in lower case; `a|b` is one or the other."""

    words: tuple[str, ...]
    page: str

    def fits(self, text: str) -> bool:
        return all(any(either in text for either in word.split("|")) for word in self.words)


# Codes stand at the beginning, or behind `TaskFailedToStart: ` in the reason of a stop. RESOURCE
# passes because other tasks end and capacity providers scale; AGENT because agents reconnect.
_CODES = re.compile(r"(?:TaskFailedToStart: ?)?(?:RESOURCE:[A-Z_]+|AGENT)(?![A-Za-z])")
_REASONS = (
    _Passing(("capacity is unavailable",), CAPACITY_PAGE),
    _Passing(("limit on the number of vcpu|limit on the number of tasks",), MESSAGES_PAGE),
    _Passing(("provisioning capacity limit was exceeded",), MESSAGES_PAGE),
)
_STOPS = (
    _Passing(
        ("timeout waiting for", "network interface provisioning|ephemeralstorage provisioning"),
        f"{_GUIDE}/failed-to-start-error.html",
    ),
    _Passing(
        (
            "cannotpull",
            "i/o timeout|: eof|unexpected eof|tls handshake timeout|connection reset"
            "|toomanyrequests",
        ),
        f"{_GUIDE}/task_cannot_pull_image.html",
    ),
)
_QUOTA_OF_PROVISIONING = ("provisioning",)

# Errors of AWS's front door that say nothing was done.
_SLOW_DOWN = {
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "RequestThrottled",
}
# Errors after which it may have been done all the same.
_UNSURE = {"ServerException", "InternalFailure", "InternalError", "ServiceUnavailable"}

# Callers of AWS that try a refused call again by themselves.
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-retry-policy.html
# https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-retry-policy.html
_TRY_AGAIN = ("events.", "scheduler.", "states.", "pipes.")


def of_failure(reason: str) -> NotStarted:
    """What a `failures[].reason` of RunTask's answer means. Never UNKNOWN: the answer came.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html
    """
    if _CODES.match(reason):
        return NotStarted(Start.PASSING, FAILURES_PAGE)
    return _among(_REASONS, reason) or NotStarted(Start.FINAL, FAILURES_PAGE)


def of_failures(reasons: Collection[str]) -> NotStarted:
    """The verdict on all reasons of one answer: it passes only if each of them does.

    Without any reason (ECS started too few and did not say why) it is FINAL.
    """
    verdicts = [of_failure(reason) for reason in reasons]
    stays = [one for one in verdicts if one.start is not Start.PASSING]
    return next(iter((*stays, *verdicts)), NotStarted(Start.FINAL, FAILURES_PAGE))


def of_error(code: str, message: str = "", status: int = 0) -> NotStarted:
    """What an error of RunTask means: AWS's code and message, and the answer's HTTP status.

    Empty code and status 0: no answer came (a time-out, a broken connection). After UNKNOWN the
    same request with the same client token starts nothing twice while the task of the first one
    lives, and no longer: who waited must look by `startedBy` first.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html#API_RunTask_Errors
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/CommonErrors.html
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html
    """
    if code in _SLOW_DOWN or status == 429:
        return NotStarted(Start.PASSING, COMMON_ERRORS_PAGE)
    if code in _UNSURE or status >= 500 or (not code and not 400 <= status < 500):
        return NotStarted(Start.UNKNOWN, IDEMPOTENCY_PAGE)
    if code == "ConflictException":
        return NotStarted(Start.TAKEN, IDEMPOTENCY_PAGE)
    if code == "ClientException" and _fits(_QUOTA_OF_PROVISIONING, message):
        return NotStarted(Start.PASSING, QUOTA_PAGE)
    return NotStarted(Start.FINAL, ERRORS_PAGE)


def is_repeated_by_its_caller(code: str, message: str, invoked_by: str) -> bool:
    """Whether who called RunTask tries again by itself after this error; empty code: no error.

    Every SDK repeats a throttled call, and some services of AWS whatever was refused.
    """
    if not code or of_error(code, message).start is Start.FINAL:
        return False
    return invoked_by.startswith(_TRY_AGAIN) or code != "ClientException"


def of_stop(task: StoppedTask) -> NotStarted:
    """What the stop of a task that RunTask had taken means: PASSING only if nothing of it ran.

    A task that ran is FINAL, whatever its exit code: whether the job may run twice, nobody here
    knows.
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
    """
    if not never_ran(task):
        return NotStarted(Start.FINAL, STOPS_PAGE)
    if _CODES.match(task.stopped_reason):
        return NotStarted(Start.PASSING, FAILURES_PAGE)
    said = " ".join((task.stopped_reason, *(one.reason for one in task.containers)))
    return _among((*_REASONS, *_STOPS), said) or NotStarted(Start.FINAL, STOPS_PAGE)


def never_ran(task: StoppedTask) -> bool:
    """Whether ECS stopped the task before a container ran, by all that it shows of it."""
    return (
        task.stop_code == NEVER_STARTED
        and task.started_at is None
        and all(map(_has_not_run, task.containers))
    )


def _has_not_run(container: Container) -> bool:
    return container.exit_code is None


def _among(passing: Collection[_Passing], text: str) -> NotStarted | None:
    lower = text.lower()
    row = next((one for one in passing if one.fits(lower)), None)
    return NotStarted(Start.PASSING, row.page) if row else None


def _fits(words: tuple[str, ...], text: str) -> bool:
    return _Passing(words, "").fits(text.lower())
