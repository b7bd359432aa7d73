"""Which ends of tasks that belong to no service are news, and to whom."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import permutations
from random import Random
from typing import Any

import pytest

from notifier.events import parse
from notifier.incidents import Policy, decide
from notifier.model import (
    ClusterState,
    EssentialContainers,
    Event,
    NotReadable,
    Observation,
    Observed,
    Phase,
    Reason,
    Route,
    ServiceState,
)
from notifier.settings import StandaloneTasks
from notifier.standalone import family_of, why_left_out
from notifier.store.rows import to_json
from notifier.task_runs import last_success
from tests.hostile import TEXTS
from tests.jobs import (
    CAPACITY,
    EXITED,
    container,
    definition,
    later,
    run_task,
    task_stopped,
)
from tests.watch import CLUSTER, START

POLICY = Policy(route=Route(pattern="*", destination="C01"))
KEY = "standalone task: nightly-report"
EMPTY = ClusterState(key=CLUSTER, account="123456789012", region="eu-west-1", partition="aws")


def event(body: Any) -> Event:
    read = parse(body)
    assert isinstance(read, Event)
    return read


class Told:
    """A cluster, and the reasons for which what happens in it is told or not."""

    def __init__(self) -> None:
        self.cluster = EMPTY
        self.now = START

    def see(self, *bodies: Any, at: datetime | None = None) -> list[Reason]:
        self.now = at or self.now
        return self.look(*(Observed(event=event(one), received_at=self.now) for one in bodies))

    def look(self, *observations: Observation) -> list[Reason]:
        decision = decide(self.cluster, observations, self.now, POLICY)
        self.cluster = decision.cluster
        return list(decision.reasons)

    @property
    def task(self) -> ServiceState:
        return self.cluster.services[KEY]


@pytest.fixture
def told() -> Told:
    return Told()


def fail(number: int, minutes: float = 0, **more: Any) -> dict[str, Any]:
    return task_stopped(number, at=later(minutes), **more)


def succeed(number: int, minutes: float = 0, **more: Any) -> dict[str, Any]:
    return task_stopped(number, at=later(minutes), exit_code=0, **more)


# --- which tasks are told -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("started_by", "scheduled"),
    [
        ("events-rule/nightly-report", True),
        ("chronos-schedule/nightly-report-of-all-the", True),
        ("ecs-watch", False),
        ("ecsw/0123456789abcdef/1", True),
        ("AWS Step Functions", False),
        ("someone", False),
        ("", False),
    ],
)
def test_by_default_only_what_a_schedule_started_and_ecs_watch_tried_again_is_told(
    started_by: str, scheduled: bool
) -> None:
    stopped = event(fail(1, startedBy=started_by))

    assert (not why_left_out(stopped, StandaloneTasks.SCHEDULED)) is scheduled
    assert not why_left_out(stopped, StandaloneTasks.ALL)
    assert why_left_out(stopped, StandaloneTasks.OFF) == "StandaloneTasks=off"


def test_a_success_of_a_run_by_hand_counts_too_for_it_may_be_of_a_job_that_failed() -> None:
    by_hand = event(succeed(1, startedBy="ecs-watch"))

    assert not why_left_out(by_hand, StandaloneTasks.SCHEDULED)


@pytest.mark.parametrize("which", StandaloneTasks)
def test_what_a_person_stopped_is_never_told(which: StandaloneTasks) -> None:
    stopped = event(fail(1, stopCode="UserInitiated", stoppedReason="Task stopped by user"))

    assert why_left_out(stopped, which)


def test_a_refused_call_of_the_scheduler_is_known_by_its_caller_where_its_request_is_hidden() -> (
    None
):
    refused = event(run_task(1, requestParameters=None, errorCode="AccessDeniedException"))
    by_hand = {"type": "IAMUser", "userName": "mika"}

    assert not why_left_out(refused, StandaloneTasks.SCHEDULED)
    assert why_left_out(
        event(run_task(1, requestParameters=None, errorCode="X", userIdentity=by_hand)),
        StandaloneTasks.SCHEDULED,
    )


@pytest.mark.parametrize("group", ["service:web", "service:not a name"])
def test_a_task_of_a_service_is_none_of_these(told: Told, group: str) -> None:
    told.see(fail(1, group=group, startedBy="ecs-svc/1"))

    assert KEY not in told.cluster.services


def test_a_call_that_started_all_it_was_asked_for_is_about_nothing(told: Told) -> None:
    started = run_task(1, responseElements={"tasks": [{}], "failures": []})

    assert told.see(started) == [Reason.NO_SUBJECT]


@pytest.mark.parametrize(
    ("text", "family"),
    [
        (definition("job", 3), "job"),
        ("job:3", "job"),
        ("job", "job"),
        ("", "unknown"),
        ("<!channel>", "unknown"),
        ("a b: c", "unknown"),
    ],
)
def test_a_family_is_known_by_whatever_names_a_task_definition(text: str, family: str) -> None:
    assert family_of(text) == family


# --- how a run ended ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        {"exit_code": 1},
        {"exit_code": 137},
        {"exit_code": 143},
        {"exit_code": None, "stopCode": "TaskFailedToStart", "stoppedReason": "CannotPull…"},
        {"exit_code": None},
        {"exit_code": 0, "stopCode": "SpotInterruption", "stoppedReason": "Your Spot Task was…"},
        {"exit_code": 0, "stopCode": "", "stoppedReason": "Host EC2 (instance i-1) terminated."},
        {"exit_code": 0, "stopCode": "TaskFailedToStart", "stoppedReason": "RESOURCE:ENI"},
        {"containers": []},
        {"containers": [container(exit_code=0, reason="OutOfMemoryError: killed")]},
    ],
)
def test_whatever_did_not_do_its_work_has_failed(told: Told, more: dict[str, Any]) -> None:
    assert told.see(fail(1, **more)) == [Reason.NEWLY_FAILING]


@pytest.mark.parametrize("code", ["EssentialContainerExited", ""])
def test_what_ended_with_zero_by_itself_did_its_work(told: Told, code: str) -> None:
    assert told.see(succeed(1, stopCode=code)) == [Reason.PROGRESS]
    assert told.task.phase is Phase.WELL


@pytest.mark.parametrize(
    ("app", "proxy", "essential", "reason"),
    [
        (0, 1, ("app",), Reason.PROGRESS),
        (0, None, ("app",), Reason.PROGRESS),
        (0, 143, ("app", "proxy"), Reason.PROGRESS),
        (0, 1, ("app", "proxy"), Reason.NEWLY_FAILING),
        (137, 0, ("app",), Reason.NEWLY_FAILING),
        (1, 0, ("app",), Reason.NEWLY_FAILING),
        (None, 0, ("app",), Reason.NEWLY_FAILING),
        (137, 0, ("app", "proxy"), Reason.NEWLY_FAILING),
        (0, 137, ("app", "proxy"), Reason.NEWLY_FAILING),
        (0, 137, ("app",), Reason.PROGRESS),
    ],
)
def test_the_essential_container_decides_once_it_is_read_which_one_it_is(
    told: Told, app: int | None, proxy: int | None, essential: tuple[str, ...], reason: Reason
) -> None:
    containers = [container("app", app), container("proxy", proxy)]

    assert told.see(fail(1, containers=containers)) == [Reason.IS_UNDECIDED]
    assert told.task.due_at == told.now
    known = EssentialContainers(service=KEY, task_definition=definition(), names=essential)
    assert told.look(known) == [reason]
    # Of the next run of this revision it is known.
    again = {Reason.PROGRESS: Reason.PROGRESS, Reason.NEWLY_FAILING: Reason.REPEATED}
    assert told.see(fail(2, 1, containers=containers)) == [again[reason]]


@pytest.mark.parametrize(
    ("codes", "reason"),
    [((0, 143), Reason.PROGRESS), ((0, 1), Reason.NEWLY_FAILING), ((0, 137), Reason.PROGRESS)],
)
def test_where_it_cannot_be_read_a_side_car_that_was_stopped_is_no_failure(
    told: Told, codes: tuple[int, int], reason: Reason
) -> None:
    told.see(fail(1, containers=[container("app", codes[0]), container("proxy", codes[1])]))

    assert told.look(NotReadable(service=KEY, why="not shown by ECS")) == [reason]


# --- what is news ---------------------------------------------------------------------------------


def test_a_failure_is_told_and_so_is_the_next_success_of_its_own_once(told: Told) -> None:
    seen = told.see(fail(1), succeed(2, 1), succeed(3, 2))

    assert seen == [Reason.NEWLY_FAILING, Reason.RECOVERED, Reason.PROGRESS]
    assert told.task.phase is Phase.RECOVERED
    assert told.cluster.open_services == 0


@pytest.mark.parametrize(
    "other",
    [
        {"command": ["python", "other.py"]},
        {"startedBy": "chronos-schedule/hourly-report"},
        {"family": "another-report"},
    ],
)
def test_a_success_of_another_starter_command_or_family_is_none_of_its_own(
    told: Told, other: dict[str, Any]
) -> None:
    assert told.see(fail(1), succeed(2, 1, **other)) == [Reason.NEWLY_FAILING, Reason.PROGRESS]
    assert told.task.phase is Phase.TASK_FAILED


@pytest.mark.parametrize("starter", ["ecs-watch", "ecsw/0123456789abcdef/1"])
def test_what_ecs_watch_started_again_is_a_run_of_the_job_that_failed(
    told: Told, starter: str
) -> None:
    seen = told.see(run_task(1), succeed(2, 1, startedBy=starter))

    assert seen == [Reason.NEWLY_FAILING, Reason.RECOVERED]


def test_a_call_that_started_nothing_and_the_run_that_did_are_of_one_job(told: Told) -> None:
    seen = told.see(run_task(1, command=["a"]), succeed(2, 5, command=["a"]))

    assert seen == [Reason.NEWLY_FAILING, Reason.RECOVERED]


def test_the_same_failure_again_is_counted_and_told_again_after_four_hours(told: Told) -> None:
    assert told.see(fail(1)) == [Reason.NEWLY_FAILING]
    assert told.see(fail(2, 60), at=later(60)) == [Reason.REPEATED]
    assert told.task.count == 2
    assert told.see(fail(3, 240), at=later(240)) == [Reason.STILL_FAILING]


def test_another_cause_is_told(told: Told) -> None:
    assert told.see(fail(1), run_task(2, at=later(1))) == [
        Reason.NEWLY_FAILING,
        Reason.ANOTHER_CAUSE,
    ]


def test_a_job_that_fails_in_turn_is_told_thrice_and_then_counted_until_a_quiet_hour(
    told: Told,
) -> None:
    reasons = []
    for n in range(0, 60, 2):
        reasons += told.see(fail(n, n), at=later(n))
        reasons += told.see(succeed(n + 1, n + 1), at=later(n + 1))

    assert reasons.count(Reason.FLAPPING) == 1
    news = [one for one in reasons if one not in (Reason.FLAPS_ON, Reason.PROGRESS)]
    assert len(news) <= 6
    assert told.see(fail(100, 200), at=later(200)) == [Reason.FAILING_AGAIN]


def test_with_a_new_command_for_every_run_a_job_that_fails_every_minute_does_not_flood(
    told: Told,
) -> None:
    reasons = [
        one for n in range(500) for one in told.see(fail(n, n, command=[f"--at={n}"]), at=later(n))
    ]

    assert sum(one not in (Reason.FLAPS_ON, Reason.REPEATED) for one in reasons) <= 6
    assert len(told.task.runs) == 10
    assert set(told.cluster.services) == {KEY}


def test_after_the_window_it_reads_not_run_since(told: Told) -> None:
    told.see(fail(1))
    due_at = told.task.due_at
    assert due_at == START + POLICY.window
    revision = told.cluster.revision

    told.now = due_at
    assert told.look(NotReadable(service=KEY, why="not shown by ECS")) == [Reason.NOT_RUN_SINCE]

    assert told.task.phase is Phase.NOT_RUN
    assert told.task.due_at is None
    assert told.cluster.revision == revision + 1, "the root is edited"
    assert told.task.transitions[-1].reason is Reason.NEWLY_FAILING, "and nothing is posted"


def test_a_failure_of_which_a_success_is_known_already_is_told_as_over(told: Told) -> None:
    assert told.see(succeed(2, 5), fail(1, 1)) == [Reason.PROGRESS, Reason.OVER_BEFORE_TOLD]
    assert told.see(fail(1, 1)) == [Reason.SECOND_COPY]
    assert told.task.phase is Phase.RECOVERED


def test_it_holds_no_incident_open_and_its_incident_is_over_at_once(told: Told) -> None:
    told.see(fail(1))

    assert told.cluster.open_services == 0
    assert (told.cluster.generation, told.cluster.closed_at) == (1, START)
    assert told.task.generation == 1
    told.see(fail(2, 120, startedBy="events-rule/other"), at=later(120))
    assert told.cluster.generation == 2, "after the window another one begins"


def test_two_events_of_one_task_count_once_and_the_newer_version_is_believed(told: Told) -> None:
    assert told.see(
        fail(1, version=5), fail(1, version=6, containers=[container(exit_code=9)])
    ) == [
        Reason.NEWLY_FAILING,
        Reason.REPEATED,
    ]
    (run,) = told.task.runs
    assert [one.containers[0].exit_code for one in run.ends] == [9]
    assert told.see(fail(1, version=4)) == [Reason.SECOND_COPY]


def test_the_order_and_repetition_of_events_changes_nothing_of_what_is_known() -> None:
    happened = [
        fail(1, 0),
        run_task(2, at=later(3)),
        succeed(3, 5),
        fail(4, 7),
        succeed(5, 8, command=["x"]),
    ]

    ends = {known(order) for order in permutations([*happened])}

    assert len(ends) == 1


def test_repeated_events_in_any_order_change_nothing_either() -> None:
    random = Random(7)
    happened = [fail(n, n) if n % 3 else succeed(n, n) for n in range(9)]
    ends = set()
    for _ in range(100):
        copies = [*happened, *random.choices(happened, k=6)]
        random.shuffle(copies)
        ends.add(known(copies))

    assert len(ends) == 1


def known(bodies: Sequence[Any]) -> str:
    told = Told()
    for body in bodies:
        told.see(body)
    task = told.task
    runs = sorted((replace(one, revision=0) for one in task.runs), key=lambda one: one.command)
    return repr((task.phase, task.since, task.count, runs))


def test_a_copy_of_what_was_decided_meanwhile_changes_nothing(told: Told) -> None:
    both = fail(1, containers=[container("app", 0), container("proxy", 1)])
    told.see(both)
    told.look(NotReadable(service=KEY, why="no permission"))

    assert told.see(both) == [Reason.SECOND_COPY]


def test_the_largest_that_a_row_may_come_to_hold_fits_into_an_item(told: Told) -> None:
    huge = [container(f"c{n}", 1, f"{n}" + "x" * 9_000) for n in range(50)]
    for n in range(50):
        command = [f"{n} {m} " + "y" * 2_000 for m in range(50)]
        told.see(fail(n, n, containers=huge, command=command, stoppedReason=EXITED + "z" * 9_000))

    assert len(to_json(told.task)) < 300_000


def test_only_the_newest_success_is_kept_and_a_few_failures(told: Told) -> None:
    for n in range(100):
        told.see(succeed(2 * n, 2 * n), fail(2 * n + 1, 2 * n + 1))

    (run,) = told.task.runs
    assert sum(bool(one.is_success) for one in run.ends) == 1
    assert len(run.ends) == 11
    assert last_success(run) == later(198)


def test_no_value_of_a_variable_is_kept(told: Told) -> None:
    told.see(fail(1, environment={"DB_PASSWORD": "hunter2-secret"}))

    assert "DB_PASSWORD" in repr(told.task)
    assert "hunter2-secret" not in repr(told.task)


def test_account_and_region_are_those_of_the_envelope(told: Told) -> None:
    forged = run_task(1) | {"account": "999999999999"}

    read = event(forged)

    assert read.cluster_arn == CLUSTER.replace("123456789012", "999999999999")


@pytest.mark.parametrize("text", TEXTS)
def test_whatever_a_task_says_of_itself_can_be_decided_on(told: Told, text: str) -> None:
    body = fail(
        1,
        stoppedReason=text,
        startedBy=text,
        group=f"family:{text}",
        taskDefinitionArn=text,
        containers=[{"name": text, "exitCode": 1, "reason": text}],
        command=[text],
        environment={text: text},
    )

    told.see(body, run_task(2, errorCode=text, errorMessage=text, requestParameters={"x": text}))

    for key in told.cluster.services:
        assert key.isascii()
        assert len(key) < 300


def test_a_row_ends_three_months_after_its_last_event_whatever_was_in_it(told: Told) -> None:
    told.see(fail(1, command=["once"]), succeed(2))
    at = START + timedelta(days=91)

    told.see(task_stopped(3, at=at, exit_code=0), at=at)

    assert [one.command for one in told.task.runs] == [""], "the failure is history"


def test_why_a_call_failed_is_in_the_words_of_its_failures_or_of_its_error(told: Told) -> None:
    told.see(run_task(1))
    (run,) = told.task.runs
    assert run.ends[0].reason == CAPACITY
    assert EXITED not in run.ends[0].reason
