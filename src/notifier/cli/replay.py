"""`ecs-watch replay`: send event files through the whole: queue, function, table, Slack.

EventBridge takes no event whose source is `aws.*` from anybody but AWS, so the files go to the
stack's queue, as EventBridge would have sent them.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from notifier.cli.aws import add_stack, explained, outputs_of
from notifier.cli.files import FileError, as_event, read_json
from notifier.errors import MalformedEvent, WatchError
from notifier.events import parse, renewed
from notifier.model import NotOurs

SUMMARY = "send event files through a deployed stack, from its queue to Slack"
EXAMPLES = """
examples:
  ecs-watch replay events/try-me-built.json --stack ecs-watch
  ecs-watch replay events/*.json --queue-url https://sqs.… --dry-run

The events happen now, to a deployment of their own, in the stack's account and region, so that they
are news. ECS is asked for their services all the same, and where it has none of these names the
message says so. A file that is no event, or none of those the stack takes, is not sent.

--as-is sends whatever the files hold. What cannot be read is tried ten times, which takes about an
hour, ends in the dead-letter queue and sets off its alarm: so you can see both work.
"""


class _NotSent(WatchError):
    """The file is not for the stack; the text says why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="an event as JSON; - is stdin")
    where = parser.add_mutually_exclusive_group()
    add_stack(parser, named=where)
    where.add_argument("--queue-url", help="its queue, when you may not read the stack")
    parser.add_argument("--as-is", action="store_true", help="send what the files hold, unchanged")
    parser.add_argument("--dry-run", action="store_true", help="say what would be sent")


def run(options: argparse.Namespace) -> int:
    """Send each file; 1 when one was not sent, which standard error says."""
    now = datetime.now(UTC)  # noqa: TID251 the shell is where the clock comes in
    stack = {} if options.queue_url or options.dry_run else outputs_of(options.stack)
    queue_url = options.queue_url or stack.get("EventsQueueUrl", "")
    code = 0
    for name in options.files:
        try:
            value = read_json(name)
            body = json.dumps(value if options.as_is else _news(value, now, stack))
            sent = (
                "would be sent" if options.dry_run else f"sent as message {_send(queue_url, body)}"
            )
            print(f"{name}: {sent}")
        except (FileError, _NotSent) as error:
            print(f"ecs-watch: {name}: not sent: {error}", file=sys.stderr)
            code = 1
    return code


def _news(value: object, now: datetime, stack: Mapping[str, str]) -> Mapping[str, object]:
    """The event as if it happened now in the stack's account; _NotSent when it is none for it."""
    try:
        event = as_event(value)
        read = parse(event)
    except MalformedEvent as error:
        raise _NotSent(f"not an event: {error}") from error
    if isinstance(read, NotOurs):
        raise _NotSent(f"the stack does not take it: {read.why}")
    # arn:PARTITION:lambda:REGION:ACCOUNT:function:NAME
    region, account = [*stack.get("EventsFunctionArn", ":::::").split(":")][3:5]
    return renewed(event, now, account=account, region=region)


def _send(queue_url: str, body: str) -> str:
    """The message's id; _NotSent when the queue refuses it, WatchError when none can be reached."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        sent = boto3.client("sqs").send_message(QueueUrl=queue_url, MessageBody=body)
    except ClientError as error:
        raise _NotSent(f"the queue refuses it: {explained(error)}") from error
    except BotoCoreError as error:
        raise WatchError(f"the queue could not be reached: {explained(error)}") from error
    return sent["MessageId"]
