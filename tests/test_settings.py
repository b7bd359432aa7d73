"""The environment that the functions run in."""

import pytest

from notifier.errors import SettingsError
from notifier.settings import SLACK_API_URL, ReadLogs, SecretStore, Settings

ENVIRONMENT = {"TABLE_NAME": "t", "CHANNELS": "*=C01", "SLACK_TOKEN_NAME": "/ecs-watch/token"}


def test_what_is_not_set_has_a_default() -> None:
    settings = Settings.from_environment({**ENVIRONMENT, "SECRET_STORE": "", "SLACK_API_URL": ""})

    assert settings.slack_api_url == SLACK_API_URL
    assert settings.secret_store is SecretStore.PARAMETER_STORE


def test_every_problem_is_said_at_once() -> None:
    wrong = {
        "SECRET_STORE": "Vault",
        "SLACK_API_URL": "ftp://x",
        "READ_LOGS": "some",
        "READ_TASK_DEFINITIONS": "True",
        "LOOK_UP_DEPLOYERS": "yes",
    }
    with pytest.raises(SettingsError) as error:
        Settings.from_environment(wrong)

    for name in ("TABLE_NAME", "CHANNELS", "SLACK_TOKEN_NAME", *wrong):
        assert name in str(error.value)


def test_nothing_is_read_that_can_hold_secrets_unless_it_is_said_except_task_definitions() -> None:
    settings = Settings.from_environment(ENVIRONMENT | {"READ_LOGS": "", "LOOK_UP_DEPLOYERS": ""})

    assert settings.read_task_definitions is True
    assert settings.read_logs is ReadLogs.OFF
    assert settings.look_up_deployers is False
    assert (settings.actors, settings.session_names, settings.redact_patterns) == ("", "", "")


def test_what_may_be_read_and_who_is_who_is_said_by_the_environment() -> None:
    said = {
        "READ_TASK_DEFINITIONS": "false",
        "READ_LOGS": "tagged",
        "LOOK_UP_DEPLOYERS": "true",
        "ACTORS": "mika=U1",
        "SESSION_NAMES": "X: x",
        "REDACT_PATTERNS": "acme-[0-9]+",
    }
    settings = Settings.from_environment(ENVIRONMENT | said)

    assert settings.read_task_definitions is False
    assert settings.read_logs is ReadLogs.TAGGED
    assert settings.look_up_deployers is True
    assert settings.actors == "mika=U1"
    assert settings.session_names == "X: x"
    assert settings.redact_patterns == "acme-[0-9]+"


def test_what_the_watcher_is_made_of_is_said_by_the_environment() -> None:
    said = {
        "RULE_NAMES": "Heartbeat=ours-Heartbeat-1, Deployers=ours-Deployers-2,",
        "QUEUE_URL": "https://sqs/queue",
        "DLQ_URLS": "https://sqs/one,https://sqs/two",
    }
    settings = Settings.from_environment(ENVIRONMENT | said)

    assert settings.rule_names == {"Heartbeat": "ours-Heartbeat-1", "Deployers": "ours-Deployers-2"}
    assert settings.queue_url == "https://sqs/queue"
    assert settings.dlq_urls == ("https://sqs/one", "https://sqs/two")


@pytest.mark.parametrize("names", ["Heartbeat", "=ours", "Heartbeat=", "a=b,c"])
def test_a_rule_without_its_name_is_a_problem(names: str) -> None:
    with pytest.raises(SettingsError, match="RULE_NAMES"):
        Settings.from_environment(ENVIRONMENT | {"RULE_NAMES": names})
