"""What template.yaml promises: nothing is lost in silence, nothing may do more than it needs to."""

import ast
import dataclasses
import importlib
import itertools
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore import xform_name
from botocore.session import get_session
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier import metrics
from notifier.actors import EXAMPLE, SHIPPED, parse_actors
from notifier.model import BEGINNING, Reason
from notifier.routing import parse_channels
from notifier.settings import ReadLogs, Settings
from notifier.thresholds import DEFAULT_DYING_TASKS, parse_dying_tasks
from sandbox.transform import TEMPLATE, plain_cloudformation, read_template
from tests.e2e.combinations import resolved
from tools.package import LONGEST_TEMPLATE, packaged_template, write_zip

ROOT = Path(__file__).parent.parent
SAM = read_template()
PLAIN = plain_cloudformation(SAM, bucket="bucket", key="key")
PACKAGED = packaged_template(SAM)
PARAMETERS: dict[str, dict[str, Any]] = SAM["Parameters"]


NOTHING = {"Ref": "AWS::NoValue"}
# That every allowed combination is one that AWS takes is for tests/e2e.
ALL, NONE = dict.fromkeys(PLAIN["Conditions"], True), dict.fromkeys(PLAIN["Conditions"], False)


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    """The properties of every resource of a type, by logical id."""
    return {
        name: resource["Properties"]
        for name, resource in PLAIN["Resources"].items()
        if resource["Type"] == f"AWS::{kind}"
    }


RULES = of_type("Events::Rule")
TICK = "EveryMinute"  # the one rule that does not fill the queue
QUEUE_RULES = [name for name in RULES if name != TICK]
FAILURE_RULES = [
    *("DeploymentFailures", "DeploymentProgress", "OtherFailures", "TaskFailures"),
    "Deployers",
]
FUNCTIONS = of_type("Lambda::Function")
ALARMS = of_type("CloudWatch::Alarm")
QUEUES = of_type("SQS::Queue")


def arn(name: str) -> dict[str, list[str]]:
    return {"Fn::GetAtt": [name, "Arn"]}


def walk(node: object) -> Iterator[Any]:
    """Everything in a template, depth first."""
    yield node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from walk(child)


def copied(template: dict[str, Any]) -> dict[str, Any]:
    """A template to break; what its aliases share is apart in it."""
    apart: dict[str, Any] = json.loads(json.dumps(template))
    return apart


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def actions(statement: dict[str, Any]) -> list[str]:
    """The actions of a statement, both sides of every `Fn::If` included."""
    return [text for text in walk(statement["Action"]) if isinstance(text, str) and ":" in text]


STATEMENTS = [
    node for node in walk(PLAIN["Resources"]) if isinstance(node, dict) and "Effect" in node
]


# --- the template is one that AWS takes -------------------------------------------------------


def test_cfn_lint_has_nothing_to_say_of_the_sam_template_nor_of_the_plain_one(
    tmp_path: Path,
) -> None:
    plain = tmp_path / "template.json"
    plain.write_text(json.dumps(PACKAGED))
    said = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), TEMPLATE, plain],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (said.returncode, said.stdout) == (0, ""), said.stderr


def test_nothing_of_sam_is_left_in_what_is_packaged() -> None:
    assert "Transform" not in PACKAGED
    assert not [r for r in PACKAGED["Resources"].values() if "Serverless" in r["Type"]]


def test_cloudformation_takes_the_packaged_template_from_s3() -> None:
    assert len(json.dumps(PACKAGED, separators=(",", ":"))) < LONGEST_TEMPLATE


def test_parameters_are_still_parameters_after_the_transform() -> None:
    assert PLAIN["Parameters"] == PARAMETERS
    assert PLAIN["Rules"] == SAM["Rules"]
    for function in FUNCTIONS.values():
        assert function["Architectures"] == [{"Ref": "Architecture"}]
        assert function["Environment"]["Variables"]["CHANNELS"] == {"Ref": "Channels"}


# --- what comes in ----------------------------------------------------------------------------


@pytest.mark.parametrize("rule", QUEUE_RULES)
def test_each_rule_fills_the_queue_tries_for_a_day_and_then_keeps_the_event(rule: str) -> None:
    (target,) = RULES[rule]["Targets"]
    assert target["Arn"] == arn("EventsQueue")
    assert target["RetryPolicy"] == {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}
    assert target["DeadLetterConfig"] == {"Arn": arn("RulesDeadLetterQueue")}


@pytest.mark.parametrize("queue", ["EventsQueue", "RulesDeadLetterQueue"])
def test_the_rules_and_nobody_else_may_send_to_a_queue(queue: str) -> None:
    (policy,) = (p for p in of_type("SQS::QueuePolicy").values() if p["Queues"] == [{"Ref": queue}])
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    assert (statement["Action"], statement["Resource"]) == ("sqs:SendMessage", arn(queue))
    allowed = statement["Condition"]["ArnEquals"]["aws:SourceArn"]
    of_members = {"Fn::If": ["HasMembers", arn(OF_MEMBERS), NOTHING]}
    always = [arn(rule) for rule in QUEUE_RULES if rule != OF_MEMBERS]
    assert allowed == [*always, of_members]


OF_MEMBERS = "MemberHeartbeats"


def test_a_sign_of_life_goes_the_way_of_every_event_four_times_an_hour() -> None:
    assert RULES["Heartbeat"]["ScheduleExpression"] == "rate(15 minutes)"
    assert "EventPattern" not in RULES["Heartbeat"]


def test_who_may_put_events_here_is_of_the_organization_that_was_given() -> None:
    resource = PLAIN["Resources"]["MembersMaySend"]
    statement = resource["Properties"]["Statement"]
    assert resource["Condition"] == "HasOrganization"
    assert statement["Action"] == "events:PutEvents"
    assert statement["Resource"]["Fn::Sub"].endswith(":event-bus/default")
    assert "EventBusName" not in resource["Properties"]  # the default bus
    assert statement["Condition"] == {
        "StringEquals": {"aws:PrincipalOrgID": {"Ref": "OrganizationId"}}
    }


def test_without_members_there_is_nothing_for_them() -> None:
    alone = resolved(PLAIN, NONE)
    assert {OF_MEMBERS, "MembersMaySend", "SilentMembersAlarm"}.isdisjoint(alone["Resources"])
    assert "sts:AssumeRole" not in allowed_actions(alone)


def test_a_message_is_hidden_for_six_times_the_functions_time_out() -> None:
    function = FUNCTIONS["EventsFunction"]
    assert QUEUES["EventsQueue"]["VisibilityTimeout"] == 6 * function["Timeout"]


def test_events_wait_for_two_weeks_and_get_ten_tries() -> None:
    assert {queue["MessageRetentionPeriod"] for queue in QUEUES.values()} == {14 * 24 * 3600}
    assert QUEUES["EventsQueue"]["RedrivePolicy"] == {
        "deadLetterTargetArn": arn("EventsDeadLetterQueue"),
        "maxReceiveCount": 10,
    }


def test_the_function_takes_batches_and_gives_back_only_what_failed() -> None:
    (mapping,) = of_type("Lambda::EventSourceMapping").values()
    assert mapping == {
        "EventSourceArn": arn("EventsQueue"),
        "FunctionName": {"Ref": "EventsFunction"},
        "BatchSize": 500,
        "MaximumBatchingWindowInSeconds": 1,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "ScalingConfig": {"MaximumConcurrency": 5},
    }


def test_the_watcher_looks_every_minute_and_a_late_look_is_dropped() -> None:
    schedule = RULES[TICK]
    assert schedule["ScheduleExpression"] == "rate(1 minute)"
    assert [target["Arn"] for target in schedule["Targets"]] == [arn("TickFunction")]
    (permission,) = of_type("Lambda::Permission").values()
    assert permission["SourceArn"] == arn("EveryMinute")
    (invocation,) = of_type("Lambda::EventInvokeConfig").values()
    assert invocation["FunctionName"] == {"Ref": "TickFunction"}
    assert (invocation["MaximumRetryAttempts"], invocation["MaximumEventAgeInSeconds"]) == (0, 60)


def without_a_dead_letter_queue(template: dict[str, Any]) -> set[str]:
    """Every way on which something is handed over and nobody waits, and where nothing keeps it."""
    resources = template["Resources"]
    targets = {
        f"{name} -> {target['Id']}": "DeadLetterConfig" in target
        for name, one in resources.items()
        if one["Type"] == "AWS::Events::Rule"
        for target in one["Properties"]["Targets"]
    }
    queues = {
        f"{mapping} <- {queue}": "RedrivePolicy" in resources[queue]["Properties"]
        for mapping, one in resources.items()
        if one["Type"] == "AWS::Lambda::EventSourceMapping"
        for queue in [one["Properties"]["EventSourceArn"]["Fn::GetAtt"][0]]
    }
    return {way for way, is_kept in (targets | queues).items() if not is_kept}


# A tick that is missed is made up for by the next one, and NoTickAlarm tells of more than that.
MADE_UP_FOR = {f"{TICK} -> TickFunction"}


def test_what_nobody_waits_for_is_kept_when_it_fails() -> None:
    assert without_a_dead_letter_queue(PLAIN) == MADE_UP_FOR


@pytest.mark.parametrize("rule", QUEUE_RULES)
def test_a_target_without_a_dead_letter_queue_is_seen(rule: str) -> None:
    broken = copied(PLAIN)
    del broken["Resources"][rule]["Properties"]["Targets"][0]["DeadLetterConfig"]
    assert without_a_dead_letter_queue(broken) == {*MADE_UP_FOR, f"{rule} -> EventsQueue"}


def test_the_rules_share_one_target_which_is_written_once() -> None:
    text = TEMPLATE.read_text()
    assert len(re.findall(r"Targets: \*IntoTheQueue", text)) == len(QUEUE_RULES) - 1
    assert text.count("DeadLetterConfig:") == 1


# --- functions --------------------------------------------------------------------------------


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_handler_exists_and_the_makefile_builds_it(function: str) -> None:
    module, _, name = FUNCTIONS[function]["Handler"].rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))
    assert re.search(rf"^build-.*\bbuild-{function}:|^build-{function}\b", MAKEFILE, re.M)
    assert SAM["Resources"][function]["Metadata"]["BuildMethod"] == "makefile"


MAKEFILE = (ROOT / "src" / "Makefile").read_text()
# What `requests` and `botocore` read by themselves; set only when given.
PROXY_NAMES = {"HTTPS_PROXY", "NO_PROXY"}


# What the watcher is made of, which only the tick looks at.
OF_THE_TICK = {"RULE_NAMES", "QUEUE_URL", "DLQ_URLS"}


def environment(function: str, template: dict[str, Any] = PLAIN) -> dict[str, Any]:
    names: dict[str, Any] = template["Resources"][function]["Properties"]["Environment"]
    return dict(names["Variables"])


def test_the_environment_is_what_the_program_reads() -> None:
    read = {field.name.upper() for field in dataclasses.fields(Settings)}
    assert set(environment("TickFunction")) == read | PROXY_NAMES
    assert set(environment("EventsFunction")) == read - OF_THE_TICK | PROXY_NAMES
    for name in itertools.product(FUNCTIONS, PROXY_NAMES):
        assert environment(name[0])[name[1]]["Fn::If"][2] == NOTHING


def names_of(value: Any, template: dict[str, Any]) -> str:
    """An environment variable's value, every resource in it under its logical id."""
    if isinstance(value, str):
        return value
    ((function, argument),) = value.items()
    if function == "Ref":
        return str(argument)
    if function == "Fn::Sub":
        return re.sub(r"\$\{(\w+)\}", r"\1", argument)
    separator, parts = argument
    return str(separator).join(names_of(part, template) for part in parts)


@pytest.mark.parametrize("holds", [ALL, NONE])
def test_the_tick_knows_every_rule_but_its_own_and_every_queue(holds: dict[str, bool]) -> None:
    template = resolved(PLAIN, holds)
    variables = environment("TickFunction", template)
    settings = Settings.from_environment(
        {
            "TABLE_NAME": "t",
            "CHANNELS": "*=C01",
            "SLACK_TOKEN_NAME": "x",
            **{name: names_of(variables[name], template) for name in OF_THE_TICK},
        }
    )
    rules = {n for n, r in template["Resources"].items() if r["Type"] == "AWS::Events::Rule"}
    assert settings.rule_names == {rule: rule for rule in rules - {TICK}}
    assert settings.queue_url == "EventsQueue"
    assert settings.dlq_urls == ("EventsDeadLetterQueue", "RulesDeadLetterQueue")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_logs_are_json_in_a_group_that_forgets(function: str) -> None:
    logging = FUNCTIONS[function]["LoggingConfig"]
    assert logging["LogFormat"] == "JSON"
    group = of_type("Logs::LogGroup")[logging["LogGroup"]["Ref"]]
    assert group["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def test_the_time_outs_are_those_the_program_plans_with() -> None:
    assert {name: f["Timeout"] for name, f in FUNCTIONS.items()} == {
        "EventsFunction": 60,
        "TickFunction": 300,
    }


# --- state ------------------------------------------------------------------------------------


def test_the_table_is_what_the_store_expects() -> None:
    (table,) = of_type("DynamoDB::Table").values()
    (index,) = table["GlobalSecondaryIndexes"]
    key = [("pk", "HASH"), ("sk", "RANGE")]
    due = [("due", "HASH"), ("due_at", "RANGE")]
    assert [tuple(part.values()) for part in table["KeySchema"]] == key
    assert [tuple(part.values()) for part in index["KeySchema"]] == due
    assert (index["IndexName"], index["Projection"]) == ("due", {"ProjectionType": "KEYS_ONLY"})
    assert {a["AttributeType"] for a in table["AttributeDefinitions"]} == {"S"}
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def policies(template: dict[str, Any]) -> dict[str, tuple[str | None, str | None]]:
    """What becomes of a resource that is deleted, and of one that is replaced."""
    return {
        name: (resource.get("DeletionPolicy"), resource.get("UpdateReplacePolicy"))
        for name, resource in template["Resources"].items()
        if resource.get("DeletionPolicy") or resource.get("UpdateReplacePolicy")
    }


def test_what_nobody_was_told_outlives_the_stack() -> None:
    kept = {name for name, both in policies(PLAIN).items() if "Retain" in both}
    assert kept == {"Table", "EventsDeadLetterQueue", "RulesDeadLetterQueue"}
    assert all(deleted == replaced for deleted, replaced in policies(PLAIN).values())


@pytest.mark.parametrize("policy", ["DeletionPolicy", "UpdateReplacePolicy"])
def test_half_a_retention_is_seen(policy: str) -> None:
    broken = copied(PLAIN)
    del broken["Resources"]["Table"][policy]
    assert not all(deleted == replaced for deleted, replaced in policies(broken).values())


def test_everything_at_rest_is_encrypted_and_your_key_cannot_silence_the_watcher() -> None:
    under_your_key = {
        name
        for name, resource in PLAIN["Resources"].items()
        if resource["Type"].split("::")[1] in {"SQS", "DynamoDB", "Logs", "SNS"}
        and {"Ref": "KmsKeyArn"} in walk(resource)
    }
    assert under_your_key == {
        "EventsQueue",
        "EventsDeadLetterQueue",
        "Table",
        "EventsLogGroup",
        "TickLogGroup",
    }
    assert QUEUES["RulesDeadLetterQueue"]["SqsManagedSseEnabled"] is True
    no_key = {"Fn::If": ["HasKey", {"Ref": "AWS::NoValue"}, True]}
    assert QUEUES["EventsQueue"]["SqsManagedSseEnabled"] == no_key
    assert QUEUES["EventsDeadLetterQueue"]["SqsManagedSseEnabled"] == no_key


# --- alarms -----------------------------------------------------------------------------------


def stats_of(alarm: str) -> dict[tuple[str, str, str], tuple[str, int]]:
    """What an alarm looks at: namespace, metric and resource; and how, in which period."""
    properties = ALARMS[alarm]
    single = {
        "Metric": properties,
        "Period": properties.get("Period"),
        "Stat": properties.get("Statistic"),
    }
    several = [one["MetricStat"] for one in properties.get("Metrics", ()) if "MetricStat" in one]
    return {key_of(one["Metric"]): (one["Stat"], one["Period"]) for one in several or [single]}


def key_of(metric: dict[str, Any]) -> tuple[str, str, str]:
    (named,) = (dimension["Value"] for dimension in metric["Dimensions"])
    return metric["Namespace"], metric["MetricName"], as_list(*named.values())[0]


EVENTS, SQS, LAMBDA, OURS = "AWS/Events", "AWS/SQS", "AWS/Lambda", metrics.NAMESPACE
LOST, HIDDEN = "InvocationsFailedToBeSentToDlq", "ApproximateNumberOfMessagesVisible"
BOTH = ("EventsFunction", "TickFunction")
STACK = "AWS::StackName"
FEW, MANY, GONE = "GreaterThanThreshold", "GreaterThanOrEqualToThreshold", "LessThanThreshold"
# What each alarm looks at; and when it goes off: above, from or below how much, how often.
LOOKS_AT: dict[str, dict[tuple[str, str, str], tuple[str, int]]] = {
    "RulesAlarm": {(EVENTS, "FailedInvocations", rule): ("Sum", 60) for rule in FAILURE_RULES},
    "LostEventsAlarm": {(EVENTS, LOST, rule): ("Sum", 60) for rule in FAILURE_RULES},
    "DeadLetterQueuesAlarm": {
        (SQS, HIDDEN, queue): ("Maximum", 60)
        for queue in ("EventsDeadLetterQueue", "RulesDeadLetterQueue")
    },
    "QueueAgeAlarm": {(SQS, "ApproximateAgeOfOldestMessage", "EventsQueue"): ("Maximum", 60)},
    "FunctionsAlarm": {
        **{(LAMBDA, "Errors", function): ("Sum", 300) for function in BOTH},
        **{(LAMBDA, "Throttles", function): ("Sum", 300) for function in BOTH},
        (LAMBDA, "RecursiveInvocationsDropped", "EventsFunction"): ("Sum", 300),
    },
    "SlowFunctionsAlarm": {(LAMBDA, "Duration", function): ("Maximum", 300) for function in BOTH},
    "NoTickAlarm": {(OURS, "OwedAge", STACK): ("SampleCount", 60)},
    "OwedAlarm": {(OURS, "OwedAge", STACK): ("Maximum", 60)},
    "GivenUpAlarm": {(OURS, "GivenUp", STACK): ("Sum", 300)},
    "OpenCircuitsAlarm": {(OURS, "OpenCircuits", STACK): ("Sum", 60)},
    "FailedChecksAlarm": {(OURS, "FailedChecks", STACK): ("Maximum", 300)},
    "HeartbeatAlarm": {(OURS, "Heartbeat", STACK): ("Sum", 900)},
    "SilentMembersAlarm": {(OURS, "SilentMembers", STACK): ("Maximum", 300)},
}
GOES_OFF: dict[str, tuple[str, int, int, int]] = {
    **dict.fromkeys(LOOKS_AT, (MANY, 1, 1, 1)),  # at the first
    "QueueAgeAlarm": (FEW, 600, 3, 5),
    "SlowFunctionsAlarm": (MANY, 90, 1, 1),  # percent
    "NoTickAlarm": (GONE, 1, 5, 5),  # five minutes
    "OwedAlarm": (FEW, 300, 1, 1),
    "OpenCircuitsAlarm": (MANY, 1, 3, 5),
    "HeartbeatAlarm": (GONE, 1, 3, 3),  # three quarters of an hour
}
SILENCE = {"NoTickAlarm", "HeartbeatAlarm"}  # what they miss sends nothing when it is broken


def test_every_alarm_is_one_of_these() -> None:
    assert set(ALARMS) == set(LOOKS_AT)


@pytest.mark.parametrize("alarm", LOOKS_AT)
def test_an_alarm_looks_at_what_it_is_for_and_goes_off_in_time(alarm: str) -> None:
    found = ALARMS[alarm]
    periods = found["EvaluationPeriods"]
    goes_off = (found["ComparisonOperator"], found["Threshold"])
    assert stats_of(alarm) == LOOKS_AT[alarm]
    assert (*goes_off, found.get("DatapointsToAlarm", periods), periods) == GOES_OFF[alarm]
    missing = "breaching" if alarm in SILENCE else "notBreaching"
    assert found["TreatMissingData"] == missing


@pytest.mark.parametrize("alarm", ALARMS)
def test_an_alarm_is_told_past_what_is_broken_and_says_what_to_do(alarm: str) -> None:
    properties = ALARMS[alarm]
    assert properties["AlarmActions"] == [{"Ref": "AlarmTopic"}]
    assert re.search(r"(?i)\bcheck |redrive", properties["AlarmDescription"])
    assert "ecs-watch" in properties["AlarmDescription"]
    assert len(properties["AlarmDescription"]) <= 1024


@pytest.mark.parametrize(
    ("alarm", "deeds"),
    [
        ("RulesAlarm", ("ecs-watch doctor", "ecs-watch redrive")),
        ("DeadLetterQueuesAlarm", ("ecs-watch redrive",)),
        ("QueueAgeAlarm", ("ecs-watch doctor",)),
        ("FunctionsAlarm", ("ecs-watch doctor",)),
        ("OwedAlarm", ("ecs-watch doctor", "unarchive", "/invite", "new token")),
        ("OpenCircuitsAlarm", ("ecs-watch doctor", "unarchive", "/invite", "new token")),
        ("GivenUpAlarm", ("The log line given up names", "ecs-watch redrive")),
        ("FailedChecksAlarm", ("ecs-watch doctor",)),
    ],
)
def test_an_alarm_names_a_deed_and_asks_nobody_to_deploy_the_same_again(
    alarm: str, deeds: tuple[str, ...]
) -> None:
    said = ALARMS[alarm]["AlarmDescription"]

    assert [deed for deed in deeds if deed not in said] == []
    assert "deploy the stack again" not in said
    assert "?" not in said


@pytest.mark.parametrize("alarm", [name for name, one in ALARMS.items() if "Metrics" in one])
def test_an_alarm_of_several_metrics_watches_one_sum_of_them_all(alarm: str) -> None:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-limits.html"""
    parts = ALARMS[alarm]["Metrics"]
    (watched,) = (one for one in parts if one.get("ReturnData", True))
    metric_ids = [one["Id"] for one in parts if "MetricStat" in one]
    assert len(metric_ids) <= 10
    assert len({one["Id"] for one in parts}) == len(parts)
    assert all(re.fullmatch("[a-z][A-Za-z0-9_]*", one["Id"]) for one in parts)
    if alarm == "SlowFunctionsAlarm":
        shares = {one["Id"]: one["Expression"] for one in parts if "Expression" in one}
        assert shares == {
            "all": "MAX([events, tick])",
            "events": f"eventsMs / {FUNCTIONS['EventsFunction']['Timeout'] * 10}",
            "tick": f"tickMs / {FUNCTIONS['TickFunction']['Timeout'] * 10}",
        }
    elif alarm in SILENCE:
        assert watched["Expression"] == f"FILL({metric_ids[0]}, 0)"
    else:
        assert watched["Expression"] == "SUM(METRICS())"


@pytest.mark.parametrize("rule", RULES)
def test_whatever_a_rule_cannot_deliver_raises_an_alarm(rule: str) -> None:
    if rule in FAILURE_RULES:
        assert (EVENTS, "FailedInvocations", rule) in stats_of("RulesAlarm")
        assert (EVENTS, LOST, rule) in stats_of("LostEventsAlarm")
    else:
        # Nothing is lost with these, and each is missed when it does not come.
        missed = {
            "EveryMinute": "NoTickAlarm",
            "Heartbeat": "HeartbeatAlarm",
            OF_MEMBERS: "SilentMembersAlarm",
        }
        assert missed[rule] in ALARMS


def test_every_metric_of_ours_that_is_looked_at_is_one_we_send() -> None:
    looked_at = {key[1] for alarm in ALARMS for key in stats_of(alarm) if key[0] == OURS}
    graphed = {
        name
        for widget in dashboard()["widgets"]
        for row in widget["properties"].get("metrics", ())
        for name in row
        if isinstance(name, str) and name in metrics.UNITS
    }
    assert looked_at <= set(metrics.UNITS)
    assert looked_at | graphed == set(metrics.UNITS)  # and we send none that nobody looks at


@pytest.mark.parametrize("alarm", sorted(SILENCE))
def test_what_an_alarm_misses_is_sent_though_it_be_nothing(alarm: str) -> None:
    ((_, metric, _),) = stats_of(alarm)
    assert metric in metrics.MEASURED or metric == "Heartbeat"


# US$ a month in us-east-1. An alarm costs by the metric, also where an expression joins several.
# https://aws.amazon.com/cloudwatch/pricing/
AN_ALARM_METRIC, A_METRIC, A_DASHBOARD = 0.10, 0.30, 3.00


def test_what_the_watchers_own_watch_costs(capsys: pytest.CaptureFixture[str]) -> None:
    of_alarms = {alarm: len(stats_of(alarm)) for alarm in ALARMS}
    always = len(metrics.MEASURED | {"Heartbeat"})
    with capsys.disabled():
        print(f"\n{len(ALARMS)} alarms of {sum(of_alarms.values())} metrics:")
        for alarm, count in of_alarms.items():
            print(f"  {alarm:<24}{count:>3}  US$ {count * AN_ALARM_METRIC:.2f}")
        print(f"  {'metrics always sent':<24}{always:>3}  US$ {always * A_METRIC:.2f}")
    assert sum(of_alarms.values()) * AN_ALARM_METRIC + always * A_METRIC <= 4.00


def test_an_alarm_is_mailed_to_whoever_asked_for_it() -> None:
    (subscription,) = of_type("SNS::Subscription").values()
    assert subscription["TopicArn"] == {"Ref": "AlarmTopic"}
    assert subscription["Endpoint"] == {"Ref": "AlarmEmail"}
    assert PLAIN["Resources"]["AlarmEmailSubscription"]["Condition"] == "HasAlarmEmail"


# --- dashboard --------------------------------------------------------------------------------


def dashboard() -> dict[str, Any]:
    """The dashboard's body, with what stands in `${...}` for its value."""
    body = PLAIN["Resources"]["Overview"]["Properties"]["DashboardBody"]["Fn::Sub"]
    shown: dict[str, Any] = json.loads(body)
    return shown


def test_the_dashboard_shows_what_one_asks_first() -> None:
    titles = [widget["properties"]["title"] for widget in dashboard()["widgets"]]
    assert titles == [
        "Is the watcher well?",
        "Open incidents",
        "Seconds from event to Slack",
        "Owed to Slack, and seconds since when",
        "Seconds the oldest event waits",
        "What Slack did not take",
        "API calls",
        "Failures by cluster",
    ]


def test_the_dashboard_shows_every_alarm_that_there_is_without_members() -> None:
    shown = re.findall(r"\$\{(\w+)\.Arn\}", json.dumps(dashboard()["widgets"][0]))
    assert shown == [alarm for alarm in ALARMS if alarm != "SilentMembersAlarm"]


def test_what_the_dashboard_names_exists() -> None:
    body = PLAIN["Resources"]["Overview"]["Properties"]["DashboardBody"]["Fn::Sub"]
    named = {name for name in re.findall(r"\$\{([\w:]+)", body) if not name.startswith("AWS::")}
    assert named <= set(PLAIN["Resources"])


def queries() -> dict[str, str]:
    return {
        widget["properties"]["title"]: widget["properties"]["query"]
        for widget in dashboard()["widgets"]
        if widget["type"] == "log"
    }


def test_failures_are_counted_by_the_words_that_the_log_has() -> None:
    """That every failure's line has cluster, service and reason is for `test_measures`."""
    query = queries()["Failures by cluster"]
    listed = re.search(r"reason in \[(.*?)\]", query)
    assert listed
    counted = set(re.findall("'([^']+)'", listed[1]))
    assert counted == {str(reason) for reason in {*BEGINNING, Reason.ANOTHER_DEPLOYMENT}}
    assert " by cluster " in query
    assert "count_distinct(service)" in query


def test_calls_are_counted_by_the_names_that_the_log_has() -> None:
    query = queries()["API calls"]
    line = json.loads(metrics.line({}, NOW, stack="s", calls={"slack": 1, "ecs": 2, "dynamodb": 3}))
    assert "ispresent(Stack)" in query
    assert line["Stack"]
    for name in re.findall(r"sum\(Calls\.(\w+)\)", query):
        assert line["Calls"][name]
    assert query.count("sum(Calls.") == 3


@pytest.mark.parametrize("title", ["API calls", "Failures by cluster"])
def test_both_functions_logs_are_counted(title: str) -> None:
    sources = re.findall(r"SOURCE '\$\{(\w+)\}'", queries()[title])
    assert sources == [one["LoggingConfig"]["LogGroup"]["Ref"] for one in FUNCTIONS.values()]


def test_dashboards_of_two_regions_do_not_overwrite_each_other() -> None:
    name = PLAIN["Resources"]["Overview"]["Properties"]["DashboardName"]["Fn::Sub"]
    assert name == "${AWS::StackName}-${AWS::Region}"
    assert PLAIN["Resources"]["Overview"]["Condition"] == "HasDashboard"


NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


# --- permissions: what the code calls and no more ---------------------------------------------

SOURCE = ROOT / "src" / "notifier"
# A person's commands run with that person's rights.
OF_A_PERSON = {"cli", "ecs/releases.py", "ecs/runs.py"}
# What acts has a stack and a role of its own: see test_tasks_template.
OF_TASKS = {"retrying.py"}
SERVICES = (
    "cloudtrail",
    "cloudwatch",
    "dynamodb",
    "ecs",
    "events",
    "iam",
    "lambda",
    "logs",
    "secretsmanager",
    "sns",
    "sqs",
    "ssm",
    "sts",
)


def operations() -> dict[str, list[tuple[str, str]]]:
    """Every method of a boto3 client of these services: the services and operations it is of."""
    session, found = get_session(), dict[str, list[tuple[str, str]]]()
    for service in SERVICES:
        for operation in session.get_service_model(service).operation_names:
            found.setdefault(xform_name(operation), []).append((service, operation))
    return found


OPERATIONS = operations()
# Names that two services have: the one that is meant.
MEANT = {"get_resource_policy": "secretsmanager", "tag_resource": "", "untag_resource": ""}
# A transaction needs the rights of its parts.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html
TRANSACTION = {
    "Update": "dynamodb:UpdateItem",
    "Delete": "dynamodb:DeleteItem",
    "Put": "dynamodb:PutItem",
    "ConditionCheck": "dynamodb:ConditionCheckItem",
}


def calls_in(tree: ast.AST) -> Iterator[str]:
    """Methods of clients that a module names: called, handed on, or as a paginator's."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in OPERATIONS and not is_own(node.value):
            yield node.attr
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "get_paginator":
            yield from (str(arg.value) for arg in node.args if isinstance(arg, ast.Constant))


def is_own(node: ast.expr) -> bool:
    """Whether it is the object whose method this is, which is no client."""
    return isinstance(node, ast.Name) and node.id == "self"


def transacted_in(tree: ast.AST) -> set[str]:
    keys = {
        key.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }
    return {TRANSACTION[key] for key in keys if key in TRANSACTION}


def actions_for(call: str, tree: ast.AST) -> set[str]:
    if call == "transact_write_items":
        return transacted_in(tree)
    services = OPERATIONS[call]
    (of,) = services if len(services) == 1 else [one for one in services if one[0] == MEANT[call]]
    return {f"{of[0]}:{of[1]}"}


def called() -> dict[str, set[str]]:
    """Every action that the code needs, and the modules that need it."""
    found = dict[str, set[str]]()
    for path in SOURCE.rglob("*.py"):
        place = path.relative_to(SOURCE)
        if {place.parts[0], place.as_posix()} & (OF_A_PERSON | OF_TASKS):
            continue
        tree = ast.parse(path.read_text())
        for call in calls_in(tree):
            for action in actions_for(call, tree):
                found.setdefault(action, set()).add(str(place))
    return found


# What is asked of AWS in the functions' name, not by their code, and by whom.
NOT_BY_THE_CODE = {
    # Lambda writes the log, takes messages, and makes network interfaces.
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
    # DynamoDB, SQS and Parameter Store use the key that was given.
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
}


def allowed_actions(template: dict[str, Any] = PACKAGED) -> set[str]:
    """What the functions' roles are allowed, under whatever condition."""
    kinds = {"AWS::IAM::Policy", "AWS::IAM::Role"}
    documents = [
        node["PolicyDocument"]
        for resource in template["Resources"].values()
        if resource["Type"] in kinds
        for node in walk(resource)
        if isinstance(node, dict) and "PolicyDocument" in node
    ]
    statements = [n for n in walk(documents) if isinstance(n, dict) and n.get("Effect") == "Allow"]
    return {action for statement in statements for action in actions(statement)}


def test_every_call_of_the_code_is_allowed() -> None:
    allowed = allowed_actions()
    missing = {action: where for action, where in called().items() if action not in allowed}
    assert missing == {}


def test_nothing_is_allowed_that_the_code_does_not_call() -> None:
    assert allowed_actions() - set(called()) == NOT_BY_THE_CODE


def test_a_call_that_is_handed_on_is_seen_as_well_as_one_that_is_made() -> None:
    code = """
def read(self, client):
    client.describe_rule(Name="a")
    partial(client.list_tasks, cluster="b")
    client.get_paginator("list_clusters").paginate()
    self.describe_table()
    client.transact_write_items(TransactItems=[{"Put": {}}, {"ConditionCheck": {}}])
"""
    tree = ast.parse(code)
    found = {action for call in calls_in(tree) for action in actions_for(call, tree)}
    assert found == {
        "events:DescribeRule",
        "ecs:ListTasks",
        "ecs:ListClusters",
        "dynamodb:PutItem",
        "dynamodb:ConditionCheckItem",
    }


@pytest.mark.parametrize(
    ("statement", "action"), [("ReadEcs", "ecs:DescribeServices"), ("KeepState", "dynamodb:Query")]
)
def test_a_permission_too_few_or_too_many_is_seen(statement: str, action: str) -> None:
    broken = copied(PACKAGED)
    policy = broken["Resources"]["WatcherPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    (one,) = (s for s in policy if s.get("Sid") == statement)
    one["Action"] = [*(a for a in actions(one) if a != action), "ecs:StopTask"]
    if action == "dynamodb:Query":  # also allowed on the index
        policy.remove(next(s for s in policy if s.get("Sid") == "FindWhatIsDue"))
    assert action in set(called()) - allowed_actions(broken)
    assert "ecs:StopTask" in allowed_actions(broken) - set(called())


# --- permissions ------------------------------------------------------------------------------


def test_no_action_is_a_wildcard() -> None:
    assert len(STATEMENTS) >= 12
    for statement in STATEMENTS:
        assert actions(statement)
        assert not [action for action in actions(statement) if "*" in action]


def test_the_watcher_only_reads_ecs() -> None:
    ecs = {a for s in STATEMENTS for a in actions(s) if a.startswith("ecs:")}
    assert {a for a in ecs if not re.match("ecs:(Describe|List)", a)} == set()
    assert "ecs:DescribeServices" in ecs


# What may be read only where a parameter says so, and the value that says so.
OPTIONAL = {
    "ecs:DescribeTaskDefinition": ("MayReadTaskDefinitions", "ReadTaskDefinitions", {"true"}),
    "logs:GetLogEvents": ("MayReadLogs", "ReadLogs", {"tagged", "all"}),
    "cloudtrail:LookupEvents": ("MayLookUpDeployers", "LookUpDeployers", {"true"}),
}


@pytest.mark.parametrize("action", OPTIONAL)
def test_what_can_hold_secrets_or_costs_is_allowed_only_where_a_parameter_says_so(
    action: str,
) -> None:
    condition, parameter, values = OPTIONAL[action]
    policy = of_type("IAM::Policy")["WatcherPolicy"]
    optional = {
        name: choice["Fn::If"][0]
        for choice in policy["PolicyDocument"]["Statement"]
        if "Fn::If" in choice
        for name in actions(choice["Fn::If"][1])
    }
    given = {
        value
        for value in PARAMETERS[parameter]["AllowedValues"]
        if holds(SAM["Conditions"][condition], {parameter: value})
    }

    assert optional[action] == condition
    assert [a for s in STATEMENTS for a in actions(s)].count(action) == 1
    assert given == values


def test_what_is_read_to_say_why_may_be_read_without_asking() -> None:
    policy = of_type("IAM::Policy")["WatcherPolicy"]
    always = {
        action
        for one in policy["PolicyDocument"]["Statement"]
        if "Fn::If" not in one
        for action in actions(one)
    }
    assert {
        "ecs:ListTasks",
        "ecs:DescribeTasks",
        "ecs:ListServiceDeployments",
        "ecs:DescribeServiceDeployments",
        "ecs:DescribeServiceRevisions",
        "iam:ListAccountAliases",
    } < always


def test_any_resource_is_allowed_only_where_a_comment_says_why() -> None:
    lines = TEMPLATE.read_text().splitlines()
    places = [i for i, line in enumerate(lines) if re.search(r"Resource: *(['\"]?)\*\1$", line)]
    allowed = [s for s in STATEMENTS if "*" in as_list(s.get("Resource"))]  # or denied
    assert len(places) == len(allowed) == 8
    assert all(lines[place - 1].strip().startswith("#") for place in places)


def test_every_resource_is_one_of_this_account_but_the_members_role() -> None:
    for statement in STATEMENTS:
        for resource in walk(statement.get("Resource")):
            if statement["Action"] == "sts:AssumeRole":
                continue
            if isinstance(resource, str) and resource.startswith("arn:"):
                assert "${AWS::Partition}" in resource
                region = "*" if actions(statement) == ["logs:GetLogEvents"] else "${AWS::Region}"
                assert f":{region}:${{AWS::AccountId}}:" in resource


def test_a_log_is_read_in_whatever_region_a_container_writes_it() -> None:
    (statement,) = (s for s in STATEMENTS if "logs:GetLogEvents" in actions(s))
    assert statement["Resource"] == {
        "Fn::Sub": "arn:${AWS::Partition}:logs:*:${AWS::AccountId}:log-group:*:log-stream:*"
    }


@pytest.mark.parametrize(
    ("organization", "account", "condition"),
    [
        (True, "*", {"StringEquals": {"aws:ResourceOrgID": {"Ref": "OrganizationId"}}}),
        (False, {"Ref": "AWS::AccountId"}, None),
    ],
)
def test_only_the_role_for_reading_may_be_assumed_in_the_organization_or_in_this_account(
    organization: bool, account: Any, condition: Any
) -> None:
    found = resolved(PLAIN, ALL | {"HasOrganization": organization})
    policy = found["Resources"]["WatcherPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    (statement,) = (one for one in policy if one["Action"] == "sts:AssumeRole")
    text, given = statement["Resource"]["Fn::Sub"]
    assert text == "arn:${AWS::Partition}:iam::${Account}:role/${MemberRoleName}-*"
    assert given == {"Account": account}
    assert statement.get("Condition") == condition


def own_actions(role: str) -> set[str]:
    """What a role alone is allowed, beside what both are."""
    own = [PLAIN["Resources"][role]["Properties"]["Policies"]]
    own += [
        policy["PolicyDocument"]
        for policy in of_type("IAM::Policy").values()
        if policy["Roles"] == [{"Ref": role}]
    ]
    return {a for n in walk(own) if isinstance(n, dict) and "Effect" in n for a in actions(n)}


def test_the_tick_may_look_at_the_queues_but_take_nothing() -> None:
    of_queues = {a for a in own_actions("TickRole") if a.startswith("sqs:")}
    assert of_queues == {"sqs:GetQueueAttributes"}
    assert {a.split(":")[0] for a in own_actions("EventsRole")} == {"logs", "sqs"}


def test_what_the_tick_looks_at_is_named_one_by_one() -> None:
    policy = of_type("IAM::Policy")["CheckupPolicy"]["PolicyDocument"]["Statement"]
    named = {tuple(as_list(one["Action"])): as_list(one["Resource"]) for one in policy}
    senders = of_type("SQS::QueuePolicy")["EventsQueuePolicy"]["PolicyDocument"]["Statement"]
    known = senders[0]["Condition"]["ArnEquals"]["aws:SourceArn"]
    assert named["events:DescribeRule", "events:ListTargetsByRule"] == known
    assert named["sqs:GetQueueAttributes",] == [arn(queue) for queue in QUEUES]
    assert named["lambda:GetFunctionConcurrency",] == [arn("EventsFunction")]
    assert named["dynamodb:DescribeTable",] == [arn("Table")]
    assert named["lambda:ListEventSourceMappings",] == ["*"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_writes_to_its_own_log_and_has_its_permissions_when_it_starts(
    function: str,
) -> None:
    role = FUNCTIONS[function]["Role"]["Fn::GetAtt"][0]
    group = FUNCTIONS[function]["LoggingConfig"]["LogGroup"]["Ref"]
    (logs,) = (p for p in of_type("IAM::Role")[role]["Policies"] if p.get("PolicyName") == "Logs")
    (statement,) = logs["PolicyDocument"]["Statement"]
    assert statement["Resource"] == arn(group)
    assert {"Ref": role} in of_type("IAM::Policy")["WatcherPolicy"]["Roles"]
    assert PLAIN["Resources"][function]["DependsOn"] == "WatcherPolicy"


def test_in_a_vpc_only_lambda_itself_may_make_network_interfaces() -> None:
    network = [s for s in STATEMENTS if any(a.startswith("ec2:") for a in actions(s))]
    allowed, denied = network
    assert (allowed["Effect"], denied["Effect"]) == ("Allow", "Deny")
    assert actions(allowed) == actions(denied)
    assert "lambda:SourceFunctionArn" in denied["Condition"]["ArnLike"]


@pytest.mark.parametrize("role", of_type("IAM::Role"))
def test_a_role_obeys_what_the_organisation_asks_for(role: str) -> None:
    properties = of_type("IAM::Role")[role]
    assert properties["Path"] == {"Ref": "RolePath"}
    assert properties["PermissionsBoundary"]["Fn::If"][1] == {"Ref": "PermissionsBoundaryArn"}
    assert "ManagedPolicyArns" not in properties


# --- parameters -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PACKAGED["Parameters"])
def test_a_parameter_explains_itself_has_its_group_and_refuses_nonsense(name: str) -> None:
    parameter = PACKAGED["Parameters"][name]
    interface = PACKAGED["Metadata"]["AWS::CloudFormation::Interface"]
    groups = [p for group in interface["ParameterGroups"] for p in group["Parameters"]]
    assert len(parameter["Description"]) > 20
    assert parameter["ConstraintDescription"].endswith(".")
    assert "AllowedPattern" in parameter or "AllowedValues" in parameter
    assert "Default" in parameter or name == "CodeBucket"
    assert groups.count(name) == 1
    assert name in interface["ParameterLabels"]
    assert len(groups) == len(PACKAGED["Parameters"])


def accepts(parameter: str, value: str) -> bool:
    """Whether CloudFormation takes the value; a pattern has to match the whole of it."""
    return bool(re.fullmatch(PARAMETERS[parameter]["AllowedPattern"], value))


@pytest.mark.parametrize(
    "name", [name for name, parameter in PARAMETERS.items() if "AllowedPattern" in parameter]
)
def test_a_default_is_one_that_the_parameter_accepts(name: str) -> None:
    assert accepts(name, PARAMETERS[name]["Default"])


ACCEPTED = {
    "Channels": (
        "*=webhook",
        "*=C0123456789",
        "prod-*=C01,mention=S0SRE; review-*=ignore; dev-*=C02,quiet; *=C01",
        " prod-? = G01 , mention = U01 , mention=here ;*= ignore ; ",
        "a.b_c=D01,quiet,mention=channel;*=webhook,quiet",
    ),
    "SlackTokenName": ("", "/ecs-watch/slack-token", "ecs-watch/token", "prod/slack@v1"),
    "SlackWebhookName": ("", "/ecs-watch/slack-webhook"),
    "AlarmEmail": ("", "sre+ecs@example.co.uk"),
    "RedactPatterns": ("", r"acme-[0-9a-f]{32};;customer (?:no\.)?\d{8}"),
    "Actors": (
        "",
        "mika=U0123",
        " mika = U0123; Octo-Cat=W04 ;mika@example.com=S0SRE;",
        "Mika Kallas=U1",
    ),
    "SessionNames": ("", EXAMPLE, SHIPPED, f" {EXAMPLE} ; A tool: x{{2,}};"),
    "DyingTasks": ("off", "3 in 15 min", " 10 in 360 min;2 in 6 h of one cause ;"),
    "PermissionsBoundaryArn": (
        "arn:aws:iam::123456789012:policy/teams/boundary",
        "arn:aws-us-gov:iam::aws:policy/PowerUserAccess",
    ),
    "RolePath": ("/", "/teams/sre/"),
    "KmsKeyArn": (
        "arn:aws-cn:kms:cn-north-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    ),
    "OrganizationId": ("", "o-a1b2c3d4e5"),
    "MemberRoleName": ("", "ecs-watch-reader"),
    "VpcSubnetIds": ("subnet-0123456789abcdef0", "subnet-01234567,subnet-89abcdef"),
    "VpcSecurityGroupIds": ("sg-0123456789abcdef0,sg-01234567",),
    "HttpsProxy": ("http://proxy.example.com:3128", "https://10.0.0.1/"),
    "NoProxy": ("169.254.169.254,.eu-west-1.amazonaws.com,10.0.0.0/8",),
    "SlackApiUrl": ("https://slack-gov.com/api/", "http://127.0.0.1:8080/api/"),
}
REFUSED = {
    "Channels": (
        "",
        "#alerts",
        "*=#alerts",
        "*=alerts",
        "prod-*=C01",
        "*=C01;prod-*",
        "*=C01,loud",
        "*=C01,mention=",
        "*=C01,mention=@mika",
        "prod/*=C01;*=C01",
        "*=https://hooks.slack.com/services/T0/B0/x",
        "*=C01;;*=C02",
        "*=C01\n",
    ),
    "SlackTokenName": ("xoxb-1-2-abc", "xoxe.xoxb-1-abc", "xapp-1-A", "two words", "a:b"),
    "SlackWebhookName": ("https://hooks.slack.com/services/T0/B0/x", "xoxb-1"),
    "AlarmEmail": ("sre", "sre@example", "a@b.c, d@e.f"),
    "RedactPatterns": ("a\x00b", "\x7f"),
    "Actors": ("mika", "mika=@mika", "=U1", "mika=u1", "mika=U1, alice=U2", "a=b=U1", "a=U1;;b=U2"),
    "SessionNames": ("jenkins-.*", "Jenkins:x", ": x", "Jenkins: ", "Jenkins: x;;"),
    "DyingTasks": ("", "3", "1 in 5 min", "11 in 1 h", "3 in 7 h", "3 in 361 min", "off; 3 in 1 h"),
    "PermissionsBoundaryArn": ("boundary", "arn:aws:iam::123456789012:role/x"),
    "RolePath": ("", "teams/", "/teams", "//"),
    "KmsKeyArn": ("alias/x", "arn:aws:kms:eu-west-1:123456789012:alias/x"),
    "OrganizationId": ("o-1", "123456789012", "r-a1b2", "*"),
    "MemberRoleName": ("arn:aws:iam::123456789012:role/x", "teams/reader", "a" * 49, "*"),
    "VpcSubnetIds": ("subnet-1", "subnet-01234567, subnet-89abcdef", "sg-01234567"),
    "VpcSecurityGroupIds": ("default", "sg-01234567,"),
    "HttpsProxy": ("proxy:3128", "http://user:secret@proxy.example.com:3128"),
    "NoProxy": ("a, b", "http://user@a"),
    "SlackApiUrl": ("", "https://slack.com/api", "slack.com/api/", "https://u:p@slack.com/"),
}


def pairs(table: dict[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    return [(name, value) for name, values in table.items() for value in values]


@pytest.mark.parametrize(("name", "value"), pairs(ACCEPTED))
def test_a_sensible_value_is_accepted(name: str, value: str) -> None:
    assert accepts(name, value)


@pytest.mark.parametrize(("name", "value"), pairs(REFUSED))
def test_a_slip_is_refused_before_anything_is_deployed(name: str, value: str) -> None:
    assert not accepts(name, value)


@settings(max_examples=20)
@given(st.from_regex(PARAMETERS["Channels"]["AllowedPattern"].rstrip("$") + r"\Z"))
def test_what_the_stack_accepts_as_channels_the_program_understands(channels: str) -> None:
    assert parse_channels(channels)[-1].pattern == "*"


@settings(max_examples=40, deadline=None)
@given(st.from_regex(PARAMETERS["Actors"]["AllowedPattern"].rstrip("$") + r"\Z"))
def test_who_is_who_as_the_stack_accepts_it_the_program_understands(actors: str) -> None:
    assert bool(parse_actors(actors)) is bool(actors.strip())


@pytest.mark.parametrize("rules", ACCEPTED["DyingTasks"])
def test_tasks_that_die_as_the_stack_counts_them_the_program_counts_too(rules: str) -> None:
    assert all(rule.count >= 2 for rule in parse_dying_tasks(rules))


def test_the_stack_and_the_program_watch_alike_by_default() -> None:
    defaults = {name: PARAMETERS[name]["Default"] for name in ("DyingTasks", "NoProgressMinutes")}
    shipped = Settings("t", "*=C01")

    assert defaults["DyingTasks"] == shipped.dying_tasks == DEFAULT_DYING_TASKS
    assert defaults["NoProgressMinutes"] == shipped.no_progress_minutes


def test_the_stack_and_the_program_offer_the_same_logs_and_defaults() -> None:
    fields = {field.name: field.default for field in dataclasses.fields(Settings)}

    assert PARAMETERS["ReadLogs"]["AllowedValues"] == list(ReadLogs)
    assert PARAMETERS["ReadLogs"]["Default"] == fields["read_logs"]
    for parameter, field in (
        ("ReadTaskDefinitions", "read_task_definitions"),
        ("LookUpDeployers", "look_up_deployers"),
    ):
        assert PARAMETERS[parameter]["Default"] == str(fields[field]).lower()
        assert PARAMETERS[parameter]["AllowedValues"] == ["true", "false"]


def test_no_parameter_takes_a_secret() -> None:
    assert not [name for name, parameter in PARAMETERS.items() if "NoEcho" in parameter]
    names = {name for name in PARAMETERS if re.search("token|secret|webhook|password", name, re.I)}
    assert names == {"SlackTokenName", "SlackWebhookName", "SecretStore"}


# --- rules about several parameters -----------------------------------------------------------


def holds(condition: Any, values: dict[str, str]) -> Any:
    """Evaluate the functions that CloudFormation allows in Rules, as far as they are used.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/intrinsic-function-reference-rules.html
    """
    if isinstance(condition, str):
        return condition
    ((function, argument),) = condition.items()
    if function == "Ref":
        return values[argument]
    arguments = [holds(one, values) for one in argument]
    match function:
        case "Fn::Equals":
            return arguments[0] == arguments[1]
        case "Fn::Not":
            return not arguments[0]
        case "Fn::And":
            return all(arguments)
        case "Fn::Or":
            return any(arguments)
    raise AssertionError(f"{function} may not be used in Rules")


def refusals(**given: str) -> set[str]:
    values = {name: str(parameter["Default"]) for name, parameter in PARAMETERS.items()} | given
    return {
        name
        for name, rule in SAM["Rules"].items()
        for assertion in rule["Assertions"]
        if holds(rule.get("RuleCondition", {"Fn::Equals": ["", ""]}), values)
        and not holds(assertion["Assert"], values)
    }


NOWHERE, NO_WEBHOOK = "ThereIsSomewhereToTell", "TheDefaultChannelNeedsAWebhook"
UNREAD = "MembersAreReadByARole"
HALF_A_VPC, NO_PROXY = "SubnetsAndSecurityGroupsGoTogether", "ExceptionsNeedAProxy"
BOT = {"Channels": "*=C01"}


@pytest.mark.parametrize(
    ("given", "refused_by"),
    [
        (BOT, set()),
        ({"SlackWebhookName": "/hook"}, set()),
        ({"SlackWebhookName": "/hook", "SlackTokenName": ""}, set()),
        ({}, {NO_WEBHOOK}),
        (BOT | {"SlackTokenName": ""}, {NOWHERE}),
        (BOT | {"VpcSubnetIds": "subnet-01234567"}, {HALF_A_VPC}),
        (BOT | {"VpcSecurityGroupIds": "sg-01234567"}, {HALF_A_VPC}),
        (BOT | {"VpcSubnetIds": "subnet-01234567", "VpcSecurityGroupIds": "sg-01234567"}, set()),
        (BOT | {"OrganizationId": "o-a1b2c3d4e5"}, {UNREAD}),
        (BOT | {"OrganizationId": "o-a1b2c3d4e5", "MemberRoleName": "reader"}, set()),
        (BOT | {"MemberRoleName": "reader"}, set()),  # other regions of this account
        (BOT | {"NoProxy": "a"}, {NO_PROXY}),
        (BOT | {"NoProxy": "a", "HttpsProxy": "http://b:1"}, set()),
    ],
)
def test_a_senseless_combination_is_refused_and_says_why(
    given: dict[str, str], refused_by: set[str]
) -> None:
    assert refusals(**given) == refused_by
    for rule in SAM["Rules"].values():
        assert all(len(one["AssertDescription"]) > 30 for one in rule["Assertions"])


# --- outputs and what stands beside the template ----------------------------------------------


def test_every_output_is_described_and_the_commands_find_what_they_need() -> None:
    assert all(output["Description"].endswith(".") for output in PLAIN["Outputs"].values())
    assert {"TableName", "EventsQueueUrl", "EventsDeadLetterQueueUrl", "AlarmTopicArn"} < set(
        PLAIN["Outputs"]
    )


def test_equal_files_make_equal_zips(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "notifier").mkdir(parents=True)
        (tmp_path / name / "notifier" / "handler.py").write_text("x = 1\n")
        (tmp_path / name / "a.txt").write_text("a")
        write_zip(tmp_path / name, tmp_path / f"{name}.zip")

    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == ["a.txt", "notifier/handler.py"]
        # Lambda runs as another user: what it cannot read, it cannot import.
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o100644}


def test_what_is_packaged_is_deployed_from_s3_for_it_is_too_large_for_a_request() -> None:
    shown = (ROOT / "docs" / "terraform.md").read_text()
    assert "template_url" in shown
    assert "template_body" not in shown
    assert "aws cloudformation deploy --s3-bucket BUCKET" in shown


def test_terraform_is_shown_parameters_that_exist() -> None:
    shown = (ROOT / "docs" / "terraform.md").read_text()
    block = re.search(r"parameters = \{(.*?)\n  \}", shown, re.S)
    assert block
    given = dict(re.findall(r"(\w+) += (.*)", block[1]))
    assert set(given) <= set(PACKAGED["Parameters"])
    assert accepts("Channels", given["Channels"].strip('"'))


@pytest.mark.parametrize(
    ("manifest", "scopes"),
    [
        ("minimal", ["chat:write"]),
        (
            "full",
            [
                "chat:write",
                "channels:history",
                "groups:history",
                "channels:read",
                "groups:read",
                "reactions:write",
            ],
        ),
    ],
)
def test_a_slack_app_asks_for_no_scope_without_saying_what_it_buys(
    manifest: str, scopes: list[str]
) -> None:
    path = ROOT / "slack" / f"manifest-{manifest}.yaml"
    assert read_template(path)["oauth_config"]["scopes"] == {"bot": scopes}
    for before, line in itertools.pairwise(path.read_text().splitlines()):
        if re.match(r" +- \w+:\w+$", line):
            assert before.strip().startswith("#")
