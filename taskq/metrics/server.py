"""A small HTTP server for probes and metrics, on a thread of its own.

Clients may be slow or hostile: a connection has ``_SECONDS`` in all, there are ``_MOST`` at a time, and one more ends
the oldest, so that a probe always gets its answer. A request has no body, and each connection has one request.
"""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

from . import log_lines
from .addresses import Address, leave, listen

#: Seconds of one connection, and connections at a time.
_SECONDS, _MOST = 5.0, 16
#: Threads at a time: those of connections that were ended need a moment. A new connection waits for one to end.
_MOST_THREADS = 4 * _MOST
#: Seconds between two looks for connections whose time is over.
_LOOK = 0.5
TEXT = "text/plain; charset=utf-8"


class Page(NamedTuple):
    """What is answered to a request."""

    status: int
    body: bytes
    content_type: str = TEXT


class Server(socketserver.BaseServer):
    """Answers GET and HEAD for the paths of ``pages``, whose functions are called on threads of the server."""

    def __init__(self, address: Address, pages: Mapping[str, Callable[[], Page]]) -> None:
        super().__init__(str(address), _Handler)
        self.pages = pages
        self._address = address
        self.socket = listen(address)
        #: Notified when a thread ends.
        self._lock = threading.Condition()
        #: The open connections in the order of their beginning, each with its last moment.
        self._open: dict[socket.socket, float] = {}
        self._threads = 0
        self._thread = threading.Thread(target=self.serve_forever, args=(_LOOK,), name="taskq-http", daemon=True)

    @property
    def address(self) -> Address:
        """Where the server listens; a port 0 has become the port that the system has chosen."""
        if self._address.path:
            return self._address
        return Address(self._address.host, self.socket.getsockname()[1])

    def start(self) -> None:
        """Start to answer."""
        self._thread.start()

    def end(self) -> None:
        """Listen no more, and end all connections."""
        if self._thread.is_alive():
            self.shutdown()
        self.socket.close()
        leave(self._address)
        with self._lock:
            for connection in self._open:
                _end(connection)

    # -- what socketserver calls

    def fileno(self) -> int:
        """Return the descriptor of the socket that listens."""
        return self.socket.fileno()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection."""
        return self.socket.accept()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection on a thread of its own, and make room for it."""
        with self._lock:
            if len(self._open) >= _MOST:
                _end(next(iter(self._open)))
            if not self._lock.wait_for(lambda: self._threads < _MOST_THREADS, _SECONDS):
                request.close()
                return
            self._open[request] = time.monotonic() + _SECONDS
            self._threads += 1
        try:
            threading.Thread(target=self._answer, args=(request, client_address), daemon=True).start()
        except RuntimeError:  # the system has no room for a thread
            self._close(request)

    def service_actions(self) -> None:
        """End the connections whose time is over."""
        with self._lock:
            for connection, until in self._open.items():
                if time.monotonic() > until:
                    _end(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that went away is nobody's error."""

    def _answer(self, request: socket.socket, client_address: Any) -> None:
        try:
            request.settimeout(_SECONDS)
            self.finish_request(request, client_address)
        except Exception:
            self.handle_error(request, client_address)
        finally:
            self._close(request)

    def _close(self, request: socket.socket) -> None:
        with self._lock:
            self._open.pop(request, None)
            self._threads -= 1
            self._lock.notify()
        _end(request)
        request.close()


def _end(connection: socket.socket) -> None:
    """End a connection that another thread may be reading or writing: that thread goes on at once."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version, sys_version = "taskq", ""
    timeout = _SECONDS

    def do_GET(self) -> None:
        self._send(self._page())

    def do_HEAD(self) -> None:
        self._send(self._page())

    def _page(self) -> Page:
        path = self.path.partition("?")[0]
        if (page := self.server.pages.get(path)) is None:
            return Page(404, f"Ask for {', '.join(self.server.pages)}.\n".encode())
        try:
            return page()
        except Exception:
            log_lines.answer_failed(path)
            return Page(500, b"The answer failed: the log of the worker says why.\n")

    def _send(self, page: Page) -> None:
        self.send_response(page.status)
        if page.status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a request that can't be read, or that has another method; nothing of it is repeated."""
        status = HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus(code)
        self._send(Page(status, f"{status.phrase}\n".encode()))

    def log_message(self, *args: Any) -> None:
        """Say nothing: a probe comes every few seconds."""
