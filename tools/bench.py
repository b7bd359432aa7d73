"""`make bench`: what one failure costs, measured in the sandbox with the real template deployed.

Each figure is the median of several runs of the function in a process of its own, against the
sandbox's table, ECS and Slack. CPU is user + system time of that process: what Lambda would
bill for on a core like this one. Then, how often ECS is called for an incident (`bench_calls`).
Nothing here is asserted; docs/performance.md keeps the figures.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from sandbox.running import Sandbox, running_sandbox
from tools.bench_calls import calls_table
from tools.bench_run import BATCH

COLD_RUNS = 5
ROOT = Path(__file__).parent.parent


def main() -> None:
    """Print the figures as a table."""
    with running_sandbox() as sandbox:
        runs = [_run(sandbox, number) for number in range(COLD_RUNS)]
        calls = calls_table(sandbox)
    rows = [
        ("CPU from process start to the first byte to Slack, one failure", "cold_ms"),
        ("… of which imports, before the event is looked at", "imports_ms"),
        ("CPU per failure in a warm function, taken in and told", "warm_cpu_ms"),
        ("time per failure in a warm function, taken in and told", "warm_ms"),
        (f"CPU per event taken in, in batches of {BATCH}", "intake_ms"),
    ]
    print(f"Python {sys.version.split()[0]}, median of {COLD_RUNS} processes\n")
    print("| figure | ms |\n|---|---|")
    for label, key in rows:
        print(f"| {label} | {statistics.median(run[key] for run in runs):.1f} |")
    print("", *calls, sep="\n")


def _run(sandbox: Sandbox, number: int) -> dict[str, float]:
    path = f"{ROOT / 'src'}:{ROOT}"
    command = [sys.executable, "-m", "tools.bench_run", str(number)]
    ran = subprocess.run(
        command,
        env={**os.environ, **sandbox.environment, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise SystemExit(ran.stderr)
    *_metrics, last = ran.stdout.splitlines()  # the functions write their metrics there too
    figures: dict[str, float] = json.loads(last)
    return figures


if __name__ == "__main__":
    main()
