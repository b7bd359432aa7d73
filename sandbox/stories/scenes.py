"""Scenes that several stories share."""

from typing import Any

from sandbox.stories.script import IN_STEADY_STATE, MINUTE, Role, Script, cluster_shown, yesterday
from sandbox.story_calls import MIKA, Shipper, delivered, looked_up, registration, release
from sandbox.story_shapes import DAY, Deployment, Json, Release, Service, arn

NO_CAPACITY = (
    "was unable to place a task. Reason: Capacity is unavailable at this time. Please try again"
    " later or in a different availability zone."
)
HEARD_AFTER = 100  # seconds: EventBridge hands a record of CloudTrail over within minutes
UNTIL_THE_ALL_CLEAR = 8 * MINUTE  # after what looks well: it is held back, then the root is edited


def one_service(script: Script, good: Deployment) -> Role:
    """Return the role of the story's only service, which runs a deployment since yesterday."""
    (service,) = script.services
    role = Role(script, service, [good])
    rests(script, role)
    return role


def rests(script: Script, *roles: Role) -> None:
    """All services run as they did yesterday, and a tick comes by."""
    running = sum(role.rows[0].running for role in roles)
    (first, *others) = roles
    note = f"{first.service.name} runs {release_of(first)}"
    script.shows(
        0,
        f"all {len(roles)} services run as desired" if others else note,
        clusters=[cluster_shown(script.cluster, len(roles), running)],
        services=[role.shown() for role in roles],
        tasks=[task for role in roles for task in running_tasks(role)],
        taskDefinitions=[definition(role) for role in roles],
        serviceDeployments=[succeeded(role.service, role.rows[0]) for role in roles],
        serviceRevisions=[role.service.service_revision(role.rows[0]) for role in roles],
    )
    script.ticks(0, 0)


def release_of(role: Role) -> str:
    """Return which release of a service runs, and how often: `:41, 2 of 2`."""
    row = role.rows[0]
    return f":{row.release.revision}, {row.running} of {role.service.desired}"


def running_tasks(role: Role) -> list[Json]:
    """Return the tasks that run since yesterday."""
    numbers = range(1, role.rows[0].running + 1)
    return [role.service.running_task(number, role.rows[0], -DAY) for number in numbers]


def definition(role: Role) -> Json:
    """Return the task definition of a service's deployment."""
    row = role.rows[0]
    return role.service.definition(row.release, row.begun - 30)


# --- deployments ------------------------------------------------------------------------------


def deploys(
    role: Role,
    new: Deployment,
    *older: Deployment,
    by: Shipper = MIKA,
    heard_after: float = HEARD_AFTER,
    note: str = "",
    **also: list[Json],
) -> None:
    """Somebody deploys a new release; the older deployments are shown below it.

    CloudTrail's record of it comes `heard_after` so many seconds.
    """
    service, moment = role.service, new.begun
    record = release(service, new, older, by)
    progress = under_way(
        service,
        new,
        **({"deploymentCircuitBreaker": breaker(0)} if service.circuit_breaker else {}),
    )
    role.shows(
        moment,
        note or f"{by.name} deploys :{new.release.revision}",
        new,
        *older,
        taskDefinitions=[service.definition(new.release, moment - 4)],
        serviceDeployments=[progress, *also.get("serviceDeployments", [])],
        serviceRevisions=[service.service_revision(new)],
        cloudTrailEvents=[
            looked_up(service, one) for one in (registration(service, new, by), record)
        ],
    )
    reason = f"ECS deployment {service.deployment_id(new)} in progress."
    role.event(moment, "SERVICE_DEPLOYMENT_IN_PROGRESS", new, reason)
    heard = f"CloudTrail's record of {by.name}'s UpdateService"
    role.script.event(moment + heard_after, heard, delivered(service, record))


def is_replaced(role: Role, deployment: Deployment, moment: float) -> Json:
    """Return the service deployment that a newer one ended."""
    return role.service.service_deployment(
        deployment,
        "STOPPED",
        stoppedAt=f"{{{{{moment + 1:+.0f}}}}}",
        finishedAt=f"{{{{{moment + 1:+.0f}}}}}",
        statusReason="Service deployment replaced by a newer one.",
    )


def completes(role: Role, live: Deployment, moment: float, note: str, **also: list[Json]) -> None:
    """A deployment completes: it is the only one left, and the service is steady."""
    service = role.service
    role.says(moment, f"(deployment {service.deployment_id(live)}) deployment completed.")
    role.says(moment + 1, IN_STEADY_STATE)
    role.shows(moment, note, live, **also)
    reason = f"ECS deployment {service.deployment_id(live)} completed."
    role.event(moment, "SERVICE_DEPLOYMENT_COMPLETED", live, reason)
    role.action(moment + 1, "SERVICE_STEADY_STATE", "INFO")


def goes_live(role: Role, fixed: Deployment, moment: float) -> None:
    """The release that corrects another completes."""
    live = fixed.now(state="COMPLETED", pending=0, running=role.service.desired, updated=moment)
    numbers = range(1, role.service.desired + 1)
    completes(
        role,
        live,
        moment,
        f"{role.service.name} runs :{live.release.revision},"
        f" {role.service.desired} of {role.service.desired}",
        tasks=[role.service.running_task(90 + number, live, moment - 90) for number in numbers],
        serviceDeployments=[succeeded(role.service, live)],
    )


def breaker(failures: int, status: str = "MONITORING") -> Json:
    """Return how the circuit breaker of a deployment stands."""
    return {"status": status, "failureCount": failures, "threshold": 3}


def succeeded(service: Service, deployment: Deployment) -> Json:
    """Return a service deployment that succeeded two minutes after it began."""
    done = deployment.now(updated=deployment.begun + 120)
    finished = service.shown([done], [])["deployments"][0]["updatedAt"]
    return service.service_deployment(
        done,
        "SUCCESSFUL",
        finishedAt=finished,
        deploymentCircuitBreaker=breaker(0, "MONITORING_COMPLETE"),
    )


def under_way(service: Service, deployment: Deployment, **more: Any) -> Json:
    """Return a service deployment that is in progress."""
    return service.service_deployment(deployment, "IN_PROGRESS", lifecycleStage="SCALE_UP", **more)


# --- tasks ------------------------------------------------------------------------------------


def cannot_start(role: Role, moment: float, note: str = "ECS slows down") -> None:
    """ECS says that it cannot consistently start tasks; it does not say why."""
    role.says(moment, "is unable to consistently start tasks successfully.")
    role.shows(moment, note)
    role.action(moment, "SERVICE_TASK_START_IMPAIRED", "WARN")


def cannot_place(
    role: Role, moment: float, note: str, event_note: str, *rows: Deployment, **also: list[Json]
) -> None:
    """ECS says that it cannot place a task, because Fargate Spot has no room for it."""
    role.says(moment, NO_CAPACITY)
    role.shows(moment, note, *rows, **also)
    role.action(
        moment,
        "SERVICE_TASK_PLACEMENT_FAILURE",
        "ERROR",
        event_note,
        reason="RESOURCE:FARGATE",
        capacityProviderArns=[arn("capacity-provider/FARGATE_SPOT")],
    )


def runs_again(role: Role, moment: float, note: str, good: Deployment, new_tasks: int) -> None:
    """As many tasks run as are desired, and ECS says so."""
    role.says(moment, IN_STEADY_STATE)
    numbers = range(1, new_tasks + 1)
    tasks = [role.service.running_task(20 + number, good, moment - 30) for number in numbers]
    role.shows(moment, note, good, tasks=tasks)
    event_note = f"SERVICE_STEADY_STATE of {role.service.name}"
    role.action(moment, "SERVICE_STEADY_STATE", "INFO", event_note)


def interrupted(role: Role, number: int, moment: float) -> Json:
    """Return a task that Fargate Spot took back."""
    task = role.service.dead_task(
        number,
        role.rows[0],
        created=-DAY,
        stopped=moment,
        code="SpotInterruption",
        reason="Your Spot Task was interrupted.",
        exit_code=143,
    )
    return {**task, "capacityProviderName": "FARGATE_SPOT"}


def exited(role: Role, number: int, of: Deployment, created: float, stopped: float) -> Json:
    """Return a task whose process ended with exit code 1."""
    return role.service.dead_task(
        number,
        of,
        created=created,
        stopped=stopped,
        code="EssentialContainerExited",
        reason="Essential container in task exited",
        exit_code=1,
    )


def began_yesterday(revision: int, tag: str, desired: int) -> Deployment:
    """Return what runs since yesterday, with nothing special about it."""
    return yesterday(Release(revision, tag), desired)
