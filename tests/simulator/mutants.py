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
from notifier.model import Attempt, ClusterState, Invocation, Owed, Sent
from notifier.store import Store
from tests.simulator.checker import violations
from tests.simulator.history import History
from tests.simulator.scenarios import SCENARIOS


class EverybodyHolds(Store):
    """The channel's lease is given to whoever asks."""

    def hold(self, *_: Any, **__: Any) -> bool:
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


class ReadsTheHeadLast(Store):
    """The services are read first: what is saved in between is mixed with what was before."""

    def load(
        self, cluster_key: str, services: Sequence[str] | None = None, destination: str = ""
    ) -> ClusterState | None:
        early = super().load(cluster_key, services, destination)
        late = super().load(cluster_key, (), destination)
        return replace(late, services=early.services) if early and late else early


class ForgetsWhatItOwes(Store):
    """A save leaves out the row by which the channel's holder finds what to tell."""

    def save(self, *args: Any, owed: Mapping[str, datetime], **more: Any) -> None:
        super().save(*args, owed={}, **more)


class KeepsTheNonce(Store):
    """A save does not renew the nonce of what is owed already."""

    def _owed_write(self, *args: Any, **more: Any) -> Any:
        write = super()._owed_write(*args, **more)
        update = write["Update"]
        set_it, first = "#nonce = :nonce", "#nonce = if_not_exists(#nonce, :nonce)"
        update["UpdateExpression"] = update["UpdateExpression"].replace(set_it, first)
        return write


class SettlesWhateverCame(Store):
    """What is owed is deleted although a save has renewed it meanwhile."""

    def settle(self, owed: Owed, *, owner: str, now: datetime) -> None:
        for row in self.owed(owed.destination):
            if row.cluster_key == owed.cluster_key:
                super().settle(replace(owed, nonce=row.nonce), owner=owner, now=now)


class ForgetsTheAttempt(Store):
    """A turn that ends leaves no trace of a post whose outcome is unknown."""

    def end_try(
        self, owed: Owed, due_at: datetime, *, owner: str, now: datetime, is_planned: bool = False
    ) -> None:
        self.record(owed, {}, None, owner=owner, now=now)
        super().end_try(owed, due_at, owner=owner, now=now, is_planned=is_planned)


class CountsNoTries(Store):
    """A turn begins without a trace, and comes again at once when it kills the function."""

    def begin_try(self, owed: Owed, retry_at: datetime, *, owner: str, now: datetime) -> None:
        return


class ForgetsToWait(Store):
    """Slack's Retry-After is not written down."""

    def wait_until(self, *_: Any, **__: Any) -> None:
        return

    def not_before(self, destination: str) -> Mapping[str, datetime]:
        return {}


class TakesEveryEdit(Store):
    """The workspace's edits are not counted."""

    def take_edit(self, now: datetime) -> bool:
        return True


def _with(target: Any, **changes: Any) -> Callable[[], AbstractContextManager[None]]:
    """The program with these names of a module or class replaced."""

    @contextmanager
    def patched() -> Iterator[None]:
        with patch.multiple(target, **changes):
            yield

    return patched


def _careless(self: intake.Intake, messages: Any, run: Invocation) -> TakenIn:
    return replace(_take_in(self, messages, run), failed=())


_take_in = intake.Intake.take_in


def _takes_every_outcome_for_sent() -> AbstractContextManager[None]:
    """What was refused or lost is recorded as told."""
    attempt = teller._Turn.attempt

    def believe(self: Any, *args: Any, **more: Any) -> Sent:
        outcome = attempt(self, *args, **more)
        return outcome if isinstance(outcome, Sent) else Sent("C0SHOP", "1.0")

    return _with(teller._Turn, attempt=believe)()


def _reads_the_nonce_last() -> AbstractContextManager[None]:
    """What is owed is settled with a nonce that is newer than what was read."""

    def load(self: Any) -> Any:
        cluster = self.store.load(self.owed.cluster_key)
        if cluster is None:
            return None, None
        thread = self.store.thread(cluster.key, self.owed.route, cluster.generation)
        self.owed = replace(self.owed, nonce=self.store.nonce(self.owed))
        return cluster, thread

    return _with(teller._Turn, load=load)()


def _ends_with_an_exception() -> AbstractContextManager[None]:
    """An exception of one cluster's turn ends the whole holding."""

    def turn(self: Any, owed: Owed) -> None:
        self.hold()
        self.store.begin_try(owed, self.run.now() + timedelta(seconds=30), **self.mine)
        mine = teller._Turn(self, owed)
        try:
            mine.tell()
            self.store.settle(mine.owed, **self.mine)
        except teller._EndTurn as end:
            self.store.end_try(mine.owed, end.retry_at, **self.mine)
            if isinstance(end, teller._EndChannel):
                raise
        except teller._Moved:
            self.has_moved = True

    return _with(teller._Holding, turn=turn)()


@dataclass(frozen=True)
class Mutant:
    """One rule switched off, and the scenario that shows it."""

    scenario: str
    store: type[Store] = Store
    broken: Callable[[], AbstractContextManager[None]] = nullcontext


_AT_ONCE = timedelta(0)

MUTANTS = {
    # the write protocol
    "without the lease": Mutant("bursts", EverybodyHolds),
    "without the fence": Mutant("stalled-bursts", LateHolderRecords),
    "without the head's version": Mutant("bursts", LastSaveWins),
    "the head is read last": Mutant("bursts", ReadsTheHeadLast),
    "a save without what it owes": Mutant("calm", ForgetsWhatItOwes),
    "a save keeps the nonce": Mutant("slow-bursts", KeepsTheNonce),
    "settled whatever the nonce": Mutant("slow-bursts", SettlesWhateverCame),
    "the nonce is read last": Mutant("slow-bursts", broken=_reads_the_nonce_last),
    "every message is acknowledged": Mutant(
        "table-gone", broken=_with(intake.Intake, take_in=_careless)
    ),
    # the attempt
    "without the attempt": Mutant("calm", PostsWithoutAttempt),
    "the attempt is forgotten": Mutant("answer-lost", ForgetsTheAttempt),
    "without looking back": Mutant("answer-lost", broken=_with(teller._Turn, find=lambda *_: None)),
    "looked for at once": Mutant("late", broken=_with(teller, AFTER_UNKNOWN=_AT_ONCE)),
    "every outcome is sent": Mutant("never-arrived", broken=_takes_every_outcome_for_sent),
    # the tries
    "without tries": Mutant("bad-thread-kills", CountsNoTries),
    "tried for ever": Mutant("bad-thread-raises", broken=_with(teller, TRIES=10**9)),
    "an exception ends the holding": Mutant("bad-thread-raises", broken=_ends_with_an_exception),
    # the pace
    "without Retry-After": Mutant("limited", ForgetsToWait),
    "without pace": Mutant(
        "many-clusters", broken=_with(teller, BETWEEN_POSTS=timedelta(seconds=-10))
    ),
    "edits are not counted": Mutant("busy-clusters", TakesEveryEdit),
}


def caught(mutant: Mutant, seeds: range) -> Iterator[int]:
    """The seeds in which the checker sees what the mutant breaks."""
    scenario = SCENARIOS[mutant.scenario]
    with mutant.broken():
        for seed in seeds:
            if violations(History(scenario, seed, store=mutant.store).run()):
                yield seed
