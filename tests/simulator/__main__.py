"""Run seeds of a scenario, or all: `python -m tests.simulator --scenario storm --seeds 1000`."""

import argparse
import sys
import time

from tests.simulator.checker import report, violations
from tests.simulator.history import History
from tests.simulator.scenarios import SCENARIOS
from tests.simulator.scheduler import told


def main() -> int:
    """Print each seed that fails and why; exit with 1 when one did."""
    arguments = _arguments()
    names = [arguments.scenario] if arguments.scenario else list(SCENARIOS)
    failed = sum(_run(name, arguments) for name in names)
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), help="one of them; else all")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds")
    parser.add_argument("--trace", action="store_true", help="show what happened, step by step")
    return parser.parse_args()


def _run(name: str, arguments: argparse.Namespace) -> int:
    """Run the seeds of one scenario; returns how many failed."""
    began, failed, posts = time.perf_counter(), [], 0
    for seed in range(arguments.seed, arguments.seed + arguments.seeds):
        history = History(SCENARIOS[name], seed).run()
        posts += len(history.slack.posts)
        if found := violations(history):
            failed.append(seed)
            if len(failed) <= 3:
                print(report(history, found), end="\n\n")
        elif arguments.trace:
            print(told(history.scheduler.trace, 400))
    rate = arguments.seeds / (time.perf_counter() - began)
    seeds = f"{len(failed)} of {arguments.seeds} seeds fail"
    print(f"{name}: {seeds} {failed[:10]}, {posts} posts, {rate:.0f} seeds/s")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
