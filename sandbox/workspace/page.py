"""The workspace's web page: channels, messages and threads as Slack shows them, and a phone.

`/` takes `channel`, `thread` (a root's `ts`) and `view=thread` (the thread alone, for pictures).
The page asks once a second whether anything changed and then replaces its parts.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from notifier.cli import html
from notifier.cli.mrkdwn import EMOJI, Reader
from sandbox.workspace.answers import HTML_TYPE, Answer, json_answer
from sandbox.workspace.team import Channel, Json, Message

if TYPE_CHECKING:
    from sandbox.workspace.workspace import Workspace

STATIC = {"/page.css": "text/css; charset=utf-8", "/page.js": "text/javascript; charset=utf-8"}
COMPACT_WITHIN = 300  # seconds; Slack then leaves out picture and name
ON_THE_PHONE = 5
FAULTS = "Errors, pauses and lost answers that a story has planted, which no call has met yet"


def answer(workspace: "Workspace", path: str, query: Mapping[str, str]) -> Answer:
    """The answer to a browser."""
    if path in STATIC:
        file = Path(__file__).parent / "static" / path.removeprefix("/")
        return Answer(body=file.read_bytes(), content_type=STATIC[path])
    if path.startswith("/archives/"):
        return Answer(302, headers={"Location": _permalinked(path, query)})
    if path != "/":
        return Answer(404, b"Not found\n", "text/plain")
    return Answer(body=whole(workspace, query).encode(), content_type=HTML_TYPE)


def view_answer(workspace: "Workspace", query: Mapping[str, str]) -> Answer:
    """The page's parts, for a page that is open already; 204 when it shows them all."""
    view = parts(workspace, query)
    return Answer(204) if view["version"] == query.get("since") else json_answer(view)


def _permalinked(path: str, query: Mapping[str, str]) -> str:
    channel, _, stamp = path.removeprefix("/archives/").partition("/p")
    ts = query.get("thread_ts") or f"{stamp[:-6]}.{stamp[-6:]}"
    return "/?" + urlencode({"channel": channel, "thread": ts} if stamp else {"channel": channel})


def whole(workspace: "Workspace", query: Mapping[str, str]) -> str:
    """The whole page."""
    view = parts(workspace, query)
    names = ("strip", "sidebar", "main", "thread", "phone")
    shown = "".join(f'<div id="{name}">{view[name]}</div>' for name in names)
    look = "thread-only" if query.get("view") == "thread" else ""
    look += " with-thread" if view["thread"] else ""
    head = '<link rel="stylesheet" href="/page.css"><script src="/page.js" defer></script>'
    body = (
        f'<div id="workspace" class="{look.strip()}" data-version="{view["version"]}">{shown}</div>'
    )
    return html.document(f"{view['title']} · Slack sandbox", body, head)


def parts(workspace: "Workspace", query: Mapping[str, str]) -> Json:
    """The page's parts as HTML, with a version that changes when any of them would."""
    with workspace.lock:
        now = workspace.clock()
        team = workspace.team
        channel = team.channel_named(query.get("channel", "")) or next(iter(team.channels.values()))
        workspace.channel(channel.id)  # what was to appear late appears now
        reader = reader_at(workspace, now)
        root = channel.thread_root(query.get("thread", ""))
        return {
            "version": f"{team.changes}-{len(workspace.calls)}-{int(now // 60)}",
            "title": f"#{channel.name}",
            "strip": _strip(workspace),
            "sidebar": _sidebar(workspace, channel),
            "main": _channel_pane(channel, reader),
            "thread": _thread_pane(channel, root, reader) if root else "",
            "phone": "" if root else _phone(channel, reader),
        }


def reader_at(workspace: "Workspace", now: float) -> Reader:
    """Who looks at the page: knows everybody, and lives in this machine's time zone."""
    here = datetime.fromtimestamp(now, UTC).astimezone()
    team = workspace.team
    names = {channel.id: channel.name for channel in team.channels.values()}
    users = {app.user_id: app.name for app in team.apps} | team.users
    return Reader(users, names, team.groups, here.tzinfo or UTC, here)


def _strip(workspace: "Workspace") -> str:
    calls = workspace.calls
    refused = sum(call.outcome != "ok" for call in calls)
    waiting = len(workspace.plan.waiting)
    return (
        "<b>Slack sandbox on this machine</b><span>nothing here leaves it</span>"
        f"<i></i><span>{_count(len(calls), 'API call')}</span>"
        f'<span class="{"bad" if refused else ""}">{refused} refused</span>'
        f'<span class="{"bad" if waiting else ""}" title="{FAULTS}">'
        f"{_count(waiting, 'fault')} waiting</span>"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _sidebar(workspace: "Workspace", here: Channel) -> str:
    links = "".join(
        f'<a class="{"here" if channel is here else ""}" href="{_address(channel)}">'
        f"<span>{'🔒' if channel.private else '#'}</span>{escape(channel.name)}"
        f"<em>{len(channel.timeline) or ''}</em></a>"
        for channel in workspace.team.channels.values()
    )
    app = escape(workspace.app.name)
    return (
        f"<h2>{escape(workspace.team.name)}</h2><h4>Channels</h4>{links}"
        f'<h4>Apps</h4><span class="app">{html.avatar(app)}{app}</span>'
    )


def _address(channel: Channel, thread: str = "") -> str:
    query = {"channel": channel.id, **({"thread": thread} if thread else {})}
    return escape("/?" + urlencode(query))


# --- the channel ------------------------------------------------------------------------------


def _channel_pane(channel: Channel, reader: Reader) -> str:
    note = '<span class="note">archived</span>' if channel.archived else ""
    rows = "".join(_dated(channel, reader)) or (
        '<p class="nothing">No message yet. What an app posts appears here at once.</p>'
    )
    return (
        f"<header><h1># {escape(channel.name)}</h1>{note}</header><div class='scroll'>{rows}</div>"
    )


def _dated(channel: Channel, reader: Reader) -> Iterator[str]:
    """The messages of a channel, with the day above the first of each day."""
    previous: Message | None = None
    for message in channel.timeline:
        if previous is None or _day(previous, reader) != _day(message, reader):
            yield f'<div class="day"><span>{_day(message, reader)}</span></div>'
            previous = None
        yield _row(channel, message, reader, previous, in_thread=False)
        previous = message


def _day(message: Message, reader: Reader) -> str:
    when = datetime.fromtimestamp(float(message.ts), reader.timezone)
    today = reader.now.date() if reader.now else None
    if when.date() == today:
        return "Today"
    return f"{when:%A, %B} {when.day}"


def _row(
    channel: Channel, message: Message, reader: Reader, previous: Message | None, *, in_thread: bool
) -> str:
    if message.tombstone:
        body = '<p class="deleted">🗑 This message was deleted.</p>'
        return body + ("" if in_thread else _replies_line(channel, message, reader))
    return html.render_row(
        {"ts": message.ts, "edited": message.edited_ts, **message.content},
        message.app,
        reader=reader,
        compact=_goes_on(message, previous),
        beside=_edits(message),
        above="" if in_thread or not message.is_reply else _replied_to(channel, message, reader),
        below=_below(channel, message, reader, in_thread=in_thread),
    )


def _goes_on(message: Message, previous: Message | None) -> bool:
    """Whether the message stands under the one before it without a head of its own."""
    return (
        previous is not None
        and not previous.tombstone
        and previous.bot_id == message.bot_id
        and float(message.ts) - float(previous.ts) < COMPACT_WITHIN
        and not message.broadcast
        and not message.versions
    )


def _edits(message: Message) -> str:
    """How often the message was edited, which Slack itself shows for edits of the text only."""
    if not message.versions or not message.blocks:
        return ""
    times = "once" if len(message.versions) == 1 else f"{len(message.versions)} times"
    return f'<span class="edits" title="Slack marks only edited texts">edited {times}</span>'


def _below(channel: Channel, message: Message, reader: Reader, *, in_thread: bool) -> str:
    below = _reactions(message)
    if in_thread and message.broadcast:
        below += (
            f'<div class="also">↳ Also sent to <a href="{_address(channel)}">the channel</a></div>'
        )
    return below if in_thread else below + _replies_line(channel, message, reader)


def _reactions(message: Message) -> str:
    shown = "".join(
        f'<span class="reaction" title=":{escape(name)}:">{EMOJI.get(name, f":{escape(name)}:")}'
        f"<b>{len(users)}</b></span>"
        for name, users in message.reactions.items()
    )
    return f'<div class="reactions">{shown}</div>' if shown else ""


def _replies_line(channel: Channel, message: Message, reader: Reader) -> str:
    replies = [] if message.is_reply else channel.replies(message.ts)
    if not replies:
        return ""
    last = datetime.fromtimestamp(float(replies[-1].ts), reader.timezone)
    when = f"today at {last:%H:%M}" if _day(replies[-1], reader) == "Today" else f"{last:%d %b}"
    return (
        f'<a class="replies" href="{_address(channel, message.ts)}">'
        f"{html.avatar(replies[-1].app)}"
        f"<b>{len(replies)} {'reply' if len(replies) == 1 else 'replies'}</b>"
        f"<span>Last reply {when}</span></a>"
    )


def _replied_to(channel: Channel, message: Message, reader: Reader) -> str:
    root = channel.thread_root(message.thread_ts)
    shown = html.notification_text({"text": root.text}, reader) if root else "a thread"
    return (
        f'<div class="also">↳ replied to a thread: '
        f'<a href="{_address(channel, message.thread_ts)}">{escape(shown)}</a></div>'
    )


# --- a thread, and a phone --------------------------------------------------------------------


def _thread_pane(channel: Channel, root: Message, reader: Reader) -> str:
    replies = channel.replies(root.ts)
    rows = [_row(channel, root, reader, None, in_thread=True)]
    if replies:
        count = f"{len(replies)} {'reply' if len(replies) == 1 else 'replies'}"
        rows.append(f'<div class="count"><span>{count}</span></div>')
    for previous, reply in zip([None, *replies], replies, strict=False):
        rows.append(_row(channel, reply, reader, previous, in_thread=True))
    return (
        f"<header><h1>Thread</h1><span># {escape(channel.name)}</span>"
        f'<a class="close" href="{_address(channel)}" title="Close">✕</a></header>'
        f'<div class="scroll">{"".join(rows)}</div>'
    )


def _phone(channel: Channel, reader: Reader) -> str:
    """What a phone showed, the newest on top. An edit rings no phone: the first text stays."""
    notes = "".join(
        html.phone_notification(
            {"ts": message.ts, **_first_version(message)},
            message.app,
            channel=channel.name,
            reader=reader,
        )
        for message in reversed(channel.timeline[-ON_THE_PHONE:])
        if not message.tombstone
    )
    clock = f"{reader.now:%H:%M}" if reader.now else ""
    return f'<h4>On a phone</h4><div class="screen"><div class="clock">{clock}</div>{notes}</div>'


def _first_version(message: Message) -> Json:
    return message.versions[0] if message.versions else message.content
