"""Every effect of a history, and a crash at each: before it, after it, or its answer lost."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from random import Random

from tests.simulator.faults import Dice
from tests.simulator.history import History, Scenario


def with_a_kill_at_each_effect(scenario: Scenario, seed: int, every: int = 1) -> Iterator[History]:
    """The history once for each of its effects, with its function killed before or after it.

    With `every`, only for each so-manieth of them.
    """
    effects = History(scenario, seed).run().scheduler.effects
    for effect in range(1, effects + 1, every):
        for after in (False, True):
            yield History(scenario, seed, kill=_KillAt(effect, after)).run()


def with_each_answer_lost(scenario: Scenario, seed: int, every: int = 1) -> Iterator[History]:
    """The history once for each call of the table and of Slack, of which the answer is lost."""
    for call in range(0, _calls(scenario, seed), every):
        losing = partial(_LoseAnswer, scenario, call)
        yield History(scenario, seed, given_dice=losing).run()


@dataclass
class _KillAt:
    """Kills the function that is at this effect."""

    effect: int
    after: bool

    def __call__(self, effect: int, after: bool) -> bool:
        return effect == self.effect and after is self.after


class _LoseAnswer(Dice):
    """Loses the answer of the n-th call, counted from 0, beside the scenario's own faults."""

    def __init__(self, scenario: Scenario, call: int, rng: Random) -> None:
        super().__init__(scenario.faults, rng)
        self.call = call
        self.calls = 0

    def falls(self, name: str) -> bool:
        if name not in ("table_given_up", "slack_answer_lost"):
            return super().falls(name)
        self.calls += 1
        return self.calls - 1 == self.call


def _calls(scenario: Scenario, seed: int) -> int:
    """How many calls the history makes when no answer is lost."""
    dice: list[_LoseAnswer] = []

    def counting(rng: Random) -> Dice:
        dice.append(_LoseAnswer(scenario, -1, rng))
        return dice[0]

    History(scenario, seed, given_dice=counting).run()
    return dice[0].calls
