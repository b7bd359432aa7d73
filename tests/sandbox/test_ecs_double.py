"""The double of ECS, CloudTrail and CloudWatch Logs answers boto3 as AWS would."""

from collections.abc import Iterator
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ReadTimeoutError

from sandbox.ecs_double import ACCESS_DENIED, SERVER_ERROR, THROTTLED, EcsDouble, Fault

ARN = "arn:aws:ecs:eu-west-1:123456789012"
CLUSTER = f"{ARN}:cluster/prod"
SERVICE = f"{ARN}:service/prod/web"


@pytest.fixture
def double() -> Iterator[EcsDouble]:
    with EcsDouble() as running:
        running.patch({"clusters": [{"clusterArn": CLUSTER, "status": "ACTIVE"}]})
        running.patch({"services": [service("web")]})
        yield running


@pytest.fixture
def ecs(double: EcsDouble) -> Iterator[Any]:
    yield from client(double, "ecs")


@pytest.fixture
def cloudtrail(double: EcsDouble) -> Iterator[Any]:
    yield from client(double, "cloudtrail")


@pytest.fixture
def logs(double: EcsDouble) -> Iterator[Any]:
    yield from client(double, "logs")


def client(double: EcsDouble, name: str) -> Iterator[Any]:
    config = Config(retries={"total_max_attempts": 1}, read_timeout=0.3)
    made = boto3.client(name, endpoint_url=double.url, config=config)  # type: ignore[call-overload]
    yield made
    made.close()


def service(name: str, **more: Any) -> dict[str, Any]:
    return {
        "serviceArn": f"arn:aws:ecs:eu-west-1:123456789012:service/prod/{name}",
        "serviceName": name,
        "clusterArn": CLUSTER,
        "status": "ACTIVE",
        "desiredCount": 2,
        "createdAt": "2026-11-02T12:00:00Z",
        **more,
    }


def task(number: int, **more: Any) -> dict[str, Any]:
    return {
        "taskArn": f"arn:aws:ecs:eu-west-1:123456789012:task/prod/{number:032x}",
        "clusterArn": CLUSTER,
        "taskDefinitionArn": "arn:aws:ecs:eu-west-1:123456789012:task-definition/web:7",
        "group": "service:web",
        "startedBy": "ecs-svc/1",
        "desiredStatus": "RUNNING",
        **more,
    }


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return error.value.response["Error"]["Code"]


def test_a_service_is_described_by_name_or_arn_and_a_missing_one_is_a_failure(ecs: Any) -> None:
    answer = ecs.describe_services(cluster="prod", services=["web", SERVICE, "gone"])

    assert [row["serviceName"] for row in answer["services"]] == ["web", "web"]
    assert answer["services"][0]["createdAt"] == datetime(2026, 11, 2, 12, tzinfo=UTC)
    assert answer["failures"] == [{"arn": "gone", "reason": "MISSING"}]


def test_more_than_ten_services_a_call_are_refused(ecs: Any) -> None:
    with pytest.raises(ClientError) as error:
        ecs.describe_services(cluster="prod", services=["web"] * 11)

    assert code_of(error) == "InvalidParameterException"


def test_a_cluster_that_is_not_there_is_an_error(ecs: Any) -> None:
    with pytest.raises(ecs.exceptions.ClusterNotFoundException):
        ecs.describe_services(cluster="elsewhere", services=["web"])


def test_services_are_listed_ten_a_page(double: EcsDouble, ecs: Any) -> None:
    double.patch({"services": [service(f"s{number}") for number in range(24)]})

    pages = list(ecs.get_paginator("list_services").paginate(cluster="prod"))

    assert [len(page["serviceArns"]) for page in pages] == [10, 10, 5]


def test_a_deleted_service_is_described_but_not_listed(double: EcsDouble, ecs: Any) -> None:
    double.patch({"services": [{"serviceArn": SERVICE, "status": "INACTIVE"}]})

    [shown] = ecs.describe_services(cluster="prod", services=["web"])["services"]
    assert (shown["status"], shown["desiredCount"]) == ("INACTIVE", 2)
    assert ecs.list_services(cluster="prod")["serviceArns"] == []


def test_clusters_are_listed_and_described(ecs: Any) -> None:
    assert ecs.list_clusters()["clusterArns"] == [CLUSTER]
    assert ecs.describe_clusters(clusters=["prod"])["clusters"][0]["status"] == "ACTIVE"
    assert ecs.describe_clusters()["failures"] == [{"arn": "default", "reason": "MISSING"}]


def test_stopped_tasks_are_listed_only_when_asked_for(double: EcsDouble, ecs: Any) -> None:
    double.patch({"tasks": [task(1), task(2, desiredStatus="STOPPED")]})

    running = ecs.list_tasks(cluster="prod", serviceName="web")["taskArns"]
    stopped = ecs.list_tasks(cluster="prod", serviceName="web", desiredStatus="STOPPED")["taskArns"]

    assert (running, stopped) == ([task(1)["taskArn"]], [task(2)["taskArn"]])
    assert len(ecs.describe_tasks(cluster="prod", tasks=running + stopped)["tasks"]) == 2


def test_who_started_a_task_must_be_the_only_filter(ecs: Any) -> None:
    with pytest.raises(ClientError) as error:
        ecs.list_tasks(cluster="prod", serviceName="web", startedBy="ecs-svc/1")

    assert code_of(error) == "InvalidParameterException"


def test_who_started_a_task_cannot_be_asked_of_stopped_ones(ecs: Any) -> None:
    with pytest.raises(ClientError) as error:
        ecs.list_tasks(cluster="prod", startedBy="ecs-svc/1", desiredStatus="STOPPED")

    assert code_of(error) == "InvalidParameterException"


def test_tasks_of_a_service_that_is_not_there_are_an_error(ecs: Any) -> None:
    with pytest.raises(ecs.exceptions.ServiceNotFoundException):
        ecs.list_tasks(cluster="prod", serviceName="gone")


def test_tags_are_shown_only_to_those_who_ask_for_them(double: EcsDouble, ecs: Any) -> None:
    tags = [{"key": "team", "value": "shop"}]
    arn = "arn:aws:ecs:eu-west-1:123456789012:task-definition/web:7"
    double.patch({"services": [service("web", tags=tags)], "tasks": [task(1, tags=tags)]})
    double.patch({"taskDefinitions": [{"taskDefinitionArn": arn, "tags": tags}]})

    def seen(**more: Any) -> list[Any]:
        (shown,) = ecs.describe_services(cluster="prod", services=["web"], **more)["services"]
        arns = [task(1)["taskArn"]]
        (ran,) = ecs.describe_tasks(cluster="prod", tasks=arns, **more)["tasks"]
        defined = ecs.describe_task_definition(taskDefinition="web:7", **more)
        assert "tags" not in defined["taskDefinition"]
        return [shown.get("tags"), ran.get("tags"), defined["tags"]]

    assert seen() == [None, None, []]
    assert seen(include=["TAGS"]) == [tags, tags, tags]


def test_a_task_definition_is_found_by_revision_and_by_family(double: EcsDouble, ecs: Any) -> None:
    base = "arn:aws:ecs:eu-west-1:123456789012:task-definition/web"
    rows = [{"taskDefinitionArn": f"{base}:{number}", "revision": number} for number in (7, 8)]
    double.patch({"taskDefinitions": rows})

    def revision(name: str) -> int:
        described = ecs.describe_task_definition(taskDefinition=name)["taskDefinition"]
        return int(described["revision"])

    assert (revision("web:7"), revision("web"), revision(f"{base}:8")) == (7, 8, 8)
    with pytest.raises(ClientError):
        ecs.describe_task_definition(taskDefinition="web:9")


def test_service_deployments_are_listed_newest_first(double: EcsDouble, ecs: Any) -> None:
    def deployment(name: str, minute: int, status: str) -> dict[str, Any]:
        return {
            "serviceDeploymentArn": f"arn:aws:ecs:eu-west-1:123456789012:service-deployment/{name}",
            "serviceArn": SERVICE,
            "clusterArn": CLUSTER,
            "createdAt": f"2026-11-02T12:{minute:02d}:00Z",
            "status": status,
            "targetServiceRevision": {"arn": f"revision/{name}"},
        }

    rows = [deployment("a", 1, "SUCCESSFUL"), deployment("b", 2, "ROLLBACK_SUCCESSFUL")]
    double.patch({"serviceDeployments": rows, "serviceRevisions": [{"serviceRevisionArn": "r"}]})

    listed = ecs.list_service_deployments(cluster="prod", service="web")["serviceDeployments"]
    assert [row["targetServiceRevisionArn"] for row in listed] == ["revision/b", "revision/a"]
    arns = [row["serviceDeploymentArn"] for row in listed]
    described = ecs.describe_service_deployments(serviceDeploymentArns=arns)["serviceDeployments"]
    assert [row["status"] for row in described] == ["ROLLBACK_SUCCESSFUL", "SUCCESSFUL"]
    assert ecs.describe_service_revisions(serviceRevisionArns=["r"])["failures"] == []
    with pytest.raises(ecs.exceptions.ServiceNotFoundException):
        ecs.list_service_deployments(cluster="prod", service="gone")


def test_service_deployments_are_listed_by_when_they_were_created(
    double: EcsDouble, ecs: Any
) -> None:
    rows = [
        {
            "serviceDeploymentArn": f"arn:aws:ecs:eu-west-1:123456789012:service-deployment/{hour}",
            "serviceArn": SERVICE,
            "createdAt": f"2026-11-02T{hour}:00:00Z",
            "status": "SUCCESSFUL",
        }
        for hour in (11, 12, 13)
    ]
    double.patch({"serviceDeployments": rows})

    after = {"after": datetime(2026, 11, 2, 11, 30, tzinfo=UTC)}
    listed = ecs.list_service_deployments(cluster="prod", service="web", createdAt=after)

    assert len(listed["serviceDeployments"]) == 2


def test_other_deployment_controllers_have_no_service_deployments(
    double: EcsDouble, ecs: Any
) -> None:
    double.patch({"services": [service("web", deploymentController={"type": "CODE_DEPLOY"})]})

    with pytest.raises(ecs.exceptions.UnsupportedFeatureException):
        ecs.list_service_deployments(cluster="prod", service="web")


def test_the_end_of_a_log_is_read_and_a_log_that_is_not_there_is_an_error(
    double: EcsDouble, logs: Any
) -> None:
    lines = [{"timestamp": 1_000 * number, "message": f"line {number}"} for number in range(30)]
    names = {"logGroupName": "/ecs/web", "logStreamName": "ecs/app/1"}
    double.patch({"logStreams": [{"arn": "arn:aws:logs:1", **names, "events": lines}]})

    last = logs.get_log_events(**names, limit=2)["events"]
    assert [event["message"] for event in last] == ["line 28", "line 29"]
    first = logs.get_log_events(**names, limit=1, startFromHead=True)["events"]
    assert [event["message"] for event in first] == ["line 0"]
    with pytest.raises(logs.exceptions.ResourceNotFoundException):
        logs.get_log_events(logGroupName="/ecs/web", logStreamName="ecs/app/2")


def test_cloudtrail_finds_who_changed_a_resource(double: EcsDouble, cloudtrail: Any) -> None:
    def event(number: int, resource: str) -> dict[str, Any]:
        return {
            "EventId": str(number),
            "EventName": "UpdateService",
            "EventTime": f"2026-11-02T12:{number:02d}:00Z",
            "Resources": [{"ResourceName": resource}],
        }

    double.patch({"cloudTrailEvents": [event(1, "web"), event(2, "api"), event(3, "web")]})
    wanted = [{"AttributeKey": "ResourceName", "AttributeValue": "web"}]

    found = cloudtrail.lookup_events(LookupAttributes=wanted)["Events"]

    assert [row["EventId"] for row in found] == ["3", "1"]
    since = datetime(2026, 11, 2, 12, 2, tzinfo=UTC)
    assert len(cloudtrail.lookup_events(StartTime=since)["Events"]) == 2


def test_cloudtrail_shows_its_trails_and_what_each_records(
    double: EcsDouble, cloudtrail: Any
) -> None:
    arn = "arn:aws:cloudtrail:eu-west-1:123456789012:trail/all"
    assert cloudtrail.describe_trails()["trailList"] == []
    selectors = [{"ReadWriteType": "All", "IncludeManagementEvents": True}]
    trail = {"TrailARN": arn, "Name": "all", "IsMultiRegionTrail": True}
    double.patch({"trails": [{**trail, "IsLogging": True, "EventSelectors": selectors}]})

    assert cloudtrail.describe_trails()["trailList"] == [trail]
    assert cloudtrail.get_trail_status(Name=arn)["IsLogging"]
    assert cloudtrail.get_event_selectors(TrailName=arn)["EventSelectors"] == selectors
    with pytest.raises(ClientError, match="TrailNotFoundException"):
        cloudtrail.get_trail_status(Name=f"{arn}-2")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (ACCESS_DENIED, "AccessDeniedException"),
        (THROTTLED, "ThrottlingException"),
        (SERVER_ERROR, "ServerException"),
    ],
)
def test_a_call_goes_wrong_as_often_as_it_is_told_to(
    double: EcsDouble, ecs: Any, fault: Fault, code: str
) -> None:
    double.fail("DescribeServices", fault, times=1)

    with pytest.raises(ClientError) as error:
        ecs.describe_services(cluster="prod", services=["web"])

    assert code_of(error) == code
    assert ecs.describe_services(cluster="prod", services=["web"])["services"]
    assert double.calls["DescribeServices"] == 2


def test_a_call_can_hang(double: EcsDouble, ecs: Any) -> None:
    double.fail("ListClusters", Fault(hang=True))

    with pytest.raises(ReadTimeoutError):
        ecs.list_clusters()

    double.heal()
    assert ecs.list_clusters()["clusterArns"] == [CLUSTER]


def test_a_call_can_be_slow(double: EcsDouble, ecs: Any) -> None:
    double.fail("ListClusters", Fault(delay=0.1))

    before = monotonic()
    answer = ecs.list_clusters()

    assert monotonic() - before >= 0.1
    assert answer["clusterArns"] == [CLUSTER]


def test_run_task_is_answered_word_for_word_and_each_answer_is_given_once(
    double: EcsDouble, ecs: Any
) -> None:
    named = {"taskDefinitionArn": f"{ARN}:task-definition/job:1", "family": "job"}
    double.patch({"taskDefinitions": [{**named, "containerDefinitions": []}]})
    found_no_room = {"tasks": [], "failures": [{"reason": "RESOURCE:CPU"}]}
    double.answer_run_task({"job": [found_no_room]})

    answer = ecs.run_task(cluster="prod", taskDefinition="job")
    with pytest.raises(ClientError) as error:
        ecs.run_task(cluster="prod", taskDefinition="job")

    assert {name: answer[name] for name in found_no_room} == found_no_room
    assert code_of(error) == "AccessDeniedException", "it was given no job either"


def test_what_would_change_ecs_is_refused(double: EcsDouble, ecs: Any) -> None:
    with pytest.raises(ClientError) as error:
        ecs.update_service(cluster="prod", service="web", desiredCount=0)

    assert code_of(error) == "AccessDeniedException"
    assert double.calls["UpdateService"] == 1


def test_a_double_that_is_itself_wrong_says_so_when_it_ends() -> None:
    def ask() -> None:
        with EcsDouble() as double:
            double.patch({"clusters": [{"clusterArn": CLUSTER, "createdAt": "never"}]})
            for made in client(double, "ecs"):
                with pytest.raises(ClientError):
                    made.describe_clusters(clusters=["prod"])

    with pytest.raises(RuntimeError, match="the double itself is wrong"):
        ask()
