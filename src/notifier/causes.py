"""What a message shows of an explanation: the cause, what to try, what changed, who, what ended."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from notifier import arns
from notifier.changes import deployed_at
from notifier.diagnosis import ALSO
from notifier.facts import UNREAD, Actor, Confidence, Container, Explanation, LogTail, Missing
from notifier.incidents import cause, explanation_of
from notifier.model import Reason, ServiceState
from notifier.tasks import ESSENTIAL_EXITED

_FAILED = "deployment failed:"  # which the message says already
MISSING_SHOWN = 3
CONTAINERS_SHOWN = 6
RUNG_AT_MOST = 5
# What is news of a deployment to whoever shipped it. Each is told once.
_NEWS_TO_THE_DEPLOYER = {
    Reason.NEWLY_FAILING,
    Reason.ANOTHER_DEPLOYMENT,
    Reason.DEPLOYER_KNOWN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a service fails, as a reply tells it. Every text may be empty.

    `why` is in our words, and `is_sure` says whether ECS's words can mean nothing else; `quotes`
    are ECS's own. `changed` are lines, `since` stands for one that says when it last changed.
    """

    why: str = ""
    is_sure: bool = True
    remedy: str = ""
    page: str = ""
    quotes: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    since: datetime | None = None
    tasks: str = ""
    containers: tuple[str, ...] = ()
    shipped: str = ""
    shipped_url: str = ""
    log_of: str = ""
    log_lines: tuple[str, ...] = ()


def why_of(service: ServiceState) -> str:
    """The cause in our words, where ECS's are known; empty where they are to be quoted."""
    known = explanation_of(service)
    is_told = known and known.diagnosis.confidence is not Confidence.UNKNOWN
    return known.diagnosis.cause if known and is_told else ""


def main_why_of(service: ServiceState) -> str:
    """The same without what only some of its tasks say: those that fail alike differ in it."""
    return why_of(service).partition(ALSO)[0]


def cause_of(service: ServiceState, log: LogTail | None = None) -> Cause:
    """All that is known of why it fails; without an explanation, ECS's own words."""
    known, first = explanation_of(service), cause(service)
    said = (first.reason,) if first and first.reason else ()
    if known is None:
        return Cause(quotes=said)
    found = known.diagnosis
    since = next(filter(None, map(deployed_at, known.changes)), None)
    return Cause(
        why=why_of(service),
        is_sure=found.confidence is Confidence.CERTAIN,
        remedy=found.remedy,
        page=found.page,
        quotes=tuple(_quotes(known, said)),
        changed=tuple(_changed(known)),
        since=since,
        tasks=" · ".join(filter(None, (known.tasks, known.circuit_breaker))),
        containers=tuple(
            _ending(one, found.evidence) for one in known.containers[:CONTAINERS_SHOWN]
        ),
        shipped=_who(known.actor),
        shipped_url=known.actor.url if known.actor else "",
        log_of=log.container if log and log.lines else "",
        log_lines=log.lines if log else (),
    )


def shipped_by(service: ServiceState) -> str:
    """`deployed by mika via GitHub Actions`; empty where nobody knows."""
    known = explanation_of(service)
    return _who(known.actor) if known else ""


def rung(service: ServiceState, news: Sequence[Reason]) -> str:
    """The Slack id of whoever certainly shipped it, where it is news to them; else empty.

    Nobody is rung for capacity, or for trouble of AWS, which no release brought.
    """
    known = explanation_of(service)
    actor = known.actor if known and known.diagnosis.is_of_release else None
    is_news = bool(_NEWS_TO_THE_DEPLOYER & set(news)) and service.phase.is_open
    return actor.slack_id if actor and actor.is_certain and is_news else ""


def missing_of(services: Sequence[ServiceState]) -> str:
    """What could not be read, in a line; the same of several services once."""
    known = filter(None, map(explanation_of, services))
    different = list(dict.fromkeys(_missing(one) for each in known for one in each.missing))
    more = len(different) - MISSING_SHOWN
    shown = different[:MISSING_SHOWN] + ([f"{more} more"] if more > 0 else [])
    return UNREAD + ", ".join(shown) if shown else ""


def pages_of(service: ServiceState) -> Iterator[tuple[str, str | None]]:
    """Where to see the task that stopped, and its log."""
    known = explanation_of(service) if service.phase.is_open else None
    if known and known.task:
        task = arns.parse_arn(known.task)
        cluster = arns.cluster_arn_of(task) if task else None
        yield "stopped task", arns.task_url(str(cluster), known.task) if cluster else None
    if known and known.log_stream:
        yield "logs", arns.log_stream_url(known.log_region, known.log_group, known.log_stream)


def _quotes(known: Explanation, said: Sequence[str]) -> Iterator[str]:
    """ECS's own words: the evidence, or what the event says; and what the service says of it."""
    first = known.diagnosis.evidence or next(iter(said), "")
    if first and first != ESSENTIAL_EXITED:
        yield first
    more = (text for text in known.messages if text != first and _FAILED not in text)
    yield from itertools.islice(more, 1)


def _changed(known: Explanation) -> Iterator[str]:
    """The lines; of what could not be read the message's foot tells where others are known."""
    lines = [line for line in known.changes if not deployed_at(line)]
    read = [line for line in lines if not line.startswith(UNREAD)]
    yield from read or lines


def _who(actor: Actor | None) -> str:
    if actor is None:
        return ""
    via = f" via {actor.via}" if actor.via else ""
    return f"{'' if actor.is_certain else 'probably '}deployed by {actor.name}{via}"


def _ending(container: Container, quoted: str) -> str:
    """`app exit code 137 (OutOfMemoryError: …)`, `envoy never ran`; what is quoted is not again."""
    code = container.exit_code
    ended = f"exit code {code}" if code is not None else "never ran"
    why = f" ({container.reason})" if container.reason and container.reason != quoted else ""
    return f"{container.name} {ended}{why}"


def _missing(one: Missing) -> str:
    action = f": {one.action}" if one.action and one.why == "no permission" else ""
    return f"{one.what} ({one.why}{action})"
