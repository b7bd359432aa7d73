"""The three steps with a table, a Slack, an ECS and a clock that a test commands.

watch = Watch()
watch.offer(events.deployment_failed("checkout"))
assert "checkout" in watch.slack.texts[0]
"""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.exceptions import ClientError

from notifier.actors import NOBODY, People
from notifier.ecs import Budget, Callers
from notifier.ecs.reads import in_turn
from notifier.errors import ReadFailed
from notifier.events import as_envelope
from notifier.facts import Asked, Facts, LogTail, Missing
from notifier.intake import Intake, TakenIn
from notifier.lookout import Lookout
from notifier.model import (
    CannotLook,
    Census,
    ClusterState,
    Deployment,
    Due,
    Found,
    Invocation,
    Message,
    NotThere,
    Outcome,
    Owed,
    Refusal,
    Refused,
    Route,
    Sent,
    ServiceReading,
    ServiceState,
    Unknown,
)
from notifier.routing import parse_channels
from notifier.store import Store
from notifier.store.dynamodb import update
from notifier.teller import Teller
from tests.simulator import dynamodb
from tests.simulator.dynamodb import BATCH_GET_KEYS, Table

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
CLUSTER = "arn:aws:ecs:eu-west-1:123456789012:cluster/prod-web"


@dataclass
class Clock:
    """A clock that stands still unless somebody sleeps."""

    at: datetime = START

    def now(self) -> datetime:
        return self.at

    def sleep(self, pause: timedelta) -> None:
        self.at += pause


@dataclass
class Posted:
    """A message as Slack keeps it."""

    channel: str
    ts: str
    message: Message
    at: datetime
    thread_ts: str | None = None
    is_broadcast: bool = False
    key: str = ""
    edits: list[datetime] = field(default_factory=list)
    is_marked: bool = False


@dataclass
class FakeSlack:
    """Answers each call with the next of `answers` for its method, then as Slack would.

    `in_channel` is what a channel answers to every post, `commits_lost_posts` whether a post with
    an unknown outcome is there all the same. `asked` are the calls, by method and channel.
    """

    clock: Clock
    has_threads: bool = True
    can_look: bool = True
    look_answers: list[Found] = field(default_factory=list)
    posts: list[Posted] = field(default_factory=list)
    answers: list[Outcome | BaseException] = field(default_factory=list)
    edit_answers: list[Outcome | BaseException] = field(default_factory=list)
    in_channel: dict[str, Outcome] = field(default_factory=dict)
    commits_lost_posts: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)

    def post(
        self,
        channel: str,
        message: Message,
        *,
        thread_ts: str | None = None,
        broadcast: bool = False,
        metadata: Mapping[str, Any] | None = None,
    ) -> Outcome:
        self.asked.append(("post", channel))
        answer = self.answers.pop(0) if self.answers else self.in_channel.get(channel)
        if isinstance(answer, BaseException):
            raise answer
        lost_but_there = isinstance(answer, Unknown) and self.commits_lost_posts
        if answer is not None and not isinstance(answer, Sent) and not lost_but_there:
            return answer
        root = self.find_ts(thread_ts)
        posted = Posted(
            channel,
            f"{len(self.asked)}.0",
            message,
            self.clock.now(),
            thread_ts if root else None,
            broadcast,
            (metadata or {}).get("event_payload", {}).get("key", ""),
        )
        self.posts.append(posted)
        if answer is not None:
            return answer
        if not self.has_threads:
            return Sent(None, None)
        return Sent(channel, posted.ts, posted.thread_ts)

    def update(self, channel: str, ts: str, message: Message) -> Outcome:
        self.asked.append(("update", channel))
        answer = self.edit_answers.pop(0) if self.edit_answers else None
        if isinstance(answer, BaseException):
            raise answer
        if answer is not None:
            return answer
        posted = self.find_ts(ts)
        if posted is None:
            return Refused(Refusal.TARGET, "message_not_found")
        posted.message = message
        posted.edits.append(self.clock.now())
        return Sent(channel, ts)

    def find(
        self, channel: str, key: str, *, since: datetime, thread_ts: str | None = None
    ) -> Found:
        self.asked.append(("find", channel))
        if self.look_answers:
            return self.look_answers.pop(0)
        if not self.can_look:
            return CannotLook("missing_scope")
        for one in self.posts:
            if (one.channel, one.key, one.thread_ts) == (
                channel,
                key,
                thread_ts,
            ) and one.at >= since:
                return Sent(channel, one.ts, one.thread_ts)
        return NotThere()

    def mark(self, channel: str, ts: str, *, on: bool) -> Outcome:
        self.asked.append(("mark", channel))
        posted = self.find_ts(ts)
        if posted:
            posted.is_marked = on
        return Sent(channel, ts)

    def permalink(self, channel: str, ts: str) -> str:
        return f"https://slack.example/{channel}/{ts}"

    def find_ts(self, ts: str | None) -> Posted | None:
        return next((one for one in self.posts if one.ts == ts), None)

    def delete(self, ts: str) -> None:
        self.posts = [one for one in self.posts if one.ts != ts]

    def refuse(self, channel: str, refusal: Refusal, code: str) -> None:
        self.in_channel[channel] = Refused(refusal, code)

    @property
    def roots(self) -> list[Posted]:
        return [one for one in self.posts if one.thread_ts is None]

    @property
    def replies(self) -> list[Posted]:
        return [one for one in self.posts if one.thread_ts is not None]

    @property
    def texts(self) -> list[str]:
        return [posted.message.text for posted in self.posts]


@dataclass
class FakeEcs:
    """Shows the services it was given; any other has one task of two and a failed deployment.

    `fails` says why services cannot be read, `lacks_client` why nothing can be. `known` are the
    facts to tell of a service, or of CLUSTER/SERVICE, `records` who deployed it, `records_fail`
    why nobody knows that, `logs_fail` why no log can be read again.
    `essential` has the essential containers of task definitions, by their ARNs.
    `calls` are all looks at services; `asked` are those for facts, `looked_up` those for callers.
    Only what is of `home` is ours, or everything without one.
    """

    shown: dict[str, ServiceReading] = field(default_factory=dict)
    listed: list[str] = field(default_factory=list)
    fails: str = ""
    lacks_client: str = ""
    alias: str = ""
    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    records: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    records_fail: str = ""
    lacks_trail: str = ""
    may_read_logs: bool = True
    logs_fail: str = ""
    logs_read: list[LogTail] = field(default_factory=list)
    essential: dict[str, tuple[str, ...]] = field(default_factory=dict)
    calls: list[Sequence[str]] = field(default_factory=list)
    asked: list[Sequence[Asked]] = field(default_factory=list)
    looked_up: list[Sequence[Asked]] = field(default_factory=list)
    home: tuple[str, str] | None = None

    def begin(self, _cluster_key: str = "") -> Budget:
        """It answers at once."""
        return Budget(in_turn, lambda: 0.0, ends_at=5.0, a_round=2.5)

    def services(
        self,
        _cluster_arn: str,
        names: Sequence[str],
        now: datetime,
        _budget: Budget | None = None,
    ) -> Mapping[str, ServiceReading]:
        self.calls.append(names)
        if self.fails:
            raise ReadFailed("DescribeServices", self.fails)
        shown = {name: self.shown.get(name) or failing(name) for name in names}
        return {name: replace(one, read_at=now) for name, one in shown.items()}

    def facts(
        self, cluster_arn: str, asked: Sequence[Asked], now: datetime, _budget: Budget
    ) -> Mapping[str, tuple[ServiceReading | None, Facts]]:
        self.calls.append([one.service for one in asked])
        self.asked.append(asked)
        if self.lacks_client:
            raise ReadFailed("DescribeServices", self.lacks_client)
        cluster = cluster_arn.rpartition("/")[2]
        return {one.service: self._facts(cluster, one, now) for one in asked}

    def _facts(
        self, cluster: str, asked: Asked, now: datetime
    ) -> tuple[ServiceReading | None, Facts]:
        """What ECS shows, and the facts that the test gave, of the deployment asked about."""
        name = asked.service
        read = None if self.fails else replace(self.shown.get(name) or failing(name), read_at=now)
        primary = next(iter(read.deployments if read else ()), None)
        facts: dict[str, Any] = {
            "service": name,
            "read_at": now,
            "deployment_id": asked.deployment_id or (primary.id if primary else None),
            "failing_revision": primary.task_definition if primary else asked.failing_revision,
            "missing": self._missing(),
        }
        known = self.known.get(name) or self.known.get(f"{cluster}/{name}") or {}
        return read, Facts(**{**facts, **known})

    def _missing(self) -> tuple[Missing, ...]:
        if not self.fails:
            return ()
        return (Missing(what="the service", why=self.fails, action="ecs:DescribeServices"),)

    def callers(
        self, _cluster_arn: str, asked: Sequence[Asked], _now: datetime, _budget: Budget
    ) -> Callers:
        self.looked_up.append(asked)
        if self.lacks_trail:
            raise ReadFailed("LookupEvents", self.lacks_trail)
        if self.records_fail:
            action = "cloudtrail:LookupEvents"
            missing = Missing(what="who deployed", why=self.records_fail, action=action)
            return Callers(missing=(missing,))
        return Callers({one.service: self.records.get(one.service, ()) for one in asked})

    def log_lines(
        self, cluster_arn: str, service: str, log: LogTail, _budget: Budget
    ) -> LogTail | None:
        self.logs_read.append(log)
        if self.logs_fail:
            raise ReadFailed("GetLogEvents", self.logs_fail)
        cluster = cluster_arn.rpartition("/")[2]
        known = self.known.get(service) or self.known.get(f"{cluster}/{service}") or {}
        lines: tuple[str, ...] = known["logs"].lines if "logs" in known else ()
        return replace(log, lines=lines) if self.may_read_logs else None

    def account_alias(self, _account: str, _region: str, budget: Budget | None) -> str:
        return self.alias if budget else ""

    def essential_containers(self, _cluster_arn: str, task_definition: str) -> Sequence[str]:
        self.calls.append([task_definition])
        if task_definition not in self.essential:
            raise ReadFailed("DescribeTaskDefinition", self.fails or "no permission")
        return self.essential[task_definition]

    def clusters(self) -> Sequence[str]:
        self.calls.append(["ListClusters"])
        return self.listed

    def service_names(self, _cluster_arn: str, page: str) -> tuple[Sequence[str], str]:
        self.calls.append(["ListServices"])
        names, start = sorted(self.shown), int(page or 0)
        rest = start + 100 < len(names)
        return names[start : start + 100], str(start + 100) if rest else ""

    def show(self, name: str, *, running: int, desired: int, rows: Any = ()) -> None:
        self.shown[name] = reading(name, running=running, desired=desired, rows=rows)

    def show_well(self, name: str, revision: int = 42, count: int = 2) -> None:
        rows = [deployment_row(revision, running=count)]
        self.show(name, running=count, desired=count, rows=rows)

    def clusters_of(self, account: str, region: str) -> Sequence[str]:
        if self.is_ours(account, region):
            raise AssertionError(f"{account} in {region} is no member")
        return ()

    def is_ours(self, account: str, region: str) -> bool:
        return self.home in (None, (account, region))


def reading(
    name: str, *, running: int = 0, desired: int = 0, status: str = "ACTIVE", rows: Any = ()
) -> ServiceReading:
    return ServiceReading(
        service=name,
        status=status,
        desired_count=desired,
        running_count=running,
        pending_count=0,
        deployments=tuple(rows),
        read_at=START,
    )


def failing(name: str) -> ServiceReading:
    row = deployment_row(42, running=1, desired_count=2, rollout_state="FAILED")
    return reading(name, running=1, desired=2, rows=[row])


def deployment_row(revision: int, *, running: int, **fields: Any) -> Deployment:
    row: dict[str, Any] = {
        "id": f"ecs-svc/{revision}",
        "status": "PRIMARY",
        "task_definition": f"arn:aws:ecs:eu-west-1:123456789012:task-definition/shop:{revision}",
        "desired_count": running,
        "pending_count": 0,
        "running_count": running,
        "failed_tasks": 0,
        "rollout_state": "COMPLETED",
        "rollout_state_reason": "",
        "created_at": START,
        "updated_at": START,
    }
    return Deployment(**{**row, **fields})


def table(name: str = "ecs-watch") -> str:
    """The table of template.yaml, in moto's DynamoDB."""
    boto3.client("dynamodb", region_name="eu-west-1").create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk", "due", "due_at")
        ],
        KeySchema=[
            {"AttributeName": "pk", "KeyType": "HASH"},
            {"AttributeName": "sk", "KeyType": "RANGE"},
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "due",
                "KeySchema": [
                    {"AttributeName": "due", "KeyType": "HASH"},
                    {"AttributeName": "due_at", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
    )
    return name


class TableClient:
    """A boto3 client of a table in memory, which is held to DynamoDB's answers by its own tests."""

    def __init__(self) -> None:
        self.table = Table()
        self._tokens = itertools.count()

    def get_item(self, **request: Any) -> Any:
        return self._answer(self.table.get, request)

    def transact_write_items(self, **request: Any) -> Any:
        token = f"token-{next(self._tokens)}"
        return self._answer(self.table.transact, {"ClientRequestToken": token, **request})

    def batch_get_item(self, **request: Any) -> Any:
        ((name, asked),) = request["RequestItems"].items()
        assert 1 <= len(asked["Keys"]) <= BATCH_GET_KEYS
        found = [self.get_item(TableName=name, Key=key) for key in asked["Keys"]]
        rows = [one["Item"] for one in found if "Item" in one]
        return {"Responses": {name: rows}, "UnprocessedKeys": {}}

    def get_paginator(self, _operation: str) -> Any:
        return self

    def paginate(self, **request: Any) -> Iterator[Any]:
        start: dict[str, Any] = {}
        while True:
            page = self._answer(self.table.query, {**request, **start})
            yield page
            if "LastEvaluatedKey" not in page:
                return
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def _answer(self, serve: Callable[[Any], Any], request: Any) -> Any:
        try:
            return serve(request)
        except dynamodb.Refusal as refused:
            raise ClientError(refused.response, "call") from None  # type: ignore[arg-type]


class Watch:
    """ecs-watch with everything outside of it under the test's command.

    Its first census is over, unless it `is_new`. Its table is moto's unless it is given a client,
    and ECS is `ecs`, a fake, unless it is given another `door` to it.
    """

    def __init__(
        self,
        channels: str = "*=C01",
        *,
        client: Any = None,
        is_new: bool = False,
        door: Any = None,
        people: People = NOBODY,
    ) -> None:
        self.clock = Clock()
        self.slack = FakeSlack(self.clock)
        self.ecs = FakeEcs()
        self.client: Any = client or boto3.client("dynamodb", region_name="eu-west-1")
        name = "ecs-watch" if client else table()
        self.store = Store(name, lambda: self.client, sleep=lambda _: None)
        self.routes: tuple[Route, ...] = parse_channels(channels)
        door = door or self.ecs
        self.teller = Teller(self.store, door, lambda _: self.slack, self.routes, people)
        self.intake = Intake(self.store, self.routes, "ecs-watch", people)
        self.lookout = Lookout(self.store, door, self.teller, self.routes)
        self._ids = itertools.count(1)
        if not is_new:
            done = Census(started_at=START, finished_at=START, is_listed=True)
            self.store.save_census(done)

    def run(self, seconds: float = 300) -> Invocation:
        ends_at = self.clock.at + timedelta(seconds=seconds)
        return Invocation(
            id=f"run-{next(self._ids)}",
            now=self.clock.now,
            remaining=lambda: ends_at - self.clock.at,
            sleep=self.clock.sleep,
            jitter=lambda at_most: at_most,
            unique=lambda: f"id-{next(self._ids)}",
        )

    def take_in(self, *events: Mapping[str, Any] | str) -> TakenIn:
        """What `on_events` does first. The n-th message has the id m<n>."""
        return self.intake.take_in([sqs_message(n, e) for n, e in enumerate(events)], self.run())

    def offer(self, *events: Mapping[str, Any] | str) -> TakenIn:
        """What `on_events` does: take in, then tell."""
        taken = self.take_in(*events)
        for destination in sorted(taken.destinations):
            self.tell(destination)
        return taken

    def tell(self, destination: str = "C01") -> None:
        self.teller.tell(destination, self.run(), self.clock.at + timedelta(seconds=50))

    def tick(self, after: timedelta = timedelta(minutes=1)) -> Due:
        self.clock.at += after
        return self.lookout.tick(self.run())

    def ticks(self, minutes: int) -> None:
        for _ in range(minutes):
            self.tick()

    def cluster(self, key: str = CLUSTER) -> ClusterState:
        known = self.store.load(key)
        assert known is not None
        return known

    def service(self, name: str = "checkout") -> ServiceState:
        return self.cluster().services[name]

    def spoil(self, pk: str, sk: str, **values: str) -> None:
        """Write into a row what no version of the program would."""
        write = update(self.store.table, pk, sk, values)
        self.client.transact_write_items(TransactItems=[{"Update": write}])

    def owed(self, destination: str = "C01") -> Owed:
        (owed,) = self.store.owed(destination)
        return owed


def sqs_message(number: int, event: Mapping[str, Any] | str) -> dict[str, Any]:
    body = event if isinstance(event, str) else json.dumps(event)
    sent_at = str(int(START.timestamp() * 1000))
    return {"messageId": f"m{number}", "body": body, "attributes": {"SentTimestamp": sent_at}}


def envelope(detail_type: str, service: str, cluster: str = "prod-web", **detail: Any) -> Any:
    """An event as EventBridge sends it, at the start of the test's time."""
    moment = START.isoformat().replace("+00:00", "Z")
    return {
        "version": "0",
        "id": f"{detail_type}-{service}",
        "detail-type": detail_type,
        "source": "aws.ecs",
        "account": "123456789012",
        "time": moment,
        "region": "eu-west-1",
        "resources": [f"arn:aws:ecs:eu-west-1:123456789012:service/{cluster}/{service}"],
        "detail": {"eventType": "ERROR", **detail},
    }


def deployment_failed(service: str = "checkout", number: int = 42, **more: Any) -> Any:
    return envelope(
        "ECS Deployment State Change",
        service,
        eventName=more.pop("eventName", "SERVICE_DEPLOYMENT_FAILED"),
        deploymentId=f"ecs-svc/{number}",
        updatedAt=more.pop("updatedAt", "2026-11-23T11:59:30Z"),
        reason=more.pop("reason", "ECS deployment circuit breaker: tasks failed to start."),
        **more,
    )


def update_service(service: str = "checkout", number: int = 42, **more: Any) -> dict[str, Any]:
    """The record of the call that began a deployment, as CloudTrail writes it."""
    arn = f"arn:aws:ecs:eu-west-1:123456789012:service/prod-web/{service}"
    revision = f"arn:aws:ecs:eu-west-1:123456789012:task-definition/shop:{number}"
    primary = {"id": f"ecs-svc/{number}", "status": "PRIMARY", "taskDefinition": revision}
    begun = {"createdAt": "Nov 23, 2026 11:50:00 AM", "rolloutState": "IN_PROGRESS"}
    shown = {"serviceArn": arn, "serviceName": service, "clusterArn": CLUSTER}
    record = {
        "eventVersion": "1.11",
        "eventSource": "ecs.amazonaws.com",
        "eventName": "UpdateService",
        "eventTime": "2026-11-23T11:50:00Z",
        "eventID": f"update-{service}-{number}",
        "awsRegion": "eu-west-1",
        "recipientAccountId": "123456789012",
        "userIdentity": {"type": "IAMUser", "userName": "mika", "accountId": "123456789012"},
        "requestParameters": {
            "cluster": "prod-web",
            "service": service,
            "taskDefinition": revision,
        },
        "responseElements": {"service": {**shown, "deployments": [{**primary, **begun}]}},
    }
    return {**record, **more}


def api_call(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record as EventBridge delivers it."""
    event = as_envelope(record)
    assert event is not None
    return dict(event)


def placement_failure(service: str = "search", at: str = "11:59:00", **more: Any) -> Any:
    return envelope(
        "ECS Service Action",
        service,
        eventName="SERVICE_TASK_PLACEMENT_FAILURE",
        createdAt=f"2026-11-23T{at}Z",
        reason=more.pop("reason", "RESOURCE:FARGATE"),
        **more,
    )
