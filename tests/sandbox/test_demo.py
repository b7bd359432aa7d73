"""The demo, as `make demo` runs it."""

import os
import re
import subprocess
import sys
import urllib.request
from itertools import takewhile

import pytest

from sandbox.account.process import ROOT

pytestmark = pytest.mark.sandbox


OURS = os.environ | {"PYTHONPATH": str(ROOT / "src")}
NOWHERE = "http://127.0.0.1:9"  # where nobody listens
AWKWARD = {
    **dict.fromkeys(("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"), NOWHERE),
    "AWS_PROFILE": "nobodys",
    "AWS_SESSION_TOKEN": "expired",
    "AWS_CA_BUNDLE": "/nonexistent",
    "LC_ALL": "C",
    "PYTHONIOENCODING": "ascii",
}


def demo(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sandbox.demo", *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=120,
        env=OURS | environment,
    )


def test_the_demo_shows_a_roll_back_a_job_an_outage_and_what_pipelines_are_told_and_ends() -> None:
    shown = demo()

    assert shown.returncode == 0, shown.stderr
    assert "A release fails and is rolled back" in shown.stdout
    assert "An outage of twelve services" in shown.stdout
    assert shown.stdout.count("a tick  → ECS: RunTask") == 2
    assert "1 standalone task succeeded again" in shown.stdout
    channel = shown.stdout.split("#deploys")[1]
    assert "watching 3 clusters, 13 services" in channel
    assert "☑️ *prod-web* · over after" in channel
    assert "✅ *prod-shop* · over after" in channel
    assert "http://127.0.0.1:" in channel
    assert re.search(r"\d+ checks: \d+ hold, \d+ not given; exit code 0", channel)
    planted = channel.split("Now the rule OtherFailures is disabled")[1]
    assert planted.count("✗") == 3
    assert re.search(r"hold, 3 failed, \d+ not given; exit code 1", planted)
    codes = re.findall(r"echo \$\?\n  (\d+)", channel)
    assert codes == ["0", "3", "125", "124", *("0", "1", "1")], "of run, then of confirm"
    assert shown.stderr == ""


@pytest.fixture(scope="module")
def silent() -> subprocess.CompletedProcess[str]:
    """The demo of what ECS sends no failure of, started from an awkward shell."""
    return demo("crash-loop-without-circuit-breaker", **AWKWARD)


def test_the_demo_works_whatever_the_shell_says_of_proxies_profiles_and_characters(
    silent: subprocess.CompletedProcess[str],
) -> None:
    assert (silent.returncode, silent.stderr) == (0, "")
    assert "ecs-watch is here" in silent.stdout


def test_a_crash_loop_of_which_ecs_says_nothing_opens_an_incident(
    silent: subprocess.CompletedProcess[str],
) -> None:
    channel = silent.stdout.split("#deploys")[1]

    assert "ECS itself reports no failure" in channel
    assert "recovered after" in channel


def test_a_story_that_is_not_there_is_answered_with_those_that_are() -> None:
    shown = demo("no-such-story")

    assert shown.returncode == 2
    assert "release-fails-and-is-rolled-back" in shown.stderr


def test_the_sandbox_stays_until_it_is_asked_to_end_and_says_how_to_use_it() -> None:
    command = [sys.executable, "-m", "sandbox"]
    behind = {**OURS, "HTTP_PROXY": NOWHERE, "no_proxy": ".example.com"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=behind
    ) as running:
        assert running.stdout
        said = "".join(takewhile(lambda line: line != "Ctrl-C ends it.\n", running.stdout))
        settings = dict(re.findall(r"^export (\w+)=(\S+)$", said, re.MULTILINE))
        running.terminate()

    assert running.returncode == 0
    assert settings["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
    assert settings["SLACK_API_URL"].startswith("http://127.0.0.1:")
    assert settings["NO_PROXY"] == settings["no_proxy"] == ".example.com,127.0.0.1,localhost"
    assert re.search("^unset .*AWS_PROFILE .*AWS_SESSION_TOKEN$", said, re.MULTILINE)
    assert re.search(r'^export PATH=\S+/bin:"\$PATH"$', said, re.MULTILINE)
    assert f"  ecs-watch replay {ROOT}/events/try-me-built.json\n  ecs-watch doctor\n" in said
    assert {"QUEUE_URL", "STACK_NAME", "AWS_ACCESS_KEY_ID", "AWS_REGION"} <= settings.keys()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(settings["AWS_ENDPOINT_URL"], timeout=2)
