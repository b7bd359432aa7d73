"""`ecs-watch` as a person runs it: a process of its own that talks to the sandbox."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.account.process import ROOT
from sandbox.running import Sandbox

Process = subprocess.Popen[str]
WITHIN = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


def started(arguments: Sequence[str], environment: Mapping[str, str], **more: Any) -> Process:
    """Start `ecs-watch` with these arguments; its output is to be read. `more` is for Popen."""
    piped: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    return subprocess.Popen(
        [sys.executable, "-m", "notifier", *arguments],
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT / "src")},
        stdin=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        **piped,
    )


def at_a_shell(sandbox: Sandbox, *arguments: str) -> Ran:
    """Run `ecs-watch` with these arguments. Raises subprocess.TimeoutExpired after a minute."""
    with started(arguments, sandbox.environment) as process:
        try:
            out, err = process.communicate(timeout=WITHIN)
        finally:
            process.kill()
    return Ran(process.returncode, out, err)
