"""A Slack message as a terminal can show it."""

import io
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from notifier.cli.mrkdwn import decode

_DATE = re.compile(r"<!date\^(\d+)\^[^|>]*\|[^>]*>")
_LINK = re.compile(r"<https?://[^|>]+\|([^>]+)>")
# Colours and whatever else a terminal obeys.
# https://ecma-international.org/publications-and-standards/standards/ecma-48/
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_MENTION = re.compile(r"<!subteam\^(\w+)>|<[@!](\w+)>")


def print_what_can_be_printed() -> None:
    """Let a character that standard output cannot encode be a `?` rather than the program's end."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def shown(text: str) -> str:
    """Foreign text without what a terminal would obey: colours, cursor movements, bells, bidi."""
    from notifier.rendering import clean

    return clean(_ESCAPE.sub("", text))


def message_text(payload: Mapping[str, Any]) -> str:
    """The message's blocks as plain lines, of each link its label."""
    blocks = payload.get("blocks") or [{"type": "section", "text": {"text": payload["text"]}}]
    return "\n".join(line for block in blocks for line in _lines(block))


def _lines(block: Mapping[str, Any]) -> Iterator[str]:
    match block:
        case {"type": "rich_text", "elements": parts}:
            for part in parts:
                mark = "│ " if part["type"] == "rich_text_quote" else "  "
                text = "".join(element.get("text", "") for element in part["elements"])
                yield from (mark + line for line in text.splitlines())
        case {"elements": elements}:
            yield from (_plain(element["text"]) for element in elements)
        case {"text": {"text": text}}:
            yield from _plain(text).splitlines()


def _plain(text: str) -> str:
    text = _DATE.sub(lambda date: _local(int(date[1])), text)
    text = _LINK.sub(r"[\1]", text)
    return decode(_MENTION.sub(lambda who: f"@{who[1] or who[2]}", text))


def _local(seconds: int) -> str:
    """The reader's own time, as Slack shows it."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%d %b %Y at %H:%M")
