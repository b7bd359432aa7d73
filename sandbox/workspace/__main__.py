"""`python -m sandbox.workspace`: a Slack workspace until Ctrl-C.

Prints the page's address and the environment to export. Example:

    python -m sandbox.workspace --port 8765 --channel deploys --channel general
"""

import argparse
import signal
import sys
import threading
from collections.abc import Mapping, Sequence

from notifier.cli.text import print_what_can_be_printed
from sandbox.workspace.workspace import CHANNELS, FULL_SCOPES, LIMITS, MINIMAL_SCOPES, Workspace


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal says stop. Exit code 0 then, 1 when the port is taken."""
    print_what_can_be_printed()
    options = _parser().parse_args(arguments)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        workspace = Workspace(
            _channels(options.channel),
            scopes=MINIMAL_SCOPES if options.minimal else FULL_SCOPES,
            limits=None if options.unlimited else LIMITS,
            port=options.port,
        )
    except OSError as error:
        print(f"port {options.port} cannot be used: {error}", file=sys.stderr)
        return 1
    with workspace:
        print(_welcome(workspace), flush=True)
        ended.wait()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.workspace",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    parser.add_argument(
        "--channel",
        action="append",
        metavar="NAME",
        help="a channel, once or more; the webhook posts to the first (deploys, general)",
    )
    parser.add_argument("--minimal", action="store_true", help="the app may do nothing but post")
    parser.add_argument("--unlimited", action="store_true", help="never answer 429")
    return parser


def _channels(names: Sequence[str] | None) -> Mapping[str, str]:
    if not names:
        return CHANNELS
    return {f"C0{index:02d}{_upper(name)}": name for index, name in enumerate(names)}


def _upper(name: str) -> str:
    return "".join(filter(str.isalnum, name.upper())).ljust(6, "0")[:12]


def _welcome(workspace: Workspace) -> str:
    channels = [f"  {id}  #{channel.name}" for id, channel in workspace.team.channels.items()]
    exports = [f"export {name}={value}" for name, value in workspace.environment.items()]
    return "\n".join([f"Slack workspace: {workspace.url}", *channels, *exports, "Ctrl-C ends it."])


if __name__ == "__main__":
    sys.exit(main())
