"""Deployed over an earlier version in the midst of its work: nothing is lost, nothing told twice.

Each `written-by-VERSION.json` is what that version left; record.py says how it was recorded.
"""

import itertools
import json
import logging
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from notifier.model import Message, Phase
from tests.watch import Posted, TableClient, Watch, deployment_failed

WRITTEN = sorted(Path(__file__).parent.glob("written-by-*.json"))
CHANNELS = "refusing-*=C03; *=C01"
OPEN, OVER, UNSURE, REFUSED = (
    f"arn:aws:ecs:eu-west-1:123456789012:cluster/{name}"
    for name in ("prod-open", "prod-over", "prod-unsure", "refusing-one")
)


@pytest.fixture(params=WRITTEN, ids=lambda path: path.stem)
def written(request: pytest.FixtureRequest) -> Any:
    return json.loads(request.param.read_text())


@pytest.fixture
def watch(written: Any) -> Watch:
    """This version over the table and the channel that the earlier one left."""
    watch = Watch(CHANNELS, client=TableClient(), is_new=True)
    watch.clock.at = datetime.fromisoformat(written["now"])
    watch._ids = itertools.count(10_000)  # no nonce of today is one of then
    for item in written["items"]:
        row = {name: value.get("S", value.get("N")) for name, value in item.items()}
        numbers = {name: int(value["N"]) for name, value in item.items() if "N" in value}
        rest: Any = {name: v for name, v in (row | numbers).items() if name not in ("pk", "sk")}
        watch.spoil(row["pk"], row["sk"], **rest)
    watch.slack.asked = [("post", "C01")] * 1000
    watch.slack.posts = [
        Posted(
            one["channel"],
            one["ts"],
            Message(text=one["text"]),
            datetime.fromisoformat(one["at"]),
            one["thread_ts"],
            key=one["key"],
        )
        for one in written["posts"]
    ]
    return watch


def take(watch: Watch, written: Any) -> None:
    """What waited in the queue is taken in, and told."""
    taken = watch.intake.take_in(written["messages"], watch.run())
    assert taken.failed == ()
    for destination in sorted(taken.destinations):
        watch.tell(destination)


def roots(watch: Watch, cluster: str) -> list[Posted]:
    return [one for one in watch.slack.roots if cluster in one.message.text]


def test_there_is_an_earlier_version() -> None:
    assert WRITTEN


def test_every_row_is_read(watch: Watch, written: Any, caplog: pytest.LogCaptureFixture) -> None:
    read = {key: watch.cluster(key) for key in (OPEN, OVER, UNSURE, REFUSED)}

    assert {key: cluster.open_services for key, cluster in read.items()} == {
        OPEN: 2,
        OVER: 0,
        UNSURE: 1,
        REFUSED: 1,
    }
    assert read[OPEN].services["checkout"].phase is Phase.FAILING
    assert read[OPEN].services["checkout"].told == {"C01": 1}
    assert read[OVER].services["mended"].phase is Phase.RECOVERED
    assert watch.store.thread(OPEN, "C01", 1) is not None
    assert [one.pattern for one in watch.store.mutes()] == ["prod-quiet"]
    census = watch.store.census()
    assert census is not None
    assert census.finished_at
    assert {one.cluster_key for one in watch.store.owed("C01")} == {OPEN, UNSURE}
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []
    keys = [(item["pk"]["S"], item["sk"]["S"]) for item in written["items"]]
    assert len(keys) == len(set(keys)) > 10


def test_every_message_that_waited_is_taken_in(watch: Watch, written: Any) -> None:
    take(watch, written)

    assert {"waiting", "checkout", "search"} == set(watch.cluster(OPEN).services)
    assert "replayed" in " ".join(watch.slack.texts)


def test_an_open_incident_goes_on_in_its_thread_until_its_all_clear(
    watch: Watch, written: Any
) -> None:
    (before,) = roots(watch, "prod-open")
    take(watch, written)
    for name in ("checkout", "search", "waiting"):
        watch.ecs.show_well(name, revision=43)
    watch.ticks(60)

    (root,) = roots(watch, "prod-open")
    assert root.ts == before.ts
    assert root.message.text.startswith("✅")
    told = " ".join(one.message.text for one in watch.slack.replies if one.thread_ts == root.ts)
    assert "waiting" in told
    assert watch.cluster(OPEN).closed_at is not None


def test_what_may_have_been_posted_is_looked_for_and_not_posted_again(watch: Watch) -> None:
    watch.ticks(5)

    (root,) = roots(watch, "prod-unsure")
    assert root.ts in {one.ts for one in watch.slack.posts}
    assert ("find", "C01") in watch.slack.asked
    assert watch.cluster(UNSURE).services["unsure"].told.get("C01", 0) > 0


def test_an_incident_that_was_over_stays_over_and_comes_back_in_its_thread(
    watch: Watch, written: Any
) -> None:
    (before,) = roots(watch, "prod-over")
    text = before.message.text
    watch.ticks(10)
    assert before.message.text == text

    take(watch, written)
    (root,) = roots(watch, "prod-over")
    assert root.ts == before.ts
    assert root.message.text.startswith("🔴")


def test_what_was_given_up_is_not_tried_again_by_itself(watch: Watch) -> None:
    watch.ticks(10)

    assert [one for one in watch.slack.asked[1000:] if one == ("post", "C03")] == []


def test_a_mute_goes_on_until_its_end(watch: Watch) -> None:
    event = deployment_failed("quiet")
    event["resources"] = [event["resources"][0].replace("prod-web", "prod-quiet")]
    watch.offer(event)
    assert roots(watch, "prod-quiet") == []

    watch.clock.at += timedelta(days=1)
    watch.ticks(3)
    assert len(roots(watch, "prod-quiet")) == 1
