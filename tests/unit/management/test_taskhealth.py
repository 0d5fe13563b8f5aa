"""What ``manage.py taskhealth`` says of a worker's row."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import OperationalError
from pytest_django import DjangoAssertNumQueries

from taskq.models import Worker
from taskq.processes import host_identity, process_started

HOST = socket.gethostname()

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _time_stands_still() -> Iterator[None]:
    with time_machine.travel(datetime(2026, 1, 1, tzinfo=UTC), tick=False):
        yield


def worker(name: str = f"taskq@{HOST}", age: float = 1.0, **fields: Any) -> Worker:
    """Write the row of a worker that was seen ``age`` seconds ago."""
    seen = datetime.now(UTC) - timedelta(seconds=age)
    values = {"token": name + str(age), "name": name, "pid": 7, "lease": 30.0, "started_at": seen, "seen_at": seen}
    return Worker.objects.create(**{**values, **fields})


def health(*options: str) -> str:
    output = StringIO()
    call_command("taskhealth", *options, stdout=output)
    return output.getvalue()


def test_default_is_the_default_node_of_this_host() -> None:
    worker()
    assert health() == f"taskq@{HOST}: running, seen 1.0 s ago\n"


@pytest.mark.parametrize("name", ["w1", "w1@%h", f"w1@{HOST}"])
def test_node_is_found_by_its_name(name: str) -> None:
    worker(f"w1@{HOST}", state="stopping")
    assert health("-n", name).startswith(f"w1@{HOST}: stopping")


def test_missing_worker_is_an_error() -> None:
    worker("w1@elsewhere")
    with pytest.raises(CommandError, match=rf"no worker taskq@{HOST}"):
        health()


def test_heartbeat_older_than_the_lease_is_an_error() -> None:
    worker(age=31.0)
    with pytest.raises(CommandError, match=r"seen 31\.0 s ago, its lease is 30 s"):
        health()


def test_heartbeat_in_the_future_counts_as_just_seen() -> None:
    worker(age=-2.0)
    assert "seen 0.0 s ago" in health()


def test_consumer_of_kombu_is_no_worker() -> None:
    worker(state="consumer")
    with pytest.raises(CommandError, match="no worker"):
        health()
    with pytest.raises(CommandError, match="There are no workers"):
        health("--all")


def test_worker_whose_process_is_gone_is_an_error_within_its_lease() -> None:
    worker(host=host_identity(), pid=2**22 + 1, process_started=1)
    with pytest.raises(CommandError, match=f"process {2**22 + 1} is gone"):
        health()


def test_worker_whose_process_lives_is_healthy() -> None:
    worker(host=host_identity(), pid=os.getpid(), process_started=process_started(os.getpid()))
    assert "running" in health()


def test_row_left_by_a_crash_does_not_hide_a_live_worker() -> None:
    worker(age=2.0)
    worker(age=0.5, host=host_identity(), pid=2**22 + 1, process_started=1)
    assert "seen 2.0 s ago" in health()


def test_all_lists_every_worker_and_fails_for_one_without_heartbeat() -> None:
    worker("a@one")
    worker("b@two")
    assert [line.split(":")[0] for line in health("--all").splitlines()] == ["a@one", "b@two"]
    worker("c@three", age=99.0)
    with pytest.raises(CommandError, match="c@three: seen"):
        health("--all")


def test_taskhealth_makes_one_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    worker()
    with django_assert_num_queries(1):
        health()


def test_unreachable_database_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(name: str | None) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr("taskq.management.commands.taskhealth.look", away)
    with pytest.raises(CommandError, match="does not answer: connection refused"):
        health()


def test_lost_worker_is_not_well_until_its_name_starts_again() -> None:
    worker("w1@a")
    worker("w2@b", age=3.0, state="lost")
    with pytest.raises(CommandError, match=r"^w2@b: lost, seen 3\.0 s ago$"):
        health("--all")
    worker("w2@b", age=0.5)
    assert "w2@b: running" in health("--all")
