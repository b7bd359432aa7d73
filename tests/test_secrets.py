"""The secret is read when it is needed, kept for a while, and never quoted."""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from notifier.errors import SecretUnavailable
from notifier.model import Checkup, Message, Sent
from notifier.secrets import KEPT_FOR, READ_AGAIN_AFTER, Secret
from notifier.settings import SecretStore
from notifier.slack import Slack
from sandbox.workspace import Workspace
from tests.watch import TableClient, Watch

NAME = "/ecs-watch/slack-token"
TOKEN = "xoxb-1234567890-SecretOfTheBot"

SSM = SecretStore.PARAMETER_STORE
MANAGER = SecretStore.SECRETS_MANAGER


@pytest.fixture(autouse=True)
def _an_account_and_no_secret_in_any_log_line(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG, logger="notifier")
    with mock_aws():
        yield
    own = [record for record in caplog.records if record.name.startswith("notifier")]
    assert "SecretOf" not in "".join(str(vars(record)) for record in own)


@cache
def aws(service: Any) -> Any:
    """One client for all tests: making it takes longer than a test."""
    return boto3.client(service, region_name="eu-west-1")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Counted:
    """moto's client, which counts its reads and fails them with `error` when there is one."""

    def __init__(self, store: SecretStore) -> None:
        self.client = aws("ssm" if store is SSM else "secretsmanager")
        self.error: Exception | None = None
        self.made = self.reads = 0

    def __call__(self) -> "Counted":
        self.made += 1
        return self

    def get_parameter(self, **asked: Any) -> Any:
        return self._read(self.client.get_parameter, asked)

    def get_secret_value(self, **asked: Any) -> Any:
        return self._read(self.client.get_secret_value, asked)

    def _read(self, read: Callable[..., Any], asked: dict[str, Any]) -> Any:
        self.reads += 1
        if self.error:
            raise self.error
        return read(**asked)


def put(value: str) -> None:
    aws("ssm").put_parameter(Name=NAME, Value=value, Type="SecureString", Overwrite=True)


def create(**value: Any) -> None:
    aws("secretsmanager").create_secret(Name=NAME, **value)


def kept(store: SecretStore = SSM) -> tuple[Secret, Counted, Clock]:
    client, clock = Counted(store), Clock()
    return Secret(name=NAME, store=store, client=client, monotonic=clock), client, clock


def refused(code: str) -> ClientError:
    error: Any = {"Error": {"Code": code, "Message": f"{TOKEN} is quoted by a careless service"}}
    return ClientError(error, "GetParameter")


def why(secret: Secret) -> str:
    with pytest.raises(SecretUnavailable) as raised:
        secret()
    assert "SecretOf" not in repr(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    return str(raised.value)


# --- where it is kept -------------------------------------------------------------------------


def test_a_secure_string_of_parameter_store_is_decrypted_and_stripped() -> None:
    put(f"  {TOKEN}\n")
    secret, _, _ = kept()

    assert secret() == TOKEN


@pytest.mark.parametrize(
    "stored",
    [
        f" {TOKEN}\n",
        json.dumps({"token": TOKEN, "owner": "team-platform"}),
        json.dumps({"webhook": TOKEN, "owner": "team-platform"}),
        json.dumps({"SLACK": TOKEN, "version": 3}),
    ],
)
def test_secrets_manager_holds_plain_text_or_an_object_with_one_string(stored: str) -> None:
    create(SecretString=stored)
    secret, _, _ = kept(MANAGER)

    assert secret() == TOKEN


@pytest.mark.parametrize(
    "stored",
    [
        json.dumps({"a": TOKEN, "b": TOKEN}),
        json.dumps({"token": TOKEN, "webhook": TOKEN}),
        json.dumps({"token": 1}),
        "{}",
    ],
)
def test_an_object_that_leaves_it_open_which_string_is_meant_is_an_error(stored: str) -> None:
    create(SecretString=stored)
    secret, _, _ = kept(MANAGER)

    assert why(secret) == (
        f"the secret '{NAME}' in SecretsManager must hold one string, "
        "under the key token or webhook"
    )


@pytest.mark.parametrize("stored", ['{"token": "' + TOKEN, '{"a":' * 100_000])
def test_a_broken_object_is_an_error_that_does_not_quote_it(stored: str) -> None:
    secret, client, _ = kept(MANAGER)
    client.client = type("Stored", (), {"get_secret_value": lambda **_: {"SecretString": stored}})

    assert "begins like a JSON object but is none: correct it" in why(secret)


def test_a_binary_secret_is_an_error() -> None:
    create(SecretBinary=TOKEN.encode())
    secret, _, _ = kept(MANAGER)

    assert "holds no text: store it as a string" in why(secret)


@pytest.mark.parametrize(
    "stored",
    [
        *("REPLACE_ME", "change-me", "Change me later", "TODO", "placeholder", "xxx", "-", "none"),
        *("<token>", "xoxb-...", "xoxb-your-token", "xoxb-xxxxxxxx", "put your token here"),
    ],
)
def test_a_placeholder_is_an_error_that_says_what_to_do(stored: str) -> None:
    put(stored)
    secret, _, _ = kept()

    assert why(secret) == (
        f"the secret '{NAME}' in ParameterStore still holds a placeholder: "
        "put the Slack bot token or webhook URL there"
    )


@pytest.mark.parametrize(
    "stored",
    [
        "xoxb-17653672481-19874698323-pdFZKVeTuE8sk7oOcHrzqqgy",
        "xoxe.xoxb-1-MS0yLTE3NjUzNjcyNDgx",
        "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
        "http://127.0.0.1:8080/services/T1/B1/none",
    ],
)
def test_a_token_or_address_is_no_placeholder(stored: str) -> None:
    put(stored)
    secret, _, _ = kept()

    assert secret() == stored


def test_an_empty_value_is_an_error_that_says_what_to_do() -> None:
    put(" \n")
    secret, _, _ = kept()

    assert why(secret).endswith("is empty: put the Slack bot token or webhook URL there")


# --- what AWS says ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("store", "code"), [(SSM, "ParameterNotFound"), (MANAGER, "ResourceNotFoundException")]
)
def test_a_secret_that_is_not_there_is_named_with_aws_error_code(
    store: SecretStore, code: str
) -> None:
    secret, _, _ = kept(store)

    assert why(secret) == (
        f"the secret '{NAME}' in {store} cannot be read: {code} "
        "(create it in this account and region)"
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (refused("AccessDeniedException"), "AccessDeniedException (allow the function's role"),
        (refused("ThrottlingException"), "ThrottlingException"),
        (EndpointConnectionError(endpoint_url="https://ssm"), "EndpointConnectionError"),
    ],
)
def test_an_error_of_aws_is_named_by_its_code_alone(error: Exception, code: str) -> None:
    put(TOKEN)
    secret, client, _ = kept()
    client.error = error

    assert f"cannot be read: {code}" in why(secret)
    assert "careless" not in why(secret)


def test_after_an_error_the_next_call_reads_again() -> None:
    secret, _, _ = kept()
    why(secret)
    put(TOKEN)

    assert secret() == TOKEN


# --- how long it is kept ----------------------------------------------------------------------


def test_nothing_is_read_before_the_secret_is_needed() -> None:
    _, client, _ = kept()

    assert (client.made, client.reads) == (0, 0)


def test_the_secret_is_read_once_in_five_minutes() -> None:
    put(TOKEN)
    secret, client, clock = kept()

    for clock.now in (1000.0, 1001.0, 1299.9):
        assert secret() == TOKEN
    assert client.reads == 1

    clock.now = 1300.0
    secret()
    assert (client.made, client.reads) == (1, 2)


def test_a_rotated_secret_is_seen_when_it_is_asked_for_fresh() -> None:
    put("xoxb-old-SecretOf")
    secret, client, clock = kept()
    secret()
    put(TOKEN)

    clock.now += 30
    assert secret(True) == TOKEN
    assert secret() == TOKEN
    assert client.reads == 2


def test_a_fresh_value_is_read_at_most_once_in_thirty_seconds() -> None:
    put(TOKEN)
    secret, client, clock = kept()
    secret()

    for clock.now in (1000.0, 1029.9):
        assert secret(True) == TOKEN
    assert client.reads == 1

    for clock.now in (1030.0, 1030.0, 1059.9):
        secret(True)
    assert client.reads == 2


def test_while_the_store_fails_the_old_value_serves_and_the_log_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    put(TOKEN)
    secret, client, clock = kept()
    secret()
    client.error = refused("ThrottlingException")

    for clock.now in (1300.0, 1301.0, 1329.9, 1330.0):
        assert secret() == TOKEN

    assert client.reads == 3
    warnings = [record for record in caplog.records if record.getMessage() == "secret.stale"]
    assert len(warnings) == 2
    assert "ThrottlingException" in str(vars(warnings[0])["why"])


def test_when_the_store_works_again_the_new_value_is_kept_for_five_minutes() -> None:
    put("xoxb-old-SecretOf")
    secret, client, clock = kept()
    secret()
    client.error = refused("ThrottlingException")
    clock.now = 1300.0
    secret()
    client.error = None
    put(TOKEN)

    clock.now = 1330.0
    assert secret() == TOKEN
    clock.now = 1629.9
    secret()
    assert client.reads == 3


def test_a_placeholder_put_over_a_working_value_does_not_silence_the_watch() -> None:
    put(TOKEN)
    secret, _, clock = kept()
    secret()
    put("REPLACE_ME")

    clock.now += 300
    assert secret() == TOKEN


def test_a_secret_does_not_show_its_value() -> None:
    put(TOKEN)
    secret, _, _ = kept()
    secret()

    assert "SecretOf" not in f"{secret} {secret!r}"


# --- rotated while it runs ------------------------------------------------------------------------


def rotate(store: SecretStore, value: str) -> None:
    if store is SSM:
        put(value)
    elif aws("secretsmanager").list_secrets()["SecretList"]:
        aws("secretsmanager").put_secret_value(SecretId=NAME, SecretString=value)
    else:
        create(SecretString=value)


@pytest.mark.parametrize("store", [SSM, MANAGER])
def test_a_token_that_was_rotated_in_mid_run_is_taken_without_deploying_anything(
    store: SecretStore,
) -> None:
    """The old one is revoked at once: the call that Slack refuses is made again with the new."""
    with Workspace(limits=None) as workspace:
        rotate(store, workspace.token)
        secret, client, clock = kept(store)
        slack = Slack(base_url=workspace.api_url, token=secret)
        message = Message(text="a failure")
        assert isinstance(slack.post("C0DEPLOYS1", message), Sent)

        workspace.app.token = "xoxb-" + "TheNewOne-SecretOf"
        rotate(store, workspace.app.token)
        clock.now += READ_AGAIN_AFTER.total_seconds()
        assert isinstance(slack.post("C0DEPLOYS1", message), Sent)

        posted = workspace.team.channels["C0DEPLOYS1"].messages
        outcomes = [call.outcome for call in workspace.history.calls]
    assert len(posted) == 2
    assert outcomes == ["ok", "invalid_auth", "ok"]
    assert client.reads == 2


@pytest.mark.parametrize("store", [SSM, MANAGER])
def test_a_token_that_was_rotated_while_the_old_one_still_works_is_taken_within_five_minutes(
    store: SecretStore,
) -> None:
    rotate(store, TOKEN)
    secret, _, clock = kept(store)
    secret()
    rotate(store, f"{TOKEN}-2")

    assert secret() == TOKEN
    clock.now += KEPT_FOR.total_seconds()
    assert secret() == f"{TOKEN}-2"


@pytest.mark.parametrize("store", [SSM, MANAGER])
def test_a_rotation_that_lags_behind_the_revocation_loses_nothing(store: SecretStore) -> None:
    """Slack refuses until the secret is there; then what is owed is told with the next probe."""
    with Workspace(limits=None) as workspace:
        rotate(store, workspace.token)
        secret, _, clock = kept(store)
        watch = Watch("*=C0DEPLOYS1", client=TableClient())

        def door(_destination: str) -> Any:
            return Slack(base_url=workspace.api_url, token=secret)

        watch.teller = replace(watch.teller, door=door)
        watch.store.owe_note("checkup", "C0DEPLOYS1", watch.clock.now(), "nonce")
        watch.store.save_checkup(Checkup(failing={"rule X": "rule X is disabled"}))
        workspace.app.token = "xoxb-" + "TheNewOne-SecretOf"
        for _ in range(3):
            watch.tell("C0DEPLOYS1")
            watch.clock.at += timedelta(minutes=1)
            clock.now += 60
        channel = workspace.team.channels["C0DEPLOYS1"]
        assert channel.messages == []

        rotate(store, workspace.app.token)
        watch.tell("C0DEPLOYS1")
        assert [one.text for one in channel.messages] == [
            "ecs-watch itself is not well: rule X is disabled"
        ]
