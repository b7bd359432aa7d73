"""Why a service fails, in one line: what ECS says, which task says it best, and what to try."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier import events
from notifier.diagnosis import circuit_breaker_line, diagnose, tasks_in_a_line, worst_task
from notifier.diagnosis.catalogue import (
    ALARM,
    CATALOGUE,
    EVENTS,
    EXIT_CODES,
    LOG_LINES,
    STOPPED_ON_PURPOSE,
    TAKEN_AWAY,
    rule_of,
)
from notifier.facts import (
    Confidence,
    Container,
    ContainerDefinition,
    Diagnosis,
    Facts,
    LogTail,
    ServiceDeployment,
    StoppedTask,
    TaskDefinition,
)
from notifier.model import NotOurs
from notifier.tasks import Stop, verdict_on_stopped

EXITED = "Essential container in task exited"
OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"
FAILED, IMPAIRED = "SERVICE_DEPLOYMENT_FAILED", "SERVICE_TASK_START_IMPAIRED"
PLACEMENT = "SERVICE_TASK_PLACEMENT_FAILURE"
BREAKER = "ECS deployment circuit breaker: tasks failed to start."
NOON = datetime(2026, 1, 9, 12, 0, tzinfo=UTC)
ORDERS_19 = "arn:aws:ecs:eu-west-1:123456789012:task-definition/orders:19"
ORDERS_18 = "arn:aws:ecs:eu-west-1:123456789012:task-definition/orders:18"
TARGET_GROUP = (
    "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/orders/6d0ecf831eec9f09"
)


def payload(name: str) -> Any:
    return json.loads(Path("events", name).read_text("utf-8"))


def as_stopped(task: Mapping[str, Any]) -> StoppedTask:
    """A task as DescribeTasks and task events spell it."""
    return StoppedTask(
        arn=task["taskArn"],
        task_definition=task["taskDefinitionArn"],
        stop_code=task.get("stopCode", ""),
        stopped_reason=task["stoppedReason"],
        containers=tuple(
            Container(
                name=one["name"],
                image=one.get("image", ""),
                exit_code=one.get("exitCode"),
                reason=one.get("reason", ""),
            )
            for one in task["containers"]
        ),
        started_at=as_time(task.get("startedAt")),
        stopped_at=as_time(task.get("stoppedAt")),
    )


def as_time(shown: object) -> datetime | None:
    """A time as events write it; recordings of the API have other shapes, which no test needs."""
    return datetime.fromisoformat(shown) if isinstance(shown, str) else None


def reading(*tasks: StoppedTask, **more: Any) -> Facts:
    return Facts(service="orders", read_at=NOON, stopped_tasks=tasks, **more)


def stopped(
    *containers: Container,
    reason: str = EXITED,
    code: str = "EssentialContainerExited",
    minute: int = 0,
    of: str = ORDERS_19,
) -> StoppedTask:
    return StoppedTask(
        arn=f"arn:aws:ecs:eu-west-1:123456789012:task/prod-web/{minute:032x}",
        task_definition=of,
        stop_code=code,
        stopped_reason=reason,
        started_at=NOON,
        stopped_at=NOON + timedelta(minutes=minute),
        containers=containers,
    )


def ended(code: int | None, reason: str = "", name: str = "app") -> Container:
    return Container(name=name, exit_code=code, reason=reason)


def definition(*containers: ContainerDefinition, arn: str = ORDERS_19, memory: str = "") -> Any:
    return TaskDefinition(arn=arn, memory=memory, containers=containers)


def of_tasks(*tasks: StoppedTask, **more: Any) -> Diagnosis:
    return diagnose(reading(*tasks, **more), event="", reason="")


def page_of(diagnosis: Diagnosis) -> str:
    start, _, end = diagnosis.page.rpartition("/")
    assert start == "https://docs.aws.amazon.com/AmazonECS/latest/developerguide"
    assert end.endswith(".html")
    return end.removesuffix(".html")


# --- the catalogue ------------------------------------------------------------------------------

CANNOT_PULL, INITIALISATION = "task_cannot_pull_image", "resource-initialization-error"
NOT_STARTED, API = "failed-to-start-error", "api_failures_messages"
ROLE, ROUTE = "task_execution_IAM_role", "verify-connectivity"
MESSAGES, LOAD_BALANCER = "service-event-messages-list", "troubleshoot-service-load-balancers"
STOPPED = "stopped-task-errors"
OF_RELEASE, NOT_OF_RELEASE = True, False
CERTAIN, LIKELY = Confidence.CERTAIN, Confidence.LIKELY

# Each task of the answer is one row: its cause, AWS's page, how sure it is, and is it the release.
STOPS = [
    (
        "scaled-in",
        "ECS stopped it to scale in or to replace it, which is no failure",
        STOPPED,
        CERTAIN,
        NOT_OF_RELEASE,
    ),
    ("stopped-by-user", "somebody stopped the task (StopTask)", STOPPED, CERTAIN, NOT_OF_RELEASE),
    ("spot", "AWS took back Spot capacity", "spot-interruption-errors", CERTAIN, NOT_OF_RELEASE),
    (
        "retired",
        "AWS retired the task for maintenance (Fargate task retirement)",
        "task-maintenance",
        CERTAIN,
        NOT_OF_RELEASE,
    ),
    (
        "host-terminated",
        "the EC2 instance under the task was stopped or terminated: i-0b6004d0d4fe9f512",
        "container-instance-draining",
        CERTAIN,
        NOT_OF_RELEASE,
    ),
    (
        "platform",
        "the image is not built for the platform of the task: linux/amd64",
        "ecs-arm64",
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "exec-format",
        "the image is built for another CPU architecture: container app",
        "ecs-arm64",
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "pull-rate",
        "the registry's pull rate limit is reached: shop/orders:v1.8.3",
        CANNOT_PULL,
        CERTAIN,
        NOT_OF_RELEASE,
    ),
    (
        "pull-disk",
        "no disk space left to pull the image: shop/orders:v1.8.3",
        CANNOT_PULL,
        CERTAIN,
        NOT_OF_RELEASE,
    ),
    (
        "pull-login",
        "the image does not exist, or its registry asks for a login: shop/orders",
        CANNOT_PULL,
        CERTAIN,
        OF_RELEASE,
    ),
    ("image-not-found", "image not found: shop/orders:v1.8.3", CANNOT_PULL, CERTAIN, OF_RELEASE),
    ("image-name", "the image's name is malformed", CANNOT_PULL, CERTAIN, OF_RELEASE),
    (
        "ecr-denied",
        "the role may not log in to Amazon ECR: role shop-execution",
        ROLE,
        CERTAIN,
        OF_RELEASE,
    ),
    ("ecr-no-route", "no network connection to Amazon ECR", ROUTE, CERTAIN, OF_RELEASE),
    (
        "pull-denied",
        "no permission to pull the image: shop/orders:v1.8.3",
        CANNOT_PULL,
        LIKELY,
        OF_RELEASE,
    ),
    (
        "pull-s3",
        "the image's layers in Amazon S3 are out of reach: shop/orders:v1.8.3",
        CANNOT_PULL,
        LIKELY,
        OF_RELEASE,
    ),
    (
        "pull-no-route",
        "no network connection to the image registry: shop/orders:v1.8.3",
        ROUTE,
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "pull-copy",
        "the image was found, but copying it failed: shop/orders:v1.8.3",
        CANNOT_PULL,
        LIKELY,
        OF_RELEASE,
    ),
    (
        "pull-resolve",
        "the image's tag or digest cannot be resolved: shop/orders:v1.8.3",
        CANNOT_PULL,
        LIKELY,
        OF_RELEASE,
    ),
    (
        "pull-other",
        "the image cannot be pulled: shop/orders:v1.8.3",
        CANNOT_PULL,
        CERTAIN,
        OF_RELEASE,
    ),
    ("out-of-memory", "out of memory: container app", "out-of-memory", CERTAIN, OF_RELEASE),
    (
        "no-command",
        "the container's command is not in the image: gunicorn",
        "task_definition_parameters",
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "command-not-allowed",
        "the container's command may not be executed: /entrypoint.sh",
        "task_definition_parameters",
        CERTAIN,
        OF_RELEASE,
    ),
    ("host-port", "the host port is already in use", MESSAGES, CERTAIN, NOT_OF_RELEASE),
    (
        "container-status",
        "the container could not be started, perhaps for lack of memory: container app",
        "cannot-start-container",
        LIKELY,
        OF_RELEASE,
    ),
    (
        "thin-pool",
        "the instance's storage for containers is full: container app",
        "CannotCreateContainerError",
        CERTAIN,
        NOT_OF_RELEASE,
    ),
    (
        "disk",
        "no disk space left for the container: container app",
        "fargate-task-storage",
        CERTAIN,
        NOT_OF_RELEASE,
    ),
    ("ended", "an essential container ended: container app", STOPPED, CERTAIN, OF_RELEASE),
    (
        "volume",
        "a volume of the task cannot be created",
        "cannot-create-volume",
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "kms-denied",
        "the task execution role may not decrypt the secret: prod/orders/db-Dh2dLk",
        ROLE,
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "secret-denied",
        "the task execution role may not read the secret: prod/orders/db-Dh2dLk",
        ROLE,
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "parameter-denied",
        "the task execution role may not read the parameter: /prod/orders/db",
        ROLE,
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "json-key",
        "the secret lacks a key that the task definition asks for",
        INITIALISATION,
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "no-parameter",
        "the parameter does not exist in Parameter Store",
        INITIALISATION,
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "secret-deleted",
        "the secret is marked for deletion: prod/orders/db-Dh2dLk",
        "resource-not-found-error",
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "no-secret",
        "the secret does not exist: prod/orders/db-Dh2dLk",
        "resource-not-found-error",
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "secrets-no-route",
        "no network connection to where the secrets are",
        ROUTE,
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "secrets-other",
        "the task cannot get its secrets or its registry's login",
        INITIALISATION,
        LIKELY,
        OF_RELEASE,
    ),
    (
        "log-denied",
        "the task execution role may not write the log: /ecs/orders",
        ROLE,
        CERTAIN,
        OF_RELEASE,
    ),
    ("no-log-group", "the log group does not exist", INITIALISATION, CERTAIN, OF_RELEASE),
    ("log-no-route", "no network connection to CloudWatch Logs", ROUTE, CERTAIN, OF_RELEASE),
    (
        "log-other",
        "logging cannot be set up, perhaps for lack of the log group",
        INITIALISATION,
        LIKELY,
        OF_RELEASE,
    ),
    (
        "env-denied",
        "the task execution role may not read the environment file in Amazon S3",
        "use-environment-file",
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "no-env-file",
        "the environment file is not in Amazon S3",
        "use-environment-file",
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "env-no-route",
        "no network connection to Amazon S3 for the environment file",
        ROUTE,
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "env-other",
        "the environment file cannot be downloaded from Amazon S3",
        INITIALISATION,
        LIKELY,
        OF_RELEASE,
    ),
    ("efs-denied", "no permission to mount the EFS volume", INITIALISATION, CERTAIN, OF_RELEASE),
    (
        "efs-other",
        "the EFS volume cannot be mounted: fs-0123456789abcdef0",
        INITIALISATION,
        LIKELY,
        OF_RELEASE,
    ),
    (
        "no-address",
        "no free IP address in the subnet: subnet-0123456789abcdef0",
        NOT_STARTED,
        CERTAIN,
        NOT_OF_RELEASE,
    ),
    (
        "no-interface",
        "no network interface, perhaps for lack of IP addresses: subnet-0123456789abcdef0",
        NOT_STARTED,
        LIKELY,
        NOT_OF_RELEASE,
    ),
    (
        "interface-late",
        "the network interface was not ready in time",
        NOT_STARTED,
        CERTAIN,
        NOT_OF_RELEASE,
    ),
    (
        "device-index",
        "the network interface could not be attached to the instance",
        NOT_STARTED,
        CERTAIN,
        NOT_OF_RELEASE,
    ),
    (
        "compute",
        "the task definition does not fit the launch type or capacity provider",
        NOT_STARTED,
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "elb",
        "load balancer health checks fail: target group orders",
        LOAD_BALANCER,
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "health-check",
        "the container's own health check fails: container app",
        "healthcheck",
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "runtime-timeout",
        "the container did not start or stop in time: container app",
        "container-runtime-timeout-error",
        CERTAIN,
        NOT_OF_RELEASE,
    ),
    (
        "inspect",
        "the agent could not inspect the container: container app",
        "cannot-inspect-container",
        CERTAIN,
        NOT_OF_RELEASE,
    ),
    (
        "stop",
        "the container could not be stopped: container app",
        "cannot-stop-container",
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "runtime",
        "the container runtime failed: container app",
        "container-runtime-error",
        CERTAIN,
        NOT_OF_RELEASE,
    ),
    (
        "create",
        "the container cannot be created: container app",
        "stopped-task-error-codes",
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "start",
        "the container cannot be started: container app",
        "cannot-start-container",
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "internal",
        "an internal error of AWS, perhaps a late network interface",
        "internal-error",
        CERTAIN,
        NOT_OF_RELEASE,
    ),
    (
        "not-found",
        "something that the task definition names does not exist",
        "resource-not-found-error",
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "initialization",
        "what the task needs before it starts cannot be set up",
        INITIALISATION,
        CERTAIN,
        OF_RELEASE,
    ),
    ("nothing-said", "the task failed to start", NOT_STARTED, CERTAIN, OF_RELEASE),
    ("task-cpu", "no container instance has enough CPU left", API, CERTAIN, NOT_OF_RELEASE),
    ("task-memory", "no container instance has enough memory left", API, CERTAIN, NOT_OF_RELEASE),
    ("task-gpu", "no container instance has a GPU left", API, CERTAIN, NOT_OF_RELEASE),
    (
        "task-eni",
        "no container instance has a network interface left",
        API,
        CERTAIN,
        NOT_OF_RELEASE,
    ),
    ("task-ports", "no container instance has the host port free", API, CERTAIN, NOT_OF_RELEASE),
    (
        "task-agent",
        "the ECS agent of the container instance is disconnected",
        API,
        CERTAIN,
        NOT_OF_RELEASE,
    ),
    (
        "task-memberof",
        "no container instance meets the placement constraints",
        "task-placement-constraints",
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "task-attribute",
        "no container instance has an attribute that the task definition needs",
        API,
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "task-no-instances",
        "the capacity provider has no active instance",
        API,
        CERTAIN,
        NOT_OF_RELEASE,
    ),
    ("task-empty", "the capacity provider has no instance", API, CERTAIN, NOT_OF_RELEASE),
    (
        "exit-0",
        "container app exited with code 0: it ended by itself",
        STOPPED,
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "exit-1",
        "container app exited with code 1: the program failed",
        STOPPED,
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "exit-2",
        "container app exited with code 2: wrong arguments, or a panic of the program",
        STOPPED,
        LIKELY,
        OF_RELEASE,
    ),
    (
        "exit-126",
        "container app exited with code 126: its command cannot be executed",
        STOPPED,
        LIKELY,
        OF_RELEASE,
    ),
    (
        "exit-127",
        "container app exited with code 127: its command was not found",
        STOPPED,
        LIKELY,
        OF_RELEASE,
    ),
    (
        "exit-134",
        "container app exited with code 134: the program aborted (SIGABRT)",
        STOPPED,
        LIKELY,
        OF_RELEASE,
    ),
    (
        "exit-137",
        "container app exited with code 137: killed (SIGKILL), with no word of memory",
        STOPPED,
        LIKELY,
        OF_RELEASE,
    ),
    (
        "exit-139",
        "container app exited with code 139: memory access violation (SIGSEGV)",
        STOPPED,
        LIKELY,
        OF_RELEASE,
    ),
    (
        "exit-143",
        "container app exited with code 143: ended by SIGTERM",
        STOPPED,
        LIKELY,
        OF_RELEASE,
    ),
    (
        "exit-255",
        "container app exited with code 255: the program failed",
        STOPPED,
        LIKELY,
        OF_RELEASE,
    ),
    (
        "exit-42",
        "container app exited with code 42: a code of the program's own",
        STOPPED,
        LIKELY,
        OF_RELEASE,
    ),
    (
        "exit-3221225477",
        "container app exited with code 0xC0000005: memory access violation",
        STOPPED,
        LIKELY,
        OF_RELEASE,
    ),
    (
        "exit--1073741510",
        "container app exited with code 0xC000013A: ended by Ctrl+C or a shutdown",
        STOPPED,
        LIKELY,
        OF_RELEASE,
    ),
]
MESSAGES_OF_SERVICES = [
    (
        "codes-404",
        "load balancer health checks fail, their path is not found: HTTP 404",
        LOAD_BALANCER,
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "codes-302",
        "load balancer health checks fail, the path redirects or asks for a login: HTTP 302",
        LOAD_BALANCER,
        CERTAIN,
        OF_RELEASE,
    ),
    ("codes-502", "load balancer health checks fail: HTTP 502", LOAD_BALANCER, CERTAIN, OF_RELEASE),
    (
        "timed-out",
        "load balancer health checks time out: target group orders",
        LOAD_BALANCER,
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "zone",
        "the load balancer does not serve the task's Availability Zone: target group orders",
        LOAD_BALANCER,
        CERTAIN,
        OF_RELEASE,
    ),
    ("classic", "load balancer health checks fail", LOAD_BALANCER, CERTAIN, OF_RELEASE),
    (
        "no-target-group",
        "the target group of the service was deleted: target group orders",
        MESSAGES,
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "no-target",
        "the task is not registered in its target group: target group orders",
        MESSAGES,
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "capacity",
        "no capacity in this Availability Zone at this time",
        MESSAGES,
        CERTAIN,
        NOT_OF_RELEASE,
    ),
    ("vcpus", "the account's Fargate quota is reached", "service-quotas", CERTAIN, NOT_OF_RELEASE),
    (
        "above-limit",
        "the task asks for more than the account's quota allows",
        "service-quotas",
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "provisioning",
        "too many tasks of the cluster are provisioning at once",
        MESSAGES,
        CERTAIN,
        NOT_OF_RELEASE,
    ),
    ("no-instances", "there is no container instance", MESSAGES, CERTAIN, NOT_OF_RELEASE),
    ("cpu", "no container instance has enough CPU left", MESSAGES, CERTAIN, NOT_OF_RELEASE),
    ("memory", "no container instance has enough memory left", MESSAGES, CERTAIN, NOT_OF_RELEASE),
    ("port", "no container instance has the host port free", MESSAGES, CERTAIN, NOT_OF_RELEASE),
    (
        "agent",
        "the ECS agent of the container instance is disconnected",
        API,
        CERTAIN,
        NOT_OF_RELEASE,
    ),
    (
        "attribute",
        "no container instance has an attribute that the task definition needs",
        MESSAGES,
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "agent-start",
        "the ECS agent of the container instance did not start",
        MESSAGES,
        CERTAIN,
        NOT_OF_RELEASE,
    ),
    (
        "percent",
        "the deployment's limits let ECS neither start nor stop a task",
        MESSAGES,
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "protected",
        "protected tasks keep the deployment from going on",
        MESSAGES,
        CERTAIN,
        NOT_OF_RELEASE,
    ),
    ("throttled", "ECS throttles the service's operations", MESSAGES, CERTAIN, NOT_OF_RELEASE),
    (
        "internal-error",
        "ECS cannot place a task, perhaps for a subnet where Fargate is not supported",
        MESSAGES,
        LIKELY,
        OF_RELEASE,
    ),
    (
        "role",
        "ECS cannot assume the role of the task definition: role orders-task",
        "task-iam-roles",
        CERTAIN,
        OF_RELEASE,
    ),
    (
        "tags",
        "tags need the new ARN format, which is not enabled",
        "ecs-account-settings",
        CERTAIN,
        OF_RELEASE,
    ),
    ("iam", "ECS lacks permissions that it had for this service", MESSAGES, CERTAIN, OF_RELEASE),
    (
        "alarm-api",
        "a CloudWatch alarm stopped the deployment",
        "deployment-alarm-failure",
        CERTAIN,
        OF_RELEASE,
    ),
    ("alarm-service", "the deployment failed", "deployment-circuit-breaker", CERTAIN, OF_RELEASE),
    ("impaired", "tasks keep failing to start", "service-throttle-logic", CERTAIN, OF_RELEASE),
    ("placed-nowhere", "a task cannot be placed", MESSAGES, CERTAIN, OF_RELEASE),
    (
        "breaker",
        "the circuit breaker stopped the deployment, for its tasks kept failing",
        "deployment-circuit-breaker",
        CERTAIN,
        OF_RELEASE,
    ),
]
FAILURES = [
    ("RESOURCE:CPU", "no container instance has enough CPU left", NOT_OF_RELEASE),
    ("RESOURCE:FARGATE", "no Fargate capacity", NOT_OF_RELEASE),
    ("RESOURCE:PIDS", "the cluster lacks a resource that the task asks for", NOT_OF_RELEASE),
    ("AGENT", "the ECS agent of the container instance is disconnected", NOT_OF_RELEASE),
    (
        "LOCATION",
        "the container instance is in another Availability Zone than the service's subnets",
        OF_RELEASE,
    ),
    (
        "ATTRIBUTE",
        "no container instance has an attribute that the task definition needs",
        OF_RELEASE,
    ),
    ("MISSING", "ECS does not find what it was asked for", OF_RELEASE),
    ("INACTIVE", "the container instance is no longer registered", OF_RELEASE),
]
TASKS = {
    task["group"].removeprefix("service:"): as_stopped(task)
    for task in payload("answers/api-describe-tasks-stop-reasons-built.json")["tasks"]
}
TEXTS = {
    row["serviceName"]: row["events"][0]["message"]
    for row in payload("answers/api-describe-services-messages-built.json")["services"]
}
REASONS = [row["reason"] for row in payload("answers/api-run-task-failures-built.json")["failures"]]
FAILURE_NAMES = sorted(
    events.FAILURE_NAMES
    | events.HOOK_FAILURE_NAMES
    | events.DAEMON_FAILURE_NAMES
    | events.DAEMON_DEPLOYMENT_FAILURE_NAMES
    | events.CODE_DEPLOY_FAILURE_STATES
)
BENIGN = {"scaled-in", "stopped-by-user", "spot", "retired", "host-terminated"}


@pytest.mark.parametrize(("row", "cause", "page", "confidence", "is_of_release"), STOPS)
def test_a_stopped_task_tells_its_cause(
    row: str, cause: str, page: str, confidence: Confidence, is_of_release: bool
) -> None:
    found = of_tasks(TASKS[row])

    assert found.cause == cause
    assert page_of(found) == page
    assert (found.confidence, found.is_of_release) == (confidence, is_of_release)
    assert found.remedy.endswith(".")


@pytest.mark.parametrize("row", [row[0] for row in STOPS])
def test_the_evidence_is_what_ecs_wrote_of_the_task(row: str) -> None:
    task = TASKS[row]

    found = of_tasks(task).evidence

    assert found
    assert found in (task.stopped_reason, task.containers[0].reason)


@pytest.mark.parametrize(
    ("row", "cause", "page", "confidence", "is_of_release"), MESSAGES_OF_SERVICES
)
def test_a_message_of_the_service_tells_its_cause(
    row: str, cause: str, page: str, confidence: Confidence, is_of_release: bool
) -> None:
    found = diagnose(reading(messages=(TEXTS[row],)), event="", reason="")

    assert found.cause == cause
    assert page_of(found) == page
    assert (found.confidence, found.is_of_release) == (confidence, is_of_release)
    assert found.evidence == TEXTS[row]


@pytest.mark.parametrize(("reason", "cause", "is_of_release"), FAILURES)
def test_a_reason_in_capitals_tells_its_cause(reason: str, cause: str, is_of_release: bool) -> None:
    found = diagnose(None, event=PLACEMENT, reason=reason)

    assert reason in REASONS
    assert (found.cause, found.is_of_release, found.evidence) == (cause, is_of_release, reason)


def test_no_payload_goes_unused() -> None:
    assert {row[0] for row in STOPS} == set(TASKS)
    assert {row[0] for row in MESSAGES_OF_SERVICES} == set(TEXTS) - {"steady"}
    assert [row[0] for row in FAILURES] == REASONS


def test_every_row_of_the_catalogue_is_met_by_a_payload() -> None:
    said = [
        *("\n".join((task.containers[0].reason, task.stopped_reason)) for task in TASKS.values()),
        *TEXTS.values(),
        *REASONS,
    ]
    met = [rule_of(text) for text in said]

    assert [rule for rule in CATALOGUE if rule not in met] == []


@pytest.mark.parametrize("row", sorted(TASKS))
def test_what_has_a_cause_here_is_a_failure_to_whom_counts_the_deaths(row: str) -> None:
    verdict = verdict_on_stopped(TASKS[row])

    assert (verdict is Stop.BENIGN) == (row in BENIGN)
    assert (verdict is Stop.CLEAN_EXIT) == (row == "exit-0")


@pytest.mark.parametrize("name", FAILURE_NAMES)
def test_every_event_that_is_a_failure_has_words_of_its_own(name: str) -> None:
    found = diagnose(None, event=name, reason="")

    assert found.cause == EVENTS[name].cause
    assert found.confidence is CERTAIN
    assert found.evidence == ""
    assert page_of(found)


@pytest.mark.parametrize(
    ("file", "cause", "is_of_release"),
    [
        (
            "sa-placement-failure-resource-cpu-docs",
            "no container instance has enough CPU left",
            False,
        ),
        ("sa-placement-failure-resource-fargate-docs", "no Fargate capacity", False),
        (
            "sa-placement-failure-capacity-provider-empty-built",
            "the capacity provider has no instance",
            False,
        ),
        (
            "sa-task-configuration-failure-built",
            "ECS cannot assume the role of the task definition: role servicetest-task",
            True,
        ),
        ("dep-failed-alarm-built", "a CloudWatch alarm stopped the deployment", True),
        (
            "dep-failed-circuit-breaker-docs",
            "the circuit breaker stopped the deployment, for its tasks kept failing",
            True,
        ),
        ("sa-task-start-impaired-docs", "tasks keep failing to start", True),
    ],
)
def test_an_event_alone_tells_what_it_can(file: str, cause: str, is_of_release: bool) -> None:
    event = events.parse(Path("events", f"{file}.json").read_bytes())
    assert not isinstance(event, NotOurs)

    found = diagnose(None, event=event.name, reason=event.reason)

    assert (found.cause, found.is_of_release) == (cause, is_of_release)
    assert found.evidence == event.reason


# --- recorded tasks -----------------------------------------------------------------------------


def test_out_of_memory_stands_in_a_containers_reason_beside_an_exit_with_zero() -> None:
    answer = payload("answers/api-bugcrowd-container-failed-deployment.json")
    tasks = [as_stopped(one) for one in answer["tasks"] if one["lastStatus"] == "STOPPED"]

    found = of_tasks(*tasks)

    assert found.cause == "out of memory: container app"
    assert found.evidence == OUT_OF_MEMORY


def test_the_recorded_out_of_memory_is_not_taken_for_a_mere_kill() -> None:
    shown = payload("answers/api-describe-tasks-fragment-oom-137.json")
    task = stopped(
        ended(shown["ExitCode"], shown["Reason"]),
        reason=shown["StoppedReason"],
        code=shown["StopCode"],
    )

    assert of_tasks(task).cause == "out of memory: container app"
    assert tasks_in_a_line(reading(task)) == "1 of 1 out of memory"


def test_the_recorded_denial_of_a_secret_names_the_secret() -> None:
    shown = payload("answers/api-describe-tasks-fragment-secrets-access-denied-newrelic.json")
    task = stopped(ended(None), reason=shown["stoppedReason"], code=shown["stopCode"])

    found = of_tasks(task)

    name = "NewRelicLicenseKeySecret-Dh2dLkgV8VyJ-80RAHS-fail"
    assert found.cause == f"the task execution role may not read the secret: {name}"
    assert found.evidence == shown["stoppedReason"]


@pytest.mark.parametrize(
    ("file", "cause"),
    [
        (
            "task-stopped-essential-exited-fivexl",
            "container app exited with code 2: wrong arguments, or a panic of the program",
        ),
        (
            "task-stopped-standalone-exit1-ec2-2019",
            "container sample_app-1_0_0 exited with code 1: the program failed",
        ),
        (
            "task-stopped-essential-exited-maas-2018",
            "container example-ecs-events exited with code 0: it ended by itself",
        ),
        (
            "task-stopped-scaling-activity-exit0-rtcw-2021",
            "ECS stopped it to scale in or to replace it, which is no failure",
        ),
        ("task-stopped-user-initiated-cwlogs-2020", "somebody stopped the task (StopTask)"),
    ],
)
def test_a_recorded_stop_tells_its_cause(file: str, cause: str) -> None:
    assert of_tasks(as_stopped(payload(f"{file}.json")["detail"])).cause == cause


def messages_in(answer: Any) -> Iterator[str]:
    if isinstance(answer, dict):
        yield from ([answer["message"]] if isinstance(answer.get("message"), str) else [])
        answer = list(answer.values())
    for one in answer if isinstance(answer, list) else ():
        yield from messages_in(one)


def test_of_all_recorded_messages_those_alone_have_a_cause_that_tell_of_one() -> None:
    files = (path for path in Path("events/answers").glob("*.json") if "built" not in path.stem)
    texts = {text for path in files for text in messages_in(json.loads(path.read_text("utf-8")))}

    known = {text: rule for text in texts if (rule := rule_of(text))}

    assert len(texts) > 50
    assert {rule.cause for rule in known.values()} == {
        "load balancer health checks fail",
        "there is no container instance",
        "no container instance has the host port free",
    }
    assert set(known) == {text for text in texts if "unhealthy" in text or "unable" in text}


# --- which container tells it -------------------------------------------------------------------

APP = ContainerDefinition(name="app", memory=512)
SIDE_CAR = ContainerDefinition(name="envoy", is_essential=False)


def test_the_container_that_failed_tells_it_and_not_those_that_ecs_stopped_with_it() -> None:
    task = stopped(ended(137, name="envoy"), ended(1), ended(143, name="log"))

    assert of_tasks(task).cause == "container app exited with code 1: the program failed"


def test_a_side_car_that_fails_is_no_cause() -> None:
    task = stopped(ended(1, name="envoy"), ended(0))
    facts = reading(task, failing=definition(APP, SIDE_CAR))

    found = diagnose(facts, event="", reason="")

    assert found.cause == "container app exited with code 0: it ended by itself"


def test_what_guardduty_puts_into_a_task_is_no_cause() -> None:
    agent = ended(1, "CannotPullContainerError: denied", name="aws-guardduty-agent-0123456789")

    assert of_tasks(stopped(agent, ended(139))).cause.startswith("container app exited with")


def test_a_side_cars_words_are_heard_where_nothing_else_says_why() -> None:
    side_car = ended(None, "CannotPullContainerError: manifest unknown", name="envoy")
    task = stopped(side_car, ended(None), reason="Task failed to start", code="TaskFailedToStart")
    facts = reading(task, failing=definition(APP, SIDE_CAR))

    assert diagnose(facts, event="", reason="").cause == "image not found"


@given(st.permutations([ended(137, name="a"), ended(137, name="b"), ended(0, name="c")]))
def test_the_order_of_containers_changes_nothing(containers: list[Container]) -> None:
    first = of_tasks(stopped(*containers))

    assert first == of_tasks(stopped(*reversed(containers)))


# --- out of memory ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "memory", "cause"),
    [
        (APP, "2048", "out of memory: container app, limit 512 MiB"),
        (
            replace(APP, memory=0),
            "2048",
            "out of memory: container app, limit of the task 2048 MiB",
        ),
        (replace(APP, memory=0, memory_reservation=256), "", "out of memory: container app"),
        (replace(APP, memory=0), "2 GB", "out of memory: container app"),
    ],
)
def test_out_of_memory_comes_with_its_limit(
    asked: ContainerDefinition, memory: str, cause: str
) -> None:
    task = stopped(ended(137, OUT_OF_MEMORY))

    assert of_tasks(task, failing=definition(asked, memory=memory)).cause == cause


BESIDE_A_FAILURE = stopped(ended(137, OUT_OF_MEMORY, name="envoy"), ended(1))


def test_out_of_memory_beside_a_container_that_failed_by_itself_may_be_a_side_cars() -> None:
    found = of_tasks(BESIDE_A_FAILURE)

    assert (found.cause, found.confidence) == ("out of memory: container envoy", LIKELY)
    both = definition(APP, ContainerDefinition(name="envoy"))
    assert of_tasks(BESIDE_A_FAILURE, failing=both).confidence is CERTAIN
    aside = of_tasks(BESIDE_A_FAILURE, failing=definition(APP, SIDE_CAR))
    assert aside.cause == "container app exited with code 1: the program failed"


@pytest.mark.parametrize(
    "other", [ended(0), ended(137), ended(143), ended(None), ended(1, name="aws-guardduty-agent-0")]
)
def test_out_of_memory_beside_what_ecs_stopped_with_it_is_certain(other: Container) -> None:
    task = stopped(ended(137, OUT_OF_MEMORY, name="envoy"), other)

    assert of_tasks(task).confidence is CERTAIN


def test_the_limit_of_another_revision_is_not_told() -> None:
    task = stopped(ended(137, OUT_OF_MEMORY), of=ORDERS_18)

    assert of_tasks(task, failing=definition(APP)).cause == "out of memory: container app"


def test_a_scale_in_is_no_failure_even_with_a_code_of_one() -> None:
    task = stopped(
        ended(1),
        reason="Scaling activity initiated by (deployment ecs-svc/1)",
        code="ServiceSchedulerInitiated",
    )

    found = of_tasks(task)

    assert not found.is_of_release
    assert "no failure" in found.cause


# --- exit codes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("code", sorted(EXIT_CODES))
def test_an_exit_code_is_told_by_its_meaning(code: int) -> None:
    found = of_tasks(stopped(ended(code)))

    assert found.cause.endswith(f": {EXIT_CODES[code].meaning}")
    assert found.evidence == EXITED


@pytest.mark.parametrize("code", [3221225477, -1073741819])
def test_a_code_of_windows_is_the_same_with_and_without_sign(code: int) -> None:
    task = stopped(ended(code))

    assert of_tasks(task).cause == (
        "container app exited with code 0xC0000005: memory access violation"
    )
    assert tasks_in_a_line(reading(task)) == "1 of 1 exited 0xC0000005"


@pytest.mark.parametrize(
    ("code", "meaning"), [(135, "ended by signal 7"), (42, "a code of the program's own")]
)
def test_a_code_that_is_not_listed_is_not_guessed_at(code: int, meaning: str) -> None:
    assert (
        of_tasks(stopped(ended(code))).cause == f"container app exited with code {code}: {meaning}"
    )


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (
            "exec /app/server: exec format error",
            "the image is built for another CPU architecture: container app",
        ),
        (
            "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
            "the program's heap is too small: container app",
        ),
        (
            "OSError: [Errno 28] No space left on device",
            "no disk space left for the container: container app",
        ),
    ],
)
def test_a_programs_last_words_say_more_than_its_exit_code(line: str, cause: str) -> None:
    tail = LogTail(container="app", group="g", stream="s", region="r", lines=("starting", line))

    found = of_tasks(stopped(ended(1)), logs=tail)

    assert found.cause == cause
    assert of_tasks(stopped(ended(1)), logs=replace(tail, container="envoy")).evidence == EXITED


def test_a_line_of_a_log_is_nowhere_in_what_is_kept() -> None:
    line = "exec format error of customer 4711"
    tail = LogTail(container="app", group="g", stream="s", region="r", lines=(line,))

    found = of_tasks(stopped(ended(1)), logs=tail)

    assert found.evidence == EXITED
    assert "4711" not in repr(found)


def test_every_kind_of_last_words_is_met() -> None:
    lines = ("exec format error", "No space left on device", "JavaScript heap out of memory")

    assert [rule.matches(line) for rule, line in zip(LOG_LINES, lines, strict=True)] == [True] * 3


# --- health checks ------------------------------------------------------------------------------


def unhealthy(reason: str) -> str:
    return (
        "(service orders) (task 66066f5cae104f0fae66c804d885fae7) (port 8080) is unhealthy in "
        f"(target-group {TARGET_GROUP}) due to (reason {reason})"
    )


FAILED_CHECKS = stopped(
    ended(143),
    reason=f"Task failed ELB health checks in (target-group {TARGET_GROUP})",
    code="ServiceSchedulerInitiated",
)


def test_the_codes_of_failed_health_checks_come_from_the_services_messages() -> None:
    messages = (
        "(service orders) has started 1 tasks: (task 66066f5cae104f0fae66c804d885fae7).",
        unhealthy("Health checks failed"),
        unhealthy("Health checks failed with these codes: [502]"),
        unhealthy("Health checks failed with these codes: [404]"),
    )

    found = of_tasks(FAILED_CHECKS, messages=messages)

    assert found.cause == "load balancer health checks fail: HTTP 502"
    assert found.evidence == messages[2]


def test_health_checks_that_time_out_are_told_apart() -> None:
    found = of_tasks(FAILED_CHECKS, messages=(unhealthy("Request timed out"),))

    assert found.cause == "load balancer health checks time out: target group orders"


def test_without_messages_the_target_group_is_named() -> None:
    found = of_tasks(FAILED_CHECKS)

    assert found.cause == "load balancer health checks fail: target group orders"
    assert found.evidence == FAILED_CHECKS.stopped_reason


# --- several that disagree ----------------------------------------------------------------------

KILLED = [stopped(ended(137, OUT_OF_MEMORY), minute=one) for one in range(3)]
CRASHED = [stopped(ended(1), minute=one) for one in range(10, 12)]


def test_the_commonest_cause_wins_and_the_others_are_named() -> None:
    found = of_tasks(*CRASHED, *KILLED)

    assert found.cause == (
        "out of memory: container app; "
        "also container app exited with code 1: the program failed (2 tasks)"
    )
    assert found.confidence is CERTAIN


def test_a_cause_of_no_majority_is_only_likely() -> None:
    other = [stopped(ended(139), minute=20)]

    assert of_tasks(*KILLED[:2], *CRASHED[:1], *other).confidence is LIKELY


def test_no_more_than_two_others_are_named() -> None:
    others = [stopped(ended(code), minute=code) for code in (1, 2, 3, 4)]

    cause = of_tasks(*KILLED, *others).cause

    assert cause.count("(1 task)") == 2
    assert cause.endswith(", 2 more")


@given(st.permutations([*KILLED, *CRASHED, FAILED_CHECKS]))
def test_the_order_of_tasks_changes_nothing(tasks: list[StoppedTask]) -> None:
    facts, sorted_facts = reading(*tasks), reading(*KILLED, *CRASHED, FAILED_CHECKS)

    assert diagnose(facts, event=FAILED, reason=BREAKER) == diagnose(
        sorted_facts, event=FAILED, reason=BREAKER
    )
    assert tasks_in_a_line(facts) == tasks_in_a_line(sorted_facts)
    assert worst_task(facts) == worst_task(sorted_facts) == KILLED[2]


def test_why_tasks_fail_is_told_rather_than_that_they_do() -> None:
    found = diagnose(reading(*KILLED), event=FAILED, reason=BREAKER)

    assert found.cause == "out of memory: container app"


def test_that_no_task_can_be_placed_is_told_before_why_others_ended() -> None:
    found = diagnose(reading(*CRASHED), event=PLACEMENT, reason="RESOURCE:FARGATE")

    assert found.cause == (
        "no Fargate capacity; also container app exited with code 1: the program failed (2 tasks)"
    )
    assert (found.confidence, found.is_of_release) == (CERTAIN, False)


def test_the_last_death_does_not_outweigh_the_others() -> None:
    found = diagnose(reading(*KILLED, *CRASHED[:1]), event="", reason=EXITED)

    assert found.cause.startswith("out of memory: container app; also")


def test_the_death_that_is_told_counts_where_its_task_is_gone() -> None:
    assert diagnose(reading(), event="", reason=OUT_OF_MEMORY).cause == "out of memory"


def test_capacity_that_aws_took_back_is_told_beside_a_failure_and_never_instead_of_it() -> None:
    spot = stopped(ended(143), reason="Your Spot Task was interrupted.", code="SpotInterruption")

    assert of_tasks(spot).cause == "AWS took back Spot capacity"
    assert not of_tasks(spot).is_of_release
    assert of_tasks(spot, *CRASHED).cause == (
        "container app exited with code 1: the program failed; "
        "also AWS took back Spot capacity (1 task)"
    )


def test_tasks_that_ecs_scaled_in_are_not_told_beside_a_failure() -> None:
    scaled_in = [replace(TASKS["scaled-in"], arn=f"{one}") for one in range(5)]

    assert of_tasks(*scaled_in, *CRASHED).cause == (
        "container app exited with code 1: the program failed"
    )


# --- alarms and circuit breaker -----------------------------------------------------------------


def deployment(**more: Any) -> ServiceDeployment:
    return ServiceDeployment(
        arn="arn:aws:ecs:eu-west-1:123456789012:service-deployment/a/b/c", **more
    )


def test_an_alarm_that_stopped_the_deployment_is_named() -> None:
    shown = deployment(
        alarms=("checkout-5xx",), status_reason="ECS deployment failed: alarm detected."
    )

    found = diagnose(reading(service_deployment=shown), event=FAILED, reason="")

    assert found.cause == "a CloudWatch alarm stopped the deployment: checkout-5xx"
    assert page_of(found) == ALARM.page
    assert found.evidence == "ECS deployment failed: alarm detected."


def test_an_alarm_is_told_before_the_tasks_that_died_with_it() -> None:
    shown = deployment(alarms=("checkout-5xx",))

    found = diagnose(
        reading(*CRASHED, service_deployment=shown), event=FAILED, reason="rolling back to X"
    )

    assert found.cause.startswith("a CloudWatch alarm stopped the deployment: checkout-5xx; also")


def test_a_service_that_is_called_alarm_raises_none() -> None:
    assert rule_of(TEXTS["alarm-service"]) is not ALARM
    assert rule_of(TEXTS["alarm-api"]) is ALARM


@pytest.mark.parametrize(
    ("shown", "line"),
    [
        (deployment(failure_count=2, threshold=3), "circuit breaker 2 of 3"),
        (deployment(failure_count=0, threshold=3), ""),
        (deployment(alarms=("checkout-5xx",)), "alarm checkout-5xx"),
        (
            deployment(failure_count=0, threshold=3, alarms=("a", "b", "c", "d", "e")),
            "alarms a, b, c and 2 more",
        ),
        (deployment(failure_count=2), ""),
        (deployment(), ""),
        (None, ""),
    ],
)
def test_the_circuit_breaker_in_a_line(shown: ServiceDeployment | None, line: str) -> None:
    assert circuit_breaker_line(reading(service_deployment=shown)) == line


# --- what nobody knows --------------------------------------------------------------------------


def test_words_that_nobody_has_listed_are_quoted_and_not_guessed_at() -> None:
    words = "Flux capacitor exhausted in (reactor 7)"
    task = stopped(ended(None), reason=words, code="TaskFailedToStart")

    for found in (of_tasks(task), diagnose(None, event=PLACEMENT, reason=words)):
        assert found.confidence is Confidence.UNKNOWN
        assert (found.cause, found.evidence) == ("a reason that is not known here", words)
        assert found.remedy == ""


def test_unknown_words_of_a_task_are_told_rather_than_known_ones_that_say_nothing() -> None:
    task = stopped(ended(None), reason="Something new", code="TaskFailedToStart")

    assert diagnose(reading(task), event=FAILED, reason=BREAKER).evidence == "Something new"


def test_with_no_words_at_all_it_is_said_that_there_are_none() -> None:
    for facts in (None, reading(), reading(stopped(reason="", code=""))):
        found = diagnose(facts, event="", reason=" ")

        assert (found.cause, found.evidence) == ("ECS gives no reason", "")
        assert found.confidence is Confidence.UNKNOWN


def test_a_persons_own_words_are_not_taken_for_ecs_words() -> None:
    task = stopped(ended(1), reason="custodian policy: outOfMemory", code="UserInitiated")

    assert of_tasks(task).cause == "somebody stopped the task (StopTask)"
    assert of_tasks(task).evidence == "custodian policy: outOfMemory"


# --- what to try --------------------------------------------------------------------------------

FOR_EVER = "Without a circuit breaker ECS will retry for ever."


def test_without_circuit_breaker_it_is_said_that_ecs_will_retry_for_ever() -> None:
    assert of_tasks(*KILLED, has_circuit_breaker=False).remedy.endswith(FOR_EVER)
    assert FOR_EVER not in of_tasks(*KILLED, has_circuit_breaker=True).remedy
    assert FOR_EVER not in of_tasks(*KILLED, has_circuit_breaker=None).remedy


def test_what_has_ended_is_not_said_to_be_retried() -> None:
    facts = reading(*KILLED, has_circuit_breaker=False)

    assert FOR_EVER not in diagnose(facts, event=FAILED, reason="").remedy
    assert FOR_EVER not in of_tasks(TASKS["scaled-in"], has_circuit_breaker=False).remedy


NEW, OLD = {"app": "sha256:" + "a" * 64}, {"app": "sha256:" + "b" * 64}


@pytest.mark.parametrize(
    ("before", "after", "digests", "is_said"),
    [
        ("shop/orders:stable", "shop/orders:stable", (NEW, OLD), True),
        ("shop/orders:stable", "shop/orders:stable", (NEW, NEW), False),
        ("shop/orders:stable", "shop/orders:stable", ({}, {}), False),
        ("shop/orders:latest", "shop/orders:latest", ({}, {}), True),
        ("shop/orders:latest", "shop/orders:latest", (NEW, NEW), False),
        ("localhost:5000/orders", "localhost:5000/orders", (NEW, {}), True),
        ("shop/orders:v1", "shop/orders:v2", (NEW, OLD), False),
        (f"orders@{NEW['app']}", f"orders@{NEW['app']}", (NEW, OLD), False),
    ],
)
def test_with_a_tag_that_moves_a_roll_back_may_run_the_new_image(
    before: str, after: str, digests: tuple[dict[str, str], dict[str, str]], is_said: bool
) -> None:
    facts = reading(
        *CRASHED,
        failing=definition(ContainerDefinition(name="app", image=after)),
        serving=definition(ContainerDefinition(name="app", image=before), arn=ORDERS_18),
        failing_images=digests[0],
        serving_images=digests[1],
    )

    remedy = diagnose(facts, event=FAILED, reason=BREAKER).remedy

    words = "A roll-back may run the new image of app: its tag is the same."
    assert remedy.endswith(words) == is_said
    assert (words in diagnose(facts, event=PLACEMENT, reason="RESOURCE:CPU").remedy) is False


# --- the log group, the image, the role ---------------------------------------------------------


def test_a_missing_log_group_is_named_by_the_task_definition() -> None:
    asked = replace(APP, log_driver="awslogs", log_options={"awslogs-group": "/ecs/orders"})
    task = replace(TASKS["no-log-group"], task_definition=ORDERS_19)

    found = of_tasks(task, failing=definition(asked))
    two = definition(asked, replace(asked, name="b", log_options={"awslogs-group": "/ecs/b"}))

    assert found.cause == "the log group does not exist: /ecs/orders"
    assert of_tasks(task, failing=two).cause == "the log group does not exist"


def test_an_image_is_not_named_where_it_could_be_another_containers() -> None:
    task = stopped(
        Container(name="a", image="shop/a:1"),
        Container(name="b", image="shop/b:1"),
        reason="CannotPullContainerError: manifest unknown",
        code="TaskFailedToStart",
    )

    assert of_tasks(task).cause == "image not found"


# --- tasks in a line ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tasks", "line"),
    [
        ([], ""),
        (
            [replace(TASKS["image-not-found"], arn=f"{one}") for one in range(3)],
            "3 of 3 never started",
        ),
        (
            [*KILLED[:1], *[stopped(ended(1), minute=m) for m in (5, 6, 7)]],
            "4 tasks: 3 exited 1, 1 out of memory",
        ),
        ([FAILED_CHECKS], "1 of 1 failed load balancer health checks"),
        ([TASKS["scaled-in"], TASKS["spot"]], "2 tasks: 1 lost Spot capacity, 1 scaled in"),
        ([TASKS["stopped-by-user"]], "1 of 1 stopped by somebody"),
        ([stopped(ended(None), reason="something new", code="")], "1 of 1 stopped"),
    ],
)
def test_how_the_tasks_ended_in_a_line(tasks: list[StoppedTask], line: str) -> None:
    assert tasks_in_a_line(reading(*tasks)) == line


def test_the_worst_task_is_the_newest_that_shows_the_cause() -> None:
    assert worst_task(reading(*KILLED, *CRASHED)) == KILLED[2]
    assert worst_task(reading(TASKS["scaled-in"], TASKS["spot"])) == TASKS["spot"]
    assert worst_task(reading()) is None


# --- whatever comes -----------------------------------------------------------------------------

KNOWN = [
    *((task.containers[0].reason or task.stopped_reason) for task in TASKS.values()),
    *TEXTS.values(),
    *REASONS,
]
HOSTILE = st.one_of(
    st.text(max_size=300),
    st.sampled_from(KNOWN),
    st.sampled_from(
        [
            "<!channel> @here *bold* `code` <https://example.com|x>",
            "\u202ecannotpull\u0000\x1b[31m manifest unknown",
            "CannotPullContainerError: failed to resolve ref <!here>: not found",
            'exec: "<!channel>": executable file not found',
            ":secret:<!everyone>: AccessDenied secrets manager",
            "these codes: [502, <@U1>] is unhealthy in",
            "arn:aws:ecs" * 500,
            "fs-" * 2000 + " efs utils",
        ]
    ),
)
CONTAINERS = st.builds(
    Container,
    name=HOSTILE,
    image=HOSTILE,
    exit_code=st.none() | st.integers(-(2**31), 2**32 - 1),
    reason=HOSTILE | st.just(""),
)
STOPPED_TASKS = st.builds(
    StoppedTask,
    arn=st.text(max_size=5),
    task_definition=st.sampled_from([ORDERS_18, ORDERS_19, ""]),
    stop_code=st.sampled_from(["TaskFailedToStart", "UserInitiated", ""]) | st.text(max_size=20),
    stopped_reason=HOSTILE,
    started_at=st.none() | st.just(NOON),
    stopped_at=st.none() | st.just(NOON),
    containers=st.lists(CONTAINERS, max_size=3).map(tuple),
)
READINGS = st.builds(
    Facts,
    service=st.text(max_size=10),
    read_at=st.just(NOON),
    failing=st.none()
    | st.builds(
        TaskDefinition,
        arn=st.just(ORDERS_19),
        memory=HOSTILE,
        containers=st.lists(
            st.builds(
                ContainerDefinition,
                name=HOSTILE,
                image=HOSTILE,
                is_essential=st.booleans(),
                memory=st.integers(0, 10**6),
                log_options=st.dictionaries(st.just("awslogs-group"), HOSTILE),
            ),
            max_size=2,
        ).map(tuple),
    ),
    serving=st.none(),
    has_circuit_breaker=st.none() | st.booleans(),
    service_deployment=st.none()
    | st.builds(
        ServiceDeployment,
        arn=st.just("arn"),
        status_reason=HOSTILE,
        rollback_reason=HOSTILE,
        failure_count=st.none() | st.integers(0, 200),
        threshold=st.none() | st.integers(0, 200),
        alarms=st.lists(HOSTILE, max_size=5).map(tuple),
    ),
    stopped_tasks=st.lists(STOPPED_TASKS, max_size=4).map(tuple),
    messages=st.lists(HOSTILE, max_size=3).map(tuple),
    logs=st.none(),
)


@given(
    facts=st.none() | READINGS,
    event=st.sampled_from(["", *EVENTS]) | st.text(max_size=20),
    reason=HOSTILE,
)
def test_whatever_is_read_there_is_one_line_and_no_error(
    facts: Facts | None, event: str, reason: str
) -> None:
    found = diagnose(facts, event=event, reason=reason)

    assert found.cause
    assert found.cause.isprintable()
    assert len(found.cause) < 1500
    assert found.remedy.isprintable()
    assert found.page.startswith("https://docs.aws.amazon.com/AmazonECS/")
    if facts:
        assert tasks_in_a_line(facts).isprintable()
        assert circuit_breaker_line(facts).isprintable()
        assert (worst_task(facts) is None) == (not facts.stopped_tasks)


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        (OUT_OF_MEMORY, "out of memory"),
        ("CannotPullContainerError: manifest unknown", "image not found"),
        ("", "a container exited with code 137: killed (SIGKILL), with no word of memory"),
    ],
)
def test_a_name_that_aws_would_not_allow_is_not_told(reason: str, cause: str) -> None:
    container = Container(name="<!channel>", image="*shop*\n", exit_code=137, reason=reason)

    assert of_tasks(stopped(container)).cause == cause


@pytest.mark.parametrize("name", ["outofmemory", "memberof-staging", "no-kms-cloudwatch alarm"])
def test_the_name_of_a_service_is_no_cause(name: str) -> None:
    assert rule_of(f"(service {name}) has reached a steady state.") is None


@given(text=HOSTILE)
def test_nothing_of_a_text_gets_into_the_cause_that_could_be_markup(text: str) -> None:
    cause = diagnose(None, event="", reason=text).cause

    assert not set(cause) & set("<>&*`|")


@given(text=st.sampled_from(KNOWN), data=st.data())
def test_a_message_that_is_cut_behind_what_tells_it_keeps_its_cause(
    text: str, data: st.DataObject
) -> None:
    rule = rule_of(text)
    if rule is None:
        return
    enough = next(end for end in range(len(text) + 1) if rule_of(text[:end]) is rule)
    cut = data.draw(st.integers(enough, len(text)))

    for shown in (text[:cut], f"{text[:cut]}...", f"{text[:cut]}\u2026"):
        assert rule_of(shown) is rule
        assert diagnose(None, event="", reason=shown).cause.startswith(rule.cause)


def named_in(text: str) -> str:
    return diagnose(None, event="", reason=text).cause.partition(": ")[2]


@pytest.mark.parametrize("text", sorted({one for one in KNOWN if named_in(one)}))
def test_half_a_name_is_never_told(text: str) -> None:
    whole = named_in(text)
    around = range(text.index(whole.split()[-1]), len(text))

    told = {named_in(text[:cut]) for cut in list(around)[: len(whole) + 40]}

    assert told <= {"", whole}


@pytest.mark.parametrize("text", sorted({one for one in KNOWN if not one.isupper()}))
def test_a_message_within_another_is_found(text: str) -> None:
    assert rule_of(f"Task failed to reach RUNNING status: {text}") is rule_of(text)


@pytest.mark.parametrize("word", ["AGENT", "MISSING", "LOCATION", "INACTIVE", "ATTRIBUTE"])
def test_a_code_of_ecs_is_not_found_in_any_text(word: str) -> None:
    for text in (f"the {word} of my program", f"MY_{word}", word.lower(), f"{word}S"):
        assert rule_of(text) is None, text


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (
            "There is a connection issue between the task and Amazon ECR. Check your task network "
            "configuration.",
            "no network connection to Amazon ECR",
        ),
        (
            "AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role/shop/0 is not "
            "authorized to perform: ecr:GetAuthorizationToken",
            "the role may not log in to Amazon ECR",
        ),
    ],
)
def test_a_login_to_ecr_is_not_taken_for_a_secret(said: str, cause: str) -> None:
    before = "ResourceInitializationError: unable to pull secrets or registry auth: "
    found = rule_of(f"{before}The task cannot pull registry auth from Amazon ECR: {said}")

    assert found
    assert found.cause == cause


def test_both_apostrophes_of_aws_are_the_same() -> None:
    for text in KNOWN:
        assert rule_of(text.replace("\u2019", "'")) is rule_of(text)


def test_no_two_rows_say_the_same_and_no_row_hides_behind_another() -> None:
    assert len(set(CATALOGUE)) == len(CATALOGUE)
    assert all(rule.is_of_release is False for rule in (*STOPPED_ON_PURPOSE, *TAKEN_AWAY))
    for rule in CATALOGUE:
        assert all(fragment.isascii() for fragment in rule.when)
        assert all(one.isupper() or one == one.lower() for one in rule.when)
