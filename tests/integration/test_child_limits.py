"""Children are replaced after some tasks, or when they have grown; and nothing is lost by it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.support.jobs import endings, tasks
from tests.support.waiting import wait_until

from .conftest import StartWorker

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def test_child_is_replaced_after_max_tasks_per_child(alias: str, start_worker: StartWorker, notes: Path) -> None:
    start_worker("-c", "2", "--max-tasks-per-child", "5")
    results = tasks.note.delay_many([(str(notes), n) for n in range(43)])
    assert [result.get(timeout=60) for result in results] == list(range(43))
    lines = [line.split() for line in notes.read_text().splitlines()]
    assert sorted(int(line[0]) for line in lines) == list(range(43))
    runs = Counter(line[2] for line in lines)
    assert max(runs.values()) <= 5
    assert len(runs) >= 9


def test_child_above_max_memory_is_replaced_after_its_task(alias: str, start_worker: StartWorker) -> None:
    start_worker(MAX_MEMORY_PER_CHILD=150_000)
    first = endings.who.delay().get(timeout=60)
    assert endings.who.delay().get(timeout=60)["pid"] == first["pid"]
    assert endings.who.delay(megabytes=160).get(timeout=60)["pid"] == first["pid"]
    wait_until(lambda: endings.who.delay().get(timeout=60)["pid"] != first["pid"], what="another child")
