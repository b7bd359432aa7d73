"""DescribeTaskDefinition's answer without the values of its environment.

A task definition can hold secrets in plain text. Of each variable only a fingerprint leaves this
module: a hash under a key that is made when the process starts and kept nowhere, so two readings
of one process can be compared, and nobody who sees a fingerprint can try out values against it.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TaskDefinition.html
"""

import secrets
from collections.abc import Mapping
from hashlib import blake2b

from notifier.ecs.fields import Row, child, maybe_true, rows, tags, text, texts, whole
from notifier.facts import ContainerDefinition, TaskDefinition

AWSLOGS = "awslogs"
# The options that lead to a log. Others are shown by name: those of other drivers hold tokens.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_awslogs.html
_LOG_OPTIONS = ("awslogs-group", "awslogs-region", "awslogs-stream-prefix")


def new_key() -> bytes:
    """A key for fingerprints, for the life of a process."""
    return secrets.token_bytes(32)


def task_definition(answer: Row, key: bytes) -> TaskDefinition:
    """What the answer shows; values as fingerprints under `key`."""
    row = child(answer, "taskDefinition")
    return TaskDefinition(
        arn=text(row, "taskDefinitionArn"),
        cpu=text(row, "cpu"),
        memory=text(row, "memory"),
        containers=tuple(_container(one, key) for one in rows(row, "containerDefinitions")),
        beside=_beside(row),
        tags=tags(answer),
    )


def _beside(row: Row) -> tuple[str, ...]:
    """The log router and the proxy.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_FirelensConfiguration.html
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ProxyConfiguration.html
    """
    containers = rows(row, "containerDefinitions")
    routers = {text(one, "name") for one in containers if child(one, "firelensConfiguration")}
    proxy = text(child(row, "proxyConfiguration"), "containerName")
    return tuple(sorted((routers | {proxy}) - {""}))


def _container(row: Row, key: bytes) -> ContainerDefinition:
    logs = child(row, "logConfiguration")
    return ContainerDefinition(
        name=text(row, "name"),
        image=text(row, "image"),
        is_essential=maybe_true(row, "essential") is not False,
        cpu=whole(row, "cpu"),
        memory=whole(row, "memory"),
        memory_reservation=whole(row, "memoryReservation"),
        command=texts(row, "command"),
        entry_point=texts(row, "entryPoint"),
        environment=_fingerprints(rows(row, "environment"), "value", key),
        secrets=_fingerprints(rows(row, "secrets"), "valueFrom", key),
        ports=tuple(map(_port, rows(row, "portMappings"))),
        health_check=_health_check(child(row, "healthCheck")),
        log_driver=text(logs, "logDriver"),
        log_options=_log_options(text(logs, "logDriver"), child(logs, "options")),
    )


def _fingerprints(pairs: list[Row], value: str, key: bytes) -> Mapping[str, str]:
    return {text(one, "name"): _fingerprint(text(one, value), key) for one in pairs}


def _fingerprint(value: str, key: bytes) -> str:
    return blake2b(value.encode("utf-8", "surrogatepass"), key=key, digest_size=8).hexdigest()


def _port(row: Row) -> str:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PortMapping.html"""
    number = text(row, "containerPortRange") or str(whole(row, "containerPort"))
    return f"{number}/{text(row, 'protocol') or 'tcp'}"


def _health_check(row: Row) -> str:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html"""
    if not row:
        return ""
    times = [
        f"{words} {whole(row, name)}{unit}"
        for name, words, unit in (
            ("interval", "every", " s"),
            ("timeout", "timeout", " s"),
            ("retries", "retries", ""),
            ("startPeriod", "start period", " s"),
        )
        if name in row
    ]
    return ", ".join((" ".join(texts(row, "command")), *times))


def _log_options(driver: str, options: Row) -> Mapping[str, str]:
    if driver != AWSLOGS:
        return dict.fromkeys(map(str, options), "")
    return {name: text(options, name) for name in _LOG_OPTIONS if name in options}
