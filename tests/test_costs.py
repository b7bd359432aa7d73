"""The page of costs says what is counted, and the counting counts what AWS bills."""

from collections import Counter
from typing import Any

import pytest

from notifier.metrics import UNITS
from tests.alarms import alarms
from tests.simulator.dynamodb import _size as size_of
from tools import costs
from tools.costs import PRICES, Meter, cost, quantities, section, totals


def update(pk: str, text: str, **more: str) -> Any:
    values = {"text": text, **more}
    return {
        "Update": {
            "TableName": "ecs-watch",
            "Key": {"pk": {"S": pk}, "sk": {"S": "a"}},
            "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in values),
            "ExpressionAttributeNames": {f"#{name}": name for name in values},
            "ExpressionAttributeValues": {f":{name}": {"S": at} for name, at in values.items()},
        }
    }


def written(*items: Any) -> int:
    count: Counter[str] = Counter()
    Meter(count).transact_write_items(TransactItems=list(items))
    return count["write units"]


def test_a_write_in_a_transaction_costs_two_units_for_each_kilobyte_begun() -> None:
    assert written(update("one", "x")) == 2
    assert written(update("one", "x" * 1500)) == 4
    assert written(update("one", "x"), update("two", "x")) == 4


def test_a_row_that_is_due_costs_a_write_of_the_index_too() -> None:
    assert written(update("one", "x", due="due", due_at="2026")) == 4


def test_a_row_whose_time_moves_leaves_the_index_and_comes_again() -> None:
    count: Counter[str] = Counter()
    meter = Meter(count)
    for at in ("2026", "2027"):
        meter.transact_write_items(TransactItems=[update("one", "x", due="due", due_at=at)])

    assert count["write units"] == 4 + 6


@pytest.mark.parametrize(("is_strong", "halves"), [(True, 4), (False, 2)])
def test_a_read_costs_by_four_kilobytes_and_half_where_it_may_be_old(
    is_strong: bool, halves: int
) -> None:
    count: Counter[str] = Counter()
    meter = Meter(count)
    meter.transact_write_items(TransactItems=[update("one", "x" * 5000)])
    key = {"pk": {"S": "one"}, "sk": {"S": "a"}}
    more = {"ConsistentRead": True} if is_strong else {}
    item = meter.get_item(TableName="ecs-watch", Key=key, **more)["Item"]

    assert 4096 < size_of(item) < 8192
    assert count["half read units"] == halves


def test_the_free_tier_takes_its_part_off_and_never_more() -> None:
    assert cost("SQS: requests", 3e6) == pytest.approx(1.2)
    assert cost("SQS: requests", 3e6, is_free_tier_used=True) == pytest.approx(0.8)
    assert cost("SQS: requests", 0.5e6, is_free_tier_used=True) == 0


def test_everything_that_is_counted_has_a_price_and_a_page_that_says_so() -> None:
    month = quantities(Counter())
    assert set(month) == set(PRICES)
    assert all(price.page.startswith("https://aws.amazon.com/") for price in PRICES.values())


def test_alarms_are_billed_by_metric_and_metrics_by_name() -> None:
    alarm_metrics, dashboards = costs.watched()
    assert alarm_metrics == sum(
        len([one for one in alarm.get("Metrics", [{"MetricStat": alarm}]) if "MetricStat" in one])
        for name, alarm in alarms().items()
        if name != "SilentMembersAlarm"  # of a hub with members only
    )
    month = quantities(Counter())

    assert alarm_metrics >= 8
    assert dashboards in (0, 1)
    assert month["CloudWatch: custom metrics"] == len(UNITS)


def test_an_idle_watcher_still_costs_what_stands_there() -> None:
    without, with_free = totals(quantities(Counter()))
    assert without > with_free >= 0


def test_the_readmes_table_adds_up_to_what_everything_costs() -> None:
    month = quantities(Counter())
    rows = [line.split("|") for line in section(month).splitlines() if line.startswith("| ")][1:]
    listed = [float(cells[2].strip(" *")) for cells in rows]

    assert sum(listed[:-1]) == pytest.approx(listed[-1], abs=0.05)
    assert {"SQS", "DynamoDB point-in-time recovery", "CloudWatch alarm metrics"} <= {
        cells[1].strip() for cells in rows
    }


@pytest.mark.e2e
def test_the_page_and_the_readme_say_what_is_counted_now() -> None:
    count = costs.day()

    assert costs.PAGE.read_text() == costs.page(count), "run `make costs`"
    assert section(quantities(count)) in costs.README.read_text(), "run `make costs`"
    assert count["events"] == costs.EVENTS + costs.STOPS + costs.HEARTBEATS
    assert count["slack"] >= costs.FAILURES
