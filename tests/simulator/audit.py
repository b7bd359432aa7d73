"""Watches the write protocol while a history runs: whether each write was its writer's to make.

What a broken rule leads to may be rare, or look like bad luck; that it was broken is seen at once.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from notifier.model import Attempt, StepKind
from notifier.store.dynamodb import plain
from notifier.store.rows import from_json
from tests.simulator.dynamodb import Key, Table
from tests.simulator.expressions import Item
from tests.simulator.scheduler import Scheduler
from tests.simulator.slack import Told

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

    def arrived(self, channel: str, post_key: str) -> Told | None:
        """A post is about to be seen in a channel: what it tells. Its attempt was noted before.

        Nobody can help a post of one that stood still, so that another told the same meanwhile.
        """
        for row in (*self.table.rows(f"channel#{channel}"), *self.table.rows("channel#webhook")):
            attempt = plain(row).get("attempt")
            if attempt and (noted := from_json(Attempt, attempt)).key == post_key:
                return self._told(plain(row), noted)
        leased_at = self._leased_at.get(self.scheduler.current, self.scheduler.clock)
        if self.scheduler.clock - leased_at <= LEASE:
            self._note("every post was noted before", f"a post in {channel} without an attempt")
        return None

    def _told(self, owed: dict[str, Any], attempt: Attempt) -> Told:
        cluster, step = owed["sk"].removeprefix("owes#").partition("#")[0], attempt.step
        route = owed.get("instead_of") or owed["pk"].removeprefix("channel#")
        told_before = {
            key: self._value(f"cluster#{cluster}", f"service#{key}", f"told#{route}")
            for key in step.tells
        }
        generation = self._generation(cluster)
        threads = f"thread#{route}#{generation:08}#"
        rows = self.table.rows(f"cluster#{cluster}")
        roots = sum(row["sk"]["S"].startswith(threads) for row in rows)
        return Told(
            kind=str(step.kind),
            cluster=cluster,
            route=route,
            generation=generation,
            number=roots + 1 if step.kind is StepKind.ROOT else roots,
            shows=step.shows,
            spans={key: (told_before[key], revision) for key, revision in step.tells.items()},
        )

    def _generation(self, cluster: str) -> int:
        head = self.table.get({"Key": {"pk": {"S": f"cluster#{cluster}"}, "sk": {"S": "head"}}})
        body = plain(head["Item"])["body"] if "Item" in head else "{}"
        return int(json.loads(body).get("generation", 0))

    def _value(self, pk: str, sk: str, name: str) -> int:
        row = self.table.get({"Key": {"pk": {"S": pk}, "sk": {"S": sk}}})
        return int(row["Item"].get(name, {}).get("N", 0)) if "Item" in row else 0

    def _save(self, was: Item, now: Item) -> None:
        """A save is based on the one before it."""
        versions = [int(item["version"]["N"]) if "version" in item else 0 for item in (was, now)]
        if versions[1] != versions[0] + 1:
            self._note("saves follow each other", f"version {versions[0]} → {versions[1]}")

    def _record(self, destination: str, what: str) -> None:
        """What was told is written by whoever holds the channel: nobody took it since.

        What a channel refuses is told in another, by the holder of that one.
        """
        heads = [row for row in self.table.rows("channel#") if row["sk"]["S"] == "head"]
        holders = {head.get("owner", {}).get("S", "") for head in heads}
        if self.scheduler.current not in holders:
            who = ", ".join(sorted(holders)) or "nobody"
            self._note("only the holder records", f"{what} of {destination} while {who} holds it")

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
