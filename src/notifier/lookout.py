"""Step two, every minute: find what is due, whatever the events said, and see to it.

What is owed and was not told (Slack was slow, the channel was held, a function died) is found by
the sparse index on `due_at`, never by a scan; with nothing due a tick costs one query.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from notifier.model import Invocation

BUDGET = timedelta(seconds=50)  # a tick ends before the next one begins


class Store(Protocol):
    """What the lookout needs of the table."""

    def destinations_due(self, now: datetime) -> Sequence[str]:
        """The channels that are owed something by now."""


class Teller(Protocol):
    """Whoever tells a channel what it is owed."""

    def tell(self, destination: str, run: Invocation, until: datetime) -> None:
        """Tell until nothing is due, the channel is held by another, or the time has come."""


@dataclass(frozen=True, slots=True)
class Lookout:
    """The tick."""

    store: Store
    teller: Teller

    def tick(self, run: Invocation) -> Sequence[str]:
        """See to all that is due now; returns the channels that were due."""
        now = run.now()
        due = self.store.destinations_due(now)
        for destination in due:
            self.teller.tell(destination, run, now + BUDGET)
        return due
