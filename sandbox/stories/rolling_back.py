"""A release that the deployment circuit breaker fails and rolls back, scene by scene."""

from dataclasses import dataclass
from typing import Any

from sandbox.stories.scenes import breaker, completes, under_way
from sandbox.stories.script import Role
from sandbox.story_shapes import Deployment, Json, at

REASON = "ECS deployment circuit breaker: tasks failed to start."
WHY = "Service deployment rolled back because the circuit breaker threshold was exceeded."
THRESHOLD = 3


@dataclass(frozen=True, slots=True)
class RollBack:
    """The release `bad` fails at a moment of the story, and ECS goes back to `good`."""

    role: Role
    good: Deployment
    bad: Deployment
    moment: float

    @property
    def old(self) -> Deployment:
        """What serves, below the release that replaces it."""
        return self.good.now(status="ACTIVE")

    @property
    def failed(self) -> Deployment:
        """The release when the circuit breaker has failed it."""
        return self.bad.now(
            status="ACTIVE",
            state="FAILED",
            pending=0,
            running=0,
            failed=THRESHOLD,
            updated=self.moment,
            desired=0,
        )

    @property
    def back(self) -> Deployment:
        """The roll-back, a deployment of its own of the release before."""
        desired = self.role.service.desired
        bare = Deployment(self.good.release, begun=self.moment + 1, name="roll-back")
        number = self.role.service.deployment_id(bare)
        reason = f"ECS deployment circuit breaker: rolling back to deploymentId {number}."
        return bare.now(state="IN_PROGRESS", reason=reason, desired=desired, running=desired)

    def loses(self, count: int, task: Json, stopped: float, how: str, **also: list[Json]) -> None:
        """One more task of the new release ends, and the circuit breaker counts it."""
        role = self.role
        failing = self.bad.now(failed=count, updated=stopped)
        revision = self.bad.release.revision
        role.shows(
            stopped,
            f"task {count} of :{revision} {how}",
            failing,
            self.old,
            tasks=[task],
            serviceDeployments=[
                under_way(role.service, failing, deploymentCircuitBreaker=breaker(count))
            ],
            **also,
        )
        role.task_event(stopped, task)

    def is_triggered(self) -> None:
        """The deployment fails, and a roll-back begins: ECS tells both."""
        role, back, moment = self.role, self.back, self.moment
        service = role.service
        number = service.deployment_id(self.bad)
        role.says(moment, f"(deployment {number}) deployment failed: tasks failed to start.")
        role.says(moment + 1, f"rolling back to deployment {service.deployment_id(back)}.")
        role.shows(
            moment,
            "the circuit breaker triggers and rolls back",
            back,
            self.failed,
            serviceDeployments=[
                self._rolled_back("ROLLBACK_IN_PROGRESS", lifecycleStage="CLEAN_UP"),
                under_way(service, back),
            ],
            serviceRevisions=[service.service_revision(back)],
        )
        role.event(moment, "SERVICE_DEPLOYMENT_FAILED", self.bad, REASON)
        note = "SERVICE_DEPLOYMENT_IN_PROGRESS: rolling back"
        role.event(moment + 1, "SERVICE_DEPLOYMENT_IN_PROGRESS", back, back.reason, note)

    def is_complete(self, moment: float) -> None:
        """The roll-back completes, which looks like a success."""
        service = self.role.service
        settled = self.back.now(state="COMPLETED", reason="", updated=moment)
        desired = service.desired
        completes(
            self.role,
            settled,
            moment,
            f"the roll-back is complete: :{settled.release.revision}, {desired} of {desired}",
            serviceDeployments=[
                self._rolled_back("ROLLBACK_SUCCESSFUL", finishedAt=at(moment)),
                service.service_deployment(settled, "SUCCESSFUL", finishedAt=at(moment)),
            ],
        )

    def _rolled_back(self, status: str, **more: Any) -> Json:
        """Return the service deployment of the release that failed."""
        service = self.role.service
        rollback = {
            "reason": WHY,
            "startedAt": at(self.moment + 1),
            "serviceRevisionArn": service.revision_arn(self.good),
        }
        return service.service_deployment(
            self.failed,
            status,
            deploymentCircuitBreaker=breaker(THRESHOLD, "TRIGGERED"),
            rollback=rollback,
            statusReason=WHY,
            **more,
        )
