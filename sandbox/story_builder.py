"""Writes the stories of events/stories: `python -m sandbox.story_builder`.

Each function is one story. What an event says is worded as AWS words it in its developer guide;
everything else is built, and marked so.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from sandbox.story import STORIES
from sandbox.story_shapes import DAY, Deployment, Json, Release, Service, arn

CLUSTER = "prod-web"

Messages = list[tuple[float, str]]


@dataclass
class Script:
    """Collects the steps of a story."""

    title: str
    teaches: str
    services: list[Service]
    steps: list[Json] = field(default_factory=list)

    def event(self, moment: float, note: str, event: Json) -> None:
        """Put an event on the bus."""
        self._add(moment, note, event=event)

    def shows(self, moment: float, note: str, **ecs: list[Json]) -> None:
        """Change what ECS and CloudTrail show."""
        self._add(moment, note, ecs=ecs)

    def tick(self, moment: float) -> None:
        """Let a minute's tick come."""
        self.steps.append({"at": moment, "note": "a tick", "tick": True})

    def _add(self, moment: float, note: str, **what: Any) -> None:
        self.steps.append({"at": moment, "origin": "built", "note": note, **what})

    def document(self) -> Json:
        """Return the story as its file has it."""
        return {
            "title": self.title,
            "teaches": self.teaches,
            "cluster": CLUSTER,
            "services": [service.name for service in self.services],
            "steps": sorted(self.steps, key=lambda step: float(step["at"])),
        }


# --- pieces that several stories share --------------------------------------------------------


def cluster(services: Iterable[Service], running: int) -> Json:
    """Return what DescribeClusters shows."""
    return {
        "clusterArn": arn(f"cluster/{CLUSTER}"),
        "clusterName": CLUSTER,
        "status": "ACTIVE",
        "registeredContainerInstancesCount": 0,
        "runningTasksCount": running,
        "pendingTasksCount": 0,
        "activeServicesCount": len(list(services)),
        "capacityProviders": ["FARGATE", "FARGATE_SPOT"],
    }


def at_rest(service: Service, deployment: Deployment, messages: Messages) -> dict[str, list[Json]]:
    """Return a world in which the service runs its deployment, as it did yesterday."""
    running = range(1, deployment.running + 1)
    return {
        "clusters": [cluster([service], deployment.running)],
        "services": [service.shown([deployment], messages)],
        "tasks": [service.running_task(number, deployment, -DAY) for number in running],
        "taskDefinitions": [service.definition(deployment.release, deployment.begun - 30)],
        "serviceDeployments": [succeeded(service, deployment)],
        "serviceRevisions": [service.service_revision(deployment)],
    }


def succeeded(service: Service, deployment: Deployment) -> Json:
    """Return a service deployment that succeeded two minutes after it began."""
    done = deployment.now(updated=deployment.begun + 120)
    finished = service.shown([done], [])["deployments"][0]["updatedAt"]
    breaker = {"status": "MONITORING_COMPLETE", "failureCount": 0, "threshold": 3}
    return service.service_deployment(
        done, "SUCCESSFUL", finishedAt=finished, deploymentCircuitBreaker=breaker
    )


def under_way(service: Service, deployment: Deployment, **more: Any) -> Json:
    """Return a service deployment that is in progress."""
    return service.service_deployment(deployment, "IN_PROGRESS", lifecycleStage="SCALE_UP", **more)


def interrupted(service: Service, number: int, deployment: Deployment, stopped: float) -> Json:
    """Return a task that Fargate Spot took back."""
    task = service.dead_task(
        number,
        deployment,
        created=-DAY,
        stopped=stopped,
        code="SpotInterruption",
        reason="Your Spot Task was interrupted.",
        exit_code=143,
    )
    return {**task, "capacityProviderName": "FARGATE_SPOT"}


def released(service: Service, deployment: Deployment) -> list[Json]:
    """Return the CloudTrail events of a release: a new task definition, then the update."""
    begun = deployment.begun
    update = {
        "cluster": service.cluster,
        "service": service.name,
        "taskDefinition": service.definition_arn(deployment.release),
    }
    return [
        service.call(begun - 4, "RegisterTaskDefinition", {"family": service.name}),
        service.call(begun, "UpdateService", update),
    ]


def begun(service: Service, deployment: Deployment) -> str:
    """Return ECS's words for a deployment that began."""
    return f"ECS deployment {service.deployment_id(deployment)} in progress."


def completed(service: Service, deployment: Deployment) -> str:
    """Return ECS's words for a deployment that completed."""
    return f"ECS deployment {service.deployment_id(deployment)} completed."


def yesterday(release: Release, desired: int) -> Deployment:
    """Return a deployment that completed yesterday and runs as desired."""
    return Deployment(release, begun=-DAY - 150, desired=desired, running=desired)


# --- the stories ------------------------------------------------------------------------------


def release_fails_and_is_rolled_back() -> Script:
    """A container of the new release exits at once; the circuit breaker rolls back."""
    service = Service(CLUSTER, "checkout", desired=2)
    good = yesterday(Release(41, "v1.8.2", (("LOG_LEVEL", "info"),)), 2)
    changed = (("FEATURE_X", "on"), ("LOG_LEVEL", "info"))
    bad = Deployment(
        Release(42, "v1.8.3", changed), begun=0, state="IN_PROGRESS", desired=2, pending=1
    )
    old = good.now(status="ACTIVE")
    back = Deployment(
        good.release,
        begun=201,
        name="roll-back",
        state="IN_PROGRESS",
        reason="ECS deployment circuit breaker: rolling back to deploymentId"
        f" {service.deployment_id(Deployment(good.release, 201, name='roll-back'))}.",
        desired=2,
        running=2,
    )
    script = Script(
        title="A release fails and is rolled back",
        teaches=(
            "The tasks of checkout:42 exit with 1 before they are healthy. After three of them the"
            " deployment circuit breaker fails the deployment and rolls back to checkout:41, which"
            " served all the time. SERVICE_DEPLOYMENT_COMPLETED and SERVICE_STEADY_STATE at the end"
            " belong to the roll-back: the new release never went live."
        ),
        services=[service],
    )
    messages: Messages = [(-DAY, "has reached a steady state.")]
    script.shows(0, "checkout runs :41, 2 of 2", **at_rest(service, good, messages))

    script.shows(
        0,
        "mika deploys :42",
        services=[service.shown([bad, old], messages)],
        taskDefinitions=[service.definition(bad.release, -4)],
        serviceDeployments=[
            under_way(
                service,
                bad,
                deploymentCircuitBreaker={
                    "status": "MONITORING",
                    "failureCount": 0,
                    "threshold": 3,
                },
            )
        ],
        serviceRevisions=[service.service_revision(bad)],
        cloudTrailEvents=released(service, bad),
    )
    script.event(
        0,
        "SERVICE_DEPLOYMENT_IN_PROGRESS",
        service.deployment_event(0, "SERVICE_DEPLOYMENT_IN_PROGRESS", bad, begun(service, bad)),
    )
    for count, stopped in enumerate((62, 126, 190), start=1):
        task = service.dead_task(
            10 + count,
            bad,
            created=stopped - 50,
            stopped=stopped,
            code="EssentialContainerExited",
            reason="Essential container in task exited",
            exit_code=1,
        )
        failing = bad.now(failed=count, updated=stopped)
        messages.append((stopped - 45, f"has started 1 tasks: (task {task_id(task)})."))
        breaker = {"status": "MONITORING", "failureCount": count, "threshold": 3}
        script.shows(
            stopped,
            f"task {count} of :42 exited with 1",
            tasks=[task],
            services=[service.shown([failing, old], messages)],
            serviceDeployments=[under_way(service, failing, deploymentCircuitBreaker=breaker)],
        )
        script.event(stopped, "ECS Task State Change", service.task_event(task, stopped))
    script.tick(195)

    failed = bad.now(status="ACTIVE", state="FAILED", pending=0, failed=3, updated=200, desired=0)
    messages.append(
        (
            200,
            f"(deployment {service.deployment_id(bad)}) deployment failed: tasks failed to start.",
        )
    )
    messages.append((201, f"rolling back to deployment {service.deployment_id(back)}."))
    triggered = {"status": "TRIGGERED", "failureCount": 3, "threshold": 3}
    rollback = {
        "reason": "Service deployment rolled back because the circuit breaker threshold was"
        " exceeded.",
        "startedAt": "{{+201}}",
        "serviceRevisionArn": service.revision_arn(good),
    }
    script.shows(
        200,
        "the circuit breaker triggers and rolls back",
        services=[service.shown([back, failed], messages)],
        serviceDeployments=[
            service.service_deployment(
                failed,
                "ROLLBACK_IN_PROGRESS",
                statusReason="Service deployment rolled back because the circuit breaker"
                " threshold was exceeded.",
                deploymentCircuitBreaker=triggered,
                rollback=rollback,
                lifecycleStage="CLEAN_UP",
            ),
            under_way(service, back),
        ],
        serviceRevisions=[service.service_revision(back)],
    )
    script.event(
        200,
        "SERVICE_DEPLOYMENT_FAILED",
        service.deployment_event(
            200,
            "SERVICE_DEPLOYMENT_FAILED",
            bad,
            "ECS deployment circuit breaker: tasks failed to start.",
        ),
    )
    script.event(
        201,
        "SERVICE_DEPLOYMENT_IN_PROGRESS: rolling back",
        service.deployment_event(201, "SERVICE_DEPLOYMENT_IN_PROGRESS", back, back.reason),
    )
    script.tick(240)

    settled = back.now(state="COMPLETED", reason="", updated=262)
    messages.append((262, f"(deployment {service.deployment_id(back)}) deployment completed."))
    messages.append((263, "has reached a steady state."))
    script.shows(
        262,
        "the roll-back is complete: :41, 2 of 2",
        services=[service.shown([settled], messages)],
        serviceDeployments=[
            service.service_deployment(
                failed.now(updated=262),
                "ROLLBACK_SUCCESSFUL",
                finishedAt="{{+262}}",
                deploymentCircuitBreaker=triggered,
                rollback=rollback,
            ),
            service.service_deployment(settled, "SUCCESSFUL", finishedAt="{{+262}}"),
        ],
    )
    script.event(
        262,
        "SERVICE_DEPLOYMENT_COMPLETED",
        service.deployment_event(
            262, "SERVICE_DEPLOYMENT_COMPLETED", back, completed(service, back)
        ),
    )
    script.event(263, "SERVICE_STEADY_STATE", service.steady(263))
    script.tick(300)
    script.tick(360)
    return script


def image_cannot_be_pulled() -> Script:
    """The tag does not exist; there is no circuit breaker; a corrected release follows."""
    service = Service(CLUSTER, "search", desired=3, circuit_breaker=False)
    good = yesterday(Release(18, "v3.4.0"), 3)
    bad = Deployment(Release(19, "v3.4.1"), begun=0, state="IN_PROGRESS", desired=3, pending=3)
    fixed = Deployment(Release(20, "v3.4.2"), begun=540, state="IN_PROGRESS", desired=3, pending=3)
    old = good.now(status="ACTIVE")
    missing = service.image(bad.release)
    reason = (
        "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to"
        f" resolve ref {missing}: {missing}: not found"
    )
    script = Script(
        title="An image cannot be pulled",
        teaches=(
            "search:19 names an image tag that nobody pushed. Without circuit breaker no"
            " SERVICE_DEPLOYMENT_FAILED ever comes: SERVICE_TASK_START_IMPAIRED, which has no"
            " reason, is the only failure event. Why is found in the stopped tasks. The service"
            " goes on serving with :18 until :20 corrects the tag."
        ),
        services=[service],
    )
    messages: Messages = [(-DAY, "has reached a steady state.")]
    script.shows(0, "search runs :18, 3 of 3", **at_rest(service, good, messages))
    script.shows(
        0,
        "mika deploys :19",
        services=[service.shown([bad, old], messages)],
        taskDefinitions=[service.definition(bad.release, -4)],
        serviceDeployments=[under_way(service, bad)],
        serviceRevisions=[service.service_revision(bad)],
        cloudTrailEvents=released(service, bad),
    )
    script.event(
        0,
        "SERVICE_DEPLOYMENT_IN_PROGRESS",
        service.deployment_event(0, "SERVICE_DEPLOYMENT_IN_PROGRESS", bad, begun(service, bad)),
    )
    for count, stopped in enumerate((70, 78, 86, 170, 181, 192), start=1):
        task = service.dead_task(
            10 + count,
            bad,
            created=stopped - 45,
            stopped=stopped,
            code="TaskFailedToStart",
            reason=reason,
        )
        failing = bad.now(failed=count, updated=stopped)
        script.shows(
            stopped,
            f"task {count} of :19 could not pull its image",
            tasks=[task],
            services=[service.shown([failing, old], messages)],
        )
        script.event(stopped, "ECS Task State Change", service.task_event(task, stopped))
    impaired = bad.now(failed=6, updated=192)
    messages.append((200, "is unable to consistently start tasks successfully."))
    script.shows(200, "ECS slows down", services=[service.shown([impaired, old], messages)])
    script.event(
        200,
        "SERVICE_TASK_START_IMPAIRED",
        service.action(200, "SERVICE_TASK_START_IMPAIRED", "WARN"),
    )
    script.tick(240)

    replaced = impaired.now(status="ACTIVE", desired=0, pending=0)
    script.shows(
        540,
        "mika deploys :20, with the right tag",
        services=[service.shown([fixed, replaced, old], messages)],
        taskDefinitions=[service.definition(fixed.release, 536)],
        serviceDeployments=[
            under_way(service, fixed),
            service.service_deployment(
                replaced,
                "STOPPED",
                stoppedAt="{{+541}}",
                finishedAt="{{+541}}",
                statusReason="Service deployment replaced by a newer one.",
            ),
        ],
        serviceRevisions=[service.service_revision(fixed)],
        cloudTrailEvents=released(service, fixed),
    )
    script.event(
        540,
        "SERVICE_DEPLOYMENT_IN_PROGRESS",
        service.deployment_event(
            540, "SERVICE_DEPLOYMENT_IN_PROGRESS", fixed, begun(service, fixed)
        ),
    )
    live = fixed.now(state="COMPLETED", pending=0, running=3, updated=680)
    messages.append((680, f"(deployment {service.deployment_id(fixed)}) deployment completed."))
    messages.append((681, "has reached a steady state."))
    script.shows(
        680,
        "search runs :20, 3 of 3",
        services=[service.shown([live], messages)],
        tasks=[service.running_task(20 + number, live, 590) for number in (1, 2, 3)],
        serviceDeployments=[succeeded(service, live)],
    )
    script.event(
        680,
        "SERVICE_DEPLOYMENT_COMPLETED",
        service.deployment_event(
            680, "SERVICE_DEPLOYMENT_COMPLETED", fixed, completed(service, fixed)
        ),
    )
    script.event(681, "SERVICE_STEADY_STATE", service.steady(681))
    script.tick(720)
    return script


def crash_loop_without_circuit_breaker() -> Script:
    """Tasks run, fill their memory and are killed; ECS never says that anything fails."""
    service = Service(CLUSTER, "recommendations", desired=3, circuit_breaker=False)
    release = Release(7, "2024-11-30", memory=512)
    good = yesterday(release, 3)
    script = Script(
        title="A crash loop without circuit breaker",
        teaches=(
            "The tasks of recommendations die of memory minutes after they became RUNNING. No"
            " deployment is under way, SERVICE_TASK_START_IMPAIRED is not sent for such tasks, and"
            " failedTasks stays 0. Only ECS Task State Change tells it, and what ECS shows: fewer"
            " running than desired, and containers[].reason of the stopped tasks."
        ),
        services=[service],
    )
    messages: Messages = [(-DAY, "has reached a steady state.")]
    script.shows(0, "recommendations runs :7, 3 of 3", **at_rest(service, good, messages))
    deaths = (60, 95, 140, 260, 300, 330, 470)
    for count, stopped in enumerate(deaths, start=1):
        first = count <= good.desired
        task = service.dead_task(
            count,
            good,
            created=-DAY if first else deaths[count - 1 - good.desired] + 5,
            stopped=stopped,
            code="EssentialContainerExited",
            reason="Essential container in task exited",
            exit_code=137,
            container_reason="OutOfMemoryError: Container killed due to memory usage",
        )
        replacement = service.task_arn(count + good.desired).rsplit("/", 1)[-1]
        messages.append((stopped + 5, f"has started 1 tasks: (task {replacement})."))
        fewer = good.now(running=1, pending=2)
        script.shows(
            stopped,
            f"task {count} ran out of memory",
            tasks=[task],
            services=[service.shown([fewer], messages)],
        )
        script.event(stopped, "ECS Task State Change", service.task_event(task, stopped))
    script.tick(480)
    script.tick(540)
    return script


def no_capacity() -> Script:
    """Fargate has no room for a service that scales out; later it has."""
    service = Service(CLUSTER, "billing", desired=4, capacity_provider="FARGATE_SPOT")
    good = yesterday(Release(23, "v5.0.1"), 4)
    fewer = good.now(running=2, pending=0, updated=0)
    provider = arn("capacity-provider/FARGATE_SPOT")
    script = Script(
        title="No capacity",
        teaches=(
            "Fargate Spot takes back two of billing's 4 tasks and has no capacity to replace them."
            " No deployment is under way. The reason stands in SERVICE_TASK_PLACEMENT_FAILURE,"
            " which comes again while it lasts; an interrupted Spot task alone is no failure."
        ),
        services=[service],
    )
    messages: Messages = [(-DAY, "has reached a steady state.")]
    script.shows(0, "billing runs :23, 4 of 4", **at_rest(service, good, messages))
    script.shows(
        20,
        "Fargate Spot takes back two tasks",
        tasks=[interrupted(service, number, good, 20) for number in (1, 2)],
        services=[service.shown([fewer], messages)],
    )
    for number in (1, 2):
        event = service.task_event(interrupted(service, number, good, 20), 20)
        script.event(20, "ECS Task State Change", event)
    for count, moment in enumerate((30, 120, 330), start=1):
        messages.append(
            (
                moment,
                "was unable to place a task. Reason: Capacity is unavailable at this time. Please"
                " try again later or in a different availability zone.",
            )
        )
        script.shows(
            moment,
            "2 of 4 tasks cannot be placed",
            services=[service.shown([fewer], messages)],
        )
        script.event(
            moment,
            f"SERVICE_TASK_PLACEMENT_FAILURE, time {count}",
            service.action(
                moment,
                "SERVICE_TASK_PLACEMENT_FAILURE",
                "ERROR",
                reason="RESOURCE:FARGATE",
                capacityProviderArns=[provider],
            ),
        )
    script.tick(360)
    messages.append((600, "has reached a steady state."))
    script.shows(
        600,
        "Fargate Spot has capacity again: 4 of 4",
        services=[service.shown([good], messages)],
        tasks=[service.running_task(20 + number, good, 580) for number in (1, 2)],
    )
    script.event(600, "SERVICE_STEADY_STATE", service.steady(600))
    script.tick(660)
    return script


TWELVE = (
    "accounts",
    "basket",
    "billing",
    "catalogue",
    "checkout",
    "inventory",
    "mailer",
    "payments",
    "pricing",
    "recommendations",
    "search",
    "shipping",
)


def outage_of_twelve_services() -> Script:
    """Fargate Spot is short for the whole cluster; twelve services fall together."""
    services = [
        Service(CLUSTER, name, desired=2 + len(name) % 3, capacity_provider="FARGATE_SPOT")
        for name in TWELVE
    ]
    script = Script(
        title="An outage of twelve services",
        teaches=(
            "Within three minutes Fargate Spot takes back tasks of twelve services of prod-web and"
            " has none to replace them: one cause. Five of them have nothing left that runs."
            " The reader needs one message that grows, not twelve; then all recover."
        ),
        services=services,
    )
    running: dict[str, Deployment] = {}
    messages: dict[str, Messages] = {}
    for number, service in enumerate(services):
        running[service.name] = yesterday(Release(30 + number, f"v1.{number}.0"), service.desired)
        messages[service.name] = [(-DAY, "has reached a steady state.")]
        world = at_rest(service, running[service.name], messages[service.name])
        script.shows(0, f"{service.name} runs as desired", **world)
    total = sum(service.desired for service in services)
    script.shows(0, "all twelve run", clusters=[cluster(services, total)])

    for number, service in enumerate(services):
        moment = 60 + 9 * number
        left = 0 if number % 5 in (1, 4) else 1
        good = running[service.name]
        messages[service.name].append(
            (
                moment,
                "was unable to place a task. Reason: Capacity is unavailable at this time. Please"
                " try again later or in a different availability zone.",
            )
        )
        script.shows(
            moment,
            f"{service.name}: {left} of {service.desired} running",
            services=[service.shown([good.now(running=left)], messages[service.name])],
            tasks=[
                interrupted(service, task, good, moment - 20)
                for task in range(left + 1, service.desired + 1)
            ],
        )
        script.event(
            moment,
            f"SERVICE_TASK_PLACEMENT_FAILURE of {service.name}",
            service.action(
                moment,
                "SERVICE_TASK_PLACEMENT_FAILURE",
                "ERROR",
                reason="RESOURCE:FARGATE",
                capacityProviderArns=[arn("capacity-provider/FARGATE_SPOT")],
            ),
        )
    script.tick(180)
    script.tick(240)

    for number, service in enumerate(services):
        moment = 600 + 4 * number
        messages[service.name].append((moment, "has reached a steady state."))
        script.shows(
            moment,
            f"{service.name} runs as desired again",
            services=[service.shown([running[service.name]], messages[service.name])],
            tasks=[
                service.running_task(20 + task, running[service.name], moment - 30)
                for task in range(1, service.desired)
            ],
        )
        script.event(moment, f"SERVICE_STEADY_STATE of {service.name}", service.steady(moment))
    script.tick(660)
    script.tick(720)
    return script


def task_id(task: Json) -> str:
    """Return the id at the end of a task's ARN."""
    return str(task["taskArn"]).rsplit("/", 1)[-1]


BUILDERS: tuple[Callable[[], Script], ...] = (
    release_fails_and_is_rolled_back,
    image_cannot_be_pulled,
    crash_loop_without_circuit_breaker,
    no_capacity,
    outage_of_twelve_services,
)


def texts() -> dict[str, str]:
    """Return what each story's file has to hold, by the story's name."""
    return {
        builder.__name__.replace("_", "-"): written(builder().document()) for builder in BUILDERS
    }


def written(document: Json) -> str:
    """Return the story as text: one line a step, so that a change of one shows as one."""
    head = {key: value for key, value in document.items() if key != "steps"}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    steps = ",\n".join(f"    {json.dumps(step, ensure_ascii=False)}" for step in document["steps"])
    return "\n".join(["{", *lines, '  "steps": [', steps, "  ]", "}", ""])


def main() -> None:
    """Write every story."""
    STORIES.mkdir(parents=True, exist_ok=True)
    for name, text in texts().items():
        (STORIES / f"{name}.json").write_text(text)


if __name__ == "__main__":
    main()
