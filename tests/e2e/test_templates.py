"""Every template in each combination of their conditions, judged by what AWS and others judge by.

No account judges properties: CloudFormation's emulator takes unknown ones, and ignores TTL and
point-in-time recovery. So the SAM transform, cfn-lint and checkov look at each combination here,
and what none of them looks at is looked at by the tests themselves.
"""

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sandbox.account.process import ROOT
from sandbox.transform import plain_cloudformation, read_template
from tests.e2e.combinations import Json, allowed, parts, picked, resolved, walk

pytestmark = pytest.mark.e2e

CHECKOV = ROOT / ".venv-checkov" / "bin" / "checkov"
TEMPLATES = {
    name: read_template(ROOT / f"{name}.yaml") for name in ("template", "forwarder", "tasks")
}

# Checks of checkov that our templates do not pass, and why they need not.
NOT_OURS = {
    "CKV_AWS_28": "What tasks.yaml keeps lives for an hour; a job that is brought back would run "
    "again.",
    "CKV_AWS_26": "The topic carries alarms, which name no secret; CloudWatch may not publish to a "
    "topic under AWS's own key, and yours is not asked to be opened for it.",
    "CKV_AWS_27": "Every queue is encrypted by SQS or by your key, which checkov does not see: "
    "test_every_queue_is_encrypted does.",
    "CKV_AWS_111": "Of functions in a VPC Lambda demands the rights to network interfaces on any "
    "resource; a Deny beside it takes them back from the code.",
    "CKV_AWS_115": "Accounts that still have the limit of 10 concurrent functions cannot reserve.",
    "CKV_AWS_116": "Events come by a queue, which has a dead-letter queue; a tick that is lost is "
    "made up for by the next one.",
    "CKV_AWS_117": "Nothing it talks to is in a VPC; who must may give subnets.",
    "CKV_AWS_119": "DynamoDB encrypts in any case; your key is a parameter.",
    "CKV_AWS_158": "CloudWatch Logs encrypts in any case; your key is a parameter.",
    "CKV_AWS_173": "The environment holds names of secrets, no secret, and Lambda encrypts it.",
}

# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/pseudo-parameter-reference.html
PSEUDO = {"AWS::AccountId", "AWS::Partition", "AWS::Region", "AWS::StackName", "AWS::URLSuffix"}


def plain_of(template: Json) -> list[Json]:
    """The template in enough combinations, as CloudFormation gets it."""
    return [_plain(resolved(template, truths)) for truths in picked(template)]


def _plain(template: Json) -> Json:
    if "Transform" not in template:
        return template
    return plain_cloudformation(template, bucket="bucket", key="key.zip")


@pytest.fixture(scope="module")
def decided() -> dict[str, list[Json]]:
    return {name: plain_of(template) for name, template in TEMPLATES.items()}


@pytest.fixture(params=TEMPLATES)
def plain(request: pytest.FixtureRequest, decided: dict[str, list[Json]]) -> list[Json]:
    return decided[request.param]


@pytest.fixture(scope="module")
def folder(decided: dict[str, list[Json]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every combination of the templates as a file."""
    folder = tmp_path_factory.mktemp("plain")
    for name, templates in decided.items():
        for number, template in enumerate(templates):
            (folder / f"{name}-{number}.json").write_text(json.dumps(template))
    return folder


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_few_that_are_judged_stand_for_all_that_a_stack_can_be(name: str) -> None:
    template = TEMPLATES[name]
    few, each = picked(template), allowed(template)

    alone = [[condition] for condition in template["Conditions"]]
    together = itertools.combinations(template["Conditions"], 2)
    for conditions in (*parts(template), *alone, *together):
        assert ways(conditions, few) == ways(conditions, each), conditions
    assert len(few) < min(30, len(each))


def ways(conditions: Sequence[str], combinations: Sequence[dict[str, bool]]) -> set[Any]:
    return {tuple(truths[name] for name in conditions) for truths in combinations}


def test_cfn_lint_has_nothing_to_say_of_any_combination(folder: Path) -> None:
    # W2001: a parameter that only a condition uses is not used any more where that is decided.
    files = sorted(folder.iterdir())
    command: list[str | Path] = [
        Path(sys.executable).with_name("cfn-lint"),
        "-i",
        "W2001",
        "--",
        *files,
    ]
    said = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    assert (said.returncode, said.stdout) == (0, ""), said.stderr


def test_checkov_finds_nothing_but_what_is_listed_with_its_reason(folder: Path) -> None:
    assert CHECKOV.exists(), "run `make e2e`, which installs it"
    command: list[str | Path] = [CHECKOV, "--directory", folder, "--framework", "cloudformation"]
    options = ["--skip-download", "--compact", "--quiet", "--output", "json"]
    said = subprocess.run(
        [*command, *options], capture_output=True, text=True, timeout=300, check=False
    )
    report: Json = json.loads(said.stdout)
    found = {one["check_id"]: one for one in report["results"]["failed_checks"]}

    assert report["summary"]["parsing_errors"] == 0
    assert len(found) < report["summary"]["passed"]
    unlisted = (one for check, one in found.items() if check not in NOT_OURS)
    assert [f"{one['check_name']}: {one['resource']}" for one in unlisted] == []
    assert set(found) == set(NOT_OURS), "what is no longer found is no longer listed"


def test_whatever_is_referred_to_is_there(plain: list[Json]) -> None:
    for template in plain:
        there = {*template["Resources"], *template.get("Parameters", {}), *PSEUDO}
        assert {name for name in _referred_to(template) if name not in there} == set()


def _referred_to(template: Json) -> Iterator[str]:
    for section in ("Resources", "Outputs"):
        for node in walk(template.get(section, {})):
            if isinstance(node, dict):
                yield from _named_by(node)


def _named_by(node: Json) -> Iterator[str]:
    """Every name of a parameter or resource that this node of the template names itself."""
    if set(node) == {"Ref"}:
        yield node["Ref"]
    if set(node) == {"Fn::GetAtt"}:
        yield str(node["Fn::GetAtt"][0]).split(".", 1)[0]
    if "DependsOn" in node:
        yield from [node["DependsOn"]] if isinstance(node["DependsOn"], str) else node["DependsOn"]
    if set(node) == {"Fn::Sub"}:
        text, own = node["Fn::Sub"] if isinstance(node["Fn::Sub"], list) else (node["Fn::Sub"], {})
        named = (name.split(".")[0] for name in re.findall(r"\$\{([^!}]+)\}", text))
        yield from (name for name in named if name not in own)


# --- what no emulator and no linter looks at --------------------------------------------------


def of_type(template: Json, kind: str) -> dict[str, Json]:
    return {
        name: one for name, one in template["Resources"].items() if one["Type"] == f"AWS::{kind}"
    }


def test_every_table_forgets_and_can_be_brought_back(decided: dict[str, list[Json]]) -> None:
    tables = [
        table for one in decided["template"] for table in of_type(one, "DynamoDB::Table").values()
    ]
    assert tables
    for table in tables:
        properties = table["Properties"]
        forgets = {"AttributeName": "expires_at", "Enabled": True}
        assert properties["TimeToLiveSpecification"] == forgets
        recovery = properties["PointInTimeRecoverySpecification"]
        assert recovery == {"PointInTimeRecoveryEnabled": True}
        assert {table["DeletionPolicy"], table["UpdateReplacePolicy"]} == {"Retain"}


def test_every_queue_is_encrypted(plain: list[Json]) -> None:
    queues = [queue for one in plain for queue in of_type(one, "SQS::Queue").values()]
    assert queues
    for queue in queues:
        by_sqs = queue["Properties"].get("SqsManagedSseEnabled") is True
        assert by_sqs != ("KmsMasterKeyId" in queue["Properties"])


def test_every_rule_that_can_lose_an_event_keeps_it_for_somebody(plain: list[Json]) -> None:
    rules = [rule for one in plain for rule in of_type(one, "Events::Rule").values()]
    assert any("EventPattern" in rule["Properties"] for rule in rules)
    for properties in (rule["Properties"] for rule in rules):
        for target in properties["Targets"]:
            assert "EventPattern" not in properties or "Arn" in target["DeadLetterConfig"]
            assert properties.get("State", "ENABLED") == "ENABLED"


def test_nothing_that_may_be_all_that_is_left_goes_with_the_stack(plain: list[Json]) -> None:
    for template in plain:
        for name, queue in of_type(template, "SQS::Queue").items():
            if "DeadLetter" in name:
                kept = {queue.get("DeletionPolicy"), queue.get("UpdateReplacePolicy")}
                assert kept == {"Retain"}, name


# --- the judges themselves --------------------------------------------------------------------


def small(**more: Any) -> Json:
    queue = {"Type": "AWS::SQS::Queue", "Properties": {"KmsMasterKeyId": {"Ref": "Key"}}}
    return {
        "Parameters": {"Key": {"Type": "String", "Default": ""}},
        "Conditions": {
            "HasKey": {"Fn::Not": [{"Fn::Equals": [{"Ref": "Key"}, ""]}]},
            "HasNone": {"Fn::Not": [{"Condition": "HasKey"}]},
        },
        "Resources": {"Queue": queue, **more},
    }


def test_a_template_has_as_many_combinations_as_its_parameters_can_make() -> None:
    assert allowed(small()) == [
        {"HasKey": False, "HasNone": True},
        {"HasKey": True, "HasNone": False},
    ]


def test_what_the_rules_refuse_is_no_combination() -> None:
    asserted = {"Assert": {"Fn::Not": [{"Fn::Equals": [{"Ref": "Key"}, ""]}]}}
    template = {**small(), "Rules": {"AKeyIsGiven": {"Assertions": [asserted]}}}

    assert allowed(template) == [{"HasKey": True, "HasNone": False}]


def test_two_parameters_that_are_compared_are_equal_or_different() -> None:
    template = small()
    template["Conditions"] = {"Same": {"Fn::Equals": [{"Ref": "AWS::Region"}, {"Ref": "Key"}]}}

    assert [one["Same"] for one in allowed(template)] == [True, False]


def test_a_decided_template_has_what_is_chosen_and_nothing_else() -> None:
    choice = {"Fn::If": ["HasKey", {"Ref": "Key"}, {"Ref": "AWS::NoValue"}]}
    topic = {"Type": "AWS::SNS::Topic", "Condition": "HasKey", "Properties": {}}
    template = small(Topic=topic, Other={"Type": "T", "Properties": {"A": choice, "B": [choice]}})

    with_key = resolved(template, {"HasKey": True, "HasNone": False})["Resources"]
    without = resolved(template, {"HasKey": False, "HasNone": True})["Resources"]

    assert with_key["Topic"] == {"Type": "AWS::SNS::Topic", "Properties": {}}
    assert with_key["Other"]["Properties"] == {"A": {"Ref": "Key"}, "B": [{"Ref": "Key"}]}
    assert "Topic" not in without
    assert without["Other"]["Properties"] == {"B": []}


def test_a_reference_to_what_a_condition_leaves_out_is_found() -> None:
    topic = {"Type": "AWS::SNS::Topic", "Condition": "HasKey", "Properties": {}}
    alarm = {"Type": "T", "Properties": {"A": {"Fn::Sub": "x-${Topic.Arn}-${AWS::Region}"}}}
    found = [set(_referred_to(one)) for one in plain_of(small(Topic=topic, Alarm=alarm))]

    assert found == [{"Key", "Topic", "AWS::Region"}] * 2
    with pytest.raises(AssertionError):
        test_whatever_is_referred_to_is_there(plain_of(small(Topic=topic, Alarm=alarm)))
