"""What Slack's Web API answers. Each rule of a method stands here; HTTP and faults do not.

https://docs.slack.dev/reference/methods. Where Slack documents nothing, what others saw it do is
followed and the place is named.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.workspace import blocks as block_rules
from sandbox.workspace.team import App, Channel, Json, Message, Team

LONGEST_TEXT = 40_000  # longer ones are cut, with a warning
LONGEST_UPDATE = 4_000  # chat.update refuses longer ones
LARGEST_METADATA = 8_000  # characters of JSON; Slack has a limit and does not say which
FORMATTING = ("mrkdwn", "parse", "link_names")


class Refusal(Exception):
    """Slack's `ok: false`. `extras` are further fields of the answer."""

    def __init__(self, error: str, **extras: Any) -> None:
        super().__init__(error)
        self.error = error
        self.extras = extras

    @property
    def answer(self) -> Json:
        """The answer's body."""
        return {"ok": False, "error": self.error, **self.extras}


@dataclass(frozen=True)
class Call:
    """A call that has passed authentication: who asks for what, and when (epoch seconds)."""

    team: Team
    app: App
    arguments: Mapping[str, Any]
    now: float

    def text(self, name: str) -> str:
        """A text argument; empty when it is absent."""
        value = self.arguments.get(name)
        return "" if value is None else str(value)

    def flag(self, name: str) -> bool:
        """A boolean argument, which a form spells as `true` or `1`."""
        return str(self.arguments.get(name, "")).lower() in ("true", "1")

    def required(self, name: str) -> str:
        """A text argument that must be there."""
        if not (value := self.text(name)):
            raise invalid_arguments(f"missing required field: {name}")
        return value

    def structure(self, name: str, error: str) -> Any:
        """An argument that is JSON, or in a form the text of JSON; None when absent."""
        value = self.arguments.get(name)
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value) if value else None
        except ValueError:
            raise Refusal(error) from None

    def needs(self, *scopes: str) -> None:
        """Refuse unless the token has one of the scopes."""
        if not self.app.scopes.intersection(scopes):
            provided = ",".join(sorted(self.app.scopes))
            raise Refusal("missing_scope", needed=scopes[0], provided=provided)


def invalid_arguments(problem: str) -> Refusal:
    """Slack's refusal of arguments, which says what is wrong."""
    return Refusal("invalid_arguments", response_metadata={"messages": [f"[ERROR] {problem}"]})


def answer(team: Team, method: str, token: str, arguments: Mapping[str, Any], now: float) -> Json:
    """Slack's answer to a call of a Web API method: always a JSON object with `ok`."""
    if method not in METHODS:
        return {"ok": False, "error": "unknown_method", "req_method": method}
    try:
        app = authenticated(team, token)
        return {"ok": True, **METHODS[method](Call(team, app, arguments, now))}
    except Refusal as refusal:
        return refusal.answer


def authenticated(team: Team, token: str) -> App:
    """The app that calls."""
    if not token:
        raise Refusal("not_authed")
    if not (app := team.app_with(token)):
        raise Refusal("invalid_auth")
    if app.revoked:
        raise Refusal("token_revoked")
    return app


# --- messages ---------------------------------------------------------------------------------


def content_of(call: Call) -> Json:
    """The text, blocks and attachments of a call, checked. Absent ones are not in it."""
    content: Json = {}
    if "text" in call.arguments:
        content["text"] = call.text("text")[:LONGEST_TEXT]
    if (blocks := call.structure("blocks", "invalid_blocks_format")) is not None:
        content["blocks"] = checked_blocks(blocks)
    if (attachments := call.structure("attachments", "invalid_attachments")) is not None:
        content["attachments"] = checked_attachments(attachments)
    return content


def checked_blocks(blocks: object) -> list[Json]:
    """The blocks, with an id each; a refusal that says where they break a rule."""
    if problems := block_rules.problems(blocks):
        messages = [f"[ERROR] {problem}" for problem in problems]
        metadata = {"messages": messages}
        raise Refusal("invalid_blocks", errors=problems, response_metadata=metadata)
    if block_rules.characters(blocks) > block_rules.MOST_CHARACTERS:
        raise Refusal("msg_blocks_too_long")
    assert isinstance(blocks, list)
    return [{"block_id": f"b{index}", **block} for index, block in enumerate(blocks)]


def checked_attachments(attachments: object) -> list[Json]:
    """The attachments, the blocks in them checked as well."""
    if not isinstance(attachments, list) or not all(isinstance(a, dict) for a in attachments):
        raise Refusal("invalid_attachments")
    if len(attachments) > block_rules.MOST_ATTACHMENTS:
        raise Refusal("too_many_attachments")
    if any(block_rules.problems(item.get("blocks", [])) for item in attachments):
        raise Refusal("invalid_attachments")
    return attachments


def checked_metadata(call: Call) -> Json | None:
    """The metadata of a call; None when it has none. {} is what an update removes it with."""
    metadata = call.structure("metadata", "invalid_metadata_format")
    if metadata is None:
        return None
    if metadata == {}:
        return {}
    if not isinstance(metadata, dict) or metadata.keys() != {"event_type", "event_payload"}:
        raise Refusal("invalid_metadata_format")
    if not isinstance(metadata["event_type"], str) or not isinstance(
        metadata["event_payload"], dict
    ):
        raise Refusal("invalid_metadata_format")
    if len(json.dumps(metadata)) > LARGEST_METADATA:
        raise Refusal("metadata_too_large")
    return metadata


def place(channel: Channel, message: Message, thread_ts: str, *, broadcast: bool) -> None:
    """Put a message into its channel, in the thread it asks for.

    A thread whose root is gone does not refuse: Slack posts the message to the channel and its
    answer lacks `thread_ts` (slack-go/slack#1571, langchain-ai/open-swe#2753).
    """
    if root := channel.thread_root(thread_ts):
        root.thread_ts = root.ts
        message.thread_ts, message.broadcast = root.ts, broadcast
    channel.messages.append(message)


def writable_channel(call: Call) -> Channel:
    """The channel to post to, by id or name."""
    channel = call.team.channel_named(call.required("channel"))
    member = channel is not None and call.app.bot_id in channel.members
    if channel is None or (channel.private and not member):
        raise Refusal("channel_not_found")
    if not member and "chat:write.public" not in call.app.scopes:
        raise Refusal("not_in_channel")
    if channel.archived:
        raise Refusal("is_archived")
    return channel


def post_message(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/chat.postMessage."""
    call.needs("chat:write")
    channel = writable_channel(call)
    thread_ts = call.text("thread_ts")
    if thread_ts and not re.fullmatch(r"\d+\.\d{6}", thread_ts):
        raise Refusal("invalid_thread_ts")
    content, metadata = content_of(call), checked_metadata(call)
    if not any(content.values()):
        raise Refusal("no_text")
    message = new_message(call, content, metadata or {})
    place(channel, message, thread_ts, broadcast=call.flag("reply_broadcast"))
    call.team.changes += 1
    shown = shown_message(channel, message, whole_metadata=True)
    return {"channel": channel.id, "ts": message.ts, "message": shown, **cut_warning(call)}


def new_message(call: Call, content: Json, metadata: Json) -> Message:
    """A message of the calling app, with a `ts` of its own."""
    return Message(
        ts=call.team.next_ts(call.now),
        text=content.get("text", ""),
        bot_id=call.app.bot_id,
        app_id=call.app.app_id,
        app=call.app.name,
        user=call.app.user_id,
        blocks=content.get("blocks", []),
        attachments=content.get("attachments", []),
        metadata=metadata,
        formatting=formatting(call),
    )


def formatting(call: Call) -> Json:
    """How the top-level text is to be read, where the call says so."""
    asked = {name: call.structure(name, "invalid_arguments") for name in FORMATTING[:1]}
    asked |= {name: call.arguments.get(name) for name in FORMATTING[1:]}
    return {name: value for name, value in asked.items() if value is not None}


def cut_warning(call: Call) -> Json:
    """The warning for a text that was cut."""
    if len(call.text("text")) <= LONGEST_TEXT:
        return {}
    return {
        "warning": "message_truncated",
        "response_metadata": {"warnings": ["message_truncated"]},
    }


def update_message(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/chat.update."""
    call.needs("chat:write")
    channel = call.team.channels.get(call.required("channel"))  # the id; a name is not found
    if channel is None:
        raise Refusal("channel_not_found")
    if channel.archived:
        raise Refusal("is_inactive")
    if len(call.text("text")) > LONGEST_UPDATE:
        raise Refusal("msg_too_long")
    message = own_message(call, channel)
    content, metadata = content_of(call), checked_metadata(call)
    check_update(call, message, content)
    revise(call, message, content, metadata)
    shown = shown_message(channel, message, whole_metadata=True)
    return {"channel": channel.id, "ts": message.ts, "text": message.text, "message": shown}


def own_message(call: Call, channel: Channel) -> Message:
    """The message to update, which only the app that posted it may."""
    message = channel.find(call.required("ts"))
    if message is None:
        raise Refusal("message_not_found")
    if message.bot_id != call.app.bot_id:
        raise Refusal("cant_update_message")
    window = call.team.edit_window
    if window is not None and call.now - float(message.ts) > window:
        raise Refusal("edit_window_closed")
    return message


def check_update(call: Call, message: Message, content: Json) -> None:
    """What an update may not do."""
    if not content and not call.flag("reply_broadcast"):
        raise Refusal("no_text")
    if content and call.flag("reply_broadcast") and not message.broadcast:
        raise Refusal("no_dual_broadcast_content_update")
    blocks = content.get("blocks")
    if (
        blocks is not None
        and block_rules.has_rich_text(message.blocks)
        and not block_rules.has_rich_text(blocks)
    ):
        raise Refusal("block_mismatch")


def revise(call: Call, message: Message, content: Json, metadata: Json | None) -> None:
    """Change a message. A new text without blocks takes the old blocks away, no text keeps them."""
    message.versions.append(message.content)
    message.broadcast = message.broadcast or (call.flag("reply_broadcast") and message.is_reply)
    if "text" in content:
        message.text, message.blocks = content["text"], []
    message.blocks = content.get("blocks", message.blocks)
    message.attachments = content.get("attachments", message.attachments)
    message.metadata = message.metadata if metadata is None else metadata
    message.formatting = formatting(call)
    message.edited_ts = call.team.next_ts(call.now)
    call.team.changes += 1


def shown_message(channel: Channel, message: Message, *, whole_metadata: bool) -> Json:
    """A message as the API returns it. Without `whole_metadata` only its event_type is told."""
    shown: Json = {
        "type": "message",
        "user": message.user,
        "ts": message.ts,
        "bot_id": message.bot_id,
        "app_id": message.app_id,
        "text": message.text,
        **({"blocks": message.blocks} if message.blocks else {}),
        **({"attachments": message.attachments} if message.attachments else {}),
    }
    if message.tombstone:
        shown |= {"subtype": "tombstone", "hidden": True, "user": "USLACKBOT"}
    elif not message.user:
        shown |= {"subtype": "bot_message", "username": message.app}
    if message.edited_ts:
        shown["edited"] = {"user": message.user, "ts": message.edited_ts}
    if message.metadata and whole_metadata:
        shown["metadata"] = message.metadata
    elif message.metadata:
        shown["metadata"] = {"event_type": message.metadata["event_type"]}
    if message.reactions:
        shown["reactions"] = [
            {"name": name, "users": users, "count": len(users)}
            for name, users in message.reactions.items()
        ]
    return shown | thread_fields(channel, message)


def thread_fields(channel: Channel, message: Message) -> Json:
    """What a message says of its thread; nothing for one that is in none."""
    if message.is_reply:
        kind = {"subtype": "thread_broadcast"} if message.broadcast else {}
        return {"thread_ts": message.thread_ts, **kind}
    if not (replies := channel.replies(message.ts)):
        return {}
    return {
        "thread_ts": message.ts,
        "reply_count": len(replies),
        "latest_reply": replies[-1].ts,
        "reply_users": sorted({reply.user or reply.bot_id for reply in replies}),
    }


# --- reading ----------------------------------------------------------------------------------


def readable_channel(call: Call, kind: str) -> Channel:
    """The channel to read, by id: bots read only where they are members (`kind` of scope)."""
    channel = call.team.channels.get(call.required("channel"))
    if channel is None:
        raise Refusal("channel_not_found")
    call.needs(f"groups:{kind}" if channel.private else f"channels:{kind}")
    if call.app.bot_id not in channel.members:
        raise Refusal("channel_not_found" if channel.private else "not_in_channel")
    return channel


def history(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/conversations.history: the newest first."""
    call.needs("channels:history", "groups:history")
    channel = readable_channel(call, "history")
    found = [message for message in reversed(channel.timeline) if within(call, message)]
    return paged(call, channel, found, usual=100, most=999)


def replies(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/conversations.replies: the root, then the oldest."""
    call.needs("channels:history", "groups:history")
    channel = readable_channel(call, "history")
    ts = call.required("ts")
    root = next((message for message in channel.messages if message.ts == ts), None)
    if root is None:
        raise Refusal("thread_not_found")
    under = [message for message in channel.replies(ts) if within(call, message)]
    return paged(call, channel, [root, *under], usual=1000, most=1000)


def within(call: Call, message: Message) -> bool:
    """Whether a message lies between `oldest` and `latest`, whose ends count if `inclusive`."""
    oldest, latest = call.text("oldest") or "0", call.text("latest") or "inf"
    try:
        low, high, ts = float(oldest), float(latest), float(message.ts)
    except ValueError:
        raise Refusal("invalid_ts_oldest") from None
    return low <= ts <= high if call.flag("inclusive") else low < ts < high


def paged(call: Call, channel: Channel, found: list[Message], *, usual: int, most: int) -> Json:
    """A page of messages; `response_metadata.next_cursor` leads to the next."""
    try:
        limit, start = int(call.text("limit") or usual), int(call.text("cursor") or 0)
    except ValueError:
        raise Refusal("invalid_cursor") from None
    if not 1 <= limit <= most:
        raise Refusal("invalid_limit")
    whole = call.flag("include_all_metadata")
    end = start + limit
    return {
        "messages": [
            shown_message(channel, message, whole_metadata=whole) for message in found[start:end]
        ],
        "has_more": end < len(found),
        "response_metadata": {"next_cursor": str(end) if end < len(found) else ""},
    }


def channel_info(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/conversations.info."""
    call.needs("channels:read", "groups:read")
    channel = call.team.channels.get(call.required("channel"))
    member = channel is not None and call.app.bot_id in channel.members
    if channel is None or (channel.private and not member):
        raise Refusal("channel_not_found")
    return {
        "channel": {
            "id": channel.id,
            "name": channel.name,
            "is_channel": not channel.private,
            "is_private": channel.private,
            "is_archived": channel.archived,
            "is_member": member,
        }
    }


def permalink(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/chat.getPermalink."""
    channel = call.team.channels.get(call.required("channel"))
    if channel is None:
        raise Refusal("channel_not_found")
    message = channel.find(call.required("message_ts"))
    if message is None:
        raise Refusal("message_not_found")
    link = f"{call.team.url}archives/{channel.id}/p{message.ts.replace('.', '')}"
    if message.is_reply:
        link += f"?thread_ts={message.thread_ts}&cid={channel.id}"
    return {"channel": channel.id, "permalink": link}


def auth_test(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/auth.test."""
    return {
        "url": call.team.url,
        "team": call.team.name,
        "team_id": call.team.id,
        "user": call.app.name,
        "user_id": call.app.user_id,
        "bot_id": call.app.bot_id,
        "is_enterprise_install": False,
    }


# --- reactions --------------------------------------------------------------------------------


def reacted_message(call: Call) -> Message:
    """The message that a reaction is about."""
    call.needs("reactions:write")
    channel = call.team.channels.get(call.required("channel"))
    if channel is None:
        raise Refusal("channel_not_found")
    if not (ts := call.text("timestamp")):
        raise Refusal("no_item_specified")
    if channel.archived:
        raise Refusal("is_archived")
    if not (message := channel.find(ts)):
        raise Refusal("message_not_found")
    return message


def reaction_name(call: Call) -> str:
    """The name of the emoji."""
    name = call.text("name").strip(":")
    if not re.fullmatch(r"[a-z0-9_+'-]+", name):
        raise Refusal("invalid_name")
    return name


def add_reaction(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/reactions.add."""
    message, name = reacted_message(call), reaction_name(call)
    users = message.reactions.setdefault(name, [])
    if call.app.user_id in users:
        raise Refusal("already_reacted")
    users.append(call.app.user_id)
    call.team.changes += 1
    return {}


def remove_reaction(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/reactions.remove."""
    message, name = reacted_message(call), reaction_name(call)
    users = message.reactions.get(name, [])
    if call.app.user_id not in users:
        raise Refusal("no_reaction")
    users.remove(call.app.user_id)
    if not users:
        del message.reactions[name]
    call.team.changes += 1
    return {}


METHODS: Mapping[str, Callable[[Call], Json]] = {
    "auth.test": auth_test,
    "chat.getPermalink": permalink,
    "chat.postMessage": post_message,
    "chat.update": update_message,
    "conversations.history": history,
    "conversations.info": channel_info,
    "conversations.replies": replies,
    "reactions.add": add_reaction,
    "reactions.remove": remove_reaction,
}
# Methods that only read take their arguments from the query or a form; a JSON body is not seen.
FORM_ONLY = frozenset(
    ("chat.getPermalink", "conversations.history", "conversations.info", "conversations.replies")
)
