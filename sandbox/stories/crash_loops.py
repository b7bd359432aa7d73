"""Tasks that die again and again: one loop that ECS never names, one that looks well in between."""

from sandbox.stories.scenes import (
    UNTIL_THE_ALL_CLEAR,
    cannot_start,
    deploys,
    exited,
    goes_live,
    one_service,
    runs_again,
)
from sandbox.stories.script import MINUTE, Role, Script, yesterday
from sandbox.story_calls import log_stream
from sandbox.story_shapes import DAY, Deployment, Release, Service

DEATHS = (60, 95, 140, 260, 300, 330, 470)
ROOMIER = Deployment(
    Release(8, "2024-11-30", memory=1024), begun=555, state="IN_PROGRESS", desired=3, pending=3
)


def crash_loop_without_circuit_breaker() -> Script:
    """Tasks run, fill their memory and are killed; ECS never says that anything fails."""
    service = Service("prod-web", "recommendations", desired=3, circuit_breaker=False)
    script = Script(
        title="A crash loop without circuit breaker",
        teaches=(
            "The tasks of recommendations die of memory minutes after they became RUNNING. No"
            " deployment is under way, SERVICE_TASK_START_IMPAIRED is not sent for such tasks, and"
            " failedTasks stays 0. ECS sends nothing but ECS Task State Change, of which ecs-watch"
            " counts those that are no scale-in: the third within a quarter of an hour is told, and"
            " that ECS itself reports no failure. Why stands in containers[].reason of the stopped"
            " tasks. A release with more memory ends it."
        ),
        cluster="prod-web",
        services=[service],
    )
    role = one_service(script, yesterday(Release(7, "2024-11-30", memory=512), 3))
    for count in range(1, len(DEATHS) + 1):
        runs_out_of_memory(role, count)
    script.ticks(120, 540)
    old = role.rows[0].now(status="ACTIVE")
    deploys(role, ROOMIER, old, note="mika deploys :8, with twice the memory")
    script.ticks(600, 660)
    goes_live(role, ROOMIER, 680)
    script.ticks(720, 680 + UNTIL_THE_ALL_CLEAR)
    return script


def runs_out_of_memory(role: Role, count: int) -> None:
    """One more task is killed, and another takes its place."""
    service, good, stopped = role.service, role.rows[0], DEATHS[count - 1]
    is_first = count <= service.desired
    task = service.dead_task(
        count,
        good,
        created=-DAY if is_first else DEATHS[count - 1 - service.desired] + 5,
        stopped=stopped,
        code="EssentialContainerExited",
        reason="Essential container in task exited",
        exit_code=137,
        container_reason="OutOfMemoryError: Container killed due to memory usage",
    )
    replacement = service.task_arn(count + service.desired).rsplit("/", 1)[-1]
    role.says(stopped + 5, f"has started 1 tasks: (task {replacement}).")
    fewer = good.now(running=1, pending=2)
    role.shows(stopped, f"task {count} ran out of memory", fewer, tasks=[task])
    role.task_event(stopped, task)


# --- the loop that looks well -----------------------------------------------------------------

ROUND = 15 * MINUTE
WELL_FROM = (11 * MINUTE, 6 * MINUTE, 6 * MINUTE)  # of each round, until the next
EXPORTS = Service("prod-web", "exports", desired=1, circuit_breaker=False)
LIVE = yesterday(Release(12, "v0.9.4"), 1)
FIXED = Deployment(
    Release(13, "v0.9.5"), begun=3 * ROUND, state="IN_PROGRESS", desired=1, pending=1
)

LAST_WORDS = (
    "INFO 1204 of 9310 rows exported",
    "ERROR lost the lock of this export, another instance may hold it",
    "FATAL giving up",
)


def crash_loop_that_looks_well() -> Script:
    """Four minutes in which all that is desired runs, then nine in each quarter of an hour."""
    script = Script(
        title="A crash loop that looks well between two deaths",
        teaches=(
            "The only task of exports dies, its replacements cannot fetch a secret in time, and"
            " then one can and runs for some minutes, until it dies too. ECS sends"
            " SERVICE_TASK_START_IMPAIRED every quarter of an hour and SERVICE_STEADY_STATE in"
            " between, when 1 of 1 is running. No all-clear may come before :13 is live and stays"
            " well."
        ),
        cluster="prod-web",
        services=[EXPORTS],
    )
    role = one_service(script, LIVE)
    for number in range(3):
        goes_round(role, number)
    script.ticks(60, 3 * ROUND)
    is_repaired(role)
    script.ticks(3 * ROUND + 60, 3 * ROUND + 120 + UNTIL_THE_ALL_CLEAR)
    return script


def goes_round(role: Role, number: int) -> None:
    """A death, replacements that do not start, and one that does and looks well."""
    begun = number * ROUND
    task = exited(role, 10 * number + 1, LIVE, begun - 240 if number else -DAY, begun + 5)
    none_runs = LIVE.now(running=0, pending=1)
    lines = [(begun + second, line) for second, line in enumerate(LAST_WORDS)]
    log = log_stream(EXPORTS, 10 * number + 1, lines)
    note = "the task exited with 1"
    role.shows(begun + 5, note, none_runs, tasks=[task], logStreams=[log])
    role.task_event(begun + 5, task)
    for count in (1, 2, 3):
        does_not_start(role, 10 * number + 1 + count, begun + 30 + 70 * count)
    cannot_start(role, begun + 250, "none of three replacements starts")
    runs_again(role, begun + WELL_FROM[number], "a replacement runs: 1 of 1", LIVE, 1)


def does_not_start(role: Role, number: int, stopped: float) -> None:
    """A replacement cannot fetch its secrets in time."""
    task = EXPORTS.dead_task(
        number,
        LIVE,
        created=stopped - 60,
        stopped=stopped,
        code="TaskFailedToStart",
        reason=(
            "ResourceInitializationError: unable to pull secrets or registry auth: execution"
            " resource retrieval failed: unable to retrieve secrets from ssm: service call has"
            " been retried 5 time(s): RequestCanceled: request context canceled caused by: context"
            " deadline exceeded"
        ),
    )
    role.shows(stopped, "a replacement does not get its secrets", tasks=[task])
    role.task_event(stopped, task)


def is_repaired(role: Role) -> None:
    """A new release, which does not die, is deployed and completes."""
    old = LIVE.now(status="ACTIVE")
    deploys(role, FIXED, old, note="mika deploys :13, which does not die")
    goes_live(role, FIXED, FIXED.begun + 110)
