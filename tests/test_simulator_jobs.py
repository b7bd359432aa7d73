"""Whatever goes wrong, what became of standalone tasks is known and told, beside services."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from notifier.arns import parse_arn
from notifier.model import Phase, ServiceState
from tests.jobs import task_stopped
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
