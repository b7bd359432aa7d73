"""Read what explains the failures that are about to be told: each once, and what runs of the rest.

What is read becomes observations, which are saved before anything is told.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from notifier.actors import NOBODY, People, shipment
from notifier.errors import MalformedEvent
from notifier.events import as_envelope, parse
from notifier.explanation import asked, explanation, is_wanted
from notifier.facts import Asked, Explanation, Facts, LogTail, Missing, Shipment
from notifier.model import ApiCall, Observation, ServiceReading, ServiceState, Shipped


class Callers(Protocol):
    """The records of the calls that began deployments, by service, newest first."""

    @property
    def records(self) -> Mapping[str, Sequence[Mapping[str, object]]]:
        """As CloudTrail writes them."""

    @property
    def missing(self) -> Sequence[Missing]:
        """What could not be looked up."""


class Ecs(Protocol):
    """What is read to explain a failure. Each raises ReadFailed."""

    def services(
        self, cluster_arn: str, names: Sequence[str], now: datetime
    ) -> Mapping[str, ServiceReading]:
        """What runs now."""

    def facts(
        self, cluster_arn: str, asked: Sequence[Asked], now: datetime
    ) -> Mapping[str, tuple[ServiceReading | None, Facts]]:
        """What runs now, and why it fails, of each that was asked about."""

    def callers(self, cluster_arn: str, asked: Sequence[Asked], now: datetime) -> Callers:
        """Who began these deployments, where that may be looked up."""


@dataclass(frozen=True, slots=True)
class Explaining:
    """One look at services of a cluster. `logs` is, by service, what is told and not kept."""

    ecs: Ecs
    cluster_arn: str
    now: datetime
    people: People = NOBODY
    logs: dict[str, LogTail] = field(default_factory=dict)

    def look(self, services: Sequence[ServiceState]) -> list[Observation]:
        """What is known now of these services; raises ReadFailed when nothing can be read."""
        wanted = [one for one in services if is_wanted(one)]
        others = [one for one in services if not is_wanted(one)]
        return [*self._explained(wanted), *self._read(others)]

    def _read(self, services: Sequence[ServiceState]) -> Iterable[ServiceReading]:
        names = [one.name for one in services]
        return self.ecs.services(self.cluster_arn, names, self.now).values() if names else ()

    def _explained(self, services: Sequence[ServiceState]) -> Iterator[Observation]:
        if not services:
            return
        questions = {one.name: asked(one) for one in services}
        unknown = [questions[one.name] for one in services if not one.shipments]
        callers = self.ecs.callers(self.cluster_arn, unknown, self.now) if unknown else None
        read = self.ecs.facts(self.cluster_arn, list(questions.values()), self.now)
        for service in services:
            reading, facts = read[service.name]
            records = callers.records.get(service.name, ()) if callers else ()
            yield from self._of_one(service, facts, reading, list(self._shipments(records)))

    def _of_one(
        self,
        service: ServiceState,
        facts: Facts,
        reading: ServiceReading | None,
        found: Sequence[Shipment],
    ) -> Iterator[Observation]:
        if facts.logs:
            self.logs[service.key] = facts.logs
        if reading:
            yield reading
        yield from (Shipped(service=service.name, shipment=one) for one in found)
        known = replace(service, shipments=(*service.shipments, *found))
        yield self._explanation(known, facts)

    def _explanation(self, service: ServiceState, facts: Facts) -> Explanation:
        return explanation(service, facts, self.people.slack_ids)

    def _shipments(self, records: Iterable[Mapping[str, object]]) -> Iterator[Shipment]:
        """What the records of calls tell; one that nobody can read tells nothing."""
        for record in records:
            with suppress(MalformedEvent):
                event = parse(as_envelope(record) or {})
                made = isinstance(event, ApiCall) and shipment(event, self.people.session_names)
                if made:
                    yield made
