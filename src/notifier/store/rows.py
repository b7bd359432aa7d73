"""Nouns as JSON and back. A field that a row lacks has its default; one too many is left out.

So a version of the program reads what the one before it wrote, and the other way round.
"""

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Noun = TypeVar("Noun")

PACKED = "zlib:"  # no JSON begins so
PACKED_ABOVE = 50_000  # characters


def to_json(noun: object, *, without: frozenset[str] = frozenset()) -> str:
    """The noun's fields, but for those that have their default or are left out by name.

    What names thousands of services is packed: an item holds 400 kB.
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
    """
    text = json.dumps(_plain(noun, without), separators=(",", ":"))
    if len(text) <= PACKED_ABOVE:
        return text
    return PACKED + b64encode(zlib.compress(text.encode())).decode()


def from_json(noun: type[Noun], text: str) -> Noun:
    """The noun that `to_json` wrote, by this version or another."""
    if text.startswith(PACKED):
        text = zlib.decompress(b64decode(text.removeprefix(PACKED))).decode()
    made: Noun = _made(noun, json.loads(text))
    return made


def stamp(at: datetime) -> str:
    """ISO 8601 in UTC, always of one length, so that it sorts as text."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds")


def _plain(value: Any, without: frozenset[str] = frozenset()) -> Any:
    if is_dataclass(value):
        return {
            field.name: _plain(getattr(value, field.name))
            for field in fields(value)
            if field.name not in without and not _is_default(value, field)
        }
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value.value if isinstance(value, Enum) else value


def _is_default(value: Any, field: Any) -> bool:
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    return bool(getattr(value, field.name) == default)


@cache
def _hints(noun: type) -> Mapping[str, Any]:
    return get_type_hints(noun)


def _made(hint: Any, value: Any) -> Any:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        kept = next(one for one in get_args(hint) if one is not NoneType)
        return None if value is None else _made(kept, value)
    if origin is tuple:
        return tuple(_made(get_args(hint)[0], item) for item in value)
    if origin is not None:
        return {key: _made(get_args(hint)[1], item) for key, item in value.items()}
    if isinstance(hint, type) and is_dataclass(hint):
        hints = _hints(hint)
        known = {name: _made(hints[name], item) for name, item in value.items() if name in hints}
        return hint(**known)
    if hint is datetime:
        return datetime.fromisoformat(value)
    return hint(value) if isinstance(hint, type) and issubclass(hint, Enum) else value
