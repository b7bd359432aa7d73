"""No test reaches AWS: credentials are invented and so is the account."""

import gc
from functools import cache
from typing import Any

import botocore.session
import pytest
from hypothesis import HealthCheck, settings

from notifier import wiring
from tests.watch import TableClient, Watch

# How fast a machine is, is no property of the program. The usual run tries the same examples each
# time, so that it fails when the program changed and not by chance;
# `pytest --hypothesis-profile=searching` looks for new ones.
settings.register_profile("any", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("usual", settings.get_profile("any"), max_examples=50, derandomize=True)
settings.register_profile("searching", settings.get_profile("any"), max_examples=1000)
settings.load_profile("usual")

# Each test has sessions of its own, but what AWS's services look like is read from disk once.
botocore.session.create_loader = cache(botocore.session.create_loader)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """All that needs the sandbox runs in one process, so that it is started once; so do others.

    pytest-xdist's marks for this, `xdist_group`, have no effect since pytest computes its node ids.
    """
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class SandboxInOneProcess(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
        def _split_scope(self, nodeid: str) -> str:
            together = ("tests/sandbox/", "tests/e2e/test_sam.py", "tests/e2e/test_templates.py")
            return next((one for one in together if nodeid.startswith(one)), nodeid)

    return SandboxInOneProcess(config, log)


ONCE = ("test_scoreboard.py", "test_the_checker_sees_the_program")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what measures the program's rules, and would find the same under any Python."""
    for item in items:
        if any(name in item.nodeid for name in ONCE):
            item.add_marker(pytest.mark.once)


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays until the end anyway."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)


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
