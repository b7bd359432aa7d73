"""`ecs-watch doctor` over a deployed stack in moto and a Slack workspace."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from notifier.checkup import Finding, Verdict
from notifier.cli import doctor, main
from notifier.cli import stack as deployed_stack
from notifier.cli.stack import TABLE, TOPIC, Stack, stack_of
from notifier.cli.surroundings import surroundings
from notifier.errors import WatchError
from notifier.model import Route
from notifier.routing import parse_channels
from sandbox.ecs_double import EcsDouble
from tests.watch import START, table

Capture = pytest.CaptureFixture[str]
ROUTES: tuple[Route, ...] = parse_channels("dev-*=ignore; *=C01")


# --- the stack ------------------------------------------------------------------------------------


class CloudFormation:
    """Knows two stacks; moto's own needs packages that are not installed."""

    arn = "arn:aws:cloudformation:eu-west-1:123456789012:stack/ours/1-2"
    is_anonymous = False

    def describe_stacks(self, *, StackName: str) -> Any:  # noqa: N803
        if StackName == "missing":
            error: Any = {"Error": {"Code": "ValidationError", "Message": "it does not exist"}}
            raise ClientError(error, "DescribeStacks")
        parameters = [{"ParameterKey": "Channels", "ParameterValue": "*=C01"}]
        return {
            "Stacks": [
                {
                    "StackId": self.arn,
                    "StackStatus": "CREATE_COMPLETE",
                    "CreationTime": START,
                    **({"Parameters": parameters} if StackName == "ours" else {}),
                }
            ]
        }

    def get_caller_identity(self) -> Any:
        if self.is_anonymous:
            error: Any = {"Error": {"Code": "AccessDenied", "Message": "no"}}
            raise ClientError(error, "GetCallerIdentity")
        return {"Account": "123456789012"}

    def get_paginator(self, _operation: str) -> Any:
        return self

    def paginate(self, *, StackName: str) -> Iterator[Any]:  # noqa: N803
        yield {"StackResourceSummaries": [resource("SNS::Topic", "AlarmTopic", "arn:topic")]}
        if StackName == "ours":
            yield {
                "StackResourceSummaries": [
                    resource("SQS::Queue", "EventsQueue", "https://q"),
                    resource("SQS::Queue", "EventsDeadLetterQueue", "https://d"),
                    resource("SQS::Queue", "OldQueue", "https://o", "DELETE_COMPLETE"),
                    resource("DynamoDB::Table", "Table", "t"),
                    resource("Events::Rule", "Heartbeat", "ours-Heartbeat-1"),
                    resource("Events::Rule", "NotMadeYet", "", "CREATE_FAILED"),
                ]
            }


def resource(kind: str, name: str, physical: str, status: str = "CREATE_COMPLETE") -> Any:
    return {
        "ResourceType": f"AWS::{kind}",
        "LogicalResourceId": name,
        "ResourceStatus": status,
        **({"PhysicalResourceId": physical} if physical else {}),
    }


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boto3, "client", lambda _service, **_: CloudFormation())


@pytest.mark.usefixtures("stacks")
def test_a_deployed_stack_is_read_from_cloudformation() -> None:
    stack = stack_of("ours")

    assert (stack.name, stack.account, stack.region) == ("ours", "123456789012", "eu-west-1")
    assert (stack.status, stack.created_at) == ("CREATE_COMPLETE", START)
    assert stack.parameters == {"Channels": "*=C01"}
    assert stack.queue_url == "https://q"
    assert stack.dead_letter_queues == {"EventsDeadLetterQueue": "https://d"}
    assert stack.of(deployed_stack.RULE) == {"Heartbeat": "ours-Heartbeat-1"}


@pytest.mark.usefixtures("stacks")
@pytest.mark.parametrize("name", ["missing", "another"])
def test_a_stack_that_is_not_there_or_none_of_ours_is_said_to_be_so(
    name: str, capsys: Capture
) -> None:
    assert main(["doctor", "--stack", name]) == 1
    assert f"stack '{name}'" in capsys.readouterr().err


@pytest.mark.usefixtures("stacks")
@pytest.mark.parametrize(
    ("is_anonymous", "whose"), [(False, " of account 123456789012"), (True, "")]
)
@pytest.mark.parametrize("verb", [["doctor"], ["mutes"]])
def test_of_a_stack_that_is_not_there_it_is_said_where_it_was_looked_for(
    verb: list[str],
    is_anonymous: bool,
    whose: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    monkeypatch.setattr(CloudFormation, "is_anonymous", is_anonymous)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")

    assert main([*verb, "--stack", "missing", "--region", "us-east-2"]) == 1
    said = f"(looked for in us-east-2{whose}; see --region, --profile and --stack)\n"
    assert capsys.readouterr().err.endswith(said)


def test_region_and_profile_can_be_given_on_the_command_line(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "")
    monkeypatch.delenv("AWS_PROFILE")

    assert main(["doctor", "--stack-name", "x", "--profile", "nobody-s"]) == 1
    assert "nobody-s" in capsys.readouterr().err


@pytest.mark.parametrize(
    "of_the_shell",
    [
        {"AWS_ACCESS_KEY_ID": "SHELL", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"},
        {"AWS_DEFAULT_PROFILE": "another"},
        {},
        {"AWS_ROLE_ARN": "arn:aws:iam::1:role/x", "AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere"},
    ],
)
def test_the_profile_that_is_asked_for_wins_over_the_shell_s_own_credentials(
    of_the_shell: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = "[{0}]\naws_access_key_id = {0}\naws_secret_access_key = x\n"
    written = tmp_path / "credentials"
    written.write_text(keys.format("mine") + keys.format("another"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    environment = {
        "AWS_PROFILE": "another",
        "AWS_SHARED_CREDENTIALS_FILE": str(written),
        **of_the_shell,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    acts_as: list[str] = []

    def stack_of(_name: str) -> Stack:
        credentials = (boto3.DEFAULT_SESSION or boto3.Session()).get_credentials()
        assert credentials
        acts_as.append(credentials.access_key)
        raise WatchError("enough")

    monkeypatch.setattr("notifier.cli.doctor.stack_of", stack_of)
    main(["doctor", "--profile", "mine"])

    assert acts_as == ["mine"]


def test_the_stack_s_program_has_the_functions_settings() -> None:
    parameters = {"Channels": "*=C01", "SlackTokenName": "/t", "ReadLogs": "tagged"}
    stack = Stack(
        name="ours",
        account="1",
        region="r",
        status="CREATE_COMPLETE",
        parameters=parameters,
        resources={
            "AWS::SQS::Queue": {"EventsQueue": "https://q", "EventsDeadLetterQueue": "https://d"},
            TABLE: {"Table": "t"},
            deployed_stack.RULE: {"Heartbeat": "ours-Heartbeat-1"},
        },
    )
    settings = stack.program().settings

    assert (settings.table_name, settings.queue_url) == ("t", "https://q")
    assert (settings.dlq_urls, settings.rule_names) == (
        ("https://d",),
        {"Heartbeat": "ours-Heartbeat-1"},
    )
    assert (settings.slack_token_name, settings.read_logs) == ("/t", "tagged")


# --- the end --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdicts", "code", "said"),
    [
        ("✓✓", 0, "2 checks: 2 hold"),
        ("✓–", 0, "2 checks: 1 hold, 1 not given"),  # noqa: RUF001
        ("✓?", 1, "2 checks: 1 hold, 1 could not be seen"),
        ("?", 1, "1 check: 1 could not be seen"),
        ("✓✗?–", 1, "4 checks: 1 hold, 1 failed, 1 could not be seen, 1 not given"),  # noqa: RUF001
    ],
)
@pytest.mark.usefixtures("stacks")
def test_only_what_was_seen_to_hold_or_is_not_wanted_ends_well(
    verdicts: str, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    found = [Finding("check", Verdict(one), "is so") for one in verdicts]
    monkeypatch.setattr(doctor, "findings", lambda *_, **__: iter(found))

    assert main(["doctor", "--stack", "ours"]) == code
    assert capsys.readouterr().out.splitlines()[-1] == said


# --- what surrounds it ----------------------------------------------------------------------------


@pytest.fixture
def aws() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client


def around(aws: Any, *, topic: str = "", status: str = "CREATE_COMPLETE", **parameters: str) -> Any:
    stack = Stack(
        name="ours",
        account="123456789012",
        region="eu-west-1",
        status=status,
        parameters=parameters,
        resources={TOPIC: {"AlarmTopic": topic}} if topic else {},
    )
    return {one.check: one for one in surroundings(stack, ROUTES, aws)}


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ("CREATE_COMPLETE", "✓"),
        ("UPDATE_COMPLETE", "✓"),
        ("UPDATE_ROLLBACK_COMPLETE", "✓"),
        ("UPDATE_ROLLBACK_FAILED", "✗"),
        ("DELETE_FAILED", "✗"),
    ],
)
def test_a_stack_that_is_half_deployed_fails(aws: Any, status: str, verdict: str) -> None:
    assert around(aws, status=status)["stack"].verdict == verdict


def test_alarms_must_reach_somebody(aws: Any) -> None:
    sns = aws("sns")
    topic = sns.create_topic(Name="alarms")["TopicArn"]
    found = around(aws, topic=topic)["alarms"]
    assert (found.verdict, found.says) == ("✗", "reach nobody")

    sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="sre@example.com")
    assert around(aws, topic=topic)["alarms"].says == "reach 1 subscriber"

    waiting = {"Subscriptions": [{"SubscriptionArn": "PendingConfirmation"}]}
    with patch.object(sns, "list_subscriptions_by_topic", lambda **_: waiting):
        found = around(lambda name: sns if name == "sns" else aws(name), topic=topic)["alarms"]
    assert (found.verdict, found.todo) == ("✗", "click the link in the mail that AWS sent")


def test_what_is_not_permitted_says_what_it_costs(aws: Any) -> None:
    found = around(aws, ReadTaskDefinitions="true", ReadLogs="off")

    assert found["permission ReadTaskDefinitions"].verdict == "✓"
    assert found["permission ReadLogs"].todo == (
        "the last log lines of a failed container are not shown"
    )
    assert found["permission LookUpDeployers"].says == "is not given"


def trail(aws: Any, *, logging: bool = True, selectors: Any = None) -> None:
    aws("s3").create_bucket(
        Bucket="trail", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    client = aws("cloudtrail")
    client.create_trail(Name="all", S3BucketName="trail", IsMultiRegionTrail=True)
    if logging:
        client.start_logging(Name="all")
    if selectors:
        client.put_event_selectors(TrailName="all", **selectors)


READS = {"EventSelectors": [{"IncludeManagementEvents": True, "ReadWriteType": "ReadOnly"}]}
WRITES = {"EventSelectors": [{"IncludeManagementEvents": True, "ReadWriteType": "WriteOnly"}]}


def advanced(category: str, **equals: list[str]) -> Any:
    fields = {"eventCategory": [category], **equals}
    rows = [{"Field": name, "Equals": values} for name, values in fields.items()]
    return {"AdvancedEventSelectors": [{"FieldSelectors": rows}]}


@pytest.mark.parametrize(
    ("made", "verdict"),
    [
        ({"selectors": WRITES}, "✓"),
        ({"selectors": READS}, "–"),  # noqa: RUF001
        ({"selectors": WRITES, "logging": False}, "–"),  # noqa: RUF001
        ({"selectors": advanced("Management")}, "✓"),
        ({"selectors": advanced("Management", readOnly=["true"])}, "–"),  # noqa: RUF001
        ({"selectors": advanced("Data")}, "–"),  # noqa: RUF001
    ],
)
def test_a_trail_counts_when_it_is_active_and_records_calls_that_change(
    aws: Any, made: Any, verdict: str
) -> None:
    trail(aws, **made)

    assert around(aws)["CloudTrail"].verdict == verdict


def test_without_a_trail_it_is_said_what_cannot_be_seen(aws: Any) -> None:
    assert around(aws)["CloudTrail"].todo == (
        "who deployed and RunTask calls that fail are not seen"
    )


ARN = "arn:aws:ecs:eu-west-1:123456789012"


def with_services(aws: Any, *shown: Any) -> Any:
    """What doctor says of services that ECS shows."""
    clusters = {one["clusterArn"] for one in shown}
    with EcsDouble() as double:
        double.patch(
            {
                "clusters": [{"clusterArn": arn, "status": "ACTIVE"} for arn in clusters],
                "services": list(shown),
            }
        )
        ecs = boto3.client("ecs", endpoint_url=double.url)
        try:
            return around(lambda name: ecs if name == "ecs" else aws(name))
        finally:
            ecs.close()


def service(name: str, cluster: str = "prod", **more: Any) -> Any:
    return {
        "serviceArn": f"{ARN}:service/{cluster}/{name}",
        "serviceName": name,
        "clusterArn": f"{ARN}:cluster/{cluster}",
        "status": "ACTIVE",
        **more,
    }


def configured(**configuration: Any) -> Any:
    return {"deploymentConfiguration": configuration}


BREAKER = configured(deploymentCircuitBreaker={"enable": True, "rollback": True})
ALARMS = configured(alarms={"enable": True, "rollback": False, "alarmNames": ["a"]})
NEITHER = configured(deploymentCircuitBreaker={"enable": False, "rollback": False})
CODE_DEPLOY: Any = {"deploymentController": {"type": "CODE_DEPLOY"}}


def test_services_whose_deployments_ecs_judges_are_fine(aws: Any) -> None:
    found = with_services(aws, service("checkout", **BREAKER), service("pay", **ALARMS))

    assert found["services"].says == "tell ECS's own verdict: all 2"


def test_services_of_which_only_tasks_that_die_are_seen_are_named(aws: Any) -> None:
    found = with_services(
        aws,
        service("checkout", **BREAKER),
        service("search", **NEITHER),
        service("pay", **CODE_DEPLOY),
        service("ignored", cluster="dev-1"),
    )

    without = found["services without circuit breaker or deployment alarms"]
    assert without.says == "are 1: prod/search"
    assert (
        found["services of another deployment controller"].says == "are 1: prod/pay (CODE_DEPLOY)"
    )
    assert "services" not in found


def test_many_services_are_counted_and_few_are_named(aws: Any) -> None:
    found = with_services(aws, *(service(f"service-{number:02}") for number in range(12)))

    says = found["services without circuit breaker or deployment alarms"].says
    assert says.startswith("are 12: ")
    assert "service-09" in says
    assert says.endswith("and 2 more")


def test_what_a_person_may_not_read_could_not_be_seen() -> None:
    answer: Any = {"Error": {"Code": "AccessDeniedException", "Message": "no"}}

    def denied(_name: str) -> Any:
        raise ClientError(answer, "call")

    found = around(denied)

    assert {found[name].verdict for name in ("CloudTrail", "services")} == {"?"}
    assert found["services"].says == "could not be read: no permission"
    assert found["services"].todo == "allow yourself to read it"


def test_only_a_missing_permission_is_to_be_given() -> None:
    def throttled(_name: str) -> Any:
        raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "no"}}, "call")

    found = around(throttled)

    assert found["services"].says == "could not be read: ThrottlingException"
    assert found["services"].todo == "look again later"


def test_alarms_whose_topic_was_deleted_reach_nobody(aws: Any) -> None:
    arn = "arn:aws:sns:eu-west-1:123456789012:deleted"

    found = around(aws, topic=arn)["alarms"]

    assert (found.verdict, found.says) == ("✗", "have no topic any more")


def test_of_a_table_that_is_gone_no_more_is_said_than_that(aws: Any) -> None:
    stack = Stack(
        name="ours",
        account="1",
        region="eu-west-1",
        status="CREATE_COMPLETE",
        parameters={},
        resources={TABLE: {"Table": "t"}},
    )

    assert not {"backup", "point-in-time recovery"} & {
        one.check for one in surroundings(stack, ROUTES, aws)
    }


def test_backup_and_time_to_live_are_looked_at(aws: Any) -> None:
    table("t")
    stack = Stack(
        name="ours",
        account="1",
        region="eu-west-1",
        status="CREATE_COMPLETE",
        parameters={},
        resources={TABLE: {"Table": "t"}},
    )

    def found() -> Any:
        return {one.check: one.verdict for one in surroundings(stack, ROUTES, aws)}

    assert found()["point-in-time recovery"] == "–"  # noqa: RUF001
    commands = [one.command for one in surroundings(stack, ROUTES, aws) if one.command]
    assert [one.split()[2] for one in commands] == [
        "update-continuous-backups",
        "update-time-to-live",
    ]
    client = aws("dynamodb")
    client.update_continuous_backups(
        TableName="t", PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    client.update_time_to_live(
        TableName="t", TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires_at"}
    )
    assert (found()["point-in-time recovery"], found()["time to live"]) == ("✓", "✓")
