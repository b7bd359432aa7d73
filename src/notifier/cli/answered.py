"""The answers of `aws ecs update-service` that come on standard input, one after the other."""

import json
import os
import select
import stat
import sys
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from notifier.deployments import Mine
from notifier.ecs.fields import Row, child, text
from notifier.ecs.releases import deployment_of
from notifier.errors import WatchError

LONGEST = 10_000_000  # characters; an answer has about 10,000
WAITED_FOR = 60.0  # seconds, until somebody begins to write


class Unusable(WatchError):
    """Standard input has something else than the answer. The text says what is wrong."""


def answers_on(stream: TextIO) -> Mapping[str, Mine]:
    """The deployments that the answers on the stream began, by service; empty for no answer.

    Raises Unusable for what is no answer of UpdateService or CreateService.
    """
    found: dict[str, Mine] = {}
    for answer in _values(_written(stream)):
        service = child(answer, "service")
        name, mine = text(service, "serviceName"), deployment_of(answer)
        if not name:
            raise Unusable('standard input is no answer of `aws ecs update-service`: no "service"')
        if not mine:
            raise Unusable(
                f"{name}: the answer shows no PRIMARY deployment: is CodeDeploy, or something else,"
                " its deployment controller?"
            )
        found[name] = mine
    return found


def _written(stream: TextIO) -> str:
    """What is piped in or redirected; nothing where nobody writes."""
    try:
        if not _may_have_an_answer(stream):
            return ""
        written = stream.read(LONGEST + 1)
    except (OSError, ValueError) as error:  # a stream that is closed, or not in its encoding
        raise Unusable(f"standard input cannot be read: {error}") from error
    if len(written) > LONGEST:
        raise Unusable("standard input is too long for an answer of `aws ecs update-service`")
    return written.lstrip("\ufeff")


def _may_have_an_answer(stream: TextIO) -> bool:
    """Whether it is a file or a pipe, into which something is written in time.

    Some CI systems leave a pipe open into which nobody ever writes.
    """
    if stream.closed or stream.isatty():
        return False
    try:
        number = stream.fileno()
    except OSError:  # io.UnsupportedOperation: it is in memory
        return True
    kind = os.fstat(number).st_mode
    if not stat.S_ISFIFO(kind):
        return stat.S_ISREG(kind)
    if not select.select([number], [], [], 0.5)[0]:
        print("waiting for an answer of `aws ecs update-service` on stdin", file=sys.stderr)
    return bool(select.select([number], [], [], WAITED_FOR)[0])


def _values(written: str) -> Iterator[Row]:
    """The JSON objects in it, one after the other."""
    decoder, rest = json.JSONDecoder(), written.strip()
    while rest:
        try:
            value, end = _decoded(decoder, rest)
        except (ValueError, RecursionError) as error:
            raise Unusable(f"standard input is not JSON: {error}") from error
        if not isinstance(value, Mapping):
            raise Unusable("standard input is no answer of `aws ecs update-service`: no object")
        yield value
        rest = rest[end:].lstrip()


def _decoded(decoder: json.JSONDecoder, written: str) -> tuple[Any, int]:
    return decoder.raw_decode(written)
