"""From where the schedule is looked at, and when."""

from __future__ import annotations

import pytest

from taskq.records import DuePlace
from taskq.worker.duties import pace, promotion
from taskq.worker.duties.promotion import Promotion


class Schedule:
    """In place of a database that keeps dead entries: what looks ask for, and what they get."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.begun: list[DuePlace | None] = []
        #: The seconds that a look from the start takes.
        self.slow = 0.0
        self.seconds: float | None = None
        self.places: list[DuePlace] = []
        for module in (pace, promotion):
            monkeypatch.setattr(module, "time", self)
        monkeypatch.setattr(promotion, "clock", self.Clock(self))
        monkeypatch.setattr(promotion, "next_due", self._next_due)
        monkeypatch.setattr(promotion, "promote", lambda limit, alias, after: self.places)
        self.promotion = Promotion("default")
        self.promotion._kept = True

    class Clock:
        def __init__(self, schedule: Schedule) -> None:
            self.now = lambda: schedule.now + 5000.0

    def monotonic(self) -> float:
        return self.now

    def _next_due(self, alias: str, after: DuePlace | None) -> float | None:
        self.begun.append(after)
        if after is None:
            self.now += self.slow
        return self.seconds

    def look(self, seconds: float | None, places: list[DuePlace] | None = None) -> bool:
        self.seconds, self.places = seconds, places or []
        self.promotion.look_soon()
        return self.promotion.promote()


@pytest.fixture
def schedule(monkeypatch: pytest.MonkeyPatch) -> Schedule:
    return Schedule(monkeypatch)


def test_the_schedule_is_looked_at_from_the_start_while_that_is_quick(schedule: Schedule) -> None:
    for _ in range(3):
        assert schedule.look(-1.0, [(5.0, n) for n in range(200)])
        assert not schedule.look(7.0)
    assert schedule.begun == [None] * 6
    assert schedule.promotion.next_look == schedule.now + 7.0


def test_where_looks_are_slow_they_begin_behind_what_was_promoted(schedule: Schedule) -> None:
    schedule.slow = 0.5
    for _ in range(2):
        schedule.look(-1.0, [(5.0, n) for n in range(200)])
    schedule.look(-1.0, [(6.0, n) for n in range(200, 400)])
    now = schedule.now + 5000.0
    schedule.look(-1.0, [(7.0, 400)])
    schedule.look(30.0)
    schedule.look(None)
    assert schedule.begun[2:] == [(5.0, 199), (6.0, 399), (now - 1.0, 0), (now - 1.0, 0)]
    assert schedule.promotion.next_look == schedule.now + 20 * 0.5, "what came late is looked for"
    schedule.now += 10.0
    schedule.look(30.0)
    assert schedule.begun[-1] is None


def test_messages_that_another_worker_promotes_are_looked_for_again_soon(schedule: Schedule) -> None:
    assert not schedule.look(-1.0)
    assert schedule.promotion.next_look == schedule.now + 0.05


def test_a_database_without_dead_entries_has_no_front(schedule: Schedule) -> None:
    schedule.promotion._kept = False
    schedule.slow = 0.5
    for _ in range(4):
        schedule.look(-1.0, [(5.0, 1)])
    assert schedule.begun == [None] * 4
