"""Loaded by every function process of the sandbox before the function itself.

Lets the program's clock be put forward, so that a story of hours is played in seconds: what the
program sleeps passes at once, unless schedules fire by the real clock. And gives the root logger
what Lambda's Python runtime gives it: one JSON object a line, level INFO, with what the program
added by `extra`.
https://docs.aws.amazon.com/lambda/latest/dg/python-logging.html
"""

import datetime
import fcntl
import importlib
import json
import logging
import os
import time
import types
from collections.abc import Callable
from typing import Any

STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime"}


class JsonLines(logging.Formatter):
    """Formats a record as Lambda's JSON log format does."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "level": record.levelname,
            "message": record.getMessage(),
            "logger": record.name,
        }
        line.update({key: value for key, value in vars(record).items() if key not in STANDARD})
        if record.exc_info:
            line["stackTrace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


handler = logging.StreamHandler()
handler.setFormatter(JsonLines())
logging.basicConfig(level=logging.INFO, handlers=[handler])


# --- the clock --------------------------------------------------------------------------------


def seconds_ahead() -> float:
    """Return how far the sandbox's clock is ahead of the real one."""
    with open(os.environ["SANDBOX_CLOCK"]) as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        return float(file.read())


class SandboxClock(datetime.datetime):
    """The class `datetime` as the program sees it: only what time it is now is different."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:  # type: ignore[override]
        """Return the time, put forward or back by as many seconds as the file says."""
        return datetime.datetime.now(tz) + datetime.timedelta(seconds=seconds_ahead())


class SandboxTime:
    """The module `time` as the program sees it: sleeping is putting everybody's clock forward."""

    @staticmethod
    def sleep(seconds: float) -> None:
        """Return at once, so much later."""
        with open(os.environ["SANDBOX_CLOCK"], "a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            ahead = float(file.read()) + seconds
            file.truncate(0)
            file.write(str(ahead))
        time.sleep(0.01)  # whoever is waited for gets a chance


def told_in_sandbox_time(on_events: Callable[..., Any]) -> Callable[..., Any]:
    """Let the queue seem to have the sandbox's clock too: it writes when it took a message."""

    def with_times(event: dict[str, Any], context: object) -> Any:
        for record in event.get("Records", []):
            sent = int(record["attributes"]["SentTimestamp"]) + round(seconds_ahead() * 1000)
            record["attributes"]["SentTimestamp"] = str(sent)
        return on_events(event, context)

    return with_times


def import_module(name: str, package: str | None = None) -> types.ModuleType:
    """Import a module; those through which the program gets its clock get the sandbox's.

    AWS's SDK keeps the real time, by which requests are signed.
    """
    module = really_import(name, package)
    if name in ("notifier.handler", "notifier.on_retry"):
        module.datetime  # noqa: B018 - the name must be there to be replaced
        module.datetime = SandboxClock  # type: ignore[attr-defined]
        if os.environ.get("SANDBOX_SCHEDULES") == "off":
            module.time = SandboxTime  # type: ignore[attr-defined]
    if name == "notifier.handler":
        module.on_events = told_in_sandbox_time(module.on_events)  # type: ignore[attr-defined]
    return module


really_import = importlib.import_module
if os.environ.get("SANDBOX_CLOCK"):
    importlib.import_module = import_module
