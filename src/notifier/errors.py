"""Every error of ours, and whether trying again can help.

WatchError
├── MalformedEvent       an event that cannot be read; it stays in the queue and ends in the DLQ
├── SettingsError        the stack or the shell is configured wrongly; says each thing to correct
├── Conflict             somebody else saved first; load and decide again       (retryable)
├── LeaseLost            the channel has another holder now; stop at once       (retryable)
├── StoreUnavailable     the table did not answer, or late, or with an error    (retryable)
│   ├── Busy             two transactions met at a row; the same again succeeds (retryable)
│   └── NoTable          the table does not exist                               (retryable)
├── SecretUnavailable    the token or webhook URL could not be read             (retryable)
└── ReadFailed           ECS could not be read; `why` says in a word            (retryable)
"""


class WatchError(Exception):
    """Base of all errors that ecs-watch raises on purpose."""

    retryable = False


class MalformedEvent(WatchError):
    """The input is not an event that EventBridge would send. The text says which field and why."""


class SettingsError(WatchError):
    """A setting is missing or cannot be understood. The text lists every problem found."""


class Conflict(WatchError):
    """The row was changed by somebody else between our read and our write."""

    retryable = True


class LeaseLost(WatchError):
    """The channel is held by somebody else now, so nothing more may be recorded by us."""

    retryable = True


class StoreUnavailable(WatchError):
    """The table could not be reached, throttled us, or failed inside."""

    retryable = True


class Busy(StoreUnavailable):
    """Another transaction was at work on the same row. No condition failed: try the same again."""


class NoTable(StoreUnavailable):
    """There is no table of that name; it may be restored from its backup."""


class SecretUnavailable(WatchError):
    """A secret could not be read. The text names the secret, never its value."""

    retryable = True


class ReadFailed(WatchError):
    """A read of ECS failed. `why` : no permission, gone, throttled, too slow or unavailable."""

    retryable = True

    def __init__(self, operation: str, why: str) -> None:
        super().__init__(f"{operation}: {why}")
        self.operation = operation
        self.why = why
