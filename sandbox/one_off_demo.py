"""`ecs-watch run` in the sandbox: a job that ends well, one that fails, one that never starts, and
one that takes longer than anybody wants to wait."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sandbox.ecs_double import EcsDouble, Json
from sandbox.one_off import Ending, Job
from sandbox.shell import Process, started
from sandbox.story_shapes import REGION, REGISTRY, arn

CLUSTER = "prod-jobs"
PULL = (
    "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve "
    f"ref {REGISTRY}/report:v9: not found"
)


@dataclass(frozen=True)
class Shown:
    """A job of the demo, how it goes, and the exit code that it ends with."""

    family: str
    teaches: str
    job: Job
    status: int
    options: Sequence[str] = ()

    @property
    def command(self) -> list[str]:
        """What a person types behind `ecs-watch`."""
        named = ["--cluster", CLUSTER, "--task-definition", self.family]
        return ["run", *named, *self.options]


JOBS = (
    Shown(
        "migrate",
        "A migration ends well",
        Job({"app": Ending(0.5)}, lines=["20 migrations to do", "done"]),
        0,
        ["--command", "rails db:migrate"],
    ),
    Shown(
        "invoices",
        "A job fails: its own exit code comes through",
        Job({"app": Ending(0.5, 3)}, lines=["reading orders", "no such column: tax"]),
        3,
    ),
    Shown("report", "A job never starts", Job(fails_to_start=PULL), 125, ["--timeout", "30m"]),
    Shown(
        "reindex",
        "A job takes longer than one waits",
        Job({"app": Ending(600)}, lines=["1 of 9 shards", "done"]),
        124,
        ["--timeout", "3s", "--on-timeout", "stop"],
    ),
)


def give_jobs(ecs: EcsDouble) -> None:
    """Let the double of ECS know the cluster, the task definitions and how their tasks go."""
    cluster = {"clusterArn": arn(f"cluster/{CLUSTER}"), "status": "ACTIVE"}
    definitions = [_definition(one.family) for one in JOBS]
    ecs.patch({"clusters": [cluster], "taskDefinitions": definitions})
    for one in JOBS:
        ecs.give(one.family, one.job)


def _definition(family: str) -> Json:
    options = {"awslogs-group": f"/ecs/{family}", "awslogs-region": REGION}
    app = {
        "name": "app",
        "image": f"{REGISTRY}/{family}:v9",
        "essential": True,
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {**options, "awslogs-stream-prefix": "job"},
        },
    }
    return {
        "taskDefinitionArn": arn(f"task-definition/{family}:4"),
        "family": family,
        "containerDefinitions": [app],
    }


@contextmanager
def running_jobs(environment: Mapping[str, str]) -> Iterator[list[tuple[Shown, Process]]]:
    """Run every job, all at once, as from shells of their own; none outlives the `with` block."""
    running = [(one, started(one.command, environment)) for one in JOBS]
    try:
        yield running
    finally:
        for _, process in running:
            process.kill()
            process.communicate()


def ended(process: Process) -> tuple[int, str, str]:
    """Wait for the end of a job: exit code, standard output and error."""
    out, err = process.communicate(timeout=50)
    return process.returncode, out, err
