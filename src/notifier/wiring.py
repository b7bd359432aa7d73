"""The only place where real clients are built, each when it is first needed."""

import logging
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from notifier.actors import People, parse_actors, parse_session_names
from notifier.errors import SettingsError
from notifier.intake import Intake
from notifier.model import Invocation, Route
from notifier.routing import WEBHOOK, parse_channels
from notifier.secrets import Secret
from notifier.settings import SecretStore, Settings
from notifier.store import Store
from notifier.thresholds import Thresholds, parse_dying_tasks

if TYPE_CHECKING:
    from botocore.config import Config
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_sts import STSClient

    from notifier.ecs import Ecs, May
    from notifier.ecs.accounts import Accounts
    from notifier.ecs.roles import Credentials
    from notifier.examining import Examination
    from notifier.lookout import Lookout
    from notifier.slack import Slack
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
    def ecs(self) -> "Ecs":
        """The door to our own ECS; it remembers task definitions, so there is one for ever."""
        from notifier.ecs import Ecs

        return Ecs(_ecs, _beside_ecs, self._may, _at_once, _monotonic)

    @cached_property
    def accounts(self) -> "Accounts":
        """The door to ECS wherever a cluster is: ours, or that of a member."""
        from notifier.ecs import Ecs
        from notifier.ecs.accounts import Accounts, Clients
        from notifier.ecs.roles import Roles

        roles = Roles(_sts, lambda: datetime.now(UTC))  # noqa: TID251

        def member(account: str, region: str) -> Ecs:
            name = self.settings.member_role_name
            clients = Clients(roles, _as_member, name, account, region)
            return Ecs(clients.ecs, clients.other, self._may, _at_once, _monotonic)

        return Accounts(self.ecs, self.settings.account_id, self.settings.region, member)

    @cached_property
    def _may(self) -> "May":
        from notifier.ecs import May

        return May(
            task_definitions=self.settings.read_task_definitions,
            logs=self.settings.read_logs,
            callers=self.settings.look_up_deployers,
        )

    @cached_property
    def people(self) -> People:
        """Whom the settings know. A typo in them silences no alert: then it is what is shipped."""
        return People(
            slack_ids=_understood(parse_actors, self.settings.actors) or {},
            session_names=_understood(parse_session_names, self.settings.session_names)
            or parse_session_names(),
        )

    @cached_property
    def thresholds(self) -> Thresholds:
        """When what ECS is silent of is trouble; a typo is no reason to watch nothing."""
        deaths = _understood(parse_dying_tasks, self.settings.dying_tasks)
        return Thresholds(
            deaths=parse_dying_tasks() if deaths is None else deaths,
            no_progress=timedelta(minutes=self.settings.no_progress_minutes),
        )

    @cached_property
    def own_secrets(self) -> tuple[re.Pattern[str], ...] | None:
        """What the stack's owner calls a secret; None when nobody can say what that is."""
        from notifier.redaction import parse_patterns

        return _understood(parse_patterns, self.settings.redact_patterns)

    @cached_property
    def intake(self) -> Intake:
        """Step one."""
        return Intake(
            self.store,
            self.routes,
            self.settings.stack_name,
            self.people,
            self.thresholds,
            self.settings.standalone_tasks,
        )

    def lookout(self) -> "Lookout":
        """Step two."""
        from notifier.lookout import Lookout

        examination = self.examination if self.settings.queue_url else None
        teller, told = self.teller(), self.routes
        return Lookout(self.store, self.accounts, teller, told, examination, self.thresholds)

    def examination(self, is_late: Callable[[], bool] = lambda: False) -> "Examination":
        """A look at what the stack itself is made of; no more of it once it is late."""
        from notifier.deployed import Deployed
        from notifier.examining import Examination, Parts

        told = dict.fromkeys(route.destination for route in self.routes if not route.ignored)
        parts = Parts(
            rules=self.settings.rule_names,
            queue_url=self.settings.queue_url,
            dlq_urls=self.settings.dlq_urls,
            table_name=self.settings.table_name,
            channels=tuple(told),
            bot_channels=tuple(channel for channel in told if channel != WEBHOOK),
        )
        return Examination(parts, Deployed(_client), self.slack, self.store, is_late)

    def beat(self, heard: Collection[tuple[str, str]], run: Invocation) -> None:
        """Count a heartbeat of our own once it has come the whole way, Slack's answer included.

        A webhook cannot be asked. Those of other accounts say nothing of ours.
        """
        own = (self.settings.account_id, self.settings.region)
        if all(own) and own not in heard:
            return
        routes = (route.destination for route in self.routes if not route.ignored)
        if any(to != WEBHOOK for to in routes):
            from notifier.checkup import Identity

            answer = self.slack().identity()
            if not isinstance(answer, Identity):
                logger.error("heartbeat: Slack did not answer", extra={"code": answer.code})
                return
        run.tally["Heartbeat"] += 1

    def teller(self) -> "Teller":
        """Step three; its connections to Slack live as long as it does.

        All that explains and tells is imported here: most events are only taken in.
        """
        from notifier.slack import Webhook
        from notifier.teller import Teller

        slack = self.slack()
        webhook = Webhook(url=self.webhook_url, counted=_count_slack)

        def door(destination: str) -> "Door":
            return webhook if destination == WEBHOOK else slack

        return Teller(
            self.store,
            self.accounts,
            door,
            self.routes,
            self.people,
            self.own_secrets or (),
            only_our_words=self.own_secrets is None,
            thresholds=self.thresholds,
        )

    def slack(self) -> "Slack":
        """The way to Slack with the bot token; its connections live as long as it does."""
        from notifier.slack import Slack

        base_url = self.settings.slack_api_url
        return Slack(base_url=base_url, token=self.token, counted=_count_slack)

    @cached_property
    def token(self) -> Secret:
        """The bot token, read when it is needed."""
        return self._secret(self.settings.slack_token_name)

    @cached_property
    def webhook_url(self) -> Secret:
        """The webhook's URL, read when it is needed."""
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


def client_of(service: str, region: str = "") -> Any:
    """A client of the account that somebody is logged in to, for a person's commands."""
    return _client(service, read_timeout=10, attempts=3, region=region)


def client_once(service: str) -> Any:
    """The same, and no call is sent a second time unless the caller does."""
    return _client(service, read_timeout=10, attempts=1)


def client_that_acts(service: str) -> Any:
    """A client that sends a request once: whoever acts decides by itself what is sent again.

    DynamoDB's is the exception; it sends its transactions again under a token of its own.
    """
    return _client(service, read_timeout=8, attempts=3 if service == "dynamodb" else 1)


def _dynamodb() -> "DynamoDBClient":
    client: DynamoDBClient = _client("dynamodb", read_timeout=5, attempts=3)
    return client


def _ecs() -> "ECSClient":
    client: ECSClient = _client("ecs")
    return client


def _beside_ecs(service: str, region: str) -> Any:
    """A client of what explains a failure besides ECS: its logs, CloudTrail, the account's name."""
    return _client(service, region=region)


def _sts() -> "STSClient":
    # Once only: the read that waits for it is tried again with the next message.
    client: STSClient = _client("sts", attempts=1)
    return client


def _as_member(service: str, region: str, credentials: "Credentials") -> Any:
    """A client that acts as a member's role."""
    import boto3

    client = boto3.client(  # type: ignore[call-overload]
        service,
        region,
        aws_access_key_id=credentials.access_key_id,
        aws_secret_access_key=credentials.secret_access_key,
        aws_session_token=credentials.session_token,
        config=_config(),
    )
    return _counted(client)


# How reads go out, and the clock that ends them: a replay of a history puts its own in their place.
def _at_once(reads: Sequence[Callable[[], Any]], seconds: float) -> Sequence[Any]:
    from notifier.ecs.reads import in_threads

    return in_threads(reads, seconds)


_monotonic = time.monotonic


@cache
def _client(service: str, *, read_timeout: int = 2, attempts: int = 2, region: str = "") -> Any:
    import boto3

    config = _config(read_timeout, attempts)
    return _counted(boto3.client(service, region or None, config=config))  # type: ignore[call-overload]


def _config(read_timeout: int = 2, attempts: int = 2) -> "Config":
    """To give up early: what is asked for must never hold an alert back."""
    from botocore.config import Config

    return Config(
        connect_timeout=2,
        read_timeout=read_timeout,
        retries={"mode": "standard", "total_max_attempts": attempts},
    )


# --- how many calls are made --------------------------------------------------------------------

_calls: deque[str] = deque()  # reads are made in several threads, which a deque allows


def calls_made() -> Counter[str]:
    """The calls of AWS and Slack since this was last asked, by service."""
    return Counter(_calls.popleft() for _ in range(len(_calls)))


def _counted(client: Any) -> Any:
    """The client, which counts its calls.

    https://boto3.amazonaws.com/v1/documentation/api/latest/guide/events.html
    """
    client.meta.events.register("before-call", _count_aws)
    return client


def _count_aws(model: Any, **_: Any) -> None:
    _calls.append(model.service_model.service_name)


def _count_slack() -> None:
    _calls.append("slack")
