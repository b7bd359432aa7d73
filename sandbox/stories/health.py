"""The load balancer finds the new release unhealthy; the circuit breaker rolls back."""

from sandbox.stories.rolling_back import RollBack
from sandbox.stories.scenes import UNTIL_THE_ALL_CLEAR, deploys, one_service
from sandbox.stories.script import Script, yesterday
from sandbox.story_calls import ROBIN, log_stream
from sandbox.story_shapes import Deployment, Json, Release, Service

CLUSTER = "prod-web"
SERVICE = Service(CLUSTER, "orders", desired=2, target_group="orders")
GOOD = yesterday(Release(57, "2026.11.1", memory=1024), 2)
BAD = Deployment(
    Release(58, "2026.11.2", memory=512), begun=0, state="IN_PROGRESS", desired=2, running=1
)
LAST_WORDS = (
    "INFO orders 2026.11.2 listens on 8080",
    "WARN heap 384 MiB, cache of orders switched off",
    "ERROR GET /health 502 upstream orders-db: no connection left in the pool",
    "ERROR GET /health 502 upstream orders-db: no connection left in the pool",
)


def health_checks_fail() -> Script:
    """Tasks run and answer 502; ECS stops them; the old release serves all the time."""
    script = Script(
        title="Health checks of the load balancer fail",
        teaches=(
            "robin ships orders:58 by GitLab CI: less memory, a new image. Its tasks run, but"
            " answer the load balancer's health checks with 502, which stands in the service's"
            " messages only; the stopped tasks say no more than that the checks failed. ECS stops"
            " them one after the other, until the circuit breaker rolls back to orders:57."
        ),
        cluster=CLUSTER,
        services=[SERVICE],
    )
    role = one_service(script, GOOD)
    back = RollBack(role, GOOD, BAD, moment=380)
    deploys(role, BAD, back.old, by=ROBIN)
    for count, stopped in enumerate((130, 250, 370), start=1):
        is_unhealthy(back, count, stopped)
    script.ticks(60, 360)
    back.is_triggered()
    script.ticks(420, 420)
    back.is_complete(445)
    script.ticks(480, 445 + UNTIL_THE_ALL_CLEAR)
    return script


def is_unhealthy(back: RollBack, count: int, stopped: float) -> None:
    """One more task answers 502 and is stopped for it."""
    task = answers_502(10 + count, stopped)
    name = task["taskArn"].rsplit("/", 1)[-1]
    back.role.says(stopped - 90, f"has started 1 tasks: (task {name}).")
    where = f"(target-group {SERVICE.target_group_arn})"
    back.role.says(
        stopped - 30,
        f"(task {name}) (port 8080) is unhealthy in {where} due to (reason Health checks failed"
        " with these codes: [502])",
    )
    lines = [(stopped - 60 + 10 * number, line) for number, line in enumerate(LAST_WORDS)]
    log = log_stream(SERVICE, 10 + count, lines)
    back.loses(count, task, stopped, "failed its health checks", logStreams=[log])


def answers_502(number: int, stopped: float) -> Json:
    """Return a task that ECS stopped because its health checks failed."""
    return SERVICE.dead_task(
        number,
        BAD,
        created=stopped - 95,
        stopped=stopped,
        code="ServiceSchedulerInitiated",
        reason=f"Task failed ELB health checks in (target-group {SERVICE.target_group_arn})",
        exit_code=143,
    )
