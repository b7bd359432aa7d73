"""The watcher examines itself: reads what it is made of, and has it judged by `checkup`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from notifier import checkup
from notifier.checkup import (
    ChannelSeen,
    Finding,
    Identity,
    MappingSeen,
    QueueSeen,
    RuleSeen,
    Unread,
)
from notifier.model import GivenUp, Refused, Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a deployed stack is made of. `rules` and `functions` are names by logical id.

    `channels` are the destinations that are told something; `bot_channels` those of the bot.
    """

    rules: Mapping[str, str]
    queue_url: str
    dlq_urls: tuple[str, ...]
    table_name: str
    channels: tuple[str, ...] = ()
    bot_channels: tuple[str, ...] = ()
    functions: Mapping[str, str] = field(default_factory=dict)


class Deployed(Protocol):
    """What is read of the stack; see `notifier.deployed`."""

    def rule(self, name: str) -> RuleSeen | Unread:
        """A rule and what it sends to."""

    def queue(self, url: str) -> QueueSeen | Unread:
        """A queue, its policy, what waits in it."""

    def mappings(self, queue_arn: str) -> Sequence[MappingSeen] | Unread:
        """Who takes messages from the queue."""

    def concurrency(self, function: str) -> int | Unread | None:
        """How many invocations are reserved for the function."""

    def table(self, name: str) -> str | Unread:
        """The table's status."""


class Slack(Protocol):
    """What is asked of Slack."""

    def identity(self) -> Identity | Refused | Unknown:
        """Whom Slack takes us for."""

    def channel(self, channel: str) -> ChannelSeen | Refused | Unknown:
        """A channel as the bot sees it."""


class Table(Protocol):
    """What is asked of the table."""

    def given_up(self, destination: str) -> Sequence[GivenUp]:
        """What was given up in a channel."""


_Asked = TypeVar("_Asked")
_Seen = TypeVar("_Seen")

NO_TIME = Unread("no time left")
EVERY_MINUTE = "EveryMinute"  # the one rule that does not fill the queue
TICK_FUNCTION = "TickFunction"
EVENTS_FUNCTION = "EventsFunction"


@dataclass(frozen=True, slots=True)
class Examination:
    """One look at all of it. `slack` makes the way to Slack; it is not asked without a bot.

    Once it `is_late` nothing more is read, and all that is left could not be seen.
    """

    parts: Parts
    deployed: Deployed
    slack: Callable[[], Slack]
    store: Table
    is_late: Callable[[], bool] = lambda: False

    def findings(self) -> Iterator[Finding]:
        """Everything that is checked, in the order of the way an event goes."""
        queue = self._read(self.deployed.queue, self.parts.queue_url)
        rules = {
            logical_id: self._read(self.deployed.rule, name)
            for logical_id, name in self.parts.rules.items()
        }
        yield from self._rules(rules)
        yield checkup.events_queue(self.parts.queue_url.rpartition("/")[2], queue)
        yield checkup.queue_policy(queue, self._senders(queue))
        yield from self._functions(queue)
        table = self.parts.table_name
        yield checkup.table(table, self._read(self.deployed.table, table))
        yield from self._dead_letters(queue, rules)
        if self.parts.bot_channels:
            yield from self._slack()
        for channel in self.parts.channels:
            yield checkup.given_up(channel, self._read(self.store.given_up, channel))

    def _read(self, read: Callable[[_Asked], _Seen], asked: _Asked) -> _Seen | Unread:
        return NO_TIME if self.is_late() else read(asked)

    def _rules(self, rules: Mapping[str, RuleSeen | Unread]) -> Iterator[Finding]:
        into_queue = _end_of_arn(self.parts.queue_url)  # whether or not the queue can be read
        ticks = f"function:{self.parts.functions.get(TICK_FUNCTION)}"
        for logical_id, seen in rules.items():
            target = ticks if logical_id == EVERY_MINUTE else into_queue
            yield checkup.rule(logical_id, self.parts.rules[logical_id], seen, target)

    def _senders(self, queue: QueueSeen | Unread) -> list[str]:
        """The ARNs of the rules that fill the queue, whether or not they can be read.

        https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoneventbridge.html#amazoneventbridge-resources-for-iam-policies
        """
        if isinstance(queue, Unread):
            return []
        _, partition, _, region, account, _ = queue.arn.split(":", 5)
        names = [name for key, name in self.parts.rules.items() if key != EVERY_MINUTE]
        return [f"arn:{partition}:events:{region}:{account}:rule/{name}" for name in names]

    def _dead_letters(
        self, events_queue: QueueSeen | Unread, rules: Mapping[str, RuleSeen | Unread]
    ) -> Iterator[Finding]:
        queues = {url: self._read(self.deployed.queue, url) for url in self.parts.dlq_urls}
        for url, queue in queues.items():
            yield checkup.dead_letters(url.rpartition("/")[2], queue)
        into_queue = [seen for key, seen in rules.items() if key != EVERY_MINUTE]
        yield checkup.dead_letter_policy(into_queue, queues.values())
        yield checkup.redrive_policy(events_queue, into_queue, queues.values())

    def _functions(self, queue: QueueSeen | Unread) -> Iterator[Finding]:
        mappings = self._mappings(queue)
        yield checkup.mapping(mappings, self.parts.functions.get(EVENTS_FUNCTION, ""))
        names = list(self.parts.functions.values())
        if not isinstance(mappings, Unread):
            names += [one.function for one in mappings if one.function]
        elif not names:
            yield checkup.unknown_functions(mappings)
        for name in dict.fromkeys(names):
            yield checkup.concurrency(name, self._read(self.deployed.concurrency, name))

    def _mappings(self, queue: QueueSeen | Unread) -> Sequence[MappingSeen] | Unread:
        if isinstance(queue, Unread):
            why = "there is no queue" if queue.is_gone else queue.why
            return Unread(why)  # they may well exist without the queue
        return self._read(self.deployed.mappings, queue.arn)

    def _slack(self) -> Iterator[Finding]:
        slack = self.slack()
        late = Unknown("no_time_left")
        identity = late if self.is_late() else slack.identity()
        yield checkup.token(identity)
        yield from checkup.scopes(identity)
        for channel in self.parts.bot_channels:
            if not isinstance(identity, Identity):
                yield checkup.channel(channel, identity)
            else:
                yield checkup.channel(channel, late if self.is_late() else slack.channel(channel))


def _end_of_arn(queue_url: str) -> str:
    """`ACCOUNT:NAME`, with which the ARN of this queue ends.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-queue-message-identifiers.html
    """
    return ":".join(queue_url.split("/")[-2:])
