"""What can happen to a connection: each fault has its outcome, in time, and one request."""

import contextlib
import gzip
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from notifier.model import CannotLook, Found, Message, Outcome, Refusal, Refused, Sent, Unknown
from notifier.slack import Slack, Webhook
from tests.raw_server import (
    Behaviour,
    RawServer,
    closes,
    hangs,
    resets,
    response,
    sends,
    sends_and_closes,
    trickles,
)

MESSAGE = Message(text="prod-web: 1 of 3 running")
SHORT = timedelta(milliseconds=100)
AMPLE = timedelta(seconds=10)
# Where something must leave or arrive before the deadline, a machine too busy for the first of
# these gets the next.
DEADLINES = (SHORT, timedelta(milliseconds=500), timedelta(seconds=3))
# Seconds after the deadline that a busy machine may take: what is tried here would never end.
SCHEDULING = 2

OK = json.dumps({"ok": True, "channel": "C01", "ts": "1503435956.000247"})

Poster = Callable[[str, timedelta], Slack | Webhook]


def bot(url: str, deadline: timedelta) -> Slack:
    return Slack(base_url=url, token=lambda _: "xoxb-SecretOfTheBot", deadline=deadline)


def webhook(url: str, deadline: timedelta) -> Webhook:
    return Webhook(url=lambda _: url + "services/T1/B2/SecretOfTheHook", deadline=deadline)


@pytest.fixture(params=[bot, webhook], ids=["bot", "webhook"])
def door(request: pytest.FixtureRequest) -> Poster:
    poster: Poster = request.param
    return poster


@pytest.fixture(autouse=True)
def _no_secret_in_any_log_line_and_no_proxy(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    caplog.set_level(logging.DEBUG)
    yield
    assert "SecretOf" not in caplog.text


def post(poster: Slack | Webhook, within: timedelta) -> Outcome:
    started = time.monotonic()
    outcome = poster.post("C01", MESSAGE)

    assert time.monotonic() - started < within.total_seconds() + SCHEDULING
    assert "SecretOf" not in repr(outcome)
    return outcome


def comes_in_time(attempt: Callable[[timedelta], object], expected: object) -> None:
    """Check what an attempt returns that has until a deadline, the longest of all at the latest."""
    *shorter, longest = DEADLINES
    assert any(attempt(one) == expected for one in shorter) or attempt(longest) == expected


def seen(server: RawServer, count: int) -> bool:
    """Whether the server has read this many requests; it may need a moment after a cut."""
    until = time.monotonic() + 2
    while len(server.requests) < count and time.monotonic() < until:
        time.sleep(0.005)
    return len(server.requests) == count


# --- before a byte of the request has left ----------------------------------------------------


def test_a_refused_connection_posted_nothing(door: Poster) -> None:
    with RawServer(hangs) as server:
        url = server.url

    outcome = post(door(url, AMPLE), AMPLE)

    assert outcome == Refused(Refusal.UNAVAILABLE, "not_connected")


def test_a_name_that_does_not_resolve_posted_nothing(
    door: Poster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fails)

    outcome = post(door("http://slack.invalid/", AMPLE), AMPLE)

    assert outcome == Refused(Refusal.UNAVAILABLE, "name_not_resolved")


def test_a_name_that_resolves_too_late_sends_nothing_any_more(
    door: Poster, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived: list[bytes] = []
    done = threading.Event()
    resolved = threading.Event()
    resolve = socket.getaddrinfo

    def late(*asked: Any, **more: Any) -> Any:
        resolved.wait(5)
        return resolve(*asked, **more)

    def listens(_: RawServer, connection: socket.socket) -> None:
        arrived.append(connection.recv(65536))
        done.set()

    monkeypatch.setattr(socket, "getaddrinfo", late)
    with RawServer(listens, reads=False) as server:
        outcome = post(door(server.url, SHORT), SHORT)
        resolved.set()
        assert done.wait(5)

    assert outcome == Refused(Refusal.UNAVAILABLE, "timeout")
    assert arrived == [b""]


def test_a_post_that_was_given_up_is_not_sent_under_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolve = socket.getaddrinfo

    def attempt(deadline: timedelta) -> object:
        resolved = threading.Event()
        names = iter([True])

        def first_is_late(*asked: Any, **more: Any) -> Any:
            if next(names, False):
                resolved.wait(5)
            return resolve(*asked, **more)

        monkeypatch.setattr(socket, "getaddrinfo", first_is_late)
        with RawServer(sends(response(OK))) as server:
            slack = bot(server.url, deadline)
            outcomes = [post(slack, deadline) for _ in range(2)]
            resolved.set()
            for thread in threading.enumerate():
                if thread.name == "slack-request":
                    thread.join(5)
        return outcomes, len(server.requests)

    too_late = Refused(Refusal.UNAVAILABLE, "timeout")
    comes_in_time(attempt, ([too_late, Sent("C01", "1503435956.000247")], 1))


def test_plain_text_where_tls_is_expected_posted_nothing(door: Poster) -> None:
    with RawServer(sends_and_closes(b"HTTP/1.1 400 Bad\r\n\r\n"), reads=False) as server:
        outcome = post(door(server.url.replace("http:", "https:"), AMPLE), AMPLE)

    assert outcome == Refused(Refusal.UNAVAILABLE, "tls_failed")


def test_a_tls_handshake_that_hangs_posted_nothing(door: Poster) -> None:
    with RawServer(hangs, reads=False) as server:
        outcome = post(door(server.url.replace("http:", "https:"), SHORT), SHORT)

    assert outcome == Refused(Refusal.UNAVAILABLE, "timeout")


# --- once a byte may have left ----------------------------------------------------------------


def test_a_connection_that_is_never_accepted_may_have_posted(door: Poster) -> None:
    def attempt(deadline: timedelta) -> object:
        with RawServer(hangs, accepts=False) as server:
            return post(door(server.url, deadline), deadline)

    comes_in_time(attempt, Unknown("timeout"))


@pytest.mark.parametrize("end", [closes, resets])
def test_a_connection_that_ends_with_the_request_unread_may_have_posted(
    door: Poster, end: Behaviour
) -> None:
    def ends_once_a_byte_is_there(server: RawServer, connection: socket.socket) -> None:
        connection.recv(1, socket.MSG_PEEK)
        end(server, connection)

    with RawServer(ends_once_a_byte_is_there, reads=False) as server:
        outcome = post(door(server.url, AMPLE), AMPLE)

    assert outcome == Unknown("connection_lost")
    assert server.connections == 1


def test_a_connection_reset_at_once_is_refused_if_nothing_was_written_yet(door: Poster) -> None:
    with RawServer(resets, reads=False) as server:
        outcome = post(door(server.url, AMPLE), AMPLE)

    # Which of the two sides is faster decides; either outcome is the truth.
    assert outcome in (
        Refused(Refusal.UNAVAILABLE, "not_connected"),
        Unknown("connection_lost"),
    )
    assert server.connections == 1


def test_a_server_that_hangs_before_it_reads_may_have_posted(door: Poster) -> None:
    def attempt(deadline: timedelta) -> object:
        with RawServer(hangs, reads=False) as server:
            return post(door(server.url, deadline), deadline), server.connections

    comes_in_time(attempt, (Unknown("timeout"), 1))


HEAD = b"HTTP/1.1 200 OK\r\n"
SLOW = [
    pytest.param(hangs, id="no answer"),
    pytest.param(trickles(b"", b"H"), id="a status line that never ends"),
    pytest.param(trickles(HEAD, b"X-More: 1\r\n"), id="headers that never end"),
    pytest.param(trickles(HEAD + b"Content-Length: 9999\r\n\r\n", b"o"), id="a body that trickles"),
    pytest.param(trickles(HEAD + b"\r\n", b"o"), id="a body without a length"),
    pytest.param(
        trickles(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\no\r\n"),
        id="chunks that never end",
    ),
    pytest.param(
        trickles(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1", b"0"),
        id="a chunk's size that never ends",
    ),
]


@pytest.mark.parametrize("behave", SLOW)
def test_an_answer_that_does_not_end_is_cut_at_the_deadline(behave: Behaviour) -> None:
    def attempt(deadline: timedelta) -> object:
        with RawServer(behave) as server:
            outcome = post(bot(server.url, deadline), deadline)
            return outcome, seen(server, 1), server.connections

    comes_in_time(attempt, (Unknown("timeout"), True, 1))


def test_a_connection_is_closed_when_it_is_cut(door: Poster) -> None:
    def attempt(deadline: timedelta) -> object:
        closed = threading.Event()

        def drips_until_nobody_listens(server: RawServer, connection: socket.socket) -> None:
            with contextlib.suppress(ConnectionError):
                trickles(HEAD + b"\r\n", b"o")(server, connection)
            closed.set()

        with RawServer(drips_until_nobody_listens) as server:
            post(door(server.url, deadline), deadline)
            return closed.wait(1)

    comes_in_time(attempt, True)


BROKEN = [
    pytest.param(closes, "connection_lost", id="closed"),
    pytest.param(resets, "connection_lost", id="reset"),
    pytest.param(sends_and_closes(b"HTTP/1."), "connection_lost", id="half a status line"),
    pytest.param(sends_and_closes(b"SSH-2.0-OpenSSH\r\n"), "connection_lost", id="not HTTP"),
    pytest.param(
        sends_and_closes(response(OK, Content_Length="9999")), "answer_truncated", id="truncated"
    ),
    pytest.param(
        sends_and_closes(HEAD + b"Transfer-Encoding: chunked\r\n\r\n10\r\n{"),
        "answer_truncated",
        id="a truncated chunk",
    ),
    pytest.param(
        sends_and_closes(HEAD + b"Transfer-Encoding: chunked\r\n\r\nmany\r\n{"),
        "answer_truncated",
        id="a chunk without a size",
    ),
    pytest.param(
        sends(response("not packed", Content_Encoding="gzip")), "answer_undecodable", id="not gzip"
    ),
    pytest.param(
        sends(response("<html>", Content_Type="text/html")), "answer_unreadable", id="HTML"
    ),
    pytest.param(sends(response("")), "answer_unreadable", id="empty"),
    pytest.param(sends(response(" " * 3_000_000)), "answer_too_large", id="3 MB"),
    pytest.param(
        sends(response(gzip.compress(b" " * 30_000_000), Content_Encoding="gzip")),
        "answer_too_large",
        id="30 MB in 30 kB",
    ),
]


@pytest.mark.parametrize(("behave", "code"), BROKEN)
def test_an_answer_that_cannot_be_read_may_have_posted(
    door: Poster, behave: Behaviour, code: str
) -> None:
    with RawServer(behave) as server:
        outcome = post(door(server.url, AMPLE), AMPLE)

    assert outcome == Unknown(code)
    assert (server.connections, len(server.requests)) == (1, 1)


@pytest.mark.parametrize(
    "location", ["https://127.0.0.1:9/SecretOf", "http://[", "/services/T1/B2/SecretOfTheHook"]
)
def test_a_redirect_is_not_followed(door: Poster, location: str) -> None:
    answer = response("moved", status="302 Found", Location=location)
    with RawServer(sends(answer)) as server:
        outcome = post(door(server.url, AMPLE), AMPLE)

    assert outcome == Refused(Refusal.UNAVAILABLE, "http_302")
    assert len(server.requests) == 1


def test_a_status_that_came_decides_though_its_body_does_not(door: Poster) -> None:
    head = b"HTTP/1.1 429 Slow\r\nRetry-After: 5\r\nContent-Length: 99\r\n\r\n"
    limited = Refused(Refusal.RATE_LIMITED, "ratelimited", timedelta(seconds=5))

    with RawServer(sends_and_closes(head)) as server:
        assert post(door(server.url, AMPLE), AMPLE) == limited

    def attempt(deadline: timedelta) -> object:
        with RawServer(trickles(head, b" ")) as server:
            return post(door(server.url, deadline), deadline)

    comes_in_time(attempt, limited)


def test_malformed_headers_do_not_put_the_address_into_a_log_line(
    door: Poster, caplog: pytest.LogCaptureFixture
) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nno colon here\r\nX: 1\r\n\r\nok"
    with RawServer(sends_and_closes(answer)) as server:
        post(door(server.url, AMPLE), AMPLE)

    assert server.url not in caplog.text


# --- more than one post -----------------------------------------------------------------------


def test_posts_share_a_connection() -> None:
    with RawServer(sends(response(OK))) as server:
        slack = bot(server.url, AMPLE)
        outcomes = [post(slack, AMPLE) for _ in range(3)]

    assert outcomes == [Sent("C01", "1503435956.000247")] * 3
    assert (server.connections, len(server.requests)) == (1, 3)


def test_a_connection_closed_between_posts_costs_nothing() -> None:
    with RawServer(sends_and_closes(response(OK))) as server:
        slack = bot(server.url, AMPLE)
        outcomes = [post(slack, AMPLE) for _ in range(2)]

    assert outcomes == [Sent("C01", "1503435956.000247")] * 2
    assert (server.connections, len(server.requests)) == (2, 2)


def test_a_kept_connection_that_breaks_under_the_second_post_is_not_used_again() -> None:
    def second_breaks(server: RawServer, connection: socket.socket) -> None:
        (sends(response(OK)) if len(server.requests) == 1 else resets)(server, connection)

    with RawServer(second_breaks) as server:
        slack = bot(server.url, AMPLE)
        outcomes = [post(slack, AMPLE) for _ in range(2)]

    assert outcomes == [Sent("C01", "1503435956.000247"), Unknown("connection_lost")]
    assert len(server.requests) == 2


def test_after_a_cut_the_next_post_goes_out_on_a_new_connection() -> None:
    def first_hangs(server: RawServer, connection: socket.socket) -> None:
        (hangs if len(server.requests) == 1 else sends(response(OK)))(server, connection)

    def attempt(deadline: timedelta) -> object:
        with RawServer(first_hangs) as server:
            slack = bot(server.url, deadline)
            return [post(slack, deadline) for _ in range(2)], server.connections

    comes_in_time(attempt, ([Unknown("timeout"), Sent("C01", "1503435956.000247")], 2))


# --- looking ----------------------------------------------------------------------------------


def look(url: str, within: timedelta) -> Found:
    started = time.monotonic()
    found = bot(url, within).find("C01", "K1", since=datetime(2026, 11, 23, tzinfo=UTC))

    assert time.monotonic() - started < within.total_seconds() + SCHEDULING
    assert "SecretOf" not in repr(found)
    return found


@pytest.mark.parametrize("behave", SLOW)
def test_a_search_that_is_not_answered_ends_at_the_deadline(behave: Behaviour) -> None:
    with RawServer(behave) as server:
        assert look(server.url, SHORT) == CannotLook("timeout", will_pass=True)


@pytest.mark.parametrize(("behave", "code"), BROKEN)
def test_a_search_whose_answer_cannot_be_read_says_why(behave: Behaviour, code: str) -> None:
    with RawServer(behave) as server:
        assert look(server.url, AMPLE) == CannotLook(code, will_pass=True)


def test_the_pages_of_a_search_share_one_deadline() -> None:
    page = {"ok": True, "messages": [], "response_metadata": {"next_cursor": "more"}}

    def attempt(deadline: timedelta) -> object:
        def slowly(server: RawServer, connection: socket.socket) -> None:
            server.stopping.wait(deadline.total_seconds() * 0.4)
            connection.sendall(response(json.dumps(page)))

        with RawServer(slowly) as server:
            found = look(server.url, deadline)
        return found, 1 < len(server.requests) < 4

    comes_in_time(attempt, (CannotLook("timeout", will_pass=True), True))


# --- through a proxy --------------------------------------------------------------------------


def test_a_proxy_that_is_down_posted_nothing(door: Poster, monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(hangs) as server:
        monkeypatch.setenv("HTTPS_PROXY", server.url)

    outcome = post(door("https://slack.invalid/", AMPLE), AMPLE)

    assert outcome == Refused(Refusal.UNAVAILABLE, "proxy_failed")


def test_a_proxy_that_says_no_posted_nothing(door: Poster, monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(sends_and_closes(response(status="407 Who are you"))) as server:
        monkeypatch.setenv("HTTPS_PROXY", server.url)
        outcome = post(door("https://slack.invalid/", AMPLE), AMPLE)

    assert outcome == Refused(Refusal.UNAVAILABLE, "proxy_failed")
    assert [request.split()[0] for request in server.requests] == [b"CONNECT"]


def test_a_proxy_that_hangs_posted_nothing(door: Poster, monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(hangs) as server:
        monkeypatch.setenv("HTTPS_PROXY", server.url)
        outcome = post(door("https://slack.invalid/", SHORT), SHORT)

    assert outcome == Refused(Refusal.UNAVAILABLE, "timeout")


def test_a_proxy_passes_the_post_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(sends(response(OK))) as server:
        monkeypatch.setenv("HTTP_PROXY", server.url)
        outcome = post(bot("http://slack.invalid/api/", AMPLE), AMPLE)

    assert outcome == Sent("C01", "1503435956.000247")
    assert server.requests[0].startswith(b"POST http://slack.invalid/api/chat.postMessage ")
