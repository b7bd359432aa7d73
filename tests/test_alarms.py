"""The alarms go off when CloudWatch would let them, and by nothing but what they watch."""

import pytest

from tests.alarms import NAME, Sample, alarms, goes_off


def failed(rule: str) -> Sample:
    of = {"RuleName": f"{NAME}-{rule}"}
    return Sample(1, "AWS/Events", "FailedInvocations", of, 1)


def lasted(function: str, milliseconds: int) -> Sample:
    of = {"FunctionName": f"{NAME}-{function}"}
    return Sample(1, "AWS/Lambda", "Duration", of, milliseconds)


def rings(name: str, *samples: Sample, now: int = 1) -> bool:
    return goes_off(alarms()[name], samples, now)


@pytest.mark.parametrize(
    ("rule", "is_watched"),
    [("DeploymentFailures", True), ("Deployers", True), ("Heartbeat", False)],
)
def test_an_alarm_hears_of_the_rules_that_it_names_and_of_no_other(
    rule: str, is_watched: bool
) -> None:
    assert rings("RulesAlarm", failed(rule)) is is_watched


def test_a_metric_with_another_dimension_more_is_another_metric() -> None:
    sample = failed("DeploymentFailures")
    more = {**sample.dimensions, "EventBusName": "default"}

    assert not rings("RulesAlarm", Sample(1, sample.namespace, sample.metric, more, 1))


@pytest.mark.parametrize(
    ("function", "milliseconds", "is_slow"),
    [
        ("EventsFunction", 53_900, False),
        ("EventsFunction", 54_000, True),
        ("TickFunction", 269_000, False),
        ("TickFunction", 270_000, True),
    ],
)
def test_an_expression_is_reckoned_as_it_is_written(
    function: str, milliseconds: int, is_slow: bool
) -> None:
    assert rings("SlowFunctionsAlarm", lasted(function, milliseconds)) is is_slow
