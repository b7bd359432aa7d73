"""Fargate Spot takes tasks back and has no room for others: of one service, of twelve at once."""

from sandbox.stories.scenes import (
    UNTIL_THE_ALL_CLEAR,
    began_yesterday,
    cannot_place,
    interrupted,
    one_service,
    rests,
    runs_again,
)
from sandbox.stories.script import Role, Script, yesterday
from sandbox.story_shapes import Release, Service

SPOT = "FARGATE_SPOT"
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


def no_capacity() -> Script:
    """Two of four tasks are gone until Fargate Spot has room again."""
    service = Service("prod-web", "billing", desired=4, capacity_provider=SPOT)
    good = yesterday(Release(23, "v5.0.1"), 4)
    script = Script(
        title="No capacity",
        teaches=(
            "Fargate Spot takes back two of billing's 4 tasks and has no capacity to replace them."
            " No deployment is under way. The reason stands in SERVICE_TASK_PLACEMENT_FAILURE,"
            " which comes again while it lasts and is then counted, not told again; an interrupted"
            " Spot task alone is no failure."
        ),
        cluster="prod-web",
        services=[service],
    )
    role = one_service(script, good)
    taken_back(role)
    for count, moment in enumerate((30, 120, 330), start=1):
        note = f"SERVICE_TASK_PLACEMENT_FAILURE, time {count}"
        cannot_place(role, moment, "2 of 4 tasks cannot be placed", note)
    script.ticks(60, 540)
    runs_again(role, 600, "Fargate Spot has capacity again: 4 of 4", good, 2)
    script.ticks(660, 600 + UNTIL_THE_ALL_CLEAR)
    return script


def taken_back(role: Role) -> None:
    """Fargate Spot interrupts two tasks at once."""
    tasks = [interrupted(role, number, 20) for number in (1, 2)]
    fewer = role.rows[0].now(running=2, pending=0, updated=0)
    role.shows(20, "Fargate Spot takes back two tasks", fewer, tasks=tasks)
    for task in tasks:
        role.task_event(20, task)


def outage_of_twelve_services() -> Script:
    """Fargate Spot is short for the whole cluster; twelve services fall together."""
    cluster = "prod-shop"
    services = [
        Service(cluster, name, desired=2 + len(name) % 3, capacity_provider=SPOT) for name in TWELVE
    ]
    script = Script(
        title="An outage of twelve services",
        teaches=(
            "Within half a minute Fargate Spot takes back tasks of twelve services of prod-shop and"
            " has none to replace them: one cause. Four of them have nothing left that runs."
            " The reader needs one message that grows, not twelve; then all recover."
        ),
        cluster=cluster,
        services=services,
    )
    roles = [
        Role(script, service, [began_yesterday(30 + number, f"v1.{number}.0", service.desired)])
        for number, service in enumerate(services)
    ]
    rests(script, *roles)
    for number, role in enumerate(roles):
        falls(role, 60 + 15 * wave(number), left=0 if number % 5 in (1, 4) else 1)
    script.ticks(60, 540)
    for number, role in enumerate(roles):
        rises(role, 600 + 15 * wave(number))
    script.ticks(600, 630 + UNTIL_THE_ALL_CLEAR)
    return script


def wave(number: int) -> int:
    """One service falls first, then five at once, then the other six."""
    return 0 if number == 0 else 1 if number < 6 else 2


def falls(role: Role, moment: float, left: int) -> None:
    """Fargate Spot takes back all but so many tasks of a service."""
    service, good = role.service, role.rows[0]
    numbers = range(left + 1, service.desired + 1)
    cannot_place(
        role,
        moment,
        f"{service.name}: {left} of {service.desired} running",
        f"SERVICE_TASK_PLACEMENT_FAILURE of {service.name}",
        good.now(running=left),
        tasks=[interrupted(role, number, moment - 20) for number in numbers],
    )


def rises(role: Role, moment: float) -> None:
    """The service has all its tasks again."""
    good = role.rows[0].now(running=role.service.desired)
    missing = role.service.desired - role.rows[0].running
    runs_again(role, moment, f"{role.service.name} runs as desired again", good, missing)
