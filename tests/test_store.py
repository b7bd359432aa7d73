"""The rows and the write protocol."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from string import ascii_letters, digits
from typing import Any
from unittest.mock import patch

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from notifier.errors import Conflict, LeaseLost, StoreUnavailable
from notifier.model import (
    Attempt,
    Census,
    ClusterState,
    Failure,
    Impact,
    KnownDeployment,
    Mute,
    Owed,
    Phase,
    Reason,
    ServiceState,
    Step,
    StepKind,
    SubjectKind,
    Thread,
    Transition,
)
from notifier.store import EDITS_A_MINUTE
from tests.watch import CLUSTER, START, Watch, deployment_row, reading

EMPTY = ClusterState(key=CLUSTER, account="123456789012", region="eu-west-1", partition="aws")
CHECKOUT = ServiceState(
    name="checkout",
    kind=SubjectKind.SERVICE,
    phase=Phase.FAILING,
    impact=Impact.REDUCED,
    revision=3,
    generation=1,
    causes=(Failure(event="X", reason="why", deployment_id="ecs-svc/1", occurred_at=START),),
    deployments=(KnownDeployment(id="ecs-svc/1", updated_at=START, failed_at=START),),
    reading=reading("checkout", running=1, desired=2, rows=[deployment_row(1, running=1)]),
    transitions=(Transition(revision=3, reason=Reason.NEWLY_FAILING, at=START),),
    count=2,
    since=START,
    destination="C01",
    due_at=START + timedelta(minutes=1),
    seen=("a", "b"),
)
LATER = START + timedelta(seconds=60)
STEP = Step(kind=StepKind.REPLY, tells={"checkout": 3}, announces={"checkout": 3})
ATTEMPT = Attempt(key="k", at=START, channel="C01", step=STEP)
THREAD = Thread(generation=1, channel="C01", ts="1.0", opened_at=START, edited_at=START)


def with_services(state: ClusterState, *services: ServiceState) -> ClusterState:
    return replace(state, services={service.key: service for service in services})


def save(
    watch: Watch,
    before: ClusterState,
    after: ClusterState,
    token: str = "t1",
    *,
    due_at: datetime = START,
    now: datetime = START,
) -> None:
    watch.store.save(before, after, owed={"C01": due_at}, now=now, token=token)


def save_checkout(watch: Watch) -> Owed:
    """A failing service is saved, and we hold the channel that is owed it."""
    save(watch, EMPTY, with_services(EMPTY, CHECKOUT))
    hold(watch)
    return watch.owed()


def save_more(watch: Watch, due_at: datetime = START, token: str = "t2", **more: Any) -> None:
    before = watch.cluster()
    after = with_services(before, replace(before.services["checkout"], **more))
    save(watch, before, after, token, due_at=due_at)


def hold(watch: Watch, owner: str = "me", now: datetime = START) -> bool:
    return watch.store.hold("C01", owner, now=now, until=now + timedelta(seconds=60))


def row(watch: Watch, pk: str, sk: str) -> Any:
    key = {"pk": {"S": pk}, "sk": {"S": sk}}
    return watch.client.get_item(TableName="ecs-watch", Key=key, ConsistentRead=True).get("Item")


# --- saves --------------------------------------------------------------------------------------


def test_what_was_saved_is_loaded_again_whole(watch: Watch) -> None:
    save(watch, EMPTY, with_services(EMPTY, CHECKOUT))
    loaded = watch.store.load(CLUSTER, ["checkout", "another"])

    assert loaded == replace(with_services(EMPTY, CHECKOUT), version=1)


def test_nothing_is_known_of_a_cluster_that_was_never_saved(watch: Watch) -> None:
    assert watch.store.load(CLUSTER, ["checkout"]) is None


def test_all_services_are_loaded_when_none_is_named(watch: Watch) -> None:
    names = [f"service-{n:03}" for n in range(45)]
    save(watch, EMPTY, with_services(EMPTY, *(replace(CHECKOUT, name=name) for name in names)))

    assert sorted(watch.cluster().services) == names


def test_only_the_services_that_were_named_are_read(watch: Watch) -> None:
    search = replace(CHECKOUT, name="search")
    save(watch, EMPTY, with_services(EMPTY, CHECKOUT, search))
    with patch.object(watch.client, "paginate", side_effect=AssertionError("read them all")):
        loaded = watch.store.load(CLUSTER, ["search"])

    assert loaded is not None
    assert set(loaded.services) == {"search"}


def test_only_the_services_that_changed_are_written(watch: Watch) -> None:
    search = replace(CHECKOUT, name="search")
    save(watch, EMPTY, with_services(EMPTY, CHECKOUT, search))
    written: list[str] = []
    real = watch.client.transact_write_items

    def spy(**request: Any) -> Any:
        written.extend(entry["Update"]["Key"]["sk"]["S"] for entry in request["TransactItems"])
        return real(**request)

    before = watch.cluster()
    services = {**before.services, "search": replace(search, count=9)}
    with patch.object(watch.client, "transact_write_items", spy):
        save(watch, before, replace(before, services=services), "t2")

    assert written == ["head", "service#search", f"owes#{CLUSTER}"]


def test_who_saves_second_is_told_so_and_writes_nothing(watch: Watch) -> None:
    save(watch, EMPTY, with_services(EMPTY, CHECKOUT), token="first")
    with pytest.raises(Conflict):
        save(watch, EMPTY, with_services(EMPTY, replace(CHECKOUT, count=9)), token="second")

    assert watch.service().count == 2
    assert watch.owed().nonce == "first"


def test_our_own_save_whose_answer_was_lost_is_not_somebody_elses(watch: Watch) -> None:
    save(watch, EMPTY, with_services(EMPTY, CHECKOUT), token="ours")
    save(watch, EMPTY, with_services(EMPTY, CHECKOUT), token="ours")

    assert watch.cluster().version == 1


def test_a_save_that_comes_while_we_read_makes_our_own_fail(watch: Watch) -> None:
    save(watch, EMPTY, with_services(EMPTY, CHECKOUT))
    real = watch.client.batch_get_item

    def save_in_between(**request: Any) -> Any:
        save_more(watch, token="theirs", count=7)
        return real(**request)

    with patch.object(watch.client, "batch_get_item", save_in_between):
        torn = watch.store.load(CLUSTER, ["checkout"])
    assert torn is not None
    with pytest.raises(Conflict):
        save(watch, torn, with_services(torn, replace(CHECKOUT, count=8)), "ours")


def test_a_save_does_not_touch_what_was_told(watch: Watch) -> None:
    owed = save_checkout(watch)
    watch.store.record(owed, {"checkout": 3}, None, owner="me", now=START)
    save_more(watch, revision=4)

    assert watch.service().told == {"C01": 3}
    assert watch.service().revision == 4


def test_what_is_told_does_not_make_a_save_fail(watch: Watch) -> None:
    owed = save_checkout(watch)
    before = watch.cluster()
    watch.store.record(owed, {"checkout": 3}, THREAD, owner="me", now=START)
    save(watch, before, with_services(before, replace(CHECKOUT, count=9)), "t2")

    assert watch.service().count == 9


def test_a_new_incident_does_not_begin_while_the_old_one_is_owed(watch: Watch) -> None:
    first = replace(with_services(EMPTY, CHECKOUT), generation=1)
    save(watch, EMPTY, first)
    before = watch.cluster()

    with pytest.raises(Conflict):
        save(watch, before, replace(before, generation=2), "t2")


def test_a_new_incident_begins_when_nothing_is_owed(watch: Watch) -> None:
    save(watch, EMPTY, replace(with_services(EMPTY, CHECKOUT), generation=1))
    hold(watch)
    watch.store.settle(watch.owed(), owner="me", now=START)
    before = watch.cluster()
    save(watch, before, replace(before, generation=2), "t2")

    assert watch.cluster().generation == 2


def test_whether_something_is_owed_is_known_with_the_state(watch: Watch) -> None:
    save_checkout(watch)
    known = watch.store.load(CLUSTER, [], "C01")
    assert known is not None
    assert known.is_owed

    watch.store.settle(watch.owed(), owner="me", now=START)
    known = watch.store.load(CLUSTER, [], "C01")
    assert known is not None
    assert not known.is_owed


def test_what_is_over_is_deleted_by_time_and_what_fails_is_not(watch: Watch) -> None:
    over = replace(CHECKOUT, name="search", phase=Phase.RECOVERED)
    save(watch, EMPTY, with_services(EMPTY, CHECKOUT, over))

    pk = f"cluster#{CLUSTER}"
    assert "expires_at" not in row(watch, pk, "service#checkout")
    assert int(row(watch, pk, "service#search")["expires_at"]["N"]) > START.timestamp() + 14 * 86400
    assert "expires_at" not in row(watch, pk, "head")


def test_what_fails_again_is_not_deleted_by_time_any_more(watch: Watch) -> None:
    save(watch, EMPTY, with_services(EMPTY, replace(CHECKOUT, phase=Phase.RECOVERED)))
    save_more(watch, phase=Phase.FAILING)

    assert "expires_at" not in row(watch, f"cluster#{CLUSTER}", "service#checkout")


def test_forty_services_with_all_they_can_hold_are_small_rows_in_one_save(watch: Watch) -> None:
    reason = "x" * 2_000
    full = replace(
        CHECKOUT,
        causes=tuple(
            Failure(event=f"EVENT_{n}", reason=reason, deployment_id=None, occurred_at=START)
            for n in range(10)
        ),
        seen=tuple(f"{n:016x}" for n in range(100)),
    )
    services = [replace(full, name=f"{n:03}".ljust(255, "x")) for n in range(40)]
    save(watch, EMPTY, with_services(EMPTY, *services))

    sizes = [len(json.dumps(one)) for one in watch.client.table.rows()]
    assert max(sizes) < 40_000


def test_a_daemon_and_a_service_of_one_name_are_two(watch: Watch) -> None:
    daemon = replace(CHECKOUT, kind=SubjectKind.DAEMON, count=7)
    save(watch, EMPTY, with_services(EMPTY, CHECKOUT, daemon))
    loaded = watch.store.load(CLUSTER, [CHECKOUT.key, daemon.key])

    assert loaded is not None
    assert {state.count for state in loaded.services.values()} == {2, 7}


def test_a_row_that_was_deleted_by_time_and_born_again_by_what_was_told_is_none(
    watch: Watch,
) -> None:
    owed = save_checkout(watch)
    watch.store.record(owed, {"a-service-of-old": 3}, None, owner="me", now=START)

    assert set(watch.cluster().services) == {"checkout"}


# --- the lease ----------------------------------------------------------------------------------


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


WRITES: dict[str, list[Any]] = {
    "begin_try": [LATER],
    "end_try": [LATER],
    "note_attempt": [ATTEMPT],
    "record": [{"checkout": 3}, THREAD],
    "settle": [],
    "move": ["C02", 1],
}


@pytest.mark.parametrize("renewed", [False, True])
@pytest.mark.parametrize("write", WRITES)
def test_without_the_lease_nothing_is_recorded(watch: Watch, write: str, renewed: bool) -> None:
    owed = save_checkout(watch)
    if renewed:
        save_more(watch, count=5)
    hold(watch, "another", LATER)
    before = list(watch.client.table.rows())
    with pytest.raises(LeaseLost):
        getattr(watch.store, write)(owed, *WRITES[write], owner="me", now=LATER)

    assert list(watch.client.table.rows()) == before


@pytest.mark.parametrize("write", WRITES)
def test_a_lease_that_ran_out_records_nothing_even_if_nobody_took_it(
    watch: Watch, write: str
) -> None:
    owed = save_checkout(watch)

    with pytest.raises(LeaseLost):
        getattr(watch.store, write)(owed, *WRITES[write], owner="me", now=LATER)


def test_a_wait_is_written_under_the_lease_too(watch: Watch) -> None:
    hold(watch, "another")

    with pytest.raises(LeaseLost):
        watch.store.wait_until("C01", "posts", LATER, owner="me", now=START)


def test_a_channel_stays_closed_for_each_method_as_long_as_slack_asked(watch: Watch) -> None:
    hold(watch)
    assert watch.store.not_before("C01") == {}

    watch.store.wait_until("C01", "posts", LATER, owner="me", now=START)
    watch.store.wait_until("C01", "edits", START, owner="me", now=START)
    assert watch.store.not_before("C01") == {"posts": LATER, "edits": START}


# --- what is owed -------------------------------------------------------------------------------


def test_a_try_is_counted_and_waits(watch: Watch) -> None:
    watch.store.begin_try(save_checkout(watch), LATER, owner="me", now=START)

    assert watch.owed().tries == 1
    assert not watch.owed().is_due(START)
    assert watch.owed().is_due(LATER)


def test_a_turn_that_ended_as_it_should_is_no_try(watch: Watch) -> None:
    owed = save_checkout(watch)
    watch.store.begin_try(owed, LATER, owner="me", now=START)
    watch.store.end_try(owed, LATER, owner="me", now=START)

    assert watch.owed().tries == 0
    assert watch.owed().due_at == LATER


def test_what_is_saved_during_a_turn_is_due_at_once_when_it_ends(watch: Watch) -> None:
    owed = save_checkout(watch)
    watch.store.begin_try(owed, LATER, owner="me", now=START)
    save_more(watch, revision=4)
    watch.store.end_try(owed, LATER, owner="me", now=START)

    assert watch.owed().is_due(START)


def test_what_is_recorded_in_a_turn_does_not_forget_that_it_was_begun(watch: Watch) -> None:
    owed = save_checkout(watch)
    watch.store.begin_try(owed, LATER, owner="me", now=START)
    watch.store.record(owed, {}, THREAD, owner="me", now=START)

    assert watch.owed().tries == 1


def test_an_attempt_is_there_until_what_it_tells_is_recorded(watch: Watch) -> None:
    owed = save_checkout(watch)
    watch.store.note_attempt(owed, ATTEMPT, owner="me", now=START)
    assert watch.owed().attempt == ATTEMPT

    watch.store.record(owed, {"checkout": 3}, THREAD, owner="me", now=START)
    assert watch.owed().attempt is None
    assert watch.service().untold("C01") == ()


def test_settling_leaves_what_a_save_has_added_meanwhile_and_it_is_due(watch: Watch) -> None:
    read_before = save_checkout(watch)
    watch.store.begin_try(read_before, LATER, owner="me", now=START)
    save_more(watch, revision=4)
    watch.store.settle(read_before, owner="me", now=START)
    assert watch.owed().nonce == "t2"
    assert watch.owed().is_due(START)

    watch.store.settle(watch.owed(), owner="me", now=START)
    assert watch.store.owed("C01") == []


def test_the_nonce_is_read_anew(watch: Watch) -> None:
    owed = save_checkout(watch)
    save_more(watch, count=4)

    assert (owed.nonce, watch.store.nonce(owed)) == ("t1", "t2")


def test_news_brings_forward_what_waits(watch: Watch) -> None:
    save(watch, EMPTY, with_services(EMPTY, CHECKOUT), due_at=LATER)
    save_more(watch, due_at=START, revision=4)

    assert watch.owed().due_at == START


def test_counts_do_not_put_off_what_is_owed_now(watch: Watch) -> None:
    save_checkout(watch)
    save_more(watch, due_at=LATER, count=4)

    assert watch.owed().due_at == START
    assert watch.owed().nonce == "t2"


def test_the_oldest_is_owed_first(watch: Watch) -> None:
    for number, at in enumerate([LATER, START]):
        before = replace(EMPTY, key=f"{CLUSTER}-{number}")
        save(watch, before, with_services(before, CHECKOUT), due_at=at, now=at)

    assert [owed.cluster_key[-1] for owed in watch.store.owed("C01")] == ["1", "0"]


def test_what_is_moved_is_owed_by_the_other_channel_in_place_of_the_first(watch: Watch) -> None:
    watch.store.move(save_checkout(watch), "C02", 1, owner="me", now=START)

    assert watch.store.owed("C01") == []
    assert watch.owed("C02").route == "C01"
    assert watch.store.due(START).channels == ("C02",)


def test_what_was_renewed_is_not_moved_but_due_again(watch: Watch) -> None:
    owed = save_checkout(watch)
    save_more(watch, revision=4)
    watch.store.move(owed, "C02", 1, owner="me", now=START)

    assert watch.owed("C01").is_due(START)
    assert watch.store.owed("C02") == []
    assert watch.cluster().moved == {}


def moved(watch: Watch, *, closed_at: datetime | None = None) -> None:
    """The first incident is told in C02, where it is still owed, in place of C01."""
    first = replace(EMPTY, generation=1, closed_at=closed_at)
    save(watch, EMPTY, with_services(first, CHECKOUT))
    hold(watch)
    watch.store.move(watch.owed(), "C02", 1, owner="me", now=START)


def test_an_incident_that_was_moved_says_where_to_until_the_next_begins(watch: Watch) -> None:
    moved(watch)
    assert watch.cluster().moved == {"C01": "C02"}

    before = watch.cluster()
    save(watch, before, replace(before, generation=2), "t2")
    assert watch.cluster().moved == {}


def test_what_was_moved_lies_beside_what_its_new_channel_is_owed_anyway(watch: Watch) -> None:
    save(watch, EMPTY, with_services(EMPTY, CHECKOUT))
    before = watch.cluster()
    watch.store.save(before, before, owed={"C02": START}, now=START, token="t2")
    hold(watch)
    watch.store.move(watch.owed(), "C02", 1, owner="me", now=START)

    assert sorted(one.route for one in watch.store.owed("C02")) == ["C01", "C02"]


def test_since_when_it_is_owed_is_not_forgotten_when_it_is_moved(watch: Watch) -> None:
    owed = save_checkout(watch)
    now = START + timedelta(seconds=30)
    watch.store.move(owed, "C02", 1, owner="me", now=now)

    assert watch.owed("C02").since == START


def test_what_was_moved_is_still_owed(watch: Watch) -> None:
    moved(watch)

    assert with_destination(watch, "C01").is_owed
    assert not with_destination(watch, "C03").is_owed


def with_destination(watch: Watch, destination: str) -> ClusterState:
    loaded = watch.store.load(CLUSTER, [], destination)
    assert loaded is not None
    return loaded


def test_what_is_moved_while_we_read_is_still_owed(watch: Watch) -> None:
    first = replace(EMPTY, generation=1, closed_at=START)
    save(watch, EMPTY, with_services(first, CHECKOUT))
    hold(watch)
    owed, real = watch.owed(), watch.client.get_item

    def move_after_the_head(**request: Any) -> Any:
        answer = real(**request)
        if request["Key"]["sk"]["S"] == "head":
            with patch.object(watch.client, "get_item", real):
                if watch.store.owed("C01"):
                    watch.store.move(owed, "C02", 1, owner="me", now=START)
        return answer

    with patch.object(watch.client, "get_item", move_after_the_head):
        assert with_destination(watch, "C01").is_owed


# --- rows that cannot be read -------------------------------------------------------------------


def test_a_mute_that_cannot_be_read_does_not_hide_the_others(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    watch.store.mute(Mute(pattern="prod-*", until=LATER))
    watch.spoil("workspace", "mute#a-*", body='{"pattern":"a-*","until":"soon"}')
    watch.spoil("workspace", "mute#b-*", body='{"pattern":"b-*"}')
    watch.spoil("workspace", "mute#c-*", body="zlib:nonsense")

    assert [mute.pattern for mute in watch.store.mutes()] == ["prod-*"]
    lines = [line for line in caplog.records if line.message == "unreadable row"]
    assert [line.__dict__["sk"] for line in lines] == ["mute#a-*", "mute#b-*", "mute#c-*"]
    assert {line.levelname for line in lines} == {"ERROR"}


def test_a_time_without_a_zone_is_taken_for_utc(watch: Watch) -> None:
    bare = START.replace(tzinfo=None).isoformat()
    watch.spoil("workspace", "mute#a-*", body=f'{{"pattern":"a-*","until":"{bare}"}}')

    assert [mute.until for mute in watch.store.mutes()] == [START]


@pytest.mark.parametrize(
    "spoilt", [{"due_at": "soon"}, {"retry_at": "soon"}, {"since": "soon"}, {"tries": "some"}]
)
def test_what_is_owed_and_cannot_be_read_does_not_hide_the_others(
    watch: Watch, spoilt: dict[str, str]
) -> None:
    save_checkout(watch)
    row = {"nonce": "n", "due_at": START.isoformat(), **spoilt}
    watch.spoil("channel#C01", "owes#another", **row)

    assert watch.owed().cluster_key == CLUSTER


def test_what_is_owed_without_a_nonce_does_not_hide_the_others(watch: Watch) -> None:
    save_checkout(watch)
    watch.spoil("channel#C01", "owes#another", due_at=START.isoformat())

    assert watch.owed().cluster_key == CLUSTER


def test_an_attempt_that_cannot_be_read_is_told_again_not_kept_back(watch: Watch) -> None:
    owed = save_checkout(watch)
    watch.spoil("channel#C01", f"owes#{CLUSTER}", attempt='{"key":"k"}')

    assert watch.owed() == owed


def test_a_thread_that_cannot_be_read_does_not_hide_the_one_before_it(watch: Watch) -> None:
    watch.store.record(save_checkout(watch), {}, THREAD, owner="me", now=START)
    watch.spoil(f"cluster#{CLUSTER}", "thread#C01#00000001#00000002", body='{"number":2}')

    assert watch.store.thread(CLUSTER, "C01", 1) == THREAD


def test_a_wait_that_cannot_be_read_is_none(watch: Watch) -> None:
    save_checkout(watch)
    watch.store.wait_until("C01", "posts", LATER, owner="me", now=START)
    watch.spoil("channel#C01", "head", **{"not_before#edits": "soon"})

    assert watch.store.not_before("C01") == {"posts": LATER}


def test_a_census_that_cannot_be_read_begins_anew(watch: Watch) -> None:
    watch.spoil("workspace", "census", body='{"clusters":[]}')

    assert watch.store.census() is None


def test_a_service_that_cannot_be_read_fails_until_it_is_looked_at(watch: Watch) -> None:
    search = replace(CHECKOUT, name="search")
    open_incident = replace(EMPTY, generation=4, open_services=2, opened_at=START)
    save(watch, EMPTY, with_services(open_incident, CHECKOUT, search))
    hold(watch)
    watch.store.record(watch.owed(), {"checkout": 3}, None, owner="me", now=START)
    watch.spoil(f"cluster#{CLUSTER}", "service#checkout", body='{"phase":"failing"}')
    read = watch.service("checkout")

    assert watch.service("search") == search
    assert (read.phase, read.revision, read.generation) == (Phase.FAILING, 3, 4)
    assert (read.since, read.destination, read.told) == (START, "C01", {"C01": 3})


def test_a_service_that_is_over_and_cannot_be_read_is_well(watch: Watch) -> None:
    over = replace(CHECKOUT, name="job", kind=SubjectKind.DAEMON, phase=Phase.RECOVERED)
    save(watch, EMPTY, with_services(EMPTY, over))
    watch.spoil(f"cluster#{CLUSTER}", "service#daemon: job", body="[]")
    read = watch.service("daemon: job")

    assert (read.phase, read.kind, read.name) == (Phase.WELL, SubjectKind.DAEMON, "job")


@pytest.mark.parametrize(
    ("was", "phase"), [(Phase.FAILING, Phase.FAILING), (Phase.RECOVERED, Phase.WELL)]
)
def test_a_phase_of_a_newer_version_holds_the_incident_open_as_it_did_there(
    watch: Watch, was: Phase, phase: Phase
) -> None:
    save(watch, EMPTY, with_services(EMPTY, replace(CHECKOUT, phase=was)))
    newer = '{"name":"checkout","phase":"smouldering","revision":3}'
    watch.spoil(f"cluster#{CLUSTER}", "service#checkout", body=newer)

    assert watch.service("checkout").phase is phase


def test_a_kind_of_a_newer_version_is_not_taken_for_a_service_of_its_name(watch: Watch) -> None:
    save(watch, EMPTY, with_services(EMPTY, CHECKOUT))
    swarm = '{"name":"checkout","kind":"swarm","revision":9}'
    watch.spoil(f"cluster#{CLUSTER}", "service#swarm: checkout", body=swarm)

    assert watch.cluster().services == {"checkout": CHECKOUT}


# --- rows of an outage --------------------------------------------------------------------------


def size(item: Any) -> int:
    """Bytes, as DynamoDB counts them.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    values = {name: next(iter(typed.values())) for name, typed in item.items()}
    return sum(len(name.encode()) + len(str(value).encode()) for name, value in values.items())


ITEM_HOLDS = 400 * 1024


def test_rows_that_name_5000_services_of_the_longest_names_are_small(watch: Watch) -> None:
    """Names that nothing packs: 255 letters and digits at random."""
    dice, letters = Random(1), ascii_letters + digits + "-_"
    names = ["".join(dice.choices(letters, k=255)) for _ in range(5_000)]
    all_of_them = dict.fromkeys(names, 1_000_000)
    step = Step(kind=StepKind.REPLY, tells=all_of_them, announces=all_of_them)
    watch.store.note_attempt(
        save_checkout(watch), replace(ATTEMPT, step=step), owner="me", now=START
    )
    noted = watch.owed()
    thread = replace(THREAD, announced=all_of_them)
    noted_size = max(map(size, watch.client.table.rows()))
    watch.store.record(noted, {}, thread, owner="me", now=START)

    assert noted_size < ITEM_HOLDS / 2
    assert max(map(size, watch.client.table.rows())) < ITEM_HOLDS / 2
    assert noted.attempt is not None
    assert watch.store.named(noted.attempt.step, names) == step
    assert watch.store.thread(CLUSTER, "C01", 1, names) == thread


def test_a_service_that_is_gone_for_good_is_left_out_of_what_was_told(watch: Watch) -> None:
    step = replace(STEP, tells={f"service-{n}": 1 for n in range(9)}, announces={})
    with patch("notifier.store.NAMES_HOLD", 0):
        watch.store.note_attempt(
            save_checkout(watch), replace(ATTEMPT, step=step), owner="me", now=START
        )
    attempt = watch.owed().attempt
    assert attempt is not None

    assert watch.store.named(attempt.step, ["service-7", "new"]).tells == {"service-7": 1}


def test_the_newest_thread_of_an_incident_is_found(watch: Watch) -> None:
    owed = save_checkout(watch)
    for number in (1, 2, 10):
        one = replace(THREAD, number=number, ts=f"{number}.0")
        watch.store.record(owed, {}, one, owner="me", now=START)
    watch.store.record(owed, {}, replace(THREAD, generation=2), owner="me", now=START)

    found = watch.store.thread(CLUSTER, "C01", 1)
    assert found is not None
    assert found.ts == "10.0"
    assert watch.store.thread(CLUSTER, "C02", 1) is None


# --- what is due, and what all share ------------------------------------------------------------


def test_only_channels_with_something_due_are_found(watch: Watch) -> None:
    owed = {"C01": LATER, "webhook": START}
    watch.store.save(EMPTY, with_services(EMPTY, CHECKOUT), owed=owed, now=START, token="t")

    assert watch.store.due(START).channels == ("webhook",)
    assert set(watch.store.due(LATER).channels) == {"C01", "webhook"}


def test_services_are_due_when_they_are_to_be_read_again(watch: Watch) -> None:
    save(watch, EMPTY, with_services(EMPTY, CHECKOUT))
    assert watch.store.due(START).services == {}
    assert watch.store.due(LATER).services == {CLUSTER: ("checkout",)}

    save_more(watch, due_at=START, **{"phase": Phase.RECOVERED})
    before = watch.cluster()
    save(watch, before, with_services(before, replace(CHECKOUT, due_at=None)), "t3")
    assert watch.store.due(LATER).services == {}


def test_forty_edits_a_minute_are_all_there_are(watch: Watch) -> None:
    taken = [watch.store.take_edit(START) for _ in range(EDITS_A_MINUTE + 2)]

    assert taken == [True] * EDITS_A_MINUTE + [False, False]
    assert watch.store.take_edit(LATER)


def test_a_mute_lasts_until_it_is_ended(watch: Watch) -> None:
    mute = Mute(pattern="prod-*", until=LATER, why="a drill")
    watch.store.mute(replace(mute, until=START))
    watch.store.mute(mute)
    assert watch.store.mutes() == [mute]

    assert watch.store.unmute("prod-*")
    assert not watch.store.unmute("prod-*")
    assert watch.store.mutes() == []


def test_where_the_census_stands_is_remembered(watch: Watch) -> None:
    census = Census(
        started_at=START, clusters=(CLUSTER,), page="p", is_listed=True, trouble={"C01": ("a",)}
    )
    watch.store.save_census(census)

    assert watch.store.census() == census


# --- when the table is in a bad way -------------------------------------------------------------


def test_keys_that_a_busy_table_leaves_out_are_asked_for_again(watch: Watch) -> None:
    search = replace(CHECKOUT, name="search")
    save(watch, EMPTY, with_services(EMPTY, CHECKOUT, search))
    client = watch.client
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
    save(watch, EMPTY, with_services(EMPTY, CHECKOUT))
    client = watch.client

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
    client = watch.client
    with patch.object(client, "get_item", side_effect=error), pytest.raises(StoreUnavailable):
        watch.store.load(CLUSTER)


def met_another(times: int) -> list[Any]:
    met: Any = {
        "Error": {"Code": "TransactionCanceledException", "Message": ""},
        "CancellationReasons": [{"Code": "None"}, {"Code": "TransactionConflict"}],
    }
    return [ClientError(met, "TransactWriteItems")] * times


def test_two_transactions_that_meet_are_tried_again(watch: Watch) -> None:
    answers = [*met_another(3), {}]
    with patch.object(watch.client, "transact_write_items", side_effect=answers) as write:
        save(watch, EMPTY, with_services(EMPTY, CHECKOUT))

    assert write.call_count == 4


def test_a_holder_that_meets_another_transaction_still_holds(watch: Watch) -> None:
    hold(watch)
    answers = [*met_another(1), {}]
    with patch.object(watch.client, "transact_write_items", side_effect=answers):
        assert hold(watch)


def test_transactions_that_meet_for_ever_are_a_table_that_is_not_there(watch: Watch) -> None:
    with (
        patch.object(watch.client, "transact_write_items", side_effect=met_another(99)),
        pytest.raises(StoreUnavailable),
    ):
        save(watch, EMPTY, with_services(EMPTY, CHECKOUT))


def test_a_lost_condition_beside_another_transaction_is_a_lost_race(watch: Watch) -> None:
    save(watch, EMPTY, with_services(EMPTY, CHECKOUT), token="theirs")
    (met,) = met_another(1)
    met.response["CancellationReasons"][0]["Code"] = "ConditionalCheckFailed"
    with (
        patch.object(watch.client, "transact_write_items", side_effect=met),
        pytest.raises(Conflict),
    ):
        save(watch, EMPTY, with_services(EMPTY, CHECKOUT))
