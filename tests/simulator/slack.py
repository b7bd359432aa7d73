"""A Slack workspace at the level of our door: outcomes come back, messages stay.

What it refuses and how is Slack's; whether a post arrives whose answer does not is the dice's.
https://docs.slack.dev/apis/web-api/rate-limits
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from notifier.model import (
    CannotLook,
    Found,
    Message,
    NotThere,
    Outcome,
    Refusal,
    Refused,
    Sent,
    Unknown,
)
from tests.simulator.faults import Dice
from tests.simulator.scheduler import START, Scheduler

T = TypeVar("T")

# A bucket refills with so many calls a second and holds so many: posts for each channel, the rest
# (tier 3) for each method in the whole workspace.
POSTS = (1.0, 5.0)
TIER_3 = (50 / 60, 50.0)
DEADLINE = 10.0  # seconds after which our door gives up
ANSWERS_IN = 0.2  # seconds of one way, typically


class Version(NamedTuple):
    """A message as it stood from `at` on; `written` is all its text, blocks included."""

    at: float
    message: Message
    written: str


@dataclass
class Posted:
    """A message as a reader of the channel sees it. Times are seconds of the history."""

    channel: str
    ts: str
    message: Message
    at: float = 0.0
    thread_ts: str | None = None
    broadcast: bool = False
    key: str = ""
    versions: list[Version] = field(default_factory=list)
    is_marked: bool = False
    deleted: bool = False
    told: "Told | None" = None

    @property
    def written(self) -> str:
        """All that stood in it at first."""
        return self.versions[0].written

    def show(self, message: Message, at: float) -> None:
        """From now on a reader sees this."""
        written = message.text + json.dumps(message.blocks, ensure_ascii=False)
        self.versions.append(Version(at, message, written))


@dataclass(frozen=True)
class Told:
    """What a post tells, as the program itself noted it before it posted.

    `spans` are each service's revisions: told before, and told by it. `number` counts the roots of
    an incident, `shows` is the cluster's revision that a root shows.
    """

    kind: str
    cluster: str
    route: str
    generation: int
    number: int
    shows: int
    spans: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Period:
    """From `start` to `end` every call that `concerns` accepts gets this outcome."""

    start: float
    end: float
    outcome: Refused | Unknown
    channel: str | None = None


@dataclass
class Slack:
    """The workspace. `may_read`: whether the bot has the history scope.

    `arrived` hears of every post that reaches Slack, by channel and key, and says what it tells.
    """

    has_threads = True

    scheduler: Scheduler
    dice: Dice
    may_read: bool = True
    one_way: float = ANSWERS_IN
    arrived: Callable[[str, str], Told | None] = lambda _channel, _key: None
    posts: list[Posted] = field(default_factory=list)
    periods: list[Period] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    doubts: list[float] = field(default_factory=list)
    too_fast: int = 0  # posts and edits beyond the pace that Slack asks for
    impatient: int = 0  # calls before the time that a 429 named
    very_late: int = 0  # posts that Slack committed when nobody looks for them any more
    unreadable: int = 0  # looks for a message that could not be made
    on_its_way: int = 0
    _buckets: dict[str, tuple[float, float]] = field(default_factory=dict)
    _not_before: dict[str, float] = field(default_factory=dict)

    # --- what the program calls ---------------------------------------------------------------

    def post(
        self,
        channel: str,
        message: Message,
        *,
        thread_ts: str | None = None,
        broadcast: bool = False,
        metadata: Mapping[str, Any] | None = None,
    ) -> Outcome:
        posted = Posted(channel, "", message, 0.0, thread_ts, broadcast, _key_of(metadata))
        return self._call(
            "post",
            channel,
            f"{'reply ' if thread_ts else ''}{message.text[:60]!r}",
            lambda: None,
            lambda: self._commit(posted),
            arriving=lambda: setattr(posted, "told", self.arrived(channel, posted.key)),
        )

    def update(self, channel: str, ts: str, message: Message) -> Outcome:
        def edit() -> Sent:
            if posted := self._at(channel, ts):
                posted.show(message, self.scheduler.clock)
            return Sent(channel, ts)

        refused = lambda: self._target_gone(channel, ts, "message_not_found")  # noqa: E731
        return self._call("update", channel, f"{ts} {message.text[:60]!r}", refused, edit)

    def mark(self, channel: str, ts: str, *, on: bool) -> Outcome:
        def change() -> Sent:
            if posted := self._at(channel, ts):
                posted.is_marked = on
            return Sent(channel, ts)

        refused = lambda: self._target_gone(channel, ts, "message_not_found")  # noqa: E731
        return self._call("mark", channel, f"{ts} {on}", refused, change)

    def permalink(self, channel: str, ts: str) -> str:
        """The address of a message; nothing while Slack does not answer."""

        def look() -> str:
            here = self._period(channel) is None and self._at(channel, ts) is not None
            return link_to(channel, ts) if here else ""

        return self._ask(f"permalink {channel} {ts}", look)

    def find(
        self, channel: str, key: str, *, since: datetime, thread_ts: str | None = None
    ) -> Found:
        """The message that carries this key, among those a reader would see now.

        A thread whose root was deleted has no replies any more: then the channel is looked at.
        """

        def look() -> Found:
            period = self._period(channel)
            if not self.may_read or period is not None:
                return CannotLook("missing_scope" if period is None else period.code)
            under = thread_ts if thread_ts and self._at(channel, thread_ts) else None
            earliest = (since - START).total_seconds()
            for posted in self.visible(channel):
                here = posted.thread_ts == under or (under is None and posted.broadcast)
                if posted.key == key and here and posted.at >= earliest:
                    return Sent(channel, posted.ts, posted.thread_ts)
            return NotThere()

        found = self._ask(f"find {channel} {key}", look)
        if isinstance(found, CannotLook):
            self.unreadable += 1
        return found

    def _ask(self, label: str, look: Callable[[], T]) -> T:
        """A question that changes nothing."""
        method = label.partition(" ")[0]
        self.calls[method] = self.calls.get(method, 0) + 1
        latency = self.dice.latency(self.one_way)
        return self.scheduler.effect(f"slack {label}", look, latency, latency)

    # --- what people and tests do -------------------------------------------------------------

    def visible(self, channel: str | None = None) -> Iterator[Posted]:
        """What a reader sees now, oldest first."""
        for posted in self.posts:
            if not posted.deleted and channel in (None, posted.channel):
                yield posted

    def delete(self, posted: Posted) -> None:
        """Somebody deletes a message."""
        posted.deleted = True

    @property
    def well_again_at(self) -> float:
        """When the last of the arranged periods is over."""
        return max((period.end for period in self.periods), default=0.0)

    def refuse_between(
        self, start: float, end: float, outcome: Refused | Unknown, channel: str | None = None
    ) -> None:
        """From `start` to `end` everything, or what concerns the channel, has this outcome."""
        self.periods.append(Period(start, end, outcome, channel))

    # --- one call -----------------------------------------------------------------------------

    def _call(
        self,
        method: str,
        channel: str,
        about: str,
        refused: Callable[[], Refused | None],
        commit: Callable[[], Sent],
        *,
        arriving: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """One request: it may be lost, refused, or done; and its answer may be lost."""
        self.calls[method] = self.calls.get(method, 0) + 1
        arrives, answers = self.dice.latency(self.one_way), self.dice.latency(self.one_way)
        doubt = self._doubt()
        answers += DEADLINE if doubt else 0.0

        def arrive() -> Outcome:
            if doubt == "slack_lost":
                return Unknown("timeout before anything arrived")
            if refusal := self._refusal(method, channel) or refused():
                return refusal
            if method == "post":
                arriving()
            if doubt in ("slack_late", "slack_very_late"):
                self._commit_later(doubt, commit)
            else:
                sent = commit()
                if not doubt:
                    return sent
            self.doubts.append(self.scheduler.clock)
            return Unknown(doubt)

        return self.scheduler.effect(f"slack {method} {channel} {about}", arrive, arrives, answers)

    def _doubt(self) -> str:
        names = ("slack_lost", "slack_answer_lost", "slack_late", "slack_very_late")
        return next((name for name in names if self.dice.falls(name)), "")

    def _commit_later(self, doubt: str, commit: Callable[[], Sent]) -> None:
        """The answer's connection is gone; the message comes all the same."""
        late = (0.1, 30.0) if doubt == "slack_late" else (30.0, 600.0)
        self.on_its_way += 1
        self.very_late += doubt == "slack_very_late"

        def arrive() -> None:
            self.on_its_way -= 1
            sent = commit()
            self.scheduler.note(f"slack: late, but here: {sent.ts}")

        self.scheduler.after(self.dice.rng.uniform(*late), arrive)

    # --- what Slack refuses -------------------------------------------------------------------

    def _refusal(self, method: str, channel: str) -> Refused | Unknown | None:
        return self._period(channel) or self._limited(method, channel) or self._chance()

    def _period(self, channel: str) -> Refused | Unknown | None:
        now = self.scheduler.clock
        for period in self.periods:
            if period.start <= now < period.end and period.channel in (None, channel):
                return period.outcome
        return None

    def _limited(self, method: str, channel: str) -> Refused | None:
        """One post a second and channel with a small burst; so many edits a minute in all."""
        bucket = channel if method == "post" else method
        now, until = self.scheduler.clock, self._not_before.get(bucket, 0.0)
        if now < until:
            self.impatient += 1
            return self._come_back(bucket, until - now)
        if self.dice.falls("slack_limited"):
            return self._come_back(bucket, self.dice.rng.uniform(1.0, 60.0))
        refill, size = POSTS if method == "post" else TIER_3
        at, was = self._buckets.get(bucket, (now, size))
        left = min(was + (now - at) * refill, size)
        if left < 1:
            self.too_fast += 1
            return self._come_back(bucket, 5.0)
        self._buckets[bucket] = (now, left - 1)
        return None

    def _come_back(self, bucket: str, seconds: float) -> Refused:
        self._not_before[bucket] = self.scheduler.clock + seconds
        wait = timedelta(seconds=int(seconds) + 1)
        return Refused(Refusal.RATE_LIMITED, "ratelimited", wait)

    def _chance(self) -> Refused | None:
        if self.dice.falls("slack_unavailable"):
            return Refused(Refusal.UNAVAILABLE, "service_unavailable")
        if self.dice.falls("slack_payload_refused"):
            return Refused(Refusal.PAYLOAD, "invalid_blocks")
        return None

    def _target_gone(self, channel: str, ts: str, code: str) -> Refused | None:
        return None if self._at(channel, ts) else Refused(Refusal.TARGET, code)

    # --- what stays ---------------------------------------------------------------------------

    def _commit(self, posted: Posted) -> Sent:
        posted.at = self.scheduler.clock
        posted.ts = f"{START.timestamp() + posted.at:.4f}{len(self.posts) % 100:02d}"
        posted.show(posted.message, posted.at)
        if posted.thread_ts and self._at(posted.channel, posted.thread_ts) is None:
            posted.thread_ts = None  # its root was deleted: Slack puts it into the channel
        self.posts.append(posted)
        return Sent(posted.channel, posted.ts, posted.thread_ts)

    def _at(self, channel: str, ts: str) -> Posted | None:
        """The message, unless it was deleted, also between a request and its late arrival."""
        return next((posted for posted in self.visible(channel) if posted.ts == ts), None)


def link_to(channel: str, ts: str) -> str:
    """The address of a message."""
    return f"https://shop.slack.com/archives/{channel}/p{ts.replace('.', '')}"


@dataclass
class Webhook:
    """An incoming webhook to a channel of the workspace: no thread, no edit, no looking back."""

    slack: Slack
    channel: str
    has_threads = False

    def post(self, _channel: str, message: Message, **more: Any) -> Outcome:
        outcome = self.slack.post(self.channel, message, metadata=more.get("metadata"))
        return Sent(None, None) if isinstance(outcome, Sent) else outcome

    def update(self, _channel: str, _ts: str, _message: Message) -> Outcome:
        return Refused(Refusal.TARGET, "webhook")

    def find(self, _channel: str, _key: str, **_more: Any) -> Found:
        self.slack.unreadable += 1
        return CannotLook("webhook")

    def mark(self, _channel: str, _ts: str, *, on: bool) -> Outcome:
        return Sent(None, None)

    def permalink(self, _channel: str, _ts: str) -> str:
        return ""


def _key_of(metadata: Mapping[str, Any] | None) -> str:
    payload = (metadata or {}).get("event_payload", {})
    return str(payload.get("key", ""))
