"""load → decide → save, and again when somebody else was first."""

from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest

from notifier.errors import Conflict
from notifier.incidents import Policy
from notifier.model import ClusterState, Invocation, NotReadable, Observation, Reason
from notifier.saving import GIVE_UP_WITH_LEFT, route_of, save_decision
from notifier.store import Store
from tests.watch import CLUSTER, Watch, deployment_row, reading

EMPTY = ClusterState(key=CLUSTER, account="123456789012", region="eu-west-1", partition="aws")
ROW = deployment_row(42, running=0, desired_count=2, rollout_state="FAILED")
BROKEN = reading("checkout", running=0, desired=2, rows=[ROW])


def save(watch: Watch, observation: Observation = BROKEN, run: Invocation | None = None) -> Any:
    policy = Policy(route=watch.routes[0])
    return save_decision(watch.store, EMPTY, [observation], run or watch.run(), policy)


def first_conflicts(times: int, *, meanwhile: Any = lambda: None) -> Any:
    """The first saves find that somebody else was first."""
    real, left = Store.save, [None] * times

    def attempt(store: Store, *given: Any, **more: Any) -> None:
        if left:
            left.pop()
            meanwhile()
            raise Conflict
        real(store, *given, **more)

    return patch.object(Store, "save", attempt)


def test_it_says_what_was_decided_and_who_is_owed_from_when_on(watch: Watch) -> None:
    decision, owed = save(watch)

    assert decision.reasons == (Reason.NEWLY_FAILING,)
    assert owed == {"C01": watch.clock.at}
    assert watch.owed().due_at == watch.clock.at


def test_it_decides_again_on_what_the_other_has_saved(watch: Watch) -> None:
    with first_conflicts(1):
        decision, _ = save(watch)

    assert decision.reasons == (Reason.NEWLY_FAILING,)
    assert watch.cluster().version == 1


def test_what_the_other_saved_is_not_news_twice(watch: Watch) -> None:
    real, is_first = Store.save, [True]

    def theirs_first(store: Store, *given: Any, **more: Any) -> None:
        if is_first:
            is_first.clear()
            save(watch)
        real(store, *given, **more)

    with patch.object(Store, "save", theirs_first):
        decision, _ = save(watch)

    assert decision.reasons != (Reason.NEWLY_FAILING,)
    assert watch.cluster().open_services == 1


def test_the_pauses_between_tries_grow_and_are_bounded(watch: Watch) -> None:
    pauses: list[timedelta] = []
    run = watch.run()
    counted = Invocation(
        id="us",
        now=run.now,
        remaining=run.remaining,
        sleep=pauses.append,
        jitter=lambda at_most: at_most,
        unique=run.unique,
    )
    with first_conflicts(9):
        save(watch, run=counted)

    assert pauses == sorted(pauses)
    assert len(set(pauses)) > 3
    assert max(pauses) <= timedelta(seconds=2)


def test_it_ends_before_the_function_does(watch: Watch) -> None:
    run = watch.run(seconds=30)
    with first_conflicts(10_000), pytest.raises(Conflict):
        save(watch, run=run)

    assert timedelta() < run.remaining() <= GIVE_UP_WITH_LEFT


def test_all_tries_of_one_save_bear_one_token(watch: Watch) -> None:
    tokens: set[str] = set()
    real = Store.save

    def spy(store: Store, *given: Any, **more: Any) -> None:
        tokens.add(more["token"])
        if watch.clock.at.second == 0 and not watch.clock.at.microsecond:
            raise Conflict
        real(store, *given, **more)

    with patch.object(Store, "save", spy):
        save(watch)

    assert len(tokens) == 1


def test_what_changes_nothing_is_not_saved(watch: Watch) -> None:
    ignored = Watch("*=ignore", client=watch.client)
    with patch.object(Store, "save", side_effect=AssertionError("saved")):
        decision, owed = save(ignored)

    assert decision.reasons == (Reason.IGNORED_CLUSTER,)
    assert owed == {}


def test_only_the_rows_that_are_needed_are_read(watch: Watch) -> None:
    save(watch)
    with patch.object(watch.client, "paginate", side_effect=AssertionError("read them all")):
        save(watch, NotReadable(service="checkout", why="too slow"))


def test_reasons_are_counted(watch: Watch) -> None:
    run = watch.run()
    save(watch, run=run)

    assert run.tally[str(Reason.NEWLY_FAILING)] == 1


def test_a_cluster_is_told_where_the_first_rule_says(watch: Watch) -> None:
    routes = Watch("prod-*=C07; *=C08", client=watch.client).routes

    assert route_of(CLUSTER, routes).destination == "C07"
    assert route_of("unknown cluster (1, eu-west-1)", routes).destination == "C08"
