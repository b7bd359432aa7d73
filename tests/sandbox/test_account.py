"""The account ends whatever happens, listens on this machine only, and says what is wrong."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from sandbox.account import Account, SandboxError, artefact, process
from sandbox.account.clock import Clock, real_now
from sandbox.account.shell import own_environment
from sandbox.running import Sandbox

pytestmark = pytest.mark.sandbox

Eventually = Callable[[Callable[[], bool]], bool]

STARTS_AND_WAITS = """
from sandbox.account import Account
with Account() as account:
    print(account.url, account._process._process.pid, account._process._home, flush=True)
    input()
"""


def test_the_account_ends_when_whoever_started_it_is_killed(eventually: Eventually) -> None:
    command = [sys.executable, "-c", STARTS_AND_WAITS]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=process.ROOT
    ) as starter:
        assert starter.stdout
        url, pid, home = starter.stdout.readline().split()
        assert answers(url)
        starter.kill()

    assert eventually(lambda: not alive(int(pid)))
    assert eventually(lambda: not Path(home).exists())
    assert not answers(url)


def test_the_account_gives_the_shell_back_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobodys")
    monkeypatch.setenv("no_proxy", "*")
    before = dict(os.environ)

    with own_environment():
        assert "AWS_PROFILE" not in os.environ
        assert os.environ["no_proxy"] == "*"

    assert dict(os.environ) == before


def test_the_account_leaves_nothing_behind() -> None:
    with Account() as account:
        pid, home = account._process._process.pid, account._process._home
        assert home.exists()

    assert not alive(pid)
    assert not home.exists()


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux shows who listens")
def test_nothing_listens_on_any_address_but_127_0_0_1(sandbox: Sandbox) -> None:
    ports = {int(url.split(":")[2].split("/")[0]) for url in urls(sandbox)}

    listening = [line.split()[1] for line in lines("/proc/net/tcp") if line.split()[3] == "0A"]
    of_ours = {address for address in listening if int(address.split(":")[1], 16) in ports}

    assert {address.split(":")[0] for address in of_ours} == {"0100007F"}
    assert len(of_ours) == 3


def test_a_python_without_ministack_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDBOX_PYTHON", sys.executable)

    with pytest.raises(SandboxError, match="No module named 'ministack'"):
        Account().__enter__()


def test_a_missing_python_is_answered_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDBOX_PYTHON", "/nowhere/python")

    with pytest.raises(SandboxError, match="make install"):
        Account().__enter__()


def test_a_build_that_fails_says_what_make_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "requirements.txt").write_text("")
    (tmp_path / "src" / "Makefile").write_text("build-EventsFunction:\n\t@echo no wheels; exit 3\n")
    monkeypatch.setattr(artefact, "SRC", tmp_path / "src")
    monkeypatch.setattr(artefact, "CACHE", tmp_path / "cache")

    with pytest.raises(SandboxError, match="no wheels"):
        artefact.build()


FAKE_PIP = """#!/bin/sh
while [ "$1" != --target ]; do shift; done
mkdir -p "$2" && echo > "$2/library.py"
"""


def test_a_build_takes_paths_with_a_space(tmp_path: Path) -> None:
    python, built = tmp_path / "my python", tmp_path / "my build"
    python.write_text(FAKE_PIP)
    python.chmod(0o755)
    settings = [f"ARTIFACTS_DIR={built}", f"PYTHON={python}"]

    subprocess.run(["make", "-C", artefact.SRC, "build-EventsFunction", *settings], check=True)

    assert {path.name for path in built.iterdir()} == {"library.py", *artefact.PROGRAM}


HANDLER = """
import time
from datetime import UTC, datetime
def on_events(event, context):
    time.sleep(event["sleep"])
    print(datetime.now(UTC).isoformat(), event["Records"][0]["attributes"]["SentTimestamp"])
"""
ASKS = """
import importlib
event = {"sleep": 600, "Records": [{"attributes": {"SentTimestamp": "1000"}}]}
importlib.import_module("notifier.handler").on_events(event, None)
"""


def test_the_programs_clock_is_put_forward_by_the_story_and_by_what_it_sleeps(
    tmp_path: Path,
) -> None:
    clock = Clock(tmp_path / "clock")
    clock.turn_to(real_now() + timedelta(hours=2))

    now, sent = asked(tmp_path, clock)

    two_hours, ten_minutes = timedelta(hours=2), timedelta(minutes=10)
    ahead = datetime.fromisoformat(now) - real_now()
    assert abs(ahead - two_hours - ten_minutes) < timedelta(minutes=1)
    assert abs(clock.ahead - two_hours - ten_minutes) < timedelta(minutes=1)
    assert abs(int(sent) / 1000 - 7201) < 60, "the queue's clock too"


def asked(folder: Path, clock: Clock) -> list[str]:
    """Return what a handler of that name says, as a function process of the sandbox runs it."""
    (folder / "notifier").mkdir()
    (folder / "notifier" / "__init__.py").write_text("")
    (folder / "notifier" / "handler.py").write_text(HANDLER)
    search = os.pathsep.join([str(process.LAUNCHER.parent / "worker"), str(folder)])
    environment = {
        "PYTHONPATH": search,
        "SANDBOX_CLOCK": str(clock.path),
        "SANDBOX_SCHEDULES": "off",
    }
    told = subprocess.run(
        [sys.executable, "-c", ASKS],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return told.stdout.split()


def urls(sandbox: Sandbox) -> list[str]:
    return [sandbox.account.url, sandbox.ecs.url, sandbox.workspace.url]


def lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()[1:]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return (
        not Path(f"/proc/{pid}/stat").exists()
        or ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    )


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/_ministack/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
