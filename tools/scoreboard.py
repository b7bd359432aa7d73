"""`make scoreboard`: measures what ecs-watch promises, and writes docs/scoreboard.md.

python -m tools.scoreboard                         every figure, 1,000 seeds
python -m tools.scoreboard --seeds 50 --only storm  figures of that name, fewer seeds, only printed
python -m tools.scoreboard --only storm --write     … and put into the page, which keeps the others

Each simulated figure plays its seeds from 0 on, so the same command finds the same again; a seed
that fails is played alone by `python -m tests.simulator --scenario NAME --seed N --trace`.
"""

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests import (
    chain,
    confirm_scripts,
    hostile,
    one_off,
    secrets_corpus,
    tasks_simulator,
)
from tests.permutations import wrong_end_states
from tests.simulator import figures
from tests.simulator.figures import added, seeds_of, switched_off, unreadable
from tests.simulator.history import Scenario
from tests.simulator.mutants import MUTANTS
from tests.simulator.scenarios import AMBIGUOUS, UNAMBIGUOUS

PROCESSES = 2
PAGE = Path(__file__).parent.parent / "docs" / "scoreboard.md"
Count = Counter[str]

LIMITED = ("limited", "unavailable", "never-arrived", "payload-refused")
GONE = ("archived", "revoked", "slack-down", "limited-for-long", "archived-elsewhere")
UNSURE = ("answer-lost", "late")
ONCE = 1e-6  # of the seeds: what is the same with each
FALSE_GREEN = "broken: nothing_green_is_said_of_what_is_dying"


@dataclass(frozen=True)
class Figure:
    """A line of the scoreboard. `share` is how many of the seeds it takes, `chunk` at a time.

    What is `heavy` is played last, so that all else is known soon.
    """

    name: str
    target: str
    count: Callable[[range], Count]
    reads: Callable[[Count], str]
    met: Callable[[Count], bool]
    share: float = 1.0
    chunk: int = 10
    heavy: bool = False

    def seeds(self, asked: int) -> int:
        """How many seeds it plays when so many are asked for."""
        return max(round(asked * self.share), 1)


def _lost_and_twice(count: Count) -> str:
    among = f"{count['failures']:,} failures in {count['events']:,} events"
    return f"{count['lost']:,} / {count['duplicated']:,} of {among}"


def _none_lost_or_twice(count: Count) -> bool:
    return not count["lost"] and not count["duplicated"]


def _simulated(name: str, plays: Sequence[Scenario | str], share: float = 1.0) -> Figure:
    """Lost and duplicated in these scenarios, each with so many seeds."""
    return Figure(name, "0 / 0", seeds_of(*plays), _lost_and_twice, _none_lost_or_twice, share)


def _permutations(_seeds: range) -> Count:
    wrong, tried = wrong_end_states()
    return Counter({"histories": tried, "wrong": wrong})


def _redaction(_seeds: range) -> Count:
    leaked, secrets, destroyed, look_alikes = secrets_corpus.figures()
    return Counter(
        {"leaked": leaked, "secrets": secrets, "destroyed": destroyed, "look-alikes": look_alikes}
    )


def _secrets(seeds: range) -> Count:
    count = _redaction(seeds)
    return Counter({**count, "histories": count["secrets"]})


def _look_alikes(seeds: range) -> Count:
    count = _redaction(seeds)
    return Counter({**count, "histories": count["look-alikes"]})


def _hostile_texts(seeds: range) -> Count:
    """A text a seed, in each foreign field of each kind of message."""
    live, tried = hostile.figures(hostile.TEXTS[seeds.start : seeds.stop])
    return Counter({"live": live, "histories": tried})


def _bad_thread(how: str, what: str) -> Figure:
    return Figure(
        f"a thread that {what}: other threads of its channel",
        "told within 3 min",
        figures.bad_thread(how),
        lambda c: f"{c['late']} of {c['failures']} late, the latest after {c['worst delay']} s",
        lambda c: not c["late"],
        share=0.334,
    )


def _exit_codes(count: Count) -> str:
    waiter = f"{count['botocore']} of the {count['waited for']} that were started"
    return f"{count['ours']} of {count['histories']} / {waiter}"


RUN_FIGURES = (
    Figure(
        "`run`, scripted tasks: wrong exit codes ours / botocore's `tasks_stopped` waiter",
        "0 / printed",
        one_off.wrong_codes,
        _exit_codes,
        lambda c: not c["ours"],
        share=ONCE,
    ),
    Figure(
        "`run`, lost answers at every call, jobs of 20 s and 2 h: duplicate jobs",
        "0",
        one_off.lost_answers,
        lambda c: (
            f"{c['duplicates']}; {c['wrong']} told wrongly, {c['unknown']} said to be unknown, "
            f"{c['lost starts']:,} starts lost"
        ),
        lambda c: not c["duplicates"] and not c["wrong"],
    ),
    Figure(
        "`run`: tasks launched ≤ tasks asked for",
        "always",
        one_off.lost_answers,
        lambda c: (
            f"{c['launched']:,} launched, {c['asked']:,} asked for, none of them too often"
            if not c["duplicates"]
            else f"{c['duplicates']} too many"
        ),
        lambda c: not c["duplicates"],
    ),
)

TASK_FIGURES = (
    Figure(
        "RunTask that always fails, 30 virtual days: attempts",
        "≤ 5 a call and 20 a day, for ever",
        tasks_simulator.always_failing,
        lambda c: f"{c['attempts']:,} for {c['calls']:,} calls; bound {c['bound']:,}",
        lambda c: not c["beyond"] and not c["jobs"] and not c["open"],
        share=0.05,
        chunk=1,
    ),
    Figure(
        "lost answers at every call, jobs of 1 s to 2 h: duplicate jobs",
        "0",
        tasks_simulator.lost_answers,
        lambda c: (
            f"{c['duplicates']} of {c['launched']:,} launched; told as unknown {c['unknown']:,} of "
            f"{c['calls']:,} calls, {c['untold']} untold"
        ),
        lambda c: not c["duplicates"] and not c["untold"],
    ),
    Figure(
        "… RunTask never answers, and does what it is asked: duplicate jobs",
        "0, each told as unknown",
        tasks_simulator.every_answer_lost,
        lambda c: f"{c['duplicates']}; {c['UNKNOWN']:,} of {c['histories']:,} told as unknown",
        lambda c: not c["duplicates"] and c["UNKNOWN"] == c["histories"],
        share=0.2,
    ),
    Figure(
        "retries with everything going wrong at once: tasks launched ≤ tasks asked for",
        "always",
        tasks_simulator.rough,
        lambda c: (
            f"in {c['histories'] - c['seeds beyond']:,} of {c['histories']:,}: {c['launched']:,} "
            f"launched of {c['asked for']:,} asked for, {c['untold']} calls untold"
        ),
        lambda c: not c["seeds beyond"] and not c["untold"],
    ),
    Figure(
        "masked or unknown fields in the record of a call: jobs started",
        "0",
        tasks_simulator.masked,
        lambda c: f"{c['started']} of {c['histories']:,}; {c['said']:,} told with the reason",
        lambda c: not c["started"],
    ),
)

FIGURES = (
    _simulated("10,000 events without fault: lost / duplicated", ("calm",)),
    _simulated("429, refused, 5xx before accept, payload: lost / duplicated", LIMITED, 0.25),
    _simulated("archived, token revoked, Slack away for a while: lost / duplicated", GONE, 0.05),
    _simulated("accepted, answer lost or late up to 30 s, with the history scope", UNSURE, 0.5),
    Figure(
        "… without the history scope",
        "0 lost, ≤ 1 duplicate a fault",
        seeds_of(*map(unreadable, UNSURE)),
        lambda c: f"{c['lost']} lost, {c['duplicated']:,} duplicates in {c['doubts']:,} faults",
        lambda c: not c["lost"] and not c["beyond doubts"],
        share=0.5,
    ),
    _simulated("functions killed at random, with the history scope", ("killed",), 0.3),
    Figure(
        "crash-point matrix: killed before, after, answer lost; again once, twice, at once",
        "all hold",
        figures.crash_points,
        lambda c: f"{c['histories'] - c['broken']:,} of {c['histories']:,} crash points hold",
        lambda c: not c["broken"],
        share=0.001,
        chunk=1,
        heavy=True,
    ),
    _bad_thread("raises", "raises each time"),
    _bad_thread("hangs", "hangs each time"),
    _bad_thread("kills", "kills the function each time"),
    Figure(
        "2 to 64 concurrent openers: roots per incident",
        "1",
        figures.openers,
        lambda c: f"at most {c['worst roots']}",
        lambda c: c["worst roots"] == 1,
    ),
    Figure(
        "all orders of ≤ 5 events, with duplicates: wrong end states",
        "0",
        _permutations,
        lambda c: f"{c['wrong']} of {c['histories']:,} orders",
        lambda c: not c["wrong"],
        share=0.0,
    ),
    Figure(
        "storm: 10,000 failure events in a minute, 95 clusters of 20 services: taken in",
        "within 60 s",
        figures.storm,
        lambda c: f"{c['worst taken in']} s, {c['not taken in']} not",
        lambda c: c["worst taken in"] <= 60 and not c["not taken in"],
        share=0.002,
        chunk=1,
    ),
    Figure(
        "storm: first message",
        "< 5 s",
        figures.storm,
        lambda c: f"{c['worst first tenth'] / 10} s",
        lambda c: c["worst first tenth"] < 50,
        share=0.002,
        chunk=1,
    ),
    Figure(
        "storm: every cluster's root",
        "within 120 s of its first event",
        figures.storm,
        lambda c: f"the last after {c['worst root']} s, {c['late roots']} late",
        lambda c: not c["late roots"],
        share=0.002,
        chunk=1,
    ),
    Figure(
        "storm: all told",
        "within 10 min of its end",
        figures.storm,
        lambda c: f"{c['untold']} untold; {c['messages']} messages, {c['duplicated']} twice",
        lambda c: not c["untold"],
        share=0.002,
        chunk=1,
    ),
    Figure(
        "CPU per event taken in (fakes, batches of 50)",
        "≤ 5 ms",
        figures.cpu_per_event,
        lambda c: f"{c['cpu µs'] / c['events'] / 1000:.1f} ms",
        lambda c: c["cpu µs"] / c["events"] <= 5000,
        share=0.01,
        chunk=10,
    ),
    Figure(
        "Slack down for 7 days, then back",
        "0 lost, one truthful root an incident, no flood",
        figures.slack_down_for_a_week,
        lambda c: (
            f"{c['lost']} lost, {c['roots']} roots of {c['incidents']} clusters, {c['broken']} of "
            f"{c['histories']} not as they should be"
        ),
        lambda c: (
            not c["broken"] and not c["worst messages beyond one a service and one a cluster"]
        ),
        share=0.004,
        chunk=1,
        heavy=True,
    ),
    Figure(
        "crash loop that looks well between deaths, 24 h: false all-clears / channel messages",
        "0 / ≤ 10",
        figures.crash_loop_for_a_day,
        lambda c: (
            f"{c['false all-clears']} / at most {c['worst channel messages']}; {c['unseen']} unseen"
        ),
        lambda c: (
            not c["false all-clears"] and c["worst channel messages"] <= 10 and not c["unseen"]
        ),
        share=0.1,
        chunk=5,
    ),
    Figure(
        "crash loop with gaps of 1 to 9 minutes at random, 2 h: false all-clears",
        "0",
        figures.irregular_loop,
        lambda c: f"{c[FALSE_GREEN]} of {c['histories']}",
        lambda c: not c[FALSE_GREEN],
        share=0.2,
    ),
    Figure(
        "crash loop without circuit breaker, after RUNNING: time from the third death to Slack",
        "≤ 2 min",
        figures.silent("dies_after_running"),
        lambda c: f"at most {c['worst seconds']} s; {c['not found']} not found",
        lambda c: not c["not found"] and c["worst seconds"] <= 120,
        share=0.2,
    ),
    Figure(
        "stuck pull without circuit breaker: time from the third failed task to Slack",
        "≤ 2 min",
        figures.silent("cannot_pull"),
        lambda c: f"at most {c['worst seconds']} s; {c['not found']} not found",
        lambda c: not c["not found"] and c["worst seconds"] <= 120,
        share=0.2,
    ),
    Figure(
        "an out-of-memory death every 10 minutes, no deployment",
        "found within 6 h, once",
        figures.silent("runs_out_of_memory_every_ten_minutes", deaths=6),
        lambda c: (
            f"{c['not found']} not found, the last after {c['worst minutes since the first']} min,"
            f" at most {c['worst roots']} root; {c[FALSE_GREEN]} false all-clears"
        ),
        lambda c: (
            not c["not found"]
            and c["worst minutes since the first"] <= 360
            and c["worst roots"] == 1
            and not c[FALSE_GREEN]
        ),
        share=0.1,
    ),
    Figure(
        "tasks that stay pending and send no event: time from the last progress to Slack",
        "≤ 18 min and the grace period",
        figures.stalls,
        lambda c: f"at most {c['worst minutes']} min and the grace period",
        lambda c: 15 <= c["worst minutes"] <= 18,
        share=0.2,
    ),
    Figure(
        "false incidents over 1,000 healthy deployments",
        "0",
        figures.healthy_deployments,
        lambda c: f"{c['messages']} messages in {c['deployments']:,} deployments",
        lambda c: not c["messages"],
        share=0.06,
        chunk=5,
    ),
    Figure(
        "1,000 healthy days: messages",
        "0",
        figures.healthy_days,
        lambda c: f"{c['messages']} messages in {c['histories']:,} days, {c['events']:,} events",
        lambda c: not c["messages"],
        heavy=True,
    ),
    Figure(
        "tick with nothing open and 10,000 services: ECS calls",
        "0",
        figures.quiet_ticks,
        lambda c: f"{c['ECS calls']} in {c['ticks']} ticks",
        lambda c: not c["ECS calls"],
        share=0.002,
        chunk=1,
    ),
    Figure(
        "every event lost on its way: failed deployments not found by the census within the hour",
        "0",
        figures.census_finds,
        lambda c: f"{c['not found']}; the last after {c['worst minutes']} min",
        lambda c: not c["not found"],
        share=0.2,
    ),
    Figure(
        "secrets in reasons and log lines: leaked",
        "0",
        _secrets,
        lambda c: f"{c['leaked']} of {c['secrets']:,}",
        lambda c: not c["leaked"],
        share=ONCE,
    ),
    Figure(
        "look-alikes of secrets: destroyed",
        "0",
        _look_alikes,
        lambda c: f"{c['destroyed']} of {c['look-alikes']:,}",
        lambda c: not c["destroyed"],
        share=ONCE,
    ),
    Figure(
        "hostile texts in every foreign field of every message: live mentions",
        "0",
        _hostile_texts,
        lambda c: f"{c['live']} in {c['histories']:,} messages",
        lambda c: not c["live"],
        share=len(hostile.TEXTS) / 1000,
        chunk=6,
    ),
    Figure(
        'confirm: wrong verdicts, ours / `services_stable` / it and "PRIMARY is my revision"',
        "0 / – / –",  # noqa: RUF001
        confirm_scripts.figures,
        lambda c: (
            f"{c['ours']} / {c['waiter']} / {c['task definition']} of {c['histories']} scripts, "
            f"{c['healthy']} of them healthy"
        ),
        lambda c: not c["ours"],
        share=len(confirm_scripts.SCRIPTS) / 1000,
    ),
    Figure(
        "confirm: from ECS's verdict to the exit when it fails; `services_stable` beside it",
        "≤ 10 s; –",  # noqa: RUF001
        confirm_scripts.figures,
        lambda c: (
            f"at most {c['worst lag']} s; "
            f"up to {c['worst lag of the waiter']} s where it does not say live"
        ),
        lambda c: c["worst lag"] <= 10,
        share=len(confirm_scripts.SCRIPTS) / 1000,
    ),
    Figure(
        "every rule of the checker, in every scenario of the simulator: histories that break one",
        "0",
        seeds_of(*UNAMBIGUOUS, *AMBIGUOUS),
        lambda c: f"{c['broken']} of {c['histories']:,}",
        lambda c: not c["broken"],
        share=0.01,
        chunk=1,
    ),
    *RUN_FIGURES,
    *TASK_FIGURES,
)


def _mutant(name: str) -> Figure:
    return Figure(
        f"switched off: {name}",
        "seen",
        switched_off(name),
        lambda c: f"{c['seen']} of {c['histories']} seeds fail",
        lambda c: bool(c["seen"]),
        share=0.05,
    )


MUTANT_FIGURES = tuple(map(_mutant, MUTANTS))


# --- the run ------------------------------------------------------------------------------------


def main() -> int:
    """Measure, print, and write the page unless `--only`; 1 when a target is missed."""
    asked = _arguments()
    began = time.perf_counter()
    chosen = [one for one in (*FIGURES, *MUTANT_FIGURES) if asked.only in one.name]
    before = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    links = chain.as_table(chain.rows()) if asked.only in CHAIN else _section(CHAIN, before)
    counts: dict[str, Count] = {}

    def write() -> None:
        if asked.write or not asked.only:
            page = _page(counts, asked.seeds, links, before)
            PAGE.write_text(page, encoding="utf-8")

    with multiprocessing.Pool(PROCESSES) as pool:
        for name, count in _measured(pool, chosen, asked.seeds):
            counts[name] = count
            write()
    write()
    print("\n".join(_row(one, counts[one.name], one.seeds(asked.seeds)) for one in chosen))
    if asked.only in CHAIN:
        print(links)
    print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
    all_met = all(figure.met(counts[figure.name]) for figure in chosen)
    return 0 if all_met and "**nobody**" not in links else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.scoreboard")
    parser.add_argument("--seeds", type=int, default=1000, help="seeds of each simulated figure")
    parser.add_argument("--only", default="", help="figures whose name contains this")
    parser.add_argument("--write", action="store_true", help="with --only: put them into the page")
    return parser.parse_args()


def _measured(
    pool: "multiprocessing.pool.Pool", chosen: Sequence[Figure], seeds: int
) -> Iterator[tuple[str, Count]]:
    """Every figure's counts. Figures that count the same are counted once."""
    by_count: dict[Callable[[range], Count], list[Figure]] = {}
    for figure in sorted(chosen, key=lambda one: one.heavy):
        by_count.setdefault(figure.count, []).append(figure)
    for figures_of in by_count.values():
        first = figures_of[0]
        jobs = [(first.name, part) for part in _parts(first, seeds)]
        count = added(pool.imap_unordered(_count, jobs))
        for figure in figures_of:
            print(f"{figure.name}: {figure.reads(count)}", *_failed(count), file=sys.stderr)
            yield figure.name, count


def _parts(figure: Figure, asked: int) -> Iterator[range]:
    seeds = figure.seeds(asked)
    for start in range(0, seeds, figure.chunk):
        yield range(start, min(start + figure.chunk, seeds))


def _count(job: tuple[str, range]) -> Count:
    """In a process of the pool: a figure goes by its name, for a function cannot."""
    name, seeds = job
    figure = next(one for one in (*FIGURES, *MUTANT_FIGURES) if one.name == name)
    return figure.count(seeds)


# --- the page -----------------------------------------------------------------------------------


def _failed(count: Count) -> list[str]:
    """The first seeds that failed, and what did not hold how often."""
    seeds = sorted(name.removeprefix("seed ") for name in count if name.startswith("seed "))
    rules = [
        f"{name.removeprefix('broken: ')} in {number}"
        for name, number in sorted(count.items())
        if name.startswith("broken: ")
    ]
    return [*rules, *([f"for example {', '.join(seeds[:4])}"] if seeds else [])]


def _row(figure: Figure, count: Count, seeds: int) -> str:
    met = "yes" if figure.met(count) else "**no**"
    played = "all" if not figure.share else f"{max(seeds, count['histories']):,}"
    return f"| {figure.name} | {figure.target} | {figure.reads(count)} | {played} | {met} |"


def _unmeasured(figure: Figure, before: str) -> str:
    """Its row as an earlier run wrote it, with the seeds of that run."""
    unknown = f"| {figure.name} | {figure.target} | not measured yet | 0 | **no** |"
    rows = (line for line in before.splitlines() if line.startswith(f"| {figure.name} |"))
    return next(rows, unknown)


_HEAD = "| figure | target | measured | seeds | met? |\n|---|---|---|---|---|\n"


CHAIN = "Links of the chain that are broken"


def _section(heading: str, before: str) -> str:
    """The table or list under a heading of the page, as an earlier run wrote it."""
    _, _, found = before.partition(f"\n## {heading}\n")
    lines = found.partition("\n## ")[0].strip().splitlines()
    starts = (number for number, line in enumerate(lines) if line.startswith(("| ", "- ")))
    return "\n".join(lines[next(starts, len(lines)) :])


def _page(counts: dict[str, Count], seeds: int, links: str, before: str) -> str:
    """The scoreboard as far as it was measured; the rest is as it stood on the page `before`."""

    def table(rows: Sequence[Figure]) -> str:
        return _HEAD + "\n".join(
            _row(one, counts[one.name], one.seeds(seeds))
            if one.name in counts
            else _unmeasured(one, before)
            for one in rows
        )

    def failed(figure: Figure) -> str:
        if figure.name not in counts:
            lines = _section(BROKEN, before).splitlines()
            return next((line for line in lines if line.startswith(f"- {figure.name}: ")), "")
        what = "; ".join(_failed(counts[figure.name]))
        return f"- {figure.name}: {what}" if what else ""

    figures, mutants = table(FIGURES), table(MUTANT_FIGURES)
    return _PAGE.format(
        today=time.strftime("%Y-%m-%d"),
        seeds=seeds,
        processes=PROCESSES,
        missed=(figures + mutants).count("**no**"),
        of=len(FIGURES) + len(MUTANT_FIGURES),
        figures=figures,
        chain=CHAIN,
        links=links,
        broken=BROKEN,
        failed="\n".join(filter(None, map(failed, FIGURES))) or "None.",
        mutants=mutants,
        confirmed=confirm_scripts.table(),
    )


BROKEN = "Rules that did not hold"

_PAGE = """# Scoreboard

Written on {today} by `make scoreboard` (`python -m tools.scoreboard --seeds {seeds}`), which takes
half an hour with {processes} processes. Each history is the real program, from the queue's
message to the call of Slack, in a simulated world in which a seed decides what goes wrong and when:
see `tests/simulator`. After each, the whole of what must hold is checked, by
`tests/simulator/checker.py`. Missed: {missed} of {of}. A row that the last run did
not come to is of an earlier one, with that one's seeds.

{figures}

## {chain}

Each link of the way from EventBridge to Slack is broken once, in the stack as it is deployed on a
simulated AWS: who notices, after how many minutes, and what `ecs-watch doctor` says of it at once.
See `tests/chain.py`.

{links}

## {broken}

{failed}

A seed is played again by `python -m tests.simulator --scenario NAME --seed N --trace`.

## With one rule switched off

So that it is known that the checker can fail: the program with one rule of its write protocol, of
its attempts or of its tries switched off, and in how many seeds that is seen.

{mutants}

## Deployments that `confirm` was tried on

Each is played from second to second through a fake of ECS's API, in virtual time; asked is from
second 1 on where the name says nothing else. Beside `ecs-watch confirm` stand botocore's waiter, by
its own acceptors, delay and attempts, and that waiter followed by a look at PRIMARY's task
definition. Seconds are counted from the first question; **bold** is wrong: *live* said of what is
not live, or not yet, or not said of what is. See `tests/confirm_scripts.py`.

{confirmed}
"""


if __name__ == "__main__":
    sys.exit(main())
