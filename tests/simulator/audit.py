"""Watches the write protocol while a history runs: whether each write was its writer's to make.

What a broken rule leads to may be rare, or look like bad luck; that it was broken is seen at once.
"""

from dataclasses import dataclass, field

from tests.simulator.dynamodb import Key, Table
from tests.simulator.expressions import Item
from tests.simulator.scheduler import Scheduler

LEASE = 60.0  # seconds; who stands still for longer between its lease and Slack posts too late
OF_THE_HOLDER = {"tries", "retry_at", "attempt"}


@dataclass
class Audit:
    """Hears of every write to the table and of every post, and keeps what was against the rules."""

    table: Table
    scheduler: Scheduler
    found: list[tuple[str, str]] = field(default_factory=list)
    _leased_at: dict[str, float] = field(default_factory=dict)

    def changed(self, key: Key, before: Item | None, after: Item | None) -> None:
        """An item is about to be written, or deleted."""
        pk, sk = key
        was, now = before or {}, after or {}
        names = {name for name in {*was, *now} if was.get(name) != now.get(name)}
        if pk.startswith("cluster#") and sk == "head" and "version" in names:
            self._save(was, now)
        if pk.startswith("channel#") and sk == "head" and "held_until" in names:
            self._leased_at[self.scheduler.current] = self.scheduler.clock
        for destination in _told_where(key, names, gone=after is None):
            self._record(destination, f"{sk} {sorted(names - {'pk', 'sk'})}")

    def arrived(self, channel: str) -> None:
        """A post is about to be seen in a channel. Nobody can help one that is very late."""
        leased_at = self._leased_at.get(self.scheduler.current, self.scheduler.clock)
        if self.scheduler.clock - leased_at > LEASE:
            return
        rows = (*self.table.rows(f"channel#{channel}"), *self.table.rows("cluster#"))
        if not any("attempt" in row for row in rows):
            self._note("every post was noted before", f"a post in {channel} without an attempt")

    def _save(self, was: Item, now: Item) -> None:
        """A save is based on the one before it."""
        versions = [int(item["version"]["N"]) if "version" in item else 0 for item in (was, now)]
        if versions[1] != versions[0] + 1:
            self._note("saves follow each other", f"version {versions[0]} → {versions[1]}")

    def _record(self, destination: str, what: str) -> None:
        """What was told is written by whoever holds the channel: nobody took it since."""
        head = self.table.get({"Key": {"pk": {"S": f"channel#{destination}"}, "sk": {"S": "head"}}})
        holder = head["Item"].get("owner", {}).get("S", "") if "Item" in head else ""
        if holder != self.scheduler.current:
            self._note("only the holder records", f"{what} while {holder or 'nobody'} holds it")

    def _note(self, rule: str, how: str) -> None:
        self.scheduler.note(f"AGAINST THE RULES: {rule}: {how}")
        who = self.scheduler.current
        self.found.append((rule, f"{who} at {self.scheduler.clock:.1f} s: {how}"))


def _told_where(key: Key, names: set[str], *, gone: bool) -> set[str]:
    """The destinations of which this write changes what only the channel's holder may."""
    pk, sk = key
    told = {name.removeprefix("told#") for name in names if name.startswith("told#")}
    if sk.startswith("owes#") and (gone or names & OF_THE_HOLDER):
        told.add(pk.removeprefix("channel#"))
    if sk.startswith("thread#"):
        told.add(sk.split("#")[1])
    return told
