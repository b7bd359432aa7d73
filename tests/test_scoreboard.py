"""What the scoreboard promises, with few seeds; `make scoreboard` plays a thousand."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from notifier import rendering
from notifier.model import Message
from tests import hostile
from tests.simulator import figures
from tests.simulator.figures import added
from tools.scoreboard import (
    CHAIN,
    FIGURES,
    MUTANT_FIGURES,
    Count,
    Figure,
    _page,
    _parts,
    _section,
)

ROOT = Path(__file__).parent.parent
# What takes minutes; test_simulator.py plays parts of it.
LONG = ("storm", "crash-point", "Slack down", "10,000 services", "every rule", "crash loop", "all")
SHORT = [figure for figure in FIGURES if not figure.name.startswith(LONG) and not figure.heavy]


@pytest.mark.parametrize("figure", SHORT, ids=lambda figure: figure.name)
def test_the_target_is_met_in_a_few_seeds(figure: Figure) -> None:
    count = figure.count(range(2))

    assert figure.met(count), figure.reads(count)


def test_a_service_that_looks_well_between_deaths_gets_no_all_clear() -> None:
    count = figures.crash_loop_for_a_day(range(1))

    assert count["false all-clears"] == 0
    assert 1 <= count["worst channel messages"] <= 10


def test_a_healthy_day_is_silent() -> None:
    count = figures.healthy_days(range(1))

    assert count["messages"] == 0
    assert count["events"] > 100


# --- hostile texts ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("<!channel> and <@U123>", {"mention broadcast": 1, "mention user": 1}),
        ("<https://evil.example|AWS>", {"a": 1}),
        ("&lt;!channel&gt; @here *bold* https://evil.example", {}),
    ],
)
def test_what_slack_would_make_live_is_counted(text: str, kinds: dict[str, int]) -> None:
    section: Any = {"type": "section", "text": {"type": "mrkdwn", "verbatim": True, "text": text}}
    quoted = [{"type": "rich_text_quote", "elements": [{"type": "text", "text": text}]}]
    rich_text: Any = {"type": "rich_text", "elements": quoted}

    assert hostile.live(Message(text=text)) == kinds
    assert hostile.live(Message(text="", blocks=(section, rich_text))) == kinds


def test_a_broadcast_in_rich_text_or_a_bare_name_in_a_text_that_is_read_is_counted() -> None:
    here = {"type": "broadcast", "range": "here"}
    quote = {"type": "rich_text_quote", "elements": [here]}
    read = {"type": "section", "text": {"type": "mrkdwn", "text": "@here"}}
    blocks: Any = ({"type": "rich_text", "elements": [quote]}, read)

    assert hostile.live(Message(text="", blocks=blocks)).total() == 2


def test_each_foreign_field_is_told_in_some_message() -> None:
    """So that a field that is told nowhere is not counted as one that is safe."""
    unseen = [
        name
        for name in hostile.FIELDS
        if "so-foreign"
        not in json.dumps(
            [(told.text, told.blocks) for told in hostile.every_message({name: "so-foreign"})]
        )
    ]

    assert unseen == []


@pytest.fixture
def _without_escapes() -> Iterator[None]:
    environment = rendering._templates()
    environment.autoescape = False
    rendering._templates().cache.clear()  # type: ignore[union-attr]
    yield
    environment.autoescape = True
    rendering._templates().cache.clear()  # type: ignore[union-attr]


@pytest.mark.usefixtures("_without_escapes")
def test_texts_that_are_not_escaped_are_found_live() -> None:
    live, tried = hostile.figures(("<!channel>",))

    assert 0 < live <= tried


# --- the board itself ---------------------------------------------------------------------------


def of(name: str, count: Count) -> Figure:
    return Figure(name, "0", lambda _seeds: count, lambda c: str(c["bad"]), lambda c: not c["bad"])


def test_counts_are_added_and_the_worst_is_kept() -> None:
    counts = (Counter({"lost": 1, "worst delay": 7}), Counter({"lost": 2, "worst delay": 5}))

    assert added(counts) == {"lost": 3, "worst delay": 7}


def test_the_seeds_of_a_figure_are_each_played_once() -> None:
    figure = of("one", Counter())
    parts = [*_parts(figure, 25)]

    assert [seed for part in parts for seed in part] == [*range(25)]
    assert len(parts) == 3


def test_a_missed_target_is_written_as_missed() -> None:
    good, bad = FIGURES[0], MUTANT_FIGURES[0]
    counts = {
        good.name: Counter(lost=1, histories=9, **{"broken: all_is_told": 1, "seed calm/3": 1}),
        bad.name: Counter(seen=4, histories=5),
    }
    before = f"| {FIGURES[2].name} | as | it | was | before |"
    page = _page(counts, 9, "| link | table |", before)

    assert f"| {good.name} | 0 / 0 | 1 / 0 of 0 failures in 0 events | 9 | **no** |" in page
    assert f"| {bad.name} | seen | 4 of 5 seeds fail |" in page
    assert f"| {FIGURES[1].name} | {FIGURES[1].target} | not measured yet | 0 | **no** |" in page
    assert before in page
    rows = [line for line in page.splitlines() if line.endswith((" yes |", " **no** |"))]
    missed = sum(line.endswith(" **no** |") for line in rows)
    assert f"Missed: {missed} of {len(FIGURES) + len(MUTANT_FIGURES)}" in page
    assert "all_is_told in 1; for example calm/3" in page


def test_what_a_run_did_not_come_to_stays_on_the_page() -> None:
    good, bad = FIGURES[:2]
    count = Counter(lost=1, histories=9, **{"broken: all_is_told": 1, "seed calm/3": 1})
    before = _page({bad.name: count}, 9, "| link | table |", "")
    page = _page({good.name: count}, 9, _section(CHAIN, before), before)

    assert "| link | table |" in page
    assert page.count("all_is_told in 1; for example calm/3") == 2
    assert next(line for line in before.splitlines() if bad.name in line) in page


def test_one_figure_is_measured_and_printed_and_not_written() -> None:
    page = ROOT / "docs" / "scoreboard.md"
    before = page.read_bytes() if page.exists() else b""
    command = ["-m", "tools.scoreboard", "--seeds", "2", "--only", "concurrent openers"]
    ran = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": "src:."},
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )

    assert (
        "| 2 to 64 concurrent openers: roots per incident | 1 | at most 1 | 2 | yes |" in ran.stdout
    )
    assert (page.read_bytes() if page.exists() else b"") == before
