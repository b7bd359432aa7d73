"""What tasks.yaml does for a job is told in its thread: each attempt, the end, a failed runbook."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from random import Random
from typing import Any

import pytest

from notifier.events import parse
from notifier.incidents import Policy, decide
from notifier.model import (
    ClusterState,
    Event,
    Message,
    Observed,
    Phase,
    Reason,
    Refusal,
    Refused,
    Route,
    ServiceState,
    Unknown,
)
from notifier.rendering import Telling, reply_message, root_message
from notifier.settings import StandaloneTasks
from notifier.standalone import why_left_out
from notifier.store.rows import from_json, to_json
from notifier.task_runs import all_runs, failures, key_of
from tests.hostile import TEXTS, live
from tests.jobs import (
    CAPACITY,
    definition,
    execution_id,
    later,
    retry,
    run_task,
    runbook_failed,
    task_stopped,
)
from tests.watch import CLUSTER, START, TableClient, Watch, deployment_failed

KEY = "standalone task: nightly-report"
POLICY = Policy(route=Route(pattern="*", destination="C01"))
EMPTY = ClusterState(key=CLUSTER, account="123456789012", region="eu-west-1", partition="aws")
JOB = f"{1:016x}"
BY_JOB = f"ecsw/{JOB}/3"

CALL = run_task(1)
FIRST, SECOND, THIRD = (retry(n, at=later(2 * n)) for n in (1, 2, 3))
STARTED = retry(4, "STARTED", at=later(8))
GIVEN_UP = retry(4, "GIVEN_UP", at=later(8), attempt=5)
RAN_WELL = task_stopped(9, at=later(20), startedBy=BY_JOB, exit_code=0)
RAN_BADLY = task_stopped(9, at=later(20), startedBy=BY_JOB, exit_code=3)


@pytest.fixture
def watch() -> Watch:
    return Watch("*=C01,mention=S0SRE", client=TableClient())


def event(body: Any) -> Event:
    read = parse(body)
    assert isinstance(read, Event)
    return read


def decided(*bodies: Any) -> tuple[ServiceState, list[Reason]]:
    """The family's row after these events one after another, and why each is told or not."""
    cluster, reasons = EMPTY, list[Reason]()
    for body in bodies:
        seen = Observed(event=event(body), received_at=START)
        decision = decide(cluster, [seen], START, POLICY)
        cluster = decision.cluster
        reasons += decision.reasons
    return cluster.services[KEY], reasons


def blocks(message: Message) -> str:
    return json.dumps(message.blocks, ensure_ascii=False)


def offer(watch: Watch, *bodies: Any) -> None:
    watch.offer(*bodies)
    watch.ticks(1)


def offer_each(watch: Watch, bodies: Iterable[Any]) -> None:
    for body in bodies:
        offer(watch, body)


def texts(watch: Watch) -> list[str]:
    return [one.message.text for one in watch.slack.replies]


# --- what is said ---------------------------------------------------------------------------------


def test_each_attempt_and_the_end_are_short_replies_in_the_thread_of_the_failure(
    watch: Watch,
) -> None:
    offer_each(watch, [CALL, FIRST, SECOND, THIRD, STARTED])

    (root,) = watch.slack.roots
    assert {one.thread_ts for one in watch.slack.replies} == {root.ts}
    failure, *said = texts(watch)
    assert "nightly-report: could not be started" in failure
    assert said == [
        "🔁 prod-web / nightly-report: 1 of 1 task did not start; "
        "tried again in about 3 min, at most 5 times.",
        "🔁 prod-web / nightly-report: After attempt 1 of 5, 1 of 1 task still did not start; "
        "the next is in about 3 min.",
        "🔁 prod-web / nightly-report: After attempt 2 of 5, 1 of 1 task still did not start; "
        "the next is in about 3 min.",
        "🟠 prod-web / nightly-report: Started after all, by attempt 3 of 5.",
    ]
    assert CAPACITY in blocks(watch.slack.replies[1].message)
    assert all("run-task" not in blocks(one.message) for one in watch.slack.replies[1:])


def test_nobody_is_mentioned_and_the_channel_is_left_alone_by_an_attempt(watch: Watch) -> None:
    offer(watch, CALL)
    assert "<!subteam^S0SRE>" in blocks(watch.slack.roots[0].message)
    offer_each(watch, [FIRST, SECOND, GIVEN_UP])

    assert "subteam" not in blocks(watch.slack.roots[0].message), "an edit rings nobody"
    assert not [one for one in watch.slack.replies if "subteam" in blocks(one.message)]
    assert not [one for one in watch.slack.replies if one.is_broadcast]


@pytest.mark.parametrize(
    ("end", "sign", "said"),
    [
        (STARTED, "🟠", "started after 3 attempts"),
        (GIVEN_UP, "🔴", "given up after 5 attempts"),
        (
            retry(4, "GIVEN_UP", attempt=5, reason="RESOURCE:ENI"),
            "🔴",
            "given up after 5 attempts: RESOURCE:ENI",
        ),
        (
            retry(4, "UNKNOWN", reason="RunTask's answer was lost"),
            "🔴",
            "unknown whether it started: look before you start it again",
        ),
        (
            retry(4, "REFUSED", attempt=0, reason="environment: HIDDEN_DUE_TO_SECURITY_REASONS"),
            "🔴",
            "retry refused: environment: HIDDEN_DUE_TO_SECURITY_REASONS",
        ),
        (FIRST, "🔴", "attempt 1 of 5 is next"),
    ],
)
def test_how_it_stands_is_said_in_the_root_too(
    watch: Watch, end: Any, sign: str, said: str
) -> None:
    offer(watch, CALL)
    offer(watch, end)
    watch.ticks(2)

    root = watch.slack.roots[0].message
    assert said in blocks(root)
    assert root.text.startswith(f"{sign} prod-web: nightly-report failed")


def test_once_the_job_that_started_has_run_well_the_thread_is_over(watch: Watch) -> None:
    offer_each(watch, [CALL, FIRST, STARTED, RAN_WELL])
    watch.ticks(2)

    (root,) = watch.slack.roots
    assert texts(watch)[-1] == "✅ prod-web / nightly-report: succeeded"
    assert root.message.text.startswith("✅ prod-web: 1 standalone task succeeded again")
    assert "attempts" not in blocks(root.message)


def test_a_job_that_started_and_then_failed_is_told_as_that(watch: Watch) -> None:
    offer_each(watch, [CALL, FIRST, STARTED, RAN_BADLY])
    watch.ticks(2)

    assert "Exit codes: app 3" in blocks(watch.slack.replies[-1].message)
    root = watch.slack.roots[0].message
    assert root.text.startswith("🔴")
    assert "started after" not in blocks(root), "the failure is another one now"


def test_after_the_window_what_has_started_is_not_said_to_be_not_run(watch: Watch) -> None:
    offer_each(watch, [CALL, FIRST, STARTED])
    watch.ticks(70)

    assert watch.cluster().services[KEY].phase is Phase.NOT_RUN
    said = blocks(watch.slack.roots[0].message)
    assert "started after 3 attempts" in said
    assert "not run since" not in said


def test_what_waited_to_be_told_is_one_reply_without_what_is_past(watch: Watch) -> None:
    offer(watch, CALL)
    watch.take_in(FIRST, SECOND, THIRD)
    offer(watch, GIVEN_UP)

    _, told = watch.slack.replies
    said = blocks(told.message)
    assert told.message.text.endswith("Given up after attempt 5 of 5: 1 of 1 task did not start.")
    assert said.count("still did not start.") == 2
    assert "the next is" not in said
    assert said.count(CAPACITY) == 1, "the same reason is quoted once"


def test_jobs_of_many_families_that_are_tried_again_fold(watch: Watch) -> None:
    families = [f"job-{n}" for n in range(8)]
    offer(watch, *(run_task(n, family=name) for n, name in enumerate(families)))
    watch.ticks(4)
    replies = len(watch.slack.replies)
    offer(watch, *(retry(1, call=n, family=name) for n, name in enumerate(families)))
    watch.ticks(4)

    assert len(watch.slack.roots) == 1
    assert len(watch.slack.replies) - replies <= 2


def test_a_webhook_is_told_each_attempt_flat(watch: Watch) -> None:
    watch.slack.has_threads = False
    offer_each(watch, [CALL, FIRST, STARTED])

    assert [one.message.text.split()[0] for one in watch.slack.posts] == ["🔴", "🔁", "🟠"]
    assert "subteam" not in "".join(blocks(one.message) for one in watch.slack.posts[1:])


def test_an_end_that_comes_when_the_cluster_has_another_incident_is_a_line_of_its_own(
    watch: Watch,
) -> None:
    offer_each(watch, [CALL, FIRST])
    watch.clock.at += timedelta(hours=3)
    offer(watch, task_stopped(5, family="another-job", at=watch.clock.at))
    watch.clock.at += timedelta(hours=2)
    offer(watch, GIVEN_UP)

    last = watch.slack.posts[-1]
    assert "Given up after attempt 5 of 5" in last.message.text
    assert last.thread_ts is None


def test_beside_a_failing_service_attempts_are_told_in_the_same_thread(watch: Watch) -> None:
    watch.offer(deployment_failed("checkout"))
    offer_each(watch, [CALL, FIRST])
    watch.ticks(4)

    assert len(watch.slack.roots) == 1
    assert sum("tried again" in text for text in texts(watch)) == 1
    assert watch.cluster().open_services == 1


# --- who is told ----------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [FIRST, runbook_failed(1)])
def test_what_tasks_yaml_does_is_told_unless_standalone_tasks_is_off(body: Any) -> None:
    assert not why_left_out(event(body), StandaloneTasks.SCHEDULED)
    assert not why_left_out(event(body), StandaloneTasks.ALL)
    assert why_left_out(event(body), StandaloneTasks.OFF) == "StandaloneTasks=off"


def test_of_a_job_whose_failure_was_not_told_the_retry_tells_it(watch: Watch) -> None:
    by_ci = {"type": "AssumedRole", "principalId": "x:ci"}
    offer(watch, run_task(1, startedBy="ci", userIdentity=by_ci))
    assert not watch.slack.posts, "StandaloneTasks is scheduled"
    offer_each(watch, [retry(n, at=later(n), startedBy="ci") for n in (1, 2)])

    (root,) = watch.slack.roots
    assert "nightly-report failed" in root.message.text
    first, second = watch.slack.replies
    assert "could not be started" in first.message.text
    assert "tried again" in first.message.text
    assert "After attempt 1 of 5" in second.message.text
    assert "could not be started" not in second.message.text
    assert "run-task" not in blocks(first.message), "with which overrides is not known"


def test_its_end_is_known_by_the_task_that_the_job_started(watch: Watch) -> None:
    offer_each(
        watch,
        [
            retry(1, startedBy="ci"),
            retry(2, "STARTED", at=later(3), startedBy="ci"),
            task_stopped(9, at=later(9), startedBy=BY_JOB, exit_code=0, command=["--day", "1"]),
        ],
    )

    assert texts(watch)[-1] == "✅ prod-web / nightly-report: succeeded"


def test_a_short_job_may_have_ended_before_anybody_said_that_it_started() -> None:
    started = retry(2, "STARTED", at=later(21), startedBy="ci")

    task, reasons = decided(started, RAN_WELL)

    assert reasons == [Reason.NEWLY_FAILING, Reason.RECOVERED]
    assert task.phase is Phase.RECOVERED


def test_the_end_of_another_job_says_nothing_of_it() -> None:
    other = task_stopped(9, at=later(9), startedBy="ecsw/00000000000000ff/1", exit_code=0)

    task, _ = decided(retry(1, startedBy="ci"), other)

    assert task.phase is Phase.TASK_FAILED


# --- in any order, any number of times ------------------------------------------------------------


def known(bodies: Sequence[Any]) -> str:
    task, _ = decided(*bodies)
    runs = sorted((replace(one, revision=0) for one in task.runs), key=key_of)
    calls = [
        (one.call, one.is_recorded, [replace(step, revision=0, said_at=None) for step in one.steps])
        for one in task.retries
    ]
    failing = [key_of(one) for one in all_runs(task) if failures(one)]
    return repr((task.phase, task.since, task.count, runs, calls, sorted(failing)))


HISTORIES = {
    "it starts and runs well": [CALL, FIRST, SECOND, STARTED, RAN_WELL],
    "it starts and runs badly": [CALL, FIRST, SECOND, STARTED, RAN_BADLY],
    "it is given up": [CALL, FIRST, SECOND, THIRD, GIVEN_UP],
    "its record never comes": [FIRST, SECOND, STARTED, RAN_WELL],
    "a doubt that is settled": [CALL, FIRST, retry(2, "UNKNOWN", at=later(4)), STARTED],
    "the next run of the schedule does well": [
        CALL,
        FIRST,
        GIVEN_UP,
        task_stopped(7, at=later(60), exit_code=0),
    ],
    "two calls": [CALL, FIRST, run_task(2, at=later(30)), retry(1, call=2, at=later(31)), RAN_WELL],
    "a runbook and its next run": [
        runbook_failed(1, at=later(3)),
        task_stopped(1, at=later(2), startedBy=f"ecs-watch-runbook/{execution_id(1)}"),
        task_stopped(2, at=later(5), startedBy=f"ecs-watch-runbook/{execution_id(1)}", exit_code=0),
        task_stopped(3, at=later(9), startedBy=f"ecs-watch-runbook/{execution_id(2)}", exit_code=0),
    ],
}


@pytest.mark.parametrize("history", HISTORIES)
def test_the_order_and_repetition_of_what_is_heard_changes_nothing(history: str) -> None:
    bodies = HISTORIES[history]
    random = Random(7)
    ends = {known(order) for order in permutations(bodies)}
    for _ in range(20):
        copies = [*bodies, *random.choices(bodies, k=4)]
        random.shuffle(copies)
        ends.add(known(copies))

    assert len(ends) == 1


@pytest.mark.parametrize("history", ["it starts and runs well", "it is given up"])
def test_in_whatever_order_it_is_heard_every_step_is_told_and_none_twice(history: str) -> None:
    bodies = HISTORIES[history]
    random = Random(3)
    for _ in range(12):
        copies = [*bodies, *random.choices(bodies, k=3)]
        random.shuffle(copies)
        watch = Watch(client=TableClient())
        offer_each(watch, copies)
        watch.ticks(2)

        said = "".join(blocks(one.message) for one in watch.slack.replies)
        assert said.count("1 of 1 task did not start; tried") + said.count(
            "1 of 1 task did not start."
        ) == 1 + (GIVEN_UP in bodies)
        assert said.count("After attempt 1 of 5") == 1
        assert said.count("Started after all") == (STARTED in bodies)
        assert said.count("Given up") == (GIVEN_UP in bodies)
        assert not watch.store.owed("C01")


def test_an_attempt_that_is_heard_of_late_does_not_say_what_is_next(watch: Watch) -> None:
    offer_each(watch, [CALL, THIRD, SECOND])

    assert texts(watch)[-1].endswith("After attempt 1 of 5, 1 of 1 task still did not start.")
    assert "attempt 3 of 5 is next" in blocks(watch.slack.roots[0].message)


def test_the_record_of_a_call_that_comes_after_its_retry_completes_what_was_told(
    watch: Watch,
) -> None:
    offer_each(watch, [FIRST, STARTED, CALL])
    watch.ticks(7)

    assert len(watch.slack.roots) == 1
    last = watch.slack.replies[-1]
    assert "it could run twice" in blocks(last.message), "tasks.yaml has started it"
    assert not last.is_broadcast
    assert sum(one.is_broadcast for one in watch.slack.replies) == 0
    assert watch.cluster().services[KEY].count == 1
    assert "started after 3 attempts" in blocks(watch.slack.roots[0].message)


def test_the_record_that_comes_after_the_job_has_run_well_is_not_told_anew() -> None:
    task, reasons = decided(FIRST, STARTED, RAN_WELL, CALL)

    assert reasons == [
        Reason.NEWLY_FAILING,
        Reason.RETRIED,
        Reason.RECOVERED,
        Reason.REPEATED,
    ]
    assert task.phase is Phase.RECOVERED


def test_copies_are_known(watch: Watch) -> None:
    _, reasons = decided(CALL, FIRST, FIRST, CALL, STARTED, STARTED, FIRST)

    assert reasons.count(Reason.SECOND_COPY) == 4
    assert reasons.count(Reason.RETRIED) == 2


@pytest.mark.parametrize(
    "answer",
    [
        Refused(Refusal.RATE_LIMITED, "ratelimited", timedelta(seconds=90)),
        Refused(Refusal.UNAVAILABLE, "503"),
        Unknown("timeout"),
    ],
)
@pytest.mark.parametrize("position", range(4))
def test_whatever_slack_answers_no_step_is_lost_or_told_twice(
    watch: Watch, answer: Refused | Unknown, position: int
) -> None:
    watch.slack.commits_lost_posts = True
    watch.slack.answers = [*([None] * position), answer]  # type: ignore[list-item]
    for body in (CALL, FIRST, SECOND, GIVEN_UP):
        watch.take_in(body)
        watch.ticks(4)
    watch.ticks(6)

    said = "".join(blocks(one.message) for one in watch.slack.replies)
    assert len(watch.slack.roots) == 1
    for step in ("tried again in about", "After attempt 1 of 5", "Given up after attempt 5"):
        assert said.count(step) == 1
    assert not watch.store.owed("C01")


# --- not too much ---------------------------------------------------------------------------------


def test_a_call_a_minute_without_a_budget_is_not_a_reply_a_minute(watch: Watch) -> None:
    spent = "the family's budget for today is used up"
    for n in range(1, 60):
        watch.clock.at = later(n)
        offer(
            watch,
            run_task(n, at=watch.clock.at),
            retry(1, call=n, at=watch.clock.at),
            retry(2, "GIVEN_UP", call=n, at=watch.clock.at, attempt=0, reason=spent),
        )

    assert len(watch.slack.replies) <= 3, "it is counted, as the failure is"
    assert sum("budget" in blocks(one.message) for one in watch.slack.replies) == 1


def test_an_attempt_is_told_however_like_the_last_one_it_is() -> None:
    _, reasons = decided(CALL, *(retry(2, call=n, at=later(n)) for n in range(1, 4)))

    assert reasons.count(Reason.RETRIED) >= 1
    assert not {Reason.REPEATED, Reason.FLAPS_ON} & set(reasons[:2])


def test_a_retry_does_not_put_off_what_still_fails_after_four_hours() -> None:
    first = decide(EMPTY, [Observed(event=event(CALL), received_at=START)], START, POLICY).cluster
    seen = Observed(event=event(FIRST), received_at=later(60))
    after = decide(first, [seen], later(60), POLICY).cluster

    assert after.services[KEY].transitions[-1].reason is Reason.RETRIED
    assert after.services[KEY].repeat_at == first.services[KEY].repeat_at


def test_the_largest_that_a_row_may_come_to_hold_fits_into_an_item_and_is_read_again() -> None:
    bodies = [
        retry(number, call=call, at=later(call), reason="x" * 8_000, startedBy="s" * 900)
        for call in range(1, 13)
        for number in range(1, 16)
    ]
    old_copy = retry(5, call=3, at=later(3))
    task, reasons = decided(*bodies, old_copy)

    assert reasons[-1] is Reason.SECOND_COPY
    written = to_json(task)
    assert len(written) < 100_000
    assert from_json(ServiceState, written) == replace(task, told={})
    assert len(task.retries) == 10
    assert max(len(one.steps) for one in task.retries) == 13


def test_calls_end_after_three_months() -> None:
    task, _ = decided(FIRST, task_stopped(3, at=START + timedelta(days=92), exit_code=0))

    assert not task.retries
    assert task.phase is Phase.WELL


# --- runbooks -------------------------------------------------------------------------------------


def test_a_runbook_that_failed_is_told_with_its_step_reason_and_a_link_to_the_execution(
    watch: Watch,
) -> None:
    offer(watch, runbook_failed(1))

    (root,), (reply,) = watch.slack.roots, watch.slack.replies
    assert "runbook ecs-watch-tasks-run-task failed at its step Look" in blocks(root.message)
    said = blocks(reply.message)
    assert "app: exit code 1" in said
    assert "started by deploy/mika" in said
    assert (
        "https://eu-west-1.console.aws.amazon.com/systems-manager/automation/execution/"
        f"{execution_id(1)}?region=eu-west-1" in said
    )
    assert "aws ecs run-task" not in said, "a runbook is started again, not its task"
    assert "<!subteam^S0SRE>" in blocks(root.message)


@pytest.mark.parametrize(
    ("name", "step", "said"),
    [
        ("RUNBOOK_TIMEDOUT", "Follow", "ran out of time at its step Follow"),
        ("RUNBOOK_CANCELLED", "", "was cancelled"),
        ("RUNBOOK_FAILED", "Before", "failed at its step Before"),
    ],
)
def test_a_step_that_calls_a_function_fails_a_runbook_too(
    watch: Watch, name: str, step: str, said: str
) -> None:
    offer(watch, runbook_failed(1, eventName=name, step=step, reason="arn:x failed: KeyError: 'a'"))

    assert said in watch.slack.replies[0].message.text
    assert "KeyError" in blocks(watch.slack.replies[0].message)


def test_the_next_execution_that_runs_well_is_its_success_and_no_task_of_the_failed_one_is() -> (
    None
):
    straggler, well = (
        task_stopped(
            n,
            at=later(n),
            startedBy=f"ecs-watch-runbook/{execution_id(of)}",
            exit_code=0,
            command=["migrate"],
        )
        for n, of in ((5, 1), (9, 2))
    )

    task, reasons = decided(runbook_failed(1, at=later(3)), straggler, well)

    assert reasons == [Reason.NEWLY_FAILING, Reason.PROGRESS, Reason.RECOVERED]
    assert task.phase is Phase.RECOVERED


def test_the_failed_task_of_a_runbook_and_the_runbook_are_one_failure() -> None:
    by_it = task_stopped(1, at=later(2), startedBy=f"ecs-watch-runbook/{execution_id(1)}")

    task, reasons = decided(by_it, runbook_failed(1, at=later(3)))

    assert reasons == [Reason.NEWLY_FAILING, Reason.ANOTHER_CAUSE], "it rings once"
    assert len([one for one in all_runs(task) if failures(one)]) == 1


def test_a_runbook_that_failed_twice_is_one_failure_each() -> None:
    task, reasons = decided(runbook_failed(1), runbook_failed(1), runbook_failed(2, at=later(9)))

    assert reasons == [Reason.NEWLY_FAILING, Reason.SECOND_COPY, Reason.REPEATED]
    assert task.count == 2


# --- hostile texts --------------------------------------------------------------------------------


def told_of(text: str) -> list[Message]:
    foreign: dict[str, Any] = {
        "reason": text,
        "startedBy": text,
        "callEventId": text,
        "eventName": text,
    }
    by_runbook: dict[str, Any] = {
        "runbook": text,
        "step": text,
        "executionId": text,
        "taskDefinition": text,
    }
    messages = []
    for bodies in (
        [retry(1, **foreign)],
        [CALL, retry(1, reason=text)],
        [CALL, retry(1, "REFUSED", attempt=0, reason=text)],
        [CALL, retry(1, **foreign | {"callEventId": "run-task-1"})],
        [runbook_failed(1, **foreign | by_runbook)],
    ):
        task, _ = decided(*bodies)
        telling = Telling(cluster=EMPTY, now=START)
        messages += [root_message(telling, [task]), reply_message(telling, [task], "C01")]
    return messages


@pytest.mark.parametrize("text", TEXTS)
def test_nothing_foreign_is_live_in_what_is_told_of_a_retry(text: str) -> None:
    for told, calm in zip(told_of(text), told_of("calm"), strict=True):
        assert not live(told) - live(calm)
        assert len(blocks(told)) < 13_000


def test_secrets_in_a_reason_are_taken_out() -> None:
    token = "ghp_" + "a1B2" * 9

    said = "".join(blocks(one) + one.text for one in told_of(f"refused: {token}"))

    assert token not in said
    assert "refused:" in said


def test_a_definition_named_by_its_arn_is_shown_by_its_name(watch: Watch) -> None:
    offer(watch, runbook_failed(1, taskDefinition=definition()))

    assert "nightly-report:7 · started by" in blocks(watch.slack.replies[0].message)
