"""Reading ECS: ten services a call, and a word for why a read failed."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.stub import Stubber

from notifier.ecs import Ecs, May
from notifier.errors import ReadFailed
from tests.watch import CLUSTER, START


class Stubbed:
    """A client whose answers are given, in order; an unexpected call fails."""

    def __init__(self) -> None:
        self.client = boto3.client("ecs", region_name="eu-west-1")
        self.stubber = Stubber(self.client)
        self.stubber.activate()
        self.ecs = Ecs(lambda: self.client)

    def answer(self, services: list[Any], asked: list[str]) -> None:
        self.stubber.add_response(
            "describe_services",
            {"services": services, "failures": []},
            {"cluster": CLUSTER, "services": asked, "include": ["TAGS"]},
        )


def test_a_recorded_answer_is_read_whole() -> None:
    recorded = Path("events/answers/api-describe-services-cli.json").read_text("utf-8")
    (service,) = json.loads(recorded)["services"]
    stubbed = Stubbed()
    stubbed.answer([service], ["my-http-service"])
    shown = stubbed.ecs.services(CLUSTER, ["my-http-service"], START)["my-http-service"]

    assert (shown.status, shown.running_count, shown.desired_count) == ("ACTIVE", 10, 10)
    (deployment,) = shown.deployments
    assert (deployment.id, deployment.rollout_state) == ("ecs-svc/1234567890123456789", "")


def test_what_the_service_itself_says_of_a_failed_deployment_is_read_for_an_hour() -> None:
    said = [
        (
            -1,
            "(service checkout) (deployment ecs-svc/42) deployment failed: tasks failed to start.",
        ),
        (-1, "(service checkout) rolling back to deployment ecs-svc/43."),
        (-61, "(service checkout) (deployment ecs-svc/40) deployment failed: long ago."),
        (-1, "(service checkout) has reached a steady state."),
    ]
    events = [
        {"id": "e", "createdAt": START + timedelta(minutes=at), "message": text}
        for at, text in said
    ]
    stubbed = Stubbed()
    stubbed.answer([{"serviceName": "checkout", "events": events}], ["checkout"])
    shown = stubbed.ecs.services(CLUSTER, ["checkout"], START)["checkout"]

    assert [(one.deployment_id, one.is_failure) for one in shown.messages] == [
        ("ecs-svc/42", True),
        ("ecs-svc/43", False),
    ]
    assert shown.messages[0].text == "tasks failed to start."


def test_a_service_that_is_not_there_is_missing() -> None:
    stubbed = Stubbed()
    stubbed.answer([], ["gone"])

    assert stubbed.ecs.services(CLUSTER, ["gone"], START)["gone"].status == "MISSING"


def test_more_than_ten_services_take_more_than_one_call() -> None:
    names = [f"service-{n}" for n in range(12)]
    stubbed = Stubbed()
    stubbed.answer([], names[:10])
    stubbed.answer([], names[10:])

    assert len(stubbed.ecs.services(CLUSTER, names, START)) == 12
    stubbed.stubber.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("AccessDeniedException", "no permission"),
        ("ClusterNotFoundException", "gone"),
        ("ThrottlingException", "throttled"),
        ("ServerException", "unavailable (ServerException)"),
    ],
)
def test_a_refused_read_says_why_in_a_word(code: str, why: str) -> None:
    stubbed = Stubbed()
    stubbed.stubber.add_client_error("describe_services", code)
    with pytest.raises(ReadFailed) as failed:
        stubbed.ecs.services(CLUSTER, ["checkout"], START)

    assert failed.value.why == why


def test_an_answer_that_takes_too_long_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    stubbed = Stubbed()

    def hang(**_: object) -> None:
        raise ReadTimeoutError(endpoint_url="https://ecs")

    monkeypatch.setattr(stubbed.client, "describe_services", hang)
    with pytest.raises(ReadFailed, match="too slow"):
        stubbed.ecs.services(CLUSTER, ["checkout"], START)


REVISION = "arn:aws:ecs:eu-west-1:123456789012:task-definition/nightly-report:7"


def test_a_container_is_essential_unless_its_task_definition_says_it_is_not() -> None:
    stubbed = Stubbed()
    stubbed.ecs = Ecs(lambda: stubbed.client, may=May(task_definitions=True))
    containers = [{"name": "app"}, {"name": "proxy", "essential": False}]
    stubbed.stubber.add_response(
        "describe_task_definition",
        {"taskDefinition": {"taskDefinitionArn": REVISION, "containerDefinitions": containers}},
        {"taskDefinition": REVISION},
    )

    assert stubbed.ecs.essential_containers(CLUSTER, REVISION) == ("app",)


def test_a_log_router_and_a_proxy_end_with_the_work_and_do_not_decide_how_it_ended() -> None:
    stubbed = Stubbed()
    stubbed.ecs = Ecs(lambda: stubbed.client, may=May(task_definitions=True))
    definition = {
        "containerDefinitions": [
            {"name": "router", "essential": True, "firelensConfiguration": {"type": "fluentbit"}},
            {"name": "app", "essential": True},
            {"name": "envoy", "essential": True},
        ],
        "proxyConfiguration": {"type": "APPMESH", "containerName": "envoy"},
    }
    stubbed.stubber.add_response("describe_task_definition", {"taskDefinition": definition})

    assert stubbed.ecs.essential_containers(CLUSTER, REVISION) == ("app",)


def test_which_containers_are_essential_is_not_read_where_task_definitions_may_not_be() -> None:
    with pytest.raises(ReadFailed, match="no permission"):
        Stubbed().ecs.essential_containers(CLUSTER, REVISION)


def test_a_task_definition_that_cannot_be_read_is_a_read_that_failed() -> None:
    stubbed = Stubbed()
    stubbed.ecs = Ecs(lambda: stubbed.client, may=May(task_definitions=True))
    stubbed.stubber.add_client_error("describe_task_definition", "ThrottlingException")

    with pytest.raises(ReadFailed, match="throttled"):
        stubbed.ecs.essential_containers(CLUSTER, REVISION)
