"""Lambda's entry points. Environment, clock and ids come in here and nowhere else."""

import logging
import os
import time
import uuid
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from random import uniform
from typing import Any, Protocol

from notifier import metrics
from notifier.model import Invocation
from notifier.settings import Settings
from notifier.wiring import Program, calls_made

logger = logging.getLogger(__name__)
logging.getLogger("notifier").setLevel(logging.INFO)
logging.getLogger("botocore").setLevel(logging.WARNING)  # at INFO it tells of itself in each start

TELL_FOR = timedelta(seconds=15)  # then the events' own invocation ends, and the tick goes on


class LambdaContext(Protocol):
    """What we use of Lambda's context.

    https://docs.aws.amazon.com/lambda/latest/dg/python-context.html
    """

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends this invocation."""


def on_events(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Take a batch of the queue in, then tell what it brought. Returns a partial batch response.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
    """
    run = _invocation(context)
    program = _program()
    taken = program.intake.take_in(event["Records"], run)
    if taken.heartbeats:
        _beat(program, taken.heartbeats, run)
    until = run.now() + TELL_FOR
    for destination in sorted(taken.destinations):
        try:
            program.teller().tell(destination, run, until)
        except Exception:
            # It is saved and owed: the tick tells it, so the messages must not come back.
            logger.exception("not told yet", extra={"destination": destination})
    _emit(run)
    return {"batchItemFailures": [{"itemIdentifier": failed} for failed in taken.failed]}


def _beat(program: Program, heartbeats: Collection[tuple[str, str]], run: Invocation) -> None:
    try:
        program.beat(heartbeats, run)
    except Exception:
        # What came with it is saved: it must not come back, and is told without it.
        logger.exception("heartbeat not counted")


def on_tick(_event: Mapping[str, Any], context: LambdaContext) -> None:
    """See to all that is due."""
    run = _invocation(context)
    try:
        _program().lookout().tick(run)
    finally:
        _emit(run)


def _emit(run: Invocation) -> None:
    """Lambda hands standard output to CloudWatch Logs as it is."""
    stack, calls = os.environ.get("STACK_NAME", ""), calls_made()
    if run.tally or calls:
        print(metrics.line(run.tally, run.now(), stack=stack, calls=calls))


@cache
def _program() -> Program:
    return Program(Settings.from_environment(os.environ))


def _invocation(context: LambdaContext) -> Invocation:
    return Invocation(
        id=f"{context.aws_request_id}/{uuid.uuid4().hex}",  # noqa: TID251 a retry has the same request id
        now=lambda: datetime.now(UTC),  # noqa: TID251
        remaining=lambda: timedelta(milliseconds=context.get_remaining_time_in_millis()),
        sleep=lambda pause: time.sleep(pause.total_seconds()),
        jitter=lambda at_most: at_most * uniform(0, 1),  # noqa: S311 spreads retries, no secret
        unique=lambda: uuid.uuid4().hex,  # noqa: TID251
    )
