"""A cluster of another account or region is read there, through the role that its stack made."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from notifier.ecs import Ecs, May
from notifier.ecs.accounts import REMEMBERED, Accounts, Clients
from notifier.ecs.reads import in_turn
from notifier.ecs.roles import LEFT, Credentials, Roles
from notifier.errors import ReadFailed
from notifier.facts import Asked, LogTail
from notifier.settings import ReadLogs
from tests.test_wiring import program

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HOME, MEMBER = ("123456789012", "eu-west-1"), ("210987654321", "eu-central-1")
NAME = "ecs-watch-reader"
HOUR = timedelta(hours=1)


def cluster(place: tuple[str, str], name: str = "prod") -> str:
    account, region = place
    return f"arn:aws:ecs:{region}:{account}:cluster/{name}"


@dataclass
class Sts:
    """STS: gives credentials for an hour, named after the role and counted, or refuses."""

    now: datetime = START
    asked: list[str] = field(default_factory=list)
    refuses: Exception | None = None
    answer: Mapping[str, Any] | None = None

    def assume_role(self, *, RoleArn: str, RoleSessionName: str) -> Any:  # noqa: N803
        assert RoleSessionName == "ecs-watch"
        self.asked.append(RoleArn)
        if self.refuses:
            raise self.refuses
        name = f"{RoleArn.rpartition('/')[2]}#{len(self.asked)}"
        given = {
            "AccessKeyId": name,
            "SecretAccessKey": f"secret of {name}",
            "SessionToken": f"session of {name}",
            "Expiration": self.now + HOUR,
        }
        return self.answer if self.answer is not None else {"Credentials": given}


@dataclass
class Client:
    """A client of any service, in a region, as somebody: it says so in all that it answers."""

    service: str
    region: str
    name: str

    def describe_services(self, *, services: Sequence[str], **_: Any) -> Any:
        return {"services": [{"serviceName": one, "status": self.name} for one in services]}

    def list_services(self, **_: Any) -> Any:
        return {"serviceArns": [f"arn:aws:ecs:::service/{self.name}"]}

    def list_tasks(self, **_: Any) -> Any:
        return {"taskArns": []}

    def list_service_deployments(self, **_: Any) -> Any:
        return {"serviceDeployments": []}

    def list_account_aliases(self) -> Any:
        return {"AccountAliases": [f"alias of {self.name}"]}

    def lookup_events(self, **_: Any) -> Any:
        return {"Events": []}

    def get_log_events(self, **_: Any) -> Any:
        return {"events": [{"message": f"log of {self.name}"}]}

    def get_paginator(self, _operation: str) -> Any:
        return self

    def paginate(self) -> Iterator[Any]:
        yield {"clusterArns": [f"cluster of {self.name}"]}


@dataclass
class World:
    """Our account and its members, with everything outside under the test's command."""

    sts: Sts = field(default_factory=Sts)
    made: list[tuple[str, str, str]] = field(default_factory=list)
    account: str = HOME[0]
    role_name: str = NAME

    def __post_init__(self) -> None:
        self.roles = Roles(lambda: self.sts, lambda: self.sts.now)  # type: ignore[arg-type, return-value]
        own: Any = Client("ecs", HOME[1], "us")
        may = May(callers=True, logs=ReadLogs.ALL)
        home = Ecs(lambda: own, lambda *_: own, may, in_turn)

        def member(account: str, region: str) -> Ecs:
            clients = Clients(self.roles, self.make, self.role_name, account, region)
            return Ecs(clients.ecs, clients.other, may, in_turn)

        self.door = Accounts(home, self.account, HOME[1], member)

    def alias(self, place: tuple[str, str]) -> str:
        return self.door.account_alias(*place, self.door.begin(cluster(place)))

    def make(self, service: str, region: str, credentials: Credentials) -> Any:
        self.made.append((service, region, credentials.access_key_id))
        return Client(service, region, credentials.access_key_id)

    def read(self, arn: str) -> str:
        """As whom the cluster was read."""
        return self.door.services(arn, ["checkout"], self.sts.now)["checkout"].status


def access_denied() -> ClientError:
    error: Any = {"Error": {"Code": "AccessDenied", "Message": "not authorized to assume"}}
    return ClientError(error, "AssumeRole")


# --- whose cluster it is ------------------------------------------------------------------------


def test_our_own_cluster_is_read_as_ourselves() -> None:
    world = World()

    assert world.read(cluster(HOME)) == "us"
    assert world.sts.asked == []


@pytest.mark.parametrize(
    ("place", "role"),
    [
        (MEMBER, f"arn:aws:iam::210987654321:role/{NAME}-eu-central-1"),
        ((HOME[0], "us-east-1"), f"arn:aws:iam::123456789012:role/{NAME}-us-east-1"),
        ((MEMBER[0], HOME[1]), f"arn:aws:iam::210987654321:role/{NAME}-eu-west-1"),
    ],
)
def test_a_cluster_of_another_account_or_region_is_read_there_through_its_role(
    place: tuple[str, str], role: str
) -> None:
    world = World()

    assert world.read(cluster(place)) == f"{NAME}-{place[1]}#1"
    assert world.sts.asked == [role]
    assert world.made == [("ecs", place[1], f"{NAME}-{place[1]}#1")]


def test_everything_that_is_read_of_a_member_is_read_there() -> None:
    world, arn, name = World(), cluster(MEMBER), f"{NAME}-{MEMBER[1]}#1"
    asked = [Asked(service="checkout", began_at=START)]

    reading, _ = world.door.facts(arn, asked, START, world.door.begin(arn))["checkout"]
    assert reading is not None
    assert reading.status == name
    assert world.door.service_names(arn, "") == ([name], "")
    assert world.door.clusters_of(*MEMBER) == [f"cluster of {name}"]
    assert world.alias(MEMBER) == f"alias of {name}"
    world.door.callers(arn, asked, START, world.door.begin(arn))
    tail = LogTail(container="app", group="/shop", stream="app/1", region=MEMBER[1])
    log = world.door.log_lines(arn, "checkout", tail, world.door.begin(arn))
    assert log is not None
    assert log.lines == (f"log of {name}",)
    assert {region for _, region, _ in world.made} == {MEMBER[1]}
    assert {service for service, _, _ in world.made} == {"ecs", "iam", "cloudtrail", "logs"}
    assert len(world.sts.asked) == 1


def test_what_is_ours_is_not_taken_for_a_members() -> None:
    world = World()

    assert world.door.clusters() == ["cluster of us"]
    assert world.alias(HOME) == "alias of us"
    assert world.door.is_ours(*HOME)
    assert not world.door.is_ours(*MEMBER)
    assert not world.door.is_ours(HOME[0], MEMBER[1])


def test_a_cluster_that_nobody_knows_is_ours_to_fail_on() -> None:
    assert World().read("unknown cluster (210987654321, eu-central-1)") == "us"


def test_where_nobody_says_which_account_is_ours_all_are() -> None:
    world = World(account="")

    assert world.read(cluster(MEMBER)) == "us"
    assert world.sts.asked == []


# --- credentials --------------------------------------------------------------------------------


def test_a_role_is_assumed_once_until_shortly_before_its_credentials_expire() -> None:
    world = World()
    for minutes in (0, 20, 54):
        world.sts.now = START + timedelta(minutes=minutes)
        assert world.read(cluster(MEMBER)).endswith("#1")
    world.sts.now = START + HOUR - LEFT
    assert world.read(cluster(MEMBER)).endswith("#2")
    assert [name for _, _, name in world.made] == [f"{NAME}-eu-central-1#{n}" for n in (1, 2)]


def test_each_member_has_its_own_credentials() -> None:
    world, other = World(), ("333333333333", MEMBER[1])
    for place in (MEMBER, other, MEMBER, other):
        world.read(cluster(place))

    assert [role.split(":")[4] for role in world.sts.asked] == [MEMBER[0], other[0]]


def test_of_credentials_nothing_is_shown() -> None:
    sts = Sts()
    roles = Roles(lambda: sts, lambda: START)  # type: ignore[arg-type, return-value]
    shown = repr(roles.credentials("arn:aws:iam::210987654321:role/r")) + repr(roles)

    assert "secret" not in shown
    assert "session of" not in shown


# --- what cannot be read ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refusal", "why"),
    [
        (access_denied(), "no permission"),
        (EndpointConnectionError(endpoint_url="https://sts"), "unavailable"),
    ],
)
def test_a_role_that_cannot_be_assumed_is_a_read_that_failed_and_says_which(
    refusal: Exception, why: str
) -> None:
    world = World(Sts(refuses=refusal))
    with pytest.raises(ReadFailed) as failed:
        world.read(cluster(MEMBER))

    assert str(failed.value) == f"sts:AssumeRole: {why}"
    assert world.read(cluster(HOME)) == "us"
    assert world.alias(MEMBER) == ""


def test_a_refusal_holds_for_a_minute_so_that_nobody_waits_for_it_again_and_again() -> None:
    world = World(Sts(refuses=access_denied()))
    for _ in range(3):
        with pytest.raises(ReadFailed):
            world.read(cluster(MEMBER))
    assert len(world.sts.asked) == 1

    world.sts.refuses, world.sts.now = None, START + timedelta(minutes=1)
    assert world.read(cluster(MEMBER)).endswith("#2")


@pytest.mark.parametrize("answer", [{}, {"Credentials": {"AccessKeyId": "a"}}])
def test_an_answer_without_a_time_is_no_answer(answer: Mapping[str, Any]) -> None:
    with pytest.raises(ReadFailed, match="unavailable"):
        World(Sts(answer=answer)).read(cluster(MEMBER))


@pytest.mark.parametrize("account", ["12345678901", "aws", "123456789012345"])
def test_no_role_is_made_up_of_what_is_no_account(account: str) -> None:
    world = World()
    with pytest.raises(ReadFailed, match="gone"):
        world.read(cluster((account, "eu-west-1")))

    assert world.sts.asked == []


def test_without_the_name_of_a_role_nothing_is_assumed() -> None:
    world = World(role_name="")
    with pytest.raises(ReadFailed, match="sts:AssumeRole: no permission"):
        world.read(cluster(MEMBER))

    assert world.sts.asked == []


def test_a_process_remembers_the_members_that_it_read_last() -> None:
    world = World()
    for number in range(REMEMBERED + 5):
        world.read(cluster((f"{number:012}", "eu-west-1")))
        world.read(cluster(MEMBER))

    assert len(world.door._members) == REMEMBERED
    assert len([one for one in world.made if one[1] == MEMBER[1]]) == 1  # used, so not forgotten


# --- as it is wired -----------------------------------------------------------------------------


def test_the_stack_knows_its_own_account_and_region() -> None:
    ours = program(account_id=HOME[0], region=HOME[1], member_role_name=NAME)

    assert ours.accounts.is_ours(*HOME)
    assert not ours.accounts.is_ours(*MEMBER)
    assert ours.lookout().ecs is ours.accounts
    assert ours.teller().ecs is ours.accounts


def test_a_members_client_gives_up_early_and_acts_as_the_role_in_its_region() -> None:
    ours = program(account_id=HOME[0], region=HOME[1], member_role_name=NAME)
    door = ours.accounts._at(*MEMBER)
    clients: Clients = door.client.__self__  # type: ignore[attr-defined]
    clients.roles.sts = Sts  # type: ignore[assignment]
    clients.roles.now = lambda: START
    client: Any = door.client()

    assert client.meta.region_name == MEMBER[1]
    assert (client.meta.config.connect_timeout, client.meta.config.read_timeout) == (2, 2)
    assert client._request_signer._credentials.access_key == f"{NAME}-{MEMBER[1]}#1"
