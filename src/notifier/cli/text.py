"""A Slack message as a terminal can show it."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

_DATE = re.compile(r"<!date\^(\d+)\^[^|>]*\|[^>]*>")
_LINK = re.compile(r"<(https?://[^|>]+)\|([^>]+)>")
_MENTION = re.compile(r"<!subteam\^(\w+)>|<([@!])(\w+)>")


def message_text(payload: Mapping[str, Any], *, links: bool = False) -> str:
    """The message's blocks as plain lines; with `links` each link's address beside its label."""
    blocks = payload.get("blocks") or [{"type": "section", "text": {"text": payload["text"]}}]
    return "\n".join(line for block in blocks for line in _lines(block, links=links))


def _lines(block: Mapping[str, Any], *, links: bool) -> Iterator[str]:
    match block:
        case {"type": "rich_text", "elements": parts}:
            for part in parts:
                mark = "│ " if part["type"] == "rich_text_quote" else "  "
                text = "".join(element.get("text", "") for element in part["elements"])
                yield from (mark + line for line in text.splitlines())
        case {"elements": elements}:
            yield from (_plain(element["text"], links=links) for element in elements)
        case {"text": {"text": text}}:
            yield from _plain(text, links=links).splitlines()


def _plain(text: str, *, links: bool) -> str:
    text = _DATE.sub(lambda date: _local(int(date[1])), text)
    text = _LINK.sub(r"\2 (\1)" if links else r"[\2]", text)
    text = _MENTION.sub(lambda who: f"@{who[1] or who[3]}", text)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _local(seconds: int) -> str:
    """The reader's own time, as Slack shows it."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%d %b %Y at %H:%M")
