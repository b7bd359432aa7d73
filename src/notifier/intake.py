"""Step one: carry each event of the queue into the table.

parse → load → decide → save → acknowledge. It reads no ECS and posts nothing, so that a storm goes
through at the table's speed. What cannot be read or stored stays in the queue and ends in its DLQ.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from notifier import incidents
from notifier.actors import NOBODY, People, shipment
from notifier.errors import Conflict, MalformedEvent, StoreUnavailable, WatchError
from notifier.events import parse
from notifier.incidents import Decision, Policy
from notifier.model import (
    ApiCall,
    Heard,
    Heartbeat,
    Invocation,
    NotOurs,
    Observation,
    Observed,
    Route,
    Shipped,
)
from notifier.saving import Table, key_of, route_of, save_decision
from notifier.settings import StandaloneTasks
from notifier.standalone import why_left_out
from notifier.thresholds import SHIPPED, Thresholds

logger = logging.getLogger(__name__)

NEEDED_FOR_A_SAVE = timedelta(seconds=20)  # of the function's time: a table that hangs takes 17 s
BEATS_EVERY = timedelta(minutes=15)  # an older one says nothing of the way as it is now
SERVICES_AT_ONCE = 40  # rows of one transaction: DynamoDB takes 100 items, and 4 MB


@dataclass(frozen=True, slots=True)
class Record:
    """A message of the queue: its id, for the partial batch response, and what it carries."""

    message_id: str
    observed: Observed


@dataclass(frozen=True, slots=True)
class TakenIn:
    """What became of a batch: messages to hand back to the queue, and channels that are owed.

    `heartbeats` are the accounts and regions whose sign of life has come as far as the table, in
    time.
    """

    failed: tuple[str, ...]
    destinations: frozenset[str]
    heartbeats: frozenset[tuple[str, str]] = frozenset()


class Store(Table, Protocol):
    """What the intake needs of the table."""

    def hear(self, heartbeat: Heard) -> None:
        """Remember that a heartbeat has come the whole way."""


@dataclass(frozen=True, slots=True)
class Intake:
    """Takes batches of queue messages in. `stack_name` tells our own resources apart."""

    store: Store
    routes: tuple[Route, ...]
    stack_name: str
    people: People = NOBODY
    thresholds: Thresholds = SHIPPED
    standalone_tasks: StandaloneTasks = StandaloneTasks.SCHEDULED

    def take_in(self, messages: Sequence[Mapping[str, object]], run: Invocation) -> TakenIn:
        """Save what the messages tell. A message that cannot be saved is among the failed ones."""
        failed: list[str] = []
        destinations: set[str] = set()
        heartbeats: set[tuple[str, str]] = set()
        records = list(self._read(messages, run.now(), failed, heartbeats))
        for chunk in _chunks(records):
            if run.remaining() < NEEDED_FOR_A_SAVE:
                failed += [record.message_id for record in chunk]
                continue
            self._take_in_chunk(chunk, run, failed, destinations)
        return TakenIn(tuple(failed), frozenset(destinations), frozenset(heartbeats))

    def _read(
        self,
        messages: Iterable[Mapping[str, object]],
        now: datetime,
        failed: list[str],
        heartbeats: set[tuple[str, str]],
    ) -> Iterator[Record]:
        for message in messages:
            message_id = str(message.get("messageId", ""))
            try:
                event = parse(str(message.get("body", "")), stack_name=self.stack_name)
            except MalformedEvent as error:
                logger.error("malformed event", extra={"message_id": message_id, "why": str(error)})
                failed.append(message_id)
                continue
            if isinstance(event, Heartbeat):
                if not self._hear(event):
                    failed.append(message_id)
                elif now - event.sent_at < BEATS_EVERY:
                    heartbeats.add((event.account, event.region))
            elif isinstance(event, NotOurs):
                logger.info("not ours", extra={"message_id": message_id, "why": event.why})
            elif why := why_left_out(event, self.standalone_tasks):
                logger.info("left out", extra={"message_id": message_id, "why": why})
            else:
                yield Record(
                    message_id, Observed(event=event, received_at=_sent_at(message) or now)
                )

    def _hear(self, heartbeat: Heartbeat) -> bool:
        """Remember it; False when the table could not be written."""
        about = {"account": heartbeat.account, "region": heartbeat.region}
        try:
            self.store.hear(Heard(**about, at=heartbeat.sent_at))
        except WatchError as error:
            logger.warning("heartbeat not taken in", extra={**about, "why": str(error)})
            return False
        return True

    def _take_in_chunk(
        self,
        chunk: Sequence[Record],
        run: Invocation,
        failed: list[str],
        destinations: set[str],
    ) -> None:
        try:
            destinations.update(self._save(chunk, run))
        except (Conflict, StoreUnavailable) as error:
            # The table is busy; forty saves instead of one would not help it.
            logger.warning("not taken in", extra={"why": str(error), "messages": len(chunk)})
            failed += [record.message_id for record in chunk]
        except Exception:
            # One bad record must not take its neighbours with it: each is tried by itself.
            if len(chunk) > 1:
                for record in chunk:
                    self._take_in_chunk([record], run, failed, destinations)
                return
            logger.exception("not taken in", extra={"message_id": chunk[0].message_id})
            failed.append(chunk[0].message_id)

    def _save(self, chunk: Sequence[Record], run: Invocation) -> Iterable[str]:
        empty = incidents.cluster_of(chunk[0].observed.event)
        route = route_of(empty.key, self.routes)
        policy = Policy(route=route, thresholds=self.thresholds)
        observed = [self._observation(record.observed) for record in chunk]
        decision, owed = save_decision(self.store, empty, observed, run, policy)
        _log(chunk, observed, decision)
        return [to for to, due_at in owed.items() if due_at <= run.now()]

    def _observation(self, observed: Observed) -> Observation:
        """A call that began a deployment tells who it was; every other event is what it is."""
        event = observed.event
        if isinstance(event, ApiCall) and event.service:
            made = shipment(event, self.people.session_names, self.people.slack_ids)
            return Shipped(service=event.service, shipment=made) if made else observed
        return observed


def _sent_at(message: Mapping[str, object]) -> datetime | None:
    """When the queue took the message. SQS gives milliseconds since the epoch, as text.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
    """
    attributes = message.get("attributes")
    stamp = attributes.get("SentTimestamp") if isinstance(attributes, Mapping) else None
    return datetime.fromtimestamp(int(stamp) / 1000, UTC) if stamp else None


def _chunks(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """Records of one cluster together, in the order they came, at most so many services a chunk."""
    by_cluster: dict[str, list[Record]] = {}
    for record in records:
        by_cluster.setdefault(incidents.cluster_of(record.observed.event).key, []).append(record)
    for of_cluster in by_cluster.values():
        for start in range(0, len(of_cluster), SERVICES_AT_ONCE):
            yield of_cluster[start : start + SERVICES_AT_ONCE]


def _log(chunk: Sequence[Record], observations: Sequence[Observation], decision: Decision) -> None:
    """Why was I (not) told? One line for each observation."""
    for record, observation, reason in zip(chunk, observations, decision.reasons, strict=True):
        event = record.observed.event
        logger.info(
            "decided",
            extra={
                "message_id": record.message_id,
                "cluster": decision.cluster.key,
                "service": key_of(observation),
                "event": event.name,
                "reason": str(reason),
            },
        )
