"""Slack does not work while services fail and recover: what is true is told when it works again."""

from sandbox.stories.scenes import (
    UNTIL_THE_ALL_CLEAR,
    began_yesterday,
    cannot_place,
    rests,
    runs_again,
)
from sandbox.stories.script import MINUTE, Role, Script
from sandbox.story_shapes import Service

CLUSTER = "prod-web"
BACK_AT = 15 * MINUTE
DOWN = {"method": "*", "fault": "status", "status": 503, "times": None}
MISSING = {"mailer": 1, "payments": 2}


def slack_is_down() -> Script:
    """Two services fail in the quarter of an hour without Slack, and one of them recovers."""
    services = [
        Service(CLUSTER, "mailer", desired=2, capacity_provider="FARGATE_SPOT"),
        Service(CLUSTER, "payments", desired=3, capacity_provider="FARGATE_SPOT"),
    ]
    script = Script(
        title="Slack is down",
        teaches=(
            "Slack answers every call with 503 for a quarter of an hour. Meanwhile mailer and"
            " payments lose tasks to Fargate Spot, and payments has them all again. None of it can"
            " be told. When Slack works again, one message says what is true then: mailer still"
            " runs 1 of 2, payments has recovered."
        ),
        cluster=CLUSTER,
        services=services,
    )
    mailer, payments = roles = [
        Role(script, service, [began_yesterday(50 + number, "v2.0.0", service.desired)])
        for number, service in enumerate(services)
    ]
    rests(script, *roles)
    script.slack(30, "Slack goes down", DOWN)
    loses_tasks(mailer, 60)
    loses_tasks(payments, 90)
    script.ticks(60, BACK_AT - 60)
    recovers(payments, 300)
    script.slack(BACK_AT, "Slack works again")
    script.ticks(BACK_AT, BACK_AT + 120)
    recovers(mailer, BACK_AT + 150)
    script.ticks(BACK_AT + 180, BACK_AT + 150 + UNTIL_THE_ALL_CLEAR)
    return script


def loses_tasks(role: Role, moment: float) -> None:
    """Fargate Spot takes tasks back and has no room for others."""
    service, good = role.service, role.rows[0]
    left = service.desired - MISSING[service.name]
    note = f"{service.name}: {left} of {service.desired} running"
    event_note = f"SERVICE_TASK_PLACEMENT_FAILURE of {service.name}"
    cannot_place(role, moment, note, event_note, good.now(running=left))


def recovers(role: Role, moment: float) -> None:
    """All tasks of the service run again."""
    good = role.rows[0].now(running=role.service.desired)
    note = f"{role.service.name} runs as desired again"
    runs_again(role, moment, note, good, MISSING[role.service.name])
