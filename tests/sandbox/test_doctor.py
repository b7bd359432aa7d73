"""What breaks in a deployed stack is found by the stack itself, and by whoever asks doctor."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from sandbox.account.process import ROOT
from sandbox.running import Sandbox

pytestmark = pytest.mark.sandbox

HEARTBEAT = Path("events/scheduled-heartbeat-built.json").read_text()
FAILED = Path("events/dep-failed-circuit-breaker-docs.json").read_text()
PLACEMENT = Path("events/sa-placement-failure-resource-cpu-docs.json").read_text()


def at_a_shell(sandbox: Sandbox, *arguments: str) -> tuple[int, str]:
    """`ecs-watch` in a process of its own, as a person runs it."""
    command = "import sys; from notifier.cli import main; sys.exit(main(sys.argv[1:]))"
    ran = subprocess.run(
        [sys.executable, "-c", command, *arguments],
        env={**os.environ, **sandbox.environment, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.stderr == ""
    return ran.returncode, ran.stdout


def put(sandbox: Sandbox, queue: str, body: str) -> None:
    url = sandbox.account.outputs[queue]
    sandbox.account.client("sqs").send_message(QueueUrl=url, MessageBody=body)


@contextmanager
def broken(sandbox: Sandbox) -> Iterator[None]:
    """A rule disabled, the queue's policy gone, the mapping disabled."""
    account = sandbox.account
    events, sqs, lambda_ = (account.client(name) for name in ("events", "sqs", "lambda"))
    names = [rule["Name"] for rule in events.list_rules()["Rules"]]
    (rule,) = [name for name in names if "OtherFailures" in name]
    queue = account.outputs["EventsQueueUrl"]
    asked = {"QueueUrl": queue, "AttributeNames": ["Policy"]}
    policy = sqs.get_queue_attributes(**asked)["Attributes"]["Policy"]
    (mapping,) = lambda_.list_event_source_mappings()["EventSourceMappings"]
    events.disable_rule(Name=rule)
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": ""})
    lambda_.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    try:
        yield
    finally:
        events.enable_rule(Name=rule)
        sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
        lambda_.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)


def test_the_stack_as_it_is_deployed_is_well(sandbox: Sandbox) -> None:
    put(sandbox, "EventsQueueUrl", HEARTBEAT)
    sandbox.settle()
    sandbox.tick()

    code, shown = at_a_shell(sandbox, "doctor", "--send-test")

    assert code == 0, shown
    assert "✗" not in shown
    assert "✓ rule Heartbeat is enabled and as shipped" in shown
    assert sandbox.messages()[-1]["text"].startswith("ecs-watch doctor: this is a test")
    assert '"Heartbeat": 1' in sandbox.account.logs()
    assert "check left open" not in sandbox.account.logs()  # its own role may read all of it


def test_planted_faults_are_found_by_doctor_and_told_by_the_stack_itself(sandbox: Sandbox) -> None:
    with broken(sandbox):
        put(sandbox, "EventsDeadLetterQueueUrl", "poison")
        code, shown = at_a_shell(sandbox, "doctor")
        sandbox.turn_clock(sandbox.now() + timedelta(minutes=61))
        sandbox.tick()

    assert code == 1
    for line in (
        "✗ rule OtherFailures is disabled",
        "✗ queue policy does not let ",
        "✗ event source mapping is disabled",
        "✗ dead-letter queue ecs-watch-EventsDeadLetterQueue",
    ):
        assert line in shown
    told = json.dumps(sandbox.messages()[-1])
    for what in ("OtherFailures", "queue policy", "event source mapping", "dead-letter queue"):
        assert what in told


def test_what_lies_in_the_dead_letter_queues_is_told_after_redrive(sandbox: Sandbox) -> None:
    put(sandbox, "RulesDeadLetterQueueUrl", FAILED)
    put(sandbox, "EventsDeadLetterQueueUrl", PLACEMENT)

    code, shown = at_a_shell(sandbox, "redrive", "--yes")
    sandbox.settle()
    sandbox.tick()

    assert code == 0, shown
    assert shown.count("1 handed back") == 2
    assert any("servicetest" in one["text"] for one in sandbox.messages())
    assert sandbox.account.waiting("RulesDeadLetterQueueUrl") == 0
