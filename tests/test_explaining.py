"""What is read before a failure is told: once, in batches, and never in the way of the alert."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from notifier.actors import People
from notifier.ecs import Ecs, May
from notifier.ecs.accounts import Accounts
from notifier.ecs.reads import in_turn
from notifier.explaining import Explaining
from notifier.facts import LogTail
from notifier.model import Phase
from tests.simulator import ecs
from tests.simulator.faults import CALM, Dice
from tests.simulator.scheduler import Scheduler
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

READS = [
    "DescribeServices",
    "ListTasks",
    "DescribeTasks",
    "ListServiceDeployments",
    "DescribeServiceDeployments",
    "DescribeServiceRevisions",
    "DescribeTaskDefinition",
]
MIKA = People(slack_ids={"mika": "U0123456789"})


A_TIMEOUT = timedelta(seconds=4)  # of a client: two seconds, and once more


@dataclass
class Aws(ecs.Client):
    """The simulator's ECS, which refuses some reads or answers none in time, and a CloudTrail.

    `slow` are the operations that hang until the client gives up; all of them where it is True.
    What is waited for passes on the clock of the `watch`.
    """

    refused: dict[str, str] = field(default_factory=dict)
    slow: bool | Sequence[str] = False
    records: Sequence[Any] = ()
    watch: Watch | None = None

    def _read(self, operation: str, about: str, show: Callable[[], Any]) -> Any:
        answer = super()._read(operation, about, show)
        if self.slow is True or (self.slow and operation in self.slow):
            assert self.watch is not None
            self.watch.clock.sleep(A_TIMEOUT)
            raise ReadTimeoutError(endpoint_url="ecs")
        if operation in self.refused:
            raise ecs._refused(operation, self.refused[operation])
        return answer

    def monotonic(self) -> float:
        assert self.watch is not None
        return self.watch.clock.at.timestamp()

    def at_once(
        self, reads: Sequence[Callable[[], Any]], seconds: float
    ) -> Sequence[Any | Exception]:
        """All begin now; whoever waits for them waits for the slowest, but no longer than told."""
        assert self.watch is not None
        clock, latest = self.watch.clock, timedelta(seconds=seconds)
        began, ends, outcomes = clock.at, [clock.at], list[Any | Exception]()
        for read in reads:
            clock.at = began
            outcome = in_turn([read], seconds)[0]
            outcomes.append(outcome if clock.at - began <= latest else TimeoutError())
            ends.append(clock.at)
        clock.at = min(max(ends), began + latest)
        return outcomes

    def lookup_events(self, **_asked: Any) -> Any:
        return self._read("LookupEvents", "", lambda: {"Events": self.records})


def aws(*names: str, clusters: Sequence[str] = ("prod-web",)) -> Aws:
    """An account in which a deployment of each of these services has just failed."""
    rng = Random(1)
    scheduler = Scheduler(rng)
    account = ecs.Account(scheduler, Dice(CALM, rng), lambda _body: None)
    for cluster, name in itertools.product(clusters, names):
        service = account.service(cluster, name)
        new = service.deploy()
        for _ in range(3):
            service.place_task(new)
            reason = ecs.NO_IMAGE.format(f"{name}:v42")
            service.stop_task(new, reason, "TaskFailedToStart", None)
        service.fail(new, "ECS deployment circuit breaker: tasks failed to start.")
    return Aws(account)


def watching(client: Aws, *, callers: bool = False) -> Watch:
    may = May(task_definitions=True, callers=callers)
    given: Any = client
    door = Ecs(lambda: given, lambda *_: given, may, client.at_once, client.monotonic)
    everywhere = Accounts(door, account="", region="", member=lambda *_: door)
    client.watch = Watch(client=TableClient(), door=everywhere)
    return client.watch


def offer_all(watch: Watch, client: Aws) -> None:
    """Their events, each with the id that its deployment has."""
    watch.offer(
        *(
            in_cluster(
                one.cluster,
                deployment_failed(one.name, int(one.primary.id.removeprefix("ecs-svc/"))),
            )
            for one in client.account.services.values()
        )
    )


def in_cluster(cluster: str, event: Any) -> Any:
    arn = f"arn:aws:ecs:eu-west-1:123456789012:service/{cluster}/checkout"
    name = event["resources"][0].rpartition("/")[2]
    return {**event, "resources": [arn.replace("checkout", name)], "id": f"{cluster}-{name}"}


def said(watch: Watch) -> str:
    return " ".join(f"{one.message.text} {one.message.blocks}" for one in watch.slack.posts)


# --- once, and in batches -----------------------------------------------------------------------


def test_a_cause_is_read_before_the_first_message_and_shown_in_both() -> None:
    client = aws("checkout")
    watch = watching(client)
    offer_all(watch, client)

    root, reply = watch.slack.posts
    assert "image not found: shop/checkout:v42" in root.message.text
    assert "image not found: shop/checkout:v42" in str(reply.message.blocks)
    assert "3 of 3 never started" in str(reply.message.blocks)
    assert "app image v41 → v42" in str(reply.message.blocks)


def test_one_failing_service_is_explained_by_eight_calls() -> None:
    client = aws("checkout")
    watch = watching(client)
    offer_all(watch, client)

    once = dict.fromkeys(READS, 1)
    assert client.calls == {**once, "DescribeTaskDefinition": 2, "ListAccountAliases": 1}


def test_an_outage_of_12_services_is_explained_in_batches() -> None:
    """Ten are read before it is told; the others' turn comes when theirs is told or changes."""
    client = aws(*(f"service-{n:02}" for n in range(12)))
    watch = watching(client)
    offer_all(watch, client)

    calls = client.calls
    assert calls["DescribeServices"] == 1
    assert calls["ListTasks"] == calls["ListServiceDeployments"] == 10
    assert calls["DescribeTasks"] == calls["DescribeServiceDeployments"] == 1
    assert calls["DescribeServiceRevisions"] == 1
    assert calls["DescribeTaskDefinition"] == 20  # its API takes one; two releases of ten services


def test_those_that_had_to_wait_are_explained_before_the_next_message(watch: Watch) -> None:
    watch.offer(*(deployment_failed(f"service-{n:02}") for n in range(12)))
    watch.clock.at += timedelta(minutes=6)
    watch.offer(deployment_failed("service-99", 7))

    (_, later) = watch.ecs.asked
    assert [one.service for one in later] == ["service-99", "service-10", "service-11"]


def test_nothing_is_read_twice_of_a_service_that_stays_as_it_is() -> None:
    client = aws("checkout")
    watch = watching(client)
    offer_all(watch, client)
    before = dict(client.calls)
    watch.ticks(120)

    assert watch.service().phase is Phase.FAILING
    after = {name: client.calls[name] for name in READS if name != "DescribeServices"}
    assert after == {name: before[name] for name in after}


def test_another_deployment_is_read_anew_but_no_task_definition_twice() -> None:
    client = aws("checkout")
    watch = watching(client)
    offer_all(watch, client)
    service = client.account.services["prod-web", "checkout"]
    new = service.deploy()
    service.fail(new, "ECS deployment circuit breaker: tasks failed to start.")
    watch.clock.at += timedelta(minutes=6)
    number = int(new.id.removeprefix("ecs-svc/"))
    watch.offer(deployment_failed("checkout", number, updatedAt="2026-11-23T12:05:00Z"))

    assert client.calls["ListTasks"] == 2
    assert client.calls["DescribeTaskDefinition"] == 3


def test_a_tick_with_nothing_open_reads_nothing(watch: Watch) -> None:
    watch.ticks(5)

    assert [*watch.ecs.calls, *watch.ecs.asked, *watch.ecs.looked_up] == []


def test_a_service_that_stays_broken_is_not_explained_again_each_minute(watch: Watch) -> None:
    watch.offer(deployment_failed())
    watch.ticks(60)

    assert len(watch.ecs.asked) == 1
    assert len(watch.ecs.calls) > 5


def test_a_worse_impact_is_explained_anew_and_the_same_one_is_not(watch: Watch) -> None:
    watch.offer(deployment_failed())
    watch.ecs.show("checkout", running=0, desired=2, rows=[deployment_row(42, running=0)])
    watch.ticks(30)

    assert len(watch.ecs.asked) == 2


# --- what cannot be read ------------------------------------------------------------------------


@pytest.mark.parametrize("operation", READS)
@pytest.mark.parametrize(
    ("code", "why"),
    [("AccessDeniedException", "no permission"), ("ThrottlingException", "throttled")],
)
def test_each_read_may_fail_and_the_alert_goes_out_and_says_so(
    operation: str, code: str, why: str
) -> None:
    client = aws("checkout")
    client.refused = {operation: code}
    watch = watching(client)
    offer_all(watch, client)

    _, reply = watch.slack.posts
    assert "could not be read: " in str(reply.message.blocks)
    assert f"({why}" in str(reply.message.blocks)
    assert watch.clock.at - watch.slack.posts[0].at <= timedelta(seconds=2)


def test_ecs_that_answers_nothing_in_time_is_said_in_a_line_and_holds_nothing_back() -> None:
    client = aws("checkout")
    client.slow = True
    watch = watching(client)
    offer_all(watch, client)

    root, reply = watch.slack.posts
    assert root.at - START <= timedelta(seconds=6)
    assert reply.at - root.at <= timedelta(seconds=1)
    assert "could not be read: the service (too slow)" in said(watch)
    assert "the circuit breaker stopped the deployment" in root.message.text


def test_everything_that_hangs_has_five_seconds_together(watch: Watch) -> None:
    """What explains some, what runs of others, who deployed, and the account's name."""
    client = aws("known", "new")
    watch = watching(client, callers=True)
    known, new = client.account.services.values()
    numbers = [int(one.primary.id.removeprefix("ecs-svc/")) for one in (known, new)]
    watch.offer(deployment_failed("known", numbers[0]))
    begun = {"eventType": "INFO", "eventName": "SERVICE_DEPLOYMENT_IN_PROGRESS"}
    watch.take_in(deployment_failed("new", numbers[1], **begun, reason=""))
    watch.clock.at += timedelta(minutes=6)
    client.slow, before, began = True, len(watch.slack.posts), watch.clock.at
    watch.offer(deployment_failed("new", numbers[1], updatedAt="2026-11-23T12:05:00Z"))

    first, *_ = watch.slack.posts[before:]
    assert first.at - began <= timedelta(seconds=6)
    explanation = watch.service("new").explanation
    assert explanation is not None
    assert [one.why for one in explanation.missing if one.what == "who deployed"] == ["too slow"]
    assert "could not be read: DescribeServices: too slow" in said(watch)  # of the other one


def test_ecs_that_hangs_holds_back_no_root_of_many_clusters() -> None:
    client = aws("checkout", clusters=[f"cluster-{n:02}" for n in range(20)])
    client.slow = True
    watch = watching(client)
    offer_all(watch, client)
    watch.ticks(3)

    assert len(watch.slack.roots) == 20
    assert max(one.at for one in watch.slack.roots) - START <= timedelta(seconds=60)
    assert watch.slack.roots[0].at - START <= timedelta(seconds=6)
    assert "could not be read: the service (too slow)" in said(watch)


def test_ecs_that_answered_nothing_is_left_alone_for_a_minute_and_then_asked_again() -> None:
    client = aws("checkout")
    client.slow = True
    watch = watching(client)
    offer_all(watch, client)
    asked = dict(client.calls)
    watch.clock.at += timedelta(seconds=30)
    watch.offer(deployment_failed("other", 7))
    assert client.calls == asked

    client.slow = False
    watch.clock.at += timedelta(seconds=60)
    watch.offer(deployment_failed("another", 7))
    assert client.calls["ListTasks"] > asked["ListTasks"]


def test_one_read_that_hangs_is_no_reason_to_ask_for_nothing_any_more() -> None:
    client = aws("checkout", clusters=["one", "two"])
    client.slow = ["ListTasks", "ListAccountAliases"]
    watch = watching(client)
    offer_all(watch, client)

    assert client.calls["ListTasks"] == 2
    assert client.calls["ListAccountAliases"] == 1  # of a name nobody waits twice


def test_the_accounts_name_is_asked_for_when_the_first_root_is_told() -> None:
    client = aws("checkout")
    watch = watching(client)
    client.slow = ["ListAccountAliases"]
    offer_all(watch, client)
    root, reply = watch.slack.posts
    assert root.at == START
    assert reply.at - START <= timedelta(seconds=5)
    assert "shop (123456789012)" not in said(watch)

    client.slow = False
    watch.clock.at += timedelta(minutes=6)
    watch.offer(placement_failure("checkout", at="12:05:00"))
    watch.ticks(6)
    assert root.edits
    assert "shop (123456789012)" in str(root.message.blocks)


def test_a_deleted_cluster_is_told_and_not_asked_for_again() -> None:
    client = aws("checkout")
    client.refused = dict.fromkeys(
        ("DescribeServices", "ListTasks", "ListServiceDeployments"), "ClusterNotFoundException"
    )
    watch = watching(client)
    offer_all(watch, client)

    assert "could not be read: the service (gone)" in said(watch)
    assert said(watch).count("stopped tasks (gone)") == 0
    before = client.calls["ListTasks"]
    watch.ticks(10)
    assert client.calls["ListTasks"] == before


def test_what_could_not_be_read_for_a_moment_is_read_before_the_next_message() -> None:
    client = aws("checkout")
    client.slow = True
    watch = watching(client)
    offer_all(watch, client)
    client.slow = False
    watch.clock.at += timedelta(minutes=6)
    watch.offer(placement_failure("checkout", at="12:05:00"))
    watch.ticks(6)

    known = watch.service().explanation
    assert known is not None
    assert known.missing == ()
    assert known.tasks == "3 of 3 never started"


def test_what_is_not_permitted_is_not_asked_for_again() -> None:
    client = aws("checkout")
    client.refused = dict.fromkeys(READS, "AccessDeniedException")
    watch = watching(client)
    offer_all(watch, client)
    watch.clock.at += timedelta(minutes=6)
    watch.offer(deployment_failed("other", 7))

    assert client.calls["ListTasks"] == 2  # one of each service


def test_a_service_that_is_explained_and_cannot_be_looked_at_hides_no_others_cause(
    watch: Watch,
) -> None:
    watch.offer(deployment_failed("first"))
    watch.clock.at += timedelta(minutes=6)
    watch.ecs.fails = "throttled"
    watch.offer(deployment_failed("second"))

    assert watch.service("second").explanation is not None
    assert "could not be read: DescribeServices: throttled" in said(watch)


# --- the log ------------------------------------------------------------------------------------


def test_lines_of_an_older_release_are_not_told_of_the_next(watch: Watch) -> None:
    """One invocation tells both, and of the later one only the place of its log is kept."""
    old = LogTail(container="app", group="/g", stream="a/app/1", region="r", lines=("old",))
    new = replace(old, stream="a/app/2", lines=("new",))
    watch.ecs.known["checkout"] = {"logs": new}
    watch.offer(deployment_failed())
    logs = {"checkout": old}
    Explaining(watch.ecs, watch.ecs.begin(), CLUSTER, START, logs=logs).read_log(watch.service())

    assert logs == {"checkout": new}


# --- who shipped it -----------------------------------------------------------------------------


def test_who_deployed_is_looked_up_only_where_no_record_told_it(watch: Watch) -> None:
    watch.take_in(api_call(update_service("known")))
    watch.offer(deployment_failed("known"), deployment_failed("unknown"))

    (asked,) = watch.ecs.looked_up
    assert [(one.service, one.deployment_id) for one in asked] == [("unknown", "ecs-svc/42")]


def test_who_deployed_an_older_release_is_not_who_deployed_this_one(watch: Watch) -> None:
    watch.take_in(api_call(update_service("checkout", 41)))
    watch.ecs.records = {"checkout": [update_service("checkout", 42)]}
    watch.offer(deployment_failed("checkout", 42))

    known = watch.service().explanation
    assert len(watch.ecs.looked_up) == 1
    assert known is not None
    assert known.actor is not None
    assert (known.actor.name, known.actor.is_certain) == ("mika", True)


def test_when_it_began_is_asked_with_what_was_read_where_no_event_told_it(watch: Watch) -> None:
    row = deployment_row(42, running=0, rollout_state="FAILED")
    watch.ecs.shown["checkout"] = reading("checkout", running=0, desired=2, rows=[row])
    watch.offer(deployment_failed("checkout", 42))

    ((asked,),) = watch.ecs.looked_up
    assert asked.began_at == row.created_at


def test_a_record_that_is_looked_up_names_who_deployed_in_the_first_message(watch: Watch) -> None:
    watch = Watch(client=TableClient(), people=MIKA)
    watch.ecs.records = {"checkout": [update_service("checkout", 42)]}
    watch.offer(deployment_failed("checkout", 42))

    known = watch.service().explanation
    assert known is not None
    assert known.actor is not None
    assert known.actor.slack_id == "U0123456789"
    assert "deployed by mika" in said(watch)
    assert [one.deployment_id for one in watch.service().shipments] == ["ecs-svc/42"]
    assert "who deployed it is known now" not in str(watch.service().transitions)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"eventName": "UpdateService"},
        update_service(errorCode="AccessDenied", responseElements=None),
        update_service(eventName="DeleteService"),
        update_service(eventTime="yesterday"),
        update_service(recipientAccountId=None, userIdentity=None),
    ],
    ids=["empty", "no envelope", "refused", "another call", "no time", "no account"],
)
def test_a_record_that_nobody_can_read_tells_nothing(watch: Watch, record: Any) -> None:
    watch.ecs.records = {"checkout": [record]}
    watch.offer(deployment_failed())

    assert len(watch.slack.posts) == 2
    assert watch.service().shipments == ()
    known = watch.service().explanation
    assert known is not None
    assert known.actor is None


@pytest.mark.parametrize("fault", ["records_fail", "lacks_trail"])
def test_that_nobody_could_be_looked_up_is_said_and_the_cause_all_the_same(
    watch: Watch, fault: str
) -> None:
    setattr(watch.ecs, fault, "no permission")
    watch.offer(deployment_failed())

    assert "could not be read: who deployed (no permission" in said(watch)
    assert "the circuit breaker stopped the deployment" in said(watch)


def test_the_trail_is_asked_twice_at_most_for_an_outage() -> None:
    client = aws(*(f"service-{n:02}" for n in range(10)))
    watch = watching(client, callers=True)
    offer_all(watch, client)

    assert client.calls["LookupEvents"] == 2
