"""What is asked of Slack, and what becomes of each answer, over a real connection to 127.0.0.1."""

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.errors import SecretUnavailable
from notifier.model import (
    CannotLook,
    Found,
    Message,
    NotThere,
    Outcome,
    Refusal,
    Refused,
    Sent,
    Unknown,
)
from notifier.slack import Slack, Webhook
from notifier.slack.answers import Answer, Reply, api_answer, webhook_outcome
from notifier.slack.finding import INCOMPLETE, PAGE, PAGES, WITHIN
from notifier.slack.finding import find as find_by
from sandbox.workspace import FULL_SCOPES, MINIMAL_SCOPES, Channel, Workspace
from tests.raw_server import RawServer, response, sends

if TYPE_CHECKING:
    from notifier.teller import Door

TOKEN = "xoxb-1234567890-SecretOfTheBot"
HOOK = "services/T0001/B0002/SecretOfTheHook"
MESSAGE = Message(text="prod-web: 1 of 3 running", blocks=({"type": "divider"},))
POSTED = {"ok": True, "channel": "C01", "ts": "1503435956.000247"}
DEPLOYS = "C0DEPLOYS1"
SINCE = datetime(2026, 11, 23, 12, 3, 0, 250_000, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_secret_in_any_log_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    for name in (
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    caplog.set_level(logging.DEBUG)
    yield
    assert "SecretOf" not in caplog.text


@contextmanager
def slack_that(answer: bytes) -> Iterator[tuple[Slack, RawServer]]:
    with RawServer(sends(answer)) as server:
        yield Slack(base_url=server.url, token=lambda _: TOKEN), server


@contextmanager
def webhook_that(answer: bytes) -> Iterator[tuple[Webhook, RawServer]]:
    with RawServer(sends(answer)) as server:
        yield Webhook(url=lambda _: server.url + HOOK), server


def said(body: object, **more: str) -> bytes:
    return response(json.dumps(body), Content_Type="application/json; charset=utf-8", **more)


def post_answered(answer: bytes) -> Outcome:
    with slack_that(answer) as (slack, server):
        outcome = slack.post("C01", MESSAGE)
    assert len(server.requests) == 1
    assert "SecretOf" not in repr(outcome)
    return outcome


def webhook_answered(answer: bytes) -> Outcome:
    with webhook_that(answer) as (webhook, server):
        outcome = webhook.post("C01", MESSAGE)
    assert len(server.requests) == 1
    assert "SecretOf" not in repr(outcome)
    return outcome


def body_of(request: bytes) -> dict[str, object]:
    parsed = json.loads(request.partition(b"\r\n\r\n")[2])
    assert isinstance(parsed, dict)
    return parsed


def form_of(request: bytes) -> dict[str, str]:
    assert b"Content-Type: application/x-www-form-urlencoded" in request
    parsed = parse_qs(request.partition(b"\r\n\r\n")[2].decode(), strict_parsing=True)
    return {name: value for name, (value,) in parsed.items()}


class Clock:
    """Seconds since the epoch that stand still until they are told to go on."""

    def __init__(self) -> None:
        self.now = SINCE.timestamp()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def workspace(clock: Clock) -> Iterator[Workspace]:
    with Workspace(token=TOKEN, scopes=FULL_SCOPES, clock=clock, limits=None) as running:
        yield running


@pytest.fixture
def bot(workspace: Workspace) -> Slack:
    return bot_of(workspace)


def bot_of(workspace: Workspace) -> Slack:
    return Slack(base_url=workspace.api_url, token=lambda _: TOKEN)


def post_with(slack: Slack, key: str, thread_ts: str | None = None) -> Outcome:
    metadata = {"event_type": "ecs_watch", "event_payload": {"key": key}}
    return slack.post(DEPLOYS, MESSAGE, thread_ts=thread_ts, metadata=metadata)


def ts_of(outcome: Outcome | Found) -> str:
    assert isinstance(outcome, Sent)
    assert outcome.ts
    return outcome.ts


# --- what is asked ----------------------------------------------------------------------------


def test_both_ways_to_slack_are_doors_of_the_teller() -> None:
    doors: list[Door] = [
        Slack(base_url="http://127.0.0.1/", token=lambda _: TOKEN),
        Webhook(url=lambda _: HOOK),
    ]

    assert [door.has_threads for door in doors] == [True, False]


def test_a_post_goes_to_its_channel_with_previews_off() -> None:
    with slack_that(said(POSTED)) as (slack, server):
        outcome = slack.post("C01", MESSAGE)

    assert outcome == Sent("C01", "1503435956.000247")
    (request,) = server.requests
    assert request.startswith(b"POST /chat.postMessage HTTP/1.1\r\n")
    assert b"Authorization: Bearer " + TOKEN.encode() in request
    assert b"Content-Type: application/json; charset=utf-8" in request
    assert body_of(request) == {
        "channel": "C01",
        "text": "prod-web: 1 of 3 running",
        "blocks": [{"type": "divider"}],
        "unfurl_links": False,
        "unfurl_media": False,
    }


def test_a_plain_text_post_has_no_blocks() -> None:
    with slack_that(said(POSTED)) as (slack, server):
        slack.post("C01", Message(text="🔴 half a character: \ud83d"))

    assert "blocks" not in body_of(server.requests[0])


def test_a_reply_names_its_thread_and_may_be_shown_in_the_channel_with_metadata() -> None:
    metadata = {"event_type": "ecs_watch", "event_payload": {"key": "K1"}}
    with slack_that(said(POSTED)) as (slack, server):
        slack.post("C01", MESSAGE, thread_ts="1.2", broadcast=True, metadata=metadata)

    asked = body_of(server.requests[0])
    assert (asked["thread_ts"], asked["reply_broadcast"]) == ("1.2", True)
    assert asked["metadata"] == metadata


def test_a_root_is_never_broadcast() -> None:
    with slack_that(said(POSTED)) as (slack, server):
        slack.post("C01", MESSAGE, broadcast=True)

    assert "reply_broadcast" not in body_of(server.requests[0])


def test_an_edit_replaces_text_and_blocks_and_makes_no_mention_out_of_foreign_text() -> None:
    with slack_that(said(POSTED)) as (slack, server):
        outcome = slack.update("C01", "1.2", Message(text="plain"))

    assert outcome == Sent("C01", "1503435956.000247")
    assert server.requests[0].startswith(b"POST /chat.update ")
    assert body_of(server.requests[0]) == {
        "channel": "C01",
        "ts": "1.2",
        "text": "plain",
        "blocks": [],
        "parse": "none",
    }


def test_a_reply_says_which_root_it_stands_under(bot: Slack) -> None:
    root = post_with(bot, "K1")
    reply = post_with(bot, "K2", ts_of(root))

    assert root == Sent(DEPLOYS, ts_of(root), None)
    assert reply == Sent(DEPLOYS, ts_of(reply), ts_of(root))


def test_a_reply_to_a_root_that_was_deleted_stands_alone(workspace: Workspace, bot: Slack) -> None:
    root = ts_of(post_with(bot, "K1"))
    workspace.channel("deploys").delete(root)
    reply = post_with(bot, "K2", root)

    assert reply == Sent(DEPLOYS, ts_of(reply), None)


@pytest.mark.parametrize("message", [None, [], "1.2", {}, {"thread_ts": 1.2}, {"thread_ts": ""}])
def test_a_post_whose_answer_names_no_root_has_none(message: object) -> None:
    assert post_answered(said(POSTED | {"message": message})) == Sent("C01", "1503435956.000247")


def test_a_root_with_replies_stands_under_no_root_when_it_is_edited(bot: Slack) -> None:
    root = ts_of(post_with(bot, "K1"))
    post_with(bot, "K2", root)

    assert bot.update(DEPLOYS, root, MESSAGE) == Sent(DEPLOYS, root, None)


def test_a_message_that_may_not_be_edited_any_more_is_a_lost_target(
    workspace: Workspace, bot: Slack, clock: Clock
) -> None:
    root = ts_of(post_with(bot, "K1"))
    clock.now += 120
    workspace.team.edit_window = 60

    closed = bot.update(DEPLOYS, root, MESSAGE)
    gone = bot.update(DEPLOYS, "1.000000", MESSAGE)

    assert closed == Refused(Refusal.TARGET, "edit_window_closed")
    assert gone == Refused(Refusal.TARGET, "message_not_found")


def test_any_method_can_be_called() -> None:
    with slack_that(said({"ok": True, "team": "T1"})) as (slack, server):
        answer = slack.call("auth.test", {})

    assert answer == Answer({"ok": True, "team": "T1"})
    assert server.requests[0].startswith(b"POST /auth.test ")


def test_a_webhook_gets_a_flat_message_without_token_or_channel() -> None:
    with webhook_that(response("ok")) as (webhook, server):
        outcome = webhook.post("C01", MESSAGE, thread_ts="1.2", broadcast=True, metadata={"a": 1})

    assert outcome == Sent(None, None)
    (request,) = server.requests
    assert request.startswith(f"POST /{HOOK} ".encode())
    assert b"Authorization" not in request
    assert body_of(request) == {
        "text": "prod-web: 1 of 3 running",
        "blocks": [{"type": "divider"}],
        "unfurl_links": False,
        "unfurl_media": False,
    }


def test_a_webhook_cannot_look_edit_or_mark_and_sends_nothing_for_it() -> None:
    with webhook_that(response("ok")) as (webhook, server):
        edited = webhook.update("C01", "1.2", MESSAGE)
        found = webhook.find("C01", "K1", since=SINCE, thread_ts="1.2")
        marked = webhook.mark("C01", "1.2", on=True)
        link = webhook.permalink("C01", "1.2")

    assert edited == Refused(Refusal.TARGET, "webhook")
    assert found == CannotLook("webhook")
    assert (marked, link) == (Sent(None, None), "")
    assert server.connections == 0


def test_a_netrc_entry_never_takes_the_tokens_place(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    with slack_that(said(POSTED)) as (slack, server):
        slack.post("C01", MESSAGE)

    assert b"Bearer " + TOKEN.encode() in server.requests[0]


def test_importing_the_door_does_not_load_requests() -> None:
    check = "import sys, notifier.slack; sys.exit('requests' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


# --- found again ------------------------------------------------------------------------------


def test_a_post_whose_answer_was_lost_is_found_in_the_channel(
    workspace: Workspace, bot: Slack
) -> None:
    workspace.inject("chat.postMessage", "accept_then_close")
    assert post_with(bot, "K1") == Unknown("connection_lost")
    post_with(bot, "K2")

    first, _ = workspace.channel("deploys").messages
    assert bot.find(DEPLOYS, "K1", since=SINCE) == Sent(DEPLOYS, first.ts, None)


def test_a_reply_whose_answer_was_lost_is_found_below_its_root(
    workspace: Workspace, bot: Slack
) -> None:
    root = ts_of(post_with(bot, "K1"))
    workspace.inject("chat.postMessage", "accept_then_reset")
    assert post_with(bot, "K2", root) == Unknown("connection_lost")

    reply = workspace.channel("deploys").messages[1].ts
    assert bot.find(DEPLOYS, "K2", since=SINCE, thread_ts=root) == Sent(DEPLOYS, reply, root)
    assert bot.find(DEPLOYS, "K2", since=SINCE) == NotThere()


def test_a_root_with_replies_is_found_as_a_root(bot: Slack) -> None:
    root = ts_of(post_with(bot, "K1"))
    post_with(bot, "K2", root)

    assert bot.find(DEPLOYS, "K1", since=SINCE) == Sent(DEPLOYS, root, None)


def test_a_reply_whose_root_was_deleted_is_found_alone_in_the_channel(
    workspace: Workspace, bot: Slack
) -> None:
    root = ts_of(post_with(bot, "K1"))
    workspace.channel("deploys").delete(root)
    workspace.inject("chat.postMessage", "accept_then_close")
    post_with(bot, "K2", root)

    (alone,) = workspace.channel("deploys").messages
    assert bot.find(DEPLOYS, "K2", since=SINCE, thread_ts=root) == Sent(DEPLOYS, alone.ts, None)
    assert bot.find(DEPLOYS, "K3", since=SINCE, thread_ts=root) == NotThere()


def test_a_post_that_never_arrived_is_not_there(workspace: Workspace, bot: Slack) -> None:
    root = ts_of(post_with(bot, "K1"))
    workspace.inject("chat.postMessage", "close")
    post_with(bot, "K2", root)

    assert bot.find(DEPLOYS, "K2", since=SINCE) == NotThere()
    assert bot.find(DEPLOYS, "K2", since=SINCE, thread_ts=root) == NotThere()


def test_what_was_posted_at_the_first_moment_counts_and_what_was_before_does_not(
    bot: Slack,
) -> None:
    ts = ts_of(post_with(bot, "K1"))

    assert ts == "1795435380.250000"
    assert bot.find(DEPLOYS, "K1", since=SINCE) == Sent(DEPLOYS, ts)
    assert bot.find(DEPLOYS, "K1", since=SINCE + timedelta(microseconds=1)) == NotThere()


def test_a_search_is_asked_in_a_form_and_with_the_metadata() -> None:
    empty = {"ok": True, "messages": [], "has_more": False}
    with slack_that(said(empty)) as (slack, server):
        slack.find("C01", "K1", since=SINCE)
        slack.find("C01", "K1", since=SINCE, thread_ts="1.000002")

    asked = {
        "channel": "C01",
        "oldest": "1795435380.250000",
        "latest": f"{1795435380.25 + WITHIN.total_seconds():.6f}",
        "inclusive": "true",
        "include_all_metadata": "true",
        "limit": "50",
    }
    in_channel, below = server.requests
    assert in_channel.startswith(b"POST /conversations.history ")
    assert below.startswith(b"POST /conversations.replies ")
    assert b"Authorization: Bearer " + TOKEN.encode() in below
    assert form_of(in_channel) == asked
    assert form_of(below) == asked | {"ts": "1.000002"}


def test_a_search_goes_on_over_pages(workspace: Workspace, bot: Slack) -> None:
    keys = [f"K{number}" for number in range(2 * PAGE + 1)]
    first, *_, last = [ts_of(post_with(bot, key)) for key in keys]

    assert bot.find(DEPLOYS, keys[0], since=SINCE) == Sent(DEPLOYS, first)
    assert [call.method for call in workspace.calls[-3:]] == ["conversations.history"] * 3
    assert bot.find(DEPLOYS, keys[-1], since=SINCE) == Sent(DEPLOYS, last)
    assert workspace.calls[-2].arguments.get("cursor"), "the newest comes first"


def page(*messages: object, cursor: object = "", **more: object) -> dict[str, object]:
    return {"ok": True, "messages": list(messages), **more} | {
        "response_metadata": {"next_cursor": cursor}
    }


def keyed(**more: object) -> dict[str, object]:
    return {"ts": "1.2", "metadata": {"event_type": "e", "event_payload": {"key": "K1"}}} | more


def found_with(*answers: Answer | Refused | Unknown) -> tuple[Found, list[str]]:
    """What becomes of a search that is given these answers, and the cursors that it sent."""
    left, cursors = list(answers), list[str]()

    def read(_: str, arguments: object) -> Answer | Refused | Unknown:
        assert isinstance(arguments, dict)
        cursors.append(arguments.get("cursor", ""))
        return left.pop(0)

    return find_by(read, "C01", "K1", SINCE, None), cursors


def test_a_channel_with_too_many_messages_is_given_up_not_called_empty() -> None:
    answers = [Answer(page(cursor=f"c{number}")) for number in range(1, PAGES + 1)]

    found, cursors = found_with(*answers)

    assert found == CannotLook("too_many_messages")
    assert cursors == ["", *(f"c{number}" for number in range(1, PAGES))]


def test_a_search_that_fails_on_a_later_page_cannot_say_that_nothing_is_there() -> None:
    limited = Refused(Refusal.RATE_LIMITED, "ratelimited", timedelta(seconds=5))

    found, cursors = found_with(Answer(page(cursor="c1")), limited)

    assert found == CannotLook("ratelimited", will_pass=True, retry_after=timedelta(seconds=5))
    assert cursors == ["", "c1"]


def test_without_the_scope_nothing_can_be_looked_for(clock: Clock) -> None:
    with Workspace(token=TOKEN, scopes=MINIMAL_SCOPES, clock=clock, limits=None) as workspace:
        slack = bot_of(workspace)
        root = ts_of(post_with(slack, "K1"))

        assert slack.find(DEPLOYS, "K1", since=SINCE) == CannotLook("missing_scope")
        assert slack.find(DEPLOYS, "K1", since=SINCE, thread_ts=root) == CannotLook("missing_scope")
        assert slack.mark(DEPLOYS, root, on=True) == Refused(Refusal.CREDENTIALS, "missing_scope")


def test_in_a_channel_it_was_not_invited_to_nothing_can_be_looked_for(clock: Clock) -> None:
    scopes = FULL_SCOPES | {"chat:write.public"}
    foreign = [Channel(DEPLOYS, "deploys")]
    with Workspace(foreign, token=TOKEN, scopes=scopes, clock=clock, limits=None) as workspace:
        slack = bot_of(workspace)
        ts_of(post_with(slack, "K1"))

        assert slack.find(DEPLOYS, "K1", since=SINCE) == CannotLook("not_in_channel")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("rate_limited", "ratelimited"),
        ("close", "connection_lost"),
        ("html", "answer_unreadable"),
        ("status", "http_500"),
        ("error", "internal_error"),
        ("redirect", "http_302"),
        ("revoke_token", "token_revoked"),
    ],
)
def test_a_search_that_slack_does_not_answer_says_why_and_whether_it_will_pass(
    workspace: Workspace, bot: Slack, fault: str, code: str
) -> None:
    post_with(bot, "K1")
    workspace.inject("conversations.history", fault)

    found = bot.find(DEPLOYS, "K1", since=SINCE)
    assert isinstance(found, CannotLook)
    assert (found.code, found.will_pass) == (code, fault != "revoke_token")
    assert bool(found.retry_after) is (fault == "rate_limited")


@pytest.mark.parametrize(
    ("code", "will_pass"),
    [
        ("ratelimited", True),
        ("service_unavailable", True),
        ("request_timeout", True),
        ("fatal_error", True),
        ("internal_error", True),
        ("a_word_of_tomorrow", True),
        ("missing_scope", False),
        ("not_allowed_token_type", False),
        ("no_permission", False),
        ("access_denied", False),
        ("channel_not_found", False),
        ("not_in_channel", False),
        ("account_inactive", False),
        ("invalid_cursor", False),
        ("invalid_ts_latest", False),
        ("method_not_supported_for_channel_type", False),
    ],
)
def test_what_keeps_us_from_looking_passes_or_lasts(code: str, will_pass: bool) -> None:
    found, _ = found_with(api_answer(Reply(200, {}, f'{{"ok":false,"error":"{code}"}}'.encode())))

    assert isinstance(found, CannotLook)
    assert (found.code, found.will_pass) == (code, will_pass)


def test_what_a_channel_said_in_the_hours_since_is_not_read(
    workspace: Workspace, bot: Slack, clock: Clock
) -> None:
    first = ts_of(post_with(bot, "K1"))
    clock.now += WITHIN.total_seconds() + 60
    for number in range(PAGE + 1):
        post_with(bot, f"later-{number}")

    assert bot.find(DEPLOYS, "K1", since=SINCE) == Sent(DEPLOYS, first)
    searches = [call for call in workspace.calls if call.method == "conversations.history"]
    assert len(searches) == 1


STRANGE: list[tuple[str, dict[str, object], Found]] = [
    ("no metadata", page({"ts": "1.2", "text": "K1"}), NotThere()),
    ("metadata is a list", page(keyed(metadata=["K1"])), NotThere()),
    ("metadata is text", page(keyed(metadata="K1")), NotThere()),
    ("no payload", page(keyed(metadata={"event_type": "e"})), NotThere()),
    ("payload is a list", page(keyed(metadata={"event_payload": ["key"]})), NotThere()),
    ("the key is a number", page(keyed(metadata={"event_payload": {"key": 1}})), NotThere()),
    ("another key", page(keyed(metadata={"event_payload": {"key": "K2"}})), NotThere()),
    ("messages that are none", page(None, 1, "K1", [keyed()]), NotThere()),
    ("the right one among them", page(None, {}, keyed()), Sent("C01", "1.2")),
    ("the root is no text", page(keyed(thread_ts=1)), Sent("C01", "1.2")),
    ("no ts", page(keyed(ts=None)), INCOMPLETE),
    ("ts is empty", page(keyed(ts="")), INCOMPLETE),
    ("no messages", {"ok": True}, INCOMPLETE),
    ("messages is an object", {"ok": True, "messages": {}}, INCOMPLETE),
    ("messages is null", {"ok": True, "messages": None}, INCOMPLETE),
    ("more, but no way to it", page(has_more=True), INCOMPLETE),
    ("the cursor is a number", page(cursor=7), NotThere()),
    ("the end is no object", {"ok": True, "messages": [], "response_metadata": 1}, NotThere()),
    (
        "an error that is our token",
        {"ok": False, "error": TOKEN},
        CannotLook("no_error_code", will_pass=True),
    ),
    ("half a character leads on", page(cursor="\ud83d"), CannotLook("too_many_messages")),
]


@pytest.mark.parametrize(
    ("answer", "found"), [pytest.param(answer, found, id=name) for name, answer, found in STRANGE]
)
def test_whatever_a_search_is_answered_it_comes_to_an_end(
    answer: dict[str, object], found: Found
) -> None:
    with slack_that(said(answer)) as (slack, server):
        assert slack.find("C01", "K1", since=SINCE) == found
    assert len(server.requests) <= PAGES


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.just("K1")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["messages", "ts", "thread_ts", "metadata", "event_payload", "key", "next_cursor"]
            ),
            inner,
        ),
    ),
)


@given(body=st.dictionaries(st.sampled_from(["messages", "response_metadata"]), ANYTHING))
def test_no_answer_to_a_search_is_too_strange(body: dict[str, object]) -> None:
    found, _ = found_with(*[Answer(body)] * PAGES)

    if isinstance(found, CannotLook):
        assert found.code in ("answer_incomplete", "too_many_messages")


@pytest.mark.parametrize(
    ("token", "code"), [("xoxb-SecretOf mine", "secret_malformed"), (None, "secret_unavailable")]
)
def test_without_a_token_nothing_can_be_looked_for(token: str | None, code: str) -> None:
    with RawServer(sends(said(page()))) as server:
        slack = Slack(base_url=server.url, token=Kept(token, token))

        assert slack.find("C01", "K1", since=SINCE) == CannotLook(code)
        assert slack.permalink("C01", "1.2") == ""
    assert server.connections == 0


# --- marks and addresses ----------------------------------------------------------------------


def test_a_message_is_marked_once_however_often_it_is_asked(
    workspace: Workspace, bot: Slack
) -> None:
    root = ts_of(post_with(bot, "K1"))
    (message,) = workspace.channel("deploys").messages

    assert [bot.mark(DEPLOYS, root, on=True) for _ in range(2)] == [Sent(DEPLOYS, root)] * 2
    assert list(message.reactions) == ["white_check_mark"]
    assert [bot.mark(DEPLOYS, root, on=False) for _ in range(2)] == [Sent(DEPLOYS, root)] * 2
    assert message.reactions == {}
    outcomes = [call.outcome for call in workspace.calls if call.method.startswith("reactions")]
    assert outcomes == ["ok", "already_reacted", "ok", "no_reaction"]


@pytest.mark.parametrize(("on", "word"), [(True, "no_reaction"), (False, "already_reacted")])
def test_the_other_methods_word_does_not_count_as_marked(on: bool, word: str) -> None:
    with slack_that(said({"ok": False, "error": word})) as (slack, _):
        assert slack.mark("C01", "1.2", on=on) == Refused(Refusal.UNAVAILABLE, word)


@pytest.mark.parametrize(
    ("word", "refusal"),
    [
        ("message_not_found", Refusal.TARGET),
        ("bad_timestamp", Refusal.TARGET),
        ("not_reactable", Refusal.TARGET),
        ("thread_locked", Refusal.TARGET),
        ("too_many_emoji", Refusal.TARGET),
        ("too_many_reactions", Refusal.TARGET),
        ("invalid_name", Refusal.PAYLOAD),
        ("no_item_specified", Refusal.PAYLOAD),
        ("is_archived", Refusal.CHANNEL),
    ],
)
def test_a_mark_that_cannot_be_made_is_refused(word: str, refusal: Refusal) -> None:
    with slack_that(said({"ok": False, "error": word})) as (slack, _):
        assert slack.mark("C01", "1.2", on=True) == Refused(refusal, word)


def test_a_message_has_an_address(workspace: Workspace, bot: Slack) -> None:
    root = ts_of(post_with(bot, "K1"))

    link = f"{workspace.url}archives/{DEPLOYS}/p{root.replace('.', '')}"
    assert bot.permalink(DEPLOYS, root) == link
    assert bot.permalink(DEPLOYS, "1.000000") == ""


@pytest.mark.parametrize(
    "link",
    [None, 1, "", "javascript:alert(1)", "https://a.slack.com/x|Console", "https://a.b/x> <!here"],
)
def test_an_address_that_a_link_cannot_hold_is_none(link: object) -> None:
    with slack_that(said({"ok": True, "permalink": link})) as (slack, _):
        assert slack.permalink("C01", "1.2") == ""


# --- Slack's words ----------------------------------------------------------------------------

WORDS = {
    Refusal.UNAVAILABLE: """service_unavailable request_timeout team_added_to_org
        org_login_required external_channel_migrating update_failed streaming_state_conflict
        duplicate_message_not_found duplicate_channel_not_found a_word_of_next_year""",
    Refusal.CREDENTIALS: """invalid_auth not_authed account_inactive token_revoked token_expired
        missing_scope not_allowed_token_type accesslimited team_access_not_granted
        app_access_restricted ekm_access_denied enterprise_is_restricted
        two_factor_setup_required""",
    Refusal.CHANNEL: """channel_not_found not_in_channel is_archived is_inactive restricted_action
        restricted_action_read_only_channel restricted_action_thread_only_channel
        messages_tab_disabled no_permission access_denied""",
    Refusal.PAYLOAD: """invalid_blocks invalid_blocks_format msg_blocks_too_long msg_too_long
        no_text too_many_attachments attachment_payload_limit_exceeded invalid_metadata_format
        invalid_metadata_schema metadata_too_large markdown_text_conflict invalid_arguments
        invalid_attachments no_dual_broadcast_content_update""",
    Refusal.TARGET: """message_not_found cant_update_message edit_window_closed block_mismatch
        cannot_reply_to_message restricted_action_thread_locked
        restricted_action_non_threadable_channel thread_not_found""",
}
EACH_WORD = [(word, refusal) for refusal, words in WORDS.items() for word in words.split()]


@pytest.mark.parametrize(("word", "refusal"), EACH_WORD)
def test_each_error_word_under_http_200_is_a_refusal_of_its_kind(
    word: str, refusal: Refusal
) -> None:
    assert post_answered(said({"ok": False, "error": word})) == Refused(refusal, word)


@pytest.mark.parametrize("word", ["ratelimited", "rate_limited", "message_limit_exceeded"])
def test_a_rate_limit_under_http_200_waits_as_well(word: str) -> None:
    answer = said({"ok": False, "error": word}, Retry_After="7")

    assert post_answered(answer) == Refused(Refusal.RATE_LIMITED, word, timedelta(seconds=7))


@pytest.mark.parametrize("word", ["internal_error", "fatal_error"])
def test_an_error_after_which_part_may_have_succeeded_is_unknown(word: str) -> None:
    assert post_answered(said({"ok": False, "error": word})) == Unknown(word)


UNREADABLE = Unknown("answer_unreadable")
UNNAMED = Refused(Refusal.UNAVAILABLE, "no_error_code")
ANSWERS: list[tuple[str, bytes, Outcome]] = [
    ("500 as HTML", response("<html>", status="500 Oops"), Unknown("http_500")),
    ("502", response(status="502 Bad Gateway"), Unknown("http_502")),
    ("503 as HTML", response("<html>", status="503 Away"), Unknown("http_503")),
    ("504", response(status="504 Timeout"), Unknown("http_504")),
    (
        "503 with a word",
        said({"ok": False, "error": "service_unavailable"}, status="503 Away"),
        Unknown("service_unavailable"),
    ),
    (
        "401 with a word",
        said({"ok": False, "error": "is_archived"}, status="401 No"),
        Refused(Refusal.CHANNEL, "is_archived"),
    ),
    ("404 as HTML", response("<html>", status="404 No"), Refused(Refusal.UNAVAILABLE, "http_404")),
    ("413", response(status="413 Too Large"), Refused(Refusal.PAYLOAD, "http_413")),
    ("302", response(status="302 Found"), Refused(Refusal.UNAVAILABLE, "http_302")),
    ("HTML", response("<html>Sign in to the Wi-Fi</html>", Content_Type="text/html"), UNREADABLE),
    ("empty", response(), UNREADABLE),
    ("204", response(status="204 No Content"), UNREADABLE),
    ("not UTF-8", response(b"\xff\xfe\x00"), UNREADABLE),
    ("a list", said([POSTED]), UNREADABLE),
    ("null", said(None), UNREADABLE),
    ("endless nesting", response("[" * 200_000), UNREADABLE),
    ("a number of 5,000 digits", response('{"ok": true, "ts": ' + "9" * 5000 + "}"), UNREADABLE),
    ("no ok", said({"channel": "C01", "ts": "1.2"}), UNREADABLE),
    ("ok is a string", said(POSTED | {"ok": "true"}), UNREADABLE),
    ("no channel", said({"ok": True, "ts": "1.2"}), Unknown("answer_incomplete")),
    ("no ts", said({"ok": True, "channel": "C01"}), Unknown("answer_incomplete")),
    ("ts is a number", said(POSTED | {"ts": 1.2}), Unknown("answer_incomplete")),
    ("ts is empty", said(POSTED | {"ts": ""}), Unknown("answer_incomplete")),
    ("no error word", said({"ok": False}), UNNAMED),
    ("the word is an object", said({"ok": False, "error": {"a": 1}}), UNNAMED),
    ("the token comes back", said({"ok": False, "error": TOKEN}), UNNAMED),
    (
        "a key twice: the last counts",
        response('{"ok": false, "ok": true, "channel": "C01", "ts": "1.2"}'),
        Sent("C01", "1.2"),
    ),
]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [pytest.param(answer, outcome, id=name) for name, answer, outcome in ANSWERS],
)
def test_what_the_web_api_answers(answer: bytes, outcome: Outcome) -> None:
    assert post_answered(answer) == outcome


HOOK_ANSWERS: list[tuple[str, str, Outcome]] = [
    ("200 OK", "ok", Sent(None, None)),
    ("200 OK", "ok\n", Sent(None, None)),
    ("200 OK", "", UNREADABLE),
    ("200 OK", "<html>Sign in to the Wi-Fi</html>", UNREADABLE),
    ("200 OK", "invalid_payload", UNREADABLE),
    ("400 Bad", "invalid_payload", Refused(Refusal.PAYLOAD, "invalid_payload")),
    ("400 Bad", "user_not_found", Refused(Refusal.PAYLOAD, "user_not_found")),
    ("400 Bad", "no_text", Refused(Refusal.PAYLOAD, "no_text")),
    ("400 Bad", "too_many_attachments", Refused(Refusal.PAYLOAD, "too_many_attachments")),
    ("400 Bad", "invalid_blocks", Refused(Refusal.PAYLOAD, "invalid_blocks")),
    ("400 Bad", "invalid_attachments", Refused(Refusal.PAYLOAD, "invalid_attachments")),
    ("400 Bad", "a_word_of_next_year", Refused(Refusal.PAYLOAD, "http_400")),
    ("403 No", "action_prohibited", Refused(Refusal.CREDENTIALS, "action_prohibited")),
    (
        "403 No",
        "posting_to_general_channel_denied",
        Refused(Refusal.CHANNEL, "posting_to_general_channel_denied"),
    ),
    ("403 No", "invalid_token", Refused(Refusal.CREDENTIALS, "invalid_token")),
    ("400 Bad", "invalid_token", Refused(Refusal.CREDENTIALS, "invalid_token")),
    ("403 No", "team_disabled", Refused(Refusal.CREDENTIALS, "team_disabled")),
    ("403 No", "<html>", Refused(Refusal.CREDENTIALS, "http_403")),
    ("404 No", "channel_not_found", Refused(Refusal.CHANNEL, "channel_not_found")),
    ("404 No", "no_service", Refused(Refusal.CREDENTIALS, "no_service")),
    ("404 No", "no_service_id", Refused(Refusal.CREDENTIALS, "no_service_id")),
    ("404 No", "no_active_hooks", Refused(Refusal.CREDENTIALS, "no_active_hooks")),
    ("404 No", "no_team", Refused(Refusal.CREDENTIALS, "no_team")),
    ("404 No", HOOK, Refused(Refusal.CREDENTIALS, "http_404")),
    ("410 Gone", "channel_is_archived", Refused(Refusal.CHANNEL, "channel_is_archived")),
    ("410 Gone", "", Refused(Refusal.CHANNEL, "http_410")),
    ("413 Too Large", "", Refused(Refusal.PAYLOAD, "http_413")),
    ("302 Found", "", Refused(Refusal.UNAVAILABLE, "http_302")),
    ("407 Proxy", "", Refused(Refusal.UNAVAILABLE, "http_407")),
    ("500 Oops", "rollup_error", Unknown("rollup_error")),
    ("503 Away", "<html>", Unknown("http_503")),
    ("429 Slow", "rate_limited", Refused(Refusal.RATE_LIMITED, "rate_limited", timedelta(0, 30))),
]


@pytest.mark.parametrize(("status", "body", "outcome"), HOOK_ANSWERS)
def test_what_a_webhook_answers(status: str, body: str, outcome: Outcome) -> None:
    assert webhook_answered(response(body, status=status)) == outcome


# --- how long to wait -------------------------------------------------------------------------

NOW = "Wed, 21 Oct 2026 07:28:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry_After": "12"}, 12),
        ({"Retry_After": " 12 "}, 12),
        ({"Retry_After": "1.5"}, 1.5),
        ({}, 30),
        ({"Retry_After": ""}, 30),
        ({"Retry_After": "soon"}, 30),
        ({"Retry_After": "nan"}, 30),
        ({"Retry_After": "inf"}, 30),
        ({"Retry_After": "0"}, 1),
        ({"Retry_After": "-5"}, 1),
        ({"Retry_After": "86400"}, 900),
        ({"Retry_After": "9" * 4000}, 900),
        ({"Retry_After": "Wed, 21 Oct 2026 07:29:15 GMT", "Date": NOW}, 75),
        ({"Retry_After": "Wed, 21 Oct 2026 07:29:15 -0000", "Date": NOW}, 75),
        ({"Retry_After": "Wed, 21 Oct 2026 07:27:00 GMT", "Date": NOW}, 1),
        ({"Retry_After": "Thu, 21 Oct 2027 07:28:00 GMT", "Date": NOW}, 900),
        ({"Retry_After": "Wed, 21 Oct 2026 07:29:15 GMT"}, 30),
        ({"Retry_After": "Wed, 21 Oct 2026 07:29:15 GMT", "Date": "yesterday"}, 30),
    ],
)
def test_a_rate_limit_says_how_long_to_wait(headers: dict[str, str], seconds: float) -> None:
    answer = response("slow down", status="429 Too Many Requests", **headers)
    expected = Refused(Refusal.RATE_LIMITED, "ratelimited", timedelta(seconds=seconds))

    assert post_answered(answer) == expected
    assert webhook_answered(answer) == expected


REPLIES = st.builds(
    Reply,
    status=st.one_of(st.sampled_from([200, 302, 400, 404, 429, 500]), st.integers(200, 599)),
    headers=st.dictionaries(st.sampled_from(["Retry-After", "Date"]), st.text()),
    body=st.one_of(
        st.none(),
        st.binary(),
        st.dictionaries(
            st.sampled_from(["ok", "error", "ts"]),
            st.one_of(st.booleans(), st.text(), st.integers(), st.lists(st.none())),
        ).map(lambda body: json.dumps(body).encode()),
    ),
)


@given(REPLIES)
def test_whatever_is_answered_there_is_an_outcome_that_repeats_no_foreign_text(
    reply: Reply,
) -> None:
    for outcome in (api_answer(reply), webhook_outcome(reply)):
        if isinstance(outcome, Refused | Unknown):
            assert outcome.code.isascii()
            assert outcome.code.replace("_", "").isalnum()
        if isinstance(outcome, Refused) and outcome.refusal is Refusal.RATE_LIMITED:
            assert outcome.retry_after is not None
            assert timedelta(seconds=1) <= outcome.retry_after <= timedelta(minutes=15)


# --- rotation ---------------------------------------------------------------------------------

REVOKED = said({"ok": False, "error": "token_revoked"})


def by_token(answers: dict[str, bytes]) -> Callable[..., None]:
    """A Slack that knows tokens: each gets its own answer."""

    def behave(server: RawServer, connection: object) -> None:
        request = server.requests[-1]
        (answer,) = (answers[token] for token in answers if token.encode() in request)
        connection.sendall(answer)  # type: ignore[attr-defined]

    return behave


class Kept:
    """A secret store of one value that is `old` until it is read fresh."""

    def __init__(self, old: str | None, new: str | None) -> None:
        self.values = {False: old, True: new}
        self.reads: list[bool] = []

    def __call__(self, fresh: bool) -> str:
        self.reads.append(fresh)
        if (value := self.values[fresh]) is None:
            raise SecretUnavailable("the secret '/slack' cannot be read: AccessDeniedException")
        return value


def test_a_rotated_token_is_read_again_and_the_post_goes_out() -> None:
    token = Kept("xoxb-old-SecretOf", "xoxb-new-SecretOf")
    answers = {"xoxb-old": REVOKED, "xoxb-new": said(POSTED)}
    with RawServer(by_token(answers)) as server:
        outcome = Slack(base_url=server.url, token=token).post("C01", MESSAGE)

    assert outcome == Sent("C01", "1503435956.000247")
    assert token.reads == [False, True]
    assert len(server.requests) == 2


def test_a_rotated_webhook_is_read_again() -> None:
    gone = response("no_service", status="404 No")
    answers = {"/old": gone, "/new": response("ok")}
    with RawServer(by_token(answers)) as server:
        url = Kept(server.url + "old-SecretOf", server.url + "new-SecretOf")
        outcome = Webhook(url=url).post("C01", MESSAGE)

    assert outcome == Sent(None, None)
    assert len(server.requests) == 2


@pytest.mark.parametrize("renewed", [TOKEN, None])
def test_a_token_that_did_not_change_is_not_tried_twice(renewed: str | None) -> None:
    token = Kept(TOKEN, renewed)
    with RawServer(sends(REVOKED)) as server:
        outcome = Slack(base_url=server.url, token=token).post("C01", MESSAGE)

    assert outcome == Refused(Refusal.CREDENTIALS, "token_revoked")
    assert token.reads == [False, True]
    assert len(server.requests) == 1


def test_a_new_token_that_is_refused_too_is_the_end() -> None:
    with RawServer(sends(REVOKED)) as server:
        slack = Slack(base_url=server.url, token=Kept("xoxb-old-SecretOf", TOKEN))
        outcome = slack.post("C01", MESSAGE)

    assert outcome == Refused(Refusal.CREDENTIALS, "token_revoked")
    assert len(server.requests) == 2


def test_other_refusals_do_not_read_the_secret_again() -> None:
    token = Kept(TOKEN, None)
    with RawServer(sends(said({"ok": False, "error": "is_archived"}))) as server:
        Slack(base_url=server.url, token=token).post("C01", MESSAGE)

    assert token.reads == [False]


def test_a_second_try_does_not_start_after_the_deadline() -> None:
    times = iter([0.0, 1.0, 11.0])
    with RawServer(sends(REVOKED)) as server:
        slack = Slack(
            base_url=server.url,
            token=Kept("xoxb-old-SecretOf", TOKEN),
            monotonic=lambda: next(times),
        )
        outcome = slack.post("C01", MESSAGE)

    assert outcome == Refused(Refusal.CREDENTIALS, "token_revoked")
    assert len(server.requests) == 1


def test_a_secret_that_comes_after_the_deadline_sends_nothing() -> None:
    times = iter([0.0, 11.0])
    with RawServer(sends(said(POSTED))) as server:
        slack = Slack(base_url=server.url, token=lambda _: TOKEN, monotonic=lambda: next(times))
        outcome = slack.post("C01", MESSAGE)

    assert outcome == Refused(Refusal.UNAVAILABLE, "timeout")
    assert server.connections == 0


def test_a_secret_that_cannot_be_read_is_a_refusal_and_its_reason_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with RawServer(sends(said(POSTED))) as server:
        outcome = Slack(base_url=server.url, token=Kept(None, None)).post("C01", MESSAGE)

    assert outcome == Refused(Refusal.CREDENTIALS, "secret_unavailable")
    assert server.connections == 0
    (record,) = (found for found in caplog.records if found.name.startswith("notifier"))
    assert record.getMessage() == "slack.secret_unavailable"
    assert "AccessDeniedException" in str(vars(record)["why"])


@pytest.mark.parametrize(
    "token", ["xoxb-SecretOf\r\nX-Evil: 1", "xoxb-SecretOf mine", "xoxb-SecretOf\u2013dash", ""]
)
def test_a_token_with_odd_characters_is_refused_without_quoting_it(token: str) -> None:
    with RawServer(sends(said(POSTED))) as server:
        outcome = Slack(base_url=server.url, token=lambda _: token).post("C01", MESSAGE)

    assert outcome == Refused(Refusal.CREDENTIALS, "secret_malformed")
    assert server.connections == 0


@pytest.mark.parametrize(
    "url", ["SecretOf", "ftp://127.0.0.1/SecretOf", "https://[SecretOf", "https:///SecretOf", ""]
)
def test_a_webhook_that_is_no_address_is_refused_without_quoting_it(url: str) -> None:
    outcome = Webhook(url=lambda _: url).post("C01", MESSAGE)

    assert outcome == Refused(Refusal.CREDENTIALS, "secret_malformed")
