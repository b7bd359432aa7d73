"""What CloudWatch reads from the log."""

import json
from collections import Counter

from notifier import metrics
from tests.watch import START


def read(tally: dict[str, float]) -> dict[str, object]:
    shown: dict[str, object] = json.loads(metrics.line(Counter(tally), START, stack="ecs-watch"))
    return shown


def test_a_metric_has_its_value_unit_and_time() -> None:
    shown = read({"Owed": 3, "OwedAge": 61})

    assert (shown["Owed"], shown["OwedAge"]) == (3, 61)
    assert shown["_aws"] == {
        "Timestamp": 1795435200000,
        "CloudWatchMetrics": [
            {
                "Namespace": "ecs-watch",
                "Dimensions": [["Stack"]],
                "Metrics": [
                    {"Name": "Owed", "Unit": "Count"},
                    {"Name": "OwedAge", "Unit": "Seconds"},
                ],
            }
        ],
    }


def test_reasons_are_counted_and_are_no_metrics() -> None:
    shown = read({"newly failing": 2})

    assert shown["Reasons"] == {"newly failing": 2}
    assert "_aws" not in shown
