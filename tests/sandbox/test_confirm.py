"""`ecs-watch confirm` in a process of its own, over real HTTP, with boto3's own client."""

import pytest

from sandbox.confirms import CASES, confirmed
from sandbox.ecs_double import ACCESS_DENIED, THROTTLED
from sandbox.running import Sandbox

pytestmark = pytest.mark.sandbox


def test_a_release_that_goes_live_one_that_fails_and_one_that_is_rolled_back_are_told_apart(
    sandbox: Sandbox,
) -> None:
    sandbox.ecs.fail("DescribeServiceDeployments", THROTTLED, times=2)
    live, failed, back = confirmed(sandbox)

    assert [one.exit_code for one in (live, failed, back)] == [0, 1, 1]
    assert "✅ search: live (search:20" in live.said
    assert "3 of 3 running" in live.said
    assert "⛔ search: failed, image not found: shop/search:v3.4.1 (search:19" in failed.said
    assert "⛔ checkout: rolled back, container app exited with code 1: the" in back.said
    assert "circuit breaker 3 of 3" in back.said
    assert "Changed  app image v1.8.2 → v1.8.3" in back.said
    assert "logs: https://" in back.said


def test_without_permission_nothing_is_said_of_the_deployment(sandbox: Sandbox) -> None:
    sandbox.ecs.fail("DescribeServices", ACCESS_DENIED)
    (refused,) = confirmed(sandbox, CASES[:1])

    assert refused.exit_code == 5
    assert "AccessDeniedException" in refused.said
