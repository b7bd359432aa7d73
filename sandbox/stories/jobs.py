"""Tasks that belong to no service: a scheduled job that cannot start, a migration that fails."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from notifier.asked import asked
from notifier.retries import STARTED_BY, job_id
from sandbox.stories.script import MINUTE, Script, cluster_shown, yesterday
from sandbox.story import MOMENT
from sandbox.story_shapes import (
    ACCOUNT,
    DAY,
    REGION,
    Json,
    Release,
    Service,
    arn,
    at,
    hexadecimal,
    uuid,
)

NO_CAPACITY = (
    "Capacity is unavailable at this time. Please try again later or in a different availability"
    " zone"
)
HEARD_AFTER = 100  # seconds: EventBridge hands a record of CloudTrail over within minutes
EVERY = 15 * MINUTE
REFUSED: Json = {"tasks": [], "failures": [{"reason": NO_CAPACITY}]}
# When the tasks stack calls again: at ticks by which its back-off, half of it at random, is over.
# Ticks at which an attempt may be due or not, as chance has it, are left out.
FIRST, SECOND = 6 * MINUTE, 10 * MINUTE


SYNC, SCHEDULE = Release(7, "v1.4.0"), "chronos-schedule/sync-prices"


def scheduled_job_cannot_start() -> Script:
    """A schedule calls RunTask, which is answered with a failure and starts nothing."""
    job = Service("prod-jobs", "sync-prices", desired=1)
    script = Script(
        title="A scheduled job cannot start, and its next run does",
        teaches=(
            "EventBridge Scheduler runs sync-prices every quarter of an hour. Once Fargate has no"
            " capacity: RunTask answers with failures and HTTP 200, and ECS sends no event of a"
            " task that never was. Only CloudTrail's record of the call tells it, some minutes"
            " later. The next run succeeds, which is told once in the same thread."
        ),
        cluster="prod-jobs",
        services=[job],
    )
    cannot_start(script, job)
    script.ticks(240, 300)
    again = 120 + EVERY
    ran = task(job, SYNC, 2, ran=(again + 5, again + 95), by=SCHEDULE, codes={"app": 0})
    script.event(again + 95, "the next run succeeds", job.task_event(ran, again + 95))
    script.ticks(again + 120, again + 180)
    return script


def scheduled_job_is_tried_again() -> Script:
    """The same, and the tasks stack calls RunTask again until the job has started."""
    job = Service("prod-jobs", "sync-prices", desired=1)
    script = Script(
        title="A scheduled job cannot start for capacity, then does",
        teaches=(
            "Again Fargate has no capacity for sync-prices, which is on the list of tasks.yaml: so"
            " RunTask is called once more, with the same parameters, after a minute or two, and"
            " after twice that when there is still none. The second attempt starts the job. The"
            " record of the first is none to repeat: it is a call of our own."
        ),
        cluster="prod-jobs",
        services=[job],
        retries=[job.name],
    )
    call = cannot_start(script, job)
    script.ticks(240, 240)
    script.answers(FIRST - 5, "Fargate still has no capacity", job.name, REFUSED)
    script.ticks(FIRST, FIRST)
    record = refused(job, SYNC, FIRST, started_by(call, 1), RETRYING)
    script.event(FIRST + HEARD_AFTER, "CloudTrail's record of the first attempt", record)
    ran = (SECOND + 1, SECOND + 95)
    ended = task(job, SYNC, 2, ran=ran, by=started_by(call, 2), codes={"app": 0})
    answer = {"tasks": [begun(ended)], "failures": []}
    script.answers(SECOND - 5, "Fargate has capacity again", job.name, answer)
    script.ticks(SECOND, SECOND)
    script.event(SECOND + 95, "sync-prices succeeds", job.task_event(ended, SECOND + 95))
    script.ticks(SECOND + 120, SECOND + 180)
    return script


def migration_exits_1() -> Script:
    """A pipeline runs a migration, which fails; it is corrected and run again."""
    job = Service("prod-jobs", "migrate", desired=1)
    script = Script(
        title="A migration exits with 1",
        teaches=(
            "A pipeline runs a migration as a task of no service. Its container migrate ends with"
            " 1, the proxy beside it with 0: which of them is essential stands in the task"
            " definition, which is read with the next tick. No incident is held open. The corrected"
            " migration of a later revision, started alike, succeeds. Tasks that no schedule"
            " started are told with StandaloneTasks=all only, as in the sandbox. migrate is on the"
            " list of tasks.yaml, and is not started again: a container of it ran."
        ),
        cluster="prod-jobs",
        services=[job],
        retries=[job.name],
    )
    bad, good = Release(12, "2026-11-22"), Release(13, "2026-11-23")
    begins(script, job, bad, side_car="proxy")
    how: dict[str, Any] = {"by": "release-pipeline", "command": ("manage", "migrate")}
    ended = task(job, bad, 1, ran=(20, 75), codes={"migrate": 1, "proxy": 0}, **how)
    script.event(75, "the migration ends with 1", job.task_event(ended, 75))
    script.ticks(120, 180)
    script.shows(600, ":13 is registered", taskDefinitions=[definition(job, good, 590, "proxy")])
    ended = task(job, good, 2, ran=(620, 700), codes={"migrate": 0, "proxy": 143}, **how)
    script.event(700, "the corrected migration succeeds", job.task_event(ended, 700))
    script.ticks(720, 840)
    return script


def cannot_start(script: Script, job: Service) -> Json:
    """A schedule's job that ran well yet, and CloudTrail's record of a call that started none."""
    begins(script, job, SYNC)
    ran = task(job, SYNC, 1, ran=(-30, 60), by=SCHEDULE, codes={"app": 0})
    script.event(60, "sync-prices succeeds once more", job.task_event(ran, 60))
    call = refused(job, SYNC, 120, SCHEDULE, SCHEDULER)
    note = "CloudTrail's record of the RunTask that started nothing"
    script.event(120 + HEARD_AFTER, note, call)
    return call


def started_by(call: Json, attempt: int) -> str:
    """Return what the n-th attempt at this call has as `startedBy`."""
    repeated = asked(MOMENT.sub("2026-11-23T12:00:00Z", json.dumps(call)))
    assert repeated
    return f"{STARTED_BY}{job_id(repeated)}/{attempt}"


def begins(script: Script, job: Service, release: Release, side_car: str = "") -> None:
    """A cluster without services, and a job's task definition."""
    script.shows(
        0,
        f"{job.name}:{release.revision} is a task definition, and no service runs it",
        clusters=[cluster_shown(script.cluster, 0, 0)],
        taskDefinitions=[definition(job, release, -DAY, side_car)],
    )
    script.ticks(0, 0)


def definition(job: Service, release: Release, registered: float, side_car: str = "") -> Json:
    """Return a task definition whose side-car, if there is one, is not essential."""
    shown = job.definition(release, registered)
    (work,) = shown["containerDefinitions"]
    if not side_car:
        return shown
    beside = {**work, "name": side_car, "essential": False}
    return {**shown, "containerDefinitions": [{**work, "name": job.name}, beside]}


def task(
    job: Service,
    release: Release,
    number: int,
    *,
    ran: tuple[float, float],
    by: str,
    codes: dict[str, int],
    command: Sequence[str] = (),
) -> Json:
    """Return the n-th task of a job, from when to when it ran and how its containers ended."""
    ended = job.dead_task(
        number,
        yesterday(release, 1),
        created=ran[0],
        stopped=ran[1],
        code="EssentialContainerExited",
        reason="Essential container in task exited",
        exit_code=0,
    )
    (container,) = ended["containers"]
    first = next(iter(codes))
    override: Json = {"name": first, **({"command": list(command)} if command else {})}
    return {
        **ended,
        "group": f"family:{job.name}",
        "startedBy": by,
        "overrides": {**ended["overrides"], "containerOverrides": [override]},
        "containers": [
            {**container, "name": name, "exitCode": code} for name, code in codes.items()
        ],
    }


def begun(task: Json) -> Json:
    """Return a task as RunTask's answer shows it, which has only been made yet."""
    kept = ("taskArn", "clusterArn", "taskDefinitionArn", "group", "startedBy", "launchType")
    made = {key: task[key] for key in (*kept, "overrides", "createdAt")}
    return {**made, "lastStatus": "PROVISIONING", "desiredStatus": "RUNNING", "version": 1}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls RunTask: a role that something of AWS, or a function, works under."""

    role: str
    agent: str
    invoked_by: str = ""


SCHEDULER = Caller("scheduler", "scheduler.amazonaws.com", "scheduler.amazonaws.com")
RETRYING = Caller("ecs-watch-tasks-RetryRole-EE7FF1A9FDBFB", "Boto3/1.43.0 Botocore/1.43.0")


def refused(job: Service, release: Release, moment: float, started_by: str, caller: Caller) -> Json:
    """Return CloudTrail's record of a RunTask that started nothing, as EventBridge delivers it."""
    record: dict[str, Any] = {
        "eventVersion": "1.11",
        "userIdentity": identity(caller, moment),
        "eventTime": at(moment),
        "eventSource": "ecs.amazonaws.com",
        "eventName": "RunTask",
        "awsRegion": REGION,
        "sourceIPAddress": caller.invoked_by or "203.0.113.40",
        "userAgent": caller.agent,
        "requestParameters": {
            "cluster": job.cluster_arn,
            "taskDefinition": job.definition_arn(release),
            "count": 1,
            "launchType": "FARGATE",
            "startedBy": started_by,
            "networkConfiguration": {
                "awsvpcConfiguration": {
                    "subnets": ["subnet-0a1b2c3d4e5f60718"],
                    "securityGroups": ["sg-0f1e2d3c4b5a69788"],
                    "assignPublicIp": "DISABLED",
                }
            },
        },
        "responseElements": REFUSED,
        "requestID": uuid(job.name, moment, "request"),
        "eventID": uuid(job.name, moment, "event"),
        "readOnly": False,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": ACCOUNT,
        "eventCategory": "Management",
    }
    return job.envelope("AWS API Call via CloudTrail", at(moment + HEARD_AFTER), [], record)


def identity(caller: Caller, moment: float) -> Json:
    """Return who calls: a role, and the service of AWS that took it for a schedule."""
    session = hexadecimal(32, "schedule", moment)
    role = arn(f"role/{caller.role}", "iam").replace(f":{REGION}:", "::")
    named = {"invokedBy": caller.invoked_by} if caller.invoked_by else {}
    return {
        "type": "AssumedRole",
        "principalId": f"AROAIDPPEZS35WEXAMPLE:{session}",
        "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/{caller.role}/{session}",
        "accountId": ACCOUNT,
        "sessionContext": {
            "sessionIssuer": {
                "type": "Role",
                "principalId": "AROAIDPPEZS35WEXAMPLE",
                "arn": role,
                "accountId": ACCOUNT,
                "userName": caller.role,
            }
        },
        **named,
    }
