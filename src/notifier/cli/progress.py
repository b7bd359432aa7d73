"""How a watched deployment goes on: a line for each change, or one line rewritten in a terminal."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TextIO

from notifier.confirming import SAID_ALIKE
from notifier.redaction import redacted
from notifier.rendering import clean

LONGEST = 400  # characters of a foreign text
_CLEAR = (
    "\r\x1b[2K"  # https://learn.microsoft.com/windows/console/console-virtual-terminal-sequences
)
_COUNTDOWN = re.compile(r"\d+ s more")
# A runner of GitHub Actions takes this for a command wherever in a line it stands, and `::` where a
# line begins.
# https://github.com/actions/runner/blob/main/src/Runner.Common/ActionCommand.cs
_OLD_COMMAND = "##["


def foreign(text: str) -> str:
    """Somebody else's text in one line: secrets out, nothing that a terminal or a runner obeys."""
    line = " ".join(clean(redacted(text)).split()).replace(_OLD_COMMAND, "## [")
    line = line.replace("::", ": :", 1) if line.startswith("::") else line
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


@dataclass(slots=True)
class Progress:
    """Writes to the stream; local times."""

    stream: TextIO
    _lines: dict[str, str] = field(default_factory=dict)
    _said: dict[str, tuple[str, datetime]] = field(default_factory=dict)

    def says(self, service: str, at: datetime, message: str) -> None:
        """What the service says itself, as it comes."""
        self._print(at, service, f"ECS: {foreign(message.removeprefix(f'(service {service}) '))}")

    def goes_on(self, service: str, at: datetime, line: str) -> None:
        """How far it is: when that changes, and once a minute."""
        line = foreign(line)
        if self.stream.isatty():
            self._lines[service] = line
            self._rewrite()
            return
        alike = _COUNTDOWN.sub("", line)
        said, said_at = self._said.get(service, ("", at - SAID_ALIKE))
        if alike != said or at - said_at >= SAID_ALIKE:
            self._said[service] = (alike, at)
            self._print(at, service, line)

    def cannot_read(self, at: datetime, why: str, pause: timedelta) -> None:
        """A look failed; no verdict comes of it."""
        again = f"again in {round(pause.total_seconds())} s"
        self._print(at, "", f"ECS could not be read: {foreign(why)}; {again}")

    def shows(self, service: str, lines: Sequence[str]) -> None:
        """What became of it, after which it goes on no more."""
        self._lines.pop(service, None)
        self.clear()
        print(*lines, sep="\n", file=self.stream, flush=True)

    def clear(self) -> None:
        """Leave a terminal's line empty for what comes next."""
        if self.stream.isatty():
            print(_CLEAR, end="", file=self.stream, flush=True)

    def _print(self, at: datetime, service: str, line: str) -> None:
        head = "  ".join(filter(None, (at.astimezone().strftime("%H:%M:%S"), service)))
        begin = _CLEAR if self.stream.isatty() else ""
        print(f"{begin}{head}  {line}", file=self.stream, flush=True)

    def _rewrite(self) -> None:
        every = " | ".join(f"{name}: {line}" for name, line in self._lines.items())
        width = shutil.get_terminal_size().columns - 1
        print(f"{_CLEAR}{every[:width]}", end="", file=self.stream, flush=True)
