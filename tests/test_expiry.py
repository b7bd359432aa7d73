"""TTL, which no emulator has as AWS has it: what it deletes, and that it may be late or come first.

Expired items are deleted within a few days, and are read until then.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/TTL.html
"""

from datetime import timedelta
from typing import Any

import pytest

from notifier.model import Mute
from notifier.store import KEEP
from sandbox.transform import read_template
from tests.watch import CLUSTER, START, TableClient, Watch, deployment_failed

TTL = read_template()["Resources"]["Table"]["Properties"]["TimeToLiveSpecification"]
QUEUES = {
    name: one["Properties"]
    for name, one in read_template()["Resources"].items()
    if one["Type"] == "AWS::SQS::Queue"
}


@pytest.fixture
def lived() -> Watch:
    """An incident from its first failure until after its all-clear, and one that is open."""
    watch = Watch(client=TableClient())
    watch.store.mute(Mute(pattern="dev-*", until=START + timedelta(hours=2), why="planned"))
    watch.offer(deployment_failed("checkout"))
    watch.ecs.show_well("checkout", revision=43)
    watch.ticks(40)
    watch.offer(deployment_failed("search", updatedAt=now(watch)))
    return watch


def now(watch: Watch) -> str:
    return watch.clock.at.isoformat().replace("+00:00", "Z")


def rows(watch: Watch) -> list[dict[str, Any]]:
    return list(watch.client.table.rows())


def expire(watch: Watch) -> list[str]:
    """Do what TTL does: delete every row whose time is over. Returns their sort keys."""
    seconds = watch.clock.at.timestamp()
    over = [one for one in rows(watch) if float(one.get(TTL["AttributeName"], INF)["N"]) < seconds]
    for one in over:
        delete = {"TableName": "ecs-watch", "Key": {name: one[name] for name in ("pk", "sk")}}
        watch.client.transact_write_items(TransactItems=[{"Delete": delete}])
    return [one["sk"]["S"] for one in over]


INF = {"N": "inf"}


def test_every_time_is_a_number_of_seconds_under_the_name_that_the_template_gives(
    lived: Watch,
) -> None:
    times = [one[TTL["AttributeName"]] for one in rows(lived) if TTL["AttributeName"] in one]
    soon, late = START.timestamp(), (START + timedelta(days=400)).timestamp()

    assert TTL["Enabled"] is True
    assert len(times) >= 3
    assert {name for one in times for name in one} == {"N"}
    assert all(soon <= int(one["N"]) <= late for one in times), "seconds, not milliseconds"


def test_nothing_open_or_owed_ever_expires(lived: Watch) -> None:
    lived.slack.answers = []
    kept = [one for one in rows(lived) if TTL["AttributeName"] not in one]

    keys = {one["sk"]["S"] for one in kept}
    assert {"head", "service#search", "census"} <= keys
    assert all(TTL["AttributeName"] not in one for one in rows(lived) if "due" in one)
    assert not [one for one in rows(lived) if "owes#" in one["sk"]["S"] and one not in kept]


def test_a_service_that_is_well_is_forgotten_and_fails_again_as_if_new(lived: Watch) -> None:
    lived.ecs.show_well("search", revision=43)
    lived.ticks(60)
    lived.clock.at += KEEP + timedelta(days=1)
    assert {"service#checkout", "service#search"} <= set(expire(lived))
    before = len(lived.slack.roots)

    lived.offer(deployment_failed("checkout", number=77, updatedAt=now(lived)))

    assert len(lived.slack.roots) == before + 1
    assert lived.cluster(CLUSTER).open_services == 1


def test_a_mute_that_is_over_counts_no_more_though_its_row_is_still_there() -> None:
    watch = Watch(client=TableClient())
    watch.store.mute(Mute(pattern="prod-*", until=START + timedelta(hours=2), why="planned"))
    watch.clock.at += timedelta(hours=3)
    assert [one["sk"]["S"] for one in rows(watch) if "mute#" in one["sk"]["S"]]

    watch.offer(deployment_failed("checkout", updatedAt=now(watch)))

    assert len(watch.slack.roots) == 1


def test_a_row_outlives_every_message_that_may_still_come_back() -> None:
    kept = max(queue["MessageRetentionPeriod"] for queue in QUEUES.values())
    assert timedelta(seconds=kept) < KEEP
