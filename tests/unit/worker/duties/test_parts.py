"""The duty that works off parts: it pauses between two, repeats what failed, and knows its own and others' rows."""

from __future__ import annotations

import select
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError

from taskq.messages import routing
from taskq.store import log_lines
from taskq.worker.duties import parts
from taskq.worker.duties.parts import Parts
from taskq.worker.node import WorkerNode
from taskq.worker.options import WorkerOptions


class Rows:
    """Pending rows in memory; the first ``fails`` calls fail."""

    def __init__(self, *rows: str, fails: int = 0) -> None:
        self.rows = list(rows)
        self.calls: list[str] = []
        self.fails = fails

    def pending_rows(self, alias: str) -> list[str]:
        return self.rows

    def work_off(self, row: str, alias: str) -> None:
        self.calls.append(row)
        if len(self.calls) <= self.fails:
            raise OperationalError


def duty(monkeypatch: pytest.MonkeyPatch, rows: Rows, pause: float = 0.0) -> Parts:
    monkeypatch.setattr(parts, "parts", rows)
    monkeypatch.setattr(parts, "_PAUSE", pause)
    lease: Any = SimpleNamespace(token="t")
    return Parts(lease, "default")


def work(made: Parts, times: int) -> None:
    for _ in range(times):
        made._next_step = min(made._next_step, 0.0)
        made.work()


def test_rows_of_dead_workers_are_found_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Rows("a", "b")
    work(duty(monkeypatch, rows), 3)
    assert rows.calls == ["a", "b"]


def test_part_is_repeated_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Rows("a", fails=1)
    made = duty(monkeypatch, rows)
    with pytest.raises(OperationalError):
        work(made, 1)
    work(made, 2)
    assert rows.calls == ["a", "a"]


def test_others_have_their_turn_between_two_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Rows("a", "b")
    made = duty(monkeypatch, rows, pause=60.0)
    assert made.work() is False
    assert made.work() is False
    assert rows.calls == ["a"]
    assert 0 < (made.due() or 0) <= 60


def test_what_this_process_leaves_in_its_database_is_worked_off_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Rows()
    made = duty(monkeypatch, rows)
    try:
        log_lines.parts_left(["mine"], "default")
        log_lines.parts_left(["elsewhere"], "other")
    finally:
        made.end()
    log_lines.parts_left(["later"], "default")
    work(made, 3)
    assert rows.calls == ["mine"]


def test_rows_that_another_thread_leaves_wake_the_store_thread() -> None:
    options = WorkerOptions("w@here", list(routing.select([]).values()), 1, pool="threads")
    node = WorkerNode(options, "default")
    try:
        log_lines.parts_left(["mine"], "other")
        assert not select.select([node.store.calls], [], [], 0)[0]
        log_lines.parts_left(["mine"], "default")
        assert select.select([node.store.calls], [], [], 0)[0]
    finally:
        for each in node.store.duties:
            each.end()


def test_nothing_is_done_without_a_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Rows("a")
    made = duty(monkeypatch, rows)
    made._lease = SimpleNamespace(token="")  # type: ignore[assignment]
    work(made, 2)
    assert rows.calls == []
