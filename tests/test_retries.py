"""What is tried again, how often, and what never is."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

from notifier import retries
from notifier.asked import Asked, asked, family_of
from notifier.retries import Answer, Failed, Ignored, Job, Outcome, Phase, Policy
from tests import masks
from tests import tasks_simulator as sim
from tests.tasks_simulator import BEGAN, CAPACITY, POLICY, Faults, World

NOW = BEGAN
RESOURCE = "RESOURCE:MEMORY"


def no_jitter(_most: timedelta) -> timedelta:
    return timedelta(0)


def call_of(count: int = 3, started: int = 1, role: str = "scheduler", **detail: Any) -> Asked:
    record = World(0).record({**sim.REQUEST, "count": count}, started, role, **detail)
    call = asked(json.dumps(record))
    assert call is not None
    return call


def begun(call: Asked, policy: Policy = POLICY) -> Job:
    job = retries.begun(call, policy, NOW, no_jitter)
    assert isinstance(job, Job)
    return job


def trying(call: Asked | None = None, policy: Policy = POLICY) -> Job:
    return retries.claimed(begun(call or call_of()), policy, NOW + timedelta(minutes=2))


def after(job: Job, *outcomes: Answer | Failed, policy: Policy = POLICY) -> Job:
    return retries.answered(job, outcomes, policy, NOW + timedelta(minutes=2), no_jitter)


def last(job: Job) -> tuple[Outcome, str]:
    return job.notices[-1].outcome, job.notices[-1].why


# --- what is taken on -----------------------------------------------------------------------------


def test_only_what_is_missing_of_a_partial_failure_is_asked_for_again() -> None:
    request = retries.request_of(trying(), POLICY)
    assert request["count"] == 2


def test_everything_else_is_the_callers_own_to_the_letter() -> None:
    request = retries.request_of(trying(), POLICY)
    of_the_call = {"count", "startedBy", "clientToken"}
    assert {k: v for k, v in request.items() if k not in of_the_call} == dict(sim.REQUEST)
    assert request["startedBy"].startswith("ecsw/")
    assert len(request["clientToken"]) == 64


def test_other_subnets_are_used_only_when_given_and_every_second_time() -> None:
    policy = replace(POLICY, subnets=("subnet-9",))
    first = trying(policy=policy)
    second = retries.claimed(after(first, Answer((), (CAPACITY,)), policy=policy), policy, NOW)

    def subnets(job: Job) -> list[str]:
        network = retries.request_of(job, policy)["networkConfiguration"]["awsvpcConfiguration"]
        assert network["assignPublicIp"] == "DISABLED"
        return list(network["subnets"])

    assert (subnets(first), subnets(second)) == (["subnet-1"], ["subnet-9"])


@pytest.mark.parametrize("field", ["cluster", "family", "role", "startedBy", "region"])
def test_what_is_not_listed_or_is_our_own_run_is_left_alone(field: str) -> None:
    call = {
        "cluster": replace(call_of(), cluster_arn=sim.CLUSTER + "-2"),
        "family": replace(call_of(), family="other"),
        "role": call_of(role=sim.ROLE),
        "startedBy": replace(call_of(), starter="ecsw/0123456789abcdef/1"),
        "region": replace(call_of(), region="us-east-1"),
    }[field]
    assert isinstance(retries.begun(call, POLICY, NOW, no_jitter), Ignored)


def error(code: str, message: str = "", **identity: str) -> dict[str, Any]:
    more = {"userIdentity": {"type": "AWSService", **identity}} if identity else {}
    return {"errorCode": code, "errorMessage": message, "responseElements": None, **more}


def assumed(role: str, session: str) -> dict[str, Any]:
    """https://docs.aws.amazon.com/singlesignon/latest/userguide/referencingpermissionsets.html"""
    arn = f"arn:aws:sts::{sim.ACCOUNT}:assumed-role/{role}/{session}"
    issuer = {"type": "Role", "userName": role, "arn": f"arn:aws:iam::{sim.ACCOUNT}:role/{role}"}
    context = {"sessionIssuer": issuer}
    return {"type": "AssumedRole", "arn": arn, "sessionContext": context}


QUOTA = "You have reached the quota of tasks in the PROVISIONING state."


@pytest.mark.parametrize(
    "detail",
    [
        error("ThrottlingException", "Rate exceeded"),
        error("ServerException"),
        error("ClientException", QUOTA, invokedBy="events.amazonaws.com"),
        error("ClientException", QUOTA, invokedBy="scheduler.amazonaws.com"),
    ],
)
def test_who_tries_again_by_itself_is_left_alone(detail: dict[str, Any]) -> None:
    call = call_of(started=0, **detail)
    assert isinstance(retries.begun(call, POLICY, NOW, no_jitter), Ignored)


@pytest.mark.parametrize(
    ("identity", "is_person"),
    [
        ({"type": "IAMUser", "userName": "mika"}, True),
        ({"type": "Root"}, True),
        ({"type": "IdentityCenterUser", "onBehalfOf": {"userId": "1"}}, True),
        (assumed("AWSReservedSSO_Admin_0123456789abcdef", "mika"), True),
        (assumed("scheduler", "s"), False),
        ({"type": "AWSService", "invokedBy": "events.amazonaws.com"}, False),
    ],
)
def test_a_call_that_a_person_made_is_left_to_the_person(
    identity: dict[str, Any], is_person: bool
) -> None:
    job = retries.begun(call_of(userIdentity=identity), POLICY, NOW, no_jitter)
    assert (job == Ignored("a person called, who has seen the answer")) is is_person


def test_a_full_quota_that_nobody_else_waits_for_is_waited_for() -> None:
    job = begun(call_of(started=0, **error("ClientException", QUOTA)))
    assert (job.phase, job.missing) == (Phase.WAITING, 3)


@pytest.mark.parametrize(
    ("detail", "says"),
    [
        ({"responseElements": {"tasks": [], "failures": [{"reason": "MISSING"}]}}, "MISSING"),
        (error("AccessDeniedException", "not authorized"), "not authorized"),
        ({"responseElements": {"failures": [{"reason": CAPACITY}]}}, "how many tasks started"),
        ({"eventTime": (BEGAN - timedelta(hours=2)).isoformat()}, "too long ago"),
    ],
)
def test_what_will_not_pass_or_is_not_known_is_refused_and_said(
    detail: dict[str, Any], says: str
) -> None:
    job = begun(call_of(**detail))
    outcome, why = last(job)
    assert (job.phase, outcome, job.request) == (Phase.ENDED, Outcome.REFUSED, "")
    assert says in why


def test_what_a_record_hides_is_named_and_not_shown() -> None:
    overrides = {"containerOverrides": [{"environment": [{"name": "A", "value": "***"}]}]}
    record = World(0).record({**sim.REQUEST, "count": 1, "overrides": overrides}, 0)
    call = asked(json.dumps(record))
    assert call is not None
    _, why = last(begun(call))
    assert why == "the record hides or cuts overrides.containerOverrides.environment.value"


def with_command(value: str) -> Asked:
    overrides = {"containerOverrides": [{"name": "app", "command": ["sh", "-c", value]}]}
    record = World(0).record({**sim.REQUEST, "count": 1, "overrides": overrides}, 0)
    call = asked(json.dumps(record))
    assert call is not None
    return call


@pytest.mark.parametrize("value", [*masks.HIDDEN, *masks.CUT])
def test_what_programs_write_in_place_of_a_value_is_known(value: str) -> None:
    _, why = last(begun(with_command(value)))
    assert why == "the record hides or cuts overrides.containerOverrides.command"


@pytest.mark.parametrize("value", masks.HARMLESS)
def test_a_value_that_only_speaks_of_hiding_is_taken_as_it_is(value: str) -> None:
    assert begun(with_command(value)).phase is Phase.WAITING


@pytest.mark.parametrize("field", ["cluster", "taskDefinition"])
def test_a_call_whose_record_hides_whose_it_is_is_nobodys(field: str) -> None:
    """It may not be listed at all, so it is logged and not told; the watcher tells the failure."""
    for mask in (*masks.HIDDEN, *masks.CUT):
        record = World(0).record({**sim.REQUEST, "count": 1, field: mask}, 0)
        call = asked(json.dumps(record))
        assert call is not None
        job = retries.begun(call, POLICY, NOW, no_jitter)
        assert isinstance(job, Ignored) or job.phase is Phase.ENDED


def test_the_switch_stops_what_waits_and_what_comes() -> None:
    off = replace(POLICY, is_on=False)
    coming = retries.begun(call_of(), off, NOW, no_jitter)
    assert coming == Ignored("retries are switched off")
    stopped = retries.claimed(begun(call_of()), off, NOW)
    assert last(stopped) == (Outcome.GIVEN_UP, "retries are switched off")


@pytest.mark.parametrize(
    ("named", "family"),
    [
        ("nightly", "nightly"),
        ("nightly:7", "nightly"),
        ("arn:aws:ecs:eu-west-1:123456789012:task-definition/nightly:7", "nightly"),
        ("arn:aws-cn:ecs:cn-north-1:123456789012:task-definition/nightly", "nightly"),
        ("", ""),
        (None, ""),
        ("a b", ""),
        ("arn:aws:ecs:eu-west-1:123456789012:service/nightly", ""),
    ],
)
def test_a_family_is_known_however_it_is_named(named: str | None, family: str) -> None:
    assert family_of(named) == family


# --- an attempt -----------------------------------------------------------------------------------


def test_attempts_wait_longer_each_time_and_end_in_an_hour() -> None:
    job, waits = begun(call_of()), []
    now = NOW
    while job.phase is Phase.WAITING:
        assert job.due_at is not None
        waits.append((job.due_at - now).total_seconds())
        now = job.due_at
        job = retries.claimed(job, POLICY, now)
        job = retries.answered(job, [Answer((), (CAPACITY,))], POLICY, now, lambda most: most)
    assert waits == [45, 180, 360, 720, 1440]
    assert (job.attempt, last(job)) == (5, (Outcome.GIVEN_UP, CAPACITY))
    assert now - NOW < timedelta(minutes=60)


def test_an_attempt_that_starts_some_leaves_the_rest() -> None:
    job = after(trying(), Answer(("task-1",), (RESOURCE,)))
    assert (job.phase, job.missing) == (Phase.WAITING, 1)
    again = retries.claimed(job, POLICY, NOW + timedelta(minutes=5))
    assert retries.request_of(again, POLICY)["count"] == 1
    assert retries.token_of(again) != retries.token_of(trying())


def test_a_reason_that_stays_ends_it() -> None:
    job = after(trying(), Answer((), (CAPACITY, "MemberOf placement constraint unsatisfied.")))
    assert last(job)[0] is Outcome.GIVEN_UP


LOST, THROTTLED = Failed(), Failed("ThrottlingException", "Rate exceeded", 400)
DENIED, BROKEN = Failed("AccessDeniedException", "no", 400), Failed("ServerException", "", 500)
TAKEN = Failed("ConflictException", "", 400)


@pytest.mark.parametrize(
    ("outcomes", "phase"),
    [
        ((Answer(("t1", "t2")),), Phase.ENDED),
        ((LOST, Answer(("t1", "t2"))), Phase.ENDED),
        ((LOST, Answer((), (CAPACITY,))), Phase.WAITING),
        ((THROTTLED,), Phase.WAITING),
        ((DENIED,), Phase.ENDED),
        ((LOST,), Phase.UNSURE),
        ((BROKEN, BROKEN), Phase.UNSURE),
        ((TAKEN,), Phase.UNSURE),
        # A refusal of the second request says nothing of the first.
        ((LOST, THROTTLED), Phase.UNSURE),
        ((LOST, DENIED), Phase.UNSURE),
    ],
)
def test_only_an_answer_tells_what_became_of_a_lost_request(
    outcomes: tuple[Answer | Failed, ...], phase: Phase
) -> None:
    assert after(trying(), *outcomes).phase is phase


def test_a_request_is_sent_again_only_while_its_token_is_sure_to_live() -> None:
    assert retries.may_resend(LOST, timedelta(seconds=0.7))
    assert not retries.may_resend(LOST, timedelta(seconds=0.8))
    assert retries.may_resend(BROKEN, timedelta(seconds=0.1))
    assert not retries.may_resend(DENIED, timedelta(seconds=1))
    assert not retries.may_resend(THROTTLED, timedelta(seconds=1))


# --- a doubt --------------------------------------------------------------------------------------


def test_a_doubt_is_settled_by_events_of_all_its_tasks() -> None:
    job = after(trying(), LOST)
    one = retries.seen(job, 1, "t1", NOW)
    assert one.phase is Phase.UNSURE
    assert retries.seen(one, 1, "t1", NOW) == one
    both = retries.seen(one, 1, "t2", NOW)
    assert (both.phase, last(both)[0]) == (Phase.ENDED, Outcome.STARTED)


def test_a_doubt_that_nothing_settles_is_told_and_never_tried_again() -> None:
    job = retries.waited(retries.seen(after(trying(), LOST), 1, "t1", NOW), NOW)
    assert (job.due_at, job.request) == (None, "")
    assert last(job) == (Outcome.UNKNOWN, "of 2 tasks 1 were seen")
    late = retries.seen(job, 1, "t2", NOW)
    assert last(late)[0] is Outcome.STARTED


def test_a_task_of_another_attempt_settles_nothing() -> None:
    job = after(trying(), LOST)
    assert retries.seen(job, 2, "t1", NOW) == job


@pytest.mark.parametrize(
    ("started_by", "of"),
    [
        ("ecsw/0123456789abcdef/2", ("0123456789abcdef", 2)),
        ("ecsw/0123456789abcdef/0", None),
        ("ecs-svc/123", None),
        ("events-rule/ecsw/0123456789abcdef/2", None),
    ],
)
def test_a_task_of_ours_is_known_by_who_started_it(
    started_by: str, of: tuple[str, int] | None
) -> None:
    assert retries.attempt_of(started_by) == of
    assert retries.request_of(trying(), POLICY)["startedBy"] == f"ecsw/{trying().id}/1"


def test_what_is_told_has_no_value_of_the_request() -> None:
    job = trying()
    event = retries.event_of(job, job.notices[0], POLICY)
    assert event["eventName"] == "TASK_RETRY_WAITING"
    assert (event["asked"], event["missing"], event["reason"]) == (3, 2, CAPACITY)
    assert "report" not in json.dumps(event)


# --- the whole of it, with all that goes wrong ----------------------------------------------------


def test_a_job_that_finds_room_in_the_end_is_started_once_and_told() -> None:
    world = World(3, Faults(full=0.5, partial=0.0))
    call = world.offer(3, 1)
    world.play(world.now + 2 * sim.HOUR)
    assert sum(world.launched.values()) == 2
    assert world.ends() == {call: "STARTED"}
    assert all(one["family"] == "nightly" for one in world.told)


def test_an_event_that_comes_twice_is_one_job() -> None:
    world = World(1, Faults(full=0.0, partial=0.0))
    world.offer(2, 0)
    world._later *= 3
    world.play(world.now + sim.HOUR)
    assert sum(world.launched.values()) == 2


def test_no_more_is_launched_than_was_asked_for_whatever_goes_wrong() -> None:
    count = sim.rough(range(40))
    assert (count["duplicates"], count["untold"]) == (0, 0)
    assert count["launched"] > 100


def test_lost_answers_start_no_job_twice() -> None:
    count = sim.lost_answers(range(12))
    assert (count["duplicates"], count["untold"]) == (0, 0)
    assert count["unknown"] > 5
    never = sim.every_answer_lost(range(5))
    assert (never["duplicates"], never["UNKNOWN"]) == (0, 5)


@pytest.mark.parametrize(("seconds", "sent", "end"), [(0.2, 2, "STARTED"), (8, 1, "UNKNOWN")])
def test_a_start_that_fails_quickly_is_asked_again_about_and_a_time_out_never(
    seconds: float, sent: int, end: str
) -> None:
    world = World(2, Faults(full=0.0, partial=0.0))
    run_task = world._ecs.run_task

    def broken_once(**request: Any) -> Any:
        world.requests.append(request)
        if len(world.requests) > 1:
            return run_task(**request)
        world.now += timedelta(seconds=seconds)
        raise ConnectionClosedError(endpoint_url="RunTask")  # before anything was done

    world._ecs.run_task = broken_once
    client, cold = world._ecs, [2]

    def built() -> Any:
        if cold:
            world.now += timedelta(seconds=cold.pop())
        return client

    call = world.offer(1, 0)
    world.play(world.now + 1.5 * sim.MINUTE)  # taken in, by another container than the tick's
    doors = replace(world.program.doors, ecs=built)
    world.program = replace(world.program, doors=doors)
    world.play(world.now + sim.HOUR)
    tokens = [one["clientToken"] for one in world.requests]
    assert len(set(tokens)) == 1
    assert sum(world.launched.values()) == sent - 1
    assert world.ends() == {call: end}


def test_events_of_its_tasks_tell_what_a_lost_answer_did_not() -> None:
    world = World(2, Faults(full=0.0, partial=0.0))
    run_task = world._ecs.run_task

    def lost(**request: Any) -> Any:
        run_task(**request)
        raise ReadTimeoutError(endpoint_url="RunTask")

    world._ecs.run_task = lost
    call = world.offer(3, 1)
    world.play(world.now + 3 * sim.HOUR)
    assert world.ends() == {call: "STARTED"}
    assert sum(world.launched.values()) == 2


def test_what_is_masked_cut_or_unknown_starts_nothing() -> None:
    count = sim.masked(range(60))
    assert count["started"] == 0
    assert count["said"] > 30


def test_what_always_fails_has_a_bound_for_ever() -> None:
    count = sim.always_failing(range(2), days=3)
    assert 0 < count["attempts"] <= count["bound"]
    assert (count["open"], count["jobs"]) == (0, 0)


def test_rows_end() -> None:
    world = World(1, Faults(full=1.0))
    world.offer(2, 0)
    world.play(world.now + 2 * sim.HOUR)
    (job,) = world.rows.rows("job#")
    (budget,) = world.rows.rows("budget#")
    assert "due" not in job
    assert "report" not in job["body"]["S"]
    assert int(job["expires_at"]["N"]) > int(budget["expires_at"]["N"]) > BEGAN.timestamp()


def again(job: Job, *_: Any) -> Job:
    return replace(job, phase=Phase.WAITING, due_at=job.due_at)


BREAKS: dict[str, tuple[str, Callable[..., Any], Callable[[range], Any], str]] = {
    "a lost answer is tried again": ("lost", again, sim.lost_answers, "duplicates"),
    "all is asked for again": (
        "request_of",
        lambda job, policy, was=retries.request_of: was(job, policy) | {"count": job.asked + 1},
        sim.rough,
        "duplicates",
    ),
    "our own runs are not known": ("_not_ours", lambda *_: "", sim.rough, "duplicates"),
    "what is hidden is not looked for": (
        "_refusal",
        lambda *_: "",
        sim.masked,
        "started",
    ),
}


@pytest.mark.once
@pytest.mark.parametrize("name", BREAKS)
def test_with_a_rule_switched_off_it_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function, instead, figure, count = BREAKS[name]
    monkeypatch.setattr(retries, function, instead)
    assert figure(range(30))[count] > 0
