"""Objects shaped and spelled as AWS's own, of which the stories are built.

Times are written `{{+120}}`: seconds after the story's start. Ids are derived from names, so the
same story is built the same way every time.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Types.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_cwe_events.html
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

Json = dict[str, Any]

ACCOUNT = "123456789012"
REGION = "eu-west-1"
REGISTRY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
DAY = 86_400


def at(seconds: float) -> str:
    """Return the token for a moment of the story."""
    return f"{{{{{seconds:+.3f}}}}}" if seconds % 1 else f"{{{{{int(seconds):+d}}}}}"


def arn(resource: str, service: str = "ecs") -> str:
    """Return the ARN of a resource of the story's account."""
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"


def hexadecimal(length: int, *names: object) -> str:
    """Return an id of hexadecimal digits, always the same for the same names."""
    return hashlib.sha256("/".join(map(str, names)).encode()).hexdigest()[:length]


def digits(*names: object) -> str:
    """Return an id of 19 digits, always the same for the same names."""
    return str(
        int(hexadecimal(16, *names), 16) % 9 * 10**18 + 10**18 + int(hexadecimal(14, *names), 16)
    )


def uuid(*names: object) -> str:
    """Return an id as events have it, always the same for the same names."""
    number = hexadecimal(32, *names)
    ends = (0, 8, 12, 16, 20, 32)
    return "-".join(number[start:end] for start, end in pairwise(ends))


@dataclass(frozen=True, slots=True)
class Release:
    """A revision of a task definition: its image's tag and what its container is given.

    Memory is in MiB. `is_pushed`: the image is in its registry, so ECS knows its digest.
    """

    revision: int
    tag: str
    environment: tuple[tuple[str, str], ...] = ()
    memory: int = 512
    is_pushed: bool = True


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment of a service, which ECS shows as a Deployment and as a ServiceDeployment."""

    release: Release
    begun: float
    name: str = ""
    id: str = ""
    status: str = "PRIMARY"
    state: str = "COMPLETED"
    reason: str = ""
    desired: int = 0
    pending: int = 0
    running: int = 0
    failed: int = 0
    updated: float | None = None

    def now(self, **changes: Any) -> "Deployment":
        """Return the deployment as it looks later."""
        return replace(self, **changes)


@dataclass(frozen=True, slots=True)
class Service:
    """A Fargate service of a cluster, from which everything about it is derived."""

    cluster: str
    name: str
    desired: int
    circuit_breaker: bool = True
    capacity_provider: str = ""
    target_group: str = ""

    # --- names --------------------------------------------------------------------------------

    @property
    def cluster_arn(self) -> str:
        """The cluster's ARN."""
        return arn(f"cluster/{self.cluster}")

    @property
    def arn(self) -> str:
        """The service's ARN."""
        return arn(f"service/{self.cluster}/{self.name}")

    def definition_arn(self, release: Release) -> str:
        """Return the ARN of the release's task definition."""
        return arn(f"task-definition/{self.name}:{release.revision}")

    def deployment_id(self, deployment: Deployment) -> str:
        """Return what `deployments[].id` and a task's `startedBy` hold."""
        return f"ecs-svc/{self._number(deployment)}"

    def _number(self, deployment: Deployment) -> str:
        return digits(self.name, deployment.release.revision, deployment.name)

    def revision_arn(self, deployment: Deployment) -> str:
        """Return the ARN of the deployment's service revision."""
        return arn(f"service-revision/{self.cluster}/{self.name}/{self._number(deployment)}")

    def service_deployment_arn(self, deployment: Deployment) -> str:
        """Return the ARN under which the service deployments API knows the deployment."""
        short = hexadecimal(21, "service-deployment", self.name, self._number(deployment))
        return arn(f"service-deployment/{self.cluster}/{self.name}/{short}")

    def task_arn(self, number: int) -> str:
        """Return the ARN of the service's n-th task in the story."""
        return arn(f"task/{self.cluster}/{hexadecimal(32, self.name, 'task', number)}")

    def image(self, release: Release) -> str:
        """Return the image of the release's container."""
        return f"{REGISTRY}/shop/{self.name}:{release.tag}"

    @property
    def target_group_arn(self) -> str:
        """The ARN of the target group in which a load balancer has the tasks."""
        number = hexadecimal(16, "target group", self.target_group)
        return arn(f"targetgroup/{self.target_group}/{number}", "elasticloadbalancing")

    # --- what ECS shows -----------------------------------------------------------------------

    def shown(
        self, deployments: Iterable[Deployment], messages: Iterable[tuple[float, str]]
    ) -> Json:
        """Return what DescribeServices shows, the newest message first."""
        rows = list(deployments)
        primary = next(row for row in rows if row.status == "PRIMARY")
        return {
            "serviceArn": self.arn,
            "serviceName": self.name,
            "clusterArn": self.cluster_arn,
            "status": "ACTIVE",
            "desiredCount": self.desired,
            "runningCount": sum(row.running for row in rows),
            "pendingCount": sum(row.pending for row in rows),
            **self._launch(),
            "loadBalancers": self._load_balancers(),
            "platformVersion": "LATEST",
            "platformFamily": "Linux",
            "taskDefinition": self.definition_arn(primary.release),
            "deploymentConfiguration": self._configuration(),
            "deployments": [self._row(row) for row in rows],
            "events": [self._message(*message) for message in sorted(messages, reverse=True)],
            "createdAt": at(-90 * DAY),
            "currentServiceDeployment": self.service_deployment_arn(primary),
            "currentServiceRevisions": [self._revision_counts(row) for row in rows],
            "healthCheckGracePeriodSeconds": 30,
            "schedulingStrategy": "REPLICA",
            "deploymentController": {"type": "ECS"},
            "enableExecuteCommand": False,
            "propagateTags": "SERVICE",
        }

    def _launch(self) -> Json:
        if not self.capacity_provider:
            return {"launchType": "FARGATE"}
        strategy = {"capacityProvider": self.capacity_provider, "weight": 1, "base": 0}
        return {"capacityProviderStrategy": [strategy]}

    def _load_balancers(self) -> list[Json]:
        if not self.target_group:
            return []
        target = {"containerName": "app", "containerPort": 8080}
        return [{"targetGroupArn": self.target_group_arn, **target}]

    def _message(self, moment: float, text: str) -> Json:
        return {
            "id": hexadecimal(32, self.name, moment, text),
            "createdAt": at(moment),
            "message": f"(service {self.name}) {text}",
        }

    def _configuration(self) -> Json:
        breaker = self.circuit_breaker
        return {
            "deploymentCircuitBreaker": {"enable": breaker, "rollback": breaker},
            "maximumPercent": 200,
            "minimumHealthyPercent": 100,
            "strategy": "ROLLING",
            "bakeTimeInMinutes": 0,
        }

    def _row(self, deployment: Deployment) -> Json:
        updated = deployment.begun if deployment.updated is None else deployment.updated
        reason = (
            deployment.reason
            or {
                "COMPLETED": f"ECS deployment {self.deployment_id(deployment)} completed.",
                "IN_PROGRESS": f"ECS deployment {self.deployment_id(deployment)} in progress.",
                "FAILED": "ECS deployment circuit breaker: tasks failed to start.",
            }[deployment.state]
        )
        return {
            "id": self.deployment_id(deployment),
            "status": deployment.status,
            "taskDefinition": self.definition_arn(deployment.release),
            "desiredCount": deployment.desired,
            "pendingCount": deployment.pending,
            "runningCount": deployment.running,
            "failedTasks": deployment.failed,
            "createdAt": at(deployment.begun),
            "updatedAt": at(updated),
            "launchType": "FARGATE",
            "platformVersion": "1.4.0",
            "platformFamily": "Linux",
            "rolloutState": deployment.state,
            "rolloutStateReason": reason,
        }

    def _revision_counts(self, deployment: Deployment) -> Json:
        return {
            "arn": self.revision_arn(deployment),
            "requestedTaskCount": deployment.desired,
            "runningTaskCount": deployment.running,
            "pendingTaskCount": deployment.pending,
        }

    def service_deployment(self, deployment: Deployment, status: str, **more: Any) -> Json:
        """Return what DescribeServiceDeployments shows of the deployment."""
        return {
            "serviceDeploymentArn": self.service_deployment_arn(deployment),
            "serviceArn": self.arn,
            "clusterArn": self.cluster_arn,
            "createdAt": at(deployment.begun),
            "startedAt": at(deployment.begun + 1),
            "updatedAt": at(deployment.begun if deployment.updated is None else deployment.updated),
            "status": status,
            "targetServiceRevision": self._revision_counts(deployment),
            "deploymentConfiguration": self._configuration(),
            **more,
        }

    def service_revision(self, deployment: Deployment) -> Json:
        """Return what DescribeServiceRevisions shows of the deployment's revision."""
        release = deployment.release
        return {
            "serviceRevisionArn": self.revision_arn(deployment),
            "serviceArn": self.arn,
            "clusterArn": self.cluster_arn,
            "taskDefinition": self.definition_arn(release),
            "launchType": "FARGATE",
            "platformVersion": "1.4.0",
            "platformFamily": "Linux",
            "containerImages": self._resolved_images(release),
            "createdAt": at(deployment.begun),
        }

    def _resolved_images(self, release: Release) -> list[Json]:
        if not release.is_pushed:
            return []
        named = {"containerName": "app", "image": self.image(release)}
        return [{**named, "imageDigest": self._digest(release)}]

    def _digest(self, release: Release) -> str:
        return f"sha256:{hexadecimal(64, self.name, release.tag)}"

    def definition(self, release: Release, registered: float) -> Json:
        """Return what DescribeTaskDefinition shows of the release."""
        return {
            "taskDefinitionArn": self.definition_arn(release),
            "family": self.name,
            "revision": release.revision,
            "status": "ACTIVE",
            "taskRoleArn": f"arn:aws:iam::{ACCOUNT}:role/{self.name}",
            "executionRoleArn": f"arn:aws:iam::{ACCOUNT}:role/ecsTaskExecutionRole",
            "networkMode": "awsvpc",
            "requiresCompatibilities": ["FARGATE"],
            "cpu": "256",
            "memory": "1024",
            "containerDefinitions": [self._container_definition(release)],
            "registeredAt": at(registered),
            "registeredBy": f"arn:aws:sts::{ACCOUNT}:assumed-role/deployer/GitHubActions",
        }

    def _container_definition(self, release: Release) -> Json:
        return {
            "name": "app",
            "image": self.image(release),
            "cpu": 0,
            "memory": release.memory,
            "essential": True,
            "portMappings": [{"containerPort": 8080, "hostPort": 8080, "protocol": "tcp"}],
            "environment": [{"name": name, "value": value} for name, value in release.environment],
            "logConfiguration": {
                "logDriver": "awslogs",
                "options": {
                    "awslogs-group": f"/ecs/{self.name}",
                    "awslogs-region": REGION,
                    "awslogs-stream-prefix": "ecs",
                },
            },
        }

    # --- tasks --------------------------------------------------------------------------------

    def running_task(self, number: int, deployment: Deployment, started: float) -> Json:
        """Return what DescribeTasks shows of a task that runs."""
        container = {**self._container(number, deployment), "lastStatus": "RUNNING"}
        return {
            **self._task(number, deployment, started - 25),
            "containers": [{**container, "imageDigest": self._digest(deployment.release)}],
            "lastStatus": "RUNNING",
            "desiredStatus": "RUNNING",
            "pullStartedAt": at(started - 12),
            "pullStoppedAt": at(started - 5),
            "startedAt": at(started),
            "version": 3,
        }

    def dead_task(
        self,
        number: int,
        deployment: Deployment,
        *,
        created: float,
        stopped: float,
        code: str,
        reason: str,
        exit_code: int | None = None,
        container_reason: str = "",
    ) -> Json:
        """Return what DescribeTasks shows of a stopped task; without exit code it never ran."""
        container = {**self._container(number, deployment), "lastStatus": "STOPPED"}
        times = {"pullStartedAt": at(created + 13), "stoppingAt": at(stopped - 10)}
        if exit_code is not None:
            container |= {"exitCode": exit_code, "imageDigest": self._digest(deployment.release)}
            times |= {"pullStoppedAt": at(created + 20), "startedAt": at(created + 25)}
            times |= {"executionStoppedAt": at(stopped - 12)}
        if container_reason:
            container |= {"reason": container_reason}
        return {
            **self._task(number, deployment, created),
            "containers": [container],
            "lastStatus": "STOPPED",
            "desiredStatus": "STOPPED",
            **times,
            "stoppedAt": at(stopped),
            "stopCode": code,
            "stoppedReason": reason,
            "version": 6,
        }

    def _task(self, number: int, deployment: Deployment, created: float) -> Json:
        return {
            "taskArn": self.task_arn(number),
            "clusterArn": self.cluster_arn,
            "taskDefinitionArn": self.definition_arn(deployment.release),
            "group": f"service:{self.name}",
            "startedBy": self.deployment_id(deployment),
            "launchType": "FARGATE",
            "platformVersion": "1.4.0",
            "availabilityZone": f"{REGION}{'abc'[number % 3]}",
            "cpu": "256",
            "memory": "1024",
            "connectivity": "CONNECTED",
            "attributes": [{"name": "ecs.cpu-architecture", "value": "x86_64"}],
            "overrides": {
                "containerOverrides": [{"name": "app"}],
                "inferenceAcceleratorOverrides": [],
            },
            "createdAt": at(created),
        }

    def _container(self, number: int, deployment: Deployment) -> Json:
        task = self.task_arn(number).rsplit("/", 1)[-1]
        container = hexadecimal(32, self.name, "container", number)
        return {
            "containerArn": arn(f"container/{self.cluster}/{task}/{container}"),
            "taskArn": self.task_arn(number),
            "name": "app",
            "image": self.image(deployment.release),
            "runtimeId": f"{task}-{digits('runtime', number)[:10]}",
            "cpu": "0",
        }

    # --- events -------------------------------------------------------------------------------

    def deployment_event(
        self, moment: float, name: str, deployment: Deployment, reason: str
    ) -> Json:
        """Return an `ECS Deployment State Change`."""
        detail = {
            "eventType": "ERROR" if name == "SERVICE_DEPLOYMENT_FAILED" else "INFO",
            "eventName": name,
            "clusterArn": self.cluster_arn,
            "deploymentId": self.deployment_id(deployment),
            "updatedAt": at(moment + 0.617),
            "reason": reason,
        }
        return self.envelope("ECS Deployment State Change", at(moment + 1), [self.arn], detail)

    def action(self, moment: float, name: str, kind: str, **more: Any) -> Json:
        """Return an `ECS Service Action`."""
        detail = {
            "eventType": kind,
            "eventName": name,
            "clusterArn": self.cluster_arn,
            "createdAt": at(moment + 0.342),
            **more,
        }
        return self.envelope("ECS Service Action", at(moment + 1), [self.arn], detail)

    def steady(self, moment: float) -> Json:
        """Return the event that says the service has reached a steady state."""
        return self.action(moment, "SERVICE_STEADY_STATE", "INFO")

    def task_event(self, task: Json, moment: float) -> Json:
        """Return the `ECS Task State Change` that carries the task as it is now."""
        detail = {**task, "updatedAt": at(moment)}
        return self.envelope("ECS Task State Change", at(moment), [task["taskArn"]], detail)

    def envelope(self, kind: str, sent: str, resources: list[str], detail: Json) -> Json:
        """Return an event as EventBridge delivers it; `sent` is the token of its time."""
        return {
            "version": "0",
            "id": uuid(kind, self.name, sent, json.dumps(detail, sort_keys=True)),
            "detail-type": kind,
            "source": "aws.ecs",
            "account": ACCOUNT,
            "time": sent,
            "region": REGION,
            "resources": resources,
            "detail": detail,
        }
