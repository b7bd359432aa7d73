"""`make demo`: lets a release fail in the sandbox and shows what Slack was told.

Plays the story named, or the release that fails and is rolled back. In a terminal it stays up until
Ctrl-C, so that the page can be looked at; otherwise it ends.
"""

import argparse
import contextlib
import signal
import sys
import textwrap
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from notifier.cli.text import message_text
from sandbox.account import SandboxError
from sandbox.picture import PictureError, take
from sandbox.running import DEPLOYS, Laps, Sandbox, running_sandbox
from sandbox.story import Story, StoryError, load_story, play, story_names
from sandbox.workspace.pacing import Limits

FIRST = "release-fails-and-is-rolled-back"
VIEW = f"?channel={DEPLOYS}"
PICTURE_HEIGHT = 560


def main(arguments: Sequence[str] | None = None) -> int:
    """Play stories and print the channel.

    Exit code 0: shown; 1: the sandbox failed; 2: no such story; 130: Ctrl-C before it was shown.
    """
    options = _parser().parse_args(arguments)
    end_on_sigterm()
    try:
        show([load_story(name) for name in options.stories or [FIRST]], options.picture)
    except StoryError as error:
        print(error, file=sys.stderr)
        return 2
    except (SandboxError, PictureError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def show(stories: Sequence[Story], picture: Path | None) -> None:
    """Start the sandbox, play the stories, print the channel and take its picture if asked to."""
    with running_sandbox(show_progress, limits=Limits()) as sandbox:
        spans = sum((story.span for story in stories), timedelta(0))
        sandbox.turn_clock(sandbox.now() - spans)  # so that the last story ends now
        for story in stories:
            tell(story, sandbox)
        print_channel(sandbox)
        print(f"\nThe channel as Slack shows it: {sandbox.workspace.url}", flush=True)
        if picture:
            take(f"{sandbox.workspace.url}/{VIEW}", picture, height=PICTURE_HEIGHT)
        elif sys.stdout.isatty():
            stay()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make demo", description="Let a release fail and show what Slack was told."
    )
    parser.add_argument(
        "stories", nargs="*", metavar="STORY", help=f"one of: {', '.join(story_names())}"
    )
    parser.add_argument(
        "--picture", type=Path, metavar="PNG", help="take a picture of the page, then end"
    )
    return parser


def show_progress(what: str, seconds: float) -> None:
    """Print one line of progress."""
    print(f"  {seconds:5.1f} s  {what}", flush=True)


def tell(story: Story, sandbox: Sandbox) -> None:
    """Play a story, with a line for every step."""
    print(f"\n{story.title}\n\n{textwrap.fill(story.teaches, 100)}\n", flush=True)
    lap = Laps(show_progress)
    play(story, sandbox, sandbox.now(), told=lambda step: lap(str(step)))


def print_channel(sandbox: Sandbox) -> None:
    """Print the channel as text: each thread's root, then its replies."""
    messages = sandbox.messages()
    print(f"\n#{sandbox.workspace.channel(DEPLOYS).name}: {len(messages)} messages")
    for message in messages:
        if message.get("thread_ts", message["ts"]) != message["ts"]:
            continue
        _print_message(message, "")
        for reply in messages:
            if reply.get("thread_ts") == message["ts"] != reply["ts"]:
                _print_message(reply, "      ")


def _print_message(message: dict[str, object], indent: str) -> None:
    sent = datetime.fromtimestamp(float(str(message["ts"])), UTC).astimezone()
    edited = " (edited)" if message.get("edited") else ""
    print(f"\n{indent}{sent:%H:%M:%S}{edited}")
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
