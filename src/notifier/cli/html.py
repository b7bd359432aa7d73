"""A message as Slack would show it: Block Kit → HTML. Pure; standard library only.

`render_message` gives a message's body, `page` a whole page that needs no network. Everything of
the message is escaped; what Slack makes live is decided in `mrkdwn`. A block that is not known is
shown as such, so that a misspelt one does not vanish.
https://docs.slack.dev/reference/block-kit/blocks
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from notifier.cli.mrkdwn import (
    EMOJI,
    Reader,
    date_text,
    decode,
    link_html,
    mention_html,
    mrkdwn_html,
    mrkdwn_plain,
    plain_html,
)

NOBODY = Reader()
COLOURS = {"good": "#2eb886", "warning": "#daa038", "danger": "#a30200"}


def render_message(payload: Mapping[str, Any], reader: Reader = NOBODY) -> str:
    """The body of a `chat.postMessage` payload as an HTML fragment.

    As in Slack, `blocks` hide `text`, which is shown only where there are no blocks, and only an
    `edited` text is marked as such.
    """
    blocks = _mappings(payload.get("blocks"))
    shown = [render_block(block, reader) for block in blocks] or [_text_body(payload, reader)]
    shown += [_attachment(item, reader) for item in _mappings(payload.get("attachments"))]
    return f'<div class="message-body">{"".join(shown)}</div>'


def notification_text(payload: Mapping[str, Any], reader: Reader = NOBODY) -> str:
    """What a phone shows and a screen reader reads: the top-level `text`; empty without one."""
    text = str(payload.get("text") or "")
    if payload.get("mrkdwn") is False:
        return decode(text)
    return mrkdwn_plain(text, reader)


def page(
    samples: Iterable[tuple[str, Mapping[str, Any] | None]],
    title: str,
    reader: Reader = NOBODY,
    app: str = "ecs-watch",
) -> str:
    """A standalone page: each message under a heading, as its channel and a phone show it.

    A heading without a message says why there is none.
    """
    rows = "".join(
        f"<h2>{escape(heading)}</h2>{_sample(message, app, reader) if message is not None else ''}"
        for heading, message in samples
    )
    return document(title, f'<main class="samples"><h1>{escape(title)}</h1>{rows}</main>')


def _sample(message: Mapping[str, Any], app: str, reader: Reader) -> str:
    return (
        f'<section class="sample">{render_row(message, app, reader=reader)}'
        f"{phone_notification(message, app, reader=reader)}</section>"
    )


def document(title: str, body: str, head: str = "") -> str:
    """A page with our style and nothing from elsewhere, which its own policy forbids too."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'self' 'unsafe-inline'; script-src 'self'; connect-src 'self'\">"
        f"<title>{escape(title)}</title><style>{style()}</style>{head}</head>"
        f"<body>{body}</body></html>\n"
    )


@cache
def style() -> str:
    """The style sheet of messages and pages."""
    return Path(__file__).with_name("html.css").read_text(encoding="utf-8")


# --- a message among others -------------------------------------------------------------------


def render_row(
    message: Mapping[str, Any],
    app: str,
    *,
    reader: Reader = NOBODY,
    compact: bool = False,
    beside: str = "",
    above: str = "",
    below: str = "",
) -> str:
    """A message with its app's picture, name and time; a `compact` one goes on under another's.

    `beside`, `above` and `below` are HTML: next to the time, before the body and after it.
    """
    time = time_html(message, reader)
    picture = f'<span class="gutter">{time}</span>' if compact else avatar(app)
    head = f'<b>{escape(app)}</b><span class="badge">APP</span>{time}{beside}'
    heading = "" if compact else f'<div class="message-head">{head}</div>'
    return (
        f'<article class="message{" compact" if compact else ""}">{picture}'
        f'<div class="message-main">{heading}'
        f"{above}{render_message(message, reader)}{below}</div></article>"
    )


def avatar(app: str) -> str:
    """A picture for an app that needs no file: its first letter on a colour of its own."""
    hue = sum(map(ord, app)) * 47 % 360
    return (
        f'<span class="avatar" style="background:hsl({hue} 55% 42%)" aria-hidden="true">'
        f"{escape(app[:1].upper())}</span>"
    )


def sent_at(message: Mapping[str, Any], reader: Reader) -> datetime | None:
    """When the message was posted, read from its `ts`; None for one that was not posted."""
    ts = str(message.get("ts") or "")
    return datetime.fromtimestamp(float(ts), reader.timezone) if ts else None


def time_html(message: Mapping[str, Any], reader: Reader) -> str:
    """The hour and minute a message was posted; nothing for one that was not."""
    when = sent_at(message, reader)
    return f'<time title="{when:%A, %d %B %Y %H:%M:%S}">{when:%H:%M}</time>' if when else ""


def phone_notification(
    message: Mapping[str, Any], app: str, *, channel: str = "", reader: Reader = NOBODY
) -> str:
    """The message as a phone's locked screen shows it."""
    text = notification_text(message, reader)
    shown = escape(text) if text else "<em>no text: a phone has nothing to show</em>"
    where = f" in #{escape(channel)}" if channel else ""
    return (
        f'<aside class="notification"><div class="notification-head"><i></i>SLACK'
        f"{time_html(message, reader)}</div><b>{escape(app)}{where}</b><p>{shown}</p></aside>"
    )


# --- blocks -----------------------------------------------------------------------------------


def render_block(block: Mapping[str, Any], reader: Reader = NOBODY) -> str:
    """One block as HTML; the block itself, marked as unknown, where its type is not known."""
    render = _BLOCKS.get(str(block.get("type")))
    return render(block, reader) if render else _unknown(block)


def _unknown(block: Mapping[str, Any]) -> str:
    kind = escape(str(block.get("type")))
    content = escape(json.dumps(block, ensure_ascii=False, default=str)[:300])
    return f'<div class="unknown">block “{kind}” is not shown here<code>{content}</code></div>'


def _text_body(payload: Mapping[str, Any], reader: Reader) -> str:
    text = str(payload.get("text") or "")
    names = bool(payload.get("link_names")) or payload.get("parse") == "full"
    plain = payload.get("mrkdwn") is False
    shown = plain_html(text) if plain else mrkdwn_html(text, reader, names=names)
    edited = ' <span class="edited">(edited)</span>' if payload.get("edited") else ""
    return f'<div class="text">{shown}{edited}</div>'


def text_object(item: object, reader: Reader) -> str:
    """A text object: `plain_text` is text, `mrkdwn` is read as Slack reads it."""
    if not isinstance(item, Mapping):
        return ""
    text = str(item.get("text") or "")
    if item.get("type") == "mrkdwn":
        return mrkdwn_html(text, reader, verbatim=item.get("verbatim") is True)
    return plain_html(text, emoji=item.get("emoji") is not False)


def _header(block: Mapping[str, Any], reader: Reader) -> str:
    return f'<h3 class="header">{text_object(block.get("text"), reader)}</h3>'


def _section(block: Mapping[str, Any], reader: Reader) -> str:
    text = text_object(block.get("text"), reader)
    fields = [text_object(field, reader) for field in _mappings(block.get("fields"))]
    grid = f'<div class="fields">{"".join(f"<div>{field}</div>" for field in fields)}</div>'
    accessory = block.get("accessory")
    aside = _element(accessory, reader) if isinstance(accessory, Mapping) else ""
    main = (f'<div class="text">{text}</div>' if text else "") + (grid if fields else "")
    return f'<div class="section"><div>{main}</div>{aside}</div>'


def _context(block: Mapping[str, Any], reader: Reader) -> str:
    shown = "".join(
        f"<span>{_element(element, reader)}</span>" for element in _mappings(block.get("elements"))
    )
    return f'<div class="context">{shown}</div>'


def _divider(_block: Mapping[str, Any], _reader: Reader) -> str:
    return "<hr>"


def _image(block: Mapping[str, Any], reader: Reader) -> str:
    """The picture's words and address: a page of ours fetches nothing."""
    label = str(block.get("alt_text") or "image")
    link = link_html(str(block.get("image_url") or ""), label)
    return f'<div class="picture">{text_object(block.get("title"), reader)}🖼 {link}</div>'


def _actions(block: Mapping[str, Any], reader: Reader) -> str:
    shown = "".join(_element(element, reader) for element in _mappings(block.get("elements")))
    return f'<div class="actions">{shown}</div>'


def _element(element: Mapping[str, Any], reader: Reader) -> str:
    kind = element.get("type")
    if kind in ("mrkdwn", "plain_text"):
        return text_object(element, reader)
    if kind == "image":
        return _image(element, reader)
    if kind == "button":
        look = element.get("style") if element.get("style") in ("primary", "danger") else ""
        return f'<span class="button {look}">{text_object(element.get("text"), reader)}</span>'
    return _unknown(element)


def _markdown(block: Mapping[str, Any], _reader: Reader) -> str:
    """The source as it stands: standard Markdown is another language than mrkdwn."""
    return f'<div class="markdown">{escape(str(block.get("text") or ""))}</div>'


def _table(block: Mapping[str, Any], reader: Reader) -> str:
    rows = "".join(
        "<tr>" + "".join(f"<td>{_cell(cell, reader)}</td>" for cell in _mappings(row)) + "</tr>"
        for row in _sequence(block.get("rows"))
    )
    return f'<table class="table">{rows}</table>'


def _cell(cell: Mapping[str, Any], reader: Reader) -> str:
    if cell.get("type") == "rich_text":
        return _rich_text(cell, reader)
    return escape(str(cell.get("text") or ""))


def _attachment(item: Mapping[str, Any], reader: Reader) -> str:
    colour = COLOURS.get(str(item.get("color")), str(item.get("color") or ""))
    if not re.fullmatch(r"#?[0-9a-fA-F]{6}", colour):
        colour = "#dddddd"
    blocks = "".join(render_block(block, reader) for block in _mappings(item.get("blocks")))
    return (
        f'<div class="attachment" style="border-color:#{colour.lstrip("#")}">'
        f"{blocks or _legacy_attachment(item, reader)}</div>"
    )


def _legacy_attachment(item: Mapping[str, Any], reader: Reader) -> str:
    title, text = str(item.get("title") or ""), str(item.get("text") or item.get("fallback") or "")
    link = item.get("title_link")
    head = link_html(str(link), title) if link else escape(title)
    fields = "".join(
        f"<div><b>{escape(str(field.get('title') or ''))}</b><br>"
        f"{mrkdwn_html(str(field.get('value') or ''), reader)}</div>"
        for field in _mappings(item.get("fields"))
    )
    return (
        (f"<b>{head}</b>" if title else "")
        + f'<div class="text">{mrkdwn_html(text, reader)}</div>'
        + (f'<div class="fields">{fields}</div>' if fields else "")
    )


# --- rich text --------------------------------------------------------------------------------


def _rich_text(block: Mapping[str, Any], reader: Reader) -> str:
    shown = "".join(_rich_part(part, reader) for part in _mappings(block.get("elements")))
    return f'<div class="rich-text">{shown}</div>'


def _rich_part(part: Mapping[str, Any], reader: Reader) -> str:
    kind = part.get("type")
    if kind == "rich_text_list":
        return _rich_list(part, reader)
    inner = _inline(part, reader)
    if kind == "rich_text_preformatted":
        return f"<pre>{inner}</pre>"
    inner = inner.replace("\n", "<br>")
    if kind == "rich_text_quote":
        return f"<blockquote>{inner}</blockquote>"
    return f"<div>{inner}</div>" if kind == "rich_text_section" else _unknown(part)


def _rich_list(part: Mapping[str, Any], reader: Reader) -> str:
    tag = "ol" if part.get("style") == "ordered" else "ul"
    indent = part.get("indent") if isinstance(part.get("indent"), int) else 0
    items = "".join(
        f"<li>{_rich_part(item, reader)}</li>" for item in _mappings(part.get("elements"))
    )
    return f'<{tag} class="indent-{indent}">{items}</{tag}>'


def _inline(part: Mapping[str, Any], reader: Reader) -> str:
    return "".join(_rich_element(element, reader) for element in _mappings(part.get("elements")))


def _rich_element(element: Mapping[str, Any], reader: Reader) -> str:
    render = _RICH.get(str(element.get("type")))
    shown = render(element, reader) if render else _unknown(element)
    look = element.get("style")
    for name, tag in (("code", "code"), ("strike", "s"), ("italic", "em"), ("bold", "strong")):
        if isinstance(look, Mapping) and look.get(name) is True:
            shown = f"<{tag}>{shown}</{tag}>"
    return shown


def _rich_words(element: Mapping[str, Any], _reader: Reader) -> str:
    return escape(str(element.get("text") or ""), quote=False)


def _rich_link(element: Mapping[str, Any], _reader: Reader) -> str:
    url = str(element.get("url") or "")
    return link_html(url, str(element.get("text") or url))


def _rich_user(element: Mapping[str, Any], reader: Reader) -> str:
    who = str(element.get("user_id") or "")
    return mention_html(f"@{reader.users.get(who, who)}", "user")


def _rich_group(element: Mapping[str, Any], reader: Reader) -> str:
    who = str(element.get("usergroup_id") or "")
    return mention_html(f"@{reader.groups.get(who, who)}", "group")


def _rich_channel(element: Mapping[str, Any], reader: Reader) -> str:
    where = str(element.get("channel_id") or "")
    return mention_html(f"#{reader.channels.get(where, where)}", "channel")


def _rich_broadcast(element: Mapping[str, Any], _reader: Reader) -> str:
    return mention_html(f"@{element.get('range')}")


def _rich_emoji(element: Mapping[str, Any], _reader: Reader) -> str:
    name = str(element.get("name") or "")
    return escape(EMOJI.get(name, f":{name}:"))


def _rich_date(element: Mapping[str, Any], reader: Reader) -> str:
    timestamp, fallback = element.get("timestamp"), str(element.get("fallback") or "")
    form = str(element.get("format") or "")
    shown = date_text(timestamp, form, fallback, reader) if isinstance(timestamp, int) else fallback
    return f"<time>{escape(shown)}</time>"


def _rich_colour(element: Mapping[str, Any], _reader: Reader) -> str:
    return f"<code>{escape(str(element.get('value') or ''))}</code>"


Render = Callable[[Mapping[str, Any], Reader], str]

_RICH: Mapping[str, Render] = {
    "text": _rich_words,
    "link": _rich_link,
    "user": _rich_user,
    "usergroup": _rich_group,
    "channel": _rich_channel,
    "broadcast": _rich_broadcast,
    "emoji": _rich_emoji,
    "date": _rich_date,
    "color": _rich_colour,
}

_BLOCKS: Mapping[str, Render] = {
    "header": _header,
    "section": _section,
    "context": _context,
    "divider": _divider,
    "image": _image,
    "actions": _actions,
    "markdown": _markdown,
    "table": _table,
    "rich_text": _rich_text,
}


def _mappings(items: object) -> list[Mapping[str, Any]]:
    return [item for item in _sequence(items) if isinstance(item, Mapping)]


def _sequence(items: object) -> Sequence[object]:
    return items if isinstance(items, Sequence) and not isinstance(items, str) else ()
