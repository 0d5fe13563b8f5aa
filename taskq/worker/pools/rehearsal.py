"""The fork server's rehearsal: it does for itself what each of its children will do first.

``execution.rehearsal`` says why. The fork server plays both ends of a child's connection, and forks nothing.
"""

from __future__ import annotations

import gc
from contextlib import suppress
from typing import cast

from taskq.execution import isolation, rehearsal

from .child import Child, drop_connections
from .child_connection import ChildConnection
from .hub import Hub

#: Python specializes the bytecode of a function after eight calls. What is handed over fits into the socket.
_TIMES = 8


def rehearse() -> None:
    """Run a few deliveries that do nothing. An error ends the rehearsal: children then start more slowly."""
    with suppress(Exception):
        _rehearse()
    isolation.forget()
    # Children collect nothing that is older than they are.
    gc.freeze()


def _rehearse() -> None:
    drop_connections()
    # A socket that takes everything needs no hub.
    connection = ChildConnection(cast(Hub, None))
    try:
        connection.hand_over([rehearsal.delivery() for _ in range(_TIMES)])
        connection.ask_to_stop()
        _, permits = connection.child_fds
        Child(connection.child_sock, permits, rehearsal.run, 0).work()
    finally:
        connection.close()
