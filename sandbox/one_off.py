"""One-off tasks as ECS runs them: RunTask, StopTask, and how a task goes on by the clock.

A job says how the tasks of its family go; what ECS shows of a task is derived from that, from when
it was started and from whether it was told to stop. The manners are those of the real thing: a
client token that holds as long as its tasks live, a list that lags behind, `failures` in an answer
that is no error, no exit code where a container never ran.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sandbox.aws_error import AwsError

Json = dict[str, Any]
NEVER = math.inf
EXITED = ("EssentialContainerExited", "Essential container in task exited")
_STARTED_BY = re.compile(r"[A-Za-z0-9_/-]{0,128}")
_TOKEN = re.compile(r"[!-~]{1,64}")


@dataclass(frozen=True)
class Ending:
    """How a container ends by itself: so many seconds after its task runs, with this code.

    Code None: it never ran. Told to stop it ends `term_takes` seconds later with `on_term`.
    """

    after: float = 1
    code: int | None = 0
    reason: str = ""
    on_term: int = 143
    term_takes: float = 0.5


@dataclass(frozen=True)
class Job:
    """How tasks of a family go, in seconds after RunTask took them.

    `refusals`: for each RunTask in turn the reasons of its failures, one a task, or an error.
    `stopped_after`: ECS or a person ends the task so long after it runs, as `stopped` says.
    `forgotten_after`: DescribeTasks no longer finds it so long after its end.
    """

    containers: Mapping[str, Ending] = field(default_factory=lambda: {"app": Ending()})
    starts_after: float = 0.5
    fails_to_start: str = ""
    fails_times: int = 1_000_000
    stopped_after: float = NEVER
    stopped: tuple[str, str] = ("UserInitiated", "Task stopped by user")
    lines: Sequence[str] = ()
    log_lag: float = 0.5
    refusals: Sequence[Sequence[str] | AwsError] = ()
    forgotten_after: float = 3600
    shown_after: float = 0


@dataclass
class Started:
    """A task that RunTask took."""

    arn: str
    job: Job
    definition: Json
    request: Json
    created: float
    is_doomed: bool
    told_to_stop: tuple[float, str] | None = None

    # --- when -------------------------------------------------------------------------------------

    @property
    def runs_at(self) -> float:
        """When its containers run; never where it fails to start."""
        return NEVER if self.is_doomed else self.created + self.job.starts_after

    def _essential(self) -> list[str]:
        rows = self.definition["containerDefinitions"]
        return [row["name"] for row in rows if row.get("essential", True)]

    def _own_end(self, name: str) -> float:
        ending = self.job.containers.get(name, Ending(NEVER))
        return self.runs_at if ending.code is None else self.runs_at + ending.after

    @property
    def falls_at(self) -> float:
        """When ECS begins to end it: an essential container ended, or somebody said so."""
        ends = [self._own_end(name) for name in self._essential()]
        told = self.told_to_stop[0] if self.told_to_stop else NEVER
        failed = self.created + self.job.starts_after if self.is_doomed else NEVER
        return min(*ends, told, failed, self.runs_at + self.job.stopped_after)

    def ended_at(self, name: str) -> float:
        """When the container ends."""
        ending = self.job.containers.get(name, Ending(NEVER))
        return min(self._own_end(name), self.falls_at + ending.term_takes)

    @property
    def stopped_at(self) -> float:
        """When all of it is over."""
        ran = not self.is_doomed and self.runs_at <= self.falls_at
        names = [row["name"] for row in self.definition["containerDefinitions"]]
        return max(map(self.ended_at, names)) if ran else self.falls_at + 0.1

    # --- what ECS shows ---------------------------------------------------------------------------

    def shown(self, now: float) -> Json:
        """The task as DescribeTasks shows it."""
        status = self._status(now)
        row: Json = {
            "taskArn": self.arn,
            "clusterArn": self.request["clusterArn"],
            "taskDefinitionArn": self.definition["taskDefinitionArn"],
            "group": self.request.get("group", f"family:{self.definition['family']}"),
            "startedBy": self.request.get("startedBy", ""),
            "createdAt": iso(self.created),
            "lastStatus": status,
            "desiredStatus": "STOPPED" if now >= self.falls_at else "RUNNING",
            "containers": [self._container(one, now) for one in self._rows()],
        }
        if min(now, self.falls_at) >= self.runs_at:
            row["startedAt"] = iso(self.runs_at)
        if now >= self.falls_at:
            row |= {"stoppingAt": iso(self.falls_at), **self._why()}
        if status == "STOPPED":
            row["stoppedAt"] = iso(self.stopped_at)
        return row

    def _rows(self) -> list[Json]:
        rows: list[Json] = self.definition["containerDefinitions"]
        return rows

    def _status(self, now: float) -> str:
        if now >= self.stopped_at:
            return "STOPPED"
        if now >= self.falls_at:
            return "DEPROVISIONING"
        return "RUNNING" if now >= self.runs_at else "PROVISIONING"

    def _why(self) -> Json:
        code, reason = EXITED
        if self.is_doomed:
            code, reason = "TaskFailedToStart", self.job.fails_to_start
        elif self.told_to_stop and self.falls_at == self.told_to_stop[0]:
            code, reason = "UserInitiated", self.told_to_stop[1]
        elif self.falls_at == self.runs_at + self.job.stopped_after:
            code, reason = self.job.stopped
        return {"stopCode": code, "stoppedReason": reason}

    def _container(self, definition: Json, now: float) -> Json:
        name = definition["name"]
        row: Json = {"name": name, "image": definition.get("image", ""), "taskArn": self.arn}
        ending = self.job.containers.get(name, Ending(NEVER))
        began = min(now, self.falls_at) >= self.runs_at
        over = now >= (self.ended_at(name) if began else self.stopped_at)
        row["lastStatus"] = "STOPPED" if over else "RUNNING" if began else "PENDING"
        if over and began and ending.code is not None:
            own = self._own_end(name) <= self.ended_at(name)
            row["exitCode"] = ending.code if own else ending.on_term
        if over and ending.reason:
            row["reason"] = ending.reason
        return row

    # --- its log ----------------------------------------------------------------------------------

    def logged(self, now: float) -> Iterator[Json]:
        """The streams of the containers that log to CloudWatch Logs, as far as lines have come.

        All but the last line come with the start, the last one with the end, and late.
        """
        for row in self._rows():
            options = row.get("logConfiguration", {}).get("options", {})
            prefix = options.get("awslogs-stream-prefix")
            if not prefix or now < self.runs_at or not self.job.lines:
                continue
            lag = self.job.log_lag
            ended = now >= self.ended_at(row["name"]) + lag
            count = len(self.job.lines) if ended else len(self.job.lines) - 1
            stream = f"{prefix}/{row['name']}/{self.arn.rsplit('/', 1)[-1]}"
            yield {
                "arn": stream,
                "logGroupName": options["awslogs-group"],
                "logStreamName": stream,
                "events": [{"message": line, "timestamp": 0} for line in self.job.lines[:count]],
            }


@dataclass
class OneOffs:
    """Every one-off task. `jobs` by family; a family without a job may not be run.

    `answers`, by family too, are given first, each once and word for word: what they start goes on
    by events and not by the clock.
    """

    now: Callable[[], float]
    jobs: dict[str, Job] = field(default_factory=dict)
    answers: dict[str, list[Json]] = field(default_factory=dict)
    started: dict[str, Started] = field(default_factory=dict)
    _tokens: dict[tuple[str, str], tuple[str, Json, list[str]]] = field(default_factory=dict)
    _calls: Counter[str] = field(default_factory=Counter)

    def clear(self) -> None:
        """Forget every job and task."""
        for one in (self.jobs, self.answers, self.started, self._tokens, self._calls):
            one.clear()

    def visible(self) -> Iterator[tuple[Started, bool]]:
        """Every task, and whether ECS shows it now: not at once, and not for ever."""
        now = self.now()
        for one in self.started.values():
            is_new = now < one.created + one.job.shown_after
            yield one, not is_new and now < one.stopped_at + one.job.forgotten_after

    def run(self, request: Json, definition: Json) -> Json:
        """Answer RunTask for a cluster and a task definition that are there."""
        if answers := self.answers.get(definition["family"]):
            _check(request, definition)
            return answers.pop(0)
        job = self.jobs.get(definition["family"])
        if job is None:
            raise AwsError("AccessDeniedException", f"may not run {definition['family']}")
        _check(request, definition)
        if before := self._by_token(request):
            return before
        self._calls[definition["family"]] += 1
        number = self._calls[definition["family"]]
        refusal = job.refusals[number - 1] if number <= len(job.refusals) else ()
        if isinstance(refusal, AwsError):
            raise refusal
        taken = request.get("count", 1) - len(refusal)
        arns = [self._start(job, request, definition) for _ in range(taken)]
        answer: Json = {
            "tasks": [self.started[arn].shown(self.now()) for arn in arns],
            "failures": [{"reason": reason} for reason in refusal],
        }
        if token := request.get("clientToken"):
            key = (request["clusterArn"], token)
            self._tokens[key] = (_digest(request), answer["failures"], arns)
        return answer

    def _by_token(self, request: Json) -> Json | None:
        """Return what the same token started, while one of its tasks lives."""
        key = (request["clusterArn"], request.get("clientToken", ""))
        digest, failures, arns = self._tokens.get(key, ("", {}, []))
        now = self.now()
        if all(now >= self.started[arn].stopped_at for arn in arns):
            return None
        if digest != _digest(request):
            raise AwsError("ConflictException", "token in use", more={"resourceIds": arns})
        return {"tasks": [self.started[arn].shown(now) for arn in arns], "failures": failures}

    def _start(self, job: Job, request: Json, definition: Json) -> str:
        number = len(self.started) + 1
        arn = f"{request['clusterArn'].replace(':cluster/', ':task/')}/{number:032x}"
        doomed = sum(one.job is job and one.is_doomed for one in self.started.values())
        is_doomed = bool(job.fails_to_start) and doomed < job.fails_times
        self.started[arn] = Started(arn, job, definition, request, self.now(), is_doomed)
        return arn

    def stop(self, arn: str, reason: str) -> Json:
        """Answer StopTask for a task that is there; one that has stopped stays as it is."""
        task = self.started[arn]
        if self.now() < task.falls_at:
            task.told_to_stop = (self.now(), reason or "Task stopped by user")
        return {"task": task.shown(self.now())}


def _check(request: Json, definition: Json) -> None:
    """Refuse what RunTask refuses."""
    if not 1 <= request.get("count", 1) <= 10:
        raise AwsError("InvalidParameterException", "count must be from 1 to 10.")
    if not _STARTED_BY.fullmatch(request.get("startedBy", "")):
        raise AwsError("InvalidParameterException", "startedBy is not valid.")
    if not _TOKEN.fullmatch(request.get("clientToken", "-")):
        raise AwsError("InvalidParameterException", "clientToken is not valid.")
    if definition.get("networkMode") == "awsvpc" and not request.get("networkConfiguration"):
        text = "Network Configuration must be provided when networkMode 'awsvpc' is specified."
        raise AwsError("InvalidParameterException", text)
    known = {row["name"] for row in definition["containerDefinitions"]}
    for row in request.get("overrides", {}).get("containerOverrides", []):
        if row["name"] not in known:
            text = f"Override for container named {row['name']} is not a container in the task."
            raise AwsError("InvalidParameterException", text)


def _digest(request: Json) -> str:
    return json.dumps(request, sort_keys=True)


def iso(moment: float) -> str:
    """Return the moment as the world has it."""
    return datetime.fromtimestamp(moment, UTC).isoformat()
