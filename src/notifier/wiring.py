"""The only place where real clients are built, each when it is first needed."""

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from notifier.actors import People, parse_actors, parse_session_names
from notifier.ecs import Ecs, May
from notifier.ecs.reads import in_threads
from notifier.errors import SettingsError
from notifier.intake import Intake
from notifier.model import Route
from notifier.routing import WEBHOOK, parse_channels
from notifier.secrets import Secret
from notifier.settings import SecretStore, Settings
from notifier.slack import Slack, Webhook
from notifier.store import Store

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_ecs import ECSClient

    from notifier.lookout import Lookout
    from notifier.teller import Door, Teller

logger = logging.getLogger(__name__)
Read = TypeVar("Read")


@dataclass
class Program:
    """The three steps with their doors, for one set of settings."""

    settings: Settings

    @cached_property
    def routes(self) -> tuple[Route, ...]:
        """What `Channels` says; SettingsError when a rule is wrong or has no secret to use."""
        routes = parse_channels(self.settings.channels)
        secrets = {WEBHOOK: self.settings.slack_webhook_name}
        for route in routes:
            if not route.ignored and not secrets.get(
                route.destination, self.settings.slack_token_name
            ):
                raise SettingsError(
                    f"Channels sends '{route.pattern}' to {route.destination}, but no "
                    f"{'webhook' if route.destination == WEBHOOK else 'bot token'} is configured"
                )
        return routes

    @cached_property
    def store(self) -> Store:
        """The door to the table."""
        return store_of(self.settings.table_name)

    @cached_property
    def ecs(self) -> Ecs:
        """The door to ECS; it remembers task definitions, so there is one for the whole life."""
        may = May(
            task_definitions=self.settings.read_task_definitions,
            logs=self.settings.read_logs,
            callers=self.settings.look_up_deployers,
        )
        return Ecs(_ecs, _beside_ecs, may, _at_once, _monotonic)

    @cached_property
    def people(self) -> People:
        """Whom the settings know. A typo in them silences no alert: then it is what is shipped."""
        return People(
            slack_ids=_understood(parse_actors, self.settings.actors) or {},
            session_names=_understood(parse_session_names, self.settings.session_names)
            or parse_session_names(),
        )

    @cached_property
    def own_secrets(self) -> tuple[re.Pattern[str], ...] | None:
        """What the stack's owner calls a secret; None when nobody can say what that is."""
        from notifier.redaction import parse_patterns

        return _understood(parse_patterns, self.settings.redact_patterns)

    @cached_property
    def intake(self) -> Intake:
        """Step one."""
        return Intake(self.store, self.routes, self.settings.stack_name, self.people)

    def lookout(self) -> "Lookout":
        """Step two."""
        from notifier.lookout import Lookout

        return Lookout(self.store, self.ecs, self.teller(), self.routes)

    def teller(self) -> "Teller":
        """Step three; its connections to Slack live as long as it does.

        All that explains and tells is imported here: most events are only taken in.
        """
        from notifier.teller import Teller

        slack = Slack(base_url=self.settings.slack_api_url, token=self._token)
        webhook = Webhook(url=self._webhook_url)

        def door(destination: str) -> "Door":
            return webhook if destination == WEBHOOK else slack

        return Teller(
            self.store,
            self.ecs,
            door,
            self.routes,
            self.people,
            self.own_secrets or (),
            only_our_words=self.own_secrets is None,
        )

    @cached_property
    def _token(self) -> Secret:
        return self._secret(self.settings.slack_token_name)

    @cached_property
    def _webhook_url(self) -> Secret:
        return self._secret(self.settings.slack_webhook_name)

    def _secret(self, name: str) -> Secret:
        store = self.settings.secret_store
        service = "ssm" if store is SecretStore.PARAMETER_STORE else "secretsmanager"
        return Secret(
            name=name,
            store=store,
            client=lambda: _client(service),
            monotonic=_monotonic,
        )


def _understood(parse: Callable[[str], Read], setting: str) -> Read | None:
    """The setting as it is parsed; where that is wrong the log says what, and it is None."""
    try:
        return parse(setting)
    except SettingsError as error:
        logger.error("setting not understood", extra={"why": str(error)})
        return None


def store_of(table_name: str) -> Store:
    """The door to a deployed stack's table, for a person's commands."""
    return Store(table_name, _dynamodb)


def _dynamodb() -> "DynamoDBClient":
    client: DynamoDBClient = _client("dynamodb", read_timeout=5, attempts=3)
    return client


def _ecs() -> "ECSClient":
    client: ECSClient = _client("ecs")
    return client


def _beside_ecs(service: str, region: str) -> Any:
    """A client of what explains a failure besides ECS: its logs, CloudTrail, the account's name."""
    return _client(service, region=region)


# How reads go out, and the clock that ends them: a replay of a history puts its own in their place.
_at_once = in_threads
_monotonic = time.monotonic


@cache
def _client(service: str, *, read_timeout: int = 2, attempts: int = 2, region: str = "") -> Any:
    """A client that gives up early: what it is asked for must never hold an alert back."""
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=2,
        read_timeout=read_timeout,
        retries={"mode": "standard", "total_max_attempts": attempts},
    )
    return boto3.client(service, region or None, config=config)  # type: ignore[call-overload]
