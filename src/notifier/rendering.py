"""State and facts become a message. Templates hold the words; this module keeps them safe.

Whatever comes from outside is cleaned of what cannot be seen, cut, then escaped, in this order, so
that nothing of it is ever live in Slack and no cut goes through an escape. Escaping is Jinja's
`autoescape`: a template cannot forget it.
"""

import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from notifier import arns
from notifier.incidents import cause, failed_deployment
from notifier.model import (
    Census,
    ClusterState,
    Deployment,
    Failure,
    Impact,
    Message,
    Phase,
    Reason,
    ServiceReading,
    ServiceState,
    SubjectKind,
)

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

MESSAGE_AT_MOST = 9_000  # characters; Slack refuses near 13,000 without documenting it
PLAIN_AT_MOST = 3_500  # characters; https://docs.slack.dev/reference/methods/chat.postMessage
DEPLOYMENTS_SHOWN = 6
SERVICES_SHOWN = 10
SHOWN_ONE_BY_ONE = 3  # of those that are over in the same way
GROUPS_SHOWN = 5
NAMES_SHOWN = 100
NAME_AT_MOST = 255  # characters, escaped
LINKS_SHOWN = 4
URL_AT_MOST = 600  # characters: a page of the console has about 200

_SIGN = {Impact.DOWN: "⛔", Impact.REDUCED: "🔴", Impact.SERVING: "🟠", Impact.UNKNOWN: "🔴"}
_SIGN_OVER = {
    Phase.RECOVERED: "✅",
    Phase.NOT_LIVE: "🟠",
    Phase.QUIET: "⚪",
    Phase.STOPPED: "⚪",
    Phase.GONE: "⚪",
}
# Said in a reply when it is not simply the first failure.
_NEWS = {
    Reason.FAILING_AGAIN: "failing again",
    Reason.FLAPPING: "flapping: counted from now on, told again after a quiet hour",
    Reason.ANOTHER_DEPLOYMENT: "another deployment",
    Reason.WORSE: "worse than before",
    Reason.STILL_FAILING: "still failing",
}
_NOTES = {
    Reason.SUPERSEDED: "A newer release is live.",
    Reason.OVER_BEFORE_TOLD: "It was over before ecs-watch heard of it.",
    Reason.NOW_LIVE: "A newer release is live now.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What a message shows of one service."""

    sign: str
    name: str
    kind: str
    serving: str
    event: str
    reason: str
    revision: str
    count: int
    since: datetime | None
    over: str
    lasted: str
    not_live: str
    fix: str
    recovering_since: datetime | None
    news: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """What every message about a cluster needs besides its services."""

    cluster: ClusterState
    now: datetime
    mentions: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    is_flat: bool = False
    instead_of: str = ""


def root_message(telling: Telling, services: Sequence[ServiceState], previous: str = "") -> Message:
    """The present state of a cluster's incident, worst first; `previous` links the last root."""
    cluster = telling.cluster
    failing = [one for one in services if one.phase.is_open]
    over = [one for one in services if not one.phase.is_open]
    groups = _by_end(over)
    folded = [group for group in groups if len(group) > SHOWN_ONE_BY_ONE]
    in_lines = [group for group in groups if len(group) <= SHOWN_ONE_BY_ONE]
    shown = [*failing[:SERVICES_SHOWN], *(one for group in in_lines for one in group)]
    return _render(
        "root.j2",
        telling,
        shown,
        where=True,
        lines=[_line(service, closed=not cluster.open_services) for service in shown],
        more=max(len(failing) - SERVICES_SHOWN, 0),
        folded=[
            (_line(group[0]).sign, _group(group[0]), len(group), _names(group)) for group in folded
        ],
        failing=_names(failing[:SERVICES_SHOWN]),
        down=_down(services),
        sign=_root_sign(cluster, services),
        is_over=not cluster.open_services,
        open_count=cluster.open_services,
        lasted=_span(cluster.opened_at, cluster.closed_at),
        previous=previous,
    )


def _by_end(over: Sequence[ServiceState]) -> list[list[ServiceState]]:
    """Those of the same end together; few releases that never went live are named each."""
    groups: dict[str, list[ServiceState]] = {}
    for one in over:
        release = one.not_live if len(over) <= SERVICES_SHOWN else ()
        groups.setdefault(f"{one.phase} {release}", []).append(one)
    return list(groups.values())


def _names(services: Sequence[ServiceState]) -> list[str]:
    """As many as a message may have room for."""
    return [_name(one) for one in services[:NAMES_SHOWN]]


def reply_message(telling: Telling, services: Sequence[ServiceState], route: str) -> Message:
    """What happened to one service, or to several at once, since this route was told last."""
    if len(services) > 1:
        return _folded(telling, services)
    (service,) = services
    line = _line(service, news=_news(service, route))
    if service.phase.is_open:
        return _render("failure.j2", telling, services, s=line, deployments=_table(service.reading))
    note = next((_NOTES[one.reason] for one in service.untold(route) if one.reason in _NOTES), "")
    return _render("over.j2", telling, services, s=line, note=note)


def summary_message(census: Census, destination: str) -> Message:
    """What the first census found: how much is watched, and what is in trouble already."""
    found = census.trouble.get(destination, ())
    context = {"clusters": census.watched, "services": census.services, "trouble": found}
    text = _templates().get_template("summary.j2").render(_cleaned(context))
    payload = json.loads(text)
    return Message(text=payload["text"], blocks=_within_budget(payload["blocks"]))


def plain(message: Message) -> Message:
    """The message as bare text, for when Slack refuses its blocks: all names and mentions in it."""
    text = message.text
    for line in _section_lines(message.blocks):
        if len(text) + len(line) < PLAIN_AT_MOST:
            text += f"\n{line}"
    return Message(text=text)


def _section_lines(blocks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for block in blocks:
        if block["type"] == "section":
            yield from filter(None, block["text"]["text"].splitlines())


def _folded(telling: Telling, services: Sequence[ServiceState]) -> Message:
    groups: dict[str, list[ServiceState]] = {}
    for service in services:
        groups.setdefault(_group(service), []).append(service)
    over = {_group(one) for one in services if not one.phase.is_open}
    by_size = sorted(groups.items(), key=lambda group: -len(group[1]))
    worst = max(
        services, key=lambda one: (one.phase.is_open, one.phase is Phase.NOT_LIVE, one.impact)
    )
    return _render(
        "folded.j2",
        telling,
        services,
        sign=_line(worst).sign,
        total=len(services),
        failing=sum(one.phase.is_open for one in services),
        over="" if len(over) > 1 else next(iter(over), ""),
        down=_down(services),
        groups=[(why, len(of), _names(of)) for why, of in by_size[:GROUPS_SHOWN]],
        more=sum(len(of) for _, of in by_size[GROUPS_SHOWN:]),
    )


def _down(services: Sequence[ServiceState]) -> int:
    return sum(one.impact is Impact.DOWN and one.phase.is_open for one in services)


def _name(service: ServiceState) -> str:
    """As ECS bounds it, whatever came in.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateService.html
    """
    return cut(clean(service.name), NAME_AT_MOST)


def _group(service: ServiceState) -> str:
    """What several services have in common, in words."""
    words = _words()
    if not service.phase.is_open:
        return str(words["OVER"].get(str(service.phase), service.phase))
    first = cause(service)
    event, reason = (first.event, first.reason) if first else ("", "")
    happened = words["HAPPENED"].get(event, f"ECS reports {event or 'trouble without a name'}")
    why = words["PLACEMENT"].get(reason, reason)
    return f"{happened}: {why}" if why else str(happened)


def _news(service: ServiceState, route: str) -> str:
    said = [_NEWS[one.reason] for one in service.untold(route) if one.reason in _NEWS]
    return said[-1] if said else ""


def _line(service: ServiceState, *, news: str = "", closed: bool = False) -> Line:
    first, failed = cause(service), failed_deployment(service)
    over = "" if service.phase.is_open else str(service.phase)
    not_live = ", ".join(_revision(one) for one in service.not_live) if over else ""
    sign = _SIGN[service.impact] if not over else _SIGN_OVER.get(service.phase, "✅")
    return Line(
        sign="☑️" if closed and not_live else sign,
        name=_name(service),
        kind=str(service.kind),
        serving=serving(service.reading),
        event=first.event if first else "",
        reason=first.reason if first else "",
        revision=_revision(failed.revision)
        if failed and first and _is_of_deployment(first)
        else "",
        count=service.count,
        since=service.since,
        over=over,
        lasted=_span(service.since, service.changed_at) if over and not not_live else "",
        not_live=not_live,
        fix=_fix(service) if not over else "",
        recovering_since=service.well_since,
        news=news,
    )


def _is_of_deployment(first: Failure) -> bool:
    return first.event.startswith("SERVICE_DEPLOYMENT_")


def _root_sign(cluster: ClusterState, services: Sequence[ServiceState]) -> str:
    if cluster.open_services:
        open_ones = [one.impact for one in services if one.phase.is_open]
        return _SIGN[max(open_ones, default=Impact.UNKNOWN)]
    if any(service.not_live or service.phase is Phase.NOT_LIVE for service in services):
        return "☑️"
    recovered = any(service.phase is Phase.RECOVERED for service in services)
    return "✅" if recovered else "⚪"


def _span(since: datetime | None, until: datetime | None) -> str:
    """`24 min`, `3 h 5 min`, `2 days`: as exact as a reader wants it."""
    if since is None or until is None:
        return ""
    minutes = max(round((until - since) / timedelta(minutes=1)), 0)
    hours, rest = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} days"
    if hours:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{minutes} min" if minutes else "less than a minute"


# --- what a reading says ------------------------------------------------------------------------


def serving(reading: ServiceReading | None) -> str:
    """`2 of 3 running on :41`, or nothing when it is not known."""
    if reading is None:
        return ""
    if reading.status == "MISSING":
        return "not in ECS any more"
    running = [deployment for deployment in reading.deployments if deployment.running_count]
    where = ", ".join(
        _revision(deployment.task_definition)
        if len(running) == 1
        else f"{deployment.running_count} on {_revision(deployment.task_definition)}"
        for deployment in running
    )
    on = f" on {where}" if len(running) == 1 else f" ({where})" if running else ""
    return f"{reading.running_count} of {reading.desired_count} running{on}"


def _revision(task_definition: str) -> str:
    """`:42` of a task definition's ARN; any other text whole."""
    label = arns.revision_label(task_definition)
    return f":{label.rpartition(':')[2]}" if ":" in label else label


def _fix(service: ServiceState) -> str:
    """The release that is rolling out although, or because, another failed."""
    if service.reading is None:
        return ""
    failed = failed_deployment(service)
    for row in service.reading.deployments:
        rolls_out = row.status == "PRIMARY" and row.rollout_state == "IN_PROGRESS"
        if failed and rolls_out and _number(row.task_definition) > _number(failed.revision):
            return _revision(row.task_definition)
    return ""


def _number(task_definition: str) -> int:
    """A roll-back goes to a lower revision, a fix comes with a higher one."""
    digits = task_definition.rpartition(":")[2]
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def _table(reading: ServiceReading | None) -> str:
    """The deployments as ECS shows them, in columns."""
    if reading is None or not reading.deployments:
        return ""
    head = ("status", "revision", "desired", "pending", "running", "failed", "rollout")
    rows = [head, *map(_row, reading.deployments[:DEPLOYMENTS_SHOWN])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


def _row(row: Deployment) -> tuple[str, ...]:
    counts = (row.desired_count, row.pending_count, row.running_count, row.failed_tasks)
    revision = _revision(row.task_definition)
    return (row.status, revision, *map(str, counts), row.rollout_state)


def _links(cluster: ClusterState, services: Sequence[ServiceState]) -> list[tuple[str, str]]:
    pages: list[tuple[str, str | None]] = []
    for service in services[: LINKS_SHOWN - 1]:
        if service.kind is SubjectKind.SERVICE:
            of_one = len(services) == 1
            label = "deployments" if of_one else f"{_name(service)} deployments"
            pages.append((label, arns.service_deployments_url(cluster.key, service.name)))
            if of_one:
                pages.append(("events", arns.service_events_url(cluster.key, service.name)))
    pages.append(("cluster", arns.cluster_url(cluster.key)))
    return [(label, url) for label, url in pages if url and len(url) <= URL_AT_MOST]


# --- templates ----------------------------------------------------------------------------------


def _render(
    template: str, telling: Telling, services: Sequence[ServiceState], **context: Any
) -> Message:
    cluster = telling.cluster
    everywhere = {
        "cluster": cut(clean(arns.cluster_name(cluster.key)), NAME_AT_MOST),
        "account": cut(clean(cluster.account), NAME_AT_MOST),
        "region": cut(clean(cluster.region), NAME_AT_MOST),
        "where": telling.is_flat,
        "links": _links(cluster, services),
        "mentions": telling.mentions,
        "missing": telling.missing,
        "flat": telling.is_flat,
        "told_at": telling.now,
        "instead_of": telling.instead_of,
    }
    cleaned = _cleaned({**everywhere, **context})
    text = _templates().get_template(template).render(cleaned)
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


def _words() -> Mapping[str, Mapping[str, str]]:
    """The tables of words in the templates, by name."""
    return vars(_templates().get_template("_words.j2").module)


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
    if isinstance(value, Line):
        return {field.name: _cleaned(getattr(value, field.name)) for field in fields(value)}
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

    return Markup("<{}|{}>").format(url.replace("|", "%7C"), escape(label.replace("|", " ")))


def _mention(who: str) -> "Markup":
    from markupsafe import Markup

    if who in ("here", "channel"):
        return Markup("<!{}>").format(who)
    return Markup("<!subteam^{}>" if who.startswith("S") else "<@{}>").format(who)
