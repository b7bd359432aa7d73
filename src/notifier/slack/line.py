"""How a request goes out: once, with the secret of the hour, and ended at its deadline."""

import logging
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from notifier.errors import SecretUnavailable
from notifier.model import Refusal, Refused, Unknown
from notifier.slack.answers import Reply
from notifier.slack.bodies import Body

if TYPE_CHECKING:
    import requests

_log = logging.getLogger(__name__)

DEADLINE = timedelta(seconds=10)
CONNECT_SECONDS = 3.0
LARGEST_ANSWER = 1024 * 1024  # bytes, unpacked

_Judged = TypeVar("_Judged")


@dataclass(frozen=True, slots=True, repr=False)
class Target:
    """Where a request goes, and the bot token it carries; either may be secret."""

    url: str
    token: str


class Line:
    """Sends with the secret, and after an error of the credentials once more with the new one.

    `counted` is called before each request.
    """

    def __init__(
        self,
        secret: Callable[[bool], str],
        shape: re.Pattern[str],
        monotonic: Callable[[], float],
        deadline: timedelta,
        counted: Callable[[], None],
    ) -> None:
        self._counted = counted
        self._secret = secret
        self._shape = shape
        self._monotonic = monotonic
        self._deadline = deadline
        self._session: requests.Session | None = None

    def until(self) -> float:
        """When what begins now must have ended, on the monotonic clock."""
        return self._monotonic() + self._deadline.total_seconds()

    def send(
        self,
        target: Callable[[str], Target],
        body: Body,
        judge: Callable[[Reply], _Judged],
        until: float | None = None,
    ) -> _Judged | Refused | Unknown:
        """Post the body; `judge` reads the answer where there is one.

        `until` is for requests that share a deadline; without it this one has its own.
        """
        until = self.until() if until is None else until

        def once(secret: str) -> _Judged | Refused | Unknown:
            if not self._shape.fullmatch(secret):
                return Refused(Refusal.CREDENTIALS, "secret_malformed")
            reply = self._exchange(target(secret), body, until - self._monotonic())
            return judge(reply) if isinstance(reply, Reply) else reply

        if (secret := self._read(fresh=False)) is None:
            return Refused(Refusal.CREDENTIALS, "secret_unavailable")
        outcome = once(secret)
        if not _needs_credentials(outcome):
            return outcome
        renewed = self._read(fresh=True)
        if renewed in (None, secret) or self._monotonic() >= until:
            return outcome
        return once(str(renewed))

    def _read(self, *, fresh: bool) -> str | None:
        try:
            return self._secret(fresh)
        except SecretUnavailable as error:
            _log.warning("slack.secret_unavailable", extra={"why": str(error)})
            return None

    def _exchange(self, target: Target, body: Body, seconds: float) -> Reply | Refused | Unknown:
        if seconds <= 0:
            return Refused(Refusal.UNAVAILABLE, "timeout")
        self._counted()
        session = self._session = self._session or _new_session()
        exchange = _Exchange()
        # A thread, because neither a name that does not resolve nor headers that trickle in can be
        # bounded otherwise: the time-outs of a socket are per read, and start anew with each byte.
        worker = threading.Thread(
            target=_run, args=(exchange, session, target, body, seconds), name=_THREAD, daemon=True
        )
        worker.start()
        worker.join(seconds)
        if worker.is_alive():
            self._session = None  # the thread still has it, and closes it
            exchange.cut()
        return exchange.result()


def _needs_credentials(outcome: object) -> bool:
    return isinstance(outcome, Refused) and outcome.refusal is Refusal.CREDENTIALS


class _Exchange:
    """One request on its way, shared by the thread that sends it and the one that waits.

    Once a byte may have left, only an answer can say that nothing was posted. Once it is cut, no
    byte leaves any more: a connection that is made too late is not written to.
    """

    def __init__(self) -> None:
        self._reply: Reply | None = None
        self._fault = "timeout"
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._is_cut = False

    def begin(self, connected: socket.socket) -> None:
        """Called before the request's bytes are written; raises when it is too late for that."""
        with self._lock:
            if self._is_cut:
                raise TimeoutError("the deadline passed before the request was sent")
            self._socket = connected

    def cut(self) -> None:
        """End it now, whatever it waits for."""
        with self._lock:
            self._is_cut = True
            if self._socket is not None:
                # Not SSLSocket's own method: it takes the TLS state away under the reading thread.
                with suppress(OSError, TypeError):
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def got(self, reply: Reply) -> None:
        """An answer, or its head when the body is still to come. After the cut it is too late."""
        with self._lock:
            if not self._is_cut:
                self._reply = reply

    def failed(self, fault: str) -> None:
        """Nothing more will come."""
        with self._lock:
            if self._is_cut:
                return
            self._fault = fault
            if self._reply is not None:
                self._reply = replace(self._reply, body=None, fault=fault)

    @property
    def is_cut(self) -> bool:
        """Whether nobody waits for this any more."""
        return self._is_cut

    def result(self) -> Reply | Refused | Unknown:
        """What is known now."""
        if self._reply is not None:
            return self._reply
        if self._socket is not None:
            return Unknown(self._fault)
        return Refused(Refusal.UNAVAILABLE, self._fault)


def _run(
    exchange: _Exchange, session: "requests.Session", target: Target, body: Body, seconds: float
) -> None:
    """The thread's work. No error leaves it: texts of `requests` and `urllib3` quote the URL."""
    try:
        _post(exchange, session, target, body, seconds)
    except Exception as error:  # only a word of ours goes on
        exchange.failed(_fault(error))
    finally:
        if exchange.is_cut:
            session.close()


def _post(
    exchange: _Exchange, session: "requests.Session", target: Target, body: Body, seconds: float
) -> None:
    import requests

    def authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:
        if target.token:
            request.headers["Authorization"] = f"Bearer {target.token}"
        return request

    headers = {"Content-Type": body.content_type}
    # `auth` rather than a plain header: else an entry in ~/.netrc would take the token's place.
    request = session.prepare_request(
        requests.Request("POST", target.url, data=body.content, headers=headers, auth=authorize)
    )
    settings = session.merge_environment_settings(request.url, {}, True, None, None)
    adapter: Any = session.get_adapter(target.url)
    adapter.exchange = exchange
    # The adapter, not the session: it follows no redirect, and reads no redirect's body for it.
    timeout = (min(CONNECT_SECONDS, seconds), seconds)
    with adapter.send(request, timeout=timeout, **settings) as response:
        head = Reply(response.status_code, response.headers, None, "timeout")
        exchange.got(head)
        content = _read_bounded(response)
        fault = "answer_too_large" if content is None else ""
        exchange.got(replace(head, body=content, fault=fault))


def _read_bounded(response: "requests.Response") -> bytes | None:
    content = bytearray()
    for chunk in response.iter_content(64 * 1024):
        content += chunk
        if len(content) > LARGEST_ANSWER:
            return None
    return bytes(content)


_FAULTS = {
    "NameResolutionError": "name_not_resolved",
    "NewConnectionError": "not_connected",
    "ConnectTimeoutError": "connect_timeout",
    "SSLError": "tls_failed",
    "ReadTimeoutError": "timeout",
    "ReadTimeout": "timeout",
    "IncompleteRead": "answer_truncated",
    "InvalidChunkLength": "answer_truncated",
    "DecodeError": "answer_undecodable",
}


def _fault(error: BaseException) -> str:
    """A word for what happened: the innermost error says most, unless a proxy stood between."""
    names = [type(cause).__name__ for cause in _causes(error)]
    if "ProxyError" in names:
        return "proxy_failed"
    return next((_FAULTS[name] for name in reversed(names) if name in _FAULTS), "connection_lost")


def _causes(error: object) -> Iterator[BaseException]:
    """The error and those that `requests` and `urllib3` wrapped in it."""
    while isinstance(error, BaseException):
        yield error
        wrapped = (getattr(error, "reason", None), *error.args)
        error = next((part for part in wrapped if isinstance(part, BaseException)), None)


# --- requests, held to once -------------------------------------------------------------------

_THREAD = "slack-request"


def _new_session() -> "requests.Session":
    """A session whose adapter sends once and tells `adapter.exchange` before it does."""
    import requests
    from requests.adapters import HTTPAdapter

    class OnceAdapter(HTTPAdapter):
        exchange: _Exchange

        def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
            pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
            pool.ConnectionCls = _watched(type(pool).ConnectionCls, lambda: self.exchange)
            return pool

    _silence_urllib3()
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, OnceAdapter(max_retries=0))
    return session


def _watched(connection_class: Any, exchange: Callable[[], _Exchange]) -> Any:
    """The connection class, made to tell the exchange before the request's first byte is sent.

    A proxy's CONNECT is no byte of the request, so what is sent while connecting is not told.
    """

    class Watched(connection_class):  # type: ignore[misc]
        is_connecting = False

        def connect(self) -> None:
            self.is_connecting = True
            try:
                super().connect()
            finally:
                self.is_connecting = False

        def send(self, content: Any) -> None:
            if self.sock is None:
                self.connect()
            if not self.is_connecting:
                exchange().begin(self.sock)
            super().send(content)

    return Watched


def _silence_urllib3() -> None:
    """Drop urllib3's log lines about our requests: they quote the path of the webhook's URL."""
    for name in ("connection", "connectionpool", "poolmanager", "response", "util.retry"):
        logging.getLogger(f"urllib3.{name}").addFilter(_is_not_ours)


def _is_not_ours(_: logging.LogRecord) -> bool:
    return threading.current_thread().name != _THREAD
