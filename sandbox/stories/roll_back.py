"""A container of the new release exits at once; the deployment circuit breaker rolls back."""

from sandbox.stories.rolling_back import RollBack
from sandbox.stories.scenes import UNTIL_THE_ALL_CLEAR, deploys, exited, one_service
from sandbox.stories.script import Script, yesterday
from sandbox.story_calls import log_stream
from sandbox.story_shapes import Deployment, Release, Service

CLUSTER = "prod-web"
SERVICE = Service(CLUSTER, "checkout", desired=2)
GOOD = yesterday(Release(41, "v1.8.2", (("LOG_LEVEL", "info"),)), 2)
BAD = Deployment(
    Release(42, "v1.8.3", (("FEATURE_X", "on"), ("LOG_LEVEL", "info"))),
    begun=0,
    state="IN_PROGRESS",
    desired=2,
    pending=1,
)
LAST_WORDS = (
    "INFO checkout v1.8.3 starts",
    "INFO feature X is on",
    "Traceback (most recent call last):",
    '  File "/app/checkout/main.py", line 31, in <module>',
    '    prices = PriceClient(os.environ["PRICES_URL"])',
    "KeyError: 'PRICES_URL'",
)


def release_fails_and_is_rolled_back() -> Script:
    """Tasks die, the circuit breaker triggers, the old release serves all the time."""
    script = Script(
        title="A release fails and is rolled back",
        teaches=(
            "The tasks of checkout:42, which mika shipped, exit with 1 before they are healthy:"
            " the variable FEATURE_X is new, and the log says that PRICES_URL is not there. After"
            " three of them the deployment circuit breaker fails the deployment and rolls back to"
            " checkout:41, which served all the time. SERVICE_DEPLOYMENT_COMPLETED and"
            " SERVICE_STEADY_STATE at the end belong to the roll-back: the new release never went"
            " live, and that is how the thread is closed, not by an all-clear."
        ),
        cluster=CLUSTER,
        services=[SERVICE],
    )
    role = one_service(script, GOOD)
    back = RollBack(role, GOOD, BAD, moment=200)
    deploys(role, BAD, back.old)
    for count, stopped in enumerate((62, 126, 190), start=1):
        dies(back, count, stopped)
    script.ticks(60, 180)
    back.is_triggered()
    script.ticks(240, 240)
    back.is_complete(262)
    script.ticks(300, 262 + UNTIL_THE_ALL_CLEAR)
    return script


def dies(back: RollBack, count: int, stopped: float) -> None:
    """One more task of the new release exits with 1, and its log says why."""
    task = exited(back.role, 10 + count, BAD, stopped - 50, stopped)
    name = task["taskArn"].rsplit("/", 1)[-1]
    back.role.says(stopped - 45, f"has started 1 tasks: (task {name}).")
    lines = [(stopped - 15 + number / 4, line) for number, line in enumerate(LAST_WORDS)]
    log = log_stream(SERVICE, 10 + count, lines)
    back.loses(count, task, stopped, "exited with 1", logStreams=[log])
