"""`ecs-watch redrive`: nothing that was not told stays untold for good."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import Mock, patch

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from notifier.cli import main
from notifier.cli.dead_letters import DeadLetterQueue
from notifier.cli.stack import QUEUE, TABLE, Stack
from notifier.errors import ReadFailed, WatchError
from notifier.model import Refusal, Refused
from notifier.settings import Settings
from notifier.teller import Teller
from notifier.wiring import Program
from tests.test_ourselves import heartbeat
from tests.watch import CLUSTER, FakeEcs, TableClient, Watch, deployment_failed

Capture = pytest.CaptureFixture[str]
REFUSED = Refused(Refusal.PAYLOAD, "invalid_blocks")


class BlindEcs(FakeEcs):
    """An ECS of which nothing may be read: what events say is told."""

    def facts(self, _cluster: str, _asked: Any, _now: Any, _budget: Any) -> Any:
        raise ReadFailed("DescribeServices", "no permission")

    def callers(self, _cluster: str, _asked: Any, _now: Any, _budget: Any) -> Any:
        return None

    def account_alias(self, *_of: Any) -> str:
        return ""


def watching(channels: str = "*=C01") -> Watch:
    made = Watch(channels, client=TableClient())
    made.ecs = BlindEcs(fails="no permission")
    ecs: Any = made.ecs
    made.teller = Teller(made.store, ecs, lambda _: made.slack, made.routes)
    made.lookout = replace(made.lookout, ecs=ecs, teller=made.teller)
    return made


@pytest.fixture
def watch() -> Watch:
    return watching()


def given_up(watch: Watch, *services: str) -> None:
    """Slack takes neither blocks nor text of what is told of these."""
    watch.slack.in_channel["C01"] = REFUSED
    watch.offer(*(deployment_failed(service) for service in services or ("checkout",)))
    watch.ticks(2)
    watch.slack.in_channel.clear()


def revive(watch: Watch) -> None:
    """What the command does while it holds the channel."""
    now = watch.clock.now()
    until = now + timedelta(seconds=60)
    assert watch.store.hold("C01", "person", now=now, until=until)
    for one in watch.store.given_up("C01"):
        watch.store.revive(one, owner="person", now=now, token="again")
    watch.store.release("C01", "person", now=now)


# --- what was given up ----------------------------------------------------------------------------


def test_what_is_given_up_is_kept_with_its_reason(watch: Watch) -> None:
    given_up(watch)

    (row,) = watch.store.given_up("C01")
    assert (row.destination, row.cluster_key, row.why) == ("C01", CLUSTER, "invalid_blocks")
    assert row.services == {"checkout": (0, watch.service().revision)}
    assert watch.slack.posts == []


def test_what_was_given_up_is_told_after_all_when_it_is_revived(watch: Watch) -> None:
    given_up(watch, "checkout", "search")
    revive(watch)
    watch.ticks(3)

    assert len(watch.slack.roots) == 1
    said = " ".join(watch.slack.texts)
    assert "checkout" in said
    assert "search" in said
    assert watch.store.given_up("C01") == []


def test_after_five_failed_tries_it_can_be_revived_too(watch: Watch) -> None:
    with patch("notifier.teller.root_message", side_effect=ZeroDivisionError):
        watch.offer(deployment_failed())
        for _ in range(10):
            watch.tick(after=timedelta(minutes=16))
    (row,) = watch.store.given_up("C01")
    assert row.why == "it failed too often"
    revive(watch)
    watch.ticks(3)

    assert len(watch.slack.roots) == 1


def test_a_reply_that_was_given_up_comes_in_its_thread(watch: Watch) -> None:
    watch.offer(deployment_failed("first"))
    before = len(watch.slack.posts)
    watch.slack.answers = [REFUSED, REFUSED]
    watch.offer(deployment_failed("second"))
    watch.ticks(1)
    assert not any("second" in one.message.text for one in watch.slack.posts[before:])
    revive(watch)
    watch.ticks(3)

    root = watch.slack.roots[0].ts
    (told,) = [one for one in watch.slack.replies if "second" in one.message.text]
    assert (told.thread_ts, len(watch.slack.roots)) == (root, 1)


def test_what_was_told_since_is_not_told_again(watch: Watch) -> None:
    given_up(watch)
    watch.offer(deployment_failed(number=43, updatedAt="2026-11-23T12:02:00Z"))
    watch.ticks(3)
    assert watch.slack.posts

    assert watch.store.given_up("C01") == []


def test_what_was_given_up_elsewhere_is_revived_elsewhere() -> None:
    watch = watching("prod-*=C02; *=C01")
    watch.slack.refuse("C02", Refusal.CHANNEL, "is_archived")
    given_up(watch)
    (row,) = watch.store.given_up("C01")
    assert (row.destination, row.route) == ("C01", "C02")
    revive(watch)
    watch.ticks(3)

    assert [one.channel for one in watch.slack.roots] == ["C01"]


def test_an_edit_that_is_given_up_leaves_nothing_to_revive(watch: Watch) -> None:
    watch.offer(deployment_failed())
    watch.slack.edit_answers = [REFUSED] * 10
    watch.offer(deployment_failed("search"))
    watch.ticks(10)

    assert watch.store.given_up("C01") == []


# --- the command ----------------------------------------------------------------------------------


class Sqs:
    """moto's SQS, and the tasks that move messages, which moto has not."""

    def __init__(self) -> None:
        self.real: Any = boto3.client("sqs")
        self.moved: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def start_message_move_task(self, *, SourceArn: str) -> Any:  # noqa: N803
        name = SourceArn.rpartition(":")[2]
        source = self.real.get_queue_url(QueueName=name)["QueueUrl"]
        (target,) = self.real.list_dead_letter_source_queues(QueueUrl=source)["queueUrls"]
        for body in bodies(self.real, source):
            self.real.send_message(QueueUrl=target, MessageBody=body)
            self.moved.append(name)
        self.real.purge_queue(QueueUrl=source)
        return {"TaskHandle": "task"}

    def list_message_move_tasks(self, **_: Any) -> Any:
        count = len(self.moved)
        return {"Results": [{"Status": "COMPLETED", "ApproximateNumberOfMessagesMoved": count}]}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr("notifier.cli.dead_letters.WAIT_SECONDS", 0)
    with mock_aws():
        sqs = Sqs()
        monkeypatch.setattr("notifier.cli.redrive.client_of", lambda _: sqs)
        yield sqs


@pytest.fixture
def stack(aws: Any, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """A stack whose table is the watch's, and whose queues are moto's."""
    names = ("EventsQueue", "EventsDeadLetterQueue", "RulesDeadLetterQueue")
    urls = {name: aws.create_queue(QueueName=name)["QueueUrl"] for name in names}
    arn = arn_of(aws, urls["EventsDeadLetterQueue"])
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 10})
    aws.set_queue_attributes(QueueUrl=urls["EventsQueue"], Attributes={"RedrivePolicy": redrive})
    made = Stack(
        name="ecs-watch",
        account="123456789012",
        region="eu-west-1",
        status="CREATE_COMPLETE",
        parameters={},
        resources={QUEUE: urls, TABLE: {"Table": "ecs-watch"}},
    )
    program = Program(Settings(table_name="t", channels="*=C01", slack_token_name="x"))
    known: dict[str, Any] = vars(program)
    known["store"] = watch.store
    monkeypatch.setattr(Stack, "program", lambda _stack: program)
    monkeypatch.setattr("notifier.cli.redrive.stack_of", lambda _name: made)
    monkeypatch.setattr("notifier.cli.redrive._now", watch.clock.now)
    return made


def arn_of(aws: Any, url: str) -> str:
    shown = aws.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return str(shown["Attributes"]["QueueArn"])


def put(aws: Any, stack: Stack, queue: str, *events: Mapping[str, Any] | str, **said: str) -> None:
    for event in events:
        attributes = {
            name: {"DataType": "String", "StringValue": value} for name, value in said.items()
        }
        aws.send_message(
            QueueUrl=stack.dead_letter_queues[queue],
            MessageBody=event if isinstance(event, str) else json.dumps(event),
            MessageAttributes=attributes,
        )


def bodies(aws: Any, url: str) -> Sequence[str]:
    found: list[str] = []
    while messages := aws.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        found += [one["Body"] for one in messages]
    return found


def visible(aws: Any, url: str) -> int:
    names = ["ApproximateNumberOfMessages"]
    shown = aws.get_queue_attributes(QueueUrl=url, AttributeNames=names)
    return int(shown["Attributes"][names[0]])


def answering(text: str) -> Any:
    return patch("sys.stdin", io.StringIO(text))


EVENTS, RULES = "EventsDeadLetterQueue", "RulesDeadLetterQueue"


@pytest.mark.usefixtures("stack")
def test_with_nothing_to_do_it_says_so(capsys: Capture) -> None:
    assert main(["redrive"]) == 0

    assert capsys.readouterr().out == (
        "nothing waits to be told: all dead-letter queues are empty, nothing was given up\n"
    )


@pytest.mark.parametrize("answer", ["", "\n", "n\n", "no\n"])
def test_it_says_what_there_is_and_why_and_does_nothing_unless_somebody_agrees(
    answer: str, aws: Any, stack: Stack, watch: Watch, capsys: Capture
) -> None:
    given_up(watch)
    put(aws, stack, EVENTS, deployment_failed("checkout"))
    arn = "arn:aws:events:eu-west-1:123456789012:rule/OtherFailures"
    put(aws, stack, RULES, deployment_failed("search"), RULE_ARN=arn, ERROR_CODE="NO_PERMISSIONS")
    with answering(answer):
        assert main(["redrive"]) == 1

    shown = capsys.readouterr().out
    assert "EventsDeadLetterQueue: 1 message\n" in shown
    assert (
        "SERVICE_DEPLOYMENT_FAILED of prod-web/checkout "
        "(it could not be taken in; the log of on_events says why)"
    ) in shown
    assert "prod-web/search (OtherFailures could not deliver it: NO_PERMISSIONS)" in shown
    assert "prod-web in C01: checkout (invalid_blocks)" in shown
    assert shown.endswith("nothing was done\n")
    assert watch.store.given_up("C01")
    assert bodies(aws, stack.queue_url) == []
    assert len(bodies(aws, stack.dead_letter_queues[EVENTS])) == 1


def test_once_agreed_it_hands_all_back_and_has_the_rest_told(
    aws: Any, stack: Stack, watch: Watch, capsys: Capture
) -> None:
    given_up(watch)
    put(aws, stack, EVENTS, deployment_failed("a"), deployment_failed("b"))
    put(aws, stack, RULES, deployment_failed("c"))
    with answering("y\n"):
        assert main(["redrive"]) == 0

    shown = capsys.readouterr().out
    assert "EventsDeadLetterQueue: 2 handed back\n" in shown
    assert aws.moved == ["EventsDeadLetterQueue"] * 2
    assert "RulesDeadLetterQueue: 1 handed back\n" in shown
    assert "C01: 1 revision will be told with the next tick\n" in shown
    handed = sorted(json.loads(body)["resources"][0] for body in bodies(aws, stack.queue_url))
    assert [arn.rpartition("/")[2] for arn in handed] == ["a", "b", "c"]
    assert bodies(aws, stack.dead_letter_queues[EVENTS]) == []
    assert bodies(aws, stack.dead_letter_queues[RULES]) == []
    watch.ticks(3)
    assert len(watch.slack.roots) == 1


@pytest.mark.parametrize("code", ["InvalidAction", "UnsupportedOperation"])
def test_where_sqs_moves_nothing_by_itself_each_message_is_handed_back(
    code: str, aws: Any, stack: Stack
) -> None:
    put(aws, stack, EVENTS, deployment_failed("a"))
    answer: Any = {"Error": {"Code": code, "Message": "not here"}}
    error = ClientError(answer, "StartMessageMoveTask")
    with patch.object(Sqs, "start_message_move_task", side_effect=error):
        assert main(["redrive", "--yes"]) == 0

    assert len(bodies(aws, stack.queue_url)) == 1


def test_what_is_no_event_stays_and_old_heartbeats_are_dropped(
    aws: Any, stack: Stack, capsys: Capture
) -> None:
    put(aws, stack, EVENTS, "poison", heartbeat(), deployment_failed("a"))

    assert main(["redrive", "--yes"]) == 1

    shown = capsys.readouterr().out
    assert "no event: poison (body: not JSON" in shown
    assert "1 handed back" in shown
    assert "1 dropped" in shown
    assert (
        "1 message cannot be read and stay; run `ecs-watch redrive --delete-unreadable`"
    ) in shown
    assert len(bodies(aws, stack.queue_url)) == 1
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    left = aws.get_queue_attributes(QueueUrl=stack.dead_letter_queues[EVENTS], AttributeNames=names)
    assert sum(map(int, left["Attributes"].values())) == 1


@pytest.mark.parametrize("queue", [EVENTS, RULES])
def test_what_is_no_event_is_deleted_only_when_that_is_asked_for(
    queue: str, aws: Any, stack: Stack, capsys: Capture
) -> None:
    put(aws, stack, queue, "poison", deployment_failed("a"))

    with answering("y\n"):
        assert main(["redrive", "--delete-unreadable"]) == 0

    shown = capsys.readouterr().out
    assert "and delete for good what is no event? [y/N]" in shown
    assert "1 deleted" in shown
    assert len(bodies(aws, stack.queue_url)) == 1
    assert visible(aws, stack.dead_letter_queues[queue]) == 0


def test_of_what_is_no_event_the_beginning_is_shown_without_secrets(
    aws: Any, stack: Stack, capsys: Capture
) -> None:
    secret = "hunter2hunter2"
    put(aws, stack, RULES, f'{{"broken":\n  "DB_PASSWORD={secret}", {"more " * 100}')

    main(["redrive", "--yes"])

    shown = capsys.readouterr().out
    assert 'no event: {"broken": "DB_PASSWORD=' in shown
    assert secret not in shown
    assert "more more" in shown
    assert max(map(len, shown.splitlines())) < 300


def test_where_nobody_knows_what_the_owner_calls_a_secret_no_beginning_is_shown(
    aws: Any, stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(Program, "own_secrets", None)
    put(aws, stack, RULES, "poison")

    main(["redrive", "--yes"])
    assert "poison" not in capsys.readouterr().out


def test_a_queue_that_was_deleted_does_not_keep_the_others_from_being_handed_back(
    aws: Any, stack: Stack, watch: Watch, capsys: Capture
) -> None:
    given_up(watch)
    put(aws, stack, RULES, deployment_failed("a"))
    aws.delete_queue(QueueUrl=stack.dead_letter_queues[EVENTS])

    assert main(["redrive", "--yes"]) == 1

    shown = capsys.readouterr()
    assert shown.err == (f"ecs-watch: {EVENTS}: does not exist; see `ecs-watch doctor`\n")
    assert "RulesDeadLetterQueue: 1 handed back" in shown.out
    assert "C01: 1 revision will be told" in shown.out


@pytest.mark.usefixtures("watch")
def test_a_queue_that_could_not_be_read_is_not_called_empty(
    aws: Any, stack: Stack, capsys: Capture
) -> None:
    aws.delete_queue(QueueUrl=stack.dead_letter_queues[EVENTS])

    assert main(["redrive", "--yes"]) == 1
    assert "nothing waits" not in capsys.readouterr().out


def test_what_is_to_go_to_a_queue_that_was_deleted_stays(
    aws: Any, stack: Stack, capsys: Capture
) -> None:
    put(aws, stack, RULES, deployment_failed("a"))
    aws.delete_queue(QueueUrl=stack.queue_url)

    assert main(["redrive", "--yes"]) == 1
    assert (
        f"{RULES}: it, or the queue that it hands back to, does not exist"
        in capsys.readouterr().err
    )
    assert visible(aws, stack.dead_letter_queues[RULES]) == 1


def test_a_message_that_does_not_name_its_rule_came_from_eventbridge(
    aws: Any, stack: Stack, capsys: Capture
) -> None:
    put(aws, stack, RULES, deployment_failed("search"), ERROR_CODE="NO_PERMISSIONS")
    main(["redrive", "--yes"])

    said = "prod-web/search (EventBridge could not deliver it: NO_PERMISSIONS)"
    assert said in capsys.readouterr().out


def test_many_messages_are_counted_and_twenty_are_shown(
    aws: Any, stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("notifier.cli.dead_letters.SHOWN_AT_MOST", 25)
    put(aws, stack, RULES, *(deployment_failed(f"service-{n}") for n in range(34)))

    assert main(["redrive", "--yes"]) == 0

    shown = capsys.readouterr().out
    assert "RulesDeadLetterQueue: 34 messages" in shown
    assert "… and 10 more" in shown
    assert shown.count("SERVICE_DEPLOYMENT_FAILED") == 20
    assert "34 handed back" in shown
    assert len(bodies(aws, stack.queue_url)) == 34


def test_no_message_is_left_behind_whatever_number_sqs_returns_at_once(
    aws: Any, stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("notifier.cli.dead_letters.SHOWN_AT_MOST", 10)
    put(aws, stack, RULES, *(deployment_failed(f"service-{n}") for n in range(16)))

    def seven(**asked: Any) -> Any:
        return aws.real.receive_message(**{**asked, "MaxNumberOfMessages": 7})

    with patch.object(Sqs, "receive_message", staticmethod(seven), create=True):
        assert main(["redrive", "--yes"]) == 0

    assert "16 handed back" in capsys.readouterr().out
    assert len(bodies(aws, stack.queue_url)) == 16


@pytest.mark.parametrize("queue", [EVENTS, RULES])
def test_messages_that_somebody_else_has_taken_are_said_to_be_left(
    queue: str, aws: Any, stack: Stack, capsys: Capture
) -> None:
    put(aws, stack, queue, *(deployment_failed(f"service-{n}") for n in range(5)))
    url = stack.dead_letter_queues[queue]
    aws.receive_message(QueueUrl=url, MaxNumberOfMessages=2, VisibilityTimeout=600)

    assert main(["redrive", "--yes"]) == 1

    shown = capsys.readouterr().out
    assert f"{queue}: 3 handed back, 2 not received\n" in shown
    assert "2 messages not received: somebody else has taken them" in shown


@pytest.mark.usefixtures("watch")
def test_what_cannot_go_back_is_visible_again_at_once(aws: Any, stack: Stack) -> None:
    put(aws, stack, RULES, "poison", deployment_failed("a"))

    assert main(["redrive", "--yes"]) == 1
    assert visible(aws, stack.dead_letter_queues[RULES]) == 1


@pytest.mark.parametrize(("fails_at", "call"), [("receive_message", 3), ("send_message", 2)])
def test_what_ctrl_c_leaves_behind_is_visible_again_at_once(
    fails_at: str, call: int, aws: Any, stack: Stack
) -> None:
    put(aws, stack, RULES, *(deployment_failed(f"service-{n}") for n in range(12)))
    real, calls = getattr(aws.real, fails_at), 0

    def interrupted(**asked: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt
        return real(**asked)

    with patch.object(Sqs, fails_at, staticmethod(interrupted), create=True):
        assert main(["redrive", "--yes"]) == 130

    handed_back = 1 if fails_at == "send_message" else 0
    assert visible(aws, stack.dead_letter_queues[RULES]) == 12 - handed_back


def test_what_somebody_else_has_by_now_stops_nothing(aws: Any, stack: Stack) -> None:
    put(aws, stack, RULES, "poison", deployment_failed("a"))
    answer: Any = {"Error": {"Code": "MessageNotInflight", "Message": "no"}}
    gone = ClientError(answer, "ChangeMessageVisibility")

    with patch.object(Sqs, "change_message_visibility", Mock(side_effect=gone), create=True):
        queue = DeadLetterQueue("d", stack.dead_letter_queues[RULES], stack.queue_url, aws, False)
        assert len(queue.letters()) == 2


def test_a_queue_of_which_all_is_taken_is_not_called_empty(
    aws: Any, stack: Stack, capsys: Capture
) -> None:
    put(aws, stack, EVENTS, deployment_failed())
    aws.receive_message(QueueUrl=stack.dead_letter_queues[EVENTS], VisibilityTimeout=600)

    assert main(["redrive", "--yes"]) == 1
    assert "EventsDeadLetterQueue: 1 not received\n" in capsys.readouterr().out


def test_no_control_character_of_a_message_reaches_the_terminal(
    aws: Any, stack: Stack, capsys: Capture
) -> None:
    event = deployment_failed() | {"detail": {"eventName": "A\x1b[31mB", "deploymentId": "x"}}
    put(aws, stack, RULES, event)
    main(["redrive", "--yes"])

    assert "\x1b" not in capsys.readouterr().out


def test_a_channel_that_is_being_told_is_waited_for(
    stack: Stack, watch: Watch, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    given_up(watch)
    now = watch.clock.now()
    watch.store.hold("C01", "tick", now=now, until=now + timedelta(seconds=60))
    monkeypatch.setattr("notifier.cli.redrive.time.sleep", lambda _: watch.clock.sleep(MINUTE))

    assert main(["redrive", "--yes"]) == 0
    assert "will be told" in capsys.readouterr().out


MINUTE = timedelta(seconds=61)


def test_what_is_told_while_the_question_waits_is_not_told_again(
    stack: Stack, watch: Watch, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    given_up(watch)

    def tell_it_meanwhile(**_: bool) -> bool:
        watch.offer(deployment_failed(number=43, updatedAt="2026-11-23T12:02:00Z"))
        watch.ticks(3)
        return True

    monkeypatch.setattr("notifier.cli.redrive._agreed", tell_it_meanwhile)

    assert main(["redrive"]) == 0
    told = len(watch.slack.posts)
    watch.ticks(3)

    assert told
    assert len(watch.slack.posts) == told
    assert "C01: all of it was told meanwhile" in capsys.readouterr().out


def test_a_channel_that_never_becomes_free_is_an_error(
    stack: Stack, watch: Watch, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    given_up(watch)
    now = watch.clock.now()
    watch.store.hold("C01", "tick", now=now, until=now + timedelta(seconds=60))
    monkeypatch.setattr("notifier.cli.redrive.HELD_AT_MOST", 0.0)

    assert main(["redrive", "--yes"]) == 1
    assert "C01 is being told just now" in capsys.readouterr().err


def test_a_move_that_sqs_gives_up_is_an_error() -> None:
    class Moving:
        def get_queue_attributes(self, **_: Any) -> Any:
            return {"Attributes": {"QueueArn": "arn", "ApproximateNumberOfMessages": "0"}}

        def start_message_move_task(self, **_: Any) -> Any:
            return {}

        def list_message_move_tasks(self, **_: Any) -> Any:
            return {"Results": [{"Status": "FAILED", "FailureReason": "AccessDenied"}]}

    queue = DeadLetterQueue("dlq", "https://dlq", "https://queue", Moving(), is_of_a_queue=True)

    with pytest.raises(WatchError, match="dlq: AccessDenied"):
        queue.hand_back([])
