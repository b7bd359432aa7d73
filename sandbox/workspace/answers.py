"""Requests and answers as the wire carries them, and an answer spoilt by a fault."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sandbox.workspace.faults import Fault
from sandbox.workspace.webhooks import status_of

JSON_TYPE = "application/json; charset=utf-8"
HTML_TYPE = "text/html; charset=utf-8"
WHOLE = "whole"
TWICE = b'{"ok":false,"error":"internal_error",'
GATEWAY_PAGE = "<!doctype html><html><body><h1>Something went wrong</h1></body></html>"


@dataclass(frozen=True)
class Request:
    """A call as it came in. `method` is `webhook` for an incoming webhook's `path`."""

    method: str
    path: str = ""
    token: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""  # why the body could not be read, in Slack's word


@dataclass(frozen=True)
class Answer:
    """What goes back. `delivery` is `whole`, or how the connection misbehaves for `seconds`."""

    status: int = 200
    body: bytes = b""
    content_type: str = JSON_TYPE
    headers: Mapping[str, str] = field(default_factory=dict)
    delivery: str = WHOLE
    seconds: float = 0.0


def json_answer(content: object, **headers: str) -> Answer:
    """HTTP 200 with JSON."""
    return Answer(body=json.dumps(content).encode(), headers=headers)


def text_answer(status: int, text: str) -> Answer:
    """A bare word, as webhooks answer."""
    return Answer(status, text.encode(), HTML_TYPE)


def rate_limited(method: str, retry_after: int | str | None) -> Answer:
    """HTTP 429. Slack's own `Retry-After` is whole seconds."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    body = b"rate_limited" if method == "webhook" else b'{"ok":false,"error":"ratelimited"}'
    return Answer(429, body, JSON_TYPE, headers)


def not_accepted(method: str) -> Answer:
    """The answer underneath a fault that let nothing through."""
    if method == "webhook":
        return text_answer(503, "service_unavailable")
    return json_answer({"ok": False, "error": "service_unavailable"})


def spoilt(answer: Answer, fault: Fault, method: str, url: str) -> Answer:
    """The true answer as the fault delivers it."""
    location = fault.location or f"{url}_sandbox/redirected"
    instead = {
        "error": _error(fault.error, method),
        "status": Answer(fault.status, GATEWAY_PAGE.encode(), HTML_TYPE),
        "html": Answer(200, GATEWAY_PAGE.encode(), HTML_TYPE),
        "empty": Answer(200, b"", answer.content_type),
        "duplicate_keys": replace(answer, body=TWICE + _members(answer)),
        "redirect": Answer(302, b"", HTML_TYPE, {"Location": location}),
    }
    misdelivered = replace(answer, delivery=fault.manner, seconds=fault.seconds)
    return instead.get(fault.manner, misdelivered)


def _members(answer: Answer) -> bytes:
    """The members and the closing brace of the answer's JSON object."""
    is_object = answer.body.startswith(b"{")
    return answer.body[1:] if is_object else b'"ok":true}'


def _error(error: str, method: str) -> Answer:
    if method == "webhook":
        return text_answer(status_of(error), error)
    return json_answer({"ok": False, "error": error})
