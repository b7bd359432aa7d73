"""Many functions at once, in real threads over a table that is not ours."""

import itertools
import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from moto import mock_aws

from notifier.model import Invocation, Message, Outcome
from tests.watch import FakeSlack, Watch, deployment_failed, sqs_message


@dataclass
class BusySlack(FakeSlack):
    """Slack for many callers: one message at a time."""

    lock: threading.Lock = field(default_factory=threading.Lock)

    def post(self, channel: str, message: Message, **more: object) -> Outcome:
        with self.lock:
            return super().post(channel, message, **more)  # type: ignore[arg-type]


@dataclass
class OneCallAtATime:
    """moto's calls are atomic, as DynamoDB's, only when no two run at once."""

    client: Any
    lock: Any = field(default_factory=threading.RLock)

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.lock:
                return getattr(self.client, name)(*args, **kwargs)

        return call

    def get_paginator(self, name: str) -> Any:
        pages = self.client.get_paginator(name)

        class Pages:
            def paginate(_, **kwargs: Any) -> Any:  # noqa: N805
                with self.lock:
                    return list(pages.paginate(**kwargs))

        return Pages()


def invocation(name: str) -> Invocation:
    """A function whose clock is real, but who does not wait between posts."""
    ids = itertools.count()
    began = datetime.now(UTC)
    return Invocation(
        id=name,
        now=lambda: datetime.now(UTC),
        remaining=lambda: began + timedelta(seconds=60) - datetime.now(UTC),
        sleep=lambda _pause: None,
        jitter=lambda at_most: at_most,
        unique=lambda: f"{name}-{next(ids)}",
    )


@pytest.mark.parametrize("functions", [2, 16])
def test_however_many_functions_open_an_incident_it_has_one_root(functions: int) -> None:
    with mock_aws():
        watch = Watch()
        watch.slack = slack = BusySlack(watch.clock)
        client: Any = OneCallAtATime(watch.store.client())
        store = replace(watch.store, client=lambda: client, sleep=lambda _pause: None)
        intake = replace(watch.intake, store=store)
        teller = replace(watch.teller, store=store, door=lambda _: slack)
        barrier = threading.Barrier(functions)
        failed: Counter[str] = Counter()

        def function(number: int) -> None:
            run = invocation(f"function-{number}")
            barrier.wait()
            message = sqs_message(number, deployment_failed(f"service-{number:02}", number))
            taken = intake.take_in([message], run)
            failed.update(taken.failed)
            for destination in taken.destinations:
                teller.tell(destination, run, run.now() + timedelta(seconds=15))

        threads = [threading.Thread(target=function, args=(n,)) for n in range(functions)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        last = invocation("the tick that looks once more")
        teller.tell("C01", last, last.now() + timedelta(seconds=50))

        assert not failed
        assert len(slack.roots) == 1
        told = " ".join(posted.message.text + str(posted.message.blocks) for posted in slack.posts)
        assert all(f"service-{number:02}" in told for number in range(functions))
