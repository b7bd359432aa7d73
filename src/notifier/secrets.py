"""The bot token or webhook URL, read from where it is kept when it is first needed.

AWS Systems Manager Parameter Store:
https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html
AWS Secrets Manager:
https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
"""

import json
import logging
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from notifier.errors import SecretUnavailable
from notifier.settings import SecretStore

_log = logging.getLogger(__name__)

KEPT_FOR = timedelta(minutes=5)
READ_AGAIN_AFTER = timedelta(seconds=30)

_PLACEHOLDER = re.compile(
    r"(replace|change|fill|insert)[\s_-]*(me|this|it|in|here)\b.*"
    r"|xox[a-z]-x+.*|todo|tbd|placeholder.*|dummy|none|null|x+|[-._*]+|<.*>|.*(\.\.\.|…).*|.*\byour[\s_-].*",
    re.IGNORECASE | re.DOTALL,
)

_ADVICE = {
    "ParameterNotFound": "create it in this account and region",
    "ResourceNotFoundException": "create it in this account and region",
    "AccessDeniedException": "allow the function's role to read it and to use its KMS key",
}


class Secret:
    """A named secret, kept for five minutes.

    `client` makes the client of the store when it is first needed; its time-outs bound a call.
    In Secrets Manager the value is plain text, or a JSON object whose string is under `token` or
    `webhook`, or is its only one. White space around the value is no part of it.
    """

    def __init__(
        self,
        *,
        name: str,
        store: SecretStore,
        client: Callable[[], Any],
        monotonic: Callable[[], float],
    ) -> None:
        self._name = name
        self._store = store
        self._new_client = client
        self._monotonic = monotonic
        self._client: Any = None
        self._value: str | None = None
        self._due_at = self._allowed_at = 0.0

    def __call__(self, fresh: bool = False) -> str:
        """The value. `fresh` reads it again, but at most once in 30 s.

        While reading fails, the old value is returned; without one SecretUnavailable is raised,
        which says what to do.
        """
        now = self._monotonic()
        if self._value is not None and now < (self._allowed_at if fresh else self._due_at):
            return self._value
        self._allowed_at = self._due_at = now + READ_AGAIN_AFTER.total_seconds()
        try:
            self._value = self._read()
        except SecretUnavailable as error:
            if self._value is None:
                raise
            _log.warning("secret.stale", extra={"why": str(error)})
        else:
            self._due_at = now + KEPT_FOR.total_seconds()
        return self._value

    def _read(self) -> str:
        value = self._text(self._fetch()).strip()
        if not value:
            raise self._unavailable("is empty: put the Slack bot token or webhook URL there")
        if _PLACEHOLDER.fullmatch(value):
            raise self._unavailable(
                "still holds a placeholder: put the Slack bot token or webhook URL there"
            )
        return value

    def _fetch(self) -> str:
        from botocore.exceptions import BotoCoreError, ClientError

        # `from None`: only the error's code goes on, whatever else AWS or botocore say.
        try:
            return self._ask()
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "ClientError"))
        except BotoCoreError as error:
            code = type(error).__name__
        except KeyError:
            raise self._unavailable("holds no text: store it as a string") from None
        advice = _ADVICE.get(code)
        raise self._unavailable(f"cannot be read: {code}" + (f" ({advice})" if advice else ""))

    def _ask(self) -> str:
        self._client = self._client or self._new_client()
        if self._store is SecretStore.SECRETS_MANAGER:
            return str(self._client.get_secret_value(SecretId=self._name)["SecretString"])
        answer = self._client.get_parameter(Name=self._name, WithDecryption=True)
        return str(answer["Parameter"]["Value"])

    def _unavailable(self, what: str) -> SecretUnavailable:
        return SecretUnavailable(f"the secret {self._name!r} in {self._store} {what}")

    def _text(self, value: str) -> str:
        """The value, taken out of the JSON object that the Secrets Manager console makes."""
        if self._store is not SecretStore.SECRETS_MANAGER or not value.lstrip().startswith("{"):
            return value
        try:
            fields = json.loads(value)
        except (ValueError, RecursionError):
            # `from None`: the error's text would quote the value.
            raise self._unavailable("begins like a JSON object but is none: correct it") from None
        strings = {key: text for key, text in fields.items() if isinstance(text, str)}
        named = [strings[key] for key in ("token", "webhook") if key in strings]
        found = named or list(strings.values())
        if len(found) != 1:
            raise self._unavailable("must hold one string, under the key token or webhook")
        return found[0]
