"""What happened, as CloudWatch's embedded metric format: one line of JSON on standard output.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
Each metric costs money for every hour that has a value of it, so there are few, with the stack as
their only dimension, and most are left out while they are nothing. Why each thing was told or not,
and the calls that were made, stand beside them, where Logs Insights can count them.
"""

import json
from collections.abc import Mapping
from datetime import datetime

NAMESPACE = "ecs-watch"
UNITS = {
    "Owed": "Count",
    "OwedAge": "Seconds",
    "OpenClusters": "Count",
    "GivenUp": "Count",
    "Refused": "Count",
    "OpenCircuits": "Count",
    "SecondsToSlack": "Seconds",
    "Heartbeat": "Count",
    "FailedChecks": "Count",
    "SilentMembers": "Count",
}
MEASURED = {"Owed", "OwedAge", "OpenClusters"}  # by every tick, though it be nothing
NO_CALLS: Mapping[str, int] = {}


def line(
    tally: Mapping[str, float], now: datetime, *, stack: str, calls: Mapping[str, int] = NO_CALLS
) -> str:
    """One line of the log; what is in `tally` under another name than a metric's is a property.

    `calls` counts calls of AWS and Slack, by service.
    """
    known = {name: value for name, value in tally.items() if name in UNITS}
    shown = {name: value for name, value in known.items() if value or name in MEASURED}
    metrics = [{"Name": name, "Unit": UNITS[name]} for name in shown]
    directive = {"Namespace": NAMESPACE, "Dimensions": [["Stack"]], "Metrics": metrics}
    emf = {"Timestamp": int(now.timestamp() * 1000), "CloudWatchMetrics": [directive]}
    rest = {name: value for name, value in tally.items() if name not in UNITS}
    beside = {name: part for name, part in (("Reasons", rest), ("Calls", calls)) if part}
    return json.dumps({**({"_aws": emf} if metrics else {}), "Stack": stack, **shown, **beside})
