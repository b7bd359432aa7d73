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


# --- what is missing ------------------------------------------------------------------------------

THREE = {
    "Namespace": "test",
    "MetricName": "Depth",
    "Dimensions": [],
    "Statistic": "Maximum",
    "Period": 60,
    "EvaluationPeriods": 3,
    "Threshold": 1,
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
}


@pytest.mark.parametrize(
    ("points", "to_alarm", "breaching", "not_breaching"),
    [
        ("0 - X - X", 3, False, False),
        ("0 - - - -", 3, False, False),
        ("- - - - -", 3, True, False),
        ("0 X X - X", 3, True, True),
        ("- - X - -", 3, True, False),
        ("0 - X - X", 2, True, True),
        ("0 0 X 0 X", 2, True, True),
        ("0 - X - -", 2, True, False),
        ("- - - - 0", 2, True, False),
        ("- - - X -", 2, True, False),
    ],
)
def test_missing_values_are_taken_as_the_tables_of_cloudwatch_say(
    points: str, to_alarm: int, breaching: bool, not_breaching: bool
) -> None:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html"""
    samples = [
        Sample(at, "test", "Depth", {}, float(point == "X"))
        for at, point in enumerate(points.split(), start=1)
        if point != "-"
    ]
    for missing, expected in (("breaching", breaching), ("notBreaching", not_breaching)):
        alarm = {**THREE, "DatapointsToAlarm": to_alarm, "TreatMissingData": missing}
        assert goes_off(alarm, samples, now=5) is expected


def sent(metric: str, at: int) -> Sample:
    return Sample(at, "ecs-watch", metric, {"Stack": NAME}, 1)


@pytest.mark.parametrize(
    ("alarm", "metric", "every", "minutes"),
    [("HeartbeatAlarm", "Heartbeat", 15, 45), ("NoTickAlarm", "OwedAge", 1, 5)],
)
def test_what_is_silent_is_noticed_after_as_many_minutes_as_is_said_and_not_before(
    alarm: str, metric: str, every: int, minutes: int
) -> None:
    heard = [sent(metric, at) for at in range(every, 121, every)]

    assert not rings(alarm, *heard, now=120 + minutes - 1)
    assert rings(alarm, *heard, now=120 + minutes)


@pytest.mark.parametrize("alarm", ["HeartbeatAlarm", "NoTickAlarm"])
def test_what_was_never_heard_is_silent(alarm: str) -> None:
    assert rings(alarm, now=120)
