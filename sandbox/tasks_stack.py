"""tasks.yaml beside the watcher: in the sandbox too, what could not start is tried again.

All of it is deployed as it is; only the runbook is never executed, for nothing here does that.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sandbox.account import STACK, Account
from sandbox.account.process import ROOT
from sandbox.story_shapes import ACCOUNT, arn

TEMPLATE = ROOT / "tasks.yaml"
NAME = f"{STACK}-tasks"


@dataclass(frozen=True, slots=True)
class TasksStack:
    """The stack that acts, while it is deployed."""

    account: Account
    function: str
    queue_url: str

    def tick(self, at: datetime) -> None:
        """Do what its schedule does every minute."""
        self.account.invoke_by_schedule(self.function, at)

    def settle(self) -> None:
        """Wait until its queue is empty."""
        self.account.settle_at(self.queue_url)


@contextmanager
def tasks_stack(
    account: Account, families: Sequence[str], clusters: Sequence[str]
) -> Iterator[TasksStack]:
    """Have it in the account while the `with` block lasts; it may start these families there."""
    parameters = {
        "TaskFamilies": ",".join(arn(f"task-definition/{family}") for family in families),
        "Clusters": ",".join(arn(f"cluster/{cluster}") for cluster in clusters),
        "TaskRoles": ",".join(f"arn:aws:iam::{ACCOUNT}:role/{family}" for family in families),
    }
    with account.also_deployed(TEMPLATE, NAME, parameters) as resources:
        yield TasksStack(account, resources["RetryFunction"], resources["EventsQueue"])
