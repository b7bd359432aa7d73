"""`ecs-watch` as a person runs it: a process of its own that talks to the sandbox."""

import os
import subprocess
import sys
from dataclasses import dataclass

from sandbox.account.process import ROOT
from sandbox.running import Sandbox

_COMMAND = "import sys; from notifier.cli import main; sys.exit(main(sys.argv[1:]))"
WITHIN = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


def at_a_shell(sandbox: Sandbox, *arguments: str) -> Ran:
    """Run `ecs-watch` with these arguments. Raises subprocess.TimeoutExpired after a minute."""
    ran = subprocess.run(
        [sys.executable, "-c", _COMMAND, *arguments],
        env={**os.environ, **sandbox.environment, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr)
