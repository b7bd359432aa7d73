"""A server on 127.0.0.1 that does with a connection whatever a test wants, byte by byte."""

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self


class RawServer:
    """Accepts connections, reads requests, and hands each to `behave`, in a thread of its own.

    With `reads=False` a connection is handed over unread, and with `accepts=False` it stays in the
    kernel's queue. Leaving the `with` block ends every connection and thread.
    """

    def __init__(self, behave: "Behaviour", *, reads: bool = True, accepts: bool = True) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.stopping = threading.Event()
        self._behave = behave
        self._reads = reads
        self._accepts = accepts
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"

    def __enter__(self) -> Self:
        if self._accepts:
            self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stopping.set()
        for opened in (self._listener, *self._open):
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for opened in (self._listener, *self._open):
            opened.close()
        assert not any(thread.is_alive() for thread in self._threads)

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            self.connections += 1
            self._start(lambda connection=connection: self._serve(connection))  # type: ignore[misc]

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if not self._reads:
                self._behave(self, connection)
                return
            while request := _read_request(connection):
                self.requests.append(request)
                self._behave(self, connection)


Behaviour = Callable[[RawServer, socket.socket], None]


def _read_request(connection: socket.socket) -> bytes:
    """One whole request, or b"" when the other side has closed."""
    request = b""
    while b"\r\n\r\n" not in request:
        if not (part := connection.recv(65536)):
            return b""
        request += part
    head, _, body = request.partition(b"\r\n\r\n")
    missing = _content_length(head) - len(body)
    while missing > 0:
        if not (part := connection.recv(65536)):
            return b""
        request, missing = request + part, missing - len(part)
    return request


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def response(body: str | bytes = b"", *, status: str = "200 OK", **headers: str) -> bytes:
    """An HTTP answer with its right length, unless `Content_Length` says another."""
    content = body.encode() if isinstance(body, str) else body
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    lines = {"Content-Length": str(len(content)), **named}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + content


def sends(answer: bytes) -> Behaviour:
    return lambda _, connection: connection.sendall(answer)


def sends_and_closes(answer: bytes) -> Behaviour:
    def behave(_: RawServer, connection: socket.socket) -> None:
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_RDWR)

    return behave


def closes(_: RawServer, connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def resets(_: RawServer, connection: socket.socket) -> None:
    """Close with RST rather than FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def hangs(server: RawServer, _: socket.socket) -> None:
    server.stopping.wait()


def trickles(start: bytes, drop: bytes) -> Behaviour:
    """`start` at once, then one `drop` every 20 ms for ever."""

    def behave(server: RawServer, connection: socket.socket) -> None:
        connection.sendall(start)
        while not server.stopping.wait(0.02):
            connection.sendall(drop)

    return behave
