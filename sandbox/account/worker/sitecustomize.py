"""Loaded by every function process of the sandbox before the function itself.

Gives the root logger what Lambda's Python runtime gives it: one JSON object a line, level INFO,
with what the program added by `extra`.
https://docs.aws.amazon.com/lambda/latest/dg/python-logging.html
"""

import json
import logging

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
