"""Rows of what tasks log."""

from __future__ import annotations

import json

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


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_lines_wait_while_the_database_is_away_and_are_dropped_if_it_refuses_them(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(logged: object, alias: str) -> None:
        raise errors.pop()

    told: list[int] = []
    monkeypatch.setattr(logs, "write", write)
    log_lines.lines_not_kept.subscribe(subscriber := lambda count, error: told.append(count))
    errors: list[Exception] = [ValueError("refused"), OperationalError("database is locked")]
    writer = LogWriter(alias)
    writer.add(Logged("a", 1.0, "[1]"))
    with pytest.raises(OperationalError):
        writer.work()
    assert not writer.done
    assert not writer.work()
    assert writer.done
    log_lines.lines_not_kept.unsubscribe(subscriber)
    assert told == [1]
