"""One sandbox for all tests: starting it is what costs. Each test finds it as just deployed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

from sandbox.running import Sandbox, running_sandbox
from tests.sandbox.failures import failing


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that needs the sandbox runs in one process, so that it is started once."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("sandbox"))


@pytest.fixture(scope="session")
def _running() -> Iterator[Sandbox]:
    with running_sandbox() as running:
        running.put_event(failing(running, "warm-up", "checkout"))
        running.settle()  # a program that does not work at all fails here, once
        running.tick()
        running.forget()
        yield running


@pytest.fixture
def sandbox(_running: Sandbox) -> Iterator[Sandbox]:
    """The whole: account with ecs-watch deployed, ECS, Slack without a limit on messages."""
    yield _running
    _running.forget()


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], bool]:
    """Whether something becomes true within twenty seconds."""

    def becomes_true(condition: Callable[[], bool]) -> bool:
        deadline = monotonic() + 20
        while not condition():
            if monotonic() > deadline:
                return False
            sleep(0.05)
        return True

    return becomes_true
