"""A container of the new release exits at once; the deployment circuit breaker rolls back."""

from typing import Any

from sandbox.stories.scenes import (
    UNTIL_THE_ALL_CLEAR,
    breaker,
    completes,
    deploys,
    exited,
    one_service,
    under_way,
)
from sandbox.stories.script import Role, Script, yesterday
from sandbox.story_shapes import Deployment, Json, Release, Service

CLUSTER = "prod-web"
SERVICE = Service(CLUSTER, "checkout", desired=2)
GOOD = yesterday(Release(41, "v1.8.2", (("LOG_LEVEL", "info"),)), 2)
OLD = GOOD.now(status="ACTIVE")
BAD = Deployment(
    Release(42, "v1.8.3", (("FEATURE_X", "on"), ("LOG_LEVEL", "info"))),
    begun=0,
    state="IN_PROGRESS",
    desired=2,
    pending=1,
)
FAILED = BAD.now(status="ACTIVE", state="FAILED", pending=0, failed=3, updated=200, desired=0)
BACK_ID = SERVICE.deployment_id(Deployment(GOOD.release, 201, name="roll-back"))
BACK = Deployment(
    GOOD.release,
    begun=201,
    name="roll-back",
    state="IN_PROGRESS",
    reason=f"ECS deployment circuit breaker: rolling back to deploymentId {BACK_ID}.",
    desired=2,
    running=2,
)
WHY = "Service deployment rolled back because the circuit breaker threshold was exceeded."


def release_fails_and_is_rolled_back() -> Script:
    """Tasks die, the circuit breaker triggers, the old release serves all the time."""
    script = Script(
        title="A release fails and is rolled back",
        teaches=(
            "The tasks of checkout:42 exit with 1 before they are healthy. After three of them the"
            " deployment circuit breaker fails the deployment and rolls back to checkout:41, which"
            " served all the time. SERVICE_DEPLOYMENT_COMPLETED and SERVICE_STEADY_STATE at the end"
            " belong to the roll-back: the new release never went live, and that is how the thread"
            " is closed, not by an all-clear."
        ),
        cluster=CLUSTER,
        services=[SERVICE],
    )
    role = one_service(script, GOOD)
    deploys(role, BAD, OLD, note="mika deploys :42")
    for count, stopped in enumerate((62, 126, 190), start=1):
        dies(role, count, stopped)
    script.ticks(60, 180)
    breaker_triggers(role)
    script.ticks(240, 240)
    is_back(role)
    script.ticks(300, 262 + UNTIL_THE_ALL_CLEAR)
    return script


def dies(role: Role, count: int, stopped: float) -> None:
    """One more task of the new release exits with 1."""
    task = exited(role, 10 + count, BAD, stopped - 50, stopped)
    failing = BAD.now(failed=count, updated=stopped)
    name = task["taskArn"].rsplit("/", 1)[-1]
    role.says(stopped - 45, f"has started 1 tasks: (task {name}).")
    role.shows(
        stopped,
        f"task {count} of :42 exited with 1",
        failing,
        OLD,
        tasks=[task],
        serviceDeployments=[
            under_way(role.service, failing, deploymentCircuitBreaker=breaker(count))
        ],
    )
    role.task_event(stopped, task)


def breaker_triggers(role: Role) -> None:
    """The deployment fails, and a roll-back begins: ECS tells both."""
    role.says(
        200, f"(deployment {SERVICE.deployment_id(BAD)}) deployment failed: tasks failed to start."
    )
    role.says(201, f"rolling back to deployment {BACK_ID}.")
    role.shows(
        200,
        "the circuit breaker triggers and rolls back",
        BACK,
        FAILED,
        serviceDeployments=[
            rolled_back("ROLLBACK_IN_PROGRESS", statusReason=WHY, lifecycleStage="CLEAN_UP"),
            under_way(SERVICE, BACK),
        ],
        serviceRevisions=[SERVICE.service_revision(BACK)],
    )
    reason = "ECS deployment circuit breaker: tasks failed to start."
    role.event(200, "SERVICE_DEPLOYMENT_FAILED", BAD, reason)
    note = "SERVICE_DEPLOYMENT_IN_PROGRESS: rolling back"
    role.event(201, "SERVICE_DEPLOYMENT_IN_PROGRESS", BACK, BACK.reason, note)


def is_back(role: Role) -> None:
    """The roll-back completes, which looks like a success."""
    settled = BACK.now(state="COMPLETED", reason="", updated=262)
    completes(
        role,
        settled,
        262,
        "the roll-back is complete: :41, 2 of 2",
        serviceDeployments=[
            rolled_back("ROLLBACK_SUCCESSFUL", finishedAt="{{+262}}"),
            SERVICE.service_deployment(settled, "SUCCESSFUL", finishedAt="{{+262}}"),
        ],
    )


def rolled_back(status: str, **more: Any) -> Json:
    """Return the service deployment of the release that failed."""
    rollback = {
        "reason": WHY,
        "startedAt": "{{+201}}",
        "serviceRevisionArn": SERVICE.revision_arn(GOOD),
    }
    triggered = breaker(3, "TRIGGERED")
    return SERVICE.service_deployment(
        FAILED, status, deploymentCircuitBreaker=triggered, rollback=rollback, **more
    )
