"""Messages that a reader can trust, whatever text came in."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier import rendering
from notifier.model import ClusterState, Failure, Message, ServiceState, SubjectKind
from notifier.rendering import Facts, clean, cut, failure_message, plain
from tests.watch import CLUSTER, START, deployment_row, reading

WHERE = ClusterState(key=CLUSTER, account="123456789012", region="eu-west-1", partition="aws")
FAILED = Failure(
    event="SERVICE_DEPLOYMENT_FAILED",
    reason="ECS deployment circuit breaker: tasks failed to start.",
    deployment_id="ecs-svc/42",
    occurred_at=START,
)
CHECKOUT = ServiceState(name="checkout", failure=FAILED, count=1, since=START, revision=1)


def message(reason: str = FAILED.reason, event: str = FAILED.event, **facts: Any) -> Message:
    failure = replace(FAILED, reason=reason, event=event)
    mentions = facts.pop("mentions", ())
    return failure_message(WHERE, replace(CHECKOUT, failure=failure), Facts(**facts), mentions)


def texts(told: Message) -> list[str]:
    """Every text in which Slack reads markup."""
    found = [told.text]
    for block in told.blocks:
        if block["type"] != "rich_text":
            found += re.findall(r'"text": "((?:[^"\\]|\\.)*)"', json.dumps(block))
    return found


ROWS = [
    deployment_row(43, running=1, desired_count=3, pending_count=2, rollout_state="IN_PROGRESS"),
    deployment_row(41, running=2, status="ACTIVE", id="ecs-svc/42"),
]


@pytest.mark.parametrize(
    ("running", "desired", "sign"), [(0, 3, "⛔"), (1, 3, "🔴"), (3, 3, "🟠"), (4, 3, "🟠")]
)
def test_the_first_sign_says_whether_it_still_serves(running: int, desired: int, sign: str) -> None:
    shown = reading("checkout", running=running, desired=desired)

    assert message(reading=shown).text.startswith(sign)


def test_the_phone_shows_where_what_serves_what_failed_and_why() -> None:
    shown = reading("checkout", running=3, desired=3, rows=ROWS)

    assert message(reading=shown).text == (
        "🟠 prod-web / checkout: 3 of 3 running (1 on :43, 2 on :41), :41 deployment failed: "
        "ECS deployment circuit breaker: tasks failed to start."
    )


def test_the_deployments_stand_as_ecs_shows_them() -> None:
    shown = reading("checkout", running=3, desired=3, rows=ROWS)
    table = next(b for b in message(reading=shown).blocks if "preformatted" in str(b))

    assert "PRIMARY  :43       3        2        1        0       IN_PROGRESS" in str(table)


def test_a_placement_code_is_said_in_words() -> None:
    told = message("RESOURCE:FARGATE", "SERVICE_TASK_PLACEMENT_FAILURE")

    assert told.text.endswith("tasks cannot be placed: no Fargate capacity")


def test_a_name_that_nobody_knows_yet_is_shown_as_it_came() -> None:
    told = message("something new", "SERVICE_ON_FIRE")

    assert "ECS reports SERVICE_ON_FIRE: something new" in told.text


def test_an_event_without_a_name_is_told_too() -> None:
    assert "ECS reports trouble without a name" in message("", "").text


def test_links_are_text_and_never_buttons() -> None:
    told = str(message().blocks)

    assert "|deployments>" in told
    assert "button" not in told


def test_a_daemon_has_no_service_pages() -> None:
    daemon = replace(CHECKOUT, kind=SubjectKind.DAEMON)
    told = str(failure_message(WHERE, daemon, Facts()).blocks)

    assert "(daemon)" in told
    assert "|deployments>" not in told
    assert "|cluster>" in told


def test_a_service_that_ecs_no_longer_shows_is_said_to_be_so() -> None:
    told = message(reading=reading("checkout", status="MISSING"))

    assert "does not show this service any more" in str(told.blocks)


def test_repeats_are_counted() -> None:
    told = failure_message(WHERE, replace(CHECKOUT, count=7), Facts())

    assert "7 reports since <!date^" in str(told.blocks)


def test_mentions_ring_in_the_message() -> None:
    told = str(message(mentions=("S0SRE", "U0MIKA", "here")).blocks)

    assert all(live in told for live in ("<!subteam^S0SRE>", "<@U0MIKA>", "<!here>"))


def test_a_service_that_does_not_fail_has_no_failure_message() -> None:
    with pytest.raises(ValueError, match="not failing"):
        failure_message(WHERE, ServiceState(name="well"), Facts())


def test_the_plain_form_has_the_same_text_and_no_blocks() -> None:
    assert plain(message()) == Message(text=message().text)


HOSTILE = [
    "<!channel> <!here> <@U0MIKA> <#C01>",
    "<https://evil.example|Console>",
    "&lt;!channel&gt;",
    "{{ 7 * 7 }} {% raw %} {0.__class__} %s",
    "a\u202eb\u200bc\x00d\x1b[31m",
    "`*_~>",
    "quotes ' \" \\ and \n lines",
    "\ud800 lone",
    "\N{MATHEMATICAL FRAKTUR CAPITAL U}" * 8000,
    "&" * 40_000,
    "<" * 1_000_000,
]


@pytest.mark.parametrize("event", [FAILED.event, "SERVICE_ON_FIRE"])
@pytest.mark.parametrize("reason", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_shown_and_never_live(reason: str, event: str) -> None:
    check(message(reason, event))


@settings(max_examples=200, deadline=None)
@given(st.text(), st.text(), st.text(max_size=300), st.text(max_size=300))
def test_no_text_at_all_breaks_a_message(
    reason: str, event: str, service: str, cluster: str
) -> None:
    failing = replace(CHECKOUT, name=service, failure=replace(FAILED, reason=reason, event=event))
    check(failure_message(replace(WHERE, key=cluster), failing, Facts(missing=(reason,))))


OURS = re.compile(
    r"<!date\^\d+\^\{date_short_pretty\} at \{time\}\|[-\d: UTC]+>|<https://[^<>|]+\|\w+>"
)


def check(told: Message) -> None:
    """Slack takes it, nothing foreign in it is live, nothing in it is invisible."""
    for text in texts(told):
        rest = OURS.sub("", json.loads(f'"{text}"') if text is not told.text else text)
        assert "<" not in rest
        assert ">" not in rest
        assert not re.search(r"&(?!amp;|lt;|gt;)", rest)
        assert len(text) <= 3000
    whole = json.dumps(told.blocks, ensure_ascii=False)
    assert len(whole) <= rendering.MESSAGE_AT_MOST
    assert clean(told.text) == told.text
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
