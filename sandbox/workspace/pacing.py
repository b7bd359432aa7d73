"""Slack's rate limits: how many calls of a kind it takes, and how long it then asks to wait.

https://docs.slack.dev/apis/web-api/rate-limits
"""

import math
from dataclasses import dataclass, field

POSTING = ("chat.postMessage", "webhook")
TIER_3 = (
    "chat.update",
    "conversations.history",
    "conversations.info",
    "conversations.replies",
    "reactions.add",
    "reactions.remove",
)


@dataclass(frozen=True)
class Limits:
    """One post a second and channel, after a short burst; each Tier 3 method 50 times a minute."""

    posts_per_second: float = 1.0
    post_burst: int = 3
    tier_3_per_minute: float = 50.0
    tier_3_burst: int = 50


@dataclass
class Bucket:
    """What is left of an allowance, refilled as time passes."""

    left: float
    at: float


@dataclass
class Pacer:
    """Counts the calls. Without `limits` nothing is ever too many."""

    limits: Limits | None = field(default_factory=Limits)
    buckets: dict[tuple[str, str], Bucket] = field(default_factory=dict)

    def wait(self, method: str, token: str, channel: str, now: float) -> int:
        """The seconds of `Retry-After`; 0 when the call may go on, which it then counts."""
        if self.limits is None:
            return 0
        if method in POSTING:  # whatever the method, one message a second per channel
            rate, burst = self.limits.posts_per_second, self.limits.post_burst
            return self._take(("post", channel), rate, burst, now)
        if method in TIER_3:
            rate, burst = self.limits.tier_3_per_minute / 60, self.limits.tier_3_burst
            return self._take((method, token), rate, burst, now)
        return 0

    def _take(self, key: tuple[str, str], rate: float, burst: int, now: float) -> int:
        bucket = self.buckets.setdefault(key, Bucket(burst, now))
        gained = max(0.0, now - bucket.at) * rate
        bucket.left, bucket.at = min(float(burst), bucket.left + gained), now
        if bucket.left < 1:
            return max(1, math.ceil((1 - bucket.left) / rate))
        bucket.left -= 1
        return 0
