"""The whole sandbox: an account with ecs-watch deployed in it, ECS as a story shows it, Slack."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sandbox.account import CREDENTIALS, REGION, STACK, Account, past_proxies
from sandbox.account.clock import real_now
from sandbox.account.process import ROOT
from sandbox.ecs_double import ACCESS_DENIED, EcsDouble, Json
from sandbox.story import Story
from sandbox.tasks_stack import TasksStack, tasks_stack
from sandbox.workspace import Fault, Workspace
from sandbox.workspace.pacing import Limits
from sandbox.workspace.team import PEOPLE

TOKEN_NAME = "/ecs-watch/slack-token"  # where the template looks for it
DEPLOYS = "C0DEPLOYS1"
# Who releases in the stories, and who they are in Slack.
ACTORS = "; ".join(f"{name}={user}" for user, name in PEOPLE.items())
HEARTBEAT = ROOT / "events" / "scheduled-heartbeat-built.json"
ALARM_EMAIL = "alarms@example.com"  # nothing in the sandbox sends mail
MAY_READ = {"ReadTaskDefinitions": "true", "ReadLogs": "all"}
TOLD = {"StandaloneTasks": "all"}
# What the double answers instead of the account.
OF_THE_DOUBLE = (
    "AWS_ENDPOINT_URL_ECS",
    "AWS_ENDPOINT_URL_CLOUDTRAIL",
    "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS",
)

Progress = Callable[[str, float], object]


@dataclass
class Sandbox:
    """What runs. It is what stories are played on."""

    account: Account
    ecs: EcsDouble
    workspace: Workspace
    tasks: TasksStack | None = None

    def now(self) -> datetime:
        """Return the time by the sandbox's own clock."""
        return self.account.clock.now()

    def turn_clock(self, to: datetime) -> None:
        """Put the clock of the functions and of Slack to another time."""
        self.account.clock.turn_to(to)

    def advance_to(self, moment: datetime) -> None:
        """Put the clock forward; it never goes back by itself."""
        if moment > self.now():
            self.turn_clock(moment)

    def put_event(self, event: Mapping[str, Any]) -> None:
        """Put an event on the account's default bus."""
        self.account.put_event(event)

    def put_events(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Put at most ten events on the bus at once."""
        self.account.put_events(events)

    def patch_ecs(self, changes: Mapping[str, list[Json]]) -> None:
        """Change what ECS and CloudTrail show."""
        self.ecs.patch(changes)

    def answer_run_task(self, answers: Mapping[str, list[Json]]) -> None:
        """Let RunTask of each family be answered so, in this order."""
        self.ecs.answer_run_task(answers)

    def deny(self, operations: Sequence[str]) -> None:
        """Let ECS deny these operations from now on, named as AWS names them, and no others."""
        self.ecs.heal()
        for operation in operations:
            self.ecs.fail(operation, ACCESS_DENIED)

    def break_slack(self, faults: Sequence[Json]) -> None:
        """Let calls of Slack meet these faults from now on, and no others."""
        self.workspace.break_down(Fault(**fault) for fault in faults)

    def tick(self) -> None:
        """Do what the schedules do every minute; what the tasks stack did is taken in before."""
        if self.tasks:
            self.tasks.tick(self.now())
            self.settle()
        self.account.invoke_tick(self.now())

    def beat(self) -> None:
        """Let the heartbeat that the schedule sends go the whole way."""
        beat = {**json.loads(HEARTBEAT.read_text()), "time": f"{self.now():%Y-%m-%dT%H:%M:%SZ}"}
        self.account.client("sqs").send_message(
            QueueUrl=self.account.outputs["EventsQueueUrl"], MessageBody=json.dumps(beat)
        )
        self.settle()
        self.tick()

    def settle(self) -> None:
        """Wait until the queues are empty and so everything in them was told."""
        if self.tasks:
            self.tasks.settle()
        self.account.settle()

    @contextmanager
    def trying_again(self, stories: Sequence[Story]) -> Iterator[None]:
        """Have the tasks stack while the `with` block lasts, if one of the stories asks for it."""
        families = sorted({family for story in stories for family in story.retries})
        clusters = sorted({story.cluster for story in stories if story.retries})
        if not families:
            yield
            return
        with tasks_stack(self.account, families, clusters) as stack:
            self.tasks = stack
            try:
                yield
            finally:
                self.tasks = None

    def pass_minutes(self, minutes: int) -> None:
        """Let so many minutes pass, with the tick of each."""
        for _ in range(minutes):
            self.turn_clock(self.now() + timedelta(minutes=1))
            self.tick()

    def forget(self) -> None:
        """Be as just deployed: nothing known, nothing told, an empty ECS, the real time."""
        self.account.empty()
        self.ecs.clear()
        self.workspace.reset()
        self.turn_clock(real_now())

    def messages(self) -> list[Json]:
        """Return the messages of the channel, in the order in which they came."""
        channels = self.workspace.state()["channels"]
        shown: list[Json] = next(row["messages"] for row in channels if row["id"] == DEPLOYS)
        return shown

    @property
    def environment(self) -> dict[str, str]:
        """What to export so that the AWS CLI, boto3 and `ecs-watch` talk to the sandbox."""
        return {
            "AWS_ENDPOINT_URL": self.account.url,
            **dict.fromkeys(OF_THE_DOUBLE, self.ecs.url),
            **CREDENTIALS,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "SLACK_API_URL": self.workspace.api_url,
            "SLACK_TOKEN_NAME": TOKEN_NAME,
            "CHANNELS": f"*={DEPLOYS}",
            "READ_TASK_DEFINITIONS": MAY_READ["ReadTaskDefinitions"],
            "READ_LOGS": MAY_READ["ReadLogs"],
            "STANDALONE_TASKS": TOLD["StandaloneTasks"],
            "ACTORS": ACTORS,
            "STACK_NAME": STACK,
            "TABLE_NAME": self.account.outputs["TableName"],
            "QUEUE_URL": self.account.outputs["EventsQueueUrl"],
            **past_proxies(os.environ),
        }


@contextmanager
def running_sandbox(
    progress: Progress = lambda _what, _seconds: None,
    *,
    schedules: bool = False,
    limits: Limits | None = None,
) -> Iterator[Sandbox]:
    """Start everything, deploy the real template, and end it all with the `with` block.

    `progress` is told what was done and how many seconds it took. Without `schedules` only `tick`
    makes ticks; without `limits` Slack takes messages as fast as they come.
    """
    lap = Laps(progress)
    with EcsDouble() as ecs:
        endpoints = dict.fromkeys(OF_THE_DOUBLE, ecs.url)
        with Account(endpoints, schedules=schedules) as account:
            lap("AWS account started")
            with Workspace(limits=limits, clock=account.clock.seconds) as workspace:
                lap("Slack workspace started")
                account.keep_secret(TOKEN_NAME, workspace.token)
                code = account.build()
                lap(f"program built, {len(code) / 1e6:.0f} MB")
                told = {"Channels": f"*={DEPLOYS}", "SlackApiUrl": workspace.api_url}
                more = {"Actors": ACTORS, "AlarmEmail": ALARM_EMAIL}
                account.deploy({**told, **MAY_READ, **TOLD, **more}, code=code)
                lap("template.yaml deployed by CloudFormation")
                yield Sandbox(account, ecs, workspace)


class Laps:
    """Tells how long each thing took since the one before."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._since = time.monotonic()

    def __call__(self, what: str) -> None:
        """Say that `what` is done."""
        before, self._since = self._since, time.monotonic()
        self._progress(what, self._since - before)
