"""From what is remembered of a service to what is asked about it, and from facts to what is kept.

Pure. What the facts mean is for `diagnosis`, `changes` and `actors`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from notifier.actors import actor
from notifier.changes import changes
from notifier.diagnosis import circuit_breaker_line, diagnose, tasks_in_a_line, worst_task
from notifier.facts import Asked, Container, Explanation, Facts
from notifier.incidents import OUR_OWN, cause, cause_name, failing_id, is_explained
from notifier.model import KnownDeployment, ServiceState, SubjectKind

CONTAINERS_KEPT = 10
MESSAGES_KEPT = 3
# Far more of a foreign text than is shown: what a reader sees is redacted first, and a secret that
# is cut here must not be one that the redaction no longer knows.
LONGEST_TEXT = 2_000
_NEVER = datetime.max.replace(tzinfo=UTC)


def is_wanted(service: ServiceState) -> bool:
    """Whether something is to be read about why it fails that was not read yet."""
    is_service = service.kind is SubjectKind.SERVICE
    return is_service and service.phase.is_open and not is_explained(service)


def asked(service: ServiceState) -> Asked:
    """What is to be read about, and what is known of it already."""
    failing = _failing(service)
    return Asked(
        service=service.name,
        deployment_id=failing_id(service),
        failing_revision=failing.revision if failing else "",
        completed_revision=_completed_before(service, failing),
        began_at=failing.began_at if failing else None,
    )


def _completed_before(service: ServiceState, failing: KnownDeployment | None) -> str:
    """The revision of the last that completed before this one; a fix completes after it."""
    completed = [
        (one.completed_at, one.revision)
        for one in service.deployments
        if one.completed_at and one.revision and one is not failing and not one.failed_at
        if _came_before(one, failing)
    ]
    return max(completed, default=(None, ""))[1]


def _came_before(one: KnownDeployment, failing: KnownDeployment | None) -> bool:
    """Whether it began or completed first; both can be later: of a row that is updated, a way back.

    Without the time when the failing one began, that of its failure has to do.
    """
    until = (failing.began_at or failing.failed_at) if failing else None
    known = filter(None, (one.began_at, one.completed_at))
    return min(known) <= (until or _NEVER)


def explanation(
    service: ServiceState, facts: Facts, slack_ids: Mapping[str, str] | None = None
) -> Explanation:
    """What the facts say of why it fails; `slack_ids` are of those who may have shipped it."""
    first, failing, worst = cause(service), _failing(service), worst_task(facts)
    event = first.event if first and first.event not in OUR_OWN else ""
    found = diagnose(facts, event=event, reason=first.reason if first else "")
    return Explanation(
        service=service.name,
        read_at=facts.read_at,
        diagnosis=replace(found, cause=_kept(found.cause), evidence=_kept(found.evidence)),
        deployment_id=facts.deployment_id,
        explains=cause_name(service),
        changes=tuple(map(_kept, changes(facts))),
        tasks=tasks_in_a_line(facts),
        task=worst.arn if worst else "",
        containers=tuple(map(_short, worst.containers[:CONTAINERS_KEPT] if worst else ())),
        circuit_breaker=circuit_breaker_line(facts),
        messages=tuple(map(_kept, facts.messages[:MESSAGES_KEPT])),
        actor=actor(
            facts,
            service.shipments,
            slack_ids or {},
            began_at=failing.began_at if failing else None,
        ),
        log_group=facts.logs.group if facts.logs else "",
        log_stream=facts.logs.stream if facts.logs else "",
        log_region=facts.logs.region if facts.logs else "",
        missing=facts.missing,
    )


def _kept(text: str) -> str:
    return text[:LONGEST_TEXT]


def _short(container: Container) -> Container:
    return replace(container, reason=_kept(container.reason), image=_kept(container.image))


def _failing(service: ServiceState) -> KnownDeployment | None:
    known: Sequence[KnownDeployment] = service.deployments
    return next((one for one in known if one.id == failing_id(service)), None)
