"""`ecs-watch confirm`: is this deployment really live?"""

import argparse
import io
import json
import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import TextIO

from notifier.arns import cluster_name, partition_of
from notifier.cli.answered import Unusable, answers_on
from notifier.cli.aws import add_login, explained
from notifier.cli.begun import NotThere, begun
from notifier.cli.confirmed import EXIT_CODE, Report, as_json, worst
from notifier.cli.progress import foreign
from notifier.confirmation import TIMEOUT, Wanted, clock, confirming, deployment, since
from notifier.confirming import Confirmation, Confirming
from notifier.deployments import Kind, Policy
from notifier.ecs.reads import NO_PERMISSION, is_final, read_errors
from notifier.ecs.releases import OPTIONAL, Releases
from notifier.errors import ReadFailed, WatchError

SUMMARY = "wait until a deployment is live, or say why it is not"
EXAMPLES = """
examples:
  ecs-watch confirm --cluster prod-web --service checkout --deploy --task-definition checkout:42
  aws ecs update-service … | ecs-watch confirm --cluster prod-web --service checkout
  ecs-watch confirm --cluster prod-web --service checkout search --since 2026-11-23T12:00:00Z
  ecs-watch confirm --iam --deploy

Without --deployment, --since and --deploy it takes the answer of `aws ecs update-service` from
standard input. It never guesses: without an answer it exits with 2.
"""
EXIT_CODES = """
exit codes:
  0    live: ECS calls it complete, its tasks run, the old ones are gone, and none died since
  1    failed, rolled back or stopped
  2    the command line or standard input was not understood, or ECS does not deploy the service
  3    superseded by a newer deployment
  4    undecided when the time was over, or for an error of ours
  5    no permission, not logged in, or no such cluster, service or deployment
  130  interrupted; the deployment is untouched
"""
REFUSED, USAGE, INTERRUPTED = 5, 2, 130
NO_ANSWER = (
    "nobody says which deployment: no answer of `aws ecs update-service` came on standard input, "
    "so that may have failed. For the newest deployment of the last minute give --since 1m"
)
_UNITS = {"": "seconds", "s": "seconds", "m": "minutes", "h": "hours"}
LONGEST = timedelta(hours=24)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("--cluster", help="name or ARN")
    parser.add_argument(
        "--service",
        type=a_service,
        nargs="+",
        default=[],
        help="names or ARNs, in this cluster",
    )
    which = parser.add_argument_group("which deployment")
    which.add_argument(
        "--deployment",
        nargs="+",
        metavar="ID",
        help="ecs-svc/… or the ARN of a service deployment, one for each service",
    )
    which.add_argument(
        "--since", type=a_time, metavar="TIME", help="the newest since: 2026-11-23T12:00:00Z or 1m"
    )
    which.add_argument("--deploy", action="store_true", help="begin it (ecs:UpdateService)")
    which.add_argument("--task-definition", default="", help="what to deploy, with --deploy")
    which.add_argument(
        "--force-new-deployment", action="store_true", help="with --deploy: the same once more"
    )
    how = parser.add_argument_group("how long")
    how.add_argument(
        "--timeout", type=a_span, default=TIMEOUT, metavar="SPAN", help="in all (default: 30m)"
    )
    how.add_argument(
        "--settle",
        type=a_span,
        default=Policy().settle,
        metavar="SPAN",
        help="how long no task may die once it is complete (default: 60s)",
    )
    how.add_argument(
        "--fail-after-crashes",
        type=a_count,
        metavar="N",
        help="fail once N of its tasks died within 15 min, 0 for never (default: 3, or what the"
        " circuit breaker's threshold is)",
    )
    how.add_argument(
        "--wait-rollback", action="store_true", help="wait for the end of a roll-back too"
    )
    parser.add_argument("--json", action="store_true", help="the outcome as JSON; text to stderr")
    parser.add_argument("--iam", action="store_true", help="print the policy that it needs")
    add_login(parser, "the cluster's region")
    parser.set_defaults(usage_error=parser.error, refused=REFUSED)


def run(options: argparse.Namespace) -> int:
    """Wait, and say what became of it; the exit code tells."""
    if options.iam:
        print(json.dumps(policy(options), indent=2))
        return 0
    for why in _misfits(options):
        options.usage_error(why)
    report = Report((sys.stderr if options.json else sys.stdout) or io.StringIO())
    try:
        with _ended_by_sigterm():
            _confirm(options, report)
    except (Exception, KeyboardInterrupt) as error:  # Python's own code, 1, says failed
        return _finished(options, report, error)
    return _finished(options, report)


def _confirm(options: argparse.Namespace, report: Report) -> None:
    with read_errors("DescribeServices"):
        from notifier.confirmation import client_for_ecs

        door = Releases(client_for_ecs(), options.cluster)
    watch = confirming(
        door,
        timeout=options.timeout,
        policy=Policy(settle=options.settle, crashes=options.fail_after_crashes),
        wait_rollback=options.wait_rollback,
        listener=report,
    )
    try:
        _watched(options, door, watch)
    finally:
        report.clear()
        for line in _unread(door.refused):
            print(line, file=report.stream)


def _watched(options: argparse.Namespace, door: Releases, watch: Confirming) -> None:
    if not options.deploy:
        watch.confirm(_wanted(options))
        return
    wanted, failed = begun(
        door,
        options.service,
        options.task_definition,
        is_forced=options.force_new_deployment,
        now=watch.now,
    )
    watch.confirm(wanted)
    if failed:
        raise failed


def _unread(refused: Mapping[str, str]) -> Iterator[str]:
    """What was left out of the verdicts, and why."""
    denied = sorted(action for action, why in refused.items() if why == NO_PERMISSION)
    if denied:
        yield f"no permission: {', '.join(denied)} (see --iam)"
    for action in sorted(refused.keys() - set(denied)):
        yield f"could not be read: {action}: {foreign(refused[action])}"


def _finished(
    options: argparse.Namespace, report: Report, error: BaseException | None = None
) -> int:
    """Say why nothing more is known, if so, and with which exit code."""
    code = _exit_code(report.found, error)
    said = _said(error) if error else ""
    is_out = True
    try:
        _say(options, report, code, said)
    except (OSError, ValueError):
        is_out = False
    return code if _is_written() and is_out else code or EXIT_CODE[Kind.UNDECIDED]


def _say(options: argparse.Namespace, report: Report, code: int, said: str) -> None:
    if said and sys.stderr:
        print(f"ecs-watch: {foreign(said)}", file=sys.stderr)
    if options.json:
        found = sorted(report.found, key=lambda one: options.service.index(one.service))
        print(json.dumps(as_json(found, options.cluster, code, said), indent=2))


def _exit_code(found: Sequence[Confirmation], error: BaseException | None) -> int:
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    codes = [EXIT_CODE[one.verdict.kind] for one in found]
    return worst([*codes, _code_of(error)] if error else codes)


def _code_of(error: BaseException) -> int:
    """The exit code when nothing else is known."""
    match error:
        case NotThere():
            return REFUSED
        case ReadFailed() if is_final(error):
            return REFUSED
        case WatchError() if not isinstance(error, ReadFailed):
            return USAGE
    return EXIT_CODE[Kind.UNDECIDED]


def _said(error: BaseException) -> str:
    """What it is, in a line; of what nobody expected its type alone, for it may quote a secret."""
    match error:
        case KeyboardInterrupt():
            return "interrupted; the deployment is untouched"
        case BrokenPipeError():
            return "whoever reads the output has gone"
        case ReadFailed(__cause__=Exception() as cause):
            return f"{error.operation}: {explained(cause)}"
        case WatchError():
            return str(error)
    return f"no verdict: {type(error).__name__}"


def _is_written() -> bool:
    """Whether all that was said is out; else it goes nowhere, and Python does not fail at its end.

    https://docs.python.org/3/library/signal.html#note-on-sigpipe
    """
    flushed = [_is_flushed(one) for one in (sys.stdout, sys.stderr) if one]
    return all(flushed)


def _is_flushed(stream: TextIO) -> bool:
    try:
        stream.flush()
    except (OSError, ValueError):  # nobody reads, no space is left; or it is closed
        with suppress(OSError, ValueError):  # it is no file
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return False
    return True


# --- which deployment ---------------------------------------------------------------------------


def _wanted(options: argparse.Namespace) -> Mapping[str, Wanted]:
    """The deployment that is meant, by service."""
    if options.deployment:
        named = zip(options.service, options.deployment, strict=True)
        return {name: deployment(one) for name, one in named}
    if options.since:
        return {name: since(options.since) for name in options.service}
    answered = answers_on(sys.stdin) if sys.stdin else {}
    if not answered:
        raise Unusable(NO_ANSWER)
    missing = [name for name in options.service if name not in answered]
    if missing:
        raise Unusable(f"the answer on standard input is not of {', '.join(missing)}")
    return {name: Wanted(mine=answered[name]) for name in options.service}


def _misfits(options: argparse.Namespace) -> Iterator[str]:
    """Why the arguments do not fit each other."""
    begins = options.task_definition or options.force_new_deployment
    ways = [options.deploy, bool(options.deployment), bool(options.since)]
    if not options.cluster or not options.service or not all(options.service):
        yield "name --cluster and --service"
    if sum(ways) > 1:
        yield "only one of --deployment, --since and --deploy"
    if options.deploy and not begins:
        yield "--deploy needs --task-definition, --force-new-deployment or both"
    if begins and not options.deploy:
        yield "--task-definition and --force-new-deployment go with --deploy"
    if options.task_definition and len(options.service) > 1:
        yield "one --task-definition is of one service"
    if options.deployment and len(options.deployment) != len(options.service):
        yield "one --deployment for each service"


def a_service(text: str) -> str:
    """A service's name, also out of its ARN."""
    return text.rpartition("/")[2]


def a_span(text: str) -> timedelta:
    """`90`, `90s`, `30m`, `2h`. Raises ArgumentTypeError."""
    found = re.fullmatch(r"(\d{1,6})([smh]?)", text)
    span = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None
    if span is None or span > LONGEST:
        raise argparse.ArgumentTypeError(
            f"'{text}' is no span such as 90s, 30m or 2h (at most 24h)"
        )
    return span


def a_time(text: str) -> datetime:
    """A time that names its zone, or how long ago. Raises ArgumentTypeError."""
    if re.fullmatch(r"\d{1,6}[smh]", text):
        return clock()() - a_span(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"'{text}' is no time such as 2026-11-23T12:00:00Z, nor 10m for ten minutes ago"
        ) from error
    if at.tzinfo is None:
        raise argparse.ArgumentTypeError(f"'{text}' names no zone: write {text}Z for UTC")
    return at


def a_count(text: str) -> int:
    """A whole number from 0 to 1,000. Raises ArgumentTypeError."""
    if not re.fullmatch(r"\d{1,3}|1000", text):
        raise argparse.ArgumentTypeError(f"'{text}' is no number from 0 to 1000")
    return int(text)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """A pipeline that is cancelled ends us as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# --- the policy ---------------------------------------------------------------------------------


def policy(options: argparse.Namespace) -> Mapping[str, object]:
    """The IAM policy for what is read; with `--deploy` for beginning a deployment too.

    ListTasks and DescribeTaskDefinition have no resource of the service's own.
    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
    """
    reads = ["ecs:DescribeServices", *(one for one in OPTIONAL if one != "ecs:ListTasks")]
    kinds = ("service", "service-deployment", "service-revision", "task")
    rows = [
        _allowed("Confirm", reads, [_arn("ecs", f"{kind}/*") for kind in kinds]),
        _allowed("Explain", ["ecs:DescribeTaskDefinition", "ecs:ListTasks"], ["*"]),
    ]
    if options.deploy:
        cluster = cluster_name(options.cluster or "CLUSTER")
        services = [f"service/{cluster}/{name}" for name in options.service or ["SERVICE"]]
        rows.append(
            _allowed("Deploy", ["ecs:UpdateService"], [_arn("ecs", one) for one in services])
        )
        roles = [_arn("iam", "role/TASK-ROLE"), _arn("iam", "role/EXECUTION-ROLE")]
        only = {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}
        rows.append({**_allowed("PassRoles", ["iam:PassRole"], roles), "Condition": only})
    return {"Version": "2012-10-17", "Statement": rows}


def _allowed(name: str, actions: Sequence[str], resources: Sequence[str]) -> dict[str, object]:
    return {
        "Sid": name,
        "Effect": "Allow",
        "Action": sorted(actions),
        "Resource": list(resources),
    }


def _arn(service: str, resource: str) -> str:
    """Of any account; of the region's partition, where one is named."""
    partition = partition_of(os.environ.get("AWS_DEFAULT_REGION", ""))
    return f"arn:{partition}:{service}:{'' if service == 'iam' else '*'}:*:{resource}"
