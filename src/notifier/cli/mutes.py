"""`ecs-watch mutes`: what is muted, until when and why."""

import argparse
from datetime import UTC, datetime

from notifier.cli.aws import add_stack, table_of
from notifier.cli.mute import until_when

SUMMARY = "list what is muted"
EXAMPLES = """
examples:
  ecs-watch mutes
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    add_stack(parser)


def run(options: argparse.Namespace) -> int:
    """Print one line a mute; says so when there is none."""
    now = datetime.now(UTC)  # noqa: TID251 the shell is where the clock comes in
    mutes = table_of(options.stack).mutes()
    on = sorted((mute for mute in mutes if mute.until > now), key=lambda mute: mute.until)
    for mute in on:
        print(f"{mute.pattern}  {until_when(mute)}  {mute.why}")
    if not on:
        print("nothing is muted")
    return 0
