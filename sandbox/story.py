"""Plays a story: events of a failure and what ECS shows meanwhile, step by step.

What a story file looks like is said in events/stories/README.md.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any, Protocol, Self

STORIES = Path(__file__).resolve().parents[1] / "events" / "stories"

MOMENT = re.compile(r"\{\{([+-]\d+(?:\.\d{1,3})?)( in words)?\}\}")
ORIGIN = re.compile(r"built|recorded: .+")
KINDS = ("event", "ecs", "run_task", "denied", "slack", "tick")

Json = dict[str, Any]


class StoryError(ValueError):
    """A story file does not say what it has to; the text names the step."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens `at` seconds after the story's start; exactly one kind is set."""

    at: float
    origin: str
    note: str
    event: Json | None = None
    ecs: Mapping[str, list[Json]] | None = None
    run_task: Mapping[str, list[Json]] | None = None
    denied: list[str] | None = None
    slack: list[Json] | None = None
    tick: bool = False


@dataclass(frozen=True, slots=True)
class Story:
    """A sequence of steps, in order, with what the reader is to learn from it.

    `retries` are the task families that the stack of tasks.yaml may start again; without any, the
    stack is not there.
    """

    name: str
    title: str
    teaches: str
    cluster: str
    services: tuple[str, ...]
    steps: tuple[Step, ...]
    retries: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a story file; raise StoryError when it is not one."""
        return cls.parse(path.stem, json.loads(path.read_text()))

    @classmethod
    def parse(cls, name: str, document: Json) -> Self:
        """Read a story from its document; raise StoryError when it is not one."""
        steps = tuple(_step(name, number, step) for number, step in enumerate(document["steps"]))
        if [step.at for step in steps] != sorted(step.at for step in steps):
            raise StoryError(f"{name}: the steps are not in the order of `at`")
        return cls(
            name=name,
            title=document["title"],
            teaches=document["teaches"],
            cluster=document["cluster"],
            services=tuple(document["services"]),
            steps=steps,
            retries=tuple(document.get("retries", ())),
        )

    @property
    def span(self) -> timedelta:
        """How long the story takes in the account it tells of."""
        return timedelta(seconds=self.steps[-1].at)

    def until(self, end: timedelta) -> "Story":
        """Return the story without what happens later than that after its start."""
        kept = tuple(step for step in self.steps if step.at <= end.total_seconds())
        return replace(self, steps=kept)

    @property
    def opening(self) -> tuple[Step, ...]:
        """What comes before the first tick: the cluster in which all is well."""
        return tuple(takewhile(lambda step: not step.tick, self.steps))

    def beginning(self, start: datetime, *, cluster: str | None = None) -> tuple[Step, ...]:
        """Return the steps with their times counted from `start`, in a cluster of that name."""
        return tuple(
            _placed(step, start, self.cluster, cluster or self.cluster) for step in self.steps
        )


def story_names() -> list[str]:
    """Return the names of the stories there are."""
    return sorted(path.stem for path in STORIES.glob("*.json"))


def load_story(name: str) -> Story:
    """Return the story of that name; raise StoryError that lists them when there is none."""
    if name not in story_names():
        raise StoryError(f"there is no story {name!r}; there are: {', '.join(story_names())}")
    return Story.load(STORIES / f"{name}.json")


def _step(story: str, number: int, step: Json) -> Step:
    where = f"{story}, step {number}"
    if unknown := step.keys() - {"at", "origin", "note", *KINDS}:
        raise StoryError(f"{where}: unknown {', '.join(sorted(unknown))}")
    if sum(kind in step for kind in KINDS) != 1:
        raise StoryError(f"{where}: it must be one of {', '.join(KINDS)}")
    if "tick" not in step and not ORIGIN.fullmatch(step.get("origin", "")):
        raise StoryError(f"{where}: origin must be 'built' or 'recorded: <where>'")
    return Step(**{"origin": "built", "note": "", **step})


def _placed(step: Step, start: datetime, old: str, new: str) -> Step:
    return replace(
        step,
        note=_filled(step.note, start, old, new),
        event=_filled(step.event, start, old, new),
        ecs=_filled(step.ecs, start, old, new),
        run_task=_filled(step.run_task, start, old, new),
    )


def _filled(value: Any, start: datetime, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {key: _filled(item, start, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, start, old, new) for item in value]
    if isinstance(value, str):
        return _text(value, start).replace(old, new)
    return value


def _text(value: str, start: datetime) -> str:
    filled = MOMENT.sub(lambda found: _moment(start, found), value)
    if "{{" in filled:
        raise StoryError(f"not a time: {filled!r}")
    return filled


def _moment(start: datetime, token: re.Match[str]) -> str:
    """ISO 8601; or, as the answers in CloudTrail's records have it, `Mar 7, 2026 12:51:06 AM`."""
    moment = (start + timedelta(seconds=float(token[1]))).astimezone(UTC)
    if token[2]:
        return f"{moment:%b} {moment.day}, {moment.year} {moment.hour % 12 or 12}:{moment:%M:%S %p}"
    precision = "milliseconds" if "." in token[1] else "seconds"
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


class Stage(Protocol):
    """What a story is played on."""

    def advance_to(self, moment: datetime) -> object: ...
    def put_events(self, events: Sequence[Mapping[str, Any]]) -> object: ...
    def patch_ecs(self, changes: Mapping[str, list[Json]]) -> object: ...
    def answer_run_task(self, answers: Mapping[str, list[Json]]) -> object: ...
    def deny(self, operations: Sequence[str]) -> object: ...
    def break_slack(self, faults: Sequence[Json]) -> object: ...
    def tick(self) -> object: ...
    def settle(self) -> object: ...


def play(
    story: Story,
    stage: Stage,
    start: datetime,
    *,
    cluster: str | None = None,
    told: Callable[[Sequence[Step]], object] = lambda steps: None,
) -> None:
    """Play the story at once, however long it lasted, with its times counted from `start`.

    The clock is put forward from step to step. The events of one moment are put together; the next
    moment begins when the queue is empty. `told` is told of the steps that a moment had, once done.
    """
    for moment, steps in _moments(story.beginning(start, cluster=cluster)):
        stage.advance_to(start + timedelta(seconds=moment))
        _do(steps, stage)
        told(steps)


def _moments(steps: tuple[Step, ...]) -> Iterator[tuple[float, list[Step]]]:
    """Yield what happens at once; a tick is a moment of its own."""
    for (at, is_tick), group in groupby(steps, key=lambda step: (step.at, step.tick)):
        if is_tick:
            yield from ((at, [step]) for step in group)
        else:
            yield at, list(group)


def _do(steps: list[Step], stage: Stage) -> None:
    for step in steps:
        if step.ecs is not None:
            stage.patch_ecs(step.ecs)
        if step.run_task is not None:
            stage.answer_run_task(step.run_task)
        if step.denied is not None:
            stage.deny(step.denied)
        if step.slack is not None:
            stage.break_slack(step.slack)
        if step.tick:
            stage.tick()
    if events := [step.event for step in steps if step.event is not None]:
        stage.put_events(events)
        stage.settle()
