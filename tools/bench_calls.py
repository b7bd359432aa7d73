"""How often ECS and CloudWatch Logs are called for an incident, by operation: part of `make bench`.

The incident is a story, played from its first event to its end. Counted is what the double of ECS
was asked, refused and repeated calls too; the census, which reads every service once an hour, is
over before it begins.
"""

from collections import Counter
from collections.abc import Sequence

from sandbox.demo import arrive
from sandbox.running import Sandbox
from sandbox.story import Step, Story, load_story, play

FAILURES = ("SERVICE_DEPLOYMENT_FAILED", "SERVICE_TASK_PLACEMENT_FAILURE")
INCIDENTS = (
    ("one service", "release-fails-and-is-rolled-back"),
    ("outage of twelve", "outage-of-twelve-services"),
)


def calls_table(sandbox: Sandbox) -> Sequence[str]:
    """Play both incidents and return the lines of a table in Markdown."""
    columns: list[tuple[str, Counter[str]]] = []
    for what, name in INCIDENTS:
        told, in_all = calls_of(load_story(name), sandbox)
        columns += [(f"{what}: until told", told), (f"{what}: to its end", in_all)]
    operations = sorted({operation for _, calls in columns for operation in calls})
    return [
        f"| call | {' | '.join(name for name, _ in columns)} |",
        "|---" * (len(columns) + 1) + "|",
        *(
            f"| {one} | {' | '.join(str(calls[one]) for _, calls in columns)} |"
            for one in operations
        ),
        f"| **all** | {' | '.join(str(calls.total()) for _, calls in columns)} |",
    ]


def calls_of(story: Story, sandbox: Sandbox) -> tuple[Counter[str], Counter[str]]:
    """Return the calls until the last failure was told, and those of the whole incident."""
    sandbox.forget()
    arrive([story], sandbox)
    sandbox.ecs.calls.clear()
    last = last_failure(story)
    told: Counter[str] = Counter()

    def note(steps: Sequence[Step]) -> None:
        if not told and any(step.tick and step.at >= last for step in steps):
            told.update(sandbox.ecs.calls)

    play(story, sandbox, sandbox.now(), told=note)
    return told, Counter(sandbox.ecs.calls)


def last_failure(story: Story) -> float:
    """When, in seconds after the story's start, the last event of a failure comes."""
    return max(
        step.at
        for step in story.steps
        if step.event and step.event["detail"].get("eventName") in FAILURES
    )
