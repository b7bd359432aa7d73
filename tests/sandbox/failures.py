"""A service whose release has just failed: what its event says and what ECS shows of it."""

from typing import Any

from sandbox.running import Sandbox
from sandbox.story import Step, Story
from sandbox.story_shapes import Deployment, Release, Service, arn

Json = dict[str, Any]


def failing(sandbox: Sandbox, cluster: str, name: str) -> Json:
    """Let ECS show a release that failed, and return the event that says so."""
    service = Service(cluster, name, desired=2)
    old = Deployment(Release(41, "v1"), begun=-900, status="ACTIVE", desired=2, running=2)
    new = Deployment(Release(42, "v2"), begun=-300, state="FAILED", desired=2, failed=3)
    reason = "ECS deployment circuit breaker: tasks failed to start."
    event = service.deployment_event(-5, "SERVICE_DEPLOYMENT_FAILED", new, reason)
    world = {
        "clusters": [{"clusterArn": arn(f"cluster/{cluster}"), "status": "ACTIVE"}],
        "services": [service.shown([new, old], [])],
    }
    steps = (Step(0, "built", "", ecs=world), Step(0, "built", "", event=event))
    shown, told = Story(name, "", "", cluster, (name,), steps).beginning(sandbox.now())
    assert shown.ecs is not None
    assert told.event is not None
    sandbox.patch_ecs(shown.ecs)
    return told.event


def messages_of(sandbox: Sandbox, cluster: str) -> list[Json]:
    """Return the channel's messages that name the cluster."""
    return [message for message in sandbox.messages() if cluster in message["text"]]
