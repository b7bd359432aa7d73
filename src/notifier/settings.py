"""Every environment name that the program reads, and what it means.

Only the *names* of secrets are settings; their values are read when needed (see `secrets`).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Self

from notifier.errors import SettingsError
from notifier.thresholds import DEFAULT_DYING_TASKS, DEFAULT_NO_PROGRESS

SLACK_API_URL = "https://slack.com/api/"
MINUTE = timedelta(minutes=1)
# The token goes there, so in clear text only to this machine.
_SLACK_API_URL = r"(https://[^\s?#]+|http://(127\.0\.0\.1|localhost)(:\d+)?(/[^\s?#]*)?)/|"


class SecretStore(StrEnum):
    """Where the named secrets are kept."""

    PARAMETER_STORE = "ParameterStore"
    SECRETS_MANAGER = "SecretsManager"


class ReadLogs(StrEnum):
    """Of which services the last log lines of a failed container may be read."""

    OFF = "off"
    TAGGED = "tagged"
    ALL = "all"


class StandaloneTasks(StrEnum):
    """Of which tasks that belong to no service it is told that they failed."""

    SCHEDULED = "scheduled"
    ALL = "all"
    OFF = "off"


_SWITCHES = {"": None, "true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the stack was deployed with. Field names are the environment's names in lower case.

    `actors` and `session_names` are read by `actors`, `redact_patterns` by `redaction`,
    `dying_tasks` by `thresholds`; `no_progress_minutes` is 0 where that is not watched. The last
    three say what the watcher itself is made of, for its checks of itself: the name of each rule,
    by its logical id, and the addresses of the queue and of the dead-letter queues.
    """

    table_name: str
    channels: str
    slack_token_name: str = ""
    slack_webhook_name: str = ""
    secret_store: SecretStore = SecretStore.PARAMETER_STORE
    slack_api_url: str = SLACK_API_URL
    stack_name: str = ""
    read_task_definitions: bool = True
    read_logs: ReadLogs = ReadLogs.OFF
    standalone_tasks: StandaloneTasks = StandaloneTasks.SCHEDULED
    redact_patterns: str = ""
    look_up_deployers: bool = False
    dying_tasks: str = DEFAULT_DYING_TASKS
    no_progress_minutes: int = DEFAULT_NO_PROGRESS // MINUTE
    actors: str = ""
    session_names: str = ""
    account_id: str = ""
    region: str = ""
    member_role_name: str = ""
    rule_names: Mapping[str, str] = field(default_factory=dict)
    queue_url: str = ""
    dlq_urls: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings; raise SettingsError that lists every problem at once."""
        if problems := list(_problems(environ)):
            raise SettingsError("; ".join(problems))
        return cls(
            table_name=environ["TABLE_NAME"],
            channels=environ["CHANNELS"],
            slack_token_name=environ.get("SLACK_TOKEN_NAME", ""),
            slack_webhook_name=environ.get("SLACK_WEBHOOK_NAME", ""),
            secret_store=SecretStore(environ.get("SECRET_STORE") or SecretStore.PARAMETER_STORE),
            slack_api_url=environ.get("SLACK_API_URL") or SLACK_API_URL,
            stack_name=environ.get("STACK_NAME", ""),
            read_task_definitions=_switch(environ, "READ_TASK_DEFINITIONS", otherwise=True),
            read_logs=ReadLogs(environ.get("READ_LOGS") or ReadLogs.OFF),
            standalone_tasks=StandaloneTasks(
                environ.get("STANDALONE_TASKS") or StandaloneTasks.SCHEDULED
            ),
            redact_patterns=environ.get("REDACT_PATTERNS", ""),
            look_up_deployers=_switch(environ, "LOOK_UP_DEPLOYERS", otherwise=False),
            dying_tasks=environ.get("DYING_TASKS") or DEFAULT_DYING_TASKS,
            no_progress_minutes=int(
                environ.get("NO_PROGRESS_MINUTES") or DEFAULT_NO_PROGRESS // MINUTE
            ),
            actors=environ.get("ACTORS", ""),
            session_names=environ.get("SESSION_NAMES", ""),
            account_id=environ.get("ACCOUNT_ID", ""),
            region=environ.get("REGION", ""),
            member_role_name=environ.get("MEMBER_ROLE_NAME", ""),
            rule_names=dict(_pairs(environ.get("RULE_NAMES", ""))),
            queue_url=environ.get("QUEUE_URL", ""),
            dlq_urls=tuple(_listed(environ.get("DLQ_URLS", ""))),
        )


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for pair in _listed(text):
        name, _, value = pair.partition("=")
        yield name, value


def _switch(environ: Mapping[str, str], name: str, *, otherwise: bool) -> bool:
    value = _SWITCHES[environ.get(name, "")]
    return otherwise if value is None else value


def _problems(environ: Mapping[str, str]) -> Iterator[str]:
    for name in ("TABLE_NAME", "CHANNELS"):
        if not environ.get(name):
            yield f"{name} is not set"
    if not environ.get("SLACK_TOKEN_NAME") and not environ.get("SLACK_WEBHOOK_NAME"):
        yield "neither SLACK_TOKEN_NAME nor SLACK_WEBHOOK_NAME is set: there is nowhere to tell"
    if any(not all(pair) for pair in _pairs(environ.get("RULE_NAMES", ""))):
        yield "RULE_NAMES must be rules like Heartbeat=NAME, separated by commas"
    if environ.get("SECRET_STORE", "") not in ("", *SecretStore):
        yield f"SECRET_STORE must be one of {', '.join(SecretStore)}"
    if environ.get("READ_LOGS", "") not in ("", *ReadLogs):
        yield f"READ_LOGS must be one of {', '.join(ReadLogs)}"
    if environ.get("STANDALONE_TASKS", "") not in ("", *StandaloneTasks):
        yield f"STANDALONE_TASKS must be one of {', '.join(StandaloneTasks)}"
    for name in ("READ_TASK_DEFINITIONS", "LOOK_UP_DEPLOYERS"):
        if environ.get(name, "") not in _SWITCHES:
            yield f"{name} must be true or false"
    if not re.fullmatch(r"\d{0,4}", environ.get("NO_PROGRESS_MINUTES", "")):
        yield "NO_PROGRESS_MINUTES must be a number of minutes"
    if not re.fullmatch(_SLACK_API_URL, environ.get("SLACK_API_URL", "")):
        yield "SLACK_API_URL must be an https address that ends with a slash"
