"""AWS from a person's shell: which region, whose credentials, and which deployed stack."""

import argparse
import os
from collections.abc import Mapping

from notifier.ecs.reads import NO_LOGIN
from notifier.errors import WatchError
from notifier.store import Store
from notifier.wiring import store_of


def add_stack(
    parser: argparse._ActionsContainer, named: argparse._ActionsContainer | None = None
) -> None:
    """The arguments that say which stack, where, and as whom; its name is added to `named`."""
    (named or parser).add_argument(
        "--stack",
        "--stack-name",
        default="ecs-watch",
        help="the deployed stack (default: ecs-watch)",
    )
    add_login(parser, "the stack's region")


def add_login(parser: argparse._ActionsContainer, region: str) -> None:
    """The arguments that say where and as whom; `region` is what its help says."""
    parser.add_argument(
        "--region", action=_Set, dest="AWS_DEFAULT_REGION", metavar="REGION", help=region
    )
    parser.add_argument("--profile", metavar="PROFILE", help="whose credentials, of ~/.aws/config")


class _Set(argparse.Action):
    """Sets the environment's value of that name, which boto3 reads."""

    def __call__(
        self, _parser: object, _names: object, value: object, _option: object = None
    ) -> None:
        os.environ[self.dest] = str(value)


def take_profile(options: argparse.Namespace) -> None:
    """Let `--profile` win over the shell's credentials, as it does in the AWS CLI.

    In AWS_PROFILE it would not. Raises WatchError where there is none of that name.
    https://docs.aws.amazon.com/cli/latest/userguide/cli-chap-configure.html#configure-precedence
    """
    if not getattr(options, "profile", None):
        return
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        boto3.setup_default_session(profile_name=options.profile)
    except BotoCoreError as error:
        raise WatchError(explained(error)) from error


def outputs_of(stack: str) -> Mapping[str, str]:
    """The stack's outputs; WatchError when it cannot be read or is none of ours."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        stacks = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    except (BotoCoreError, ClientError) as error:
        raise no_stack(stack, error) from error
    outputs = {row["OutputKey"]: row["OutputValue"] for row in stacks[0].get("Outputs", [])}
    if not {"EventsQueueUrl", "TableName"} <= outputs.keys():
        raise WatchError(f"stack '{stack}' has no table and queue in its outputs: is it ecs-watch?")
    return outputs


def no_stack(stack: str, error: Exception) -> WatchError:
    """Why the stack could not be read; where it is not found, also where it was looked for."""
    text = f"stack '{stack}' could not be read: {explained(error)}"
    if "does not exist" not in str(error):
        return WatchError(text)
    import boto3

    region = (boto3.DEFAULT_SESSION or boto3.Session()).region_name
    where = f"looked for in {region}{_account()}; see --region, --profile and --stack"
    return WatchError(f"{text} ({where})")


def _account() -> str:
    """Whose account the credentials are of, as far as that can be had.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    quick = Config(connect_timeout=3, read_timeout=3, retries={"total_max_attempts": 1})
    try:
        return f" of account {boto3.client('sts', config=quick).get_caller_identity()['Account']}"
    except (BotoCoreError, ClientError):
        return ""


def table_of(stack: str) -> Store:
    """The door to the stack's table; WatchError when the stack cannot be read."""
    return store_of(outputs_of(stack)["TableName"])


def take_region() -> None:
    """Let AWS_REGION count, as it does for the AWS CLI: boto3 reads AWS_DEFAULT_REGION alone.

    https://docs.aws.amazon.com/sdkref/latest/guide/feature-region.html
    """
    if region := os.environ.get("AWS_REGION"):
        os.environ["AWS_DEFAULT_REGION"] = region


def explained(error: Exception) -> str:
    """The error's text, and what to do where no region is set or nobody is logged in."""
    response = getattr(error, "response", {})
    code = response.get("Error", {}).get("Code") or type(error).__name__
    if code == "NoRegionError":
        return f"{error} Set AWS_REGION, or give --region."
    if code in NO_LOGIN:
        return f"{error} (log in, for example by `aws sso login`, or set AWS_PROFILE)"
    return str(error)
