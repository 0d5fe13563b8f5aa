"""What each slot has in hand."""

from __future__ import annotations

import pytest

from taskq.worker.loop.in_flight import InFlight
from taskq.worker.loop.prefetch import LONG
from taskq.worker.loop.request import Limits, Request, read
from tests.support.fake_pool import claimed


def _request(job: int, *, alone: bool = False, cost: float = LONG) -> Request:
    request = read(claimed("load.task"), Limits())
    request.job, request.alone, request.cost = job, alone, cost
    return request


def test_requests_are_in_the_slot_they_were_put_to_until_they_are_taken() -> None:
    in_flight = InFlight()
    first, second = _request(1), _request(2)
    in_flight.put(0, [first, second])
    assert in_flight.of(0).head is first
    assert in_flight.of(0).seconds == pytest.approx(2 * LONG)
    assert in_flight.of(1).head is None
    assert (len(in_flight), list(in_flight), 1 in in_flight, 3 in in_flight) == (2, [first, second], True, False)
    assert in_flight.take(1) is first
    assert in_flight.take(1) is None
    assert in_flight.get(1) is None
    assert in_flight.get(2) is in_flight.of(0).head is second


def test_empty_slot_costs_nothing_though_estimates_changed_meanwhile() -> None:
    in_flight = InFlight()
    in_flight.put(0, [_request(1)])
    in_flight.put(0, [_request(2, cost=5.0)])
    in_flight.take(1)
    in_flight.take(2)
    assert in_flight.of(0).seconds == 0


def test_slot_is_unreserved_when_the_request_that_runs_alone_is_taken() -> None:
    in_flight = InFlight()
    in_flight.of(0).reserved = True
    in_flight.put(0, [_request(1, alone=True)])
    assert in_flight.of(0).reserved
    in_flight.take(1)
    assert not in_flight.of(0).reserved
