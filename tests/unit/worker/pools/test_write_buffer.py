from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from kombu.asynchronous import Hub

from taskq.worker.pools.write_buffer import Outgoing


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.close()


def read_all(sock: socket.socket, hub: Hub, size: int) -> bytes:
    sock.settimeout(10)
    received = b""
    while len(received) < size:
        received += sock.recv(1 << 20)
        if hub.writers:
            hub.run_once()
    return received


def test_what_the_kernel_does_not_take_waits_in_order(hub: Hub):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    hub.add_reader(ours.fileno(), lambda: None)
    outgoing = Outgoing(ours, hub)
    parts = [bytes([number]) * 300_000 for number in range(8)]

    for part in parts:
        outgoing.send(part)
    assert not outgoing.flushed

    assert read_all(theirs, hub, 2_400_000) == b"".join(parts)
    assert outgoing.flushed
    assert hub.writers == {}
    assert ours.fileno() in hub.readers
    ours.close()
    theirs.close()


def test_a_reader_that_is_gone_is_no_error(hub: Hub):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    outgoing = Outgoing(ours, hub)
    outgoing.send(b"x" * 1_000_000)
    theirs.close()

    outgoing.flush()
    outgoing.send(b"more")

    assert outgoing.flushed
    outgoing.close()
    assert hub.writers == {}
    ours.close()
