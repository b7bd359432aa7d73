"""Many functions at once, in real threads over a table that is not ours."""

import itertools
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from moto import mock_aws

from notifier.model import Invocation, Message, Outcome
from tests.watch import Clock, FakeSlack, Watch, deployment_failed, sqs_message


@dataclass
class BusySlack(FakeSlack):
    """Slack for many callers: it takes a moment, and one message at a time."""

    lock: threading.Lock = field(default_factory=threading.Lock)

    def post(self, channel: str, message: Message, **more: object) -> Outcome:
        time.sleep(0.02)  # so that others come while somebody posts
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


def invocation(name: str, clock: Clock) -> Invocation:
    """A function that does not wait between posts.

    Its clock ignores how fast this machine is. It has a minute, as long as the test may take.
    """
    ids, ends_at = itertools.count(), time.monotonic() + 60
    return Invocation(
        id=name,
        now=clock.now,
        remaining=lambda: timedelta(seconds=ends_at - time.monotonic()),
        sleep=lambda _pause: None,
        jitter=lambda at_most: at_most,
        unique=lambda: f"{name}-{next(ids)}",
    )


@pytest.mark.parametrize("functions", [2, 16])
def test_however_many_functions_open_an_incident_it_has_one_root(functions: int) -> None:
    names = [f"service-{number:02}" for number in range(functions)]
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
            run = invocation(f"function-{number}", watch.clock)
            barrier.wait()
            message = sqs_message(number, deployment_failed(names[number]))
            taken = intake.take_in([message], run)
            failed.update(taken.failed)
            for destination in taken.destinations:
                teller.tell(destination, run, run.now() + timedelta(seconds=15))

        threads = [threading.Thread(target=function, args=(n,)) for n in range(functions)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        for number in range(2):  # what waited for the others
            watch.clock.at += timedelta(minutes=1)
            tick = invocation(f"tick-{number}", watch.clock)
            teller.tell("C01", tick, tick.now() + timedelta(seconds=50))

        assert not failed
        assert watch.cluster().open_services == functions
        assert len(slack.roots) == 1
        replies = [one.message.text + str(one.message.blocks) for one in slack.replies]
        told = {name: sum(name in reply for reply in replies) for name in names}
        assert told == dict.fromkeys(names, 1)
