"""`ecs-watch mute`: tell nothing of some clusters for a while."""

import argparse
import re
from datetime import UTC, datetime, timedelta

from notifier.cli.aws import add_stack, table_of
from notifier.model import Mute

SUMMARY = "tell nothing of some clusters for a while"
EXAMPLES = """
examples:
  ecs-watch mute --cluster 'prod-*' --for 2h --why 'planned failover'
  ecs-watch mute --cluster dev-web --for 30m

What still fails when the mute ends is told then; what is over by then is not.
"""

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
LONGEST = timedelta(days=30)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "--cluster",
        required=True,
        type=pattern,
        metavar="PATTERN",
        help="clusters' names; * and ? are wildcards",
    )
    parser.add_argument(
        "--for", required=True, dest="span", type=span, metavar="SPAN", help="such as 30m, 2h, 1d"
    )
    parser.add_argument("--why", default="", help="shown by `ecs-watch mutes`")
    add_stack(parser)


def pattern(text: str) -> str:
    """A pattern that a cluster's name can match.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateCluster.html
    """
    if not re.fullmatch(r"[A-Za-z0-9_*?-]{1,255}", text):
        raise argparse.ArgumentTypeError(
            f"'{text}' matches no cluster: names have letters, digits, - and _; one mute a pattern"
        )
    return text


def span(text: str) -> timedelta:
    """`90m`, `2h` or `1d` as a time span; at most 30 days."""
    found = re.fullmatch(r"(\d{1,6})([mhd])", text.strip())
    length = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else timedelta()
    if not timedelta() < length <= LONGEST:
        raise argparse.ArgumentTypeError(f"'{text}' is no span such as 30m, 2h or 1d, up to 30d")
    return length


def run(options: argparse.Namespace) -> int:
    """Begin the mute."""
    until = datetime.now(UTC) + options.span  # noqa: TID251 the shell is where the clock comes in
    mute = Mute(pattern=options.cluster, until=until, why=options.why)
    table_of(options.stack).mute(mute)
    print(f"{mute.pattern}: muted {until_when(mute)}")
    return 0


def until_when(mute: Mute) -> str:
    """When the mute ends, in the reader's own time."""
    return f"until {mute.until.astimezone():%Y-%m-%d %H:%M %Z}"
