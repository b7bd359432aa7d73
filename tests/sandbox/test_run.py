"""`ecs-watch run` as from a shell, against the sandbox's ECS and CloudWatch Logs."""

import pytest

from sandbox.one_off_demo import ended, give_jobs, running_jobs
from sandbox.running import Sandbox

pytestmark = pytest.mark.sandbox


def test_jobs_end_with_0_with_3_never_started_and_at_the_time_out(sandbox: Sandbox) -> None:
    give_jobs(sandbox.ecs)

    with running_jobs(sandbox.environment) as jobs:
        ran = {one.family: (one.status, *ended(process)) for one, process in jobs}

    for right, code, _out, err in ran.values():
        assert code == right, err
        assert "Traceback" not in err
    assert ran["migrate"][2] == "20 migrations to do\ndone\n"
    assert ran["invoices"][2] == "reading orders\nno such column: tax\n"
    assert "exited with exit code 3 of app" in ran["invoices"][3]
    assert "never started: CannotPullContainerError" in ran["report"][3]
    assert "was told to stop" in ran["reindex"][3]
    assert sandbox.ecs.calls["StopTask"] == 1
