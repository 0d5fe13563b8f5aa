"""Addresses on which a worker serves metrics and probes: of TCP, or of a Unix socket."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import closing, suppress
from dataclasses import dataclass

FORMS = "HOST:PORT, :PORT for all addresses of this host, [::1]:PORT, or unix:/PATH"
_WAIT = 1.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: on ``host`` and ``port``, or at ``path``. ``host`` is empty for all addresses."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse(text: str) -> Address:
    """Return the address that ``text`` names, as ``127.0.0.1:9100`` or ``unix:/run/taskq.sock``.

    Raises ``ValueError`` for any other text.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path.startswith("/") or "\0" in path:
            raise ValueError(f"{text!r} is no address: {FORMS}.")
        return Address(path=path)
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535 or (":" in host and not bracketed):
        raise ValueError(f"{text!r} is no address: {FORMS}.")
    return Address(host=host[1:-1] if bracketed else host, port=int(port))


def check(address: Address) -> None:
    """Raise ``OSError`` if nothing can listen there, as when another worker does."""
    with closing(listen(address)):
        leave(address)


def listen(address: Address) -> socket.socket:
    """Return a socket that listens. Raises ``OSError``, with the address in its text, if that can't be."""
    try:
        return _on_path(address.path) if address.path else _on_port(address)
    except (OSError, UnicodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise OSError(f"--serve (TASKQ_SERVE): can't listen on {address}: {why}.") from error


def leave(address: Address) -> None:
    """Remove what a socket has left in the file system."""
    if address.path:
        with suppress(OSError):
            os.unlink(address.path)


def _on_port(address: Address) -> socket.socket:
    if not address.host and socket.has_dualstack_ipv6():
        return socket.create_server(("", address.port), family=socket.AF_INET6, dualstack_ipv6=True)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    return socket.create_server((address.host, address.port), family=family)


def _on_path(path: str) -> socket.socket:
    _remove_abandoned(path)
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        found.bind(path)
        found.listen()
    except BaseException:
        found.close()
        raise
    return found


def _remove_abandoned(path: str) -> None:
    """Remove the socket of a process that was killed. Anything else at ``path`` stays, and is an error."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "there is a file that is no socket")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as asking:
        asking.settimeout(_WAIT)
        try:
            asking.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
