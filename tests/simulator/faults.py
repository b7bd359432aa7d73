"""How often what goes wrong. Every figure is a chance per effect, from 0 to 1."""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Faults:
    """The chances of one kind of bad day. What is not named does not happen."""

    # DynamoDB
    table_throttled: float = 0.0
    table_answer_lost: float = 0.0  # of one request; the SDK sends it again, as botocore does
    table_unreachable: float = 0.0  # nothing happened, and the SDK gives up
    table_given_up: float = 0.0  # it happened, and every answer was lost
    table_conflict: float = 0.0
    table_slow: float = 0.0
    index_lag: float = 0.1  # seconds that the index is behind, on average

    # Slack: what is certain …
    slack_limited: float = 0.0
    slack_unavailable: float = 0.0
    slack_payload_refused: float = 0.0
    # … and what is not
    slack_lost: float = 0.0  # never arrived, answer unknown
    slack_answer_lost: float = 0.0  # arrived, answer unknown
    slack_late: float = 0.0  # arrives within 30 s, answer unknown
    slack_very_late: float = 0.0  # arrives within 10 min, answer unknown

    # ECS
    ecs_throttled: float = 0.0
    ecs_slow: float = 0.0
    ecs_stale: float = 0.0

    # EventBridge, SQS, Lambda
    event_twice: float = 0.0
    event_delayed: float = 0.0
    event_lost: float = 0.0
    message_twice: float = 0.0
    killed: float = 0.0
    stalled: float = 0.0

    @property
    def ends_turns(self) -> bool:
        """Whether a turn may end in the middle, again and again, so that it is given up."""
        table = self.table_given_up + self.table_unreachable + self.table_throttled
        return bool(table + self.killed + self.stalled)


CALM = Faults()


@dataclass
class Dice:
    """Faults as they fall. After `until` seconds nothing goes wrong any more."""

    faults: Faults
    rng: Random
    on: bool = True

    def falls(self, name: str) -> bool:
        """Whether the fault of this name happens now."""
        chance: float = getattr(self.faults, name)
        return self.on and chance > 0 and self.rng.random() < chance

    def latency(self, typical: float) -> float:
        """Seconds: mostly near `typical`, sometimes a tenth or ten times of it."""
        return float(typical * 10 ** self.rng.uniform(-1.0, 1.0))
