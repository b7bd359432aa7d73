"""`ecs-watch doctor`: whether the watcher can do its work, line by line."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from notifier import checkup
from notifier.checkup import Finding, Verdict
from notifier.cli.aws import add_stack
from notifier.cli.stack import FUNCTION, Stack, stack_of
from notifier.cli.surroundings import surroundings
from notifier.errors import SecretUnavailable, WatchError
from notifier.examining import Examination
from notifier.model import Message, Sent
from notifier.secrets import Secret
from notifier.wiring import Program, client_of

SUMMARY = "say what of the watcher works, what does not, and what to do"
EXAMPLES = f"""
examples:
  ecs-watch doctor
  ecs-watch doctor --send-test      also posts one message to the default channel

  {Verdict.WORKS} works
  {Verdict.FAILS} fails, with what to do
  {Verdict.OPEN} could not be seen or is not given, with what that costs

The exit code is 0 only when nothing fails.
"""

TEST_MESSAGE = "ecs-watch doctor: this is a test, nothing has failed."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "--send-test", action="store_true", help="also post one message to the default channel"
    )
    add_stack(parser)


def run(options: argparse.Namespace) -> int:
    """Print one line a check; 1 when one of them fails."""
    stack = stack_of(options.stack)
    now = datetime.now(UTC)  # noqa: TID251 the shell is where the clock comes in
    failed = count = 0
    for finding in findings(stack, now, send_test=options.send_test):
        count += 1
        failed += finding.verdict is Verdict.FAILS
        print(f"{finding.verdict} {finding.check} {finding.says}")
        if finding.todo:
            print(f"    {finding.todo}")
    print(f"\n{failed} of {count} checks fail" if failed else f"\nall {count} checks hold")
    return 1 if failed else 0


def findings(stack: Stack, now: datetime, *, send_test: bool = False) -> Iterator[Finding]:
    """Everything that is checked, what the functions check themselves first."""
    program = stack.program()
    yield from secrets(program)
    try:
        yield from _examination(program, stack).findings()
        yield checkup.tick(program.store.checkup(), now)
        yield from heartbeats(program, stack, now)
    except WatchError as error:
        todo = "see the lines above; allow yourself to read the table"
        yield Finding("table", Verdict.FAILS, f"could not be read: {error}", todo)
    yield from surroundings(stack, program.routes, client_of)
    if send_test:
        yield post_test(program)


def _examination(program: Program, stack: Stack) -> Examination:
    examination = program.examination()
    parts = replace(examination.parts, functions=dict(stack.of(FUNCTION)))
    return replace(examination, parts=parts)


def secrets(program: Program) -> Iterator[Finding]:
    """Whether the secrets can be read, by you at least."""
    settings = program.settings
    named = [
        (settings.slack_token_name, program.token),
        (settings.slack_webhook_name, program.webhook_url),
    ]
    for name, secret in named:
        if name:
            yield _readable(f"secret {name}", secret)


def _readable(check: str, secret: Secret) -> Finding:
    try:
        secret()
    except SecretUnavailable as error:
        if "AccessDenied" in str(error):
            todo = "whether the functions can, their heartbeat says"
            return Finding(check, Verdict.OPEN, "may not be read by you", todo)
        return Finding(check, Verdict.FAILS, "cannot be used", str(error))
    return Finding(check, Verdict.WORKS, "can be read")


def heartbeats(program: Program, stack: Stack, now: datetime) -> Iterator[Finding]:
    """The last heartbeat of each account and region; our own must be among them."""
    heard = program.store.heard()
    if (stack.account, stack.region) not in {(one.account, one.region) for one in heard}:
        check = f"{checkup.HEARTBEAT}{stack.account} {stack.region}"
        todo = "wait 15 minutes after deploying; then see the rule Heartbeat and on_events's log"
        yield Finding(check, Verdict.FAILS, "never came", todo)
    yield from checkup.heartbeats(heard, now)


def post_test(program: Program) -> Finding:
    """Post one message where everything is told that has no channel of its own."""
    (channel,) = [one.destination for one in program.routes if not one.ignored][-1:] or [""]
    check = f"test message to {channel}"
    if not channel:
        return Finding(check, Verdict.FAILS, "has no channel", "Channels ignores every cluster")
    door = program.teller().door(channel)
    outcome = door.post(channel, Message(text=TEST_MESSAGE))
    if isinstance(outcome, Sent):
        return Finding(check, Verdict.WORKS, "was posted")
    todo = "what it means: https://docs.slack.dev/reference/methods/chat.postMessage#errors"
    return Finding(check, Verdict.FAILS, f"was not: {outcome.code}", f"{todo}")
