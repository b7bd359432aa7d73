"""Whatever goes wrong, what became of standalone tasks is known and told, beside services."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from random import Random
from typing import Any

import pytest

from notifier.arns import parse_arn
from notifier.model import Phase, ServiceState
from tests.jobs import retry, run_task, task_stopped
from tests.simulator.checker import report, violations
from tests.simulator.ecs import ACCOUNT, REGION, moment
from tests.simulator.faults import Faults
from tests.simulator.history import Cast, History, Scenario
from tests.simulator.scenarios import SCENARIOS, some_services
from tests.simulator.scheduler import MINUTE

CLUSTERS = ("prod-web", "prod-data")
JOBS = ("nightly-cleanup", "weekly-rollup", "hourly-dunning")
SEEDS = range(3)

Truth = dict[tuple[str, str], list[bool]]


def no_services(_rng: Random) -> list[Cast]:
    return []


def jobs(truth: Truth) -> Callable[[History], None]:
    """Each job runs some times within ten minutes, well or badly, at moments of its own."""

    def arrange(history: History) -> None:
        truth.clear()
        numbers = iter(range(1, 1000))
        for cluster in CLUSTERS:
            for family in JOBS:
                ends = [history.rng.random() < 0.4 for _ in range(history.rng.randint(1, 5))]
                truth[cluster, family] = ends
                times = sorted(history.rng.uniform(0, 10 * MINUTE) for _ in ends)
                for at, is_well in zip(times, ends, strict=True):
                    history.scheduler.after(
                        at, ends_at(history, cluster, family, next(numbers), is_well)
                    )

    return arrange


def ends_at(
    history: History, cluster: str, family: str, number: int, is_well: bool
) -> Callable[[], None]:
    def end() -> None:
        code = 0 if is_well else number % 3 + 1
        body = task_stopped(
            number, at=moment(history.scheduler.clock), family=family, exit_code=code
        )
        arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/{cluster}/{number:032x}"
        detail = body["detail"] | {"taskArn": arn, "clusterArn": cluster_arn(cluster)}
        history.account.send("ECS Task State Change", arn, detail)

    return end


def cluster_arn(name: str) -> str:
    return f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/{name}"


FAULTS = {
    "calm": Faults(),
    "events come twice, late and in any order": Faults(event_twice=0.5, event_delayed=0.5),
    "messages come twice": Faults(message_twice=0.5),
    "Slack limits": Faults(slack_limited=0.4),
    "Slack's answers are lost": Faults(slack_answer_lost=0.3),
    "the table is throttled": Faults(table_throttled=0.3, table_conflict=0.2),
    "functions are killed": Faults(killed=0.03),
    "everything at once": SCENARIOS["storm"].faults,
}


@pytest.mark.parametrize("beside", [no_services, some_services])
@pytest.mark.parametrize("faults", FAULTS)
def test_everything_holds_for_jobs_under(
    faults: str, beside: Callable[[Random], list[Cast]]
) -> None:
    truth: Truth = {}
    scenario = Scenario("jobs", beside, FAULTS[faults], arrange=jobs(truth))
    for seed in SEEDS:
        history = History(replace(scenario), seed).run()
        found = violations(history)
        assert not found, report(history, found)
        for (cluster, family), ends in truth.items():
            is_known_and_told(history, cluster, family, ends)


# --- and what tasks.yaml does for those that did not start ---------------------------------------


def retried_calls(truth: Truth) -> Callable[[History], None]:
    """Each job's call found no capacity, is tried again, and is given up or runs well after all."""

    def arrange(history: History) -> None:
        truth.clear()
        number = 0
        for cluster in CLUSTERS:
            for family in JOBS:
                number += 1
                truth[cluster, family] = [False, *([True] if history.rng.random() < 0.5 else [])]
                at = history.rng.uniform(0, 3 * MINUTE)
                steps = call_that_is_retried(cluster, family, number, len(truth[cluster, family]))
                for kind, of in steps:
                    history.scheduler.after(at, sends(history, kind, of))
                    at += history.rng.uniform(0, 2 * MINUTE)

    return arrange


def call_that_is_retried(
    cluster: str, family: str, number: int, ends: int
) -> list[tuple[str, Callable[[datetime], Any]]]:
    where = {"clusterArn": cluster_arn(cluster)}
    more: dict[str, Any] = {"call": number, "family": family, **where}

    def call(at: datetime) -> Any:
        body = run_task(number, at=at, family=family)
        body["detail"]["requestParameters"]["cluster"] = cluster_arn(cluster)
        return body

    def run(at: datetime) -> Any:
        arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/{cluster}/{number:032x}"
        by = f"ecsw/{number:016x}/2"
        return task_stopped(
            number, at=at, family=family, exit_code=0, startedBy=by, taskArn=arn, **where
        )

    attempts = [partial(retry, 1, **more), partial(retry, 2, **more)]
    end = partial(retry, 3, "STARTED" if ends > 1 else "GIVEN_UP", **more)
    told = [lambda at, step=step: step(at=at) for step in (*attempts, end)]
    return [
        ("aws.ecs", call),
        *(("ecs-watch.tasks", one) for one in told),
        *([("aws.ecs", run)] if ends > 1 else []),
    ]


def sends(history: History, source: str, of: Callable[[datetime], Any]) -> Callable[[], None]:
    def send() -> None:
        body = of(moment(history.scheduler.clock))
        history.account.send(body["detail-type"], "", body["detail"], source)

    return send


@pytest.mark.parametrize(
    "faults", ["calm", "events come twice, late and in any order", "everything at once"]
)
def test_every_step_of_a_retry_is_told_under(faults: str) -> None:
    truth: Truth = {}
    scenario = Scenario("retries", no_services, FAULTS[faults], arrange=retried_calls(truth))
    for seed in SEEDS:
        history = History(replace(scenario), seed).run()
        found = violations(history)
        assert not found, report(history, found)
        for (cluster, family), ends in truth.items():
            is_known_and_told(history, cluster, family, ends)
            steps_are_told(history, cluster, family, ends)


def steps_are_told(history: History, cluster: str, family: str, ends: list[bool]) -> None:
    """A message that Slack refused is told again as its text alone, which has the last step."""
    known = state(history, cluster, family)
    about = [one.message for one in history.slack.visible() if family in one.message.text]
    said = "".join(json.dumps(one.blocks, ensure_ascii=False) for one in about)
    end = "Started after all" if len(ends) > 1 else "Given up after attempt 2 of 5"
    is_degraded = any(known.key in alarm.told for alarm in history.alarms) or any(
        not one.blocks and cluster in one.text for one in about
    )
    for step in ("1 of 1 task did not start", "After attempt 1 of 5", end):
        is_told = f"*{cluster} · {family}* · {step}" in said
        assert is_told or is_degraded, (cluster, family, step)


def is_known_and_told(history: History, cluster: str, family: str, ends: list[bool]) -> None:
    known = state(history, cluster, family)
    expected = Phase.WELL if all(ends) else Phase.RECOVERED if ends[-1] else Phase.TASK_FAILED
    stands = Phase.TASK_FAILED if known.phase is Phase.NOT_RUN else known.phase
    assert stands is expected, (cluster, family, ends)
    assert known.count == len(ends) - 1 - max(
        (n for n, well in enumerate(ends) if well), default=-1
    )
    said = [
        one.message.text
        for one in history.slack.visible()
        if family in one.message.text and cluster in one.message.text
    ]
    given_up = any(known.key in alarm.told for alarm in history.alarms)  # after five dead turns
    assert given_up or bool(said) is not all(ends), (cluster, family, ends)
    assert not known.untold("C0SHOP")


def state(history: History, cluster: str, family: str) -> ServiceState:
    head = history.sane_store().load(cluster_arn(cluster))
    assert head is not None
    assert parse_arn(head.key)
    return head.services[f"standalone task: {family}"]
