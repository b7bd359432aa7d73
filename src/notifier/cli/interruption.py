"""Ctrl-C and SIGTERM as something to ask for between two steps, instead of in the middle of one."""

import signal
import time
from types import FrameType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAME_UNTIL = 1.0  # seconds after the first signal; till then it is the same Ctrl-C, handed on
_SLICE = 0.2  # seconds; how late an interruption is seen in a pause, at most


class Interruption:
    """While the `with` block lasts, the first signal is only kept; a second Ctrl-C interrupts.

    CI systems send SIGINT or SIGTERM, one after the other too, and kill some seconds later. What
    stands between (make, npm) hands a signal on that the terminal sent to all: so one Ctrl-C comes
    twice, within milliseconds.
    """

    def __init__(self) -> None:
        self.number = 0
        self._first_at = 0.0

    def __enter__(self) -> Self:
        self._before = {one: signal.signal(one, self._keep) for one in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)

    def _keep(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.number:
            self.number, self._first_at = number, now
        elif number == signal.SIGINT and now - self._first_at >= SAME_UNTIL:
            raise KeyboardInterrupt

    def why(self) -> str:
        """The signal's name, empty while there was none."""
        return signal.Signals(self.number).name if self.number else ""

    def sleep(self, seconds: float) -> None:
        """Sleep so long, or until a signal comes."""
        until = time.monotonic() + seconds
        while not self.number and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _SLICE))
