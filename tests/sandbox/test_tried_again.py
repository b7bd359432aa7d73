"""tasks.yaml beside the watcher: what could not start is tried again, what ran is not."""

from typing import Any

import pytest

from notifier.cli.text import message_text
from sandbox.running import Sandbox
from sandbox.story import Story, load_story, play
from tests.sandbox.failures import thread_of

pytestmark = pytest.mark.sandbox

# Words of each message of the thread below its root, in their order.
TOLD: dict[str, list[tuple[str, ...]]] = {
    "scheduled-job-is-tried-again": [
        ("could not be started: no capacity", "started by schedule sync-prices"),
        ("succeeded", "started by schedule sync-prices"),
    ],
    "migration-exits-1": [("container migrate exited with code 1",), ("succeeded",)],
}
OF_ONE_CALL = {"clientToken", "startedBy", "count"}


def of_the_job(request: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in request.items() if key not in OF_ONE_CALL}


def played(sandbox: Sandbox, name: str) -> tuple[Story, list[dict[str, Any]]]:
    """Play a story with the tasks stack beside; return it and what was asked of RunTask."""
    story, before = load_story(name), len(sandbox.ecs.requests)
    with sandbox.trying_again([story]):
        play(story, sandbox, sandbox.now())
    made = sandbox.ecs.requests[before:]
    return story, [request for operation, request in made if operation == "RunTask"]


def tells(sandbox: Sandbox, story: Story) -> None:
    root, replies = thread_of(sandbox, story.cluster)
    said = [" ".join(message_text(reply).split()) for reply in replies]
    assert len(said) == len(TOLD[story.name]), said
    for text, words in zip(said, TOLD[story.name], strict=True):
        assert [word for word in words if word not in text] == [], text
    assert root["text"].startswith(f"✅ {story.cluster}: 1 standalone task succeeded again")


def test_what_found_no_capacity_is_started_by_the_second_attempt_and_told(sandbox: Sandbox) -> None:
    story, attempts = played(sandbox, "scheduled-job-is-tried-again")

    tells(sandbox, story)
    details = [step.event["detail"] for step in story.steps if step.event]
    (call, ours) = (one for one in details if one.get("eventName") == "RunTask")
    first = ours["requestParameters"]["startedBy"]
    assert [one["startedBy"] for one in attempts] == [first, details[-1]["startedBy"]]
    assert len({one["clientToken"] for one in attempts}) == 2
    assert [one["count"] for one in attempts] == [1, 1]
    for one in attempts:
        assert of_the_job(one) == of_the_job(call["requestParameters"])


def test_what_ran_and_failed_is_told_and_not_started_again(sandbox: Sandbox) -> None:
    story, attempts = played(sandbox, "migration-exits-1")

    tells(sandbox, story)
    assert attempts == []
