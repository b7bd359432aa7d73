"""AWS's JSON, read field by field: what is absent or of another kind is empty, never an error.

A time is a `datetime` where boto3 parsed it; an ISO 8601 text or seconds since 1970 in a file.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

Row = Mapping[str, Any]


def text(row: Row, name: str) -> str:
    """The field's text."""
    value = row.get(name)
    return value if isinstance(value, str) else ""


def whole(row: Row, name: str) -> int:
    """The field's whole number."""
    return maybe_whole(row, name) or 0


def maybe_whole(row: Row, name: str) -> int | None:
    """The field's whole number, None where there is none: an exit code of 0 says something."""
    value = row.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def maybe_true(row: Row, name: str) -> bool | None:
    """The field's truth, None where it says neither."""
    value = row.get(name)
    return value if isinstance(value, bool) else None


def child(row: Row, name: str) -> Row:
    """The field's object."""
    value = row.get(name)
    return value if isinstance(value, Mapping) else {}


def rows(row: Row, name: str) -> list[Row]:
    """The objects of the field's list."""
    return [one for one in _items(row, name) if isinstance(one, Mapping)]


def texts(row: Row, name: str) -> tuple[str, ...]:
    """The texts of the field's list."""
    return tuple(one for one in _items(row, name) if isinstance(one, str))


def _items(row: Row, name: str) -> list[Any]:
    value = row.get(name)
    return value if isinstance(value, list) else []


def moment(row: Row, name: str) -> datetime | None:
    """The field's time; in UTC where it names no zone."""
    value = row.get(name)
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        at = datetime.fromisoformat(value) if isinstance(value, str) else value
    except (ValueError, OverflowError, OSError):
        return None
    if not isinstance(at, datetime):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def tags(row: Row) -> dict[str, str]:
    """The resource's tags.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Tag.html
    """
    return {text(tag, "key"): text(tag, "value") for tag in rows(row, "tags") if text(tag, "key")}


def decoded(written: str) -> Row:
    """The object that a text holds as JSON."""
    try:
        value = json.loads(written)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, Mapping) else {}
