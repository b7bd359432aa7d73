"""Every minute: what is due is read again, what was not told is told, each hour all is counted."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from string import ascii_letters
from typing import Any
from unittest.mock import patch

import pytest

from notifier import incidents
from notifier.ecs import Budget
from notifier.errors import ReadFailed, StoreUnavailable
from notifier.model import Phase, Refusal, Refused, ServiceReading
from notifier.store import Store
from tests.watch import (
    CLUSTER,
    FakeEcs,
    TableClient,
    Watch,
    deployment_failed,
    deployment_row,
    failing,
)

MINUTE = timedelta(minutes=1)


def cluster_arn(name: str) -> str:
    return f"arn:aws:ecs:eu-west-1:123456789012:cluster/{name}"


# --- what is due --------------------------------------------------------------------------------


def test_a_tick_with_nothing_open_reads_no_ecs_and_posts_nothing(watch: Watch) -> None:
    watch.tick()

    assert watch.ecs.calls == []
    assert watch.slack.asked == []


def test_what_fails_is_read_again_every_minute_at_first(watch: Watch) -> None:
    watch.offer(deployment_failed())
    watch.ecs.calls.clear()
    watch.ticks(3)

    assert watch.ecs.calls == [["checkout"]] * 3


def test_what_stays_broken_is_read_less_often(watch: Watch) -> None:
    watch.offer(deployment_failed())
    watch.ticks(24 * 60)
    watch.ecs.calls.clear()
    watch.ticks(60)

    assert 3 <= len(watch.ecs.calls) <= 6


def test_what_is_well_again_is_read_no_more(watch: Watch) -> None:
    watch.offer(deployment_failed())
    watch.ecs.show_well("checkout", 43)
    watch.ticks(15)
    watch.ecs.calls.clear()
    watch.ticks(10)

    assert watch.service().phase in (Phase.RECOVERED, Phase.NOT_LIVE)
    assert watch.ecs.calls == []


def test_services_of_a_cluster_are_read_together(watch: Watch) -> None:
    watch.take_in(*(deployment_failed(f"service-{n}") for n in range(12)))
    watch.tick()

    assert len(watch.ecs.calls[0]) == 12


def test_more_services_than_one_save_takes_are_all_looked_at(watch: Watch) -> None:
    watch.take_in(*(deployment_failed(f"service-{n}") for n in range(130)))
    for number in range(130):
        watch.ecs.show_well(f"service-{number}", 43)
    watch.ticks(12)

    phases = {one.phase for one in watch.cluster().services.values()}
    assert not any(phase.is_open for phase in phases)


def test_a_cluster_that_cannot_be_read_does_not_stop_the_others(watch: Watch) -> None:
    dev = deployment_failed("other")
    dev["resources"] = ["arn:aws:ecs:eu-west-1:123456789012:service/dev/other"]
    watch.take_in(deployment_failed(), dev)
    real = watch.ecs.services

    def services(cluster: str, names: Sequence[str], now: datetime) -> Any:
        if cluster == CLUSTER:
            raise ZeroDivisionError
        return real(cluster, names, now)

    with patch.object(watch.ecs, "services", services):
        watch.tick()

    assert watch.cluster(cluster_arn("dev")).services["other"].reading is not None


def test_a_bug_about_one_service_does_not_stop_its_neighbours(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    watch.take_in(deployment_failed("broken"), deployment_failed("sound"))
    real = incidents.decide

    def decide(cluster: Any, observations: Any, *given: Any) -> Any:
        if any(getattr(one, "service", "") == "broken" for one in observations):
            raise ZeroDivisionError
        return real(cluster, observations, *given)

    with patch("notifier.incidents.decide", decide):
        watch.tick()

    assert watch.service("sound").reading is not None
    assert any(line.message == "look failed" for line in caplog.records)


def test_without_permission_to_read_a_failure_is_told_and_stays_open(watch: Watch) -> None:
    watch.ecs.fails = "no permission"
    watch.offer(deployment_failed())
    watch.ticks(20)

    assert watch.service().phase is Phase.FAILING
    assert len(watch.slack.roots) == 1


def test_a_daemon_is_not_asked_of_ecs(watch: Watch) -> None:
    file = Path("events/daemon-action-task-failed-to-run-docs-2026.json")
    daemon = {**json.loads(file.read_text("utf-8")), "time": "2026-11-23T12:00:00Z"}
    watch.offer(daemon)
    watch.ticks(3)

    assert "my-daemon" in watch.slack.texts[0]
    assert watch.ecs.calls == []


def test_looking_ends_in_time_and_goes_on_with_the_next_tick(watch: Watch) -> None:
    watch.take_in(*(deployment_failed(f"service-{n}") for n in range(200)))
    real = watch.ecs.services

    def slow(*given: Any) -> Any:
        watch.clock.at += timedelta(seconds=40)
        return real(*given)

    with patch.object(watch.ecs, "services", slow):
        watch.tick()
        looked = [one for one in watch.cluster().services.values() if one.reading]
        assert 0 < len(looked) < 200
        watch.ticks(5)

    assert all(one.reading for one in watch.cluster().services.values())


def test_why_a_look_told_or_not_is_in_one_line(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    watch.take_in(deployment_failed())
    caplog.set_level(logging.INFO)
    watch.tick()

    (line,) = [one.__dict__ for one in caplog.records if one.message == "looked"]
    assert line["service"] == "checkout"
    assert line["reason"]


# --- telling ------------------------------------------------------------------------------------


def test_what_is_owed_is_told_by_the_tick(watch: Watch) -> None:
    watch.take_in(deployment_failed())
    watch.tick()

    assert len(watch.slack.posts) == 2


def test_a_channel_that_somebody_holds_is_waited_for(watch: Watch) -> None:
    watch.take_in(deployment_failed())
    watch.clock.at += MINUTE
    now = watch.clock.at
    watch.store.hold("C01", "who died", now=now, until=now + MINUTE)
    watch.tick(after=timedelta())

    assert len(watch.slack.posts) == 2
    assert watch.clock.at - now > MINUTE


def test_a_channel_with_much_to_tell_does_not_starve_another() -> None:
    watch = Watch("dev=C02; *=C01", client=TableClient())
    much = []
    for number in range(60):
        event = deployment_failed()
        event["resources"] = [f"arn:aws:ecs:eu-west-1:123456789012:service/c{number}/checkout"]
        much.append(event)
    dev = deployment_failed("other")
    dev["resources"] = ["arn:aws:ecs:eu-west-1:123456789012:service/dev/other"]
    watch.take_in(*much)
    watch.clock.at += timedelta(seconds=1)
    watch.take_in(dev)
    watch.tick(after=timedelta(seconds=1))
    first = next(one for one in watch.slack.posts if one.channel == "C02")

    assert len(watch.slack.posts) > 100
    assert first.at - watch.slack.posts[0].at < timedelta(seconds=30)


def test_a_tick_ends_before_its_time(watch: Watch) -> None:
    events = []
    for number in range(160):  # two messages of each, a second apart: more than the tick has
        event = deployment_failed()
        event["resources"] = [f"arn:aws:ecs:eu-west-1:123456789012:service/c{number}/checkout"]
        events.append(event)
    watch.take_in(*events)
    began = watch.clock.at
    watch.tick(after=timedelta())

    assert watch.clock.at - began < timedelta(seconds=280)


def test_a_channel_whose_table_fails_does_not_stop_another(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = Watch("dev=C02; *=C01", client=TableClient())
    dev = deployment_failed("other")
    dev["resources"] = ["arn:aws:ecs:eu-west-1:123456789012:service/dev/other"]
    watch.take_in(deployment_failed(), dev)
    real = Store.owed

    def owed(store: Store, destination: str) -> Any:
        if destination == "C01":
            raise StoreUnavailable("throttled")
        return real(store, destination)

    with patch.object(Store, "owed", owed), pytest.raises(StoreUnavailable):
        watch.tick()  # the measures of C01 cannot be read either

    assert {posted.channel for posted in watch.slack.posts} == {"C02"}


def test_what_is_owed_and_since_when_is_measured(watch: Watch) -> None:
    watch.slack.answers = [Refused(Refusal.UNAVAILABLE, "http_503")] * 9
    watch.take_in(deployment_failed())
    watch.clock.at += timedelta(minutes=10)
    run = watch.run()
    watch.lookout.tick(run)

    assert run.tally["Owed"] == 1
    assert 600 <= run.tally["OwedAge"] < 700
    assert run.tally["OpenClusters"] == 1


# --- the census ---------------------------------------------------------------------------------


class ManyClusters(FakeEcs):
    """Each cluster shows its own services; some cannot be read, each for its reason."""

    def __init__(self) -> None:
        super().__init__()
        self.by_cluster: dict[str, dict[str, ServiceReading]] = {}
        self.why: dict[str, str] = {}

    def clusters(self) -> Sequence[str]:
        self.calls.append(["ListClusters"])
        return list(self.by_cluster)

    def service_names(self, cluster: str, page: str) -> tuple[Sequence[str], str]:
        if cluster in self.why:
            raise ReadFailed("ListServices", self.why[cluster])
        self.shown = self.by_cluster[cluster]
        return super().service_names(cluster, page)

    def services(
        self,
        cluster: str,
        names: Sequence[str],
        now: datetime,
        budget: Budget | None = None,
    ) -> Mapping[str, ServiceReading]:
        self.shown = self.by_cluster[cluster]
        return super().services(cluster, names, now, budget)

    def add(self, name: str, *, well: int = 0, broken: int = 0) -> None:
        shown = {f"{name}-well-{n}": healthy(f"{name}-well-{n}") for n in range(well)}
        shown |= {f"{name}-broken-{n}": failing(f"{name}-broken-{n}") for n in range(broken)}
        self.by_cluster[cluster_arn(name)] = shown


def healthy(name: str) -> ServiceReading:
    row = deployment_row(41, running=2)
    return replace(failing(name), running_count=2, desired_count=2, deployments=(row,))


def counting(channels: str = "*=C01", *, is_new: bool = True) -> tuple[Watch, ManyClusters]:
    watch = Watch(channels, client=TableClient(), is_new=is_new)
    ecs = ManyClusters()
    watch.ecs = ecs
    watch.teller = replace(watch.teller, ecs=ecs)
    watch.lookout = replace(watch.lookout, ecs=ecs, teller=watch.teller)
    return watch, ecs


def test_the_first_census_tells_each_channel_once_what_it_watches() -> None:
    watch, ecs = counting("dev=C02; *=C01")
    ecs.add("prod", well=3, broken=1)
    ecs.add("dev", broken=2)
    watch.ticks(90)
    summaries = [one for one in watch.slack.posts if "ecs-watch is here" in one.message.text]

    assert sorted(one.channel for one in summaries) == ["C01", "C02"]
    told = {one.channel: str(one.message.blocks) for one in summaries}
    assert "prod / prod-broken-0" in told["C01"]
    assert "dev / dev-broken-1" in told["C02"]
    assert "prod" not in told["C02"]


def test_a_healthy_account_costs_the_table_nothing() -> None:
    watch, ecs = counting(is_new=False)
    ecs.add("prod", well=200)
    watch.tick(after=timedelta(hours=1))
    watch.ticks(5)

    assert watch.store.load(cluster_arn("prod")) is None


def test_the_census_is_spread_over_ticks() -> None:
    watch, ecs = counting()
    for number in range(30):
        ecs.add(f"c{number}", well=1)
    watch.tick()
    assert len(ecs.calls) <= 21
    assert watch.slack.posts == []

    watch.ticks(5)
    assert watch.slack.texts == [
        "ecs-watch is here: watching 30 clusters, 30 services; none in trouble now"
    ]


def test_ignored_clusters_are_not_counted() -> None:
    watch, ecs = counting("dev=ignore; *=C01")
    ecs.add("dev", broken=2)
    ecs.add("prod", well=1)
    watch.ticks(3)

    assert "watching 1 cluster, 1 service;" in watch.slack.texts[0]


def test_a_census_begins_every_hour() -> None:
    watch, ecs = counting(is_new=False)
    ecs.add("prod", well=1)
    watch.ticks(181)

    assert ecs.calls.count(["ListClusters"]) == 3


def test_the_census_finds_a_failure_that_no_event_told() -> None:
    watch, ecs = counting(is_new=False)
    ecs.add("prod", well=1, broken=1)
    watch.tick(after=timedelta(hours=1))
    watch.ticks(2)

    assert len(watch.slack.roots) == 1
    assert "prod-broken-0" in watch.slack.roots[0].message.text


def test_more_broken_services_than_one_save_takes_are_all_found() -> None:
    watch, ecs = counting(is_new=False)
    ecs.add("prod", broken=210)
    watch.tick(after=timedelta(hours=1))
    watch.ticks(5)

    assert len(watch.cluster(cluster_arn("prod")).services) == 210
    assert len(watch.slack.roots) == 1


def test_what_the_census_found_is_told_once() -> None:
    watch, ecs = counting(is_new=False)
    ecs.add("prod", broken=1)
    watch.ticks(190)

    assert len(watch.slack.roots) == 1
    assert len(watch.slack.replies) == 1


@pytest.mark.parametrize("why", ["gone", "no permission"])
def test_a_cluster_that_is_gone_does_not_hold_up_the_census(why: str) -> None:
    watch, ecs = counting()
    ecs.add("gone", well=1)
    ecs.add("prod", well=1)
    ecs.why[cluster_arn("gone")] = why
    watch.ticks(3)

    assert "1 service;" in watch.slack.texts[0]


@pytest.mark.parametrize("why", ["throttled", "too slow", "unavailable"])
def test_a_census_that_is_throttled_goes_on_where_it_was(why: str) -> None:
    watch, ecs = counting()
    ecs.add("a", well=1)
    ecs.add("b", well=1)
    ecs.why[cluster_arn("b")] = why
    watch.ticks(3)
    census = watch.store.census()
    assert census is not None
    assert census.clusters == (cluster_arn("b"),)

    ecs.why.clear()
    watch.ticks(2)
    assert watch.slack.texts == [
        "ecs-watch is here: watching 2 clusters, 2 services; none in trouble now"
    ]


def test_a_census_that_fails_does_not_stop_the_tick(watch: Watch) -> None:
    watch.take_in(deployment_failed())
    with patch.object(Store, "census", side_effect=ZeroDivisionError):
        watch.tick()

    assert len(watch.slack.posts) == 2


def test_a_census_stays_small_enough_for_its_row() -> None:
    watch, ecs = counting()
    for number in range(3):
        ecs.add(f"c{number}", broken=40)
    with patch("notifier.lookout.TROUBLE_AT_MOST", 50):
        watch.ticks(3)
    census = watch.store.census()

    assert census is not None
    assert census.finished_at is not None
    assert len(census.trouble["C01"]) == 50


def test_a_census_of_the_longest_names_stays_small_enough_for_its_row() -> None:
    dice = Random(1)
    watch, ecs = counting()
    cluster, *services = ("".join(dice.choices(ascii_letters, k=255)) for _ in range(601))
    ecs.by_cluster[cluster_arn(cluster)] = {name: failing(name) for name in services}
    watch.ticks(8)
    census = watch.store.census()

    assert census is not None
    assert census.finished_at is not None
    assert len(census.trouble["C01"]) > 200
    assert max(len(str(row)) for row in watch.client.table.rows()) < 250_000
