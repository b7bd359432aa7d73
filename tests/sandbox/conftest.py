"""One sandbox for all tests: starting it is what costs. Each test finds it as just deployed."""

import os
from collections.abc import Callable, Iterator
from time import monotonic, sleep

import pytest

from sandbox.running import Sandbox, running_sandbox
from tests.sandbox.failures import failing


@pytest.fixture(scope="session")
def _only_here(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Fail where several processes run the tests and another one has started the sandbox too."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        (tmp_path_factory.getbasetemp().parent / "sandbox").touch(exist_ok=False)


@pytest.fixture(scope="session")
def _running(_only_here: None) -> Iterator[Sandbox]:
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
