"""A reply that another thread gives: it is sent once, whoever is first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taskq.control.pending import Pending


def made() -> tuple[Pending, list[Any]]:
    def at_once(call: Callable[..., object], *args: Any) -> None:
        call(*args)

    return Pending(at_once, lambda: "late"), []


def test_what_the_other_thread_returns_is_sent() -> None:
    pending, sent = made()
    pending.send_to(sent.append)
    pending.run(lambda a: a + 1, 1)
    pending.time_out()
    assert sent == [2]


def test_a_reply_that_came_before_is_sent() -> None:
    pending, sent = made()
    pending.give(None)
    pending.send_to(sent.append)
    assert sent == [None]


def test_an_error_is_a_reply() -> None:
    pending, sent = made()
    pending.send_to(sent.append)
    pending.run(lambda: 1 / 0)
    assert sent == [{"error": "ZeroDivisionError('division by zero')"}]


def test_a_late_reply_is_dropped() -> None:
    pending, sent = made()
    pending.send_to(sent.append)
    pending.time_out()
    pending.give("too late")
    assert sent == ["late"]
