"""The remote thread, over kombu's transport in memory: parts, calls, and errors that it survives."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import override_settings
from kombu import Exchange, Queue

from taskq.worker.remote import thread as thread_module
from taskq.worker.remote.link import Link
from taskq.worker.remote.thread import RemoteThread
from tests.support.waiting import wait_until

EXCHANGE = Exchange("remote-thread-test", "fanout", durable=False)


class Echo:
    """A part that publishes a message to itself each time it is connected."""

    def __init__(self) -> None:
        self.received: list[Any] = []
        self.links: list[Link] = []
        self.left = False
        self.fails = 0

    def connected(self, link: Link) -> None:
        self.links.append(link)
        if len(self.links) <= self.fails:
            raise OSError("no connection")
        link.consume(Queue("remote-thread-test", EXCHANGE), lambda message: self.received.append(message.payload))
        link.after(0.0, lambda: link.publish({"number": len(self.links)}, EXCHANGE))

    def leaving(self, link: Link) -> None:
        self.left = True


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def remote(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> Iterator[RemoteThread]:
    monkeypatch.setattr(thread_module, "_FIRST_PAUSE", 0.01)
    with override_settings(TASKQ_CONTROL_URL="memory://"):
        remote = RemoteThread()
        remote.add(echo)
        yield remote
        remote.end(10)
        assert not remote.is_alive()


def test_a_part_consumes_and_publishes(remote: RemoteThread, echo: Echo) -> None:
    assert remote.is_needed
    assert not remote.is_settled
    remote.start()
    wait_until(lambda: echo.received == [{"number": 1}], what="its own message")
    assert remote.is_settled
    remote.end(10)
    assert echo.left


def test_it_connects_when_the_worker_has_claimed_and_makes_calls_before(
    echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread_module, "_BEHIND_TASKS", 3600.0)
    has_claimed, made = threading.Event(), []
    with override_settings(TASKQ_CONTROL_URL="memory://"):
        remote = RemoteThread(has_claimed.is_set)
        remote.add(echo)
        remote.start()
        remote.post(lambda: made.append(len(echo.links)))
        wait_until(lambda: made, what="the call")
        has_claimed.set()
        wait_until(lambda: echo.received, what="its own message")
        remote.end(10)
    assert made == [0]


def test_it_connects_if_the_first_claim_takes_long(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_module, "_BEHIND_TASKS", 0.02)
    with override_settings(TASKQ_CONTROL_URL="memory://"):
        remote = RemoteThread(lambda: False)
        remote.add(echo)
        remote.start()
        wait_until(lambda: echo.received, what="its own message")
        remote.end(10)


def test_it_ends_before_the_worker_has_claimed(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_module, "_BEHIND_TASKS", 3600.0)
    remote = RemoteThread(lambda: False)
    remote.start()
    remote.end(60)
    assert not remote.is_alive()


def test_it_connects_again_after_errors(remote: RemoteThread, echo: Echo) -> None:
    echo.fails = 2
    remote.start()
    wait_until(lambda: echo.received == [{"number": 3}], what="the third connection")


def test_calls_are_made_on_the_thread_and_their_errors_end_nothing(remote: RemoteThread, echo: Echo) -> None:
    made: list[str] = []
    remote.start()
    remote.post(lambda: 1 / 0)
    remote.post(lambda: made.append(threading.current_thread().name))
    wait_until(lambda: made == ["taskq-remote"], what="the call")


def test_calls_are_made_while_there_is_no_connection(remote: RemoteThread, echo: Echo) -> None:
    echo.fails = 1_000_000
    made: list[int] = []
    remote.start()
    remote.post(made.append, 1)
    wait_until(lambda: made == [1], what="the call")
    assert remote.link is None or echo.received == []
