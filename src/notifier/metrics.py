"""What happened, as CloudWatch's embedded metric format: one line of JSON on standard output.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
Each metric costs money every month, so there are few, with the stack as their only dimension; why
each thing was told or not stands beside them, where Logs Insights can count it.
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
    "Ticks": "Count",
    "Heartbeat": "Count",
    "FailedChecks": "Count",
    "SilentMembers": "Count",
}


def line(tally: Mapping[str, float], now: datetime, *, stack: str) -> str:
    """One line of the log; what is in `tally` under another name than a metric's is a property."""
    shown = {name: value for name, value in tally.items() if name in UNITS}
    metrics = [{"Name": name, "Unit": UNITS[name]} for name in shown]
    directive = {"Namespace": NAMESPACE, "Dimensions": [["Stack"]], "Metrics": metrics}
    emf = {"Timestamp": int(now.timestamp() * 1000), "CloudWatchMetrics": [directive]}
    rest = {name: value for name, value in tally.items() if name not in UNITS}
    about = {"Stack": stack, **shown, **({"Reasons": rest} if rest else {})}
    return json.dumps({**({"_aws": emf} if metrics else {}), **about})
