"""Read what explains the failures that are about to be told: each once, and what runs of the rest.

What is read becomes observations, which are saved before anything is told.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from notifier.actors import NOBODY, People, shipment
from notifier.ecs import Budget
from notifier.ecs.logs import ACTION, place_of
from notifier.errors import MalformedEvent, ReadFailed
from notifier.events import as_envelope, parse
from notifier.explanation import asked, explanation, is_wanted
from notifier.facts import (
    UNREAD,
    Asked,
    Diagnosis,
    Explanation,
    Facts,
    LogTail,
    Missing,
    Shipment,
)
from notifier.incidents import explanation_of
from notifier.model import (
    ApiCall,
    ClusterState,
    Observation,
    ServiceReading,
    ServiceState,
    Shipped,
)

Records = Mapping[str, Sequence[Mapping[str, object]]]


class Callers(Protocol):
    """The records of the calls that began deployments, by service, newest first."""

    @property
    def records(self) -> Records:
        """As CloudTrail writes them."""

    @property
    def missing(self) -> Sequence[Missing]:
        """What could not be looked up."""


class Ecs(Protocol):
    """What is read to explain a failure. Each raises ReadFailed."""

    def begin(self, cluster_key: str, /) -> Budget:
        """The time that all of it has together."""

    def services(
        self, cluster_arn: str, names: Sequence[str], now: datetime, budget: Budget
    ) -> Mapping[str, ServiceReading]:
        """What runs now."""

    def facts(
        self, cluster_arn: str, asked: Sequence[Asked], now: datetime, budget: Budget
    ) -> Mapping[str, tuple[ServiceReading | None, Facts]]:
        """What runs now, and why it fails, of each that was asked about."""

    def callers(
        self, cluster_arn: str, asked: Sequence[Asked], now: datetime, budget: Budget
    ) -> Callers:
        """Who began these deployments, where that may be looked up."""

    def log_lines(
        self, cluster_arn: str, service: str, log: LogTail, budget: Budget
    ) -> LogTail | None:
        """The last lines of this log, None where they may not be read."""


@dataclass(frozen=True, slots=True)
class Explaining:
    """One look at services of a cluster. Nothing that fails to be read stops the rest.

    `logs` is, by service, what is told and not kept; `missing` are lines about what could not be
    read of anything at all.
    """

    ecs: Ecs
    budget: Budget
    cluster_arn: str
    now: datetime
    people: People = NOBODY
    logs: dict[str, LogTail] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def look(
        self, services: Sequence[ServiceState], *, only_what_runs: bool = False
    ) -> list[Observation]:
        """What is known now of these services; why they fail costs more time than what runs."""
        wanted = [] if only_what_runs else [one for one in services if is_wanted(one)]
        others = [one for one in services if one not in wanted]
        return [*self._tried(self._explained, wanted), *self._tried(self._read, others)]

    def read_log(self, service: ServiceState) -> None:
        """Read again what a log said last, where another look read it and it is not at hand."""
        log, known = _log(explanation_of(service)), self.logs.get(service.key)
        if log is None or (known and known.stream == log.stream):
            return
        self.logs[service.key] = log  # nobody tries twice
        try:
            read = self.ecs.log_lines(self.cluster_arn, service.name, log, self.budget)
            self.logs[service.key] = read or log
        except ReadFailed as error:
            self.missing.append(f"{UNREAD}log lines ({error.why})")

    def _tried(
        self,
        read: Callable[[Sequence[ServiceState]], Iterable[Observation]],
        services: Sequence[ServiceState],
    ) -> list[Observation]:
        try:
            return list(read(services)) if services else []
        except ReadFailed as error:
            self.missing.append(f"{UNREAD}{error}")
            return []

    def _read(self, services: Sequence[ServiceState]) -> Iterable[ServiceReading]:
        names = [one.name for one in services]
        return self.ecs.services(self.cluster_arn, names, self.now, self.budget).values()

    def _explained(self, services: Sequence[ServiceState]) -> Iterator[Observation]:
        questions = [asked(one) for one in services]
        read = self.ecs.facts(self.cluster_arn, questions, self.now, self.budget)
        begun = {one.service: _as_read(one, *read[one.service]) for one in questions}
        unknown = [begun[one.name] for one in services if not _is_shipped(one, begun[one.name])]
        records, missing = self._records(unknown)
        for service in services:
            reading, facts = read[service.name]
            if begun[service.name] in unknown:
                facts = replace(facts, missing=(*facts.missing, *missing))
            found = list(self._shipments(records.get(service.name, ())))
            yield from self._of_one(service, facts, reading, found)

    def _records(self, unknown: Sequence[Asked]) -> tuple[Records, Sequence[Missing]]:
        """Who called, of those of whom nobody told it; and what could not be looked up."""
        if not unknown:
            return {}, ()
        try:
            callers = self.ecs.callers(self.cluster_arn, unknown, self.now, self.budget)
        except ReadFailed as error:
            return {}, (Missing(what="who deployed", why=error.why),)
        return callers.records, callers.missing

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
        yield explanation(known, facts, self.people.slack_ids)

    def _shipments(self, records: Iterable[Mapping[str, object]]) -> Iterator[Shipment]:
        """What the records of calls tell; one that nobody can read tells nothing."""
        for record in records:
            with suppress(MalformedEvent):
                event = parse(as_envelope(record) or {})
                made = isinstance(event, ApiCall) and shipment(event, self.people.session_names)
                if made:
                    yield made


def in_our_words(cluster: ClusterState) -> ClusterState:
    """The cluster without anything that others have written, but for names, counts and links.

    It is what may be told where nobody can say what others keep secret.
    """
    services = {key: _in_our_words(one) for key, one in cluster.services.items()}
    return replace(cluster, services=services)


def _in_our_words(service: ServiceState) -> ServiceState:
    causes = tuple(replace(one, reason="") for one in service.causes)
    known = explanation_of(service)
    return replace(service, causes=causes, explanation=known and _bare(known))


def _bare(known: Explanation) -> Explanation:
    return Explanation(
        service=known.service,
        read_at=known.read_at,
        diagnosis=Diagnosis(cause=""),
        deployment_id=known.deployment_id,
        tasks=known.tasks,
        task=known.task,
        log_group=known.log_group,
        log_stream=known.log_stream,
        log_region=known.log_region,
        missing=tuple(one for one in known.missing if one.action),
    )


def _log(known: Explanation | None) -> LogTail | None:
    """Where its log is; None where there is none, or it is said already why it has no lines."""
    if known is None or not known.log_stream or any(one.action == ACTION for one in known.missing):
        return None
    return place_of(known.log_group, known.log_stream, known.log_region)


def _as_read(question: Asked, reading: ServiceReading | None, facts: Facts) -> Asked:
    """The question with which deployment it is, and when that began, as far as was read."""
    rows = reading.deployments if reading else ()
    created = [row.created_at for row in rows if row.id == facts.deployment_id]
    release = facts.service_deployment
    known = (question.began_at, *created, release.created_at if release else None)
    began_at = next(filter(None, known), None)
    return replace(question, deployment_id=facts.deployment_id, began_at=began_at)


def _is_shipped(service: ServiceState, question: Asked) -> bool:
    """Whether a record told already who began this deployment."""
    return any(one.deployment_id == question.deployment_id for one in service.shipments)
