"""`ecs-watch run`: start a one-off task, follow it, and end with its own exit code."""

import argparse
import json
import os
import random
import re
import signal
import sys
import time
import traceback
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TextIO

from notifier.arns import Arn, cluster_arn_of, log_stream_url, parse_arn, task_url
from notifier.cli import task_request
from notifier.cli.aws import add_login, explained
from notifier.cli.interruption import Interruption
from notifier.cli.mute import span
from notifier.cli.task_request import UsageError
from notifier.cli.text import shown
from notifier.errors import WatchError
from notifier.facts import LogTail
from notifier.outcome import NO_CODE, TIMED_OUT_CODE, Outcome, status_of
from notifier.redaction import names_a_secret, redacted, redacted_lines

if TYPE_CHECKING:
    from notifier.ecs.logs import NoLog
    from notifier.ecs.runs import Runs
    from notifier.facts import TaskDefinition
    from notifier.running import Report, Run

SUMMARY = "start a one-off task, follow its log, and end with its own exit code"
EXAMPLES = """
examples:
  ecs-watch run --cluster prod --task-definition migrate --like web
  ecs-watch run --cluster prod --task-definition app --like web \\
      --command 'rails db:migrate' --env RELEASE=v42 --timeout 30m
  ecs-watch run --cluster prod --task-definition app --like web --iam    # the policy it needs

The log goes to standard output, everything else to standard error; with --json the log goes to
standard error too, and standard output is one JSON object about the end.
"""
EXIT_CODES = """
exit codes, beside the container's own:
  124      --timeout has passed; --on-timeout says what became of the task
  125      a task never started, or its outcome is not known: standard error and --json say which
  130 143  ended by Ctrl-C or SIGTERM; --on-cancel says what became of the task. Another Ctrl-C,
           a second later or more, ends at once: what was started may still run
  2        the command line was not understood; nothing was started
Of several tasks it is the first exit code that is not 0, and 125 if one has none.
"""
_SECONDS = re.compile(r"(\d{1,6})s")
_SHORTEST_SECRET = 4  # shorter values would be taken out of the middle of words
Secrets = Sequence[re.Pattern[str]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    task_request.add_arguments(parser)
    wait = parser.add_argument_group("waiting")
    wait.add_argument("--timeout", type=_span, metavar="SPAN", help="such as 90s, 30m, 2h (none)")
    wait.add_argument(
        "--start-attempts",
        type=int,
        choices=range(1, 101),
        default=5,
        metavar="1-100",
        help="how often a start is tried that finds no capacity (5)",
    )
    wait.add_argument(
        "--start-within",
        type=_span,
        default=timedelta(hours=1),
        metavar="SPAN",
        help="… and how long (1h)",
    )
    for name, default, what in (
        ("--on-cancel", "stop", "Ctrl-C or SIGTERM"),
        ("--on-timeout", "leave", "--timeout"),
        ("--on-partial", "leave", "a start of fewer tasks than asked for"),
    ):
        wait.add_argument(
            name, choices=("stop", "leave"), default=default, help=f"tasks after {what} ({default})"
        )
    parser.add_argument("--no-log", action="store_true", help="do not follow the log")
    parser.add_argument("--json", action="store_true", help="say the end as JSON")
    parser.add_argument("--iam", action="store_true", help="print the policy it needs, and end")
    add_login(parser, "the cluster's region")


def _span(text: str) -> timedelta:
    found = _SECONDS.fullmatch(text.strip())
    return timedelta(seconds=int(found[1])) if found and int(found[1]) else span(text)


def run(options: argparse.Namespace) -> int:
    """Run the task; the exit code is that of the container, or says why there is none."""
    printer = Printer(options)
    try:
        return _policy(options) if options.iam else _run(options, printer)
    except UsageError as error:
        printer.note(f"ecs-watch run: {error}")
        return 2
    except WatchError as error:
        return printer.nothing_started(_reason(error))
    except Exception as error:
        if options.iam:
            raise
        return printer.unforeseen(error)
    except KeyboardInterrupt:  # before the run, or in the middle of its last words
        printer.note("ecs-watch run: ended at once; what was started may still run")
        return 128 + signal.SIGINT


def _policy(options: argparse.Namespace) -> int:
    from notifier.cli.run_policy import policy

    print(json.dumps(policy(options), indent=2))
    return 0


def _reason(error: WatchError) -> str:
    """The error, and what to do where nobody is logged in or no region is set."""
    from botocore.exceptions import BotoCoreError, ClientError

    cause = error.__cause__
    if isinstance(cause, BotoCoreError | ClientError):
        return f"{error} ({explained(cause)})"
    return str(error)


def _run(options: argparse.Namespace, printer: "Printer") -> int:
    from notifier.running import Run

    door = _door(options)
    definition = door.definition(options.task_definition)
    like = door.like(options.like) if options.like else {}
    request = task_request.request_of(options, like, definition)
    with Interruption() as interruption:
        run = Run(
            wanted=_wanted(options, request, definition),
            door=door,
            tell=printer,
            monotonic=time.monotonic,
            sleep=interruption.sleep,
            chance=random.random,
            cancelled=interruption.why,
        )
        report = _followed(run, printer)
    status = _status(report, options.count, interruption.number)
    printer.ended(report, status, definition.arn)
    return status


def _followed(run: "Run", printer: "Printer") -> "Report":
    try:
        return run()
    except Exception as error:  # a traceback ends with 1, which a container may have ended with too
        printer.trace(error)
        return run.failed(error)
    except KeyboardInterrupt:
        return run.as_it_stands(Outcome.CANCELLED, "ended at once by a second Ctrl-C")


def _door(options: argparse.Namespace) -> "Runs":
    from botocore.exceptions import BotoCoreError

    from notifier.ecs.runs import Runs
    from notifier.wiring import client_of, client_once

    def logs(region: str) -> Any:
        return client_of("logs", region)

    try:
        return Runs(client_of("ecs"), client_once("ecs"), logs, options.cluster)
    except BotoCoreError as error:
        raise WatchError(explained(error)) from error


def _wanted(
    options: argparse.Namespace, request: Mapping[str, Any], definition: "TaskDefinition"
) -> Any:
    from notifier.running import LetGo, Wanted

    return Wanted(
        request=request,
        definition=definition,
        key=uuid.uuid4().hex,  # noqa: TID251 the shell is where ids are made
        count=options.count,
        container=options.container,
        timeout=options.timeout.total_seconds() if options.timeout else None,
        start_attempts=options.start_attempts,
        start_within=options.start_within,
        on_cancel=LetGo(options.on_cancel),
        on_timeout=LetGo(options.on_timeout),
        on_partial=LetGo(options.on_partial),
        follows_log=not options.no_log,
    )


def _status(report: "Report", asked: int, number: int) -> int:
    match report.outcome:
        case Outcome.CANCELLED:
            return 128 + number
        case Outcome.TIMED_OUT:
            return TIMED_OUT_CODE
        case Outcome.EXITED:
            return status_of(list(report.ends.values()), asked)
    return NO_CODE


# --- what is printed ------------------------------------------------------------------------------


class Printer:
    """Prints what happens. Foreign text is cleaned, and holds no secret that we know of."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._secrets = _secrets(options.env)
        self._several = False  # containers that may decide, so that lines are told apart
        self._out = sys.stderr if options.json else sys.stdout

    def task(self, arn: str, logs: "Sequence[LogTail | NoLog]") -> None:
        """A task was started: its ARN, its page, and where to read its log."""
        self._several = len(logs) > 1
        self.note(f"started {arn}")
        if url := _console(arn):
            self.note(f"  task {url}")
        for log in logs:
            self.note(f"  log  {_log_url(log) if isinstance(log, LogTail) else log.why}")

    def lines(self, arn: str, container: str, lines: Sequence[str]) -> None:
        """New lines of its log; of several tasks each line with the end of the task's id."""
        prefix = f"{arn[-6:]} " if self._options.count > 1 else ""
        prefix += f"{container}: " if self._several else ""
        for line in redacted_lines([shown(one) for one in lines], self._secrets):
            _print(prefix + line, self._out)

    def note(self, text: str) -> None:
        """A line for whoever reads along."""
        _print(redacted(shown(text), self._secrets), sys.stderr)

    def nothing_started(self, why: str) -> int:
        """Say that it ended before any start; returns the exit code."""
        return self._without_report(Outcome.NEVER_STARTED, why)

    def unforeseen(self, error: Exception) -> int:
        """Say that it ended in an error outside of a run; returns the exit code."""
        self.trace(error)
        why = f"an error that ecs-watch did not foresee: {type(error).__name__}: {error}"
        return self._without_report(Outcome.UNKNOWN, why)

    def trace(self, error: Exception) -> None:
        """Where the error came from, for whoever mends it."""
        for line in "".join(traceback.format_exception(error)).splitlines():
            self.note(line)

    def _without_report(self, outcome: Outcome, why: str) -> int:
        self.note(f"ecs-watch run: {outcome}, exit code {NO_CODE}: {why}")
        self._print_json({"outcome": outcome, "exitStatus": NO_CODE, "why": why})
        return NO_CODE

    def ended(self, report: "Report", status: int, definition: str) -> None:
        """Say how it ended, in words and where asked for as JSON."""
        for arn, end in report.ends.items():
            of = f" of {end.container}" if end.container and end.exit_code is not None else ""
            code = f" with exit code {end.exit_code}{of}" if end.exit_code is not None else ""
            beside = "" if not end.why else f": {end.why}"
            self.note(f"{arn} {end.outcome}{code}{beside}")
            self._side_cars(end.container, end.codes)
        why = f": {report.why}" if report.why else ""
        self.note(f"ecs-watch run: {report.outcome}, exit code {status}{why}")
        for line in (*_advice(report), *_left(report)):
            self.note(f"  {line}")
        self._print_json(_as_json(report, status, definition))

    def _side_cars(self, decider: str, codes: Mapping[str, int | None]) -> None:
        bad = [f"{name} {code}" for name, code in codes.items() if name != decider and code]
        if bad:
            self.note(f"  beside it ended: {', '.join(bad)}")

    def _print_json(self, row: Mapping[str, Any]) -> None:
        if self._options.json:
            row = _cleaned(row, self._secrets)
            _print(json.dumps(row, indent=2, ensure_ascii=False), sys.stdout)


def _print(text: str, file: TextIO | None) -> None:
    """Print at once. Where nobody reads any more (`| head`) the task is followed all the same.

    So it is where it cannot be written (a full disk) or has been closed (`2>&-`), which is None.
    """
    if file is None:  # print() would take standard output instead
        return
    try:
        print(text, file=file, flush=True)
    except OSError:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), file.fileno())


def _secrets(pairs: Sequence[tuple[str, str]]) -> Secrets:
    """Values of --env whose names say that they are secret, so that no text repeats them."""
    values = {value for name, value in pairs if names_a_secret(name)}
    return [re.compile(re.escape(one)) for one in values if len(one) >= _SHORTEST_SECRET]


def _advice(report: "Report") -> Sequence[str]:
    """What ECS's words about a start that failed mean, and what to do."""
    from notifier.diagnosis import diagnose

    never = [end.why for end in report.ends.values() if end.outcome is Outcome.NEVER_STARTED]
    why = next(iter(never), report.why)
    if report.outcome is not Outcome.NEVER_STARTED or not why:
        return ()
    found = diagnose(None, event="", reason=why)
    return [line for line in (found.cause, found.remedy, found.page) if line]


def _left(report: "Report") -> Sequence[str]:
    """How to stop what was left running."""
    from notifier.running import LEFT_RUNNING, MAY_RUN

    arns = [arn for arn, end in report.ends.items() if end.why in (LEFT_RUNNING, MAY_RUN)]
    clusters = {arn: parsed.parts[0] for arn in arns if (parsed := parse_arn(arn))}
    return [
        f"to stop it: aws ecs stop-task --cluster {cluster} --task {arn}"
        for arn, cluster in clusters.items()
    ]


def _as_json(report: "Report", status: int, definition: str) -> Mapping[str, Any]:
    tasks = [
        {
            "taskArn": arn,
            "outcome": end.outcome,
            "exitCode": end.exit_code,
            "container": end.container,
            "why": end.why,
            "exitCodes": end.codes,
            "consoleUrl": _console(arn),
        }
        for arn, end in report.ends.items()
    ]
    return {
        "outcome": report.outcome,
        "exitStatus": status,
        "why": report.why,
        "taskDefinitionArn": definition,
        "startAttempts": report.attempts,
        "tasks": tasks,
    }


def _cleaned(value: Any, secrets: Secrets) -> Any:
    if isinstance(value, str):
        return redacted(shown(value), secrets)
    if isinstance(value, Mapping):
        return {name: _cleaned(item, secrets) for name, item in value.items()}
    return [_cleaned(one, secrets) for one in value] if isinstance(value, list) else value


def _console(arn: str) -> str | None:
    task = parse_arn(arn)
    cluster: Arn | None = cluster_arn_of(task) if task else None
    return task_url(str(cluster), arn) if cluster else None


def _log_url(log: LogTail) -> str:
    return log_stream_url(log.region, log.group, log.stream) or f"{log.group} {log.stream}"
