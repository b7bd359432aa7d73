"""What ECS sends no failure event of: tasks that die, deployments that make no progress."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws

from notifier.ecs import Ecs
from notifier.errors import SettingsError
from notifier.incidents import Policy, cause
from notifier.model import Dying, Phase, Reason, Route, ServiceReading
from notifier.progress import lacks_tasks
from notifier.thresholds import Deaths, Thresholds, parse_dying_tasks
from tests.permutations import OLD, action, at, deployment, row, shows, steady, stop
from tests.test_incidents import WELL, Story, failing
from tests.watch import CLUSTER, START, Watch, deployment_row, envelope, reading

PATIENT = timedelta(minutes=15)


def rolls(
    running: int, old: int = 2, *, desired: int = 2, state: str = "IN_PROGRESS"
) -> ServiceReading:
    """A deployment of which so many of two tasks run, beside so many of the old one."""
    new = row(42, 42, running=running, began=0, rollout_state=state, desired_count=desired)
    last = row(41, 41, running=old, began=OLD, status="ACTIVE")
    shown: ServiceReading = shows(new, *([last] if old else []), desired=desired)
    return shown


def watched(*looks: ServiceReading, every: float = 5, **more: Any) -> Story:
    """A deployment that began at noon, and what a look showed after one minute and every five."""
    story = Story(**more)
    story.gets(deployment("IN_PROGRESS", 42, 0))
    for n, shown in enumerate(looks):
        story.looks(shown, 1 + n * every)
    return story


# --- no progress --------------------------------------------------------------------------------


def test_a_deployment_is_looked_at_within_a_minute_and_every_minute_while_it_lacks_tasks() -> None:
    story = watched()
    assert story.service.due_at is not None
    assert story.service.due_at - story.service.deployments[0].updated_at == timedelta(minutes=1)

    for minute in (1, 2, 14):
        story.looks(rolls(0), minute)
        assert story.service.due_at is not None
        assert story.service.due_at < rolls(0).read_at + timedelta(minutes=minute + 1)


def test_a_deployment_without_progress_for_a_quarter_of_an_hour_is_told_once() -> None:
    story = watched(rolls(0), rolls(0), rolls(0))
    assert story.told == []

    assert story.looks(rolls(0), 16) is Reason.NEWLY_FAILING
    assert story.service.phase is Phase.FAILING
    told = cause(story.service)
    assert told is not None
    assert (told.event, told.deployment_id) == ("no progress", "ecs-svc/42")
    assert {story.looks(rolls(0), minute) for minute in range(17, 40)} == {Reason.STILL_BROKEN}
    assert story.service.count == 1


@pytest.mark.parametrize(
    "looks",
    [
        [rolls(0), rolls(1), rolls(1), rolls(1)],
        [rolls(0), rolls(0, old=1), rolls(0, old=1), rolls(0, old=1)],
        [rolls(0), rolls(0), replace(rolls(0), stage="SCALE_UP"), rolls(0)],
        [rolls(0), rolls(0), replace(rolls(0), stage="PRE_SCALE_UP"), rolls(0)],
    ],
    ids=["one more runs", "one less of the old", "another stage", "a hook waits"],
)
def test_progress_begins_the_quarter_of_an_hour_again(looks: list[ServiceReading]) -> None:
    assert watched(*looks).told == []


@pytest.mark.parametrize(
    "wanted",
    [range(2, 14), [2, 3] * 6, range(13, 1, -1)],
    ids=["ever more", "more and less", "ever less"],
)
@pytest.mark.parametrize("is_deployed", [True, False])
def test_that_another_number_of_tasks_is_wanted_is_no_progress(
    wanted: Iterable[int], is_deployed: bool
) -> None:
    """As when scaling answers to the load that the missing tasks do not carry."""
    shown = [
        rolls(1, desired=n, old=2)
        if is_deployed
        else shows(row(41, 41, running=1, began=OLD, desired_count=n), desired=n)
        for n in wanted
    ]
    story = watched(*shown, every=10)

    assert story.told == [Reason.NEWLY_FAILING]
    told = cause(story.service)
    assert told is not None
    assert told.occurred_at == at(1)


def test_a_service_that_grows_while_its_tasks_come_makes_progress() -> None:
    looks = [rolls(n, desired=n + 2) for n in range(20)]

    assert watched(*looks, every=10).told == []


def test_what_is_wanted_newly_has_its_own_time() -> None:
    """Until then nothing was lacking."""
    well = [rolls(2, old=0, state="COMPLETED")] * 5
    more = [rolls(2, desired=3, old=0, state="COMPLETED")] * 3
    story = watched(*well, *more)
    assert story.told == []

    assert story.looks(more[0], 41) is Reason.NEWLY_FAILING


def test_after_a_scale_in_each_task_that_comes_is_progress_again() -> None:
    """Eight ran, four were wanted for a while: the fifth is a new one then."""
    less = [rolls(8, desired=10), rolls(3, desired=4)]
    again = [rolls(n, desired=10) for n in (4, 5, 6, 7)]

    assert watched(*less, *again).told == []


def test_a_task_that_comes_and_goes_is_no_progress_of_a_deployment() -> None:
    story = watched(rolls(1), rolls(0), rolls(1), rolls(0))

    assert story.told == [Reason.NEWLY_FAILING]


def test_duration_alone_opens_nothing_once_all_new_tasks_run() -> None:
    """Draining, bake time, a hook that waits after the scale-up: all new tasks run."""
    story = watched(*[rolls(2)] * 40)

    assert story.told == []


@pytest.mark.parametrize("stage", ["PRE_SCALE_UP", "BAKE_TIME", "POST_SCALE_UP", "not read"])
def test_a_stage_in_which_no_task_is_started_is_waited_for(stage: str) -> None:
    assert watched(*[replace(rolls(0), stage=stage)] * 20).told == []


def test_the_grace_period_is_added() -> None:
    with_grace = replace(rolls(0), grace_seconds=300)

    assert watched(*[with_grace] * 4).told == []
    assert watched(*[with_grace] * 5).told == [Reason.NEWLY_FAILING]


@pytest.mark.parametrize(
    "policy",
    [
        Policy(route=Route("*", "C01"), thresholds=Thresholds(no_progress=timedelta())),
        Policy(route=Route("*", "C01"), thresholds=Thresholds(no_progress=timedelta(hours=2))),
    ],
)
def test_how_long_is_a_setting(policy: Policy) -> None:
    assert watched(*[rolls(0)] * 10, policy=policy).told == []


def test_a_service_without_deployment_that_is_left_with_too_few_tasks_is_told_too() -> None:
    few = shows(row(41, 41, running=1, began=OLD))
    story = watched(*[few] * 4)
    assert story.told == [Reason.NEWLY_FAILING]

    # As with Spot: tasks go and come again, and never all of them run when somebody looks.
    less = shows(row(41, 41, running=0, began=OLD))
    assert watched(*[few, less] * 10).told == []


def test_a_first_read_that_is_too_old_to_show_the_deployment_does_not_end_the_watch() -> None:
    story = watched()
    story.looks(WELL, 1)
    phases = [story.service.phase]
    assert story.service.due_at

    story.looks(WELL, 5)
    assert [*phases, story.service.phase] == [Phase.ROLLING, Phase.WELL]


def test_it_recovers_as_whatever_failed() -> None:
    story = watched(*[rolls(0)] * 4)
    story.recovers(20, rolls(2, old=0, state="COMPLETED"))

    assert story.service.phase is Phase.RECOVERED


# --- tasks that die, while ECS may say itself that a deployment failed ----------------------------


def dying(**more: Any) -> Story:
    story = Story(**more)
    story.gets(deployment("IN_PROGRESS", 42, 0))
    for n in range(3):
        story.gets(stop(1 + n, f"t{n}"))
    return story


def test_tasks_that_die_in_a_deployment_are_told_by_the_next_look() -> None:
    story = dying()
    assert story.told == []
    assert story.service.due_at is not None

    assert story.looks(rolls(0), 4) is Reason.NEWLY_FAILING
    assert story.service.count == 3


def test_where_ecs_cannot_be_read_they_are_told_without_a_look() -> None:
    assert dying().cannot_look("no permission", 4) is Reason.NEWLY_FAILING


def test_a_circuit_breaker_that_counts_the_same_deaths_comes_first_and_is_all_that_is_told() -> (
    None
):
    story = dying()
    assert story.gets(deployment("FAILED", 42, 3.1)) is Reason.NEWLY_FAILING
    failed = rolls(0, state="FAILED")

    assert story.looks(failed, 4) is Reason.STILL_BROKEN
    told = cause(story.service)
    assert told is not None
    assert told.event == "SERVICE_DEPLOYMENT_FAILED"


def test_a_failed_deployment_that_was_told_for_its_tasks_is_no_other_trouble() -> None:
    story = dying()
    story.looks(rolls(0), 4)

    assert story.gets(deployment("FAILED", 42, 5)) is Reason.REPEATED
    assert story.gets(deployment("FAILED", 43, 6)) is not Reason.REPEATED


def test_how_many_may_die_is_a_setting() -> None:
    two = Thresholds(deaths=(Deaths(2, timedelta(minutes=1)),))
    never = Thresholds(deaths=())

    def story(thresholds: Thresholds) -> Story:
        stops = (stop(n, f"t{n}", number=41) for n in range(3))
        return failing(*stops, policy=Policy(route=Route("*", "C01"), thresholds=thresholds))

    assert story(two).told == [Reason.NEWLY_FAILING]
    assert story(never).told == []


# --- services that something else than ECS deploys ------------------------------------------------


def of_task_sets(running: int = 2) -> ServiceReading:
    """ECS shows no deployments of what CodeDeploy or an external controller deploys."""
    shown: ServiceReading = shows(running=running)
    return shown


@pytest.mark.parametrize("number", [41, "CodeDeploy"])
def test_of_a_service_that_ecs_does_not_deploy_tasks_that_died_are_told_and_then_over(
    number: int | str,
) -> None:
    story = failing(*(stop(n, f"t{n}", number=number) for n in range(3)))
    assert story.told == [Reason.NEWLY_FAILING]

    assert story.looks(of_task_sets(1), 3) is Reason.STILL_BROKEN
    story.is_well_for(4, 15, of_task_sets())
    assert (story.service.phase, story.cluster.open_services) == (Phase.RECOVERED, 0)
    assert story.service.due_at is None


@pytest.mark.parametrize(
    "shown", [of_task_sets(1), replace(of_task_sets(), pending_count=1), of_task_sets(4)]
)
def test_of_such_a_service_all_that_is_desired_must_run_and_no_more(shown: ServiceReading) -> None:
    story = failing(*(stop(n, f"t{n}", number=41) for n in range(3)))
    story.is_well_for(4, 60, shown)

    assert story.service.phase is Phase.FAILING


def test_of_such_a_service_too_few_tasks_are_told_and_then_over_too() -> None:
    story = Story()
    for minute in range(0, 20, 5):
        story.looks(of_task_sets(1), minute)
    assert story.told == [Reason.NEWLY_FAILING]

    story.recovers(20, of_task_sets())
    assert story.service.phase is Phase.RECOVERED


def test_of_such_a_service_nothing_is_looked_at_again_once_all_is_well() -> None:
    story = Story()
    story.looks(of_task_sets(1), 0)

    assert story.looks(of_task_sets(), 1) is Reason.NOTHING_WRONG
    assert story.service.due_at is None


# --- one incident, whoever finds it ---------------------------------------------------------------


def test_what_a_look_found_and_what_an_event_tells_is_one_incident_in_both_orders() -> None:
    def look(story: Story, minute: float) -> None:
        for n in range(4):
            story.looks(rolls(0), minute + n * 5)

    def event(story: Story, minute: float) -> None:
        story.gets(deployment("FAILED", 42, minute))

    ends = []
    for first, then in ((look, event), (event, look)):
        story = watched()
        first(story, 1)
        then(story, 20)
        ends.append(story)
        assert story.told[:1] == [Reason.NEWLY_FAILING]
        assert Reason.NEWLY_FAILING not in story.told[1:]
        assert (story.cluster.generation, story.cluster.open_services) == (1, 1)
    looked, told = (cause(story.service) for story in ends)
    assert looked
    assert told
    assert looked.event == told.event == "SERVICE_DEPLOYMENT_FAILED"


# --- off by a tag ---------------------------------------------------------------------------------


def died(task: str, at: str, service: str = "checkout") -> Any:
    arn = f"arn:aws:ecs:eu-west-1:123456789012:task/prod-web/{task}"
    event = envelope(
        "ECS Task State Change",
        service,
        taskArn=arn,
        clusterArn=CLUSTER,
        group=f"service:{service}",
        startedBy="ecs-svc/42",
        lastStatus="STOPPED",
        stopCode="EssentialContainerExited",
        stoppedReason="Essential container in task exited",
        containers=[{"name": "app", "exitCode": 1}],
        updatedAt=f"2026-11-23T{at}Z",
        version=5,
    )
    return event | {"resources": [arn], "id": f"stopped-{task}"}


DEATHS = [died(f"t{n}", f"11:5{n}:00") for n in range(6, 9)]


NOT_COUNTED = Policy(route=Route("*", "C01"), thresholds=Thresholds(deaths=()))
FIX = shows(row(43, 43, began=10))
UNWATCHED_FIX = replace(FIX, is_watched=False)


def a_fix_whose_tasks_die(every: int, shown: ServiceReading, **more: Any) -> Story:
    """A deployment failed; the fix runs as it should in each look, but a task dies now and then."""
    story = Story(**more)
    story.gets(deployment("IN_PROGRESS", 42, 0))
    for n in range(3):
        story.gets(stop(1 + n, f"early{n}"))
    story.gets(deployment("FAILED", 42, 4))
    story.gets(deployment("IN_PROGRESS", 43, 10))
    for minute in range(11, 60):
        story.looks(shown, minute)
        if minute % every == 0:
            story.gets(stop(minute + 0.5, f"t{minute}", number=43))
    return story


@pytest.mark.parametrize("every", [3, 4, 5])
@pytest.mark.parametrize("how", ["the setting", "the tag"])
def test_deaths_that_are_not_to_be_watched_hold_no_other_incident_open(
    how: str, every: int
) -> None:
    is_tag = how == "the tag"
    shown, more = (UNWATCHED_FIX, {}) if is_tag else (FIX, {"policy": NOT_COUNTED})
    story = a_fix_whose_tasks_die(every, shown, **more)

    assert story.told == [Reason.NEWLY_FAILING, Reason.RECOVERED]
    assert story.service.over_at == at(16)


def test_deaths_that_are_watched_hold_it_open() -> None:
    story = a_fix_whose_tasks_die(4, FIX)

    assert story.service.phase.is_open
    assert Reason.RECOVERED not in story.told


def test_where_ecs_cannot_be_read_they_hold_nothing_open_either() -> None:
    ends = []
    for policy in (NOT_COUNTED, Policy(route=Route("*", "C01"))):
        story = failing(*(stop(n * 7, f"t{n}", number=41) for n in range(3)), policy=policy)
        story.gets(action("SERVICE_TASK_PLACEMENT_FAILURE", 15, "RESOURCE:CPU"))
        story.gets(steady(16))
        story.cannot_look("no permission", 21)
        ends.append(story.service.phase)

    assert ends == [Phase.RECOVERED, Phase.FAILING]


def test_a_death_that_is_not_to_be_watched_is_said_to_be_so() -> None:
    story = failing(policy=NOT_COUNTED)

    assert story.gets(stop(1, "t1")) is Reason.NOT_WATCHED


@pytest.fixture
def watch() -> Any:
    with mock_aws():
        yield Watch()


def tagged_off(name: str = "checkout") -> ServiceReading:
    rows = [deployment_row(42, running=1, desired_count=2)]
    return replace(reading(name, running=1, desired=2, rows=rows), is_watched=False)


def test_of_a_service_with_the_tag_nothing_is_told_that_ecs_does_not_tell(watch: Watch) -> None:
    watch.ecs.shown["checkout"] = tagged_off()
    watch.offer(*DEATHS)
    watch.ticks(30)

    assert watch.slack.texts == []
    assert watch.cluster().open_services == 0

    watch.offer(
        envelope(
            "ECS Service Action",
            "checkout",
            eventName="SERVICE_TASK_PLACEMENT_FAILURE",
            createdAt="2026-11-23T12:30:30Z",
            reason="RESOURCE:CPU",
        )
    )
    assert "checkout" in watch.slack.texts[0]


def test_without_the_tag_it_is_told_and_that_ecs_reports_no_failure(watch: Watch) -> None:
    watch.ecs.shown["checkout"] = replace(tagged_off(), is_watched=True)
    watch.offer(*DEATHS)

    assert "3 tasks died" in watch.slack.texts[0]
    for posted in watch.slack.posts:
        shown = str(posted.message.blocks)
        assert "3 tasks died since <!date^" in shown
        assert "|2026-11-23 11:56 UTC>" in shown
        assert "reports" not in shown.replace("ECS itself reports", "")
    assert "ECS itself reports no failure: ecs-watch counted the tasks that died" in shown


def test_each_further_task_that_dies_is_counted_whether_or_not_they_are_too_many(
    watch: Watch,
) -> None:
    watch.ecs.shown["checkout"] = replace(tagged_off(), is_watched=True)
    watch.offer(*DEATHS)
    watch.ticks(30)
    watch.offer(died("t9", "12:30:00"))  # by itself it is no news
    watch.offer(*[died(f"u{n}", f"12:40:{n:02}") for n in range(15)])  # more than a row remembers
    watch.ticks(6)

    assert "19 tasks died since <!date^1795434960" in str(watch.slack.roots[0].message.blocks)


def test_tasks_that_died_long_before_are_not_among_those_that_were_too_many(watch: Watch) -> None:
    watch.ecs.shown["checkout"] = replace(tagged_off(), is_watched=True)
    watch.offer(died("old", "09:00:00"), *DEATHS)

    assert "3 tasks died since" in str(watch.slack.roots[0].message.blocks)


def test_what_died_in_an_incident_that_is_over_is_not_counted_again() -> None:
    story = failing(*(stop(n, f"t{n}", number=41) for n in range(3)))
    story.is_well_for(3, 15)
    assert story.service.phase is Phase.RECOVERED

    for n in range(4):
        story.gets(stop(100 + n, f"u{n}", number=41))
    assert story.service.dying == Dying(count=4, since=at(100))


def test_nor_is_it_in_an_incident_that_ecs_opened_since() -> None:
    story = failing(*(stop(n, f"t{n}", number=41) for n in range(3)))
    story.is_well_for(3, 15)
    story.gets(action("SERVICE_TASK_PLACEMENT_FAILURE", 90, "RESOURCE:CPU"))
    assert story.service.dying is None

    for n in range(3):
        story.gets(stop(100 + n, f"u{n}", number=41))
    assert story.service.dying == Dying(count=3, since=at(100))


def test_tasks_that_die_where_ecs_reports_another_failure_are_no_sentence_of_their_own(
    watch: Watch,
) -> None:
    watch.ecs.shown["checkout"] = replace(tagged_off(), is_watched=True)
    watch.offer(*DEATHS)
    reported = {"createdAt": "2026-11-23T12:00:30Z", "reason": "RESOURCE:CPU"}
    placed = {"eventName": "SERVICE_TASK_PLACEMENT_FAILURE", **reported}
    watch.offer(envelope("ECS Service Action", "checkout", **placed))
    watch.ticks(6)

    root = str(watch.slack.roots[0].message.blocks)
    assert "tasks cannot be placed" in root
    assert "tasks died" not in root


def test_a_tag_that_is_put_on_later_ends_what_was_told(watch: Watch) -> None:
    watch.ecs.shown["checkout"] = replace(tagged_off(), is_watched=True)
    watch.offer(*DEATHS)
    watch.ecs.shown["checkout"] = tagged_off()
    watch.ticks(3)

    assert watch.service().phase is Phase.QUIET
    assert "not reported again" in watch.slack.roots[0].message.text


# --- what is read for it --------------------------------------------------------------------------


def service_row(**more: Any) -> dict[str, Any]:
    rows = [
        {"id": "ecs-svc/42", "status": "PRIMARY", "desiredCount": 2, "runningCount": 0},
        {"id": "ecs-svc/41", "status": "ACTIVE", "desiredCount": 2, "runningCount": 2},
    ]
    shown = {"serviceName": "checkout", "status": "ACTIVE", "desiredCount": 2, "runningCount": 2}
    return {**shown, "deployments": rows, **more}


DEPLOYMENT = "arn:aws:ecs:eu-west-1:123456789012:service-deployment/prod-web/checkout/abc"
HOOK = {"hookTargetArn": "arn:aws:lambda:eu-west-1:123456789012:function:hook"}


def looked(row: dict[str, Any], stage: str | None = None) -> ServiceReading:
    """What a look shows of it; the stage is that of its service deployment, which is denied."""
    client = boto3.client("ecs", region_name="eu-west-1")
    with Stubber(client) as stubber:
        asked = {"cluster": CLUSTER, "services": ["checkout"], "include": ["TAGS"]}
        stubber.add_response("describe_services", {"services": [row]}, asked)
        if stage == "denied":
            stubber.add_client_error("describe_service_deployments", "AccessDeniedException")
        elif stage is not None:
            answer = {"serviceDeploymentArn": DEPLOYMENT, "lifecycleStage": stage}
            named = {"serviceDeploymentArns": [DEPLOYMENT]}
            answers = {"serviceDeployments": [answer]}
            stubber.add_response("describe_service_deployments", answers, named)
        shown = Ecs(lambda: client).services(CLUSTER, ["checkout"], START)["checkout"]
        stubber.assert_no_pending_responses()
    return shown


@pytest.mark.parametrize(("value", "is_watched"), [("off", False), (" Off", False), ("on", True)])
def test_the_tag_is_read_with_the_service(value: str, is_watched: bool) -> None:
    tags = [{"key": "ecs-watch:tasks", "value": value}]

    assert looked(service_row(tags=tags, healthCheckGracePeriodSeconds=90)).grace_seconds == 90
    assert looked(service_row(tags=tags)).is_watched is is_watched
    assert looked(service_row()).is_watched


@pytest.mark.parametrize(
    ("stage", "lacks"), [("SCALE_UP", True), ("PRE_SCALE_UP", False), ("denied", False)]
)
def test_the_stage_is_read_where_a_hook_may_be_waited_for(stage: str, lacks: bool) -> None:
    row = service_row(
        deploymentConfiguration={"lifecycleHooks": [HOOK]}, currentServiceDeployment=DEPLOYMENT
    )

    assert lacks_tasks(looked(row, stage)) is lacks


@pytest.mark.parametrize("strategy", ["BLUE_GREEN", "CANARY", "LINEAR"])
def test_the_stage_is_read_of_every_strategy_but_rolling(strategy: str) -> None:
    configured = {"deploymentConfiguration": {"strategy": strategy}}
    row = service_row(currentServiceDeployment=DEPLOYMENT, **configured)

    assert looked(row, "BAKE_TIME").stage == "BAKE_TIME"


def test_without_hooks_and_where_all_tasks_run_no_stage_is_read() -> None:
    rolling = service_row(
        deploymentConfiguration={"strategy": "ROLLING"}, currentServiceDeployment=DEPLOYMENT
    )
    hooked = service_row(
        deploymentConfiguration={"lifecycleHooks": [HOOK]}, currentServiceDeployment=DEPLOYMENT
    )
    hooked["deployments"][0]["runningCount"] = 2

    assert lacks_tasks(looked(rolling))
    assert not lacks_tasks(looked(hooked))


def test_what_the_census_finds_with_too_few_tasks_is_due_and_told_only_without_progress(
    watch: Watch,
) -> None:
    rows = [deployment_row(42, running=1, desired_count=2)]
    watch.ecs.shown["checkout"] = reading("checkout", running=1, desired=2, rows=rows)
    watch.ecs.listed = [CLUSTER]
    watch.clock.at += timedelta(hours=1)
    watch.ticks(10)
    assert watch.slack.texts == []

    watch.ticks(10)
    said = "1 of 2 running on :42 · no more tasks came to run since <!date^"
    assert said in str(watch.slack.roots[0].message.blocks)
    assert watch.slack.texts[0].endswith("1 of 2 running on :42, no more tasks came to run")
    assert "ecs-watch has seen no progress for too long" in str(watch.slack.replies[0].message)


# --- the settings ---------------------------------------------------------------------------------


def test_the_rules_as_they_are_written() -> None:
    six_hours = timedelta(hours=6)

    assert parse_dying_tasks() == (Deaths(3, PATIENT), Deaths(6, six_hours, of_one_cause=True))
    assert parse_dying_tasks(" 2 in 360 min ;") == (Deaths(2, six_hours),)
    assert parse_dying_tasks("off") == ()


@pytest.mark.parametrize(
    "text", ["3", "1 in 5 min", "11 in 5 min", "3 in 7 h", "3 in 0 h", "three in 1 h", "off; off"]
)
def test_a_rule_that_cannot_be_kept_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="DYING_TASKS"):
        parse_dying_tasks(text)
