"""`make demo`: lets things go wrong in the sandbox and shows what Slack was told.

Plays the stories named, or a release that is rolled back, a job that cannot start and an outage,
and then what a shell, a pipeline and the watcher's own examination say. In a terminal it stays up
until Ctrl-C, so that the page can be looked at; otherwise it ends.
"""

import argparse
import contextlib
import re
import shlex
import signal
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from notifier.cli.text import message_text, print_what_can_be_printed
from notifier.retries import STARTED_BY
from sandbox.account import SandboxError
from sandbox.confirms import confirmed
from sandbox.ecs_double import Json
from sandbox.faults import PLANTED, planted_faults
from sandbox.one_off_demo import Shown, ended, give_jobs, running_jobs
from sandbox.picture import PictureError, Size, take
from sandbox.running import DEPLOYS, Sandbox, running_sandbox
from sandbox.shell import Process, Ran, at_a_shell
from sandbox.story import Step, Story, StoryError, load_story, play, story_names
from sandbox.workspace import Recorded
from sandbox.workspace.pacing import Limits

PICTURED = ("release-fails-and-is-rolled-back", "outage-of-twelve-services")
USUAL = (PICTURED[0], "scheduled-job-is-tried-again", PICTURED[1])
NOTES_SHOWN = 2  # of what happened at one moment
CONSOLE = re.compile(r"(https://[a-z0-9.-]+\.console\.aws\.amazon\.com)/\S+")
PICTURED_AT = timedelta(minutes=9)  # of the outage: all is told and nothing has recovered
CHANNEL_SIZE = Size(1440, 1040, 1.1)
THREAD_SIZE = Size(760, 600, 1.5)


def main(arguments: Sequence[str] | None = None) -> int:
    """Play stories and print the channel.

    Exit code 0: shown; 1: the sandbox failed; 2: no such story; 130: Ctrl-C before it was shown.
    """
    print_what_can_be_printed()
    options = _parser().parse_args(arguments)
    end_on_sigterm()
    try:
        usual = PICTURED if options.pictures else USUAL
        stories = [load_story(name) for name in options.stories or usual]
        show(stories, options.pictures, is_usual=not options.stories and not options.pictures)
    except StoryError as error:
        print(error, file=sys.stderr)
        return 2
    except (SandboxError, PictureError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def show(stories: Sequence[Story], pictures: Path | None, *, is_usual: bool) -> None:
    """Start the sandbox, play the stories, print the channel and take pictures if asked to.

    What the demo shows beside its stories, it shows when it is the usual one.
    """
    began = time.monotonic()
    if pictures:
        *before, last = stories
        stories = [*before, last.until(PICTURED_AT)]
    with running_sandbox(show_progress, limits=Limits()) as sandbox:
        spans = sum((story.span for story in stories), timedelta(0))
        sandbox.turn_clock(sandbox.now() - spans)  # so that the last story ends now
        arrive(stories, sandbox)
        shell_tasks = one_off_tasks(sandbox) if is_usual else contextlib.nullcontext([])
        with shell_tasks as ran, sandbox.trying_again(stories):
            for story in stories:
                tell(story, sandbox)
            print_channel(sandbox)
            show_jobs(ran)
        if is_usual:
            print_confirmed(sandbox)
            show_doctor(sandbox)
        print(f"\n{time.monotonic() - began:.0f} s in all", end=". ")
        print(f"The channel as Slack shows it: {sandbox.workspace.url}", flush=True)
        if pictures:
            take_pictures(sandbox, pictures)
        elif sys.stdout.isatty():
            stay()


def one_off_tasks(
    sandbox: Sandbox,
) -> contextlib.AbstractContextManager[list[tuple[Shown, Process]]]:
    """Run one-off tasks as from a shell, while the stories are played."""
    give_jobs(sandbox.ecs)
    return running_jobs(sandbox.environment)


def show_jobs(ran: Sequence[tuple[Shown, Process]]) -> None:
    """Print what running them said, and the exit codes."""
    if ran:
        print_title("One-off tasks, run from a shell")
    for one, process in ran:
        status, out, err = ended(process)
        log = f"--- its log ---\n{out}" if out else ""
        print_at_a_shell(one.teaches, one.command, err + log, status)


def take_pictures(sandbox: Sandbox, folder: Path) -> None:
    """Take one of the channel beside its last thread, and one of its first thread alone."""
    roots = [message["ts"] for message in sandbox.messages() if message.get("reply_count")]
    page = f"{sandbox.workspace.url}?channel={DEPLOYS}&thread="
    take(f"{page}{roots[-1]}", folder / "channel.png", CHANNEL_SIZE)
    take(f"{page}{roots[0]}&view=thread", folder / "thread.png", THREAD_SIZE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make demo", description="Let things go wrong and show what Slack was told."
    )
    parser.add_argument(
        "stories", nargs="*", metavar="STORY", help=f"one of: {', '.join(story_names())}"
    )
    parser.add_argument(
        "--pictures",
        type=Path,
        metavar="FOLDER",
        help="take channel.png in the middle of the last story and thread.png, then end",
    )
    return parser


def show_progress(what: str, seconds: float) -> None:
    """Print one line of progress."""
    print(f"  {seconds:5.1f} s  {what}", flush=True)


def arrive(stories: Sequence[Story], sandbox: Sandbox) -> None:
    """Let ecs-watch come to an account in which all is well, and take stock of it."""
    for story in stories:
        for step in replace(story, steps=story.opening).beginning(sandbox.now()):
            sandbox.patch_ecs(step.ecs or {})
    sandbox.tick()


def tell(story: Story, sandbox: Sandbox) -> None:
    """Play a story, with a line for every moment of it and what Slack is told then."""
    print_title(story.title)
    print(f"\n{textwrap.fill(story.teaches, 100)}\n", flush=True)
    new = News(sandbox)

    def show_moment(steps: Sequence[Step]) -> None:
        news = new.tried_again() + new.told()
        if news or not steps[0].tick:
            print(f"  {moment_line(steps)}{news}", flush=True)

    play(story, sandbox, sandbox.now(), told=show_moment)


def moment_line(steps: Sequence[Step]) -> str:
    """Return when in the story it was, and what happened then."""
    minutes, seconds = divmod(int(steps[0].at), 60)
    notes = [step.note for step in steps[:NOTES_SHOWN]]
    notes += [f"and {len(steps) - NOTES_SHOWN} more"] if len(steps) > NOTES_SHOWN else []
    return f"{minutes:3d}:{seconds:02d}  {'; '.join(notes)}"


@dataclass
class News:
    """What was new in Slack each time one asks, and what was tried again."""

    sandbox: Sandbox
    seen: int = 0
    asked: int = 0

    def __post_init__(self) -> None:
        self.tried_again()
        self.told()

    def tried_again(self) -> str:
        """Return ` → ECS: RunTask`, or nothing; `ecs-watch run` has another name."""
        requests = self.sandbox.ecs.requests
        new, self.asked = requests[self.asked :], len(requests)
        calls = [one for one, asked in new if asked.get("startedBy", "").startswith(STARTED_BY)]
        return f"  → ECS: {', '.join(calls)}" if calls else ""

    def told(self) -> str:
        """Return ` → Slack: message, 2 × reply`, or nothing."""  # noqa: RUF002
        calls = self.sandbox.workspace.calls
        new, self.seen = calls[self.seen :], len(calls)
        counts = Counter(filter(None, map(_told_by, new)))
        said = ", ".join(
            f"{count} × {what}" if count > 1 else what  # noqa: RUF001
            for what, count in counts.items()
        )
        return f"  → Slack: {said}" if said else ""


def _told_by(call: Recorded) -> str:
    if call.method not in ("chat.postMessage", "chat.update"):
        return ""
    if call.outcome != "ok":
        return "without success"
    if call.method == "chat.update":
        return "edit of the root"
    if call.arguments.get("reply_broadcast"):
        return "reply, also to the channel"
    return "reply" if call.arguments.get("thread_ts") else "message"


def print_channel(sandbox: Sandbox) -> None:
    """Print the channel as text: each thread's root, then its replies."""
    messages = sandbox.messages()
    count = "1 message" if len(messages) == 1 else f"{len(messages)} messages"
    print_title("What Slack was told")
    print(f"\n#{sandbox.workspace.channel(DEPLOYS).name}: {count}")
    for message in messages:
        if is_reply(message):
            continue
        _print_message(message, "")
        for reply in messages:
            if is_reply(reply) and reply["thread_ts"] == message["ts"]:
                _print_message(reply, "      ")


def show_doctor(sandbox: Sandbox) -> None:
    """Let `ecs-watch doctor` look at the stack as it is, and with faults planted in it."""
    print_title("Is the watcher itself well? `ecs-watch doctor` asks the deployed stack")
    print()
    sandbox.beat()
    _print_findings(at_a_shell(sandbox, "doctor"))
    print(f"\nNow {', '.join(PLANTED)}.\n")
    with planted_faults(sandbox):
        _print_findings(at_a_shell(sandbox, "doctor"))


def _print_findings(ran: Ran) -> None:
    """What fails, with what to do about it; of all else, how much there is."""
    lines = (ran.out + ran.err).splitlines()
    for mark, meaning in (("✓", "well"), ("–", "worth knowing")):  # noqa: RUF001
        print(f"  {sum(line.lstrip().startswith(mark) for line in lines)} × {mark} {meaning}")  # noqa: RUF001
    for line, advice in pairwise(lines):
        if line.lstrip().startswith(("✗", "?")):
            print(f"  {line.strip()}\n      {advice.strip()}")
    print(f"  {lines[-1]}; exit code {ran.code}", flush=True)


def print_confirmed(sandbox: Sandbox) -> None:
    """Print what `ecs-watch confirm` says of three releases, and its exit codes."""
    print_title("In a pipeline: is my deployment really live?")
    for one in confirmed(sandbox):
        print_at_a_shell(f"A release {one.case.title}", one.case.command, one.said, one.exit_code)


def print_at_a_shell(teaches: str, command: Sequence[str], said: str, status: int) -> None:
    """Print what a command said, without the ends of links that lead nowhere from here."""
    print(f"\n{teaches}\n\n  $ ecs-watch {shlex.join(command)}")
    print(textwrap.indent(CONSOLE.sub(r"\1/…", said.rstrip()), "  "))
    print(f"  $ echo $?\n  {status}", flush=True)


def print_title(text: str) -> None:
    """Print what the next lines are about."""
    print(f"\n── {text} {'─' * max(2, 96 - len(text))}", flush=True)


def is_reply(message: Json) -> bool:
    """Whether the message stands in another one's thread."""
    return bool(message.get("thread_ts", message["ts"]) != message["ts"])


def _print_message(message: Json, indent: str) -> None:
    sent = datetime.fromtimestamp(float(message["ts"]), UTC).astimezone()
    versions = len(message["versions"])
    notes = [f"edited {versions} times" if versions > 1 else "edited once"] if versions else []
    notes += ["also in the channel"] if is_reply(message) and message["in_channel"] else []
    notes += [f":{mark['name']}:" for mark in message.get("reactions", [])]
    print(f"\n{indent}{sent:%H:%M:%S}{''.join(f'  ({note})' for note in notes)}")
    for line in message_text(message).splitlines():
        print(f"{indent}  {line}")


def stay() -> None:
    """Return on Ctrl-C, or when asked to end."""
    with contextlib.suppress(KeyboardInterrupt):
        print("Ctrl-C ends it.", flush=True)
        threading.Event().wait()


def end_on_sigterm() -> None:
    """Let SIGTERM do what Ctrl-C does, so that everything started is ended."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


if __name__ == "__main__":
    raise SystemExit(main())
