"""Everything that can go wrong between an app and Slack, on demand and by name.

A fault is a *manner* of answering, and by its name nothing was posted (`close`) or the message was
posted all the same (`accept_then_close`). Three others change the workspace before the call is
answered as usual: `delete_root`, `archive`, `revoke_token`. `ok` answers as usual: it lets a call
pass before the next fault's turn comes.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

MANNERS: Mapping[str, str] = {
    "error": "HTTP 200 with ok false and `error`; a webhook: that error's status and bare name",
    "status": "HTTP `status` with a page in HTML, as a gateway sends it",
    "close": "the connection is closed without an answer",
    "reset": "the connection is reset (RST) without an answer",
    "hang": "nothing comes for `seconds`, then the connection is closed",
    "slow_body": "the answer's headers at once, its body over `seconds`",
    "truncated_body": "half of the body that Content-Length promises, then the end",
    "html": "HTTP 200 with a page in HTML, as a captive proxy sends it",
    "empty": "HTTP 200 with an empty body",
    "duplicate_keys": "a JSON object that says ok twice, first false",
    "redirect": "HTTP 302 to `location`",
}
OTHERS: Mapping[str, str] = {
    "ok": "answered as usual",
    "rate_limited": "HTTP 429; `retry_after` is a number, any text, or null for no such header",
    "delete_root": "first deletes the message that `thread_ts` (or `ts`) of the call names",
    "archive": "first archives the channel of the call",
    "revoke_token": "first revokes the token of the call; a webhook is switched off",
}
ACCEPTED = "accept_then_"
NAMES = (*OTHERS, *MANNERS, *(ACCEPTED + manner for manner in MANNERS))


@dataclass
class Fault:
    """What is to go wrong, for which calls, and how often (`times`; None: for ever).

    `method` is a Web API method, `webhook`, or `*`; `channel` an id, or empty for any. `skip` calls
    pass first. With `commit_after`, an accepted message appears that many seconds later.
    """

    fault: str
    method: str = "*"
    channel: str = ""
    times: int | None = 1
    skip: int = 0
    error: str = "internal_error"
    status: int = 500
    retry_after: int | str | None = 1
    seconds: float = 30.0
    commit_after: float = 0.0
    location: str = ""

    def __post_init__(self) -> None:
        if self.fault not in NAMES:
            raise ValueError(f"no fault is called {self.fault!r}; there are: {', '.join(NAMES)}")
        if self.commit_after and not self.accepts:
            raise ValueError(f"commit_after goes with {ACCEPTED}…, not with {self.fault}")

    @property
    def accepts(self) -> bool:
        """Whether the call takes effect in spite of its answer."""
        return self.fault.startswith(ACCEPTED)

    @property
    def manner(self) -> str:
        """How the call is answered, whether or not it took effect."""
        return self.fault.removeprefix(ACCEPTED)

    def concerns(self, method: str, channel: str) -> bool:
        """Whether such a call is this fault's business."""
        return self.method in ("*", method) and self.channel in ("", channel)


@dataclass
class FaultPlan:
    """The faults to come. The first that concerns a call has its turn, and wears out."""

    waiting: list[Fault] = field(default_factory=list)

    def take(self, method: str, channel: str) -> Fault | None:
        """The fault of this call, counted down; None: the call is answered as usual."""
        fault = next((f for f in self.waiting if f.concerns(method, channel)), None)
        if fault is None:
            return None
        if fault.skip:
            fault.skip -= 1
            return None
        if fault.times is not None:
            fault.times -= 1
            if fault.times <= 0:
                self.waiting.remove(fault)
        return fault

    def as_json(self) -> list[dict[str, Any]]:
        """The faults to come, for the state that tests read."""
        return [asdict(fault) for fault in self.waiting]
