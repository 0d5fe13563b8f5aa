"""Connections to ``django://`` on each vendor; all are closed before the database is emptied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kombu import Connection

import taskq.transport  # noqa: F401 - registers django://


@pytest.fixture
def connect(alias: str) -> Iterator[Callable[..., Any]]:
    """Return a function that opens a connection, with ``transport_options`` as its arguments."""
    opened = []

    def open_one(**options: Any) -> Any:
        connection = Connection(f"django://{alias}", transport_options=options)
        opened.append(connection)
        return connection

    yield open_one
    for connection in opened:
        connection.release()


@pytest.fixture
def connection(connect: Callable[..., Any]) -> Any:
    return connect()


@pytest.fixture
def channel(connection: Any) -> Any:
    return connection.channel()
