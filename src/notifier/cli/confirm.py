"""`ecs-watch confirm`: is this deployment really live?"""

import argparse
import json
import re
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TextIO

from notifier.cli.answered import Unusable, answers_on
from notifier.cli.aws import add_login, explained
from notifier.cli.confirmed import EXIT_CODE, as_json, exit_code, lines_of, marked
from notifier.cli.progress import Progress, foreign
from notifier.confirmation import TIMEOUT, Wanted, clock, confirming, deployment, since
from notifier.confirming import Confirmation, NotAnswerable
from notifier.deployments import Kind, Policy
from notifier.ecs.reads import is_final, read_errors
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
standard input, and where there is none the newest deployment of the last minute. It never guesses.
"""
EXIT_CODES = """
exit codes:
  0    live: ECS calls it complete, its tasks run, the old ones are gone, and none died since
  1    failed, rolled back or stopped
  2    the command line or standard input was not understood, or ECS does not deploy the service
  3    superseded by a newer deployment
  4    undecided when the time was over
  5    no permission, not logged in, or no such cluster, service or deployment
  130  interrupted; the deployment is untouched
"""
REFUSED, USAGE, INTERRUPTED = 5, 2, 130
JUST_NOW = timedelta(seconds=60)
_UNITS = {"": "seconds", "s": "seconds", "m": "minutes", "h": "hours"}
LONGEST = timedelta(hours=24)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("--cluster", help="name or ARN")
    parser.add_argument(
        "--service", nargs="+", action="extend", default=[], help="names or ARNs, in this cluster"
    )
    which = parser.add_argument_group("which deployment")
    which.add_argument(
        "--deployment",
        nargs="+",
        metavar="ID",
        help="ecs-svc/… or the ARN of a service deployment, one for each service",
    )
    which.add_argument(
        "--since", type=a_time, metavar="TIME", help="the newest since then: 2026-11-23T12:00:00Z"
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
    parser.set_defaults(usage_error=parser.error)


def run(options: argparse.Namespace) -> int:
    """Wait, and say what became of it; the exit code tells."""
    if options.iam:
        print(json.dumps(policy(deploys=options.deploy), indent=2))
        return 0
    _check(options)
    text = sys.stderr if options.json else sys.stdout
    with _ended_by_sigterm():
        try:
            return _confirmed(options, text)
        except KeyboardInterrupt:
            print("\necs-watch: interrupted; the deployment is untouched", file=sys.stderr)
            return INTERRUPTED
        except WatchError as error:
            return _refused(error, options)


def _confirmed(options: argparse.Namespace, text: TextIO) -> int:
    with read_errors("DescribeServices"):
        from notifier.confirmation import client_for_ecs

        door = Releases(client_for_ecs(), options.cluster)
    found = confirming(
        door,
        timeout=options.timeout,
        policy=Policy(settle=options.settle, crashes=options.fail_after_crashes),
        wait_rollback=options.wait_rollback,
        listener=Progress(text),
    ).confirm(_wanted(options, door))
    _say(found, options, text, door)
    return exit_code(found)


def _say(
    found: Sequence[Confirmation], options: argparse.Namespace, text: TextIO, door: Releases
) -> None:
    for one in found:
        print(*marked(one, list(lines_of(one))), sep="\n", file=text)
    if door.refused:
        print(f"no permission: {', '.join(sorted(door.refused))} (see --iam)", file=text)
    if options.json:
        print(json.dumps(as_json(found, options.cluster), indent=2))


def _refused(error: WatchError, options: argparse.Namespace) -> int:
    """Say why nothing is known, and with which exit code."""
    code = USAGE
    said = str(error)
    if isinstance(error, ReadFailed):
        code = REFUSED if is_final(error) else EXIT_CODE[Kind.UNDECIDED]
        if isinstance(error.__cause__, Exception):
            said = f"{error.operation}: {explained(error.__cause__)}"
    print(f"ecs-watch: {foreign(said)}", file=sys.stderr)
    if options.json:
        shown = {"cluster": options.cluster, "exitCode": code, "error": foreign(said)}
        print(json.dumps(shown, indent=2))
    return code


# --- which deployment ---------------------------------------------------------------------------


def _wanted(options: argparse.Namespace, door: Releases) -> Mapping[str, Wanted]:
    """The deployment that is meant, by service."""
    if options.deploy:
        return {name: _begun(options, name, door) for name in options.service}
    if options.deployment:
        named = zip(options.service, options.deployment, strict=True)
        return {name: deployment(one) for name, one in named}
    if options.since:
        return {name: since(options.since) for name in options.service}
    answered = answers_on(sys.stdin)
    if not answered:
        return {name: since(clock()() - JUST_NOW) for name in options.service}
    missing = [name for name in options.service if name not in answered]
    if missing:
        raise Unusable(f"the answer on standard input is not of {', '.join(missing)}")
    return {name: Wanted(mine=answered[name]) for name in options.service}


def _begun(options: argparse.Namespace, name: str, door: Releases) -> Wanted:
    mine = door.deploy(name, options.task_definition, is_forced=options.force_new_deployment)
    if mine is None:
        raise NotAnswerable(f"{name}: the answer of UpdateService shows no deployment of ECS's own")
    print(f"{name}: {mine.deployment_id} begun", file=sys.stderr)
    return Wanted(mine=mine)


def _check(options: argparse.Namespace) -> None:
    """Leave with exit code 2 where the arguments do not fit."""
    options.service = list(dict.fromkeys(one.rpartition("/")[2] for one in options.service))
    ways = [options.deploy, bool(options.deployment), bool(options.since)]
    for is_wrong, why in (
        (not options.cluster or not all(options.service or [""]), "name --cluster and --service"),
        (sum(ways) > 1, "only one of --deployment, --since and --deploy"),
        (
            options.deploy and not (options.task_definition or options.force_new_deployment),
            "--deploy needs --task-definition, --force-new-deployment or both",
        ),
        (
            not options.deploy and (options.task_definition or options.force_new_deployment),
            "--task-definition and --force-new-deployment go with --deploy",
        ),
        (
            options.task_definition and len(options.service) > 1,
            "one --task-definition is of one service",
        ),
        (
            options.deployment and len(options.deployment) != len(options.service),
            "one --deployment for each service",
        ),
    ):
        if is_wrong:
            options.usage_error(why)


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


def policy(*, deploys: bool) -> Mapping[str, object]:
    """The IAM policy for what is read; with `deploys` for beginning a deployment too.

    ListTasks and DescribeTaskDefinition have no resource of the service's own.
    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
    """
    of_services = ["ecs:DescribeServices", *(one for one in OPTIONAL if one != "ecs:ListTasks")]
    reads = {
        "Sid": "Confirm",
        "Effect": "Allow",
        "Action": sorted(of_services),
        "Resource": [
            f"arn:*:ecs:*:*:{kind}/*"
            for kind in ("service", "service-deployment", "service-revision", "task")
        ],
    }
    lists = {
        "Sid": "Explain",
        "Effect": "Allow",
        "Action": ["ecs:DescribeTaskDefinition", "ecs:ListTasks"],
        "Resource": "*",
    }
    begins = {
        "Sid": "Deploy",
        "Effect": "Allow",
        "Action": "ecs:UpdateService",
        "Resource": "arn:*:ecs:*:*:service/CLUSTER/SERVICE",
    }
    passes = {
        "Sid": "PassRoles",
        "Effect": "Allow",
        "Action": "iam:PassRole",
        "Resource": ["arn:*:iam::*:role/TASK-ROLE", "arn:*:iam::*:role/EXECUTION-ROLE"],
        "Condition": {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
    }
    statements = [reads, lists, *([begins, passes] if deploys else [])]
    return {"Version": "2012-10-17", "Statement": statements}
