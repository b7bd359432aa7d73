"""A running workspace: the team, its clock, its limits, the faults to come, and a log of calls."""

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from types import TracebackType
from typing import Any, Self

from sandbox.workspace import answers, methods, webhooks
from sandbox.workspace.answers import Answer, Request
from sandbox.workspace.faults import Fault, FaultPlan
from sandbox.workspace.pacing import Limits, Pacer
from sandbox.workspace.server import Server
from sandbox.workspace.team import App, Channel, Hook, Json, Team

MINIMAL_SCOPES = frozenset({"chat:write"})
FULL_SCOPES = MINIMAL_SCOPES | {
    "channels:history",
    "channels:read",
    "groups:history",
    "groups:read",
    "reactions:write",
}
CHANNELS: Mapping[str, str] = {"C0DEPLOYS1": "deploys", "C0GENERAL1": "general"}
LIMITS = Limits()


@dataclass(frozen=True)
class Recorded:
    """A call that came in. `outcome` is ok, Slack's error, 429 or the fault that it met."""

    at: float
    method: str
    channel: str
    arguments: Mapping[str, Any]
    outcome: str


@dataclass
class Late:
    """An accepted call that takes effect only at `due`."""

    due: float
    commit: Callable[[float], object]


@dataclass
class History:
    """What happened so far and is forgotten by a reset."""

    calls: list[Recorded] = field(default_factory=list)
    late: list[Late] = field(default_factory=list)
    redirected: int = 0


class Workspace:
    """A Slack workspace on 127.0.0.1, served between `start` and `stop` or in a `with` block.

    `channels` are ids with names, or whole channels; the app is a member of those given by name.
    `clock` gives seconds since the epoch for `ts`, limits and late commits. `limits=None` paces
    nothing. Token and webhook address are made anew for each workspace.
    """

    def __init__(
        self,
        channels: Mapping[str, str] | Iterable[Channel] = CHANNELS,
        *,
        scopes: Iterable[str] = FULL_SCOPES,
        token: str = "",
        limits: Limits | None = LIMITS,
        clock: Callable[[], float] = time.time,
        port: int = 0,
    ) -> None:
        self.app = App(token or f"xoxb-{secrets.token_hex(12)}", frozenset(scopes))
        self.clock = clock
        self.lock = threading.RLock()
        self.team = Team(apps=[self.app])
        self._channels = list(_channels(channels, self.app.bot_id))
        self._limits = limits
        self._fill()
        self._server = Server(self, port)

    def _fill(self) -> None:
        self.team.channels = {
            channel.id: replace(channel, members=set(channel.members), messages=[])
            for channel in self._channels
        }
        self.team.last_ts = 0  # without messages none is repeated, and the clock may have gone back
        self.plan, self.pacer, self.history = FaultPlan(), Pacer(self._limits), History()
        if not self.team.hooks:
            for channel in self._channels:
                self.team.hooks.append(_hook(channel.id))

    # --- served -------------------------------------------------------------------------------

    def start(self) -> Self:
        """Listen. The address is `url`."""
        self._server.start()
        self.team.url = self.url
        return self

    def stop(self) -> None:
        """Close every connection and end every thread."""
        self._server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The page's address, with a slash at its end."""
        return f"http://127.0.0.1:{self._server.port}/"

    @property
    def api_url(self) -> str:
        """The Web API's address, with a slash at its end."""
        return f"{self.url}api/"

    @property
    def token(self) -> str:
        """The app's bot token."""
        return self.app.token

    @property
    def webhook_url(self) -> str:
        """The incoming webhook of the first channel."""
        return self.webhook_url_of(self._channels[0].id)

    def webhook_url_of(self, channel_id: str) -> str:
        """The incoming webhook of a channel."""
        hook = next(hook for hook in self.team.hooks if hook.channel == channel_id)
        return self.url + hook.path.lstrip("/")

    @property
    def environment(self) -> dict[str, str]:
        """What to export so that a program talks to this workspace."""
        return {
            "SLACK_API_URL": self.api_url,
            "SLACK_TOKEN": self.token,
            "SLACK_WEBHOOK_URL": self.webhook_url,
        }

    # --- looked at ----------------------------------------------------------------------------

    def channel(self, id_or_name: str) -> Channel:
        """A channel as it is now; KeyError when there is none."""
        with self.lock:
            self._commit_due()
            if channel := self.team.channel_named(id_or_name):
                return channel
        raise KeyError(id_or_name)

    @property
    def calls(self) -> list[Recorded]:
        """Every call so far, in order."""
        return self.history.calls

    def state(self) -> Json:
        """Channels, messages, calls and waiting faults as JSON. It holds no secret."""
        with self.lock:
            self._commit_due()
            return {
                "channels": [_channel_json(channel) for channel in self.team.channels.values()],
                "calls": [asdict(call) for call in self.calls],
                "faults": self.plan.as_json(),
                "late": len(self.history.late),
                "redirected": self.history.redirected,
            }

    # --- steered ------------------------------------------------------------------------------

    def inject(self, method: str, fault: str, times: int | None = 1, **options: Any) -> Fault:
        """Let calls of a method (or `webhook`, or `*`) meet a fault; see `faults`."""
        with self.lock:
            self.plan.waiting.append(Fault(fault, method, times=times, **options))
            return self.plan.waiting[-1]

    def break_down(self, faults: Iterable[Fault]) -> None:
        """Let calls meet these faults and forget all others; without any, Slack works again."""
        with self.lock:
            self.plan.waiting[:] = faults

    def reset(self) -> None:
        """Forget messages, calls and faults; archived channels and revoked tokens are back."""
        with self.lock:
            self._fill()
            self.team.last_ts = 0  # whoever resets may put the clock back
            self.app.revoked = False
            for hook in self.team.hooks:
                hook.enabled = True
            self.team.changes += 1

    # --- answering ----------------------------------------------------------------------------

    def answer(self, request: Request) -> Answer:
        """The answer to a call, whatever faults it meets on its way."""
        with self.lock:
            now = self.clock()
            self._commit_due()
            channel = self._channel_of(request)
            fault = self.plan.take(request.method, channel.id if channel else "")
            reply = self._met(request, fault, channel, now) if fault else None
            if reply is None:
                reply = self._paced(request, channel, now)
            outcome = fault.fault if fault and fault.fault != "ok" else _outcome(reply)
            self.calls.append(
                Recorded(now, request.method, channel.id if channel else "", request.arguments,
                         outcome)
            )  # fmt: skip
            return reply

    def _channel_of(self, request: Request) -> Channel | None:
        if request.method == "webhook":
            hook = next((hook for hook in self.team.hooks if hook.path == request.path), None)
            return self.team.channels.get(hook.channel) if hook else None
        return self.team.channel_named(str(request.arguments.get("channel", "")))

    def _met(
        self, request: Request, fault: Fault, channel: Channel | None, now: float
    ) -> Answer | None:
        """What a call that meets a fault is answered; None: go on as usual."""
        match fault.fault:
            case "rate_limited":
                return answers.rate_limited(request.method, fault.retry_after)
            case "ok":
                return None
            case "delete_root" | "archive" | "revoke_token":
                self._change(request, fault.fault, channel)
                return None
        true = self._accepted(request, fault, now) if fault.accepts else None
        true = true or answers.not_accepted(request.method)
        return answers.spoilt(true, fault, request.method, self.url)

    def _change(self, request: Request, fault: str, channel: Channel | None) -> None:
        self.team.changes += 1
        if fault == "revoke_token":
            self._revoke(request)
        elif channel and fault == "archive":
            channel.archived = True
        elif channel:
            ts = request.arguments.get("thread_ts") or request.arguments.get("ts")
            channel.delete(str(ts))

    def _revoke(self, request: Request) -> None:
        for hook in self.team.hooks:
            hook.enabled = hook.enabled and hook.path != request.path
        if app := self.team.app_with(request.token):
            app.revoked = True

    def _accepted(self, request: Request, fault: Fault, now: float) -> Answer:
        if not fault.commit_after:
            return self._effect(request, now)
        due = now + fault.commit_after
        self.history.late.append(Late(due, lambda at: self._effect(request, at)))
        return answers.json_answer({"ok": True})

    def _commit_due(self) -> None:
        now = self.clock()
        ready = [late for late in self.history.late if late.due <= now]
        self.history.late = [late for late in self.history.late if late.due > now]
        for late in sorted(ready, key=lambda late: late.due):
            late.commit(late.due)

    def _paced(self, request: Request, channel: Channel | None, now: float) -> Answer:
        place = channel.id if channel else ""
        if wait := self.pacer.wait(request.method, request.token, place, now):
            return answers.rate_limited(request.method, wait)
        return self._effect(request, now)

    def _effect(self, request: Request, now: float) -> Answer:
        if request.method == "webhook":
            payload = None if request.problem else request.arguments
            return answers.text_answer(*webhooks.deliver(self.team, request.path, payload, now))
        if request.problem:
            return answers.json_answer({"ok": False, "error": request.problem})
        body = methods.answer(self.team, request.method, request.token, request.arguments, now)
        app = self.team.app_with(request.token)
        scopes = {"X-OAuth-Scopes": ",".join(sorted(app.scopes))} if app else {}
        return replace(answers.json_answer(body), headers=scopes)


def _channels(channels: Mapping[str, str] | Iterable[Channel], bot_id: str) -> Iterable[Channel]:
    if not isinstance(channels, Mapping):
        return channels
    return [Channel(id, name, members={bot_id}) for id, name in channels.items()]


def _hook(channel_id: str) -> Hook:
    secret = secrets.token_hex(12)
    return Hook(f"/services/T0SANDBOX/B{secret[:9].upper()}/{secret}", channel_id)


def _outcome(answer: Answer) -> str:
    if answer.status != 200:
        return str(answer.status)
    error = json.loads(answer.body).get("error") if answer.body[:1] == b"{" else None
    return str(error or "ok")


def _channel_json(channel: Channel) -> Json:
    shown = [
        methods.shown_message(channel, message, whole_metadata=True)
        | {"app": message.app, "in_channel": message.in_channel, "versions": message.versions}
        for message in channel.messages
    ]
    return {
        "id": channel.id,
        "name": channel.name,
        "private": channel.private,
        "archived": channel.archived,
        "messages": shown,
    }
