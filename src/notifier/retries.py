"""When a task that could not start is tried again: the rules, without I/O, clock or chance.

A job is what is missing of one RunTask call. It waits, is tried, and ends: everything was started,
nothing more will be tried, or nobody knows. Whatever leaves a doubt ends it, because a job that
runs twice costs more than one that a person has to start.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from notifier.asked import Asked
from notifier.starting import Start, is_repeated_by_its_caller, of_error, of_failures

# Who starts tasks and looks after their start by itself, in `startedBy`: we, and `ecs-watch run`.
# Letters, digits, hyphens, underscores and slashes, at most 128: API_RunTask (startedBy).
STARTED_BY = "ecsw/"
_STARTED_BY = re.compile(r"ecsw/([0-9a-f]{16})/([1-9][0-9]?)")
OWN_STARTERS = (STARTED_BY, "ecs-watch")

FIRST_WAIT = timedelta(seconds=90)
LEASE = timedelta(minutes=3)  # longer than the function may run
WAIT_FOR_EVENTS = timedelta(minutes=5)  # of a task whose start nobody answered for
# So only a quick error or a broken connection is asked again about, never a time-out: a token dies
# with its task, and a job on an instance that has its image can be over within seconds.
RESEND_WITHIN = timedelta(milliseconds=750)
KEEP = timedelta(days=15)  # longer than a dead-letter queue's 14 days: nothing begins anew


class Phase(StrEnum):
    """Where a job stands."""

    WAITING = "waiting"  # for its next attempt
    TRYING = "trying"  # RunTask may be under way
    UNSURE = "unsure"  # RunTask was sent, and nobody knows what became of it
    UNKNOWN = "unknown"  # the same, and told: only an event of its tasks says more
    ENDED = "ended"


class Outcome(StrEnum):
    """What is told of a job."""

    WAITING = "waiting"  # it will be tried (again)
    STARTED = "started"  # everything that was asked for has started
    GIVEN_UP = "given up"
    REFUSED = "refused"  # it was never tried
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing to tell of a job: after `attempt` attempts, `missing` tasks have not started."""

    number: int
    outcome: Outcome
    attempt: int
    missing: int
    why: str
    at: datetime
    next_at: datetime | None = None
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is missing of a RunTask call, and what we did about it.

    `request` is JSON, and empty once the job has ended: what it holds may be a secret. `asked` is
    how many tasks the call wanted, also those that it got; `sent` how many the attempt under way
    asks for; `tasks` those known to have started by it.
    """

    id: str
    event_id: str
    account: str
    region: str
    cluster_arn: str
    family: str
    starter: str
    request: str
    asked: int
    missing: int
    phase: Phase
    due_at: datetime | None
    deadline: datetime
    attempt: int = 0
    sent: int = 0
    tasks: tuple[str, ...] = ()
    told: int = 0  # notices so far, told or not
    notices: tuple[Notice, ...] = ()
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What may be tried, and how often. `own_role` is the name of the role that we run under.

    `subnets` are used for every second attempt; the others, and all without them, use the call's.
    """

    families: frozenset[str]
    clusters: frozenset[str]
    account: str
    region: str
    own_role: str
    is_on: bool = True
    attempts: int = 5
    within: timedelta = timedelta(minutes=60)
    daily_budget: int = 20
    subnets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ignored:
    """A call that is none of ours to repeat, nor to speak of."""

    why: str


@dataclass(frozen=True, slots=True)
class Answer:
    """RunTask's answer: the ARNs of the tasks that started, and why others did not."""

    tasks: tuple[str, ...]
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """RunTask did not answer, or refused: AWS's code and words, and the HTTP status."""

    code: str = ""
    message: str = ""
    status: int = 0


Jitter = Callable[[timedelta], timedelta]


# --- a job begins -------------------------------------------------------------------------------


def begun(
    call: Asked, policy: Policy, now: datetime, jitter: Jitter, problem: str = ""
) -> Job | Ignored:
    """The job that this call leaves to do; one that has ended where it must not be repeated.

    `problem` is what the SDK finds wrong with the request, such as a field that it does not know.
    """
    if why := _not_ours(call, policy):
        return Ignored(why)
    job = _job(call, policy, now)
    if why := _refusal(call, problem):
        return _ended(job, Outcome.REFUSED, why, now)
    due_at = now + _wait(1, jitter)
    if due_at > job.deadline:
        return _ended(job, Outcome.REFUSED, "the call was made too long ago", now)
    return _waiting(job, due_at, _reason(call), now)


def _not_ours(call: Asked, policy: Policy) -> str:
    """A run of our own is none to repeat: known by its role, and by its `startedBy`."""
    if not policy.is_on:
        return "retries are switched off"
    if (call.account, call.region) != (policy.account, policy.region):
        return "another account or region"
    if call.role == policy.own_role or call.starter.startswith(OWN_STARTERS):
        return "our own run"
    if call.family not in policy.families:
        return "a task family that is not listed"
    if call.cluster_arn and call.cluster_arn not in policy.clusters:
        return "a cluster that is not listed"
    return "a person called, who has seen the answer" if call.by_a_person else _tries_again(call)


def _refusal(call: Asked, problem: str) -> str:
    if _verdict(call) is not Start.PASSING:
        return f"this does not pass by itself: {_reason(call)}"
    return call.wrong or problem


def _verdict(call: Asked) -> Start:
    if call.error_code:
        return of_error(call.error_code, call.error_message).start
    return of_failures(call.reasons).start


def _tries_again(call: Asked) -> str:
    repeated = is_repeated_by_its_caller(call.error_code, call.error_message, call.invoked_by)
    return "who called tries again by itself" if repeated else ""


def _reason(call: Asked) -> str:
    words = dict.fromkeys(call.reasons or (call.error_message or call.error_code,))
    return "; ".join(words)


def _job(call: Asked, policy: Policy, now: datetime) -> Job:
    missing = max(call.count - call.started, 0)
    return Job(
        id=job_id(call),
        event_id=call.event_id,
        account=call.account,
        region=call.region,
        cluster_arn=call.cluster_arn,
        family=call.family,
        starter=call.starter,
        request=json.dumps(call.request, separators=(",", ":")),
        asked=call.count,
        missing=missing,
        phase=Phase.WAITING,
        due_at=now,
        deadline=call.at + policy.within,
    )


def job_id(call: Asked) -> str:
    """The same for every copy of a call's event, and short enough for `startedBy`."""
    return _hash(call.account, call.region, call.cluster_arn, call.event_id)[:16]


# --- an attempt ---------------------------------------------------------------------------------


def claimed(job: Job, policy: Policy, now: datetime) -> Job:
    """The attempt begins: written down before RunTask is called. Or it may not begin any more."""
    if not policy.is_on:
        return _ended(job, Outcome.GIVEN_UP, "retries are switched off", now)
    if now > job.deadline or job.attempt >= policy.attempts:
        return _ended(job, Outcome.GIVEN_UP, "the time for it is over", now)
    return replace(
        job,
        phase=Phase.TRYING,
        attempt=job.attempt + 1,
        sent=job.missing,
        tasks=(),
        due_at=now + LEASE,
    )


def over_budget(job: Job, now: datetime) -> Job:
    """No attempt is left today for this family."""
    return _ended(job, Outcome.GIVEN_UP, "the family's budget for today is used up", now)


def request_of(job: Job, policy: Policy) -> dict[str, Any]:
    """RunTask's parameters for the attempt under way: the call's own, for what is missing.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html
    """
    request: dict[str, Any] = json.loads(job.request)
    if policy.subnets and job.attempt % 2 == 0:
        request = _elsewhere(request, policy.subnets)
    return request | {
        "count": job.sent,
        "startedBy": f"{STARTED_BY}{job.id}/{job.attempt}",
        "clientToken": token_of(job),
    }


def token_of(job: Job) -> str:
    """One for each attempt: up to 64 characters, unique in the cluster."""
    return _hash(job.account, job.region, job.cluster_arn, job.event_id, str(job.attempt))


def _elsewhere(request: dict[str, Any], subnets: Sequence[str]) -> dict[str, Any]:
    network = request.get("networkConfiguration", {}).get("awsvpcConfiguration")
    if not network:
        return request
    moved = {"awsvpcConfiguration": {**network, "subnets": list(subnets)}}
    return request | {"networkConfiguration": moved}


def may_resend(failed: Failed, since_first: timedelta) -> bool:
    """Whether the same request may go out once more, with the same token, in this invocation."""
    verdict = of_error(failed.code, failed.message, failed.status)
    return verdict.start is Start.UNKNOWN and since_first <= RESEND_WITHIN


def answered(
    job: Job,
    outcomes: Sequence[Answer | Failed],
    policy: Policy,
    now: datetime,
    jitter: Jitter,
) -> Job:
    """What the attempt came to: the outcome of each time that the request was sent, in order.

    Once one is unknown, only an answer to the same token tells what became of it; a refusal of
    the second request says nothing of the first.
    """
    last = outcomes[-1]
    if isinstance(last, Answer):
        return _counted(job, last, policy, now, jitter)
    verdicts = {of_error(one.code, one.message, one.status).start for one in _failed(outcomes)}
    words = last.message or last.code or "no answer"
    if verdicts & {Start.UNKNOWN, Start.TAKEN}:
        return lost(job, now)
    if Start.FINAL in verdicts:
        return _ended(job, Outcome.GIVEN_UP, words, now)
    return _again(job, words, policy, now, jitter)


def _failed(outcomes: Sequence[Answer | Failed]) -> list[Failed]:
    return [one for one in outcomes if isinstance(one, Failed)]


def _counted(job: Job, answer: Answer, policy: Policy, now: datetime, jitter: Jitter) -> Job:
    tasks = tuple(dict.fromkeys((*job.tasks, *answer.tasks)))
    job = replace(job, tasks=tasks, missing=max(job.sent - len(tasks), 0))
    if not job.missing:
        return _ended(job, Outcome.STARTED, "", now)
    words = "; ".join(dict.fromkeys(answer.reasons)) or "ECS does not say why"
    if of_failures(answer.reasons).start is not Start.PASSING:
        return _ended(job, Outcome.GIVEN_UP, words, now)
    return _again(job, words, policy, now, jitter)


def _again(job: Job, why: str, policy: Policy, now: datetime, jitter: Jitter) -> Job:
    if job.attempt >= policy.attempts:
        return _ended(job, Outcome.GIVEN_UP, why, now)
    due_at = now + _wait(job.attempt + 1, jitter)
    if due_at > job.deadline:
        return _ended(job, Outcome.GIVEN_UP, why, now)
    return _waiting(job, due_at, why, now)


def _wait(attempt: int, jitter: Jitter) -> timedelta:
    """Before the n-th attempt: 90 s, doubled each time; half of it at random."""
    longest = FIRST_WAIT * (1 << (attempt - 1))
    return longest / 2 + jitter(longest / 2)


# --- a doubt ------------------------------------------------------------------------------------


def lost(job: Job, now: datetime) -> Job:
    """Nobody knows what became of the attempt: the events of its tasks may still tell."""
    unsure = replace(job, phase=Phase.UNSURE, due_at=now + WAIT_FOR_EVENTS)
    return _settled(unsure, now)


def waited(job: Job, now: datetime) -> Job:
    """No event told enough: said, and never tried again."""
    seen = len(job.tasks)
    why = f"of {job.sent} tasks {seen} were seen" if seen else "RunTask's answer was lost"
    job = replace(job, phase=Phase.UNKNOWN, missing=max(job.sent - seen, 0), due_at=None)
    return _noticed(replace(job, request=""), Outcome.UNKNOWN, why, now)


def attempt_of(started_by: str) -> tuple[str, int] | None:
    """The job and the attempt that a task of ours was started by; None for anybody else's."""
    named = _STARTED_BY.fullmatch(started_by)
    return (named[1], int(named[2])) if named else None


def seen(job: Job, attempt: int, task_arn: str, now: datetime) -> Job:
    """A task of this attempt exists, says an event: the only thing that settles a doubt."""
    in_doubt = job.phase in {Phase.TRYING, Phase.UNSURE, Phase.UNKNOWN}
    if attempt != job.attempt or not in_doubt or task_arn in job.tasks:
        return job
    return _settled(replace(job, tasks=(*job.tasks, task_arn)), now)


def _settled(job: Job, now: datetime) -> Job:
    if job.phase is Phase.TRYING or len(job.tasks) < job.sent:
        return job
    return _ended(replace(job, missing=0), Outcome.STARTED, "seen by the events of its tasks", now)


# --- what is told -------------------------------------------------------------------------------


def _waiting(job: Job, due_at: datetime, why: str, now: datetime) -> Job:
    job = replace(job, phase=Phase.WAITING, due_at=due_at)
    return _noticed(job, Outcome.WAITING, why, now, next_at=due_at)


def _ended(job: Job, outcome: Outcome, why: str, now: datetime) -> Job:
    job = replace(job, phase=Phase.ENDED, due_at=None, request="")
    return _noticed(job, outcome, why, now)


def _noticed(
    job: Job, outcome: Outcome, why: str, now: datetime, next_at: datetime | None = None
) -> Job:
    notice = Notice(
        number=job.told + 1,
        outcome=outcome,
        attempt=job.attempt,
        missing=job.missing,
        why=why,
        at=now,
        next_at=next_at,
        tasks=job.tasks,
    )
    return replace(job, told=notice.number, notices=(*job.notices, notice))


def told(job: Job, notices: Sequence[Notice]) -> Job:
    """These have been handed over."""
    numbers = {one.number for one in notices}
    left = tuple(one for one in job.notices if one.number not in numbers)
    return replace(job, notices=left)


SOURCE, DETAIL_TYPE = "ecs-watch.tasks", "ECS Watch Task Retry"


def event_of(job: Job, notice: Notice, policy: Policy) -> Mapping[str, Any]:
    """What the watcher is sent, in the words of ECS where it has some. No value of the request."""
    return {
        "id": f"{job.id}/{notice.number}",
        "eventName": f"TASK_RETRY_{notice.outcome.name}",
        "clusterArn": job.cluster_arn,
        "family": job.family,
        "startedBy": job.starter,
        "callEventId": job.event_id,
        "attempt": notice.attempt,
        "attempts": policy.attempts,
        "asked": job.asked,
        "missing": notice.missing,
        "reason": notice.why,
        "updatedAt": notice.at.isoformat(timespec="milliseconds"),
        "nextAt": notice.next_at.isoformat(timespec="milliseconds") if notice.next_at else None,
        "taskArns": list(notice.tasks),
    }


def _hash(*parts: str) -> str:
    return hashlib.sha256("|".join(parts).encode()).hexdigest()
