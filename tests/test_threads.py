"""What a thread needs next: root first, then replies; loud enough, and no louder."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.model import (
    ClusterState,
    Phase,
    Reason,
    ServiceState,
    Step,
    StepKind,
    Thread,
    Transition,
)
from notifier.threads import Place, Wait, in_incident, next_step
from tests.permutations import CLUSTER, at

C01 = Place(route="C01", channel="C01")
QUIET = replace(C01, quiet=True)
WEBHOOK = Place(route="C01", channel="C01", has_threads=False)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
FLAT_REASONS = (Reason.OVER_BEFORE_TOLD, Reason.SUPERSEDED)


@dataclass
class Room:
    """A channel as a thread's steps make it, a second a post; and the state that is told there."""

    place: Place = C01
    now: datetime = field(default_factory=lambda: at(0))
    cluster: ClusterState = field(
        default_factory=lambda: ClusterState(
            key=CLUSTER, account="1", region="r", partition="aws", generation=1
        )
    )
    thread: Thread | None = None
    steps: list[tuple[datetime, Step]] = field(default_factory=list)
    roots: int = 0

    # --- what happens -----------------------------------------------------------------------------

    def happens(
        self, name: str, reason: Reason, phase: Phase = Phase.FAILING, minutes: float = 0
    ) -> None:
        """A transition of this service, told nowhere yet."""
        self.now += minutes * MINUTE
        before = self.cluster.services.get(name) or ServiceState(name=name, destination="C01")
        revision = before.revision + 1
        news = Transition(revision=revision, reason=reason, at=self.now)
        service = replace(
            before,
            phase=phase,
            revision=revision,
            generation=1,
            transitions=(*before.transitions, news)[-5:],
        )
        self._put(service, risen=True)

    def counts(self, name: str) -> None:
        service = self.cluster.services[name]
        self._put(replace(service, count=service.count + 1), risen=False)

    def _put(self, service: ServiceState, *, risen: bool) -> None:
        services = {**self.cluster.services, service.name: service}
        open_services = sum(one.phase.is_open for one in services.values())
        closes = self.cluster.open_services > 0 and not open_services
        self.cluster = replace(
            self.cluster,
            services=services,
            revision=self.cluster.revision + risen,
            open_services=open_services,
            closed_at=self.now if closes else None if open_services else self.cluster.closed_at,
            touched_at=self.now,
        )

    def fails(self, *names: str, minutes: float = 0) -> None:
        for name in names:
            self.happens(name, Reason.NEWLY_FAILING, minutes=minutes)

    def recovers(self, *names: str) -> None:
        for name in names:
            self.happens(name, Reason.RECOVERED, Phase.RECOVERED)

    # --- what is told -----------------------------------------------------------------------------

    def next(self) -> Step | Wait | None:
        return next_step(self.cluster, self.thread, self.place, self.now)

    def tell(self) -> list[Step]:
        """Take steps until it has to wait or all is told."""
        taken: list[Step] = []
        for _ in range(500):
            step = self.next()
            if not isinstance(step, Step):
                return taken
            self.take(step)
            taken.append(step)
        raise AssertionError("it goes on for ever")

    def tell_all(self) -> list[Step]:
        """Also wait as long as it takes."""
        taken = self.tell()
        while isinstance(wait := self.next(), Wait):
            assert wait.until > self.now
            self.now = wait.until
            taken += self.tell()
        return taken

    def take(self, step: Step) -> None:
        self.steps.append((self.now, step))
        services = {
            key: replace(one, told={**one.told, self.place.route: step.tells[key]})
            if key in step.tells
            else one
            for key, one in self.cluster.services.items()
        }
        self.cluster = replace(self.cluster, services=services)
        self.thread = self._thread_after(step)
        self.now += SECOND

    def _thread_after(self, step: Step) -> Thread | None:
        thread = self.thread
        announced = {**(thread.announced if thread else {}), **step.announces}
        if step.kind is StepKind.ROOT:
            self.roots += 1
            return Thread(
                generation=1,
                number=self.roots,
                channel=self.place.channel,
                ts=str(self.roots),
                opened_at=self.now,
                shows=step.shows,
                edited_at=self.now,
                loud_at=self.now,
                announced=announced,
            )
        if thread is None:
            return None
        match step.kind:
            case StepKind.REPLY:
                loud_at = self.now if step.is_broadcast else thread.loud_at
                replies = thread.replies + 1
                return replace(thread, replies=replies, loud_at=loud_at, announced=announced)
            case StepKind.EDIT:
                return replace(thread, shows=step.shows, edited_at=self.now)
            case StepKind.MARK | StepKind.UNMARK:
                return replace(thread, is_marked=step.kind is StepKind.MARK)
        return thread

    def change(self, **fields: object) -> None:
        assert self.thread
        self.thread = replace(self.thread, **fields)  # type: ignore[arg-type]


def kinds(steps: Sequence[Step]) -> list[StepKind]:
    return [step.kind for step in steps]


def told(steps: Sequence[Step]) -> list[list[str]]:
    return [sorted(step.tells) for step in steps if step.tells]


def opened(*names: str, place: Place = C01) -> Room:
    """A thread in which these services' failures are told and may be followed by a broadcast."""
    room = Room(place)
    room.fails(*(names or ("checkout",)))
    room.tell_all()
    room.now += 10 * MINUTE
    return room


# --- root, replies, folds -------------------------------------------------------------------------


def test_the_first_failure_is_a_root_and_a_reply() -> None:
    room = Room()
    room.fails("checkout")

    assert kinds(room.tell()) == [StepKind.ROOT, StepKind.REPLY]


def test_nothing_is_said_of_a_cluster_in_which_nothing_is_to_be_told() -> None:
    assert Room().next() is None


def test_what_another_route_is_told_is_none_of_ours() -> None:
    room = Room(replace(C01, route="C02", channel="C02"))
    room.fails("checkout")

    assert room.next() is None


def test_replies_come_oldest_first() -> None:
    room = opened("a", "b")
    room.recovers("b")
    room.fails("c", minutes=1)
    room.happens("a", Reason.ANOTHER_CAUSE, minutes=1)

    assert told(room.tell()) == [["b"], ["c"], ["a"]]


def test_three_services_are_three_replies_and_four_are_one() -> None:
    few, many = opened(), opened()
    few.fails("a", "b", "c")
    many.fails("a", "b", "c", "d")

    assert told(few.tell()) == [["a"], ["b"], ["c"]]
    assert told(many.tell()) == [["a", "b", "c", "d"]]


def test_an_outage_is_one_root_and_one_reply() -> None:
    room = Room()
    names = [f"service-{n:02}" for n in range(40)]
    room.fails(*names)

    assert kinds(room.tell()) == [StepKind.ROOT, StepKind.REPLY]
    assert told([step for _, step in room.steps]) == [names]


def test_recoveries_fold_alike() -> None:
    names = [f"service-{n:02}" for n in range(12)]
    room = opened(*names)
    room.recovers(*names)

    assert told(room.tell()) == [names]


def test_failures_and_recoveries_are_never_in_one_reply() -> None:
    room = opened("a", "b")
    room.recovers("a", "b")
    room.fails("c", "d", "e", "f", minutes=1)

    assert told(room.tell()) == [["a", "b"], ["c", "d", "e", "f"]]


def test_what_happened_to_a_service_meanwhile_is_one_reply() -> None:
    room = opened()
    room.recovers("checkout")
    room.happens("checkout", Reason.FAILING_AGAIN)

    reply, *rest = room.tell()
    assert reply.tells == {"checkout": 3}
    assert told(rest) == []


def test_what_was_over_when_slack_came_back_has_a_root_and_no_broadcast() -> None:
    room = Room()
    room.fails("checkout")
    room.recovers("checkout")
    steps = room.tell_all()

    assert kinds(steps) == [StepKind.ROOT, StepKind.REPLY, StepKind.MARK]
    assert not any(step.is_broadcast for step in steps)


# --- what comes one after another -----------------------------------------------------------------


def staggered(room: Room, count: int, *, seconds: float = 9) -> None:
    """So many services begin to fail, one after another; each is told when it may be."""
    for n in range(count):
        until = room.now + seconds * SECOND
        room.fails(f"service-{n:02}")
        room.tell()
        while isinstance(wait := room.next(), Wait) and wait.until < until:
            assert wait.until > room.now
            room.now = wait.until
            room.tell()
        room.now = until
    room.tell_all()


def began(room: Room, step: Step) -> datetime:
    return room.cluster.services[min(step.tells)].transitions[0].at


def replies(room: Room) -> list[tuple[datetime, Step]]:
    return [(when, step) for when, step in room.steps if step.kind is StepKind.REPLY]


def test_an_outage_that_comes_one_by_one_folds_after_three_replies() -> None:
    room = Room()
    staggered(room, 40)
    sizes = [len(step.tells) for _, step in replies(room) if not step.is_broadcast]

    assert sizes[:3] == [1, 1, 1]
    assert len(sizes) <= 3 + 40 * 9 / 30
    assert min(sizes[3:-1]) > 1


def test_nobody_waits_longer_than_half_a_minute_to_be_told_with_the_others() -> None:
    room = Room()
    staggered(room, 40)
    told_at: dict[str, datetime] = {}
    for when, step in replies(room):
        for name in step.tells:
            told_at.setdefault(name, when)
    waited = [at - room.cluster.services[name].transitions[0].at for name, at in told_at.items()]

    assert len(waited) == 40
    assert max(waited) <= 35 * SECOND


def test_the_first_failures_of_an_outage_are_told_at_once() -> None:
    room = Room()
    for name in "abc":
        room.fails(name)
        room.tell()
        room.now += 9 * SECOND

    waited = [when - began(room, step) for when, step in replies(room)]
    assert waited == [SECOND, timedelta(0), timedelta(0)]


def busy(room: Room) -> Room:
    """Three services that failed a moment ago are told."""
    for name in "abc":
        room.fails(name)
        room.tell()
    return room


def test_the_root_is_edited_while_the_others_are_waited_for() -> None:
    room = busy(Room())
    room.now += 21 * SECOND
    room.fails("d")

    assert kinds(room.tell()) == [StepKind.EDIT]
    assert room.next() == Wait(room.cluster.services["d"].transitions[0].at + 30 * SECOND)


def test_two_that_were_waited_with_are_one_reply() -> None:
    room = busy(Room())
    room.fails("d")
    room.now += 9 * SECOND
    room.fails("e")

    assert told(room.tell_all())[0] == ["d", "e"]


def test_as_many_as_were_told_before_are_not_waited_with() -> None:
    room = busy(Room())
    room.fails("d", "e")
    assert told(room.tell()) == []
    room.fails("f")

    assert told(room.tell()) == [["d", "e", "f"]]


def test_a_hundred_services_that_fail_within_three_minutes_are_few_replies() -> None:
    room = Room()
    staggered(room, 100, seconds=2)

    assert len(replies(room)) <= 14


def test_what_is_loud_is_not_waited_with() -> None:
    room = busy(opened())
    room.change(loud_at=room.now - 5 * MINUTE)
    room.fails("d")

    assert room.tell()[0].is_broadcast


def test_what_becomes_loud_while_the_others_are_waited_for_is_told_then() -> None:
    room = busy(opened())
    room.change(loud_at=room.now - 5 * MINUTE + 10 * SECOND)
    room.fails("d")
    room.tell()
    room.now += 10 * SECOND

    assert room.tell()[0].is_broadcast


def test_what_comes_a_minute_later_is_told_at_once() -> None:
    room = busy(Room())
    room.tell_all()
    room.happens("d", Reason.STILL_FAILING, minutes=1)

    assert told(room.tell())[0] == ["d"]


def test_what_is_over_is_waited_with_for_nobody() -> None:
    room = busy(Room())
    room.recovers("a")

    assert told(room.tell())[0] == ["a"]


def test_a_webhook_waits_for_nobody() -> None:
    room = busy(Room(WEBHOOK))
    room.fails("d")

    assert told(room.tell()) == [["d"]]


# --- loud and quiet -------------------------------------------------------------------------------


def test_the_first_reply_is_not_broadcast_because_its_root_reached_the_channel() -> None:
    room = Room()
    room.fails("checkout")

    assert not any(step.is_broadcast for step in room.tell_all())


@pytest.mark.parametrize(
    "reason", [Reason.NEWLY_FAILING, Reason.FAILING_AGAIN, Reason.FLAPPING, Reason.WORSE]
)
def test_what_newly_fails_or_gets_worse_reaches_the_channel(reason: Reason) -> None:
    room = opened()
    room.happens("search", reason)

    assert room.tell()[0].is_broadcast


@pytest.mark.parametrize(
    ("reason", "phase"),
    [
        (Reason.STILL_FAILING, Phase.FAILING),
        (Reason.ANOTHER_CAUSE, Phase.FAILING),
        (Reason.RECOVERED, Phase.RECOVERED),
        (Reason.ROLLED_BACK, Phase.NOT_LIVE),
        (Reason.WENT_QUIET, Phase.QUIET),
    ],
)
def test_what_is_no_new_trouble_stays_in_the_thread(reason: Reason, phase: Phase) -> None:
    room = opened()
    room.happens("checkout", reason, phase)

    assert not room.tell()[0].is_broadcast


def test_a_quiet_route_gets_no_broadcast() -> None:
    room = opened(place=QUIET)
    room.fails("search")
    room.happens("checkout", Reason.WORSE)

    assert not any(step.is_broadcast for step in room.tell_all())


def test_a_thread_is_loud_at_most_once_in_five_minutes_and_the_rest_follows() -> None:
    room = opened()
    for name in "abcdef":
        room.fails(name, minutes=1)
        room.tell()
    room.tell_all()
    loud = [when for when, step in room.steps if step.is_broadcast]

    assert len(loud) == 3
    assert all(b - a >= 5 * MINUTE for a, b in itertools.pairwise(loud))
    announced = {key for _, step in room.steps if step.is_broadcast for key in step.announces}
    assert announced == set("abcdef")


def test_what_is_over_before_it_could_be_loud_is_not_shouted_any_more() -> None:
    room = opened()
    room.fails("a")
    room.fails("b")
    room.tell()
    room.recovers("b")

    assert not any("b" in step.announces for step in room.tell_all())


def test_what_is_clear_and_fails_again_reaches_the_channel_again() -> None:
    room = opened()
    room.recovers("checkout")
    room.tell_all()
    room.happens("checkout", Reason.FAILING_AGAIN, minutes=6)

    assert room.tell()[0].is_broadcast


# --- the root stays true --------------------------------------------------------------------------


def test_the_root_is_edited_twenty_seconds_after_its_last_edit() -> None:
    room = opened()
    room.happens("checkout", Reason.ANOTHER_CAUSE)
    room.tell()
    edits = [when for when, step in room.steps if step.kind is StepKind.EDIT]
    room.happens("checkout", Reason.ANOTHER_CAUSE)
    room.tell()

    assert room.next() == Wait(edits[-1] + 20 * SECOND)


def test_what_waits_to_be_loud_does_not_hold_up_the_edit() -> None:
    room = opened()
    room.fails("a")
    room.fails("b")
    room.tell_all()
    room.now += 5 * MINUTE
    room.fails("c")
    room.tell()
    room.fails("d", minutes=1)

    assert StepKind.EDIT in kinds(room.tell())
    assert isinstance(room.next(), Wait)


def test_counts_reach_the_root_five_minutes_after_its_last_edit() -> None:
    room = Room()
    room.fails("checkout")
    room.tell_all()
    thread = room.thread
    assert thread
    assert thread.edited_at
    room.counts("checkout")

    assert room.next() == Wait(thread.edited_at + 5 * MINUTE)


def test_a_root_that_may_not_be_edited_is_left_as_it_is() -> None:
    room = opened()
    room.change(is_fixed=True)
    room.happens("checkout", Reason.ANOTHER_CAUSE)

    assert kinds(room.tell_all()) == [StepKind.REPLY]


def test_the_root_is_marked_when_all_is_well_and_unmarked_when_it_fails_again() -> None:
    room = opened()
    room.recovers("checkout")
    assert kinds(room.tell_all())[-1] is StepKind.MARK
    room.happens("checkout", Reason.FAILING_AGAIN)

    assert kinds(room.tell_all())[-1] is StepKind.UNMARK


@pytest.mark.parametrize("phase", [Phase.NOT_LIVE, Phase.QUIET, Phase.STOPPED, Phase.GONE])
def test_what_has_not_recovered_is_not_marked(phase: Phase) -> None:
    room = opened("a", "b")
    room.recovers("a")
    room.happens("b", Reason.ROLLED_BACK, phase)

    assert StepKind.MARK not in kinds(room.tell_all())


def test_the_root_shows_the_worst_first_and_nothing_of_other_incidents() -> None:
    room = Room()
    room.recovers("a")
    room.fails("b", "c")
    old = ServiceState(name="d", destination="C01", phase=Phase.FAILING, generation=0)
    well = ServiceState(name="e", destination="C01", phase=Phase.ROLLING, generation=1)
    services = {**room.cluster.services, "d": old, "e": well}
    cluster = replace(room.cluster, services=services)

    assert [one.name for one in in_incident(cluster, "C01")] == ["b", "c", "a"]


# --- another root ---------------------------------------------------------------------------------


def test_after_fifty_replies_the_next_is_under_a_new_root() -> None:
    room = opened()
    replies = 0
    while room.roots == 1:
        room.happens("checkout", Reason.ANOTHER_CAUSE, minutes=1)
        replies += kinds(room.tell_all()).count(StepKind.REPLY)

    assert replies == 50
    assert room.roots == 2


@pytest.mark.parametrize("reason", [Reason.NEWLY_FAILING, Reason.FAILING_AGAIN])
def test_what_newly_fails_under_a_root_of_yesterday_gets_a_new_one(reason: Reason) -> None:
    room = opened()
    room.happens("search", reason, minutes=24 * 60 + 1)

    assert kinds(room.tell()) == [StepKind.ROOT, StepKind.REPLY]


@pytest.mark.parametrize("reason", [Reason.WORSE, Reason.STILL_FAILING, Reason.ANOTHER_CAUSE])
def test_what_goes_on_under_a_root_of_yesterday_stays_there(reason: Reason) -> None:
    room = opened()
    room.happens("checkout", reason, minutes=24 * 60 + 1)

    assert StepKind.ROOT not in kinds(room.tell_all())


@pytest.mark.parametrize("change", [{"is_lost": True}, {"channel": "C99"}])
def test_news_after_a_deleted_root_or_in_another_channel_begins_with_a_root(
    change: dict[str, object],
) -> None:
    room = opened()
    room.change(**change)
    assert room.next() is None
    room.happens("checkout", Reason.ANOTHER_CAUSE)

    assert kinds(room.tell()) == [StepKind.ROOT, StepKind.REPLY]


def test_what_could_not_be_loud_before_its_root_was_deleted_is_a_new_root() -> None:
    room = opened()
    room.fails("a", "b")
    room.tell()
    room.change(is_lost=True)

    assert kinds(room.tell_all()) == [StepKind.ROOT]


def test_neither_edit_nor_mark_goes_to_a_deleted_root() -> None:
    room = opened()
    room.recovers("checkout")
    room.tell()
    room.change(is_lost=True, is_marked=False, shows=0)

    assert room.tell_all() == []


# --- flat -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", FLAT_REASONS)
def test_what_is_over_already_is_one_flat_line_where_no_thread_is(reason: Reason) -> None:
    room = Room()
    room.happens("checkout", reason, Phase.RECOVERED)

    assert kinds(room.tell_all()) == [StepKind.FLAT]
    assert room.thread is None


@pytest.mark.parametrize("reason", FLAT_REASONS)
def test_what_is_over_already_is_told_in_the_thread_that_is_open(reason: Reason) -> None:
    room = opened()
    room.happens("search", reason, Phase.RECOVERED)

    assert kinds(room.tell())[0] is StepKind.REPLY


def test_what_is_over_already_is_told_in_the_thread_that_has_just_closed() -> None:
    room = opened()
    room.recovers("checkout")
    room.tell_all()
    room.happens("search", Reason.SUPERSEDED, Phase.WELL, minutes=30)

    assert kinds(room.tell())[0] is StepKind.REPLY


@pytest.mark.parametrize(
    "change", [{}, {"is_lost": True}, {"channel": "C99"}, {"replies": 50}], ids=str
)
def test_what_is_over_already_opens_no_new_root_and_no_old_thread(
    change: dict[str, object],
) -> None:
    room = opened()
    room.recovers("checkout")
    room.tell_all()
    room.change(**change)
    minutes = 1 if change else 61
    room.happens("search", Reason.SUPERSEDED, Phase.WELL, minutes=minutes)

    assert kinds(room.tell())[0] is StepKind.FLAT


def test_a_root_comes_before_what_is_over_already() -> None:
    room = Room()
    room.happens("old", Reason.OVER_BEFORE_TOLD, Phase.RECOVERED)
    room.fails("checkout", minutes=1)

    assert kinds(room.tell()) == [StepKind.ROOT, StepKind.REPLY, StepKind.REPLY]


def test_a_webhook_gets_flat_messages_folded_and_nothing_else() -> None:
    room = Room(WEBHOOK)
    room.fails("a", "b")
    room.counts("a")
    assert told(room.tell_all()) == [["a", "b"]]
    room.recovers("a")
    room.happens("b", Reason.WORSE, minutes=1)

    assert told(room.tell_all()) == [["a"], ["b"]]
    assert {step.kind for _, step in room.steps} == {StepKind.FLAT}


# --- whatever happens -----------------------------------------------------------------------------

REASONS = [
    (Reason.NEWLY_FAILING, Phase.FAILING),
    (Reason.FAILING_AGAIN, Phase.FAILING),
    (Reason.WORSE, Phase.FAILING),
    (Reason.ANOTHER_CAUSE, Phase.FAILING),
    (Reason.STILL_FAILING, Phase.FAILING),
    (Reason.RECOVERED, Phase.RECOVERED),
    (Reason.ROLLED_BACK, Phase.NOT_LIVE),
    (Reason.WENT_QUIET, Phase.QUIET),
    (Reason.OVER_BEFORE_TOLD, Phase.RECOVERED),
    (Reason.SUPERSEDED, Phase.WELL),
]
HAPPENINGS = st.tuples(
    st.sampled_from("abcdefg"),
    st.sampled_from(REASONS),
    st.sampled_from([0, 0, 0.1, 1, 6, 90, 1500]),
    st.sampled_from(["", "", "tell", "tell all", "lost", "moved", "fixed", "counts"]),
)


def checked(room: Room) -> Iterator[Step]:
    for _, step in room.steps:
        if step.kind in (StepKind.REPLY, StepKind.FLAT):
            assert step.tells
        yield step


@settings(max_examples=200, deadline=None)
@given(st.lists(HAPPENINGS, max_size=40), st.sampled_from([C01, QUIET, WEBHOOK]))
def test_it_always_comes_to_rest_with_everything_told_and_no_louder_than_it_may_be(
    happenings: list[tuple[str, tuple[Reason, Phase], float, str]], place: Place
) -> None:
    room = Room(place)
    for name, (reason, phase), minutes, then in happenings:
        room.happens(name, reason, phase, minutes)
        match then:
            case "tell":
                room.tell()
            case "tell all":
                room.tell_all()
            case "counts":
                room.counts(name)
            case "lost" | "fixed" if room.thread:
                room.change(**{f"is_{then}": True})
            case "moved" if room.thread:
                room.change(channel="C99")
    room.tell_all()

    assert room.next() is None
    assert not any(one.untold("C01") for one in room.cluster.services.values())
    steps = list(checked(room))
    reaching = [when for when, step in room.steps if step.is_broadcast]
    assert all(b - a >= 5 * MINUTE for a, b in itertools.pairwise(reaching))
    assert not (place.quiet and reaching)
    if place is WEBHOOK:
        assert {step.kind for step in steps} <= {StepKind.FLAT}
    elif room.thread and not room.thread.is_lost and not room.thread.is_fixed:
        assert room.thread.shows == room.cluster.revision
