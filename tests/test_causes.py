"""What a reader is told of why it fails, what changed and who shipped it."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from notifier.facts import (
    Actor,
    Confidence,
    Container,
    Diagnosis,
    Explanation,
    LogTail,
    Missing,
)
from notifier.model import Message, Phase, Reason, ServiceState
from tests.test_rendering import (
    CHECKOUT,
    ROWS,
    blocks,
    known,
    lines,
    news,
    over,
    reply,
    root,
)
from tests.watch import START, reading

RAN_OUT = Diagnosis(
    cause="out of memory: container app, limit 512 MiB",
    evidence="OutOfMemoryError: Container killed due to memory usage",
    remedy="Raise the memory in the task definition.",
    page="https://docs.aws.amazon.com/AmazonECS/latest/developerguide/out-of-memory.html",
    confidence=Confidence.CERTAIN,
)
MIKA = Actor(
    name="mika",
    via="GitHub Actions",
    url="https://github.com/shop/checkout/actions/runs/7",
    is_certain=True,
    slack_id="U0MIKA",
)
TASK = "arn:aws:ecs:eu-west-1:123456789012:task/prod-web/0123456789abcdef0123456789abcdef"
WHY = Explanation(
    service="checkout",
    read_at=START,
    diagnosis=RAN_OUT,
    deployment_id="ecs-svc/42",
    revision=1,
    changes=("app image v1.8.2 → v1.8.3", "+ env FEATURE_X"),
    tasks="3 of 3 out of memory",
    task=TASK,
    containers=(
        Container(name="app", exit_code=137, reason=RAN_OUT.evidence),
        Container(name="envoy", exit_code=0),
        Container(name="migrate", reason="waits for app"),
    ),
    circuit_breaker="circuit breaker 3 of 3",
    actor=MIKA,
)
LOG = LogTail(
    container="app", group="/ecs/app", stream="ecs/app/0", region="eu-west-1", lines=("last words",)
)


def explained(service: ServiceState = CHECKOUT, **more: Any) -> ServiceState:
    return replace(service, explanation=replace(WHY, **more))


def diagnosed(**more: Any) -> ServiceState:
    return explained(diagnosis=replace(RAN_OUT, **more))


def line(message: Message, label: str) -> str:
    """What stands behind a label; empty when it is not there."""
    found = [one for one in lines(message) if one.startswith(f"*{label}*")]
    return found[0].removeprefix(f"*{label}*").strip() if found else ""


# --- why ----------------------------------------------------------------------------------------


def test_a_reply_says_why_what_to_try_what_changed_how_tasks_ended_and_who_shipped_it() -> None:
    told = reply(explained())

    assert line(told, "Why") == "out of memory: container app, limit 512 MiB"
    assert line(told, "Try").startswith("Raise the memory in the task definition. · <https://docs")
    assert line(told, "Changed") == "app image v1.8.2 → v1.8.3 · + env FEATURE_X"
    assert line(told, "Tasks") == "3 of 3 out of memory · circuit breaker 3 of 3"
    assert line(told, "Who") == f"deployed by mika via GitHub Actions · <{MIKA.url}|its run>"


def test_a_phone_shows_the_cause_in_our_words() -> None:
    assert reply(explained()).text.endswith(":42 deployment failed: " + RAN_OUT.cause)
    assert root(explained()).text.endswith(":42 deployment failed: " + RAN_OUT.cause)


def test_a_root_shows_the_cause_and_who_shipped_it() -> None:
    assert f"{RAN_OUT.cause} · deployed by mika via GitHub Actions" in lines(root(explained()))


def test_ecss_own_words_are_quoted_once() -> None:
    said = blocks(reply(explained()))

    assert said.count(RAN_OUT.evidence) == 1
    assert "rich_text_quote" in said


@pytest.mark.parametrize(
    ("confidence", "said"),
    [(Confidence.CERTAIN, "out of memory"), (Confidence.LIKELY, "probably: out of memory")],
)
def test_what_may_be_otherwise_is_said_to_be_probable(confidence: Confidence, said: str) -> None:
    assert line(reply(diagnosed(confidence=confidence)), "Why").startswith(said)


def test_words_that_nobody_knows_are_quoted_and_not_guessed_at() -> None:
    unknown = diagnosed(
        cause="a reason that is not known here",
        evidence="FluxError: the flux is out of tune",
        confidence=Confidence.UNKNOWN,
        remedy="",
    )

    assert line(reply(unknown), "Why") == ""
    assert "FluxError: the flux is out of tune" in blocks(reply(unknown))


def test_without_an_explanation_the_events_own_text_is_told() -> None:
    told = reply(CHECKOUT)

    assert line(told, "Why") == ""
    assert "tasks failed to start" in blocks(told)


def test_the_explanation_of_another_deployment_is_not_told() -> None:
    assert line(reply(explained(deployment_id="ecs-svc/41")), "Why") == ""


def test_the_services_own_message_is_quoted_where_it_says_more_than_that_it_failed() -> None:
    codes = "(service checkout) is unhealthy due to (reason Health checks failed: [502])"
    failed = "(service checkout) (deployment ecs-svc/42) deployment failed: tasks failed to start."
    told = blocks(reply(explained(messages=(failed, codes))))

    assert codes in told
    assert failed not in told


def test_many_that_fail_for_the_same_cause_are_one_row_of_the_root() -> None:
    services = [
        explained(replace(CHECKOUT, name=f"service-{n}", deployments=(), causes=CHECKOUT.causes))
        for n in range(5)
    ]

    assert lines(root(*services)).count(RAN_OUT.cause) == 1


# --- what changed, and what ended ---------------------------------------------------------------


def test_each_container_is_named_with_its_exit_code_and_reason() -> None:
    said = line(reply(explained()), "Containers")

    assert said == "app exit code 137 · envoy exit code 0 · migrate never ran (waits for app)"


def test_that_nothing_was_deployed_is_said_with_a_time_that_each_reader_sees_as_theirs() -> None:
    since = (START - timedelta(days=2)).isoformat()
    told = reply(explained(changes=(f"no deployment since {since}",)))

    assert line(told, "Changed").startswith("no deployment since <!date^")


def test_the_table_shows_the_deployments_as_ecs_does() -> None:
    service = explained(replace(CHECKOUT, reading=reading("checkout", running=3, rows=ROWS)))

    assert "status   revision  desired  pending  running  failed  rollout" in blocks(reply(service))


def test_the_last_lines_of_the_log_are_told_as_they_are() -> None:
    told = reply(explained(), logs={"checkout": LOG})

    assert "the last lines of app" in blocks(told)
    assert told.blocks[-2]["elements"][0]["elements"][0]["text"] == "last words"  # type: ignore[index]


def test_of_a_long_log_the_end_is_told() -> None:
    told = blocks(
        reply(explained(), logs={"checkout": replace(LOG, lines=("x" * 290,) * 19 + ("END",))})
    )

    assert "END" in told
    assert told.count("x" * 290) < 10


def test_the_stopped_task_and_its_log_are_a_click_away() -> None:
    place: Any = {"log_region": "eu-west-1", "log_group": "/ecs/app", "log_stream": "ecs/app/0"}
    told = blocks(reply(explained(**place)))

    assert "/tasks/0123456789abcdef0123456789abcdef" in told
    assert "|stopped task>" in told
    assert "|logs>" in told


# --- what could not be read ---------------------------------------------------------------------


DENIED = Missing(what="stopped tasks", why="no permission", action="ecs:ListTasks")
SLOW = Missing(what="task definitions", why="too slow", action="ecs:DescribeTaskDefinition")


def test_what_could_not_be_read_is_said_in_a_line_with_the_permission_that_is_missing() -> None:
    told = blocks(reply(explained(missing=(DENIED, SLOW))))
    said = "stopped tasks (no permission: ecs:ListTasks), task definitions (too slow)"

    assert told.count("could not be read: ") == 1
    assert f"could not be read: {said}" in told


def test_many_gaps_are_counted() -> None:
    gaps = tuple(Missing(what=f"part {n}", why="throttled") for n in range(6))

    assert "part 2 (throttled), 3 more" in blocks(reply(explained(missing=gaps)))


def test_a_gap_is_told_where_it_matters_and_not_again() -> None:
    late = replace(explained(missing=(DENIED,)), **news(Reason.DEPLOYER_KNOWN))
    ended = explained(over(Phase.RECOVERED), missing=(DENIED,))

    assert "could not be read" not in blocks(reply(late)) + blocks(reply(ended))


def test_a_root_says_that_it_cannot_say_what_runs() -> None:
    gone = Missing(what="the service", why="too slow", action="ecs:DescribeServices")

    assert "could not be read: the service (too slow)" in blocks(root(explained(missing=(gone,))))


def test_what_changed_says_what_is_known_and_its_gaps_stand_below() -> None:
    unread = "could not be read: task definitions (no permission)"
    some = reply(explained(changes=("app new image digest 1 → 2", unread), missing=(SLOW,)))

    assert line(some, "Changed") == "app new image digest 1 → 2"
    assert line(reply(explained(changes=(unread,))), "Changed") == unread


def test_what_only_some_tasks_say_makes_no_other_cause_of_an_outage() -> None:
    spot = replace(RAN_OUT, cause="no Fargate capacity; also AWS took back Spot capacity (2 tasks)")
    few = replace(RAN_OUT, cause="no Fargate capacity; also AWS took back Spot capacity (3 tasks)")
    services = [
        replace(explained(diagnosis=spot if n % 2 else few), name=f"service-{n}") for n in range(6)
    ]

    assert lines(root(*services)).count("no Fargate capacity") == 1
    assert blocks(reply(*services)).count("no Fargate capacity") == 1


def test_that_an_essential_container_exited_is_no_news_beside_its_exit_code() -> None:
    told = reply(diagnosed(evidence="Essential container in task exited"))

    assert "Essential container" not in blocks(told)


# --- who ----------------------------------------------------------------------------------------


def test_the_deployer_is_mentioned_in_the_first_failure_reply() -> None:
    assert "<@U0MIKA>" in blocks(reply(explained()))


@pytest.mark.parametrize("reason", [Reason.WORSE, Reason.FAILING_AGAIN, Reason.STILL_FAILING])
def test_the_deployer_is_not_mentioned_again(reason: Reason) -> None:
    assert "<@U0MIKA>" not in blocks(reply(replace(explained(), **news(reason))))


def test_whoever_only_probably_shipped_it_is_not_mentioned() -> None:
    told = reply(explained(actor=replace(MIKA, is_certain=False)))

    assert line(told, "Who").startswith("probably deployed by mika")
    assert "<@U0MIKA>" not in blocks(told)


@pytest.mark.parametrize("reason", [Reason.NEWLY_FAILING, Reason.DEPLOYER_KNOWN])
def test_the_deployer_is_not_mentioned_for_trouble_that_is_not_of_the_release(
    reason: Reason,
) -> None:
    told = reply(replace(diagnosed(is_of_release=False), **news(reason)))

    assert "deployed by mika" in blocks(told)
    assert "<@U0MIKA>" not in blocks(told)


def test_in_a_quiet_cluster_nobody_is_mentioned() -> None:
    assert "<@U0MIKA>" not in blocks(reply(explained(), rings_deployers=False))


def test_a_root_mentions_no_deployer() -> None:
    assert "<@U0MIKA>" not in blocks(root(explained()))


def test_nobody_is_mentioned_when_it_is_over() -> None:
    service = explained(over(Phase.NOT_LIVE, not_live=(known(42).revision,)))

    assert "<@U0MIKA>" not in blocks(reply(service))


def test_late_knowledge_of_who_shipped_it_is_one_short_reply_that_mentions() -> None:
    told = reply(replace(explained(), **news(Reason.DEPLOYER_KNOWN)))

    assert "deployed by mika via GitHub Actions" in told.text
    assert "<@U0MIKA>" in blocks(told)
    assert RAN_OUT.remedy not in blocks(told)


OLGA = Actor(
    name="olga",
    via="GitLab CI",
    url="https://gitlab.com/shop/search/-/pipelines/9",
    is_certain=True,
    slack_id="U0OLGA",
)


def several(*actors: Actor | None, reason: Reason = Reason.NEWLY_FAILING) -> list[ServiceState]:
    """A service of each actor, `s0` and so on, and what is news of it."""
    told = news(reason)
    return [replace(explained(actor=who), name=f"s{n}", **told) for n, who in enumerate(actors)]


def late(*actors: Actor | None) -> list[ServiceState]:
    return several(*actors, reason=Reason.DEPLOYER_KNOWN)


@pytest.mark.parametrize("count", [2, 5])
def test_the_late_deployer_of_several_services_is_told_and_not_the_outage_again(count: int) -> None:
    told = reply(*late(*[MIKA] * count))
    names = ", ".join(f"s{n}" for n in range(count))

    assert told.text == f"🔴 prod-web: deployed by mika via GitHub Actions: {names}"
    assert lines(told) == [
        f"🔴 *prod-web · {count} services*  deployed by mika via GitHub Actions · "
        f"<{MIKA.url}|their run> <@U0MIKA>",
        names,
    ]
    assert RAN_OUT.cause not in blocks(told)


def test_several_late_deployers_are_each_told_with_what_they_shipped_and_rung_once() -> None:
    told = reply(*late(OLGA, MIKA, MIKA, OLGA, MIKA))

    assert told.text == (
        "🔴 prod-web: deployed by mika via GitHub Actions: s1, s2, s4 · "
        "deployed by olga via GitLab CI: s0, s3"
    )
    assert lines(told) == [
        "🔴 *prod-web · 5 services*  who deployed them is known now <@U0OLGA> <@U0MIKA>",
        f"deployed by mika via GitHub Actions: s1, s2, s4 · <{MIKA.url}|their run>",
        f"deployed by olga via GitLab CI: s0, s3 · <{OLGA.url}|their run>",
    ]


def test_services_that_one_person_shipped_by_several_runs_have_a_link_each() -> None:
    told = reply(*late(*(replace(MIKA, url=f"https://ci.example.com/{n}") for n in range(3))))

    assert "<https://ci.example.com/0|s0>, <https://ci.example.com/1|s1>" in lines(told)[0]
    assert "|their run>" not in blocks(told)


def test_of_many_runs_with_long_addresses_as_many_are_linked_as_fit() -> None:
    long = [replace(MIKA, url=f"https://ci.example.com/{n}/" + "x" * 400) for n in range(9)]

    assert blocks(reply(*late(*long))).count("https://ci.example.com/") == 2


def test_of_many_late_deployers_five_are_rung_and_the_services_of_all_are_named() -> None:
    many = [replace(MIKA, name=f"dev{n}", slack_id=f"U0DEV{n}") for n in range(9)]
    told = blocks(reply(*late(*many)))

    assert re.findall("<@U0DEV[0-9]>", told) == [f"<@U0DEV{n}>" for n in range(5)]
    assert "deployed by dev4" in told
    assert "… and 4 services more: s5, s6, s7, s8" in told


def test_a_fold_names_who_shipped_what_fails_below_why_and_rings_each_once() -> None:
    told = reply(*several(MIKA, OLGA, MIKA, None))

    assert lines(told)[0].endswith("4 services failing* <@U0MIKA> <@U0OLGA>")
    assert lines(told)[1].startswith("deployment failed: out of memory")
    assert lines(told)[-2:] == [
        f"*Who*  deployed by mika via GitHub Actions: s0, s2 · <{MIKA.url}|their run>",
        f"*Who*  deployed by olga via GitLab CI: s1 · <{OLGA.url}|its run>",
    ]


@pytest.mark.parametrize(
    ("reason", "more"),
    [
        (Reason.STILL_FAILING, {}),
        (Reason.NEWLY_FAILING, {"rings_deployers": False}),
        (Reason.NEWLY_FAILING, {"mentions": ("U0MIKA",)}),
    ],
    ids=["no news to them", "quiet", "the route's people"],
)
def test_a_fold_rings_no_deployer_where_a_single_reply_would_not(
    reason: Reason, more: dict[str, Any]
) -> None:
    told = blocks(reply(*several(MIKA, MIKA, MIKA, reason=reason), **more))

    assert told.count("<@U0MIKA>") == len(more.get("mentions", ()))
    assert "deployed by mika" in told


def test_a_fold_rings_whom_it_is_news_to_and_nobody_whose_service_is_over() -> None:
    ended = explained(over(Phase.RECOVERED, name="old"))
    told = reply(*several(OLGA, reason=Reason.WORSE), *several(MIKA), ended)

    assert "<@U0MIKA>" in lines(told)[0]
    assert "<@U0OLGA>" not in blocks(told)
    assert "old" not in "".join(one for one in lines(told) if one.startswith("*Who*"))


def test_a_fold_of_failures_and_of_a_late_deployer_tells_no_failure_again() -> None:
    again = [replace(one, name=f"told{n}") for n, one in enumerate(late(OLGA, OLGA))]
    told = reply(*several(MIKA, MIKA), *again)

    assert told.text.startswith("🔴 prod-web: 2 services failing · ")
    assert "told" not in told.text
    assert "<@U0OLGA>" in lines(told)[0]
    assert (
        f"deployed by olga via GitLab CI: told0, told1 · <{OLGA.url}|their run>" in lines(told)[-1]
    )


def test_who_shipped_it_gives_way_where_an_outage_needs_the_room() -> None:
    who = [replace(MIKA, name=f"dev{n}" * 20, url=OLGA.url + "x" * 500) for n in range(60)]
    names = [f"{n:03d}" + "x" * 240 for n in range(60)]
    causes = [replace(RAN_OUT, cause=f"cause {n % 5} " + "y" * 400) for n in range(60)]
    services = [
        replace(one, name=name, explanation=replace(one.explanation, diagnosis=why))
        for one, name, why in zip(several(*who), names, causes, strict=True)
        if one.explanation
    ]

    assert blocks(reply(*services)).count("*12 services:*") == 5


@pytest.mark.parametrize("count", [1, 2])
def test_who_shipped_it_is_no_news_while_nobody_can_be_named(count: int) -> None:
    told = reply(*late(*[None] * count))

    assert "deployment failed: " + RAN_OUT.cause in told.text
    assert "deployed" not in blocks(told)


# --- what must not be seen ----------------------------------------------------------------------


def test_a_secret_in_any_foreign_text_is_hidden() -> None:
    secret = "AKIA" + "IOSFODNN7EXAMPLE"
    service = explained(
        diagnosis=replace(RAN_OUT, cause=f"cause {secret}", evidence=f"evidence {secret}"),
        changes=(f"command {secret}",),
        containers=(Container(name="app", exit_code=1, reason=f"reason {secret}"),),
        messages=(f"(service checkout) is unhealthy {secret}",),
        actor=replace(MIKA, name=secret),
        missing=(Missing(what=secret, why="gone"),),
    )
    told = [
        reply(service, logs={"checkout": replace(LOG, lines=(f"key {secret}",))}),
        root(service),
    ]

    assert not any(secret in blocks(one) + one.text for one in told)


def test_a_private_key_in_a_log_is_hidden_over_all_its_lines() -> None:
    body = [f"MII{n}" + "EvQIBADANBgkqhkiG9w0BAQEFAASC" * 2 for n in range(9)]
    key = ("-----BEGIN " + "PRIVATE KEY-----", *body, "-----END " + "PRIVATE KEY-----")
    told = blocks(
        reply(explained(), logs={"checkout": replace(LOG, lines=("before", *key, "after"))})
    )

    assert "before" in told
    assert "after" in told
    assert not any(line[:20] in told for line in body)


def test_a_secret_is_hidden_before_the_text_is_cut() -> None:
    token = "xox" + "b-" + "123456789012-123456789012-" + "a1B2" * 6
    for length in range(1150, 1200, 7):
        told = blocks(reply(diagnosed(evidence="e" * length + " " + token)))
        assert token[:12] not in told


def test_what_the_stacks_owner_calls_a_secret_is_hidden_too() -> None:

    told = reply(
        diagnosed(cause="order 4711-SECRET failed"), own_secrets=(re.compile(r"\d{4}-\w+"),)
    )

    assert "4711" not in blocks(told) + told.text


def test_an_account_with_an_alias_is_named_by_it() -> None:
    assert "shop-prod (123456789012)" in blocks(root(explained(), alias="shop-prod"))
