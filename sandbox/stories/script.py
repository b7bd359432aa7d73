"""A story as it is written: steps, and services that play in it.

What an event says is worded as AWS words it in its developer guide; everything else is built, and
marked so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox.story_shapes import DAY, Deployment, Json, Release, Service, arn

MINUTE = 60
IN_STEADY_STATE = "has reached a steady state."


@dataclass
class Script:
    """Collects the steps of a story. It begins with a cluster in which all is well.

    `retries` are the task families that the stack of tasks.yaml may start again.
    """

    title: str
    teaches: str
    cluster: str
    services: Sequence[Service]
    steps: list[Json] = field(default_factory=list)
    retries: Sequence[str] = ()

    def event(self, moment: float, note: str, event: Json) -> None:
        """Put an event on the bus."""
        self._add(moment, note, event=event)

    def shows(self, moment: float, note: str, **ecs: list[Json]) -> None:
        """Change what ECS and CloudTrail show."""
        self._add(moment, note, ecs=ecs)

    def answers(self, moment: float, note: str, family: str, answer: Json) -> None:
        """Let the next RunTask of a family be answered so."""
        self._add(moment, note, run_task={family: [answer]})

    def denies(self, moment: float, note: str, *operations: str) -> None:
        """Let ECS deny these operations from now on; without any, it answers all again."""
        self._add(moment, note, denied=list(operations))

    def slack(self, moment: float, note: str, *faults: Json) -> None:
        """Let calls of Slack meet these faults from now on; without any, Slack works again."""
        self._add(moment, note, slack=list(faults))

    def ticks(self, first: float, last: float) -> None:
        """Let the tick of every minute come, from the first moment to the last."""
        for moment in range(int(first), int(last) + 1, MINUTE):
            self.steps.append({"at": moment, "note": "a tick", "tick": True})

    def _add(self, moment: float, note: str, **what: Any) -> None:
        self.steps.append({"at": moment, "origin": "built", "note": note, **what})

    def document(self) -> Json:
        """Return the story as its file has it."""
        return {
            "title": self.title,
            "teaches": self.teaches,
            "cluster": self.cluster,
            "services": [service.name for service in self.services],
            **({"retries": list(self.retries)} if self.retries else {}),
            "steps": sorted(self.steps, key=lambda step: float(step["at"])),
        }


@dataclass
class Role:
    """A service as the story goes on: the deployments that ECS shows of it, PRIMARY first."""

    script: Script
    service: Service
    rows: list[Deployment]
    messages: list[tuple[float, str]] = field(default_factory=lambda: [(-DAY, IN_STEADY_STATE)])

    def says(self, moment: float, text: str) -> None:
        """Add one of ECS's messages about the service; it is seen in what ECS shows next."""
        self.messages.append((moment, text))

    def shows(self, moment: float, note: str, *rows: Deployment, **also: list[Json]) -> None:
        """Let ECS show these deployments of the service, or those it had before."""
        self.rows = list(rows) or self.rows
        self.script.shows(moment, note, services=[self.shown()], **also)

    def shown(self) -> Json:
        """Return what DescribeServices shows of the service now."""
        return self.service.shown(self.rows, self.messages)

    def event(
        self, moment: float, name: str, deployment: Deployment, reason: str = "", note: str = ""
    ) -> None:
        """Put an `ECS Deployment State Change` on the bus."""
        event = self.service.deployment_event(moment, name, deployment, reason)
        self.script.event(moment, note or name, event)

    def action(self, moment: float, name: str, kind: str, note: str = "", **more: Any) -> None:
        """Put an `ECS Service Action` on the bus."""
        event = self.service.action(moment, name, kind, **more)
        self.script.event(moment, note or name, event)

    def task_event(self, moment: float, task: Json) -> None:
        """Put an `ECS Task State Change` on the bus."""
        self.script.event(moment, "ECS Task State Change", self.service.task_event(task, moment))


def yesterday(release: Release, desired: int) -> Deployment:
    """Return a deployment that completed yesterday and runs as desired."""
    return Deployment(release, begun=-DAY - 150, desired=desired, running=desired)


def cluster_shown(name: str, services: int, running: int) -> Json:
    """Return what DescribeClusters shows."""
    return {
        "clusterArn": arn(f"cluster/{name}"),
        "clusterName": name,
        "status": "ACTIVE",
        "registeredContainerInstancesCount": 0,
        "runningTasksCount": running,
        "pendingTasksCount": 0,
        "activeServicesCount": services,
        "capacityProviders": ["FARGATE", "FARGATE_SPOT"],
    }
