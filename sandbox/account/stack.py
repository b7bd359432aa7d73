"""Deploys the real templates into the sandbox's account.

CloudFormation gets what AWS's own SAM transform makes of the template.
"""

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from sandbox.account.process import REGION, SandboxError
from sandbox.transform import plain_cloudformation, read_template

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_s3 import S3Client

BUCKET = "ecs-watch-sandbox-artefacts"
HERE: Any = {"LocationConstraint": REGION}
CAPABILITIES: Any = ["CAPABILITY_IAM"]


def upload(s3: "S3Client", url: str, template: Path, code: bytes, stack: str) -> str:
    """Upload the build and the template that names it; return the template's URL."""
    with contextlib.suppress(s3.exceptions.BucketAlreadyOwnedByYou):
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=HERE)
    s3.put_object(Bucket=BUCKET, Key=f"{stack}.zip", Body=code)
    plain = plain_cloudformation(read_template(template), bucket=BUCKET, key=f"{stack}.zip")
    s3.put_object(Bucket=BUCKET, Key=f"{stack}.json", Body=json.dumps(plain).encode())
    return f"{url}/{BUCKET}/{stack}.json"


def deploy(
    cloudformation: "CloudFormationClient",
    stack: str,
    template_url: str,
    parameters: Mapping[str, str],
) -> dict[str, str]:
    """Create or update the stack and return its outputs; raise SandboxError with what failed."""
    exists = _exists(cloudformation, stack)
    change = cloudformation.update_stack if exists else cloudformation.create_stack
    rows: Any = [
        {"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()
    ]
    try:
        change(
            StackName=stack, TemplateURL=template_url, Parameters=rows, Capabilities=CAPABILITIES
        )
    except ClientError as error:
        raise SandboxError(f"{stack}: {error}") from error
    return _outputs(cloudformation, stack)


def resources(cloudformation: "CloudFormationClient", stack: str) -> dict[str, str]:
    """Return what the resources of a stack are called in the account, by their logical ids."""
    rows = cloudformation.list_stack_resources(StackName=stack)["StackResourceSummaries"]
    return {row["LogicalResourceId"]: row["PhysicalResourceId"] for row in rows}


def delete(cloudformation: "CloudFormationClient", stack: str) -> None:
    """Delete the stack if it is there; raise SandboxError when it is still there a minute later."""
    deadline = time.monotonic() + 60
    while _exists(cloudformation, stack):
        if time.monotonic() > deadline:
            raise SandboxError(f"{stack} cannot be deleted\n{_failures(cloudformation, stack)}")
        cloudformation.delete_stack(StackName=stack)
        time.sleep(0.05)


def _exists(cloudformation: "CloudFormationClient", stack: str) -> bool:
    names = cloudformation.list_stacks()["StackSummaries"]
    return any(
        row["StackName"] == stack and row["StackStatus"] != "DELETE_COMPLETE" for row in names
    )


def _outputs(cloudformation: "CloudFormationClient", stack: str) -> dict[str, str]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        shown = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
        status = shown["StackStatus"]
        if status in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            return {row["OutputKey"]: row["OutputValue"] for row in shown.get("Outputs", [])}
        if "FAILED" in status or "ROLLBACK" in status:
            raise SandboxError(f"{stack}: {status}\n{_failures(cloudformation, stack)}")
        time.sleep(0.05)
    raise SandboxError(f"{stack} is still {status} after a minute")


def _failures(cloudformation: "CloudFormationClient", stack: str) -> str:
    events = cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
    return "\n".join(
        f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', '')}"
        for event in reversed(events)
        if "FAILED" in event["ResourceStatus"]
    )
