"""What lies in a dead-letter queue, and how it goes back to the queue it was meant for.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from notifier.arns import cluster_name
from notifier.errors import MalformedEvent, WatchError
from notifier.events import parse
from notifier.incidents import cluster_of
from notifier.model import Heartbeat, NotOurs
from notifier.redaction import redacted

NOT_OFFERED = {
    "InvalidAction",
    "UnsupportedOperation",
    "AWS.SimpleQueueService.UnsupportedOperation",
}
SHOWN_AT_MOST = 100
NOT_RECEIVED, LEFT, HANDED_BACK = "not received", "left", "handed back"
BODY_AT_MOST, READ_AT_MOST = 120, 20_000  # characters of what is no event: shown, and looked at
RECEIVED_AT_ONCE = 10
HIDDEN_SECONDS = 120  # while they are shown or handed back, nobody else gets them
WAIT_SECONDS = 1  # asks all of SQS's machines: a short poll leaves some out
MOVED_WITHIN = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Letter:
    """A message: what it is, why it is here as far as it says, and whether it can go back."""

    what: str
    why: str
    is_readable: bool
    is_over: bool = False


@dataclass(frozen=True, slots=True)
class DeadLetterQueue:
    """A dead-letter queue and the queue its messages go back to. `sqs` is boto3's client.

    `is_of_a_queue` says that its messages come from that queue, and not from EventBridge. `redact`
    takes secrets out of what is shown of a message.
    """

    name: str
    url: str
    target_url: str
    sqs: Any
    is_of_a_queue: bool
    redact: Callable[[str], str] = redacted

    def waiting(self) -> int:
        """How many messages are in it, about, also those that somebody has taken."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        shown = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)
        return sum(int(shown["Attributes"].get(name, 0)) for name in names)

    def letters(self) -> list[Letter]:
        """The first hundred or a few more; they are visible again afterwards."""
        taken: list[Any] = []
        try:
            for batch in self._batches():
                taken += batch
                if len(taken) >= SHOWN_AT_MOST:
                    break
        finally:
            self._put_back(taken)
        return [_letter(message, self.redact) for message in taken]

    def _put_back(self, messages: Iterable[Any]) -> None:
        """Let them be visible again at once, as far as nobody else has them by now."""
        from botocore.exceptions import BotoCoreError, ClientError

        for message in messages:
            with suppress(BotoCoreError, ClientError):
                self.sqs.change_message_visibility(
                    QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
                )

    def hand_back(self, letters: list[Letter], *, delete: bool = False) -> Mapping[str, int]:
        """Hand all back that can be read; how many were handed back, dropped, left, not received.

        With `delete`, what cannot be read is deleted rather than left.

        What somebody else has taken just now is not received, and what SQS only still counts.
        SQS does it by itself where all that lies here came from another queue and goes there again;
        what EventBridge put here it does not move.
        https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html
        """
        waiting = self.waiting()
        is_all_shown = len(letters) >= waiting
        done = None
        if is_all_shown and not any(_is_left_out(one) for one in letters) and self.is_of_a_queue:
            done = self._moved()
        done = done or self._hand_back_one_by_one(delete)
        return {**done, NOT_RECEIVED: max(0, waiting - sum(done.values()))}

    def _moved(self) -> Mapping[str, int] | None:
        """How many SQS has moved; None where it does not offer that."""
        from botocore.exceptions import ClientError

        try:
            return {HANDED_BACK: self._move()}
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in NOT_OFFERED:
                raise
        return None

    def _move(self) -> int:
        names = ["QueueArn"]
        shown = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)
        arn = shown["Attributes"]["QueueArn"]
        self.sqs.start_message_move_task(SourceArn=arn)
        until = time.monotonic() + MOVED_WITHIN
        while True:
            task = self.sqs.list_message_move_tasks(SourceArn=arn, MaxResults=1)["Results"][0]
            moved = int(task.get("ApproximateNumberOfMessagesMoved", 0))
            if task["Status"] == "COMPLETED":
                return moved
            if task["Status"] in ("FAILED", "CANCELLED"):
                raise WatchError(f"{self.name}: {task.get('FailureReason', task['Status'])}")
            if time.monotonic() > until:
                raise WatchError(f"{self.name}: SQS is still moving messages, {moved} so far")
            time.sleep(0.5)

    def _hand_back_one_by_one(self, delete: bool) -> Mapping[str, int]:
        """However it ends, what is not gone by then is visible again at once."""
        done: Counter[str] = Counter()
        still_here: dict[str, Any] = {}
        try:
            for batch in self._batches():
                still_here |= {message["MessageId"]: message for message in batch}
                for message in batch:
                    became = self._hand_on(message, delete)
                    done[became] += 1
                    if became != LEFT:
                        del still_here[message["MessageId"]]
        finally:
            self._put_back(still_here.values())
        return done

    def _hand_on(self, message: Mapping[str, Any], delete: bool) -> str:
        """Sent first and deleted then: who dies in between leaves a copy, which does no harm."""
        letter = _letter(message, self.redact)
        became = _fate(letter, delete)
        if became == HANDED_BACK:
            self.sqs.send_message(QueueUrl=self.target_url, MessageBody=message["Body"])
        if became != LEFT:
            self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return became

    def _batches(self) -> Iterator[list[Any]]:
        """Each message once: what was received is hidden from whoever asks again."""
        seen: set[str] = set()
        while True:
            answer = self.sqs.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=RECEIVED_AT_ONCE,
                VisibilityTimeout=HIDDEN_SECONDS,
                WaitTimeSeconds=WAIT_SECONDS,
                AttributeNames=["SentTimestamp"],
                MessageAttributeNames=["All"],
            )
            new = [one for one in answer.get("Messages", []) if one["MessageId"] not in seen]
            if not new:
                return
            seen.update(one["MessageId"] for one in new)
            yield new


def _is_left_out(letter: Letter) -> bool:
    return not letter.is_readable or letter.is_over


def _fate(letter: Letter, delete: bool) -> str:
    if not letter.is_readable:
        return "deleted" if delete else LEFT
    return "dropped" if letter.is_over else HANDED_BACK


def _letter(message: Mapping[str, Any], redact: Callable[[str], str]) -> Letter:
    """What the message is; it is foreign text, of which names are shown, or how it begins.

    EventBridge says why it gave up in the message's attributes:
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
    """
    attributes = message.get("MessageAttributes") or {}
    said = {name: str(one.get("StringValue", "")) for name, one in attributes.items()}
    rule = said.get("RULE_ARN", "").rpartition("/")[2] or "EventBridge"
    why = f"{rule} could not deliver it: {said['ERROR_CODE']}" if said.get("ERROR_CODE") else ""
    sent_at = int(message.get("Attributes", {}).get("SentTimestamp", 0)) / 1000
    came = f"{datetime.fromtimestamp(sent_at, UTC):%Y-%m-%d %H:%M} UTC"
    try:
        event = parse(message["Body"])
    except MalformedEvent as error:
        begins = _beginning(message["Body"], redact)
        return Letter(f"{came}  no event: {begins}", f"{error}", is_readable=False)
    if isinstance(event, Heartbeat):
        what = f"{came}  heartbeat of {event.account} {event.region}"
        return Letter(what, why, is_readable=True, is_over=True)
    if isinstance(event, NotOurs):
        return Letter(f"{came}  {event.why}", why, is_readable=True)
    where = cluster_name(cluster_of(event).key)
    service = getattr(event, "service", "") or ""
    what = f"{came}  {event.name or type(event).__name__} of {where}/{service}".rstrip("/")
    why = why or "it could not be taken in; the log of on_events says why"
    return Letter(what, why, is_readable=True)


def _beginning(body: str, redact: Callable[[str], str]) -> str:
    """How a message begins, in one line; a secret is taken out before anything is cut away."""
    line = " ".join(redact(body[:READ_AT_MOST]).split())
    return line if len(line) <= BODY_AT_MOST else f"{line[:BODY_AT_MOST]}…"
