"""Looks for a message by the key that its metadata holds, page by page.

https://docs.slack.dev/messaging/message-metadata
https://docs.slack.dev/apis/web-api/pagination
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from notifier.model import CannotLook, Found, NotThere, Refusal, Refused, Sent, Unknown
from notifier.slack.answers import Answer, thread_of

# Small pages: an answer that is too large to read is no answer, and a message may have 20 kB.
PAGE = 50  # messages
PAGES = 8
# What Slack commits later than this was not being waited for any more. Without an end a look that
# comes hours later would have to read all that a busy channel said since.
WITHIN = timedelta(minutes=6)

_PASSING = {Refusal.RATE_LIMITED, Refusal.UNAVAILABLE}

INCOMPLETE = CannotLook("answer_incomplete", will_pass=True)

Read = Callable[[str, Mapping[str, str]], Answer | Refused | Unknown]


def find(read: Read, channel: str, key: str, since: datetime, thread_ts: str | None) -> Found:
    """The message whose `metadata.event_payload.key` is `key`, posted since then and `WITHIN` that.

    NotThere is said only when every message of that time was seen. `read` calls a method.
    """
    asked = {
        "channel": channel,
        "oldest": f"{since.timestamp():.6f}",
        "latest": f"{(since + WITHIN).timestamp():.6f}",
        "inclusive": "true",
        "include_all_metadata": "true",
        "limit": str(PAGE),
    }
    if thread_ts:
        found = _look(read, "conversations.replies", {**asked, "ts": thread_ts}, key)
        # A root that is gone has no replies: Slack puts them into the channel instead.
        if found != CannotLook("thread_not_found"):
            return found
    return _look(read, "conversations.history", asked, key)


def _unanswered(answer: Refused | Unknown) -> CannotLook:
    """Why not, and whether it may be otherwise in a while."""
    if isinstance(answer, Refused):
        will_pass = answer.refusal in _PASSING
        return CannotLook(answer.code, will_pass, answer.retry_after)
    return CannotLook(answer.code, will_pass=True)


def _look(read: Read, method: str, asked: Mapping[str, str], key: str) -> Found:
    cursor = ""
    for _ in range(PAGES):
        answer = read(method, {**asked, "cursor": cursor} if cursor else asked)
        if not isinstance(answer, Answer):
            return _unanswered(answer)
        messages = answer.body.get("messages")
        if not isinstance(messages, list):
            return INCOMPLETE
        if found := _among(messages, asked["channel"], key):
            return found
        if not (cursor := _next_cursor(answer.body)):
            return INCOMPLETE if answer.body.get("has_more") else NotThere()
    return CannotLook("too_many_messages")


def _among(messages: Iterable[object], channel: str, key: str) -> Sent | CannotLook | None:
    for message in messages:
        match message:
            case {"metadata": {"event_payload": {"key": found}}} if found == key:
                return _named(message, channel)
    return None


def _named(message: object, channel: str) -> Sent | CannotLook:
    match message:
        case {"ts": str(ts)} if ts:
            return Sent(channel, ts, thread_of(message, ts))
    return INCOMPLETE


def _next_cursor(body: Mapping[str, object]) -> str:
    match body.get("response_metadata"):
        case {"next_cursor": str(cursor)}:
            return cursor
    return ""
