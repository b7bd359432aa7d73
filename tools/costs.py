"""`make costs`: what ecs-watch costs a month, from counted calls; writes docs/costs.md.

A day is played with the program's own code, a table in memory and a Slack that takes everything:
95 clusters, 500 services, 2,000 events, of which 100 are failures, and 200 tasks that stopped and
may have failed, few of any one service. A deployment is under way for five minutes. What is billed
of it is counted, and each count is multiplied with a list price. What cannot be counted here, how
long functions wait for answers, is assumed below and named on the page.
"""

import json
import logging
import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from notifier import metrics
from notifier.ecs import Budget
from notifier.model import ServiceReading
from sandbox.transform import plain_cloudformation, read_template
from tests.simulator.dynamodb import _size as size_of
from tests.watch import START, FakeEcs, TableClient, Watch, deployment_row, failing, reading

PAGE = Path(__file__).parent.parent / "docs" / "costs.md"
README = Path(__file__).parent.parent / "README.md"

CLUSTERS, SERVICES, EVENTS, FAILURES = 95, 500, 2_000, 100
HEARTBEATS = 24 * 4
STOPS = 200  # that pass the rule TaskFailures
MENDED_AFTER = timedelta(minutes=10)
ROLLS_FOR = timedelta(minutes=5)
DAY, DAYS = timedelta(days=1), 30

# Assumed, because nothing on this machine can tell: seconds that a call takes, and an invocation
# beside its calls, at 512 MB, which have 0.29 of a processor.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
SECONDS = {"dynamodb": 0.01, "ecs": 0.08, "slack": 0.25, "invocation": 0.1, "cold start": 2.0}
COLD_STARTS = 100  # a day
MEMORY_GB = 0.5
PLATFORM_BYTES = 1_000  # of Lambda's own lines about an invocation: start, done, report
LINE_BYTES = 26  # that CloudWatch Logs adds to each line
# Five pollers wait twenty seconds each, whether there is anything or not.
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
IDLE_POLLS = 5 * 3 * 60 * 24
ITEM_BYTES = 100  # that DynamoDB adds to each item it stores
GB = 1e9


@dataclass(frozen=True, slots=True)
class Price:
    """US$ for `unit`, of which a month has `free` ones; `page` says so."""

    dollars: float
    unit: str
    free: float
    page: str


_LAMBDA = "https://aws.amazon.com/lambda/pricing/"
_DYNAMODB = "https://aws.amazon.com/dynamodb/pricing/on-demand/"
_CLOUDWATCH = "https://aws.amazon.com/cloudwatch/pricing/"
_SQS = "https://aws.amazon.com/sqs/pricing/"

# List prices of us-east-1, arm64, as they were known in spring 2026; `page` has today's.
PRICES = {
    "Lambda: requests": Price(0.20, "million", 1, _LAMBDA),
    "Lambda: GB-seconds": Price(0.0000133334, "GB-s", 400_000, _LAMBDA),
    "SQS: requests": Price(0.40, "million", 1, _SQS),
    "DynamoDB: write units": Price(0.625, "million", 0, _DYNAMODB),
    "DynamoDB: read units": Price(0.125, "million", 0, _DYNAMODB),
    "DynamoDB: storage": Price(0.25, "GB-month", 25, _DYNAMODB),
    "DynamoDB: point-in-time recovery": Price(0.20, "GB-month", 0, _DYNAMODB),
    "CloudWatch: alarm metrics": Price(0.10, "metric", 10, _CLOUDWATCH),
    "CloudWatch: custom metrics": Price(0.30, "metric", 10, _CLOUDWATCH),
    "CloudWatch: dashboard": Price(3.00, "dashboard", 3, _CLOUDWATCH),
    "CloudWatch Logs: taken in": Price(0.50, "GB", 5, _CLOUDWATCH),
    "CloudWatch Logs: kept for 30 days": Price(0.03, "GB-month", 5, _CLOUDWATCH),
}
MILLIONS = {"million"}
COUNTED = {"metric", "dashboard"}


# --- the day ------------------------------------------------------------------------------------


class Meter(TableClient):
    """A table that counts the units that DynamoDB bills.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html
    """

    def __init__(self, count: "Counter[str]") -> None:
        super().__init__()
        self.count = count
        self.table.changed = self._changed

    def get_item(self, **request: Any) -> Any:
        """Count the units of the item read."""
        answer = super().get_item(**request)
        item = answer.get("Item")
        self._read(size_of(item) if item else 0, is_strong="ConsistentRead" in request)
        return answer

    def transact_write_items(self, **request: Any) -> Any:
        """Count the checks; what is written is counted where it changes."""
        self.count["dynamodb"] += 1
        checks = sum("ConditionCheck" in one for one in request["TransactItems"])
        self.count["write units"] += 2 * checks
        return super().transact_write_items(**request)

    def paginate(self, **request: Any) -> Iterator[Any]:
        """Count the units of each page."""
        for page in super().paginate(**request):
            size = sum(size_of(item) for item in page["Items"])
            self._read(size, is_strong="ConsistentRead" in request)
            yield page

    def _read(self, size: int, *, is_strong: bool) -> None:
        self.count["dynamodb"] += 1
        self.count["half read units"] += max(math.ceil(size / 4096), 1) * (2 if is_strong else 1)

    def _changed(self, _key: Any, before: Any, after: Any) -> None:
        """All our writes are in transactions, which cost twice; the index is written beside."""
        size = max(size_of(item) if item else 0 for item in (before, after))
        self.count["write units"] += 2 * max(math.ceil(size / 1024), 1)
        old, new = (_due(item) for item in (before, after))
        if old != new:
            self.count["write units"] += 2 * (bool(old) + bool(new))


def _due(item: Any) -> Any:
    return item.get("due_at") if item else None


@dataclass
class Services(FakeEcs):
    """Every service is well but those in `ill` or `rolling`; each cluster has its own."""

    of: dict[str, list[str]] = field(default_factory=dict)
    ill: set[str] = field(default_factory=set)
    rolling: set[str] = field(default_factory=set)

    def services(
        self, _cluster_arn: str, names: Sequence[str], now: datetime, _budget: Budget | None = None
    ) -> Mapping[str, ServiceReading]:
        """Ten a call, as ECS takes them."""
        self.calls += [names[start : start + 10] for start in range(0, len(names), 10)]
        return {name: replace(self._shown(name), read_at=now) for name in names}

    def _shown(self, name: str) -> ServiceReading:
        if name in self.ill:
            return failing(name)
        if name in self.rolling:
            new = deployment_row(43, running=1, desired_count=2, rollout_state="IN_PROGRESS")
            return reading(name, running=1, desired=2, rows=[new])
        return reading(name, running=2, desired=2, rows=[deployment_row(43, running=2)])

    def become(self, states: Mapping[str, str]) -> None:
        """From now on each of these is ill, rolling or well."""
        self.ill = self.ill - states.keys() | {one for one in states if states[one] == "ill"}
        rolling = {one for one in states if states[one] == "rolling"}
        self.rolling = self.rolling - states.keys() | rolling

    def clusters(self) -> Sequence[str]:
        """All of them."""
        self.calls.append(["ListClusters"])
        return list(self.of)

    def service_names(self, cluster_arn: str, page: str) -> tuple[Sequence[str], str]:
        """Those of the cluster, on one page."""
        self.calls.append(["ListServices"])
        return self.of[cluster_arn], ""


class Lines(logging.Handler):
    """Counts what CloudWatch Logs bills of what the program logs, as Lambda's JSON has it."""

    def __init__(self, count: "Counter[str]") -> None:
        super().__init__(logging.INFO)
        self.count = count

    def emit(self, record: logging.LogRecord) -> None:
        """Count the line; a program that fails costs something else, so that is not counted."""
        if record.levelno >= logging.ERROR:
            raise ValueError(f"{record.getMessage()}: {record.exc_info}")
        known = logging.makeLogRecord({}).__dict__
        extra = {name: value for name, value in record.__dict__.items() if name not in known}
        frame = {
            "timestamp": "2026-11-23T12:00:00Z",
            "level": record.levelname,
            "message": record.getMessage(),
            "logger": record.name,
            "requestId": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
        }
        self.count["log bytes"] += len(json.dumps({**frame, **extra}, default=str)) + LINE_BYTES


def day() -> "Counter[str]":
    """Play the day; returns what it took."""
    count: Counter[str] = Counter()
    logger, lines = logging.getLogger("notifier"), Lines(count)
    before = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.addHandler(lines)
    logger.propagate = False
    try:
        _play(count)
    finally:
        logger.removeHandler(lines)
        logger.setLevel(before[0])
        logger.propagate = before[1]
    return count


def _play(count: "Counter[str]") -> None:
    meter = Meter(count)
    watch = Watch("*=C01", client=meter)
    ecs = Services(of=_account())
    watch.ecs = ecs
    watch.teller = replace(watch.teller, ecs=ecs)
    watch.lookout = replace(watch.lookout, ecs=ecs, teller=watch.teller)
    moments = sorted(_events(list(ecs.of.items())), key=lambda one: one[0])
    for minute in range(1, int(DAY / timedelta(minutes=1)) + 1):
        watch.clock.at = START + timedelta(minutes=minute)
        while moments and moments[0][0] <= watch.clock.at:
            at, event, become = moments.pop(0)
            ecs.become(become)
            if event:
                _invoked(watch, count, at, event)
        watch.lookout.tick(_measured(watch, count))
    count["ecs"] += len(ecs.calls)
    count["slack"] += len(watch.slack.asked)
    rows = list(meter.table.rows())
    count["stored bytes"] = sum(size_of(row) + ITEM_BYTES for row in rows)


def _invoked(watch: Watch, count: "Counter[str]", at: datetime, event: Any) -> None:
    """One event, in an invocation of its own: a quiet day has no batches."""
    run = _measured(watch, count)
    sent = {"SentTimestamp": str(int(at.timestamp() * 1000))}
    record = {"messageId": "m", "body": json.dumps(event), "attributes": sent}
    taken = watch.intake.take_in([record], run)
    if taken.failed:
        raise ValueError(f"not taken in: {event}")
    for destination in taken.destinations:
        watch.teller.tell(destination, run, watch.clock.at + timedelta(seconds=15))
    count["events"] += 1


def _measured(watch: Watch, count: "Counter[str]") -> Any:
    """An invocation, and what it writes into the log whatever it does."""
    run = watch.run()
    line = metrics.line(dict.fromkeys(metrics.UNITS, 1), watch.clock.at, stack="ecs-watch")
    count["invocations"] += 1
    count["log bytes"] += len(line) + 4 * LINE_BYTES + PLATFORM_BYTES
    return run


def _account() -> dict[str, list[str]]:
    prefix = "arn:aws:ecs:eu-west-1:123456789012:cluster/prod-"
    names = [f"{prefix}{number:02}" for number in range(CLUSTERS)]
    return {
        name: [f"service-{one:03}" for one in range(number, SERVICES, CLUSTERS)]
        for number, name in enumerate(names)
    }


Moment = tuple[datetime, Any, Mapping[str, str]]


def _events(clusters: Sequence[tuple[str, list[str]]]) -> Iterator[Moment]:
    """The day's events, evenly over the day, and what becomes of services with them."""
    services = [(arn, name) for arn, names in clusters for name in names]
    every = DAY / EVENTS
    for number in range(EVENTS):
        at = START + number * every
        arn, name = services[number * 7 % len(services)]
        if number % (EVENTS // FAILURES):
            # What begins, completes and is steady again, of services that are well.
            quiet = QUIET[number % len(QUIET)]
            begins = quiet == "SERVICE_DEPLOYMENT_IN_PROGRESS"
            yield at, _event(at, arn, name, quiet), {name: "rolling"} if begins else {}
            if begins:
                yield at + ROLLS_FOR, None, {name: "well"}
        else:
            yield at, _event(at, arn, name, "SERVICE_DEPLOYMENT_FAILED"), {name: "ill"}
            yield at + MENDED_AFTER, None, {name: "well"}
    for number in range(STOPS):
        at = START + (number + 0.5) * DAY / STOPS
        yield at, _stopped(at, *services[number * 11 % len(services)]), {}
    for number in range(HEARTBEATS):
        at = START + number * DAY / HEARTBEATS
        yield at, _heartbeat(at), {}


QUIET = (
    "SERVICE_DEPLOYMENT_IN_PROGRESS",
    "SERVICE_DEPLOYMENT_COMPLETED",
    "SERVICE_STEADY_STATE",
)


def _event(at: datetime, cluster_arn: str, service: str, name: str) -> Any:
    moment = at.isoformat(timespec="seconds").replace("+00:00", "Z")
    is_action = name == "SERVICE_STEADY_STATE"
    kind = "ECS Service Action" if is_action else "ECS Deployment State Change"
    return {
        "version": "0",
        "id": f"{name}-{service}-{moment}",
        "detail-type": kind,
        "source": "aws.ecs",
        "account": "123456789012",
        "time": moment,
        "region": "eu-west-1",
        "resources": [f"{cluster_arn.replace(':cluster/', ':service/')}/{service}"],
        "detail": {
            "eventType": "ERROR" if "FAILED" in name else "INFO",
            "eventName": name,
            "clusterArn": cluster_arn,
            "reason": "ECS deployment circuit breaker: tasks failed to start.",
            "updatedAt": moment,
            "createdAt": moment,
            **({} if is_action else {"deploymentId": f"ecs-svc/{int(at.timestamp())}"}),
        },
    }


def _stopped(at: datetime, cluster_arn: str, service: str) -> Any:
    moment = at.isoformat(timespec="seconds").replace("+00:00", "Z")
    task = f"{cluster_arn.replace(':cluster/', ':task/')}/{service}-{int(at.timestamp())}"
    event = _event(at, cluster_arn, service, "")
    detail = {
        "taskArn": task,
        "clusterArn": cluster_arn,
        "group": f"service:{service}",
        "startedBy": f"ecs-svc/{service.rpartition('-')[2]}",
        "lastStatus": "STOPPED",
        "stopCode": "EssentialContainerExited",
        "stoppedReason": "Essential container in task exited",
        "containers": [{"name": "app", "exitCode": 1}],
        "updatedAt": moment,
        "version": 5,
    }
    kind = "ECS Task State Change"
    return event | {"detail-type": kind, "resources": [task], "detail": detail}


def _heartbeat(at: datetime) -> Any:
    return {
        "version": "0",
        "id": f"heartbeat-{at.isoformat()}",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "123456789012",
        "time": at.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "region": "eu-west-1",
        "resources": ["arn:aws:events:eu-west-1:123456789012:rule/ecs-watch-Heartbeat-1"],
        "detail": {},
    }


# --- the month ----------------------------------------------------------------------------------


def quantities(count: Mapping[str, int]) -> dict[str, float]:
    """How much of each thing that has a price a month takes."""
    waits = sum(count[name] * SECONDS[name] for name in ("dynamodb", "ecs", "slack"))
    busy = count["invocations"] * SECONDS["invocation"] + COLD_STARTS * SECONDS["cold start"]
    logged = count["log bytes"] * DAYS / GB
    stored = count["stored bytes"] * 3 * DAYS / GB  # no row stays for longer than ninety days
    alarms, dashboards = watched()
    return {
        "Lambda: requests": count["invocations"] * DAYS,
        "Lambda: GB-seconds": (waits + busy) * MEMORY_GB * DAYS,
        "SQS: requests": (3 * count["events"] + IDLE_POLLS) * DAYS,
        "DynamoDB: write units": count["write units"] * DAYS,
        "DynamoDB: read units": count["half read units"] / 2 * DAYS,
        "DynamoDB: storage": stored,
        "DynamoDB: point-in-time recovery": stored,
        "CloudWatch: alarm metrics": alarms,
        "CloudWatch: custom metrics": len(metrics.UNITS),
        "CloudWatch: dashboard": dashboards,
        "CloudWatch Logs: taken in": logged,
        "CloudWatch Logs: kept for 30 days": logged,
    }


def watched() -> tuple[int, int]:
    """Metrics that the template's alarms look at, each of which is billed, and its dashboards.

    Of a stack without members, as its parameters have it unless others are given.
    """
    known = plain_cloudformation(read_template(), bucket="bucket", key="key")["Resources"].values()
    plain = [one for one in known if one.get("Condition") != "HasMembers"]
    alarms = [one["Properties"] for one in plain if one["Type"] == "AWS::CloudWatch::Alarm"]
    alarm_metrics = sum(
        sum("MetricStat" in row for row in alarm["Metrics"]) if "Metrics" in alarm else 1
        for alarm in alarms
    )
    return alarm_metrics, sum(one["Type"] == "AWS::CloudWatch::Dashboard" for one in plain)


def cost(name: str, quantity: float, *, is_free_tier_used: bool = False) -> float:
    """US$ a month."""
    price = PRICES[name]
    units = quantity / 1e6 if price.unit in MILLIONS else quantity
    return price.dollars * max(units - (price.free if is_free_tier_used else 0), 0)


def totals(month: Mapping[str, float]) -> tuple[float, float]:
    """US$ a month without the free tier and with it."""
    without = sum(cost(name, quantity) for name, quantity in month.items())
    return without, sum(cost(n, q, is_free_tier_used=True) for n, q in month.items())


# --- the page -----------------------------------------------------------------------------------


def sentence(month: Mapping[str, float]) -> str:
    """What the README says of it."""
    without, with_free = totals(month)
    return (
        f"For {CLUSTERS} clusters, {SERVICES} services and {EVENTS:,} events a day about"
        f" US$ {without:.0f} a month at list price, about US$ {with_free:.0f} within the free tier."
    )


HEADING = "### What it costs"


def section(month: Mapping[str, float]) -> str:
    """The README's part about it: US$ a month of each service."""
    by_service: dict[str, tuple[float, float]] = {}
    for name, quantity in month.items():
        paid, free = by_service.get(_bill(name), (0.0, 0.0))
        with_free = cost(name, quantity, is_free_tier_used=True)
        by_service[_bill(name)] = paid + cost(name, quantity), free + with_free
    rows = {**by_service, "**sum**": totals(month)}
    return "\n".join(
        [
            HEADING,
            "",
            sentence(month),
            "",
            "| US$ a month | list price | with the free tier |",
            "|---|---:|---:|",
            *(f"| {name} | {paid:.2f} | {free:.2f} |" for name, (paid, free) in rows.items()),
            "",
            "What is counted, at which price, and what is assumed: [docs/costs.md](docs/costs.md).",
        ]
    )


def _bill(name: str) -> str:
    """The line of the README's table; backups, and each kind of watching, have their own."""
    service, _, what = name.partition(": ")
    is_apart = service == "CloudWatch" or what == "point-in-time recovery"
    return f"{service} {what}" if is_apart else service


def page(count: Mapping[str, int]) -> str:
    """The whole of docs/costs.md."""
    month = quantities(count)
    rows = [_row(name, quantity) for name, quantity in month.items()]
    without, with_free = totals(month)
    return "\n".join(
        [
            "# Costs",
            "",
            f"A month with {CLUSTERS} clusters, {SERVICES} services and {EVENTS:,} events a day, of"
            f" which {FAILURES} are failures: `make costs` plays a day of it with the program's own"
            " code, counts what is billed, multiplies, and writes this page.",
            "",
            "| what | a month | list price, US$ | US$ | with the free tier |",
            "|---|---:|---:|---:|---:|",
            *rows,
            f"| **sum** | | | **{without:.2f}** | **{with_free:.2f}** |",
            "",
            *_notes(count),
            "",
        ]
    )


def _row(name: str, quantity: float) -> str:
    price = PRICES[name]
    each = f"{price.dollars:.10f}".rstrip("0").rstrip(".")
    paid, free = (cost(name, quantity, is_free_tier_used=used) for used in (False, True))
    cells = (_shown(quantity, price.unit), f"[{each}]({price.page}) a {price.unit}")
    return f"| {name} | {cells[0]} | {cells[1]} | {paid:.2f} | {free:.2f} |"


def _shown(quantity: float, unit: str) -> str:
    if unit in MILLIONS:
        return f"{quantity / 1e6:.2f} million"
    if unit in COUNTED:
        return f"{quantity:.0f}"
    return f"{_rounded(quantity)} {unit}"


def _rounded(number: float) -> str:
    """Two digits that count: what is counted moves a little with every change of the program."""
    if not number:
        return "0"
    digits = 1 - math.floor(math.log10(number))
    return (
        f"{round(number, digits):,.{max(digits, 0)}f}"
        if number < 10
        else f"{round(number, digits):,.0f}"
    )


def _notes(count: Mapping[str, int]) -> list[str]:
    shown = {name: _rounded(number) for name, number in count.items()}
    ours = f"{shown['events']} events and {shown['invocations']} invocations"
    calls = f"{shown['dynamodb']} of DynamoDB, {shown['ecs']} of ECS, {shown['slack']} of Slack"
    waits = ", ".join(f"{name} {seconds:g} s" for name, seconds in SECONDS.items())
    return [
        f"- Counted of the day: {ours}; calls: {calls}. Among the events are {STOPS} tasks that"
        " stopped and may have failed; a deployment is looked at every minute, for five. Every"
        " event comes alone, in an invocation of its own; batches make it cheaper.",
        f"- Assumed: a call or invocation takes ({waits}), with {COLD_STARTS} cold starts a day;"
        " Lambda asks the idle queue fifteen times a minute; a metric is there in every hour.",
        "- An alarm on metric math is billed for each of its metrics. Of DynamoDB the free tier has"
        " storage, but no requests on demand. The free tier is the whole account's.",
        "- Without a price: events of AWS services and schedules on the default bus, calls of ECS,"
        " Parameter Store's standard parameters, the first 1,000 mails of SNS a month. Secrets"
        " Manager, if you choose it, is 0.40 a secret; your own KMS key is 1.00; a VPC costs what"
        " its NAT gateway costs.",
        "- All this is without members. With them the hub has one alarm metric more; each member"
        " has five, and sends its events to the hub's bus at 1.00 a million.",
        "- List prices of us-east-1 for arm64, as they were known in spring 2026. Look them up on"
        " the linked pages before you rely on them: other regions differ, and prices change.",
    ]


def main(*arguments: str) -> None:
    """Print the page, or with --write put it and the README's section where they belong."""
    count = day()
    text = page(count)
    if "--write" not in arguments:
        print(text)
        return
    PAGE.write_text(text)
    before, _, after = README.read_text().partition(HEADING)
    _, heading, rest = after.partition("\n## ")
    README.write_text(f"{before}{section(quantities(count))}\n{heading}{rest}")
    print(f"{PAGE} and {README.name}: {sentence(quantities(count))}")


if __name__ == "__main__":
    main(*sys.argv[1:])
