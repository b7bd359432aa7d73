"""For those who confirm from a program, such as a Lambda function of theirs.

    from notifier.confirmation import Kind, confirm, deployment

    (found,) = confirm("prod-web", {"checkout": deployment("ecs-svc/1234567890123456789")})
    if found.verdict.kind is not Kind.LIVE:
        raise RuntimeError(found.verdict.evidence)

It waits, so the function's own time-out must be longer than `timeout`. Only ECS is read; the policy
is printed by `ecs-watch confirm --iam`.
"""

import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from notifier.confirming import Confirmation, Confirming, Listener
from notifier.deployments import Kind, Mine, Policy, Wanted
from notifier.ecs import Ecs, May
from notifier.ecs.releases import Releases

__all__ = [
    "Confirmation",
    "Kind",
    "Mine",
    "Policy",
    "Wanted",
    "confirm",
    "deployment",
    "since",
]

TIMEOUT = timedelta(minutes=30)


def deployment(name: str) -> Wanted:
    """The deployment with this id (`ecs-svc/…`), or the service deployment with this ARN."""
    if name.startswith("arn:"):
        return Wanted(mine=Mine(service_deployment=name))
    return Wanted(mine=Mine(deployment_id=name))


def since(at: datetime) -> Wanted:
    """The newest deployment that was created since then; the time names its zone."""
    return Wanted(since=at)


def confirm(
    cluster: str,
    services: Mapping[str, Wanted],
    *,
    client: Any = None,
    timeout: timedelta = TIMEOUT,
    policy: Policy | None = None,
    wait_rollback: bool = False,
    listener: Listener | None = None,
) -> tuple[Confirmation, ...]:
    """What became of each service's deployment, in the order given; waits for it.

    `client` is boto3's for ECS; without it one is made with the credentials at hand. Raises
    ReadFailed when ECS refuses to be read or the cluster is not there, NotAnswerable when ECS does
    not deploy the service; of the services that had ended by then the listener's `ended` was told.
    """
    door = Releases(client or client_for_ecs(), cluster)
    return confirming(
        door,
        timeout=timeout,
        policy=policy or Policy(),
        wait_rollback=wait_rollback,
        listener=listener or Silent(),
    ).confirm(services)


def confirming(
    door: Releases,
    *,
    timeout: timedelta,
    policy: Policy,
    wait_rollback: bool,
    listener: Listener,
) -> Confirming:
    """The watch itself, with the real time."""
    return Confirming(
        door=door,
        explains=Ecs(lambda: door.client, may=May(task_definitions=True)),
        cluster=door.cluster,
        now=clock(),
        sleep=time.sleep,
        random=random.random,
        listener=listener,
        policy=policy,
        timeout=timeout,
        wait_rollback=wait_rollback,
    )


def clock() -> Callable[[], datetime]:
    """The time since now by a clock that nobody turns while it runs."""
    began_at, base = datetime.now(UTC), time.monotonic()  # noqa: TID251 the clock comes in here
    return lambda: began_at + timedelta(seconds=time.monotonic() - base)


def client_for_ecs() -> Any:
    """A client of the account that somebody is logged in to. Raises botocore's BotoCoreError."""
    from notifier.wiring import client_of

    return client_of("ecs")


class Silent:
    """Nobody is told how it goes on."""

    def says(self, service: str, at: datetime, message: str) -> None:
        """Say nothing."""

    def goes_on(self, service: str, at: datetime, line: str) -> None:
        """Say nothing."""

    def cannot_read(self, at: datetime, why: str, pause: timedelta) -> None:
        """Say nothing."""

    def ended(self, found: Confirmation) -> None:
        """Say nothing."""
