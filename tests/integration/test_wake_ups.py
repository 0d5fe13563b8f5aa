"""A worker finds what its own settlements put into queues, though it polls no queue and nobody else writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django import DjangoDbBlocker

from taskq import chain, chord, states
from tests.support import workers
from tests.support.jobs.flows import add, becomes_chain, dies, second_try, total
from tests.support.processes import Process, Processes
from tests.support.rated.tasks import fifty
from tests.support.waiting import wait_until

#: Which changes of rows a store thread hears of, is in tests/conformance/store.
pytestmark = pytest.mark.parametrize("database", ["postgresql", "sqlite"], indirect=True)


@pytest.fixture(scope="module")
def worker(module_processes: Processes) -> Process:
    # Heartbeats of a short lease are commits too: they would take the place of a wake-up.
    return workers.start_worker(
        module_processes,
        "-c",
        "1",
        POLL_INTERVAL=600,
        LEASE=600,
        environment={"TEST_APPS": "tests.support.jobs,tests.support.rated"},
    )


@pytest.fixture(autouse=True)
def _unblocked(worker: Process, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


@pytest.mark.parametrize(
    ("canvas", "value"),
    [
        (chain(add.s(0, 1), *[add.s(1)] * 19), 20),
        (chord([add.s(n, n) for n in range(5)], total.s()), 20),
        (becomes_chain.s(1), 4),
        (second_try.s(1), 1),
        (second_try.signature((1,), countdown=0.2), 1),
    ],
    ids=["chain", "chord", "replacement", "retry", "schedule"],
)
def test_what_follows_from_an_end_is_found(canvas: Any, value: int) -> None:
    assert canvas.delay().get(timeout=60) == value


def test_message_whose_process_was_lost_is_found() -> None:
    result = dies.delay()
    wait_until(result.ready, what="its last start")
    assert result.state == states.FAILURE


def test_parked_messages_are_found(notes: Path) -> None:
    for number in range(10):
        fifty.delay(str(notes), number)
    wait_until(lambda: len(notes.read_text().splitlines()) == 10, what="all starts")
