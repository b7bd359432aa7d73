"""`ecs-watch confirm` in the sandbox: a release that goes live, one that fails, one rolled back.

Each is one of the stories, in a cluster of its own, up to where its deployment has ended. The
command runs in a process of its own, as in a pipeline, and sees it end.
"""

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta

from sandbox.account.clock import real_now
from sandbox.running import Sandbox
from sandbox.shell import Process, started
from sandbox.stories import image, roll_back
from sandbox.story import Step, load_story
from sandbox.story_shapes import Deployment, Service

SEEN_WITHIN = 20.0  # seconds, until the command has read for the first time
OVER_WITHIN = 60.0


@dataclass(frozen=True, slots=True)
class Case:
    """A deployment of a story, and how many seconds of the story are played, None for all."""

    title: str
    story: str
    service: Service
    deployment: Deployment
    until: float | None
    exit_code: int

    @property
    def cluster(self) -> str:
        """The cluster that is this case's own."""
        return f"ci-{self.exit_code}-{self.service.name}"

    def steps(self, now: datetime) -> tuple[Step, ...]:
        """The story's steps; the last of them is now."""
        story = load_story(self.story)
        story = story if self.until is None else story.until(timedelta(seconds=self.until))
        return story.beginning(now - story.span, cluster=self.cluster)

    @property
    def command(self) -> list[str]:
        """What a pipeline runs. It settles at once: a demo is no place to wait for a minute."""
        where = ["--cluster", self.cluster, "--service", self.service.name, "--settle", "0"]
        number = self.service.deployment_id(self.deployment)
        return ["confirm", *where, "--deployment", number, "--timeout", "50s"]


CASES = (
    Case("goes live", "image-cannot-be-pulled", image.SERVICE, image.FIXED, None, 0),
    Case(
        "fails, and ECS never says so", "image-cannot-be-pulled", image.SERVICE, image.BAD, 500, 1
    ),
    Case(
        "is rolled back",
        "release-fails-and-is-rolled-back",
        roll_back.SERVICE,
        roll_back.BAD,
        None,
        1,
    ),
)


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What the command said of a case."""

    case: Case
    exit_code: int
    said: str


def confirmed(sandbox: Sandbox, cases: Sequence[Case] = CASES) -> Iterator[Confirmed]:
    """Let all deployments begin, ask, let them end, and say what was answered."""
    now = real_now()
    steps = {case: case.steps(now) for case in cases}
    for case in cases:
        _show(sandbox, [one for one in steps[case] if one.at <= case.deployment.begun])
    with ExitStack() as stack:
        running = {case: stack.enter_context(_asking(sandbox, case)) for case in cases}
        try:
            _wait_until_seen(sandbox, running)
            for case in cases:
                _show(sandbox, [one for one in steps[case] if one.at > case.deployment.begun])
            for case, process in running.items():
                said, _ = process.communicate(timeout=OVER_WITHIN)
                yield Confirmed(case, process.returncode, said)
        finally:
            for process in running.values():
                process.kill()


def _show(sandbox: Sandbox, steps: Sequence[Step]) -> None:
    for step in steps:
        sandbox.patch_ecs(step.ecs or {})


def _asking(sandbox: Sandbox, case: Case) -> Process:
    return started(case.command, sandbox.environment, stderr=subprocess.STDOUT)


def _wait_until_seen(sandbox: Sandbox, running: Mapping[Case, Process]) -> None:
    """Until each has read what its deployment looks like while it is under way, or has ended."""
    deadline = time.monotonic() + SEEN_WITHIN
    while time.monotonic() < deadline:
        asked = {
            request.get("cluster")
            for operation, request in list(sandbox.ecs.requests)
            if operation == "ListTasks"
        }
        if all(case.cluster in asked or one.poll() is not None for case, one in running.items()):
            return
        time.sleep(0.05)
