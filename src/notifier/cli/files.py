"""Event files as a person keeps them: one JSON value each, `-` for standard input."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from notifier.errors import MalformedEvent
from notifier.events import as_envelope


def read_json(name: str) -> object:
    """The file's JSON value; MalformedEvent says which file is not JSON, or cannot be read."""
    try:
        return json.loads(sys.stdin.read() if name == "-" else Path(name).read_text("utf-8"))
    except OSError as error:
        raise MalformedEvent(f"{name}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise MalformedEvent(f"{name}: not JSON: {error}") from error


def read_envelope(name: str) -> Mapping[str, object] | None:
    """The event as EventBridge sends it; a bare CloudTrail record is wrapped. None: no event."""
    value = read_json(name)
    if not isinstance(value, Mapping):
        return None
    return value if "detail-type" in value else as_envelope(value)
