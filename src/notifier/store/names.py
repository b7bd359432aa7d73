"""Names of thousands of services, short enough for a row.

A row holds 400 kB and a cluster 5,000 services with names of 255 characters. They pack well as a
rule; where they do not, each becomes a mark of 13 characters, and whoever knows the cluster's
services finds the names again.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html
"""

from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import replace
from hashlib import sha256

from notifier.model import Step, Thread

_SIGN = "#"  # in no name of a service, daemon or deployment group


def short_step(step: Step) -> Step:
    """The step with marks for names."""
    return replace(step, tells=_marked(step.tells), announces=_marked(step.announces))


def short_thread(thread: Thread) -> Thread:
    """The thread with marks for names."""
    return replace(thread, announced=_marked(thread.announced))


def full_step(step: Step, names: Iterable[str]) -> Step:
    """The step with the names that its marks stand for; without those that nobody has."""
    known = list(names)
    return replace(step, tells=_named(step.tells, known), announces=_named(step.announces, known))


def full_thread(thread: Thread, names: Iterable[str]) -> Thread:
    """The thread with the names that its marks stand for; without those that nobody has."""
    return replace(thread, announced=_named(thread.announced, names))


def _marked(revisions: Mapping[str, int]) -> Mapping[str, int]:
    return {_mark(name): revision for name, revision in revisions.items()}


def _named(revisions: Mapping[str, int], names: Iterable[str]) -> Mapping[str, int]:
    if not any(name.startswith(_SIGN) for name in revisions):
        return revisions
    known = {_mark(name): name for name in names}
    return {known[mark]: at for mark, at in revisions.items() if mark in known}


def _mark(name: str) -> str:
    return _SIGN + urlsafe_b64encode(sha256(name.encode()).digest()[:9]).decode()
