"""The door to what the watcher itself is made of: rules, queues, mapping, functions, table.

It reads and never changes anything. What cannot be read is `Unread`, with the reason in a word, so
that one missing permission does not hide all the rest.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from notifier.checkup import NO_PERMISSION, MappingSeen, QueueSeen, RuleSeen, Unread

_Read = TypeVar("_Read")

# https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DescribeRule.html#API_DescribeRule_Errors
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html#API_GetQueueAttributes_Errors
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_DescribeContinuousBackups.html#API_DescribeContinuousBackups_Errors
# https://docs.aws.amazon.com/sns/latest/api/API_ListSubscriptionsByTopic.html#API_ListSubscriptionsByTopic_Errors
_GONE = {
    "ResourceNotFoundException",
    "TableNotFoundException",
    "NotFound",
    "AWS.SimpleQueueService.NonExistentQueue",
    "QueueDoesNotExist",
    "QueueDoesNotExistException",
}
_DENIED = {"AccessDeniedException", "AccessDenied", "UnauthorizedOperation"}


@dataclass(frozen=True, slots=True)
class Deployed:
    """`client` makes boto3's client of a service when it is first needed."""

    client: Callable[[str], Any]

    def rule(self, name: str) -> RuleSeen | Unread:
        """A rule of the default bus and what it sends to.

        https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DescribeRule.html
        https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_ListTargetsByRule.html
        """

        def read() -> RuleSeen:
            events = self.client("events")
            shown = events.describe_rule(Name=name)
            targets = events.list_targets_by_rule(Rule=name)["Targets"]
            return RuleSeen(
                arn=shown["Arn"],
                is_enabled=shown.get("State", "ENABLED") != "DISABLED",
                pattern=json.loads(shown["EventPattern"]) if shown.get("EventPattern") else None,
                schedule=shown.get("ScheduleExpression") or "",
                targets=tuple(target["Arn"] for target in targets),
                dead_letters=tuple(
                    arn for one in targets if (arn := one.get("DeadLetterConfig", {}).get("Arn"))
                ),
            )

        return _or_why(read)

    def queue(self, url: str) -> QueueSeen | Unread:
        """A queue's ARN, policies and waiting messages; those being worked on are not counted.

        https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html
        """

        def read() -> QueueSeen:
            names = ["QueueArn", "Policy", "RedrivePolicy", "ApproximateNumberOfMessages"]
            answer = self.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)
            shown = answer["Attributes"]
            redrive = json.loads(shown.get("RedrivePolicy") or "{}")
            return QueueSeen(
                arn=shown["QueueArn"],
                url=url,
                policy=json.loads(shown.get("Policy") or "{}"),
                waiting=int(shown["ApproximateNumberOfMessages"]),
                gives_up_to=redrive.get("deadLetterTargetArn", ""),
                tries=int(redrive.get("maxReceiveCount", 0)),
            )

        return _or_why(read)

    def mappings(self, queue_arn: str) -> Sequence[MappingSeen] | Unread:
        """Who takes messages from the queue.

        https://docs.aws.amazon.com/lambda/latest/api/API_ListEventSourceMappings.html
        """

        def read() -> Sequence[MappingSeen]:
            listed = self.client("lambda").list_event_source_mappings(EventSourceArn=queue_arn)
            return [
                MappingSeen(
                    state=one.get("State", ""),
                    function_arn=one.get("FunctionArn", ""),
                    uuid=one["UUID"],
                )
                for one in listed["EventSourceMappings"]
            ]

        return _or_why(read)

    def concurrency(self, function: str) -> int | Unread | None:
        """How many invocations are reserved for the function; None when none are.

        https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionConcurrency.html
        """

        def read() -> int | None:
            answer = self.client("lambda").get_function_concurrency(FunctionName=function)
            reserved: int | None = answer.get("ReservedConcurrentExecutions")
            return reserved

        return _or_why(read)

    def table(self, name: str) -> str | Unread:
        """The table's status.

        https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_DescribeTable.html
        """

        def read() -> str:
            return str(
                self.client("dynamodb").describe_table(TableName=name)["Table"]["TableStatus"]
            )

        return _or_why(read)


def unread(error: Exception) -> Unread:
    """What AWS's or botocore's error says of what was to be read."""
    response: Any = getattr(error, "response", {})
    code = str(response.get("Error", {}).get("Code") or type(error).__name__)
    return Unread(NO_PERMISSION if code in _DENIED else code, is_gone=code in _GONE)


def _or_why(read: Callable[[], _Read]) -> _Read | Unread:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return read()
    except (BotoCoreError, ClientError, ValueError, KeyError) as error:
        return unread(error)
