"""`ecs-watch`: what a person does at a shell. One module for each verb."""

import argparse
import logging
import sys
from collections.abc import Sequence

from notifier import __version__
from notifier.cli import confirm, doctor, mute, mutes, preview, redrive, replay, run, unmute
from notifier.cli.aws import take_profile, take_region
from notifier.cli.text import print_what_can_be_printed
from notifier.errors import NoTable, WatchError

EXIT_CODES = """
exit codes:
  0  done
  1  something could not be read, found or sent; standard error says what
  2  the command line was not understood
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the verb that the command line names; returns the exit code."""
    print_what_can_be_printed()
    logging.getLogger("notifier").addHandler(logging.NullHandler())  # a log is no answer
    take_region()
    options = _parser().parse_args(arguments)
    try:
        take_profile(options)
        code: int = options.run(options)
    except NoTable:
        todo = "`ecs-watch doctor` says how it is restored"
        print(f"ecs-watch: stack '{options.stack}' has lost its table; {todo}", file=sys.stderr)
        return 1
    except WatchError as error:
        print(f"ecs-watch: {error}", file=sys.stderr)
        return getattr(options, "refused", 1)
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ecs-watch",
        description="Every Amazon ECS deployment that fails in an account, told in Slack.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ecs-watch {__version__}")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    for verb in (preview, replay, confirm, run, mute, mutes, unmute, doctor, redrive):
        added = verbs.add_parser(
            verb.__name__.rpartition(".")[2],
            help=verb.SUMMARY,
            description=f"{verb.SUMMARY}.",
            epilog=verb.EXAMPLES + getattr(verb, "EXIT_CODES", EXIT_CODES),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        verb.add_arguments(added)
        added.set_defaults(run=verb.run)
    return parser
