"""Begin the deployments that are then confirmed: `ecs-watch confirm --deploy`."""

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from notifier.cli.progress import foreign
from notifier.confirmation import Wanted
from notifier.confirming import NotAnswerable
from notifier.deployments import Shown, why_unanswerable
from notifier.ecs.releases import Releases
from notifier.errors import WatchError

NOTHING = "nothing was begun"


class NotThere(WatchError):
    """A service that is to be deployed is not there; the text names it."""


def begun(
    door: Releases,
    services: Sequence[str],
    task_definition: str,
    *,
    is_forced: bool,
    now: Callable[[], datetime],
) -> tuple[Mapping[str, Wanted], WatchError | None]:
    """The deployments begun, by service, and why the next one could not be.

    Nothing is begun unless all services are there and ECS deploys them, and what has begun is there
    to be confirmed whatever comes after it. Raises NotThere, NotAnswerable, and ReadFailed when the
    first cannot be begun.
    """
    before = _deployable(door, services, now)
    found: dict[str, Wanted] = {}
    for name in services:
        try:
            found[name] = _begun(door, name, before[name], task_definition, is_forced=is_forced)
        except WatchError as error:
            if not found:
                raise
            _say(f"{name}: not begun ({error}); what was begun is confirmed first")
            return found, error
    return found, None


def _deployable(
    door: Releases, services: Sequence[str], now: Callable[[], datetime]
) -> Mapping[str, Shown]:
    """The services before anything is begun."""
    shown = dict(door.services(services, now))
    for name, one in shown.items():
        status = one.reading.status
        if status == "MISSING":
            raise NotThere(f"{name}: there is no such service in the cluster; {NOTHING}")
        if status != "ACTIVE":
            raise NotThere(f"{name}: it is {status}; {NOTHING}")
        if why := why_unanswerable(one):
            raise NotAnswerable(f"{name}: {why}; {NOTHING}")
    return shown


def _begun(
    door: Releases, name: str, before: Shown, task_definition: str, *, is_forced: bool
) -> Wanted:
    """Begin one. Where its task definition runs already, ECS answers with what runs."""
    mine = door.deploy(name, task_definition, is_forced=is_forced)
    if mine is None:
        raise NotAnswerable(f"{name}: the answer of UpdateService shows no deployment of ECS's own")
    if mine.deployment_id in {one.id for one in before.reading.deployments}:
        _say(f"{name}: nothing begun, {mine.deployment_id} has this task definition already")
    else:
        _say(f"{name}: {mine.deployment_id} begun")
    return Wanted(mine=mine)


def _say(line: str) -> None:
    if sys.stderr:
        print(foreign(line), file=sys.stderr)
