"""Reads made at once and within a time, and a word for why one failed.

What is read to explain a failure must never hold the alert back: a client gives up after its own
time-outs, and whoever waits here goes on without what is not there by then.
"""

import logging
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from notifier.errors import ReadFailed

logger = logging.getLogger(__name__)

AT_ONCE = 10  # as many connections as botocore keeps for a client
TOO_SLOW = "too slow"
GONE = "gone"
NO_PERMISSION = "no permission"
NOT_OF_THIS_SERVICE = "not of this service"  # nothing is missing then

# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/CommonErrors.html
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html
# https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
_WHY = {
    "AccessDenied": NO_PERMISSION,
    "AccessDeniedException": NO_PERMISSION,
    "ClusterNotFoundException": GONE,
    "ServiceNotFoundException": GONE,
    "ResourceNotFoundException": GONE,
    "Throttling": "throttled",
    "ThrottlingException": "throttled",
    "TooManyRequestsException": "throttled",
    "UnsupportedFeatureException": NOT_OF_THIS_SERVICE,
}
# Whoever asks is not logged in, or not any more.
NO_LOGIN = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "TokenRetrievalError",
    "SSOTokenLoadError",
    "UnauthorizedSSOTokenError",
    "ProfileNotFound",
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
}
# What is asked for is no such thing as AWS could have, or nobody says where to ask.
_NONSENSE = {
    "InvalidParameterException",
    "ClientException",
    "ValidationException",
    "ParamValidationError",
    "NoRegionError",
    "InvalidRegionError",
}


@dataclass(frozen=True, slots=True)
class Read:
    """A call to make: IAM's name of it (`ecs:ListTasks`), and what makes it."""

    action: str
    call: Callable[[], Any]

    def __call__(self) -> Any:
        """Make it. Raises ReadFailed."""
        with read_errors(self.operation):
            return self.call()

    @property
    def operation(self) -> str:
        """The call as AWS's API names it."""
        return self.action.partition(":")[2]

    @property
    def is_of_ecs(self) -> bool:
        """Whether ECS itself answers it."""
        return self.action.startswith("ecs:")


class AtOnce(Protocol):
    """Makes reads and waits for at most `seconds`: for each its answer, or what it raised."""

    def __call__(
        self, reads: Sequence[Callable[[], Any]], seconds: float, /
    ) -> Sequence[Any | Exception]:
        """Outcomes in the order of the reads; TimeoutError for one that is not over."""


def in_threads(reads: Sequence[Callable[[], Any]], seconds: float) -> Sequence[Any | Exception]:
    """Ten at a time, each in a thread. One that is late ends by its client's own time-outs."""
    pool = ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="read")
    try:
        futures = [pool.submit(read) for read in reads]
        wait(futures, timeout=seconds)
        return [_outcome(future) for future in futures]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _outcome(future: "Future[Any]") -> Any | Exception:
    if not future.done():
        return TimeoutError()
    error = future.exception()
    return error if isinstance(error, Exception) else future.result()


def in_turn(reads: Sequence[Callable[[], Any]], _seconds: float) -> Sequence[Any | Exception]:
    """One after the other in the caller's own thread, for clients that answer from memory."""
    return [_tried(read) for read in reads]


def _tried(read: Callable[[], Any]) -> Any | Exception:
    try:
        return read()
    except Exception as error:
        return error


Key = TypeVar("Key", bound=Hashable)


@dataclass(slots=True)
class Budget:
    """The time that several rounds of reads have together, each of them at most `a_round`.

    A round ends before its slowest read would, so that one does not use up what the others need.
    """

    at_once: AtOnce
    monotonic: Callable[[], float]
    ends_at: float
    a_round: float
    _asked: bool = field(default=False, init=False)
    _answered: bool = field(default=False, init=False)

    @property
    def is_over(self) -> bool:
        """Whether no time is left."""
        return self.monotonic() >= self.ends_at

    @property
    def ecs_is_silent(self) -> bool:
        """Whether ECS was asked, and has answered nothing in time; a refusal is an answer."""
        return self._asked and not self._answered

    def answers(self, reads: Mapping[Key, Read]) -> Mapping[Key, Any | ReadFailed]:
        """What each read answered; those that failed, or came too late, say why."""
        seconds = min(self.a_round, self.ends_at - self.monotonic())
        if not reads:
            return {}
        if seconds <= 0:
            return {key: _too_slow(read) for key, read in reads.items()}
        outcomes = self.at_once(list(reads.values()), seconds)
        answers = {
            key: _judged(read, outcome)
            for (key, read), outcome in zip(reads.items(), outcomes, strict=True)
        }
        of_ecs = [answers[key] for key, read in reads.items() if read.is_of_ecs]
        self._asked = self._asked or bool(of_ecs)
        self._answered = self._answered or not all(map(is_too_slow, of_ecs))
        return answers


def _judged(read: Read, outcome: Any | Exception) -> Any | ReadFailed:
    if isinstance(outcome, TimeoutError):
        return _too_slow(read)
    if isinstance(outcome, Exception) and not isinstance(outcome, ReadFailed):
        # Its type alone: botocore quotes what it cannot parse, and that may hold a secret.
        kind = type(outcome).__name__
        logger.warning("a read broke", extra={"action": read.action, "error": kind})
        return ReadFailed(read.operation, f"unavailable ({kind})")
    return outcome


def is_final(failed: ReadFailed) -> bool:
    """Whether asking again cannot help: not allowed, not there, not logged in, or nonsense."""
    return is_refused(failed) or failed.why == GONE or _code_of(failed) in NO_LOGIN


def is_refused(failed: ReadFailed) -> bool:
    """Whether this one read is never answered, though others are: not allowed, or nonsense."""
    return failed.why == NO_PERMISSION or _code_of(failed) in _NONSENSE


def _code_of(failed: ReadFailed) -> str:
    """AWS's code of the error, or what botocore calls it."""
    error = failed.__cause__
    code: str = getattr(error, "response", {}).get("Error", {}).get("Code", "")
    return code or type(error).__name__


def is_too_slow(answer: Any) -> bool:
    """Whether it is no answer because none came in time."""
    return isinstance(answer, ReadFailed) and answer.why == TOO_SLOW


def _too_slow(read: Read) -> ReadFailed:
    return ReadFailed(read.operation, TOO_SLOW)


@contextmanager
def read_errors(operation: str) -> Iterator[None]:
    """Turn boto3's errors into ReadFailed."""
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        ConnectTimeoutError,
        ReadTimeoutError,
    )

    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        is_unknown = (operation, code) == ("DescribeTaskDefinition", "ClientException")
        why = GONE if is_unknown else _WHY.get(code, f"unavailable ({code})")
        raise ReadFailed(operation, why) from error
    except (ConnectTimeoutError, ReadTimeoutError) as error:
        raise ReadFailed(operation, TOO_SLOW) from error
    except BotoCoreError as error:
        raise ReadFailed(operation, "unavailable") from error
