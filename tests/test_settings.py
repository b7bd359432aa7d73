"""The environment that the functions run in."""

import pytest

from notifier.errors import SettingsError
from notifier.settings import SLACK_API_URL, SecretStore, Settings

ENVIRONMENT = {"TABLE_NAME": "t", "CHANNELS": "*=C01", "SLACK_TOKEN_NAME": "/ecs-watch/token"}


def test_what_is_not_set_has_a_default() -> None:
    settings = Settings.from_environment({**ENVIRONMENT, "SECRET_STORE": "", "SLACK_API_URL": ""})

    assert settings.slack_api_url == SLACK_API_URL
    assert settings.secret_store is SecretStore.PARAMETER_STORE


def test_every_problem_is_said_at_once() -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_environment({"SECRET_STORE": "Vault", "SLACK_API_URL": "ftp://x"})

    for name in ("TABLE_NAME", "CHANNELS", "SLACK_TOKEN_NAME", "SECRET_STORE", "SLACK_API_URL"):
        assert name in str(error.value)
