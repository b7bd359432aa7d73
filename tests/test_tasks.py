"""Which stop of a task is bad, and which is only ECS at work."""

from dataclasses import replace

import pytest

from notifier.facts import Container
from notifier.model import TaskStateChange
from notifier.tasks import Stop, cause_of_stop, verdict_on_stop
from tests.permutations import stop

SCHEDULER = "ServiceSchedulerInitiated"
NEVER_STARTED = "TaskFailedToStart"
EXITED = "Essential container in task exited"


def stopped(reason: str, code: str, *containers: Container) -> TaskStateChange:
    task: TaskStateChange = stop(0, "a", reason=reason, code=code)
    return replace(task, containers=containers) if containers else task


def container(exit_code: int | None, reason: str = "") -> Container:
    return Container(name="app", exit_code=exit_code, reason=reason)


@pytest.mark.parametrize(
    ("reason", "code", "exit_code"),
    [
        ("Scaling activity initiated by (deployment ecs-svc/42)", SCHEDULER, 137),
        ("Scaling activity initiated by (deployment ecs-svc/42)", SCHEDULER, 143),
        ("Scaling activity initiated by (deployment ecs-svc/42)", SCHEDULER, 1),
        ("Task stopped by user", "UserInitiated", 0),
        ("custodian policy: an essential container is outOfMemory", "UserInitiated", 1),
        ("Your Spot Task was interrupted.", "SpotInterruption", 143),
        ("Your Spot Task was interrupted.", "TerminationNotice", 143),
        ("Host EC2 (instance i-0) terminated.", "", None),
        (
            "ECS is performing maintenance on the underlying infrastructure hosting the task",
            "InfrastructureHealth",
            143,
        ),
        ("something nobody has read before", SCHEDULER, 137),
    ],
)
def test_what_ecs_or_a_person_stops_is_benign_whatever_the_exit_code(
    reason: str, code: str, exit_code: int | None
) -> None:
    assert verdict_on_stop(stopped(reason, code, container(exit_code))) is Stop.BENIGN


@pytest.mark.parametrize("exit_code", [0, 137, 143, None])
@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("Task failed ELB health checks in (target-group arn:x)", SCHEDULER),
        ("Task failed container health checks", SCHEDULER),
        ("(task 1) (port 80) is unhealthy in (target-group arn:x)", SCHEDULER),
        ("CannotPullContainerError: pull image manifest has been retried 1 time(s)", NEVER_STARTED),
        ("The task can\u2019t pull the image. Check that the role", NEVER_STARTED),
        ("ResourceInitializationError: unable to pull secrets", NEVER_STARTED),
        ("CannotStartContainerError: failed to get container status", NEVER_STARTED),
        ("ContainerRuntimeTimeoutError: could not start", NEVER_STARTED),
        ("InternalError: ENI", NEVER_STARTED),
        ("TaskFailedToStart: RESOURCE:CPU", NEVER_STARTED),
        ("Unexpected EC2 error while attempting to Create Network Interface", NEVER_STARTED),
        ("Timeout waiting for network interface provisioning to complete.", NEVER_STARTED),
        ("something nobody has read before", NEVER_STARTED),
    ],
)
def test_what_failed_to_start_or_to_be_healthy_is_failing_whatever_the_exit_code(
    reason: str, code: str, exit_code: int | None
) -> None:
    assert verdict_on_stop(stopped(reason, code, container(exit_code))) is Stop.FAILING


@pytest.mark.parametrize("exit_code", [1, 2, 137, 139, 143, 255, None])
def test_a_container_that_exits_with_another_code_than_zero_is_failing(
    exit_code: int | None,
) -> None:
    task = stopped(EXITED, "EssentialContainerExited", container(exit_code))

    assert verdict_on_stop(task) is Stop.FAILING


def test_out_of_memory_stands_in_a_containers_reason_only() -> None:
    reason = "OutOfMemoryError: Container killed due to memory usage"
    containers = (container(0), container(137, reason))
    task = stopped(EXITED, "EssentialContainerExited", *containers)

    assert verdict_on_stop(task) is Stop.FAILING
    assert cause_of_stop(task) == reason


@pytest.mark.parametrize("others", [(), (0,), (137,), (143,), (None,), (143, 137, 0)])
def test_an_exit_with_zero_is_clean_whatever_ecs_then_did_to_the_side_cars(
    others: tuple[int | None, ...],
) -> None:
    containers = (container(0), *map(container, others))
    task = stopped(EXITED, "EssentialContainerExited", *containers)

    assert verdict_on_stop(task) is Stop.CLEAN_EXIT


def test_an_exit_with_zero_beside_a_crash_is_not_clean() -> None:
    task = stopped(EXITED, "EssentialContainerExited", container(0), container(1))

    assert verdict_on_stop(task) is Stop.FAILING


@pytest.mark.parametrize("status", ["RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING"])
def test_a_task_that_has_not_stopped_yet_is_not_judged(status: str) -> None:
    task = replace(stopped(EXITED, "EssentialContainerExited"), last_status=status)

    assert verdict_on_stop(task) is Stop.BENIGN


def test_the_cause_is_the_stopped_reason_where_no_container_gives_one() -> None:
    assert cause_of_stop(stopped(EXITED, "EssentialContainerExited")) == EXITED
