"""What forwarder.yaml promises: a member sends what the hub's rules take, and lets it only read."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

from notifier.ecs.accounts import reader_arn
from notifier.events import HEARTBEAT
from sandbox.transform import read_template

FORWARDER = Path(__file__).parent.parent / "forwarder.yaml"
MEMBER: dict[str, Any] = yaml_parse(FORWARDER.read_text())
HUB = read_template()
# What a StackSet with service-managed permissions takes by direct upload.
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
LONGEST_TEMPLATE_BODY = 51_200


def of_type(template: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {
        name: resource["Properties"]
        for name, resource in template["Resources"].items()
        if resource["Type"] == f"AWS::{kind}"
    }


RULES = of_type(MEMBER, "Events::Rule")
ROLES = of_type(MEMBER, "IAM::Role")
QUEUES = of_type(MEMBER, "SQS::Queue")
ALARMS = of_type(MEMBER, "CloudWatch::Alarm")
BUS = "arn:${AWS::Partition}:events:${HubRegion}:${HubAccountId}:event-bus/default"


def arn(name: str) -> dict[str, list[str]]:
    return {"Fn::GetAtt": [name, "Arn"]}


def walk(node: object) -> Iterator[Any]:
    yield node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from walk(child)


def by_sid(statements: list[Any]) -> dict[str, Any]:
    """Each statement as it stands, a condition of the template round it included."""
    named = {
        next(n["Sid"] for n in walk(s) if isinstance(n, dict) and "Sid" in n): s for s in statements
    }
    assert len(named) == len(statements)
    return named


def test_cfn_lint_has_nothing_to_say() -> None:
    said = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), FORWARDER],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (said.returncode, said.stdout) == (0, ""), said.stderr


def test_a_stack_set_takes_it_for_it_has_no_transform_and_is_small() -> None:
    assert "Transform" not in MEMBER
    assert not [n for n in walk(MEMBER) if isinstance(n, dict) and "Fn::Transform" in n]
    assert not [r for r in MEMBER["Resources"].values() if "CloudFormation::Stack" in r["Type"]]
    assert len(FORWARDER.read_bytes()) < LONGEST_TEMPLATE_BODY


# --- what is sent -----------------------------------------------------------------------------


def test_a_member_sends_exactly_what_the_hubs_own_rules_take() -> None:
    taken = {
        name: rule["EventPattern"]
        for name, rule in of_type(HUB, "Events::Rule").items()
        if "EventPattern" in rule and name != "MemberHeartbeats"
    }
    sent = {name: rule["EventPattern"] for name, rule in RULES.items() if "EventPattern" in rule}
    assert len(taken) >= 4
    assert sent == taken


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_sends_to_the_hubs_default_bus_with_a_role_and_keeps_what_it_cannot_send(
    rule: str,
) -> None:
    (target,) = RULES[rule]["Targets"]
    assert target["Arn"] == {"Fn::Sub": BUS}
    assert target["RoleArn"] == arn("SenderRole")
    assert target["RetryPolicy"]["MaximumRetryAttempts"] == 185
    assert target["DeadLetterConfig"] == {"Arn": arn("DeadLetterQueue")}
    assert "InputTransformer" not in target
    assert "Input" not in target


def test_events_are_tried_for_a_day_and_a_heartbeat_until_the_next_one() -> None:
    tried = {
        name: rule["Targets"][0]["RetryPolicy"]["MaximumEventAgeInSeconds"]
        for name, rule in RULES.items()
    }
    assert tried.pop("Heartbeat") == 900
    assert set(tried.values()) == {86400}


def test_the_heartbeat_is_one_that_the_hub_knows() -> None:
    (schedule,) = (name for name, rule in RULES.items() if "ScheduleExpression" in rule)
    assert HEARTBEAT in schedule  # CloudFormation puts the logical id into the rule's name
    assert "Name" not in RULES[schedule]
    assert RULES[schedule]["ScheduleExpression"] == "rate(15 minutes)"
    (hubs,) = (r for n, r in of_type(HUB, "Events::Rule").items() if n == "MemberHeartbeats")
    assert hubs["EventPattern"]["source"] == ["aws.events"]
    assert hubs["EventPattern"]["detail-type"] == ["Scheduled Event"]


def test_the_hub_lets_its_organization_and_nobody_else_send() -> None:
    (policy,) = of_type(HUB, "Events::EventBusPolicy").values()
    statement = policy["Statement"]
    assert statement["Action"] == "events:PutEvents"
    assert statement["Condition"] == {
        "StringEquals": {"aws:PrincipalOrgID": {"Ref": "OrganizationId"}}
    }


def test_in_the_hubs_own_account_and_region_nothing_sends_the_bus_its_own_events() -> None:
    for name in (*RULES, "DeadLetterQueuePolicy"):
        assert MEMBER["Resources"][name]["Condition"] == "IsMember"
    same = [
        {"Fn::Equals": [{"Ref": f"AWS::{own}"}, {"Ref": hub}]}
        for own, hub in (("AccountId", "HubAccountId"), ("Region", "HubRegion"))
    ]
    assert MEMBER["Conditions"]["IsMember"] == {"Fn::Not": [{"Fn::And": same}]}


# --- what could not be sent -------------------------------------------------------------------


def test_what_could_not_be_sent_is_kept_for_two_weeks_and_outlives_the_stack() -> None:
    (queue,) = QUEUES.values()
    assert queue["MessageRetentionPeriod"] == 14 * 24 * 3600
    assert queue["SqsManagedSseEnabled"] is True
    resource = MEMBER["Resources"]["DeadLetterQueue"]
    assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Retain"


def test_the_rules_and_nobody_else_may_fill_the_dead_letter_queue() -> None:
    (policy,) = of_type(MEMBER, "SQS::QueuePolicy").values()
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    assert (statement["Action"], statement["Resource"]) == (
        "sqs:SendMessage",
        arn("DeadLetterQueue"),
    )
    assert statement["Condition"]["ArnEquals"]["aws:SourceArn"] == [arn(rule) for rule in RULES]


def test_one_event_that_could_not_be_sent_raises_an_alarm() -> None:
    """SQS sends no metric of a queue that nobody touches for hours: the alarm stays as it is.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/monitoring-using-cloudwatch.html
    """
    alarm = ALARMS["DeadLetterQueueAlarm"]
    assert (alarm["Threshold"], alarm["TreatMissingData"]) == (1, "ignore")
    assert alarm["Dimensions"][0]["Value"] == {"Fn::GetAtt": ["DeadLetterQueue", "QueueName"]}


def test_an_event_that_not_even_the_dead_letter_queue_took_raises_an_alarm() -> None:
    alarm = ALARMS["RulesAlarm"]
    sum_of, *metrics = alarm["Metrics"]
    assert sum_of["Expression"] == "SUM(METRICS())"
    watched = {
        one["MetricStat"]["Metric"]["Dimensions"][0]["Value"]["Ref"]: one["MetricStat"]
        for one in metrics
    }
    assert set(watched) == {name for name in RULES if name != "Heartbeat"}  # the hub misses that
    for stat in watched.values():
        assert (stat["Metric"]["MetricName"], stat["Stat"]) == ("FailedInvocations", "Sum")
    assert (alarm["Threshold"], alarm["TreatMissingData"]) == (1, "notBreaching")
    assert MEMBER["Resources"]["RulesAlarm"]["Condition"] == "IsMember"


@pytest.mark.parametrize("alarm", ALARMS.values(), ids=ALARMS)
def test_an_alarm_says_what_to_do_in_words_that_exist(alarm: dict[str, Any]) -> None:
    assert alarm["AlarmActions"] == [{"Ref": "AlarmTopic"}]
    assert re.search(r"\bCheck ", alarm["AlarmDescription"])
    for name in re.findall(r"parameter\s+(\w+)", alarm["AlarmDescription"]):
        assert name in HUB["Parameters"]
    for name in re.findall(r"hub's\s+output\s+(\w+)", alarm["AlarmDescription"]):
        assert name in HUB["Outputs"]
    assert len(alarm["AlarmDescription"]) <= 1024


# --- permissions ------------------------------------------------------------------------------


def test_the_sender_may_put_events_on_exactly_that_bus() -> None:
    role = ROLES["SenderRole"]
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "events.amazonaws.com"}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    (policy,) = role["Policies"]
    assert policy["PolicyDocument"]["Statement"] == [
        {"Effect": "Allow", "Action": "events:PutEvents", "Resource": {"Fn::Sub": BUS}}
    ]


def test_only_the_hubs_own_roles_may_read_here() -> None:
    (trust,) = ROLES["ReaderRole"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust == {
        "Effect": "Allow",
        "Principal": {"AWS": {"Fn::Sub": "arn:${AWS::Partition}:iam::${HubAccountId}:root"}},
        "Action": "sts:AssumeRole",
        "Condition": {"ArnEquals": {"aws:PrincipalArn": {"Ref": "HubRoleArns"}}},
    }
    assert "Default" not in MEMBER["Parameters"]["HubRoleArns"]
    allowed = re.compile(MEMBER["Parameters"]["HubRoleArns"]["AllowedPattern"])
    assert allowed.search("arn:aws:iam::123456789012:role/service/ecs-watch-TickRole-1A2B3C")
    for other in ("*", "arn:aws:iam::*:role/x", "arn:aws:iam::123456789012:role/*", ""):
        assert not allowed.search(other)


def test_the_hub_may_read_in_a_member_what_it_reads_at_home_and_no_more() -> None:
    watcher = of_type(HUB, "IAM::Policy")["WatcherPolicy"]
    at_home = by_sid(watcher["PolicyDocument"]["Statement"])
    (policy,) = ROLES["ReaderRole"]["Policies"]
    here = by_sid(policy["PolicyDocument"]["Statement"])
    of_ecs = {
        sid
        for sid, statement in at_home.items()
        for text in walk(statement)
        if isinstance(text, str) and re.match(r"(ecs|logs|cloudtrail|iam):[A-Z]", text)
    }
    assert here == {sid: at_home[sid] for sid in of_ecs}
    for condition in ("MayReadTaskDefinitions", "MayReadLogs", "MayLookUpDeployers"):
        assert MEMBER["Conditions"][condition] == HUB["Conditions"][condition]
    for name in ("ReadTaskDefinitions", "ReadLogs", "LookUpDeployers"):
        for key in ("Default", "AllowedValues"):
            assert MEMBER["Parameters"][name][key] == HUB["Parameters"][name][key]


def test_nothing_in_a_member_may_be_changed() -> None:
    (policy,) = ROLES["ReaderRole"]["Policies"]
    actions = {
        text
        for text in walk(policy["PolicyDocument"])
        if isinstance(text, str) and re.fullmatch(r"[a-z]+:[A-Za-z*]+", text)
    }
    assert "ecs:DescribeServices" in actions
    assert {
        a for a in actions if not re.match(r"\w+:(Describe|List|Get|Lookup)[A-Z]\w*$", a)
    } == set()


def test_any_resource_is_allowed_only_where_a_comment_says_why() -> None:
    lines = FORWARDER.read_text().splitlines()
    places = [i for i, line in enumerate(lines) if re.search(r"Resource: *['\"]?\*", line)]
    assert places
    assert all(lines[place - 1].strip().startswith("#") for place in places)


PARTITIONS = {"eu-west-1": "aws", "cn-north-1": "aws-cn", "us-gov-west-1": "aws-us-gov"}


@pytest.mark.parametrize("region", PARTITIONS)
def test_the_role_is_the_one_that_the_hub_assumes_and_may_assume(region: str) -> None:
    name = "ecs-watch-reader"
    assert MEMBER["Parameters"]["ReaderRoleName"]["Default"] == name
    assert ROLES["ReaderRole"]["RoleName"] == {"Fn::Sub": "${ReaderRoleName}-${AWS::Region}"}
    assert "Path" not in ROLES["ReaderRole"]
    role = f"arn:{PARTITIONS[region]}:iam::210987654321:role/{name}-{region}"
    assert reader_arn(name, "210987654321", region) == role
    assumes = next(
        node
        for node in walk(of_type(HUB, "IAM::Policy")["WatcherPolicy"])
        if isinstance(node, dict) and node.get("Action") == "sts:AssumeRole"
    )
    may_assume, given = assumes["Resource"]["Fn::Sub"]
    assert may_assume == "arn:${AWS::Partition}:iam::${Account}:role/${MemberRoleName}-*"
    assert given == {"Account": {"Fn::If": ["HasOrganization", "*", {"Ref": "AWS::AccountId"}]}}


def test_the_hub_says_which_roles_a_member_has_to_trust() -> None:
    roles = HUB["Outputs"]["FunctionRoleArns"]["Value"]
    assert roles == {"Fn::Sub": "${EventsRole.Arn},${TickRole.Arn}"}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_obeys_the_boundary_that_an_organisation_asks_for(role: str) -> None:
    boundary = {
        "Fn::If": ["HasBoundary", {"Ref": "PermissionsBoundaryArn"}, {"Ref": "AWS::NoValue"}]
    }
    assert ROLES[role]["PermissionsBoundary"] == boundary
    assert "ManagedPolicyArns" not in ROLES[role]
