"""Make what deploys without Python or SAM: the code as a zip, the stack as a plain template.

    python -m tools.package BUILT_DIRECTORY OUTPUT_DIRECTORY

The templates have two parameters more than template.yaml and tasks.yaml: the bucket and the key of
the zip, which is the same for both.
"""

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

from sandbox.transform import TEMPLATE, plain_cloudformation, read_template

CODE_PARAMETERS = {
    "CodeBucket": {
        "Type": "String",
        "Description": "S3 bucket, in the stack's region, that holds the code's zip.",
        "AllowedPattern": "^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
        "ConstraintDescription": "the name of an S3 bucket.",
    },
    "CodeKey": {
        "Type": "String",
        "Default": "ecs-watch.zip",
        "Description": "Key of the code's zip. Changes with every release, so that the code does.",
        "AllowedPattern": "^[^\\s]{1,1024}$",
        "ConstraintDescription": "the key of an S3 object.",
    },
}
CODE_GROUP = {"Label": {"default": "Where the code lies"}, "Parameters": list(CODE_PARAMETERS)}
CODE_LABELS = {"CodeBucket": {"default": "Bucket"}, "CodeKey": {"default": "Key of the zip"}}

# What CloudFormation reads from S3; in a request itself it takes 51,200 bytes only.
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
LONGEST_TEMPLATE = 1_000_000


def packaged_template(template: dict[str, Any]) -> dict[str, Any]:
    """Return the plain template that takes the code's place in S3 as parameters."""
    plain = plain_cloudformation(template, bucket={"Ref": "CodeBucket"}, key={"Ref": "CodeKey"})
    plain["Parameters"] = CODE_PARAMETERS | plain["Parameters"]
    interface = plain["Metadata"]["AWS::CloudFormation::Interface"]
    interface["ParameterGroups"].append(CODE_GROUP)
    interface["ParameterLabels"] |= CODE_LABELS
    return plain


# By src/Makefile neither ours nor a library's.
NOT_SHIPPED = {"tests", "test", "sandbox", "tools", "__pycache__"}


def strangers(directory: Path) -> list[str]:
    """What lies in a build that Lambda has no use for."""
    return sorted(
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if path.name in NOT_SHIPPED and path.is_dir()
    )


def write_zip(directory: Path, target: Path) -> None:
    """Zip `directory` so that equal files make equal bytes: in order, one time, one mode."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(path for path in directory.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(directory).as_posix())
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, path.read_bytes())


STACKS = {"ecs-watch": TEMPLATE, "ecs-watch-tasks": TEMPLATE.with_name("tasks.yaml")}


def main(built: str, output: str) -> None:
    """Write ecs-watch.zip and the stacks' templates into `output`."""
    if found := strangers(Path(built)):
        sys.exit(f"Not to be shipped: {', '.join(found)}")
    code = Path(output, "ecs-watch.zip")
    code.parent.mkdir(parents=True, exist_ok=True)
    write_zip(Path(built), code)
    print(f"{code} ({code.stat().st_size / 1e6:.1f} MB)")
    for name, template in STACKS.items():
        _write_template(read_template(template), Path(output, f"{name}.template.json"))


def _write_template(template: dict[str, Any], target: Path) -> None:
    body = json.dumps(packaged_template(template), separators=(",", ":"))
    if len(body) > LONGEST_TEMPLATE:
        sys.exit(f"{target.name} has {len(body)} bytes; CloudFormation takes {LONGEST_TEMPLATE}")
    target.write_text(body + "\n")
    print(f"{target} ({len(body) / 1e3:.0f} kB)")


if __name__ == "__main__":
    main(*sys.argv[1:])
