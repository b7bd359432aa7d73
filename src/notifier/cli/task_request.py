"""RunTask's parameters from a command line, from a service, and from a file.

A flag wins over the file, the file over the service.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
"""

import argparse
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from notifier.cli.files import FileError, read_json
from notifier.errors import WatchError
from notifier.facts import TaskDefinition
from notifier.outcome import deciders

# What a file may hold; the rest is given by options, or set by us.
_OF_A_FILE = {
    "capacityProviderStrategy",
    "enableECSManagedTags",
    "enableExecuteCommand",
    "group",
    "launchType",
    "networkConfiguration",
    "overrides",
    "placementConstraints",
    "placementStrategy",
    "platformVersion",
    "propagateTags",
    "tags",
    "volumeConfigurations",
}
_EITHER = ("launchType", "capacityProviderStrategy")  # RunTask takes one of the two
Parameters = Mapping[str, Any]


class UsageError(WatchError):
    """The command line asks for what cannot be. Nothing was started."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is to be run, and where."""
    parser.add_argument("--cluster", required=True, help="its name or ARN")
    parser.add_argument(
        "--task-definition", required=True, metavar="NAME", help="family, family:revision or ARN"
    )
    parser.add_argument(
        "--container",
        default="",
        help="whose exit code decides, and for whom --command and --env are "
        "(default: the only essential one)",
    )
    parser.add_argument(
        "--command", type=_command, metavar="COMMAND", help="as a shell splits it, or a JSON list"
    )
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        type=_pair,
        metavar="NAME[=VALUE]",
        help="a variable; without a value your own shell's. May be repeated, and is never printed",
    )
    parser.add_argument(
        "--count",
        type=int,
        choices=range(1, 11),
        default=1,
        metavar="1-10",
        help="how many tasks (1)",
    )
    _add_place(parser)


def _add_place(parser: argparse.ArgumentParser) -> None:
    place = parser.add_argument_group("network and capacity")
    place.add_argument("--like", default="", metavar="SERVICE", help="as this service has them")
    place.add_argument("--file", metavar="FILE", help="JSON with RunTask's own names; - for stdin")
    place.add_argument("--subnets", type=_names, metavar="ID,ID")
    place.add_argument("--security-groups", type=_names, metavar="ID,ID")
    place.add_argument(
        "--assign-public-ip", action="store_const", const="ENABLED", help="give it a public address"
    )
    either = place.add_mutually_exclusive_group()
    either.add_argument("--launch-type", choices=("FARGATE", "EC2", "EXTERNAL"))
    either.add_argument("--capacity-provider", metavar="NAME")
    place.add_argument("--platform-version", metavar="VERSION")


def _names(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def _command(text: str) -> list[str]:
    """A shell's words, or a JSON list of texts."""
    try:
        words = json.loads(text) if text.lstrip().startswith("[") else shlex.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"cannot be split into words: {error}") from error
    if not words or not all(isinstance(word, str) for word in words):
        raise argparse.ArgumentTypeError("a command is one word or more")
    return list(words)


def _pair(text: str) -> tuple[str, str]:
    """`NAME=VALUE`, or `NAME` for the value that this shell has. No error quotes a value."""
    name, equals, value = text.partition("=")
    if not name:
        raise argparse.ArgumentTypeError("a variable is NAME=VALUE, or NAME")
    if not equals:
        if name not in os.environ:
            raise argparse.ArgumentTypeError(f"{name} is not set in this shell")
        value = os.environ[name]
    return name, value


# --- put together ---------------------------------------------------------------------------------


def request_of(
    options: argparse.Namespace, like: Parameters, definition: TaskDefinition
) -> Parameters:
    """RunTask's parameters. Raises UsageError; its text holds no variable's value."""
    request = _over(_over(like, from_file(options.file)), _of_flags(options))
    network = _network(options, request.get("networkConfiguration") or {})
    overrides = _overrides(options, request.get("overrides") or {}, definition)
    request |= {"taskDefinition": definition.arn or options.task_definition}
    request |= {"networkConfiguration": network} if network else {}
    return request | ({"overrides": overrides} if overrides else {})


def _over(lower: Parameters, upper: Parameters) -> dict[str, Any]:
    """Both, where what is above hides what is below, and launch type and providers each other."""
    hidden = set(_EITHER) if any(name in upper for name in _EITHER) else set()
    return {**{name: value for name, value in lower.items() if name not in hidden}, **upper}


def from_file(name: str | None) -> Parameters:
    """A file with RunTask's parameters, or with a network configuration alone."""
    if name is None:
        return {}
    try:
        value = read_json(name)
    except FileError as error:
        raise UsageError(f"{name}: {error}") from error
    if not isinstance(value, Mapping):
        raise UsageError(f"{name}: an object with RunTask's parameters is expected")
    if set(value) == {"awsvpcConfiguration"}:
        return {"networkConfiguration": value}
    if others := sorted(set(value) - _OF_A_FILE):
        raise UsageError(f"{name}: may not hold {', '.join(others)}; see ecs-watch run --help")
    return value


def _of_flags(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if options.launch_type:
        found["launchType"] = options.launch_type
    if options.capacity_provider:
        found["capacityProviderStrategy"] = [{"capacityProvider": options.capacity_provider}]
    if options.platform_version:
        found["platformVersion"] = options.platform_version
    return found


def _network(options: argparse.Namespace, below: Parameters) -> Parameters:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_AwsVpcConfiguration.html"""
    flags = {
        "subnets": options.subnets,
        "securityGroups": options.security_groups,
        "assignPublicIp": options.assign_public_ip,
    }
    given = {name: value for name, value in flags.items() if value}
    if not given:
        return below
    vpc = {**(below.get("awsvpcConfiguration") or {}), **given}
    if not vpc.get("subnets"):
        raise UsageError("security groups and public addresses need --subnets, --like or --file")
    return {"awsvpcConfiguration": vpc}


def _overrides(
    options: argparse.Namespace, below: Parameters, definition: TaskDefinition
) -> Parameters:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerOverride.html"""
    names = deciders(definition, options.container)
    if not names:
        known = ", ".join(one.name for one in definition.containers)
        raise UsageError(f"there is no container '{options.container}'; there are: {known}")
    if not options.command and not options.env:
        return below
    if len(names) > 1:
        raise UsageError(f"--command and --env need --container, one of: {', '.join(names)}")
    rest = [dict(one) for one in below.get("containerOverrides") or []]
    ours = next((one for one in rest if one.get("name") == names[0]), None)
    if ours is None:
        ours = {"name": names[0]}
        rest.append(ours)
    ours |= {"command": options.command} if options.command else {}
    ours |= {"environment": _environment(ours, options.env)} if options.env else {}
    return {**below, "containerOverrides": rest}


def _environment(
    override: Parameters, pairs: Sequence[tuple[str, str]]
) -> Sequence[Mapping[str, str]]:
    below = {one["name"]: one["value"] for one in override.get("environment") or []}
    return [{"name": name, "value": value} for name, value in (below | dict(pairs)).items()]
