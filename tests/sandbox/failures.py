"""A service whose release has just failed, and that runs again: what ECS sends and shows of it."""

from typing import Any

from sandbox.running import Sandbox
from sandbox.story import Step, Story
from sandbox.story_shapes import Deployment, Release, Service, arn

Json = dict[str, Any]

OLD = Deployment(Release(41, "v1"), begun=-900, status="ACTIVE", desired=2, running=2)
NEW = Deployment(Release(42, "v2"), begun=-300, state="FAILED", desired=2, failed=3)


def failing(sandbox: Sandbox, cluster: str, name: str) -> Json:
    """Let ECS show a release that failed, and return the event that says so."""
    service = Service(cluster, name, desired=2)
    reason = "ECS deployment circuit breaker: tasks failed to start."
    event = service.deployment_event(-5, "SERVICE_DEPLOYMENT_FAILED", NEW, reason)
    show(sandbox, service, NEW, OLD)
    told = built(sandbox, service, event=event).event
    assert told is not None
    return told


def fix(sandbox: Sandbox, cluster: str, name: str) -> Json:
    """Let ECS show that a newer release runs, and return the event that says so."""
    service = Service(cluster, name, desired=2)
    fixed = Deployment(Release(43, "v3"), begun=0, desired=2, running=2)
    show(sandbox, service, fixed)
    told = built(sandbox, service, event=service.steady(1)).event
    assert told is not None
    return told


def show(sandbox: Sandbox, service: Service, *deployments: Deployment) -> None:
    """Let ECS show these deployments of a service."""
    cluster = {"clusterArn": arn(f"cluster/{service.cluster}"), "status": "ACTIVE"}
    world = {"clusters": [cluster], "services": [service.shown(deployments, [])]}
    shown = built(sandbox, service, ecs=world).ecs
    assert shown is not None
    sandbox.patch_ecs(shown)


def built(sandbox: Sandbox, service: Service, **what: Any) -> Step:
    """Return a step whose times are counted from now."""
    steps = (Step(0, "built", "", **what),)
    story = Story(service.name, "", "", service.cluster, (service.name,), steps)
    return story.beginning(sandbox.now())[0]


def messages_of(sandbox: Sandbox, cluster: str) -> list[Json]:
    """Return the messages of the channel and its threads that name the cluster."""
    return [message for message in sandbox.messages() if cluster in message["text"]]


def thread_of(sandbox: Sandbox, cluster: str) -> tuple[Json, list[Json]]:
    """Return the only root that names the cluster, and its replies, as they stand now."""
    [root, *replies] = messages_of(sandbox, cluster)
    assert root.get("thread_ts", root["ts"]) == root["ts"], "the first message is the root"
    assert {reply.get("thread_ts") for reply in replies} <= {root["ts"]}, "all others are below it"
    return root, replies
