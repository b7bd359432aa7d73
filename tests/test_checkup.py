"""What the watcher finds of itself."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from notifier import checkup
from notifier.checkup import (
    ChannelSeen,
    Finding,
    Identity,
    MappingSeen,
    QueueSeen,
    RuleSeen,
    Unread,
    Verdict,
)
from notifier.model import Checkup, GivenUp, Heard, Refusal, Refused, Unknown
from sandbox.transform import read_template
from tests.watch import START
from tools.rules import RULES, rules_of

QUEUE = "arn:aws:sqs:eu-west-1:123456789012:queue"
RULE = "arn:aws:events:eu-west-1:123456789012:rule/watch-DeploymentFailures"
WORKS, FAILS, UNSEEN, OPEN = Verdict.WORKS, Verdict.FAILS, Verdict.UNSEEN, Verdict.OPEN


def test_the_rules_it_compares_with_are_those_of_the_template() -> None:
    shipped = json.loads(RULES.read_text())

    assert shipped == rules_of(read_template()), "run `python -m tools.rules`"


# --- rules ----------------------------------------------------------------------------------------


def seen(**changes: Any) -> RuleSeen:
    shipped = checkup.shipped_rules()["DeploymentFailures"]
    fields: dict[str, Any] = {"arn": RULE, "is_enabled": True, "pattern": shipped["pattern"]}
    return RuleSeen(**{**fields, "targets": (QUEUE,), **changes})


def judged(one: RuleSeen | Unread, logical_id: str = "DeploymentFailures") -> Finding:
    return checkup.rule(logical_id, "watch-rule", one, QUEUE)


def test_a_rule_as_shipped_works() -> None:
    assert judged(seen()).verdict is WORKS


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (seen(is_enabled=False), "is disabled"),
        (seen(targets=()), "does not send to what it should"),
        (seen(targets=(f"{QUEUE}-of-somebody",)), "does not send to what it should"),
        (seen(pattern={"source": ["aws.ecs"]}), "has another pattern than this version ships"),
        (seen(pattern=None), "has another pattern than this version ships"),
        (seen(schedule="rate(1 day)"), "has the schedule rate(1 day)"),
        (Unread("ResourceNotFoundException", is_gone=True), "does not exist"),
    ],
)
def test_a_rule_that_is_not_as_shipped_fails_and_says_what_to_do(
    one: RuleSeen | Unread, says: str
) -> None:
    finding = judged(one)

    assert (finding.verdict, finding.says) == (FAILS, says)
    assert finding.todo


def test_what_may_not_be_read_is_not_taken_for_broken() -> None:
    finding = judged(Unread("no permission"))

    assert (finding.verdict, finding.says) == (UNSEEN, "could not be read: no permission")


def test_a_rule_of_another_version_cannot_be_judged() -> None:
    assert judged(seen(), "AnotherRule").verdict is UNSEEN


def test_what_the_template_leaves_to_cloudformation_is_filled_in() -> None:
    pattern = {"account": [{"anything-but": {"Ref": "AWS::AccountId"}}], "x": {"Ref": "Other"}}
    filled = checkup._filled(pattern, RULE)

    assert filled == {"account": [{"anything-but": "123456789012"}], "x": {"Ref": "Other"}}


# --- the queue ------------------------------------------------------------------------------------


def statement(**changes: Any) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": QUEUE,
        "Condition": {"ArnEquals": {"aws:SourceArn": [RULE]}},
        **changes,
    }


def policy(*statements: Mapping[str, Any]) -> Finding:
    queue = QueueSeen(arn=QUEUE, policy={"Statement": list(statements)})
    return checkup.queue_policy(queue, [RULE])


ALL = {"Effect": "Deny", "Principal": "*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}


@pytest.mark.parametrize(
    ("statements", "verdict"),
    [
        ([statement()], WORKS),
        ([statement(Action=["sqs:*"], Resource="*")], WORKS),
        ([statement(Action="SQS:SendMessage", Principal="*", Condition={})], WORKS),
        ([statement(Condition={"ArnLike": {"AWS:SourceArn": RULE[:-4] + "*"}})], WORKS),
        ([], FAILS),
        ([statement(Action="sqs:ReceiveMessage")], FAILS),
        ([statement(Principal={"Service": "sns.amazonaws.com"})], FAILS),
        ([statement(Principal={"AWS": "arn:aws:iam::123456789012:root"})], FAILS),
        ([statement(Resource=f"{QUEUE}-of-somebody")], FAILS),
        ([statement(Condition={"ArnEquals": {"aws:SourceArn": [f"{RULE}2"]}})], FAILS),
        ([statement(), statement(Effect="Deny", Condition={})], FAILS),
        ([statement(Condition={"StringEquals": {"aws:SourceAccount": "1"}})], UNSEEN),
        ([statement(), statement(**ALL)], UNSEEN),
    ],
)
def test_the_queue_s_policy_lets_the_rules_send_or_not(
    statements: list[Any], verdict: Verdict
) -> None:
    assert policy(*statements).verdict is verdict


def test_a_queue_without_policy_says_which_rules_may_not_send() -> None:
    finding = checkup.queue_policy(QueueSeen(arn=QUEUE), [RULE, f"{RULE}2"])

    assert finding.says == "does not let watch-DeploymentFailures, watch-DeploymentFailures2 send"


def test_a_policy_of_which_no_rule_is_known_was_not_seen_to_hold() -> None:
    assert checkup.queue_policy(QueueSeen(arn=QUEUE), []).verdict is UNSEEN


DLQ = "arn:aws:sqs:eu-west-1:123456789012:rules-dlq"
TAKES = QueueSeen(arn=DLQ, policy={"Statement": [statement(Resource=DLQ)]})


@pytest.mark.parametrize(
    ("one", "queue", "verdict"),
    [
        (seen(dead_letters=(DLQ,)), TAKES, WORKS),
        (seen(dead_letters=(DLQ,)), QueueSeen(arn=DLQ), FAILS),
        (seen(), TAKES, FAILS),
        (seen(dead_letters=(DLQ,)), Unread("no permission"), UNSEEN),
        (Unread("no permission"), TAKES, UNSEEN),
        (Unread("no permission"), QueueSeen(arn=DLQ), UNSEEN),
    ],
)
def test_what_rules_cannot_deliver_must_have_a_queue_that_takes_it(
    one: RuleSeen | Unread, queue: QueueSeen | Unread, verdict: Verdict
) -> None:
    found = checkup.dead_letter_policy([one], [QueueSeen(arn=f"{DLQ}-2"), queue])

    assert found.verdict is verdict
    if verdict is FAILS:
        assert found.says == "does not take what watch-DeploymentFailures cannot deliver"


EVENTS_DLQ = "arn:aws:sqs:eu-west-1:123456789012:events-dlq"
GONE = Unread("QueueDoesNotExist", is_gone=True)


@pytest.mark.parametrize(
    ("gives_up_to", "dlq", "verdict", "says"),
    [
        (EVENTS_DLQ, QueueSeen(arn=EVENTS_DLQ), WORKS, "sends what fails 10 times to events-dlq"),
        ("", QueueSeen(arn=EVENTS_DLQ), FAILS, "is gone"),
        ("", GONE, FAILS, "is gone"),
        (DLQ, QueueSeen(arn=EVENTS_DLQ), FAILS, "sends to rules-dlq"),
        (f"{DLQ}-2", QueueSeen(arn=EVENTS_DLQ), FAILS, "sends to rules-dlq-2"),
        (EVENTS_DLQ, GONE, UNSEEN, "could not be judged"),
        (EVENTS_DLQ, Unread("no permission"), UNSEEN, "could not be judged"),
    ],
)
def test_what_cannot_be_read_must_end_in_the_queue_s_dead_letter_queue(
    gives_up_to: str, dlq: QueueSeen | Unread, verdict: Verdict, says: str
) -> None:
    queue = QueueSeen(arn=QUEUE, gives_up_to=gives_up_to, tries=10)
    found = checkup.redrive_policy(queue, [seen(dead_letters=(DLQ,))], [TAKES, dlq])

    assert (found.verdict, found.says) == (verdict, says)


def attributes_set_by(command: str, queue_url: str) -> Any:
    start = ["aws", "sqs", "set-queue-attributes", "--queue-url", queue_url, "--attributes"]
    *words, attributes = shlex.split(command)
    assert words == start
    return {name: json.loads(value) for name, value in json.loads(attributes).items()}


def test_a_lost_redrive_policy_is_set_again_by_the_command_it_prints() -> None:
    queue = QueueSeen(arn=QUEUE, url="https://sqs/queue")
    queues = [TAKES, QueueSeen(arn=EVENTS_DLQ)]
    found = checkup.redrive_policy(queue, [seen(dead_letters=(DLQ,))], queues)

    shipped = read_template()["Resources"]["EventsQueue"]["Properties"]["RedrivePolicy"]
    assert attributes_set_by(found.command, "https://sqs/queue") == {
        "RedrivePolicy": {**shipped, "deadLetterTargetArn": EVENTS_DLQ}
    }


@pytest.mark.parametrize("of", ["EventsQueue", "RulesDeadLetterQueue"])
def test_a_lost_queue_policy_is_set_again_by_the_command_it_prints(of: str) -> None:
    if of == "EventsQueue":
        lost = QueueSeen(arn=QUEUE, url="https://sqs/q")
        found = checkup.queue_policy(lost, [RULE])
    else:
        lost = QueueSeen(arn=DLQ, url="https://sqs/q")
        found = checkup.dead_letter_policy([seen(dead_letters=(DLQ,))], [lost])
    policy = attributes_set_by(found.command, "https://sqs/q")["Policy"]

    shipped = read_template()["Resources"][f"{of}Policy"]["Properties"]["PolicyDocument"]
    (statement,) = shipped["Statement"]
    del statement["Sid"]
    statement["Resource"] = lost.arn
    statement["Condition"]["ArnEquals"]["aws:SourceArn"] = [RULE]
    assert policy == shipped
    mended = replace(lost, policy=policy)
    again = (
        checkup.queue_policy(mended, [RULE])
        if of == "EventsQueue"
        else checkup.dead_letter_policy([seen(dead_letters=(DLQ,))], [mended])
    )
    assert again.verdict is WORKS


def test_a_long_command_is_printed_by_doctor_and_not_told_in_slack() -> None:
    found = checkup.queue_policy(QueueSeen(arn=QUEUE, url="https://sqs/q"), [RULE])

    assert found.line == (
        "queue policy does not let watch-DeploymentFailures send: set the whole policy as it was "
        "deployed (`ecs-watch doctor` prints the command)"
    )


def test_of_a_queue_that_is_gone_only_the_queue_fails() -> None:
    assert checkup.events_queue("q", GONE).line.startswith("queue q does not exist: ")
    assert checkup.events_queue("q", QueueSeen(arn=QUEUE)).verdict is WORKS
    assert checkup.queue_policy(GONE, [RULE]).verdict is UNSEEN
    assert checkup.redrive_policy(GONE, [], []).verdict is UNSEEN


def test_a_target_without_its_dead_letter_queue_is_not_mended_by_a_policy() -> None:
    without = seen(arn=f"{RULE}2")
    found = checkup.dead_letter_policy([seen(dead_letters=(DLQ,)), without], [TAKES])

    assert found.says == "does not take what watch-DeploymentFailures2 cannot deliver"
    assert (found.todo, found.command) == (checkup.REVERT, "")


def test_nobody_is_told_to_deploy_an_unchanged_template_again() -> None:
    gone = [
        judged(Unread("ResourceNotFoundException", is_gone=True)),
        judged(seen(pattern=None)),
        judged(seen(targets=())),
        checkup.dead_letters("dlq", GONE),
        checkup.mapping([]),
    ]

    for one in gone:
        assert "drift-aware change set" in one.todo
    assert "## " + checkup.REVERT.partition(": ")[2].rstrip(")") in Path("README.md").read_text()


def test_a_dead_letter_fails_and_points_to_redrive() -> None:
    finding = checkup.dead_letters("dlq", QueueSeen(arn=QUEUE, waiting=1))

    assert finding.line == (
        "dead-letter queue dlq has 1 message: mend what it was, then run `ecs-watch redrive`"
    )
    assert checkup.dead_letters("dlq", QueueSeen(arn=QUEUE)).verdict is WORKS


# --- functions and table --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "verdict"),
    [
        (["Enabled"], WORKS),
        (["Updating"], WORKS),
        (["Disabled", "Enabled"], WORKS),
        (["Disabled"], FAILS),
        (["Disabling"], FAILS),
        ([], FAILS),
    ],
)
def test_somebody_must_take_messages_from_the_queue(states: list[str], verdict: Verdict) -> None:
    mappings = [MappingSeen(state=state, function_arn="") for state in states]

    assert checkup.mapping(mappings).verdict is verdict


def taking(function: str, state: str = "Enabled") -> MappingSeen:
    arn = f"arn:aws:lambda:eu-west-1:123456789012:function:{function}"
    return MappingSeen(state=state, function_arn=arn)


@pytest.mark.parametrize(
    ("mappings", "ours", "says"),
    [
        ([taking("on-events"), taking("old", "Disabled")], "on-events", "is enabled"),
        ([taking("on-events:live")], "on-events", "is enabled"),
        ([taking("on-events"), taking("thief")], "on-events", "is also of another function: thief"),
        (
            [taking("on-events", "Disabled"), taking("thief")],
            "on-events",
            "is also of another function: thief",
        ),
        ([taking("thief")], "on-events", "is of another function: thief"),
        ([taking("thief", "Disabled")], "on-events", "is of another function: thief"),
        ([taking("on-events")], "", "is enabled"),
        ([taking("on-events"), taking("thief")], "", "is of several functions: on-events, thief"),
    ],
)
def test_only_our_function_may_take_messages_from_the_queue(
    mappings: list[MappingSeen], ours: str, says: str
) -> None:
    finding = checkup.mapping(mappings, ours)

    assert finding.says == says
    assert finding.verdict is (WORKS if says == "is enabled" else FAILS)


def test_the_command_that_mends_a_mapping_names_it() -> None:
    ours = replace(taking("on-events", "Disabled"), uuid="1-2")
    thief = replace(taking("thief"), uuid="3-4")

    assert checkup.mapping([ours], "on-events").todo == (
        "run `aws lambda update-event-source-mapping --enabled --uuid 1-2`"
    )
    assert checkup.mapping([ours, thief], "on-events").todo == (
        "run `aws lambda delete-event-source-mapping --uuid 3-4`"
    )
    assert checkup.mapping([thief], "on-events").todo.endswith(checkup.REVERT)


@pytest.mark.parametrize(
    ("reserved", "verdict"),
    [(None, WORKS), (5, WORKS), (0, FAILS), (Unread("no permission"), UNSEEN)],
)
def test_a_reserved_concurrency_of_0_stops_a_function(reserved: Any, verdict: Verdict) -> None:
    assert checkup.concurrency("on-events", reserved).verdict is verdict


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ("ACTIVE", WORKS),
        ("UPDATING", WORKS),
        ("DELETING", FAILS),
        ("INACCESSIBLE_ENCRYPTION_CREDENTIALS", FAILS),
        (Unread("ResourceNotFoundException", is_gone=True), FAILS),
    ],
)
def test_the_table_must_be_active(status: Any, verdict: Verdict) -> None:
    assert checkup.table("t", status).verdict is verdict


# --- Slack ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Identity("Acme", "ecs-watch", frozenset()), WORKS),
        (Refused(Refusal.CREDENTIALS, "token_revoked"), FAILS),
        (Refused(Refusal.CREDENTIALS, "secret_unavailable"), FAILS),
        (Refused(Refusal.RATE_LIMITED, "ratelimited"), UNSEEN),
        (Unknown("timeout"), UNSEEN),
    ],
)
def test_only_what_slack_says_of_the_token_is_its_fault(answer: Any, verdict: Verdict) -> None:
    assert checkup.token(answer).verdict is verdict


def test_each_missing_scope_says_what_it_costs_and_only_posting_is_a_must() -> None:
    found = list(checkup.scopes(Identity("Acme", "ecs-watch", frozenset({"reactions:write"}))))

    assert [one.verdict for one in found] == [FAILS, OPEN, OPEN, WORKS, OPEN, OPEN]
    assert all(one.todo for one in found if one.verdict is not WORKS)
    unknown = list(checkup.scopes(Identity("Acme", "ecs-watch", None)))
    assert {one.verdict for one in unknown} == {UNSEEN}


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (ChannelSeen(name="deploys", is_archived=False, is_member=True), WORKS),
        (ChannelSeen(name="deploys", is_archived=True, is_member=True), FAILS),
        (ChannelSeen(name="deploys", is_archived=False, is_member=False), FAILS),
        (Refused(Refusal.CHANNEL, "channel_not_found"), FAILS),
        (Refused(Refusal.CREDENTIALS, "missing_scope"), OPEN),
        (Unknown("timeout"), UNSEEN),
    ],
)
def test_a_channel_must_be_open_with_the_bot_in_it(answer: Any, verdict: Verdict) -> None:
    assert checkup.channel("C01", answer).verdict is verdict


# --- what should come by itself -------------------------------------------------------------------


def heard(minutes: int) -> Heard:
    return Heard(account="123456789012", region="eu-west-1", at=START - timedelta(minutes=minutes))


@pytest.mark.parametrize(("minutes", "verdict"), [(0, WORKS), (45, WORKS), (46, FAILS)])
def test_three_missing_heartbeats_are_silence(minutes: int, verdict: Verdict) -> None:
    (found,) = checkup.heartbeats([heard(minutes)], START)

    assert found.verdict is verdict
    assert found.check == "heartbeat of 123456789012 eu-west-1"


@pytest.mark.parametrize(("minutes", "verdict"), [(None, FAILS), (10, WORKS), (11, FAILS)])
def test_a_tick_of_the_last_ten_minutes_is_one(minutes: int | None, verdict: Verdict) -> None:
    at = None if minutes is None else START - timedelta(minutes=minutes)

    assert checkup.tick(Checkup(ticked_at=at), START).verdict is verdict


def test_what_was_given_up_is_counted_by_service() -> None:
    row = GivenUp(
        destination="C01",
        cluster_key="c",
        at=START,
        why="invalid_blocks",
        services={"a": (0, 1), "b": (0, 2)},
    )
    finding = checkup.given_up("C01", [row, row])

    assert (finding.verdict, finding.says) == (
        FAILS,
        "gave up news of 2 services (invalid_blocks)",
    )
    assert checkup.given_up("C01", []).verdict is WORKS


# --- several findings -----------------------------------------------------------------------------


def found(check: str, verdict: Verdict) -> Finding:
    return Finding(check, verdict, "is so")


def test_what_could_not_be_seen_is_as_it_was_before() -> None:
    known = Checkup(failing={"a": "a was", "b": "b was", "d": "d was", "gone": "gone was"})
    findings = [found("a", UNSEEN), found("b", WORKS), found("c", FAILS), found("d", OPEN)]

    assert checkup.after(known, findings) == {"a": "a was", "c": "c is so", "d": "d was"}


def test_what_was_not_asked_is_as_it_was_before() -> None:
    known = Checkup(failing={"rule X": "was", "heartbeat of 1": "was", "heartbeat of 2": "was"})
    after = checkup.after(known, [found("heartbeat of 1", FAILS)], asked=checkup.HEARTBEAT)

    assert after == {"rule X": "was", "heartbeat of 1": "heartbeat of 1 is so"}


def test_news_is_what_slack_does_not_know_yet() -> None:
    known = Checkup(failing={"a": "a", "b": "b"}, told=("b", "c"))

    assert known.news == {"a": 1, "c": 0}
    assert known.after_telling(known.news) == ("b", "a")
    assert known.after_telling({"a": 1}) == ("b", "c", "a")
