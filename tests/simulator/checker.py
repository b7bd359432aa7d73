"""What must hold in every history, whatever happened in it.

Each check returns what it found wrong, and quotes the message where that tells what to look for.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from notifier import incidents
from notifier.diagnosis import ALSO
from notifier.events import parse
from notifier.model import (
    ClusterState,
    DeploymentStateChange,
    Impact,
    Phase,
    Reason,
    ServiceAction,
    ServiceState,
    Thread,
)
from notifier.routing import parse_channels
from notifier.saving import route_of
from tests.simulator.ecs import Offered, Service
from tests.simulator.history import History
from tests.simulator.scheduler import MINUTE, told
from tests.simulator.slack import Posted, Version, link_to

BETWEEN_BROADCASTS = 5 * MINUTE
FAILING = "⛔🔴🟠"
UNFORESEEN = {"turn failed", "look failed", "census failed", "given up"}


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
    """Each failure offered is seen in a message, or waits in the DLQ, or was given up loudly.

    What is failing already is only counted, which the next edit shows; a webhook edits nothing, and
    under a message that somebody deleted only the next news becomes a root again.
    """
    dead = " ".join(message.body for message in history.queue.dead)
    for cause, events in _by_cause(history).items():
        service, marker = events[0].service, events[0].marker
        first = min(event.at for event in events)
        if history.scenario.channels == "*=webhook" or _deleted(history, service):
            first = 0.0
        excused = marker in dead or any(marker in reason for reason in history.account.lost)
        if not (excused or _given_up(history, service) or _mentioned(history, service, first)):
            yield f"nobody was told of {cause}, offered at {first:.1f} s"


def each_is_told_on_time(history: History) -> Iterator[str]:
    """Where a scenario says how soon, each failure but the bad cluster's is told by then."""
    within, spared = history.scenario.told_within, history.scenario.bad_cluster
    for cluster, name in history.account.services if within else ():
        if cluster != spared and (after := told_after(history, cluster, name)) > within:
            yield f"{cluster} / {name} was told after {after:.0f} s"


def told_after(history: History, cluster: str, name: str) -> float:
    """Seconds from a service's first failure to the first message that names it."""
    offered = (one.at for one in history.account.offered if one.service == name)
    began = min(offered, default=0.0)
    told_at = (
        posted.at
        for posted in history.slack.posts
        if posted.at >= began and name in posted.written and cluster in posted.written
    )
    return min(told_at, default=10.0**6) - began


def what_was_recorded_as_told_can_be_read(history: History) -> Iterator[str]:
    """No service stands as told of a failure that no message shows."""
    for service in _services(history):
        newest = incidents.cause(service)
        if newest is None or not service.told or _given_up(history, service.name):
            continue
        # What was over when it could be told at last is told as that, without its cause.
        marker = _marker_in(newest.reason) if service.phase.is_open else service.name
        told_all = not any(service.untold(route) for route in service.told)
        if (
            marker
            and told_all
            and not (_visible(history, marker) or _is_explained(history, service))
        ):
            yield f"{service.name} stands as told of {newest.reason!r}, and nobody was"


def what_was_acknowledged_is_remembered(history: History) -> Iterator[str]:
    """Every event that left the queue stands in its service's row: no save undoes another.

    But for tasks that stopped as they should.
    """
    expected: dict[str, set[str]] = {}
    for message in history.queue.acknowledged:
        event = parse(message.body)
        if isinstance(event, DeploymentStateChange | ServiceAction):
            expected.setdefault(event.service, set()).add(event.identity)
    remembered = {state.key: len(set(state.seen)) for state in _services(history)}
    for key, identities in expected.items():
        if remembered.get(key, 0) < min(len(identities), incidents.SEEN_AT_MOST):
            yield f"{key}: {remembered.get(key, 0)} of {len(identities)} events are remembered"


def nothing_is_told_twice(history: History) -> Iterator[str]:
    """No news twice, but for one at most for each time the program could not know."""
    copies = list(told_again(history))
    if len(copies) > history.excused:
        yield f"{len(copies)} told again, {history.excused} could not be helped: {copies[:3]}"


def told_again(history: History) -> Iterator[str]:
    """The messages that tell a reader what another had told."""
    before: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
    hushed: set[tuple[str, str, str, int]] = set()
    for posted in history.slack.posts:
        if posted.told is None or posted.told.kind == "root":
            continue
        again = False
        for service, (since, until) in posted.told.spans.items():
            about = (posted.told.route, posted.told.cluster, service)
            spans = before.setdefault(about, [])
            if since < until:
                again |= any(since < other and start < until for start, other in spans)
                spans.append((since, until))
            else:  # told before, and now to the channel itself
                again |= (*about, until) in hushed
                hushed.add((*about, until))
        if not posted.told.spans:  # the summary of the first census
            again = any(
                other.told == posted.told and other.at < posted.at for other in history.slack.posts
            )
        if again:
            yield f"{posted.at:.1f} s {posted.message.text!r}"


def the_write_protocol_is_kept(history: History) -> Iterator[str]:
    """Every write was its writer's to make, and every post was noted before."""
    for rule, how in history.audit.found[:3]:
        yield f"{rule}: {how}"


def replies_stand_under_their_own_root(history: History) -> Iterator[str]:
    """A reply's thread begins with a message of its channel about its cluster's incident."""
    for posted in history.slack.posts:
        if posted.thread_ts is None:
            continue
        root = next((p for p in history.slack.posts if p.ts == posted.thread_ts), None)
        clusters = _clusters_in(history, posted)
        if root is None or root.thread_ts or root.channel != posted.channel:
            yield f"{posted.message.text!r} stands under no root of its channel"
        elif clusters and not clusters & _clusters_in(history, root):
            yield f"{posted.message.text!r} stands under {root.message.text!r}"
        elif posted.told and root.told and _incident(posted) != _incident(root):
            yield f"{posted.message.text!r} stands under another incident's {root.message.text!r}"


def one_root_per_incident(history: History) -> Iterator[str]:
    """A cluster's incident has one root in a channel; further ones only where threads roll over."""
    if copies := list(roots_again(history)):
        excused = history.excused
        if len(copies) > excused:
            yield f"{len(copies)} roots too many, {excused} could not be helped: {copies[:3]}"


def roots_again(history: History) -> Iterator[str]:
    """The roots of an incident beyond its first, or beyond the first after a roll-over."""
    counts: Counter[object] = Counter()
    for posted in history.slack.posts:
        if posted.told and posted.told.kind == "root":
            numbered = (*_incident(posted), posted.told.number)
            counts[numbered] += 1
            if counts[numbered] > 1:
                yield f"{posted.at:.1f} s {posted.message.text!r}"


def a_thread_that_goes_on_elsewhere_says_where_it_was(history: History) -> Iterator[str]:
    """A root after the first links the one before it, unless that was deleted."""
    roots = [p for p in history.slack.posts if p.told and p.thread_ts is None]
    for posted in roots:
        if posted.told is None or posted.told.kind != "root" or posted.told.number == 1:
            continue
        before = [p for p in roots if _incident(p) == _incident(posted) and p.at < posted.at]
        excused = any(p.deleted for p in before) or history.slack.periods or history.doubts
        if not excused and not any(link_to(p.channel, p.ts) in posted.written for p in before):
            yield f"{posted.at:.1f} s {posted.message.text!r} does not say where the thread was"


def a_thread_does_not_shout(history: History) -> Iterator[str]:
    """At most one reply in five minutes reaches the channel itself."""
    last: dict[tuple[str, str | None], float] = {}
    found = []
    for posted in (p for p in history.slack.posts if p.broadcast and p.thread_ts):
        since = posted.at - last.get((posted.channel, posted.thread_ts), -BETWEEN_BROADCASTS)
        last[posted.channel, posted.thread_ts] = posted.at
        if since < BETWEEN_BROADCASTS:
            found.append(f"{posted.message.text!r}, {since:.0f} s after another")
    if len(found) > history.doubts:
        yield found[0]


def what_is_remembered_is_so(history: History) -> Iterator[str]:
    """At rest the phase and impact of each service are what ECS shows."""
    if not history.came_to_rest:
        return
    known = {(state.cluster, one.key): one for state in _states(history) for one in state.services}
    for (cluster, name), service in history.account.services.items():
        state = known.get((cluster, name))
        if state is None or not state.transitions:
            if _is_failed(service) and history.scenario.census_finds:
                yield f"{cluster} / {name}: ECS shows a failed deployment, and nobody knows"
            continue
        allowed = _phases(service)
        if state.phase not in allowed:
            yield f"{cluster} / {name} is {state.phase}, not {' or '.join(sorted(allowed))}"
        elif state.phase.is_open:
            yield from _wrong_impact(service, state)


def _wrong_impact(service: Service, state: ServiceState) -> Iterator[str]:
    seen = state.reading
    if seen is None:
        yield f"{service.name} was never looked at"
    elif (seen.running_count, seen.desired_count) != (service.running, service.desired):
        yield f"{service.name}: {seen.running_count} of {seen.desired_count} were seen running"
    elif state.impact < _impact(service):
        yield f"{service.name} is {state.impact.name}, not {_impact(service).name}"


def the_last_root_is_the_truth(history: History) -> Iterator[str]:
    """At rest each root shows what ECS shows, of each of its services.

    But for an edit that Slack commits minutes later, over a newer one.
    """
    if not history.came_to_rest or history.slack.very_late:
        return
    for state in _states(history):
        thread, posted = state.thread, state.root
        if thread is None or posted is None or posted.deleted or thread.is_fixed:
            continue
        if any(alarm.text == "given up" for alarm in history.alarms):
            continue
        last = posted.versions[-1]
        if thread.shows < state.head.revision:
            yield f"{last.message.text!r} shows {thread.shows} of {state.head.revision}"
        if state.head.open_services and (posted.is_marked or "over after" in last.message.text):
            yield f"{last.message.text!r}, but {state.head.open_services} are failing"
        if not state.head.open_services and "over after" not in last.message.text:
            yield f"{last.message.text!r}, but all is over"
        if last.message.blocks:
            for service in state.services:
                yield from _wrong_line(history, state, service, last)


def _wrong_line(
    history: History, state: "Known", service: ServiceState, last: Version
) -> Iterator[str]:
    """A root has a line for each of the ten worst services of its incident."""
    in_it = service.generation == state.head.generation
    lines = [line for line in _lines(last) if f"*{service.name}*" in line]
    if not in_it or not lines or (state.cluster, service.name) not in history.account.services:
        return
    shown = history.account.services[state.cluster, service.name]
    green = "☑️" if service.not_live and not state.head.open_services else "✅"
    if (green in lines[0]) is not (service.phase is Phase.RECOVERED or green == "☑️"):
        yield f"{service.name} is {service.phase}: {lines[0]!r}"
    if service.phase.is_open and not set(FAILING) & set(lines[0]):
        yield f"{service.name} is {service.phase}: {lines[0]!r}"
    if service.phase.is_open and f"{shown.running} of {shown.desired} running" not in lines[0]:
        yield f"{service.name}: {shown.running} of {shown.desired} are running: {lines[0]!r}"


def all_is_told(history: History) -> Iterator[str]:
    """At rest no service has news that its channel was not told."""
    for service in _services(history) if history.came_to_rest else ():
        route = service.destination
        if route and service.untold(route) and not _given_up(history, service.name):
            news = [str(one.reason) for one in service.untold(route)]
            yield f"{service.name}: {news} were never told"


def nothing_green_is_said_of_what_is_dying(history: History) -> Iterator[str]:
    """No ✅ beside the name of a service that is failing then, or was rolled back."""
    for posted in history.slack.posts:
        for version in posted.versions:
            if "✅" not in version.written:
                continue
            for line in _lines(version):
                for (_, name), service in history.account.services.items():
                    if "✅" in line and name in line and service.truth.is_not_green(version.at):
                        yield f"at {version.at:.1f} s: {line!r}"


def nothing_is_called_rolled_back_that_was_not(history: History) -> Iterator[str]:
    """ECS went back to an older release, or nobody says so."""
    for known in _states(history):
        for state in known.services:
            service = history.account.services.get((known.cluster, state.name))
            was = service is None or service.truth.rolled_back_at is not None
            if not was and any(one.reason is Reason.ROLLED_BACK for one in state.transitions):
                yield f"{state.name} was never rolled back"


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


def nothing_unforeseen_is_met(history: History) -> Iterator[str]:
    """No exception of ours ends a turn or a look, and nothing is given up that Slack would take."""
    if history.scenario.bad_cluster:
        return
    faults = history.scenario.faults
    foreseen = "given up" if faults.slack_payload_refused or faults.ends_turns else ""
    for alarm in history.alarms:
        is_foreseen = alarm.text == foreseen or "StoreUnavailable" in alarm.why
        if alarm.text in UNFORESEEN and not is_foreseen:
            yield f"{alarm.text} at {alarm.at:.1f} s {alarm.why} {dict(alarm.told)}"


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
    each_is_told_on_time,
    what_was_recorded_as_told_can_be_read,
    what_was_acknowledged_is_remembered,
    nothing_is_told_twice,
    the_write_protocol_is_kept,
    replies_stand_under_their_own_root,
    one_root_per_incident,
    a_thread_that_goes_on_elsewhere_says_where_it_was,
    a_thread_does_not_shout,
    what_is_remembered_is_so,
    the_last_root_is_the_truth,
    all_is_told,
    nothing_green_is_said_of_what_is_dying,
    nothing_is_called_rolled_back_that_was_not,
    slack_is_not_pressed,
    everything_comes_to_rest,
    functions_end_before_their_time_out,
    functions_do_not_raise,
    nothing_unforeseen_is_met,
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


def _is_explained(history: History, service: ServiceState) -> bool:
    """Whether a message that names the service tells in our words why it fails.

    Of several that fail alike it tells what they share, without what some of their tasks say also.
    """
    known = incidents.explanation_of(service)
    why = known.diagnosis.cause if known and incidents.is_of_cause(known, service) else ""
    why, _, _ = why.partition(ALSO)
    return bool(why) and any(
        service.name in version.written and why in version.written
        for posted in history.slack.posts
        for version in posted.versions
    )


def _deleted(history: History, service: str) -> bool:
    return any(posted.deleted and service in posted.written for posted in history.slack.posts)


def _given_up(history: History, service: str) -> bool:
    return any(alarm.text == "given up" and service in alarm.told for alarm in history.alarms)


@dataclass(frozen=True)
class Known:
    """What the program remembers of a cluster, and the root that it believes in."""

    cluster: str
    head: ClusterState
    services: tuple[ServiceState, ...]
    thread: Thread | None
    root: Posted | None


def _states(history: History) -> Iterator[Known]:
    """What the program remembers, read as it reads it, on a calm day."""
    store = history.sane_store()
    routes = parse_channels(history.scenario.channels)
    for arn in sorted({service.cluster_arn for service in history.account.services.values()}):
        head = store.load(arn)
        if head is None:
            continue
        thread = store.thread(arn, route_of(arn, routes).destination, head.generation)
        at = (thread.channel, thread.ts) if thread else None
        root = next((p for p in history.slack.posts if (p.channel, p.ts) == at), None)
        cluster = arn.rpartition("/")[2]
        yield Known(cluster, head, tuple(head.services.values()), thread, root)


def _services(history: History) -> Iterator[ServiceState]:
    for known in _states(history):
        yield from known.services


def _lines(version: Version) -> Iterator[str]:
    """What a reader sees as lines."""
    yield from version.message.text.split("\n")
    for block in version.message.blocks:
        for text in _texts(block):
            yield from text.split("\n")


def _texts(value: object) -> Iterator[str]:
    match value:
        case {"type": "mrkdwn" | "plain_text" | "text", "text": str(text)}:
            yield text
        case dict():
            for one in value.values():
                yield from _texts(one)
        case list() | tuple():
            for one in value:
                yield from _texts(one)


def _incident(posted: Posted) -> tuple[str, str, str, int]:
    assert posted.told is not None
    told_of = posted.told
    return posted.channel, told_of.route, told_of.cluster, told_of.generation


def _is_failed(service: Service) -> bool:
    """Whether ECS shows a failed deployment of something that is wanted.

    A service whose desired count is 0 is stopped, and of that nothing is told but where trouble was
    told before. That its row still lists the deployment, which no event told of and which the next
    census found only when nobody wanted it any more, makes it no service in trouble.
    """
    return service.desired > 0 and any(rollout.state == "FAILED" for rollout in service.rollouts)


def _phases(service: Service) -> set[Phase]:
    """What may be said of a service of which trouble was told, by what ECS shows in the end."""
    if service.truth.gone:
        return {Phase.GONE, Phase.WELL, Phase.NOT_LIVE, Phase.RECOVERED}
    if service.desired == 0:
        return {Phase.STOPPED, Phase.WELL}
    if not service.is_well:
        return {Phase.FAILING}
    if service.truth.rolled_back_at is not None:
        return {Phase.NOT_LIVE}
    return {Phase.RECOVERED, Phase.WELL, Phase.QUIET}


def _impact(service: Service) -> Impact:
    if service.running >= service.desired:
        return Impact.SERVING
    return Impact.REDUCED if service.running else Impact.DOWN


def _clusters_in(history: History, posted: Posted) -> set[str]:
    return {cluster for cluster, _ in history.account.services if cluster in posted.written}


def _marker_in(text: str) -> str:
    found = re.search(r"fault-\d+x", text)
    return found[0] if found else ""
