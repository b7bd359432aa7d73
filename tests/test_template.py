"""What template.yaml promises: nothing is lost in silence, nothing may do more than it needs to."""

import dataclasses
import importlib
import itertools
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.actors import EXAMPLE, SHIPPED, parse_actors
from notifier.routing import parse_channels
from notifier.settings import ReadLogs, Settings
from sandbox.transform import TEMPLATE, plain_cloudformation, read_template
from tools.package import LONGEST_TEMPLATE_BODY, packaged_template, write_zip

ROOT = Path(__file__).parent.parent
SAM = read_template()
PLAIN = plain_cloudformation(SAM, bucket="bucket", key="key")
PACKAGED = packaged_template(SAM)
PARAMETERS: dict[str, dict[str, Any]] = SAM["Parameters"]


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    """The properties of every resource of a type, by logical id."""
    return {
        name: resource["Properties"]
        for name, resource in PLAIN["Resources"].items()
        if resource["Type"] == f"AWS::{kind}"
    }


RULES = of_type("Events::Rule")
PATTERN_RULES = {name: rule for name, rule in RULES.items() if "EventPattern" in rule}
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


def test_the_packaged_template_fits_into_one_request() -> None:
    assert len(json.dumps(PACKAGED, separators=(",", ":"))) < LONGEST_TEMPLATE_BODY


def test_parameters_are_still_parameters_after_the_transform() -> None:
    assert PLAIN["Parameters"] == PARAMETERS
    assert PLAIN["Rules"] == SAM["Rules"]
    for function in FUNCTIONS.values():
        assert function["Architectures"] == [{"Ref": "Architecture"}]
        assert function["Environment"]["Variables"]["CHANNELS"] == {"Ref": "Channels"}


# --- what comes in ----------------------------------------------------------------------------


@pytest.mark.parametrize("rule", PATTERN_RULES)
def test_each_rule_fills_the_queue_tries_for_a_day_and_then_keeps_the_event(rule: str) -> None:
    (target,) = PATTERN_RULES[rule]["Targets"]
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
    assert allowed == [arn(rule) for rule in PATTERN_RULES]


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
    (schedule,) = (rule for rule in RULES.values() if "ScheduleExpression" in rule)
    assert schedule["ScheduleExpression"] == "rate(1 minute)"
    assert [target["Arn"] for target in schedule["Targets"]] == [arn("TickFunction")]
    (permission,) = of_type("Lambda::Permission").values()
    assert permission["SourceArn"] == arn("EveryMinute")
    (invocation,) = of_type("Lambda::EventInvokeConfig").values()
    assert invocation["FunctionName"] == {"Ref": "TickFunction"}
    assert (invocation["MaximumRetryAttempts"], invocation["MaximumEventAgeInSeconds"]) == (0, 60)


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


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_environment_is_what_the_program_reads(function: str) -> None:
    environment = FUNCTIONS[function]["Environment"]["Variables"]
    read = {field.name.upper() for field in dataclasses.fields(Settings)}
    assert set(environment) == read | PROXY_NAMES
    for name in PROXY_NAMES:
        assert environment[name]["Fn::If"][2] == {"Ref": "AWS::NoValue"}


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


def test_what_nobody_was_told_outlives_the_stack() -> None:
    kept = {n for n, r in PLAIN["Resources"].items() if r.get("DeletionPolicy") == "Retain"}
    both = {n for n in kept if PLAIN["Resources"][n].get("UpdateReplacePolicy") == "Retain"}
    assert kept == both == {"Table", "EventsDeadLetterQueue", "RulesDeadLetterQueue"}


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


def alarms_on(metric: str, dimension: object) -> list[dict[str, Any]]:
    return [
        alarm
        for alarm in ALARMS.values()
        if alarm["MetricName"] == metric and alarm["Dimensions"] == [dimension]
    ]


@pytest.mark.parametrize("rule", RULES)
def test_an_event_that_a_rule_cannot_deliver_raises_an_alarm(rule: str) -> None:
    dimension = {"Name": "RuleName", "Value": {"Ref": rule}}
    (alarm,) = alarms_on("FailedInvocations", dimension)
    assert (alarm["Namespace"], alarm["Statistic"]) == ("AWS/Events", "Sum")


@pytest.mark.parametrize("queue", ["EventsDeadLetterQueue", "RulesDeadLetterQueue"])
def test_an_event_that_ends_in_a_dead_letter_queue_raises_an_alarm(queue: str) -> None:
    dimension = {"Name": "QueueName", "Value": {"Fn::GetAtt": [queue, "QueueName"]}}
    (alarm,) = alarms_on("ApproximateNumberOfMessagesVisible", dimension)
    assert (alarm["Namespace"], alarm["Statistic"]) == ("AWS/SQS", "Maximum")


@pytest.mark.parametrize("function", ["EventsFunction", "TickFunction"])
def test_a_function_that_fails_raises_an_alarm(function: str) -> None:
    (alarm,) = alarms_on("Errors", {"Name": "FunctionName", "Value": {"Ref": function}})
    assert (alarm["Namespace"], alarm["Statistic"]) == ("AWS/Lambda", "Sum")


@pytest.mark.parametrize("alarm", ALARMS)
def test_an_alarm_goes_off_at_the_first_loss_and_says_what_to_do(alarm: str) -> None:
    properties = ALARMS[alarm]
    assert properties["AlarmActions"] == [{"Ref": "AlarmTopic"}]
    assert properties["TreatMissingData"] == "notBreaching"
    assert (properties["Threshold"], properties["EvaluationPeriods"]) == (1, 1)
    assert properties["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
    assert re.search(r"Check that|redrive", properties["AlarmDescription"])
    assert len(properties["AlarmDescription"]) <= 1024


def test_an_alarm_is_mailed_to_whoever_asked_for_it() -> None:
    (subscription,) = of_type("SNS::Subscription").values()
    assert subscription["TopicArn"] == {"Ref": "AlarmTopic"}
    assert subscription["Endpoint"] == {"Ref": "AlarmEmail"}
    assert PLAIN["Resources"]["AlarmEmailSubscription"]["Condition"] == "HasAlarmEmail"


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
    (policy,) = of_type("IAM::Policy").values()
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
    (policy,) = of_type("IAM::Policy").values()
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
    places = [i for i, line in enumerate(lines) if re.search(r"Resource: *['\"]?\*", line)]
    allowed = [s for s in STATEMENTS if "*" in as_list(s.get("Resource"))]  # or denied
    assert len(places) == len(allowed) == 7
    assert all(lines[place - 1].strip().startswith("#") for place in places)


def test_every_resource_is_one_of_this_account() -> None:
    for statement in STATEMENTS:
        for resource in walk(statement.get("Resource")):
            if isinstance(resource, str) and resource.startswith("arn:"):
                assert "${AWS::Partition}" in resource
                region = "*" if actions(statement) == ["logs:GetLogEvents"] else "${AWS::Region}"
                assert f":{region}:${{AWS::AccountId}}:" in resource


def test_a_log_is_read_in_whatever_region_a_container_writes_it() -> None:
    (statement,) = (s for s in STATEMENTS if "logs:GetLogEvents" in actions(s))
    assert statement["Resource"] == {
        "Fn::Sub": "arn:${AWS::Partition}:logs:*:${AWS::AccountId}:log-group:*:log-stream:*"
    }


def test_the_tick_may_not_touch_the_queue() -> None:
    def touched(role: str) -> set[str]:
        inline = [n for n in walk(PLAIN["Resources"][role]) if isinstance(n, dict)]
        own = {a.split(":")[0] for n in inline if "Effect" in n for a in actions(n)}
        return own - {"sts", "ec2"}

    assert touched("EventsRole") == {"logs", "sqs"}
    assert touched("TickRole") == {"logs"}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_writes_to_its_own_log_and_has_its_permissions_when_it_starts(
    function: str,
) -> None:
    role = FUNCTIONS[function]["Role"]["Fn::GetAtt"][0]
    group = FUNCTIONS[function]["LoggingConfig"]["LogGroup"]["Ref"]
    (logs,) = (p for p in of_type("IAM::Role")[role]["Policies"] if p.get("PolicyName") == "Logs")
    (statement,) = logs["PolicyDocument"]["Statement"]
    assert statement["Resource"] == arn(group)
    (policy,) = of_type("IAM::Policy").values()
    assert {"Ref": role} in policy["Roles"]
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
    "PermissionsBoundaryArn": (
        "arn:aws:iam::123456789012:policy/teams/boundary",
        "arn:aws-us-gov:iam::aws:policy/PowerUserAccess",
    ),
    "RolePath": ("/", "/teams/sre/"),
    "KmsKeyArn": (
        "arn:aws-cn:kms:cn-north-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    ),
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
    "PermissionsBoundaryArn": ("boundary", "arn:aws:iam::123456789012:role/x"),
    "RolePath": ("", "teams/", "/teams", "//"),
    "KmsKeyArn": ("alias/x", "arn:aws:kms:eu-west-1:123456789012:alias/x"),
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
        ("full", ["chat:write", "channels:history", "groups:history", "reactions:write"]),
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
