"""What tasks.yaml promises: it may start what is listed and nothing else, and loses nothing."""

import ast
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from notifier import on_retry, retries, runbooks
from notifier.errors import SettingsError
from notifier.events import TASKS
from sandbox.transform import plain_cloudformation, read_template
from tests.tasks_simulator import ACCOUNT, CLUSTER, REGION, ROLE, World
from tests.test_patterns import SANDBOX_PYTHON
from tests.test_template import (
    actions,
    as_list,
    calls_in,
    copied,
    walk,
    without_a_dead_letter_queue,
)

if TYPE_CHECKING:
    from notifier.model import Invocation

ROOT = Path(__file__).parent.parent
TEMPLATE = ROOT / "tasks.yaml"
SAM = read_template(TEMPLATE)
PLAIN = plain_cloudformation(SAM, bucket="bucket", key="key")
PARAMETERS = SAM["Parameters"]
WATCHER = read_template()


def of_type(kind: str, template: dict[str, Any] = PLAIN) -> dict[str, dict[str, Any]]:
    return {
        name: resource["Properties"]
        for name, resource in template["Resources"].items()
        if resource["Type"] == f"AWS::{kind}"
    }


RULES = of_type("Events::Rule")
QUEUE_RULES = [name for name in RULES if name != "EveryMinute"]
FUNCTION = of_type("Lambda::Function")["RetryFunction"]


def arn(name: str) -> dict[str, list[str]]:
    return {"Fn::GetAtt": [name, "Arn"]}


def test_cfn_lint_has_nothing_to_say_of_it_nor_of_what_sam_makes_of_it(tmp_path: Path) -> None:
    plain = tmp_path / "tasks.json"
    plain.write_text(json.dumps(PLAIN))
    said = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), TEMPLATE, plain],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (said.returncode, said.stdout) == (0, ""), said.stderr


def test_cfn_lint_looks_into_the_runbook(tmp_path: Path) -> None:
    """As far as it does: its schema knows the document's head, and none of the steps."""
    broken = copied(PLAIN)
    broken["Resources"]["Runbook"]["Properties"]["Content"]["schemaVersion"] = "0.4"
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps(broken))
    command: list[str | Path] = [Path(sys.executable).with_name("cfn-lint"), path]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "E3051" in said.stdout


CONTENT: dict[str, Any] = PLAIN["Resources"]["Runbook"]["Properties"]["Content"]
# https://docs.aws.amazon.com/systems-manager/latest/userguide/documents-syntax-data-elements-parameters.html
# https://docs.aws.amazon.com/systems-manager/latest/userguide/automation-actions.html
OF_A_PARAMETER = {"type", "description", "default", "allowedValues"}
OF_A_STEP = {"name", "action", "description", "timeoutSeconds", "onFailure", "isEnd", "inputs"}
INPUTS = {
    "aws:executeScript": {"Runtime", "Handler", "InputPayload", "Script"},
    "aws:loop": {"MaxIterations", "LoopCondition", "Steps"},
}


def steps(of: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every step, those of a loop after it."""
    return [each for one in of for each in (one, *steps(one["inputs"].get("Steps", [])))]


def test_each_step_has_what_its_action_takes_and_nothing_else() -> None:
    every = steps(CONTENT["mainSteps"])
    assert len({step["name"] for step in every}) == len(every) == 6
    for step in every:
        assert set(step) - {"outputs"} <= OF_A_STEP
        assert set(step["inputs"]) == INPUTS[step["action"]]
        assert re.fullmatch("[A-Za-z0-9_]{3,128}", step["name"])
    for parameter in CONTENT["parameters"].values():
        assert set(parameter) <= OF_A_PARAMETER


def test_whatever_a_step_is_given_is_a_parameter_or_comes_from_a_step_before() -> None:
    known = {*CONTENT["parameters"], "automation:EXECUTION_ID"}
    used = set()
    for step in steps(CONTENT["mainSteps"]):
        outputs = {f"{step['name']}.{one['Name']}" for one in step.get("outputs", ())}
        given = json.dumps(step["inputs"].get("InputPayload", {}))
        needed = set(re.findall(r"\{\{ *([\w.:]+) *\}\}", given))
        assert needed <= known
        used |= needed
        known |= outputs
    assert set(CONTENT["parameters"]) <= used
    (loop,) = (one for one in CONTENT["mainSteps"] if one["action"] == "aws:loop")
    assert loop["inputs"]["LoopCondition"]["Variable"] == "{{ Look.Running }}"
    assert loop["inputs"]["MaxIterations"] <= 100


# --- what comes in --------------------------------------------------------------------------------


def record(**detail: Any) -> dict[str, Any]:
    event = World(0).record({"taskDefinition": "nightly"}, 0)
    return {**event, "detail": {**event["detail"], **detail}}


def of_ours(started_by: str) -> dict[str, Any]:
    event = World(0)._event("ECS Task State Change", {"startedBy": started_by})
    return dict(event)


RUNBOOK = {
    "ExecutionId": "1",
    "Definition": "run-task",
    "Status": "Failed",
}
CASES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "a call that lacked tasks": (record(), {"RunTaskFailures"}),
    "a call that was refused": (
        record(errorCode="ClientException", responseElements=None),
        {"RunTaskFailures"},
    ),
    "a call that went well": (record(responseElements={"tasks": [{}], "failures": []}), set()),
    "another call": (record(eventName="StartTask"), set()),
    "a call in another account": ({**record(), "account": "210987654321"}, set()),
    "a task of ours": (of_ours("ecsw/0123456789abcdef/1"), {"OurTasks"}),
    "a task of a service": (of_ours("ecs-svc/123"), set()),
    "a runbook that failed": (
        {
            **World(0)._event(runbooks.EXECUTION_STATE_CHANGE, RUNBOOK),
            "source": "aws.ssm",
        },
        {"RunbookFailures"},
    ),
    "a runbook that went well": (
        {
            **World(0)._event(runbooks.EXECUTION_STATE_CHANGE, {**RUNBOOK, "Status": "Success"}),
            "source": "aws.ssm",
        },
        set(),
    ),
}


def pattern_of(rule: str) -> Any:
    """The pattern with what it refers to."""
    known = {"AWS::AccountId": ACCOUNT, "AWS::Region": REGION, "Runbook": "run-task"}

    def filled(node: Any) -> Any:
        if isinstance(node, dict):
            if set(node) == {"Ref"}:
                return known[node["Ref"]]
            return {name: filled(one) for name, one in node.items()}
        return [filled(one) for one in node] if isinstance(node, list) else node

    return filled(RULES[rule]["EventPattern"])


def judged(patterns: dict[str, Any], events: dict[str, Any]) -> dict[str, Any]:
    """What a matcher says that agrees with AWS's engine."""
    answer = subprocess.run(
        [SANDBOX_PYTHON, Path(__file__).with_name("match_patterns.py")],
        input=json.dumps({"patterns": patterns, "events": events}),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said: dict[str, Any] = json.loads(answer.stdout)
    return said


def test_the_rules_take_what_they_are_for_and_nothing_else() -> None:
    patterns = {rule: pattern_of(rule) for rule in QUEUE_RULES}
    said = judged(patterns, {name: event for name, (event, _) in CASES.items()})
    assert said["errors"] == {}
    found = {name: set(rules) for name, rules in said["matches"].items()}
    assert found == {name: expected for name, (_, expected) in CASES.items()}


@pytest.mark.parametrize("rule", QUEUE_RULES)
def test_each_rule_fills_the_queue_and_keeps_what_it_cannot_deliver(rule: str) -> None:
    (target,) = RULES[rule]["Targets"]
    assert target["Arn"] == arn("EventsQueue")
    assert target["DeadLetterConfig"] == {"Arn": arn("DeadLetterQueue")}
    for policy in of_type("SQS::QueuePolicy").values():
        (statement,) = policy["PolicyDocument"]["Statement"]
        allowed = statement["Condition"]["ArnEquals"]["aws:SourceArn"]
        assert allowed == [arn(one) for one in QUEUE_RULES]
        assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    metrics = json.dumps(of_type("CloudWatch::Alarm")["RulesAlarm"])
    assert f'"Ref": "{rule}"' in metrics


def test_what_nobody_waits_for_is_kept_when_it_fails() -> None:
    assert without_a_dead_letter_queue(PLAIN) == {"EveryMinute -> RetryFunction"}
    queue = of_type("SQS::Queue")["EventsQueue"]
    assert queue["VisibilityTimeout"] == 6 * FUNCTION["Timeout"]


def test_the_watcher_takes_what_this_stack_tells() -> None:
    patterns = of_type("Events::Rule", WATCHER)["OtherFailures"]["EventPattern"]
    assert TASKS in patterns["source"]
    told = [one for one in patterns["$or"] if retries.DETAIL_TYPE in one["detail-type"]]
    assert told == [{"detail-type": [retries.DETAIL_TYPE, runbooks.DETAIL_TYPE]}]


# --- the function ---------------------------------------------------------------------------------


def test_the_handler_exists_and_the_makefile_builds_it() -> None:
    module, _, name = FUNCTION["Handler"].rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))
    makefile = (ROOT / "src" / "Makefile").read_text()
    assert re.search(r"^build-.*\bbuild-RetryFunction\b.*:", makefile, re.M)


def test_a_function_is_over_before_its_attempt_is_taken_for_lost() -> None:
    assert FUNCTION["Timeout"] < retries.LEASE.total_seconds()


ENVIRON = {
    "TABLE_NAME": "t",
    "TASK_FAMILIES": f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/nightly",
    "CLUSTERS": CLUSTER,
    "RETRIES": "on",
    "ATTEMPTS": "5",
    "WITHIN_MINUTES": "60",
    "DAILY_BUDGET": "20",
    "OTHER_SUBNETS": "",
    "RUNBOOK_NAME": "run-task",
    "OWN_ROLE": ROLE,
    "ACCOUNT_ID": ACCOUNT,
    "REGION": REGION,
}


def test_the_environment_is_what_the_program_reads() -> None:
    assert set(FUNCTION["Environment"]["Variables"]) == set(ENVIRON)
    policy = on_retry.policy_of(ENVIRON)
    assert (set(policy.families), set(policy.clusters)) == ({"nightly"}, {CLUSTER})
    named = {
        "ATTEMPTS": "Attempts",
        "WITHIN_MINUTES": "WithinMinutes",
        "DAILY_BUDGET": "DailyBudget",
    }
    for variable, parameter in named.items():
        assert ENVIRON[variable] == str(PARAMETERS[parameter]["Default"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"RETRIES": "maybe"},
        {"CLUSTERS": "shop"},
        {"TASK_FAMILIES": "a b"},
        {"ATTEMPTS": "many"},
        {"OWN_ROLE": ""},
    ],
)
def test_a_setting_that_is_wrong_is_named(wrong: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        on_retry.policy_of(ENVIRON | wrong)


def test_it_takes_records_in_and_without_records_does_what_is_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticks: list[Invocation] = []
    program = SimpleNamespace(
        take_in=lambda records, _run: [records[0]["messageId"]], tick=ticks.append
    )
    monkeypatch.setattr(on_retry, "_program", lambda: program)
    context = SimpleNamespace(aws_request_id="1", get_remaining_time_in_millis=lambda: 120_000)
    batch = {"Records": [{"messageId": "m1", "body": "{}"}]}
    assert on_retry.on_retry(batch, context) == {"batchItemFailures": [{"itemIdentifier": "m1"}]}
    assert on_retry.on_retry({"detail-type": "Scheduled Event"}, context) is None
    assert len(ticks) == 1


# --- permissions: what the code calls and no more -------------------------------------------------

NOT_BY_THE_CODE = {
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    # ECS asks them of whoever calls RunTask.
    "iam:PassRole",
    "ecs:TagResource",
}
CALLED = {
    "run_task": "ecs:RunTask",
    "stop_task": "ecs:StopTask",
    "describe_tasks": "ecs:DescribeTasks",
    "describe_task_definition": "ecs:DescribeTaskDefinition",
    "invoke": "lambda:InvokeFunction",
    "put_events": "events:PutEvents",
    "get_automation_execution": "ssm:GetAutomationExecution",
    "get_item": "dynamodb:GetItem",
    "query": "dynamodb:Query",
    "transact_write_items": "dynamodb:UpdateItem",  # of which each is one
}


def called(code: str) -> set[str]:
    """Every action that the code needs; a call that is not known here is an error."""
    return {CALLED[call] for call in calls_in(ast.parse(code))}


def statements(node: Any) -> list[dict[str, Any]]:
    return [one for one in walk(node) if isinstance(one, dict) and one.get("Effect") == "Allow"]


def allowed(role: str) -> set[str]:
    own = [one for one in of_type("IAM::Policy").values() if one["Roles"] == [{"Ref": role}]]
    own += [of_type("IAM::Role")[role].get("Policies", [])]
    return {action for one in statements(own) for action in actions(one)}


def test_the_function_may_do_what_its_code_calls_and_no_more() -> None:
    code = (ROOT / "src" / "notifier" / "retrying.py").read_text()
    assert '"Update"' in code
    assert not {"Put", "Delete", "ConditionCheck"} & set(re.findall(r'"(\w+)":', code))
    assert allowed("RetryRole") == called(code) | NOT_BY_THE_CODE


def test_the_runbook_may_do_what_its_scripts_call_and_no_more() -> None:
    scripts = [one["Script"] for one in walk(CONTENT) if isinstance(one, dict) and "Script" in one]
    assert len(scripts) == 5
    needed = {action for script in scripts for action in called(script)}
    assert allowed("RunbookRole") == needed | {"iam:PassRole", "ecs:TagResource"}
    assert CONTENT["assumeRole"] == arn("RunbookRole")


@pytest.mark.parametrize("role", ["RetryRole", "RunbookRole"])
def test_only_listed_families_are_started_in_listed_clusters_with_listed_roles(role: str) -> None:
    own = [one for one in of_type("IAM::Policy").values() if one["Roles"] == [{"Ref": role}]]
    own += [of_type("IAM::Role")[role].get("Policies", [])]
    by_action = {action: one for one in statements(own) for action in actions(one)}
    run, hand = by_action["ecs:RunTask"], by_action["iam:PassRole"]
    clusters = {"ArnEquals": {"ecs:cluster": {"Fn::Split": [",", {"Ref": "Clusters"}]}}}
    assert run["Condition"] == clusters
    ((text, given),) = [run["Resource"]["Fn::Split"][1]["Fn::Sub"]]
    joined = given["Families"]["Fn::Join"]
    assert (text, joined[0]) == ("${Families}:*", ":*,")
    assert joined[1] == {"Fn::Split": [",", {"Ref": "TaskFamilies"}]}
    assert hand["Resource"] == {"Fn::Split": [",", {"Ref": "TaskRoles"}]}
    passed_to = {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
    assert hand["Condition"] == {"StringEquals": passed_to}
    assert by_action["ecs:TagResource"]["Condition"] == {
        "StringEquals": {"ecs:CreateAction": "RunTask"}
    }


def test_any_resource_is_allowed_once_and_a_comment_says_why() -> None:
    lines = TEMPLATE.read_text().splitlines()
    places = [i for i, line in enumerate(lines) if re.search(r"Resource: *(['\"]?)\*\1$", line)]
    assert len(places) == 1
    assert lines[places[0] - 1].strip().startswith("#")
    every = [one for one in statements(PLAIN["Resources"]) if "*" in as_list(one.get("Resource"))]
    assert [actions(one) for one in every] == [["ecs:DescribeTaskDefinition"]]


def test_only_systems_manager_runs_the_runbook_for_this_account() -> None:
    (trust,) = of_type("IAM::Role")["RunbookRole"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "ssm.amazonaws.com"}
    assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}


def test_the_watchers_own_roles_may_start_nothing() -> None:
    text = json.dumps(WATCHER["Resources"])
    for action in ("RunTask", "StopTask", "PassRole", "StartAutomationExecution"):
        assert f":{action}" not in text


@pytest.mark.parametrize("role", of_type("IAM::Role"))
def test_a_role_obeys_what_the_organisation_asks_for(role: str) -> None:
    properties = of_type("IAM::Role")[role]
    assert properties["Path"] == {"Ref": "RolePath"}
    assert properties["PermissionsBoundary"]["Fn::If"][1] == {"Ref": "PermissionsBoundaryArn"}


# --- state, alarms and parameters -----------------------------------------------------------------


def test_the_table_forgets_and_its_jobs_are_not_brought_back() -> None:
    (table,) = of_type("DynamoDB::Table").values()
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert "PointInTimeRecoverySpecification" not in table
    watchers = of_type("DynamoDB::Table", WATCHER)["Table"]
    for part in ("KeySchema", "AttributeDefinitions", "GlobalSecondaryIndexes"):
        assert table[part] == watchers[part]


@pytest.mark.parametrize("alarm", of_type("CloudWatch::Alarm"))
def test_an_alarm_says_what_to_do_and_misses_what_stands_still(alarm: str) -> None:
    properties = of_type("CloudWatch::Alarm")[alarm]
    assert "Check that" in properties["AlarmDescription"]
    assert properties["AlarmActions"] == [
        {"Fn::If": ["HasTopic", {"Ref": "AlarmTopicArn"}, {"Ref": "AWS::NoValue"}]}
    ]
    missing = "breaching" if alarm == "NoTickAlarm" else "notBreaching"
    assert properties["TreatMissingData"] == missing


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_explains_itself_has_its_group_and_refuses_nonsense(name: str) -> None:
    parameter, interface = PARAMETERS[name], SAM["Metadata"]["AWS::CloudFormation::Interface"]
    groups = [one for group in interface["ParameterGroups"] for one in group["Parameters"]]
    assert len(parameter["Description"]) > 20
    assert parameter["ConstraintDescription"].endswith(".")
    assert {"AllowedPattern", "AllowedValues", "MinValue"} & set(parameter)
    assert groups.count(name) == 1
    assert name in interface["ParameterLabels"]


FAMILY = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/nightly"
BEFORE = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:before"
TASK_ROLE = f"arn:aws:iam::{ACCOUNT}:role/teams/nightly"


@pytest.mark.parametrize(
    ("name", "taken", "refused"),
    [
        (
            "TaskFamilies",
            [FAMILY, f"{FAMILY},{FAMILY}-2"],
            ["", "nightly", f"{FAMILY}:7", f"{FAMILY},"],
        ),
        ("Clusters", [CLUSTER, f"{CLUSTER},{CLUSTER}"], ["", "jobs", f"{CLUSTER}, {CLUSTER}", "*"]),
        ("TaskRoles", [TASK_ROLE, f"{TASK_ROLE},{TASK_ROLE}"], ["", "*", f"{TASK_ROLE}*"]),
        ("OtherSubnets", ["", "subnet-01234567,subnet-89abcdef"], ["subnet-1", "sg-01234567"]),
        ("AlarmTopicArn", ["", f"arn:aws:sns:{REGION}:{ACCOUNT}:alarms"], ["alarms"]),
        ("RunbookFunctions", ["", BEFORE, f"{BEFORE},{BEFORE}"], ["before", "*"]),
    ],
)
def test_what_may_be_started_is_named_one_by_one(
    name: str, taken: list[str], refused: list[str]
) -> None:
    pattern = PARAMETERS[name]["AllowedPattern"]
    assert all(re.fullmatch(pattern, one) for one in taken)
    assert not [one for one in refused if re.fullmatch(pattern, one)]
