"""From the bus to Slack, through the template as deployed and the program as shipped."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox.account import SandboxError
from sandbox.ecs_double import ACCESS_DENIED
from sandbox.running import TOKEN_NAME, Sandbox
from tests.sandbox.failures import failing, messages_of

pytestmark = pytest.mark.sandbox

Eventually = Callable[[Callable[[], bool]], bool]


def test_a_deployment_that_fails_is_told_in_slack(sandbox: Sandbox) -> None:
    event = failing(sandbox, "told", "checkout")

    sandbox.put_event(event)
    sandbox.settle()

    [message] = messages_of(sandbox, "told")
    assert "checkout" in message["text"]
    assert ":41" in message["text"], "which release serves is read from ECS"


def test_a_failure_is_told_also_when_ecs_may_not_be_read(sandbox: Sandbox) -> None:
    event = failing(sandbox, "unreadable", "checkout")
    sandbox.ecs.fail("DescribeServices", ACCESS_DENIED)
    try:
        sandbox.put_event(event)
        sandbox.settle()
    finally:
        sandbox.ecs.heal()

    [message] = messages_of(sandbox, "unreadable")
    assert "checkout" in message["text"]


def test_what_was_told_is_in_the_table(sandbox: Sandbox) -> None:
    sandbox.put_event(failing(sandbox, "stored", "checkout"))
    sandbox.settle()

    table = sandbox.account.outputs["TableName"]
    rows = sandbox.account.client("dynamodb").scan(TableName=table)["Items"]
    keys = [row["pk"]["S"] for row in rows]
    assert any(key.endswith("cluster/stored") for key in keys)


def test_copies_of_an_event_give_one_message(sandbox: Sandbox) -> None:
    event = failing(sandbox, "copies", "checkout")

    for _ in range(3):
        sandbox.put_event(event)
    sandbox.settle()
    sandbox.put_event(event)
    sandbox.settle()

    assert len(messages_of(sandbox, "copies")) == 1


def test_a_healthy_event_is_not_told(sandbox: Sandbox) -> None:
    event = failing(sandbox, "healthy", "checkout")
    event["detail"] |= {"eventName": "SERVICE_DEPLOYMENT_COMPLETED", "eventType": "INFO"}

    sandbox.put_event(event)
    sandbox.settle()

    assert messages_of(sandbox, "healthy") == []


def test_an_event_that_cannot_be_read_ends_in_the_dead_letter_queue_and_others_are_told(
    sandbox: Sandbox, eventually: Eventually
) -> None:
    good = [failing(sandbox, f"beside-poison-{number}", "checkout") for number in (1, 2)]
    bodies = [json.dumps(good[0]), "{ this is not JSON", json.dumps(good[1])]
    account = sandbox.account

    with impatient_queue(sandbox):
        account.client("sqs").send_message_batch(
            QueueUrl=account.outputs["EventsQueueUrl"],
            Entries=[{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies)],
        )
        assert eventually(lambda: account.waiting("EventsDeadLetterQueueUrl") == 1)

    dead = account.client("sqs").receive_message(
        QueueUrl=account.outputs["EventsDeadLetterQueueUrl"]
    )
    assert dead["Messages"][0]["Body"] == bodies[1]
    assert len(messages_of(sandbox, "beside-poison-1")) == 1
    assert len(messages_of(sandbox, "beside-poison-2")) == 1


def test_an_event_the_queue_does_not_let_in_goes_to_the_rules_dead_letter_queue_and_alarms(
    sandbox: Sandbox,
) -> None:
    account = sandbox.account
    event = failing(sandbox, "locked-out", "checkout")

    with without_queue_policy(sandbox):
        sandbox.put_event(event)

    assert messages_of(sandbox, "locked-out") == []
    dead = account.client("sqs").receive_message(
        QueueUrl=account.outputs["RulesDeadLetterQueueUrl"], MessageAttributeNames=["All"]
    )["Messages"]
    assert json.loads(dead[0]["Body"])["detail"] == event["detail"]
    assert dead[0]["MessageAttributes"]["ERROR_CODE"]["StringValue"] == "NO_PERMISSIONS"
    assert "DeploymentFailures" in dead[0]["MessageAttributes"]["RULE_ARN"]["StringValue"]
    assert alarms(sandbox, "AWS/Events") == ["DeploymentFailuresAlarm"]
    assert {"FailedInvocations", "InvocationsSentToDlq"} <= metrics_of_rules(sandbox)


def test_a_function_that_may_not_use_the_table_fails_and_the_event_stays(
    sandbox: Sandbox, eventually: Eventually
) -> None:
    account = sandbox.account

    with without_rights_to(sandbox, "dynamodb"):
        sandbox.put_event(failing(sandbox, "forbidden", "checkout"))
        assert eventually(lambda: "AccessDenied" in account.logs())
        assert account.waiting() == 1
        assert messages_of(sandbox, "forbidden") == []


def test_a_disabled_rule_delivers_nothing(sandbox: Sandbox) -> None:
    events = sandbox.account.client("events")
    rule = rule_named(sandbox, "DeploymentFailures")
    events.disable_rule(Name=rule)
    try:
        sandbox.put_event(failing(sandbox, "disabled", "checkout"))
        sandbox.settle()
    finally:
        events.enable_rule(Name=rule)

    assert messages_of(sandbox, "disabled") == []


def test_only_the_accounts_root_may_put_events_of_aws(sandbox: Sandbox) -> None:
    account = sandbox.account
    iam = account.client("iam")
    iam.create_user(UserName="somebody")
    iam.put_user_policy(
        UserName="somebody", PolicyName="put", PolicyDocument=may("events:PutEvents")
    )
    key = iam.create_access_key(UserName="somebody")["AccessKey"]
    entry = {"Source": "aws.ecs", "DetailType": "ECS Service Action", "Detail": "{}"}

    events = account.client_of(
        "events",
        AWS_ACCESS_KEY_ID=key["AccessKeyId"],
        AWS_SECRET_ACCESS_KEY=key["SecretAccessKey"],
    )
    refused = events.put_events(Entries=[entry])
    events.close()

    assert refused["Entries"][0]["ErrorCode"] == "NotAuthorizedForSourceException"


def test_an_event_keeps_the_time_it_was_put_with(sandbox: Sandbox, eventually: Eventually) -> None:
    event = failing(sandbox, "on-time", "checkout")
    account = sandbox.account
    sqs, events = account.client("sqs"), account.client("events")
    url = sqs.create_queue(QueueName="on-time")["QueueUrl"]
    arn = f"arn:aws:sqs:{event['region']}:{event['account']}:on-time"
    policy = may("sqs:SendMessage", resource=arn, principal={"Service": "events.amazonaws.com"})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    events.put_rule(Name="on-time", EventPattern=json.dumps({"resources": event["resources"]}))
    events.put_targets(Rule="on-time", Targets=[{"Id": "queue", "Arn": arn}])

    sandbox.put_event({**event, "time": "2026-03-01T12:00:00Z"})

    [message] = sqs.receive_message(QueueUrl=url)["Messages"]
    assert json.loads(message["Body"])["time"] == "2026-03-01T12:00:00Z"


def test_what_slack_refused_is_told_by_a_tick(sandbox: Sandbox, eventually: Eventually) -> None:
    sandbox.workspace.inject("chat.postMessage", "rate_limited", times=1, retry_after=1)
    sandbox.put_event(failing(sandbox, "refused-once", "checkout"))
    sandbox.settle()

    def told_after_another_tick() -> bool:
        sandbox.tick()
        return len(messages_of(sandbox, "refused-once")) == 1

    assert eventually(told_after_another_tick)


def test_the_token_is_in_no_log_and_in_no_environment(sandbox: Sandbox) -> None:
    sandbox.put_event(failing(sandbox, "secretive", "checkout"))
    sandbox.settle()
    functions = sandbox.account.client("lambda").list_functions()["Functions"]

    token = sandbox.workspace.token

    assert token not in sandbox.account.logs()
    assert token not in json.dumps([function["Environment"] for function in functions])
    assert functions[0]["Environment"]["Variables"]["SLACK_TOKEN_NAME"] == TOKEN_NAME


@pytest.mark.parametrize(
    ("stack", "resource", "complaint"),
    [
        ("too-long", "{Type: AWS::SQS::Queue, Properties: {VisibilityTimeout: 99999}}", "Odd: .+"),
        ("unknown-type", "{Type: AWS::No::Such}", "AWS::No::Such"),
    ],
)
def test_a_stack_that_cannot_be_created_says_what_failed(
    sandbox: Sandbox, tmp_path: Path, stack: str, resource: str, complaint: str
) -> None:
    template = tmp_path / "template.yaml"
    head = "Transform: AWS::Serverless-2016-10-31\nParameters: {}\nGlobals: {Function: {}}\n"
    template.write_text(f"{head}Resources: {{Odd: {resource}}}\n")

    with pytest.raises(SandboxError, match=complaint):
        sandbox.account.deploy({}, template=template, code=b"", stack_name=stack)


# --- the account, for a while otherwise than deployed -----------------------------------------


@contextmanager
def impatient_queue(sandbox: Sandbox) -> Iterator[None]:
    """Two tries a second apart instead of ten in an hour."""
    sqs, url = sandbox.account.client("sqs"), sandbox.account.outputs["EventsQueueUrl"]
    names = ["VisibilityTimeout", "RedrivePolicy"]
    usual = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    redrive = json.loads(usual["RedrivePolicy"]) | {"maxReceiveCount": 2}
    impatient = {"VisibilityTimeout": "1", "RedrivePolicy": json.dumps(redrive)}
    sqs.set_queue_attributes(QueueUrl=url, Attributes=impatient)
    try:
        yield
    finally:
        sqs.set_queue_attributes(QueueUrl=url, Attributes=usual)


@contextmanager
def without_queue_policy(sandbox: Sandbox) -> Iterator[None]:
    """The events queue as if its policy had been forgotten."""
    sqs, url = sandbox.account.client("sqs"), sandbox.account.outputs["EventsQueueUrl"]
    usual = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": ""})
    try:
        yield
    finally:
        sqs.set_queue_attributes(QueueUrl=url, Attributes=usual)


@contextmanager
def without_rights_to(sandbox: Sandbox, service: str) -> Iterator[None]:
    """The functions' role as if the policy had nothing for one AWS service."""
    iam = sandbox.account.client("iam")
    roles = [role["RoleName"] for role in iam.list_roles()["Roles"]]
    usual = []
    for role in roles:
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
            policy = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
            usual.append((role, name, policy))
            less = [row for row in policy["Statement"] if f"{service}:" not in json.dumps(row)]
            changed = json.dumps({**policy, "Statement": less})
            iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=changed)
    try:
        yield
    finally:
        for role, name, policy in usual:
            iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(policy))


def may(action: str, *, resource: str = "*", principal: dict[str, str] | None = None) -> str:
    """Return a policy that allows one action."""
    statement: dict[str, object] = {"Effect": "Allow", "Action": action, "Resource": resource}
    if principal:
        statement["Principal"] = principal
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def rule_named(sandbox: Sandbox, part: str) -> str:
    """Return the full name of the deployed rule."""
    rules = sandbox.account.client("events").list_rules()["Rules"]
    return next(str(rule["Name"]) for rule in rules if part in rule["Name"])


def metrics_of_rules(sandbox: Sandbox) -> set[str]:
    """Return the names of the metrics of EventBridge that have a value."""
    shown = sandbox.account.client("cloudwatch").list_metrics(Namespace="AWS/Events")
    return {row["MetricName"] for row in shown["Metrics"]}


def alarms(sandbox: Sandbox, namespace: str) -> list[str]:
    """Return the logical names of the alarms that ring now."""
    shown = sandbox.account.client("cloudwatch").describe_alarms(StateValue="ALARM")
    rings = [row["AlarmName"] for row in shown["MetricAlarms"] if row["Namespace"] == namespace]
    return [name.split("-")[-2] for name in rings]
