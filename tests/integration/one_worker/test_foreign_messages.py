"""Other programs of kombu feed tasks through ``django://``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import kombu
import pytest

from taskq import AsyncResult, ids
from tests.support.waiting import wait_until

NAME = "tests.support.jobs.tasks.note"
EMBED: dict[str, Any] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


@pytest.fixture
def producer(alias: str) -> Iterator[kombu.Producer]:
    with kombu.Connection(f"django://{alias}") as connection:
        yield kombu.Producer(connection, serializer="json")


def publish(producer: kombu.Producer, body: Any, queue: str = "taskq", **options: Any) -> AsyncResult[int]:
    """Publish as Celery's producers do; ``options`` are more headers."""
    task_id = ids.new_id()
    headers = {"lang": "py", "task": NAME, "id": task_id, "root_id": task_id, **options}
    producer.publish(body, exchange="", routing_key=queue, headers=headers, correlation_id=task_id)
    return AsyncResult(task_id)


def test_task_published_with_kombu_runs(producer: kombu.Producer, notes: Path) -> None:
    result = publish(producer, [[str(notes), 1], {}, EMBED])
    assert result.get(timeout=60) == 1
    assert (result.name, result.args) == (NAME, [str(notes), 1])


@pytest.mark.parametrize("compression", ["gzip", "bzip2"])
def test_compressed_task_published_with_kombu_runs(producer: kombu.Producer, notes: Path, compression: str) -> None:
    task_id = ids.new_id()
    producer.publish(
        [[str(notes), 2], {}, EMBED],
        exchange="",
        routing_key="taskq",
        compression=compression,
        headers={"task": NAME, "id": task_id},
    )
    assert AsyncResult[int](task_id).get(timeout=60) == 2


def test_task_published_with_an_eta_runs_no_earlier(producer: kombu.Producer, notes: Path) -> None:
    eta = datetime.now(UTC) + timedelta(seconds=1)
    result = publish(producer, [[str(notes), 3], {}, EMBED], eta=eta.isoformat())
    past = publish(producer, [[str(notes), 4], {}, EMBED], eta="2001-01-01T00:00:00+00:00")
    assert past.get(timeout=60) == 4
    assert result.get(timeout=60) == 3
    assert float(notes.read_text().splitlines()[-1].split()[1]) >= eta.timestamp()


def test_expired_task_published_with_kombu_does_not_run(producer: kombu.Producer, notes: Path) -> None:
    result = publish(producer, [[str(notes), 5], {}, EMBED], expires="2001-01-01T00:00:00+00:00")
    wait_until(lambda: result.state == "REVOKED", what="REVOKED")
    assert notes.read_text() == ""


def test_protocol_1_task_published_with_kombu_runs(producer: kombu.Producer, notes: Path) -> None:
    task_id = ids.new_id()
    body = {
        "task": NAME,
        "id": task_id,
        "args": [str(notes), 6],
        "kwargs": {},
        "utc": True,
        "eta": (datetime.now(UTC) + timedelta(seconds=0.5)).replace(tzinfo=None).isoformat(),
    }
    producer.publish(body, exchange="", routing_key="taskq")
    before = time.time()
    assert AsyncResult[int](task_id).get(timeout=60) == 6
    assert float(notes.read_text().split()[1]) >= before


def test_task_put_into_a_simple_queue_runs(alias: str, notes: Path) -> None:
    task_id = ids.new_id()
    with kombu.Connection(f"django://{alias}") as connection, connection.SimpleQueue("lopri") as queue:
        queue.put([[str(notes), 7], {}, EMBED], headers={"task": NAME, "id": task_id})
    assert AsyncResult[int](task_id).get(timeout=60) == 7
