"""`ecs-watch redrive`: what was not told after all is told now."""

import argparse
import sys
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from notifier.arns import cluster_name
from notifier.checkup import counted
from notifier.cli.aws import add_stack, explained
from notifier.cli.dead_letters import LEFT, NOT_RECEIVED, DeadLetterQueue, Letter
from notifier.cli.stack import Stack, stack_of
from notifier.errors import WatchError
from notifier.model import GivenUp
from notifier.store import Store
from notifier.wiring import Program, client_of

SUMMARY = "hand events of the dead-letter queues back, and tell what was given up"
EXAMPLES = """
examples:
  ecs-watch redrive            says what there is and why, and asks
  ecs-watch redrive --yes      says it and does it

Mend first what made them fail; `ecs-watch doctor` says what that is. What is no event stays where
it is, and old heartbeats are dropped.
"""

OF_THE_QUEUE = "EventsDeadLetterQueue"
LINES_AT_MOST = 20
TAKEN = "somebody else has taken them, or SQS counts late; run it again in a few minutes"
LEASE = timedelta(seconds=60)
HELD_AT_MOST = 90.0  # seconds that a channel's holder is waited for
Found = Sequence[tuple[DeadLetterQueue, list[Letter]]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_stack(parser)


def run(options: argparse.Namespace) -> int:
    """Say what there is, ask, and do it; 1 when nobody agreed or something is left."""
    from botocore.exceptions import BotoCoreError, ClientError

    stack = stack_of(options.stack)
    program = stack.program()
    try:
        found = [
            (queue, letters)
            for queue in _queues(stack)
            if (letters := queue.letters()) or queue.waiting()
        ]
        given_up = [
            one for channel in _channels(program) for one in program.store.given_up(channel)
        ]
        _say(found, given_up)
        if not given_up and not found:
            print(
                "nothing waits to be told: all dead-letter queues are empty, nothing was given up"
            )
            return 0
        if not options.yes and not _agreed():
            print("nothing was done")
            return 1
        return _redrive(found, given_up, program.store)
    except (BotoCoreError, ClientError) as error:
        raise WatchError(explained(error)) from error


def _queues(stack: Stack) -> list[DeadLetterQueue]:
    sqs = client_of("sqs")
    return [
        DeadLetterQueue(name, url, stack.queue_url, sqs, is_of_a_queue=name == OF_THE_QUEUE)
        for name, url in stack.dead_letter_queues.items()
    ]


def _channels(program: Program) -> list[str]:
    told = (route.destination for route in program.routes if not route.ignored)
    return list(dict.fromkeys(told))


def _say(found: Found, given_up: Sequence[GivenUp]) -> None:
    for queue, letters in found:
        print(f"{queue.name}: {counted(max(queue.waiting(), len(letters)), 'message')}")
        _lines([f"{one.what} ({one.why})" if one.why else one.what for one in letters])
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


def _agreed() -> bool:
    print("Hand the events back and tell what was given up? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _redrive(found: Found, given_up: Sequence[GivenUp], store: Store) -> int:
    left = not_received = 0
    for queue, letters in found:
        done = queue.hand_back(letters)
        left += done.get(LEFT, 0)
        not_received += done[NOT_RECEIVED]
        print(f"{queue.name}: " + ", ".join(f"{n} {what}" for what, n in done.items() if n))
    for channel in dict.fromkeys(one.destination for one in given_up):
        mine = [one for one in given_up if one.destination == channel]
        print(f"{channel}: {_revive(channel, mine, store)}")
    if left:
        print(
            f"{counted(left, 'message')} cannot be read and stay; delete them if nobody needs them"
        )
    if not_received:
        print(f"{counted(not_received, 'message')} not received: {TAKEN}")
    return 1 if left or not_received else 0


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
