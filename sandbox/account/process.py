"""Starts the AWS account's process on a free port of 127.0.0.1 and ends it, whatever happens.

It gets a process group of its own, which is killed as a whole: MiniStack's function processes
outlive a mere SIGTERM. Should this process die first, the launcher notices that its standard input
closed and kills the group itself.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from sandbox.account.clock import Clock, real_now

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = Path(__file__).with_name("launcher.py")
VERSION = "1.5.33"

ACCOUNT_ID = "123456789012"
REGION = "eu-west-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


class SandboxError(Exception):
    """The sandbox could not do what it was asked; the text says why."""


def sandbox_python() -> Path:
    """Return the Python that MiniStack is installed for; SANDBOX_PYTHON names another one."""
    python = Path(os.environ.get("SANDBOX_PYTHON") or ROOT / ".venv-sandbox" / "bin" / "python")
    if not python.exists():
        raise SandboxError(f"{python} is not there: run `make install`")
    return python


class Process:
    """MiniStack with what our launcher adds; `url` is where it listens."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        python = sandbox_python()
        self._home = Path(tempfile.mkdtemp(prefix="ecs-watch-account-", dir=fast_folder()))
        self.clock = Clock(self._home / "clock")
        self.clock.turn_to(real_now())
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._output = (self._home / "ministack.log").open("w+")
        self._process = subprocess.Popen(
            [python, LAUNCHER],
            env=self._environment(environment),
            cwd=self._home,
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        # Everything inherited is left out but the path, so that no credentials, proxy or endpoint
        # of the user's shell reaches the functions.
        return {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(self._home),
            "SANDBOX_HOME": str(self._home),
            "SANDBOX_CLOCK": str(self.clock.path),
            "TMPDIR": str(self._home),
            "LANG": "C.UTF-8",
            "NO_PROXY": "*",
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "AUTH": "true",
            "LAMBDA_EXECUTOR": "local",
            "MINISTACK_ACCOUNT_ID": ACCOUNT_ID,
            "MINISTACK_REGION": REGION,
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "STATE_DIR": str(self._home / "state"),
            "S3_DATA_DIR": str(self._home / "s3"),
            "LAMBDA_CODE_DIR": str(self._home / "code"),
            **more,
        }

    def wait_until_ready(self, seconds: float = 30) -> None:
        """Return when the account answers; raise SandboxError with its log when it does not."""
        deadline = time.monotonic() + seconds
        while self._process.poll() is None and time.monotonic() < deadline:
            if (version := self._version()) is not None:
                self._check(version)
                return
            time.sleep(0.05)
        raise SandboxError(f"MiniStack {VERSION} did not start:\n{self.log()[-4000:]}")

    def _version(self) -> str | None:
        try:
            with urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=2) as answer:
                return str(json.load(answer).get("version", ""))
        except (urllib.error.URLError, OSError):
            return None

    def _check(self, version: str) -> None:
        if version != VERSION:
            raise SandboxError(
                f"MiniStack {version} is installed in .venv-sandbox, but the sandbox relies on"
                f" {VERSION}: earlier ones do not enforce IAM policies"
            )

    def log(self) -> str:
        """Return what MiniStack printed so far."""
        self._output.flush()
        return (self._home / "ministack.log").read_text(errors="replace")

    def stop(self) -> None:
        """Kill the process group, wait for it, and remove its files."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=10)
        if self._process.stdin:
            self._process.stdin.close()
        self._output.close()
        shutil.rmtree(self._home, ignore_errors=True)


def fast_folder() -> str | None:
    """Return a folder in memory, if this machine has one with room, for temporary files.

    Each function process unpacks the program, some thousands of files: on a disk that is the
    slowest part of a start.
    """
    memory = Path("/dev/shm")  # Linux; 64 MB only in many containers
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 1_000_000_000
    return str(memory) if roomy and os.access(memory, os.W_OK) else None


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
