"""Which limits hold for all workers: how a worker hears of their rows."""

from __future__ import annotations

import math
import time

import pytest

from taskq.engines.marks import mark
from taskq.models import RateLimit
from taskq.store import rates
from taskq.worker.duties.shared_rates import SharedRates

pytestmark = pytest.mark.django_db(transaction=True)


class Heard:
    """The duty, and what it has told."""

    def __init__(self, **defined: float | None) -> None:
        self.told: list[tuple[str, float | None]] = []
        self.duty = SharedRates(defined, "default", lambda *change: self.told.append(change), poll=60.0)

    def work(self) -> list[tuple[str, float | None]]:
        """Let the duty work; return what it has told since."""
        self.told.clear()
        assert not self.duty.work()
        return list(self.told)


def test_limits_of_the_code_are_not_told_and_those_of_rows_are() -> None:
    rates.set_rate("lower", 1.0)
    rates.set_rate("gone", None)
    RateLimit.objects.create(name="code", rate=None, free_at=0.0)
    rates.set_rate("unknown", 3.0)
    heard = Heard(lower=5.0, gone=5.0, code=5.0, none=None)
    assert heard.work() == [("lower", 1.0), ("gone", None)]
    assert heard.work() == []
    RateLimit.objects.all().delete()
    heard.duty.read()
    assert heard.told == [("lower", 5.0), ("gone", 5.0)]


def test_notification_that_names_limits_is_followed_at_once() -> None:
    heard = Heard(add=None)
    heard.work()
    rates.set_rate("add", 2.0)
    heard.duty.on_notification({mark("taskq")})
    assert heard.work() == []
    heard.duty.on_notification({mark(rates.RATES_NAME)})
    assert heard.work() == [("add", 2.0)]


def test_notification_that_names_nothing_is_followed_within_half_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard(add=None)
    heard.work()
    rates.set_rate("add", 2.0)
    heard.duty.on_notification(None)
    due = heard.duty.due()
    assert due is not None
    assert due <= 0.5
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 0.6)
    assert heard.work() == [("add", 2.0)]


def test_worker_without_such_tasks_reads_nothing() -> None:
    heard = Heard()
    heard.duty.on_notification(None)
    assert heard.duty.due() is None
    assert heard.duty._next == math.inf
