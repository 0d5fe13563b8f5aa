"""Fixtures for tasks that exist for one test, and for what would have been sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from taskq.calls.registry import Registry, tasks
from taskq.execution import execute
from taskq.execution.inline import delivery_of
from taskq.handover import Delivery, Outcome, Report
from taskq.records import Envelope
from taskq.sending import publisher


@pytest.fixture(autouse=True)
def registry() -> Iterator[Registry]:
    """Forget what the test defines."""
    before = set(tasks)
    yield tasks
    for name in set(tasks) - before:
        tasks.remove(name)


@pytest.fixture
def sent() -> Iterator[list[Envelope]]:
    """Collect messages instead of sending them."""
    envelopes: list[Envelope] = []

    def collect(chunk: Sequence[Envelope]) -> None:
        envelopes.extend(chunk)

    previous = publisher.set_sink(collect)
    yield envelopes
    publisher.set_sink(previous)


class Worker:
    """Runs what was sent as a pool's child would; keeps reports."""

    def __init__(self, sent: list[Envelope]) -> None:
        self.sent = sent
        self.reports: list[Report] = []

    def run(self, envelope: Envelope | None = None, soft_limit: Any = None, **changes: Any) -> Outcome:
        """Execute the given message, or the last that was sent, with changes to the delivery."""
        delivery = self.delivery(envelope, **changes)
        return execute(delivery, self.reports.append, soft_limit)

    def delivery(self, envelope: Envelope | None = None, **changes: Any) -> Delivery:
        """Return the given message, or the last that was sent, as it is handed over."""
        delivery = delivery_of(envelope or self.sent[-1], job=7, hostname="w1@host")
        for name, value in changes.items():
            setattr(delivery, name, value)
        return delivery

    def follow_up(self, outcome: Outcome) -> Envelope:
        """Return the one message that follows from an outcome."""
        (envelope,) = outcome.follow_ups.envelopes
        return envelope


@pytest.fixture
def worker(sent: list[Envelope]) -> Worker:
    """Run what the test sends."""
    return Worker(sent)


Define = Callable[..., Any]
