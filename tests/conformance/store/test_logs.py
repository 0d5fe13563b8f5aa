"""Rows of what tasks log."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import pytest
from django.db import OperationalError
from django.test import override_settings

from taskq.events import log_lines
from taskq.events.kept_logs import LogWriter
from taskq.models import TaskLog
from taskq.records import Settlement
from taskq.store import claim, logs, workers
from taskq.store.enqueue import enqueue
from taskq.store.logs import Logged
from taskq.store.settle import settle
from tests.support.envelopes import envelope


def rows(alias: str) -> list[tuple[str, list[object]]]:
    return [(row.task_id, json.loads(row.lines)) for row in TaskLog.objects.using(alias).order_by("id")]


def test_lines_of_one_start_that_come_together_are_one_row(alias: str) -> None:
    parts = [("a", 1.5, "[1]"), ("b", 1.5, "[2,3]"), ("a", 1.5, '[[0,20,"x","\\u0000"]]'), ("a", 2.25, "[4]")]
    logs.write([Logged(*part) for part in parts], alias)
    assert rows(alias) == [("a", [1, [0, 20, "x", "\0"]]), ("b", [2, 3]), ("a", [4])]
    assert [row.started_at.timestamp() for row in TaskLog.objects.using(alias).order_by("id")] == [1.5, 1.5, 2.25]


def test_a_task_that_keeps_no_row_keeps_no_log(alias: str) -> None:
    ends = []
    token = workers.register("w1", alias=alias)
    for keep in (True, False):
        enqueue([envelope(f"keep-{keep}")], alias=alias)
        logs.write([Logged(f"keep-{keep}", 1.0, "[1]")], alias)
        (message,) = claim.claim("taskq", 1, token, alias)
        ends.append(Settlement(message.id, message.task_id, "SUCCESS", keep=keep))
    with override_settings(TASKQ_KEEP_TASK_LOGS=True):
        settle(token, ends, alias)
    assert rows(alias) == [("keep-True", [1])]


@pytest.fixture
def told() -> Iterator[list[int]]:
    """How many tasks each warning about lines names that are not kept."""
    found: list[int] = []
    log_lines.lines_not_kept.subscribe(subscriber := lambda count, error: found.append(count))
    yield found
    log_lines.lines_not_kept.unsubscribe(subscriber)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_lines_wait_while_the_database_is_away_and_are_dropped_if_it_refuses_them(
    alias: str, told: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(logged: object, alias: str) -> None:
        raise errors.pop()

    monkeypatch.setattr(logs, "write", write)
    errors: list[Exception] = [ValueError("refused"), *[OperationalError("database is locked")] * 2]
    writer = LogWriter(alias)
    writer.add(Logged("a", 1.0, "[1]"))
    for _ in range(2):
        with pytest.raises(OperationalError):
            writer.work()
        assert writer.work()  # the turn of the others
        assert not writer.done
    assert not writer.work()
    assert writer.done
    assert told == [1]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_part_that_fails_twice_is_dropped_and_every_other_turn_is_for_the_ends_of_tasks(
    alias: str, told: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(logged: Sequence[Logged], alias: str) -> None:
        if "bad" in {each.task_id for each in logged}:
            raise OperationalError(2006, "Server has gone away")
        written.extend(each.task_id for each in logged)

    written: list[str] = []
    monkeypatch.setattr(logs, "write", write)
    writer = LogWriter(alias)
    for task_id in ("first", "bad", "last"):
        writer.add(Logged(task_id, 1.0, f"[{'1' * 90_000}]"))
    with pytest.raises(OperationalError):
        writer.work()
    assert writer.work()
    assert written == ["first"]
    assert writer.work()
    assert told == [1]
    assert writer.work()
    assert not writer.work()
    assert written == ["first", "last"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_lines_that_wait_are_written_in_parts_and_are_not_too_many(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(logs, "write", lambda part, alias: sizes.append(sum(len(each.lines) for each in part)))
    writer = LogWriter(alias)
    for _ in range(1000):
        writer.add(Logged("a", 1.0, "x" * 40_000))
    writer.work()
    assert set(sizes) == {80_000}
    assert sum(sizes) == 16_000_000
    writer.add(Logged("a", 1.0, "x" * 400_000))
    writer.work()
    assert sizes[-1] == 400_000
    assert writer.done


def test_letters_of_all_languages_are_kept(alias: str) -> None:
    lines = '[[0,20,"x","\u0416\u6f22\U0001f600\u202e\\u0000\\ud800"]]'
    logs.write([Logged("a", 1.0, lines)], alias)
    assert rows(alias) == [("a", json.loads(lines))]
