"""`sam validate`, `build`, `deploy` twice, `delete`: what a person types, with the genuine SAM CLI.

It runs in a copy of the folder, against an AWS account on this machine. The account enforces IAM
policies and runs the functions; what it takes no notice of is judged in test_templates.py.
"""

import json
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from sandbox.account import CREDENTIALS, REGION, STACK, Account
from sandbox.account.process import ROOT
from sandbox.ecs_double import EcsDouble
from sandbox.running import DEPLOYS, TOKEN_NAME
from sandbox.transform import plain_cloudformation, read_template
from sandbox.workspace import Workspace

pytestmark = [pytest.mark.e2e, pytest.mark.sandbox]

SAM = ROOT / ".venv-sam" / "bin" / "sam"
DEPLOYED = ("template.yaml", "samconfig.toml", "src")

# Types that the account refuses to create; what is here is left out of what is deployed to it, and
# judged by cfn-lint and by tests of its own.
REFUSED: dict[str, str] = {}

# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
LARGEST_ZIP, LARGEST_UNPACKED = 50e6, 250e6


@dataclass
class Shell:
    """A person's shell, in a folder that holds what is deployed."""

    folder: Path
    account: Account
    said: dict[str, str] = field(default_factory=dict)

    def sam(self, *arguments: str, step: str = "") -> str:
        """What the command printed; fails with it when the command does."""
        assert SAM.exists(), "run `make e2e`, which installs it"
        ran = subprocess.run(
            [SAM, *arguments],
            env=self.environment(),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        said = re.sub(r"\s*Uploading to .*%\)", "", ran.stdout + ran.stderr)
        assert ran.returncode == 0, f"sam {' '.join(arguments)}\n{said}\n{self.failures()}"
        self.said[step or arguments[0]] = said
        return said

    def failures(self) -> str:
        """What the stack's events say of what could not be made."""
        client = self.account.client("cloudformation")
        if not any(row["StackName"] == STACK for row in client.list_stacks()["StackSummaries"]):
            return "there is no stack"
        events = client.describe_stack_events(StackName=STACK)["StackEvents"]
        failed = (event for event in events if "FAILED" in event["ResourceStatus"])
        return "\n".join(
            f"{one['LogicalResourceId']}: {one.get('ResourceStatusReason')}" for one in failed
        )

    def deploy(self, step: str, *settings: str) -> str:
        """`sam deploy` with the settings of samconfig.toml, and no question asked."""
        given = ["--parameter-overrides", *settings]
        return self.sam("deploy", "--no-confirm-changeset", *given, step=step)

    def environment(self) -> dict[str, str]:
        """Nobody's credentials but the account's, and SAM's own files apart from the user's."""
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("AWS_", "SAM_"))}
        return {
            **kept,
            **CREDENTIALS,
            "PATH": f"{SAM.parent}:{os.environ['PATH']}",  # a python3 that has pip
            "AWS_DEFAULT_REGION": REGION,
            # By name, since the bucket is otherwise taken from the host of the address.
            "AWS_ENDPOINT_URL": self.account.url.replace("127.0.0.1", "localhost"),
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "SAM_CLI_TELEMETRY": "0",
            "SAM_CLI_POLL_DELAY": "0.2",  # seconds between two looks at the stack
            "__SAM_CLI_APP_DIR": str(self.folder / ".sam"),
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }


@dataclass
class Life:
    """What was seen of a stack from its first deploy until it was deleted."""

    shell: Shell
    workspace: Workspace
    sizes: dict[str, tuple[int, int]]
    created: dict[str, str]
    outputs: dict[str, str]
    texts: list[str]
    retention: list[tuple[int, ...]]
    zips: dict[str, bytes]
    left: dict[str, list[str]]


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """A stack lives once for all tests of this file; each then looks at another side of it."""
    folder = tmp_path_factory.mktemp("project")
    for name in DEPLOYED:
        _copy(ROOT / name, folder / name)
    _leave_out_refused(folder / "template.yaml")
    with (
        EcsDouble() as ecs,
        Account({"AWS_ENDPOINT_URL_ECS": ecs.url}) as account,
        Workspace(clock=account.clock.seconds) as workspace,
    ):
        account.keep_secret(TOKEN_NAME, workspace.token)
        yield _live(Shell(folder, account), workspace)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        left_out = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(source, target, ignore=left_out)
    else:
        shutil.copy(source, target)


def _leave_out_refused(template: Path) -> None:
    """Take the types that the account refuses out of the copy: whole resources, by their lines."""
    for name, resource in read_template(template)["Resources"].items():
        if resource["Type"] in REFUSED:
            text = template.read_text()
            start = text.index(f"\n  {name}:\n")
            rest = text[start + 1 :].splitlines(keepends=True)
            end = next(i for i, line in enumerate(rest[1:], 1) if line[:3].strip())
            template.write_text(text[: start + 1] + "".join(rest[end:]))


def _live(shell: Shell, workspace: Workspace) -> Life:
    account = shell.account
    settings = [f"Channels=*={DEPLOYS}", f"SlackApiUrl={workspace.api_url}"]
    shell.sam("validate", "--lint")
    shell.sam("build")
    shell.deploy("first", *settings)
    created, account.outputs = _resources(account), _outputs(account)
    retention = [_retention(account)]
    texts = _told(account, workspace)
    shell.deploy("the same again", *settings)
    retention.append(_retention(account))
    shell.deploy("a parameter changed", *settings, "LogRetentionDays=7")
    retention.append(_retention(account))
    asked = ("--config-env", "staging", "--no-execute-changeset", "--no-confirm-changeset")
    shell.sam("deploy", *asked, step="another environment")
    zips = _zips(account)
    shell.sam("delete", "--no-prompts", "--stack-name", STACK)
    built = shell.folder / ".aws-sam" / "build"
    sizes = {name: (len(zips[name]), _size(built / name)) for name in zips}
    return Life(
        shell, workspace, sizes, created, account.outputs, texts, retention, zips, _left(account)
    )


def _resources(account: Account) -> dict[str, str]:
    pages = account.client("cloudformation").get_paginator("list_stack_resources")
    rows = (row for page in pages.paginate(StackName=STACK) for row in _rows(page))
    return {row["LogicalResourceId"]: row["ResourceType"] for row in rows}


def _rows(page: Any) -> list[Any]:
    rows: list[Any] = page["StackResourceSummaries"]
    return rows


def _outputs(account: Account) -> dict[str, str]:
    shown = account.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]
    return {row["OutputKey"]: row["OutputValue"] for row in shown["Outputs"]}


def _retention(account: Account) -> tuple[int, ...]:
    groups = account.client("logs").describe_log_groups()["logGroups"]
    return tuple(group["retentionInDays"] for group in groups)


def _told(account: Account, workspace: Workspace) -> list[str]:
    """What Slack is told of a deployment that fails."""
    event = json.loads((ROOT / "events" / "try-me-built.json").read_text())
    account.clock.turn_to(account.clock.now() + timedelta(seconds=1))
    account.put_event({**event, "source": "aws.ecs", "time": account.clock.now().isoformat()})
    account.settle(60)
    channels = workspace.state()["channels"]
    (rows,) = (row["messages"] for row in channels if row["id"] == DEPLOYS)
    return [message["text"] for message in rows]


def _zips(account: Account) -> dict[str, bytes]:
    """The code that each function was given, by the logical id of the function."""
    client = account.client("s3")
    bucket = next(row["Name"] for row in client.list_buckets()["Buckets"])
    found = {}
    for row in account.client("cloudformation").list_stack_resources(StackName=STACK)[
        "StackResourceSummaries"
    ]:
        if row["ResourceType"] == "AWS::Lambda::Function":
            shown = account.client("lambda").get_function(FunctionName=row["PhysicalResourceId"])
            size = shown["Configuration"]["CodeSize"]
            objects = client.list_objects_v2(Bucket=bucket)["Contents"]
            (key,) = {one["Key"] for one in objects if one["Size"] == size}
            found[row["LogicalResourceId"]] = client.get_object(Bucket=bucket, Key=key)[
                "Body"
            ].read()
    return found


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _left(account: Account) -> dict[str, list[str]]:
    """What is in the account of what a stack of ours makes."""
    stacks = account.client("cloudformation").list_stacks()["StackSummaries"]
    return {
        "stacks": [
            row["StackName"]
            for row in stacks
            if row["StackName"] == STACK and row["StackStatus"] != "DELETE_COMPLETE"
        ],
        "queues": account.client("sqs").list_queues().get("QueueUrls", []),
        "tables": account.client("dynamodb").list_tables()["TableNames"],
        "functions": [
            row["FunctionName"] for row in account.client("lambda").list_functions()["Functions"]
        ],
        "rules": [row["Name"] for row in account.client("events").list_rules()["Rules"]],
        "roles": [
            row["RoleName"]
            for row in account.client("iam").list_roles()["Roles"]
            if row["RoleName"].startswith(f"{STACK}-")
        ],
        "log groups": [
            row["logGroupName"] for row in account.client("logs").describe_log_groups()["logGroups"]
        ],
        "alarms": [
            row["AlarmName"]
            for row in account.client("cloudwatch").describe_alarms()["MetricAlarms"]
        ],
    }


# --- the template -----------------------------------------------------------------------------


def test_sam_finds_the_template_valid(life: Life) -> None:
    assert "is a valid SAM Template" in life.shell.said["validate"]


def test_every_resource_but_those_named_here_is_created(life: Life) -> None:
    plain = plain_cloudformation(read_template(), bucket="bucket", key="key")["Resources"]
    unconditional = {name: one["Type"] for name, one in plain.items() if "Condition" not in one}
    wanted = {name: kind for name, kind in unconditional.items() if kind not in REFUSED}

    assert {name: life.created.get(name) for name in wanted} == wanted
    assert set(REFUSED) <= {one["Type"] for one in plain.values()}, "what is gone is not named"


def test_every_output_has_a_value(life: Life) -> None:
    plain = read_template()["Outputs"]
    wanted = {name for name, one in plain.items() if "Condition" not in one}
    assert {name for name in wanted if not life.outputs.get(name)} == set()


def test_what_sam_deployed_tells_slack_of_a_failure(life: Life) -> None:
    assert len(life.texts) >= 1
    event = json.loads((ROOT / "events" / "try-me-built.json").read_text())
    service = event["resources"][0].split("/")[-1]
    assert service in life.texts[0]


# --- deployed again ---------------------------------------------------------------------------


def test_the_same_again_changes_nothing_and_is_no_error(life: Life) -> None:
    assert (
        "No changes to deploy. Stack ecs-watch is up to date" in life.shell.said["the same again"]
    )
    assert life.retention[1] == life.retention[0]


def test_a_changed_parameter_is_an_update(life: Life) -> None:
    assert "Successfully created/updated stack" in life.shell.said["a parameter changed"]
    assert set(life.retention[0]) == {30}
    assert set(life.retention[2]) == {7}
    assert len(life.retention[2]) == len(life.retention[0])


def test_the_example_of_another_environment_is_one_that_sam_and_the_template_take(
    life: Life,
) -> None:
    said = life.shell.said["another environment"]
    assert "Changeset created successfully" in said
    assert '"SlackTokenName": "/ecs-watch/staging/slack-token"' in said
    assert '"Channels": "*=C0123456789,quiet"' in said


# --- deleted ----------------------------------------------------------------------------------


def test_what_may_be_all_that_is_left_of_a_failure_stays_and_nothing_else(life: Life) -> None:
    resources = read_template()["Resources"]
    kept = {name for name, one in resources.items() if one.get("DeletionPolicy") == "Retain"}
    left = life.left

    assert kept == {"Table", "EventsDeadLetterQueue", "RulesDeadLetterQueue"}
    assert left["tables"] == [life.outputs["TableName"]]
    names = {url.rpartition("/")[2] for url in left["queues"]}
    dead = ("EventsDeadLetterQueueUrl", "RulesDeadLetterQueueUrl")
    assert names == {life.outputs[name].rpartition("/")[2] for name in dead}
    assert {name: rest for name, rest in left.items() if name not in ("tables", "queues")} == {
        "stacks": [],
        "functions": [],
        "rules": [],
        "roles": [],
        "log groups": [],
        "alarms": [],
    }


# --- what is in the zip -----------------------------------------------------------------------

LIBRARIES = {
    "boto3",
    "botocore",
    "certifi",
    "charset_normalizer",
    "dateutil",
    "idna",
    "jinja2",
    "jmespath",
    "markupsafe",
    "requests",
    "s3transfer",
    "six",
    "urllib3",
}


def test_the_artefact_holds_the_program_its_templates_its_libraries_and_nothing_else(
    life: Life,
) -> None:
    assert set(life.zips) == {"EventsFunction", "TickFunction"}
    for content in life.zips.values():
        names = zipfile.ZipFile(BytesIO(content)).namelist()
        tops = {name.split("/")[0].removesuffix(".py") for name in names}
        packages = {top for top in tops if not top.endswith(".dist-info")}
        assert packages - LIBRARIES - _compiled(packages) == {"notifier", "templates"}
        assert {"notifier/handler.py", "templates/_words.j2"} < set(names)


def _compiled(packages: set[str]) -> set[str]:
    """Modules in machine code, which charset_normalizer puts beside itself."""
    return {name for name in packages if name.endswith(".so")}


def test_nothing_of_tests_nor_of_this_machine_is_in_the_artefact(life: Life) -> None:
    for content in life.zips.values():
        names = zipfile.ZipFile(BytesIO(content)).namelist()
        folders = {part for name in names for part in name.split("/")[:-1]}
        assert folders & {"tests", "test", "sandbox", "tools", "__pycache__"} == set()
        assert {name for name in names if name.endswith((".pyc", "Makefile", ".egg-link"))} == set()


def test_the_program_in_the_artefact_is_the_one_in_this_folder(life: Life) -> None:
    source = ROOT / "src"
    files = [path for name in ("notifier", "templates") for path in (source / name).rglob("*")]
    ours = {
        path.relative_to(source).as_posix(): path.read_bytes()
        for path in files
        if path.is_file() and "__pycache__" not in path.parts
    }
    for content in life.zips.values():
        archive = zipfile.ZipFile(BytesIO(content))
        names = {
            name for name in archive.namelist() if name.startswith(("notifier/", "templates/"))
        }
        assert {name: archive.read(name) for name in names} == ours


def test_the_artefact_is_small_enough_and_its_size_is_shown(
    life: Life, record_property: Callable[[str, object], None]
) -> None:
    for name, (packed, unpacked) in life.sizes.items():
        record_property(
            "size", f"{name}: {packed / 1e6:.1f} MB as a zip, {unpacked / 1e6:.0f} MB unpacked"
        )
        assert packed < LARGEST_ZIP
        assert unpacked < LARGEST_UNPACKED
