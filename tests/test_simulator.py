"""Whatever goes wrong, each failure is told, once; and the checker that says so can fail."""

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from notifier.model import (
    ClusterState,
    Message,
    Phase,
    Reason,
    ServiceState,
    Transition,
)
from tests.simulator.checker import report, violations
from tests.simulator.crashes import with_a_kill_at_each_effect, with_each_answer_lost
from tests.simulator.ecs import Service, moment
from tests.simulator.faults import Faults
from tests.simulator.history import HOURLY, Alarm, History, Scenario
from tests.simulator.mutants import MUTANTS, caught
from tests.simulator.scenarios import (
    AMBIGUOUS,
    HEALTHY_DAYS,
    SCENARIOS,
    UNAMBIGUOUS,
    by_name,
    down_for,
)
from tests.simulator.scheduler import HOUR
from tests.simulator.scripts import HEALTHY, TROUBLE
from tests.simulator.slack import Posted, Told, link_to

SEEDS = range(2)
MUTANT_SEEDS = range(120)

# What the program does not keep yet. Strict: whoever mends it is told to take the line away.
KNOWN: dict[str, str] = {}


def holds(history: History) -> None:
    found = violations(history)
    assert not found, report(history, found)


def scenarios() -> list[object]:
    names = by_name((*UNAMBIGUOUS, *AMBIGUOUS, *HEALTHY_DAYS))
    for long in ("many-clusters", "busy-clusters"):  # `make scoreboard` plays them
        names.pop(long)
    marks = {name: [pytest.mark.xfail(reason=why, strict=True)] for name, why in KNOWN.items()}
    return [pytest.param(name, marks=marks.get(name, [])) for name in names]


@pytest.mark.parametrize("name", scenarios())
def test_everything_holds_under(name: str) -> None:
    for seed in SEEDS:
        holds(History(SCENARIOS[name], seed).run())


@pytest.mark.parametrize("name", [*TROUBLE, *HEALTHY])
def test_everything_holds_in_the_story(name: str) -> None:
    holds(History(SCENARIOS[name.replace("_", "-")], seed=1).run())


def test_slack_may_be_gone_for_hours() -> None:
    scenario = replace(SCENARIOS["calm"], name="slack-down-for-a-week", arrange=down_for(3 * HOUR))
    history = History(scenario, seed=1).run()

    holds(history)
    assert history.slack.posts
    assert all(posted.at > 3 * HOUR for posted in history.slack.posts)


# --- crashes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("again", [Faults(), Faults(message_twice=0.5)], ids=["once", "twice"])
def test_a_function_may_be_killed_at_any_effect(again: Faults) -> None:
    scenario = replace(SCENARIOS["stays-down"], faults=again)
    histories = [*with_a_kill_at_each_effect(scenario, seed=1, every=12)]

    assert sum(bool(history.scheduler.killed) for history in histories) > 5
    for history in histories:
        holds(history)


def test_any_answer_may_be_lost() -> None:
    histories = [*with_each_answer_lost(SCENARIOS["stays-down"], seed=1, every=5)]

    assert sum(bool(history.doubts) for history in histories) > 2
    for history in histories:
        holds(history)


# --- the same seed is the same history ----------------------------------------------------------


def test_a_seed_is_one_history() -> None:
    one, other = (History(SCENARIOS["storm"], seed=3).run() for _ in range(2))

    assert list(one.scheduler.trace) == list(other.scheduler.trace)
    assert list(one.scheduler.trace) != list(History(SCENARIOS["storm"], 4).run().scheduler.trace)


def test_a_seed_is_one_history_in_every_process() -> None:
    command = ["-m", "tests.simulator", "--scenario", "storm", "--seed", "3", "--trace"]
    outputs = {
        subprocess.run(
            [sys.executable, *command],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": "src:."},
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }

    assert len(outputs) == 1
    assert b"slack post" in outputs.pop()


# --- the checker can fail -----------------------------------------------------------------------


@pytest.mark.parametrize("name", MUTANTS)
def test_the_checker_sees_the_program(name: str) -> None:
    seed = next(caught(MUTANTS[name], MUTANT_SEEDS), None)

    print(f"{name}: seen in seed {seed}")
    assert seed is not None


def a_day(*services: str) -> History:
    """A history of which a test writes the messages itself."""
    history = History(Scenario("by hand", lambda _rng: ()), seed=0)
    for name in services:
        history.account.service("prod-web", name)
    history.came_to_rest = True
    return history


def say(
    history: History,
    text: str,
    thread_ts: str | None = None,
    channel: str = "C0SHOP",
    told: Told | None = None,
) -> str:
    posted = Posted(channel, "", Message(text=text), told=told, broadcast="loud" in text)
    history.slack._commit(posted)
    posted.thread_ts = thread_ts
    return posted.ts


def tells(kind: str, span: tuple[int, int] = (0, 1), number: int = 1, generation: int = 1) -> Told:
    """What the program noted of a post about the service checkout."""
    spans = {} if kind == "root" else {"checkout": span}
    return Told(kind, "prod-web", "C0SHOP", generation, number, 1, spans)


def broken(history: History) -> set[str]:
    return {violation.invariant for violation in violations(history)}


def test_a_thread_under_its_root_is_in_order() -> None:
    history = a_day("checkout")
    root = say(history, "🔴 prod-web")
    say(history, "prod-web / checkout failed", root)

    assert broken(history) == set()


@pytest.mark.parametrize("channel", ["C0SHOP", "C0OTHER"])
def test_a_reply_under_a_foreign_root_is_seen(channel: str) -> None:
    history = a_day("checkout")
    history.account.service("staging", "search")
    root = say(history, "🔴 staging", channel=channel)
    say(history, "🔴 prod-web / checkout failed", root)

    assert broken(history) == {"replies_stand_under_their_own_root"}


def test_a_reply_under_a_reply_or_under_nothing_is_seen() -> None:
    history = a_day("checkout")
    reply = say(history, "prod-web / checkout", say(history, "🔴 prod-web"))
    say(history, "prod-web / checkout", reply)
    say(history, "prod-web / checkout", "1.0")

    assert len(violations(history)) == 2


def test_a_second_root_of_an_incident_is_seen() -> None:
    history = a_day("checkout")
    say(history, "🔴 prod-web", told=tells("root"))
    say(history, "🔴 prod-web, an incident later", told=tells("root", generation=2))
    assert broken(history) == set()

    say(history, "🔴 prod-web once more", told=tells("root"))
    assert broken(history) == {"one_root_per_incident"}


def test_a_thread_that_goes_on_elsewhere_without_a_word_is_seen() -> None:
    history = a_day("checkout")
    first = say(history, "🔴 prod-web", told=tells("root"))
    history.scheduler.clock = 10.0
    say(history, f"🔴 prod-web {link_to('C0SHOP', first)}", told=tells("root", number=2))
    assert not {"a_thread_that_goes_on_elsewhere_says_where_it_was"} & broken(history)

    history.scheduler.clock = 20.0
    say(history, "🔴 prod-web, without a link", told=tells("root", number=3))
    assert "a_thread_that_goes_on_elsewhere_says_where_it_was" in broken(history)


def test_a_reply_under_another_incidents_root_is_seen() -> None:
    history = a_day("checkout")
    root = say(history, "🔴 prod-web", told=tells("root"))
    say(history, "prod-web / checkout", root, told=tells("reply", generation=2))

    assert broken(history) == {"replies_stand_under_their_own_root"}


@pytest.mark.parametrize(("span", "seen"), [((1, 2), False), ((0, 1), True), ((0, 2), True)])
def test_news_that_is_told_twice_is_seen(span: tuple[int, int], seen: bool) -> None:
    history = a_day("checkout")
    root = say(history, "🔴 prod-web", told=tells("root"))
    say(history, "prod-web / checkout", root, told=tells("reply", (0, 1)))
    say(history, "prod-web / checkout", root, told=tells("reply", span))

    assert broken(history) == ({"nothing_is_told_twice"} if seen else set())


def test_what_was_told_may_reach_the_channel_once_more_and_not_twice() -> None:
    history = a_day("checkout")
    root = say(history, "🔴 prod-web", told=tells("root"))
    say(history, "prod-web / checkout", root, told=tells("reply", (0, 1)))
    say(history, "prod-web / checkout, loud", root, told=tells("reply", (1, 1)))
    assert broken(history) == set()

    history.scheduler.clock += 600
    say(history, "prod-web / checkout, loud", root, told=tells("reply", (1, 1)))
    assert broken(history) == {"nothing_is_told_twice"}


def test_a_thread_that_shouts_is_seen() -> None:
    history = a_day("checkout")
    root = say(history, "🔴 prod-web", told=tells("root"))
    for number, seconds in enumerate((0, 301, 299)):
        history.scheduler.clock += seconds
        assert broken(history) == set()
        say(history, "prod-web, loud", root, told=tells("reply", (number, number + 1)))

    assert broken(history) == {"a_thread_does_not_shout"}


def failed_unseen(history: History) -> Service:
    """A service of which ECS shows a failed deployment; all its events were lost."""
    service = history.account.services["prod-web", "checkout"]
    history.account.send_message = lambda _body: None
    service.fail(service.deploy(), "ECS deployment circuit breaker: tasks failed to start.")
    history.account.offered.clear()
    return service


def test_a_failure_that_the_census_must_find_is_missed() -> None:
    history = a_day("checkout")
    failed_unseen(history)
    assert broken(history) == set()

    history.scenario = replace(history.scenario, census=HOURLY)
    assert broken(history) == {"what_is_remembered_is_so"}


def test_a_failure_of_what_was_stopped_before_the_census_came_is_not_missed() -> None:
    history = a_day("checkout")
    failed_unseen(history).scale(0)
    history.scenario = replace(history.scenario, census=HOURLY)

    assert broken(history) == set()


@pytest.mark.parametrize(
    ("deleted", "found"), [(True, set()), (False, {"no_failure_is_met_with_silence"})]
)
def test_what_is_counted_again_need_not_be_told_under_a_message_that_was_deleted(
    deleted: bool, found: set[str]
) -> None:
    history = a_day("checkout")
    service = history.account.services["prod-web", "checkout"]
    history.account.send_message = lambda _body: None
    say(history, "prod-web / checkout: tasks die")
    history.scheduler.clock = 60.0
    service.action("SERVICE_TASK_START_IMPAIRED", "WARN")
    if deleted:
        history.slack.delete(history.slack.posts[0])

    assert broken(history) == found


def state_of(service: Service, **more: Any) -> ServiceState:
    """A service's row, with something to tell."""
    news = Transition(revision=1, reason=Reason.NEWLY_FAILING, at=moment(0.0))
    fields = {"revision": 1, "generation": 1, "transitions": (news,), "destination": "C0SHOP"}
    return ServiceState(name=service.name, **{**fields, **more})


def remember(history: History, state: ServiceState, open_services: int = 0) -> None:
    """Write the row as the program would."""
    (service,) = history.account.services.values()
    empty = ClusterState(key=service.cluster_arn, account="1", region="r", partition="aws")
    after = replace(
        empty,
        generation=1,
        revision=1,
        open_services=open_services,
        services={state.key: replace(state, told={})},
    )
    history.sane_store().save(empty, after, owed={}, now=moment(0.0), token="by hand")


@pytest.mark.parametrize(
    ("phase", "seen"), [(Phase.WELL, False), (Phase.RECOVERED, False), (Phase.FAILING, True)]
)
def test_a_wrong_phase_at_rest_is_seen(phase: Phase, seen: bool) -> None:
    history = a_day("checkout")
    (service,) = history.account.services.values()
    state = state_of(service, phase=phase, destination=None)
    remember(history, state, open_services=int(phase.is_open))

    assert broken(history) == ({"what_is_remembered_is_so"} if seen else set())


def test_what_was_never_told_is_seen() -> None:
    history = a_day("checkout")
    (service,) = history.account.services.values()
    remember(history, state_of(service, phase=Phase.RECOVERED))

    assert broken(history) == {"all_is_told"}


def test_a_roll_back_that_never_was_is_seen() -> None:
    history = a_day("checkout")
    (service,) = history.account.services.values()
    news = Transition(revision=1, reason=Reason.ROLLED_BACK, at=moment(0.0))
    state = state_of(service, phase=Phase.WELL, transitions=(news,), destination=None)
    remember(history, state)
    assert broken(history) == {"nothing_is_called_rolled_back_that_was_not"}

    service.truth.rolled_back_at = 0.0
    assert broken(history) == {"what_is_remembered_is_so"}


def test_an_exception_of_ours_is_seen_and_an_unreachable_table_is_none() -> None:
    history = a_day("checkout")
    history.alarms.append(Alarm(0.0, "look failed", {}, "StoreUnavailable('throttled')"))
    assert broken(history) == set()

    history.alarms.append(Alarm(0.0, "turn failed", {}, "KeyError('checkout')"))
    assert broken(history) == {"nothing_unforeseen_is_met"}


def test_green_is_seen_where_tasks_die() -> None:
    history = a_day("checkout", "search")
    history.account.services["prod-web", "checkout"].truth.is_failing(0.0, True)
    say(history, "✅ search recovered\n🔴 checkout 1 of 2 running")
    assert broken(history) == set()

    say(history, "✅ checkout: 2 of 2 running")
    assert broken(history) == {"nothing_green_is_said_of_what_is_dying"}


def test_green_is_seen_where_a_release_was_rolled_back() -> None:
    history = a_day("checkout")
    history.account.services["prod-web", "checkout"].truth.rolled_back_at = 10.0
    say(history, "✅ checkout recovered")
    assert broken(history) == set()

    history.scheduler.clock = 10.0
    say(history, "✅ checkout recovered")
    assert broken(history) == {"nothing_green_is_said_of_what_is_dying"}


def test_a_failure_that_is_told_too_late_is_seen() -> None:
    history = a_day("checkout")
    history.scenario = replace(history.scenario, told_within=60.0)
    history.account.send_message = lambda _body: None
    history.account.services["prod-web", "checkout"].action("SERVICE_X", "ERROR", "why")
    history.scheduler.clock = 61.0
    say(history, "🔴 prod-web / checkout: why")

    assert broken(history) == {"each_is_told_on_time"}


@pytest.mark.parametrize("text", ["<!channel>", "<@U1>", "a < b", "<https://evil|ok>", "a\x1b[0m"])
def test_what_is_live_or_hidden_in_a_message_is_seen(text: str) -> None:
    history = a_day()
    say(history, text)

    assert broken(history) == {"nothing_foreign_is_live"}


def test_our_own_dates_links_and_mentions_are_not() -> None:
    history = a_day()
    console = "<https://eu-west-1.console.aws.amazon.com/ecs|cluster>"
    say(history, f"<!date^1795435200^{{time}}|12:00> {console} <!subteam^S0SRE> a &lt; b")

    assert broken(history) == set()


def test_a_message_on_a_healthy_day_is_seen() -> None:
    history = a_day("checkout")
    history.scenario = replace(history.scenario, silent=True)
    say(history, "prod-web / checkout")

    assert broken(history) == {"healthy_days_are_silent"}
