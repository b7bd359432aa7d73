"""DescribeTasks' answer as stopped tasks.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html
"""

from notifier.ecs.fields import Row, maybe_whole, moment, rows, text
from notifier.facts import Container, StoppedTask


def stopped_task(row: Row) -> StoppedTask:
    """What a row of the answer shows."""
    return StoppedTask(
        arn=text(row, "taskArn"),
        task_definition=text(row, "taskDefinitionArn"),
        started_by=text(row, "startedBy"),
        stop_code=text(row, "stopCode"),
        stopped_reason=text(row, "stoppedReason"),
        created_at=moment(row, "createdAt"),
        started_at=moment(row, "startedAt"),
        stopped_at=moment(row, "stoppedAt"),
        containers=tuple(map(_container, rows(row, "containers"))),
    )


def _container(row: Row) -> Container:
    return Container(
        name=text(row, "name"),
        image=text(row, "image"),
        image_digest=text(row, "imageDigest"),
        exit_code=maybe_whole(row, "exitCode"),
        reason=text(row, "reason"),
        last_status=text(row, "lastStatus"),
    )
