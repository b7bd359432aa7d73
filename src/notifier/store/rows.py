"""Nouns as JSON and back. A field that a row lacks has its default; one too many is left out.

So a version of the program reads what the one before it wrote, and the other way round. A word of
an enumeration that this version does not know is read as the one that `UNKNOWN_WORDS` names.
"""

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from notifier.model import Phase, Reason, StepKind, SubjectKind

Noun = TypeVar("Noun")

PACKED = "zlib:"  # no JSON begins so
PACKED_ABOVE = 50_000  # characters

# What a newer version wrote, in words of today: looked at again, told, and never taken for well.
# An enumeration that has the word UNKNOWN is read as that.
UNKNOWN_WORDS: Mapping[type[Enum], Enum] = {
    Phase: Phase.FAILING,  # the next look makes it right
    Reason: Reason.ANOTHER_CAUSE,  # told in the thread, with what is known of the service
    SubjectKind: SubjectKind.SERVICE,
    StepKind: StepKind.FLAT,  # what it tells is told; it is taken neither for a root nor a reply
}


def to_json(noun: object, *, without: frozenset[str] = frozenset()) -> str:
    """The noun's fields, but for those that have their default or are left out by name.

    What names thousands of services is packed: an item holds 400 kB.
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
    """
    text = json.dumps(_fields_of(noun, without), separators=(",", ":"))
    if len(text) <= PACKED_ABOVE:
        return text
    return PACKED + b64encode(zlib.compress(text.encode())).decode()


def from_json(noun: type[Noun], text: str) -> Noun:
    """The noun that `to_json` wrote, by this version or another."""
    if text.startswith(PACKED):
        text = zlib.decompress(b64decode(text.removeprefix(PACKED))).decode()
    kind: Any = noun
    made: Noun = _reader(kind)(json.loads(text))
    return made


def stamp(at: datetime) -> str:
    """ISO 8601 in UTC, always of one length, so that it sorts as text."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds")


def moment(text: str) -> datetime:
    """The time that ISO 8601 names; in UTC where it names no zone, for ours are all aware."""
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


# What depends on the class alone is found out once: a storm reads and writes thousands of rows.


def _fields_of(noun: Any, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    written = {}
    for name, default in _defaults(noun.__class__):
        value = getattr(noun, name)
        if value != default and name not in without:
            written[name] = _writer(value.__class__)(value)
    return written


@cache
def _defaults(noun: Any) -> tuple[tuple[str, Any], ...]:
    return tuple((field.name, _default(field)) for field in fields(noun))


def _default(field: "Field[Any]") -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


@cache
def _writer(kind: type) -> Callable[[Any], Any]:
    """What makes JSON's own values of values of this class."""
    if is_dataclass(kind):
        return _fields_of
    if issubclass(kind, datetime):
        return lambda at: at.astimezone(UTC).isoformat()
    if issubclass(kind, tuple):
        return lambda items: [_writer(item.__class__)(item) for item in items]
    if issubclass(kind, Mapping):
        return lambda items: {key: _writer(item.__class__)(item) for key, item in items.items()}
    return (lambda word: word.value) if issubclass(kind, Enum) else _as_it_is


@cache
def _reader(hint: Any) -> Callable[[Any], Any]:
    """What makes values of this type of JSON's own."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return _optional(_reader(next(one for one in get_args(hint) if one is not NoneType)))
    if origin is tuple:
        item = _reader(get_args(hint)[0])
        return lambda values: tuple([item(value) for value in values])
    if origin is not None:
        item = _reader(get_args(hint)[1])
        return lambda values: {key: item(value) for key, value in values.items()}
    return _noun_reader(hint) if is_dataclass(hint) else _single(hint)


def _optional(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


def _single(hint: Any) -> Callable[[Any], Any]:
    if hint is datetime:
        return moment
    if issubclass(hint, Enum):
        words, unknown = {word.value: word for word in hint}, unknown_word(hint)
        return lambda value: words.get(value, unknown)
    return _as_it_is


def unknown_word(kind: type[Enum]) -> Enum:
    """What a word of this enumeration that nobody knows is read as. Raises KeyError."""
    return UNKNOWN_WORDS[kind] if kind in UNKNOWN_WORDS else kind["UNKNOWN"]


def _noun_reader(noun: Any) -> Callable[[Mapping[str, Any]], Any]:
    readers = {name: _reader(hint) for name, hint in get_type_hints(noun).items()}

    def read(written: Mapping[str, Any]) -> Any:
        return noun(**{name: readers[name](written[name]) for name in written if name in readers})

    return read


def _as_it_is(value: Any) -> Any:
    return value
