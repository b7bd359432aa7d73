"""Whose turn it is in the census: our own clusters, then members, and last those that are silent.

A silent member costs a tick, because what hangs takes seconds. So each round asks first whoever
answered, and whoever was not asked for longest among the others; and after an hour our own clusters
are read again, however many members are still to be asked: they are the first of the next round.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from notifier.arns import parse_arn
from notifier.model import Census

EVERY = timedelta(hours=1)

Place = tuple[str, str]  # account, region


def member_entry(account: str, region: str) -> str:
    """What stands in the census for a member until its clusters are listed."""
    return f"{account}#{region}"


def as_member(entry: str) -> Place | None:
    """The account and region of such an entry; None for a cluster's ARN."""
    account, mark, region = entry.partition("#")
    return (account, region) if mark and parse_arn(entry) is None else None


def place_of(entry: str) -> Place | None:
    """Where it is that an entry or a cluster's ARN is about."""
    arn = parse_arn(entry)
    return (arn.account, arn.region) if arn else as_member(entry)


def begun(census: Census | None, now: datetime, is_ours: Callable[[str], bool]) -> Census | None:
    """The round that is under way or begins now; None when the last one is not an hour old."""
    if census is None:
        return Census(started_at=now)
    is_under_way = bool(census.clusters) or not census.is_listed
    if now - census.started_at < EVERY:
        return census if is_under_way else None
    if is_under_way and (not _may_be_cut(census) or any(map(is_ours, census.clusters))):
        return census
    # What the first round found stays: its summary may not have been told yet.
    return replace(census, started_at=now, is_listed=False, page="")


def _may_be_cut(census: Census) -> bool:
    """The first round is read to its end: it counts what is watched."""
    return census.is_listed and census.finished_at is not None


def listed(census: Census, members: Sequence[str]) -> Census:
    """What is to be read after our own clusters: `members` by their entries, each in its turn."""
    silent = [one for one in census.silent if one in members]
    left = [one for one in census.clusters if one not in silent and _entry(one) in members]
    taken = {*silent, *map(_entry, left)}
    others = [one for one in members if one not in taken]
    return replace(census, clusters=(*left, *others, *silent), silent=tuple(silent), is_listed=True)


def answered(census: Census) -> Census:
    """The census without its first entry: a member that answered."""
    entry, *rest = census.clusters
    silent = tuple(one for one in census.silent if one != entry)
    return replace(census, clusters=tuple(rest), silent=silent)


def refused(census: Census) -> Census:
    """The census without its first entry, which there is no sense in asking for again."""
    return replace(census, clusters=census.clusters[1:], page="")


def without(census: Census) -> Census:
    """The census without all that is of a member that did not answer for its first entry."""
    silent = place_of(census.clusters[0])
    rest = tuple(one for one in census.clusters if place_of(one) != silent)
    entry = _entry(census.clusters[0])
    others = tuple(one for one in census.silent if one != entry)
    return replace(census, clusters=rest, page="", silent=(*others, entry))


def _entry(one: str) -> str:
    return member_entry(*(place_of(one) or ("", "")))
