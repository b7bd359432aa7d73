"""What breaks in a deployed stack is found by the stack itself, and by whoever asks doctor."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from sandbox.faults import planted_faults
from sandbox.running import Sandbox
from sandbox.shell import at_a_shell

pytestmark = pytest.mark.sandbox

FAILED = Path("events/dep-failed-circuit-breaker-docs.json").read_text()
PLACEMENT = Path("events/sa-placement-failure-resource-cpu-docs.json").read_text()


TRAIL = {
    "TrailARN": "arn:aws:cloudtrail:eu-west-1:123456789012:trail/management-events",
    "Name": "management-events",
    "IsMultiRegionTrail": True,
    "IsLogging": True,
    "EventSelectors": [{"ReadWriteType": "All", "IncludeManagementEvents": True}],
}


def put(sandbox: Sandbox, queue: str, body: str) -> None:
    url = sandbox.account.outputs[queue]
    sandbox.account.client("sqs").send_message(QueueUrl=url, MessageBody=body)


def test_the_stack_as_it_is_deployed_is_well(sandbox: Sandbox) -> None:
    sandbox.patch_ecs({"trails": [TRAIL]})
    sandbox.beat()

    ran = at_a_shell(sandbox, "doctor", "--send-test")

    assert (ran.code, ran.err) == (0, ""), ran.out
    assert not {"✗", "?"} & {line[:1] for line in ran.out.splitlines()}
    assert "✓ alarms reach 1 subscriber" in ran.out
    assert "✓ CloudTrail trail management-events records calls of ECS" in ran.out
    assert "✓ rule Heartbeat is enabled and as shipped" in ran.out
    assert "✓ dead-letter queue policy takes what the rules cannot deliver" in ran.out
    assert sandbox.messages()[-1]["text"].startswith("ecs-watch doctor: this is a test")
    assert '"Heartbeat": 1' in sandbox.account.logs()
    assert "check left open" not in sandbox.account.logs()  # its own role may read all of it


def test_planted_faults_are_found_by_doctor_and_told_by_the_stack_itself(sandbox: Sandbox) -> None:
    with planted_faults(sandbox):
        put(sandbox, "EventsDeadLetterQueueUrl", "poison")
        ran = at_a_shell(sandbox, "doctor")
        sandbox.turn_clock(sandbox.now() + timedelta(minutes=61))
        sandbox.tick()

    assert ran.code == 1
    for line in (
        "✗ rule OtherFailures is disabled",
        "✗ queue policy does not let ",
        "✗ event source mapping is disabled",
        "✗ dead-letter queue ecs-watch-EventsDeadLetterQueue",
    ):
        assert line in ran.out
    told = json.dumps(sandbox.messages()[-1])
    for what in ("OtherFailures", "queue policy", "event source mapping", "dead-letter queue"):
        assert what in told


def test_what_lies_in_the_dead_letter_queues_is_told_after_redrive(sandbox: Sandbox) -> None:
    put(sandbox, "RulesDeadLetterQueueUrl", FAILED)
    put(sandbox, "EventsDeadLetterQueueUrl", PLACEMENT)

    ran = at_a_shell(sandbox, "redrive", "--yes")
    sandbox.settle()
    sandbox.tick()

    assert ran.code == 0, ran.out
    assert ran.out.count("1 handed back") == 2
    assert any("servicetest" in one["text"] for one in sandbox.messages())
    assert sandbox.account.waiting("RulesDeadLetterQueueUrl") == 0
