"""The rows and the write protocol."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from notifier.errors import Conflict, LeaseLost, StoreUnavailable
from notifier.model import Attempt, ClusterState, Failure, Owed, Phase, ServiceState, SubjectKind
from notifier.store import Store
from tests.watch import CLUSTER, START, Watch

EMPTY = ClusterState(key=CLUSTER, account="123456789012", region="eu-west-1", partition="aws")
CHECKOUT = ServiceState(
    name="checkout",
    kind=SubjectKind.SERVICE,
    phase=Phase.FAILING,
    revision=3,
    failure=Failure(event="X", reason="why", deployment_id="ecs-svc/1", occurred_at=START),
    count=2,
    since=START,
    destination="C01",
    repeat_at=START + timedelta(hours=4),
    seen=("a", "b"),
)
LATER = START + timedelta(seconds=60)


def with_services(state: ClusterState, *services: ServiceState) -> ClusterState:
    return replace(state, services={service.key: service for service in services})


def save(store: Store, before: ClusterState, after: ClusterState, token: str = "t1") -> None:
    store.save(before, after, owed=["C01"], now=START, token=token)


def the_owed(store: Store) -> Owed:
    (owed,) = store.owed("C01")
    return owed


def test_what_was_saved_is_loaded_again_whole(watch: Watch) -> None:
    save(watch.store, EMPTY, with_services(EMPTY, CHECKOUT))
    loaded = watch.store.load(CLUSTER, ["checkout", "another"])

    assert loaded == replace(with_services(EMPTY, CHECKOUT), version=1)


def test_nothing_is_known_of_a_cluster_that_was_never_saved(watch: Watch) -> None:
    assert watch.store.load(CLUSTER, ["checkout"]) is None


def test_all_services_are_loaded_when_none_is_named(watch: Watch) -> None:
    names = [f"service-{n:03}" for n in range(45)]
    services = [replace(CHECKOUT, name=name) for name in names]
    save(watch.store, EMPTY, with_services(EMPTY, *services))
    loaded = watch.store.load(CLUSTER)

    assert loaded is not None
    assert sorted(loaded.services) == names


def test_who_saves_second_is_told_so_and_writes_nothing(watch: Watch) -> None:
    save(watch.store, EMPTY, with_services(EMPTY, CHECKOUT), token="first")
    with pytest.raises(Conflict):
        save(watch.store, EMPTY, with_services(EMPTY, replace(CHECKOUT, count=9)), token="second")
    loaded = watch.store.load(CLUSTER)

    assert loaded is not None
    assert loaded.services["checkout"].count == 2


def test_our_own_save_whose_answer_was_lost_is_not_somebody_elses(watch: Watch) -> None:
    save(watch.store, EMPTY, with_services(EMPTY, CHECKOUT), token="ours")
    save(watch.store, EMPTY, with_services(EMPTY, CHECKOUT), token="ours")
    loaded = watch.store.load(CLUSTER)

    assert loaded is not None
    assert loaded.version == 1


def test_a_save_does_not_touch_what_was_told(watch: Watch) -> None:
    save(watch.store, EMPTY, with_services(EMPTY, CHECKOUT))
    hold(watch)
    watch.store.record_told(the_owed(watch.store), {"checkout": 3}, owner="me", now=START)
    told = watch.store.load(CLUSTER)
    assert told is not None
    worse = with_services(told, replace(told.services["checkout"], revision=4))
    watch.store.save(told, worse, owed=["C01"], now=START, token="t2")
    loaded = watch.store.load(CLUSTER)

    assert loaded is not None
    assert loaded.services["checkout"].told == {"C01": 3}
    assert loaded.services["checkout"].owes("C01")


def hold(watch: Watch, owner: str = "me", now: Any = START) -> bool:
    return watch.store.hold("C01", owner, now=now, until=now + timedelta(seconds=60))


def test_one_holder_at_a_time_until_its_lease_ends(watch: Watch) -> None:
    assert hold(watch, "me")
    assert not hold(watch, "another", START + timedelta(seconds=59))
    assert hold(watch, "me", START + timedelta(seconds=59))
    assert hold(watch, "another", START + timedelta(seconds=120))


def test_a_released_channel_can_be_held_at_once(watch: Watch) -> None:
    hold(watch)
    watch.store.release("C01", "me", now=START)

    assert hold(watch, "another")


def test_who_lost_the_lease_cannot_release_it(watch: Watch) -> None:
    hold(watch, "another")

    with pytest.raises(LeaseLost):
        watch.store.release("C01", "me", now=START)


@pytest.mark.parametrize("write", ["begin_try", "note_attempt", "record_told", "settle"])
def test_without_the_lease_nothing_is_recorded(watch: Watch, write: str) -> None:
    save(watch.store, EMPTY, with_services(EMPTY, CHECKOUT))
    owed = the_owed(watch.store)
    attempt = Attempt(key="k", at=START, tells={"checkout": 3})
    given: dict[str, Any] = {
        "begin_try": [LATER],
        "note_attempt": [attempt],
        "record_told": [{"checkout": 3}],
        "settle": [],
    }
    hold(watch, "another")
    with pytest.raises(LeaseLost):
        getattr(watch.store, write)(owed, *given[write], owner="me", now=START)

    assert the_owed(watch.store) == owed


def test_a_lease_that_ran_out_records_nothing_even_if_nobody_took_it(watch: Watch) -> None:
    save(watch.store, EMPTY, with_services(EMPTY, CHECKOUT))
    hold(watch)

    with pytest.raises(LeaseLost):
        watch.store.begin_try(the_owed(watch.store), LATER, owner="me", now=LATER)


def test_a_try_is_counted_and_waits(watch: Watch) -> None:
    save(watch.store, EMPTY, with_services(EMPTY, CHECKOUT))
    hold(watch)
    watch.store.begin_try(the_owed(watch.store), LATER, owner="me", now=START)
    owed = the_owed(watch.store)

    assert owed.tries == 1
    assert not owed.is_due(START)
    assert owed.is_due(LATER)


def test_an_attempt_is_there_until_what_it_tells_is_recorded(watch: Watch) -> None:
    save(watch.store, EMPTY, with_services(EMPTY, CHECKOUT))
    hold(watch)
    attempt = Attempt(key="k", at=START, tells={"checkout": 3})
    watch.store.note_attempt(the_owed(watch.store), attempt, owner="me", now=START)
    assert the_owed(watch.store).attempt == attempt

    watch.store.record_told(the_owed(watch.store), {"checkout": 3}, owner="me", now=START)
    assert the_owed(watch.store).attempt is None


def test_settling_leaves_what_a_save_has_added_meanwhile(watch: Watch) -> None:
    save(watch.store, EMPTY, with_services(EMPTY, CHECKOUT))
    hold(watch)
    read_before = the_owed(watch.store)
    known = watch.store.load(CLUSTER)
    assert known is not None
    worse = with_services(known, replace(CHECKOUT, revision=4))
    watch.store.save(known, worse, owed=["C01"], now=LATER, token="t2")
    watch.store.settle(read_before, owner="me", now=START)
    assert the_owed(watch.store).nonce == "t2"

    watch.store.settle(the_owed(watch.store), owner="me", now=START)
    assert watch.store.owed("C01") == []


def test_the_oldest_is_owed_first(watch: Watch) -> None:
    for number, at in enumerate([LATER, START]):
        key = f"{CLUSTER}-{number}"
        before = replace(EMPTY, key=key)
        after = with_services(before, CHECKOUT)
        watch.store.save(before, after, owed=["C01"], now=at, token="t")

    assert [owed.cluster_key[-1] for owed in watch.store.owed("C01")] == ["1", "0"]


def test_only_channels_with_something_due_are_found(watch: Watch) -> None:
    watch.store.save(
        EMPTY, with_services(EMPTY, CHECKOUT), owed=["C01", "webhook"], now=LATER, token="t"
    )

    assert watch.store.destinations_due(START) == []
    assert watch.store.destinations_due(LATER) == ["C01", "webhook"]


def test_a_channel_stays_closed_as_long_as_slack_asked(watch: Watch) -> None:
    hold(watch)
    assert watch.store.not_before("C01") is None

    watch.store.wait_until("C01", LATER, owner="me", now=START)
    assert watch.store.not_before("C01") == LATER


def test_a_daemon_and_a_service_of_one_name_are_two(watch: Watch) -> None:
    daemon = replace(CHECKOUT, kind=SubjectKind.DAEMON, count=7)
    save(watch.store, EMPTY, with_services(EMPTY, CHECKOUT, daemon))
    loaded = watch.store.load(CLUSTER, [CHECKOUT.key, daemon.key])

    assert loaded is not None
    assert {state.count for state in loaded.services.values()} == {2, 7}


def test_keys_that_a_busy_table_leaves_out_are_asked_for_again(watch: Watch) -> None:
    search = replace(CHECKOUT, name="search")
    save(watch.store, EMPTY, with_services(EMPTY, CHECKOUT, search))
    client = watch.store.client()
    real = client.batch_get_item

    def one_at_a_time(**asked: Any) -> Any:
        first, *left = asked["RequestItems"]["ecs-watch"]["Keys"]
        answer = real(RequestItems={"ecs-watch": {"Keys": [first], "ConsistentRead": True}})
        return {**answer, "UnprocessedKeys": {"ecs-watch": {"Keys": left}} if left else {}}

    with patch.object(client, "batch_get_item", one_at_a_time):
        loaded = watch.store.load(CLUSTER, ["checkout", "search"])

    assert loaded is not None
    assert set(loaded.services) == {"checkout", "search"}


def test_a_table_that_gives_no_row_at_all_is_throttling_us(watch: Watch) -> None:
    save(watch.store, EMPTY, with_services(EMPTY, CHECKOUT))
    client = watch.store.client()

    def nothing(**asked: Any) -> Any:
        return {"Responses": {"ecs-watch": []}, "UnprocessedKeys": asked["RequestItems"]}

    with patch.object(client, "batch_get_item", nothing), pytest.raises(StoreUnavailable):
        watch.store.load(CLUSTER, ["checkout"])


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow"}}, "GetItem"),
        ClientError({"Error": {"Code": "InternalServerError", "Message": "oops"}}, "GetItem"),
        ReadTimeoutError(endpoint_url="https://dynamodb"),
    ],
)
def test_a_table_that_fails_is_one_error_of_ours(watch: Watch, error: Exception) -> None:
    client = watch.store.client()
    with patch.object(client, "get_item", side_effect=error), pytest.raises(StoreUnavailable):
        watch.store.load(CLUSTER)


def test_two_transactions_that_meet_are_a_conflict(watch: Watch) -> None:
    met: Any = {
        "Error": {"Code": "TransactionCanceledException", "Message": ""},
        "CancellationReasons": [{"Code": "None"}, {"Code": "TransactionConflict"}],
    }
    client = watch.store.client()
    error = ClientError(met, "TransactWriteItems")
    with patch.object(client, "transact_write_items", side_effect=error), pytest.raises(Conflict):
        save(watch.store, EMPTY, with_services(EMPTY, CHECKOUT))
