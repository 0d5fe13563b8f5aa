"""The places of connections in a child with greenlets; here threads take them, as patched ones would."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections

from taskq.worker.pools import green_connections
from taskq.worker.pools.green_connections import BoundConnections


class Connection:
    """Refers to itself, as Django's do: only a collection finds it."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.connection: Any = None
        self.ops = self

    def connect(self) -> None:
        self.connection = object()

    def close(self) -> None:
        self.connection = None


@pytest.fixture
def create(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Return a function that makes a connection; two may be open."""
    monkeypatch.setattr(connections, "create_connection", Connection)
    monkeypatch.setattr(green_connections, "_LOOK_EVERY", 0.01)
    BoundConnections(2)
    return lambda: connections.create_connection("default")


def in_thread(function: Callable[[], object]) -> None:
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "no place was free"


def test_a_connection_that_nobody_closes_leaves_its_place_when_it_is_collected(create: Callable[[], Any]) -> None:
    for _ in range(5):
        in_thread(lambda: create().connect())


def test_a_place_is_left_once_by_a_connection_that_is_closed_and_then_collected(create: Callable[[], Any]) -> None:
    def use() -> None:
        connection = create()
        connection.connect()
        connection.close()
        connection.close()

    for _ in range(5):
        in_thread(use)
    held = [create(), create()]
    for connection in held:
        connection.connect()
    waiting = threading.Thread(target=lambda: create().connect(), daemon=True)
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive(), "a third connection was opened"
    held[0].close()
    waiting.join(60)
    assert not waiting.is_alive()
