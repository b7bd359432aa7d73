"""`ecs-watch redrive`: what was not told after all is told now."""

import argparse
import re
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from notifier.arns import cluster_name
from notifier.checkup import counted
from notifier.cli.aws import add_stack, explained
from notifier.cli.dead_letters import LEFT, NOT_RECEIVED, DeadLetterQueue, Letter
from notifier.cli.stack import Stack, stack_of
from notifier.deployed import unread
from notifier.errors import WatchError
from notifier.model import GivenUp
from notifier.redaction import redacted
from notifier.store import Store
from notifier.wiring import Program, client_of

SUMMARY = "hand events of the dead-letter queues back, and tell what was given up"
EXAMPLES = """
examples:
  ecs-watch redrive            says what there is and why, and asks
  ecs-watch redrive --yes      says it and does it
  ecs-watch redrive --delete-unreadable     also deletes what is no event

Mend first what made them fail; `ecs-watch doctor` says what that is. What is no event can go
nowhere: it is shown by how it begins and stays where it is unless you let it be deleted. Old
heartbeats are dropped.
"""

OF_THE_QUEUE = "EventsDeadLetterQueue"
LINES_AT_MOST = 20
TAKEN = "somebody else has taken them, or SQS counts late; run it again in a few minutes"
LEASE = timedelta(seconds=60)
HELD_AT_MOST = 90.0  # seconds that a channel's holder is waited for


@dataclass(frozen=True, slots=True)
class Found:
    """A queue in which something lies: what was seen of it, and how many messages there are."""

    queue: DeadLetterQueue
    letters: list[Letter]
    waiting: int


@dataclass(slots=True)
class Troubles:
    """What went wrong with a queue stops none of the others; it is said, and counted."""

    count: int = 0

    @contextmanager
    def of(self, queue: DeadLetterQueue, gone: str) -> Iterator[None]:
        """Say which queue it is; `gone` is what it means when SQS knows no such queue."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError) as error:
            what = gone if unread(error).is_gone else explained(error)
            self._say(f"{queue.name}: {what}; see `ecs-watch doctor`")
        except WatchError as error:
            self._say(f"{error}")

    def _say(self, what: str) -> None:
        self.count += 1
        print(f"ecs-watch: {what}", file=sys.stderr)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--delete-unreadable", action="store_true", help="delete what is no event, for good"
    )
    add_stack(parser)


def run(options: argparse.Namespace) -> int:
    """Say what there is, ask, and do it; 1 when nobody agreed or something is left."""
    stack = stack_of(options.stack)
    program = stack.program()
    troubles = Troubles()
    found = list(_found(_queues(stack, program), troubles))
    given_up = [one for channel in _channels(program) for one in program.store.given_up(channel)]
    _say(found, given_up)
    if found or given_up:
        if not options.yes and not _agreed(delete=options.delete_unreadable):
            print("nothing was done")
            return 1
        is_done = _redrive(found, troubles, delete=options.delete_unreadable)
        _revive_all(given_up, program.store)
        return 1 if troubles.count or not is_done else 0
    if not troubles.count:
        print("nothing waits to be told: all dead-letter queues are empty, nothing was given up")
    return 1 if troubles.count else 0


def _queues(stack: Stack, program: Program) -> list[DeadLetterQueue]:
    sqs = client_of("sqs")
    redact = _redaction(program.own_secrets)
    return [
        DeadLetterQueue(
            name, url, stack.queue_url, sqs, is_of_a_queue=name == OF_THE_QUEUE, redact=redact
        )
        for name, url in stack.dead_letter_queues.items()
    ]


def _redaction(own: Sequence[re.Pattern[str]] | None) -> Callable[[str], str]:
    """Where nobody can say what the owner calls a secret, nothing is shown."""
    return (lambda _: "") if own is None else partial(redacted, own=own)


def _found(queues: Sequence[DeadLetterQueue], troubles: Troubles) -> Iterator[Found]:
    for queue in queues:
        with troubles.of(queue, "does not exist"):
            letters = queue.letters()
            if waiting := max(queue.waiting(), len(letters)):
                yield Found(queue, letters, waiting)


def _channels(program: Program) -> list[str]:
    told = (route.destination for route in program.routes if not route.ignored)
    return list(dict.fromkeys(told))


def _say(found: Sequence[Found], given_up: Sequence[GivenUp]) -> None:
    for pile in found:
        print(f"{pile.queue.name}: {counted(pile.waiting, 'message')}")
        _lines([f"{one.what} ({one.why})" if one.why else one.what for one in pile.letters])
    if given_up:
        print(f"given up: {len(given_up)}")
        _lines([_said(one) for one in given_up])


def _said(one: GivenUp) -> str:
    where = f"{cluster_name(one.cluster_key)} in {one.destination}"
    return f"{one.at:%Y-%m-%d %H:%M} UTC  {where}: {', '.join(sorted(one.services))} ({one.why})"


def _lines(lines: Sequence[str]) -> None:
    for line in lines[:LINES_AT_MOST]:
        print("  " + "".join(one if one.isprintable() else "?" for one in line))
    if len(lines) > LINES_AT_MOST:
        print(f"  … and {len(lines) - LINES_AT_MOST} more")


def _agreed(*, delete: bool) -> bool:
    rest = ", and delete for good what is no event" if delete else ""
    question = f"Hand the events back and tell what was given up{rest}? [y/N] "
    print(question, end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _redrive(found: Sequence[Found], troubles: Troubles, *, delete: bool) -> bool:
    """Whether nothing is left that could be seen."""
    total: Counter[str] = Counter()
    for pile in found:
        with troubles.of(pile.queue, "it, or the queue that it hands back to, does not exist"):
            done = pile.queue.hand_back(pile.letters, delete=delete)
            total.update(done)
            print(
                f"{pile.queue.name}: " + ", ".join(f"{n} {what}" for what, n in done.items() if n)
            )
    if left := total[LEFT]:
        todo = "run `ecs-watch redrive --delete-unreadable` if nobody needs them"
        print(f"{counted(left, 'message')} cannot be read and stay; {todo}")
    if total[NOT_RECEIVED]:
        print(f"{counted(total[NOT_RECEIVED], 'message')} not received: {TAKEN}")
    return not left and not total[NOT_RECEIVED]


def _revive_all(given_up: Sequence[GivenUp], store: Store) -> None:
    for channel in dict.fromkeys(one.destination for one in given_up):
        mine = [one for one in given_up if one.destination == channel]
        print(f"{channel}: {_revive(channel, mine, store)}")


def _revive(channel: str, agreed: Sequence[GivenUp], store: Store) -> str:
    """Hold the channel, as whoever tells it does, and let it be owed again; says what was done.

    What was told while the question waited for its answer is not told again.
    """
    owner = f"redrive/{uuid.uuid4().hex}"  # noqa: TID251 the shell is where ids come in
    until = time.monotonic() + HELD_AT_MOST
    while not store.hold(channel, owner, now=_now(), until=_now() + LEASE):
        if time.monotonic() > until:
            raise WatchError(f"{channel} is being told just now; try again in a minute")
        time.sleep(1)
    known = {(one.cluster_key, one.at) for one in agreed}
    try:
        still = [one for one in store.given_up(channel) if (one.cluster_key, one.at) in known]
        for one in still:
            token = uuid.uuid4().hex  # noqa: TID251
            store.revive(one, owner=owner, now=_now(), token=token)
    finally:
        store.release(channel, owner, now=_now())
    if not still:
        return "all of it was told meanwhile"
    return f"{counted(len(still), 'revision')} will be told with the next tick"


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 the shell is where the clock comes in
