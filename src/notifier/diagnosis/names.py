"""Which image, secret, container, alarm… a reason is about: taken where it is sure, else nothing.

A name ends where the text shows its end, never where the text ends: long messages are cut, and half
a name is a wrong one. https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_cannot_pull_image.html
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from notifier.facts import Container, ContainerDefinition, Facts, TaskDefinition

_ECR = re.compile(r"[0-9]{12}\.dkr[.-]ecr[\w.-]*/", re.ASCII)
_DIGEST = re.compile(r"@(sha256:[0-9a-f]{12})[0-9a-f]*")
_SAFE = re.compile(r"[\w./:@+=#-]{1,255}", re.ASCII)
_ALARMS_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A text of ECS, the container that it is of, and what else was read. All but it may be absent.

    `definition` is the task definition of the container's task.
    """

    text: str
    container: Container | None = None
    definition: TaskDefinition | None = None
    facts: Facts | None = None


def container(said: Said) -> str:
    """`container app`."""
    name = plain(said.container.name) if said.container else ""
    return f"container {name}" if name else ""


def container_with_limit(said: Said) -> str:
    """`container app, limit 512 MiB`: its own limit, or else that of the whole task.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html
    """
    named, own = container(said), container_definition(said)
    whole = said.definition.memory if said.definition else ""
    if named and own and own.memory:
        return f"{named}, limit {own.memory} MiB"
    if named and re.fullmatch("[0-9]{1,9}", whole):
        return f"{named}, limit of the task {whole} MiB"
    return named


def container_definition(said: Said) -> ContainerDefinition | None:
    """What the task definition says of the container; None where either is not known."""
    asked = said.definition.containers if said.definition else ()
    return next((one for one in asked if said.container and one.name == said.container.name), None)


def image(said: Said) -> str:
    """The image that the text names, or the container's where the text is of that container.

    Without the host of Amazon ECR, which says no more than the account and region do.
    """
    named = _first(
        said.text,
        r"failed to resolve ref(?:erence)? ['\"]?([\w./:@-]+?)['\"]?: ",
        r"manifest for ([\w./:@-]+) not found",
        r"pull access denied for ([\w./:@-]+),",
        r"cannot pull \W?([\w./:@-]+)\W? from the amazon ecr",
    )
    if not named and said.container and said.container.reason:
        named = said.container.image
    return _DIGEST.sub(r"@\1", _ECR.sub("", plain(named)))


def secret(said: Said) -> str:
    """The name in the ARN of a secret, or of a parameter of Parameter Store.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssecretsmanager.html
    https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-su-create.html
    """
    if named := _first(said.text, r":secret:([\w/+=.@-]+)(?=[^\w/+=.@-])"):
        return plain(named)
    parameter = _first(said.text, r":ssm:[\w-]*:\w*:parameter/([\w/.-]+)(?=[^\w/.-])")
    return plain(f"/{parameter}" if "/" in parameter else parameter)


def json_key(said: Said) -> str:
    """The key that a secret lacks, where the text goes on behind it."""
    return plain(_first(said.text, r"did not contain json key ([\w.-]+)(?=[^\w.-])"))


def role(said: Said) -> str:
    """`role orders-execution`, from the ARN of the role or of a session of it."""
    named = _first(
        said.text,
        r":assumed-role/([\w+=.@-]+)/",
        r":role/([\w+=.@/-]+)(?=[^\w+=.@/-])",
    )
    return f"role {plain(named.rpartition('/')[2])}" if named else ""


def log_group(said: Said) -> str:
    """The log group in the text, or the only one that the task definition has."""
    if named := _first(said.text, r":log-group:([\w./#-]+)(?=[^\w./#-])"):
        return plain(named)
    asked = said.definition.containers if said.definition else ()
    groups = {one.log_options.get("awslogs-group", "") for one in asked} - {""}
    return plain(groups.pop()) if len(groups) == 1 else ""


def file_system(said: Said) -> str:
    """An id of Amazon EFS: `fs-0123456789abcdef0`."""
    return _first(said.text, r"\b(fs-[0-9a-f]{8,40})(?=[^0-9a-f])")


def subnet(said: Said) -> str:
    """`subnet-0123456789abcdef0`."""
    return _first(said.text, r"\b(subnet-[0-9a-f]{8,40})(?=[^0-9a-f])")


def instance(said: Said) -> str:
    """An id of Amazon EC2: `i-0123456789abcdef0`."""
    return _first(said.text, r"\b(i-[0-9a-f]{8,40})(?=[^0-9a-f])")


def target_group(said: Said) -> str:
    """`target group orders`, from the ARN of the target group."""
    named = _first(said.text, r":targetgroup/([a-z0-9-]{1,32})/")
    return f"target group {named}" if named else ""


def codes(said: Said) -> str:
    """The HTTP codes of failed health checks: `HTTP 502`."""
    named = _first(said.text, r"these codes: \[([0-9, ]{1,60})\]")
    return f"HTTP {named}" if named else ""


def command(said: Said) -> str:
    """The program that could not be executed, as the container runtime quotes it."""
    return plain(_first(said.text, r"exec:? \\?[\"']([\w./+-]{1,100})\\?[\"']"))


def platform(said: Said) -> str:
    """`linux/amd64`: the platform that was asked for."""
    return _first(said.text, r"platform '?((?:linux|windows)/\w{2,10}(?:/\w{1,5})?)(?=['\"\s,;:])")


def alarms(said: Said) -> str:
    """The names of the CloudWatch alarms that were triggered, no more than three."""
    deployment = said.facts.service_deployment if said.facts else None
    return listed(deployment.alarms) if deployment else ""


def listed(names: Iterable[str]) -> str:
    """`a, b, c and 2 more`."""
    known = [one for one in map(_one_line, names) if one]
    more = len(known) - _ALARMS_NAMED
    return ", ".join(known[:_ALARMS_NAMED]) + (f" and {more} more" if more > 0 else "")


def plain(name: str) -> str:
    """The name if it is made as AWS's names are; nothing of any other, which could be any text."""
    return name if _SAFE.fullmatch(name) else ""


def _one_line(name: str) -> str:
    """An alarm's name may hold any characters; those that print are kept, up to 80."""
    return "".join(one for one in name if one.isprintable())[:80].strip()


def _first(text: str, *patterns: str) -> str:
    found = (re.search(one, text, re.IGNORECASE | re.ASCII) for one in patterns)
    return next((one[1] for one in found if one), "")
