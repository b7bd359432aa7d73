"""Writes down what a version of ecs-watch leaves in its table and queue in the midst of its work.

It runs with the sources of that version, not with these:

    mkdir /tmp/old && git archive 431ad75 | tar -x -C /tmp/old
    (cd /tmp/old && PYTHONPATH=src:. python "$OLDPWD/tests/upgrade/record.py" 431ad75) \\
        > tests/upgrade/written-by-431ad75.json

So it uses of them only what every version has: the tests' watch, with a table in memory.
"""

import json
import sys
from datetime import timedelta
from typing import Any

from notifier.events import renewed
from notifier.model import Mute, Refusal, Unknown
from tests.watch import (
    TableClient,
    Watch,
    deployment_failed,
    envelope,
    placement_failure,
    sqs_message,
)

CHANNELS = "refusing-*=C03; *=C01"


def main(version: str) -> None:
    """Print all of it as JSON."""
    watch = Watch(CHANNELS, client=TableClient())
    _is_over(watch)
    _is_open(watch)
    _is_refused(watch)
    _is_muted(watch)
    _is_being_posted(watch)
    written = {
        "version": version,
        "now": watch.clock.at.isoformat(),
        "items": list(watch.client.table.rows()),
        "posts": [_post(one) for one in watch.slack.posts],
        "messages": _messages(watch),
    }
    print(json.dumps(written, indent=1, sort_keys=True))


def _is_over(watch: Watch) -> None:
    """An incident from its root to its all-clear."""
    watch.offer(_of("prod-over", deployment_failed("mended")))
    watch.clock.at += timedelta(minutes=5)
    watch.ecs.show_well("mended", revision=43)
    watch.ticks(40)


def _is_open(watch: Watch) -> None:
    """Two services fail, of which Slack was told."""
    watch.offer(_of("prod-open", deployment_failed("checkout")))
    watch.offer(_of("prod-open", placement_failure("search")))


def _is_refused(watch: Watch) -> None:
    """A channel that refuses: what it is owed stays."""
    watch.slack.refuse("C03", Refusal.PAYLOAD, "invalid_blocks")
    watch.offer(_of("refusing-one", deployment_failed("refused")))


def _is_muted(watch: Watch) -> None:
    """A person muted a cluster for a day."""
    until = watch.clock.at + timedelta(days=1)
    watch.store.mute(Mute(pattern="prod-quiet", until=until, why="planned"))


def _is_being_posted(watch: Watch) -> None:
    """A root of which nobody knows whether it arrived; it did."""
    watch.slack.commits_lost_posts = True
    watch.slack.look_answers = []
    watch.slack.can_look = False
    watch.slack.answers = [Unknown("timeout")]
    watch.clock.at += timedelta(minutes=1)
    watch.offer(_of("prod-unsure", deployment_failed("unsure")))


def _of(cluster: str, event: dict[str, Any]) -> dict[str, Any]:
    """The event, of a service of another cluster."""
    (resource,) = event["resources"]
    return {**event, "resources": [resource.replace("/prod-web/", f"/{cluster}/")]}


def _post(post: Any) -> dict[str, Any]:
    return {
        "channel": post.channel,
        "ts": post.ts,
        "text": post.message.text,
        "at": post.at.isoformat(),
        "thread_ts": post.thread_ts,
        "key": post.key,
    }


def _messages(watch: Watch) -> list[dict[str, Any]]:
    """What waits in the queue: events as EventBridge put them there, and one that was replayed."""
    steady = envelope("ECS Service Action", "checkout", eventName="SERVICE_STEADY_STATE")
    waiting = [
        _now(watch, _of("prod-open", deployment_failed("waiting"))),
        _now(watch, _of("prod-over", placement_failure("mended"))),
        _now(watch, _of("prod-open", steady)),
        renewed(deployment_failed("replayed"), watch.clock.at),
    ]
    sent = {"SentTimestamp": str(int(watch.clock.at.timestamp() * 1000))}
    return [
        {**sqs_message(number, event), "attributes": sent} for number, event in enumerate(waiting)
    ]


def _now(watch: Watch, event: dict[str, Any]) -> dict[str, Any]:
    """The event, as if it happened now."""
    now = watch.clock.at.isoformat().replace("+00:00", "Z")
    times = {name: now for name in ("createdAt", "updatedAt") if name in event["detail"]}
    return {**event, "time": now, "detail": {**event["detail"], **times}}


if __name__ == "__main__":
    main(*sys.argv[1:])
