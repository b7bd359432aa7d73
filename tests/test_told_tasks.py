"""What Slack is told of tasks that belong to no service: jobs of a schedule, one-off runs."""

import json
import re
import shlex
import subprocess
from datetime import timedelta
from typing import Any

import pytest

from notifier.arns import cluster_name
from notifier.events import parse
from notifier.facts import Container
from notifier.incidents import cluster_of
from notifier.model import (
    ContainerOverride,
    Event,
    Launch,
    Message,
    Mute,
    Phase,
    Refusal,
    Refused,
    ServiceState,
    SubjectKind,
    TaskEnd,
    TaskRuns,
    Unknown,
)
from notifier.redaction import redacted
from notifier.rendering import Telling, reply_message, root_message
from notifier.settings import StandaloneTasks
from notifier.store import KEEP
from notifier.task_words import command_line, starter_label
from tests.hostile import TEXTS, live
from tests.jobs import CAPACITY, PREFIX, container, definition, run_task, stamp, task_stopped
from tests.test_expiry import expire
from tests.watch import CLUSTER, START, TableClient, Watch, deployment_failed

KEY = "standalone task: nightly-report"


@pytest.fixture
def watch() -> Watch:
    return Watch(client=TableClient())


def fail(watch: Watch, number: int = 1, **more: Any) -> None:
    watch.offer(task_stopped(number, at=watch.clock.at, **more))
    watch.ticks(1)


def succeed(watch: Watch, number: int = 2, **more: Any) -> None:
    fail(watch, number, exit_code=0, **more)


def blocks(message: Message) -> str:
    return json.dumps(message.blocks, ensure_ascii=False)


# --- what is said ---------------------------------------------------------------------------------


def test_a_failed_job_is_told_with_its_exit_codes_and_what_starts_it_again(watch: Watch) -> None:
    succeed(watch, 1)
    fail(watch, 2, containers=[container("app", 3), container("proxy", 143)])
    watch.ticks(2)

    (root,), (reply,) = watch.slack.roots, watch.slack.replies
    assert "nightly-report failed" in root.message.text
    assert "prod-web / nightly-report: failed" in reply.message.text
    said = blocks(reply.message)
    assert "Exit codes: app 3, proxy 143" in said
    assert "started by schedule nightly-report" in said
    assert "aws ecs run-task --cluster prod-web --task-definition nightly-report:7" in said
    assert "Last success: <!date^" in said


def test_a_task_that_never_ran_says_so_and_not_with_an_exit_code(watch: Watch) -> None:
    why = "CannotPullContainerError: pull image manifest has been retried 1 time(s)"
    fail(
        watch,
        containers=[container("app", None, why)],
        stopCode="TaskFailedToStart",
        stoppedReason=why,
    )

    said = blocks(watch.slack.replies[0].message)
    assert "failed to start, it never ran" in said
    assert "Exit codes: app never ran" in said
    assert "No success is known." in said


@pytest.mark.parametrize(
    ("code", "why", "said"),
    [
        ("", "Host EC2 (instance i-0a1b2c3d) terminated.", "the EC2 instance under the task"),
        (
            "EssentialContainerExited",
            "DockerTimeoutError: Could not transition to stopped; timed out",
            "the container did not start or stop in time",
        ),
    ],
)
def test_a_task_that_ran_for_hours_and_left_no_exit_code_is_not_said_to_have_never_run(
    watch: Watch, code: str, why: str, said: str
) -> None:
    ended: dict[str, Any] = {
        "containers": [container("app", None)],
        "stopCode": code,
        "stoppedReason": why,
    }
    fail(watch, **ended, startedAt=stamp(START - timedelta(hours=2)))

    (reply,) = watch.slack.replies
    assert "nightly-report: ended without an exit code: " in reply.message.text
    assert "Exit codes: app none" in blocks(reply.message)
    assert reply.message.text.count(said) == 1
    assert "never ran" not in blocks(reply.message)


def test_a_call_that_found_no_capacity_is_told_in_ecs_words_and_can_be_made_again(
    watch: Watch,
) -> None:
    watch.offer(run_task(1, command=["python", "report.py", "--day", "it's monday"]))

    said = blocks(watch.slack.replies[0].message)
    assert "could not be started" in said
    assert CAPACITY in said
    assert "subnets=[subnet-0a1b2c3d],securityGroups=[sg-0123456789]" in said
    assert "/tasks/" not in said, "there is no task to look at"


def test_whose_job_it_is_stays_though_the_last_attempt_was_ours(watch: Watch) -> None:
    ours = "ecsw/0123456789abcdef/1"
    watch.offer(run_task(1))
    watch.offer(run_task(2, at=watch.clock.at, startedBy=ours))
    succeed(watch, 3, startedBy=ours.replace("/1", "/2"))
    watch.ticks(2)

    said = blocks(watch.slack.replies[-1].message) + blocks(watch.slack.roots[0].message)
    assert "succeeded" in said
    assert "started by schedule nightly-report" in said
    assert "ecsw" not in said


@pytest.mark.parametrize(
    ("code", "message", "caller", "repeats"),
    [
        ("ThrottlingException", "Rate exceeded", "scheduler.amazonaws.com", True),
        ("ThrottlingException", "Rate exceeded", "", True),  # every SDK does
        ("ServerException", "", "events.amazonaws.com", True),
        ("InvalidParameterException", "No subnets.", "scheduler.amazonaws.com", False),
    ],
)
def test_of_a_call_that_its_caller_repeats_it_is_said_and_no_command_would_start_it_twice(
    watch: Watch, code: str, message: str, caller: str, repeats: bool
) -> None:
    refused: dict[str, Any] = {"errorCode": code, "errorMessage": message, "responseElements": {}}
    watch.offer(run_task(1, userIdentity={"type": "AWSService", "invokedBy": caller}, **refused))

    (reply,) = watch.slack.replies
    said = reply.message.text + blocks(reply.message)
    assert f"could not be started ({code}): " in said
    assert ("who called tries again by itself" in said) is repeats
    assert ("run-task" in said) is not repeats
    assert ("a reason that is not known here" in said) is not repeats


def test_a_refused_call_is_told_though_cloudtrail_hides_what_it_asked_for(watch: Watch) -> None:
    refused = run_task(
        1,
        requestParameters=None,
        responseElements=None,
        errorCode="AccessDeniedException",
        errorMessage="is not authorized to perform: iam:PassRole",
    )

    watch.offer(refused)

    said = watch.slack.roots[0].message.text + blocks(watch.slack.replies[0].message)
    assert "could not be started (AccessDeniedException)" in said
    assert "iam:PassRole" in said
    assert "run-task" not in said


@pytest.mark.parametrize(
    ("started_by", "label"),
    [
        ("events-rule/nightly-report", "rule nightly-report"),
        ("chronos-schedule/0123456789012345678", "schedule 0123456789012345678…"),
        ("chronos-schedule/012345678901234567", "schedule 012345678901234567"),
        ("someone", "someone"),
        ("", ""),
    ],
)
def test_a_schedules_name_that_may_have_been_cut_is_shown_so(started_by: str, label: str) -> None:
    assert starter_label(Launch(task_definition="", started_by=started_by)) == label


def test_what_starts_it_again_is_quoted_for_a_shell_and_has_no_value_of_a_variable() -> None:
    override = ContainerOverride(
        name="app", command=("sh", "-c", "echo 'a'; rm -rf $HOME"), environment=("TOKEN",)
    )
    launch = Launch(
        task_definition=definition(), capacity_provider="FARGATE_SPOT", overrides=(override,)
    )

    line = command_line(launch, CLUSTER)

    words = shlex.split(line)
    assert words[words.index("--capacity-provider-strategy") + 1] == "capacityProvider=FARGATE_SPOT"
    (asked,) = json.loads(words[-1])["containerOverrides"]
    assert asked["command"] == ["sh", "-c", "echo 'a'; rm -rf $HOME"]
    assert [one["name"] for one in asked["environment"]] == ["TOKEN"]


def in_a_shell(line: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """The line, as somebody pastes it into a shell where `aws` prints its last argument."""
    script = f'aws() {{ for last in "$@"; do :; done; printf %s "$last"; }}\n{line}'
    return subprocess.run(
        ["/bin/sh", "-c", script], env=variables, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", ["TOKEN", "RELEASE", "PATH", "my.setting-1", "1ST"])
def test_what_starts_it_again_starts_nothing_until_each_variable_has_a_value(name: str) -> None:
    override = ContainerOverride(name="app", command=("it's",), environment=(name, "OTHER"))
    launch = Launch(task_definition=definition(), overrides=(override,))

    line = redacted(command_line(launch, CLUSTER))

    variable = "VALUE_OF_" + re.sub(r"\W", "_", name)
    refused = in_a_shell(line, PATH="/bin", VALUE_OF_OTHER="two")
    assert (refused.stdout, variable in refused.stderr) == ("", True)
    taken = in_a_shell(line, PATH="/bin", VALUE_OF_OTHER="two", **{variable: "one two"})
    (asked,) = json.loads(taken.stdout)["containerOverrides"]
    assert asked["command"] == ["it's"]
    values = {one["name"]: one["value"] for one in asked["environment"]}
    assert values == {name: "one two", "OTHER": "two"}


def test_of_two_variables_that_a_shell_takes_for_one_no_command_is_shown() -> None:
    override = ContainerOverride(name="app", environment=("a.b", "a-b"))

    assert not command_line(Launch(task_definition="a:1", overrides=(override,)), CLUSTER)


@pytest.mark.parametrize(
    ("overrides", "lacks"),
    [
        ({"memory": "4096"}, "memory"),
        ({"taskRoleArn": f"{PREFIX}:role/other"}, "taskRoleArn"),
        ({"ephemeralStorage": {"sizeInGiB": 100}}, "ephemeralStorage"),
        ({"containerOverrides": [{"name": "app", "cpu": 512}]}, "cpu"),
        ({"containerOverrides": [{"name": "app", "environmentFiles": [{}]}]}, "environmentFiles"),
        ({"containerOverrides": [{"name": "app", "command": ["sh", "-c", ""]}]}, "command"),
        ({"containerOverrides": [{"name": "app", "command": ["x" * 3000]}]}, "command"),
        ({"containerOverrides": [{"name": "app", "environment": [{}]}]}, "environment"),
        ({"containerOverrides": [{"name": "app", "command": ["x" * 999] * 9}]}, "command"),
    ],
)
def test_no_command_is_shown_that_would_start_another_job_than_the_one_that_failed(
    watch: Watch, overrides: dict[str, Any], lacks: str
) -> None:
    fail(watch, overrides={"inferenceAcceleratorOverrides": [], **overrides})

    said = blocks(watch.slack.replies[0].message)
    assert "run-task" not in said
    assert f"No command to start it again is shown: it would lack {lacks}." in said


@pytest.mark.parametrize(
    ("asked", "lacks"),
    [
        ({"tags": [{"key": "team", "value": "a"}]}, "tags"),
        ({"placementConstraints": [{"type": "distinctInstance"}]}, "placementConstraints"),
        ({"volumeConfigurations": [{"name": "work"}]}, "volumeConfigurations"),
        ({"aFieldOfTomorrow": True}, "aFieldOfTomorrow"),
        ({"overrides": "HIDDEN_DUE_TO_SECURITY_REASONS"}, "overrides"),
        ({"networkConfiguration": "HIDDEN_DUE_TO_SECURITY_REASONS"}, "networkConfiguration"),
        (
            {"capacityProviderStrategy": [{"capacityProvider": "A"}, {"capacityProvider": "B"}]},
            "capacityProviderStrategy",
        ),
    ],
)
def test_nor_one_of_a_call_that_asked_for_more_than_is_known_here(
    watch: Watch, asked: dict[str, Any], lacks: str
) -> None:
    call = run_task(1)
    call["detail"]["requestParameters"] |= {"enableECSManagedTags": True, "tags": [], **asked}
    watch.offer(call)

    said = blocks(watch.slack.replies[0].message)
    assert "run-task" not in said
    assert f"No command to start it again is shown: it would lack {lacks}." in said


def test_nor_one_of_a_task_with_a_volume_of_its_own(watch: Watch) -> None:
    fail(watch, attachments=[{"type": "AmazonElasticBlockStorage", "details": []}])

    assert "it would lack volumeConfigurations." in blocks(watch.slack.replies[0].message)


def test_nor_one_whose_words_hold_a_secret(watch: Watch) -> None:
    fail(watch, command=["job", "--password=hunter2hunter2"])

    said = blocks(watch.slack.replies[0].message)
    assert "run-task" not in said
    assert "No command to start it again is shown: it would lack a secret." in said


def test_a_command_too_long_to_be_shown_whole_is_left_out() -> None:
    override = ContainerOverride(name="app", command=("x" * 2000,))

    assert not command_line(Launch(task_definition="a:1", overrides=(override,)), CLUSTER)


# --- when it is said ------------------------------------------------------------------------------


def test_the_root_is_closed_at_once_and_bears_no_mark_of_an_open_incident(watch: Watch) -> None:
    fail(watch)
    watch.ticks(3)

    assert watch.cluster().open_services == 0
    assert watch.cluster().closed_at == START
    assert not watch.slack.roots[0].is_marked
    assert watch.slack.roots[0].message.text.startswith("🔴 prod-web: nightly-report failed")


def test_its_own_next_success_is_told_once_in_its_thread_a_day_later(watch: Watch) -> None:
    fail(watch)
    watch.clock.at += timedelta(days=1)
    succeed(watch, 2)
    succeed(watch, 3)
    watch.ticks(3)

    (root,), (_, over) = watch.slack.roots, watch.slack.replies
    assert over.message.text == "✅ prod-web / nightly-report: succeeded"
    assert not over.is_broadcast
    assert "succeeded again" in root.message.text
    assert root.is_marked


def test_a_success_of_what_failed_in_an_incident_before_is_one_line_without_a_thread(
    watch: Watch,
) -> None:
    fail(watch)
    watch.clock.at += timedelta(hours=3)
    fail(watch, 2, family="another-job")
    watch.clock.at += timedelta(hours=3)
    succeed(watch, 3)

    assert len(watch.slack.roots) == 3
    last = watch.slack.posts[-1]
    assert last.thread_ts is None
    assert last.message.text == "✅ prod-web / nightly-report: succeeded"


def test_successes_alone_are_told_to_nobody(watch: Watch) -> None:
    succeed(watch, 1)
    succeed(watch, 2)

    assert not watch.slack.posts
    assert not watch.store.owed("C01")


def test_a_window_later_the_root_reads_not_run_since_and_nothing_is_posted(watch: Watch) -> None:
    fail(watch)
    posts = len(watch.slack.posts)
    watch.ticks(65)

    assert "not run since" in blocks(watch.slack.roots[0].message)
    assert len(watch.slack.posts) == posts
    assert watch.cluster().services[KEY].phase is Phase.NOT_RUN


def test_beside_a_failing_service_it_is_told_in_the_same_thread_and_in_the_channel(
    watch: Watch,
) -> None:
    watch.offer(deployment_failed("checkout"))
    watch.ticks(6)
    fail(watch)
    watch.ticks(1)

    assert len(watch.slack.roots) == 1
    told = watch.slack.replies[-1]
    assert "nightly-report: failed" in told.message.text
    assert told.is_broadcast
    assert "nightly-report" in blocks(watch.slack.roots[0].message)
    assert watch.cluster().open_services == 1


def test_a_job_and_a_service_that_could_not_reach_the_channel_at_once_do_so_one_by_one(
    watch: Watch,
) -> None:
    watch.offer(deployment_failed("checkout"))
    watch.tick(timedelta(minutes=2))
    watch.offer(deployment_failed("search"), task_stopped(1, at=watch.clock.at))
    watch.ticks(14)

    loud = [one.message.text for one in watch.slack.replies if one.is_broadcast]
    assert sum("search" in text for text in loud) == 1
    assert sum("nightly-report" in text for text in loud) == 1


def test_when_the_service_is_well_again_the_job_still_reads_as_failed(watch: Watch) -> None:
    watch.offer(deployment_failed("checkout"))
    fail(watch)
    watch.ecs.show_well("checkout", revision=43)
    watch.ticks(40)

    root = watch.slack.roots[0]
    assert watch.cluster().open_services == 0
    assert root.message.text.startswith("🔴 prod-web: over after")
    assert "nightly-report failed" in root.message.text
    assert not root.is_marked


def test_many_jobs_of_a_cluster_are_told_together(watch: Watch) -> None:
    watch.offer(*(task_stopped(n, family=f"job-{n}") for n in range(12)))
    watch.ticks(5)

    assert len(watch.slack.roots) == 1
    assert len(watch.slack.replies) <= 4
    assert "7 more" in blocks(watch.slack.replies[-1].message)


def test_the_essential_container_is_read_with_the_next_tick(watch: Watch) -> None:
    watch.ecs.essential[definition()] = ("app",)
    both = [container("app", 0), container("proxy", 1)]
    watch.offer(task_stopped(1, containers=both))
    watch.ticks(2)
    assert not watch.slack.posts, "the side-car ended badly, and not the work"

    watch.offer(
        task_stopped(2, at=watch.clock.at, containers=[container("app", 1), container("proxy", 0)])
    )
    assert len(watch.slack.replies) == 1


@pytest.mark.parametrize(
    ("essential", "said"),
    [
        (("app", "proxy"), "it is not known whether it did its work: one of its containers was"),
        (("app",), "failed"),
    ],
)
def test_a_container_that_was_killed_beside_one_that_is_done_leaves_it_open_which_ended_the_task(
    watch: Watch, essential: tuple[str, ...], said: str
) -> None:
    watch.ecs.essential[definition()] = essential
    watch.offer(task_stopped(1, containers=[container("app", 137), container("proxy", 0)]))
    watch.ticks(2)

    (reply,) = watch.slack.replies
    assert f"nightly-report: {said}" in reply.message.text
    assert "Exit codes: app 137, proxy 0" in blocks(reply.message)


def test_where_it_may_not_be_read_it_is_told_all_the_same(watch: Watch) -> None:
    watch.offer(task_stopped(1, containers=[container("app", 0), container("proxy", 1)]))
    assert not watch.slack.posts
    watch.ticks(1)

    assert len(watch.slack.replies) == 1


def test_a_route_that_mentions_rings_for_a_job_too() -> None:
    watch = Watch("*=C01,mention=S0SRE", client=TableClient())
    fail(watch)

    assert "<!subteam^S0SRE>" in blocks(watch.slack.roots[0].message)


def test_a_webhook_is_told_flat() -> None:
    watch = Watch(client=TableClient())
    watch.slack.has_threads = False
    fail(watch)
    succeed(watch)

    assert [one.message.text.split()[0] for one in watch.slack.posts] == ["🔴", "✅"]


def test_off_means_nothing_is_remembered_either(watch: Watch) -> None:
    watch.intake = type(watch.intake)(
        watch.store, watch.routes, "ecs-watch", standalone_tasks=StandaloneTasks.OFF
    )
    fail(watch)

    assert watch.store.load(CLUSTER) is None


def test_a_job_that_failed_under_a_mute_and_was_not_run_again_is_told_at_its_end(
    watch: Watch,
) -> None:
    watch.store.mute(Mute(pattern="prod-*", until=START + timedelta(hours=3), why="planned"))
    fail(watch)
    watch.ticks(100)
    assert not watch.slack.posts
    watch.ticks(90)

    assert "not run since" in blocks(watch.slack.roots[0].message)


def test_a_job_that_was_well_again_by_the_end_of_a_mute_is_not_told(watch: Watch) -> None:
    watch.store.mute(Mute(pattern="prod-*", until=START + timedelta(hours=1), why="planned"))
    fail(watch)
    succeed(watch)
    watch.ticks(70)

    assert not watch.slack.posts


# --- when Slack does not take it ------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        Refused(Refusal.RATE_LIMITED, "ratelimited", timedelta(seconds=90)),
        Refused(Refusal.UNAVAILABLE, "503"),
        Refused(Refusal.CREDENTIALS, "invalid_auth"),
    ],
)
@pytest.mark.parametrize("position", range(3))
def test_whatever_slack_refuses_for_a_while_nothing_is_lost_or_told_twice(
    watch: Watch, answer: Refused, position: int
) -> None:
    watch.slack.answers = [*([None] * position), answer]  # type: ignore[list-item]
    watch.take_in(task_stopped(1))
    watch.ticks(6)
    watch.take_in(task_stopped(2, exit_code=0, at=watch.clock.at))
    watch.ticks(6)

    assert len(watch.slack.roots) == 1
    texts = [one.message.text for one in watch.slack.replies]
    assert [text.split()[0] for text in texts] == ["🔴", "✅"]
    assert not watch.store.owed("C01")


@pytest.mark.parametrize("is_there", [True, False])
def test_a_post_whose_answer_was_lost_is_there_once(watch: Watch, is_there: bool) -> None:
    watch.slack.commits_lost_posts = is_there
    watch.slack.answers = [Unknown("timeout")]
    watch.take_in(task_stopped(1))
    watch.ticks(6)

    assert len(watch.slack.roots) == 1
    assert len(watch.slack.replies) == 1


def test_copies_of_an_event_are_told_once(watch: Watch) -> None:
    one = task_stopped(1)
    watch.offer(one, one)
    watch.offer(one)
    watch.ticks(3)

    assert len(watch.slack.posts) == 2


# --- what stays -----------------------------------------------------------------------------------


def test_rows_of_tasks_end_and_nothing_of_them_stays_for_ever(watch: Watch) -> None:
    fail(watch)
    succeed(watch, 2, family="weekly-report")
    watch.ticks(70)
    assert not watch.store.owed("C01")
    assert not watch.store.due(watch.clock.at + timedelta(days=1)).services

    watch.clock.at += KEEP * 3 + timedelta(days=1)
    gone = expire(watch)

    assert {f"service#{KEY}", "service#standalone task: weekly-report"} <= set(gone)
    left = {row["sk"]["S"] for row in watch.client.table.rows()}
    assert not [one for one in left if "task" in one or "thread#" in one or "owes#" in one]


def test_a_row_that_is_owed_does_not_end(watch: Watch) -> None:
    watch.slack.refuse("C01", Refusal.CREDENTIALS, "invalid_auth")
    fail(watch)
    watch.clock.at += KEEP
    assert f"service#{KEY}" not in expire(watch)
    watch.slack.in_channel = {}
    watch.ticks(3)

    assert len(watch.slack.replies) == 1


def test_an_older_version_takes_no_row_of_a_task_for_an_open_service(watch: Watch) -> None:
    fail(watch)
    row = watch.client.table
    (stored,) = [one for one in row.rows() if one["sk"]["S"] == f"service#{KEY}"]

    assert "expires_at" in stored, "by that it knows that nothing is open"


# --- hostile texts --------------------------------------------------------------------------------


def told_of(text: str) -> list[Message]:
    launch = Launch(
        task_definition=text,
        started_by=text,
        launch_type=text,
        platform_version=text,
        subnets=(text,),
        overrides=(ContainerOverride(name=text, command=(text,), environment=(text,)),),
    )
    end = TaskEnd(
        task="1",
        at=START,
        is_success=False,
        arn=f"{definition()}",
        stop_code=text,
        reason=text,
        containers=(Container(name=text, exit_code=1, reason=text),),
        launch=launch,
    )
    call = TaskEnd(task="2", at=START, is_success=False, stop_code=text, reason=text, launch=launch)
    messages = []
    for one in (end, call):
        runs = TaskRuns(starter=text, command="", ends=(one,), revision=1)
        task = ServiceState(
            name="job", kind=SubjectKind.TASK, phase=Phase.TASK_FAILED, revision=1, runs=(runs,)
        )
        telling = Telling(cluster=cluster_of(an_event()), now=START)
        messages += [root_message(telling, [task]), reply_message(telling, [task], "C01")]
    return messages


def an_event() -> Event:
    event = parse(task_stopped(1))
    assert isinstance(event, Event)
    return event


@pytest.mark.parametrize("text", TEXTS)
def test_nothing_foreign_is_live_in_what_is_told_of_a_task(text: str) -> None:
    for told, calm in zip(told_of(text), told_of("calm"), strict=True):
        assert not live(told) - live(calm)
        assert len(blocks(told)) < 13_000


def test_secrets_in_a_command_or_reason_are_taken_out(watch: Watch) -> None:
    token = "ghp_" + "a1B2" * 9
    fail(watch, command=["curl", f"https://x:{token}@example.com"], stoppedReason=token)

    assert token not in "".join(map(blocks, (one.message for one in watch.slack.posts)))
    assert cluster_name(CLUSTER) in watch.slack.posts[0].message.text
