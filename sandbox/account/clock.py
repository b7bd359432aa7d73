"""The time in the sandbox: the real one, put ahead or back by what a file says.

The functions' processes read the same file, and write to it: what the program sleeps passes at once
for everybody. See `worker/sitecustomize.py`, which is loaded by them and so cannot import this.
"""

import fcntl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Clock:
    """What functions, Slack and whoever plays a story take for the time."""

    path: Path

    def now(self) -> datetime:
        """Return the time."""
        return real_now() + self.ahead

    def seconds(self) -> float:
        """Return the time in seconds since 1970."""
        return self.now().timestamp()

    @property
    def ahead(self) -> timedelta:
        """How far it is ahead of the real time."""
        with self.path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            return timedelta(seconds=float(file.read()))

    def turn_to(self, moment: datetime) -> None:
        """Put it to another time, later or earlier."""
        with self.path.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.truncate(0)
            file.write(str((moment - real_now()).total_seconds()))


def real_now() -> datetime:
    """Return the real time."""
    return datetime.now(UTC)
