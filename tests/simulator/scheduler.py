"""The clock, and functions that take turns at every effect.

Nothing here is parallel: one greenlet runs until its next effect, then whoever is due next goes on.
Effects take random times, so the seed decides who that is.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet  # type: ignore[import-untyped]

from notifier.model import Invocation

T = TypeVar("T")

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MINUTE = 60.0
HOUR = 3600.0
DAY = 86_400.0


class Killed(BaseException):
    """The function is gone, as with SIGKILL: no `except Exception` sees it."""


@dataclass
class Process:
    """One invocation of a function. `limit` is Lambda's time-out in seconds."""

    name: str
    limit: float
    started_at: float
    ended: Callable[[Any], None]
    greenlet: Any = None
    stalled: float = 0.0
    doomed: bool = False
    over: bool = False
    error: Exception | None = None


@dataclass
class Scheduler:
    """The clock and all that is due. Times are seconds since the start of the history.

    `kill` decides at each effect, before and after it, whether its function dies there; `stall`
    gives the seconds for which a function stands still there.
    """

    rng: Random
    kill: Callable[[int, bool], bool] = lambda _effect, _after: False
    stall: Callable[[], float] = lambda: 0.0
    clock: float = 0.0
    effects: int = 0
    running: list[Process] = field(default_factory=list)
    timed_out: list[Process] = field(default_factory=list)
    killed: list[tuple[float, Process]] = field(default_factory=list)
    crashed: list[Process] = field(default_factory=list)
    trace: deque[tuple[float, str, str]] = field(default_factory=lambda: deque(maxlen=400))
    _due: list[tuple[float, float, int, Callable[[], None]]] = field(default_factory=list)
    _numbers: Any = field(default_factory=itertools.count)
    _current: Process | None = None

    # --- time ---------------------------------------------------------------------------------

    def now(self) -> datetime:
        return START + timedelta(seconds=self.clock)

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something later. What is due at the same moment happens in random order."""
        entry = (self.clock + seconds, self.rng.random(), next(self._numbers), action)
        heapq.heappush(self._due, entry)

    def run_until(self, end: float) -> None:
        """Let everything happen that is due by then."""
        while self._due and self._due[0][0] <= end:
            self.clock, _, _, action = heapq.heappop(self._due)
            action()
        self.clock = max(self.clock, end)

    # --- functions ----------------------------------------------------------------------------

    @property
    def current(self) -> str:
        """The name of the invocation that runs now."""
        return self._current.name if self._current else ""

    def start(
        self,
        name: str,
        limit: float,
        function: Callable[["Process"], Any],
        ended: Callable[[Any], None],
    ) -> Process:
        """Invoke a function. `ended` gets what it returned; None when it was killed or raised."""
        process = Process(name, limit, self.clock, ended)
        process.greenlet = greenlet(lambda: self._life_of(process, function))
        self.running.append(process)
        self.after(limit, lambda: self._time_out(process))
        self.after(0.0, lambda: self._resume(process))
        return process

    def invocation(self, process: Process) -> Invocation:
        """What the program is given of the process: the only clock and the only ids it knows."""
        ids = itertools.count(1)
        return Invocation(
            id=process.name,
            now=self.now,
            remaining=lambda: self._remaining(process),
            sleep=lambda pause: self.effect(
                f"sleep {pause.total_seconds():.1f} s", lambda: None, pause.total_seconds()
            ),
            jitter=lambda at_most: at_most * self.rng.random(),
            unique=lambda: f"{process.name}-{next(ids)}",
        )

    def _remaining(self, process: Process) -> timedelta:
        self.effects += 1
        self._pass(self.effects, "remaining", 0.0, after=False)
        return timedelta(seconds=process.started_at + process.limit - self.clock)

    def _life_of(self, process: Process, function: Callable[["Process"], Any]) -> None:
        result = None
        try:
            result = function(process)
        except Killed:
            self.killed.append((self.clock, process))
        except Exception as error:
            process.error = error
            self.crashed.append(process)
            self.note(f"raised {error!r}")
        process.over = True
        self.running.remove(process)
        process.ended(result)

    def _resume(self, process: Process) -> None:
        if not process.over:
            self._current = process
            process.greenlet.switch()
            self._current = None

    def _time_out(self, process: Process) -> None:
        if not process.over:
            self.timed_out.append(process)
            self._current, process.doomed = process, True
            self.note("timed out")
            process.greenlet.throw(Killed)
            self._current = None

    # --- effects ------------------------------------------------------------------------------

    def effect(
        self, label: str, happens: Callable[[], T], before: float = 0.0, after: float = 0.0
    ) -> T:
        """Something a function does to the world: all at once, at one moment of its duration.

        `before` and `after` are the seconds until it happens and until its answer is there.
        """
        number = self.effects = self.effects + 1
        self._pass(number, label, before, after=False)
        try:
            answer = happens()
        except Exception as error:
            self.note(f"{label} → {type(error).__name__} {error}")
            self._pass(number, label, after, after=True)
            raise
        self.note(label if answer is None else f"{label} → {answer}")
        self._pass(number, label, after, after=True)
        return answer

    def wait(self, seconds: float) -> None:
        """Let time pass for the function that runs now."""
        process = self._current
        if process is not None:
            self.after(seconds, lambda: self._resume(process))
            getcurrent().parent.switch()
            self._current = process

    def doom(self) -> None:
        """The function that runs now is dead, from its next effect on."""
        if self._current is not None:
            self._current.doomed = True

    def stand_still(self) -> None:
        """The function that runs now does nothing until its time is over."""
        if self._current is not None:
            self._current.stalled += self._current.limit
            self.wait(10 * DAY)

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        self.trace.append((self.clock, self.current, text))

    def _pass(self, number: int, label: str, seconds: float, *, after: bool) -> None:
        """Let time pass at an effect; this is where functions stall and die."""
        process = self._current
        if process is None:
            return
        if process.doomed:  # a `finally` of the program's: the dead do nothing
            raise Killed
        stalled = self.stall()
        process.stalled += stalled
        self.wait(seconds + stalled)
        if self.kill(number, after):
            process.doomed = True
            self.note(f"killed {'after' if after else 'before'} {label}")
            raise Killed


def told(trace: "deque[tuple[float, str, str]]", lines: int) -> str:
    """The last lines of a trace, to be read by a person."""
    shown = list(trace)[-lines:]
    return "\n".join(f"{clock:10.3f}  {name:<12} {text}" for clock, name, text in shown)
