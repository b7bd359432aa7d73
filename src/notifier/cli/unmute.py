"""`ecs-watch unmute`: end a mute before its time."""

import argparse

from notifier.cli.aws import add_stack, table_of
from notifier.errors import WatchError

SUMMARY = "end a mute before its time"
EXAMPLES = """
examples:
  ecs-watch unmute --cluster 'prod-*'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "--cluster", required=True, metavar="PATTERN", help="the pattern as `mutes` lists it"
    )
    add_stack(parser)


def run(options: argparse.Namespace) -> int:
    """End the mute; WatchError when there is none of this pattern."""
    if not table_of(options.stack).unmute(options.cluster):
        raise WatchError(f"'{options.cluster}' is not muted; `ecs-watch mutes` lists what is")
    print(f"{options.cluster}: no longer muted; what fails is told within a minute")
    return 0
