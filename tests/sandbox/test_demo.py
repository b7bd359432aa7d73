"""The demo, as `make demo` runs it."""

import subprocess
import sys

import pytest

from sandbox.account.process import ROOT

pytestmark = pytest.mark.sandbox


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sandbox.demo", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=60
    )


def test_the_demo_shows_the_failed_release_and_ends() -> None:
    shown = demo()

    assert shown.returncode == 0, shown.stderr
    assert "A release fails and is rolled back" in shown.stdout
    channel = shown.stdout.split("#deploys")[1]
    assert "prod-web" in channel
    assert "checkout" in channel
    assert "http://127.0.0.1:" in channel
    assert shown.stderr == ""


def test_a_story_that_is_not_there_is_answered_with_those_that_are() -> None:
    shown = demo("no-such-story")

    assert shown.returncode == 2
    assert "release-fails-and-is-rolled-back" in shown.stderr
