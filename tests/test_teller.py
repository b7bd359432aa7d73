"""From the table to Slack: one thread per incident, everything once, nothing lost."""

import itertools
import logging
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest

from notifier import teller as telling
from notifier.errors import Conflict, StoreUnavailable
from notifier.facts import Container, LogTail, Missing, ServiceDeployment, StoppedTask
from notifier.model import CannotLook, Mute, Owed, Refusal, Refused, Unknown
from notifier.store import Store
from tests.watch import (
    CLUSTER,
    START,
    TableClient,
    Watch,
    api_call,
    deployment_failed,
    deployment_row,
    placement_failure,
    reading,
    update_service,
)

RATE_LIMITED = Refused(Refusal.RATE_LIMITED, "ratelimited", timedelta(seconds=40))
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


class Killed(BaseException):
    """What no `except Exception` catches, as SIGKILL."""


def watching(channels: str, *, is_new: bool = False) -> Watch:
    return Watch(channels, client=TableClient(), is_new=is_new)


def in_cluster(cluster: str, event: Any) -> Any:
    arn = event["resources"][0].split("/")
    return {**event, "resources": [f"{arn[0]}/{cluster}/{arn[-1]}"]}


def fail_all(watch: Watch, count: int) -> None:
    watch.offer(*(deployment_failed(f"service-{n}") for n in range(count)))


def recover(watch: Watch, *services: str) -> None:
    """ECS shows them well long enough for the hold-down to end."""
    for service in services or ("checkout",):
        watch.ecs.show_well(service, 43)
    watch.ticks(8)


def logged(caplog: pytest.LogCaptureFixture, message: str) -> list[dict[str, Any]]:
    return [line.__dict__ for line in caplog.records if line.message == message]


def told(watch: Watch, service: str = "checkout") -> int:
    return watch.service(service).told.get("C01", 0)


# --- a thread -----------------------------------------------------------------------------------


def test_the_first_failure_opens_a_root_and_is_told_in_its_thread(watch: Watch) -> None:
    watch.offer(deployment_failed())
    root, reply = watch.slack.posts

    assert (root.channel, root.thread_ts) == ("C01", None)
    assert reply.thread_ts == root.ts


def test_a_failure_is_told_with_what_still_serves(watch: Watch) -> None:
    rows = [
        deployment_row(41, running=2),
        deployment_row(42, running=0, status="ACTIVE", rollout_state="FAILED", failed_tasks=3),
    ]
    watch.ecs.shown["checkout"] = reading("checkout", running=2, desired=2, rows=rows)
    watch.offer(deployment_failed("checkout", 42))

    assert set(watch.slack.texts) == {
        "🟠 prod-web / checkout: 2 of 2 running on :41, :42 deployment failed: "
        "the circuit breaker stopped the deployment, for its tasks kept failing"
    }


def test_what_was_told_is_written_down(watch: Watch) -> None:
    watch.offer(deployment_failed())

    assert watch.service().untold("C01") == ()
    assert told(watch) > 0


def test_nothing_more_is_owed_once_the_root_is_true(watch: Watch) -> None:
    watch.offer(deployment_failed())
    recover(watch)

    assert watch.store.owed("C01") == []


def test_the_same_event_twice_is_told_once(watch: Watch) -> None:
    watch.offer(deployment_failed(), deployment_failed())
    watch.offer(deployment_failed())
    watch.tick()

    assert len(watch.slack.posts) == 2


def test_the_root_is_edited_in_place_when_something_changes(watch: Watch) -> None:
    watch.offer(deployment_failed())
    recover(watch)

    assert len(watch.slack.roots) == 1
    assert "over after" in watch.slack.roots[0].message.text
    assert watch.slack.roots[0].edits


def test_a_root_is_edited_at_most_every_20_seconds(watch: Watch) -> None:
    watch.offer(deployment_failed("first"))
    for number in range(60):
        watch.clock.at += SECOND
        watch.offer(deployment_failed(f"service-{number}"))
    watch.ticks(2)
    times = [watch.slack.roots[0].at, *watch.slack.roots[0].edits]

    assert len(times) > 2
    assert all(b - a >= timedelta(seconds=20) for a, b in itertools.pairwise(times))


def test_the_all_clear_comes_in_the_same_thread_with_a_reaction_on_the_root(watch: Watch) -> None:
    watch.offer(deployment_failed())
    recover(watch)
    root, *replies = watch.slack.posts

    assert [reply.thread_ts for reply in replies] == [root.ts, root.ts]
    assert replies[-1].message.text.startswith("✅ prod-web / checkout")
    assert root.is_marked


def test_the_reaction_goes_when_it_fails_again_and_the_thread_goes_on(watch: Watch) -> None:
    watch.offer(deployment_failed())
    recover(watch)
    watch.ecs.shown.clear()
    watch.offer(deployment_failed(number=43, updatedAt="2026-11-23T12:09:00Z"))
    watch.ticks(1)

    assert len(watch.slack.roots) == 1
    assert not watch.slack.roots[0].is_marked
    assert "over" not in watch.slack.roots[0].message.text


def test_a_second_service_that_fails_later_reaches_the_channel_too(watch: Watch) -> None:
    watch.offer(deployment_failed("checkout"))
    watch.clock.at += timedelta(minutes=6)
    watch.offer(deployment_failed("search"))

    assert [reply.is_broadcast for reply in watch.slack.replies] == [False, True]


def test_what_could_not_reach_the_channel_at_once_does_so_after_five_minutes(watch: Watch) -> None:
    watch.offer(deployment_failed("checkout"))
    watch.clock.at += MINUTE
    watch.offer(deployment_failed("search"))
    assert not any(reply.is_broadcast for reply in watch.slack.replies)

    watch.ticks(6)
    loud = [reply for reply in watch.slack.replies if reply.is_broadcast]
    assert len(loud) == 1
    assert "search" in loud[0].message.text


def test_a_quiet_cluster_is_told_without_broadcast() -> None:
    watch = watching("*=C01,quiet")
    watch.offer(deployment_failed("checkout"))
    watch.clock.at += timedelta(minutes=6)
    watch.offer(deployment_failed("search"))
    watch.ticks(10)

    assert len(watch.slack.replies) == 2
    assert not any(reply.is_broadcast for reply in watch.slack.replies)


def test_after_a_day_a_new_failure_opens_a_root_that_links_the_old_one(watch: Watch) -> None:
    watch.offer(deployment_failed("checkout"))
    watch.clock.at += timedelta(days=1, minutes=1)
    watch.offer(deployment_failed("search"))
    first, second = watch.slack.roots

    assert f"<https://slack.example/C01/{first.ts}|" in str(second.message.blocks)
    assert watch.slack.posts[-1].thread_ts == second.ts


def test_after_fifty_replies_a_new_root_goes_on(watch: Watch) -> None:
    with patch("notifier.threads.REPLIES_AT_MOST", 3):
        for number in range(6):
            watch.offer(deployment_failed(f"service-{number}"))
            watch.clock.at += MINUTE
    first, second, *_ = watch.slack.roots

    assert sum(reply.thread_ts == first.ts for reply in watch.slack.replies) == 3
    assert f"/{first.ts}|" in str(second.message.blocks)


def test_many_services_that_wait_are_one_reply(watch: Watch) -> None:
    fail_all(watch, 30)

    assert len(watch.slack.roots) == 1
    assert len(watch.slack.replies) == 1
    assert "30 services" in watch.slack.replies[0].message.text


def test_more_services_than_one_transaction_takes_are_all_told(watch: Watch) -> None:
    fail_all(watch, 120)
    untold = [one for one in watch.cluster().services.values() if one.untold("C01")]

    assert untold == []
    assert len(watch.slack.posts) == 2


def test_an_outage_of_5000_services_is_two_messages_and_small_rows(watch: Watch) -> None:
    team = "a-team-with-a-long-name-" * 4
    watch.take_in(*(placement_failure(f"{team}{n:04}") for n in range(5_000)))
    watch.tell()
    sizes = [len(str(row)) for row in watch.client.table.rows()]

    assert len(watch.slack.posts) == 2
    assert "5000 services failing" in watch.slack.posts[1].message.text
    assert max(sizes) < 100_000


@patch("notifier.teller.READ_ANEW", 10)
def test_the_services_of_a_large_cluster_are_read_anew_only_when_somebody_saved(
    watch: Watch,
) -> None:
    fail_all(watch, 30)
    real, read = watch.client.paginate, list[str]()

    def paginate(**request: Any) -> Any:
        read.append(str(request.get("ExpressionAttributeValues")))
        return real(**request)

    watch.take_in(*(deployment_failed(f"more-{n}") for n in range(3)))
    watch.clock.at += timedelta(minutes=6)
    watch.ecs.fails = watch.ecs.lacks_client = "throttled"  # so that nothing read is saved
    asked = len(watch.slack.asked)
    with patch.object(watch.client, "paginate", paginate):
        watch.tell()

    assert len(watch.slack.asked) >= asked + 2
    assert sum("service#" in one for one in read) == 1


@patch("notifier.store.NAMES_HOLD", 1_000)  # as if no name could be packed
def test_an_attempt_of_thousands_of_services_is_found_and_recorded(watch: Watch) -> None:
    fail_all(watch, 250)
    watch.slack.commits_lost_posts = True
    watch.slack.answers = [Unknown("timeout")]
    watch.ecs.fails = "throttled"
    watch.clock.at += timedelta(minutes=6)
    watch.offer(*(deployment_failed(f"more-{n}") for n in range(250)))
    posts = len(watch.slack.posts)
    watch.ticks(2)

    assert len(watch.slack.posts) == posts
    assert [one for one in watch.cluster().services.values() if one.untold("C01")] == []


# --- pace, order and time -----------------------------------------------------------------------


def test_messages_are_a_second_apart(watch: Watch) -> None:
    watch.offer(*(in_cluster(f"c{n}", deployment_failed()) for n in range(3)))
    times = [posted.at for posted in watch.slack.posts]

    assert len(times) == 6
    assert all(b - a >= SECOND for a, b in itertools.pairwise(times))


def test_while_other_clusters_wait_for_their_root_it_is_not_read_why_one_fails(
    watch: Watch,
) -> None:
    names = ["one", "two", "three"]
    watch.take_in(*(in_cluster(name, deployment_failed(name)) for name in names))
    watch.tell()

    in_order = [text.split(" / ")[0][2:] for text in watch.slack.texts]
    first_explained = in_order.index(watch.ecs.asked[0][0].service) + 1
    assert sorted(in_order[:3]) == sorted(names)
    assert first_explained == 3  # of the last to have a root; the others with their replies
    assert sorted(one.service for asked in watch.ecs.asked for one in asked) == sorted(names)


def test_every_cluster_has_its_root_before_any_has_a_reply(watch: Watch) -> None:
    events = [in_cluster(f"c{n}", deployment_failed(s)) for n in range(4) for s in ("a", "b")]
    watch.offer(*events)
    kinds = ["reply" if posted.thread_ts else "root" for posted in watch.slack.posts]

    assert kinds == ["root"] * 4 + ["reply"] * 8


def test_the_oldest_is_told_first(watch: Watch) -> None:
    watch.take_in(in_cluster("early", deployment_failed()))
    watch.clock.at += SECOND
    watch.take_in(in_cluster("b-late", deployment_failed()))
    watch.tell()

    assert "early" in watch.slack.texts[0]


def test_each_reply_stands_under_its_own_clusters_root(watch: Watch) -> None:
    watch.offer(*(in_cluster(f"c{n}", deployment_failed()) for n in range(4)))

    for reply in watch.slack.replies:
        root = watch.slack.find_ts(reply.thread_ts)
        assert root is not None
        assert root.message.text.split(" / ")[0] == reply.message.text.split(" / ")[0]


def test_a_look_that_others_leave_no_time_to_save_ends_no_turn(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    with patch.object(telling, "save_decision", side_effect=Conflict("busy")):
        watch.offer(deployment_failed())

    assert len(watch.slack.posts) == 2
    assert "turn failed" not in caplog.messages


def test_ecs_is_read_once_for_all_services_of_a_cluster(watch: Watch) -> None:
    fail_all(watch, 4)

    assert len(watch.ecs.calls) == 1


@pytest.mark.parametrize("why", ["no permission", "throttled", "too slow", "gone"])
def test_what_could_not_be_read_is_said_and_holds_nothing_back(watch: Watch, why: str) -> None:
    watch.ecs.fails = why
    watch.offer(deployment_failed())

    assert f"could not be read: the service ({why}" in str(watch.slack.posts[0].message.blocks)


def test_without_a_client_the_alert_says_so_and_goes_out(watch: Watch) -> None:
    watch.ecs.lacks_client = "no client"
    watch.offer(deployment_failed())

    said = str(watch.slack.posts[0].message.blocks)
    assert "could not be read: DescribeServices: no client" in said
    assert len(watch.slack.posts) == 2


def test_facts_are_read_and_saved_before_the_first_message(watch: Watch) -> None:
    known: list[object] = []
    real = watch.slack.post

    def post(*given: Any, **more: Any) -> Any:
        known.append((len(watch.ecs.asked), watch.service().explanation is not None))
        return real(*given, **more)

    with patch.object(watch.slack, "post", post):
        watch.offer(deployment_failed())

    assert known == [(1, True), (1, True)]


LOG = LogTail(
    container="app",
    group="/shop",
    stream="a/app/1",
    region="eu-west-1",
    lines=("starting", "fatal: no database at db.internal"),
)


def test_the_last_lines_of_the_log_are_told_once_and_not_kept(watch: Watch) -> None:
    watch.ecs.known["checkout"] = {"logs": LOG}
    watch.offer(deployment_failed())
    watch.ticks(30)

    told = [one for one in watch.slack.posts if "no database" in str(one.message.blocks)]
    assert told == watch.slack.replies[:1]
    assert "no database" not in str(watch.service())


def test_lines_of_a_log_are_told_though_others_have_their_root_before_the_reply(
    watch: Watch,
) -> None:
    """The reply then comes in another turn than the one in which the log was read."""
    watch.ecs.known["checkout"] = {"logs": LOG}
    watch.offer(*(in_cluster(name, deployment_failed()) for name in ("one", "two", "three")))

    assert [one.thread_ts is None for one in watch.slack.posts] == [True] * 3 + [False] * 3
    told = ["no database" in str(one.message.blocks) for one in watch.slack.replies]
    assert told == [True] * 3


FOREIGN = "wolpertinger"


def foreign_facts() -> dict[str, Any]:
    """Everything that somebody else has written, and what comes of it."""
    container = Container(name=FOREIGN, image=FOREIGN, exit_code=3, reason=FOREIGN)
    task = StoppedTask(
        arn="arn:aws:ecs:eu-west-1:123456789012:task/prod-web/0123456789abcdef",
        started_by="ecs-svc/42",
        stopped_reason=f"{FOREIGN}: Essential container in task exited",
        started_at=START,
        containers=(container,),
    )
    release = ServiceDeployment(
        arn="", status_reason=FOREIGN, failure_count=2, threshold=3, alarms=(FOREIGN,)
    )
    return {
        "stopped_tasks": (task, task),
        "messages": (f"{FOREIGN} is unhealthy",),
        "tags": {"ecs-watch:actor": FOREIGN},
        "service_deployment": release,
        "failing_images": {FOREIGN: FOREIGN},
        "serving_images": {FOREIGN: f"another {FOREIGN}"},
        "logs": replace(LOG, container=FOREIGN, lines=(FOREIGN,)),
        "missing": (
            Missing(what="log lines", why=f"{FOREIGN} logs to splunk"),
            Missing(what="task definitions", why="throttled", action="ecs:X"),
        ),
    }


@pytest.mark.parametrize("has_threads", [True, False])
@pytest.mark.parametrize("only_our_words", [True, False])
def test_where_secrets_cannot_be_told_apart_nothing_is_told_in_others_words(
    watch: Watch, only_our_words: bool, has_threads: bool
) -> None:
    watch.slack.has_threads = has_threads
    watch.teller = replace(watch.teller, only_our_words=only_our_words)
    watch.lookout = replace(watch.lookout, teller=watch.teller)
    watch.ecs.known["checkout"] = foreign_facts()
    watch.offer(deployment_failed(reason=f"{FOREIGN}: tasks failed to start."))
    every = [str(one.message) for one in watch.slack.posts]
    watch.offer(placement_failure("search", reason=FOREIGN), placement_failure("cart"))
    watch.ticks(3)
    every += [str(one.message) for one in watch.slack.posts]
    recover(watch, "checkout", "search", "cart")
    every += [str(one.message) for one in watch.slack.posts]

    assert any(FOREIGN in text for text in every) is not only_our_words
    assert "42 deployment failed" in every[0]
    assert "1 of 2 running" in every[0]
    assert any("recovered" in text for text in every)
    foot = "RedactPatterns cannot be understood: only ecs-watch's own words are told"
    assert all((foot in text) is only_our_words for text in every)
    if only_our_words:
        reply = every[0 if not has_threads else 1]
        assert "2 of 2 exited 3" in reply
        assert "task definitions (throttled)" in reply
        assert "|stopped task>" in reply
        assert "|logs>" in reply


INTERRUPTIONS = {
    "its outcome is unknown": Unknown("timeout"),
    "Slack has enough": RATE_LIMITED,
}


def interrupted(watch: Watch, by: str) -> None:
    """A failure is told, but its first reply is another invocation's."""
    watch.slack.answers = [None, INTERRUPTIONS[by]]  # type: ignore[list-item]
    watch.offer(deployment_failed())
    assert len(watch.slack.posts) == 1


@pytest.mark.parametrize("by", INTERRUPTIONS)
def test_lines_of_a_log_are_read_again_for_a_reply_of_another_invocation(
    watch: Watch, by: str
) -> None:
    watch.ecs.known["checkout"] = {"logs": LOG}
    interrupted(watch, by)
    watch.ticks(4)

    (reply,) = watch.slack.replies
    assert "no database" in str(reply.message.blocks)
    assert "the last lines of app" in str(reply.message.blocks)
    assert [(one.group, one.stream, one.region) for one in watch.ecs.logs_read] == [
        (LOG.group, LOG.stream, LOG.region)
    ]


def test_no_line_of_a_log_is_shown_again_that_may_not_be_read(watch: Watch) -> None:
    watch.ecs.known["checkout"] = {"logs": LOG}
    interrupted(watch, "Slack has enough")
    watch.ecs.may_read_logs = False
    watch.ticks(4)

    (reply,) = watch.slack.replies
    assert "the last lines" not in str(reply.message.blocks)
    assert "could not be read" not in str(reply.message.blocks)


def test_that_a_log_could_not_be_read_again_is_said(watch: Watch) -> None:
    watch.ecs.known["checkout"] = {"logs": LOG}
    interrupted(watch, "Slack has enough")
    watch.ecs.logs_fail = "throttled"
    watch.ticks(4)

    (reply,) = watch.slack.replies
    assert "the last lines" not in str(reply.message.blocks)
    assert "could not be read: log lines (throttled)" in str(reply.message.blocks)


def test_a_log_that_is_at_hand_or_says_nothing_is_not_read_again(watch: Watch) -> None:
    watch.ecs.known["checkout"] = {"logs": LOG}
    watch.ecs.known["search"] = {"logs": replace(LOG, lines=())}
    watch.offer(deployment_failed())
    watch.clock.at += timedelta(minutes=6)
    watch.offer(deployment_failed("search"))
    watch.ticks(30)

    assert len(watch.slack.replies) >= 2
    assert watch.ecs.logs_read == []


@pytest.mark.parametrize("cluster", ["one", "two"])  # whichever is told first
def test_the_log_of_one_cluster_is_not_told_of_another(watch: Watch, cluster: str) -> None:
    watch.ecs.known[f"{cluster}/checkout"] = {"logs": LOG}
    watch.offer(*(in_cluster(name, deployment_failed()) for name in ("one", "two")))

    told = ["no database" in str(one.message.blocks) for one in watch.slack.replies]
    assert sorted(told) == [False, True]


def test_a_bug_in_what_explains_a_failure_makes_the_alert_plain_and_not_late(watch: Watch) -> None:
    with patch("notifier.explaining.explanation", side_effect=ZeroDivisionError):
        watch.offer(deployment_failed())
        watch.tick()

    root, reply = watch.slack.posts
    assert root.at - START <= timedelta(minutes=1)
    assert "circuit breaker" in root.message.text
    assert (root.message.blocks, reply.thread_ts) == ((), root.ts)


def test_the_accounts_own_name_is_told_beside_its_number(watch: Watch) -> None:
    """No first root waits for it: the next edit has it."""
    watch.ecs.alias = "shop-prod"
    watch.offer(deployment_failed())
    (root,) = watch.slack.roots
    assert "shop-prod" not in str(root.message.blocks)

    watch.offer(deployment_failed("search"))
    watch.ticks(2)
    assert "shop-prod (123456789012)" in str(root.message.blocks)


def test_a_webhook_has_the_accounts_name_from_its_second_message_on() -> None:
    watch = Watch(client=TableClient())
    watch.slack.has_threads = False
    watch.ecs.alias = "shop-prod"
    watch.offer(deployment_failed())
    watch.offer(deployment_failed("search"))

    told = ["shop-prod (123456789012)" in str(one.message.blocks) for one in watch.slack.posts]
    assert told == [False, True]


def test_who_deployed_is_told_in_the_thread_once_it_is_known(watch: Watch) -> None:
    watch.offer(deployment_failed())
    before = len(watch.slack.posts)
    watch.clock.at += timedelta(minutes=2)
    watch.offer(api_call(update_service()))
    watch.ticks(10)

    (late,) = watch.slack.posts[before:]
    assert late.thread_ts == watch.slack.roots[0].ts
    assert "mika" in late.message.text
    assert watch.service().untold("C01") == ()


def test_no_post_begins_without_time_to_end_it(watch: Watch) -> None:
    watch.take_in(deployment_failed())
    watch.teller.tell("C01", watch.run(seconds=20), watch.clock.at + timedelta(seconds=50))

    assert watch.slack.posts == []


def test_what_the_time_did_not_suffice_for_comes_with_the_next_tick(watch: Watch) -> None:
    fail_many = [in_cluster(f"c{n}", deployment_failed()) for n in range(5)]
    watch.take_in(*fail_many)
    watch.teller.tell("C01", watch.run(), watch.clock.at + timedelta(seconds=3))
    assert 0 < len(watch.slack.posts) < 10

    watch.tick(after=SECOND)
    assert len(watch.slack.roots) == 5
    assert len(watch.slack.replies) == 5


# --- rows that cannot be read -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pk", "sk", "values"),
    [
        ("workspace", "mute#prod-*", {"body": '{"pattern":"prod-*","until":"soon"}'}),
        ("workspace", "mute#prod-*", {"body": '{"pattern":"prod-*"}'}),
        ("workspace", "census", {"body": "{}"}),
        ("channel#C01", "owes#bad", {"nonce": "n", "due_at": "soon", "due": "due"}),
        ("channel#C01", "owes#bad", {"due_at": "2026-11-23T12:00:00+00:00", "due": "due"}),
        ("channel#C01", "head", {"not_before#posts": "soon"}),
        (f"cluster#{CLUSTER}", "service#other", {"body": "{}"}),
        (f"cluster#{CLUSTER}", "service#other", {"body": "zlib:nonsense"}),
        (f"cluster#{CLUSTER}", "service#other", {"body": "null"}),
        (f"cluster#{CLUSTER}", "service#other", {"body": "{}", "told#C01": "often"}),
        (f"cluster#{CLUSTER}", "thread#C01#00000001#00000001", {"body": "{}"}),
    ],
)
def test_a_row_that_cannot_be_read_stops_neither_telling_nor_the_tick(
    watch: Watch, caplog: pytest.LogCaptureFixture, pk: str, sk: str, values: dict[str, str]
) -> None:
    watch.spoil(pk, sk, **values)
    watch.offer(deployment_failed())
    watch.ticks(2)

    about = [posted for posted in watch.slack.posts if "checkout" in posted.message.text]
    assert [posted.thread_ts is None for posted in about] == [True, False]
    assert logged(caplog, "unreadable row")
    assert not logged(caplog, "turn failed")
    assert not logged(caplog, "look failed")


def test_a_cluster_whose_head_cannot_be_read_does_not_stop_the_others(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    watch.take_in(deployment_failed())
    watch.spoil(f"cluster#{CLUSTER}", "head", body="{}")
    watch.offer(in_cluster("b", deployment_failed()))
    watch.ticks(2)

    assert len(watch.slack.posts) == 2
    assert all("b / checkout" in text for text in watch.slack.texts)
    assert logged(caplog, "turn failed")


def test_a_failing_service_whose_row_was_lost_recovers_when_it_is_looked_at(watch: Watch) -> None:
    watch.offer(deployment_failed())
    watch.spoil(f"cluster#{CLUSTER}", "service#checkout", body="{}")
    recover(watch)

    assert "over after" in watch.slack.roots[0].message.text
    assert watch.slack.texts[-1].startswith("✅")
    assert watch.cluster().open_services == 0


def test_a_new_failure_of_a_service_whose_row_was_lost_is_told(watch: Watch) -> None:
    watch.offer(deployment_failed())
    recover(watch)
    watch.spoil(f"cluster#{CLUSTER}", "service#checkout", body="{}")
    watch.ecs.shown.clear()
    watch.offer(deployment_failed(number=43, updatedAt="2026-11-23T12:09:00Z"))

    assert watch.cluster().open_services == 1
    assert len(watch.slack.replies) == 3


# --- the lease ----------------------------------------------------------------------------------


def test_a_channel_that_another_holds_is_left_to_it(watch: Watch) -> None:
    now = watch.clock.at
    watch.store.hold("C01", "another", now=now, until=now + MINUTE)
    watch.offer(deployment_failed())

    assert watch.slack.posts == []


def test_after_we_have_told_the_channel_can_be_held_at_once(watch: Watch) -> None:
    watch.offer(deployment_failed())

    now = watch.clock.at
    assert watch.store.hold("C01", "another", now=now, until=now + MINUTE)


def test_who_lost_the_lease_while_posting_records_nothing(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    post = watch.slack.post

    def slow_post(*given: Any, **more: Any) -> Any:
        watch.clock.at += timedelta(seconds=90)
        watch.store.hold("C01", "another", now=watch.clock.at, until=watch.clock.at + MINUTE)
        return post(*given, **more)

    caplog.set_level(logging.WARNING)
    with patch.object(watch.slack, "post", slow_post):
        watch.offer(deployment_failed())

    assert "lease lost" in caplog.messages
    assert watch.store.thread(watch.cluster().key, "C01", 1) is None
    assert watch.owed().attempt is not None


def test_an_hour_of_edits_does_not_outlast_the_lease(watch: Watch) -> None:
    watch.offer(*(in_cluster(f"c{n}", deployment_failed()) for n in range(9)))
    update = watch.slack.update

    def slow_update(*given: Any) -> Any:
        watch.clock.at += timedelta(seconds=10)
        return update(*given)

    watch.clock.at += timedelta(minutes=6)
    fails = [
        in_cluster(f"c{n}", placement_failure("checkout", reason=f"RESOURCE:{n}")) for n in range(9)
    ]
    watch.take_in(*fails)
    with patch.object(watch.slack, "update", slow_update):
        watch.teller.tell("C01", watch.run(900), watch.clock.at + timedelta(minutes=10))

    assert all(root.edits for root in watch.slack.roots)


def test_a_post_begins_with_enough_of_the_lease_left_to_end_it(watch: Watch) -> None:
    services, post, left = watch.ecs.services, watch.slack.post, []

    def slow_services(*given: Any) -> Any:
        watch.clock.at += timedelta(seconds=50)
        return services(*given)

    def spying_post(*given: Any, **more: Any) -> Any:
        key = {"pk": {"S": "channel#C01"}, "sk": {"S": "head"}}
        head = watch.client.get_item(TableName="ecs-watch", Key=key, ConsistentRead=True)["Item"]
        left.append(datetime.fromisoformat(head["held_until"]["S"]) - watch.clock.at)
        return post(*given, **more)

    watch.take_in(deployment_failed())
    with (
        patch.object(watch.ecs, "services", slow_services),
        patch.object(watch.slack, "post", spying_post),
    ):
        watch.teller.tell("C01", watch.run(), watch.clock.at + timedelta(minutes=4))

    assert len(left) == 2
    assert min(left) >= timedelta(seconds=25)


def test_what_is_saved_while_we_post_is_told_before_we_leave(watch: Watch) -> None:
    post = watch.slack.post

    def post_and_fail_another(*given: Any, **more: Any) -> Any:
        if not watch.slack.posts:
            watch.take_in(deployment_failed("meanwhile"))
        return post(*given, **more)

    with patch.object(watch.slack, "post", post_and_fail_another):
        watch.offer(deployment_failed("first"))

    assert {reply.message.text.split()[3] for reply in watch.slack.replies} == {
        "first:",
        "meanwhile:",
    }


def test_what_is_saved_after_our_last_read_is_told_before_we_leave(watch: Watch) -> None:
    settle = Store.settle

    def save_and_settle(store: Store, owed: Owed, **more: Any) -> None:
        if len(watch.slack.posts) == 2:
            watch.take_in(deployment_failed("meanwhile"))
        settle(store, owed, **more)

    with patch.object(Store, "settle", save_and_settle):
        watch.offer(deployment_failed("first"))

    assert "meanwhile" in watch.slack.texts[-1]
    assert told(watch, "meanwhile")


def test_what_is_saved_as_a_turn_ends_does_not_wait_for_its_end(watch: Watch) -> None:
    end_try = Store.end_try

    def save_and_end(store: Store, owed: Owed, due_at: Any, **more: Any) -> None:
        if not any("meanwhile" in text for text in watch.slack.texts):
            watch.take_in(deployment_failed("meanwhile"))
        end_try(store, owed, due_at, **more)

    watch.offer(deployment_failed("first"))
    watch.clock.at += timedelta(seconds=5)
    with patch.object(Store, "end_try", save_and_end):
        watch.offer(deployment_failed("second"))  # its root must wait some seconds for an edit

    assert any("meanwhile" in text for text in watch.slack.texts)


def test_a_table_that_fails_while_telling_leaves_it_owed(watch: Watch) -> None:
    with (
        patch.object(Store, "note_attempt", side_effect=StoreUnavailable("throttled")),
        pytest.raises(StoreUnavailable),
    ):
        watch.offer(deployment_failed())
    assert watch.slack.posts == []

    watch.tick(after=timedelta(minutes=2))
    assert len(watch.slack.posts) == 2


@pytest.mark.parametrize("write", ["note_attempt", "begin_try", "record", "hold"])
def test_after_a_table_that_failed_others_need_not_wait_for_our_lease_to_end(
    watch: Watch, write: str
) -> None:
    watch.take_in(deployment_failed())
    real = getattr(Store, write)

    def answer_lost(store: Store, *given: Any, **more: Any) -> None:
        real(store, *given, **more)
        raise StoreUnavailable("timeout")

    with patch.object(Store, write, answer_lost), pytest.raises(StoreUnavailable):
        watch.tell()

    now = watch.clock.at
    assert watch.store.hold("C01", "another", now=now, until=now + MINUTE)


def test_who_ends_with_an_error_does_not_let_go_of_what_another_holds(watch: Watch) -> None:
    watch.take_in(deployment_failed())

    def too_late(*_: Any, **__: Any) -> None:
        watch.clock.at += timedelta(seconds=90)
        now = watch.clock.at
        assert Store.hold(watch.store, "C01", "another", now=now, until=now + MINUTE)
        raise StoreUnavailable("timeout")

    with patch.object(Store, "begin_try", too_late), pytest.raises(StoreUnavailable):
        watch.tell()

    now = watch.clock.at
    assert not watch.store.hold("C01", "a third", now=now, until=now + MINUTE)


def test_a_table_that_fails_again_and_again_is_no_reason_to_give_anything_up(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    watch.take_in(deployment_failed())
    with patch.object(Store, "note_attempt", side_effect=StoreUnavailable("throttled")):
        for _ in range(10):
            watch.tick(after=timedelta(minutes=2))
    watch.tick(after=timedelta(minutes=2))

    assert len(watch.slack.posts) == 2
    assert "given up" not in caplog.messages


# --- the attempt, and an outcome nobody knows ---------------------------------------------------


def test_the_attempt_is_written_before_the_post_and_gone_once_it_is_recorded(watch: Watch) -> None:
    seen: list[Any] = []
    post = watch.slack.post

    def spying_post(*given: Any, **more: Any) -> Any:
        seen.append((watch.owed().attempt, more["metadata"]["event_payload"]["key"]))
        return post(*given, **more)

    with patch.object(watch.slack, "post", spying_post):
        watch.offer(deployment_failed())

    assert len(seen) == 2
    assert all(attempt is not None and attempt.key == key for attempt, key in seen)
    assert all(owed.attempt is None for owed in watch.store.owed("C01"))


def test_a_post_that_arrived_though_its_answer_was_lost_is_not_posted_again(watch: Watch) -> None:
    watch.slack.answers = [Unknown("timeout")]
    watch.slack.commits_lost_posts = True
    watch.offer(deployment_failed())
    watch.ticks(2)

    assert len(watch.slack.roots) == 1
    assert len(watch.slack.replies) == 1


def test_a_reply_that_arrived_though_its_answer_was_lost_is_recorded(watch: Watch) -> None:
    watch.offer(deployment_failed("first"))
    watch.clock.at += MINUTE
    watch.slack.answers = [Unknown("timeout")]
    watch.slack.commits_lost_posts = True
    watch.offer(deployment_failed("second"))
    assert told(watch, "second") == 0

    watch.tick()
    assert watch.service("second").untold("C01") == ()
    assert len(watch.slack.replies) == 2


def test_a_post_that_did_not_arrive_is_posted_anew_after_slack_had_time_to_commit(
    watch: Watch,
) -> None:
    watch.slack.answers = [Unknown("timeout")]
    watch.offer(deployment_failed())
    watch.tick(after=timedelta(seconds=29))
    assert watch.slack.posts == []

    watch.tick(after=timedelta(seconds=2))
    assert len(watch.slack.posts) == 2


def test_news_of_a_thread_whose_outcome_is_unknown_does_not_hurry_the_look_for_it(
    watch: Watch,
) -> None:
    watch.slack.answers = [Unknown("timeout")]
    watch.offer(deployment_failed("first"))
    watch.clock.at += timedelta(seconds=5)
    watch.offer(deployment_failed("second"))
    assert watch.slack.asked == [("post", "C01")]

    watch.tick(after=timedelta(seconds=30))
    assert watch.slack.asked[1] == ("find", "C01")
    assert len(watch.slack.posts) == 3


def test_where_nobody_may_look_it_is_posted_again_and_said(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    watch.slack.can_look = False
    watch.slack.commits_lost_posts = True
    watch.slack.answers = [Unknown("timeout")]
    watch.offer(deployment_failed())
    watch.tick()

    assert len(watch.slack.roots) == 2
    (line,) = logged(caplog, "posted again: whether it arrived cannot be seen")
    assert line["code"] == "missing_scope"


PASSING = CannotLook("connection_lost", will_pass=True)


def looks(watch: Watch) -> int:
    return watch.slack.asked.count(("find", "C01"))


def test_when_slack_cannot_be_asked_for_a_while_it_is_looked_again_before_it_is_posted_again(
    watch: Watch,
) -> None:
    watch.slack.commits_lost_posts = True
    watch.slack.answers = [Unknown("timeout")]
    watch.slack.look_answers = [PASSING, PASSING]
    watch.offer(deployment_failed())
    watch.ticks(4)

    assert looks(watch) == 3
    assert len(watch.slack.roots) == 1
    assert len(watch.slack.replies) == 1


def test_a_look_waits_as_long_as_slack_says_and_so_do_the_looks_of_others(watch: Watch) -> None:
    limited = CannotLook("ratelimited", will_pass=True, retry_after=timedelta(seconds=100))
    watch.slack.commits_lost_posts = True
    watch.slack.answers = [Unknown("timeout"), Unknown("timeout")]
    watch.slack.look_answers = [limited]
    watch.offer(in_cluster("a", deployment_failed()), in_cluster("b", deployment_failed()))
    watch.tick()
    watch.tick()
    assert looks(watch) == 1

    watch.tick()
    assert looks(watch) == 3
    assert len(watch.slack.roots) == 2


def test_after_ten_minutes_of_looking_in_vain_it_is_posted_again_and_said(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    watch.slack.answers = [Unknown("timeout")]
    watch.slack.look_answers = [PASSING] * 99
    watch.offer(deployment_failed())
    watch.ticks(9)
    assert watch.slack.posts == []

    watch.ticks(2)
    assert len(watch.slack.roots) == 1
    assert 5 < looks(watch) < 15
    (line,) = logged(caplog, "posted again: whether it arrived cannot be seen")
    assert line["code"] == "connection_lost"


def test_a_limit_of_looks_that_lasts_does_not_keep_a_message_back_for_ever(watch: Watch) -> None:
    limited = CannotLook("ratelimited", will_pass=True, retry_after=timedelta(minutes=15))
    watch.slack.answers = [Unknown("timeout")]
    watch.slack.look_answers = [limited] * 99
    watch.offer(deployment_failed())
    watch.ticks(11)

    assert len(watch.slack.roots) == 1
    assert looks(watch) == 1


def test_while_one_thread_waits_for_its_outcome_the_others_of_its_channel_go_on(
    watch: Watch,
) -> None:
    watch.slack.answers = [Unknown("timeout")]
    watch.offer(in_cluster("a", deployment_failed()), in_cluster("b", deployment_failed()))

    assert len(watch.slack.posts) == 2
    assert watch.clock.at - START < timedelta(seconds=5)


def test_an_attempt_of_many_services_is_kept_until_all_are_recorded(watch: Watch) -> None:
    real, calls = Store._record, itertools.count()

    def fail_in_the_middle(store: Store, destination: str, *given: Any) -> None:
        writes = given[-1]
        if any("told_C01" in str(write) for write in writes) and next(calls) == 1:
            raise Killed
        real(store, destination, *given)

    with patch.object(Store, "_record", fail_in_the_middle), pytest.raises(Killed):
        fail_all(watch, 200)
    attempt = watch.owed().attempt
    assert attempt is not None
    assert len(attempt.step.tells) == 200
    some = [one for one in watch.cluster().services.values() if one.untold("C01")]
    assert 0 < len(some) < 200

    watch.ticks(3)
    assert [one for one in watch.cluster().services.values() if one.untold("C01")] == []
    assert len(watch.slack.replies) == 1


# --- tries --------------------------------------------------------------------------------------


def test_a_function_killed_while_posting_is_known_to_have_tried(watch: Watch) -> None:
    watch.slack.answers = [Killed()]
    with pytest.raises(Killed):
        watch.offer(deployment_failed())

    assert watch.owed().tries == 1
    assert watch.owed().attempt is not None


def test_after_a_killed_function_the_message_comes_when_its_lease_has_ended(watch: Watch) -> None:
    watch.slack.answers = [Killed()]
    with pytest.raises(Killed):
        watch.offer(deployment_failed())

    watch.teller.tell("C01", watch.run(), watch.clock.at + MINUTE)
    assert watch.slack.posts == []  # somebody may still be alive and hold the channel
    watch.tick(after=timedelta(seconds=61))
    assert len(watch.slack.posts) == 2


def test_the_second_try_is_plain_text_without_facts(watch: Watch) -> None:
    watch.slack.answers = [Killed()]
    with pytest.raises(Killed):
        watch.offer(deployment_failed())
    watch.ecs.calls.clear()
    watch.teller.tell("C01", watch.run(), watch.clock.at + MINUTE)
    watch.clock.at += timedelta(seconds=61)
    watch.tell()

    assert [posted.message.blocks for posted in watch.slack.posts] == [(), ()]
    assert watch.ecs.calls == []


def broken_rendering(where: str) -> Any:
    real = getattr(telling, where)

    def render(about: Any, *given: Any) -> Any:
        if about.cluster.key.endswith("/broken"):
            raise ZeroDivisionError
        return real(about, *given)

    return patch.object(telling, where, render)


def test_after_five_tries_it_is_given_up_with_an_error(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    with broken_rendering("root_message"):
        watch.offer(in_cluster("broken", deployment_failed()))
        for _ in range(10):
            watch.tick(after=timedelta(minutes=16))

    (line,) = logged(caplog, "given up")
    assert line["levelno"] == logging.ERROR
    assert set(line["told"]) == {"checkout"}
    assert len(logged(caplog, "turn failed")) == 5


def test_a_new_failure_after_one_that_was_given_up_is_told(watch: Watch) -> None:
    with broken_rendering("root_message"):
        watch.offer(in_cluster("broken", deployment_failed()))
        for _ in range(8):
            watch.tick(after=timedelta(minutes=16))
    watch.offer(in_cluster("broken", deployment_failed("search")))

    assert any("search" in text for text in watch.slack.texts)


@pytest.mark.parametrize("where", ["root_message", "reply_message"])
def test_a_thread_that_raises_each_time_does_not_stop_the_others(watch: Watch, where: str) -> None:
    with broken_rendering(where):
        watch.offer(in_cluster("broken", deployment_failed()), in_cluster("a", deployment_failed()))
        watch.offer(in_cluster("b", deployment_failed()))
        watch.tick()

    sound = [text for text in watch.slack.texts if "broken" not in text]
    assert len(sound) == 4


@pytest.mark.parametrize("method", ["post", "update", "find", "mark"])
def test_a_thread_that_kills_the_function_each_time_is_given_up_and_the_others_are_told(
    watch: Watch, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    """At a post, an edit, a look for a post or a reaction."""
    bad = in_cluster("broken", deployment_failed())
    if method == "find":
        watch.slack.answers = [Unknown("timeout")]
    real = getattr(watch.slack, method)
    kills = itertools.count(1)

    def kill(channel: str, *given: Any, **more: Any) -> Any:
        about_bad = {one.ts for one in watch.slack.roots if "broken" in one.message.text}
        mine = str(given) if method == "post" else given[0] if given else ""
        if method == "find" or mine in about_bad or "broken" in mine:
            next(kills)
            raise Killed
        return real(channel, *given, **more)

    def survive(call: Any, *given: Any) -> None:
        try:
            call(*given)
        except Killed:
            watch.clock.at += timedelta(seconds=60)  # until its lease has ended

    with patch.object(watch.slack, method, kill):
        survive(watch.offer, bad)
        watch.ecs.show_well("checkout", 43)
        for _ in range(40):
            survive(watch.tick, timedelta(minutes=2))
        watch.ecs.shown.clear()
        survive(watch.offer, in_cluster("sound", deployment_failed("fine")))
        survive(watch.tick)

    assert next(kills) <= 12
    assert any("sound / fine" in text for text in watch.slack.texts)


# --- what Slack refuses -------------------------------------------------------------------------


def test_too_many_posts_wait_as_long_as_slack_says(watch: Watch) -> None:
    watch.slack.answers = [RATE_LIMITED]
    watch.offer(deployment_failed())
    watch.tick(after=timedelta(seconds=39))
    assert watch.slack.posts == []

    watch.tick(after=timedelta(seconds=2))
    assert len(watch.slack.posts) == 2


def test_too_many_posts_of_one_thread_hold_back_the_posts_of_all(watch: Watch) -> None:
    watch.slack.answers = [RATE_LIMITED]
    watch.offer(in_cluster("a", deployment_failed()), in_cluster("b", deployment_failed()))

    assert watch.slack.asked == [("post", "C01")]


def test_too_many_posts_do_not_hold_back_an_edit(watch: Watch) -> None:
    watch.offer(in_cluster("a", placement_failure(at="11:58:00")))
    watch.offer(in_cluster("a", placement_failure(at="11:59:00")))
    watch.clock.at += timedelta(minutes=6)
    watch.slack.answers = [RATE_LIMITED]
    watch.take_in(in_cluster("b", deployment_failed()))
    watch.tell()

    assert [method for method, _ in watch.slack.asked].count("post") == 3
    assert watch.slack.roots[0].edits


def test_too_many_edits_do_not_hold_back_a_post(watch: Watch) -> None:
    watch.offer(deployment_failed("checkout"))
    watch.clock.at += timedelta(minutes=6)
    watch.slack.edit_answers = [RATE_LIMITED]
    watch.offer(placement_failure("checkout"))
    assert watch.slack.edit_answers == []

    watch.offer(deployment_failed("search"))
    assert "search" in watch.slack.texts[-1]


def test_an_edit_that_was_too_many_comes_later(watch: Watch) -> None:
    watch.offer(deployment_failed("checkout"))
    watch.clock.at += timedelta(minutes=6)
    watch.slack.edit_answers = [RATE_LIMITED]
    watch.offer(placement_failure("checkout"))
    watch.ticks(1)

    assert "cannot be placed" in watch.slack.roots[0].message.text


def test_another_channel_goes_on_while_one_is_rate_limited() -> None:
    watch = watching("a=C01; *=C02")
    watch.slack.in_channel["C01"] = RATE_LIMITED
    watch.offer(in_cluster("a", deployment_failed()), in_cluster("b", deployment_failed()))

    assert {posted.channel for posted in watch.slack.posts} == {"C02"}


def test_blocks_that_slack_refuses_are_sent_once_more_as_text(watch: Watch) -> None:
    watch.slack.answers = [Refused(Refusal.PAYLOAD, "invalid_blocks")]
    watch.offer(deployment_failed())

    assert watch.slack.posts[0].message.blocks == ()
    assert watch.slack.posts[1].message.blocks != ()


def test_a_text_that_slack_refuses_too_is_given_up_loudly(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    watch.slack.answers = [Refused(Refusal.PAYLOAD, "invalid_blocks")] * 2
    watch.offer(deployment_failed())
    watch.ticks(2)

    assert watch.slack.posts == []
    assert len(logged(caplog, "given up")) == 1


def test_a_reply_that_is_given_up_does_not_take_its_thread_with_it(watch: Watch) -> None:
    watch.offer(deployment_failed("first"))
    watch.slack.answers = [Refused(Refusal.PAYLOAD, "invalid_blocks")] * 2
    watch.offer(deployment_failed("second"))
    watch.offer(deployment_failed("third"))

    assert "third" in watch.slack.texts[-1]
    assert len(watch.slack.roots) == 1


def test_an_edit_whose_blocks_are_refused_is_made_as_text(watch: Watch) -> None:
    watch.offer(deployment_failed())
    watch.slack.edit_answers = [Refused(Refusal.PAYLOAD, "invalid_blocks")]
    recover(watch)

    assert "over after" in watch.slack.roots[0].message.text


@pytest.mark.parametrize("refusal", [Refusal.CHANNEL, Refusal.CREDENTIALS, Refusal.UNAVAILABLE])
def test_what_slack_refuses_for_now_stays_owed_and_is_probed_each_minute(
    watch: Watch, refusal: Refusal
) -> None:
    watch.slack.refuse("C01", refusal, "code")
    watch.offer(deployment_failed())
    for _ in range(19):
        watch.tick(after=timedelta(seconds=61))
    assert len(watch.slack.asked) == 20

    watch.slack.in_channel.clear()
    watch.tick(after=timedelta(seconds=61))
    assert len(watch.slack.posts) == 2


@pytest.mark.parametrize("refusal", [Refusal.CHANNEL, Refusal.CREDENTIALS])
def test_a_bad_token_is_probed_once_a_minute_however_many_threads_wait(
    watch: Watch, refusal: Refusal
) -> None:
    watch.slack.refuse("C01", refusal, "code")
    watch.offer(*(in_cluster(f"c{n}", deployment_failed()) for n in range(5)))
    watch.offer(deployment_failed("another"))
    watch.tick(after=timedelta(seconds=30))

    assert len(watch.slack.asked) == 1


def test_a_code_nobody_knows_for_one_thread_does_not_stop_the_others(watch: Watch) -> None:
    post = watch.slack.post

    def refuse_one(channel: str, message: Any, **more: Any) -> Any:
        if "broken" in message.text:
            return Refused(Refusal.UNAVAILABLE, "brand_new_error")
        return post(channel, message, **more)

    with patch.object(watch.slack, "post", refuse_one):
        watch.offer(
            *(in_cluster(name, deployment_failed()) for name in ("broken", "a", "b")),
        )
        watch.ticks(2)

    assert len(watch.slack.roots) == 2


def test_slack_that_is_down_is_not_asked_once_for_each_thread(watch: Watch) -> None:
    watch.slack.refuse("C01", Refusal.UNAVAILABLE, "http_503")
    watch.offer(*(in_cluster(f"c{n}", deployment_failed()) for n in range(9)))

    assert len(watch.slack.asked) == 2


def test_what_was_refused_for_a_week_is_one_true_root_and_few_replies(watch: Watch) -> None:
    watch.slack.refuse("C01", Refusal.UNAVAILABLE, "http_503")
    watch.offer(*(deployment_failed(f"service-{n}") for n in range(5)))
    watch.clock.at += timedelta(days=7)
    watch.slack.in_channel.clear()
    watch.ticks(3)

    assert len(watch.slack.roots) == 1
    assert len(watch.slack.replies) == 1


# --- another channel ----------------------------------------------------------------------------


def test_a_channel_that_refuses_is_told_in_the_default_one_at_once_with_a_note() -> None:
    watch = watching("prod-*=C01; *=C02")
    watch.slack.refuse("C01", Refusal.CHANNEL, "is_archived")
    watch.offer(deployment_failed())

    assert [posted.channel for posted in watch.slack.posts] == ["C02", "C02"]
    assert "because C01 refuses" in str(watch.slack.posts[0].message.blocks)
    assert watch.store.owed("C01") == []


def test_a_thread_that_was_moved_goes_on_in_its_new_channel() -> None:
    watch = watching("prod-*=C01; *=C02")
    watch.slack.refuse("C01", Refusal.CHANNEL, "is_archived")
    watch.offer(deployment_failed())
    recover(watch)

    assert len(watch.slack.roots) == 1
    assert "over after" in watch.slack.roots[0].message.text
    assert watch.slack.texts[-1].startswith("✅")


def test_a_channel_that_works_again_gets_new_incidents_again() -> None:
    watch = watching("prod-*=C01; *=C02")
    watch.slack.refuse("C01", Refusal.CHANNEL, "is_archived")
    watch.offer(deployment_failed())
    watch.slack.in_channel.clear()
    watch.offer(in_cluster("prod-b", deployment_failed()))

    assert watch.slack.posts[-1].channel == "C01"


def test_an_incident_that_is_being_moved_gets_no_second_root_when_its_channel_works_again() -> None:
    watch = watching("prod-*=C01; *=C02")
    watch.slack.refuse("C01", Refusal.CHANNEL, "is_archived")
    now = watch.clock.at
    watch.store.hold("C02", "another", now=now, until=now + timedelta(seconds=30))
    watch.offer(deployment_failed("checkout"))
    assert watch.slack.posts == []

    watch.slack.in_channel.clear()
    watch.offer(deployment_failed("search"))
    assert watch.slack.posts == []

    watch.ticks(2)
    (root,) = watch.slack.roots
    assert root.channel == "C02"
    assert {reply.thread_ts for reply in watch.slack.replies} == {root.ts}
    assert {"checkout", "search"} <= set(" ".join(watch.slack.texts).replace(":", " ").split())
    untold = [one for one in watch.cluster().services.values() if one.untold("C01")]
    assert untold == []


def test_an_incident_stays_where_it_is_told_until_it_is_over() -> None:
    watch = watching("prod-*=C01; *=C02")
    watch.slack.refuse("C01", Refusal.CHANNEL, "is_archived")
    watch.offer(deployment_failed())
    watch.slack.in_channel.clear()
    watch.offer(deployment_failed("search"))
    recover(watch, "checkout", "search")

    assert len(watch.slack.roots) == 1
    assert {posted.channel for posted in watch.slack.posts} == {"C02"}
    assert "over after" in watch.slack.roots[0].message.text


def test_after_it_is_over_the_next_incident_is_told_in_its_own_channel_again() -> None:
    watch = watching("prod-*=C01; *=C02")
    watch.slack.refuse("C01", Refusal.CHANNEL, "is_archived")
    watch.offer(deployment_failed())
    watch.slack.in_channel.clear()
    recover(watch)
    watch.clock.at += timedelta(hours=2)
    watch.ecs.shown.clear()
    watch.offer(deployment_failed(number=44, updatedAt="2026-11-23T14:07:30Z"))

    assert [root.channel for root in watch.slack.roots] == ["C02", "C01"]


def test_an_incident_whose_channel_is_archived_goes_on_in_another_and_stays_there() -> None:
    watch = watching("prod-*=C01; *=C02")
    watch.offer(deployment_failed("checkout"))
    watch.slack.refuse("C01", Refusal.CHANNEL, "is_archived")
    watch.offer(deployment_failed("search"))
    watch.slack.in_channel.clear()
    watch.offer(deployment_failed("basket"))
    first, second = watch.slack.roots

    assert (first.channel, second.channel) == ("C01", "C02")
    assert f"/C01/{first.ts}|" in str(second.message.blocks)
    assert watch.slack.posts[-1].thread_ts == second.ts


def test_a_channel_is_told_its_own_and_what_was_moved_to_it() -> None:
    """The same cluster, of which one service was told in C01 before `Channels` was changed."""
    watch = watching("prod-*=C01; *=C02")
    watch.take_in(deployment_failed("checkout"))
    changed = Watch("*=C02", client=watch.client)
    changed.slack.refuse("C01", Refusal.CHANNEL, "is_archived")
    changed.take_in(deployment_failed("search"))
    changed.tell("C01")
    changed.ticks(2)

    told = " ".join(changed.slack.texts)
    assert "checkout" in told
    assert "search" in told
    services = changed.cluster().services.values()
    assert [one for one in services if one.untold("C01") and one.destination == "C01"] == []
    assert [one for one in services if one.untold("C02") and one.destination == "C02"] == []


def test_a_channel_that_refuses_does_not_hold_up_another() -> None:
    watch = watching("prod-*=C01; dev=C03; *=C02")
    watch.slack.refuse("C01", Refusal.CHANNEL, "is_archived")
    watch.slack.refuse("C02", Refusal.CHANNEL, "is_archived")
    watch.offer(deployment_failed(), in_cluster("dev", deployment_failed("other")))

    assert {posted.channel for posted in watch.slack.posts} == {"C03"}
    assert len(watch.store.owed("C02")) == 1


# --- a root that is gone or fixed ---------------------------------------------------------------


def test_when_the_root_was_deleted_the_next_message_becomes_the_root(watch: Watch) -> None:
    watch.offer(deployment_failed("first"))
    watch.slack.delete(watch.slack.roots[0].ts)
    watch.offer(deployment_failed("second"))
    watch.offer(deployment_failed("third"))
    second = next(one for one in watch.slack.roots if "second" in one.message.text)

    assert watch.slack.posts[-1].thread_ts == second.ts


def test_when_a_deleted_root_refuses_a_reply_a_new_root_is_posted(watch: Watch) -> None:
    watch.offer(deployment_failed("first"))
    watch.slack.answers = [Refused(Refusal.TARGET, "thread_not_found")]
    watch.offer(deployment_failed("second"))

    assert len(watch.slack.roots) == 2
    assert watch.slack.posts[-1].thread_ts == watch.slack.roots[1].ts


def test_a_deleted_root_that_an_edit_finds_out_is_not_edited_again(watch: Watch) -> None:
    watch.offer(deployment_failed("first"))
    watch.slack.delete(watch.slack.roots[0].ts)
    watch.ecs.show_well("first", 43)
    watch.ticks(9)

    assert [method for method, _ in watch.slack.asked].count("update") <= 1
    assert watch.store.owed("C01") == []


def test_after_an_edit_found_the_root_deleted_the_next_news_opens_a_root(watch: Watch) -> None:
    watch.offer(placement_failure("first", at="11:58:00"))
    watch.offer(placement_failure("first", at="11:59:00"))
    watch.slack.delete(watch.slack.roots[0].ts)
    watch.ticks(7)
    assert ("update", "C01") in watch.slack.asked

    watch.offer(deployment_failed("second"))
    assert watch.slack.posts[-1].thread_ts == watch.slack.roots[-1].ts


def test_when_the_root_may_not_be_edited_any_more_replies_go_on(watch: Watch) -> None:
    watch.offer(deployment_failed())
    watch.slack.edit_answers = [Refused(Refusal.TARGET, "edit_window_closed")]
    recover(watch)

    assert watch.slack.texts[-1].startswith("✅")
    assert len(watch.slack.roots) == 1
    assert watch.store.owed("C01") == []


def test_an_edit_whose_outcome_is_unknown_is_made_again_after_30_seconds(watch: Watch) -> None:
    watch.offer(deployment_failed("checkout"))
    watch.clock.at += timedelta(minutes=6)
    watch.slack.edit_answers = [Unknown("timeout")]
    watch.offer(placement_failure("checkout"))
    lost_at = watch.clock.at
    watch.tick(after=timedelta(seconds=29))
    assert watch.slack.roots[0].edits == []

    watch.tick(after=timedelta(seconds=2))
    assert watch.slack.roots[0].edits[0] - lost_at >= timedelta(seconds=30)


def test_an_edit_of_counts_alone_comes_again_too_when_its_outcome_is_unknown(watch: Watch) -> None:
    watch.offer(placement_failure("checkout", at="11:58:00"))
    watch.slack.edit_answers = [Unknown("timeout")]
    watch.offer(placement_failure("checkout", at="11:59:00"))
    watch.ticks(10)

    assert watch.slack.edit_answers == []
    assert len(watch.slack.roots[0].edits) == 1
    assert "3 reports" in str(watch.slack.roots[0].message.blocks)


@pytest.mark.parametrize("code", ["service_unavailable", "ratelimited"])
def test_an_edit_of_counts_alone_comes_again_too_when_it_is_refused(
    watch: Watch, code: str
) -> None:
    why = {"service_unavailable": Refusal.UNAVAILABLE, "ratelimited": Refusal.RATE_LIMITED}[code]
    watch.offer(placement_failure("checkout", at="11:58:00"))
    watch.slack.edit_answers = [Refused(why, code)]
    watch.offer(placement_failure("checkout", at="11:59:00"))
    watch.ticks(10)

    assert watch.slack.edit_answers == []
    assert "3 reports" in str(watch.slack.roots[0].message.blocks)


def test_an_edit_of_counts_alone_comes_again_too_when_we_die_of_it(watch: Watch) -> None:
    watch.offer(placement_failure("checkout", at="11:58:00"))
    watch.offer(placement_failure("checkout", at="11:59:00"))
    with patch.object(watch.slack, "update", side_effect=Killed):
        for _ in range(2):
            with suppress(Killed):
                watch.tick()
    watch.ticks(20)

    assert "3 reports" in str(watch.slack.roots[0].message)


def test_a_root_that_was_posted_before_we_died_is_found_before_it_is_given_up(
    watch: Watch,
) -> None:
    watch.take_in(deployment_failed("checkout"))
    with (
        patch.object(Store, "record", side_effect=Killed),
        suppress(Killed),
    ):
        watch.tell()
    with patch.object(watch.slack, "find", side_effect=Killed):
        for _ in range(telling.TRIES - 1):
            watch.clock.at += timedelta(minutes=16)
            with suppress(Killed):
                watch.tell()
    watch.clock.at += timedelta(minutes=16)
    watch.tell()
    watch.offer(deployment_failed("search"))

    assert len(watch.slack.roots) == 1


def test_an_edit_is_written_down_before_it_is_made(watch: Watch) -> None:
    watch.offer(deployment_failed("checkout"))
    watch.clock.at += timedelta(minutes=6)
    watch.slack.edit_answers = [Killed()]
    with pytest.raises(Killed):
        watch.offer(placement_failure("checkout"))
    thread = watch.store.thread(watch.cluster().key, "C01", 1)

    assert thread is not None
    assert thread.edited_at == watch.clock.at
    assert thread.shows < watch.cluster().revision


def test_the_whole_workspace_makes_at_most_40_edits_a_minute(watch: Watch) -> None:
    watch.offer(*(in_cluster(f"c{n}", deployment_failed()) for n in range(50)))
    watch.ticks(10)
    watch.clock.at = watch.clock.at.replace(second=0) + MINUTE
    for root in watch.slack.roots:
        root.edits.clear()
    with patch.object(telling, "BETWEEN_POSTS", timedelta()):
        watch.offer(
            *(in_cluster(f"c{n}", placement_failure("checkout")) for n in range(50)),
        )
        watch.ticks(4)
    times = sorted(at for root in watch.slack.roots for at in root.edits)
    a_minute = [len(list(group)) for _, group in itertools.groupby(times, lambda at: at.minute)]

    assert len(times) >= 50
    assert max(a_minute) == 40


# --- mutes --------------------------------------------------------------------------------------


def mute(watch: Watch, pattern: str = "prod-*", minutes: int = 30) -> None:
    watch.store.mute(Mute(pattern=pattern, until=watch.clock.at + minutes * MINUTE))


def test_nothing_is_told_of_a_muted_cluster(watch: Watch) -> None:
    mute(watch)
    watch.offer(deployment_failed())
    watch.ticks(20)

    assert watch.slack.asked == []


def test_other_clusters_are_told_while_one_is_muted(watch: Watch) -> None:
    mute(watch)
    watch.offer(in_cluster("dev", deployment_failed()))

    assert len(watch.slack.posts) == 2


def test_what_still_fails_when_a_mute_ends_is_told_then(watch: Watch) -> None:
    mute(watch)
    watch.offer(deployment_failed())
    watch.ticks(31)

    assert len(watch.slack.roots) == 1
    assert "checkout" in watch.slack.texts[0]


@pytest.mark.parametrize("ends_at_once", [False, True])
def test_what_is_over_when_a_mute_ends_is_not_told_at_all(watch: Watch, ends_at_once: bool) -> None:
    mute(watch, minutes=9 if ends_at_once else 30)
    watch.offer(deployment_failed())
    watch.tick()
    watch.ecs.show_well("checkout", 43)
    watch.ticks(40)

    assert watch.service().phase.value == "recovered"
    assert watch.slack.posts == []
    assert watch.store.owed("C01") == []


def test_the_all_clear_of_what_was_told_before_a_mute_comes_at_its_end(watch: Watch) -> None:
    watch.offer(deployment_failed())
    mute(watch)
    recover(watch)
    assert len(watch.slack.posts) == 2

    watch.ticks(31)
    assert watch.slack.texts[-1].startswith("✅")
    assert "over after" in watch.slack.roots[0].message.text


def test_a_release_that_never_went_live_is_told_when_the_mute_ends(watch: Watch) -> None:
    watch.ecs.show_well("checkout", 41)
    mute(watch)
    back = deployment_failed(
        number=41,
        reason="ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/41.",
    )
    back["detail"]["eventName"] = "SERVICE_DEPLOYMENT_IN_PROGRESS"
    watch.offer(deployment_failed(number=42), back)
    watch.ticks(31)

    assert watch.service().phase.value == "not live"
    assert "never went live" in watch.slack.texts[-1]


def test_what_failed_and_recovered_after_a_mute_is_told(watch: Watch) -> None:
    mute(watch, minutes=1)
    watch.ticks(3)
    watch.slack.refuse("C01", Refusal.UNAVAILABLE, "http_503")
    watch.offer(deployment_failed())
    recover(watch)
    watch.slack.in_channel.clear()
    watch.ticks(3)

    assert "over after" in watch.slack.texts[0]


def test_an_unmuted_cluster_is_told_when_something_new_comes(watch: Watch) -> None:
    mute(watch)
    watch.offer(deployment_failed())
    watch.store.unmute("prod-*")
    watch.offer(deployment_failed("search"))

    assert len(watch.slack.replies) == 2


# --- who rings ----------------------------------------------------------------------------------


def ringing(watch: Watch) -> list[bool]:
    return ["<!subteam^S0SRE>" in str(posted.message.blocks) for posted in watch.slack.posts]


def test_the_routes_people_are_mentioned_in_the_root_alone() -> None:
    watch = watching("*=C01,mention=S0SRE")
    watch.offer(deployment_failed())

    assert ringing(watch) == [True, False]


def test_a_quiet_route_mentions_nobody() -> None:
    watch = watching("*=C01,mention=S0SRE,quiet")
    watch.offer(deployment_failed())

    assert ringing(watch) == [False, False]


def test_an_edited_root_and_an_all_clear_mention_nobody() -> None:
    watch = watching("*=C01,mention=S0SRE")
    watch.offer(deployment_failed())
    recover(watch)

    assert ringing(watch) == [False, False, False]


# --- a webhook ----------------------------------------------------------------------------------


@pytest.fixture
def webhook() -> Watch:
    watch = watching("*=webhook,mention=S0SRE")
    watch.slack.has_threads = False
    return watch


def test_a_webhook_gets_the_failure_and_the_all_clear_as_flat_messages(webhook: Watch) -> None:
    webhook.offer(deployment_failed())
    recover(webhook)

    assert [posted.thread_ts for posted in webhook.slack.posts] == [None, None]
    assert webhook.slack.texts[0].startswith("🔴 prod-web / checkout")
    assert webhook.slack.texts[1].startswith("✅ prod-web / checkout")
    assert ringing(webhook) == [True, False]


def test_a_webhook_is_never_asked_for_what_it_cannot_do(webhook: Watch) -> None:
    webhook.offer(deployment_failed())
    recover(webhook)

    assert {method for method, _ in webhook.slack.asked} == {"post"}


@pytest.mark.parametrize("count", [2, 12])
def test_a_webhook_gets_all_that_waits_in_one_message_that_rings(
    webhook: Watch, count: int
) -> None:
    fail_all(webhook, count)

    assert len(webhook.slack.posts) == 1
    assert f"{count} services" in webhook.slack.texts[0]
    assert ringing(webhook) == [True]


def test_a_flat_message_names_its_cluster_in_the_blocks_too(webhook: Watch) -> None:
    webhook.offer(deployment_failed())

    assert "prod-web" in str(webhook.slack.posts[0].message.blocks[0])


# --- the summary --------------------------------------------------------------------------------


@pytest.fixture
def new() -> Watch:
    watch = watching("*=C01", is_new=True)
    watch.ecs.listed = ["arn:aws:ecs:eu-west-1:123456789012:cluster/prod-web"]
    watch.ecs.show_well("search")
    broken = deployment_row(42, running=0, rollout_state="FAILED", rollout_state_reason="broken")
    watch.ecs.show("checkout", running=0, desired=2, rows=[broken])
    return watch


def test_the_first_census_ends_in_one_summary(new: Watch) -> None:
    new.ticks(5)

    assert new.slack.texts == [
        "ecs-watch is here: watching 1 cluster, 2 services; 1 in trouble now"
    ]
    assert "prod-web / checkout" in str(new.slack.posts[0].message.blocks)


def test_a_summary_that_arrived_though_its_answer_was_lost_is_not_posted_again(new: Watch) -> None:
    new.slack.answers = [Unknown("timeout")]
    new.slack.commits_lost_posts = True
    new.ticks(3)

    assert len(new.slack.posts) == 1
    assert new.store.owed("C01") == []


def test_a_summary_that_did_not_arrive_is_posted_again(new: Watch) -> None:
    new.slack.answers = [Unknown("timeout")]
    new.ticks(3)

    assert len(new.slack.posts) == 1


def test_a_summary_that_slack_refuses_does_not_hold_up_the_incidents(
    new: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    new.slack.answers = [Refused(Refusal.PAYLOAD, "invalid_blocks")] * 2
    new.tick()
    new.offer(deployment_failed("payments"))

    assert any("payments" in text for text in new.slack.texts)
    assert len(logged(caplog, "given up")) == 1


def test_a_summary_that_could_not_be_told_for_a_day_still_says_what_was_found(new: Watch) -> None:
    new.slack.refuse("C01", Refusal.UNAVAILABLE, "http_503")
    new.ticks(2)
    for _ in range(24):
        new.tick(after=timedelta(hours=1))
    new.slack.in_channel.clear()
    new.ticks(2)

    assert new.slack.texts[0] == (
        "ecs-watch is here: watching 1 cluster, 2 services; 1 in trouble now"
    )


def test_what_the_summary_told_has_no_root_until_it_changes(new: Watch) -> None:
    new.ticks(10)
    assert len(new.slack.posts) == 1

    new.offer(placement_failure("checkout", at="12:10:00"))
    assert "checkout" in new.slack.texts[1]


# --- a function that is killed, at every effect of a whole story --------------------------------


class Deadly:
    """Kills the function after its n-th effect outside of itself, then leaves it be.

    That is also before the next one: an effect whose answer was heard and one whose was not.
    """

    def __init__(self, watch: Watch, at: int) -> None:
        self.effects = 0
        self._at = at
        for owner, name in (
            (watch.client, "transact_write_items"),
            (watch.slack, "post"),
            (watch.slack, "update"),
            (watch.slack, "mark"),
        ):
            setattr(owner, name, self._wrapped(getattr(owner, name)))

    def _wrapped(self, real: Any) -> Any:
        def effect(*given: Any, **more: Any) -> Any:
            answer = real(*given, **more)
            self.effects += 1
            if self.effects == self._at:
                raise Killed
            return answer

        return effect


def whole_story(watch: Watch) -> None:
    """Two clusters fail, one of them with an outage; then all recovers. Killed functions return."""
    outage = [in_cluster("b", deployment_failed(f"service-{n}")) for n in range(5)]

    def again(call: Any, *given: Any) -> None:
        try:
            call(*given)
        except Killed:
            watch.clock.at += timedelta(seconds=90)  # the queue hands the messages out again
            call(*given)

    again(watch.offer, in_cluster("a", deployment_failed()), *outage)
    for _ in range(3):
        again(watch.tick)
    for name in ("checkout", *(f"service-{n}" for n in range(5))):
        watch.ecs.show_well(name, 43)
    for _ in range(9):
        again(watch.tick)


def story_effects() -> int:
    watch = watching("*=C01")
    deadly = Deadly(watch, 0)
    whole_story(watch)
    return deadly.effects


def duplicates(watch: Watch) -> int:
    """Messages beyond the two roots, the two failures and the two all-clears."""
    kinds = [(one.message.text, one.thread_ts is None) for one in watch.slack.posts]
    return len(kinds) - 6


@pytest.mark.parametrize("can_look", [True, False])
def test_a_function_killed_at_any_effect_loses_nothing_and_repeats_only_what_nobody_may_look_for(
    can_look: bool,
) -> None:
    effects = story_effects()
    assert effects > 50
    repeated = 0
    step = 3  # the scoreboard's matrix has every effect, in the whole program
    for at in range(2 if can_look else 1, effects + 1, step):
        watch = watching("*=C01")
        watch.slack.can_look = can_look
        deadly = Deadly(watch, at)
        whole_story(watch)
        assert deadly.effects >= at
        about = f"killed after effect {at}: {watch.slack.texts}"

        for key in ("a", "b"):
            cluster = watch.cluster(f"arn:aws:ecs:eu-west-1:123456789012:cluster/{key}")
            assert all(not one.untold("C01") for one in cluster.services.values()), about
            roots = [one for one in watch.slack.roots if f" {key}: over" in one.message.text]
            assert roots, about
            assert roots[-1].is_marked, about
        assert watch.store.owed("C01") == [], about
        assert 0 <= duplicates(watch) <= (0 if can_look else 1), about
        repeated += duplicates(watch)
    assert (repeated > 0) is not can_look
