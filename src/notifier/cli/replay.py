"""`ecs-watch replay`: send event files through the whole: queue, function, table, Slack.

EventBridge takes no event whose source is `aws.*` from anybody but AWS, so the files go to the
stack's queue, as EventBridge would have sent them.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from notifier.cli.files import read_envelope
from notifier.cli.stack import add_stack, outputs_of
from notifier.errors import WatchError
from notifier.events import parse, renewed
from notifier.model import NotOurs

SUMMARY = "send event files through a deployed stack, from its queue to Slack"
EXAMPLES = """
examples:
  ecs-watch replay events/dep-failed-circuit-breaker-docs.json --stack ecs-watch
  ecs-watch replay events/*.json --queue-url https://sqs.… --dry-run

The events happen now, to a deployment of their own, in the stack's account and region, so that they
are news; --as-is sends them as they are. ECS is asked for their services all the same, and where it
has none of these names the message says so.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="an event as JSON; - is stdin")
    where = parser.add_mutually_exclusive_group()
    add_stack(where)
    where.add_argument("--queue-url", help="its queue, when you may not read the stack")
    parser.add_argument("--as-is", action="store_true", help="leave the events as they are")
    parser.add_argument("--dry-run", action="store_true", help="say what would be sent")


def run(options: argparse.Namespace) -> int:
    """Send each file; 1 when one could not be read, or holds no event of ours."""
    now = datetime.now(UTC)  # noqa: TID251 the shell is where the clock comes in
    stack = {} if options.queue_url or options.dry_run else outputs_of(options.stack)
    events = [(name, _event(name, now, stack, as_is=options.as_is)) for name in options.files]
    queue_url = options.queue_url or stack.get("EventsQueueUrl")
    for name, event in events:
        if event is None:
            print(f"{name}: not an event that is told or remembered; not sent", file=sys.stderr)
        elif options.dry_run:
            print(f"{name}: would be sent")
        else:
            print(f"{name}: sent as message {_send(str(queue_url), event)}")
    return int(any(event is None for _, event in events))


def _event(
    name: str, now: datetime, stack: Mapping[str, str], *, as_is: bool
) -> Mapping[str, object] | None:
    envelope = read_envelope(name)
    if envelope is None or isinstance(parse(envelope), NotOurs):
        return None
    # arn:PARTITION:lambda:REGION:ACCOUNT:function:NAME
    region, account = [*stack.get("EventsFunctionArn", ":::::").split(":")][3:5]
    return envelope if as_is else renewed(envelope, now, account=account, region=region)


def _send(queue_url: str, event: Mapping[str, object]) -> str:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        sent = boto3.client("sqs").send_message(QueueUrl=queue_url, MessageBody=json.dumps(event))
    except (BotoCoreError, ClientError) as error:
        raise WatchError(f"the queue did not take the event: {error}") from error
    return sent["MessageId"]
