"""Events of standalone tasks, as ECS and CloudTrail send them."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from tests.watch import CLUSTER, START

EXITED = "Essential container in task exited"
ENDED = "EssentialContainerExited"
SCHEDULE = "chronos-schedule/nightly-report"
CAPACITY = (
    "Capacity is unavailable at this time. Please try again later or in a different availability "
    "zone"
)
PREFIX = "arn:aws:ecs:eu-west-1:123456789012"


def stamp(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def definition(family: str = "nightly-report", revision: int = 7) -> str:
    return f"{PREFIX}:task-definition/{family}:{revision}"


def container(name: str = "app", exit_code: int | None = 1, reason: str = "") -> dict[str, Any]:
    code = {} if exit_code is None else {"exitCode": exit_code}
    said = {"reason": reason} if reason else {}
    return {"name": name, "lastStatus": "STOPPED", **code, **said}


def task_stopped(number: int, *, at: datetime = START, **more: Any) -> dict[str, Any]:
    """The end of the n-th task: exit code 1, unless more is said of it."""
    arn = f"{PREFIX}:task/prod-web/{number:032x}"
    family = more.pop("family", "nightly-report")
    exit_code = more.pop("exit_code", 1)
    command = more.pop("command", ())
    override: dict[str, Any] = {"name": "app"}
    if command:
        override["command"] = list(command)
    if environment := more.pop("environment", {}):
        override["environment"] = [{"name": k, "value": v} for k, v in environment.items()]
    detail: dict[str, Any] = {
        "taskArn": arn,
        "clusterArn": CLUSTER,
        "taskDefinitionArn": definition(family),
        "group": f"family:{family}",
        "startedBy": SCHEDULE,
        "launchType": "FARGATE",
        "platformVersion": "1.4.0",
        "lastStatus": "STOPPED",
        "desiredStatus": "STOPPED",
        "stopCode": ENDED,
        "stoppedReason": EXITED,
        "containers": [container(exit_code=exit_code)],
        "overrides": {"containerOverrides": [override]},
        "attachments": [
            {"type": "eni", "details": [{"name": "subnetId", "value": "subnet-0a1b2c3d"}]}
        ],
        "updatedAt": stamp(at),
        "version": 5,
    }
    return {
        "version": "0",
        "id": f"task-{number}",
        "detail-type": "ECS Task State Change",
        "source": "aws.ecs",
        "account": "123456789012",
        "time": stamp(at),
        "region": "eu-west-1",
        "resources": [arn],
        "detail": detail | more,
    }


def run_task(number: int, *, at: datetime = START, **more: Any) -> dict[str, Any]:
    """CloudTrail's record of the n-th RunTask: it found no capacity, unless more is said of it."""
    command: Sequence[str] = more.pop("command", ())
    family = more.pop("family", "nightly-report")
    override = {"name": "app", **({"command": list(command)} if command else {})}
    request: Mapping[str, Any] | None = {
        "cluster": CLUSTER,
        "taskDefinition": definition(family),
        "count": 1,
        "launchType": "FARGATE",
        "startedBy": more.pop("startedBy", SCHEDULE),
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": ["subnet-0a1b2c3d"],
                "securityGroups": ["sg-0123456789"],
                "assignPublicIp": "DISABLED",
            }
        },
        "overrides": {"containerOverrides": [override]},
    }
    record: dict[str, Any] = {
        "eventVersion": "1.11",
        "eventSource": "ecs.amazonaws.com",
        "eventName": "RunTask",
        "eventTime": stamp(at),
        "eventID": f"run-task-{number}",
        "awsRegion": "eu-west-1",
        "userIdentity": {"type": "AssumedRole", "invokedBy": "scheduler.amazonaws.com"},
        "requestParameters": request,
        "responseElements": {"tasks": [], "failures": [{"reason": CAPACITY}]},
    }
    return {
        "version": "0",
        "id": f"call-{number}",
        "detail-type": "AWS API Call via CloudTrail",
        "source": "aws.ecs",
        "account": "123456789012",
        "time": stamp(at),
        "region": "eu-west-1",
        "resources": [],
        "detail": record | more,
    }


def retry(number: int, outcome: str = "WAITING", *, at: datetime = START, **more: Any) -> Any:
    """The n-th thing that tasks.yaml tells of the call `run-task-CALL`, after n - 1 attempts.

    Without more said of it: one task was asked for and is missing; there are five attempts.
    """
    call, job = more.pop("call", 1), more.pop("job", "")
    job = job or f"{call:016x}"
    detail = {
        "id": f"{job}/{number}",
        "eventName": f"TASK_RETRY_{outcome}",
        "clusterArn": CLUSTER,
        "family": "nightly-report",
        "startedBy": SCHEDULE,
        "callEventId": f"run-task-{call}",
        "attempt": number - 1,
        "attempts": 5,
        "asked": 1,
        "missing": 0 if outcome == "STARTED" else 1,
        "reason": "" if outcome == "STARTED" else CAPACITY,
        "updatedAt": stamp(at),
        "nextAt": stamp(at + timedelta(minutes=3)) if outcome == "WAITING" else None,
        "taskArns": [],
    }
    return _of_tasks_stack("ECS Watch Task Retry", f"{job}-{number}", at, detail | more)


def runbook_failed(number: int, *, at: datetime = START, **more: Any) -> Any:
    """What tasks.yaml tells of the n-th execution of its runbook: its task ended with 1."""
    execution = execution_id(number)
    detail = {
        "id": execution,
        "eventName": "RUNBOOK_FAILED",
        "clusterArn": CLUSTER,
        "family": "nightly-report",
        "taskDefinition": "nightly-report:7",
        "runbook": "ecs-watch-tasks-run-task",
        "executionId": execution,
        "step": "Look",
        "reason": f"{PREFIX}:task/prod-web/{number:032x}; app: exit code 1; {EXITED}",
        "startedBy": "arn:aws:sts::123456789012:assumed-role/deploy/mika",
        "updatedAt": stamp(at),
    }
    return _of_tasks_stack("ECS Watch Runbook Failed", execution, at, detail | more)


def execution_id(number: int) -> str:
    return f"333ba70b-2333-48db-b17e-{number:012x}"


def _of_tasks_stack(kind: str, name: str, at: datetime, detail: Mapping[str, Any]) -> Any:
    return {
        "version": "0",
        "id": name,
        "detail-type": kind,
        "source": "ecs-watch.tasks",
        "account": "123456789012",
        "time": stamp(at),
        "region": "eu-west-1",
        "resources": [],
        "detail": detail,
    }


def later(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)
