"""The rehearsal before the fork server runs taskq's own code to its end, and none of the project's."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.db import connections

from taskq import signals, task
from taskq.calls.registry import tasks
from taskq.execution import builtins, isolation, log_lines
from taskq.execution import rehearsal as runs
from taskq.handover import Outcome
from taskq.worker.pools import rehearsal
from tests.unit.worker.pools.driver import open_files


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> list[Outcome]:
    """Return the list in which each rehearsed run's outcome will be."""
    found: list[Outcome] = []

    def run(*args: Any) -> Outcome:
        found.append(runs_run(*args))
        return found[-1]

    runs_run = runs.run
    monkeypatch.setattr(runs, "run", run)
    return found


def test_rehearsal_ends_in_outcomes_and_leaves_nothing(outcomes: list[Outcome]) -> None:
    before = open_files()
    rehearsal.rehearse()
    assert [outcome.state for outcome in outcomes] == ["SUCCESS"] * 8
    assert open_files() <= before
    assert not hasattr(isolation._thread, "baseline")
    assert not hasattr(isolation._thread, "caches")


def test_rehearsal_calls_no_receiver_handler_or_subscriber(
    outcomes: list[Outcome], caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[object] = []

    def hear(*args: object, **named: object) -> None:
        heard.append(args or named)

    caplog.set_level(logging.DEBUG)
    sent = [value for value in vars(signals).values() if isinstance(value, signals.TaskqSignal)]
    for signal in sent:
        signal.connect(hear)
    log_lines.task_succeeded.subscribe(hear)
    try:
        rehearsal.rehearse()
    finally:
        log_lines.task_succeeded.unsubscribe(hear)
        for signal in sent:
            signal.disconnect(hear)
    assert len(outcomes) == 8
    assert heard == []
    assert [record for record in caplog.records if record.name.startswith("taskq")] == []
    assert all(connection.connection is None for connection in connections.all(initialized_only=True))


def test_rehearsal_runs_no_task_of_the_project(outcomes: list[Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    name = builtins.accumulate.name
    monkeypatch.setitem(tasks, name, task(name="tests.rehearsal")(lambda *args: None))
    rehearsal.rehearse()
    assert outcomes == []
