"""What is read to explain a failure: in batches, within its time, and whatever fails on the way."""

import json
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.parsers import ResponseParserError

from notifier.ecs import Ecs, May
from notifier.ecs.logs import LONGEST_LINE, place_of
from notifier.ecs.reads import in_threads, in_turn
from notifier.errors import ReadFailed
from notifier.facts import Asked, Facts
from notifier.settings import ReadLogs
from sandbox.ecs_double import ACCESS_DENIED, SERVER_ERROR, THROTTLED, EcsDouble, Fault, Json
from tests.watch import CLUSTER, START

FAILING, SERVING, BACK = "ecs-svc/42", "ecs-svc/41", "ecs-svc/43"
EVERYTHING = May(task_definitions=True, logs=ReadLogs.ALL, callers=True)
PLAIN = "correct horse"  # a value of a variable, as people write them into task definitions


def ago(minutes: float) -> str:
    """An ISO time, with an offset that is not UTC's."""
    zone = datetime.fromisoformat("2026-01-01T00:00:00+05:30").tzinfo
    return (START - timedelta(minutes=minutes)).astimezone(zone).isoformat()


def arn(kind: str, *names: str) -> str:
    return f"arn:aws:ecs:eu-west-1:123456789012:{kind}/{'/'.join(names)}"


def revision_of(service: str, number: int) -> str:
    return arn("task-definition", f"{service}:{number}")


def deployment_row(service: str, number: int, status: str, rollout: str, minutes: float) -> Json:
    serves = number == 41
    return {
        "id": f"ecs-svc/{number}",
        "status": status,
        "taskDefinition": revision_of(service, number),
        "desiredCount": 2,
        "runningCount": 2 if serves else 0,
        "pendingCount": 0,
        "failedTasks": 0 if serves else 3,
        "rolloutState": rollout,
        "createdAt": ago(minutes),
        "updatedAt": ago(1),
    }


def service_row(name: str, **more: Any) -> Json:
    """A service whose release :42 fails while :41 serves."""
    return {
        "serviceArn": arn("service", "prod-web", name),
        "serviceName": name,
        "clusterArn": CLUSTER,
        "status": "ACTIVE",
        "desiredCount": 2,
        "runningCount": 2,
        "pendingCount": 0,
        "deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": True, "rollback": True}},
        "deployments": [
            deployment_row(name, 42, "PRIMARY", "FAILED", 10),
            deployment_row(name, 41, "ACTIVE", "COMPLETED", 900),
        ],
        "events": [],
        "tags": [{"key": "team", "value": "shop"}],
        **more,
    }


def task_row(service: str, number: int, started_by: str = FAILING, **more: Any) -> Json:
    task_id = f"{service}{number}".encode().hex().zfill(32)[-32:]
    return {
        "taskArn": arn("task", "prod-web", task_id),
        "clusterArn": CLUSTER,
        "taskDefinitionArn": revision_of(service, int(started_by[-2:])),
        "group": f"service:{service}",
        "startedBy": started_by,
        "desiredStatus": "STOPPED",
        "lastStatus": "STOPPED",
        "stopCode": "EssentialContainerExited",
        "stoppedReason": "Essential container in task exited",
        "createdAt": ago(8),
        "startedAt": ago(7),
        "stoppedAt": ago(6 - number / 10),
        "containers": [
            {"name": "proxy", "exitCode": 0, "lastStatus": "STOPPED"},
            {
                "name": "app",
                "exitCode": 137,
                "reason": "OutOfMemoryError: Container killed due to memory usage",
                "image": f"shop/{service}:v{started_by[-2:]}",
                "imageDigest": f"sha256:{started_by[-2:]}",
            },
        ],
        **more,
    }


def definition_row(service: str, number: int, **container: Any) -> Json:
    options = {
        "awslogs-group": f"/ecs/{service}",
        "awslogs-region": "eu-central-1",
        "awslogs-stream-prefix": "ecs",
    }
    return {
        "taskDefinitionArn": revision_of(service, number),
        "cpu": "256",
        "memory": "512",
        "tags": [{"key": "ecs-watch:actor", "value": "mika"}],
        "containerDefinitions": [
            {
                "name": "app",
                "image": f"shop/{service}:v{number}",
                "memory": 512,
                "essential": True,
                "command": ["serve"],
                "environment": [
                    {"name": "PASSWORD", "value": PLAIN},
                    {"name": "VERSION", "value": str(number)},
                ],
                "secrets": [{"name": "KEY", "valueFrom": "arn:aws:ssm:key"}],
                "portMappings": [{"containerPort": 8080}],
                "healthCheck": {"command": ["CMD", "true"], "interval": 30, "retries": 3},
                "logConfiguration": {"logDriver": "awslogs", "options": options},
                **container,
            }
        ],
    }


def release_rows(service: str, number: int, status: str, minutes: float, source: int) -> Json:
    """A service deployment and the revision it deploys."""
    place = ("prod-web", service)
    revision = arn("service-revision", *place, str(number))
    return {
        "serviceDeployments": [
            {
                "serviceDeploymentArn": arn("service-deployment", *place, f"d{number}"),
                "serviceArn": arn("service", *place),
                "clusterArn": CLUSTER,
                "createdAt": ago(minutes),
                "status": status,
                "sourceServiceRevisions": [{"arn": arn("service-revision", *place, str(source))}],
                "targetServiceRevision": {"arn": revision},
                "deploymentCircuitBreaker": {
                    "status": "TRIGGERED",
                    "failureCount": 2,
                    "threshold": 3,
                },
                "alarms": {"status": "TRIGGERED", "triggeredAlarmNames": ["5xx"]},
                "rollback": {"reason": "the circuit breaker threshold was exceeded"},
            }
        ],
        "serviceRevisions": [
            {
                "serviceRevisionArn": revision,
                "taskDefinition": revision_of(service, number),
                "containerImages": [
                    {"containerName": "app", "imageDigest": f"sha256:resolved-{number}"}
                ],
            }
        ],
    }


def log_row(service: str, task: Json, lines: Sequence[str]) -> Json:
    stream = f"ecs/app/{task['taskArn'].rpartition('/')[2]}"
    return {
        "arn": stream,
        "logGroupName": f"/ecs/{service}",
        "logStreamName": stream,
        "events": [{"timestamp": n, "message": f"{line}\n"} for n, line in enumerate(lines)],
    }


def show(double: EcsDouble, service: str = "checkout", **more: Any) -> None:
    """Let ECS show this service, whose release fails after three tasks died."""
    tasks = [task_row(service, number) for number in range(3)]
    others = [task_row(service, 9, SERVING, stoppedReason="Scaling activity initiated by …")]
    double.patch({"services": [service_row(service, **more)], "tasks": tasks + others})
    double.patch({"taskDefinitions": [definition_row(service, number) for number in (41, 42)]})
    double.patch(release_rows(service, 41, "SUCCESSFUL", 900, source=40))
    double.patch(release_rows(service, 42, "ROLLBACK_IN_PROGRESS", 10, source=41))
    double.patch({"logStreams": [log_row(service, tasks[2], [f"line {n}" for n in range(30)])]})


class Clients:
    """boto3's own clients, whose calls all go to the double; `asked` says for which region."""

    def __init__(self, double: EcsDouble) -> None:
        self.double = double
        self.asked: list[tuple[str, str]] = []
        self._clients: dict[tuple[str, str], Any] = {}

    def __call__(self, service: str, region: str) -> Any:
        self.asked.append((service, region))
        return self._clients.get((service, region)) or self._made(service, region)

    def _made(self, service: str, region: str) -> Any:
        config = Config(retries={"total_max_attempts": 1})
        where = {"region_name": region or "eu-west-1", "endpoint_url": self.double.url}
        client = boto3.client(service, config=config, **where)  # type: ignore[call-overload]
        self._clients[service, region] = client
        return client

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


@pytest.fixture(scope="module")
def _clients() -> Iterator[Clients]:
    """Making a client of boto3 takes longer than a test."""
    with EcsDouble() as running:
        made = Clients(running)
        yield made
        made.close()


@pytest.fixture
def clients(_clients: Clients) -> Clients:
    _clients.asked.clear()
    return _clients


@pytest.fixture
def double(_clients: Clients) -> EcsDouble:
    double = _clients.double
    double.clear()
    double.calls.clear()
    double.requests.clear()
    double.patch({"clusters": [{"clusterArn": CLUSTER, "status": "ACTIVE"}]})
    show(double)
    return double


@pytest.fixture
def ecs(double: EcsDouble, clients: Clients) -> Ecs:
    """The door with no hurry: what is slow here is the machine."""
    client = clients("ecs", "")
    return Ecs(lambda: client, clients, EVERYTHING, in_all=timedelta(60), a_round=timedelta(60))


CHECKOUT = Asked(service="checkout", deployment_id=FAILING)
KNOWN = replace(
    CHECKOUT,
    failing_revision=revision_of("checkout", 42),
    completed_revision=revision_of("checkout", 41),
)


def facts_of(ecs: Ecs, asked: Asked = CHECKOUT) -> Facts:
    return ecs.facts(CLUSTER, [asked], START)[asked.service][1]


def missing(facts: Facts) -> list[tuple[str, str, str]]:
    return [(one.what, one.why, one.action) for one in facts.missing]


# --- what is read -------------------------------------------------------------------------------


def test_all_that_explains_a_failed_release_is_read(ecs: Ecs) -> None:
    reading, facts = ecs.facts(CLUSTER, [CHECKOUT], START)["checkout"]

    assert reading is not None
    assert (reading.running_count, len(reading.deployments)) == (2, 2)
    assert facts.missing == ()
    assert facts.deployment_id == FAILING
    assert facts.failing_revision == revision_of("checkout", 42)
    assert facts.serving_revision == revision_of("checkout", 41)
    assert facts.failing_images == {"app": "sha256:resolved-42"}
    assert facts.serving_images == {"app": "sha256:resolved-41"}
    assert (facts.has_completed, facts.has_circuit_breaker) == (False, True)
    assert facts.last_deployment_at == START - timedelta(minutes=10)
    assert facts.tags == {"team": "shop"}


def test_only_the_stopped_tasks_of_the_failing_deployment_are_kept_newest_first(ecs: Ecs) -> None:
    tasks = facts_of(ecs).stopped_tasks

    assert [task.started_by for task in tasks] == [FAILING] * 3
    assert [task.arn for task in tasks] == [task_row("checkout", n)["taskArn"] for n in (2, 1, 0)]
    app = tasks[0].containers[1]
    assert (app.exit_code, app.reason[:16]) == (137, "OutOfMemoryError")
    assert tasks[0].stopped_at == START - timedelta(minutes=5.8)


def test_the_circuit_breaker_is_that_of_the_failing_deployment(ecs: Ecs) -> None:
    shown = facts_of(ecs).service_deployment

    assert shown is not None
    assert (shown.status, shown.failure_count, shown.threshold) == ("ROLLBACK_IN_PROGRESS", 2, 3)
    assert (shown.alarms, shown.rollback_reason[:11]) == (("5xx",), "the circuit")
    assert shown.created_at == START - timedelta(minutes=10)


def test_of_several_deployments_of_one_revision_the_one_that_began_then_is_meant(
    double: EcsDouble, ecs: Ecs
) -> None:
    """The same revision was forced out again: only the time tells them apart."""
    (row,) = release_rows("checkout", 42, "SUCCESSFUL", 400, source=41)["serviceDeployments"]
    place = ("service-deployment", "prod-web", "checkout")
    earlier = row | {"serviceDeploymentArn": arn(*place, "earlier")}
    later = row | {"serviceDeploymentArn": arn(*place, "later"), "createdAt": ago(2)}
    double.patch({"serviceDeployments": [earlier, later]})
    shown = facts_of(ecs).service_deployment

    assert shown is not None
    assert shown.arn.endswith("/d42")


def test_the_two_records_of_a_deployment_need_not_be_of_the_same_second(
    double: EcsDouble, ecs: Ecs
) -> None:
    double.patch(release_rows("checkout", 42, "ROLLBACK_IN_PROGRESS", 10.2, source=41))

    assert facts_of(ecs).service_deployment is not None


def test_a_release_that_is_gone_from_the_service_is_found_by_what_was_known(
    double: EcsDouble, ecs: Ecs
) -> None:
    """Rolled back: ECS shows the way back only, and what failed is told by its row."""
    back = deployment_row("checkout", 41, "PRIMARY", "COMPLETED", 2) | {"id": BACK}
    double.patch({"services": [service_row("checkout", deployments=[back])]})
    facts = facts_of(ecs, replace(KNOWN, completed_revision=""))

    assert facts.serving_revision == revision_of("checkout", 41)
    assert facts.failing is not None
    assert facts.has_completed is False
    assert facts.service_deployment is not None
    assert facts.service_deployment.arn.endswith("/d42")
    assert facts.failing_images == {"app": "sha256:resolved-42"}
    assert facts.serving_images == {"app": "sha256:resolved-41"}


def test_its_tasks_tell_the_revision_when_nothing_else_does(double: EcsDouble, ecs: Ecs) -> None:
    double.patch({"services": [service_row("checkout", deployments=[])]})

    assert facts_of(ecs).failing_revision == revision_of("checkout", 42)
    nobody_knows = Asked(service="checkout")  # and its tasks are of two revisions
    assert facts_of(ecs, nobody_knows).failing_revision == ""


def test_the_service_deployment_that_began_then_tells_the_revision_of_tasks_that_are_gone(
    double: EcsDouble, ecs: Ecs
) -> None:
    double.patch({"services": [service_row("checkout", deployments=[])]})
    began = replace(CHECKOUT, deployment_id="ecs-svc/7", began_at=START - timedelta(minutes=10))

    assert facts_of(ecs, began).failing_revision == revision_of("checkout", 42)


def test_what_served_before_is_told_by_the_service_deployment_when_nothing_else_does(
    double: EcsDouble, ecs: Ecs
) -> None:
    failing = service_row("checkout")["deployments"][:1]
    double.patch({"services": [service_row("checkout", deployments=failing)]})
    facts = facts_of(ecs)

    assert facts.serving_revision == revision_of("checkout", 41)
    assert facts.serving is not None


def test_a_revision_that_only_the_deployment_names_is_read_after_it(
    double: EcsDouble, ecs: Ecs
) -> None:
    """It came from :39, which is none of the service deployments that ECS still lists."""
    double.patch(release_rows("checkout", 42, "ROLLBACK_IN_PROGRESS", 10, source=39))
    revision = arn("service-revision", "prod-web", "checkout", "39")
    row = {"serviceRevisionArn": revision, "taskDefinition": revision_of("checkout", 39)}
    double.patch({"serviceRevisions": [row]})
    failing = service_row("checkout")["deployments"][:1]
    double.patch({"services": [service_row("checkout", deployments=failing)]})

    assert facts_of(ecs).serving_revision == revision_of("checkout", 39)


def test_what_we_know_to_have_completed_is_believed_before_what_it_came_from(
    double: EcsDouble, ecs: Ecs
) -> None:
    failing = service_row("checkout")["deployments"][:1]
    double.patch({"services": [service_row("checkout", deployments=failing)]})
    known = replace(CHECKOUT, completed_revision=revision_of("checkout", 40))

    assert facts_of(ecs, known).serving_revision == revision_of("checkout", 40)


FIXED = deployment_row("checkout", 43, "PRIMARY", "COMPLETED", 3)
BEGAN_THEN = replace(CHECKOUT, began_at=START - timedelta(minutes=10))


@pytest.mark.parametrize("is_shown", [True, False])
def test_a_fix_is_not_what_served_before_the_release_that_failed(
    is_shown: bool, double: EcsDouble, ecs: Ecs
) -> None:
    """:43 was live within minutes: ECS shows it as completed, beside :42 or without it."""
    failing = service_row("checkout")["deployments"][:1] if is_shown else []
    double.patch({"services": [service_row("checkout", deployments=[FIXED, *failing])]})
    double.patch(release_rows("checkout", 43, "SUCCESSFUL", 3, source=41))

    assert facts_of(ecs, BEGAN_THEN).serving_revision == revision_of("checkout", 41)
    known = replace(BEGAN_THEN, completed_revision=revision_of("checkout", 40))
    assert facts_of(ecs, known).serving_revision == revision_of("checkout", 40)


def test_before_the_first_release_of_a_service_none_served_whatever_came_after_it(
    double: EcsDouble, ecs: Ecs
) -> None:
    failing = service_row("checkout")["deployments"][:1]
    double.clear()
    double.patch({"clusters": [{"clusterArn": CLUSTER, "status": "ACTIVE"}]})
    first = release_rows("checkout", 42, "STOPPED", 10, source=0)
    first["serviceDeployments"][0]["sourceServiceRevisions"] = []
    double.patch({"services": [service_row("checkout", deployments=[FIXED, *failing])]})
    double.patch(first)
    double.patch(release_rows("checkout", 43, "SUCCESSFUL", 3, source=42))
    facts = facts_of(ecs)

    assert (facts.failing_revision, facts.serving_revision) == (revision_of("checkout", 42), "")


def test_a_release_that_went_live_and_fails_served_itself_though_a_fix_followed(
    double: EcsDouble, ecs: Ecs
) -> None:
    live = deployment_row("checkout", 42, "ACTIVE", "COMPLETED", 10)
    double.patch({"services": [service_row("checkout", deployments=[FIXED, live])]})

    assert facts_of(ecs, KNOWN).serving_revision == revision_of("checkout", 42)


def test_a_live_release_whose_tasks_die_is_both_what_fails_and_what_serves(
    double: EcsDouble, ecs: Ecs
) -> None:
    live = deployment_row("checkout", 42, "PRIMARY", "COMPLETED", 10)
    double.patch({"services": [service_row("checkout", deployments=[live])]})
    facts = facts_of(ecs, Asked(service="checkout"))

    assert (facts.deployment_id, facts.has_completed) == (FAILING, True)
    assert facts.serving_revision == facts.failing_revision == revision_of("checkout", 42)
    assert facts.serving_images == facts.failing_images == {"app": "sha256:resolved-42"}


@pytest.mark.parametrize(
    ("states", "fails"),
    [
        ((("PRIMARY", "IN_PROGRESS", 0), ("ACTIVE", "FAILED", 3)), "ecs-svc/1"),
        ((("PRIMARY", "COMPLETED", 0), ("ACTIVE", "IN_PROGRESS", 3)), "ecs-svc/1"),
        ((("PRIMARY", "IN_PROGRESS", 0), ("ACTIVE", "COMPLETED", 0)), "ecs-svc/0"),
        ((("PRIMARY", "", 0), ("ACTIVE", "", 0)), "ecs-svc/0"),
        ((("ACTIVE", "", 0), ("DRAINING", "SOMETHING_NEW", 0)), None),
    ],
)
def test_the_deployment_that_looks_failing_is_taken_when_no_event_named_one(
    states: Any, fails: str | None, double: EcsDouble, ecs: Ecs
) -> None:
    rows = [
        {"id": f"ecs-svc/{n}", "status": status, "rolloutState": rollout, "failedTasks": failed}
        for n, (status, rollout, failed) in enumerate(states)
    ]
    double.patch({"services": [service_row("checkout", deployments=rows)]})

    assert facts_of(ecs, Asked(service="checkout")).deployment_id == fails


def test_what_the_service_says_of_this_deployments_trouble_is_quoted(
    double: EcsDouble, ecs: Ecs
) -> None:
    unhealthy = (
        "(service checkout) (task {}) (port 8080) is unhealthy in (target-group arn:aws:tg) "
        "due to (reason Health checks failed with these codes: [502])."
    )
    said = [
        (1, "(service checkout) has reached a steady state."),
        (2, unhealthy.format("aaa")),
        (3, unhealthy.format("bbb")),
        (4, "(service checkout) has started 1 tasks: (task ccc)."),
        (5, f"(service checkout) (deployment {FAILING}) deployment failed: tasks failed to start."),
        (6, f"(service checkout) (deployment {SERVING}) deployment failed: of another one."),
        (11, "(service checkout) was unable to place a task: before it began."),
    ]
    events = [{"createdAt": ago(minutes), "message": text} for minutes, text in reversed(said)]
    double.patch({"services": [service_row("checkout", events=events)]})

    assert facts_of(ecs).messages == (said[1][1], said[4][1])


def test_trouble_of_long_ago_is_not_quoted_of_a_release_that_is_long_live(
    double: EcsDouble, ecs: Ecs
) -> None:
    live = deployment_row("checkout", 42, "PRIMARY", "COMPLETED", 9_000)
    events = [
        {"createdAt": ago(hours * 60), "message": f"was unable to place a task, {hours} h ago"}
        for hours in (5, 7)
    ]
    double.patch({"services": [service_row("checkout", deployments=[live], events=events)]})

    assert facts_of(ecs).messages == ("was unable to place a task, 5 h ago",)


# --- task definitions ---------------------------------------------------------------------------


def test_a_task_definition_is_read_whole_but_for_values(ecs: Ecs) -> None:
    failing = facts_of(ecs).failing

    assert failing is not None
    assert (failing.cpu, failing.memory) == ("256", "512")
    assert failing.tags == {"ecs-watch:actor": "mika"}
    (app,) = failing.containers
    assert (app.image, app.memory, app.command) == ("shop/checkout:v42", 512, ("serve",))
    assert (app.ports, app.health_check) == (("8080/tcp",), "CMD true, every 30 s, retries 3")
    assert (list(app.environment), list(app.secrets)) == (["PASSWORD", "VERSION"], ["KEY"])
    assert app.log_options["awslogs-group"] == "/ecs/checkout"


def test_variables_are_compared_by_fingerprints_that_say_nothing(ecs: Ecs) -> None:
    facts = facts_of(ecs)
    assert facts.failing is not None
    assert facts.serving is not None
    after, before = facts.failing.containers[0], facts.serving.containers[0]

    assert after.environment["PASSWORD"] == before.environment["PASSWORD"]
    assert after.environment["VERSION"] != before.environment["VERSION"]
    assert PLAIN not in repr(facts)


def test_fingerprints_of_two_processes_differ(ecs: Ecs, clients: Clients) -> None:
    another = Ecs(ecs.client, clients, EVERYTHING)
    one, two = (facts_of(door).failing for door in (ecs, another))

    assert one is not None
    assert two is not None
    assert one.containers[0].environment != two.containers[0].environment


def test_an_answer_that_cannot_be_parsed_is_not_quoted_in_the_log(
    ecs: Ecs, caplog: pytest.LogCaptureFixture
) -> None:
    """botocore quotes it whole, values of variables and all."""

    class Garbled(Slow):
        def call(self, name: str, request: Mapping[str, Any]) -> Any:
            if name == "describe_task_definition":
                raise ResponseParserError(f"invalid JSON received: {PLAIN}")
            return super().call(name, request)

    door, _ = slow(ecs, {}, Garbled)
    with caplog.at_level(logging.DEBUG, "notifier"):
        facts = facts_of(door)

    why = "unavailable (ResponseParserError)"
    assert missing(facts) == [("task definitions", why, "ecs:DescribeTaskDefinition")]
    assert "a read broke" in caplog.text
    assert PLAIN not in caplog.text + repr(caplog.records[0].__dict__)


def test_options_of_other_log_drivers_are_shown_by_name_only(double: EcsDouble, ecs: Ecs) -> None:
    splunk = {"logDriver": "splunk", "options": {"splunk-token": PLAIN}}
    double.patch({"taskDefinitions": [definition_row("checkout", 42, logConfiguration=splunk)]})
    facts = facts_of(ecs)

    assert facts.failing is not None
    assert facts.failing.containers[0].log_options == {"splunk-token": ""}


def test_task_definitions_are_read_only_if_they_may_be(double: EcsDouble, ecs: Ecs) -> None:
    ecs.may = May()
    facts = facts_of(ecs)

    assert (facts.failing, facts.serving, facts.missing) == (None, None, ())
    assert double.calls["DescribeTaskDefinition"] == 0


def test_a_task_definition_is_read_once_in_a_process(double: EcsDouble, ecs: Ecs) -> None:
    for _ in range(3):
        assert facts_of(ecs).failing is not None

    assert double.calls["DescribeTaskDefinition"] == 2


def test_a_process_does_not_keep_task_definitions_without_end(
    double: EcsDouble, ecs: Ecs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.ecs.REMEMBERED", 2)
    double.patch({"taskDefinitions": [definition_row("checkout", n) for n in (51, 52, 53)]})
    asked = [
        Asked(service=f"s{n}", failing_revision=revision_of("checkout", n)) for n in (51, 52, 53)
    ]
    ecs.facts(CLUSTER, asked, START)
    ecs.facts(CLUSTER, asked[1:], START)
    assert double.calls["DescribeTaskDefinition"] == 3

    ecs.facts(CLUSTER, asked[:1], START)
    assert double.calls["DescribeTaskDefinition"] == 4  # the oldest, once more


# --- logs ---------------------------------------------------------------------------------------


def test_the_last_lines_of_the_failed_container_are_read_where_it_logs_to(
    ecs: Ecs, clients: Clients
) -> None:
    logs = facts_of(ecs).logs

    assert logs is not None
    assert (logs.container, logs.group, logs.region) == ("app", "/ecs/checkout", "eu-central-1")
    assert logs.lines == tuple(f"line {number}" for number in range(10, 30))
    assert ("logs", "eu-central-1") in clients.asked


@pytest.mark.parametrize(
    ("which", "tag", "lines"),
    [
        (ReadLogs.OFF, "true", 0),
        (ReadLogs.TAGGED, "true", 20),
        (ReadLogs.TAGGED, "false", 0),
        (ReadLogs.TAGGED, None, 0),
        (ReadLogs.ALL, None, 20),
    ],
)
def test_logs_are_read_only_where_somebody_said_so(
    which: ReadLogs, tag: str | None, lines: int, double: EcsDouble, ecs: Ecs
) -> None:
    tags = [{"key": "ecs-watch:logs", "value": tag}] if tag else []
    double.patch({"services": [service_row("checkout", tags=tags)]})
    ecs.may = replace(EVERYTHING, logs=which)
    logs = facts_of(ecs).logs

    assert logs is not None  # its place is known all the same, for a link
    assert len(logs.lines) == lines
    assert double.calls["GetLogEvents"] == (1 if lines else 0)


@pytest.mark.parametrize(
    ("which", "tag", "calls"),
    [
        (ReadLogs.OFF, "true", []),
        (ReadLogs.TAGGED, "true", ["DescribeServices", "GetLogEvents"]),
        (ReadLogs.TAGGED, "false", ["DescribeServices"]),
        (ReadLogs.ALL, None, ["GetLogEvents"]),
    ],
)
def test_a_log_whose_place_was_kept_is_read_again_only_where_somebody_said_so(
    which: ReadLogs, tag: str | None, calls: list[str], double: EcsDouble, ecs: Ecs
) -> None:
    tags = [{"key": "ecs-watch:logs", "value": tag}] if tag else []
    double.patch({"services": [service_row("checkout", tags=tags)]})
    first = facts_of(ecs).logs
    assert first is not None
    ecs.may = replace(EVERYTHING, logs=which)
    double.calls.clear()
    place = place_of(first.group, first.stream, first.region)
    again = ecs.log_lines(CLUSTER, "checkout", place, ecs.begin())

    assert again == (first if "GetLogEvents" in calls else None)
    assert list(double.calls.elements()) == calls


def test_why_a_log_cannot_be_read_again_is_said_in_a_word(double: EcsDouble, ecs: Ecs) -> None:
    double.fail("GetLogEvents", THROTTLED)
    with pytest.raises(ReadFailed, match="throttled"):
        ecs.log_lines(CLUSTER, "checkout", place_of("/ecs", "a/app/1", "eu-west-1"), ecs.begin())


def test_a_line_of_a_megabyte_is_cut(double: EcsDouble, ecs: Ecs) -> None:
    row = log_row("checkout", task_row("checkout", 2), ["x" * 1_000_000])
    double.patch({"logStreams": [row]})
    logs = facts_of(ecs).logs

    assert logs is not None
    assert [len(line) for line in logs.lines] == [LONGEST_LINE]


def awslogs(**options: str) -> Json:
    named = {f"awslogs-{name.replace('_', '-')}": value for name, value in options.items()}
    return {"logDriver": "awslogs", "options": named}


@pytest.mark.parametrize(
    ("configured", "why"),
    [
        ({"logDriver": "awsfirelens", "options": {}}, "app logs to awsfirelens"),
        ({}, "app logs to its host"),
        (
            awslogs(group="g", region="eu-west-1"),
            "the awslogs configuration of app has no stream prefix",
        ),
        (awslogs(stream_prefix="p"), "the awslogs configuration of app is incomplete"),
        (
            awslogs(group="g", stream_prefix="p", region="evil.example/"),
            "the awslogs configuration of app is incomplete",
        ),
    ],
)
def test_why_there_are_no_log_lines_is_said(
    configured: Json, why: str, double: EcsDouble, ecs: Ecs
) -> None:
    row = definition_row("checkout", 42, logConfiguration=configured)
    double.patch({"taskDefinitions": [row]})
    facts = facts_of(ecs)

    assert (facts.logs, missing(facts)) == (None, [("log lines", why, "")])


def test_logs_need_the_task_definition_to_be_found(ecs: Ecs) -> None:
    ecs.may = May(logs=ReadLogs.ALL)

    assert missing(facts_of(ecs)) == [("log lines", "task definitions may not be read", "")]


def test_a_container_that_never_ran_has_no_log_to_read(double: EcsDouble, ecs: Ecs) -> None:
    ended = [
        {"name": "app", "reason": "CannotPullContainerError"},
        {"name": "beside", "exitCode": 1},
    ]
    double.patch({"tasks": [task_row("checkout", n, containers=ended) for n in range(3)]})
    facts = facts_of(ecs)

    assert (facts.logs, facts.missing) == (None, ())


def test_a_task_that_was_only_moved_has_nothing_to_tell(double: EcsDouble, ecs: Ecs) -> None:
    moved = {"stopCode": "SpotInterruption", "stoppedReason": "Your Spot Task was interrupted."}
    ended = [{"name": "app", "exitCode": 143}]
    rows = [task_row("checkout", n, containers=ended, **moved) for n in (1, 2)]
    double.patch({"tasks": rows})
    died = task_row("checkout", 0)
    double.patch({"logStreams": [log_row("checkout", died, ["of the one that died"])]})
    logs = facts_of(ecs).logs

    assert logs is not None
    assert logs.lines == ("of the one that died",)


def test_a_program_that_ends_at_once_may_say_why_in_its_log(double: EcsDouble, ecs: Ecs) -> None:
    ended = [{"name": "app", "exitCode": 0}]
    double.patch({"tasks": [task_row("checkout", n, containers=ended) for n in range(3)]})
    logs = facts_of(ecs).logs

    assert logs is not None
    assert len(logs.lines) == 20


def test_a_side_car_that_fails_is_not_what_is_read(double: EcsDouble, ecs: Ecs) -> None:
    double.patch({"taskDefinitions": [definition_row("checkout", 42, essential=False)]})

    assert facts_of(ecs).logs is None


# --- how often ----------------------------------------------------------------------------------


def test_an_outage_of_twelve_services_is_read_in_batches(double: EcsDouble, ecs: Ecs) -> None:
    """54 calls for 12 services the first time; 30 when the task definitions are known."""
    names = [f"service-{number:02d}" for number in range(12)]
    for name in names:
        show(double, name)
    ecs.may = replace(EVERYTHING, logs=ReadLogs.OFF)
    asked = [Asked(service=name, deployment_id=FAILING) for name in names]
    read = ecs.facts(CLUSTER, asked, START)

    assert all(facts.missing == () for _, facts in read.values())
    assert all(facts.service_deployment and facts.failing_images for _, facts in read.values())
    assert double.calls == Counter(
        DescribeServices=2,
        ListTasks=12,
        ListServiceDeployments=12,
        DescribeTasks=1,
        DescribeServiceDeployments=1,
        DescribeServiceRevisions=2,
        DescribeTaskDefinition=24,
    )
    ecs.facts(CLUSTER, asked, START)
    assert sum(double.calls.values()) == 54 + 30


def test_a_single_service_costs_nine_calls(double: EcsDouble, ecs: Ecs) -> None:
    facts_of(ecs)

    assert sum(double.calls.values()) == 9


def test_nothing_is_asked_for_twice(double: EcsDouble, ecs: Ecs) -> None:
    facts_of(ecs)

    asked = [json.dumps([operation, request]) for operation, request in double.requests]
    assert len(set(asked)) == len(asked)
    revisions = [
        one for _, request in double.requests for one in request.get("serviceRevisionArns", [])
    ]
    assert len(set(revisions)) == len(revisions) == 2


def test_the_first_hundred_stopped_tasks_are_looked_through(double: EcsDouble, ecs: Ecs) -> None:
    double.world.clear()
    double.patch({"clusters": [{"clusterArn": CLUSTER, "status": "ACTIVE"}]})
    double.patch({"services": [service_row("checkout")]})
    double.patch({"tasks": [task_row("checkout", n, SERVING) for n in range(101)]})
    ecs.may = May()

    why = "none among the first 100 that ECS lists"
    assert missing(facts_of(ecs)) == [("stopped tasks", why, "")]


# --- what goes wrong ----------------------------------------------------------------------------

READS = {
    "DescribeServices": ("the service", "ecs:DescribeServices"),
    "ListTasks": ("stopped tasks", "ecs:ListTasks"),
    "DescribeTasks": ("stopped tasks", "ecs:DescribeTasks"),
    "ListServiceDeployments": ("circuit breaker and alarms", "ecs:ListServiceDeployments"),
    "DescribeServiceDeployments": ("circuit breaker and alarms", "ecs:DescribeServiceDeployments"),
    "DescribeServiceRevisions": ("image digests", "ecs:DescribeServiceRevisions"),
    "DescribeTaskDefinition": ("task definitions", "ecs:DescribeTaskDefinition"),
    "GetLogEvents": ("log lines", "logs:GetLogEvents"),
}


@pytest.mark.parametrize("operation", READS)
@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (ACCESS_DENIED, "no permission"),
        (THROTTLED, "throttled"),
        (SERVER_ERROR, "unavailable (ServerException)"),
        (Fault(code="ClusterNotFoundException"), "gone"),
    ],
)
def test_a_read_that_fails_is_missing_and_spoils_no_other(
    operation: str, fault: Fault, why: str, double: EcsDouble, ecs: Ecs
) -> None:
    double.fail(operation, fault)
    if operation == "DescribeServices":
        ecs.may = replace(EVERYTHING, logs=ReadLogs.OFF)  # whose tags nobody knows
    reading, facts = ecs.facts(CLUSTER, [KNOWN], START)["checkout"]

    what, action = READS[operation]
    assert missing(facts) == [(what, why, action)]
    assert (reading is None) == (operation == "DescribeServices")
    assert_all_but(operation, facts)


def assert_all_but(operation: str, facts: Facts) -> None:
    """All that this operation is not needed for has been read."""
    assert bool(facts.stopped_tasks) == (operation not in ("ListTasks", "DescribeTasks"))
    assert (facts.service_deployment is None) == (
        operation
        in ("ListServiceDeployments", "DescribeServiceDeployments", "DescribeServiceRevisions")
    )
    assert (facts.failing is None) == (operation == "DescribeTaskDefinition")
    assert facts.failing_revision == revision_of("checkout", 42)
    assert facts.serving_revision == revision_of("checkout", 41)


@pytest.mark.parametrize("operation", READS)
def test_no_answer_of_any_read_stops_it(
    operation: str, double: EcsDouble, ecs: Ecs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody foresaw: an answer that is not the JSON it should be."""
    odd = {"services": [7], "tasks": "x", "taskArns": [None], "events": 3, "taskDefinition": []}
    answer_with(monkeypatch, double, operation, odd)
    facts = facts_of(ecs, KNOWN)

    assert facts.failing_revision == revision_of("checkout", 42)
    assert facts.messages == ()


def answer_with(
    monkeypatch: pytest.MonkeyPatch, double: EcsDouble, operation: str, answer: Json
) -> None:
    def answered(name: str, request: Json) -> Json:
        return answer if name == operation else EcsDouble.answer(double, name, request)

    monkeypatch.setattr(double, "answer", answered)


def test_a_cluster_that_is_gone_is_said_once(ecs: Ecs) -> None:
    reading, facts = ecs.facts(CLUSTER.replace("prod-web", "gone"), [CHECKOUT], START)["checkout"]

    assert reading is None
    assert missing(facts) == [("the service", "gone", "ecs:DescribeServices")]


def test_a_service_that_is_gone_is_said_once(ecs: Ecs) -> None:
    reading, facts = ecs.facts(CLUSTER, [Asked(service="gone")], START)["gone"]

    assert reading is not None
    assert reading.status == "MISSING"
    assert missing(facts) == [("the service", "gone", "")]


def test_tasks_that_went_between_two_reads_are_said_to_be_gone(
    double: EcsDouble, ecs: Ecs, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(monkeypatch, double, "DescribeTasks", {"tasks": [], "failures": []})

    assert missing(facts_of(ecs)) == [("stopped tasks", "gone", "")]


def test_a_task_definition_that_was_deleted_is_gone(double: EcsDouble, ecs: Ecs) -> None:
    double.fail("DescribeTaskDefinition", Fault(code="ClientException"))

    assert missing(facts_of(ecs)) == [("task definitions", "gone", "ecs:DescribeTaskDefinition")]


def test_other_controllers_have_no_service_deployments_and_nothing_is_missing(
    double: EcsDouble, ecs: Ecs
) -> None:
    controller = {"type": "CODE_DEPLOY"}
    double.patch({"services": [service_row("checkout", deploymentController=controller)]})
    facts = facts_of(ecs)

    assert (facts.service_deployment, facts.missing) == (None, ())
    assert facts.failing_images == {"app": "sha256:42"}  # as its tasks had it


def test_a_batch_that_fails_is_missing_for_all_whose_tasks_were_in_it(
    double: EcsDouble, ecs: Ecs
) -> None:
    show(double, "search")
    double.fail("DescribeTasks", ACCESS_DENIED)
    search = Asked(service="search", deployment_id=FAILING)
    read = ecs.facts(CLUSTER, [CHECKOUT, search], START)

    assert [missing(facts)[0][0] for _, facts in read.values()] == ["stopped tasks"] * 2


class Forgetful:
    """A client of an ECS that no longer knows some of the tasks that it listed."""

    def __init__(self, client: Any, *forgotten: str) -> None:
        self.client = client
        self.forgotten = forgotten

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def describe_tasks(self, **asked: Any) -> Any:
        answer = self.client.describe_tasks(**asked)
        known = [task for task in answer["tasks"] if task["taskArn"] not in self.forgotten]
        return answer | {"tasks": known}


def show_two_batches(double: EcsDouble) -> tuple[str, str]:
    """Let 99 tasks of one service and two of another have stopped: the ARNs of the latter."""
    double.clear()
    double.patch({"clusters": [{"clusterArn": CLUSTER, "status": "ACTIVE"}]})
    double.patch({"services": [service_row("checkout"), service_row("search")]})
    double.patch({"tasks": [task_row("checkout", n) for n in range(99)]})
    two = [task_row("search", n) for n in range(2)]
    double.patch({"tasks": two})
    return two[0]["taskArn"], two[1]["taskArn"]


@pytest.mark.parametrize("gone", [0, 1])
def test_tasks_that_two_calls_were_needed_for_are_not_gone_when_one_of_them_is(
    gone: int, double: EcsDouble, ecs: Ecs
) -> None:
    """The first is the hundredth of the first call, the second has a call of its own."""
    client: Any = Forgetful(ecs.client(), show_two_batches(double)[gone])
    ecs.client, ecs.may = (lambda: client), May()
    search = Asked(service="search", deployment_id=FAILING)
    facts = ecs.facts(CLUSTER, [CHECKOUT, search], START)["search"][1]

    assert double.calls["DescribeTasks"] == 2
    assert (len(facts.stopped_tasks), missing(facts)) == (1, [])


def test_tasks_are_not_said_to_be_gone_that_could_not_be_read(double: EcsDouble, ecs: Ecs) -> None:
    """One call answers that it knows no such task, the other one is refused."""
    client: Any = Forgetful(ecs.client(), show_two_batches(double)[0])
    ecs.client, ecs.may, ecs.at_once = (lambda: client), May(), in_turn

    def describe_tasks(**asked: Any) -> Any:
        if len(asked["tasks"]) == 1:
            double.fail("DescribeTasks", THROTTLED)
        return Forgetful.describe_tasks(client, **asked)

    client.describe_tasks = describe_tasks
    search = Asked(service="search", deployment_id=FAILING)
    facts = ecs.facts(CLUSTER, [CHECKOUT, search], START)["search"][1]

    assert missing(facts) == [("stopped tasks", "throttled", "ecs:DescribeTasks")]


class Slow:
    """A client that takes its time, and a clock that shows it: seconds by the method's name."""

    def __init__(self, client: Any, takes: Mapping[str, float]) -> None:
        self.client = client
        self.takes = takes
        self.now = 0.0
        self.calls: list[str] = []

    def monotonic(self) -> float:
        return self.now

    def call(self, name: str, request: Mapping[str, Any]) -> Any:
        self.calls.append(name)
        self.now += self.takes.get(name, self.takes.get("", 0))
        return getattr(self.client, name)(**request)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda **request: self.call(name, request)

    def at_once(self, reads: Sequence[Callable[[], Any]], seconds: float) -> Sequence[Any]:
        """All begin now and end when the slowest does; nobody waits any longer than told."""
        began, ends, outcomes = self.now, [self.now], []
        for read in reads:
            self.now = began
            (outcome,) = in_turn([read], seconds)
            ends.append(self.now)
            outcomes.append(outcome if self.now - began <= seconds else TimeoutError())
        self.now = min(max(ends), began + seconds)
        return outcomes


def slow(
    ecs: Ecs, takes: Mapping[str, float], kind: Callable[..., Slow] = Slow
) -> tuple[Ecs, Slow]:
    clock = kind(ecs.client(), takes)
    client: Any = clock
    may = May(task_definitions=True)
    return Ecs(lambda: client, ecs.other, may, clock.at_once, clock.monotonic), clock


@pytest.mark.parametrize("takes", [30, 3, 2.4, 0.1])
def test_it_is_over_within_five_seconds_however_slow_ecs_is(takes: float, ecs: Ecs) -> None:
    door, clock = slow(ecs, {"": takes})
    facts = facts_of(door)

    assert clock.now <= 5
    assert {one.why for one in facts.missing} == ({"too slow"} if takes > 2.5 else set())


@pytest.mark.parametrize("operation", [one for one in READS if one != "GetLogEvents"])
def test_one_slow_read_leaves_time_for_the_others(operation: str, ecs: Ecs) -> None:
    method = "".join(f"_{c.lower()}" if c.isupper() else c for c in operation).lstrip("_")
    door, clock = slow(ecs, {method: 30, "": 0.1})
    facts = facts_of(door, KNOWN)

    what, action = READS[operation]
    assert clock.now <= 5
    assert missing(facts) == [(what, "too slow", action)]
    assert_all_but(operation, facts)


def test_what_there_is_no_time_for_is_not_asked_any_more(double: EcsDouble, ecs: Ecs) -> None:
    """The revision that served is known only after two rounds that took all the time."""
    failing = service_row("checkout")["deployments"][:1]
    double.patch({"services": [service_row("checkout", deployments=failing)]})
    door, clock = slow(ecs, {"": 2.5})
    facts = facts_of(door)

    assert clock.now == 5
    assert missing(facts) == [("task definitions", "too slow", "ecs:DescribeTaskDefinition")]
    assert clock.calls.count("describe_task_definition") == 1


@pytest.mark.parametrize("takes", [{"": 30.0}, {"": 30.0, "describe_services": 0.1}])
def test_all_that_is_read_before_a_message_has_five_seconds_together(
    takes: Mapping[str, float], ecs: Ecs
) -> None:
    door, clock = slow(ecs, takes)
    door.may = replace(door.may, callers=True)
    door.other = lambda _service, _region: door.client()
    budget = door.begin()
    facts = door.facts(CLUSTER, [KNOWN], START, budget)["checkout"][1]
    callers = door.callers(CLUSTER, [replace(KNOWN, began_at=START)], START, budget)
    with pytest.raises(ReadFailed, match="too slow"):
        door.services(CLUSTER, ["search"], START, budget)
    assert door.account_alias(budget) == ""

    assert clock.now == 5
    assert {one.why for one in (*facts.missing, *callers.missing)} == {"too slow"}


def test_a_service_is_not_waited_for_longer_than_a_round(ecs: Ecs) -> None:
    door, clock = slow(ecs, {"": 30})
    with pytest.raises(ReadFailed, match="too slow"):
        door.services(CLUSTER, ["search"], START, door.begin())

    assert clock.now == 2.5


@pytest.mark.parametrize(("takes", "asked_again"), [(30.0, False), (0.1, True)])
def test_ecs_that_was_silent_is_not_asked_for_a_minute(
    takes: float, asked_again: bool, ecs: Ecs
) -> None:
    door, clock = slow(ecs, {"": takes})
    facts_of(door)
    calls = len(clock.calls)
    clock.now = 60
    facts_of(door)
    assert (len(clock.calls) > calls) is asked_again

    clock.now = 66
    clock.takes = {}
    assert facts_of(door).missing == ()


def test_ecs_that_refuses_is_not_silent(double: EcsDouble, ecs: Ecs) -> None:
    for operation in ("DescribeServices", "ListTasks", "ListServiceDeployments"):
        double.fail(operation, ACCESS_DENIED)
    budget = ecs.begin()
    ecs.facts(CLUSTER, [CHECKOUT], START, budget)

    assert not budget.ecs_is_silent


def test_a_read_that_hangs_is_left_behind() -> None:
    never = threading.Event()
    ended = []

    def hang() -> None:
        never.wait(20)
        ended.append("after all")

    outcomes = in_threads([hang, lambda: 1], 0.3)
    was_left = not ended
    never.set()

    assert isinstance(outcomes[0], TimeoutError)
    assert (outcomes[1], was_left) == (1, True)


def test_what_breaks_in_a_thread_is_an_outcome() -> None:
    (outcome,) = in_threads([lambda: 1 // 0], 60)

    assert isinstance(outcome, ZeroDivisionError)


# --- who called ---------------------------------------------------------------------------------


def call_row(number: int, operation: str, minutes: float, **request: Any) -> Json:
    record = {
        "eventVersion": "1.11",
        "eventName": operation,
        "eventSource": "ecs.amazonaws.com",
        "eventID": str(number),
        "requestParameters": request,
    }
    return {
        "EventId": str(number),
        "EventName": operation,
        "EventTime": ago(minutes),
        "CloudTrailEvent": json.dumps(record),
    }


BEGAN = replace(CHECKOUT, began_at=START - timedelta(minutes=10))


def test_the_calls_that_began_the_deployments_are_looked_up_for_all_at_once(
    double: EcsDouble, ecs: Ecs
) -> None:
    rows = [
        call_row(1, "UpdateService", 10, cluster="prod-web", service="checkout"),
        call_row(2, "UpdateService", 10.1, cluster=CLUSTER, service=arn("service", "c", "search")),
        call_row(3, "UpdateService", 10, cluster="elsewhere", service="checkout"),
        call_row(4, "UpdateService", 10, service="checkout"),  # in the cluster `default`
        call_row(5, "UpdateService", 60, cluster="prod-web", service="checkout"),  # long before
        call_row(6, "DeleteService", 10, cluster="prod-web", service="checkout"),
        call_row(7, "UpdateService", 10, cluster="prod-web", service="of nobody"),
    ]
    double.patch({"cloudTrailEvents": rows})
    asked = [BEGAN, replace(BEGAN, service="search")]
    found = ecs.callers(CLUSTER, asked, START)

    shown = {name: [one["eventID"] for one in rows] for name, rows in found.records.items()}
    assert shown == {"checkout": ["1"], "search": ["2"]}
    assert (found.missing, double.calls["LookupEvents"]) == ((), 1)


def test_a_new_service_was_created_and_not_updated(double: EcsDouble, ecs: Ecs) -> None:
    row = call_row(1, "CreateService", 10, cluster="prod-web", serviceName="checkout")
    double.patch({"cloudTrailEvents": [row]})
    found = ecs.callers(CLUSTER, [BEGAN], START)

    assert [one["eventName"] for one in found.records["checkout"]] == ["CreateService"]
    assert double.calls["LookupEvents"] == 2


def test_a_look_up_that_fails_is_missing(double: EcsDouble, ecs: Ecs) -> None:
    double.fail("LookupEvents", ACCESS_DENIED)
    found = ecs.callers(CLUSTER, [BEGAN], START)

    (one,) = found.missing
    assert (one.what, one.why) == ("who deployed", "no permission")
    assert one.action == "cloudtrail:LookupEvents"
    assert double.calls["LookupEvents"] == 1  # twice a second is all that an account has


def test_a_record_that_is_no_json_names_nobody(double: EcsDouble, ecs: Ecs) -> None:
    row = call_row(1, "UpdateService", 10) | {"CloudTrailEvent": "{"}
    double.patch({"cloudTrailEvents": [row]})

    assert ecs.callers(CLUSTER, [BEGAN], START).records == {"checkout": []}


def test_nobody_is_looked_up_who_may_not_be_or_at_no_known_time(
    double: EcsDouble, ecs: Ecs
) -> None:
    ecs.callers(CLUSTER, [CHECKOUT], START)
    ecs.may = May()
    ecs.callers(CLUSTER, [BEGAN], START)

    assert double.calls["LookupEvents"] == 0


# --- the account's own name ---------------------------------------------------------------------


class Iam:
    """IAM's ListAccountAliases."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.calls = 0

    def list_account_aliases(self) -> Any:
        self.calls += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "alias"),
    [
        ({"AccountAliases": ["shop-prod"]}, "shop-prod"),
        ({"AccountAliases": []}, ""),
        ({}, ""),
        (RuntimeError("anything"), ""),
    ],
)
def test_the_accounts_alias_is_asked_once_and_may_be_absent(
    answer: Any, alias: str, ecs: Ecs
) -> None:
    iam = Iam(answer)
    ecs.other = lambda _service, _region: iam

    assert [ecs.account_alias(ecs.begin()), ecs.account_alias(None)] == [alias, alias]
    assert iam.calls == 1


def test_without_any_other_client_there_is_no_alias_and_no_log(ecs: Ecs) -> None:
    alone = Ecs(ecs.client, may=EVERYTHING)

    assert alone.account_alias(alone.begin()) == ""
    assert [what for what, _, _ in missing(facts_of(alone))] == ["log lines"]


def test_times_that_are_no_times_are_absent() -> None:
    """Answers from a file are as somebody wrote them."""
    row = service_row("checkout", events=[{"createdAt": "never", "message": "unable to"}])
    row["deployments"][0] |= {"createdAt": 1e300}
    row["deployments"][1] |= {"createdAt": START.timestamp()}

    class File:
        def __getattr__(self, name: str) -> Callable[..., Any]:
            return lambda **_: {"services": [row]} if name == "describe_services" else {}

    file: Any = File()
    door = Ecs(lambda: file, at_once=in_turn)
    reading, facts = door.facts(CLUSTER, [CHECKOUT], START)["checkout"]

    assert reading is not None
    assert [one.created_at for one in reading.deployments] == [None, START.astimezone(UTC)]
    assert facts.last_deployment_at == START
