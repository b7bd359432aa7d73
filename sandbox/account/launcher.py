"""Starts MiniStack, an AWS account in one process, and adds what it leaves out of EventBridge.

Runs under the Python of `.venv-sandbox`, never under the project's own, because MiniStack pins
botocore. Eight things are added:

* `PutEvents` with a source that begins with `aws.` for the account's root, which is the tests;
  everybody else is refused, as AWS refuses it. The entry's `Time` is kept.
  https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsRequestEntry.html
* A rule delivers to a queue only when the queue's policy lets it. Otherwise the event goes to the
  target's dead-letter queue and the metrics of `AWS/Events` count it.
  https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
* An alarm looks at the metric of its own dimensions only.
* An alarm on metric math, as far as our template uses it, is created and evaluated; it shows a
  metric of a namespace that AWS has not.
  https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
* A role that may read one rule or one function's concurrency may do so: MiniStack asks for another
  ARN and another action than AWS does.
  https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoneventbridge.html
* PutEvents has the condition key `events:source`, as the default bus asks for it.
  https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-conditions.html
* A document of Systems Manager is deployed, and lies there: nothing executes it.
  https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-ssm-document.html
* With SANDBOX_SCHEDULES=off no schedule fires by itself: a test or the demo makes the ticks.

It ends itself and everything it started as soon as its standard input closes, so it cannot outlive
whoever started it, however that one ended.
"""

import contextvars
import json
import os
import re
import shutil
import signal
import sys
import threading
import time
from datetime import datetime
from typing import Any

from ministack import app  # type: ignore[import-not-found]
from ministack.core import iam_actions, iam_evaluator  # type: ignore[import-not-found]
from ministack.core.responses import (  # type: ignore[import-not-found]
    get_account_id,
    json_response,
)
from ministack.services import (  # type: ignore[import-not-found]
    cloudwatch,
    eventbridge,
    scheduler,
    sqs,
)
from ministack.services.cloudformation import provisioners  # type: ignore[import-not-found]

WORKER_SITE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "worker")

put_events = eventbridge._put_events
invoke_target = eventbridge._invoke_target
now = eventbridge._now_ts
evaluate_alarm = cloudwatch._evaluate_alarm
resource_arn = iam_actions.extract_resource_arn
lambda_action = iam_actions._lambda_action
request_tag_context = iam_actions.request_tag_context
alarm_record = provisioners._cw_metric_alarm_record
entry_time: contextvars.ContextVar[float | None] = contextvars.ContextVar("entry_time")


def end_with_parent() -> None:
    """Wait until standard input closes, then end the whole process group and its files."""
    while os.read(0, 1024):
        pass
    shutil.rmtree(os.environ["SANDBOX_HOME"], ignore_errors=True)
    os.killpg(os.getpgid(0), signal.SIGKILL)


# --- PutEvents --------------------------------------------------------------------------------


def put_events_as_aws_would(request: dict[str, Any], allow_aws_source: bool = False) -> Any:
    """Let the account's root put events of AWS services, each at its own `Time`."""
    if not iam_evaluator.caller_arn().endswith(":root"):
        return put_events(request, allow_aws_source)
    if len(request.get("Entries", [])) > 10:
        return put_events(request)
    answers = [put_one(request, entry) for entry in request.get("Entries", [])]
    failed = sum("ErrorCode" in answer for answer in answers)
    return json_response({"FailedEntryCount": failed, "Entries": answers})


def put_one(request: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """Put one entry and return its part of the answer."""
    token = entry_time.set(as_seconds(entry.get("Time")))
    try:
        _status, _headers, body = put_events({**request, "Entries": [entry]}, allow_aws_source=True)
    finally:
        entry_time.reset(token)
    answer: dict[str, Any] = json.loads(body)["Entries"][0]
    return answer


def as_seconds(moment: object) -> float | None:
    """Read a timestamp of JSON 1.1: seconds, or ISO 8601."""
    if isinstance(moment, str):
        return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()
    return float(moment) if isinstance(moment, int | float) else None


def time_of_entry_or_now() -> float:
    """Stand in for MiniStack's clock of events."""
    return entry_time.get(None) or float(now())


# --- rule → queue -----------------------------------------------------------------------------


def deliver(target: dict[str, Any], event: Any, rule: dict[str, Any], view: Any = None) -> None:
    """Deliver to a queue only with the queue's permission; otherwise as EventBridge gives up."""
    arn = target.get("Arn", "")
    if ":sqs:" not in arn:
        invoke_target(target, event, rule, view)
    elif problem := why_not(arn, rule):
        give_up(target, event, rule, view, problem)
    else:
        invoke_target(target, event, rule, view)
        count("Invocations", rule)


def why_not(queue_arn: str, rule: dict[str, Any]) -> str:
    """Say why this rule may not send to the queue: EventBridge's error code, or nothing."""
    if sqs._queue_by_arn(queue_arn) is None:
        return "RESOURCE_NOT_FOUND"
    may = sqs.queue_policy_allows(
        queue_arn, "events.amazonaws.com", rule.get("Arn", ""), get_account_id()
    )
    return "" if may else "NO_PERMISSIONS"


def give_up(
    target: dict[str, Any], event: Any, rule: dict[str, Any], view: Any, problem: str
) -> None:
    """Count a permanent failure and hand the event to the target's dead-letter queue."""
    count("FailedInvocations", rule)
    queue_arn = (target.get("DeadLetterConfig") or {}).get("Arn")
    if not queue_arn:
        return
    if why_not(queue_arn, rule):
        count("InvocationsFailedToBeSentToDlq", rule)
        return
    invoke_target({"Id": target.get("Id", ""), "Arn": queue_arn}, event, rule, view)
    label_newest(queue_arn, target, rule, problem)
    count("InvocationsSentToDlq", rule)


def label_newest(queue_arn: str, target: dict[str, Any], rule: dict[str, Any], code: str) -> None:
    """Give the dead letter the attributes by which EventBridge explains it."""
    attributes = {
        "RULE_ARN": rule.get("Arn", ""),
        "TARGET_ARN": target.get("Arn", ""),
        "ERROR_CODE": code,
        "ERROR_MESSAGE": "The rule may not send to the target, or it does not exist.",
    }
    sqs._queue_by_arn(queue_arn)["messages"][-1]["message_attributes"] = {
        name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
    }


def count(metric: str, rule: dict[str, Any]) -> None:
    """Add one to a metric of `AWS/Events`; alarms on it are evaluated at once."""
    dimension = {"Name": "RuleName", "Value": rule.get("Name", "")}
    datum = {"MetricName": metric, "Value": 1.0, "Unit": "Count", "Dimensions": [dimension]}
    request = {"Namespace": "AWS/Events", "MetricData": [datum]}
    cloudwatch._put_metric_data({}, request, is_cbor=False, is_json=True)


def evaluate_by_dimensions(alarm: dict[str, Any]) -> None:
    """Evaluate an alarm only when its own metric has a value: MiniStack takes any dimension's."""
    if "Metrics" in alarm:
        work_out(alarm)
    dimensions = {row["Name"]: row["Value"] for row in alarm.get("Dimensions", [])}
    key = (alarm.get("Namespace"), alarm.get("MetricName"), cloudwatch._dims_key(dimensions))
    if cloudwatch._metrics.get(key):
        evaluate_alarm(alarm)


# --- metric math ------------------------------------------------------------------------------

MATH = "metric math"  # the namespace in which an expression's values are kept


def record_with_math(name: str, properties: dict[str, Any]) -> Any:
    """Make the record of an alarm, of which MiniStack refuses those on metric math."""
    if not properties.get("Metrics"):
        return alarm_record(name, properties)
    kept = {key: value for key, value in properties.items() if key != "Metrics"}
    named = {"Namespace": MATH, "MetricName": name, "Statistic": "Maximum"}
    return {**alarm_record(name, {**kept, **named}), "Metrics": properties["Metrics"]}


def work_out(alarm: dict[str, Any]) -> None:
    """Put the value that the alarm's expression has now where the alarm looks."""
    rows = {row["Id"]: row for row in alarm["Metrics"]}
    (wanted,) = (row for row in rows.values() if row.get("ReturnData", True) in (True, "true"))
    value = value_of(wanted, rows)
    if value is not None:
        datum = {"Timestamp": time.time(), "Value": value, "Unit": "None", "Dimensions": {}}
        cloudwatch._metrics[MATH, alarm["AlarmName"], ""] = [datum]


def value_of(row: dict[str, Any], rows: dict[str, Any]) -> float | None:
    """Return the value of a metric or an expression; None where nothing was counted."""
    if "MetricStat" in row:
        return newest(row["MetricStat"])
    text = row["Expression"]
    if text == "SUM(METRICS())":
        return total(value_of(one, rows) for one in rows.values() if "MetricStat" in one)
    if found := re.fullmatch(r"MAX\(\[(.+)\]\)", text):
        values = (value_of(rows[name.strip()], rows) for name in found[1].split(","))
        return max((value for value in values if value is not None), default=None)
    if found := re.fullmatch(r"(\w+) / ([0-9.]+)", text):
        value = value_of(rows[found[1]], rows)
        return None if value is None else value / float(found[2])
    if found := re.fullmatch(r"FILL\((\w+), 0\)", text):
        # Of silence nothing is said here, where the clock is turned.
        return value_of(rows[found[1]], rows)
    raise ValueError(f"the sandbox knows no metric math such as {text}")


def total(values: Any) -> float | None:
    """Add up what was counted; None where nothing was."""
    counted = [value for value in values if value is not None]
    return sum(counted) if counted else None


def newest(wanted: dict[str, Any]) -> float | None:
    """Return the statistic of the metric's last period."""
    metric = wanted["Metric"]
    dimensions = {row["Name"]: row["Value"] for row in metric.get("Dimensions", [])}
    key = (metric["Namespace"], metric["MetricName"], cloudwatch._dims_key(dimensions))
    since = time.time() - float(wanted["Period"])
    recent = [one for one in cloudwatch._metrics.get(key, []) if one["Timestamp"] >= since]
    value = cloudwatch._stat_value(cloudwatch._calc_stats(recent), wanted["Stat"], recent)
    return None if not recent or value is None else float(value)


# --- permissions --------------------------------------------------------------------------------


def resource_of(service: str, *request: Any) -> str:
    """Return what a call is about, where MiniStack takes a rule for one of a bus with a name.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoneventbridge.html
    """
    body, region, account_id = request[3], request[5], request[6]
    asked = json.loads(body or b"{}") if service == "events" else {}
    name = asked.get("Rule") or asked.get("Name")
    if name and "EventBusName" not in asked and "Entries" not in asked:
        return f"arn:aws:events:{region}:{account_id}:rule/{name}"
    return str(resource_arn(service, *request))


def lambda_action_of(method: str, path: str) -> str | None:
    """Return the action of a call of Lambda, where MiniStack takes a read for the write.

    https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionConcurrency.html
    """
    if method == "GET" and path.rstrip("/").endswith("/concurrency"):
        return "GetFunctionConcurrency"
    action: str | None = lambda_action(method, path)
    return action


def keys_of(service: str, action: str, body: bytes, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the condition keys of a call: PutEvents has its source where all entries have one."""
    keys: dict[str, Any] = dict(request_tag_context(service, action, body, parameters))
    if action == "events:PutEvents":
        sources = {entry.get("Source") for entry in json.loads(body).get("Entries", [])}
        keys |= {"events:source": sources.pop()} if len(sources) == 1 else {}
    return keys


# --- documents --------------------------------------------------------------------------------


def create_document(
    logical_id: str, properties: dict[str, Any], stack: str
) -> tuple[str, dict[str, Any]]:
    """Take a document's name for it, which is what `Ref` returns."""
    return properties.get("Name") or f"{stack}-{logical_id}", {}


def delete_document(_name: str, _properties: dict[str, Any]) -> None:
    """There is nothing to delete."""


# --- start ------------------------------------------------------------------------------------


def add_what_is_missing() -> None:
    """Put our functions in the place of MiniStack's."""
    eventbridge._put_events = put_events_as_aws_would
    eventbridge._invoke_target = deliver
    eventbridge._now_ts = time_of_entry_or_now
    cloudwatch._evaluate_alarm = evaluate_by_dimensions
    provisioners._cw_metric_alarm_record = record_with_math
    iam_actions.extract_resource_arn = resource_of
    iam_actions._lambda_action = lambda_action_of
    iam_actions.request_tag_context = keys_of
    provisioners._RESOURCE_HANDLERS["AWS::SSM::Document"] = {
        "create": create_document,
        "delete": delete_document,
    }
    if os.environ.get("SANDBOX_SCHEDULES") == "off":
        eventbridge.start_scheduler = lambda: None
        scheduler.start_scheduler = lambda: None


def main() -> None:
    """Serve until standard input closes."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    add_what_is_missing()
    os.environ["PYTHONPATH"] = WORKER_SITE  # for function processes only; this one has started
    sys.argv = sys.argv[:1]
    app.main()


if __name__ == "__main__":
    main()
