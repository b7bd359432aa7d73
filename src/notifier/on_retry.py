"""Lambda's entry point of tasks.yaml, which acts. The watcher's own are in `handler`.

Environment, clock and ids come in here and nowhere else.
"""

import logging
import os
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from random import uniform
from typing import Any

from notifier.arns import parse_arn
from notifier.asked import family_of
from notifier.errors import SettingsError
from notifier.handler import LambdaContext
from notifier.model import Invocation
from notifier.retries import Policy
from notifier.retrying import Doors, Retrying, Table
from notifier.wiring import client_that_acts

logging.getLogger("notifier").setLevel(logging.INFO)
logging.getLogger("botocore").setLevel(logging.WARNING)


def on_retry(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any] | None:
    """Take a batch of the queue in, or, without records, do what is due.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
    """
    run, program = _invocation(context), _program()
    if "Records" in event:
        failed = program.take_in(event["Records"], run)
        return {"batchItemFailures": [{"itemIdentifier": one} for one in failed]}
    program.tick(run)
    return None


@cache
def _program() -> Retrying:
    table = Table(os.environ["TABLE_NAME"], lambda: client_that_acts("dynamodb"))
    doors = Doors(
        ecs=lambda: client_that_acts("ecs"),
        events=lambda: client_that_acts("events"),
        ssm=lambda: client_that_acts("ssm"),
    )
    return Retrying(table, doors, policy_of(os.environ), os.environ.get("RUNBOOK_NAME", ""))


def policy_of(environ: Mapping[str, str]) -> Policy:
    """What the stack was deployed with; SettingsError lists every problem at once."""
    if problems := list(_problems(environ)):
        raise SettingsError("; ".join(problems))
    return Policy(
        families=frozenset(map(family_of, _listed(environ["TASK_FAMILIES"]))),
        clusters=frozenset(_listed(environ["CLUSTERS"])),
        account=environ["ACCOUNT_ID"],
        region=environ["REGION"],
        own_role=environ["OWN_ROLE"],
        is_on=environ["RETRIES"] == "on",
        attempts=int(environ["ATTEMPTS"]),
        within=timedelta(minutes=int(environ["WITHIN_MINUTES"])),
        daily_budget=int(environ["DAILY_BUDGET"]),
        subnets=tuple(_listed(environ.get("OTHER_SUBNETS", ""))),
    )


def _problems(environ: Mapping[str, str]) -> Iterator[str]:
    for name in ("ACCOUNT_ID", "REGION", "OWN_ROLE", "TASK_FAMILIES", "CLUSTERS"):
        if not environ.get(name):
            yield f"{name} is not set"
    if not all(map(family_of, _listed(environ.get("TASK_FAMILIES", "")))):
        yield "TASK_FAMILIES must be ARNs of task definitions, separated by commas"
    if not all(map(parse_arn, _listed(environ.get("CLUSTERS", "")))):
        yield "CLUSTERS must be ARNs of clusters, separated by commas"
    if environ.get("RETRIES") not in ("on", "off"):
        yield "RETRIES must be on or off"
    for name in ("ATTEMPTS", "WITHIN_MINUTES", "DAILY_BUDGET"):
        if not re.fullmatch("[1-9][0-9]{0,3}", environ.get(name, "")):
            yield f"{name} must be a number"


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _invocation(context: LambdaContext) -> Invocation:
    return Invocation(
        id=context.aws_request_id,
        now=lambda: datetime.now(UTC),  # noqa: TID251
        remaining=lambda: timedelta(milliseconds=context.get_remaining_time_in_millis()),
        sleep=lambda pause: time.sleep(pause.total_seconds()),
        jitter=lambda at_most: at_most * uniform(0, 1),  # noqa: S311 spreads retries, no secret
        unique=lambda: uuid.uuid4().hex,  # noqa: TID251
    )
