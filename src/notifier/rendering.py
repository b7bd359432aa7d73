"""State and facts become a message. Templates hold the words; this module keeps them safe.

Whatever comes from outside is cleaned of what cannot be seen, cut, then escaped, in this order, so
that nothing of it is ever live in Slack and no cut goes through an escape. Escaping is Jinja's
`autoescape`: a template cannot forget it.
"""

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from notifier import arns
from notifier.model import (
    ClusterState,
    Deployment,
    Failure,
    Message,
    ServiceReading,
    ServiceState,
    SubjectKind,
)

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

MESSAGE_AT_MOST = 9_000  # characters; Slack refuses near 13,000 without documenting it
NAME_AT_MOST = 255  # of a cluster or service, as AWS limits them
DEPLOYMENTS_SHOWN = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was read to explain a failure, and in words what could not be."""

    reading: ServiceReading | None = None
    missing: tuple[str, ...] = ()


def failure_message(
    cluster: ClusterState, service: ServiceState, facts: Facts, mentions: Sequence[str] = ()
) -> Message:
    """The message that tells of a failing service. `service.failure` must not be None."""
    failure = service.failure
    if failure is None:
        raise ValueError(f"{service.name} is not failing")
    return _render(
        "failure.j2" if failure.event in _words() else "generic.j2",
        sign=_sign(facts.reading),
        cluster=arns.cluster_name(cluster.key),
        service=service.name,
        kind=str(service.kind),
        serving=serving(facts.reading),
        event=failure.event,
        failing_revision=_failing_revision(failure, facts.reading),
        reason=failure.reason,
        count=service.count,
        since=service.since,
        occurred_at=failure.occurred_at,
        deployments=_table(facts.reading),
        links=_links(cluster, service),
        account=cluster.account,
        region=cluster.region,
        missing=[*facts.missing, *_gone(facts.reading)],
        mentions=mentions,
    )


def plain(message: Message) -> Message:
    """The message as bare text, for when Slack refuses its blocks."""
    return Message(text=message.text)


# --- what a reading says ------------------------------------------------------------------------


def serving(reading: ServiceReading | None) -> str:
    """`2 of 3 running on :41`, or nothing when it is not known."""
    if reading is None or reading.status == "MISSING":
        return ""
    running = [deployment for deployment in reading.deployments if deployment.running_count]
    where = ", ".join(
        _revision(deployment)
        if len(running) == 1
        else f"{deployment.running_count} on {_revision(deployment)}"
        for deployment in running
    )
    on = f" on {where}" if len(running) == 1 else f" ({where})" if running else ""
    return f"{reading.running_count} of {reading.desired_count} running{on}"


def _gone(reading: ServiceReading | None) -> tuple[str, ...]:
    is_gone = reading is not None and reading.status == "MISSING"
    return ("ECS does not show this service any more",) if is_gone else ()


def _sign(reading: ServiceReading | None) -> str:
    if reading is None or reading.status == "MISSING":
        return "🔴"
    if reading.running_count >= reading.desired_count:
        return "🟠"
    return "🔴" if reading.running_count else "⛔"


def _revision(deployment: Deployment) -> str:
    """`:42` of a task definition's ARN; whole when it has no revision."""
    label = arns.revision_label(deployment.task_definition)
    return f":{label.rpartition(':')[2]}" if ":" in label else label


def _failing_revision(failure: Failure, reading: ServiceReading | None) -> str:
    if reading is None or failure.deployment_id is None:
        return ""
    of_failure = (row for row in reading.deployments if row.id == failure.deployment_id)
    return next(map(_revision, of_failure), "")


def _table(reading: ServiceReading | None) -> str:
    """The deployments as ECS shows them, in columns."""
    if reading is None or not reading.deployments:
        return ""
    head = ("status", "revision", "desired", "pending", "running", "failed", "rollout")
    rows = [head, *map(_row, reading.deployments[:DEPLOYMENTS_SHOWN])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


def _row(deployment: Deployment) -> tuple[str, ...]:
    counts = (
        deployment.desired_count,
        deployment.pending_count,
        deployment.running_count,
        deployment.failed_tasks,
    )
    return (deployment.status, _revision(deployment), *map(str, counts), deployment.rollout_state)


def _links(cluster: ClusterState, service: ServiceState) -> list[tuple[str, str]]:
    links = [("cluster", arns.cluster_url(cluster.key))]
    if service.kind is SubjectKind.SERVICE:
        pages = (
            ("deployments", arns.service_deployments_url(cluster.key, service.name)),
            ("events", arns.service_events_url(cluster.key, service.name)),
        )
        links = [*pages, *links]
    return [(label, url) for label, url in links if url]


# --- templates ----------------------------------------------------------------------------------


def _render(template: str, **context: Any) -> Message:
    text = _templates().get_template(template).render(_cleaned(context))
    payload = json.loads(text)
    return Message(text=payload["text"], blocks=_within_budget(payload["blocks"]))


def _within_budget(blocks: list[dict[str, object]]) -> tuple[dict[str, object], ...]:
    """Leave out the longest of what is not the headline, until Slack takes the whole."""
    while len(json.dumps(blocks, ensure_ascii=False)) > MESSAGE_AT_MOST:
        blocks.remove(max(blocks[1:], key=lambda block: len(json.dumps(block))))
    return tuple(blocks)


@cache
def _templates() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_folder()),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "at": _at,
        "cut": cut,
        "link": _link,
        "mention": _mention,
        "mrkdwn": _mrkdwn,
    }
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
    return environment


def _words() -> Mapping[str, str]:
    """The eventNames for which the templates have words."""
    return cast(
        "Mapping[str, str]", vars(_templates().get_template("_words.j2").module)["HAPPENED"]
    )


def _folder() -> Path:
    """Beside the package in Lambda and in the repository, within it where it was pip-installed."""
    here = Path(__file__).parent
    return next(path for path in (here / "templates", here.parent / "templates") if path.is_dir())


def _cleaned(value: Any) -> Any:
    """The same value with nothing in its texts that a reader cannot see."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {name: _cleaned(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    return value


def clean(text: str) -> str:
    """Without control, format (bidi, zero-width), surrogate and private characters.

    Line breaks and tabs stay. https://www.unicode.org/reports/tr44/#General_Category_Values
    """
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c)[0] != "C")


def cut(text: str, at_most: int) -> str:
    """The text, shortened with `…` so that it is at most so long once it is escaped for Slack."""
    if sum(map(_cost, text)) <= at_most:
        return text
    left = at_most - 1
    for position, character in enumerate(text):
        left -= _cost(character)
        if left < 0:
            return text[:position].rstrip() + "…"
    return text


def _cost(character: str) -> int:
    """What a character costs: the length of its escape, or its UTF-16 units."""
    return {"&": 5, "<": 4, ">": 4}.get(character, 2 if ord(character) > 0xFFFF else 1)


# Filters that return Markup make text live in Slack on purpose; everything else is escaped.
# https://docs.slack.dev/messaging/formatting-message-text


def _mrkdwn(text: str) -> str:
    """Slack decodes `&amp; &lt; &gt;` only, so the quotes that Jinja escapes are put back."""
    plain_text = str(text)  # Markup's own replace would escape what is put back
    return plain_text.replace("&#39;", "'").replace("&#34;", '"')


def _at(at: datetime) -> "Markup":
    """A time that each reader sees in their own time zone."""
    from markupsafe import Markup

    fallback = at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return Markup(f"<!date^{int(at.timestamp())}^{{date_short_pretty}} at {{time}}|{fallback}>")


def _link(url: str, label: str) -> "Markup":
    from markupsafe import Markup, escape

    return Markup("<{}|{}>").format(url.replace("|", "%7C"), escape(label))


def _mention(who: str) -> "Markup":
    from markupsafe import Markup

    if who in ("here", "channel"):
        return Markup("<!{}>").format(who)
    return Markup("<!subteam^{}>" if who.startswith("S") else "<@{}>").format(who)
