"""No test reaches AWS: credentials are invented and the account is moto's."""

from collections.abc import Iterator

import pytest
from moto import mock_aws

from tests.watch import Watch


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
def watch() -> Iterator[Watch]:
    """ecs-watch over moto's table, telling channel C01."""
    with mock_aws():
        yield Watch()
