"""What a person's commands need to know of the deployed stack: its outputs."""

import argparse
from collections.abc import Mapping

from notifier.errors import WatchError


def add_stack(parser: argparse._ActionsContainer) -> None:
    """The argument that names the stack."""
    parser.add_argument(
        "--stack", default="ecs-watch", help="the deployed stack (default: ecs-watch)"
    )


def outputs_of(stack: str) -> Mapping[str, str]:
    """The stack's outputs; WatchError when it cannot be read or is none of ours."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        stacks = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    except (BotoCoreError, ClientError) as error:
        raise WatchError(f"stack '{stack}' could not be read: {error}") from error
    outputs = {row["OutputKey"]: row["OutputValue"] for row in stacks[0].get("Outputs", [])}
    if not {"EventsQueueUrl", "TableName"} <= outputs.keys():
        raise WatchError(f"stack '{stack}' has no table and queue in its outputs: is it ecs-watch?")
    return outputs
