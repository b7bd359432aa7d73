"""What changed between the release that fails and the last one that completed, in lines.

Of variables and secrets only names are known here. A command or health check can hold a secret in
any of its words: which of them differ is shown only where they are few and none can be one.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from notifier.arns import revision_label
from notifier.facts import UNREAD, ContainerDefinition, Facts, TaskDefinition
from notifier.redaction import redacted

LINES_AT_MOST = 8
_NAMES_AT_MOST = 5
_WORDS_AT_MOST = 4
_SHORT = 60  # characters of words that differ
_DIGEST_SHOWN = 8  # as much as tells two digests apart at a glance

_GONE = "\N{MINUS SIGN}"
FIRST = "first deployment: nothing to compare with"
_SINCE = "no deployment since "
# What the deployment before the one that fails is known from.
_READS_OF_DEPLOYMENTS = frozenset(
    {
        "ecs:DescribeServices",
        "ecs:DescribeServiceDeployments",
        "ecs:DescribeServiceRevisions",
        "ecs:ListServiceDeployments",
    }
)
_READ_OF_DEFINITIONS = "ecs:DescribeTaskDefinition"
# The word itself or the one before it says that it may be secret.
_MAY_BE_SECRET = re.compile(
    r"(?i)pass|pwd|secret|token|key|cred|auth|dsn|private|bearer|sign|salt|pin\b|://|@"
)
# Words that hold no value: an option's own name, a number, a size of Java's memory.
_OPTION = re.compile(r"-[a-z]|--[a-z]+(?:-[a-z]+)*", re.IGNORECASE | re.ASCII)
_NUMBER = re.compile(r"\d{1,4},?", re.ASCII)
_JAVA_MEMORY = re.compile(r"-Xm[nsx]\d{1,6}[kmg]?", re.IGNORECASE | re.ASCII)
_LETTERS = re.compile(r"(?!-)[a-z_./-]{1,24}", re.IGNORECASE | re.ASCII)


def changes(facts: Facts) -> tuple[str, ...]:
    """What changed, most telling first; never empty, and at most `LINES_AT_MOST` and one more.

    Lines hold names as they were read: they are redacted, cut and escaped where they are shown. A
    line that `deployed_at` reads a time from is shown with the reader's local time.
    """
    lines = tuple(_lines(facts))
    if len(lines) <= LINES_AT_MOST + 1:
        return lines
    return (*lines[:LINES_AT_MOST], f"… and {len(lines) - LINES_AT_MOST} more")


def deployed_at(line: str) -> datetime | None:
    """When the last deployment was, of the line that says so; None for every other line."""
    head, _, written = line.partition(_SINCE)
    try:
        return datetime.fromisoformat(written) if not head and written else None
    except ValueError:
        return None


def _lines(facts: Facts) -> Iterator[str]:
    if not facts.failing_revision or not facts.serving_revision:
        yield _nothing_to_compare(facts)
    elif facts.failing_revision != facts.serving_revision:
        yield from _between_revisions(facts)
    elif _has_completed(facts):
        yield _no_deployment(facts)
    else:
        yield from _same_revision(facts)


# --- nothing, or not much, to compare -----------------------------------------------------------


def _nothing_to_compare(facts: Facts) -> str:
    unread = _unread(facts, _READS_OF_DEPLOYMENTS)
    if unread or not facts.failing_revision:
        return unread or f"{UNREAD}which task definitions were deployed"
    return FIRST


def _unread(facts: Facts, actions: frozenset[str]) -> str:
    """The first that is missing of what these actions read."""
    missing = (one for one in facts.missing if one.action in actions)
    return next((f"{UNREAD}{one.what} ({one.why})" for one in missing), "")


def _has_completed(facts: Facts) -> bool:
    """Whether what fails is what served: nobody has deployed since."""
    if facts.has_completed is not None:
        return facts.has_completed
    return facts.service_deployment is not None and facts.service_deployment.status == "SUCCESSFUL"


def _no_deployment(facts: Facts) -> str:
    if facts.last_deployment_at is None:
        return f"no new deployment, still {_revision(facts.serving_revision)}"
    return f"{_SINCE}{facts.last_deployment_at.isoformat()}"


def _same_revision(facts: Facts) -> Iterator[str]:
    """The same task definition, deployed again."""
    same = f"same task definition {_revision(facts.failing_revision)}"
    common = facts.failing_images.keys() & facts.serving_images.keys()
    new = [name for name in sorted(common) if _digests_differ(facts, name)]
    for name in new:
        yield f"{same}, new image digest: {name} {_tag_in(facts, name)}{_digests(facts, name)}"
    if not new:
        yield f"{same}, same images" if common else f"{same}; image digests are not known"


def _tag_in(facts: Facts, name: str) -> str:
    definition = facts.failing or facts.serving
    images = {one.name: one.image for one in definition.containers} if definition else {}
    tag = _tag(images[name]) if name in images else ""
    return f"{tag} " if tag else ""


# --- two revisions ------------------------------------------------------------------------------


def _between_revisions(facts: Facts) -> Iterator[str]:
    if facts.failing is None or facts.serving is None:
        yield _revisions(facts)
        yield from _new_digests(facts)
        unread = _unread(facts, frozenset({_READ_OF_DEFINITIONS}))
        yield unread or "what else changed is not known: task definitions were not read"
        return
    lines = tuple(_between_definitions(facts, facts.serving, facts.failing))
    if not lines or _family(facts.failing_revision) != _family(facts.serving_revision):
        yield _revisions(facts) if lines else f"{_revisions(facts)}: nothing that we compare"
    yield from lines


def _revisions(facts: Facts) -> str:
    old, new = facts.serving_revision, facts.failing_revision
    if _family(old) == _family(new):
        return f"task definition {_revision(old)} → {_revision(new)}"
    return f"task definition {revision_label(old)} → {revision_label(new)}"


def _family(revision: str) -> str:
    return revision_label(revision).rpartition(":")[0]


def _revision(arn: str) -> str:
    family, colon, number = revision_label(arn).rpartition(":")
    return f":{number}" if colon and family else number


def _new_digests(facts: Facts) -> Iterator[str]:
    """What the digests alone tell, where the task definitions were not read."""
    for name in sorted(facts.failing_images.keys() & facts.serving_images.keys()):
        if _digests_differ(facts, name):
            yield f"{name} new image digest {_digests(facts, name)}"


def _between_definitions(facts: Facts, old: TaskDefinition, new: TaskDefinition) -> Iterator[str]:
    before = {one.name: one for one in old.containers}
    pairs = [(before[one.name], one) for one in new.containers if one.name in before]
    is_alone = len(old.containers) == len(new.containers) == len(pairs) == 1
    for was, now in pairs:
        yield from _image(facts, was, now)
    yield from _containers(old, new)
    yield from _amounts("task memory", old.memory, new.memory, " MiB")
    yield from _amounts("task CPU", old.cpu, new.cpu)
    for compare in _OF_CONTAINERS:
        for was, now in pairs:
            yield from compare("" if is_alone else f"{now.name}: ", was, now)


# --- images -------------------------------------------------------------------------------------


def _image(facts: Facts, was: ContainerDefinition, now: ContainerDefinition) -> Iterator[str]:
    name, differ = now.name, _digests_differ(facts, now.name)
    if was.image != now.image:
        yield f"{name} image {_images(was.image, now.image)}{_although_same(facts, name)}"
    elif differ:
        tag = _tag(now.image)
        same = f"same tag {tag}, new" if tag else "new"
        yield f"{name}: {same} image digest {_digests(facts, name)}"


def _although_same(facts: Facts, name: str) -> str:
    """That the image is the same one under another name."""
    old, new = facts.serving_images.get(name, ""), facts.failing_images.get(name, "")
    return f" (same digest {_digest(new)})" if old and old == new else ""


def _images(old: str, new: str) -> str:
    """What differs of two images' names: the tag, or what stands before it too."""
    if _repository(old) != _repository(new):
        return f"{_readable(old)} → {_readable(new)}"
    return f"{_version(old)} → {_version(new)}"


def _readable(image: str) -> str:
    return f"{_repository(image)}:{_tag(image)}" if _tag(image) else _by_digest(image)


def _by_digest(image: str) -> str:
    return f"{_repository(image)}@{_digest(image.partition('@')[2])}"


def _version(image: str) -> str:
    return _tag(image) or f"digest {_digest(image.partition('@')[2])}"


def _repository(image: str) -> str:
    name = image.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name


def _tag(image: str) -> str:
    """The tag, `latest` where there is none; empty where a digest stands alone.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html
    """
    name, at, _ = image.partition("@")
    head, colon, tag = name.rpartition(":")
    if colon and head and "/" not in tag:
        return tag
    return "" if at else "latest"


def _digests_differ(facts: Facts, name: str) -> bool:
    old, new = facts.serving_images.get(name, ""), facts.failing_images.get(name, "")
    return bool(old and new) and old != new


def _digests(facts: Facts, name: str) -> str:
    return f"{_digest(facts.serving_images[name])} → {_digest(facts.failing_images[name])}"


def _digest(digest: str) -> str:
    return f"{digest.rpartition(':')[2][:_DIGEST_SHOWN]}…"


# --- what a task definition asks for ------------------------------------------------------------


def _containers(old: TaskDefinition, new: TaskDefinition) -> Iterator[str]:
    before, after = {one.name for one in old.containers}, {one.name for one in new.containers}
    for one in new.containers:
        if one.name not in before:
            yield f"+ container {one.name}{one.image and f' ({_readable(one.image)})'}"
    for one in old.containers:
        if one.name not in after:
            yield f"{_GONE} container {one.name}"


def _amounts(what: str, old: object, new: object, unit: str = "") -> Iterator[str]:
    """Of a task ECS gives texts, which may have a unit of their own: `1 GB`."""
    if old != new:
        in_unit = unit if str(new or old).isdigit() else ""
        yield f"{what} {old or 'none'} → {new or 'none'}{in_unit}"


def _memory_and_cpu(
    whose: str, was: ContainerDefinition, now: ContainerDefinition
) -> Iterator[str]:
    yield from _amounts(f"{whose}memory", was.memory, now.memory, " MiB")
    reserved = (was.memory_reservation, now.memory_reservation)
    yield from _amounts(f"{whose}memory reservation", *reserved, " MiB")
    yield from _amounts(f"{whose}CPU", was.cpu, now.cpu)


def _commands(whose: str, was: ContainerDefinition, now: ContainerDefinition) -> Iterator[str]:
    yield from _words(f"{whose}command", " ".join(was.command), " ".join(now.command))
    old, new = " ".join(was.entry_point), " ".join(now.entry_point)
    yield from _words(f"{whose}entry point", old, new)


def _health_check(whose: str, was: ContainerDefinition, now: ContainerDefinition) -> Iterator[str]:
    yield from _words(f"{whose}health check", was.health_check, now.health_check)


def _words(what: str, old: str, new: str) -> Iterator[str]:
    """That a text changed; and how, if its words may be shown."""
    if old == new:
        return
    if not old or not new:
        yield f"{what} {'added' if new else 'removed'}"
        return
    shown = _difference(old.split(), new.split())
    is_clean = bool(shown) and (redacted(old), redacted(new)) == (old, new)
    yield f"{what} changed{f': {shown}' if is_clean else ''}"


def _difference(old: list[str], new: list[str]) -> str:
    """The words that differ; empty where they are many, or one of them may be a secret."""
    start = _alike(old, new)
    rest = _alike(old[start:][::-1], new[start:][::-1])
    before, after = old[start : len(old) - rest], new[start : len(new) - rest]
    context = " ".join([*old[max(start - 1, 0) : start], *before, *after])
    is_long = len(before) + len(after) > _WORDS_AT_MOST or len(context) > _SHORT
    if is_long or _MAY_BE_SECRET.search(context):
        return ""
    if not all(_may_be_shown(words, start, len(words) - rest) for words in (old, new)):
        return ""
    was, now = (" ".join(words).rstrip(",") or "nothing" for words in (before, after))
    return f"{was} → {now}"


def _alike(old: list[str], new: list[str]) -> int:
    """How many words both begin with."""
    pairs = zip(old, new, strict=False)
    return next((n for n, (was, now) in enumerate(pairs) if was != now), min(len(old), len(new)))


def _may_be_shown(words: list[str], start: int, end: int) -> bool:
    return all(_is_harmless(words[:place], words[place]) for place in range(start, end))


def _is_harmless(before: list[str], word: str) -> bool:
    """Whether the word can be no secret: never the value of an option, apart or glued to it.

    How many values an option takes nobody knows here: behind any of them, letters may be a value.
    """
    if _JAVA_MEMORY.fullmatch(word):
        return True
    if before and before[-1].startswith("-"):
        return False
    if _OPTION.fullmatch(word) or _NUMBER.fullmatch(word):
        return True
    return bool(_LETTERS.fullmatch(word)) and not any(one.startswith("-") for one in before)


def _secrets(whose: str, was: ContainerDefinition, now: ContainerDefinition) -> Iterator[str]:
    yield from _names(whose, "secret", was.secrets, now.secrets)


def _environment(whose: str, was: ContainerDefinition, now: ContainerDefinition) -> Iterator[str]:
    yield from _names(whose, "env", was.environment, now.environment)


def _ports(whose: str, was: ContainerDefinition, now: ContainerDefinition) -> Iterator[str]:
    yield from _names(whose, "port", dict.fromkeys(was.ports, ""), dict.fromkeys(now.ports, ""))


def _essential(whose: str, was: ContainerDefinition, now: ContainerDefinition) -> Iterator[str]:
    if was.is_essential != now.is_essential:
        yield f"{whose or f'{now.name}: '}{'now' if now.is_essential else 'no longer'} essential"


def _logs(whose: str, was: ContainerDefinition, now: ContainerDefinition) -> Iterator[str]:
    if was.log_driver != now.log_driver:
        yield f"{whose}log driver {was.log_driver or 'none'} → {now.log_driver or 'none'}"
    else:
        yield from _names(whose, "log option", was.log_options, now.log_options)


def _names(whose: str, kind: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    """Names that were added, taken away, or whose values are others."""
    changed = [name for name in new if name in old and old[name] != new[name]]
    for sign, names in (
        (_GONE, [name for name in old if name not in new]),
        ("+", [name for name in new if name not in old]),
        ("~", changed),
    ):
        if names:
            yield f"{whose}{sign} {kind} {_listed(sorted(names))}"


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMES_AT_MOST
    shown = ", ".join(names[:_NAMES_AT_MOST])
    return f"{shown} and {more} more" if more > 0 else shown


_OF_CONTAINERS: tuple[
    Callable[[str, ContainerDefinition, ContainerDefinition], Iterator[str]], ...
] = (
    _memory_and_cpu,
    _commands,
    _secrets,
    _environment,
    _ports,
    _health_check,
    _essential,
    _logs,
)
