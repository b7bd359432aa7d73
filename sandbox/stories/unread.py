"""A release fails, and what would explain it may not be read."""

from sandbox.stories.rolling_back import RollBack
from sandbox.stories.scenes import UNTIL_THE_ALL_CLEAR, deploys, exited, one_service
from sandbox.stories.script import Script, yesterday
from sandbox.story_calls import ROBIN
from sandbox.story_shapes import Deployment, Release, Service

CLUSTER = "prod-web"
SERVICE = Service(CLUSTER, "invoices", desired=2)
GOOD = yesterday(Release(8, "v0.4.1"), 2)
BAD = Deployment(Release(9, "v0.4.2"), begun=0, state="IN_PROGRESS", desired=2, pending=1)
DENIED = ("ListTasks", "DescribeTaskDefinition")
HEARD_AFTER = 330  # seconds: after the failure was told


def causes_cannot_be_read() -> Script:
    """The alert goes out with what is known, and says what could not be read."""
    script = Script(
        title="What explains a failure cannot be read",
        teaches=(
            "A policy of the organisation denies ecs:ListTasks and ecs:DescribeTaskDefinition."
            " invoices:9 fails and is rolled back. The alert is as fast as ever: it names the"
            " deployment, what still serves and the circuit breaker's count, and says what could"
            " not be read and which permission is missing. CloudTrail's record is late: that robin"
            " shipped it is told when it comes."
        ),
        cluster=CLUSTER,
        services=[SERVICE],
    )
    role = one_service(script, GOOD)
    back = RollBack(role, GOOD, BAD, moment=200)
    script.denies(10, f"ECS denies {' and '.join(DENIED)}", *DENIED)
    deploys(role, BAD, back.old, by=ROBIN, heard_after=HEARD_AFTER)
    for count, stopped in enumerate((62, 126, 190), start=1):
        task = exited(role, 10 + count, BAD, stopped - 50, stopped)
        back.loses(count, task, stopped, "exited with 1")
    script.ticks(60, 180)
    back.is_triggered()
    script.ticks(240, 360)
    back.is_complete(400)
    script.ticks(420, 400 + UNTIL_THE_ALL_CLEAR)
    script.denies(400 + UNTIL_THE_ALL_CLEAR, "ECS answers all again")
    return script
