"""The stories of events/stories; `python -m sandbox.stories` writes their files."""

import json
from collections.abc import Callable

from sandbox.stories.capacity import no_capacity, outage_of_twelve_services
from sandbox.stories.crash_loops import (
    crash_loop_that_looks_well,
    crash_loop_without_circuit_breaker,
)
from sandbox.stories.health import health_checks_fail
from sandbox.stories.image import image_cannot_be_pulled
from sandbox.stories.jobs import (
    migration_exits_1,
    scheduled_job_cannot_start,
    scheduled_job_is_tried_again,
)
from sandbox.stories.roll_back import release_fails_and_is_rolled_back
from sandbox.stories.script import Script
from sandbox.stories.slack_down import slack_is_down
from sandbox.stories.unread import causes_cannot_be_read
from sandbox.story_shapes import Json

STORIES: tuple[Callable[[], Script], ...] = (
    release_fails_and_is_rolled_back,
    image_cannot_be_pulled,
    health_checks_fail,
    causes_cannot_be_read,
    crash_loop_without_circuit_breaker,
    crash_loop_that_looks_well,
    no_capacity,
    outage_of_twelve_services,
    slack_is_down,
    scheduled_job_cannot_start,
    scheduled_job_is_tried_again,
    migration_exits_1,
)


def texts() -> dict[str, str]:
    """Return what each story's file has to hold, by the story's name."""
    return {story.__name__.replace("_", "-"): text(story().document()) for story in STORIES}


def text(document: Json) -> str:
    """Return the story as text: one line a step, so that a change of one shows as one."""
    head = {key: value for key, value in document.items() if key != "steps"}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    steps = ",\n".join(f"    {json.dumps(step, ensure_ascii=False)}" for step in document["steps"])
    return "\n".join(["{", *lines, '  "steps": [', steps, "  ]", "}", ""])
