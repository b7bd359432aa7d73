"""The alarms of template.yaml, judged as CloudWatch judges them, by samples of their metrics."""

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.transform import plain_cloudformation, read_template

NAME = "ecs-watch"  # of the stack; a resource is called NAME-LogicalId
TEMPLATE = plain_cloudformation(read_template(), bucket="bucket", key="key")

# Periods that are looked at beyond those that are asked for: AWS's tables have two.
BEYOND = 2
_MISSING = {"breaching": True, "notBreaching": False}

Series = list[float | None]  # the newest period first; None where the metric has no value


@dataclass(frozen=True)
class Sample:
    """A value of a metric, in minutes since the start."""

    at: int
    namespace: str
    metric: str
    dimensions: Mapping[str, str]
    value: float


def alarms() -> Mapping[str, Mapping[str, Any]]:
    """The alarms of template.yaml, by logical id."""
    resources = TEMPLATE["Resources"].items()
    return {
        name: resource["Properties"]
        for name, resource in resources
        if resource["Type"] == "AWS::CloudWatch::Alarm"
    }


def goes_off(alarm: Mapping[str, Any], samples: Sequence[Sample], now: int) -> bool:
    """Whether so many of the last periods breach, as CloudWatch counts them.

    Where values are missing, older ones are taken in their place as far as the evaluation range
    goes; only what is missing even so is taken for breaching or not.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
    """
    periods = alarm["EvaluationPeriods"]
    needed = alarm.get("DatapointsToAlarm", periods)
    values = _watched(alarm, samples, now, periods + BEYOND)
    real = [value for value in values if value is not None][:periods]
    filled = periods - len(real) if _MISSING[alarm["TreatMissingData"]] else 0
    return bool(sum(_breaches(alarm, value) for value in real) + filled >= needed)


def _breaches(alarm: Mapping[str, Any], value: float) -> bool:
    threshold = alarm["Threshold"]
    breaches: bool = {
        "GreaterThanOrEqualToThreshold": value >= threshold,
        "GreaterThanThreshold": value > threshold,
        "LessThanThreshold": value < threshold,
    }[alarm["ComparisonOperator"]]
    return breaches


# --- what an alarm watches ------------------------------------------------------------------------


def _watched(alarm: Mapping[str, Any], samples: Sequence[Sample], now: int, periods: int) -> Series:
    """The metric in the last periods, or the one expression that the alarm is about."""
    if "MetricName" in alarm:
        stat = {"Metric": alarm, "Period": alarm["Period"], "Stat": alarm["Statistic"]}
        return _series(stat, samples, now, periods)
    rows = alarm["Metrics"]
    metrics = {
        one["Id"]: _series(one["MetricStat"], samples, now, periods)
        for one in rows
        if "MetricStat" in one
    }
    math = _Math(metrics, {one["Id"]: one["Expression"] for one in rows if "Expression" in one})
    (watched,) = (one["Id"] for one in rows if one.get("ReturnData", True))
    return math.named(watched)


def _series(stat: Mapping[str, Any], samples: Sequence[Sample], now: int, periods: int) -> Series:
    """A statistic of one metric, with exactly its dimensions."""
    metric, minutes = stat["Metric"], int(stat["Period"]) // 60
    asked = {one["Name"]: _physical(one["Value"]) for one in metric["Dimensions"]}
    ours = [
        one
        for one in samples
        if (one.namespace, one.metric) == (metric["Namespace"], metric["MetricName"])
        and one.dimensions == asked
    ]
    ends = [now - minutes * number for number in range(periods)]
    found = [[one.value for one in ours if end - minutes < one.at <= end] for end in ends]
    return [_STATISTICS[stat["Stat"]](values) if values else None for values in found]


_STATISTICS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "Sum": sum,
    "Maximum": max,
    "SampleCount": len,
}


def _physical(value: Any) -> str:
    """What a resource is called in the stack."""
    match value:
        case {"Ref": "AWS::StackName"}:
            return NAME
        case {"Ref": logical_id} | {"Fn::GetAtt": [logical_id, _]}:
            return f"{NAME}-{logical_id}"
    raise ValueError(f"no name of a resource: {value}")


# --- metric math ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Math:
    """The metrics of an alarm by id, and its expressions, whose words are also Python's.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
    """

    metrics: Mapping[str, Series]
    expressions: Mapping[str, str]

    def named(self, name: str) -> Series:
        """The metric or expression with this id."""
        if name in self.metrics:
            return self.metrics[name]
        series: Series = self._of(ast.parse(self.expressions[name], mode="eval").body)
        return series

    def _of(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value):
                return value
            case ast.Name(name):
                return self.named(name)
            case ast.List(parts):
                return [self._of(part) for part in parts]
            case ast.BinOp(part, ast.Div(), ast.Constant(float() | int() as by)):
                return [None if value is None else value / by for value in self._of(part)]
            case ast.Call(ast.Name(function), given):
                return self._called(function, [self._of(part) for part in given])
        raise ValueError(f"an expression that is not understood: {ast.unparse(node)}")

    def _called(self, function: str, given: Sequence[Any]) -> Any:
        if function == "METRICS":
            return list(self.metrics.values())
        if function == "FILL":
            return _filled(*given)
        return _joined(_OF_SEVERAL[function], *given)


_OF_SEVERAL: Mapping[str, Callable[[Any], float]] = {"SUM": sum, "MAX": max}


def _joined(join: Callable[[Any], float], several: Sequence[Series]) -> Series:
    """One series of several: a value wherever one of them has one."""
    found = [[value for value in at if value is not None] for at in zip(*several, strict=True)]
    return [join(values) if values else None for values in found]


def _filled(series: Series, by: float) -> Series:
    """A value in every period, the newest too. AWS does not say so of a metric without any."""
    if not any(value is not None for value in series):
        return series
    return [by if value is None else value for value in series]
