"""What must hold in every history, whatever happened in it.

Each check returns what it found wrong, and quotes the message where that tells what to look for.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from notifier import incidents
from notifier.events import parse
from notifier.model import NotOurs, ServiceState
from tests.simulator.dynamodb import Client
from tests.simulator.ecs import Offered
from tests.simulator.faults import CALM, Dice
from tests.simulator.history import History
from tests.simulator.scheduler import told
from tests.simulator.slack import Posted


@dataclass(frozen=True)
class Violation:
    """An invariant that did not hold, and how."""

    invariant: str
    how: str


def violations(history: History) -> list[Violation]:
    """Everything that is wrong with a history that was run."""
    return [Violation(check.__name__, how) for check in CHECKS for how in check(history)]


def report(history: History, found: list[Violation], lines: int = 60) -> str:
    """What a person needs to find the reason."""
    head = f"scenario {history.scenario.name}, seed {history.seed}"
    again = f"python -m tests.simulator --scenario {history.scenario.name} --seed {history.seed}"
    broken = "\n".join(f"  {violation.invariant}: {violation.how}" for violation in found)
    return f"{head}\n{broken}\n\n{told(history.scheduler.trace, lines)}\n\nAgain: {again} --trace"


# --- the invariants -----------------------------------------------------------------------------


def no_failure_is_met_with_silence(history: History) -> Iterator[str]:
    """Each failure offered is seen in a message, or waits in the DLQ, or was given up loudly."""
    dead = " ".join(message.body for message in history.queue.dead)
    for cause, events in _by_cause(history).items():
        service, marker = events[0].service, events[0].marker
        first = min(event.at for event in events)
        excused = marker in dead or any(marker in reason for reason in history.account.lost)
        if not (excused or _given_up(history, service) or _mentioned(history, service, first)):
            yield f"nobody was told of {cause}, offered at {first:.1f} s"


def what_was_recorded_as_told_can_be_read(history: History) -> Iterator[str]:
    """No service stands as told of a failure that no message shows."""
    for service in _states(history):
        if service.failure is None or not service.told or _given_up(history, service.name):
            continue
        marker = _marker_in(service.failure.reason)
        told_all = all(at >= service.revision for at in service.told.values())
        if marker and told_all and not _visible(history, marker):
            yield f"{service.name} stands as told of {service.failure.reason!r}, and nobody was"


def what_was_acknowledged_is_remembered(history: History) -> Iterator[str]:
    """Every event that left the queue stands in its service's row: no save undoes another."""
    expected: dict[str, set[str]] = {}
    for message in history.queue.acknowledged:
        event = parse(message.body)
        subject = None if isinstance(event, NotOurs) else incidents.subject_of(event)
        if subject is not None and not isinstance(event, NotOurs):
            expected.setdefault(subject.key, set()).add(event.identity)
    remembered = {state.key: len(set(state.seen)) for state in _states(history)}
    for key, identities in expected.items():
        if remembered.get(key, 0) < min(len(identities), incidents.SEEN_AT_MOST):
            yield f"{key}: {remembered.get(key, 0)} of {len(identities)} events are remembered"


def nothing_is_told_twice(history: History) -> Iterator[str]:
    """No message twice, but for one at most for each time the program could not know."""
    causes = _by_cause(history)
    causes_of = Counter(service for service, *_ in causes)
    copies: list[str] = []
    for (service, *_), events in causes.items():
        allowed = 1 if causes_of[service] == 1 else len({event.at for event in events})
        for in_thread in (False, True):
            posts = [p for p in history.slack.posts if bool(p.thread_ts) is in_thread]
            showing = [p for p in posts if events[0].marker in p.written]
            copies += [f"{p.at:.1f} s {p.message.text!r}" for p in showing[allowed:]]
    if len(copies) > history.doubts:
        yield f"{len(copies)} told again in {history.doubts} doubts: {'; '.join(copies[:3])}"


def the_write_protocol_is_kept(history: History) -> Iterator[str]:
    """Every write was its writer's to make, and every post was noted before."""
    for rule, how in history.audit.found[:3]:
        yield f"{rule}: {how}"


def replies_stand_under_their_own_root(history: History) -> Iterator[str]:
    """A reply's thread begins with a message of its channel about its cluster."""
    for posted in history.slack.posts:
        if posted.thread_ts is None:
            continue
        root = next((p for p in history.slack.posts if p.ts == posted.thread_ts), None)
        clusters = _clusters_in(history, posted)
        if root is None or root.thread_ts or root.channel != posted.channel:
            yield f"{posted.message.text!r} stands under no root of its channel"
        elif clusters and not clusters & _clusters_in(history, root):
            yield f"{posted.message.text!r} stands under {root.message.text!r}"


def one_root_per_incident(history: History) -> Iterator[str]:
    """Where there are threads, a cluster has one root in a channel, but for doubts."""
    if not any(posted.thread_ts for posted in history.slack.posts):
        return  # flat messages
    roots = Counter(
        (posted.channel, cluster)
        for posted in history.slack.posts
        if posted.thread_ts is None
        for cluster in _clusters_in(history, posted)
    )
    for (channel, cluster), count in roots.items():
        if count - 1 > history.doubts:
            yield f"{count} roots of {cluster} in {channel} in {history.doubts} doubts"


def nothing_green_is_said_of_what_is_dying(history: History) -> Iterator[str]:
    """No ✅ beside the name of a service that is failing at that moment."""
    for posted in history.slack.posts:
        for version in posted.versions:
            for line in re.split(r"\n|\\n", version.written):
                for (_, name), service in history.account.services.items():
                    if "✅" in line and name in line and service.truth.was_failing(version.at):
                        yield f"at {version.at:.1f} s: {line!r}"


def slack_is_not_pressed(history: History) -> Iterator[str]:
    """One message a second and channel, and nothing before the time that a 429 named."""
    if history.slack.too_fast > history.doubts:
        yield f"{history.slack.too_fast} calls faster than Slack allows"
    if history.slack.impatient > history.doubts:
        yield f"{history.slack.impatient} calls before Slack's Retry-After was over"


def everything_comes_to_rest(history: History) -> Iterator[str]:
    """Without input the queue is empty, nothing is owed and nothing runs."""
    if not history.came_to_rest:
        owed = [row["sk"]["S"] for row in history.owed()]
        yield (
            f"after {history.scheduler.clock:.0f} s: {len(history.queue.waiting)} in the queue, "
            f"{len(history.scheduler.running)} running, owed: {owed}"
        )
    if history.queue.expired:
        yield f"{len(history.queue.expired)} messages expired in the queue"


def functions_end_before_their_time_out(history: History) -> Iterator[str]:
    """Also on a slow day; unless the whole function stood still."""
    for process in history.scheduler.timed_out:
        if not process.stalled:
            yield f"{process.name} ran into its {process.limit:.0f} s"


def functions_do_not_raise(history: History) -> Iterator[str]:
    """But for a table that does not answer, of which an alarm tells."""
    for process in history.scheduler.crashed:
        if not getattr(process.error, "retryable", False):
            yield f"{process.name}: {process.error!r}"


def nothing_foreign_is_live(history: History) -> Iterator[str]:
    """No mention, no raw `<` and no control character comes from the input."""
    for posted in history.slack.posts:
        for version in posted.versions:
            if found := _LIVE.search(version.written):
                yield f"{found[0]!r} in {version.message.text!r}"


def healthy_days_are_silent(history: History) -> Iterator[str]:
    """A scenario in which nothing goes wrong posts nothing."""
    if history.scenario.silent and history.slack.posts:
        yield f"{len(history.slack.posts)} posts: {history.slack.posts[0].message.text!r}"


CHECKS: tuple[Callable[[History], Iterator[str]], ...] = (
    no_failure_is_met_with_silence,
    what_was_recorded_as_told_can_be_read,
    what_was_acknowledged_is_remembered,
    nothing_is_told_twice,
    the_write_protocol_is_kept,
    replies_stand_under_their_own_root,
    one_root_per_incident,
    nothing_green_is_said_of_what_is_dying,
    slack_is_not_pressed,
    everything_comes_to_rest,
    functions_end_before_their_time_out,
    functions_do_not_raise,
    nothing_foreign_is_live,
    healthy_days_are_silent,
)


# --- what was offered, what is remembered, what can be read -------------------------------------

# What is live in Slack and none of ours: our own are dates, links and the mentions of a route.
_OURS = r"<!date\^|<https://[a-z0-9.-]+/|<!subteam\^S0SRE>"
_LIVE = re.compile(rf"(?!{_OURS})<|[\x00-\x08\x0b-\x1f\x7f]")


def _by_cause(history: History) -> dict[tuple[str, ...], list[Offered]]:
    causes: dict[tuple[str, ...], list[Offered]] = {}
    for offered in history.account.offered:
        causes.setdefault(offered.cause, []).append(offered)
    return causes


def _mentioned(history: History, service: str, since: float) -> bool:
    return any(
        version.at >= since and service in version.written
        for posted in history.slack.posts
        for version in posted.versions
    )


def _visible(history: History, marker: str) -> bool:
    return any(
        marker in version.written for posted in history.slack.posts for version in posted.versions
    )


def _given_up(history: History, service: str) -> bool:
    return any(alarm.text == "given up" and service in alarm.told for alarm in history.alarms)


def _states(history: History) -> Iterator[ServiceState]:
    """What the program remembers, read as it reads it, on a calm day."""
    client = Client(history.table, history.scheduler, Dice(CALM, history.rng))
    store = history.store(history.table.name, lambda: client)  # type: ignore[arg-type, return-value]
    for cluster in sorted({service.cluster_arn for service in history.account.services.values()}):
        state = store.load(cluster)
        if state is not None:
            yield from state.services.values()


def _clusters_in(history: History, posted: Posted) -> set[str]:
    return {cluster for cluster, _ in history.account.services if cluster in posted.written}


def _marker_in(text: str) -> str:
    found = re.search(r"fault-\d+x", text)
    return found[0] if found else ""
