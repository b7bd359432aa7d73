"""Run seeds of one scenario, or of all, or of the program with a rule switched off.

python -m tests.simulator --scenario storm --seeds 1000
python -m tests.simulator --scenario storm --seed 17 --trace
python -m tests.simulator --mutants --seeds 200
"""

import argparse
import sys
import time

from tests.simulator.checker import report, violations
from tests.simulator.history import History
from tests.simulator.mutants import MUTANTS, caught
from tests.simulator.scenarios import SCENARIOS
from tests.simulator.scheduler import told

REPORTED = 3  # histories of a scenario that are told in full


def main() -> int:
    """Print each seed that fails and why; exit with 1 when one did, or a mutant got through."""
    arguments = _arguments()
    if arguments.mutants:
        return 1 if [name for name in MUTANTS if not _switch_off(name, arguments)] else 0
    names = [arguments.scenario] if arguments.scenario else list(SCENARIOS)
    return 1 if sum(_run(name, arguments) for name in names) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulator",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), help="one of them; else all")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds")
    parser.add_argument("--trace", action="store_true", help="show what happened, step by step")
    parser.add_argument("--mutants", action="store_true", help="switch each rule off once")
    return parser.parse_args()


def _run(name: str, arguments: argparse.Namespace) -> int:
    """Run the seeds of one scenario; returns how many failed."""
    began, failed, posts = time.perf_counter(), [], 0
    for seed in range(arguments.seed, arguments.seed + arguments.seeds):
        history = History(SCENARIOS[name], seed).run()
        posts += len(history.slack.posts)
        if found := violations(history):
            failed.append(seed)
            if len(failed) <= REPORTED:
                print(report(history, found, 400 if arguments.trace else 60), end="\n\n")
        elif arguments.trace:
            print(told(history.scheduler.trace, 400))
    rate = arguments.seeds / (time.perf_counter() - began)
    seeds = f"{len(failed)} of {arguments.seeds} seeds fail"
    print(f"{name}: {seeds} {failed[:10]}, {posts} posts")
    print(f"{rate:.0f} seeds/s", file=sys.stderr)  # differs from run to run
    return len(failed)


def _switch_off(name: str, arguments: argparse.Namespace) -> int:
    """Run the seeds with this rule switched off; returns how many fail, as they must."""
    seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    failed = list(caught(MUTANTS[name], seeds))
    print(f"{name}: {len(failed)} of {len(seeds)} seeds fail {failed[:5]}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
