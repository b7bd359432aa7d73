"""When what ECS reports nothing of is trouble: so many tasks that died, so long without progress.

The parameters DyingTasks and NoProgressMinutes. `parse_dying_tasks("3 in 15 min; 6 in 6 h of one
cause")` gives two rules, of which one is enough.
"""

import re
from dataclasses import dataclass
from datetime import timedelta

from notifier.errors import SettingsError

OFF = "off"
DEFAULT_DYING_TASKS = "3 in 15 min; 6 in 6 h of one cause"
DEFAULT_NO_PROGRESS = timedelta(minutes=15)
# As long, and as many, as a service's row remembers.
LONGEST = timedelta(hours=6)
MOST = 10

_RULE = re.compile(r"(\d{1,2}) in (\d{1,3}) (min|h)( of one cause)?")
_UNIT = {"min": timedelta(minutes=1), "h": timedelta(hours=1)}


@dataclass(frozen=True, slots=True)
class Deaths:
    """So many tasks of one deployment that died within a time are trouble; or if of one cause."""

    count: int
    within: timedelta
    of_one_cause: bool = False


def parse_dying_tasks(text: str = DEFAULT_DYING_TASKS) -> tuple[Deaths, ...]:
    """The rules of DyingTasks; none for `off`. Raises SettingsError."""
    parts = [part.strip() for part in text.split(";") if part.strip()]
    return () if parts == [OFF] else tuple(map(_deaths, parts or [OFF]))


def _deaths(part: str) -> Deaths:
    found = _RULE.fullmatch(part)
    if found is None:
        raise SettingsError(f"DYING_TASKS: not a rule like 3 in 15 min: {part!r}")
    deaths = Deaths(int(found[1]), int(found[2]) * _UNIT[found[3]], bool(found[4]))
    if not (2 <= deaths.count <= MOST and timedelta() < deaths.within <= LONGEST):
        raise SettingsError(f"DYING_TASKS: 2 to {MOST} tasks in at most 6 h, not {part!r}")
    return deaths


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """The rules for tasks that die, and for how long a deployment may make no progress.

    No rules, or a `no_progress` of nothing: that is not watched.
    """

    deaths: tuple[Deaths, ...] = parse_dying_tasks()
    no_progress: timedelta = DEFAULT_NO_PROGRESS


SHIPPED = Thresholds()
