"""The hourly census reads the members too, and one that does not answer keeps no other waiting."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from notifier.errors import ReadFailed
from notifier.lookout import CALLS_A_TICK, Lookout
from notifier.model import Census, Heard, Invocation, ServiceReading
from notifier.routing import parse_channels
from tests.watch import START, Clock, deployment_row, failing, reading

HOME = ("123456789012", "eu-west-1")
NEAR, FAR = (HOME[0], "us-east-1"), ("210987654321", "eu-west-1")


def cluster(place: tuple[str, str], name: str = "prod-web") -> str:
    return f"arn:aws:ecs:{place[1]}:{place[0]}:cluster/{name}"


@dataclass
class Everywhere:
    """ECS of every account: what runs well in which cluster, and who cannot be read, and why."""

    shown: dict[str, list[str]]
    why: dict[tuple[str, str], str] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)
    listed: list[tuple[str, str]] = field(default_factory=list)

    def is_ours(self, account: str, region: str) -> bool:
        return (account, region) == HOME

    def essential_containers(self, cluster_arn: str, _task_definition: str) -> Sequence[str]:
        raise AssertionError(f"no task of {cluster_arn} failed")

    def clusters(self) -> Sequence[str]:
        return self.clusters_of(*HOME)

    def clusters_of(self, account: str, region: str) -> Sequence[str]:
        self.listed.append((account, region))
        self._may_be_read(account, region)
        return [arn for arn in self.shown if f":{region}:{account}:" in arn]

    def service_names(self, cluster_arn: str, _page: str) -> tuple[Sequence[str], str]:
        _, _, _, region, account, _ = cluster_arn.split(":", 5)
        self._may_be_read(account, region)
        return self.shown[cluster_arn], ""

    def services(
        self, cluster_arn: str, names: Sequence[str], _now: datetime
    ) -> Mapping[str, ServiceReading]:
        self.read.append(cluster_arn)
        rows = [deployment_row(42, running=2)]
        return {
            name: failing(name)
            if name.startswith("broken")
            else reading(name, running=2, desired=2, rows=rows)
            for name in names
        }

    def _may_be_read(self, account: str, region: str) -> None:
        if why := self.why.get((account, region)):
            raise ReadFailed("ListClusters", why)


@dataclass
class Rows:
    """What the census needs of the table; a broken service would need more."""

    members: list[tuple[str, str]]
    kept: Census | None = None
    summaries: list[str] = field(default_factory=list)

    def heard(self) -> Sequence[Heard]:
        return [Heard(account=account, region=region, at=START) for account, region in self.members]

    def census(self) -> Census | None:
        return self.kept

    def save_census(self, census: Census) -> None:
        self.kept = census

    def owe_note(self, what: str, destination: str, _now: datetime, _token: str) -> None:
        self.summaries.append(f"{what} {destination}")


class Counting:
    """A lookout of which only the census is asked."""

    def __init__(self, ecs: Everywhere, members: Sequence[tuple[str, str]], channels: str) -> None:
        self.ecs, self.rows, self.clock = ecs, Rows(list(members)), Clock()
        store: Any = self.rows
        teller: Any = None
        self.lookout = Lookout(store, ecs, teller, parse_channels(channels))

    def tick(self, minutes: int = 1) -> None:
        self.clock.at += timedelta(minutes=minutes)
        ends_at = self.clock.at + timedelta(minutes=5)
        run = Invocation(
            id="run",
            now=self.clock.now,
            remaining=lambda: ends_at - self.clock.at,
            sleep=self.clock.sleep,
            jitter=lambda at_most: at_most,
            unique=lambda: "token",
        )
        list(self.lookout._count(run))

    @property
    def census(self) -> Census:
        assert self.rows.kept is not None
        return self.rows.kept


def counting(
    shown: Mapping[str, list[str]],
    members: Sequence[tuple[str, str]] = (HOME, NEAR, FAR),
    channels: str = "*=C01",
) -> Counting:
    return Counting(Everywhere(dict(shown)), members, channels)


EVERYWHERE = {
    cluster(HOME): ["checkout"],
    cluster(NEAR): ["checkout", "search"],
    cluster(FAR): ["checkout"],
    cluster(FAR, "dev"): ["checkout"],
}


def test_the_census_reads_every_cluster_of_every_member_that_was_heard_of() -> None:
    watch = counting(EVERYWHERE)
    watch.tick()

    assert sorted(watch.ecs.read) == sorted(EVERYWHERE)
    assert (watch.census.watched, watch.census.services) == (4, 5)
    assert watch.census.finished_at == watch.clock.at
    assert watch.rows.summaries == ["summary C01"]


def test_our_own_heartbeat_makes_us_no_member() -> None:
    watch = counting(EVERYWHERE, [HOME])
    watch.tick()

    assert watch.ecs.listed == [HOME]
    assert watch.ecs.read == [cluster(HOME)]


def test_a_member_is_counted_again_each_hour_and_a_new_one_from_then_on() -> None:
    watch = counting(EVERYWHERE, [HOME, NEAR])
    watch.tick()
    watch.rows.members.append(FAR)
    watch.tick(30)
    assert len(watch.ecs.read) == 2
    watch.tick(31)

    assert len(watch.ecs.read) == 2 + 4
    assert watch.census.watched == 2  # what the first round had seen


def test_ignored_clusters_of_a_member_are_not_counted() -> None:
    watch = counting(EVERYWHERE, channels="dev*=ignore; *=C01")
    watch.tick()

    assert cluster(FAR, "dev") not in watch.ecs.read
    assert watch.census.watched == 3


@pytest.mark.parametrize("why", ["no permission", "gone", "too slow", "throttled", "unavailable"])
def test_a_member_that_cannot_be_read_keeps_no_other_waiting(why: str) -> None:
    watch = counting(EVERYWHERE, [HOME, NEAR, FAR])
    watch.ecs.why[NEAR] = why
    for _ in range(3):
        watch.tick()

    assert sorted(watch.ecs.read) == sorted(arn for arn in EVERYWHERE if arn != cluster(NEAR))
    assert watch.census.finished_at is not None
    watch.ecs.why.clear()
    watch.tick(61)
    assert cluster(NEAR) in watch.ecs.read


@pytest.mark.parametrize(("why", "listed"), [("no permission", 1 + 50), ("too slow", 1 + 1)])
def test_members_that_do_not_answer_do_not_take_a_ticks_whole_time(why: str, listed: int) -> None:
    """A refusal is an answer and comes at once; silence takes seconds, so one a tick is enough."""
    members = [(f"{number:012}", "eu-west-1") for number in range(50)]
    watch = counting({cluster(HOME): ["checkout"]}, members)
    watch.ecs.why = dict.fromkeys(members, why)
    watch.tick()

    assert len(watch.ecs.listed) == min(listed, CALLS_A_TICK - 2)
    for _ in range(60):
        watch.tick()
    assert watch.census.finished_at is not None


def minutes_of(watch: Counting, arn: str, minutes: int) -> list[int]:
    """The minutes in which a cluster is read."""
    read = []
    for minute in range(minutes):
        before = watch.ecs.read.count(arn)
        watch.tick()
        read += [minute] * (watch.ecs.read.count(arn) - before)
    return read


MANY = [(f"{number:012}", "eu-west-1") for number in range(100)]


def test_a_hundred_silent_members_do_not_keep_our_own_clusters_waiting() -> None:
    watch = counting({cluster(HOME): ["checkout"]}, MANY)
    for _ in range(10):
        watch.tick()
    assert watch.census.finished_at is not None
    watch.ecs.why = dict.fromkeys(MANY, "too slow")
    watch.clock.at += timedelta(hours=1)

    assert minutes_of(watch, cluster(HOME), 181) == [0, 60, 120, 180]


def test_members_that_answered_are_read_before_those_that_were_silent() -> None:
    shown = {cluster(HOME): ["checkout"], cluster(FAR): ["checkout"]}
    watch = counting(shown, [*MANY, FAR])
    for _ in range(10):
        watch.tick()
    watch.ecs.why = dict.fromkeys(MANY, "too slow")
    watch.clock.at += timedelta(hours=1)
    first, *others = minutes_of(watch, cluster(FAR), 301)

    assert first <= 120
    assert len(others) >= 3
    assert all(later - earlier <= 61 for earlier, later in itertools.pairwise([first, *others]))
    tried = watch.ecs.listed.count(MANY[0])
    assert tried >= 2, "who was silent is tried again"
    assert {watch.ecs.listed.count(one) for one in MANY} <= {tried - 1, tried, tried + 1}


def test_a_member_of_many_clusters_that_falls_silent_takes_one_tick_of_the_round() -> None:
    many = {cluster(NEAR, f"prod-{number}"): ["checkout"] for number in range(90)}
    shown = {cluster(HOME): ["checkout"], **many, cluster(FAR): ["checkout"]}
    watch = counting(shown, [NEAR, FAR])
    watch.tick()  # ours, and some of the member's
    watch.ecs.why[NEAR] = "too slow"

    assert minutes_of(watch, cluster(FAR), 5) == [1]
    assert watch.census.finished_at is not None


def test_what_of_a_member_was_not_reached_in_the_hour_comes_first_in_the_next_one() -> None:
    many = {cluster(NEAR, f"prod-{number:04}"): ["checkout"] for number in range(1_000)}
    shown = {cluster(HOME): ["checkout"], **many, cluster(FAR): ["checkout"]}
    watch = counting({cluster(HOME): ["checkout"]}, [NEAR, FAR])
    watch.tick()
    watch.ecs.shown = shown
    watch.clock.at += timedelta(hours=1)

    assert minutes_of(watch, cluster(HOME), 121) == [0, 60, 120]
    assert set(watch.ecs.read) == set(shown)


def test_our_own_clusters_are_waited_for_as_before() -> None:
    watch = counting(EVERYWHERE)
    watch.ecs.why[HOME] = "throttled"
    watch.tick()
    assert watch.ecs.read == []
    watch.ecs.why.clear()
    watch.tick()
    assert len(watch.ecs.read) == 4


def test_a_summary_names_a_members_cluster_with_its_account_and_region() -> None:
    watch = counting(EVERYWHERE)

    assert watch.lookout._name(cluster(HOME)) == "prod-web"
    assert watch.lookout._name(cluster(NEAR)) == "prod-web (123456789012, us-east-1)"
    assert watch.lookout._name(cluster(FAR)) == "prod-web (210987654321, eu-west-1)"
