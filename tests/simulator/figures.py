"""What is measured: each figure runs a range of seeds and counts what it saw.

A count under a name that begins with `worst` is the greatest of all seeds, any other is a sum.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from notifier.intake import Intake
from notifier.routing import parse_channels
from tests.simulator import scenarios
from tests.simulator.checker import roots_again, told_after, told_again, violations
from tests.simulator.crashes import with_a_kill_at_each_effect, with_each_answer_lost
from tests.simulator.ecs import SPOT
from tests.simulator.faults import Faults
from tests.simulator.history import HOURLY, Cast, History, Scenario
from tests.simulator.mutants import MUTANTS, caught
from tests.simulator.scenarios import SCENARIOS
from tests.simulator.scheduler import DAY, HOUR, MINUTE
from tests.simulator.scripts import HEALTHY, SILENT, TROUBLE, Steps, Story, loops_for

LOST = {
    "no_failure_is_met_with_silence",
    "what_was_recorded_as_told_can_be_read",
    "what_was_acknowledged_is_remembered",
    "all_is_told",
}
TWICE = {"nothing_is_told_twice", "one_root_per_incident"}
WORST = "worst "


def added(counts: Iterable[Counter[str]]) -> Counter[str]:
    """The counts of several runs as one."""
    total: Counter[str] = Counter()
    for count in counts:
        for name, value in count.items():
            total[name] = max(total[name], value) if WORST in name else total[name] + value
    return total


def counted(history: History) -> Counter[str]:
    """What is counted of every history that was run."""
    found = {violation.invariant for violation in violations(history)}
    twice = len(list(told_again(history))) + len(list(roots_again(history)))
    count: Counter[str] = Counter(
        {
            "histories": 1,
            "events": history.account.events,
            "failures": len(history.account.offered),
            "messages": len(history.slack.posts),
            "lost": len(found & LOST),
            "duplicated": twice,
            "doubts": history.doubts,
            "beyond doubts": max(twice - history.doubts, 0),
            "broken": bool(found),
        }
    )
    for invariant in sorted(found):
        count[f"broken: {invariant}"] += 1
        count[f"seed {history.scenario.name}/{history.seed}"] += 1
    return count


def seeds_of(*names: Scenario | str) -> Callable[[range], Counter[str]]:
    """Each seed of each of these scenarios."""

    def count(seeds: range) -> Counter[str]:
        plays = [SCENARIOS[name] if isinstance(name, str) else name for name in names]
        return added(counted(History(play, seed).run()) for play in plays for seed in seeds)

    return count


def unreadable(name: str) -> Scenario:
    """The scenario with a bot that has no history scope."""
    return replace(SCENARIOS[name], name=f"{name}-unreadable", may_read=False)


# --- crashes ------------------------------------------------------------------------------------


def crash_points(seeds: range) -> Counter[str]:
    """A kill before and after each effect, and each answer lost; run again once, twice, at once."""
    once = SCENARIOS["breaker-rolls-back"]
    twice = replace(once, name="breaker-rolls-back-twice", faults=Faults(message_twice=0.5))

    def histories() -> Iterator[History]:
        for seed in seeds:
            for scenario in (once, twice):
                yield from with_a_kill_at_each_effect(scenario, seed)
                yield from with_each_answer_lost(scenario, seed)

    return added(map(counted, histories()))


# --- a bad thread -------------------------------------------------------------------------------


def bad_thread(how: str) -> Callable[[range], Counter[str]]:
    """One cluster's messages cannot be made; how late are those of the others?"""

    def count(seeds: range) -> Counter[str]:
        scenario = SCENARIOS[f"bad-thread-{how}"]
        return added(_with_delays(History(scenario, seed).run()) for seed in seeds)

    return count


def _with_delays(history: History) -> Counter[str]:
    delays = [
        told_after(history, cluster, name)
        for cluster, name in history.account.services
        if cluster != scenarios.BAD
    ]
    counts = counted(history)
    counts["late"] = sum(delay > scenarios.ON_TIME for delay in delays)
    counts["worst delay"] = round(max(delays))
    counts["given up"] = any(alarm.text == "given up" for alarm in history.alarms)
    return counts


# --- many at once -------------------------------------------------------------------------------

OPENERS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


def openers(seeds: range) -> Counter[str]:
    """Functions that all find the first failure of one cluster at the same moment."""

    def arrange(history: History) -> None:
        history.queue.batch_size, history.queue.concurrency = 1, 64

    def cast(rng: Random) -> Sequence[Cast]:
        names = [f"service-{n:02}" for n in range(rng.choice(OPENERS))]
        return [Cast("prod-web", name, TROUBLE["stays_down"]) for name in names]

    scenario = Scenario("openers", cast, arrange=arrange)

    def roots(history: History) -> Counter[str]:
        count = counted(history)
        of_cluster = [p for p in history.slack.posts if p.thread_ts is None]
        count["worst roots"] = len(of_cluster)
        count["worst openers"] = len(history.account.services)
        return count

    return added(roots(History(scenario, seed).run()) for seed in seeds)


# --- the storm ----------------------------------------------------------------------------------

CLUSTERS, SERVICES_EACH, EVENTS = 95, 20, 10_000
TOLD_WITHIN = 10 * MINUTE
# Typically; on average 10 ms and 0.4 s. Elsewhere they are slower, so that more calls overlap.
TABLE_ANSWERS_IN, SLACK_ANSWERS_IN = 0.005, 0.2


def storm(seeds: range) -> Counter[str]:
    """10,000 failure events of 1,900 services in a minute, all told in one channel."""
    return added(_storm(seed) for seed in seeds)


def _storm(seed: int) -> Counter[str]:
    rng = Random(seed)
    services = CLUSTERS * SERVICES_EACH
    times = [[0.0] for _ in range(services)]
    for at in times:
        at[0] = rng.uniform(0, MINUTE)
    for _ in range(EVENTS - services):
        rng.choice(times).append(rng.uniform(0, MINUTE))

    def cast(_rng: Random) -> Sequence[Cast]:
        names = [
            (f"cluster-{cluster:02}", f"service-{cluster:02}-{n:02}")
            for cluster in range(CLUSTERS)
            for n in range(SERVICES_EACH)
        ]
        return [
            Cast(cluster, name, _fails_at(sorted(at)), min(at))
            for (cluster, name), at in zip(names, times, strict=True)
        ]

    scenario = Scenario(
        "ten-thousand-events",
        cast,
        faults_for=MINUTE + TOLD_WITHIN,
        table_answers_in=TABLE_ANSWERS_IN,
        slack_answers_in=SLACK_ANSWERS_IN,
    )
    return _storm_counts(History(scenario, seed).run(rests=False))


def _fails_at(times: Sequence[float]) -> Story:
    def story(service: Any, rng: Random) -> Steps:
        service.stop_task(service.primary, SPOT, "SpotInterruption", 137)
        for now, then in zip(times, (*times[1:], times[-1]), strict=True):
            reason = rng.choice(["RESOURCE:CPU", "RESOURCE:MEMORY", "RESOURCE:FARGATE"])
            service.action("SERVICE_TASK_PLACEMENT_FAILURE", "ERROR", reason)
            yield max(then - now, 0.001)

    return story


def _storm_counts(history: History) -> Counter[str]:
    first: dict[str, float] = {}
    for offered in history.account.offered:
        cluster = offered.cluster_arn.rpartition("/")[2]
        first[cluster] = min(first.get(cluster, offered.at), offered.at)
    roots: dict[str, float] = {}
    told_at = [0.0]
    for posted in history.slack.posts:
        if posted.told and posted.thread_ts is None:
            roots.setdefault(posted.told.cluster.rpartition("/")[2], posted.at)
        told_at.append(posted.at)
    waits = [roots.get(cluster, 10**6) - at for cluster, at in first.items()]
    store = history.sane_store()
    arns = {service.cluster_arn for service in history.account.services.values()}
    states = [one for arn in arns if (known := store.load(arn)) for one in known.services.values()]
    taken = [m.acknowledged_at - m.sent_at for m in history.queue.acknowledged]
    return Counter(
        {
            "histories": 1,
            "failures": len(history.account.offered),
            "not taken in": len(history.queue.waiting),
            "worst taken in": round(max(taken, default=0.0)),
            "worst first tenth": round(10 * (min(told_at[1:]) - min(first.values()))),
            "worst root": round(max(waits)),
            "late roots": sum(wait > 120 for wait in waits),
            "worst last": round(max(told_at) - MINUTE),
            "untold": sum(bool(one.untold(one.destination or "")) for one in states),
            "messages": len(history.slack.posts),
            "too fast": history.slack.too_fast + history.slack.impatient,
            "duplicated": len(list(told_again(history))) + len(list(roots_again(history))),
        }
    )


def cpu_per_event(seeds: range) -> Counter[str]:
    """Microseconds of CPU per event taken in, by batches of 50, with the simulated table."""
    spent = events = 0.0
    for seed in seeds:
        history = History(Scenario("cpu", lambda _rng: ()), seed)
        sent: list[str] = []
        history.account.send_message = sent.append
        for n in range(50):
            service = history.account.service(f"cluster-{n % 10}", f"service-{n:02}")
            for _ in _fails_at([0.0, 1.0, 2.0, 3.0, 4.0])(service, history.rng):
                history.scheduler.clock += 0.001
        history.scheduler.run_until(HOUR)
        intake = Intake(history.sane_store(), parse_channels("*=C0SHOP"), "ecs-watch")
        history.rng.shuffle(sent)
        began = time.process_time()
        for start in range(0, len(sent), 50):
            messages = [
                {"messageId": str(n), "body": body, "attributes": {}}
                for n, body in enumerate(sent[start : start + 50])
            ]
            intake.take_in(messages, history.scheduler.invocation(history.nobody))
        spent += time.process_time() - began
        events += len(sent)
    return Counter({"histories": len(seeds), "events": int(events), "cpu µs": int(spent * 1e6)})


# --- long days ----------------------------------------------------------------------------------


def slack_down_for_a_week(seeds: range) -> Counter[str]:
    """Services fail and recover for seven days, and nobody can be told; then all is."""

    def cast(rng: Random) -> Sequence[Cast]:
        return [
            replace(one, begins=rng.uniform(0, 7 * DAY - HOUR))
            for one in scenarios.some_services(rng)
        ]

    scenario = Scenario("slack-down-for-seven-days", cast, arrange=scenarios.down_for(7 * DAY))

    def count(history: History) -> Counter[str]:
        counts = counted(history)
        services, clusters = len(history.account.services), _clusters(history)
        first = min((posted.at for posted in history.slack.posts), default=0.0)
        flood = [posted for posted in history.slack.posts if posted.at < first + HOUR]
        counts["worst messages beyond one a service and one a cluster"] = max(
            len(flood) - services - clusters, 0
        )
        counts["roots"] = sum(p.thread_ts is None for p in history.slack.posts)
        counts["incidents"] = clusters
        return counts

    return added(count(History(scenario, seed).run()) for seed in seeds)


def _clusters(history: History) -> int:
    return len({cluster for cluster, _ in history.account.services})


def crash_loop_for_a_day(seeds: range) -> Counter[str]:
    """Tasks die for 24 hours, and between two deaths all looks well."""
    cast = [Cast("prod-web", "checkout", loops_for(DAY))]
    scenario = Scenario("crash-loop-for-a-day", lambda _rng: cast, faults_for=DAY)

    def count(history: History) -> Counter[str]:
        found = violations(history)
        counts = counted(history)
        during = [p for p in history.slack.posts if p.at < DAY]
        loud = [posted for posted in during if posted.thread_ts is None or posted.broadcast]
        counts["false all-clears"] = sum(
            violation.invariant == "nothing_green_is_said_of_what_is_dying" for violation in found
        )
        counts["worst channel messages"] = len(loud)
        counts["worst messages"] = len(during)
        counts["unseen"] = not during
        return counts

    return added(count(History(scenario, seed).run()) for seed in seeds)


def irregular_loop(seeds: range) -> Counter[str]:
    """Tasks die every one to nine minutes for two hours: a gap may be many times the one before."""
    cast = [Cast("prod-web", "checkout", loops_for(2 * HOUR, regular=False))]
    scenario = Scenario("irregular-loop", lambda _rng: cast, faults_for=2 * HOUR)
    return added(counted(History(scenario, seed).run()) for seed in seeds)


def healthy_days(seeds: range) -> Counter[str]:
    """Ten services, each with uneventful things happening to it all day."""

    def all_day(service: Any, rng: Random) -> Steps:
        while service.account.scheduler.clock < DAY - HOUR:
            yield rng.uniform(0, 4 * HOUR)
            names = [name for name in HEALTHY if not name.startswith("daemon")]
            yield from HEALTHY[rng.choice(names)](service, rng)

    def cast(rng: Random) -> Sequence[Cast]:
        days = [
            Cast(rng.choice(scenarios.CLUSTERS), name, all_day) for name in scenarios.SERVICES[:10]
        ]
        daemon = HEALTHY["daemon_follows_its_instances"]
        return [*days, Cast("prod-web", scenarios.SERVICES[10], daemon)]

    def count(history: History) -> Counter[str]:
        messages = len(history.slack.posts)
        return Counter({"histories": 1, "messages": messages, "events": history.account.events})

    scenario = Scenario("healthy-days", cast, faults_for=DAY, silent=True, census=HOURLY)
    return added(count(History(scenario, seed).run(rests=False)) for seed in seeds)


# --- what ECS sends no failure of ---------------------------------------------------------------


def silent(story: str, *, deaths: int = 3) -> Callable[[range], Counter[str]]:
    """How long after the last of so many deaths the first message is there, and how many roots."""

    def one(history: History) -> Counter[str]:
        (service,) = history.account.services.values()
        posts = [one for one in history.slack.posts if one.told]
        began = service.stopped[deaths - 1][0]
        first = min((one.at for one in posts), default=float("inf"))
        counts = counted(history)
        counts["not found"] = not posts
        counts["worst seconds"] = round(first - began) if posts else 0
        counts["worst minutes since the first"] = (
            round((first - service.stopped[0][0]) / MINUTE) if posts else 0
        )
        counts["worst roots"] = sum(one.thread_ts is None for one in posts)
        counts["worst times in the channel"] = sum(
            one.thread_ts is None or one.broadcast for one in posts
        )
        return counts

    cast = [Cast("prod-web", "checkout", SILENT[story])]
    play = Scenario(f"silent-{story}".replace("_", "-"), lambda _rng: cast)
    return lambda seeds: added(one(History(play, seed).run()) for seed in seeds)


def stalls(seeds: range) -> Counter[str]:
    """How many minutes after the last progress, and the grace period, that is told."""
    cast = [Cast("prod-web", "checkout", SILENT["stays_pending"])]
    play = Scenario("silent-stays-pending", lambda _rng: cast)

    def one(history: History) -> Counter[str]:
        (service,) = history.account.services.values()
        posts = [one for one in history.slack.posts if one.told]
        since, _ = service.truth.began
        waited = min((one.at for one in posts), default=10**6) - since - service.grace
        return counted(history) + Counter({"worst minutes": round(waited / MINUTE)})

    return added(one(History(play, seed).run()) for seed in seeds)


# Each begins a deployment, or happens beside one.
DEPLOYMENTS = ("release_goes_live", "slow_start", "drains_slowly", "bakes", "waits_for_a_hook")
BESIDE = ("redeployed", "scaled_during_a_deployment", "scales_in", "spot_is_reclaimed")


def healthy_deployments(seeds: range) -> Counter[str]:
    """Ten deployments of ten services, with all that may happen to one that goes well."""

    def several(service: Any, rng: Random) -> Steps:
        for name in (rng.choice(BESIDE), rng.choice(DEPLOYMENTS), rng.choice(BESIDE)):
            yield rng.uniform(0, 20 * MINUTE)
            yield from HEALTHY[name](service, rng)

    def cast(rng: Random) -> Sequence[Cast]:
        names = scenarios.SERVICES[:10]
        return [Cast(rng.choice(scenarios.CLUSTERS), name, several) for name in names]

    def count(history: History) -> Counter[str]:
        services = history.account.services.values()
        deployments = sum(len(service.releases) - 1 for service in services)
        messages = len(history.slack.posts)
        return Counter({"histories": 1, "deployments": deployments, "messages": messages})

    play = Scenario("healthy-deployments", cast, faults_for=5 * HOUR, silent=True, census=HOURLY)
    return added(count(History(play, seed).run(rests=False)) for seed in seeds)


def quiet_ticks(seeds: range) -> Counter[str]:
    """Ticks between two rounds of the census, in an account of 10,000 healthy services."""

    def count(seed: int) -> Counter[str]:
        history = History(Scenario("quiet", lambda _rng: (), faults_for=50 * MINUTE), seed)
        for n in range(10_000):
            history.account.service(f"cluster-{n % 95:02}", f"service-{n:05}")
        history.run(rests=False)
        calls = sum(history.ecs.calls.values())
        ticks = history.invoked["on_tick"]
        return Counter({"histories": 1, "ticks": ticks, "ECS calls": calls})

    return added(map(count, seeds))


def census_finds(seeds: range) -> Counter[str]:
    """Every event is lost on its way; what ECS shows as failed is found within the hour."""

    def cast(rng: Random) -> Sequence[Cast]:
        names = rng.sample(scenarios.SERVICES, 3)
        story = TROUBLE["breaker_fails"]
        return [Cast(rng.choice(scenarios.CLUSTERS), name, story) for name in names]

    faults = Faults(event_lost=1.0)
    scenario = Scenario("events-lost", cast, faults, faults_for=30 * MINUTE, census=HOURLY)

    def count(history: History) -> Counter[str]:
        counts = counted(history)
        delays = [told_after(history, cluster, name) for cluster, name in history.account.services]
        counts["not found"] = sum(delay > HOUR + 2 * MINUTE for delay in delays)
        counts["worst minutes"] = round(max(delays) / MINUTE)
        return counts

    return added(count(History(scenario, seed).run()) for seed in seeds)


# --- switched-off rules -------------------------------------------------------------------------


def switched_off(name: str) -> Callable[[range], Counter[str]]:
    """In how many seeds it shows that this rule is not kept."""

    def count(seeds: range) -> Counter[str]:
        return Counter({"histories": len(seeds), "seen": len(list(caught(MUTANTS[name], seeds)))})

    return count
