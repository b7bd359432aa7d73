"""The program with one rule of its protocol switched off, to show that the checker would see it.

Each mutant names the scenario in which its fault shows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

from notifier import intake, teller
from notifier.intake import TakenIn
from notifier.model import Attempt, Invocation, Outcome, Owed, Sent
from notifier.store import Store
from tests.simulator.checker import violations
from tests.simulator.history import History
from tests.simulator.scenarios import SCENARIOS


class EverybodyHolds(Store):
    """The channel's lease is given to whoever asks."""

    def hold(self, destination: str, owner: str, *, now: datetime, until: datetime) -> bool:
        return True

    def _record(self, destination: str, owner: str, now: datetime, writes: Sequence[Any]) -> None:
        self._transact(writes)

    def release(self, destination: str, owner: str, *, now: datetime) -> None:
        return


class LateHolderRecords(Store):
    """A record does not ask whether the channel has another holder by now."""

    def _record(self, destination: str, owner: str, now: datetime, writes: Sequence[Any]) -> None:
        self._transact(writes)


class PostsWithoutAttempt(Store):
    """What is about to be posted is not written down first."""

    def note_attempt(self, owed: Owed, attempt: Attempt, *, owner: str, now: datetime) -> None:
        return


class LastSaveWins(Store):
    """A save does not ask whether somebody else saved since it loaded."""

    def _head_write(self, *args: Any) -> dict[str, Any]:
        write = super()._head_write(*args)
        update = write["Update"]
        update.pop("ConditionExpression", None)
        update["ExpressionAttributeNames"].pop("#pk", None)
        update["ExpressionAttributeValues"].pop(":was", None)
        return write


class ForgetsWhatItOwes(Store):
    """A save leaves out the row by which the channel's holder finds what to tell."""

    def save(self, *args: Any, owed: Sequence[str], **more: Any) -> None:
        super().save(*args, owed=(), **more)


class SettlesWhateverCame(Store):
    """What is owed is deleted although a save has renewed it meanwhile."""

    def settle(self, owed: Owed, *, owner: str, now: datetime) -> None:
        for row in self.owed(owed.destination):
            if row.cluster_key == owed.cluster_key:
                super().settle(replace(owed, nonce=row.nonce), owner=owner, now=now)


class ForgetsToWait(Store):
    """Slack's Retry-After is not written down."""

    def wait_until(self, destination: str, until: datetime, *, owner: str, now: datetime) -> None:
        return


@contextmanager
def _takes_every_outcome_for_sent() -> Iterator[None]:
    """What was refused or lost is recorded as told."""
    settle = teller._Turn.settle_outcome

    def believe(turn: Any, owed: Any, told: Any, message: Any, _outcome: Outcome) -> None:
        settle(turn, owed, told, message, Sent(None, None))

    with patch.object(teller._Turn, "settle_outcome", believe):
        yield


@contextmanager
def _acknowledges_everything() -> Iterator[None]:
    """A message that could not be saved is deleted from the queue all the same."""
    take_in = intake.Intake.take_in

    def careless(
        self: intake.Intake, messages: Sequence[Mapping[str, object]], run: Invocation
    ) -> TakenIn:
        return replace(take_in(self, messages, run), failed=())

    with patch.object(intake.Intake, "take_in", careless):
        yield


@contextmanager
def _posts_without_pause() -> Iterator[None]:
    """One message after another, as fast as Slack answers."""
    with patch.object(teller, "BETWEEN_POSTS", timedelta(seconds=-10)):
        yield


@dataclass(frozen=True)
class Mutant:
    """One rule switched off, and the scenario that shows it."""

    scenario: str
    store: type[Store] = Store
    broken: Callable[[], AbstractContextManager[None]] = nullcontext


MUTANTS = {
    "without the lease": Mutant("bursts", EverybodyHolds),
    "without the fence": Mutant("stalled-bursts", LateHolderRecords),
    "without the attempt": Mutant("calm", PostsWithoutAttempt),
    "without the head's version": Mutant("bursts", LastSaveWins),
    "a save without what it owes": Mutant("calm", ForgetsWhatItOwes),
    "without the nonce": Mutant("bursts", SettlesWhateverCame),
    "without Retry-After": Mutant("limited", ForgetsToWait),
    "every outcome is sent": Mutant("never-arrived", broken=_takes_every_outcome_for_sent),
    "every message is acknowledged": Mutant("table-gone", broken=_acknowledges_everything),
    "without pace": Mutant("outage", broken=_posts_without_pause),
}


def caught(mutant: Mutant, seeds: range) -> Iterator[int]:
    """The seeds in which the checker sees what the mutant breaks."""
    scenario = SCENARIOS[mutant.scenario]
    with mutant.broken():
        for seed in seeds:
            if violations(History(scenario, seed, store=mutant.store).run()):
                yield seed
