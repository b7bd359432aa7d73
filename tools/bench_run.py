"""One process of the benchmark: the function, from its start to many events. Prints JSON."""

import http.client
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

SLACK_PORT = urlsplit(os.environ.get("SLACK_API_URL", "")).port
WARM_EVENTS = 20
BATCHES = 5
BATCH = 50

first_byte_at: list[float] = []
_send = http.client.HTTPConnection.send


def _noted(self: http.client.HTTPConnection, content: Any) -> None:
    if self.port == SLACK_PORT and not first_byte_at:
        first_byte_at.append(time.process_time())
    _send(self, content)


http.client.HTTPConnection.send = _noted  # type: ignore[assignment,method-assign]


class Context:
    """Lambda's context, with time in plenty."""

    aws_request_id = f"bench-{os.getpid()}"

    def get_remaining_time_in_millis(self) -> int:
        """A minute, always."""
        return 60_000


def failure(cluster: str) -> Any:
    """A batch of the queue with the only failure of a cluster: others would wait for each other."""
    return {"Records": [_record(0, cluster, "checkout", "SERVICE_DEPLOYMENT_FAILED")]}


def progress(services: Sequence[str]) -> Any:
    """A batch of the queue with one event for each service of a cluster."""
    events = enumerate(services)
    return {
        "Records": [_record(n, "bench", one, "SERVICE_DEPLOYMENT_IN_PROGRESS") for n, one in events]
    }


def _record(number: int, cluster: str, service: str, event_name: str) -> dict[str, Any]:
    event = {
        "id": f"{cluster}/{service}",
        "detail-type": "ECS Deployment State Change",
        "source": "aws.ecs",
        "account": "123456789012",
        "time": "2026-11-23T12:00:00Z",
        "region": "eu-west-1",
        "resources": [f"arn:aws:ecs:eu-west-1:123456789012:service/{cluster}/{service}"],
        "detail": {
            "eventType": "ERROR",
            "eventName": event_name,
            "deploymentId": "ecs-svc/42",
            "updatedAt": "2026-11-23T11:59:59Z",
            "reason": "ECS deployment circuit breaker: tasks failed to start.",
        },
    }
    return {"messageId": str(number), "body": json.dumps(event)}


def main(number: str) -> None:
    """Measure, and print the figures in milliseconds."""
    from notifier import handler

    imported = time.process_time()
    handler.on_events(failure(f"cold-{number}"), Context())
    time.sleep = lambda _seconds: None  # the second between two messages is Slack's, not ours
    cpu, began = time.process_time(), time.perf_counter()
    for one in range(WARM_EVENTS):
        handler.on_events(failure(f"warm-{number}-{one}"), Context())
    warm_cpu, warm = time.process_time() - cpu, time.perf_counter() - began
    cpu = time.process_time()
    for batch in range(BATCHES):
        names = [f"batch-{number}-{batch}-{one}" for one in range(BATCH)]
        handler.on_events(progress(names), Context())
    intake = time.process_time() - cpu
    figures = {
        "cold_ms": first_byte_at[0],
        "imports_ms": imported,
        "warm_cpu_ms": warm_cpu / WARM_EVENTS,
        "warm_ms": warm / WARM_EVENTS,
        "intake_ms": intake / (BATCHES * BATCH),
    }
    print(json.dumps({name: seconds * 1000 for name, seconds in figures.items()}))


if __name__ == "__main__":
    main(sys.argv[1])
