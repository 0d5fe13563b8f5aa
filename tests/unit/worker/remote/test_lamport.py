"""The Lamport clock only grows, whatever is received."""

from __future__ import annotations

from typing import Any

import pytest

from taskq.worker.remote.lamport import LamportClock


def test_the_clock_is_ahead_of_all_that_was_received() -> None:
    clock = LamportClock()
    assert [clock.forward(), clock.forward()] == [1, 2]
    assert clock.adjust(10) == 11
    assert clock.adjust(3) == 12
    assert clock.forward() == 13


@pytest.mark.parametrize("other", [None, "7", 7.5, True, -1, 2**60, [1], {"a": 1}])
def test_what_is_no_clock_changes_nothing(other: Any) -> None:
    clock = LamportClock()
    assert clock.adjust(other) == clock.value == 0
