"""Stories of jobs: told, and what could not start is tried again where tasks.yaml may start it."""

from typing import Any

import pytest

from notifier.cli.text import message_text
from notifier.retries import STARTED_BY
from sandbox.running import Sandbox
from sandbox.story import Story, load_story, play
from tests.sandbox.failures import thread_of

pytestmark = pytest.mark.sandbox

# Words of each message of the thread below its root, in their order.
TOLD: dict[str, list[tuple[str, ...]]] = {
    "scheduled-job-cannot-start": [
        (
            "could not be started: no capacity",
            "--task-definition sync-prices:7",
            "started by schedule sync-prices",
            "Last success:",
        ),
        ("succeeded",),
    ],
    "scheduled-job-is-tried-again": [
        ("could not be started: no capacity", "started by schedule sync-prices"),
        ("1 of 1 task did not start; tried again in about", "at most 5 times"),
        ("After attempt 1 of 5", "still did not start", "Capacity is unavailable"),
        ("Started after all, by attempt 2 of 5",),
        ("succeeded", "started by schedule sync-prices"),
    ],
    "migration-exits-1": [
        (
            "container migrate exited with code 1",
            "Exit codes: migrate 1, proxy 0",
            '"command":["manage","migrate"]',
            "No success is known",
        ),
        ("succeeded",),
    ],
}
ATTEMPTS = {"scheduled-job-is-tried-again": 2}
OF_ONE_CALL = {"clientToken", "startedBy", "count"}


@pytest.mark.parametrize("name", sorted(TOLD))
def test_a_job_that_failed_is_told_tried_again_if_it_may_be_and_told_when_it_succeeds(
    name: str, sandbox: Sandbox
) -> None:
    story, before = load_story(name), len(sandbox.ecs.requests)

    with sandbox.trying_again([story]):
        play(story, sandbox, sandbox.now())

    is_told(story, sandbox)
    made = sandbox.ecs.requests[before:]
    is_started([asked for operation, asked in made if operation == "RunTask"], story)


def is_told(story: Story, sandbox: Sandbox) -> None:
    root, replies = thread_of(sandbox, story.cluster)
    said = [" ".join(message_text(reply).split()) for reply in replies]
    assert len(said) == len(TOLD[story.name]), said
    for text, words in zip(said, TOLD[story.name], strict=True):
        assert [word for word in words if word not in text] == [], text
    assert replies[-1]["text"] == f"✅ {story.cluster} / {story.services[0]}: succeeded"
    assert root["text"].startswith(f"✅ {story.cluster}: 1 standalone task succeeded again")


def is_started(attempts: list[dict[str, Any]], story: Story) -> None:
    """Check that the call was repeated to the letter, under the names of the story's events."""
    details = [step.event["detail"] for step in story.steps if step.event]
    calls = [one["requestParameters"] for one in details if one.get("eventName") == "RunTask"]
    starters = [(one.get("requestParameters") or one)["startedBy"] for one in details]
    ours = [one for one in starters if one.startswith(STARTED_BY)]
    assert [one["startedBy"] for one in attempts] == ours
    assert len({one["clientToken"] for one in attempts}) == ATTEMPTS.get(story.name, 0)
    for one in attempts:
        assert one["count"] == 1
        assert of_the_job(one) == of_the_job(calls[0])


def of_the_job(request: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in request.items() if key not in OF_ONE_CALL}
