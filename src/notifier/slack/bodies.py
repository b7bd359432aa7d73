"""What a request carries, in the two encodings that Slack reads.

https://docs.slack.dev/apis/web-api/#post_bodies
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes of a request, and what they are."""

    content: bytes
    content_type: str


def as_json(arguments: Mapping[str, object]) -> Body:
    """For methods that write, and for webhooks."""
    return Body(json.dumps(arguments).encode(), "application/json; charset=utf-8")


def as_form(arguments: Mapping[str, str]) -> Body:
    """For methods that read: they do not see arguments in JSON. A boolean is `true` or `false`."""
    # Slack's cursors come back in it, and JSON can hold half a character, which UTF-8 cannot.
    form = urlencode(arguments, errors="replace")
    return Body(form.encode(), "application/x-www-form-urlencoded")
