"""Whether a deployment comes nearer to what is desired, as looks at ECS show it.

A release whose tasks never come to run, and a service that is left with too few, may send no event
of a failure at all. What is watched is not how long it takes but whether it goes on: a new highest
number of tasks that run, a new lowest of the old ones, a new stage. That more or fewer are wanted
brings none to run: scaling goes on while the tasks that are missing stay away. Once all of the new
tasks run, nothing is awaited of them: what follows (draining, bake time, a hook that waits) takes
its time.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from notifier.model import Deployment, Progress, ServiceReading

# In every other stage tasks are not what is waited for: a hook or the bake time is.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/blue-green-deployment-how-it-works.html
STARTS_TASKS = ("", "SCALE_UP", "RECONCILE_SERVICE")


def primary_of(reading: ServiceReading) -> Deployment | None:
    """The deployment whose tasks are wanted; None where the controller is not ECS."""
    primary = (row for row in reading.deployments if row.status == "PRIMARY")
    return next(primary, next(iter(reading.deployments), None))


def lacks_tasks(reading: ServiceReading) -> bool:
    """Whether fewer tasks of the newest deployment run than are wanted of it."""
    if reading.status != "ACTIVE" or not reading.desired_count:
        return False
    running, desired = _counts(reading)
    return running < desired and reading.stage in STARTS_TASKS


def _counts(reading: ServiceReading) -> tuple[int, int]:
    primary = primary_of(reading)
    if primary is None:
        return reading.running_count, reading.desired_count
    return primary.running_count, primary.desired_count


def progress_after(before: Progress | None, reading: ServiceReading) -> Progress | None:
    """What the reading shows of what is awaited; None where nothing is."""
    if not lacks_tasks(reading):
        return None
    seen = _seen(reading)
    if before is None or _awaited(before) != _awaited(seen):
        return seen
    # Of those that ran, a scale-in stops some: what comes to run after it is more than was left.
    ran = min(before.running, seen.desired)
    comes_nearer = seen.running > ran or seen.old < before.old
    at = seen.at if comes_nearer else before.at
    if not _is_under_way(reading):
        # Tasks that come and go, as with Spot, start again and again: each time is progress.
        return replace(seen, at=at)
    return replace(seen, running=max(seen.running, ran), old=min(seen.old, before.old), at=at)


def _seen(reading: ServiceReading) -> Progress:
    (running, desired), primary = _counts(reading), primary_of(reading)
    return Progress(
        deployment_id=primary.id if primary else "",
        desired=desired,
        stage=reading.stage,
        running=running,
        old=reading.running_count - running,
        at=reading.read_at,
    )


def _awaited(one: Progress) -> tuple[str, str]:
    return one.deployment_id, one.stage


def _is_under_way(reading: ServiceReading) -> bool:
    primary = primary_of(reading)
    return primary is not None and primary.rollout_state == "IN_PROGRESS"


def stalled_since(
    progress: Progress | None, reading: ServiceReading, no_progress: timedelta
) -> datetime | None:
    """Since when it makes no progress, once that is too long; None while it is not.

    ECS ignores failed health checks for the service's grace period.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Service.html
    """
    if progress is None or not no_progress:
        return None
    patience = no_progress + timedelta(seconds=reading.grace_seconds)
    return progress.at if reading.read_at - progress.at >= patience else None
