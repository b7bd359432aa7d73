"""The program's own clients, told by a cluster's ARN alone, read ECS in another account and region.

moto keeps accounts and regions apart and hands out credentials of the role's account, as STS does.
It judges no trust policy and no permission: what stands in them is held by test_forwarder.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from moto import mock_aws

from notifier import wiring
from notifier.facts import Asked
from notifier.wiring import Program
from tests.test_wiring import program

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HUB, MEMBER, REGION = "123456789012", "210987654321", "eu-central-1"


def as_member(service: str) -> Any:
    """A client of somebody at work in the member account."""
    administrator = f"arn:aws:iam::{MEMBER}:role/administrator"
    sts = boto3.client("sts", region_name=REGION)
    given = sts.assume_role(RoleArn=administrator, RoleSessionName="somebody")["Credentials"]
    return boto3.client(  # type: ignore[call-overload]
        service,
        REGION,
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given["SessionToken"],
    )


@pytest.fixture(autouse=True)
def member() -> Iterator[None]:
    """An account and region with a service."""
    wiring._client.cache_clear()
    with mock_aws():
        ecs = as_member("ecs")
        ecs.create_cluster(clusterName="prod")
        container = {"name": "app", "image": "shop/app:v1", "memory": 64}
        ecs.register_task_definition(family="checkout", containerDefinitions=[container])
        ecs.create_service(
            cluster="prod", serviceName="checkout", taskDefinition="checkout", desiredCount=2
        )
        as_member("iam").create_account_alias(AccountAlias="shop-test")
        yield
    wiring._client.cache_clear()


def hub() -> Program:
    return program(account_id=HUB, region="eu-west-1", member_role_name="ecs-watch-reader")


def test_the_hub_reads_a_members_services_facts_and_name() -> None:
    door = hub().accounts
    (arn,) = door.clusters_of(MEMBER, REGION)
    reading = door.services(arn, ["checkout"], NOW)["checkout"]
    shown, facts = door.facts(arn, [Asked(service="checkout")], NOW, door.begin(arn))["checkout"]

    assert arn == f"arn:aws:ecs:{REGION}:{MEMBER}:cluster/prod"
    assert door.service_names(arn, "")[0] == ["checkout"]
    assert (reading.status, reading.desired_count) == ("ACTIVE", 2)
    assert shown is not None
    assert facts.failing_revision == f"arn:aws:ecs:{REGION}:{MEMBER}:task-definition/checkout:1"
    assert door.account_alias(MEMBER, REGION, door.begin(arn)) == "shop-test"


def test_what_is_a_members_is_not_found_at_home_nor_in_another_member() -> None:
    door = hub().accounts

    assert door.clusters() == []
    assert door.account_alias(HUB, "eu-west-1", door.begin("")) == ""
    assert door.clusters_of("333333333333", REGION) == []
    assert door.clusters_of(MEMBER, "us-east-1") == []
