"""Ports for servers that can't be given port 0, for a test needs to know the address before they listen."""

from __future__ import annotations

import os
import socket
from itertools import count


def free_port() -> int:
    """Return a port that is free, and that stays so until the server has it.

    It is below those that the system gives to connections (32768 and more), and each process looks from another on.
    """
    for port in count(10_000 + os.getpid() % 20_000):
        with socket.socket() as found:
            try:
                found.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError
