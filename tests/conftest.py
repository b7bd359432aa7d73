"""No test reaches AWS: credentials are invented and so is the account."""

import pytest
from hypothesis import HealthCheck, settings

from notifier import wiring
from tests.watch import TableClient, Watch

# How fast a machine is, is no property of the program.
settings.register_profile("any", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any")


@pytest.fixture(autouse=True)
def _nobodys_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the shell holds, no test may use it."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_REGION": "eu-west-1",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)


@pytest.fixture
def watch() -> Watch:
    """ecs-watch over a table in memory, telling channel C01."""
    return Watch(client=TableClient())


@pytest.fixture(autouse=True)
def _no_clients_of_another_test() -> None:
    """The program keeps its clients for as long as its process lives; a test is one of its own."""
    wiring._client.cache_clear()
