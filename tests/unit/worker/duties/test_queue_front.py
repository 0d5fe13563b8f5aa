"""Where a claim begins."""

from __future__ import annotations

from typing import Any

import pytest

from taskq.records import Claimed
from taskq.worker.duties import pace, queue_front
from taskq.worker.duties.queue_front import QueueFront


def _claimed(*places: tuple[int, int]) -> list[Claimed]:
    """Return messages by priority and id."""
    return [Claimed(i, "q", "t", "", "", "", "", "", "", "", p, 0, False, False, "") for p, i in places]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]

    class Time:
        monotonic = staticmethod(lambda: now[0])

    monkeypatch.setattr(queue_front, "time", Time)
    monkeypatch.setattr(pace, "time", Time)
    return now


def _slow(front: QueueFront, *places: tuple[int, int]) -> None:
    for _ in range(2):
        assert front.after() is None
        front.note(_claimed(*places), 1.0, None)


def test_claims_look_from_the_start_while_that_is_quick(clock: Any) -> None:
    front = QueueFront(True)
    for number in range(10):
        assert front.after() is None
        front.note(_claimed((0, number + 1)), 0.002, None)


def test_a_single_slow_look_is_no_reason(clock: Any) -> None:
    front = QueueFront(True)
    for seconds in (1.0, 0.001, 1.0, 0.001):
        assert front.after() is None
        front.note(_claimed((0, 1)), seconds, None)


def test_claims_begin_after_the_last_of_each_priority_where_looks_are_slow(clock: list[float]) -> None:
    front = QueueFront(True)
    _slow(front, (9, 70), (9, 80), (0, 20))
    assert front.after() == {9: 80, 0: 20}
    front.note(_claimed((0, 30), (0, 31)), 0.004, front.after())
    assert front.after() == {9: 80, 0: 31}
    clock[0] += 21.0
    assert front.after() is None, "a look from the start is due, whatever was found behind the front"


def test_what_a_look_from_the_start_found_before_the_front_is_the_new_front(clock: list[float]) -> None:
    front = QueueFront(True)
    _slow(front, (0, 500))
    clock[0] += 60.0
    front.note(_claimed((0, 3), (0, 4)), 1.0, None)
    assert front.after() == {0: 4}, "there may be more of them"


def test_a_claim_that_finds_little_begins_where_the_front_was_a_second_ago(clock: list[float]) -> None:
    front = QueueFront(True)
    _slow(front, (0, 100))
    for number in (200, 300, 400):
        clock[0] += 1.0
        front.note(_claimed((0, number)), 0.004, front.after(), found_less=True)
    assert front.after() == {0: 200}, "a message that is committed late is found at once"
    front.note(_claimed((0, 500)), 0.004, front.after())
    assert front.after() == {0: 500}, "there are many"


def test_what_others_took_is_passed_over_after_a_claim_that_found_no_more(clock: list[float]) -> None:
    front = QueueFront(True)
    assert not front.asks_for_newest
    for _ in range(2):
        front.note([], 1.0, front.after(), found_less=True, newest=None)
    assert front.after() is None, "nothing is known of the messages that others took"
    assert front.asks_for_newest
    front.note([], 1.0, None, found_less=True, newest=700)
    assert front.after() == dict.fromkeys(range(10), 700)
    front.note(_claimed((3, 710)), 0.004, front.after(), newest=705)
    assert front.after() == {**dict.fromkeys(range(10), 700), 3: 710}, "there may be more up to the newest"
    assert not front.asks_for_newest


def test_a_database_without_dead_entries_has_no_front(clock: Any) -> None:
    front = QueueFront(False)
    _slow(front, (0, 1))
    assert front.after() is None
