"""Event files as a person keeps them: one JSON value each, `-` for standard input."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from notifier.errors import MalformedEvent, WatchError
from notifier.events import as_envelope


class FileError(WatchError):
    """The file is not there, may not be read, or is not JSON."""


def read_json(name: str) -> object:
    """The file's JSON value, in UTF-8, 16 or 32; FileError when there is none."""
    try:
        return json.loads(sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes())
    except OSError as error:
        raise FileError(str(error.strerror)) from error
    except (ValueError, RecursionError) as error:
        raise FileError(f"not JSON: {error}") from error


def as_event(value: object) -> Mapping[str, object]:
    """The value as EventBridge would send it: a bare CloudTrail record is wrapped.

    Whether it is an event is for `parse` to say; MalformedEvent for what is not even an object.
    """
    if not isinstance(value, Mapping):
        raise MalformedEvent(f"expected an object, found {type(value).__name__}")
    return value if "detail-type" in value else as_envelope(value) or value
