"""The workspace's HTTP: reads requests, sends answers, and misbehaves where a fault says so."""

import json
import select
import socket
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from sandbox.workspace import page
from sandbox.workspace.answers import WHOLE, Answer, Request, json_answer
from sandbox.workspace.methods import FORM_ONLY

if TYPE_CHECKING:
    from sandbox.workspace.workspace import Workspace

STEP = 0.02  # seconds between two looks whether a hanging client has left or the server stops
FORM = "application/x-www-form-urlencoded"


class Server:
    """A threaded HTTP server on 127.0.0.1; port 0 takes a free one."""

    def __init__(self, workspace: "Workspace", port: int) -> None:
        self._http = _Http(("127.0.0.1", port), _Handler, bind_and_activate=True)
        self._http.workspace = workspace
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._http.server_address[1])

    def start(self) -> None:
        """Serve in a thread of its own."""
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": STEP}, name="workspace"
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop serving, end connections that are still open, and wait for their threads."""
        self._http.stopping.set()
        if self._thread:
            self._http.shutdown()
            self._thread.join()
        self._http.end_connections()
        self._http.server_close()


class _Http(ThreadingHTTPServer):
    daemon_threads = False  # server_close waits for all of them
    workspace: "Workspace"

    def __init__(self, *args: Any, **options: Any) -> None:
        self.stopping = threading.Event()
        self.connections: set[socket.socket] = set()
        self.resets: set[socket.socket] = set()
        super().__init__(*args, **options)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        if request in self.resets:
            self.resets.discard(request)
            request.close()  # without the orderly end that shutdown() would send first
        else:
            super().shutdown_request(request)

    def end_connections(self) -> None:
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # it ended by itself
                self.connections.discard(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # clients may leave whenever they like
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "sandbox", ""
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._send(self._routed())

    def do_POST(self) -> None:
        self._send(self._routed())

    def do_DELETE(self) -> None:
        self._send(self._routed())

    def _routed(self) -> Answer:
        path, body = urlsplit(self.path).path, self._body()
        workspace = self.server.workspace
        if path.startswith("/api/"):
            return workspace.answer(self._api_request(path.removeprefix("/api/"), body))
        if path.startswith("/services/"):
            return workspace.answer(self._webhook_request(path, body))
        if path.startswith("/_sandbox/"):
            return self._controlled(path.removeprefix("/_sandbox/"), body)
        return page.answer(workspace, path, self._query())

    # --- reading ------------------------------------------------------------------------------

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.path).query))

    def _api_request(self, method: str, body: bytes) -> Request:
        query = self._query()
        arguments, problem = self._arguments(method, body)
        arguments = {**query, **arguments}
        bearer = self.headers.get("Authorization") or ""
        token = str(arguments.pop("token", "")) if not self._is_json() else ""
        token = bearer.removeprefix("Bearer ").strip() or token
        return Request(method, token=token, arguments=arguments, problem=problem)

    def _is_json(self) -> bool:
        return self.headers.get_content_type() == "application/json"

    def _arguments(self, method: str, body: bytes) -> tuple[dict[str, Any], str]:
        if not body or (self._is_json() and method in FORM_ONLY):
            return {}, ""
        if self._is_json():
            return _json_object(body)
        if self.headers.get_content_type() == FORM:
            return _form(body)
        return {}, "invalid_post_type"

    def _webhook_request(self, path: str, body: bytes) -> Request:
        if self.headers.get_content_type() == FORM:
            body = _form(body)[0].get("payload", "").encode()
        arguments, problem = _json_object(body)
        return Request("webhook", path, arguments=arguments, problem=problem)

    # --- control ------------------------------------------------------------------------------

    def _controlled(self, what: str, body: bytes) -> Answer:
        workspace = self.server.workspace
        match self.command, what:
            case "GET", "state":
                return json_answer(workspace.state())
            case "GET", "view":
                return page.view_answer(workspace, self._query())
            case "POST", "faults":
                return self._injected(body)
            case "POST", "reset":
                workspace.reset()
            case "DELETE", "faults":
                workspace.plan.waiting.clear()
            case _, "redirected":
                workspace.history.redirected += 1
            case _:
                return Answer(404, b"no such control\n", "text/plain")
        return json_answer({"ok": True})

    def _injected(self, body: bytes) -> Answer:
        asked, _ = _json_object(body)
        try:
            self.server.workspace.inject(asked.pop("method", "*"), asked.pop("fault", ""), **asked)
        except (TypeError, ValueError) as error:
            return Answer(400, json.dumps({"ok": False, "error": str(error)}).encode())
        return json_answer({"ok": True, "faults": self.server.workspace.plan.as_json()})

    # --- sending ------------------------------------------------------------------------------

    def _send(self, answer: Answer) -> None:
        if answer.delivery != WHOLE:
            self.close_connection = True
        match answer.delivery:
            case "hang":
                self._wait(answer.seconds)
            case "close":
                pass
            case "reset":
                self._reset()
            case "slow_body":
                self._head(answer)
                self._drip(answer)
            case "truncated_body":
                self._head(answer)
                self.wfile.write(answer.body[: len(answer.body) // 2])
            case _:
                self._head(answer)
                self.wfile.write(answer.body)

    def _head(self, answer: Answer) -> None:
        self.send_response(answer.status)
        if answer.status != 204:
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _drip(self, answer: Answer) -> None:
        pause = answer.seconds / max(1, len(answer.body))
        for byte in answer.body:
            if not self._wait(pause):
                return
            self.wfile.write(bytes([byte]))

    def _wait(self, seconds: float) -> bool:
        """Do nothing for a while; False as soon as the client has left or the server stops."""
        while seconds > 0:
            if self.server.stopping.wait(min(STEP, seconds)) or self._client_left():
                return False
            seconds -= STEP
        return True

    def _client_left(self) -> bool:
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def _reset(self) -> None:
        linger_for_nothing = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_for_nothing)
        self.server.resets.add(self.connection)


def _json_object(body: bytes) -> tuple[dict[str, Any], str]:
    try:
        content = json.loads(body)
    except ValueError:
        return {}, "invalid_json"
    return (content, "") if isinstance(content, dict) else ({}, "json_not_object")


def _form(body: bytes) -> tuple[dict[str, Any], str]:
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True)), ""
    except UnicodeDecodeError:
        return {}, "invalid_form_data"
