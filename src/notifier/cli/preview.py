"""`ecs-watch preview`: what Slack would get for an event file. Nothing is sent or stored."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from notifier import incidents
from notifier.arns import cluster_name
from notifier.cli.files import read_envelope
from notifier.cli.text import message_text
from notifier.errors import MalformedEvent
from notifier.events import parse
from notifier.model import Message, NotOurs, Observed
from notifier.rendering import Telling, reply_message
from notifier.routing import parse_channels, route_for

SUMMARY = "print what Slack would get for event files"
EXAMPLES = """
examples:
  ecs-watch preview events/dep-failed-circuit-breaker-docs.json
  ecs-watch preview --format html events/*.json > preview.html
  aws … | ecs-watch preview --format json -
"""


@dataclass(frozen=True, slots=True)
class Preview:
    """What became of one file: a message for a channel, or why there is none."""

    file: str
    channel: str
    why: str
    message: Message | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="an event as JSON; - is stdin")
    parser.add_argument(
        "--format", choices=("text", "json", "html"), default="text", help="default: text"
    )
    parser.add_argument(
        "--channels",
        default="*=C0000000000",
        metavar="RULES",
        help="the stack's Channels parameter, to see where it goes and who is mentioned",
    )


def run(options: argparse.Namespace) -> int:
    """Print a preview of each file; 1 when one could not be read."""
    code = 0
    previews: list[Preview] = []
    for name in options.files:
        try:
            previews.append(preview(name, options.channels))
        except MalformedEvent as error:
            print(f"ecs-watch: {error}", file=sys.stderr)
            code = 1
    for part in _FORMATS[options.format](previews):
        print(part)
    return code


def preview(name: str, channels: str) -> Preview:
    """Take the event in as the stack does, as the first that is ever heard of its service."""
    envelope = read_envelope(name)
    if envelope is None:
        return Preview(name, "", "nothing is told: this is not an event")
    try:
        event = parse(envelope)
    except MalformedEvent as error:
        return Preview(name, "", f"nothing is told, it ends in the dead-letter queue: {error}")
    if isinstance(event, NotOurs):
        return Preview(name, "", f"nothing is told: {event.why}")
    observation = Observed(event=event, received_at=event.sent_at)
    empty = incidents.cluster_of(event)
    route = route_for(cluster_name(empty.key), parse_channels(channels))
    policy = incidents.Policy(route=route)
    decision = incidents.decide(empty, [observation], event.sent_at, policy)
    (reason,) = decision.reasons
    if reason not in incidents.TOLD:
        return Preview(name, "", f"nothing is told: {reason}")
    (service,) = decision.cluster.services.values()
    telling = Telling(
        cluster=decision.cluster,
        now=event.sent_at,
        mentions=() if route.quiet else route.mentions,
        is_flat=True,
    )
    message = reply_message(telling, [service], route.destination)
    return Preview(name, route.destination, str(reason), message)


def _as_text(previews: list[Preview]) -> Iterator[str]:
    for shown in previews:
        yield f"── {shown.file} → {shown.channel or 'no channel'} ({shown.why})"
        if shown.message:
            yield message_text(payload(shown.message))
            yield ""


def _as_json(previews: list[Preview]) -> Iterator[str]:
    """One line a file, so that it can be read by other programs as it comes."""
    for shown in previews:
        message = payload(shown.message) if shown.message else None
        row = {"file": shown.file, "channel": shown.channel, "why": shown.why, "message": message}
        yield json.dumps(row, ensure_ascii=False)


def _as_html(previews: list[Preview]) -> Iterator[str]:
    from notifier.cli.html import page

    told = [payload(shown.message) for shown in previews if shown.message]
    yield page(told, f"{len(told)} of {len(previews)} events are told")


_FORMATS = {"text": _as_text, "json": _as_json, "html": _as_html}


def payload(message: Message) -> Mapping[str, object]:
    """The message as Slack's API takes it."""
    return {"text": message.text, "blocks": list(message.blocks)}
