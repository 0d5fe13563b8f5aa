"""The rehearsal before the fork server is forked: this process does what each of the children will do first.

``execution.rehearsal`` says why. The main process and the fork server share what Python writes now, too: if the fork
server rehearsed, both would have a copy. This process plays both ends of a child's connection, and forks nothing.
"""

from __future__ import annotations

from contextlib import suppress
from typing import cast

from taskq.execution import isolation, rehearsal

from .child import Child
from .child_connection import ChildConnection
from .hub import Hub

#: Python specializes the bytecode of a function after eight calls. What is handed over fits into the socket.
_TIMES = 8


def rehearse() -> None:
    """Run a few deliveries that do nothing. An error ends the rehearsal: children then start more slowly."""
    with suppress(Exception):
        _rehearse()
    isolation.forget()


def _rehearse() -> None:
    # A socket that takes everything needs no hub.
    connection = ChildConnection(cast(Hub, None))
    try:
        connection.hand_over([rehearsal.delivery() for _ in range(_TIMES)])
        connection.ask_to_stop()
        _, permits = connection.child_fds
        Child(connection.child_sock, permits, rehearsal.run, 0).work()
    finally:
        connection.close()
