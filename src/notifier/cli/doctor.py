"""`ecs-watch doctor`: whether the watcher can do its work, line by line."""

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from notifier import checkup
from notifier.checkup import Finding, Verdict, counted
from notifier.cli.aws import add_stack
from notifier.cli.stack import FUNCTION, Stack, stack_of
from notifier.cli.surroundings import surroundings
from notifier.errors import NoTable, SecretUnavailable, WatchError
from notifier.examining import Examination
from notifier.model import Message, Sent, Unknown
from notifier.routing import WEBHOOK
from notifier.secrets import Secret
from notifier.wiring import Program, client_of

SUMMARY = "say what of the watcher works, what does not, and what to do"
EXAMPLES = f"""
examples:
  ecs-watch doctor
  ecs-watch doctor --send-test      also posts one message to the default channel

  {Verdict.WORKS} works
  {Verdict.FAILS} fails, with what to do
  {Verdict.UNSEEN} could not be seen
  {Verdict.OPEN} is not given, with what that costs

The exit code is 0 only when everything was seen and nothing fails.
"""

FIRST_WITHIN = timedelta(minutes=20)  # of deploying; the heartbeat's rate is 15 minutes
TEST_MESSAGE = "ecs-watch doctor: this is a test, nothing has failed."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "--send-test", action="store_true", help="also post one message to the default channel"
    )
    add_stack(parser)


def run(options: argparse.Namespace) -> int:
    """Print one line a check; 1 when one of them fails or could not be seen."""
    stack = stack_of(options.stack)
    now = datetime.now(UTC)  # noqa: TID251 the shell is where the clock comes in
    count: Counter[Verdict] = Counter()
    for finding in findings(stack, now, send_test=options.send_test):
        count[finding.verdict] += 1
        print(f"{finding.verdict} {finding.check} {finding.says}")
        for more in filter(None, (finding.todo, finding.command)):
            print(f"    {more}")
    said = ", ".join(
        f"{count[verdict]:,} {what}" for verdict, what in _SUM.items() if count[verdict]
    )
    print(f"\n{counted(count.total(), 'check')}: {said}")
    return 1 if count[Verdict.FAILS] or count[Verdict.UNSEEN] else 0


_SUM = {
    Verdict.WORKS: "hold",
    Verdict.FAILS: "failed",
    Verdict.UNSEEN: "could not be seen",
    Verdict.OPEN: "not given",
}


def findings(stack: Stack, now: datetime, *, send_test: bool = False) -> Iterator[Finding]:
    """Everything that is checked, what the functions check themselves first."""
    program = stack.program()
    readable = {name: _readable(f"secret {name}", secret) for name, secret in _secrets(program)}
    yield from readable.values()
    secrets = {name: one.verdict for name, one in readable.items()}
    try:
        yield from _examination(program, stack, secrets).findings()
        yield from _by_itself(program, stack, now)
    except NoTable:
        pass  # the line of the table says it; what stands in it is not asked for
    except WatchError as error:
        is_denied = "AccessDenied" in str(error)
        todo = "allow yourself to read the table" if is_denied else "look again later"
        yield Finding("table", Verdict.UNSEEN, f"could not be read: {error}", todo)
    yield from surroundings(stack, program.routes, client_of)
    if send_test:
        yield post_test(program, secrets)


def _examination(program: Program, stack: Stack, secrets: Mapping[str, Verdict]) -> Examination:
    """Slack is not asked without a token, and not taken at its word without the functions' own."""
    examination = program.examination()
    parts = replace(examination.parts, functions=dict(stack.of(FUNCTION)))
    match secrets.get(program.settings.slack_token_name):
        case Verdict.FAILS:
            return replace(examination, parts=replace(parts, bot_channels=()))
        case Verdict.UNSEEN:
            return replace(examination, parts=parts, slack=Closed)
    return replace(examination, parts=parts)


def _by_itself(program: Program, stack: Stack, now: datetime) -> Iterator[Finding]:
    """Ticks and heartbeats. In a stack that is minutes old nothing is wrong without them."""
    is_new = bool(stack.created_at and now - stack.created_at < FIRST_WITHIN)
    for one in (checkup.tick(program.store.checkup(), now), *heartbeats(program, stack, now)):
        if is_new and one.verdict is Verdict.FAILS:
            todo = "the first comes within 15 minutes of deploying; look again then"
            yield replace(one, verdict=Verdict.UNSEEN, says="has not come yet", todo=todo)
        else:
            yield one


NOT_PERMITTED = Unknown("secret_not_permitted")


class Closed:
    """Slack without a token: whether it takes the functions' token is not known here."""

    def identity(self) -> Unknown:
        """Nobody knows."""
        return NOT_PERMITTED

    def channel(self, _channel: str) -> Unknown:
        """Nobody knows."""
        return NOT_PERMITTED


def _secrets(program: Program) -> Iterator[tuple[str, Secret]]:
    settings = program.settings
    if settings.slack_token_name:
        yield settings.slack_token_name, program.token
    if settings.slack_webhook_name:
        yield settings.slack_webhook_name, program.webhook_url


def _readable(check: str, secret: Secret) -> Finding:
    """Whether the secret can be read, by you at least."""
    try:
        secret()
    except SecretUnavailable as error:
        if "AccessDenied" in str(error):
            todo = "whether the functions can, their heartbeat says"
            return Finding(check, Verdict.UNSEEN, "may not be read by you", todo)
        return Finding(check, Verdict.FAILS, "cannot be used", str(error))
    return Finding(check, Verdict.WORKS, "can be read")


def heartbeats(program: Program, stack: Stack, now: datetime) -> Iterator[Finding]:
    """The last heartbeat of each account and region; our own must be among them."""
    heard = program.store.heard()
    if (stack.account, stack.region) not in {(one.account, one.region) for one in heard}:
        check = f"{checkup.HEARTBEAT}{stack.account} {stack.region}"
        todo = "see the rule Heartbeat and the log of on_events"
        yield Finding(check, Verdict.FAILS, "never came", todo)
    yield from checkup.heartbeats(heard, now)


def post_test(program: Program, secrets: Mapping[str, Verdict]) -> Finding:
    """Post one message where everything is told that has no channel of its own."""
    (channel,) = [one.destination for one in program.routes if not one.ignored][-1:] or [""]
    check = f"test message to {channel}"
    if not channel:
        return Finding(check, Verdict.FAILS, "has no channel", "Channels ignores every cluster")
    settings = program.settings
    secret = settings.slack_webhook_name if channel == WEBHOOK else settings.slack_token_name
    if secrets.get(secret) is Verdict.FAILS:
        return Finding(check, Verdict.UNSEEN, "was not tried", "mend the secret first")
    if secrets.get(secret) is Verdict.UNSEEN:
        todo = "let somebody who may read the secret post it"
        return Finding(check, Verdict.UNSEEN, f"was not tried: {NOT_PERMITTED.code}", todo)
    door = program.teller().door(channel)
    outcome = door.post(channel, Message(text=TEST_MESSAGE))
    if isinstance(outcome, Sent):
        return Finding(check, Verdict.WORKS, "was posted")
    todo = "what it means: https://docs.slack.dev/reference/methods/chat.postMessage#errors"
    return Finding(check, Verdict.FAILS, f"was not: {outcome.code}", f"{todo}")
