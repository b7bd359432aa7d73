"""Stories of services: what happens, in which order, with random times in between.

A story yields the seconds until its next step. `TROUBLE` are those in which something goes wrong;
`HEALTHY` those of which nobody is to hear. What is so, is set as it becomes so: `truth.is_failing`
while tasks of the service die or cannot start or its last release did not go live and does not
serve in full; `truth.never_live` are the revisions that were given up.
"""

from collections.abc import Callable, Iterator
from random import Random

from tests.simulator.ecs import (
    EXITED,
    NO_IMAGE,
    OUT_OF_MEMORY,
    SCALING,
    SPOT,
    UNHEALTHY,
    Rollout,
    Service,
)
from tests.simulator.scheduler import MINUTE

Story = Callable[[Service, Random], Iterator[float]]
Steps = Iterator[float]

BREAKER = "ECS deployment circuit breaker: tasks failed to start."
ROLLING_BACK = "ECS deployment circuit breaker: rolling back to deploymentId {}."
ALARM = "ECS deployment failed: alarm(s) detected."


# --- steps that many stories share --------------------------------------------------------------


def _goes_live(service: Service, new: Rollout, rng: Random) -> Steps:
    """Tasks of the new deployment start, one by one, and those of the old one are drained."""
    for _ in range(service.desired):
        service.place_task(new)
        yield rng.uniform(10, 40)
        service.start_task(new)
        old = next((r for r in service.rollouts if r is not new and r.running), None)
        if old is not None:
            service.stop_task(old, SCALING.format(new.id), "ServiceSchedulerInitiated", 143)
        yield rng.uniform(1, 10)
    service.complete(new)


def _never_starts(service: Service, new: Rollout, rng: Random, times: int) -> Steps:
    """Its tasks are tried again and again, and none comes to run."""
    for _ in range(times):
        service.place_task(new)
        yield rng.uniform(10, 60)
        reason = NO_IMAGE.format(f"{service.name}:v{new.revision}")
        service.stop_task(new, reason, "TaskFailedToStart", None)
        yield rng.uniform(1, 20)


def _given_up(service: Service, new: Rollout, why: str) -> None:
    service.truth.never_live.add(new.revision)
    service.fail(new, why)


def _rolled_back(service: Service, failed: Rollout, rng: Random, id: str = "") -> Steps:
    """The old release again: its tasks still run, so it completes soon."""
    old = next(rollout for rollout in service.rollouts if rollout is not failed)
    id = id or f"ecs-svc/{service.account.number()}"
    back = service.deploy(old.revision, id=id, reason=ROLLING_BACK.format(id))
    back.running = old.running
    service.truth.rolled_back_at = service.account.scheduler.clock
    yield rng.uniform(5, 40)
    service.complete(back)


# --- trouble ------------------------------------------------------------------------------------


def fail_without_breaker(service: Service, rng: Random) -> Steps:
    """No circuit breaker: only SERVICE_TASK_START_IMPAIRED tells, every quarter of an hour."""
    new = service.deploy()
    service.truth.is_failing(service.account.scheduler.clock, True)
    for _ in range(rng.randint(1, 3)):
        yield from _never_starts(service, new, rng, 3)
        service.action("SERVICE_TASK_START_IMPAIRED", "WARN")
        yield rng.uniform(14, 16) * MINUTE


def breaker_fails(service: Service, rng: Random) -> Steps:
    """The circuit breaker ends the deployment; the old release serves on."""
    new = service.deploy()
    yield from _never_starts(service, new, rng, 3)
    _given_up(service, new, BREAKER)


def breaker_rolls_back(service: Service, rng: Random) -> Steps:
    """The roll-back is a deployment with an id of its own."""
    new = service.deploy()
    yield from _never_starts(service, new, rng, 3)
    _given_up(service, new, BREAKER)
    yield rng.uniform(0.1, 5)
    yield from _rolled_back(service, new, rng)


def breaker_rolls_back_to_the_old_id(service: Service, rng: Random) -> Steps:
    """The old deployment goes from COMPLETED to IN_PROGRESS again, with its old id."""
    old = service.primary.id
    new = service.deploy()
    yield from _never_starts(service, new, rng, 3)
    _given_up(service, new, BREAKER)
    yield rng.uniform(0.1, 5)
    yield from _rolled_back(service, new, rng, id=old)


def rolls_back_before_it_says_failed(service: Service, rng: Random) -> Steps:
    """The roll-back's events come first; FAILED comes when it is all over."""
    new = service.deploy()
    yield from _never_starts(service, new, rng, 3)
    service.truth.never_live.add(new.revision)
    yield from _rolled_back(service, new, rng)
    yield rng.uniform(1, 100)
    _given_up(service, new, BREAKER)


def roll_back_fails(service: Service, rng: Random) -> Steps:
    """The old release does not start any more either."""
    new = service.deploy()
    service.truth.is_failing(service.account.scheduler.clock, True)
    yield from _never_starts(service, new, rng, 3)
    old = service.rollouts[1]
    _given_up(service, new, BREAKER)
    id = f"ecs-svc/{service.account.number()}"
    back = service.deploy(old.revision, id=id, reason=ROLLING_BACK.format(id))
    service.stop_task(old, UNHEALTHY, "ServiceSchedulerInitiated", 143)
    yield from _never_starts(service, back, rng, 3)
    service.fail(back, BREAKER)


def alarm_rolls_back(service: Service, rng: Random) -> Steps:
    """It starts, an alarm goes off while it bakes, and the old release comes back."""
    new = service.deploy()
    for _ in range(service.desired):
        service.place_task(new)
        yield rng.uniform(10, 40)
        service.start_task(new)
    yield rng.uniform(60, 300)
    _given_up(service, new, ALARM)
    yield from _rolled_back(service, new, rng)
    service.truth.never_live.add(new.revision)


def stopped_by_hand(service: Service, rng: Random) -> Steps:
    """Somebody stops the deployment: it is failed, and rolled back."""
    new = service.deploy()
    yield from _never_starts(service, new, rng, 1)
    _given_up(service, new, "ECS deployment stopped by user.")
    yield from _rolled_back(service, new, rng)


def superseded_three_times(service: Service, rng: Random) -> Steps:
    """Each fix is overtaken by the next; one of them fails late; the last goes live."""
    first = service.deploy()
    yield from _never_starts(service, first, rng, 1)
    second = service.deploy()
    yield from _never_starts(service, second, rng, 2)
    _given_up(service, first, BREAKER)
    third = service.deploy()
    yield rng.uniform(5, 30)
    _given_up(service, second, BREAKER)
    yield from _goes_live(service, third, rng)


def crash_loop_after_running(service: Service, rng: Random) -> Steps:
    """Each task runs for a while, so that nothing is wrong to see, and dies; no breaker sees it."""
    primary, gap = service.primary, rng.uniform(1, 7) * MINUTE
    service.truth.is_failing(service.account.scheduler.clock, True)
    for _ in range(rng.randint(3, 8)):
        service.stop_task(primary, EXITED, "EssentialContainerExited", 1)
        yield rng.uniform(2, 30)
        service.place_task(primary)
        yield rng.uniform(10, 30)
        service.start_task(primary)
        yield gap * rng.uniform(0.7, 1.3)
    service.action("ECS_OPERATION_THROTTLED", "ERROR", "too many task starts")
    service.truth.is_failing(service.account.scheduler.clock, False)


def no_capacity(service: Service, rng: Random) -> Steps:
    """Tasks cannot be placed for a while; then they are."""
    primary = service.primary
    service.stop_task(primary, SPOT, "SpotInterruption", 137)
    service.truth.is_failing(service.account.scheduler.clock, True)
    for _ in range(rng.randint(1, 4)):
        service.place_task(primary)
        service.action("SERVICE_TASK_PLACEMENT_FAILURE", "ERROR", "RESOURCE:FARGATE")
        yield rng.uniform(30, 400)
        primary.pending = 0
    service.settle_at(service.desired)
    service.action("SERVICE_STEADY_STATE", "INFO")
    service.truth.is_failing(service.account.scheduler.clock, False)


def deleted_midway(service: Service, rng: Random) -> Steps:
    """A release fails, and somebody deletes the whole service."""
    new = service.deploy()
    yield from _never_starts(service, new, rng, 3)
    _given_up(service, new, BREAKER)
    yield rng.uniform(1, 200)
    service.delete()


def scaled_during_a_failing_deployment(service: Service, rng: Random) -> Steps:
    """Auto scaling asks for more while the release fails."""
    new = service.deploy()
    yield from _never_starts(service, new, rng, 2)
    service.scale(service.desired + 2)
    yield from _never_starts(service, new, rng, 2)
    _given_up(service, new, BREAKER)
    yield from _rolled_back(service, new, rng)


def scaled_to_zero_after_failing(service: Service, rng: Random) -> Steps:
    """A release fails; somebody scales the service to nothing."""
    new = service.deploy()
    yield from _never_starts(service, new, rng, 3)
    _given_up(service, new, BREAKER)
    yield rng.uniform(10, 200)
    service.scale(0)
    service.settle_at(0)


def fixed_by_the_next_release(service: Service, rng: Random) -> Steps:
    """One release fails, the next goes live."""
    new = service.deploy()
    yield from _never_starts(service, new, rng, 3)
    _given_up(service, new, BREAKER)
    yield rng.uniform(30, 300)
    fix = service.deploy()
    service.drop(new)
    yield from _goes_live(service, fix, rng)


def daemon_misses_an_instance(service: Service, rng: Random) -> Steps:
    """A daemon's task cannot be placed on one instance."""
    service.scheduling = "DAEMON"
    service.truth.is_failing(service.account.scheduler.clock, True)
    service.stop_task(service.primary, EXITED, "EssentialContainerExited", 137)
    yield rng.uniform(5, 60)
    name = "SERVICE_DAEMON_PLACEMENT_CONSTRAINT_VIOLATED"
    service.action(name, "ERROR", "MemberOf placement constraint unsatisfied")


def fails_in_many_ways(service: Service, rng: Random) -> Steps:
    """One cause after another, and back again: each change of cause is news."""
    service.truth.is_failing(service.account.scheduler.clock, True)
    service.stop_task(service.primary, SPOT, "SpotInterruption", 137)
    service.place_task(service.primary)
    for _ in range(rng.randint(2, 5)):
        reason = rng.choice(["RESOURCE:CPU", "RESOURCE:MEMORY", "AGENT"])
        service.action("SERVICE_TASK_PLACEMENT_FAILURE", "ERROR", reason)
        yield rng.choice([0.01, rng.uniform(0.01, 5), rng.uniform(5, 120)])


def stays_down(service: Service, rng: Random) -> Steps:
    """A task is gone and cannot be placed again."""
    service.truth.is_failing(service.account.scheduler.clock, True)
    service.stop_task(service.primary, SPOT, "SpotInterruption", 137)
    service.action("SERVICE_TASK_PLACEMENT_FAILURE", "ERROR", "RESOURCE:MEMORY")
    yield rng.uniform(0, 1)


def loops_for(seconds: float, *, regular: bool = True) -> Story:
    """Tasks run for a while, so that all looks well, and die, for so long.

    A regular loop's gaps are about of one length; another's are between one and nine minutes.
    """

    def loops(service: Service, rng: Random) -> Steps:
        def clock() -> float:
            return service.account.scheduler.clock

        began, gap = clock(), rng.uniform(3, 45) * MINUTE
        service.truth.is_failing(began, True)
        while clock() < began + seconds:
            service.stop_task(service.primary, EXITED, "EssentialContainerExited", 1)
            yield rng.uniform(2, 30)
            service.place_task(service.primary)
            yield rng.uniform(10, 30)
            service.start_task(service.primary)
            yield gap * rng.uniform(0.7, 1.3) if regular else rng.uniform(1, 9) * MINUTE
        service.truth.is_failing(clock(), False)

    return loops


# --- what ECS sends no failure of: no circuit breaker, no alarms, no impaired starts ------------


def dies_after_running(service: Service, rng: Random) -> Steps:
    """A release whose tasks run for some seconds or minutes, and exit with 1, again and again."""
    new = service.deploy()
    service.truth.is_failing(service.account.scheduler.clock, True)
    for _ in range(12):
        service.place_task(new)
        yield rng.uniform(10, 30)
        service.start_task(new)
        yield rng.uniform(5, 180)
        service.stop_task(new, EXITED, "EssentialContainerExited", 1)
        yield rng.uniform(1, 60)


def cannot_pull(service: Service, rng: Random) -> Steps:
    """A release whose image is not there: ECS tries again and again, and says nothing for long."""
    new = service.deploy()
    service.truth.is_failing(service.account.scheduler.clock, True)
    yield from _never_starts(service, new, rng, 12)


def runs_out_of_memory_every_ten_minutes(service: Service, rng: Random) -> Steps:
    """Nobody deployed anything; for eight hours each task fills its memory in ten minutes."""
    service.truth.is_failing(service.account.scheduler.clock, True)
    for _ in range(48):
        yield 10 * MINUTE * rng.uniform(0.9, 1.1) - 60
        service.stop_task(
            service.primary, EXITED, "EssentialContainerExited", 137, container_says=OUT_OF_MEMORY
        )
        yield 30
        service.place_task(service.primary)
        yield 30
        service.start_task(service.primary)
    service.truth.is_failing(service.account.scheduler.clock, False)


def stays_pending(service: Service, rng: Random) -> Steps:
    """A release of which one task starts, and no other ever does; none of them ends."""
    new = service.deploy()
    service.grace = rng.choice([0, 60, 300])
    service.place_task(new)
    yield rng.uniform(10, 60)
    service.start_task(new)
    service.truth.is_failing(service.account.scheduler.clock, True)
    service.desired = new.desired = 4
    service.place_task(new)
    yield 60 * MINUTE


SILENT: dict[str, Story] = {
    story.__name__: story
    for story in (
        dies_after_running,
        cannot_pull,
        runs_out_of_memory_every_ten_minutes,
        stays_pending,
    )
}

TROUBLE: dict[str, Story] = {
    story.__name__: story
    for story in (
        fail_without_breaker,
        breaker_fails,
        breaker_rolls_back,
        breaker_rolls_back_to_the_old_id,
        rolls_back_before_it_says_failed,
        roll_back_fails,
        alarm_rolls_back,
        stopped_by_hand,
        superseded_three_times,
        crash_loop_after_running,
        no_capacity,
        deleted_midway,
        scaled_during_a_failing_deployment,
        scaled_to_zero_after_failing,
        fixed_by_the_next_release,
        daemon_misses_an_instance,
        fails_in_many_ways,
        stays_down,
    )
}


# --- healthy days -------------------------------------------------------------------------------


def release_goes_live(service: Service, rng: Random) -> Steps:
    """A rolling update as it should be."""
    yield from _goes_live(service, service.deploy(), rng)


def slow_start(service: Service, rng: Random) -> Steps:
    """Each task takes minutes to start; nothing is wrong."""
    new = service.deploy()
    for _ in range(service.desired):
        service.place_task(new)
        yield rng.uniform(4, 10) * MINUTE
        service.start_task(new)
    yield 5.0
    service.complete(new)


def drains_slowly(service: Service, rng: Random) -> Steps:
    """The new tasks run; the old ones keep their connections for 300 s."""
    new = service.deploy()
    for _ in range(service.desired):
        service.place_task(new)
        yield rng.uniform(10, 30)
        service.start_task(new)
    yield 300.0
    service.complete(new)


def bakes(service: Service, rng: Random) -> Steps:
    """Blue/green: both run side by side for the whole bake time."""
    new = service.deploy()
    for _ in range(service.desired):
        service.place_task(new)
        yield rng.uniform(10, 30)
        service.start_task(new)
    yield rng.uniform(10, 60) * MINUTE
    service.complete(new)


def waits_for_a_hook(service: Service, rng: Random) -> Steps:
    """Blue/green: a hook holds the deployment back before any task of it starts, then after."""
    service.has_hook = True
    new = service.deploy()
    release = service.releases[-1]
    release.stage = "PRE_SCALE_UP"
    service.changed()
    yield rng.uniform(16, 90) * MINUTE
    release.stage = "SCALE_UP"
    for _ in range(service.desired):
        service.place_task(new)
        yield rng.uniform(10, 60)
        service.start_task(new)
    release.stage = "POST_SCALE_UP"
    yield rng.uniform(5, 60) * MINUTE
    service.complete(new)


def scales_in(service: Service, rng: Random) -> Steps:
    """Auto scaling takes tasks away: they end with 137 or 143, and all is well."""
    primary = service.primary
    service.scale(max(service.desired - 1, 1))
    yield rng.uniform(1, 60)
    reason = SCALING.format(primary.id)
    service.stop_task(primary, reason, "ServiceSchedulerInitiated", rng.choice([0, 137, 143]))
    service.settle_at(service.desired)
    service.action("SERVICE_STEADY_STATE", "INFO")


def scales_out(service: Service, rng: Random) -> Steps:
    """Auto scaling adds tasks."""
    service.scale(service.desired + 2)
    for _ in range(2):
        service.place_task(service.primary)
        yield rng.uniform(10, 60)
        service.start_task(service.primary)
    service.action("SERVICE_STEADY_STATE", "INFO")


def scaled_during_a_deployment(service: Service, rng: Random) -> Steps:
    """Auto scaling asks for one more while a release goes live."""
    new = service.deploy()
    service.place_task(new)
    yield rng.uniform(10, 40)
    service.start_task(new)
    service.scale(service.desired + 1)
    yield from _goes_live(service, new, rng)


def spot_is_reclaimed(service: Service, rng: Random) -> Steps:
    """Fargate Spot takes a task back, and gives another."""
    primary = service.primary
    service.stop_task(primary, SPOT, "SpotInterruption", 137)
    yield rng.uniform(1, 20)
    service.place_task(primary)
    yield rng.uniform(10, 60)
    service.start_task(primary)
    service.action("SERVICE_STEADY_STATE", "INFO")


def redeployed(service: Service, rng: Random) -> Steps:
    """The same revision once more, as with --force-new-deployment."""
    yield from _goes_live(service, service.deploy(service.primary.revision), rng)


def scaled_to_zero(service: Service, rng: Random) -> Steps:
    """Switched off for the night, and on again."""
    was = service.desired
    service.scale(0)
    service.settle_at(0)
    yield rng.uniform(10, 600) * MINUTE
    service.scale(was)
    yield rng.uniform(20, 60)
    service.settle_at(was)
    service.action("SERVICE_STEADY_STATE", "INFO")


def daemon_follows_its_instances(service: Service, rng: Random) -> Steps:
    """Instances come and go, and the daemon's tasks with them."""
    service.scheduling = "DAEMON"
    for desired in (3, 2):
        service.scale(desired)
        yield rng.uniform(20, 60)
        service.settle_at(desired)
    service.action("SERVICE_STEADY_STATE", "INFO")


HEALTHY: dict[str, Story] = {
    story.__name__: story
    for story in (
        release_goes_live,
        slow_start,
        drains_slowly,
        bakes,
        waits_for_a_hook,
        scales_in,
        scales_out,
        scaled_during_a_deployment,
        spot_is_reclaimed,
        redeployed,
        scaled_to_zero,
        daemon_follows_its_instances,
    )
}
