"""The deployed stack at a shell: its parts, and the same doors that its functions have."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from notifier.cli.aws import no_stack
from notifier.errors import SettingsError
from notifier.settings import Settings
from notifier.wiring import Program

RULE, QUEUE, FUNCTION = "AWS::Events::Rule", "AWS::SQS::Queue", "AWS::Lambda::Function"
TABLE, TOPIC = "AWS::DynamoDB::Table", "AWS::SNS::Topic"
EVENTS_QUEUE = "EventsQueue"


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack as CloudFormation knows it. `resources` are physical ids, by type and logical id."""

    name: str
    account: str
    region: str
    status: str
    parameters: Mapping[str, str]
    resources: Mapping[str, Mapping[str, str]]
    created_at: datetime | None = None

    def of(self, kind: str) -> Mapping[str, str]:
        """Physical ids of a type's resources, by logical id."""
        return self.resources.get(kind, {})

    @property
    def queue_url(self) -> str:
        """The queue that the rules fill."""
        return self.of(QUEUE)[EVENTS_QUEUE]

    @property
    def dead_letter_queues(self) -> Mapping[str, str]:
        """Their addresses, by logical id."""
        return {name: url for name, url in self.of(QUEUE).items() if name != EVENTS_QUEUE}

    def program(self) -> Program:
        """The program with the stack's settings; WatchError when they cannot be understood."""
        return Program(Settings.from_environment(dict(self._environment())))

    def _environment(self) -> Iterator[tuple[str, str]]:
        """What the functions find in their environment, as far as it matters at a shell."""
        names = {
            "Channels": "CHANNELS",
            "SlackTokenName": "SLACK_TOKEN_NAME",
            "SlackWebhookName": "SLACK_WEBHOOK_NAME",
            "SecretStore": "SECRET_STORE",
            "SlackApiUrl": "SLACK_API_URL",
            "ReadTaskDefinitions": "READ_TASK_DEFINITIONS",
            "ReadLogs": "READ_LOGS",
            "LookUpDeployers": "LOOK_UP_DEPLOYERS",
            "RedactPatterns": "REDACT_PATTERNS",
        }
        for parameter, variable in names.items():
            yield variable, self.parameters.get(parameter, "")
        yield "STACK_NAME", self.name
        yield "TABLE_NAME", next(iter(self.of(TABLE).values()))
        yield "QUEUE_URL", self.queue_url
        yield "DLQ_URLS", ",".join(self.dead_letter_queues.values())
        yield "RULE_NAMES", ",".join(f"{key}={name}" for key, name in self.of(RULE).items())


def stack_of(name: str) -> Stack:
    """The deployed stack; WatchError when it cannot be read or is none of ours.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ListStackResources.html
    """
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        cloudformation = boto3.client("cloudformation")
        shown = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=name)
        rows = [row for page in pages for row in page["StackResourceSummaries"]]
    except (BotoCoreError, ClientError) as error:
        raise no_stack(name, error) from error
    _, _, _, region, account, _ = str(shown["StackId"]).split(":", 5)
    stack = Stack(
        name=name,
        account=account,
        region=region,
        status=shown["StackStatus"],
        parameters={one["ParameterKey"]: one["ParameterValue"] for one in _parameters(shown)},
        resources=_by_type(rows),
        created_at=shown.get("CreationTime"),
    )
    if EVENTS_QUEUE not in stack.of(QUEUE) or not stack.of(TABLE):
        raise SettingsError(f"stack '{name}' has no table and queue: is it ecs-watch?")
    return stack


def _parameters(shown: Any) -> Sequence[Any]:
    return shown.get("Parameters") or ()


def _by_type(rows: Sequence[Any]) -> Mapping[str, Mapping[str, str]]:
    """Of resources that exist: what was deleted by hand has still its row here."""
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        if row["ResourceStatus"] != "DELETE_COMPLETE" and row.get("PhysicalResourceId"):
            of_type = found.setdefault(row["ResourceType"], {})
            of_type[row["LogicalResourceId"]] = row["PhysicalResourceId"]
    return found
