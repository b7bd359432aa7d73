"""What is wrong, what is news, when it is over: each sentence of the rules, by name."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.events import parse
from notifier.facts import (
    Actor,
    Confidence,
    Container,
    Diagnosis,
    Explanation,
    Missing,
    Shipment,
)
from notifier.incidents import (
    SEEN_AT_MOST,
    SHIPMENTS_KEPT,
    Policy,
    cause,
    cause_name,
    decide,
    explanation_of,
    failed_deployment,
    failing_id,
    hold_down,
    is_explained,
    newly_owed,
)
from notifier.model import (
    ApiCall,
    ClusterState,
    CodeDeployStateChange,
    DaemonDeploymentStateChange,
    DaemonServiceAction,
    Event,
    HookStateChange,
    Impact,
    NotReadable,
    Observation,
    Observed,
    Phase,
    Reason,
    Route,
    ServiceAction,
    ServiceMessage,
    ServiceState,
    Shipped,
    SubjectKind,
)
from tests.jobs import retry, task_stopped
from tests.permutations import (
    CLUSTER,
    FAMILIES,
    NOON,
    OLD,
    Family,
    action,
    at,
    begun,
    deployment,
    event,
    expected,
    orders,
    played,
    rollback,
    row,
    shows,
    steady,
    stop,
    wrong_orders,
)

POLICY = Policy(route=Route("*", "C01"))
MINUTE = timedelta(minutes=1)

WELL = shows(row(41, 41, began=OLD))
HALF = shows(row(41, 41, running=1, began=OLD))
DOWN = shows(row(41, 41, running=0, began=OLD))
PLACEMENT = "SERVICE_TASK_PLACEMENT_FAILURE"
IMPAIRED = "SERVICE_TASK_START_IMPAIRED"
THROTTLED = "ECS_OPERATION_THROTTLED"


@dataclass
class Story:
    """A cluster that is told what happens, minute by minute after noon."""

    policy: Policy = POLICY
    cluster: ClusterState = field(
        default_factory=lambda: ClusterState(
            key=CLUSTER, account="123456789012", region="eu-west-1", partition="aws"
        )
    )
    name: str = "checkout"

    def gets(self, told: Event, now: float | None = None, late: bool = False) -> Reason:
        """Receive an event; by default at the time at which it happened."""
        now_at = told.occurred_at if now is None else at(now)
        received = told.occurred_at if not late else now_at
        return self.decide(Observed(event=told, received_at=received), now_at)

    def looks(self, reading: Any, now: float) -> Reason:
        return self.decide(replace(reading, read_at=at(now)), at(now))

    def cannot_look(self, why: str, now: float) -> Reason:
        return self.decide(NotReadable(service=self.key, why=why), at(now))

    def decide(self, observation: Observation, now: datetime) -> Reason:
        decision = decide(self.cluster, [observation], now, self.policy)
        self.cluster = decision.cluster
        (reason,) = decision.reasons
        return reason

    def is_well_for(self, start: float, minutes: int, reading: Any = WELL) -> list[Reason]:
        """What a look each minute says."""
        return [self.looks(reading, start + n) for n in range(minutes + 1)]

    def recovers(self, start: float, reading: Any = WELL) -> None:
        self.is_well_for(start, 6, reading)

    @property
    def key(self) -> str:
        (key,) = self.cluster.services
        return key

    @property
    def service(self) -> ServiceState:
        return self.cluster.services[self.key]

    @property
    def told(self) -> list[Reason]:
        return [one.reason for one in self.service.transitions]

    def tell(self) -> None:
        told = replace(self.service, told={"C01": self.service.revision})
        self.cluster = replace(self.cluster, services={self.key: told})


def failing(*events: Event, **more: Any) -> Story:
    story = Story(**more)
    for one in events or (deployment("FAILED", 42, 0),):
        story.gets(one)
    return story


def dies(minutes: float, task: str, number: int, revision: int) -> Any:
    """A task of this deployment and revision ends as none should."""
    release = row(number, revision).task_definition
    return stop(minutes, task, number=number, task_definition_arn=release)


# --- beginning, repeating, changing ---------------------------------------------------------------


def test_the_first_failure_of_a_service_is_news() -> None:
    story = Story()

    assert story.gets(deployment("FAILED", 42, 0)) is Reason.NEWLY_FAILING
    assert story.service.phase is Phase.FAILING
    assert story.cluster.open_services == 1


@pytest.mark.parametrize(
    "name",
    [
        PLACEMENT,
        IMPAIRED,
        THROTTLED,
        "SERVICE_TASK_CONFIGURATION_FAILURE",
        "SERVICE_DISCOVERY_INSTANCE_UNHEALTHY",
        "VPC_LATTICE_TARGET_UNHEALTHY",
        "SERVICE_DAEMON_PLACEMENT_CONSTRAINT_VIOLATED",
        "SERVICE_HEALTH_UNKNOWN",
        "A_NAME_NOBODY_KNOWS",
    ],
)
def test_each_event_that_is_not_info_is_told(name: str) -> None:
    assert Story().gets(action(name, 0)) is Reason.NEWLY_FAILING


def test_a_second_copy_of_an_event_changes_nothing() -> None:
    story = failing()
    before = story.cluster

    assert story.gets(deployment("FAILED", 42, 0), now=3) is Reason.SECOND_COPY
    assert story.cluster == before


def test_the_same_failure_again_raises_a_count_and_is_not_told() -> None:
    story = failing(action(PLACEMENT, 0, "RESOURCE:CPU"))
    revision = story.service.revision

    assert story.gets(action(PLACEMENT, 1, "RESOURCE:CPU")) is Reason.REPEATED
    assert (story.service.count, story.service.revision) == (2, revision)


def test_the_same_failure_is_told_again_after_four_hours_only() -> None:
    story = failing(action(IMPAIRED, 0))
    reasons = [story.gets(action(IMPAIRED, minutes)) for minutes in range(15, 8 * 60 + 16, 15)]

    assert reasons.count(Reason.STILL_FAILING) == 2
    assert reasons[14:16] == [Reason.REPEATED, Reason.STILL_FAILING]


def test_a_quiet_route_gets_no_repeats() -> None:
    story = failing(action(IMPAIRED, 0), policy=Policy(route=Route("*", "C01", quiet=True)))

    assert story.gets(action(IMPAIRED, 300)) is Reason.REPEATED


def test_another_deployment_that_fails_is_news() -> None:
    story = failing(deployment("FAILED", 42, 0))

    assert story.gets(deployment("FAILED", 43, 9)) is Reason.ANOTHER_DEPLOYMENT
    failed = failed_deployment(story.service)
    assert failed
    assert failed.id == "ecs-svc/43"


def test_an_older_deployment_that_failed_too_is_no_news() -> None:
    story = failing(deployment("FAILED", 43, 0))

    assert story.gets(deployment("FAILED", 42, -9), now=1) is Reason.REPEATED


def test_another_cause_is_news_when_it_says_more() -> None:
    story = failing(action(IMPAIRED, 0))

    assert story.gets(action(PLACEMENT, 1, "RESOURCE:CPU")) is Reason.ANOTHER_CAUSE
    assert story.gets(action(IMPAIRED, 2)) is Reason.REPEATED


def test_two_causes_that_take_turns_are_told_once_each() -> None:
    story = failing(action(PLACEMENT, 0, "RESOURCE:CPU"))
    turns = ["RESOURCE:MEMORY" if n % 2 else "RESOURCE:CPU" for n in range(1, 10)]
    reasons = [story.gets(action(PLACEMENT, n, why)) for n, why in enumerate(turns, 1)]

    assert reasons == [Reason.ANOTHER_CAUSE] + [Reason.REPEATED] * 8


def test_a_wording_with_other_numbers_is_the_same_cause() -> None:
    story = failing(action(PLACEMENT, 0, "instance i-0123456789abcdef0 lacks 3 ports"))

    assert story.gets(action(PLACEMENT, 1, "instance i-fedcba98765432100 lacks 4 ports")) is (
        Reason.REPEATED
    )


def test_that_a_deployment_failed_stays_the_cause_while_ecs_repeats_what_follows_from_it() -> None:
    story = failing(deployment("FAILED", 42, 0))
    reasons = {story.gets(action(IMPAIRED, 15 * n)) for n in range(1, 9)}
    why = cause(story.service)

    assert reasons == {Reason.REPEATED}
    assert why
    assert why.event == "SERVICE_DEPLOYMENT_FAILED"


def test_a_cause_of_last_week_is_not_this_weeks() -> None:
    story = failing(deployment("FAILED", 42, 0))
    story.recovers(1, shows(row(42, 42, began=-5)))
    week = 7 * 24 * 60
    assert story.gets(action(IMPAIRED, week)) is Reason.NEWLY_FAILING
    why = cause(story.service)

    assert why
    assert why.event == IMPAIRED
    assert failed_deployment(story.service) is None


def test_a_rollback_and_the_failure_it_answers_are_one_piece_of_news() -> None:
    story = failing(rollback(43, -1.5))

    assert story.gets(deployment("FAILED", 42, 0)) is Reason.REPEATED
    why = cause(story.service)
    assert why
    assert why.event == "SERVICE_DEPLOYMENT_FAILED"


def test_progress_of_a_deployment_is_remembered_and_not_told() -> None:
    story = Story()

    assert story.gets(deployment("IN_PROGRESS", 42, 0)) is Reason.PROGRESS
    assert story.service.phase is Phase.ROLLING
    assert story.told == []


def test_a_deployment_that_completed_before_we_heard_that_it_began_is_not_under_way() -> None:
    story = Story()
    story.gets(deployment("COMPLETED", 42, 0))
    story.gets(deployment("IN_PROGRESS", 42, -5), now=1)

    assert story.service.phase is Phase.WELL


def test_an_event_about_no_service_is_said_to_be_so() -> None:
    call = event(
        ApiCall,
        0,
        error_code="",
        failure_reasons=(),
        caller_type="",
        caller_name="",
        name="RunTask",
    )

    decision = decide(Story().cluster, [Observed(event=call, received_at=NOON)], NOON, POLICY)
    assert decision.reasons == (Reason.NO_SUBJECT,)
    assert not decision.changed


def test_only_a_limited_number_of_identities_is_kept() -> None:
    story = failing(*(action(PLACEMENT, n) for n in range(120)))

    assert len(story.service.seen) == SEEN_AT_MOST
    assert story.gets(action(PLACEMENT, 119)) is Reason.SECOND_COPY


# --- ignored clusters -----------------------------------------------------------------------------

IGNORED = Policy(route=Route("*", "ignore"))


def test_an_ignored_cluster_leaves_no_trace() -> None:
    observed = Observed(event=deployment("FAILED", 42, 0), received_at=NOON)
    decision = decide(Story().cluster, [observed], NOON, IGNORED)

    assert decision.reasons == (Reason.IGNORED_CLUSTER,)
    assert not decision.changed


def test_what_was_told_before_its_cluster_was_ignored_is_seen_to_its_end() -> None:
    story = failing()
    story.policy = IGNORED
    story.recovers(1, shows(row(42, 42, began=-5)))

    assert story.service.phase is Phase.RECOVERED
    assert story.service.destination == "C01"


def test_a_look_that_was_due_in_a_cluster_that_is_ignored_now_is_due_no_more() -> None:
    story = Story()
    story.gets(deployment("COMPLETED", 42, 0))
    assert story.service.due_at
    decision = decide(story.cluster, [replace(WELL, read_at=at(1))], at(1), IGNORED)

    assert decision.changed
    assert decision.cluster.services["checkout"].due_at is None


# --- impact ---------------------------------------------------------------------------------------


def test_a_worse_impact_is_news_though_the_cause_is_the_same() -> None:
    story = failing()
    story.looks(HALF, 1)

    assert story.looks(DOWN, 2) is Reason.WORSE
    assert story.service.impact is Impact.DOWN


def test_the_first_look_at_the_impact_is_no_worsening() -> None:
    story = failing()

    assert story.looks(DOWN, 1) is Reason.STILL_BROKEN
    assert story.service.impact is Impact.DOWN


def test_impact_does_not_ease_while_it_fails() -> None:
    story = failing()
    for n, reading in enumerate([DOWN, HALF, DOWN, HALF, WELL, DOWN], 1):
        assert story.looks(reading, n) is not Reason.WORSE

    assert story.service.impact is Impact.DOWN


def test_impact_eases_with_the_recovery_and_begins_anew() -> None:
    story = failing(action(PLACEMENT, 0))
    story.looks(DOWN, 1)
    story.recovers(2)
    impacts = [story.service.impact]
    story.gets(action(PLACEMENT, 20))
    impacts.append(story.service.impact)

    assert impacts == [Impact.SERVING, Impact.UNKNOWN]
    assert story.service.reading is None


def test_tasks_that_die_serve_badly_though_all_run_at_the_moment() -> None:
    story = failing(*(stop(n, f"task-{n}", number=41) for n in range(3)))
    story.looks(WELL, 3)
    story.looks(shows(row(41, 41, began=OLD), row(40, 40, running=0)), 4)

    assert story.service.impact is Impact.REDUCED


def test_a_release_whose_tasks_die_beside_the_old_one_that_serves_all_is_no_reduced_service() -> (
    None
):
    story = failing(*(stop(n, f"task-{n}", number=42) for n in range(3)))
    story.looks(
        shows(
            row(42, 42, running=1, rollout_state="IN_PROGRESS"),
            row(41, 41, running=2, status="ACTIVE"),
        ),
        3,
    )

    assert story.service.impact is Impact.SERVING


# --- green ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [deployment("COMPLETED", 42, 1), steady(1)])
def test_completed_and_steady_state_turn_nothing_green_but_make_it_due(told: Event) -> None:
    story = failing()

    assert story.gets(told) is Reason.PROGRESS
    assert story.service.phase is Phase.FAILING
    assert story.service.due_at == at(1)


def test_it_recovers_after_five_minutes_of_looking_well_and_not_before() -> None:
    story = failing(action(PLACEMENT, 0))

    assert story.is_well_for(1, 5) == [Reason.LOOKS_WELL] * 5 + [Reason.RECOVERED]
    assert story.cluster.open_services == 0
    assert story.cluster.closed_at == at(6)


def test_one_look_turns_nothing_green_however_long_ago_it_was() -> None:
    story = failing(action(PLACEMENT, 0))

    assert story.looks(WELL, 300) is Reason.LOOKS_WELL
    assert story.looks(WELL, 305) is Reason.RECOVERED


def test_a_look_that_shows_less_begins_the_hold_down_again() -> None:
    story = failing(action(PLACEMENT, 0))
    story.looks(HALF, 0.5)
    story.is_well_for(1, 4)

    assert story.looks(HALF, 5) is Reason.STILL_BROKEN
    assert story.is_well_for(6, 5)[-2:] == [Reason.LOOKS_WELL, Reason.RECOVERED]


@pytest.mark.parametrize(
    "reading",
    [
        shows(row(41, 41), row(42, 42, running=0)),
        shows(row(41, 41, rollout_state="IN_PROGRESS")),
        shows(row(41, 41, rollout_state="FAILED")),
        shows(row(41, 41), pending_count=1),
        shows(row(41, 41), running=3),
        HALF,
        shows(),
    ],
)
def test_recovered_asks_for_one_completed_deployment_with_all_that_is_desired(reading: Any) -> None:
    story = failing(action(PLACEMENT, 0))
    story.is_well_for(1, 30, reading)

    assert story.service.phase is Phase.FAILING


def test_an_absent_rollout_state_counts_as_completed() -> None:
    story = failing(action(PLACEMENT, 0))
    story.recovers(1, shows(row(41, 41, rollout_state="", began=OLD)))

    assert story.service.phase is Phase.RECOVERED


def test_an_older_look_that_comes_later_changes_nothing() -> None:
    story = failing(action(PLACEMENT, 0))
    story.looks(DOWN, 2)
    before = story.service

    assert story.decide(replace(WELL, read_at=at(1)), at(3)) is Reason.STILL_BROKEN
    assert replace(story.service, due_at=before.due_at) == before


def test_the_hold_down_is_twice_the_longest_gap_between_deaths() -> None:
    story = failing(*(stop(minutes, f"t{minutes}", number=41) for minutes in (0, 4, 14)))
    reasons = story.is_well_for(15, 20)

    assert hold_down(story.service) == 20 * MINUTE
    assert reasons == [Reason.LOOKS_WELL] * 20 + [Reason.RECOVERED]


def test_tasks_that_died_near_each_other_must_run_for_a_quarter_of_an_hour() -> None:
    story = failing(*(stop(minutes, f"t{minutes}", number=41) for minutes in (0, 1, 2)))

    assert Reason.RECOVERED not in story.is_well_for(3, 14)
    assert story.looks(WELL, 18) is Reason.RECOVERED


def test_the_hold_down_is_at_most_six_hours() -> None:
    deaths = [stop(n * 70, f"t{n}", number=41) for n in range(5)] + [stop(520, "t9", number=41)]

    assert hold_down(failing(*deaths).service) == timedelta(hours=6)


def test_deaths_of_last_week_do_not_hold_anything_down() -> None:
    story = failing(
        stop(-9_000, "old", number=41), *(stop(n, f"t{n}", number=41) for n in range(3))
    )

    assert hold_down(story.service) == 15 * MINUTE


def test_a_deployment_begun_after_the_last_death_starts_again_at_five_minutes() -> None:
    story = failing(*(stop(minutes, f"t{minutes}", number=41) for minutes in (0, 5, 14)))
    assert hold_down(story.service) == 18 * MINUTE

    story.gets(deployment("COMPLETED", 41, 15))
    assert hold_down(story.service) == 18 * MINUTE
    story.gets(deployment("IN_PROGRESS", 43, 16))
    assert hold_down(story.service) == 5 * MINUTE


def test_a_rollback_after_the_last_death_starts_again_at_five_minutes_too() -> None:
    deaths = [stop(minutes, f"t{minutes}") for minutes in (0, 7, 14)]
    story = failing(*deaths, rollback(43, 15), deployment("FAILED", 42, 16))

    assert hold_down(story.service) == 5 * MINUTE


def test_a_crash_loop_that_looks_well_between_deaths_never_turns_green() -> None:
    story = Story()
    reasons = []
    for n in range(100):
        reasons.append(story.gets(stop(n * 14, f"t{n}", number=41)) if n > 2 else None)
        if n <= 2:
            story.gets(stop(n * 7, f"t{n}", number=41))
        reasons += story.is_well_for(n * 14 + 1, 12) if n > 1 else []

    assert Reason.RECOVERED not in reasons
    assert sum(reason is Reason.STILL_FAILING for reason in reasons) <= 6


def test_what_ecs_says_again_each_quarter_of_an_hour_must_be_silent_for_twice_that() -> None:
    story = failing(action(IMPAIRED, 0))

    assert Reason.RECOVERED not in story.is_well_for(1, 29)
    assert story.looks(WELL, 31) is Reason.RECOVERED


def test_a_release_that_comes_after_it_need_not_wait_that_long() -> None:
    story = failing(action(IMPAIRED, 0), deployment("IN_PROGRESS", 43, 3))

    assert hold_down(story.service) == 5 * MINUTE


def test_a_single_death_begins_the_hold_down_again() -> None:
    story = failing(action(PLACEMENT, 0))
    story.is_well_for(1, 4)

    assert story.gets(stop(5.5, "a", number=41)) is Reason.FEW_DEATHS
    assert story.service.phase is Phase.FAILING
    assert story.is_well_for(6, 5)[-2:] == [Reason.LOOKS_WELL, Reason.RECOVERED]


# --- roll-backs -----------------------------------------------------------------------------------

BY_TEXT = shows(row(43, 41, began=1))


def test_a_rollback_is_told_as_not_live_and_never_as_recovered() -> None:
    story = failing(deployment("FAILED", 42, 0), rollback(43, 1), deployment("COMPLETED", 43, 2))
    reasons = story.is_well_for(3, 6, BY_TEXT)

    assert reasons[-2:] == [Reason.ROLLED_BACK, Reason.NOTHING_WRONG]
    assert story.service.phase is Phase.NOT_LIVE
    assert Reason.RECOVERED not in story.told


def test_a_rollback_that_only_the_services_own_messages_tell_of_is_found_as_not_live() -> None:
    story = Story()
    messages = (
        ServiceMessage(deployment_id="ecs-svc/42", at=at(0), is_failure=True, text="failed"),
        ServiceMessage(deployment_id="ecs-svc/43", at=at(0.1), is_failure=False, text="back"),
    )
    after = replace(shows(row(43, 41, began=0.1)), messages=messages)

    assert story.looks(after, 30) is Reason.NEWLY_FAILING
    story.recovers(31, after)
    assert story.service.phase is Phase.NOT_LIVE
    assert story.looks(after, 40) is Reason.NOTHING_WRONG


def test_an_event_and_a_look_may_differ_by_moments_about_when_a_deployment_failed() -> None:
    story = failing(deployment("FAILED", 42, 3.01))
    story.looks(shows(row(42, 42, running=0, began=0, rollout_state="FAILED")), 3.5)

    failed = failed_deployment(story.service)
    assert failed is not None
    assert failed.revision.endswith(":42")


def test_the_incident_of_a_rollback_closes_and_names_the_release_that_is_not_live() -> None:
    story = failing(deployment("FAILED", 42, 0), rollback(43, 1))
    story.looks(
        shows(
            row(43, 41, running=1, began=1, rollout_state="IN_PROGRESS"),
            row(42, 42, running=0, began=-5, rollout_state="FAILED", status="ACTIVE"),
        ),
        2,
    )
    story.recovers(3, BY_TEXT)

    assert story.cluster.closed_at
    assert [one.rpartition("/")[2] for one in story.service.not_live] == ["shop:42"]


def test_the_old_deployment_that_serves_again_does_not_supersede_the_one_that_failed() -> None:
    story = failing(
        deployment("IN_PROGRESS", 41, OLD),
        deployment("IN_PROGRESS", 42, -5),
        rollback(41, -1),
        deployment("COMPLETED", 41, -0.5),
    )

    assert story.gets(deployment("FAILED", 42, 0)) is Reason.REPEATED
    story.recovers(1, shows(row(41, 41, began=OLD)))
    assert story.service.not_live == ("ecs-svc/42",)


def test_a_rollback_asks_for_the_same_hold_down_as_a_recovery() -> None:
    story = failing(rollback(43, 0))

    assert story.is_well_for(1, 5, BY_TEXT) == [Reason.LOOKS_WELL] * 5 + [Reason.ROLLED_BACK]


def test_a_rollback_is_known_by_its_revision_when_its_text_was_lost() -> None:
    story = Story()
    story.looks(WELL, -60)
    story.gets(deployment("FAILED", 42, 0))
    story.recovers(1, BY_TEXT)

    assert story.service.phase is Phase.NOT_LIVE


def test_a_rollback_is_known_by_the_text_of_a_look_alone() -> None:
    story = failing()
    reason = "ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/43."
    rolling = row(43, 41, running=1, rollout_state="IN_PROGRESS", rollout_state_reason=reason)
    story.looks(shows(rolling), 1)
    story.recovers(2, BY_TEXT)

    assert story.service.phase is Phase.NOT_LIVE


def test_the_failed_deployments_own_text_does_not_make_it_a_rollback() -> None:
    story = failing(
        deployment("FAILED", 42, 0, "tasks failed to start; rolling back to deployment 41")
    )
    (known,) = story.service.deployments

    assert not known.is_rollback


def test_what_serves_though_nobody_said_it_was_a_release_is_not_called_recovered() -> None:
    story = failing(deployment("IN_PROGRESS", 42, -5), deployment("FAILED", 42, 0))
    story.recovers(1, BY_TEXT)

    assert story.service.phase is Phase.NOT_LIVE


def test_a_fix_under_way_keeps_it_failing_until_it_is_well() -> None:
    story = failing(deployment("FAILED", 42, 0), deployment("IN_PROGRESS", 43, 5))
    rolling = shows(
        row(43, 43, running=2, began=5, rollout_state="IN_PROGRESS"),
        row(41, 41, running=2, began=OLD, status="ACTIVE"),
        running=2,
    )
    assert set(story.is_well_for(6, 20, rolling)) == {Reason.STILL_BROKEN}
    story.gets(deployment("COMPLETED", 43, 27))
    assert story.service.phase is Phase.FAILING

    assert story.is_well_for(28, 5, shows(row(43, 43, began=5)))[-1] is Reason.RECOVERED


def test_a_fix_whose_beginning_no_event_told_is_known_by_its_later_revision() -> None:
    story = failing(deployment("FAILED", 42, 0))
    story.looks(shows(row(42, 42, running=0, began=-5, rollout_state="FAILED")), 1)
    story.recovers(20, shows(row(43, 43, began=10)))

    assert story.service.phase is Phase.RECOVERED


def test_a_fix_that_began_before_the_release_failed_is_no_rollback_though_its_start_came_late() -> (
    None
):
    story = failing(deployment("IN_PROGRESS", 44, -0.3), deployment("FAILED", 43, 0))
    story.recovers(5, shows(row(44, 44, began=-0.3)))

    assert story.service.phase is Phase.RECOVERED


def test_a_task_that_died_tells_that_its_release_had_begun_before_the_next() -> None:
    story = failing(
        dies(-1, "a", 43, 43), deployment("IN_PROGRESS", 44, -0.3), deployment("COMPLETED", 44, 2)
    )

    assert story.gets(deployment("FAILED", 43, 0), now=3) is Reason.SUPERSEDED


def test_a_release_whose_tasks_die_is_known_as_rolled_back_before_anyone_says_it_failed() -> None:
    story = failing(
        deployment("IN_PROGRESS", 42, -5), *(dies(n, f"t{n}", 42, 42) for n in range(3))
    )
    story.recovers(5, shows(row(43, 41, began=4)))

    assert story.service.phase is Phase.NOT_LIVE
    assert [one.rpartition("/")[2] for one in story.service.not_live] == ["shop:42"]


def test_what_comes_late_of_a_release_that_is_told_as_not_live_is_no_news() -> None:
    story = failing(
        deployment("IN_PROGRESS", 42, -5), *(dies(n, f"t{n}", 42, 42) for n in range(3))
    )
    story.recovers(5, shows(row(43, 41, began=4)))

    assert story.gets(rollback(43, 4), now=14) is Reason.REPEATED
    assert story.gets(deployment("FAILED", 42, 3.9), now=15) is Reason.REPEATED
    assert story.service.phase is Phase.NOT_LIVE
    assert story.gets(deployment("FAILED", 44, 16)) is Reason.FAILING_AGAIN


def test_a_release_that_is_not_named_yet_as_not_live_is_told_though_it_comes_late() -> None:
    assert not_live().gets(deployment("FAILED", 41, -2), now=15) is Reason.FAILING_AGAIN


def test_a_release_deployed_once_more_after_its_tasks_died_was_not_rolled_back() -> None:
    story = failing(*(dies(n, f"t{n}", 41, 41) for n in range(3)))
    story.recovers(5, shows(row(42, 41, began=4)))

    assert story.service.phase is Phase.RECOVERED


def test_a_release_that_had_been_live_is_not_said_never_to_have_been() -> None:
    story = failing(*(dies(n, f"t{n}", 42, 42) for n in range(3)))
    story.looks(shows(row(42, 42, running=1, began=-30)), 3)
    story.recovers(5, shows(row(43, 41, began=4)))

    assert story.service.phase is Phase.RECOVERED


def not_live() -> Story:
    story = failing(deployment("FAILED", 42, 0), rollback(43, 1))
    story.recovers(2, BY_TEXT)
    assert story.service.phase is Phase.NOT_LIVE
    return story


def test_a_later_completed_deployment_in_the_window_is_told_once() -> None:
    story = not_live()
    story.gets(deployment("IN_PROGRESS", 44, 20))
    story.gets(deployment("COMPLETED", 44, 25))
    live = shows(row(44, 44, began=20))

    assert story.looks(live, 26) is Reason.NOW_LIVE
    assert story.looks(live, 27) is Reason.NOTHING_WRONG
    assert story.service.phase is Phase.RECOVERED


def test_a_later_completed_deployment_after_the_window_is_not_told() -> None:
    story = not_live()
    transitions = story.service.transitions
    story.gets(deployment("IN_PROGRESS", 44, 120))
    story.gets(deployment("COMPLETED", 44, 125))

    assert story.looks(shows(row(44, 44, began=120)), 126) is Reason.NOTHING_WRONG
    assert story.service.transitions == transitions


def test_a_release_that_went_live_after_all_is_not_called_not_live() -> None:
    story = failing(deployment("FAILED", 42, 0), rollback(43, 1))
    failed = row(42, 42, running=0, began=-5, rollout_state="FAILED", status="ACTIVE")
    story.looks(shows(row(43, 41, began=1, rollout_state="IN_PROGRESS"), failed), 2)
    story.recovers(3, BY_TEXT)
    story.gets(deployment("IN_PROGRESS", 44, 20))
    story.gets(deployment("COMPLETED", 44, 25))
    story.looks(shows(row(44, 42, began=20)), 26)

    assert story.service.phase is Phase.RECOVERED
    assert story.service.not_live == ()


def test_the_rollback_of_last_week_does_not_make_this_weeks_recovery_one() -> None:
    story = not_live()
    week = 7 * 24 * 60
    for n in range(3):
        story.gets(stop(week + n, f"t{n}", number=43))
    story.is_well_for(week + 5, 15, BY_TEXT)

    assert story.service.phase is Phase.RECOVERED


def superseded() -> tuple[Story, Reason]:
    story = Story()
    story.looks(WELL, -60)
    story.gets(deployment("IN_PROGRESS", 42, -20))
    story.gets(deployment("IN_PROGRESS", 43, -10))
    story.gets(deployment("COMPLETED", 43, -5))
    return story, story.gets(deployment("FAILED", 42, -12), now=0)


def test_a_late_failed_of_a_superseded_deployment_is_told_in_one_line_and_changes_nothing() -> None:
    story, reason = superseded()

    assert reason is Reason.SUPERSEDED
    assert story.service.phase in (Phase.WELL, Phase.ROLLING)
    assert story.cluster.open_services == 0
    assert story.looks(shows(row(43, 43, began=-10)), 1) is Reason.NOTHING_WRONG
    assert story.told == [Reason.SUPERSEDED]


def test_a_superseded_failure_while_another_fails_does_not_take_its_place() -> None:
    story = Story()
    for one in (deployment("IN_PROGRESS", 43, -10), deployment("COMPLETED", 43, -5)):
        story.gets(one)
    story.gets(action(IMPAIRED, -1))
    assert story.gets(deployment("FAILED", 42, -12), now=0) is Reason.SUPERSEDED
    why = cause(story.service)

    assert why
    assert why.event == IMPAIRED
    assert failed_deployment(story.service) is None


def test_a_deployment_that_came_before_does_not_supersede() -> None:
    story = Story()
    for one in (deployment("IN_PROGRESS", 41, -90), deployment("COMPLETED", 41, -80)):
        story.gets(one)

    assert story.gets(deployment("FAILED", 42, 0)) is Reason.NEWLY_FAILING


def test_a_release_by_hand_of_what_served_before_does_not_supersede() -> None:
    story = Story()
    story.looks(WELL, -60)
    story.gets(deployment("IN_PROGRESS", 42, -20))
    story.gets(deployment("IN_PROGRESS", 43, -10))
    story.gets(deployment("COMPLETED", 43, -5))
    story.looks(shows(row(43, 41, began=-10)), -1)

    assert story.gets(deployment("FAILED", 42, -12), now=0) is Reason.NEWLY_FAILING


# --- what sends no failure event ------------------------------------------------------------------


def test_three_deaths_in_fifteen_minutes_tell_of_a_failing_service() -> None:
    story = Story()

    assert story.gets(stop(0, "a")) is Reason.FEW_DEATHS
    assert story.gets(stop(7, "b")) is Reason.FEW_DEATHS
    assert story.gets(stop(15, "c")) is Reason.NEWLY_FAILING
    assert story.service.count == 3


def test_three_deaths_in_more_than_fifteen_minutes_do_not() -> None:
    story = failing(stop(0, "a"), stop(8, "b"), stop(15.5, "c"))

    assert story.service.phase is Phase.WELL


@pytest.mark.parametrize(
    ("causes", "phase"), [(["x"] * 6, Phase.FAILING), (["x", "y"] * 3, Phase.WELL)]
)
def test_six_deaths_in_six_hours_do_when_they_have_one_cause(
    causes: list[str], phase: Phase
) -> None:
    reasons = {"x": "OutOfMemoryError", "y": "CannotPullContainerError"}
    stops = [stop(n * 70, f"t{n}", reason=reasons[why]) for n, why in enumerate(causes)]

    assert failing(*stops).service.phase is phase


def test_one_task_dies_once_however_often_its_stop_is_told() -> None:
    story = failing(stop(0, "a"), stop(0, "a", version=6), stop(1, "b"))

    assert story.gets(stop(1, "b", version=6)) is Reason.SECOND_COPY
    assert story.service.phase is Phase.WELL


def test_deaths_of_different_deployments_are_counted_apart() -> None:
    story = failing(stop(0, "a", number=41), stop(1, "b", number=42), stop(2, "c", number=43))

    assert story.service.phase is Phase.WELL


def test_a_death_long_after_others_that_were_enough_does_not_begin_it_again() -> None:
    story = failing(*(stop(n, f"t{n}", number=41) for n in range(3)))
    story.recovers(3)

    assert story.gets(stop(60, "t9", number=41)) is Reason.FEW_DEATHS


def test_a_scale_in_is_benign_whatever_its_exit_code() -> None:
    scale_in = stop(
        0,
        "a",
        reason="Scaling activity initiated by (deployment ecs-svc/42)",
        exit_code=137,
        code="ServiceSchedulerInitiated",
    )
    story = Story()
    decision = decide(
        story.cluster, [Observed(event=scale_in, received_at=NOON)], NOON, story.policy
    )

    assert decision.reasons == (Reason.BENIGN_STOP,)
    assert not decision.changed


def test_exit_code_zero_counts_inside_a_deployment_only() -> None:
    clean = [stop(n, f"t{n}", exit_code=0) for n in range(3)]

    inside = failing(deployment("IN_PROGRESS", 42, -1), *clean)
    assert inside.looks(HALF, 3) is Reason.NEWLY_FAILING
    done = [deployment("IN_PROGRESS", 42, -9), deployment("COMPLETED", 42, -1)]
    story = failing(*done)
    assert {story.gets(one) for one in clean} == {Reason.BENIGN_STOP}


def test_that_one_task_died_makes_no_deployment_of_what_has_been_running_for_weeks() -> None:
    clean = [stop(n, f"t{n}", exit_code=0) for n in range(1, 5)]

    assert failing(stop(0, "a"), *clean).service.phase is Phase.WELL


def test_a_task_of_no_deployment_that_ends_with_zero_is_benign() -> None:
    assert Story().gets(stop(0, "a", number="events-rule/x", exit_code=0)) is Reason.BENIGN_STOP


def test_a_failed_deployment_that_no_event_told_is_found_by_a_look() -> None:
    story = Story()
    failed = row(42, 42, running=0, rollout_state="FAILED", rollout_state_reason="it failed")

    assert story.looks(shows(failed), 5) is Reason.NEWLY_FAILING
    assert story.looks(shows(failed), 6) is Reason.STILL_BROKEN
    why = cause(story.service)
    assert why
    assert why.reason == "it failed"
    assert story.service.impact is Impact.DOWN


def test_another_failed_deployment_that_no_event_told_is_found_while_the_first_is_open() -> None:
    story = failing(deployment("FAILED", 42, 0))
    second = row(43, 43, running=0, began=5, rollout_state="FAILED")

    assert story.looks(shows(second), 10) is Reason.ANOTHER_DEPLOYMENT
    assert story.gets(deployment("FAILED", 43, 8), now=11) is Reason.REPEATED


def test_a_failed_deployment_that_is_known_is_not_found_again() -> None:
    story = not_live()
    lingers = row(42, 42, running=0, began=-5, rollout_state="FAILED", status="ACTIVE")

    assert story.looks(shows(row(43, 41, began=1), lingers), 30) is Reason.PROGRESS


def test_a_deployment_fails_once_whether_an_event_a_look_or_its_rollback_tells_of_it() -> None:
    row_of_it = shows(row(42, 42, running=0, rollout_state="FAILED", updated_at=at(0)))
    told = [deployment("FAILED", 42, 0), rollback(43, 0.1), rollback(43, 0.1)]
    for order in itertools.permutations([row_of_it, *told]):
        story = Story()
        for n, one in enumerate(order):
            story.looks(one, n + 1) if one is row_of_it else story.gets(one, now=n + 1)

        assert story.service.count == 1


def test_a_closed_service_that_is_not_well_is_looked_at_less_and_less() -> None:
    story = Story()
    story.gets(deployment("IN_PROGRESS", 42, 0))
    rolling = shows(row(42, 42, began=0, rollout_state="IN_PROGRESS"))
    waits = []
    for minute in (1, 60, 600):
        story.looks(rolling, minute)
        assert story.service.due_at
        waits.append((story.service.due_at - at(minute)) / MINUTE)

    assert waits == [1, 6, 15]


# --- quiet kinds, zero, gone ----------------------------------------------------------------------


def test_what_ecs_does_not_show_becomes_quiet_after_thirty_minutes_and_never_green() -> None:
    story = failing(action(THROTTLED, 0))
    reasons = story.is_well_for(1, 29)

    assert set(reasons[:-1]) == {Reason.STILL_BROKEN}
    assert reasons[-1] is Reason.WENT_QUIET
    assert story.service.phase is Phase.QUIET


def test_a_failure_of_last_week_does_not_make_throttling_something_that_ecs_shows() -> None:
    story = failing(action(PLACEMENT, -9_000))
    story.recovers(-8_999)
    story.gets(action(THROTTLED, 0))
    story.is_well_for(1, 29)

    assert story.service.phase is Phase.QUIET


def test_what_was_quiet_and_is_told_again_within_seven_hours_is_the_same_incident() -> None:
    story = failing(action(THROTTLED, 0))
    story.is_well_for(1, 29)
    generation = story.cluster.generation

    assert story.gets(action(THROTTLED, 6 * 60)) is Reason.FAILING_AGAIN
    assert story.cluster.generation == generation


def test_what_was_quiet_and_is_told_again_after_eight_hours_is_a_new_incident() -> None:
    story = failing(action(THROTTLED, 0))
    story.is_well_for(1, 29)
    generation = story.cluster.generation

    assert story.gets(action(THROTTLED, 8 * 60)) is Reason.NEWLY_FAILING
    assert story.cluster.generation == generation + 1


def test_throttling_of_a_service_that_does_not_serve_does_not_become_quiet() -> None:
    story = failing(action(THROTTLED, 0))
    story.is_well_for(1, 60, DOWN)

    assert story.service.phase is Phase.FAILING


def test_scaled_to_zero_is_said_as_such_and_never_green() -> None:
    story = failing()

    assert story.looks(shows(row(42, 42, running=0), desired=0), 1) is Reason.SCALED_TO_ZERO
    assert story.service.phase is Phase.STOPPED
    assert story.cluster.open_services == 0


@pytest.mark.parametrize("status", ["MISSING", "INACTIVE", "DRAINING"])
def test_deleted_is_said_as_such_and_never_green(status: str) -> None:
    story = failing()

    assert story.looks(shows(status=status, desired=0), 1) is Reason.DELETED
    assert story.service.phase is Phase.GONE


def test_the_services_of_a_deleted_cluster_are_gone() -> None:
    story = failing()

    assert story.cannot_look("gone", 1) is Reason.DELETED


def test_a_closed_service_that_is_scaled_to_zero_keeps_what_its_root_says() -> None:
    story = not_live()
    revision = story.service.revision

    assert story.looks(shows(desired=0), 30) is Reason.NOTHING_WRONG
    assert (story.service.phase, story.service.revision) == (Phase.NOT_LIVE, revision)


# --- without permission to read -------------------------------------------------------------------


def test_without_permission_steady_state_and_time_end_it() -> None:
    story = failing(action(PLACEMENT, 0))

    assert story.cannot_look("no permission", 10) is Reason.NOT_READABLE
    story.gets(steady(11))
    assert story.service.phase is Phase.FAILING
    assert story.cannot_look("no permission", 12) is Reason.RECOVERED
    assert story.service.reading is None


def test_without_permission_a_steady_state_before_the_failure_ends_nothing() -> None:
    story = failing(steady(-1), action(PLACEMENT, 0))

    assert story.cannot_look("no permission", 60) is Reason.NOT_READABLE


def test_without_permission_the_hold_down_is_the_same() -> None:
    story = failing(*(stop(n * 7, f"t{n}", number=41) for n in range(3)), steady(15))

    assert story.cannot_look("no permission", 28) is Reason.NOT_READABLE
    assert story.cannot_look("no permission", 29) is Reason.RECOVERED


@pytest.mark.parametrize("events", [[deployment("FAILED", 42, 0)], [rollback(43, 0)]])
def test_without_permission_a_rollback_is_not_called_recovered_either(events: list[Event]) -> None:
    story = failing(*events, deployment("COMPLETED", 43, 3), steady(4))

    assert story.cannot_look("no permission", 20) is Reason.ROLLED_BACK
    assert story.service.phase is Phase.NOT_LIVE


def test_without_permission_a_fix_that_completed_is_a_recovery() -> None:
    story = failing(
        deployment("FAILED", 42, 0),
        deployment("IN_PROGRESS", 43, 1),
        deployment("COMPLETED", 43, 3),
        steady(4),
    )

    assert story.cannot_look("no permission", 20) is Reason.RECOVERED


@pytest.mark.parametrize("why", ["throttled", "too slow", "unavailable (X)"])
def test_a_look_that_failed_for_now_ends_nothing_and_comes_again(why: str) -> None:
    story = failing(action(PLACEMENT, 0), steady(1))
    assert story.cannot_look(why, 60) is Reason.NOT_READABLE
    assert story.service.phase is Phase.FAILING

    rolling = Story()
    rolling.gets(deployment("COMPLETED", 42, 0))
    rolling.cannot_look(why, 1)
    assert rolling.service.due_at == at(2)


def test_a_closed_service_that_may_not_be_read_is_left_alone() -> None:
    story = Story()
    story.gets(deployment("COMPLETED", 42, 0))
    story.cannot_look("no permission", 1)

    assert story.service.due_at is None


# --- flapping and the window ----------------------------------------------------------------------


def flap(story: Story, minute: float) -> Reason:
    reason = story.gets(action(PLACEMENT, minute))
    story.recovers(minute + 1)
    return reason


def test_failing_again_within_the_window_goes_on_in_the_same_incident() -> None:
    story = failing(action(PLACEMENT, 0))
    story.recovers(120)

    assert story.gets(action(PLACEMENT, 180)) is Reason.FAILING_AGAIN
    assert (story.cluster.generation, story.cluster.opened_at) == (1, at(0))
    assert story.cluster.closed_at is None


def test_failing_again_after_the_window_is_a_new_incident() -> None:
    story = failing(action(PLACEMENT, 0))
    story.recovers(1)

    assert story.gets(action(PLACEMENT, 70)) is Reason.NEWLY_FAILING
    assert story.cluster.generation == 2
    assert story.service.generation == 2


def test_a_new_incident_waits_until_nothing_of_the_old_one_is_owed() -> None:
    story = failing(action(PLACEMENT, 0))
    story.recovers(1)
    story.cluster = replace(story.cluster, is_owed=True)
    story.gets(action(PLACEMENT, 600))

    assert story.cluster.generation == 1


def test_the_third_failure_within_the_window_is_called_flapping() -> None:
    story = Story()

    assert [flap(story, n * 15) for n in range(3)] == [
        Reason.NEWLY_FAILING,
        Reason.FAILING_AGAIN,
        Reason.FLAPPING,
    ]


def test_the_third_failure_in_hours_is_not_called_flapping() -> None:
    story = Story()

    assert [flap(story, n * 45) for n in range(3)][-1] is Reason.FAILING_AGAIN


def test_what_flaps_is_counted_and_not_told_until_sixty_quiet_minutes() -> None:
    story = Story()
    for n in range(3):
        flap(story, n * 15)
    told = story.told

    for n in range(3, 20):
        assert flap(story, n * 15) is (Reason.STILL_FAILING if n == 18 else Reason.FLAPS_ON)
    assert story.service.phase is Phase.RECOVERING
    assert story.told == [*told, Reason.STILL_FAILING][-5:]
    assert story.service.count == 18
    reasons = story.is_well_for(19 * 15 + 7, 60)
    assert reasons.count(Reason.RECOVERED) == 1
    assert story.service.over_at == at(19 * 15 + 1 + 60)


def test_after_sixty_quiet_minutes_it_flaps_no_more() -> None:
    story = Story()
    for n in range(3):
        flap(story, n * 15)
    story.is_well_for(37, 61)
    assert story.service.phase is Phase.RECOVERED

    assert story.gets(action(PLACEMENT, 110)) is Reason.FAILING_AGAIN
    assert not story.service.is_flapping


# --- late -----------------------------------------------------------------------------------------


def test_what_was_over_when_we_heard_of_it_is_one_line() -> None:
    story = Story()
    assert story.gets(action(PLACEMENT, 0), now=16, late=True) is Reason.NEWLY_FAILING
    assert story.looks(WELL, 16) is Reason.OVER_BEFORE_TOLD

    assert story.told == [Reason.OVER_BEFORE_TOLD]
    assert story.service.phase is Phase.RECOVERED
    assert story.cluster.open_services == 0


def test_what_was_told_before_is_no_reason_to_make_much_of_what_is_over() -> None:
    story = failing(action(PLACEMENT, -9_000))
    story.recovers(-8_999)
    story.tell()
    story.gets(action(PLACEMENT, 0), now=16, late=True)

    assert story.looks(WELL, 16) is Reason.OVER_BEFORE_TOLD


def test_our_own_delay_makes_no_event_late() -> None:
    story = Story()
    story.gets(action(PLACEMENT, 0), now=600)

    assert story.looks(WELL, 600) is Reason.LOOKS_WELL


def test_what_is_fifteen_minutes_old_is_not_late() -> None:
    story = Story()
    story.gets(action(PLACEMENT, 0), now=15, late=True)

    assert story.looks(WELL, 15) is Reason.LOOKS_WELL


def test_a_late_failure_that_is_still_one_is_told_as_any_other() -> None:
    story = Story()
    story.gets(action(PLACEMENT, 0), now=600, late=True)

    assert story.looks(DOWN, 600) is Reason.STILL_BROKEN
    assert story.told == [Reason.NEWLY_FAILING]


def test_a_late_failure_that_a_look_still_showed_was_not_over_though_slack_was_down_since() -> None:
    story = Story()
    story.gets(action(PLACEMENT, 0), now=600, late=True)
    story.looks(DOWN, 601)

    assert story.is_well_for(660, 5)[-1] is Reason.RECOVERED
    assert story.told == [Reason.NEWLY_FAILING, Reason.RECOVERED]


def test_late_trouble_that_went_on_and_that_ecs_does_not_show_was_not_over_either() -> None:
    story = Story()
    story.gets(action(THROTTLED, 0), now=20, late=True)
    story.looks(WELL, 20)

    assert story.looks(WELL, 31) is Reason.WENT_QUIET


def test_what_slack_was_down_for_was_not_over_before_we_heard_of_it() -> None:
    story = Story()
    story.gets(action(PLACEMENT, 0), now=1)

    assert story.is_well_for(5_000, 5)[-1] is Reason.RECOVERED
    assert story.told == [Reason.NEWLY_FAILING, Reason.RECOVERED]


def test_a_late_failure_that_was_told_recovers_as_any_other() -> None:
    story = Story()
    story.gets(action(PLACEMENT, 0), now=600, late=True)
    story.tell()

    assert story.is_well_for(601, 5)[-1] is Reason.RECOVERED


def test_a_fresh_failure_among_late_ones_is_not_late() -> None:
    story = Story()
    story.gets(action(PLACEMENT, 0), now=600, late=True)
    story.gets(action(PLACEMENT, 600))

    assert story.looks(WELL, 601) is Reason.LOOKS_WELL


def test_not_live_is_never_over() -> None:
    story = Story()
    for one in (deployment("FAILED", 42, 0), rollback(43, 1)):
        story.gets(one, now=600, late=True)
    reasons = story.is_well_for(600, 5, BY_TEXT)

    assert Reason.OVER_BEFORE_TOLD not in reasons
    assert reasons[-1] is Reason.ROLLED_BACK
    assert story.told == [Reason.NEWLY_FAILING, Reason.ROLLED_BACK]


def test_late_trouble_that_ecs_does_not_show_is_one_line_and_not_green() -> None:
    story = Story()
    story.gets(action(THROTTLED, 0), now=600, late=True)

    assert story.looks(WELL, 600) is Reason.OVER_BEFORE_TOLD
    assert story.service.phase is Phase.QUIET


# --- the census -----------------------------------------------------------------------------------

FIRST_CENSUS = replace(POLICY, is_first_census=True)
FAILED_ROW = row(42, 42, running=1, rollout_state="FAILED")


def found_by_the_first_census() -> Story:
    story = Story(policy=FIRST_CENSUS)
    assert story.looks(shows(FAILED_ROW), 0) is Reason.FOUND_BY_CENSUS
    story.policy = POLICY
    return story


def test_what_the_first_census_finds_is_failing_and_counts_as_told() -> None:
    story = found_by_the_first_census()

    assert story.service.phase is Phase.FAILING
    assert story.told == []


def test_what_the_first_census_found_is_silent_until_its_first_change() -> None:
    story = found_by_the_first_census()
    for minute in range(1, 600, 15):
        story.looks(shows(FAILED_ROW), minute)
        story.gets(action(IMPAIRED, minute + 1))
    assert story.told == []

    story.looks(shows(replace(FAILED_ROW, running_count=0)), 700)
    assert story.told == [Reason.WORSE]


def test_a_later_census_tells_what_it_finds() -> None:
    assert Story().looks(shows(FAILED_ROW), 0) is Reason.NEWLY_FAILING


def test_a_healthy_service_is_no_news_to_a_census() -> None:
    story = Story(policy=FIRST_CENSUS)

    assert story.looks(WELL, 0) is Reason.NOTHING_WRONG


# --- what is not a service ------------------------------------------------------------------------


def other(kind: Callable[..., Any], minutes: float, **fields: Any) -> Any:
    base = action("X", minutes)
    common = {
        name: getattr(base, name)
        for name in Event.__dataclass_fields__
        if name not in ("name", "identity")
    }
    return kind(**common, identity=f"{minutes} {fields}", **fields)


DAEMON_STAGES = (
    "DAEMON_DEPLOYMENT_STOP_REQUESTED",
    "DAEMON_DEPLOYMENT_ROLLBACK_IN_PROGRESS",
    "DAEMON_DEPLOYMENT_ROLLBACK_SUCCESSFUL",
)


def daemon_at(name: str, minutes: float) -> Any:
    return other(
        DaemonDeploymentStateChange,
        minutes,
        name=name,
        daemon="agent",
        daemon_deployment_arn="d/1",
    )


def test_the_stages_of_a_daemons_failed_deployment_are_one_piece_of_news() -> None:
    story = Story()
    reasons = [story.gets(daemon_at(name, n)) for n, name in enumerate(DAEMON_STAGES)]

    assert reasons == [Reason.NEWLY_FAILING, Reason.REPEATED, Reason.REPEATED]
    assert story.service.kind is SubjectKind.DAEMON
    assert story.gets(daemon_at("DAEMON_DEPLOYMENT_ROLLBACK_FAILED", 9)) is Reason.ANOTHER_CAUSE


@pytest.mark.parametrize(
    "told",
    [
        daemon_at(DAEMON_STAGES[0], 0),
        other(
            DaemonServiceAction,
            0,
            name="DAEMON_TASK_START_IMPAIRED",
            daemon="agent",
            failure_type="TASK_CREATION_FAILED",
        ),
        other(
            CodeDeployStateChange,
            0,
            name="FAILURE",
            application="shop",
            deployment_group="blue-green",
            deployment_id="d-1",
        ),
    ],
)
def test_daemons_and_deployment_groups_become_quiet_and_never_green(told: Any) -> None:
    story = failing(told)

    assert story.cannot_look("not shown by ECS", 29) is Reason.NOT_READABLE
    assert story.cannot_look("not shown by ECS", 30) is Reason.WENT_QUIET
    assert story.service.phase is Phase.QUIET
    assert story.service.due_at is None


def test_a_hook_that_waits_for_a_person_is_told() -> None:
    hook = other(
        HookStateChange,
        0,
        name="HOOK_AWAITING_ACTION",
        service="checkout",
        service_deployment_arn="",
        lifecycle_stage="POST_SCALE_UP",
        hook_type="PAUSE",
        expires_at=None,
    )

    assert Story().gets(hook) is Reason.NEWLY_FAILING


# --- the cluster's incident, and who is owed ------------------------------------------------------


def two_services() -> ClusterState:
    observed = [
        Observed(
            event=replace(deployment("FAILED", 42, 0), service=name, identity=name),
            received_at=NOON,
        )
        for name in ("checkout", "search")
    ]
    return decide(Story().cluster, observed, NOON, POLICY).cluster


def test_an_incident_closes_when_the_last_of_its_services_does() -> None:
    cluster = two_services()
    assert cluster.open_services == 2
    zero = replace(shows(desired=0), read_at=at(1))
    cluster = decide(cluster, [zero], at(1), POLICY).cluster
    assert (cluster.open_services, cluster.closed_at) == (1, None)
    cluster = decide(cluster, [replace(zero, service="search")], at(2), POLICY).cluster

    assert (cluster.open_services, cluster.closed_at) == (0, at(2))


def test_open_services_that_were_not_loaded_count_all_the_same() -> None:
    cluster = replace(two_services(), services={})
    reading = replace(shows(FAILED_ROW), service="third", read_at=at(1))

    assert decide(cluster, [reading], at(1), POLICY).cluster.open_services == 3


def test_news_is_owed_at_once_counts_within_five_minutes_and_the_same_again_never() -> None:
    story = failing(action(PLACEMENT, 0))
    story.looks(HALF, 1)

    def owed(observation: Observation, now: float) -> dict[str, datetime]:
        before = story.cluster
        story.decide(observation, at(now))
        return newly_owed(before, story.cluster, at(now))

    again = Observed(event=action(PLACEMENT, 2), received_at=at(2))
    assert owed(again, 2) == {"C01": at(7)}
    assert owed(replace(HALF, read_at=at(3)), 3) == {}
    assert owed(replace(DOWN, read_at=at(4)), 4) == {"C01": at(4)}


def test_an_open_incident_of_which_nothing_new_is_seen_comes_to_rest() -> None:
    story = failing()
    for n in range(1, 30):
        story.looks(DOWN, n)
    touched, revision = story.cluster.touched_at, story.cluster.revision
    story.looks(DOWN, 600)

    assert (story.cluster.touched_at, story.cluster.revision) == (touched, revision)
    assert story.service.due_at == at(615)


def test_the_next_deployment_does_not_touch_the_root_of_what_has_recovered() -> None:
    story = failing(action(PLACEMENT, 0))
    story.recovers(1)
    before = story.cluster.revision
    story.gets(deployment("IN_PROGRESS", 43, 600))
    story.gets(deployment("COMPLETED", 43, 605))
    story.looks(shows(row(43, 43, began=600)), 606)

    assert (story.service.phase, story.cluster.revision) == (Phase.RECOVERED, before)


def test_what_waits_to_be_green_is_looked_at_when_the_hold_down_ends() -> None:
    story = failing(*(stop(n * 7, f"t{n}", number=41) for n in range(3)))
    story.looks(WELL, 15)
    due = []
    while story.service.phase is Phase.RECOVERING:
        assert story.service.due_at
        due.append(story.service.due_at)
        story.decide(replace(WELL, read_at=due[-1]), due[-1])

    assert due[-1] == at(30)


def test_a_healthy_deployment_is_told_to_nobody() -> None:
    story = Story()
    story.gets(deployment("IN_PROGRESS", 42, 0))
    for n in range(4):
        story.gets(
            stop(
                n,
                f"t{n}",
                reason="Scaling activity initiated by (deployment ecs-svc/41)",
                exit_code=143,
                code="ServiceSchedulerInitiated",
            )
        )
    story.gets(deployment("COMPLETED", 42, 5))
    story.gets(steady(5))
    story.looks(shows(row(42, 42, began=0)), 6)

    assert (story.service.phase, story.told, story.service.due_at) == (Phase.WELL, [], None)
    assert story.service.destination is None


# --- why it fails, and who shipped it -----------------------------------------------------------

OOM = Diagnosis(cause="out of memory", confidence=Confidence.CERTAIN)
VAGUE = Diagnosis(cause="nobody knows", confidence=Confidence.UNKNOWN)
APP = Container(name="app", exit_code=137)
THE_TASK = f"{CLUSTER.replace(':cluster/', ':task/')}/1"
SURE = Actor(name="mika", is_certain=True)


def why(story: Story, number: int | None = 42, **more: Any) -> Explanation:
    """What was read about why the service fails, for the cause that it has now."""
    known = {
        "service": "checkout",
        "read_at": NOON,
        "diagnosis": OOM,
        "deployment_id": f"ecs-svc/{number}" if number else None,
        "explains": cause_name(story.service),
    }
    return Explanation(**{**known, **more})


def explain(story: Story, number: int | None = 42, **more: Any) -> Reason:
    return story.decide(why(story, number, **more), at(1))


def shipped(number: int | None = 42, minutes: float = -9, name: str = "mika") -> Shipped:
    named = f"ecs-svc/{number}" if number else None
    made = Shipment(at=at(minutes), actor=Actor(name=name), deployment_id=named)
    return Shipped(service="checkout", shipment=made)


MADE = shipped().shipment


def known_of(story: Story) -> Explanation:
    known = explanation_of(story.service)
    assert known is not None
    return known


def test_why_it_fails_is_kept_and_changes_nothing_else() -> None:
    story = failing()
    before = story.service

    assert explain(story) is Reason.EXPLAINED
    assert story.service.explanation == replace(why(story), revision=before.revision)
    assert replace(story.service, explanation=None) == before
    assert is_explained(story.service)


def test_what_was_seen_stays_when_ecs_does_not_show_it_any_more() -> None:
    story = failing()
    seen: dict[str, Any] = {
        "tasks": "3 of 3 never started",
        "task": THE_TASK,
        "containers": (APP,),
        "circuit_breaker": "circuit breaker 3 of 3",
        "messages": ("port 80 is unhealthy",),
        "changes": ("memory 512 → 256 MiB",),
        "actor": SURE,
        "log_group": "/shop",
        "log_stream": "a/app/1",
        "log_region": "eu-west-1",
    }
    explain(story, **seen)
    gone = Missing(what="stopped tasks", why="gone")
    explain(story, diagnosis=VAGUE, changes=("could not be read",), missing=(gone,))

    assert {name: getattr(known_of(story), name) for name in seen} == seen
    assert known_of(story).diagnosis == OOM
    assert known_of(story).missing == (gone,)


def test_what_is_seen_anew_takes_the_place_of_what_was_seen() -> None:
    story = failing()
    explain(story, tasks="1 of 1 never started", messages=("old",), circuit_breaker="1 of 3")
    newer: dict[str, Any] = {
        "tasks": "2 of 2 exit code 1",
        "messages": ("new",),
        "circuit_breaker": "2 of 3",
    }
    explain(story, diagnosis=VAGUE, task=THE_TASK, containers=(APP,), **newer)

    assert {name: getattr(known_of(story), name) for name in newer} == newer
    assert (known_of(story).task, known_of(story).containers) == (THE_TASK, (APP,))
    assert known_of(story).diagnosis == VAGUE


@pytest.mark.parametrize(
    ("then", "now", "shown"),
    [
        ("", "ecs:DescribeTaskDefinition", "then"),
        ("ecs:DescribeTaskDefinition", "", "now"),
        ("ecs:DescribeTaskDefinition", "ecs:DescribeTaskDefinition", "then"),
        ("logs:GetLogEvents", "ecs:DescribeServices", "then"),
        ("logs:GetLogEvents", "", "then"),
        ("ecs:ListServiceDeployments", "logs:GetLogEvents", "now"),
    ],
)
def test_what_changed_is_taken_from_whichever_read_saw_more(
    then: str, now: str, shown: str
) -> None:
    def missing(action: str) -> tuple[Missing, ...]:
        return (Missing(what="something", why="no permission", action=action),) if action else ()

    story = failing()
    explain(story, changes=("then",), missing=missing(then))
    explain(story, changes=("now",), missing=missing(now))

    assert known_of(story).changes == (shown,)


def test_who_is_certain_stays_and_who_is_likely_gives_way() -> None:
    story, likely = failing(), Actor(name="a tag")
    explain(story, actor=likely)
    explain(story, actor=SURE)
    assert known_of(story).actor == SURE

    explain(story, actor=likely)
    assert known_of(story).actor == SURE


def test_what_explains_another_deployment_is_not_shown() -> None:
    story = failing()
    explain(story, tasks="3 of 3 never started")
    story.gets(deployment("FAILED", 43, 2))

    assert failing_id(story.service) == "ecs-svc/43"
    assert explanation_of(story.service) is None
    assert not is_explained(story.service)

    explain(story, 43, diagnosis=VAGUE)
    assert known_of(story).tasks == ""
    assert known_of(story).diagnosis == VAGUE


def test_what_explains_another_cause_says_nothing_of_this_one_but_what_was_seen_stays() -> None:
    story = failing(action(IMPAIRED, 0))
    explain(story, None, tasks="3 of 3 never started")
    story.gets(action(PLACEMENT, 2, "RESOURCE:CPU"))

    assert not is_explained(story.service)
    assert known_of(story).diagnosis == Diagnosis(cause="RESOURCE:CPU", evidence="RESOURCE:CPU")
    assert known_of(story).tasks == "3 of 3 never started"


def test_an_event_that_comes_while_ecs_is_read_is_not_taken_for_explained() -> None:
    """What is read then was asked for before it."""
    story = failing(action(IMPAIRED, 0))
    asked = why(story, None)
    story.gets(action(PLACEMENT, 1, "RESOURCE:CPU"))
    story.decide(asked, at(1))

    assert not is_explained(story.service)
    assert known_of(story).diagnosis.cause == "RESOURCE:CPU"


def test_of_two_that_tell_of_no_deployment_each_is_shown() -> None:
    story = failing(action(PLACEMENT, 0))
    explain(story, None)

    assert failing_id(story.service) is None
    assert known_of(story).diagnosis == OOM


def test_who_began_a_deployment_is_remembered_and_told_to_nobody() -> None:
    story = Story()

    assert story.decide(shipped(), at(-9)) is Reason.SHIPPED
    assert story.service.shipments == (shipped().shipment,)
    assert (story.service.phase, story.service.revision) == (Phase.WELL, 0)
    assert story.service.transitions == ()


def test_only_the_last_calls_are_remembered_in_their_order() -> None:
    story = Story()
    for number in (3, 1, 2, 9, 5, 4, 8, 7, 6):
        story.decide(shipped(number, minutes=number), at(10))

    kept = [one.deployment_id for one in story.service.shipments]
    assert kept == [f"ecs-svc/{number}" for number in range(9 - SHIPMENTS_KEPT + 1, 10)]
    assert story.decide(shipped(1, minutes=1), at(10)) is Reason.SECOND_COPY


def test_a_call_that_is_known_too_late_is_told_once() -> None:
    story = failing()
    explain(story)
    before = story.service

    assert story.decide(shipped(), at(3)) is Reason.DEPLOYER_KNOWN
    assert story.service.transitions[-1].reason is Reason.DEPLOYER_KNOWN
    assert story.service.revision == before.revision + 1
    assert story.service.phase is before.phase
    assert not is_explained(story.service)  # who it was is to be read with it
    assert story.decide(shipped(), at(4)) is Reason.SECOND_COPY
    assert story.decide(shipped(name="another record of it"), at(5)) is Reason.SHIPPED


@pytest.mark.parametrize(
    "late", [shipped(None), shipped(41), shipped(43)], ids=["none", "older", "newer"]
)
def test_a_call_whose_record_names_another_deployment_or_none_is_not_told(late: Shipped) -> None:
    story = failing()
    explain(story)

    assert story.decide(late, at(3)) is Reason.SHIPPED


def test_a_call_that_comes_before_the_failure_is_explained_is_told_with_it() -> None:
    assert failing().decide(shipped(), at(1)) is Reason.SHIPPED


def test_a_call_is_no_news_where_it_is_certain_who_it_was_or_all_is_over() -> None:
    certain, over = failing(), failing()
    explain(certain, actor=SURE)
    explain(over)
    over.looks(shows(desired=0), 2)

    assert certain.decide(shipped(), at(3)) is Reason.SHIPPED
    assert over.decide(shipped(), at(3)) is Reason.SHIPPED


def test_a_call_is_news_where_somebody_was_only_likely() -> None:
    story = failing()
    explain(story, actor=Actor(name="a tag"))

    assert story.decide(shipped(), at(3)) is Reason.DEPLOYER_KNOWN


LIKELY = Actor(name="a tag")


@pytest.mark.parametrize("earlier", [None, LIKELY], ids=["nobody", "somebody likely"])
def test_who_is_known_too_late_is_named_before_ecs_is_read_again(earlier: Actor | None) -> None:
    story = failing()
    explain(story, actor=earlier, tasks="3 of 3 never started")
    story.decide(shipped(), at(3))

    assert known_of(story).actor == SURE
    assert known_of(story).tasks == "3 of 3 never started"


def test_a_slack_id_that_came_with_the_call_is_kept_and_what_is_read_next_adds_one() -> None:
    story, rung = failing(), replace(SURE, slack_id="U0MIKA")
    explain(story)
    story.decide(Shipped(service="checkout", shipment=replace(MADE, actor=rung)), at(3))
    assert known_of(story).actor == rung

    story = failing()
    explain(story)
    story.decide(shipped(), at(3))
    explain(story, actor=rung)
    assert known_of(story).actor == rung


def test_what_was_read_while_the_call_came_does_not_forget_who_it_was() -> None:
    story = failing()
    explain(story)
    read_meanwhile = why(story)
    story.decide(shipped(), at(3))
    story.decide(read_meanwhile, at(3))

    assert known_of(story).actor == SURE


def test_a_tag_that_speaks_against_the_call_is_heard_as_long_as_the_call_is_known() -> None:
    story = failing()
    explain(story, actor=LIKELY)
    story.decide(shipped(), at(3))
    explain(story, actor=LIKELY)

    assert known_of(story).actor == LIKELY


SEEN: dict[str, Any] = {
    "tasks": "3 of 3 out of memory",
    "task": THE_TASK,
    "containers": (APP,),
    "changes": ("app image v1 → v2",),
    "circuit_breaker": "circuit breaker 3 of 3",
    "messages": ("(service checkout) is unhealthy",),
    "log_stream": "ecs/app/0",
}


def fails_again_after(minutes: float) -> Story:
    """The same deployment, for the same cause; all was explained the first time."""
    story = failing(action(PLACEMENT, 0))
    explain(story, None, actor=SURE, **SEEN)
    story.recovers(1)
    story.gets(action(PLACEMENT, minutes))
    return story


def test_what_was_seen_of_an_earlier_trouble_is_not_shown_in_a_new_one() -> None:
    story = fails_again_after(30 * 60)

    assert known_of(story) == Explanation(
        service="checkout",
        read_at=NOON,
        diagnosis=Diagnosis(cause="", evidence=""),
        explains=cause_name(story.service),
        actor=SURE,
    )
    assert not is_explained(story.service)

    explain(story, None, diagnosis=VAGUE)
    assert known_of(story).actor == SURE
    assert (known_of(story).tasks, known_of(story).changes) == ("", ())
    assert known_of(story).diagnosis == VAGUE


def test_what_was_seen_stays_while_it_is_the_same_story() -> None:
    story = fails_again_after(40)

    assert {name: getattr(known_of(story), name) for name in SEEN} == SEEN


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_explanations_and_calls_in_between_change_no_end(family: Family) -> None:
    """Each order of the events ends as it does without them."""
    for order in itertools.islice(orders(family.events), 0, None, 17):
        silent, world = played(family, order), begun(family)
        for n, (one, then) in enumerate(order):
            world.receive(one)
            world.decide(shipped(42 + n % 2, minutes=n))
            world.decide(_of_world(world))
            world.now += timedelta(seconds=10)
            if then == "look":
                world.look()
            if then == "rest":
                world.rest()
                world.now += timedelta(hours=2)
        world.rest()

        assert world.end == silent.end
        bare = [one for one in world.phases if one is Phase.RECOVERED]
        assert bool(bare) == (Phase.RECOVERED in silent.phases)


def _of_world(world: Any) -> Explanation:
    return Explanation(
        service="checkout",
        read_at=world.now,
        diagnosis=OOM,
        deployment_id=failing_id(world.service),
        explains=cause_name(world.service),
    )


# --- order and repetition -------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_order_of_the_events_ends_alike(family: Family) -> None:
    for is_wrong, order, world in wrong_orders(family):
        assert not is_wrong, (world.end, world.phases, order)


@st.composite
def histories(draw: st.DrawFn) -> tuple[Family, list[tuple[Event, str]]]:
    """Some events of a story, in any order, some twice, with looks and pauses between."""
    family = draw(st.sampled_from(FAMILIES))
    some = draw(st.lists(st.sampled_from(family.events), min_size=1, unique_by=id))
    again = draw(st.lists(st.sampled_from(some), max_size=5))
    order = draw(st.permutations([*some, *again]))
    pauses = draw(st.lists(st.sampled_from(["", "", "look"]), min_size=10, max_size=10))
    return replace(family, events=tuple(some)), list(zip(order, pauses, strict=False))


@settings(max_examples=60, deadline=None)
@given(histories())
def test_some_of_the_events_in_any_order_end_as_in_the_order_in_which_they_happened(
    history: tuple[Family, list[tuple[Event, str]]],
) -> None:
    family, order = history
    happened = sorted(family.events, key=lambda one: one.occurred_at)

    assert played(family, order).end == played(family, [(one, "") for one in happened]).end


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_what_was_rolled_back_is_named_where_an_event_told_that_it_failed(family: Family) -> None:
    failed = [one for one in family.events if one.name == "SERVICE_DEPLOYMENT_FAILED"]
    if family.is_rolled_back and failed:
        assert expected(family)[1] == "ecs-svc/42"


def test_the_orders_are_as_many_as_they_should_be() -> None:
    assert sum(1 for _ in orders(FAMILIES[0].events)) == 120 * 5


OBSERVATIONS: list[Any] = [
    deployment("IN_PROGRESS", 42, 0),
    deployment("FAILED", 42, 1),
    rollback(43, 2),
    deployment("COMPLETED", 43, 3),
    deployment("FAILED", None, 3),
    action(PLACEMENT, 4),
    action(THROTTLED, 4),
    steady(5),
    *(stop(n, f"t{n}") for n in range(4)),
    stop(6, "clean", exit_code=0),
    WELL,
    HALF,
    DOWN,
    BY_TEXT,
    shows(FAILED_ROW),
    shows(desired=0),
    shows(status="MISSING"),
    *(NotReadable(service="checkout", why=why) for why in ("no permission", "gone", "throttled")),
]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(OBSERVATIONS), st.integers(0, 90)), max_size=25))
def test_whatever_comes_each_observation_has_a_reason_and_the_counts_are_right(
    history: list[tuple[Any, int]],
) -> None:
    story, now = Story(), 0
    for one, pause in history:
        now += pause
        before = story.cluster.services.get("checkout")
        if isinstance(one, Event):
            reason = story.gets(one, now=now, late=True)
        elif isinstance(one, NotReadable):
            reason = story.decide(one, at(now))
        else:
            reason = story.looks(one, now)

        assert reason in Reason
        assert story.cluster.open_services == int(story.service.phase.is_open)
        assert story.service.revision - (before.revision if before else 0) in (0, 1)
        was_green = before is not None and before.phase is Phase.RECOVERED
        if story.service.phase is Phase.RECOVERED and not was_green:
            assert isinstance(one, NotReadable) or one.running_count == one.desired_count > 0


def of_call() -> Reason:
    fields = {"error_code": "", "failure_reasons": (), "caller_type": "", "caller_name": ""}
    call = event(ApiCall, 0, name="RunTask", **fields)
    (reason,) = decide(
        Story().cluster, [Observed(event=call, received_at=NOON)], NOON, POLICY
    ).reasons
    return reason


def flapped(times: int) -> Story:
    story = Story()
    for n in range(times):
        flap(story, n * 15)
    return story


def gets_worse() -> Reason:
    story = failing()
    story.looks(HALF, 1)
    return story.looks(DOWN, 2)


def gone_live() -> Reason:
    story = not_live()
    story.gets(deployment("IN_PROGRESS", 44, 20))
    return story.looks(shows(row(44, 44, began=20)), 26)


def deployer_known() -> Reason:
    story = failing()
    explain(story)
    return story.decide(shipped(), at(3))


def over_unheard() -> Reason:
    story = Story()
    story.gets(action(PLACEMENT, 0), now=16, late=True)
    return story.looks(WELL, 16)


def of_job(minutes: int = 60, **more: Any) -> tuple[Reason, Reason]:
    """Of a standalone task that fails, and of a look so many minutes later."""
    failed = parse(task_stopped(1, at=NOON, **more))
    assert isinstance(failed, Event)
    first = decide(Story().cluster, [Observed(event=failed, received_at=NOON)], NOON, POLICY)
    look = NotReadable(service="standalone task: nightly-report", why="not shown by ECS")
    return first.reasons[0], decide(first.cluster, [look], at(minutes), POLICY).reasons[0]


def of_retry() -> Reason:
    """Of a second thing that was done for a call of which nothing else is known."""
    events = [parse(retry(n)) for n in (1, 2)]
    seen = [Observed(event=one, received_at=NOON) for one in events if isinstance(one, Event)]
    return decide(Story().cluster, seen, NOON, POLICY).reasons[-1]


BESIDE = [{"name": "app", "exitCode": 0}, {"name": "proxy", "exitCode": 1}]
REACHED: dict[Reason, Callable[[], Reason]] = {
    Reason.NEWLY_FAILING: lambda: Story().gets(deployment("FAILED", 42, 0)),
    Reason.FAILING_AGAIN: lambda: flap(flapped(1), 15),
    Reason.FLAPPING: lambda: flap(flapped(2), 30),
    Reason.ANOTHER_DEPLOYMENT: lambda: failing().gets(deployment("FAILED", 43, 9)),
    Reason.ANOTHER_CAUSE: lambda: failing(action(IMPAIRED, 0)).gets(action(PLACEMENT, 1)),
    Reason.WORSE: gets_worse,
    Reason.STILL_FAILING: lambda: failing().gets(action(IMPAIRED, 240)),
    Reason.RECOVERED: lambda: failing(action(PLACEMENT, 0)).is_well_for(1, 5)[-1],
    Reason.ROLLED_BACK: lambda: failing(rollback(43, 0)).is_well_for(1, 5, BY_TEXT)[-1],
    Reason.NOW_LIVE: gone_live,
    Reason.WENT_QUIET: lambda: failing(action(THROTTLED, 0)).looks(WELL, 30),
    Reason.SCALED_TO_ZERO: lambda: failing().looks(shows(desired=0), 1),
    Reason.DELETED: lambda: failing().looks(shows(status="MISSING"), 1),
    Reason.SUPERSEDED: lambda: superseded()[1],
    Reason.OVER_BEFORE_TOLD: over_unheard,
    Reason.FOUND_BY_CENSUS: lambda: Story(policy=FIRST_CENSUS).looks(shows(FAILED_ROW), 0),
    Reason.FLAPS_ON: lambda: flap(flapped(3), 45),
    Reason.REPEATED: lambda: failing().gets(action(IMPAIRED, 1)),
    Reason.SECOND_COPY: lambda: failing().gets(deployment("FAILED", 42, 0)),
    Reason.PROGRESS: lambda: Story().gets(deployment("IN_PROGRESS", 42, 0)),
    Reason.LOOKS_WELL: lambda: failing(action(PLACEMENT, 0)).looks(WELL, 1),
    Reason.STILL_BROKEN: lambda: failing().looks(DOWN, 1),
    Reason.NOTHING_WRONG: lambda: Story().looks(WELL, 1),
    Reason.BENIGN_STOP: lambda: Story().gets(stop(0, "a", code="UserInitiated")),
    Reason.FEW_DEATHS: lambda: Story().gets(stop(0, "a")),
    Reason.ECS_IS_AWAITED: lambda: failing(
        deployment("IN_PROGRESS", 42, 0), stop(1, "a"), stop(2, "b")
    ).gets(stop(3, "c")),
    Reason.NOT_WATCHED: lambda: failing(*(stop(n, f"t{n}") for n in range(3))).looks(
        replace(HALF, is_watched=False), 3
    ),
    Reason.IGNORED_CLUSTER: lambda: Story(policy=IGNORED).gets(deployment("FAILED", 42, 0)),
    Reason.NO_SUBJECT: of_call,
    Reason.EXPLAINED: lambda: explain(failing()),
    Reason.SHIPPED: lambda: Story().decide(shipped(), NOON),
    Reason.DEPLOYER_KNOWN: deployer_known,
    Reason.RETRIED: of_retry,
    Reason.NOT_RUN_SINCE: lambda: of_job()[1],
    Reason.IS_UNDECIDED: lambda: of_job(containers=BESIDE)[0],
    Reason.NOT_READABLE: lambda: failing().cannot_look("throttled", 1),
}


@pytest.mark.parametrize("reason", sorted(Reason))
def test_every_reason_has_a_way_to_it(reason: Reason) -> None:
    assert REACHED[reason]() is reason


def test_what_parse_reads_can_be_decided_on() -> None:
    told = parse(
        {
            "version": "0",
            "id": "1",
            "detail-type": "ECS Service Action",
            "source": "aws.ecs",
            "account": "123456789012",
            "time": "2026-11-23T12:00:00Z",
            "region": "eu-west-1",
            "resources": ["arn:aws:ecs:eu-west-1:123456789012:service/prod-web/checkout"],
            "detail": {"eventType": "ERROR", "eventName": PLACEMENT},
        }
    )
    assert isinstance(told, ServiceAction)

    assert Story().gets(told) is Reason.NEWLY_FAILING
