"""The tag of an image does not exist; there is no circuit breaker; a corrected release follows."""

from sandbox.stories.scenes import (
    UNTIL_THE_ALL_CLEAR,
    cannot_start,
    deploys,
    goes_live,
    is_replaced,
    one_service,
)
from sandbox.stories.script import Role, Script, yesterday
from sandbox.story_shapes import Deployment, Release, Service

CLUSTER = "prod-web"
SERVICE = Service(CLUSTER, "search", desired=3, circuit_breaker=False)
GOOD = yesterday(Release(18, "v3.4.0"), 3)
OLD = GOOD.now(status="ACTIVE")
BAD = Deployment(
    Release(19, "v3.4.1", is_pushed=False), begun=0, state="IN_PROGRESS", desired=3, pending=3
)
REPLACED = BAD.now(status="ACTIVE", desired=0, pending=0, failed=6, updated=192)
FIXED = Deployment(Release(20, "v3.4.2"), begun=540, state="IN_PROGRESS", desired=3, pending=3)
MISSING = SERVICE.image(BAD.release)
REASON = (
    "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to"
    f" resolve ref {MISSING}: {MISSING}: not found"
)


def image_cannot_be_pulled() -> Script:
    """ECS tries for minutes; only SERVICE_TASK_START_IMPAIRED tells of it."""
    script = Script(
        title="An image cannot be pulled",
        teaches=(
            "search:19 names an image tag that nobody pushed. Without circuit breaker no"
            " SERVICE_DEPLOYMENT_FAILED ever comes: SERVICE_TASK_START_IMPAIRED, which has no"
            " reason, is the only failure event. Why is found in the stopped tasks. The service"
            " goes on serving with :18 until :20 corrects the tag; then the all-clear is held back"
            " for five minutes."
        ),
        cluster=CLUSTER,
        services=[SERVICE],
    )
    role = one_service(script, GOOD)
    deploys(role, BAD, OLD)
    for count, stopped in enumerate((70, 78, 86, 170, 181, 192), start=1):
        cannot_be_pulled(role, count, stopped)
    cannot_start(role, 200)
    script.ticks(60, 480)
    stopped_one = is_replaced(role, REPLACED, 540)
    note = "mika deploys :20, with the right tag"
    deploys(role, FIXED, REPLACED, OLD, note=note, serviceDeployments=[stopped_one])
    script.ticks(600, 660)
    goes_live(role, FIXED, 680)
    script.ticks(720, 680 + UNTIL_THE_ALL_CLEAR)
    return script


def cannot_be_pulled(role: Role, count: int, stopped: float) -> None:
    """One more task of the new release never starts."""
    task = SERVICE.dead_task(
        10 + count,
        BAD,
        created=stopped - 45,
        stopped=stopped,
        code="TaskFailedToStart",
        reason=REASON,
    )
    failing = BAD.now(failed=count, updated=stopped)
    note = f"task {count} of :19 could not pull its image"
    role.shows(stopped, note, failing, OLD, tasks=[task])
    role.task_event(stopped, task)
