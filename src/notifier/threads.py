"""What a thread needs next, so that a reader of Slack knows what we know.

Pure: the cluster's state and what was told of it go in, the next message or the time to wait for
comes out. What a message says is for `rendering`, whether Slack took it for `teller`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from notifier.incidents import COUNTS_WITHIN
from notifier.model import (
    BEGINNING,
    ClusterState,
    Phase,
    Reason,
    ServiceState,
    Step,
    StepKind,
    SubjectKind,
    Thread,
    Transition,
)

FOLD_ABOVE = 3  # services that wait to be told are then one reply
REPLIES_AT_MOST = 50
ROOT_FRESH_FOR = timedelta(days=1)
BETWEEN_BROADCASTS = timedelta(minutes=5)
BETWEEN_EDITS = timedelta(seconds=20)
# What fails one by one is told one by one only so often; then it waits, to be one reply.
MANY = 3  # services, of which there was news within
SHORTLY = timedelta(minutes=1)
GATHERS_FOR = timedelta(seconds=30)
# A thread whose incident closed longer ago is history: what is over already is not told in it.
STANDS_FOR = timedelta(minutes=60)

# What must reach the channel itself, not only the thread.
LOUD = {*BEGINNING, Reason.WORSE}
# What is over before anybody heard of it needs no thread.
FLAT = {Reason.OVER_BEFORE_TOLD, Reason.SUPERSEDED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a cluster is told: the route its services name, the channel posted to, its manners."""

    route: str
    channel: str
    has_threads: bool = True
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing before then."""

    until: datetime


def next_step(
    cluster: ClusterState, thread: Thread | None, place: Place, now: datetime
) -> Step | Wait | None:
    """The next message for this place, the time to wait for, or None when all is told."""
    mine = [one for one in cluster.services.values() if one.destination == place.route]
    untold = [one for one in mine if one.untold(place.route)]
    if not place.has_threads:
        return _telling(StepKind.FLAT, _group(untold, place), place) if untold else None
    if untold and all(_is_flat(one, cluster, place) for one in untold):
        if not _stands(cluster, thread, place, now):
            return _telling(StepKind.FLAT, _group(untold, place), place)
    elif untold and _needs_root(thread, untold, place, now):
        return _root(cluster, mine)
    if thread is None:
        return None
    reply = _reply(mine, untold, thread, place, now) if untold else None
    if isinstance(reply, Step):
        return reply
    hushed = _hushed(cluster, mine, thread, place, now)
    return _soonest(hushed, _upkeep(cluster, mine, thread, now), reply)


def _soonest(*several: Step | Wait | None) -> Step | Wait | None:
    """What can be done now, the first before the others; else the shortest wait."""
    waits = [one for one in several if isinstance(one, Wait)]
    steps = (one for one in several if isinstance(one, Step))
    return next(steps, min(waits, key=lambda wait: wait.until, default=None))


def in_incident(cluster: ClusterState, route: str) -> list[ServiceState]:
    """The services that the present root shows, the worst first."""
    shown = [
        one
        for one in cluster.services.values()
        if one.destination == route
        and one.generation == cluster.generation
        and one.phase not in (Phase.WELL, Phase.ROLLING)
    ]
    return sorted(shown, key=lambda one: (not one.phase.is_open, -one.impact, one.key))


def _is_flat(service: ServiceState, cluster: ClusterState, place: Place) -> bool:
    """Nor does a task need one that succeeds, or is tried again, when its incident is history."""
    is_of_another = service.generation != cluster.generation
    is_late = service.kind is SubjectKind.TASK and is_of_another
    flat = FLAT | {Reason.RECOVERED, Reason.RETRIED} if is_late else FLAT
    return all(one.reason in flat for one in service.untold(place.route))


def _stands(cluster: ClusterState, thread: Thread | None, place: Place, now: datetime) -> bool:
    """Whether there is a thread that such news still belongs to."""
    if thread is None or _is_used_up(thread, place):
        return False
    closed_at = cluster.closed_at
    return cluster.open_services > 0 or (closed_at is not None and now - closed_at <= STANDS_FOR)


def _is_used_up(thread: Thread, place: Place) -> bool:
    moved = thread.channel != place.channel
    return moved or thread.is_lost or thread.replies >= REPLIES_AT_MOST


def _needs_root(
    thread: Thread | None, untold: Sequence[ServiceState], place: Place, now: datetime
) -> bool:
    if thread is None or _is_used_up(thread, place):
        return True
    begins = any(
        one.reason in BEGINNING for each in _alerting(untold) for one in each.untold(place.route)
    )
    is_old = thread.opened_at is not None and now - thread.opened_at > ROOT_FRESH_FOR
    return is_old and begins


def _group(
    untold: Sequence[ServiceState], place: Place, *, one_by_one: int = FOLD_ABOVE
) -> Sequence[ServiceState]:
    """Who is told together, the oldest news first: all that fail, or all of which it is over.

    Up to three services are told one by one where there is a thread to read them in.
    """
    oldest = _oldest(untold, place)
    if place.has_threads and len(untold) <= one_by_one:
        return [oldest]
    return [one for one in untold if _is_told_with(oldest, one)]


def _is_told_with(one: ServiceState, other: ServiceState) -> bool:
    """Services that fail are told apart from those that do not; tasks are told together."""
    is_task = one.kind is SubjectKind.TASK
    return _are_told_alike(one, other) and (is_task or one.phase.is_open is other.phase.is_open)


def _are_told_alike(one: ServiceState, other: ServiceState) -> bool:
    """Runs of tasks are told in other words than services."""
    return (one.kind is SubjectKind.TASK) is (other.kind is SubjectKind.TASK)


def _oldest(untold: Sequence[ServiceState], place: Place) -> ServiceState:
    return min(untold, key=lambda one: (one.untold(place.route)[0].at, one.key))


def _reply(
    mine: Sequence[ServiceState],
    untold: Sequence[ServiceState],
    thread: Thread,
    place: Place,
    now: datetime,
) -> Step | Wait:
    """The next reply. After many, what fails waits for the others; loud or over, it does not.

    They wait until they are as many as were told before, so that there are ever fewer replies.
    """
    oldest = _oldest(untold, place)
    first_at = oldest.untold(place.route)[0].at
    before = _told_before(first_at, mine, place) if oldest.phase.alerts else 0
    group = _group(untold, place, one_by_one=1 if before >= MANY else FOLD_ABOVE)
    step = _telling(StepKind.REPLY, group, place)
    loud = [one for one in group if _is_loud(one, one.untold(place.route), thread)]
    if loud and not place.quiet and _may_be_loud(thread, now):
        return Step(kind=step.kind, tells=step.tells, announces=_revisions(loud), is_broadcast=True)
    if len(group) < before >= MANY and now < first_at + GATHERS_FOR:
        return Wait(first_at + GATHERS_FOR)
    return step


def _told_before(at: datetime, mine: Sequence[ServiceState], place: Place) -> int:
    """Of how many services there was news within the minute before, which is told."""
    return sum(
        any(
            one.revision <= service.told.get(place.route, 0) and at - SHORTLY < one.at <= at
            for one in service.transitions
        )
        for service in mine
    )


def _hushed(
    cluster: ClusterState,
    mine: Sequence[ServiceState],
    thread: Thread,
    place: Place,
    now: datetime,
) -> Step | Wait | None:
    """What could not reach the channel when it came, because another just had, does so later."""
    hushed = [one for one in mine if _is_loud(one, one.transitions, thread)]
    if not hushed or place.quiet:
        return None
    if not _may_be_loud(thread, now) and thread.loud_at:
        return Wait(thread.loud_at + BETWEEN_BROADCASTS)
    if _is_used_up(thread, place):
        return _root(cluster, mine)
    loud = _revisions(one for one in hushed if _are_told_alike(hushed[0], one))
    return Step(kind=StepKind.REPLY, tells=loud, announces=loud, is_broadcast=True)


def _root(cluster: ClusterState, mine: Sequence[ServiceState]) -> Step:
    return Step(kind=StepKind.ROOT, shows=cluster.revision, announces=_revisions(_alerting(mine)))


def _upkeep(
    cluster: ClusterState, mine: Sequence[ServiceState], thread: Thread, now: datetime
) -> Step | Wait | None:
    """Keep the root true: at once for what a reader must know, seldom for counts."""
    if not thread.is_fixed and not thread.is_lost:
        due_at = _edit_due_at(cluster, thread)
        if due_at is not None and due_at <= now:
            return Step(kind=StepKind.EDIT, shows=cluster.revision)
        if due_at is not None:
            return Wait(due_at)
    should_be_marked = _is_all_recovered(cluster, mine)
    if should_be_marked != thread.is_marked and not thread.is_lost:
        return Step(kind=StepKind.MARK if should_be_marked else StepKind.UNMARK)
    return None


def _edit_due_at(cluster: ClusterState, thread: Thread) -> datetime | None:
    edited_at = thread.edited_at
    if edited_at is None:
        return None
    if thread.shows < cluster.revision:
        return edited_at + BETWEEN_EDITS
    if cluster.open_services and cluster.touched_at and cluster.touched_at > edited_at:
        return edited_at + COUNTS_WITHIN
    return None


def _is_all_recovered(cluster: ClusterState, mine: Sequence[ServiceState]) -> bool:
    shown = [one for one in mine if one.generation == cluster.generation]
    over = (Phase.RECOVERED, Phase.WELL, Phase.ROLLING)
    return not cluster.open_services and all(one.phase in over for one in shown)


def _may_be_loud(thread: Thread, now: datetime) -> bool:
    return thread.loud_at is None or now - thread.loud_at >= BETWEEN_BROADCASTS


def _is_loud(service: ServiceState, transitions: Sequence[Transition], thread: Thread) -> bool:
    """Whether the channel itself should know, and does not. What is over already shouts no more."""
    announced = thread.announced.get(service.key, 0)
    return service.phase.alerts and any(
        one.reason in LOUD and one.revision > announced for one in transitions
    )


def _telling(kind: StepKind, group: Iterable[ServiceState], place: Place) -> Step:
    tells = {one.key: one.untold(place.route)[-1].revision for one in group}
    return Step(kind=kind, tells=tells)


def _alerting(services: Iterable[ServiceState]) -> list[ServiceState]:
    return [one for one in services if one.phase.alerts]


def _revisions(services: Iterable[ServiceState]) -> dict[str, int]:
    return {one.key: one.revision for one in services}
