"""Each link of the way from EventBridge to Slack, broken once: who notices, and after how long.

python -m tests.chain

The links are those of an account in moto, whose state the program reads; a Slack workspace; and
what happens of itself in AWS, minute by minute: schedules, what rules deliver, retries of the
queue, and the metrics that AWS and the program emit. The alarms are those of template.yaml, judged
as CloudWatch judges them. A link is broken a minute after everything was checked and heard, which
is the worst time.
"""

import itertools
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import boto3
from botocore.exceptions import ClientError
from moto import mock_aws

from notifier import handler, wiring
from notifier.checkup import Finding, Verdict
from notifier.cli import doctor
from notifier.cli.stack import FUNCTION, QUEUE, RULE, TABLE, Stack
from notifier.model import Invocation
from notifier.settings import Settings
from notifier.store import Store
from notifier.wiring import Program
from sandbox.transform import read_template
from sandbox.workspace import Workspace
from tests.alarms import NAME, TEMPLATE, Sample, alarms, goes_off
from tests.watch import TableClient, table
from tools.rules import rules_of

START = datetime.fromisoformat("2026-11-23T12:00:00+00:00")
REGION, ACCOUNT, MEMBER = "eu-west-1", "123456789012", "210987654321"
CHANNEL = "C0DEPLOYS1"
TOKEN_NAME = "/ecs-watch/slack-token"
WITHIN = 120  # minutes that are waited for somebody to notice
HEARTBEAT_EVERY = 15  # minutes
TRIES, HIDDEN = 10, 6  # of the queue: receives, and minutes between two

SAM = read_template()


@dataclass(frozen=True)
class Row:
    """A link that was removed; `by` is empty when nobody noticed. `doctor` is what it says."""

    link: str
    by: tuple[str, ...]
    minutes: int
    doctor: str

    @property
    def is_noticed(self) -> bool:
        """By the watcher itself or an alarm, and by the doctor."""
        return bool(self.by) and bool(self.doctor)


# --- the account ----------------------------------------------------------------------------------


class Rows(TableClient):
    """The table's rows, as long as there is a table."""

    is_gone = False

    def _answer(self, serve: Callable[[Any], Any], request: Any) -> Any:
        if self.is_gone:
            error: Any = {"Error": {"Code": "ResourceNotFoundException", "Message": "no table"}}
            raise ClientError(error, "call")
        return super()._answer(serve, request)


class NoClusters:
    """An ECS without clusters: it is the watcher that is looked at here."""

    def clusters(self) -> Sequence[str]:
        return ()

    def clusters_of(self, _account: str, _region: str) -> Sequence[str]:
        return ()

    def is_ours(self, account: str, region: str) -> bool:
        return (account, region) == (ACCOUNT, REGION)


@dataclass
class Message:
    """A message of the queue: when it came, is seen again, and how often it was received."""

    body: str
    came: int
    seen_at: int
    receives: int = 0


@dataclass
class Context:
    """Lambda's context."""

    aws_request_id: str = "request"

    def get_remaining_time_in_millis(self) -> int:
        return 300_000


class World:
    """A deployed stack in moto, a Slack workspace, and a minute hand."""

    real_program = staticmethod(Stack.program)

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.minute = 0
        self.samples: list[Sample] = []
        self.queue: deque[Message] = deque()
        self.member_sends = True
        self.rows = Rows()
        self._ids = itertools.count()
        self._make()
        self.program = Program(_settings(self))
        vars(self.program)["store"] = Store(NAME, lambda: self.rows, sleep=lambda _: None)  # type: ignore[arg-type,return-value]
        vars(self.program)["accounts"] = NoClusters()

    def now(self) -> datetime:
        return START + timedelta(minutes=self.minute)

    def aws(self, service: str) -> Any:
        return boto3.client(service, region_name=REGION)  # type: ignore[call-overload]

    # --- what is deployed -----------------------------------------------------------------------

    def _make(self) -> None:
        table(NAME)
        sqs, lambda_ = self.aws("sqs"), self.aws("lambda")
        names = ("EventsQueue", "EventsDeadLetterQueue", "RulesDeadLetterQueue")
        urls = {name: sqs.create_queue(QueueName=f"{NAME}-{name}")["QueueUrl"] for name in names}
        self.queue_url = urls["EventsQueue"]
        self.queue_arn = self._arn_of(self.queue_url)
        self.rules_dlq_url = urls["RulesDeadLetterQueue"]
        redrive = {
            "deadLetterTargetArn": self._arn_of(urls["EventsDeadLetterQueue"]),
            "maxReceiveCount": TRIES,
        }
        sqs.set_queue_attributes(
            QueueUrl=self.queue_url, Attributes={"RedrivePolicy": json.dumps(redrive)}
        )
        for name in ("EventsFunction", "TickFunction"):
            self._make_function(name)
        lambda_.create_event_source_mapping(
            EventSourceArn=self.queue_arn, FunctionName=f"{NAME}-EventsFunction"
        )
        rules = {name: f"{NAME}-{name}" for name in rules_of(SAM)}
        for name in rules:
            self._make_rule(name)
        self._allow(rules.values())
        ssm = self.aws("ssm")
        ssm.put_parameter(Name=TOKEN_NAME, Value=self.workspace.token, Type="SecureString")
        self.stack = Stack(
            name=NAME,
            account=ACCOUNT,
            region=REGION,
            status="CREATE_COMPLETE",
            parameters={
                "Channels": f"*={CHANNEL}",
                "SlackTokenName": TOKEN_NAME,
                "SlackApiUrl": self.workspace.api_url,
            },
            resources={
                RULE: rules,
                QUEUE: urls,
                TABLE: {"Table": NAME},
                FUNCTION: {name: f"{NAME}-{name}" for name in ("EventsFunction", "TickFunction")},
            },
        )

    def _make_function(self, name: str) -> None:
        trust = json.dumps({"Version": "2012-10-17", "Statement": []})
        role = self.aws("iam").create_role(RoleName=name, AssumeRolePolicyDocument=trust)
        self.aws("lambda").create_function(
            FunctionName=f"{NAME}-{name}",
            Runtime="python3.13",
            Role=role["Role"]["Arn"],
            Handler="notifier.handler.on_events",
            Code={"ZipFile": b"-"},
        )

    def _make_rule(self, name: str) -> None:
        shipped = rules_of(SAM)[name]
        is_tick = name == "EveryMinute"
        function = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{NAME}-TickFunction"
        events = self.aws("events")
        what: dict[str, str] = {}
        if "pattern" in shipped:
            what["EventPattern"] = json.dumps(shipped["pattern"])
        if "schedule" in shipped:
            what["ScheduleExpression"] = shipped["schedule"]
        events.put_rule(Name=f"{NAME}-{name}", **what)
        given_up = {"Arn": self._arn_of(self.rules_dlq_url)}
        into_queue = {"Id": "1", "Arn": self.queue_arn, "DeadLetterConfig": given_up}
        target = {"Id": "1", "Arn": function} if is_tick else into_queue
        events.put_targets(Rule=f"{NAME}-{name}", Targets=[target])

    def _allow(self, rules: Any) -> None:
        arns = [f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{name}" for name in rules]
        policy = TEMPLATE["Resources"]["EventsQueuePolicy"]["Properties"]["PolicyDocument"]
        for url in (self.queue_url, self.rules_dlq_url):
            statement = dict(policy["Statement"][0], Resource=self._arn_of(url))
            statement["Condition"] = {"ArnEquals": {"aws:SourceArn": arns}}
            self.set_policy({**policy, "Statement": [statement]}, url)

    def set_policy(self, policy: Mapping[str, Any] | None, url: str = "") -> None:
        """The policy of the queue, or of the one given; None removes it."""
        queue, text = url or self.queue_url, json.dumps(policy) if policy else ""
        self.aws("sqs").set_queue_attributes(QueueUrl=queue, Attributes={"Policy": text})

    def _arn_of(self, url: str) -> str:
        shown = self.aws("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return str(shown["Attributes"]["QueueArn"])

    # --- what happens by itself -----------------------------------------------------------------

    def pass_minute(self) -> None:
        """The next minute, with what AWS does in it."""
        self.minute += 1
        if self.minute % HEARTBEAT_EVERY == 0:
            self._beat(ACCOUNT)
            if self.member_sends:
                self._beat(MEMBER)
        self._deliver()
        if self._is_enabled("EveryMinute"):
            self._tick()
        self._measure_queues()

    def _is_enabled(self, rule: str) -> bool:
        shown = self.aws("events").describe_rule(Name=f"{NAME}-{rule}")
        return bool(shown["State"] == "ENABLED")

    def _beat(self, account: str) -> None:
        rule = "Heartbeat" if account == ACCOUNT else "MemberHeartbeats"
        if not self._is_enabled(rule):
            return
        body = json.dumps(_heartbeat(account, self.now()))
        sqs = self.aws("sqs")
        shown = sqs.get_queue_attributes(QueueUrl=self.queue_url, AttributeNames=["All"])
        targets = self.aws("events").list_targets_by_rule(Rule=f"{NAME}-{rule}")["Targets"]
        if not targets:
            return
        if not shown["Attributes"].get("Policy"):
            self._sample("AWS/Events", "FailedInvocations", 1, RuleName=f"{NAME}-{rule}")
            url = self.stack.dead_letter_queues["RulesDeadLetterQueue"]
            sqs.send_message(QueueUrl=url, MessageBody=body)
            return
        self.queue.append(Message(body, self.minute, self.minute))

    def _deliver(self) -> None:
        """What Lambda's poller does, once a minute."""
        mappings = self.aws("lambda").list_event_source_mappings(EventSourceArn=self.queue_arn)
        is_on = any(one["State"] == "Enabled" for one in mappings["EventSourceMappings"])
        waiting = [one for one in self.queue if one.seen_at <= self.minute]
        if not is_on or not waiting:
            return
        for one in waiting:
            one.receives += 1
            one.seen_at = self.minute + HIDDEN
        if self._is_throttled("EventsFunction"):
            self._sample_function("EventsFunction", "Throttles")
            failed = set(range(len(waiting)))
        else:
            failed = self._invoke_on_events(waiting)
        for number, one in enumerate(waiting):
            if number not in failed or one.receives >= TRIES:
                self.queue.remove(one)
            if number in failed and one.receives >= TRIES:
                url = self.stack.dead_letter_queues["EventsDeadLetterQueue"]
                self.aws("sqs").send_message(QueueUrl=url, MessageBody=one.body)

    def _invoke_on_events(self, waiting: Sequence[Message]) -> set[int]:
        records = [
            {"messageId": str(number), "body": one.body, "attributes": {}}
            for number, one in enumerate(waiting)
        ]
        answer = self._invoke("EventsFunction", handler.on_events, {"Records": records})
        if answer is None:
            return set(range(len(waiting)))
        return {int(one["itemIdentifier"]) for one in answer["batchItemFailures"]}

    def _tick(self) -> None:
        if self._is_throttled("TickFunction"):
            self._sample_function("TickFunction", "Throttles")
        else:
            self._invoke("TickFunction", handler.on_tick, {})

    def _is_throttled(self, function: str) -> bool:
        answer = self.aws("lambda").get_function_concurrency(FunctionName=f"{NAME}-{function}")
        return bool(answer.get("ReservedConcurrentExecutions") == 0)

    def _invoke(self, name: str, function: Callable[..., Any], event: Any) -> Any:
        """One invocation with the real handler; its metrics are what it prints."""
        printed: list[str] = []
        with (
            patch.object(handler, "_program", lambda: self.program),
            patch.object(handler, "_invocation", lambda _context: self._run()),
            patch("builtins.print", printed.append),
        ):
            try:
                return function(event, Context())
            except Exception:
                self._sample_function(name, "Errors")
                return None
            finally:
                for line in printed:
                    self._read(json.loads(line))

    def _run(self) -> Invocation:
        slept = timedelta()

        def sleep(pause: timedelta) -> None:
            nonlocal slept
            slept += pause

        return Invocation(
            id=f"run-{next(self._ids)}",
            now=lambda: self.now() + slept,
            remaining=lambda: timedelta(minutes=5) - slept,
            sleep=sleep,
            jitter=lambda at_most: at_most,
            unique=lambda: f"id-{next(self._ids)}",
        )

    def _read(self, line: Mapping[str, Any]) -> None:
        for directive in line.get("_aws", {}).get("CloudWatchMetrics", []):
            (names,) = directive["Dimensions"]
            of = {name: line[name] for name in names}
            for metric in directive["Metrics"]:
                self._sample(directive["Namespace"], metric["Name"], line[metric["Name"]], **of)

    def _measure_queues(self) -> None:
        for name, url in self.stack.dead_letter_queues.items():
            asked = ["ApproximateNumberOfMessages"]
            shown = self.aws("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=asked)
            count = int(shown["Attributes"]["ApproximateNumberOfMessages"])
            self._sample_queue(name, "ApproximateNumberOfMessagesVisible", count)
        if self.queue:
            age = 60 * (self.minute - min(one.came for one in self.queue))
            self._sample_queue("EventsQueue", "ApproximateAgeOfOldestMessage", age)

    def _sample(self, namespace: str, metric: str, value: float, **dimensions: str) -> None:
        self.samples.append(Sample(self.minute, namespace, metric, dimensions, value))

    def _sample_queue(self, name: str, metric: str, value: float) -> None:
        self._sample("AWS/SQS", metric, value, QueueName=f"{NAME}-{name}")

    def _sample_function(self, name: str, metric: str) -> None:
        self._sample("AWS/Lambda", metric, 1, FunctionName=f"{NAME}-{name}")

    # --- who notices ------------------------------------------------------------------------------

    def noticed_by(self) -> tuple[str, ...]:
        """Alarms that go off now, and Slack where it was told."""
        ringing = [
            name for name, alarm in alarms().items() if goes_off(alarm, self.samples, self.minute)
        ]
        channel = self.workspace.team.channels[CHANNEL]
        told = any("ecs-watch itself is not well" in one.text for one in channel.messages)
        return (*ringing, *(("a message in Slack",) if told else ()))

    def at_a_shell(self) -> Program:
        """The program as a person's commands make it of the stack."""
        made = Program(_settings(self, of_functions=False))
        vars(made)["store"] = self.program.store
        return made

    def doctor(self) -> list[Finding]:
        """What `ecs-watch doctor` finds to fail, but for what moto has nothing of."""
        with (
            patch.object(Stack, "program", lambda _stack: self.at_a_shell()),
            patch.object(doctor, "surroundings", lambda *_: ()),
        ):
            found = list(doctor.findings(self.stack, self.now()))
        return [one for one in found if one.verdict is Verdict.FAILS]


def _settings(world: World, *, of_functions: bool = True) -> Settings:
    """The stack's settings; its functions are not told the rule that invokes one of them."""
    settings = world.real_program(world.stack).settings
    rules = dict(settings.rule_names)
    if of_functions:
        del rules["EveryMinute"]
    return replace(settings, account_id=ACCOUNT, region=REGION, rule_names=rules)


def _heartbeat(account: str, at: datetime) -> dict[str, Any]:
    return {
        "version": "0",
        "id": f"heartbeat-{account}-{at:%H%M}",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": account,
        "time": at.isoformat().replace("+00:00", "Z"),
        "region": REGION,
        "resources": [f"arn:aws:events:{REGION}:{account}:rule/{NAME}-Heartbeat-1ABC"],
        "detail": {},
    }


# --- the links ------------------------------------------------------------------------------------


def _disable(rule: str) -> Callable[[World], object]:
    return lambda world: world.aws("events").disable_rule(Name=f"{NAME}-{rule}")


def _remove_target(world: World) -> None:
    world.aws("events").remove_targets(Rule=f"{NAME}-DeploymentFailures", Ids=["1"])


def _narrow_pattern(world: World) -> None:
    pattern = json.dumps({"source": ["aws.ecs"], "detail": {"eventName": ["NEVER"]}})
    world.aws("events").put_rule(Name=f"{NAME}-DeploymentFailures", EventPattern=pattern)


def _remove_redrive(world: World) -> None:
    sqs, names = world.aws("sqs"), ["Policy"]
    shown = sqs.get_queue_attributes(QueueUrl=world.queue_url, AttributeNames=names)
    kept = shown["Attributes"]  # moto forgets a policy that is not given along
    sqs.set_queue_attributes(QueueUrl=world.queue_url, Attributes={**kept, "RedrivePolicy": ""})


def _disable_mapping(world: World) -> None:
    client = world.aws("lambda")
    (one,) = client.list_event_source_mappings()["EventSourceMappings"]
    client.update_event_source_mapping(UUID=one["UUID"], Enabled=False)


def _throttle(function: str) -> Callable[[World], object]:
    return lambda world: world.aws("lambda").put_function_concurrency(
        FunctionName=f"{NAME}-{function}", ReservedConcurrentExecutions=0
    )


def _delete_table(world: World) -> None:
    world.aws("dynamodb").delete_table(TableName=NAME)
    world.rows.is_gone = True


def _revoke(world: World) -> None:
    world.workspace.app.revoked = True


def _archive(world: World) -> None:
    world.workspace.team.channels[CHANNEL].archived = True


def _remove_bot(world: World) -> None:
    world.workspace.team.channels[CHANNEL].members.clear()


def _silence_member(world: World) -> None:
    world.member_sends = False


def _delete_secret(world: World) -> None:
    world.aws("ssm").delete_parameter(Name=TOKEN_NAME)
    vars(world.program).pop("token", None)  # as a function that starts anew


def _put_dead_letter(world: World) -> None:
    url = world.stack.dead_letter_queues["EventsDeadLetterQueue"]
    world.aws("sqs").send_message(QueueUrl=url, MessageBody="{}")


LINKS: Mapping[str, Callable[[World], object]] = {
    **{f"rule {name} disabled": _disable(name) for name in rules_of(SAM) if name != "EveryMinute"},
    "schedule EveryMinute disabled": _disable("EveryMinute"),
    "target of DeploymentFailures removed": _remove_target,
    "pattern of DeploymentFailures changed": _narrow_pattern,
    "queue policy removed": lambda world: world.set_policy(None),
    "redrive policy of the queue removed": _remove_redrive,
    "event source mapping disabled": _disable_mapping,
    "on_events throttled": _throttle("EventsFunction"),
    "on_tick throttled": _throttle("TickFunction"),
    "table deleted": _delete_table,
    "an event in the dead-letter queue": _put_dead_letter,
    "secret deleted": _delete_secret,
    "Slack token revoked": _revoke,
    "Slack channel archived": _archive,
    "bot removed from the channel": _remove_bot,
    "a member account silent": _silence_member,
}


# --- played ---------------------------------------------------------------------------------------


@contextmanager
def world() -> Iterator[World]:
    """A deployed stack that has been well for an hour."""
    invented = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
        "STACK_NAME": NAME,
    }
    with ExitStack() as started:
        started.enter_context(patch.dict(os.environ, invented))
        started.enter_context(mock_aws())
        wiring._client.cache_clear()
        started.callback(wiring._client.cache_clear)
        made = World(started.enter_context(Workspace(limits=None)))
        for _ in range(61):
            made.pass_minute()
        yield made


def row(link: str) -> Row:
    """Break one link, and wait until somebody notices."""
    with world() as made:
        before = made.noticed_by()
        if before or made.doctor():
            raise AssertionError(f"before anything is broken: {before}, {made.doctor()}")
        LINKS[link](made)
        broken_at, said = made.minute, ""
        by: tuple[str, ...] = ()
        after = 0
        while not (by and said) and made.minute - broken_at < WITHIN:
            made.pass_minute()
            said = said or next((one.line for one in made.doctor()), "")
            if not by:
                by, after = made.noticed_by(), made.minute - broken_at
        return Row(link, by, after, said)


def rows() -> list[Row]:
    """Every link, broken once."""
    return [row(link) for link in LINKS]


def as_table(found: Sequence[Row]) -> str:
    """The rows as a table of Markdown."""
    lines = [
        "| link removed | noticed by | after | `ecs-watch doctor` says |",
        "|---|---|---|---|",
    ]
    for one in found:
        by = ", ".join(one.by) or "**nobody**"
        lines.append(f"| {one.link} | {by} | {one.minutes} min | {one.doctor or '**nothing**'} |")
    noticed = sum(one.is_noticed for one in found)
    return "\n".join([*lines, "", f"Noticed: {noticed} of {len(found)}."])


if __name__ == "__main__":
    print(as_table(rows()))
