"""The sandbox's Slack workspace: Slack's rules, every fault by its name, the page, the command."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox import picture
from sandbox.workspace import MINIMAL_SCOPES, NAMES, Channel, Limits, Workspace
from sandbox.workspace.blocks import problems
from sandbox.workspace.faults import ACCEPTED, MANNERS, OTHERS

C = "C0DEPLOYS1"
NOW = 1_795_435_440.0  # 2026-11-23 12:04 UTC


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Client:
    """Talks to the workspace as an app does: no re-sends, no redirects."""

    def __init__(self, slack: Workspace) -> None:
        self.slack = slack
        self.http = requests.Session()

    def send(self, method: str, *, timeout: float = 5, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.slack.token}"} | options.pop("headers", {})
        return self.http.post(
            self.slack.api_url + method,
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
            **options,
        )

    def call(self, method: str, **arguments: Any) -> Any:
        return self.send(method, json=arguments).json()

    def read(self, method: str, **arguments: Any) -> Any:
        return self.send(method, data=arguments).json()

    def post(self, text: str = "hello", **arguments: Any) -> Any:
        return self.call("chat.postMessage", **{"channel": C, "text": text} | arguments)

    def hook(self, payload: object, url: str = "") -> tuple[int, str]:
        response = self.http.post(url or self.slack.webhook_url, json=payload, timeout=5)
        return response.status_code, response.text


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def slack(clock: Clock) -> Iterator[Workspace]:
    with Workspace(clock=clock, limits=None) as workspace:
        yield workspace


@pytest.fixture
def client(slack: Workspace) -> Iterator[Client]:
    client = Client(slack)
    with client.http:
        yield client


def texts(slack: Workspace) -> list[str]:
    return [message.text for message in slack.channel(C).messages]


def section(text: str = "words", **more: Any) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}, **more}


RICH = {
    "type": "rich_text",
    "elements": [{"type": "rich_text_section", "elements": [{"type": "text", "text": "log"}]}],
}


# --- who may do what --------------------------------------------------------------------------


def test_the_token_says_who_calls(client: Client) -> None:
    answer = client.send("auth.test")

    assert answer.json()["bot_id"] == "B0SANDBOX"
    assert "chat:write" in answer.headers["X-OAuth-Scopes"]


def test_a_call_without_a_good_token_is_refused(client: Client, slack: Workspace) -> None:
    def error(token: str) -> str:
        answer = client.send("auth.test", headers={"Authorization": token})
        assert answer.status_code == 200, "Slack refuses with HTTP 200"
        return str(answer.json()["error"])

    assert error("") == "not_authed"
    assert error("Bearer xoxb-other") == "invalid_auth"
    slack.app.revoked = True
    assert error(f"Bearer {slack.token}") == "token_revoked"


def test_a_form_may_carry_the_token(client: Client, slack: Workspace) -> None:
    form = {"token": slack.token, "channel": C, "text": "from a form", "blocks": "[]"}
    answer = requests.post(slack.api_url + "chat.postMessage", data=form, timeout=5)

    assert answer.json()["ok"]
    assert texts(slack) == ["from a form"]
    assert "token" not in slack.calls[0].arguments


def test_a_missing_scope_is_named(clock: Clock) -> None:
    with Workspace(scopes=MINIMAL_SCOPES, clock=clock) as slack:
        client = Client(slack)
        with client.http:
            answers = [
                client.read("conversations.history", channel=C),
                client.call("reactions.add", channel=C, timestamp="1.000000", name="x"),
            ]

    assert [answer["error"] for answer in answers] == ["missing_scope"] * 2
    assert [answer["needed"] for answer in answers] == ["channels:history", "reactions:write"]
    assert answers[0]["provided"] == "chat:write"


def test_a_body_that_cannot_be_read_is_refused_as_slack_does(client: Client) -> None:
    def error(**options: Any) -> str:
        return str(client.send("chat.postMessage", **options).json()["error"])

    as_json = {"Content-Type": "application/json"}
    assert error(data="{", headers=as_json) == "invalid_json"
    assert error(data="[]", headers=as_json) == "json_not_object"
    assert error(data=b"x", headers={"Content-Type": "text/plain"}) == "invalid_post_type"
    assert client.call("chat.nonsense")["error"] == "unknown_method"


def test_methods_that_read_do_not_see_a_json_body(client: Client) -> None:
    answer = client.call("conversations.history", channel=C)

    assert answer["error"] == "invalid_arguments"
    assert answer["response_metadata"]["messages"] == ["[ERROR] missing required field: channel"]


def test_channels_that_cannot_be_posted_to(clock: Clock) -> None:
    rooms = [
        Channel("C0ARCHIVED", "old", archived=True, members={"B0SANDBOX"}),
        Channel("C0FOREIGN1", "foreign"),
        Channel("G0SECRET01", "secret", private=True),
    ]
    with Workspace(rooms, clock=clock) as slack:
        client = Client(slack)
        with client.http:
            asked = ("C0ARCHIVED", "C0FOREIGN1", "G0SECRET01", "C0NOWHERE1")
            errors = [client.post(channel=room)["error"] for room in asked]
            history = client.read("conversations.history", channel="C0FOREIGN1")
            info = client.read("conversations.info", channel="C0FOREIGN1")

    assert errors == ["is_archived", "not_in_channel", "channel_not_found", "channel_not_found"]
    assert history["error"] == "not_in_channel"
    assert info["channel"]["is_member"] is False


def test_with_chat_write_public_a_bot_posts_where_it_is_no_member(clock: Clock) -> None:
    room = Channel("C0FOREIGN1", "foreign")
    with Workspace([room], scopes={"chat:write", "chat:write.public"}, clock=clock) as slack:
        client = Client(slack)
        with client.http:
            assert client.post(channel="C0FOREIGN1")["ok"]


# --- posting ----------------------------------------------------------------------------------


def test_a_posted_message_comes_back_with_channel_id_and_ts(client: Client) -> None:
    answer = client.post("hi", channel="#deploys")

    assert answer["channel"] == C
    assert answer["ts"] == answer["message"]["ts"] == f"{int(NOW)}.000000"
    assert answer["message"]["text"] == "hi"


def test_ts_is_unique_and_increasing_though_the_clock_goes_back(
    client: Client, clock: Clock
) -> None:
    stamps = [client.post()["ts"], client.post()["ts"]]
    clock.now -= 3600
    stamps.append(client.post()["ts"])

    assert stamps == sorted(set(stamps))


def test_a_message_says_something(client: Client) -> None:
    assert client.post("")["error"] == "no_text"
    assert client.post("", blocks=[])["error"] == "no_text"
    assert client.post("", blocks=[section()])["ok"]


def test_a_text_over_40000_characters_is_cut_with_a_warning(
    client: Client, slack: Workspace
) -> None:
    answer = client.post("x" * 40_001)

    assert answer["warning"] == "message_truncated"
    assert len(texts(slack)[0]) == 40_000


def test_a_reply_stands_in_its_thread_and_a_broadcast_in_the_channel_too(
    client: Client, slack: Workspace
) -> None:
    root = client.post("root")["ts"]
    reply = client.post("reply", thread_ts=root)
    client.post("loud", thread_ts=reply["ts"], reply_broadcast=True)

    channel = slack.channel("deploys")
    assert reply["message"]["thread_ts"] == root
    assert [message.text for message in channel.replies(root)] == ["reply", "loud"]
    assert [message.text for message in channel.timeline] == ["root", "loud"]
    history = client.read("conversations.history", channel=C)["messages"]
    assert [(m["text"], m.get("subtype")) for m in history] == [
        ("loud", "thread_broadcast"),
        ("root", None),
    ]
    assert history[1]["reply_count"] == 2


def test_a_reply_to_a_thread_that_is_gone_lands_in_the_channel_without_thread_ts(
    client: Client, slack: Workspace
) -> None:
    answer = client.post("orphan", thread_ts="1234567890.000000")

    assert answer["ok"]
    assert "thread_ts" not in answer["message"]
    assert slack.channel(C).roots[0].text == "orphan"
    assert client.post(thread_ts="yesterday")["error"] == "invalid_thread_ts"


def test_metadata_is_shown_only_when_all_of_it_is_asked_for(client: Client) -> None:
    metadata = {"event_type": "told", "event_payload": {"key": "k1"}}
    ts = client.post(metadata=metadata)["ts"]

    def read(**more: Any) -> Any:
        return client.read("conversations.replies", channel=C, ts=ts, **more)["messages"][0]

    assert read(include_all_metadata="true")["metadata"] == metadata
    assert read()["metadata"] == {"event_type": "told"}


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ("not json", "invalid_metadata_format"),
        ({"event_type": "x"}, "invalid_metadata_format"),
        ({"event_type": "x", "event_payload": []}, "invalid_metadata_format"),
        ({"event_type": "x", "event_payload": {"k": "v" * 9000}}, "metadata_too_large"),
    ],
)
def test_bad_metadata_is_refused(client: Client, metadata: object, error: str) -> None:
    assert client.post(metadata=metadata)["error"] == error


# --- editing ----------------------------------------------------------------------------------


def test_an_update_replaces_the_content_and_keeps_what_was(
    client: Client, slack: Workspace
) -> None:
    ts = client.post("old", blocks=[section("old")], metadata=_metadata())["ts"]
    answer = client.call("chat.update", channel=C, ts=ts, text="new", blocks=[section("new")])

    message = slack.channel(C).find(ts)
    assert message is not None
    assert answer["text"] == message.text == "new"
    assert answer["message"]["edited"]["ts"] > ts
    assert message.versions[0]["text"] == "old"
    assert message.metadata == _metadata(), "an update without metadata keeps the old"


def _metadata() -> dict[str, Any]:
    return {"event_type": "told", "event_payload": {"key": "k1"}}


def test_an_update_with_only_a_text_takes_the_blocks_away(client: Client, slack: Workspace) -> None:
    ts = client.post("old", blocks=[section("old")], metadata=_metadata())["ts"]
    client.call("chat.update", channel=C, ts=ts, text="new", metadata={})

    message = slack.channel(C).messages[0]
    assert message.blocks == []
    assert message.metadata == {}


def test_updates_that_slack_refuses(client: Client, slack: Workspace, clock: Clock) -> None:
    ts = client.post("old", blocks=[RICH])["ts"]
    client.hook({"text": "from a webhook"})
    foreign = slack.channel(C).messages[1].ts

    def error(**arguments: Any) -> Any:
        asked = {"channel": C, "ts": ts, "text": "new"} | arguments
        return client.call("chat.update", **asked).get("error")

    assert error(channel="deploys") == "channel_not_found", "an id is needed"
    assert error(ts="1.000000") == "message_not_found"
    assert error(ts=foreign) == "cant_update_message"
    assert error(text="x" * 4001) == "msg_too_long"
    assert error(blocks=[section()]) == "block_mismatch"
    assert error(blocks=[section(), RICH]) is None
    slack.team.edit_window = 60
    clock.now += 61
    assert error() == "edit_window_closed"
    slack.channel(C).archived = True
    assert error() == "is_inactive"


def test_a_reply_may_be_sent_to_the_channel_later_but_not_edited_at_once(
    client: Client, slack: Workspace
) -> None:
    root = client.post()["ts"]
    reply = client.post("reply", thread_ts=root)["ts"]

    both = client.call("chat.update", channel=C, ts=reply, text="new", reply_broadcast=True)
    assert both["error"] == "no_dual_broadcast_content_update"
    assert client.call("chat.update", channel=C, ts=reply, reply_broadcast=True)["ok"]
    assert [message.text for message in slack.channel(C).timeline] == ["hello", "reply"]


# --- reading ----------------------------------------------------------------------------------


def test_history_is_bounded_by_time_and_paged(client: Client, clock: Clock) -> None:
    stamps = []
    for number in range(3):
        clock.now += 10
        stamps.append(client.post(f"m{number}")["ts"])

    def found(**arguments: Any) -> list[str]:
        answer = client.read("conversations.history", channel=C, **arguments)
        return [message["text"] for message in answer["messages"]]

    assert found() == ["m2", "m1", "m0"]
    assert found(oldest=stamps[1]) == ["m2"]
    assert found(oldest=stamps[1], inclusive="true") == ["m2", "m1"]
    assert found(latest=stamps[1]) == ["m0"]
    first = client.read("conversations.history", channel=C, limit=2)
    assert first["has_more"]
    assert found(limit=2, cursor=first["response_metadata"]["next_cursor"]) == ["m0"]
    assert client.read("conversations.history", channel=C, limit=1000)["error"] == "invalid_limit"


def test_replies_begin_with_the_root(client: Client) -> None:
    root = client.post("root")["ts"]
    client.post("one", thread_ts=root)
    answer = client.read("conversations.replies", channel=C, ts=root)

    assert [message["text"] for message in answer["messages"]] == ["root", "one"]
    missing = client.read("conversations.replies", channel=C, ts="1.000000")
    assert missing["error"] == "thread_not_found"


def test_a_permalink_leads_to_the_message_on_the_page(client: Client) -> None:
    root = client.post("the root")["ts"]
    reply = client.post("the reply", thread_ts=root)["ts"]
    link = client.read("chat.getPermalink", channel=C, message_ts=reply)["permalink"]

    page = requests.get(link, timeout=5)
    assert page.history[0].status_code == 302
    assert "the reply" in page.text


# --- reactions --------------------------------------------------------------------------------


def test_reactions_are_added_and_removed_once(client: Client, slack: Workspace) -> None:
    ts = client.post()["ts"]

    def react(verb: str, name: str = "eyes", timestamp: str = ts) -> Any:
        answer = client.call(f"reactions.{verb}", channel=C, timestamp=timestamp, name=name)
        return answer.get("error", "ok")

    assert [react("add"), react("add")] == ["ok", "already_reacted"]
    assert slack.channel(C).messages[0].reactions == {"eyes": ["U0SANDBOX"]}
    assert [react("remove"), react("remove")] == ["ok", "no_reaction"]
    assert react("add", "no such name") == "invalid_name"
    assert react("add", timestamp="1.000000") == "message_not_found"
    assert react("add", timestamp="") == "no_item_specified"


# --- webhooks ---------------------------------------------------------------------------------


def test_a_webhook_answers_ok_and_gives_no_ts(client: Client, slack: Workspace) -> None:
    assert client.hook({"text": "flat"}) == (200, "ok")
    assert slack.channel(C).messages[0].app == "ecs-watch (webhook)"
    answer = requests.post(slack.webhook_url, data={"payload": '{"text":"form"}'}, timeout=5)
    assert (answer.text, texts(slack)) == ("ok", ["flat", "form"])


def test_a_webhook_refuses_by_status_and_a_bare_word(client: Client, slack: Workspace) -> None:
    url = slack.webhook_url
    assert client.hook([]) == (400, "invalid_payload")
    assert client.hook({}) == (400, "no_text")
    assert client.hook({"blocks": [{"type": "no"}]}) == (400, "invalid_blocks")
    assert client.hook({"text": "x"}, url + "0") == (403, "invalid_token")
    assert client.hook({"text": "x"}, slack.url + "services/T1/B1/x") == (404, "no_service")
    slack.channel(C).archived = True
    assert client.hook({"text": "x"}) == (410, "channel_is_archived")
    slack.team.hooks[0].enabled = False
    assert client.hook({"text": "x"}) == (404, "no_service")
    assert texts(slack) == []


# --- blocks -----------------------------------------------------------------------------------


def text(words: str, kind: str = "mrkdwn") -> dict[str, Any]:
    return {"type": kind, "text": words}


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        (
            section("x" * 3001),
            "less than 3001 characters [json-pointer:/blocks/0/text/text]",
        ),
        (section(""), "must be more than 0 characters"),
        (section(colour="red"), "invalid additional property: colour [json-pointer:/blocks/0]"),
        ({"type": "section"}, "must define either `text` or `fields`"),
        ({"type": "section", "fields": [text("x")] * 11}, "no more than 10 items allowed"),
        ({"type": "section", "fields": [text("x" * 2001)]}, "must be less than 2001 characters"),
        ({"type": "header", "text": text("x")}, "must be one of: plain_text"),
        ({"type": "header", "text": text("x" * 151, "plain_text")}, "must be less than 151"),
        ({"type": "header"}, "missing required field: text"),
        ({"type": "context", "elements": [text("x")] * 11}, "no more than 10 items allowed"),
        ({"type": "context", "elements": []}, "must be more than 0 items"),
        ({"type": "sectoin"}, "unsupported type: sectoin [json-pointer:/blocks/0/type]"),
        ({"type": ["section"]}, "unsupported type"),
        ("section", "must be an object"),
        (section(block_id="x" * 256), "must be less than 256 characters"),
        ({"type": "rich_text", "elements": [{"type": "section"}]}, "unsupported type: section"),
        (
            {"type": "rich_text", "elements": [{"type": "rich_text_list", "elements": []}]},
            "must be one of: bullet, ordered",
        ),
        (
            {
                "type": "rich_text",
                "elements": [{"type": "rich_text_section", "elements": [text("x")]}],
            },
            "unsupported type: mrkdwn",
        ),
        ({"type": "actions", "elements": [{"type": "button"}]}, "missing required field: text"),
        (section() | {"text": text("x") | {"verbatim": "yes"}}, "must be a boolean"),
        (section() | {"text": text("x") | {"emoji": True}}, "invalid additional property: emoji"),
    ],
)
def test_blocks_that_break_a_rule_are_refused(client: Client, block: Any, problem: str) -> None:
    answer = client.post(blocks=[block])

    assert answer["error"] == "invalid_blocks"
    assert problem in "\n".join(answer["response_metadata"]["messages"])


def test_blocks_at_their_limits_are_taken() -> None:
    field = text("x" * 2000)
    blocks = [
        section("x" * 3000, block_id="a" * 255),
        {"type": "header", "text": text("x" * 150, "plain_text") | {"emoji": True}},
        {"type": "section", "fields": [field] * 10},
        {"type": "context", "elements": [text("x")] * 10},
        {"type": "divider"},
        RICH,
    ]

    assert problems(blocks) == []
    assert problems([section()] * 50) == []


def test_messages_that_are_too_big_as_a_whole_are_refused(client: Client) -> None:
    many = client.post(blocks=[section()] * 51)
    twice = client.post(blocks=[section(block_id="a"), section(block_id="a")])
    long = client.post(blocks=[section("x" * 2700)] * 5)

    assert "no more than 50 items allowed" in many["errors"][0]
    assert "block_id already exists" in twice["errors"][0]
    assert long["error"] == "msg_blocks_too_long"
    assert client.post(blocks="[")["error"] == "invalid_blocks_format"
    assert client.post(attachments=[{}] * 101)["error"] == "too_many_attachments"
    assert client.post(attachments=[{"blocks": [{}]}])["error"] == "invalid_attachments"


# --- limits -----------------------------------------------------------------------------------


def test_more_than_one_message_a_second_is_answered_with_429(clock: Clock) -> None:
    with Workspace(clock=clock, limits=Limits(post_burst=2)) as slack:
        client = Client(slack)
        with client.http:
            sent = [
                client.send("chat.postMessage", json={"channel": C, "text": str(n)})
                for n in range(3)
            ]
            webhook, _ = client.hook({"text": "the same channel"})
            elsewhere = client.post(channel="general")
            clock.now += 1
            later = client.post("later")
        kept = texts(slack)

    assert [answer.status_code for answer in sent] == [200, 200, 429]
    assert sent[2].headers["Retry-After"] == "1"
    assert sent[2].json() == {"ok": False, "error": "ratelimited"}
    assert webhook == 429
    assert (elsewhere["ok"], later["ok"]) == (True, True)
    assert kept == ["0", "1", "later"]


def test_edits_have_a_limit_of_their_own(clock: Clock) -> None:
    limits = Limits(tier_3_per_minute=6, tier_3_burst=1)
    with Workspace(clock=clock, limits=limits) as slack:
        client = Client(slack)
        with client.http:
            ts = client.post()["ts"]
            edit = {"channel": C, "ts": ts, "text": "x"}
            answers = [client.send("chat.update", json=edit) for _ in range(2)]
            history = client.send("conversations.history", data={"channel": C})

    assert [answer.status_code for answer in answers] == [200, 429]
    assert answers[1].headers["Retry-After"] == "10"
    assert history.status_code == 200


# --- faults, each by its name -----------------------------------------------------------------


def outcome(client: Client, words: str = "hello", **arguments: Any) -> str:
    """What an app sees of a post, in a word."""
    body = {"channel": C, "text": words} | arguments
    try:
        return answered(client.send("chat.postMessage", json=body, timeout=0.25))
    except requests.exceptions.ReadTimeout:
        return "timeout"
    except requests.exceptions.ChunkedEncodingError:
        return "broken body"
    except requests.exceptions.ConnectionError as error:
        return "reset" if "reset" in str(error) else "closed"


def answered(response: requests.Response) -> str:
    if response.status_code != 200:
        return str(response.status_code)
    try:
        return str(response.json().get("error", "ok"))
    except ValueError:
        return "html" if "<html>" in response.text else "empty"


SEEN = {
    "error": "internal_error",
    "status": "500",
    "close": "closed",
    "reset": "reset",
    "hang": "timeout",
    "truncated_body": "broken body",
    "html": "html",
    "empty": "empty",
    "redirect": "302",
}


@pytest.mark.parametrize("manner", SEEN)
@pytest.mark.parametrize("accepted", [False, True])
def test_a_fault_is_seen_by_the_app_and_the_message_is_there_or_not(
    client: Client, slack: Workspace, manner: str, accepted: bool
) -> None:
    fault = ACCEPTED + manner if accepted else manner
    slack.inject("chat.postMessage", fault)

    assert outcome(client) == SEEN[manner]
    assert texts(slack) == (["hello"] if accepted else [])
    assert outcome(client, "again") == "ok", "a fault wears out"
    assert [call.outcome for call in slack.calls] == [fault, "ok"]


def test_every_fault_has_a_test_here() -> None:
    assert {*SEEN, "duplicate_keys", "slow_body"} == set(MANNERS)
    assert set(OTHERS) == {"ok", "rate_limited", "delete_root", "archive", "revoke_token"}
    assert len(NAMES) == len(OTHERS) + 2 * len(MANNERS)


def test_duplicate_keys_say_ok_twice(client: Client, slack: Workspace) -> None:
    for fault in ("duplicate_keys", "accept_then_duplicate_keys"):
        slack.inject("chat.postMessage", fault)
    refused, accepted = (
        client.send("chat.postMessage", json={"channel": C, "text": "x"}) for _ in range(2)
    )

    assert refused.text.startswith('{"ok":false,"error":"internal_error","ok": false')
    assert accepted.text.startswith('{"ok":false,"error":"internal_error","ok": true')
    assert texts(slack) == ["x"]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_any_status_can_be_had_with_a_page_in_html(
    client: Client, slack: Workspace, status: int
) -> None:
    slack.inject("*", "status", status=status)
    answer = client.send("auth.test")

    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize(
    ("retry_after", "header"),
    [(7, "7"), (None, None), (86_400_000, "86400000"), ("Mon, 23 Nov 2026 12:05:00 GMT",) * 2],
)
def test_rate_limited_carries_any_retry_after(
    client: Client, slack: Workspace, retry_after: int | str | None, header: str | None
) -> None:
    slack.inject("chat.postMessage", "rate_limited", retry_after=retry_after)
    answer = client.send("chat.postMessage", json={"channel": C, "text": "x"})

    assert (answer.status_code, answer.headers.get("Retry-After")) == (429, header)
    assert texts(slack) == []


def test_any_error_can_be_had_and_a_webhook_says_it_its_own_way(
    client: Client, slack: Workspace
) -> None:
    slack.inject("chat.postMessage", "error", error="restricted_action")
    slack.inject("webhook", "error", error="action_prohibited")
    slack.inject("webhook", "accept_then_error", error="rollup_error")

    assert client.post()["error"] == "restricted_action"
    assert client.hook({"text": "a"}) == (403, "action_prohibited")
    assert client.hook({"text": "b"}) == (500, "rollup_error")
    assert texts(slack) == ["b"]


def test_delete_root_takes_the_root_away_before_the_reply(client: Client, slack: Workspace) -> None:
    root = client.post("root")["ts"]
    slack.inject("chat.postMessage", "delete_root")
    answer = client.post("reply", thread_ts=root)

    assert "thread_ts" not in answer["message"]
    assert texts(slack) == ["reply"]


def test_a_deleted_root_with_replies_leaves_a_placeholder(client: Client, slack: Workspace) -> None:
    root = client.post("root")["ts"]
    client.post("one", thread_ts=root)
    slack.inject("chat.update", "delete_root")

    update = client.call("chat.update", channel=C, ts=root, text="new")
    assert update["error"] == "message_not_found"
    assert client.post("two", thread_ts=root)["message"]["thread_ts"] == root
    first = client.read("conversations.replies", channel=C, ts=root)["messages"][0]
    assert first["subtype"] == "tombstone"


def test_archive_and_revoke_token_come_between_two_calls(client: Client, slack: Workspace) -> None:
    slack.inject("chat.postMessage", "archive")
    assert client.post()["error"] == "is_archived"
    slack.inject("chat.postMessage", "revoke_token")
    assert client.post()["error"] == "token_revoked"
    slack.inject("webhook", "revoke_token")
    assert client.hook({"text": "x"}) == (404, "no_service")


def test_a_redirect_leads_to_where_it_is_noticed(client: Client, slack: Workspace) -> None:
    slack.inject("chat.postMessage", "redirect")
    location = client.send("chat.postMessage", json={"channel": C}).headers["Location"]
    assert slack.state()["redirected"] == 0
    requests.get(location, timeout=5)

    assert slack.state()["redirected"] == 1


def test_a_late_commit_appears_seconds_after_the_answer(
    client: Client, slack: Workspace, clock: Clock
) -> None:
    slack.inject("chat.postMessage", "accept_then_status", commit_after=20, status=503)
    assert outcome(client, "late") == "503"
    clock.now += 19
    assert texts(slack) == []
    clock.now += 2

    assert texts(slack) == ["late"]
    assert slack.channel(C).messages[0].ts == f"{int(NOW) + 20}.000000"


def test_faults_take_turns_skip_calls_and_know_methods_and_channels(
    client: Client, slack: Workspace
) -> None:
    slack.inject("chat.postMessage", "error", times=2, channel=C, error="fatal_error")
    slack.inject("chat.postMessage", "ok", channel=C)
    slack.inject("chat.postMessage", "error", times=None, skip=1, channel=C, error="is_archived")

    assert client.post(channel="general")["ok"]
    assert client.call("auth.test")["ok"]
    seen = [client.post().get("error", "ok") for _ in range(6)]
    assert seen == ["fatal_error", "fatal_error", "ok", "ok", "is_archived", "is_archived"]


def test_a_fault_nobody_knows_is_refused_with_the_names_there_are(slack: Workspace) -> None:
    with pytest.raises(ValueError, match=r"no fault is called 'clsoe'.*accept_then_close"):
        slack.inject("*", "clsoe")
    with pytest.raises(ValueError, match="commit_after"):
        slack.inject("*", "close", commit_after=3)


@pytest.mark.parametrize(
    ("fault", "seen", "kept"),
    [("slow_body", "service_unavailable", []), ("accept_then_slow_body", "ok", ["hello"])],
)
def test_a_slow_body_outlasts_a_time_out_that_counts_each_read_by_itself(
    client: Client, slack: Workspace, fault: str, seen: str, kept: list[str]
) -> None:
    slack.inject("chat.postMessage", fault, seconds=0.4)
    began = time.monotonic()

    assert outcome(client) == seen
    assert time.monotonic() - began > 0.35
    assert texts(slack) == kept


def test_a_workspace_stops_at_once_though_a_client_hangs(clock: Clock) -> None:
    others = set(threading.enumerate())
    slack = Workspace(clock=clock).start()
    slack.inject("*", "hang", seconds=60)
    with socket.create_connection(("127.0.0.1", int(slack.url.split(":")[2].strip("/")))) as held:
        held.sendall(b"POST /api/auth.test HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        while not slack.calls:
            time.sleep(0.005)
        began = time.monotonic()
        slack.stop()

    assert time.monotonic() - began < 2
    ours = set(threading.enumerate()) - others
    assert not [thread for thread in ours if thread.name == "workspace"]


# --- control over HTTP ------------------------------------------------------------------------


def test_after_a_reset_messages_bear_the_time_of_a_clock_that_was_put_back(
    slack: Workspace,
) -> None:
    slack.team.next_ts(2_000_000_000)

    slack.reset()

    assert slack.team.next_ts(1_000_000_000) == "1000000000.000000"


def test_faults_state_and_reset_over_http(client: Client, slack: Workspace) -> None:
    control = slack.url + "_sandbox/"
    asked = {"method": "chat.postMessage", "fault": "accept_then_close", "times": 2}
    assert client.http.post(control + "faults", json=asked, timeout=5).json()["ok"]
    assert outcome(client) == "closed"
    state = client.http.get(control + "state", timeout=5).json()

    assert [message["text"] for message in state["channels"][0]["messages"]] == ["hello"]
    assert state["faults"][0]["times"] == 1
    assert state["calls"][0]["outcome"] == "accept_then_close"
    assert slack.token not in json.dumps(state)

    client.http.delete(control + "faults", timeout=5)
    assert outcome(client) == "ok"
    slack.channel(C).archived = True
    client.http.post(control + "reset", timeout=5)
    assert texts(slack) == []
    assert client.post()["ok"]


def test_after_a_reset_messages_have_the_clocks_time_though_it_went_back(
    client: Client, slack: Workspace, clock: Clock
) -> None:
    clock.now += 3600
    client.post()
    slack.reset()
    clock.now -= 3600

    assert client.post()["ts"] == f"{int(NOW)}.000000"


def test_a_fault_that_cannot_be_understood_is_refused_over_http(slack: Workspace) -> None:
    for asked in ({"fault": "nonsense"}, {"fault": "ok", "colour": "red"}):
        answer = requests.post(slack.url + "_sandbox/faults", json=asked, timeout=5)
        assert answer.status_code == 400
        assert answer.json()["error"]


# --- the page ---------------------------------------------------------------------------------


def fetched(slack: Workspace, query: str = "") -> str:
    answer = requests.get(slack.url + query, timeout=5)
    assert answer.status_code == 200
    return answer.text


def pane(slack: Workspace, part: str, query: str = "") -> str:
    answer = requests.get(f"{slack.url}_sandbox/view{query}", timeout=5)
    return str(answer.json()[part])


def test_the_page_shows_a_channel_with_its_threads(client: Client, slack: Workspace) -> None:
    root = client.post("the root")["ts"]
    client.post("in the thread", thread_ts=root)
    client.post("for all", thread_ts=root, reply_broadcast=True)
    client.call("reactions.add", channel=C, timestamp=root, name="white_check_mark")
    client.call("chat.update", channel=C, ts=root, text="the *root* now")

    main = pane(slack, "main")
    assert "the <strong>root</strong> now" in main
    assert "(edited)" in main
    assert "2 replies" in main
    assert "replied to a thread" in main
    assert "✅" in main
    assert "in the thread" not in main
    thread = pane(slack, "thread", f"?thread={root}")
    assert thread.index("in the thread") < thread.index("Also sent to")
    assert "5 API calls" in pane(slack, "strip")
    assert "thread-only" in fetched(slack, f"?channel={C}&thread={root}&view=thread")


def test_the_page_shows_the_phone_what_first_rang_it(client: Client, slack: Workspace) -> None:
    ts = client.post("it *broke*", blocks=[section("long story")])["ts"]
    client.call("chat.update", channel=C, ts=ts, text="fixed", blocks=[section("well")])

    phone = pane(slack, "phone")
    assert "it broke" in phone
    assert "fixed" not in phone
    assert "edited once" in pane(slack, "main")


def test_the_page_shows_foreign_text_as_text(client: Client, slack: Workspace) -> None:
    client.post("<script>alert(1)</script> &lt;!channel&gt;")

    page = fetched(slack)
    assert "<script>alert" not in page
    assert 'class="mention' not in page


def test_an_open_page_hears_of_changes_only_when_there_are_any(
    client: Client, slack: Workspace
) -> None:
    version = pane(slack, "version")
    again = requests.get(f"{slack.url}_sandbox/view?since={version}", timeout=5)
    assert (again.status_code, again.text) == (204, "")
    client.post("news")

    assert "news" in requests.get(f"{slack.url}_sandbox/view?since={version}", timeout=5).text


def test_the_page_shows_a_deleted_root_and_refused_calls(client: Client, slack: Workspace) -> None:
    root = client.post("root")["ts"]
    client.post("reply", thread_ts=root)
    slack.channel(C).delete(root)
    client.post("")

    assert "This message was deleted" in pane(slack, "main")
    assert "1 refused" in pane(slack, "strip")
    assert "1 reply" in pane(slack, "main")


def test_the_pages_style_and_script_come_from_the_workspace(slack: Workspace) -> None:
    assert "#sidebar" in fetched(slack, "page.css")
    assert "/_sandbox/view" in fetched(slack, "page.js")
    assert requests.get(slack.url + "../secret", timeout=5).status_code == 404


# --- the commands -----------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_the_command_says_what_to_export_and_ends_when_told(ending: signal.Signals) -> None:
    command = [sys.executable, "-m", "sandbox.workspace", "--channel", "ops", "--unlimited"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline().strip() for _ in range(5)]
            exports = dict(line.removeprefix("export ").split("=", 1) for line in lines[2:])
            answer = requests.post(
                exports["SLACK_API_URL"] + "chat.postMessage",
                json={"channel": lines[1].split()[0], "text": "hello"},
                headers={"Authorization": f"Bearer {exports['SLACK_TOKEN']}"},
                timeout=5,
            )
            hook = requests.post(exports["SLACK_WEBHOOK_URL"], json={"text": "x"}, timeout=5)
            process.send_signal(ending)
            assert process.wait(5) == 0
        finally:
            process.kill()

    assert (answer.json()["ok"], hook.text) == (True, "ok")


def test_the_command_says_when_its_port_is_taken(slack: Workspace) -> None:
    port = slack.url.split(":")[2].strip("/")
    ran = subprocess.run(
        [sys.executable, "-m", "sandbox.workspace", "--port", port],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )

    assert ran.returncode == 1
    assert f"port {port} cannot be used" in ran.stderr


FAKE_BROWSER = """#!/bin/sh
for argument; do
  case "$argument" in --screenshot=*) echo "$@" > "${argument#--screenshot=}";; esac
done
"""


def test_a_picture_is_taken_by_the_chromium_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "chromium-browser"
    program.write_text(FAKE_BROWSER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(picture, "BROWSERS", ("no-such-browser", "chromium-browser"))
    out = tmp_path / "out.png"

    assert picture.main(["http://127.0.0.1:1/", str(out), "--width", "900"]) == 0
    line = out.read_text()
    assert "--headless" in line
    assert "--window-size=900,800" in line
    assert line.strip().endswith("http://127.0.0.1:1/")


def test_without_a_chromium_it_says_how_to_install_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert picture.main(["http://127.0.0.1:1/", str(tmp_path / "out.png")]) == 1
    assert "apt-get install chromium" in capsys.readouterr().err
