"""What a Slack workspace holds: apps, webhooks, channels and their messages. No I/O, no clock."""

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

# The people of the workspace, by their ids.
PEOPLE = {"U0MIKA00001": "mika", "U0ROBIN0001": "robin"}


@dataclass
class App:
    """An app installed in the workspace, with the one bot token it acts by."""

    token: str
    scopes: frozenset[str]
    name: str = "ecs-watch"
    app_id: str = "A0SANDBOX"
    bot_id: str = "B0SANDBOX"
    user_id: str = "U0SANDBOX"
    revoked: bool = False


@dataclass
class Hook:
    """An incoming webhook: the secret address of one channel."""

    path: str
    channel: str
    bot_id: str = "B0WEBHOOK"
    app_id: str = "A0WEBHOOK"
    name: str = "ecs-watch (webhook)"
    enabled: bool = True


@dataclass
class Message:
    """A message as it stands now. `versions` are its earlier contents, the oldest first."""

    ts: str
    text: str
    bot_id: str
    app_id: str
    app: str
    user: str = ""
    blocks: list[Json] = field(default_factory=list)
    attachments: list[Json] = field(default_factory=list)
    metadata: Json = field(default_factory=dict)
    formatting: Json = field(default_factory=dict)
    thread_ts: str = ""
    broadcast: bool = False
    edited_ts: str = ""
    tombstone: bool = False
    reactions: dict[str, list[str]] = field(default_factory=dict)
    versions: list[Json] = field(default_factory=list)

    @property
    def is_reply(self) -> bool:
        """Whether it stands in somebody else's thread."""
        return bool(self.thread_ts) and self.thread_ts != self.ts

    @property
    def in_channel(self) -> bool:
        """Whether the channel itself shows it: a root, or a reply also sent to the channel."""
        return not self.is_reply or self.broadcast

    @property
    def content(self) -> Json:
        """What was said, as `chat.postMessage` takes it."""
        content: Json = {"text": self.text, **self.formatting}
        if self.blocks:
            content["blocks"] = self.blocks
        if self.attachments:
            content["attachments"] = self.attachments
        return content


@dataclass
class Channel:
    """A channel. `members` are the bots that were invited to it, by bot id."""

    id: str
    name: str
    private: bool = False
    archived: bool = False
    members: set[str] = field(default_factory=set)
    messages: list[Message] = field(default_factory=list)

    @property
    def timeline(self) -> list[Message]:
        """What the channel shows, the oldest first."""
        return [message for message in self.messages if message.in_channel]

    @property
    def roots(self) -> list[Message]:
        """Messages that are nobody's reply, the oldest first."""
        return [message for message in self.messages if not message.is_reply]

    def find(self, ts: str) -> Message | None:
        """The message of that `ts`; None where there is none, or only what is left of one."""
        return next((m for m in self.messages if m.ts == ts and not m.tombstone), None)

    def thread_root(self, ts: str) -> Message | None:
        """The root of the thread that the message `ts` stands in; a deleted one counts."""
        message = next((m for m in self.messages if m.ts == ts), None)
        return self.thread_root(message.thread_ts) if message and message.is_reply else message

    def replies(self, ts: str) -> list[Message]:
        """The replies under a root, the oldest first."""
        return [m for m in self.messages if m.is_reply and m.thread_ts == ts]

    def delete(self, ts: str) -> None:
        """As Slack deletes: a root with replies leaves a placeholder, anything else goes."""
        message = self.find(ts)
        if message and self.replies(ts):
            message.tombstone, message.blocks, message.attachments = True, [], []
            message.text = "This message was deleted."
        elif message:
            self.messages.remove(message)


@dataclass
class Team:
    """A workspace. `changes` counts everything that anybody could see change."""

    name: str = "Sandbox"
    id: str = "T0SANDBOX"
    url: str = "https://sandbox.slack.com/"
    apps: list[App] = field(default_factory=list)
    hooks: list[Hook] = field(default_factory=list)
    channels: dict[str, Channel] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=PEOPLE.copy)
    groups: dict[str, str] = field(default_factory=dict)
    edit_window: float | None = None  # seconds; None: messages may be edited for ever
    changes: int = 0
    last_ts: int = 0

    def next_ts(self, now: float) -> str:
        """A `ts` for a message sent `now` (seconds since the epoch): unique and increasing."""
        self.last_ts = max(self.last_ts + 1, int(now * 1_000_000))
        seconds, micros = divmod(self.last_ts, 1_000_000)
        return f"{seconds}.{micros:06d}"

    def channel_named(self, id_or_name: str) -> Channel | None:
        """A channel by id, `#name` or name, as `chat.postMessage` takes it."""
        name = id_or_name.removeprefix("#")
        return self.channels.get(id_or_name) or next(
            (channel for channel in self.channels.values() if channel.name == name), None
        )

    def app_with(self, token: str) -> App | None:
        """The app that a token belongs to."""
        return next((app for app in self.apps if app.token == token), None)
