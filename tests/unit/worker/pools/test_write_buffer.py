from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from kombu.asynchronous import Hub

from taskq.worker.pools.write_buffer import WriteBuffer


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


def test_data_that_the_kernel_does_not_take_waits_in_order(hub: Hub):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    hub.add_reader(ours.fileno(), lambda: None)
    buffer = WriteBuffer(ours, hub)
    parts = [bytes([number]) * 300_000 for number in range(8)]

    for part in parts:
        buffer.send(part)
    assert hub.writers

    assert read_all(theirs, hub, 2_400_000) == b"".join(parts)
    assert hub.writers == {}
    assert ours.fileno() in hub.readers
    ours.close()
    theirs.close()


def test_sending_to_a_closed_reader_is_no_error(hub: Hub):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    buffer = WriteBuffer(ours, hub)
    buffer.send(b"x" * 1_000_000)
    theirs.close()

    buffer.flush()
    buffer.send(b"more")

    assert hub.writers == {}
    buffer.close()
    ours.close()
