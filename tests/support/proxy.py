"""A TCP proxy before a database server: it cuts, refuses and freezes connections, and the server never notices.

So a test takes a server away from a worker, and from nobody else.
"""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

_Pair = tuple[socket.socket, socket.socket]


class Proxy:
    """Carries bytes between clients and the server of ``url``, as long as it is let. A context manager."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or {"postgres": 5432}.get(parts.scheme, 3306))
        self._listening = socket.create_server(("127.0.0.1", 0))
        port = self._listening.getsockname()[1]
        user = parts.netloc.rpartition("@")[0]
        #: The same database by way of this proxy.
        self.url = urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{port}" if user else f"127.0.0.1:{port}"))
        self._refusing, self._ended = False, False
        self._running = threading.Event()
        self._running.set()
        self._pairs: list[_Pair] = []
        self._lock = threading.Lock()
        #: How many connections were made.
        self.connections = 0

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended = True
        self._running.set()
        # Only a shutdown ends an accept() that is under way.
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()

    # -- what a test does

    def cut(self) -> int:
        """Break all connections; new ones are let through. Returns how many there were."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        return len(pairs)

    def stop(self) -> None:
        """Break all connections and refuse new ones, like a server that was stopped."""
        self._refusing = True
        self.cut()

    def start(self) -> None:
        """Let connections through again."""
        self._refusing = False

    def freeze(self) -> None:
        """Carry nothing more; connections stay open, and whoever waits for an answer waits."""
        self._running.clear()

    def thaw(self) -> None:
        """Go on where it was frozen."""
        self._running.set()

    # -- how

    def _accept(self) -> None:
        while not self._ended:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            pair = (client, socket.create_connection(self._server))
            for end in pair:
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                # With the lock: what ``stop`` does not refuse, it cuts.
                refused = self._refusing
                if not refused:
                    self.connections += 1
                    self._pairs.append(pair)
            if refused:
                self._forget(*pair)
            else:
                threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        try:
            while True:
                for end in select.select([client, server], [], [])[0]:
                    data = end.recv(65536)
                    self._running.wait()
                    if not data:
                        return
                    other[end].sendall(data)
        except OSError:
            return
        finally:
            self._forget(client, server)

    def _forget(self, client: socket.socket, server: socket.socket) -> None:
        with self._lock:
            self._pairs = [pair for pair in self._pairs if pair[0] is not client]
        client.close()
        server.close()
