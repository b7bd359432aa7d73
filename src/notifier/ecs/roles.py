"""Credentials of roles in other accounts and regions, kept until shortly before they expire.

A function that assumes a role from its own role's session gets an hour at most.
https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining
https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from notifier.ecs.fields import child, moment, text
from notifier.ecs.reads import read_errors
from notifier.errors import ReadFailed

if TYPE_CHECKING:
    from mypy_boto3_sts import STSClient

ACTION = "sts:AssumeRole"
SESSION_NAME = "ecs-watch"  # what the member's CloudTrail shows
LEFT = timedelta(minutes=5)  # of an hour, so that no read begins with what expires under it
ASKED_AGAIN_AFTER = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What STS gave, and until when it is good. Its text shows none of it."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    expires_at: datetime


@dataclass(slots=True)
class Roles:
    """Assumes roles. `sts` is called when it is first needed, `now` is the clock."""

    sts: "Callable[[], STSClient]"
    now: Callable[[], datetime]
    _held: dict[str, Credentials] = field(default_factory=dict, repr=False)
    _refused: dict[str, tuple[datetime, str]] = field(default_factory=dict, repr=False)

    def credentials(self, role_arn: str) -> Credentials:
        """Those held, or new ones. Raises ReadFailed, which then holds for a minute.

        Nobody waits for a role twice while an alert is due.
        """
        held = self._held.get(role_arn)
        if held and self.now() < held.expires_at - LEFT:
            return held
        at, why = self._refused.get(role_arn, (None, ""))
        if at and self.now() < at + ASKED_AGAIN_AFTER:
            raise ReadFailed(ACTION, why)
        try:
            self._held[role_arn] = self._assume(role_arn)
        except ReadFailed as failed:
            self._refused[role_arn] = self.now(), failed.why
            raise
        self._refused.pop(role_arn, None)
        return self._held[role_arn]

    def _assume(self, role_arn: str) -> Credentials:
        with read_errors(ACTION):
            answer = self.sts().assume_role(RoleArn=role_arn, RoleSessionName=SESSION_NAME)
        given = child(answer, "Credentials")
        expires_at = moment(given, "Expiration")
        if expires_at is None:
            raise ReadFailed(ACTION, "unavailable (an answer without a time)")
        return Credentials(
            access_key_id=text(given, "AccessKeyId"),
            secret_access_key=text(given, "SecretAccessKey"),
            session_token=text(given, "SessionToken"),
            expires_at=expires_at,
        )
