"""Account and region are the envelope's, whatever an event says; and only known sources are heard.

EventBridge writes the account into the envelope and lets nobody else send as `aws.*`, but a rule of
ours also sees what other accounts of the organization send under any other name.
https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsRequestEntry.html
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.errors import MalformedEvent
from notifier.events import parse
from notifier.incidents import Policy, cluster_of, decide
from notifier.model import Event, Heartbeat, NotOurs, Observed
from notifier.rendering import Telling, root_message
from notifier.routing import parse_channels
from sandbox.transform import read_template
from tests.watch import START

EVENTS = Path(__file__).parent.parent / "events"
OURS, REGION = "123456789012", "eu-west-1"
OTHER, FAR = "666666666666", "ap-south-1"
Json = dict[str, Any]


def recorded() -> dict[str, Json]:
    found = {}
    for path in sorted(EVENTS.glob("*.json")):
        event = json.loads(path.read_text())
        try:
            is_ours = isinstance(parse(event), Event)
        except MalformedEvent:
            continue
        if is_ours:
            found[path.stem] = event
    return found


RECORDED = recorded()
ARN = re.compile(r"arn:(aws[a-z-]*):([a-z]+):([a-z0-9-]*):([^:]*):")


def forged(event: Json, *, account: str = OTHER, region: str = FAR) -> Json:
    """The event from our account and region, every ARN in it naming another one."""
    text = json.dumps({**event, "account": OURS, "region": REGION})
    changed = ARN.sub(lambda found: f"arn:aws:{found[2]}:{region}:{account}:", text)
    told: Json = json.loads(changed)
    told["detail"] |= {"account": account, "region": region, "awsRegion": region}
    if "clusterArn" in told["detail"]:
        told["detail"]["recipientAccountId"] = account
    return told


def root_of(event: Event, alias: str = "") -> str:
    """The blocks of the root that tells it."""
    (route,) = parse_channels("*=C01")
    seen = Observed(event=event, received_at=START)
    cluster = decide(cluster_of(event), [seen], START, Policy(route=route)).cluster
    telling = Telling(cluster=cluster, now=START, alias=alias)
    return json.dumps(
        root_message(telling, list(cluster.services.values())).blocks, ensure_ascii=False
    )


def test_there_is_enough_recorded_to_forge() -> None:
    assert len(RECORDED) > 40
    assert sum(OTHER in json.dumps(forged(event)) for event in RECORDED.values()) > 40


@pytest.mark.parametrize("name", RECORDED)
def test_what_names_another_account_inside_is_told_of_the_account_that_sent_it(name: str) -> None:
    event = parse(forged(RECORDED[name]))
    assert isinstance(event, Event)
    cluster = cluster_of(event)

    assert (event.account, event.region, event.partition) == (OURS, REGION, "aws")
    assert (cluster.account, cluster.region) == (OURS, REGION)
    assert OTHER not in cluster.key
    assert FAR not in cluster.key


@pytest.mark.parametrize("name", RECORDED)
def test_an_event_is_of_its_own_account_and_region_wherever_it_comes_from(name: str) -> None:
    """Of two members with clusters of the same name each has its own row."""
    events = [
        parse({**RECORDED[name], "account": account, "region": region})
        for account, region in ((OURS, REGION), (OTHER, REGION), (OURS, FAR))
    ]
    assert len({cluster_of(event).key for event in events if isinstance(event, Event)}) == 3


def test_a_forged_cluster_reaches_no_link_and_no_foot_of_a_message() -> None:
    event = parse(forged(RECORDED["dep-failed-with-cluster-built"]))
    assert isinstance(event, Event)
    shown = root_of(event)

    assert f"{OURS} · {REGION}" in shown
    assert f"https://{REGION}.console.aws.amazon.com/" in shown
    assert OTHER not in shown
    assert FAR not in shown


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("ap-south-1", "https://ap-south-1.console.aws.amazon.com/"),
        ("cn-north-1", "https://cn-north-1.console.amazonaws.cn/"),
        ("us-gov-west-1", "https://us-gov-west-1.console.amazonaws-us-gov.com/"),
    ],
)
def test_a_members_message_names_its_account_and_region_and_links_to_its_console(
    region: str, host: str
) -> None:
    sent = {**RECORDED["dep-failed-with-cluster-built"], "account": OTHER, "region": region}
    event = parse(sent)
    assert isinstance(event, Event)
    shown = root_of(event, alias="shop-test")

    assert f"shop-test ({OTHER}) · {region}" in shown
    assert host in shown


# --- who is heard -------------------------------------------------------------------------------


def named_sources() -> set[str]:
    patterns = (
        resource["Properties"].get("EventPattern", {})
        for resource in read_template()["Resources"].values()
        if resource["Type"] == "AWS::Events::Rule"
    )
    return {source for pattern in patterns for source in pattern.get("source", ())}


def test_the_rules_name_their_sources() -> None:
    assert named_sources() == {"aws.ecs", "aws.codedeploy", "aws.events", "ecs-watch.tasks"}


@pytest.mark.parametrize("name", RECORDED)
@pytest.mark.parametrize(
    "source", ["custom.ecs", "aws.ecs ", "AWS.ECS", "aws.ecs.evil", "ecs", "aws.s3", "aws.events"]
)
def test_what_another_source_sends_is_not_ours_whatever_it_looks_like(
    name: str, source: str
) -> None:
    assert isinstance(parse({**RECORDED[name], "source": source}), NotOurs)


@given(st.text(min_size=1).filter(lambda text: text.strip()))
def test_no_other_source_is_ever_heard(source: str) -> None:
    if source not in named_sources():
        event = parse({**RECORDED["dep-failed-with-cluster-built"], "source": source})
        assert isinstance(event, NotOurs)


def heartbeat(**more: Any) -> Json:
    rule = f"arn:aws:events:{FAR}:{OTHER}:rule/StackSet-ecs-watch-Heartbeat-1A2B3C4D5E6F"
    return {
        "version": "0",
        "id": "cdc73f9d-aea9-11e3-9d5a-835b769c0d9c",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": OTHER,
        "time": "2026-11-23T12:00:00Z",
        "region": FAR,
        "resources": [rule],
        "detail": {},
        **more,
    }


def test_a_members_heartbeat_is_of_the_account_and_region_that_sent_it() -> None:
    own, lying = parse(heartbeat()), parse(heartbeat(account=OURS, region=REGION))

    assert isinstance(own, Heartbeat)
    assert (own.account, own.region) == (OTHER, FAR)
    assert isinstance(lying, Heartbeat)
    assert (lying.account, lying.region) == (OURS, REGION)


@pytest.mark.parametrize("source", ["custom.events", "aws.ecs", "aws.scheduler"])
def test_only_eventbridge_itself_sends_a_heartbeat(source: str) -> None:
    assert not isinstance(parse(heartbeat(source=source)), Heartbeat)
