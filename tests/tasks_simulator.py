"""The retry of tasks in a world in which a seed decides what goes wrong and when.

ECS has RunTask's manners: a client token gives the first answer again, and only while a task of it
lives; it starts some of what was asked for; it throttles; its answers get lost. So do those of the
table and of EventBridge, events come twice, late or not at all, and functions are killed. What is
played is the real program, from the queue's message on.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError
from botocore.session import get_session

from notifier.errors import Conflict, StoreUnavailable
from notifier.model import Invocation
from notifier.retries import Policy
from notifier.retrying import Doors, Retrying, Table
from tests import masks
from tests.simulator import dynamodb

ACCOUNT, REGION = "123456789012", "eu-west-1"
CLUSTER = f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/jobs"
ROLE = "ecs-watch-tasks-RetryRole"
CAPACITY = "Capacity is unavailable at this time. Please try again later or in a different zone"
BEGAN = datetime(2026, 11, 23, 0, 0, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (
    timedelta(seconds=1),
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(days=1),
)
FUNCTION_LASTS = timedelta(seconds=120)
POLICY = Policy(
    families=frozenset({"nightly", "import"}),
    clusters=frozenset({CLUSTER}),
    account=ACCOUNT,
    region=REGION,
    own_role=ROLE,
)
REQUEST: Mapping[str, Any] = {
    "cluster": CLUSTER,
    "taskDefinition": "nightly:7",
    "launchType": "FARGATE",
    "networkConfiguration": {
        "awsvpcConfiguration": {"subnets": ["subnet-1"], "assignPublicIp": "DISABLED"}
    },
    "overrides": {"containerOverrides": [{"name": "app", "command": ["report", "--all"]}]},
    "propagateTags": "TASK_DEFINITION",
    "tags": [{"key": "team", "value": "data"}],
}


class Killed(BaseException):
    """The function ended in the middle: nothing after this line happened."""


@cache
def ecs_model() -> Any:
    return get_session().get_service_model("ecs")


@dataclass(frozen=True)
class Faults:
    """How often what goes wrong. `full` is how often ECS has no room at all."""

    full: float = 0.5
    partial: float = 0.3
    lost: float = 0.0  # the answer, after it was done
    quick: float = 0.5  # of those, how many end at once with a reset or a 5xx, not by our time-out
    unsent: float = 0.0  # the request
    throttled: float = 0.0
    killed: float = 0.0
    events_lost: float = 0.0
    job_lasts: timedelta = timedelta(seconds=20)  # from RunTask to STOPPED, as its token does


@dataclass
class World:
    """ECS, the table, EventBridge, the queue and the clock."""

    seed: int
    faults: Faults = field(default_factory=Faults)
    policy: Policy = POLICY

    def __post_init__(self) -> None:
        self.dice = Random(self.seed)
        self.now = BEGAN
        self.rows = dynamodb.Table("retries")
        self.launched: Counter[str] = Counter()  # by the job of `startedBy`
        self.requests: list[Mapping[str, Any]] = []
        self.attempts: set[str] = set()  # by `startedBy`
        self.told: list[Mapping[str, Any]] = []
        self.offered: dict[str, int] = {}  # what each failed call left to start, by its eventID
        self._tokens: dict[str, tuple[datetime, str, Mapping[str, Any]]] = {}
        self._later: list[tuple[datetime, str]] = []
        self._numbers = iter(range(10**9))
        self.program = Retrying(
            Table("retries", lambda: self._client),
            Doors(lambda: self._ecs, lambda: self._events, SimpleNamespace),  # type: ignore[arg-type]
            self.policy,
        )
        self._client: Any = SimpleNamespace(
            get_item=self._through("GetItem", self.rows.get),
            query=self._through("Query", self.rows.query),
            transact_write_items=self._through("TransactWriteItems", self.rows.transact),
        )
        self._ecs: Any = SimpleNamespace(
            run_task=self._through("RunTask", self._run_task, slow=True),
            meta=SimpleNamespace(service_model=ecs_model()),
        )
        self._events: Any = SimpleNamespace(put_events=self._through("PutEvents", self._put_events))

    # --- the way to AWS -----------------------------------------------------------------------

    def _through(
        self, operation: str, happens: Callable[[Mapping[str, Any]], Any], slow: bool = False
    ) -> Callable[..., Any]:
        """A call: it may kill us before or after, get lost, or its answer may."""

        def call(**request: Any) -> Any:
            self._kill()
            began, way = self.now, timedelta(seconds=self.dice.uniform(0.02, 0.2))
            if self._happens(self.faults.unsent):
                self.now += timedelta(seconds=8)
                raise ReadTimeoutError(endpoint_url=operation)
            self.now += way  # then it is done, and the answer is still to come
            try:
                answer = happens(request)
            except dynamodb.Refusal as refusal:
                raise ClientError(refusal.response, operation) from None  # type: ignore[arg-type]
            self._kill()
            if self._happens(self.faults.lost):
                raise self._lost(operation, began, slow=slow)
            self.now = began + way + timedelta(seconds=self.dice.uniform(0.5, 4) if slow else 0.01)
            return answer

        return call

    def _lost(self, operation: str, began: datetime, *, slow: bool) -> Exception:
        """Done, and no answer comes: for want of time, or quickly by a reset or a 5xx."""
        if not slow:
            self.now += timedelta(seconds=1)
            return ReadTimeoutError(endpoint_url=operation)
        if not self._happens(self.faults.quick):
            self.now = began + timedelta(seconds=8)
            return ReadTimeoutError(endpoint_url=operation)
        self.now += timedelta(seconds=self.dice.uniform(0.01, 1.5))
        if self._happens(0.5):
            return ConnectionClosedError(endpoint_url=operation)
        said: Any = {
            "Error": {"Code": "ServerException", "Message": ""},
            "ResponseMetadata": {"HTTPStatusCode": 500},
        }
        return ClientError(said, operation)

    def _kill(self) -> None:
        if self._happens(self.faults.killed):
            raise Killed

    def _happens(self, share: float) -> bool:
        return self.dice.random() < share

    # --- ECS ------------------------------------------------------------------------------------

    def _run_task(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html"""
        self.requests.append(request)
        self.attempts.add(request["startedBy"])
        if self._happens(self.faults.throttled):
            error: Any = {"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}
            raise ClientError(error, "RunTask")
        token, same = request["clientToken"], json.dumps(request, sort_keys=True)
        lives_until, asked, answer = self._tokens.get(token, (BEGAN, "", {}))
        if lives_until > self.now:
            if asked != same:
                conflict: Any = {"Error": {"Code": "ConflictException", "Message": "resourceIds"}}
                raise ClientError(conflict, "RunTask")
            return answer
        answer = self._started(request)
        if answer["tasks"]:
            self._tokens[token] = (self.now + self.faults.job_lasts, same, answer)
        if answer["failures"]:  # which CloudTrail records too, as ours
            self._send(self.record(request, len(answer["tasks"]), role=ROLE))
        return answer

    def _started(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        count = request["count"]
        if self._happens(self.faults.full):
            count = 0
        elif self._happens(self.faults.partial):
            count = self.dice.randrange(count)
        tasks = [self._task(request["startedBy"]) for _ in range(count)]
        missing = request["count"] - count
        return {"tasks": tasks, "failures": [{"reason": CAPACITY}] * bool(missing)}

    def _task(self, started_by: str) -> Mapping[str, Any]:
        self.launched[started_by.split("/")[1]] += 1
        task_arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/jobs/{next(self._numbers):032x}"
        detail = {"taskArn": task_arn, "clusterArn": CLUSTER, "startedBy": started_by}
        for status, version in (("PENDING", 1), ("STOPPED", 2)):
            self._send(
                self._event(
                    "ECS Task State Change",
                    {**detail, "lastStatus": status, "version": version, "group": "family:nightly"},
                )
            )
        return {"taskArn": task_arn}

    # --- events ---------------------------------------------------------------------------------

    def _event(self, detail_type: str, detail: Mapping[str, Any]) -> Mapping[str, Any]:
        return {
            "version": "0",
            "id": f"{next(self._numbers)}",
            "source": "aws.ecs",
            "detail-type": detail_type,
            "account": ACCOUNT,
            "region": REGION,
            "time": self.now.isoformat(),
            "resources": [],
            "detail": detail,
        }

    def record(
        self, request: Mapping[str, Any], started: int, role: str = "scheduler", **more: Any
    ) -> Mapping[str, Any]:
        """CloudTrail's record of a RunTask call that could not start all of it."""
        issuer = {"type": "Role", "userName": role, "arn": f"arn:aws:iam::{ACCOUNT}:role/{role}"}
        detail = {
            "eventVersion": "1.11",
            "eventID": f"call-{next(self._numbers)}",
            "eventTime": self.now.isoformat(),
            "eventSource": "ecs.amazonaws.com",
            "eventName": "RunTask",
            "awsRegion": REGION,
            "userIdentity": {
                "type": "AssumedRole",
                "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/s",
                "sessionContext": {"sessionIssuer": issuer},
            },
            "requestParameters": dict(request),
            "responseElements": {
                "tasks": [{"taskArn": f"t{n}"} for n in range(started)],
                "failures": [{"reason": CAPACITY}],
            },
            **more,
        }
        return self._event("AWS API Call via CloudTrail", detail)

    def _send(self, event: Mapping[str, Any]) -> None:
        if self._happens(self.faults.events_lost):
            return
        for _ in range(1 + self._happens(0.1)):
            delay = timedelta(seconds=self.dice.choice((1, 5, 30, 400)))
            self._later.append((self.now + delay, json.dumps(event)))

    def _put_events(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        entries = request["Entries"]
        assert all(len(json.dumps(one)) < 256_000 for one in entries)
        self.told += [json.loads(one["Detail"]) for one in entries]
        return {"FailedEntryCount": 0}

    # --- what is played -------------------------------------------------------------------------

    def offer(self, count: int, started: int, **changes: Any) -> str:
        """A call of somebody's comes back with fewer tasks than it asked for."""
        record = self.record({**REQUEST, "count": count, **changes}, started)
        event_id: str = record["detail"]["eventID"]
        self.offered[event_id] = count - started
        self._later.append((self.now + timedelta(seconds=3), json.dumps(record)))
        return event_id

    def play(self, until: datetime) -> None:
        """Minute by minute: the queue is emptied, and the tick does what is due."""
        while self.now < until:
            self._deliver()
            if self._is_due():
                self._invoke(self.program.tick)
            self.now = max(self.now, self._next_minute())

    def _next_minute(self) -> datetime:
        """The next minute in which something may happen."""
        waits = [at for at, _ in self._later]
        waits += [datetime.fromisoformat(row["due_at"]["S"]) for row in self._due_rows()]
        first = min(waits, default=self.now + HOUR)
        return max(first, self.now.replace(second=0, microsecond=0) + MINUTE)

    def _due_rows(self) -> Iterator[Mapping[str, Any]]:
        return (row for row in self.rows.rows("job#") if "due_at" in row)

    def _is_due(self) -> bool:
        return any(
            datetime.fromisoformat(row["due_at"]["S"]) <= self.now for row in self._due_rows()
        )

    def _deliver(self) -> None:
        now, self._later = (
            [one for one in self._later if one[0] <= self.now],
            [one for one in self._later if one[0] > self.now],
        )
        for _, body in now:
            failed = [True]

            def take(run: Invocation, body: str = body, failed: list[bool] = failed) -> None:
                failed[0] = bool(self.program.take_in([{"messageId": "1", "body": body}], run))

            self._invoke(take)
            if failed[0]:
                self._later.append((self.now + 12 * MINUTE, body))

    def _invoke(self, function: Callable[[Invocation], Any]) -> None:
        with suppress(Killed, Conflict, StoreUnavailable):
            function(self.run())

    def run(self) -> Invocation:
        """One run of the function, which begins now."""
        ends = self.now + FUNCTION_LASTS
        return Invocation(
            id="1",
            now=lambda: self.now,
            remaining=lambda: ends - self.now,
            sleep=self._sleep,
            jitter=lambda at_most: at_most * self.dice.random(),
            unique=lambda: f"u{next(self._numbers)}",
        )

    def _sleep(self, pause: timedelta) -> None:
        self.now += pause

    # --- what came of it ------------------------------------------------------------------------

    def duplicates(self) -> int:
        """Tasks that were started beyond what the failed calls had left to start."""
        left = {job_of(event_id): missing for event_id, missing in self.offered.items()}
        return sum(max(n - left.get(job, 0), 0) for job, n in self.launched.items())

    def ends(self) -> dict[str, str]:
        """The last that was told of each call."""
        said: dict[str, str] = {}
        for one in self.told:
            said[one["callEventId"]] = one["eventName"].removeprefix("TASK_RETRY_")
        return said


def job_of(event_id: str) -> str:
    import hashlib

    named = "|".join((ACCOUNT, REGION, CLUSTER, event_id))
    return hashlib.sha256(named.encode()).hexdigest()[:16]


# --- figures --------------------------------------------------------------------------------------

ROUGH = Faults(
    full=0.4, partial=0.4, lost=0.15, unsent=0.05, throttled=0.1, killed=0.03, events_lost=0.3
)


def always_failing(seeds: range, days: int = 30) -> Counter[str]:
    """A call that never finds room, every five minutes to two hours, for so many virtual days."""
    total: Counter[str] = Counter()
    for seed in seeds:
        world = World(seed, Faults(full=1.0))
        every = world.dice.choice((5, 15, 30, 120)) * MINUTE
        while world.now < BEGAN + days * DAY:
            world.offer(1, 0)
            world.play(world.now + every)
        world.play(world.now + 2 * HOUR)
        calls = len(world.offered)
        bound = min(calls * POLICY.attempts, (days + 1) * POLICY.daily_budget)
        total += Counter(
            {
                "histories": 1,
                "calls": calls,
                "attempts": len(world.attempts),
                "bound": bound,
                "beyond": max(len(world.attempts) - bound, 0),
                "jobs": sum(world.launched.values()),
                "open": sum(1 for _ in world._due_rows()),
            }
        )
    return total


def _one(seed: int, faults: Faults) -> Counter[str]:
    world = World(seed, faults)
    for _ in range(world.dice.randint(1, 4)):
        count = world.dice.randint(1, 10)
        world.offer(count, world.dice.randrange(count))
        world.play(world.now + world.dice.randint(1, 40) * MINUTE)
    world.play(world.now + 4 * HOUR)
    ends = world.ends()
    untold = [one for one in world.offered if ends.get(one, "WAITING") == "WAITING"]
    return Counter(
        {
            "histories": 1,
            "asked for": sum(world.offered.values()),
            "launched": sum(world.launched.values()),
            "duplicates": world.duplicates(),
            "seeds beyond": bool(world.duplicates()),
            "unknown": list(ends.values()).count("UNKNOWN"),
            "calls": len(world.offered),
            "untold": len(untold),
            **({f"seed {seed}": 1} if world.duplicates() or untold else {}),
        }
    )


def lost_answers(seeds: range) -> Counter[str]:
    """Answers are lost at every call, of jobs of 1 s, 5 s, 20 s and 2 h."""
    total: Counter[str] = Counter()
    for seed in seeds:
        for lasts in (SECOND, 5 * SECOND, 20 * SECOND, 2 * HOUR):
            total += _one(seed, Faults(full=0.2, lost=0.4, unsent=0.1, job_lasts=lasts))
    return total


def every_answer_lost(seeds: range) -> Counter[str]:
    """No answer of RunTask ever comes, while what it asks for is done."""
    total: Counter[str] = Counter()
    for seed in seeds:
        world = World(seed, Faults(full=0.0, partial=0.0, events_lost=1.0))
        run_task = world._ecs.run_task

        def lost(_run_task: Any = run_task, **request: Any) -> Any:
            _run_task(**request)
            raise ReadTimeoutError(endpoint_url="RunTask")

        world._ecs.run_task = lost
        world.offer(3, 1)
        world.play(world.now + 3 * HOUR)
        (end,) = world.ends().values()
        total += Counter({"histories": 1, "duplicates": world.duplicates(), end: 1})
    return total


def rough(seeds: range) -> Counter[str]:
    """Everything goes wrong at once."""
    total: Counter[str] = Counter()
    for seed in seeds:
        total += _one(seed, ROUGH)
    return total


def masked(seeds: range) -> Counter[str]:
    """Of a request that was well, one value is hidden, cut or of a field that nobody knows."""
    total: Counter[str] = Counter()
    for seed in seeds:
        world = World(seed, Faults(full=0.0, partial=0.0))
        event_id = world.offer(2, 0)
        at, body = world._later.pop()
        event = json.loads(body)
        spoil(event["detail"], world.dice)
        world._later.append((at, json.dumps(event)))
        world.play(world.now + 2 * HOUR)
        total += Counter(
            {
                "histories": 1,
                "started": sum(world.launched.values()),
                "said": world.ends().get(event_id) == "REFUSED",
                **({f"seed {seed}": 1} if world.launched else {}),
            }
        )
    return total


def spoil(detail: dict[str, Any], dice: Random) -> None:
    """Hide or cut one value of a record, or put in one that nobody knows."""
    request = detail["requestParameters"]
    places = list(_places(request))
    match dice.randrange(6):
        case 0:
            holder, key = dice.choice(places)
            holder[key] = dice.choice(masks.HIDDEN)
        case 1:
            holder, key = dice.choice([one for one in places if isinstance(one[0][one[1]], str)])
            holder[key] = dice.choice((*masks.CUT, holder[key][:2] + "...", holder[key][:2] + "…"))
        case 2:
            holder, key = dice.choice(places)
            holder[key] = None
        case 3:
            holder = dice.choice([request, *(h for h, _ in places if isinstance(h, dict))])
            holder["aFieldOfTomorrow"] = dice.choice((True, "x", {"a": 1}))
        case 4:
            detail["requestParameters"] = dice.choice((None, {}, "omitted"))
        case _:
            detail["responseElements"].pop("tasks")


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every value of a request, by what holds it and its key there."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in list(pairs):
        yield node, key
        if isinstance(value, dict | list):
            yield from _places(value)
