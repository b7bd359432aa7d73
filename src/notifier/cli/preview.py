"""`ecs-watch preview`: what Slack would get for an event file. Nothing is sent or stored."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from notifier import incidents
from notifier.arns import cluster_name
from notifier.cli.files import FileError, as_event, read_json
from notifier.cli.recorded import Recording, add_facts, read_recording
from notifier.cli.text import message_text
from notifier.errors import MalformedEvent, SettingsError
from notifier.events import parse
from notifier.explanation import explanation
from notifier.facts import Facts
from notifier.model import (
    ClusterState,
    Event,
    Message,
    NotOurs,
    Observed,
    Route,
    ServiceReading,
)
from notifier.rendering import Telling, reply_message
from notifier.routing import parse_channels, route_for

SUMMARY = "print what Slack would get for event files"
EXAMPLES = """
examples:
  ecs-watch preview events/dep-failed-circuit-breaker-docs.json
  ecs-watch preview --format html events/*.json > preview.html
  aws … | ecs-watch preview --format json -
  ecs-watch preview events/dep-failed-circuit-breaker-docs.json \\
      --facts events/answers/facts-release-out-of-memory-built.json

--facts takes {"DescribeServices": {…}, "DescribeTasks": {…}, …}, the answers of ECS by operation,
or what one command such as `aws ecs describe-services` printed. They may be of another service than
the event's; what is not in the file is missing, as if ECS had not answered.
"""
NOTHING = "nothing is told"


@dataclass(frozen=True, slots=True)
class Preview:
    """What became of one file: a message for a channel, or why there is none.

    `reading` and `facts` are what recorded answers say of the event's service.
    """

    file: str
    channel: str
    why: str
    message: Message | None = None
    reading: ServiceReading | None = None
    facts: Facts | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="an event as JSON; - is stdin")
    parser.add_argument(
        "--format", choices=("text", "json", "html"), default="text", help="default: text"
    )
    parser.add_argument(
        "--channels",
        default="*=C0000000000",
        type=channels,
        metavar="RULES",
        help="the stack's Channels parameter, to see where it goes and who is mentioned",
    )
    add_facts(parser)


def channels(text: str) -> tuple[Route, ...]:
    """The rules, or an error as argparse shows them."""
    try:
        return parse_channels(text)
    except SettingsError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run(options: argparse.Namespace) -> int:
    """Print a preview of each file; 1 when one could not be read."""
    recording = read_recording(options.facts) if options.facts else None
    code = 0
    previews: list[Preview] = []
    for name in options.files:
        try:
            previews.append(preview(name, options.channels, recording))
        except FileError as error:
            print(f"ecs-watch: {name}: {error}", file=sys.stderr)
            code = 1
    for part in _FORMATS[options.format](previews):
        print(part)
    return code


def preview(name: str, routes: tuple[Route, ...], recording: Recording | None = None) -> Preview:
    """Take the file's event in as the stack does; FileError when there is nothing to read."""
    value = read_json(name)
    try:
        event = parse(as_event(value))
    except MalformedEvent as error:
        return Preview(name, "", f"{NOTHING}, it would end in the dead-letter queue: {error}")
    if isinstance(event, NotOurs):
        return Preview(name, "", f"{NOTHING}: {event.why}")
    reading, facts = (recording.known(event) if recording else None) or (None, None)
    return replace(_first(name, event, routes, reading, facts), reading=reading, facts=facts)


def _first(
    name: str,
    event: Event,
    routes: tuple[Route, ...],
    reading: ServiceReading | None,
    facts: Facts | None,
) -> Preview:
    """The event as the first that is ever heard of its service."""
    empty = incidents.cluster_of(event)
    route = route_for(cluster_name(empty.key), routes)
    observation = Observed(event=event, received_at=event.sent_at)
    policy = incidents.Policy(route=route)
    decision = incidents.decide(empty, [observation], event.sent_at, policy)
    (reason,) = decision.reasons
    if reason not in incidents.TOLD:
        return Preview(name, "", f"{NOTHING}: {reason}")
    cluster = _explained(decision.cluster, reading, facts, policy)
    telling = Telling(
        cluster=cluster,
        now=event.sent_at,
        mentions=() if route.quiet else route.mentions,
        is_flat=True,
        logs={facts.service: facts.logs} if facts and facts.logs else {},
    )
    message = reply_message(telling, [*cluster.services.values()], route.destination)
    return Preview(name, route.destination, str(reason), message)


def _explained(
    cluster: ClusterState,
    reading: ServiceReading | None,
    facts: Facts | None,
    policy: incidents.Policy,
) -> ClusterState:
    """The cluster with what recorded answers tell of its service, as if they had been read now."""
    if reading:
        cluster = incidents.decide(cluster, [reading], reading.read_at, policy).cluster
    if facts:
        why = explanation(cluster.services[facts.service], facts)
        cluster = incidents.decide(cluster, [why], facts.read_at, policy).cluster
    return cluster


def _as_text(previews: list[Preview]) -> Iterator[str]:
    for shown in previews:
        yield f"── {_heading(shown)}"
        if shown.message:
            yield message_text(payload(shown.message))
            yield ""


def _heading(shown: Preview) -> str:
    return f"{shown.file} → {shown.channel or 'no channel'} ({shown.why})"


def _as_json(previews: list[Preview]) -> Iterator[str]:
    """One line a file, in ASCII, so that any other program can read it as it comes."""
    for shown in previews:
        message = payload(shown.message) if shown.message else None
        row = {"file": shown.file, "channel": shown.channel, "why": shown.why, "message": message}
        facts = {"facts": asdict(shown.facts)} if shown.facts else {}
        yield json.dumps(row | facts, default=datetime.isoformat)


def _as_html(previews: list[Preview]) -> Iterator[str]:
    """One page, in ASCII, so that it says the same in whatever encoding it is saved."""
    from notifier.cli.html import page

    told = sum(shown.message is not None for shown in previews)
    samples = [
        (_heading(shown), payload(shown.message) if shown.message else None) for shown in previews
    ]
    whole = page(samples, f"{told} of {len(previews)} events are told")
    yield whole.encode("ascii", "xmlcharrefreplace").decode()


_FORMATS = {"text": _as_text, "json": _as_json, "html": _as_html}


def payload(message: Message) -> Mapping[str, object]:
    """The message as Slack's API takes it."""
    return {"text": message.text, "blocks": list(message.blocks)}
