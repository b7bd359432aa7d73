"""SQS's standard queue with its dead-letter queue, and Lambda's poller of it.

At least once, in no order: a message may be handed out twice, at the same time too.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/standard-queues.html
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.simulator.faults import Dice
from tests.simulator.scheduler import DAY, START, Process, Scheduler

# As template.yaml sets them.
VISIBILITY_TIMEOUT = 360.0
MAX_RECEIVE_COUNT = 10
BATCH_SIZE = 500
BATCHING_WINDOW = 1.0
CONCURRENCY = 5
RETENTION = 14 * DAY
FUNCTION_TIMEOUT = 60.0


@dataclass
class Message:
    """A message, and when it may be handed out (again). Times are seconds of the history."""

    id: str
    body: str
    sent_at: float
    visible_at: float
    receives: int = 0
    acknowledged_at: float = 0.0

    def record(self) -> dict[str, Any]:
        """As the function gets it."""
        sent_at = int((START.timestamp() + self.sent_at) * 1000)
        attributes = {
            "SentTimestamp": str(sent_at),
            "ApproximateReceiveCount": str(self.receives),
        }
        return {"messageId": self.id, "body": self.body, "attributes": attributes}


@dataclass
class Queue:
    """The queue and its poller. `invoke` starts the function with a batch and says how it ended."""

    scheduler: Scheduler
    dice: Dice
    invoke: Callable[[list[Message], Callable[[Any], None]], Process]
    concurrency: int = CONCURRENCY
    batch_size: int = BATCH_SIZE
    waiting: dict[str, Message] = field(default_factory=dict)
    acknowledged: list[Message] = field(default_factory=list)
    dead: list[Message] = field(default_factory=list)
    expired: list[Message] = field(default_factory=list)
    sent: int = 0
    busy: int = 0
    _poll_at: float | None = None

    def send(self, body: str) -> Message:
        """Put a message in."""
        self.sent += 1
        now = self.scheduler.clock
        message = Message(f"m{self.sent}", body, now, now)
        self.waiting[message.id] = message
        self._poll_in(self.dice.rng.uniform(0.01, BATCHING_WINDOW))
        return message

    def _poll_in(self, seconds: float) -> None:
        at = self.scheduler.clock + seconds
        if self._poll_at is None or at < self._poll_at:
            self._poll_at = at
            self.scheduler.after(seconds, self._poll)

    def _poll(self) -> None:
        """Hand out what is visible, as long as another function may run."""
        if self._poll_at is None or self._poll_at > self.scheduler.clock:
            return  # another poll was due before this one
        self._poll_at = None
        while self.busy < self.concurrency and (batch := self._batch()):
            self._hand_out(batch)
        if self.waiting and self.busy < self.concurrency:
            soonest = min(message.visible_at for message in self.waiting.values())
            self._poll_in(max(soonest - self.scheduler.clock, 0.01))

    def _batch(self) -> list[Message]:
        """What one of Lambda's pollers gets: a part of what is visible, in no order."""
        now = self.scheduler.clock
        self._age(now)
        visible = [message for message in self.waiting.values() if message.visible_at <= now]
        self.dice.rng.shuffle(visible)
        share = min(self.dice.rng.randint(1, len(visible)), self.batch_size) if visible else 0
        batch = [message for message in visible[:share] if self._receive(message)]
        return batch or (self._batch() if visible else [])

    def _age(self, now: float) -> None:
        for message in [m for m in self.waiting.values() if m.sent_at + RETENTION <= now]:
            self.expired.append(self.waiting.pop(message.id))

    def _receive(self, message: Message) -> bool:
        """Count the receive; what was received too often goes to the dead-letter queue."""
        message.receives += 1
        if message.receives > MAX_RECEIVE_COUNT:
            self.dead.append(self.waiting.pop(message.id))
            return False
        twice = self.dice.falls("message_twice")
        hidden = self.dice.rng.uniform(0.0, 3.0) if twice else VISIBILITY_TIMEOUT
        message.visible_at = self.scheduler.clock + hidden
        return True

    def _hand_out(self, batch: list[Message]) -> None:
        self.busy += 1
        self.invoke(batch, lambda response: self._answered(batch, response))

    def _answered(self, batch: list[Message], response: Any) -> None:
        """Delete what was taken in. Without a proper answer the whole batch comes back.

        https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
        """
        self.busy -= 1
        for message in batch:
            if response is None or message.id in _failed(response):
                continue
            if self.dice.falls("message_twice"):  # at least once: a deleted message may return
                message.visible_at = self.scheduler.clock + self.dice.rng.uniform(0.0, 60.0)
            elif self.waiting.pop(message.id, None):
                message.acknowledged_at = self.scheduler.clock
                self.acknowledged.append(message)
        self._poll_in(0.01)


def _failed(response: Mapping[str, Any]) -> set[str]:
    return {failure["itemIdentifier"] for failure in response["batchItemFailures"]}
