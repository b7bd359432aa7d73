"""A function killed with SIGKILL in the middle of a post, over the sandbox's table and Slack."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from sandbox.running import DEPLOYS, Sandbox
from tests.sandbox.failures import failing, messages_of

pytestmark = pytest.mark.sandbox

ROOT = Path(__file__).parents[2]
FUNCTION = """
import json, sys
from notifier import handler
class Context:
    aws_request_id = sys.argv[1]
    def get_remaining_time_in_millis(self):
        return 60_000
body = sys.stdin.read()
handler.on_events({"Records": [{"messageId": "m", "body": body}]}, Context())
"""


def function(sandbox: Sandbox, name: str) -> "subprocess.Popen[str]":
    """`on_events` in a process of its own, as Lambda would run it."""
    return subprocess.Popen(
        [sys.executable, "-c", FUNCTION, name],
        env={**os.environ, **sandbox.environment, "PYTHONPATH": str(ROOT / "src")},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


@pytest.mark.parametrize("fault", ["hang", "accept_then_hang"])
def test_a_function_killed_while_it_posts_leaves_one_root_and_one_reply(
    sandbox: Sandbox, eventually: Callable[[Callable[[], bool]], bool], fault: str
) -> None:
    cluster = f"killed-{fault.replace('_', '-')}"
    event = json.dumps(failing(sandbox, cluster, "checkout"))
    calls = len(sandbox.workspace.calls)
    sandbox.workspace.inject("chat.postMessage", fault, times=1, channel=DEPLOYS)
    killed = function(sandbox, cluster)
    assert killed.stdin is not None
    killed.stdin.write(event)
    killed.stdin.close()
    posted = eventually(lambda: len(sandbox.workspace.calls) > calls)
    killed.kill()
    killed.wait()
    assert posted

    for _ in range(3):  # the lease runs out, then the post is looked for and the rest is told
        sandbox.turn_clock(sandbox.now() + timedelta(seconds=61))
        sandbox.tick()

    root, reply = messages_of(sandbox, cluster)
    assert "thread_ts" not in root or root["thread_ts"] == root["ts"]
    assert reply["thread_ts"] == root["ts"]
