"""The simulated clock, queue, Slack and ECS have the manners of the real ones."""

import json
from collections.abc import Iterator
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from notifier.ecs import Ecs
from notifier.errors import ReadFailed
from notifier.events import parse
from notifier.model import (
    CannotLook,
    Message,
    NotOurs,
    NotThere,
    Refusal,
    Refused,
    Sent,
    TaskStateChange,
    Unknown,
)
from tests.simulator import ecs
from tests.simulator.faults import CALM, Dice, Faults
from tests.simulator.queue import MAX_RECEIVE_COUNT, Queue
from tests.simulator.queue import Message as QueueMessage
from tests.simulator.scheduler import DAY, HOUR, START, Killed, Process, Scheduler
from tests.simulator.scripts import HEALTHY, TROUBLE, Story
from tests.simulator.slack import Slack, Webhook

HELLO = Message(text="hello")


def nothing(_result: Any) -> None:
    """What a function returned does not matter."""


def run(scheduler: Scheduler, function: Any, limit: float = 60.0) -> Process:
    process = scheduler.start("function", limit, lambda _process: function(), nothing)
    scheduler.run_until(scheduler.clock + 10 * limit)
    return process


# --- the clock and the functions ----------------------------------------------------------------


def test_functions_take_turns_at_their_effects_and_the_seed_decides_who() -> None:
    def order(seed: int) -> str:
        rng, said = Random(seed), list[str]()
        scheduler = Scheduler(rng)

        def function(name: str) -> None:
            for _ in range(3):
                scheduler.effect(name, lambda: said.append(name), rng.random())

        for name in "ab":
            scheduler.start(name, 60.0, lambda _, name=name: function(name), nothing)  # type: ignore[misc]
        scheduler.run_until(60.0)
        return "".join(said)

    orders = {order(seed) for seed in range(30)}
    assert order(1) == order(1)
    assert len(orders) > 5


@pytest.mark.parametrize(("after", "happened"), [(False, []), (True, ["it"])])
def test_a_function_dies_before_or_after_its_effect_and_nothing_of_it_goes_on(
    after: bool, happened: list[str]
) -> None:
    scheduler, done = Scheduler(Random(1)), list[str]()
    scheduler.kill = lambda effect, is_after: effect == 1 and is_after is after

    def function() -> None:
        try:
            scheduler.effect("it", lambda: done.append("it"))
        except Exception:
            done.append("caught")
        finally:
            scheduler.effect("clean up", lambda: done.append("clean up"))

    process = run(scheduler, function)

    assert done == happened
    assert [killed for _, killed in scheduler.killed] == [process]
    assert scheduler.running == []


def test_a_function_is_killed_at_its_time_out() -> None:
    scheduler, done = Scheduler(Random(1)), list[str]()

    def function() -> None:
        scheduler.effect("slow", lambda: done.append("before"), 59.0)
        scheduler.effect("too slow", lambda: done.append("after"), 2.0)

    process = run(scheduler, function, limit=60.0)

    assert done == ["before"]
    assert scheduler.timed_out == [process]


def test_an_invocation_sees_the_virtual_clock_alone() -> None:
    scheduler, seen = Scheduler(Random(1)), list[Any]()

    def function(process: Process) -> None:
        invocation = scheduler.invocation(process)
        invocation.sleep(timedelta(seconds=20))
        seen.extend((invocation.now(), invocation.remaining(), invocation.unique()))

    scheduler.start("function", 60.0, function, nothing)
    scheduler.run_until(100.0)

    assert seen == [START + timedelta(seconds=20), timedelta(seconds=40), "function-1"]


def test_killed_is_no_exception_that_a_program_catches() -> None:
    assert not issubclass(Killed, Exception)


# --- the queue ----------------------------------------------------------------------------------


class Poller:
    """A queue whose function lasts so long and answers as a test says."""

    def __init__(self, faults: Faults = CALM, lasts: float = 1.0, fails: Any = ()) -> None:
        rng = Random(1)
        self.scheduler = Scheduler(rng)
        self.queue = Queue(self.scheduler, Dice(faults, rng), self.invoke)
        self.lasts, self.fails = lasts, fails
        self.batches: list[tuple[float, list[str]]] = []
        self.most_at_once = 0

    def invoke(self, batch: list[QueueMessage], ended: Any) -> Process:
        self.batches.append((self.scheduler.clock, [message.body for message in batch]))
        self.most_at_once = max(self.most_at_once, self.queue.busy)
        failed = [message.id for message in batch if message.body in self.fails]

        def function(_process: Process) -> Any:
            self.scheduler.wait(self.lasts)
            return {"batchItemFailures": [{"itemIdentifier": id} for id in failed]}

        return self.scheduler.start("function", 60.0, function, ended)

    @property
    def received(self) -> list[str]:
        return [body for _, batch in self.batches for body in batch]


def test_every_message_is_handed_out_once_on_a_calm_day() -> None:
    poller = Poller()
    poller.queue.batch_size = 50
    for n in range(120):
        poller.queue.send(str(n))
    poller.scheduler.run_until(HOUR)

    assert sorted(poller.received, key=int) == [str(n) for n in range(120)]
    assert poller.received != sorted(poller.received, key=int)
    assert max(len(batch) for _, batch in poller.batches) <= 50
    assert poller.most_at_once == 5
    assert poller.queue.waiting == {}


def test_what_failed_comes_back_after_the_visibility_time_out_and_ends_in_the_dlq() -> None:
    poller = Poller(fails=("bad",))
    poller.queue.send("good")
    poller.queue.send("bad")
    poller.scheduler.run_until(2 * HOUR)
    times = [at for at, batch in poller.batches if "bad" in batch]

    assert poller.received.count("good") == 1
    assert len(times) == MAX_RECEIVE_COUNT
    assert times[1] - times[0] >= 360
    assert [message.body for message in poller.queue.dead] == ["bad"]


def test_a_function_that_is_killed_gives_its_whole_batch_back() -> None:
    poller = Poller(lasts=61.0)
    poller.queue.send("message")
    poller.scheduler.run_until(500.0)

    assert poller.received == ["message"] * 2


def test_a_message_may_be_handed_out_twice_at_the_same_time() -> None:
    poller = Poller(Faults(message_twice=0.5), lasts=10.0)
    for n in range(20):
        poller.queue.send(str(n))
    poller.scheduler.run_until(HOUR)

    assert len(poller.received) > 20
    assert set(poller.received) == {str(n) for n in range(20)}


def test_a_message_is_gone_after_its_retention() -> None:
    poller = Poller(lasts=61.0)
    poller.queue.send("message")
    poller.queue.waiting["m1"].visible_at = 15 * DAY
    poller.queue._poll_in(0.0)
    poller.scheduler.run_until(16 * DAY)

    assert [message.body for message in poller.queue.expired] == ["message"]


# --- Slack --------------------------------------------------------------------------------------


def workspace(faults: Faults = CALM) -> Slack:
    rng = Random(1)
    return Slack(Scheduler(rng), Dice(faults, rng))


def keyed(key: str) -> dict[str, Any]:
    return {"event_type": "ecs_watch", "event_payload": {"key": key}}


def test_a_post_stays_and_its_reply_stands_under_it() -> None:
    slack = workspace()
    root = slack.post("C01", HELLO)
    assert isinstance(root, Sent)
    slack.post("C01", HELLO, thread_ts=root.ts, broadcast=True)

    assert [(p.channel, p.thread_ts, p.broadcast) for p in slack.visible()] == [
        ("C01", None, False),
        ("C01", root.ts, True),
    ]


@pytest.mark.parametrize(
    ("fault", "seconds", "visible"),
    [
        ("slack_lost", 1000, 0),
        ("slack_answer_lost", 0, 1),
        ("slack_late", 0, 0),
        ("slack_late", 30, 1),
        ("slack_very_late", 29, 0),
        ("slack_very_late", 600, 1),
    ],
)
def test_a_post_whose_answer_is_unknown_may_be_there_or_come_later(
    fault: str, seconds: float, visible: int
) -> None:
    slack = workspace(Faults(**{fault: 1.0}))
    outcome = slack.post("C01", HELLO)
    slack.scheduler.run_until(seconds)

    assert isinstance(outcome, Unknown)
    assert len([*slack.visible()]) == visible


def test_too_many_posts_in_a_channel_are_told_when_to_come_back() -> None:
    slack = workspace()
    outcomes = [slack.post("C01", HELLO) for _ in range(6)]

    assert [type(outcome) for outcome in outcomes] == [Sent] * 5 + [Refused]
    assert isinstance(slack.post("C02", HELLO), Sent)
    refused = slack.post("C01", HELLO)
    assert isinstance(refused, Refused)
    assert refused.refusal is Refusal.RATE_LIMITED
    assert slack.impatient == 1
    assert refused.retry_after is not None
    slack.scheduler.run_until(refused.retry_after.total_seconds())
    assert isinstance(slack.post("C01", HELLO), Sent)


def test_fifty_edits_a_minute_are_for_the_whole_workspace() -> None:
    slack = workspace()
    roots = [slack.post(channel, HELLO) for channel in ("C01", "C02")]
    outcomes = [slack.update(r.channel, r.ts, HELLO) for _ in range(26) for r in roots]  # type: ignore[union-attr, arg-type]

    assert [type(outcome) for outcome in outcomes[49:51]] == [Sent, Refused]


def test_an_edit_and_a_reaction_change_the_message_in_place() -> None:
    slack = workspace()
    root = slack.post("C01", HELLO)
    assert isinstance(root, Sent)
    slack.update("C01", str(root.ts), Message(text="over"))
    slack.mark("C01", str(root.ts), on=True)
    (posted,) = slack.visible()

    assert [version.message.text for version in posted.versions] == ["hello", "over"]
    assert posted.is_marked
    slack.mark("C01", str(root.ts), on=False)
    assert not posted.is_marked


def test_what_was_deleted_cannot_be_edited_and_a_reply_to_it_stands_in_the_channel() -> None:
    slack = workspace()
    root = slack.post("C01", HELLO)
    assert isinstance(root, Sent)
    slack.delete(slack.posts[0])

    assert slack.update("C01", str(root.ts), HELLO) == Refused(Refusal.TARGET, "message_not_found")
    reply = slack.post("C01", HELLO, thread_ts=root.ts, metadata=keyed("reply"))
    assert isinstance(reply, Sent)
    assert reply.thread_ts is None
    assert slack.find("C01", "reply", since=START, thread_ts=root.ts) == reply
    assert slack.permalink("C01", str(root.ts)) == ""


def test_a_channel_that_is_archived_for_a_while_refuses_for_that_while() -> None:
    slack = workspace()
    archived = Refused(Refusal.CHANNEL, "is_archived")
    slack.refuse_between(10.0, 20.0, archived, channel="C01")
    outcomes = []
    for now in (5.0, 15.0, 25.0):
        slack.scheduler.run_until(now)
        outcomes.append(slack.post("C01", HELLO))
    slack.scheduler.clock = 15.0

    assert [type(outcome) for outcome in outcomes] == [Sent, Refused, Sent]
    assert isinstance(slack.post("C02", HELLO), Sent)


def test_a_message_is_found_by_its_key_in_its_thread_alone() -> None:
    slack = workspace()
    root = slack.post("C01", HELLO, metadata=keyed("root"))
    assert isinstance(root, Sent)
    reply = slack.post("C01", HELLO, thread_ts=root.ts, metadata=keyed("reply"))
    assert isinstance(reply, Sent)

    assert slack.find("C01", "root", since=START) == root
    assert slack.find("C01", "reply", since=START) == NotThere()
    found = slack.find("C01", "reply", since=START, thread_ts=root.ts)
    assert found == reply
    assert slack.find("C02", "root", since=START) == NotThere()
    assert slack.find("C01", "root", since=START + timedelta(hours=1)) == NotThere()


def test_without_the_history_scope_nothing_can_be_looked_for() -> None:
    slack = workspace()
    slack.may_read = False

    assert slack.find("C01", "key", since=START) == CannotLook("missing_scope")
    assert slack.unreadable == 1


def test_a_webhook_posts_and_nothing_else() -> None:
    slack = workspace()
    webhook = Webhook(slack, "C01")

    assert webhook.post("webhook", HELLO) == Sent(None, None)
    assert [posted.channel for posted in slack.visible()] == ["C01"]
    assert webhook.update("webhook", "1.0", HELLO) == Refused(Refusal.TARGET, "webhook")
    assert webhook.find("webhook", "key", since=START) == CannotLook("webhook")
    assert webhook.permalink("webhook", "1.0") == ""


# --- ECS ----------------------------------------------------------------------------------------


def told_of(story: Story, seed: int) -> tuple[ecs.Service, list[dict[str, Any]]]:
    """The service at the end of its story, and the events that it sent."""
    rng, events = Random(seed), list[dict[str, Any]]()
    scheduler = Scheduler(rng)
    account = ecs.Account(scheduler, Dice(CALM, rng), lambda body: events.append(json.loads(body)))
    service = account.service("prod-web", "checkout")
    steps: Iterator[float] = story(service, rng)
    for wait in steps:
        scheduler.run_until(scheduler.clock + wait)
    scheduler.run_until(scheduler.clock + HOUR)
    return service, events


def door(account: ecs.Account) -> Ecs:
    return Ecs(lambda: ecs.Client(account))  # type: ignore[arg-type, return-value]


STORIES = {**TROUBLE, **HEALTHY}


@pytest.mark.parametrize("name", STORIES)
def test_what_a_story_sends_and_shows_can_be_read(name: str) -> None:
    for seed in range(5):
        service, events = told_of(STORIES[name], seed)
        read = [parse(event) for event in events]
        shown = door(service.account).services(service.cluster_arn, ["checkout"], START)["checkout"]

        assert not [event for event in read if isinstance(event, NotOurs)]
        assert {event.service for event in read if hasattr(event, "service")} == {"checkout"}
        assert shown.running_count == service.running
        assert shown.status == service.status


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_story_ends_as_it_should_without_a_failure(name: str) -> None:
    for seed in range(5):
        service, _ = told_of(HEALTHY[name], seed)

        assert service.account.offered == []
        assert not service.truth.failing
        assert not service.truth.never_live
        assert service.running == service.desired
        assert [rollout.state for rollout in service.rollouts] == ["COMPLETED"]


@pytest.mark.parametrize("name", TROUBLE)
def test_a_story_of_trouble_tells_of_a_failure_and_knows_the_truth(name: str) -> None:
    service, _ = told_of(TROUBLE[name], seed=1)

    assert service.account.offered
    assert service.truth._history or service.truth.never_live


def test_tasks_of_a_crash_loop_die_after_they_ran_and_it_looks_well_between() -> None:
    service, events = told_of(TROUBLE["crash_loop_after_running"], seed=1)
    stops = [event for event in map(parse, events) if isinstance(event, TaskStateChange)]
    looked_well = [row for _, row in service._shown if row and row["runningCount"] == 2]

    assert len({stop.task_arn for stop in stops}) >= 3
    assert all(stop.containers[0].exit_code == 1 for stop in stops)
    assert len(looked_well) >= 3
    assert service.truth.was_failing(100.0)


def test_a_roll_back_carries_a_new_id_or_the_old_one() -> None:
    new, _ = told_of(TROUBLE["breaker_rolls_back"], seed=1)
    old, events = told_of(TROUBLE["breaker_rolls_back_to_the_old_id"], seed=1)
    begun = [e["detail"] for e in events if "rolling back" in e["detail"].get("reason", "")]

    assert [rollout.revision for rollout in (new.primary, old.primary)] == [41, 41]
    assert begun[0]["deploymentId"] == old.primary.id
    assert new.truth.never_live == old.truth.never_live == {42}


def test_a_stale_reading_shows_what_was_some_seconds_ago() -> None:
    rng = Random(1)
    account = ecs.Account(Scheduler(rng), Dice(CALM, rng), lambda _body: None)
    service = account.service("prod-web", "checkout")
    account.scheduler.run_until(100.0)
    service.scale(5)
    account.scheduler.run_until(105.0)

    assert [(service.row(ago) or {})["desiredCount"] for ago in (0.0, 10.0)] == [5, 2]


def test_a_cluster_of_many_services_is_listed_page_by_page() -> None:
    rng = Random(1)
    account = ecs.Account(Scheduler(rng), Dice(CALM, rng), lambda _body: None)
    names = [account.service("prod-web", f"service-{n:03}").name for n in range(250)]
    account.service("staging", "search")
    listed, page, pages = list[str](), "", 0
    while page or not pages:
        some, page = door(account).service_names("prod-web", page)
        listed, pages = [*listed, *some], pages + 1

    assert pages == 3
    assert listed == names
    assert len(door(account).clusters()) == 2


@pytest.mark.parametrize(
    ("fault", "why"), [("ecs_throttled", "throttled"), ("ecs_slow", "too slow")]
)
def test_ecs_may_not_answer(fault: str, why: str) -> None:
    rng = Random(1)
    account = ecs.Account(Scheduler(rng), Dice(Faults(**{fault: 1.0}), rng), lambda _body: None)

    with pytest.raises(ReadFailed) as raised:
        door(account).services("cluster", ["checkout"], START)
    assert raised.value.why == why
