"""From the bus to Slack, through the template as deployed and the program as shipped."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest

from notifier.cli import main as ecs_watch
from notifier.cli.text import message_text
from sandbox.account import SandboxError
from sandbox.ecs_double import ACCESS_DENIED
from sandbox.running import TOKEN_NAME, Sandbox
from tests.sandbox.failures import failing, fix, messages_of, thread_of

pytestmark = pytest.mark.sandbox

Eventually = Callable[[Callable[[], bool]], bool]


def test_a_deployment_that_fails_is_a_root_and_a_reply_in_its_thread(sandbox: Sandbox) -> None:
    sandbox.put_event(failing(sandbox, "told", "checkout"))
    sandbox.settle()

    root, [reply] = thread_of(sandbox, "told")
    assert "checkout" in root["text"]
    assert "2 of 2 running on :41" in root["text"], "whether it still serves is read from ECS"
    assert ":42" in message_text(reply)


def test_a_second_service_that_fails_goes_into_the_thread_of_its_cluster(sandbox: Sandbox) -> None:
    for name in ("checkout", "search"):
        sandbox.put_event(failing(sandbox, "shared", name))
        sandbox.settle()

    _, replies = thread_of(sandbox, "shared")
    assert ["checkout" in replies[0]["text"], "search" in replies[1]["text"]] == [True, True]


def test_ten_services_that_fail_at_once_are_one_root_and_few_replies(sandbox: Sandbox) -> None:
    events = [failing(sandbox, "outage", f"service-{number}") for number in range(10)]

    sandbox.put_events(events)
    sandbox.settle()
    sandbox.pass_minutes(1)  # of several batches, the last may have waited for more

    _, replies = thread_of(sandbox, "outage")
    assert len(replies) <= 4
    told = " ".join(map(message_text, replies))
    assert [number for number in range(10) if f"service-{number}" not in told] == []


def test_a_failure_is_told_also_when_ecs_may_not_be_read(sandbox: Sandbox) -> None:
    event = failing(sandbox, "unreadable", "checkout")
    sandbox.ecs.fail("DescribeServices", ACCESS_DENIED)

    sandbox.put_event(event)
    sandbox.settle()

    root, [reply] = thread_of(sandbox, "unreadable")
    assert "checkout" in root["text"]
    assert "no permission" in message_text(reply)


def test_what_recovers_is_told_in_the_thread_after_it_was_held_back(sandbox: Sandbox) -> None:
    sandbox.put_event(failing(sandbox, "recovers", "checkout"))
    sandbox.settle()

    sandbox.put_event(fix(sandbox, "recovers", "checkout"))
    sandbox.settle()
    sandbox.pass_minutes(3)
    root, replies = thread_of(sandbox, "recovers")
    assert "✅" not in root["text"] + replies[-1]["text"], "it could fail again"
    sandbox.pass_minutes(5)

    root, [_, reply] = thread_of(sandbox, "recovers")
    assert "✅" in reply["text"]
    assert "2 of 2 running on :43" in reply["text"]
    assert "over after" in root["text"]
    assert root["reactions"]


def test_what_was_told_is_in_the_table(sandbox: Sandbox) -> None:
    sandbox.put_event(failing(sandbox, "stored", "checkout"))
    sandbox.settle()

    table = sandbox.account.outputs["TableName"]
    rows = sandbox.account.client("dynamodb").scan(TableName=table)["Items"]
    keys = [row["pk"]["S"] for row in rows]
    assert any(key.endswith("cluster/stored") for key in keys)


def test_copies_of_an_event_are_told_once(sandbox: Sandbox) -> None:
    event = failing(sandbox, "copies", "checkout")

    for _ in range(3):
        sandbox.put_event(event)
    sandbox.settle()
    sandbox.put_event(event)
    sandbox.settle()

    _, replies = thread_of(sandbox, "copies")
    assert len(replies) == 1


def test_what_is_watched_is_told_once_by_the_first_ticks(sandbox: Sandbox) -> None:
    failing(sandbox, "broken-before-we-came", "checkout")

    sandbox.tick()
    sandbox.tick()

    [summary] = sandbox.messages()
    assert "1 cluster" in summary["text"]
    assert "broken-before-we-came / checkout" in message_text(summary)


def test_what_is_muted_is_told_when_the_mute_ends_and_it_still_fails(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it may keep other credentials
    assert ecs_watch(["mute", "--cluster", "hushed-*", "--for", "5m"]) == 0

    sandbox.put_event(failing(sandbox, "hushed-1", "checkout"))
    sandbox.settle()
    sandbox.pass_minutes(3)
    assert messages_of(sandbox, "hushed-1") == []
    sandbox.pass_minutes(4)

    root, _ = thread_of(sandbox, "hushed-1")
    assert "checkout" in root["text"]


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
    thread_of(sandbox, "beside-poison-1")
    thread_of(sandbox, "beside-poison-2")


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
    assert alarms(sandbox, "metric math") == ["RulesAlarm"]
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
    sandbox.settle()

    [message] = sqs.receive_message(QueueUrl=url)["Messages"]
    assert json.loads(message["Body"])["time"] == "2026-03-01T12:00:00Z"


def test_what_slack_refused_is_told_by_a_tick(sandbox: Sandbox) -> None:
    sandbox.workspace.inject("chat.postMessage", "rate_limited", times=1, retry_after=30)
    sandbox.put_event(failing(sandbox, "refused-once", "checkout"))
    sandbox.settle()
    assert messages_of(sandbox, "refused-once") == []

    sandbox.pass_minutes(1)

    _, replies = thread_of(sandbox, "refused-once")
    assert len(replies) == 1


def test_a_post_whose_answer_was_lost_is_found_again_and_not_repeated(sandbox: Sandbox) -> None:
    sandbox.workspace.inject("chat.postMessage", "accept_then_close", times=1)
    sandbox.put_event(failing(sandbox, "lost-answer", "checkout"))
    sandbox.settle()

    sandbox.pass_minutes(2)

    _, replies = thread_of(sandbox, "lost-answer")
    assert len(replies) == 1


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
