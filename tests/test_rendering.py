"""Messages that a reader can trust, whatever text came in."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier import rendering
from notifier.incidents import NO_PROGRESS, TASKS_DIE
from notifier.model import (
    Census,
    ClusterState,
    Dying,
    Failure,
    Impact,
    KnownDeployment,
    Message,
    Phase,
    Progress,
    Reason,
    ServiceState,
    SubjectKind,
    Transition,
)
from notifier.rendering import (
    Telling,
    clean,
    cut,
    plain,
    reply_message,
    root_message,
    summary_message,
)
from tests.watch import CLUSTER, START, deployment_row, reading

MINUTE = timedelta(minutes=1)
WHERE = ClusterState(
    key=CLUSTER,
    account="123456789012",
    region="eu-west-1",
    partition="aws",
    generation=1,
    open_services=1,
    opened_at=START,
)
FAILED = Failure(
    event="SERVICE_DEPLOYMENT_FAILED",
    reason="ECS deployment circuit breaker: tasks failed to start.",
    deployment_id="ecs-svc/42",
    occurred_at=START,
)
REVISION = deployment_row(42, running=0).task_definition
CHECKOUT = ServiceState(
    name="checkout",
    phase=Phase.FAILING,
    impact=Impact.REDUCED,
    causes=(FAILED,),
    deployments=(
        KnownDeployment(id="ecs-svc/42", updated_at=START, failed_at=START, revision=REVISION),
    ),
    count=1,
    since=START,
    revision=1,
    generation=1,
    destination="C01",
    transitions=(Transition(revision=1, reason=Reason.NEWLY_FAILING, at=START),),
)
ROWS = [
    deployment_row(43, running=1, desired_count=3, pending_count=2, rollout_state="IN_PROGRESS"),
    deployment_row(41, running=2, status="ACTIVE", id="ecs-svc/41"),
]


def telling(**more: Any) -> Telling:
    cluster = replace(WHERE, **more.pop("cluster", {}))
    return Telling(cluster=cluster, now=START + 5 * MINUTE, **more)


def failing(reason: str = FAILED.reason, event: str = FAILED.event, **more: Any) -> ServiceState:
    return replace(CHECKOUT, causes=(replace(FAILED, reason=reason, event=event),), **more)


ENDS = {Phase.RECOVERED: Reason.RECOVERED, Phase.NOT_LIVE: Reason.ROLLED_BACK}


def over(phase: Phase, **more: Any) -> ServiceState:
    """Its beginning was told; its end is told now, a quarter of an hour later."""
    end = Transition(revision=2, reason=ENDS.get(phase, Reason.WENT_QUIET), at=START + 17 * MINUTE)
    told: Any = {"transitions": (*CHECKOUT.transitions, end), "told": {"C01": 1}, **more}
    return replace(CHECKOUT, phase=phase, changed_at=START + 17 * MINUTE, revision=2, **told)


def news(*reasons: Reason) -> dict[str, Any]:
    """A service of which nothing is told yet."""
    came = enumerate(reasons, start=1)
    return {
        "transitions": tuple(Transition(revision=n, reason=one, at=START) for n, one in came),
        "told": {},
    }


def known(number: int, **more: Any) -> KnownDeployment:
    revision = deployment_row(number, running=0).task_definition
    return KnownDeployment(id=f"ecs-svc/{number}", updated_at=START, revision=revision, **more)


def reply(*services: ServiceState, **more: Any) -> Message:
    return reply_message(telling(**more), services or [CHECKOUT], "C01")


def root(*services: ServiceState, previous: str = "", **more: Any) -> Message:
    shown = services or (CHECKOUT,)
    count = sum(one.phase.is_open for one in shown)
    closed_at = None if count else START + 24 * MINUTE
    cluster = {"open_services": count, "closed_at": closed_at, **more.pop("cluster", {})}
    return root_message(telling(cluster=cluster, **more), shown, previous)


def blocks(message: Message) -> str:
    return json.dumps(message.blocks, ensure_ascii=False)


def lines(message: Message) -> list[str]:
    """What the sections say, one after another."""
    sections = [one["text"]["text"] for one in message.blocks if one["type"] == "section"]  # type: ignore[index]
    return "\n".join(sections).split("\n")


# --- a failure ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [reply, root])
@pytest.mark.parametrize(
    ("impact", "sign"),
    [
        (Impact.DOWN, "⛔"),
        (Impact.REDUCED, "🔴"),
        (Impact.SERVING, "🟠"),
        (Impact.UNKNOWN, "🔴"),
    ],
)
def test_the_first_sign_says_whether_it_still_serves(
    kind: Callable[..., Message], impact: Impact, sign: str
) -> None:
    told = kind(failing(impact=impact))

    assert told.text.startswith(sign)
    assert lines(told)[0].startswith(sign)


@pytest.mark.parametrize("kind", [reply, root])
def test_the_phone_shows_where_what_serves_what_failed_and_why(
    kind: Callable[..., Message],
) -> None:
    shown = reading("checkout", running=3, desired=3, rows=ROWS)

    assert kind(failing(reading=shown)).text == (
        "🔴 prod-web / checkout: 3 of 3 running (1 on :43, 2 on :41), :42 deployment failed: "
        "ECS deployment circuit breaker: tasks failed to start."
    )


def test_the_reason_stands_whole_in_the_reply() -> None:
    reason = "CannotPullContainerError: " + "manifest unknown " * 40

    assert reason in blocks(reply(failing(reason)))


def test_the_deployments_stand_as_ecs_shows_them() -> None:
    shown = reading("checkout", running=3, desired=3, rows=ROWS)

    assert "PRIMARY  :43       3        2        1        0       IN_PROGRESS" in blocks(
        reply(failing(reading=shown))
    )


@pytest.mark.parametrize("kind", [reply, root])
def test_a_placement_code_is_said_in_words_and_only_once(kind: Callable[..., Message]) -> None:
    told = kind(failing("RESOURCE:FARGATE", "SERVICE_TASK_PLACEMENT_FAILURE"))

    assert told.text.endswith("tasks cannot be placed: no Fargate capacity")
    assert blocks(told).count("no Fargate capacity") == 1
    assert "RESOURCE:" not in blocks(told)


@pytest.mark.parametrize("kind", [reply, root])
def test_a_name_that_nobody_knows_yet_is_shown_as_it_came(kind: Callable[..., Message]) -> None:
    assert "ECS reports SERVICE_ON_FIRE" in blocks(kind(failing("new", "SERVICE_ON_FIRE")))


@pytest.mark.parametrize("kind", [reply, root])
def test_an_event_without_a_name_is_told_too(kind: Callable[..., Message]) -> None:
    assert "ECS reports trouble without a name" in kind(failing("", "")).text


def test_a_revision_is_named_for_what_happens_to_deployments_alone() -> None:
    assert ":42 deployment failed" in reply(failing()).text
    assert ":42" not in reply(failing("RESOURCE:CPU", "SERVICE_TASK_PLACEMENT_FAILURE")).text


def test_repeats_are_counted_and_one_is_not() -> None:
    assert "7 reports since <!date^" in blocks(reply(failing(count=7)))
    assert "report" not in blocks(reply(failing(count=1)))


STALLED = Progress(
    deployment_id="ecs-svc/42", desired=2, stage="", running=0, old=2, at=START - 20 * MINUTE
)


def stalled(number: int = 42, **more: Any) -> ServiceState:
    """Its new tasks do not come to run; what runs is of the old release, or some of the new."""
    new = deployment_row(number, running=0, desired_count=2, rollout_state="IN_PROGRESS")
    old = deployment_row(41, running=2, desired_count=0, status="ACTIVE", id="ecs-svc/41")
    shown = reading("checkout", running=2, desired=2, rows=[new, old])
    return failing("", NO_PROGRESS, **{"progress": STALLED, "reading": shown, **more})


@pytest.mark.parametrize("kind", [reply, root])
def test_of_a_release_that_does_not_come_it_is_said_how_many_run_and_since_when(
    kind: Callable[..., Message],
) -> None:
    told = kind(stalled())

    assert told.text.endswith(
        "2 of 2 running on :41, :42 has 0 of 2 running and no more came to run"
    )
    assert ":42 has 0 of 2 running and no more came to run since <!date^" in blocks(told)
    assert "11:40 UTC>" in blocks(told)


@pytest.mark.parametrize("kind", [reply, root])
def test_once_they_run_it_is_told_in_the_past(kind: Callable[..., Message]) -> None:
    well = reading("checkout", running=2, desired=2, rows=[deployment_row(42, running=2)])
    told = kind(stalled(phase=Phase.RECOVERING, well_since=START, reading=well, progress=None))

    assert "too few tasks, and no more came to run since <!date^" in blocks(told)


@pytest.mark.parametrize("kind", [reply, root])
def test_several_services_whose_tasks_died_share_no_figure(kind: Callable[..., Message]) -> None:
    dying = Dying(count=3, since=START - 5 * MINUTE)
    services = [
        failing("OutOfMemoryError", TASKS_DIE, name=f"shop-{n}", dying=dying) for n in range(4)
    ]
    told = kind(*services)

    assert "tasks keep dying" in told.text + blocks(told)
    assert "3 tasks died" not in blocks(told)


def test_a_row_of_several_says_when_the_first_of_their_tasks_died() -> None:
    services = [
        failing("Exit", TASKS_DIE, name=f"shop-{n}", dying=Dying(count=3, since=START - n * MINUTE))
        for n in range(4)
    ]

    assert "tasks keep dying since <!date^" in blocks(root(*services))
    assert "11:57 UTC>" in blocks(root(*services))


def test_tasks_that_an_earlier_version_counted_are_told_without_a_figure() -> None:
    assert "tasks keep dying since <!date^" in blocks(reply(failing("Exit", TASKS_DIE)))


def test_a_fix_that_is_under_way_is_named_beside_the_failure() -> None:
    shown = reading("checkout", running=3, desired=3, rows=ROWS)

    assert "fix :43 is rolling out" in blocks(reply(failing(reading=shown)))
    assert "fix :43 is rolling out" in blocks(root(failing(reading=shown)))


def test_a_roll_back_is_not_called_a_fix() -> None:
    back = deployment_row(41, running=1, desired_count=3, rollout_state="IN_PROGRESS")
    shown = reading("checkout", running=1, desired=3, rows=[back])

    assert "fix" not in blocks(reply(failing(reading=shown)))


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        (Reason.FAILING_AGAIN, "failing again"),
        (Reason.FLAPPING, "flapping"),
        (Reason.ANOTHER_DEPLOYMENT, "another deployment"),
        (Reason.WORSE, "worse than before"),
        (Reason.STILL_FAILING, "still failing"),
    ],
)
def test_what_is_new_about_it_is_said(reason: Reason, says: str) -> None:
    assert says in blocks(reply(failing(**news(reason))))


def test_a_daemon_has_no_service_pages() -> None:
    told = blocks(reply(failing(kind=SubjectKind.DAEMON)))

    assert "(daemon)" in told
    assert "|deployments>" not in told
    assert "|cluster>" in told


def test_links_are_text_and_never_buttons() -> None:
    told = blocks(reply())

    assert "|deployments>" in told
    assert "|events>" in told
    assert "button" not in told


def test_what_could_not_be_read_is_said() -> None:
    assert "could not be read: too slow" in blocks(reply(missing=("could not be read: too slow",)))


def test_a_message_that_was_moved_says_why_it_is_here() -> None:
    assert "told here because C01 refuses" in blocks(reply(instead_of="C01"))
    assert "told here because C01 refuses" in blocks(root(instead_of="C01"))


def test_account_and_region_stand_in_the_root_and_in_flat_messages_not_in_each_reply() -> None:
    assert "123456789012 · eu-west-1" in blocks(root())
    assert "123456789012 · eu-west-1" in blocks(reply(is_flat=True))
    assert "123456789012 · eu-west-1" not in blocks(reply())


def test_what_may_stand_alone_in_the_channel_names_the_cluster_where_a_reader_looks_first() -> None:
    for told in (
        reply(),
        reply(CHECKOUT, failing(name="search")),
        reply(is_flat=True),
        reply(over(Phase.RECOVERED), is_flat=True),
    ):
        assert "prod-web" in lines(told)[0]
        assert "prod-web" in told.text


def test_a_reply_that_says_how_it_ended_does_not_repeat_its_roots_cluster() -> None:
    assert "prod-web" not in "".join(lines(reply(over(Phase.RECOVERED))))


@pytest.mark.parametrize(
    "told",
    [root, reply, lambda **more: reply(CHECKOUT, failing(), **more)],
    ids=["root", "reply", "folded"],
)
def test_mentions_ring_in_the_message(told: Callable[..., Message]) -> None:
    text = blocks(told(mentions=("S0SRE", "U0MIKA", "here")))

    assert all(live in text for live in ("<!subteam^S0SRE>", "<@U0MIKA>", "<!here>"))


# --- how it ended -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "begins", "says"),
    [
        (Phase.RECOVERED, "✅", "recovered after 17 min"),
        (Phase.QUIET, "⚪", "not reported again"),
        (Phase.STOPPED, "⚪", "scaled to zero"),
        (Phase.GONE, "⚪", "deleted"),
    ],
)
def test_an_end_is_said_as_what_it_is(phase: Phase, begins: str, says: str) -> None:
    told = reply(over(phase))

    assert told.text.startswith(f"{begins} prod-web / checkout: ")
    assert says in told.text
    assert says in lines(told)[0]


def test_a_release_that_was_rolled_back_is_never_called_recovered() -> None:
    told = reply(over(Phase.NOT_LIVE, not_live=(REVISION,)))

    assert told.text.endswith("prod-web / checkout: :42 was rolled back, it never went live")
    assert "recovered" not in blocks(told)


@pytest.mark.parametrize(
    ("is_closed", "sign"),
    [(True, "☑️"), (False, "🟠")],
    ids=["all is over", "others are failing"],
)
def test_a_reply_and_the_root_give_a_roll_back_the_same_sign(is_closed: bool, sign: str) -> None:
    back = over(Phase.NOT_LIVE, not_live=(REVISION,))
    others = [] if is_closed else [failing(name="search")]
    told = reply(back, cluster={"open_services": len(others)})
    fold = reply(*([back] * 4), cluster={"open_services": len(others)})

    assert told.text.startswith(sign)
    assert lines(told)[0] in lines(root(*others, back))
    assert fold.text.startswith(sign)


def test_several_releases_that_never_went_live_are_they() -> None:
    second = deployment_row(43, running=0).task_definition
    told = reply(over(Phase.NOT_LIVE, not_live=(REVISION, second)))

    assert told.text.endswith(":42, :43 were rolled back, they never went live")


def well(**more: Any) -> ServiceState:
    """It first looked well 17 minutes after it began to fail, and 8 minutes before now."""
    shown = reading("checkout", running=3, desired=3, rows=[deployment_row(43, running=3)])
    began = START - 20 * MINUTE
    return over(
        more.pop("phase", Phase.RECOVERED),
        since=began,
        well_since=began + 17 * MINUTE,
        reading=shown,
        **more,
    )


def test_an_all_clear_says_for_how_long_it_runs_and_does_not_count_that_it_was_held_back() -> None:
    told = reply(well())

    assert told.text == (
        "✅ prod-web / checkout: 3 of 3 running on :43 for 8 min, recovered after 17 min"
    )
    assert lines(told)[0].endswith("3 of 3 running on :43 for 8 min · recovered after 17 min")


def test_a_root_does_not_say_for_how_long_for_it_would_be_wrong_a_minute_later() -> None:
    told = lines(root(well()))

    assert told[1] == "✅ *checkout*  3 of 3 running on :43 · recovered after 17 min"


def test_a_root_and_its_only_service_were_in_trouble_for_the_same_time() -> None:
    began = START - 20 * MINUTE
    told = root(well(), cluster={"opened_at": began, "closed_at": START + 5 * MINUTE})

    assert lines(told)[0] == "✅ *prod-web* · over after 17 min"


def test_a_service_that_does_not_run_as_desired_any_more_is_not_said_to_for_a_while() -> None:
    shown = reading("checkout", running=2, desired=3, rows=[deployment_row(43, running=2)])

    assert "for 8 min" not in blocks(reply(replace(well(), reading=shown)))


def test_a_recovery_that_ecs_alone_tells_of_says_so() -> None:
    told = reply(over(Phase.RECOVERED, impact=Impact.UNKNOWN))

    assert "as ECS says; what runs could not be read" in told.text


# --- what is told late --------------------------------------------------------------------------


def test_what_was_over_before_its_event_came_says_so_and_what_it_was() -> None:
    told = reply(over(Phase.RECOVERED, is_late=True, **news(Reason.OVER_BEFORE_TOLD)))

    assert "Its event came late: it was over before ecs-watch heard of it." in lines(told)
    assert "It was: :42 deployment failed: ECS deployment circuit breaker" in blocks(told)
    assert "It was: :42 deployment failed" in told.text


def test_that_slack_was_late_is_not_said_to_be_the_events_fault() -> None:
    told = blocks(reply(over(Phase.RECOVERED, **news(Reason.OVER_BEFORE_TOLD))))

    assert "came late" not in told
    assert "before ecs-watch heard" not in told
    assert "It was over before Slack could be told." in told


@pytest.mark.parametrize("several", [False, True])
def test_what_began_and_ended_while_slack_was_down_says_what_it_was(several: bool) -> None:
    service = over(Phase.RECOVERED, **news(Reason.NEWLY_FAILING, Reason.RECOVERED))
    told = blocks(reply(*([service] * (4 if several else 1))))

    assert "t was: " in told
    assert "ECS deployment circuit breaker: tasks failed to start." in told
    assert "ecs-watch heard" not in told


def test_what_was_told_to_have_begun_is_not_explained_again() -> None:
    assert "t was: " not in blocks(reply(over(Phase.RECOVERED)))


def test_an_older_note_is_not_told_of_what_happened_since() -> None:
    reasons = (Reason.OVER_BEFORE_TOLD, Reason.NEWLY_FAILING, Reason.RECOVERED)

    assert "before" not in blocks(reply(over(Phase.RECOVERED, **news(*reasons))))


def test_a_failure_that_is_told_late_says_since_when() -> None:
    assert "since <!date^" in blocks(reply(failing(since=START - MINUTE)))
    assert "since <!date^" not in blocks(reply(failing()))


# --- a deployment that was replaced, or is being rolled back ------------------------------------

REPLACED = (
    known(42, began_at=START, failed_at=START + 9 * MINUTE),
    known(43, began_at=START + MINUTE, completed_at=START + 5 * MINUTE, is_release=True),
)


def test_the_late_failure_of_a_superseded_deployment_is_one_line_that_names_it() -> None:
    shown = reading("checkout", running=2, desired=2, rows=[deployment_row(43, running=2)])
    late = over(Phase.WELL, deployments=REPLACED, reading=shown, **news(Reason.SUPERSEDED))
    told = reply(late)

    assert told.text == (
        "✅ prod-web / checkout: 2 of 2 running on :43, :42 failed, after :43 had replaced it"
    )
    assert lines(told) == [
        "✅ *checkout*  2 of 2 running on :43 · :42 failed, after :43 had replaced it"
    ]


@pytest.mark.parametrize(
    ("deployments", "says"),
    [
        ((), "a deployment failed, after a newer one had replaced it"),
        (
            (REPLACED[0], replace(REPLACED[1], revision=REVISION)),
            "an older deployment of :42 failed, after a newer one had replaced it",
        ),
        (
            tuple(replace(one, revision="") for one in REPLACED),
            "a deployment failed, after a newer one had replaced it",
        ),
    ],
    ids=["nothing known", "same revision", "no revisions"],
)
def test_a_superseded_deployment_is_named_as_far_as_it_is_known(
    deployments: tuple[KnownDeployment, ...], says: str
) -> None:
    late = over(Phase.WELL, deployments=deployments, **news(Reason.SUPERSEDED))

    assert lines(reply(late)) == [f"✅ *checkout* · {says}"]


def test_a_superseded_deployment_is_told_beside_what_else_is_news() -> None:
    says = ":42 failed, after :43 had replaced it"
    both = news(Reason.RECOVERED, Reason.SUPERSEDED)

    assert says in lines(reply(over(Phase.RECOVERED, deployments=REPLACED, **both)))
    assert "recovered after" in blocks(reply(over(Phase.RECOVERED, deployments=REPLACED, **both)))
    assert f"_{says}_" in blocks(reply(failing(deployments=REPLACED, **news(Reason.SUPERSEDED))))
    many = [over(Phase.WELL, deployments=REPLACED, **news(Reason.SUPERSEDED))] * 4
    assert says in blocks(reply(*many))


def test_a_newer_release_that_is_live_is_not_called_recovered() -> None:
    told = reply(over(Phase.RECOVERED, not_live=(REVISION,), **news(Reason.NOW_LIVE)))

    assert told.text.endswith(":42 never went live, a newer release is live now")
    assert "the release is live now" in reply(over(Phase.RECOVERED, **news(Reason.NOW_LIVE))).text


ROLLS_BACK = replace(known(41, began_at=START, completed_at=START - MINUTE), is_rollback=True)
UNDER_WAY = deployment_row(41, running=2, rollout_state="IN_PROGRESS")
COMPLETED = deployment_row(41, running=2)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (None, ":42 deployment failed and is being rolled back"),
        (UNDER_WAY, ":42 deployment failed and is being rolled back"),
        (COMPLETED, ":42 deployment failed and was rolled back"),
    ],
    ids=["by its event", "under way", "completed"],
)
@pytest.mark.parametrize("kind", [reply, root])
def test_that_a_roll_back_is_under_way_is_said_while_it_is(
    kind: Callable[..., Message], row: Any, says: str
) -> None:
    shown = reading("checkout", running=2, desired=2, rows=[row]) if row else None
    told = kind(failing(deployments=(*CHECKOUT.deployments, ROLLS_BACK), reading=shown))

    assert says in told.text
    assert says in "".join(lines(told))
    assert blocks(told).count("rolled back") == 1


def test_a_roll_back_that_was_heard_of_first_is_said_once() -> None:
    why = "ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/41."
    told = reply(failing(why, "SERVICE_DEPLOYMENT_IN_PROGRESS", deployments=()))

    assert "deployment failed and is being rolled back: ECS" in told.text
    assert blocks(told).count("rolled back") == 1


def test_an_earlier_roll_back_is_not_this_ones() -> None:
    earlier = replace(ROLLS_BACK, began_at=START - 60 * MINUTE)

    assert "rolled back" not in blocks(reply(failing(deployments=(earlier,))))


@pytest.mark.parametrize(
    ("took", "says"),
    [
        (timedelta(seconds=20), "less than a minute"),
        (MINUTE, "1 min"),
        (59 * MINUTE, "59 min"),
        (60 * MINUTE, "1 h"),
        (185 * MINUTE, "3 h 5 min"),
        (timedelta(hours=47, minutes=59), "47 h 59 min"),
        (timedelta(days=3, hours=5), "3 days"),
    ],
)
def test_how_long_it_took_is_as_exact_as_a_reader_wants_it(took: timedelta, says: str) -> None:
    told = reply(replace(over(Phase.RECOVERED), changed_at=START + took))

    assert told.text.endswith(f"after {says}")


# --- a root -------------------------------------------------------------------------------------


def test_a_root_says_who_fails_and_of_each_whether_it_serves_and_why() -> None:
    shown = reading("checkout", running=1, desired=3, rows=[deployment_row(41, running=1)])
    told = lines(root(failing("image not found", reading=shown)))

    assert told[0] == "🔴 *prod-web* · checkout failing"
    assert told[1].startswith(
        "🔴 *checkout*  1 of 3 running on :41 · :42 deployment failed · since"
    )
    assert told[2] == "image not found"


def test_a_root_of_several_shows_the_worst_sign_and_names_up_to_three() -> None:
    services = [failing(name=name) for name in ("b", "c")]
    told = root(failing(name="a", impact=Impact.DOWN), *services)

    assert lines(told)[0] == "⛔ *prod-web* · a, b, c failing"
    assert told.text == (
        "⛔ prod-web: 3 services failing, no task running in 1 · "
        f"deployment failed: {FAILED.reason} (a, b, c)"
    )


@pytest.mark.parametrize("kind", [reply, root])
@pytest.mark.parametrize("count", [2, 3, 12])
def test_a_phone_shows_how_bad_an_outage_is_and_why_before_long_names(
    kind: Callable[..., Message], count: int
) -> None:
    services = [replace(one, name="x" * 200 + one.name) for one in outage(*[0] * count)]
    told = kind(*services).text

    assert told[:130].startswith(
        f"⛔ prod-web: {count} services failing, no task running in {count} · "
        "tasks cannot be placed: no Fargate capacity ("
    )


def test_a_phone_shows_a_cause_that_differs_by_names_alone_once() -> None:
    told = root(
        *(failing(f"service s{n} cannot reach i-0123456{n}", name=f"s{n}") for n in range(4))
    )

    assert told.text.endswith("cannot reach i-01234560 (s0, s1, s2, s3)")


@pytest.mark.parametrize("kind", [reply, root])
def test_a_phone_shows_of_two_that_fail_differently_what_runs_of_each(
    kind: Callable[..., Message],
) -> None:
    (placed,) = outage(0)
    broken = failing("broken", name="other", reading=reading("other", running=1, desired=2))
    told = kind(placed, broken)

    assert told.text == (
        "⛔ prod-web: 2 services failing, no task running in 1 · tasks cannot be placed: "
        "no Fargate capacity (s00 0 of 4) · deployment failed: broken (other 1 of 2)"
    )


def outage(*running: int, desired: int = 4, **more: Any) -> list[ServiceState]:
    """So many services without capacity, of which so many tasks run."""
    return [
        failing(
            "RESOURCE:FARGATE",
            "SERVICE_TASK_PLACEMENT_FAILURE",
            **{
                "name": f"s{n:02}",
                "impact": Impact.REDUCED if count else Impact.DOWN,
                "since": START + n * MINUTE,
                "reading": reading(f"s{n:02}", running=count, desired=desired, rows=[]),
                **more,
            },
        )
        for n, count in enumerate(running)
    ]


def test_an_outage_is_two_rows_of_its_root_what_is_down_and_what_is_not() -> None:
    told = root(*outage(0, 0, 0, 0, 1, 1, 2, 3))

    since = "<!date^{at}^{{date_short_pretty}} at {{time}}|2026-11-23 12:0{n} UTC>"
    assert lines(told) == [
        "⛔ *prod-web* · 8 services failing, no task running in 4",
        "⛔ *4 services*  0 running · tasks cannot be placed · since "
        + since.format(at=int(START.timestamp()), n=0),
        "no Fargate capacity",
        "s00, s01, s02, s03",
        "🔴 *4 services* · tasks cannot be placed · since "
        + since.format(at=int(START.timestamp()) + 240, n=4),
        "no Fargate capacity",
        "s04 1 of 4, s05 1 of 4, s06 2 of 4, s07 3 of 4",
    ]
    assert told.text == (
        "⛔ prod-web: 8 services failing, no task running in 4 · "
        "tasks cannot be placed: no Fargate capacity (s00, s01, s02, s03, s04, s05, s06, s07)"
    )


def test_three_that_are_alike_have_a_row_each() -> None:
    assert sum(line.startswith("⛔ *s0") for line in lines(root(*outage(0, 0, 0)))) == 3


def test_a_cause_that_differs_by_names_and_ids_alone_is_one() -> None:
    services = [
        failing(f"(service s{n}) (task {n}f3a09b12cd) exited with 1", "tasks die", name=f"s{n}")
        for n in range(5)
    ]

    assert sum(line.startswith("🔴 *5 services*") for line in lines(root(*services))) == 1


def test_what_runs_again_is_not_counted_as_down() -> None:
    services = outage(0, 0, 2, 2, impact=Impact.DOWN)

    assert "no task running in 2" in lines(root(*services))[0]


def test_a_reply_about_some_of_many_says_how_many_fail_in_all() -> None:
    some = [replace(one, told={}) for one in outage(1, 1, 0)]

    assert lines(reply(*some, cluster={"open_services": 12}))[0].endswith(
        "failing, no task running in 1 · 12 in all*"
    )
    assert "in all" not in blocks(reply(*some, cluster={"open_services": 3}))


def test_services_that_fail_alike_are_apart_once_some_look_well() -> None:
    looks_well = outage(4, 4, 4, 4, phase=Phase.RECOVERING, well_since=START + 9 * MINUTE)
    told = lines(root(*outage(1, 1, 1, 1), *looks_well))

    (row,) = [line for line in told if "looks well since <!date^" in line]
    assert row.startswith("🟠 *4 services*")


def test_a_root_of_many_causes_names_who_has_no_row() -> None:
    services = [failing(f"cause {'x' * n}", name=f"s{n:02}") for n in range(14)]
    told = root(*services)

    assert lines(told)[0] == "🔴 *prod-web* · 14 services failing"
    assert "… and 4 more failing: s10, s11, s12, s13" in blocks(told)


NAMES = [f"{'long-' * 49}{n:03}-{'x' * 6}" for n in range(100)]


@pytest.mark.parametrize("causes", [1, 7, 25, 100])
@pytest.mark.parametrize("phase", [Phase.FAILING, Phase.RECOVERED, Phase.NOT_LIVE])
def test_an_outage_of_100_services_with_the_longest_names_fits_and_accounts_for_each(
    phase: Phase, causes: int
) -> None:
    assert {len(name) for name in NAMES} == {255}
    services = [
        over(phase, name=name, not_live=(f"{REVISION}{n}",))
        if not phase.is_open
        else failing("x" * (n % causes) + " why" * 90, name=name, impact=Impact.DOWN)
        for n, name in enumerate(NAMES)
    ]
    for told in (root(*services), reply(*services)):
        check(told)
        assert told.blocks[-1]["type"] == "context"
        assert accounted_for(told) == 100


def accounted_for(told: Message) -> int:
    """How many services a message names in full, and how many it says that it does not."""
    said = "\n".join(texts(told)[1:])
    named = sum(name in said for name in NAMES)
    return named + sum(map(int, re.findall(r"(?<!… )and (\d+) more", said)))


def test_a_list_of_names_has_whole_names_and_the_number_of_the_others() -> None:
    assert rendering._listed(["a", "b"], 10) == "a, b"
    assert rendering._listed(["aaaa", "bbbb", "c"], 10) == "aaaa and 2 more"
    assert rendering._listed(["too long"], 3) == "too long"
    assert rendering._listed([], 3) == ""


def test_a_root_holds_nothing_that_slack_does_not_let_us_edit() -> None:
    assert "rich_text" not in blocks(root())


def test_a_service_that_looks_well_is_shown_as_it_runs_now_and_what_was_as_past() -> None:
    now = reading("checkout", running=1, desired=1, rows=[deployment_row(43, running=1)])
    was_down = failing(
        phase=Phase.RECOVERING, well_since=START + MINUTE, impact=Impact.DOWN, reading=now
    )
    told = root(was_down)

    assert lines(told)[1].startswith(
        "🟠 *checkout*  1 of 1 running on :43 · looks well since <!date^"
    )
    assert "watched · it was: :42 deployment failed" in lines(told)[1]
    assert "looks well for now, it was: :42 deployment failed" in told.text


def test_a_closed_root_says_that_it_is_over_and_after_how_long() -> None:
    told = root(over(Phase.RECOVERED))

    assert told.text == "✅ prod-web: over after 17 min · checkout recovered after 17 min"
    assert lines(told)[0] == "✅ *prod-web* · over after 17 min"


def test_a_closed_root_names_the_release_that_never_went_live() -> None:
    told = root(over(Phase.NOT_LIVE, not_live=(REVISION,)))

    assert told.text.startswith("☑️ prod-web: over after 17 min · checkout :42")
    assert "✅" not in blocks(told)


def test_a_closed_root_of_what_was_deleted_is_not_green() -> None:
    assert root(over(Phase.GONE)).text.startswith("⚪ prod-web: over")


def test_what_recovered_of_an_outage_is_one_line_of_the_root() -> None:
    well = [over(Phase.RECOVERED, name=f"s{n:02}") for n in range(11)]
    told = root(CHECKOUT, *well)

    assert "✅ *11 services* · recovered" in lines(told)
    assert sum(line.startswith("✅") for line in lines(told)) == 1


def test_a_root_whose_services_roll_out_again_is_still_a_message() -> None:
    told = root_message(
        telling(cluster={"open_services": 0, "closed_at": START + 24 * MINUTE}), [], ""
    )

    assert "prod-web: over after 24 min" in told.text


def test_a_root_of_services_that_are_told_elsewhere_is_still_a_message() -> None:
    assert "2 services failing" in root_message(telling(cluster={"open_services": 2}), []).text


def test_a_new_root_links_the_thread_so_far() -> None:
    told = root(previous="https://slack.example/C01/1.0")

    assert "<https://slack.example/C01/1.0|the thread so far>" in blocks(told)


@pytest.mark.parametrize("phase", [Phase.FAILING, Phase.RECOVERED, Phase.NOT_LIVE])
def test_a_root_of_5000_services_is_a_message_that_slack_takes(phase: Phase) -> None:
    services = [
        over(phase, name=f"service-{n:04}", not_live=(f"{REVISION}{n}",)) for n in range(5_000)
    ]
    told = root(*services)

    check(told)
    assert "5000" in lines(told)[0] or "5000 services" in blocks(told)


# --- several at once ----------------------------------------------------------------------------


def test_an_outage_is_grouped_by_cause() -> None:
    placed = [
        failing("RESOURCE:FARGATE", "SERVICE_TASK_PLACEMENT_FAILURE", name=f"s{n}")
        for n in range(11)
    ]
    told = reply(*placed, failing("broken", name="other"))

    assert told.text == (
        "🔴 prod-web: 12 services failing · tasks cannot be placed: no Fargate capacity "
        "(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10) · deployment failed: broken (other)"
    )
    assert "*11 services:* tasks cannot be placed: no Fargate capacity" in lines(told)
    assert ", ".join(f"s{n}" for n in range(11)) in lines(told)
    assert "*1 service:* deployment failed: broken" in lines(told)


def test_an_outage_of_one_cause_says_once_how_many_and_of_each_what_runs() -> None:
    told = reply(*outage(0, 1, 2, 3))

    assert lines(told) == [
        "⛔ *prod-web · 4 services failing, no task running in 1*",
        "tasks cannot be placed: no Fargate capacity",
        "s00 0 of 4, s01 1 of 4, s02 2 of 4, s03 3 of 4",
    ]


def test_how_many_of_an_outage_serve_nobody_stands_in_its_first_line() -> None:
    told = reply(*(failing(name=f"s{n}", impact=Impact.DOWN) for n in range(4)))

    assert lines(told)[0] == "⛔ *prod-web · 4 services failing, no task running in 4*"


def test_releases_that_were_rolled_back_together_are_named_beside_their_services() -> None:
    releases = [deployment_row(40 + n, running=0).task_definition for n in range(4)]
    many = [over(Phase.NOT_LIVE, name=f"s{n}", not_live=(releases[n],)) for n in range(4)]
    names = "s0 :40, s1 :41, s2 :42, s3 :43"

    assert lines(reply(*many, cluster={"open_services": 0})) == [
        "☑️ *4 services rolled back, never went live*",
        names,
    ]
    assert lines(root(*many))[1:] == ["☑️ *4 services* · rolled back, never went live", names]


def test_recoveries_of_one_kind_are_said_in_one_line() -> None:
    told = reply(*(over(Phase.RECOVERED, name=f"s{n}") for n in range(4)))

    assert told.text == "✅ prod-web: 4 services recovered · s0, s1, s2, s3"
    assert lines(told) == ["✅ *4 services recovered*", "s0, s1, s2, s3"]


def test_what_fails_and_what_is_over_is_told_apart_in_one_message() -> None:
    told = reply(CHECKOUT, over(Phase.RECOVERED, name="search"), over(Phase.GONE, name="old"))

    assert lines(told)[0].startswith("🔴 *prod-web · 1 service failing · 2 services over*")


def test_many_services_are_one_click_away_and_few_each_by_itself() -> None:
    assert blocks(reply(*outage(0, 0, 0))).count("deployments>") == 3
    assert "deployments>" not in blocks(reply(*outage(0, 0, 0, 0)))
    assert "|cluster>" in blocks(reply(*outage(0, 0, 0, 0)))


def test_more_causes_than_a_reader_wants_are_counted() -> None:
    told = reply(*(failing(f"cause {n}", name=f"s{n}") for n in range(9)))

    assert "… and 4 services more: s5, s6, s7, s8" in blocks(told)


# --- the summary --------------------------------------------------------------------------------


def summary(*trouble: str, clusters: int = 95, services: int = 500) -> Message:
    found = {"C01": trouble, "C02": ("not / ours",)}
    census = Census(started_at=START, watched=clusters, services=services, trouble=found)
    return summary_message(census, "C01")


def test_the_summary_says_how_much_is_watched_and_that_all_is_well() -> None:
    assert summary().text == (
        "ecs-watch is here: watching 95 clusters, 500 services; none in trouble now"
    )
    assert "Nothing is in trouble." in blocks(summary())


def test_the_summary_counts_one_as_one() -> None:
    assert "watching 1 cluster, 1 service;" in summary(clusters=1, services=1).text


def test_the_summary_lists_what_is_in_trouble_in_its_own_channel() -> None:
    told = summary(*(f"prod / s{n}" for n in range(25)))

    assert told.text.endswith("25 in trouble now")
    assert "• prod / s0" in lines(told)
    assert "… and 5 more" in lines(told)
    assert "not / ours" not in blocks(told)


# --- foreign text -------------------------------------------------------------------------------


def test_the_plain_form_has_no_blocks_and_begins_with_the_same_text() -> None:
    assert plain(reply()).text.startswith(reply().text)
    assert plain(reply()).blocks == ()


def test_the_plain_form_of_a_fold_names_each_service_and_rings_whom_it_should() -> None:
    blocks: Any = (
        {"type": "section", "text": {"type": "mrkdwn", "text": "*2 failing* <@U0MIKA>"}},
        {"type": "section", "text": {"type": "mrkdwn", "text": "*2 services:* why\ns0, s1"}},
        {"type": "context", "elements": []},
    )

    assert plain(Message(text="two", blocks=blocks)).text == (
        "two\n*2 failing* <@U0MIKA>\n*2 services:* why\ns0, s1"
    )


def test_the_plain_form_takes_whole_lines_only_and_has_an_end() -> None:
    block: Any = {"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3_000}}

    assert len(plain(Message(text="two", blocks=(block, block))).text) == 3_004


HOSTILE = [
    "<!channel> <!here> <@U0MIKA> <#C01>",
    "<https://evil.example|Console>",
    "&lt;!channel&gt;",
    "{{ 7 * 7 }} {% raw %} {0.__class__} %s",
    "a\u202eb\u200bc\x00d\x1b[31m",
    "`*_~>",
    "quotes ' \" \\ and \n lines",
    "\ud800 lone",
    "\N{MATHEMATICAL FRAKTUR CAPITAL U}" * 3000,
    "&" * 10_000,
    "<" * 20_000,
]


def every_kind(reason: str, event: str, name: str, cluster: str) -> Sequence[Message]:
    """One message of each kind with foreign text wherever there can be some."""
    row = deployment_row(43, running=1, task_definition=reason, rollout_state=event, status=name)
    shown = reading(name, running=1, desired=2, rows=[row] * 6)
    bad = failing(reason, event, name=name, reading=shown, not_live=(reason,))
    ends = [replace(bad, phase=phase, changed_at=START) for phase in (Phase.RECOVERED, Phase.GONE)]
    not_live = replace(bad, phase=Phase.NOT_LIVE)
    where = {"key": cluster, "account": name, "region": reason}
    foreign: Any = {"cluster": where, "missing": (reason,), "instead_of": "C01"}
    return [
        root(bad, *ends, not_live, **foreign),
        root(*([bad] * 30), **foreign),
        root(*ends, **foreign),
        reply(bad, **foreign),
        reply(bad, is_flat=True, mentions=("here",), **foreign),
        reply(ends[0], **foreign),
        reply(not_live, is_flat=True, **foreign),
        reply(bad, not_live, *ends, **foreign),
        reply(*(failing(f"{n}{reason}", event, name=name) for n in range(9)), **foreign),
        summary(*([f"{cluster} / {name}"] * 30)),
    ]


@pytest.mark.parametrize("where", ["reason", "event", "name", "cluster"])
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_shown_and_never_live(text: str, where: str) -> None:
    given = {"reason": "r", "event": "E", "name": "n", "cluster": CLUSTER, where: text}
    for told in every_kind(**given):
        check(told)


@settings(max_examples=60, deadline=None)
@given(st.text(), st.text(), st.text(max_size=300), st.text(max_size=300))
def test_no_text_at_all_breaks_a_message(reason: str, event: str, name: str, cluster: str) -> None:
    for told in every_kind(reason, event, name, cluster):
        check(told)


OURS = re.compile(
    r"<!date\^\d+\^\{date_short_pretty\} at \{time\}\|[-\d: UTC]+>"
    r"|<https://[^<>|]+\|[^<>|]+>|<!here>"
)


def texts(told: Message) -> list[str]:
    """Every text in which Slack reads markup."""
    found = [told.text]
    for block in told.blocks:
        if block["type"] == "section":
            found.append(block["text"]["text"])  # type: ignore[index]
        if block["type"] == "context":
            found += [element["text"] for element in block["elements"]]  # type: ignore[attr-defined]
    return found


def check(told: Message) -> None:
    """Slack takes it, nothing foreign in it is live, nothing in it is invisible."""
    for text in texts(told):
        rest = OURS.sub("", text)
        assert "<" not in rest
        assert ">" not in rest
        assert not re.search(r"&(?!amp;|lt;|gt;)", rest)
        assert 0 < len(text.encode("utf-16-le")) // 2 <= 3000
        assert clean(text) == text
    whole = json.dumps(told.blocks, ensure_ascii=False)
    assert 0 < len(told.blocks) <= 50
    assert len(whole) <= rendering.MESSAGE_AT_MOST
    whole.encode("utf-8")


def test_what_cannot_be_seen_is_taken_out_before_it_is_cut() -> None:
    assert clean("a\u202eb\u200bc\x00d\te\nf") == "abcd\te\nf"


@given(st.text(), st.integers(2, 50))
def test_a_cut_text_fits_once_it_is_escaped(text: str, at_most: int) -> None:
    from markupsafe import escape

    shortened = cut(text, at_most)
    escaped = str(escape(shortened)).replace("&#39;", "'").replace("&#34;", '"')

    assert len(escaped.encode("utf-16-le", "surrogatepass")) // 2 <= at_most
    assert shortened == text or shortened.endswith("…")
