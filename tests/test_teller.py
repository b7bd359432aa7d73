"""From the table to Slack: everything once, nothing lost."""

import itertools
import logging
from datetime import timedelta
from unittest.mock import patch

import pytest

from notifier.errors import StoreUnavailable
from notifier.model import Refusal, Refused, Sent, Unknown
from notifier.store import Store
from tests.watch import Watch, deployment_failed, deployment_row, placement_failure, reading

RATE_LIMITED = Refused(Refusal.RATE_LIMITED, "ratelimited", timedelta(seconds=40))


def test_a_failure_is_told_with_what_still_serves(watch: Watch) -> None:
    rows = [
        deployment_row(41, running=2),
        deployment_row(42, running=0, status="ACTIVE", rollout_state="FAILED", failed_tasks=3),
    ]
    watch.ecs.shown["checkout"] = reading("checkout", running=2, desired=2, rows=rows)
    watch.offer(deployment_failed("checkout", 42))

    assert watch.slack.texts == [
        "🟠 prod-web / checkout: 2 of 2 running on :41, :42 deployment failed: "
        "ECS deployment circuit breaker: tasks failed to start."
    ]


def test_the_same_event_twice_is_one_message(watch: Watch) -> None:
    watch.offer(deployment_failed(), deployment_failed())
    watch.offer(deployment_failed())
    watch.tick()

    assert len(watch.slack.posts) == 1


def test_services_of_one_batch_are_told_a_second_apart(watch: Watch) -> None:
    watch.offer(*(deployment_failed(f"service-{n}") for n in range(4)))
    times = [posted.at for posted in watch.slack.posts]

    assert len(times) == 4
    assert all(b - a >= timedelta(seconds=1) for a, b in itertools.pairwise(times))


def test_ecs_is_read_once_for_all_services_of_a_cluster(watch: Watch) -> None:
    watch.offer(*(deployment_failed(f"service-{n}") for n in range(4)))

    assert len(watch.ecs.calls) == 1


@pytest.mark.parametrize("why", ["no permission", "throttled", "too slow", "gone"])
def test_what_could_not_be_read_is_said_and_holds_nothing_back(watch: Watch, why: str) -> None:
    watch.ecs.fails = why
    watch.offer(deployment_failed())

    assert f"could not be read: DescribeServices: {why}" in str(watch.slack.posts[0].message.blocks)


def test_too_many_requests_wait_as_long_as_slack_says(watch: Watch) -> None:
    watch.slack.answers = [RATE_LIMITED]
    watch.offer(deployment_failed())
    watch.tick(after=timedelta(seconds=39))
    assert watch.slack.posts == []

    watch.tick(after=timedelta(seconds=2))
    assert len(watch.slack.posts) == 1


def test_an_unknown_outcome_is_posted_again_only_after_slack_had_time_to_commit(
    watch: Watch,
) -> None:
    watch.slack.answers = [Unknown("timeout")]
    watch.offer(deployment_failed())
    watch.tick(after=timedelta(seconds=29))
    assert watch.slack.posts == []

    watch.tick(after=timedelta(seconds=2))
    assert len(watch.slack.posts) == 1


def test_blocks_that_slack_refuses_are_sent_once_more_as_text(watch: Watch) -> None:
    watch.slack.answers = [Refused(Refusal.PAYLOAD, "invalid_blocks")]
    watch.offer(deployment_failed())

    assert [posted.message.blocks for posted in watch.slack.posts] == [()]


def test_a_text_that_slack_refuses_too_is_given_up_loudly(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    watch.slack.answers = [Refused(Refusal.PAYLOAD, "invalid_blocks")] * 2
    watch.offer(deployment_failed())
    watch.tick()

    assert watch.slack.posts == []
    assert "given up" in caplog.messages


@pytest.mark.parametrize("refusal", [Refusal.CHANNEL, Refusal.CREDENTIALS, Refusal.UNAVAILABLE])
def test_what_slack_refuses_for_now_stays_owed_and_is_probed_each_minute(
    watch: Watch, refusal: Refusal
) -> None:
    watch.slack.answers = [Refused(refusal, "code")] * 20
    watch.offer(deployment_failed())
    for _ in range(19):
        watch.tick(after=timedelta(seconds=61))
    assert watch.slack.answers == []

    watch.tick(after=timedelta(seconds=61))
    assert len(watch.slack.posts) == 1


def test_a_channel_that_refuses_does_not_hold_up_another() -> None:
    from moto import mock_aws

    with mock_aws():
        watch = Watch("prod-*=C01; *=C02")
        watch.slack.answers = [Refused(Refusal.CHANNEL, "is_archived")]
        dev = deployment_failed("other")
        dev["resources"] = ["arn:aws:ecs:eu-west-1:123456789012:service/dev/other"]
        watch.offer(deployment_failed(), dev)

        assert [posted.channel for posted in watch.slack.posts] == ["C02"]


def test_a_turn_that_raises_is_tried_again_as_plain_text_then_given_up(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    with patch("notifier.teller.failure_message", side_effect=ZeroDivisionError) as rendering:
        watch.offer(deployment_failed())
        for _ in range(10):
            watch.tick(after=timedelta(minutes=16))

    assert rendering.call_count == 5
    assert "given up" in caplog.messages
    assert watch.store.owed("C01") == []


def test_a_turn_that_raises_does_not_stop_the_others_of_its_channel(watch: Watch) -> None:
    from notifier.rendering import failure_message

    def render(cluster, service, facts, mentions):  # type: ignore[no-untyped-def]
        if service.name == "broken":
            raise ZeroDivisionError
        return failure_message(cluster, service, facts, mentions)

    other = placement_failure("sound")
    other["resources"] = ["arn:aws:ecs:eu-west-1:123456789012:service/other/sound"]
    with patch("notifier.teller.failure_message", render):
        watch.offer(deployment_failed("broken"), other)

    assert len(watch.slack.posts) == 1
    assert "sound" in watch.slack.texts[0]


def test_a_function_killed_while_posting_is_known_to_have_tried(watch: Watch) -> None:
    class Killed(BaseException):
        """What no `except Exception` catches, as SIGKILL."""

    with patch.object(watch.slack, "post", side_effect=Killed), pytest.raises(Killed):
        watch.offer(deployment_failed())
    (owed,) = watch.store.owed("C01")

    assert owed.tries == 1
    assert owed.attempt is not None
    assert owed.attempt.tells == {"checkout": 1}


def test_after_a_killed_function_the_message_comes_with_a_later_tick(watch: Watch) -> None:
    watch.take_in(deployment_failed())
    (owed,) = watch.store.owed("C01")
    run, now = watch.run(), watch.clock.at
    watch.store.hold("C01", run.id, now=now, until=now + timedelta(seconds=60))
    watch.store.begin_try(owed, now + timedelta(seconds=30), owner=run.id, now=now)

    watch.tick(after=timedelta(seconds=30))
    assert watch.slack.posts == []  # somebody may still be alive and hold the channel
    watch.tick(after=timedelta(seconds=31))
    assert len(watch.slack.posts) == 1


def test_a_channel_that_another_holds_is_left_to_it(watch: Watch) -> None:
    now = watch.clock.at
    watch.store.hold("C01", "another", now=now, until=now + timedelta(seconds=60))
    watch.offer(deployment_failed())

    assert watch.slack.posts == []


def test_what_is_saved_while_we_post_is_told_before_we_leave(watch: Watch) -> None:
    post = watch.slack.post

    def post_and_fail_another(channel, message):  # type: ignore[no-untyped-def]
        if not watch.slack.posts:
            watch.take_in(deployment_failed("meanwhile"))
        return post(channel, message)

    with patch.object(watch.slack, "post", post_and_fail_another):
        watch.offer(deployment_failed("first"))

    assert len(watch.slack.posts) == 2


def test_a_table_that_fails_while_telling_leaves_it_owed(watch: Watch) -> None:
    with (
        patch.object(Store, "note_attempt", side_effect=StoreUnavailable("throttled")),
        pytest.raises(StoreUnavailable),
    ):
        watch.offer(deployment_failed())
    assert watch.slack.posts == []

    watch.tick(after=timedelta(minutes=2))
    assert len(watch.slack.posts) == 1


def test_no_post_begins_without_time_to_end_it(watch: Watch) -> None:
    watch.take_in(deployment_failed())
    watch.teller.tell("C01", watch.run(seconds=20), watch.clock.at + timedelta(seconds=50))

    assert watch.slack.posts == []


def test_a_loud_route_mentions_and_a_quiet_one_does_not() -> None:
    from moto import mock_aws

    for channels, mentioned in (
        ("*=C01,mention=S0SRE", True),
        ("*=C01,mention=S0SRE,quiet", False),
    ):
        with mock_aws():
            watch = Watch(channels)
            watch.offer(deployment_failed())
            assert ("<!subteam^S0SRE>" in str(watch.slack.posts[0].message.blocks)) is mentioned


def test_a_tick_with_nothing_due_reads_no_ecs_and_posts_nothing(watch: Watch) -> None:
    watch.offer(deployment_failed())
    watch.ecs.calls.clear()

    assert watch.tick() == []
    assert watch.ecs.calls == []


def test_a_webhook_that_names_no_message_is_told_once(watch: Watch) -> None:
    watch.slack.answers = [Sent(None, None)]
    watch.offer(deployment_failed())
    watch.tick()

    assert len(watch.slack.posts) == 1


def test_a_lost_lease_ends_the_turn_without_a_record(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    post = watch.slack.post

    def slow_post(channel, message):  # type: ignore[no-untyped-def]
        watch.clock.at += timedelta(seconds=90)
        watch.store.hold(
            "C01", "another", now=watch.clock.at, until=watch.clock.at + timedelta(seconds=60)
        )
        return post(channel, message)

    caplog.set_level(logging.WARNING)
    with patch.object(watch.slack, "post", slow_post):
        watch.offer(deployment_failed())
    (owed,) = watch.store.owed("C01")

    assert "lease lost" in caplog.messages
    assert owed.attempt is not None
