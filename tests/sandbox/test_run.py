"""`ecs-watch run` as from a shell, against the sandbox's ECS and CloudWatch Logs."""

import pytest

from sandbox.one_off_demo import give_jobs, run_all
from sandbox.running import Sandbox

pytestmark = pytest.mark.sandbox


def test_jobs_end_with_0_with_3_never_started_and_at_the_time_out(sandbox: Sandbox) -> None:
    give_jobs(sandbox.ecs)

    ran = {
        one.family: (one, code, out, err) for one, code, out, err in run_all(sandbox.environment)
    }

    for one, code, _out, err in ran.values():
        assert code == one.status, err
        assert "Traceback" not in err
    assert ran["migrate"][2] == "20 migrations to do\ndone\n"
    assert ran["invoices"][2] == "reading orders\nno such column: tax\n"
    assert "exited with exit code 3 of app" in ran["invoices"][3]
    assert "never started: CannotPullContainerError" in ran["report"][3]
    assert "was told to stop" in ran["reindex"][3]
    assert sandbox.ecs.calls["StopTask"] == 1
