from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from taskq.worker.pools.deadlines import Deadlines


class Clockwork:
    """Keeps what is to be called, by the delay."""

    def __init__(self) -> None:
        self.entries: list[tuple[float, Callable[..., object], tuple[Any, ...]]] = []

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> None:
        self.entries.append((delay, callback, args))

    def fire(self, number: int) -> None:
        _, callback, args = self.entries[number]
        callback(*args)


def test_sooner_deadline_adds_a_timer_and_later_one_adds_none():
    clockwork, checks = Clockwork(), []
    deadlines = Deadlines(clockwork, lambda: checks.append(1))  # type: ignore[arg-type]
    now = time.monotonic()

    deadlines.add(now + 2)
    deadlines.add(now + 3)
    deadlines.add(now + 1)
    assert len(clockwork.entries) == 2

    clockwork.fire(1)
    clockwork.fire(0)
    assert checks == [1]


def test_far_deadline_is_checked_every_few_seconds():
    clockwork = Clockwork()
    deadlines = Deadlines(clockwork, lambda: deadlines.add(far))  # type: ignore[arg-type]
    far = time.monotonic() + 3600

    for number in range(20):
        deadlines.add(far)
        clockwork.fire(number)

    assert all(4 < delay <= 5 for delay, _, _ in clockwork.entries)
    assert len(clockwork.entries) == 21
