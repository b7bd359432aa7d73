"""`make sandbox`: an AWS account with ecs-watch deployed in it and a Slack workspace, until Ctrl-C.

Here the account's own schedule makes the tick every minute. Play events with `ecs-watch replay` or
`aws events put-events` from another terminal, with the environment that is printed.
"""

import shlex
import sys
from pathlib import Path

from notifier.cli.text import print_what_can_be_printed
from sandbox.account import IN_THE_WAY, SandboxError
from sandbox.account.process import ROOT
from sandbox.demo import end_on_sigterm, show_progress, stay
from sandbox.running import running_sandbox
from sandbox.workspace.pacing import Limits

TRY_ME = ROOT / "events" / "try-me-built.json"
HINT = """
Then try:

  ecs-watch replay {event}
  ecs-watch doctor

This account has no trail of CloudTrail, and its tables no time to live and no point-in-time
recovery, which doctor says as well.
"""


def main() -> int:
    """Run until Ctrl-C. 0: ended as asked; 1: not started, the text says why; 130: ended before."""
    end_on_sigterm()
    print_what_can_be_printed()
    try:
        with running_sandbox(show_progress, schedules=True, limits=Limits()) as sandbox:
            print("\nTo use it from another terminal:\n")
            print(f"unset {' '.join(IN_THE_WAY)}")
            for name, value in sandbox.environment.items():
                print(f"export {name}={shlex.quote(value)}")
            print(f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"')
            sandbox.beat()
            print(HINT.format(event=shlex.quote(str(TRY_ME))))
            print(f"The Slack workspace: {sandbox.workspace.url}")
            stay()
    except SandboxError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
