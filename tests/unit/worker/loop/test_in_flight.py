"""What each slot has in hand."""

from __future__ import annotations

import pytest

from taskq.worker.loop.in_flight import Loads
from taskq.worker.loop.prefetch import LONG, Pace
from taskq.worker.loop.request import Limits, Request, read
from tests.support.fake_pool import claimed


def _request(job: int, *, alone: bool = False) -> Request:
    request = read(claimed("load.task"), Limits())
    request.job, request.alone = job, alone
    return request


def test_requests_are_in_the_slot_they_were_put_to_until_they_are_taken() -> None:
    loads = Loads(Pace())
    first, second = _request(1), _request(2)
    loads.put(0, first)
    loads.put(0, second)
    assert loads.of(0).head is first
    assert loads.of(0).seconds == pytest.approx(2 * LONG)
    assert loads.of(1).head is None
    assert (len(loads), list(loads), 1 in loads, 3 in loads) == (2, [first, second], True, False)
    assert loads.take(1) is first
    assert loads.take(1) is None
    assert loads.get(1) is None
    assert loads.get(2) is loads.of(0).head is second


def test_an_empty_slot_costs_nothing_whatever_was_reckoned() -> None:
    pace = Pace()
    loads = Loads(pace)
    loads.put(0, _request(1))
    pace.observe("load.task", 5.0)
    loads.put(0, _request(2))
    loads.take(1)
    loads.take(2)
    assert loads.of(0).seconds == 0


def test_a_slot_is_free_again_when_the_one_that_runs_alone_has_gone() -> None:
    loads = Loads(Pace())
    loads.of(0).reserved = True
    loads.put(0, _request(1, alone=True))
    assert loads.of(0).reserved
    loads.take(1)
    assert not loads.of(0).reserved
