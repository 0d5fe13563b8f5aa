"""What a task has changed is put back: when, and what if it can't be."""

from __future__ import annotations

import logging
import os
import sys
from types import ModuleType
from typing import Any

import pytest

from taskq.execution import leftovers
from taskq.execution.leftovers import Baseline, State
from tests.unit.worker.pools.driver import delivery

A, B = delivery(name="a"), delivery(name="b")


class Setting:
    """A state that is a number."""

    def __init__(self, **options: Any) -> None:
        self.value = 1
        self.baseline = Baseline([State("the setting", lambda: self.value, self.set, **options)])

    def set(self, value: int) -> None:
        self.value = value

    def run(self, ran: Any, value: int) -> None:
        self.baseline.before(ran)
        self.value = value
        self.baseline.after(ran)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no time pass."""
    monkeypatch.setattr(leftovers.time, "monotonic", lambda: 100.0)


def test_change_is_undone_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "taskq.worker")
    setting = Setting()
    setting.run(A, 2)
    assert setting.value == 1
    assert "Task a[" in caplog.text
    assert "left the setting changed: restored" in caplog.text


def test_change_of_a_short_task_is_undone_before_another_task_and_when_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting()
    setting.run(A, 1)
    setting.run(A, 2)
    assert setting.value == 2, "not compared again at once"
    setting.baseline.before(A)
    assert setting.value == 2
    setting.baseline.before(B)
    assert setting.value == 1
    setting.run(B, 2)
    setting.baseline.restore()
    assert setting.value == 1
    setting.run(B, 2)
    monkeypatch.setattr(leftovers.time, "monotonic", lambda: 101.0)
    setting.run(B, 3)
    assert setting.value == 1


def test_state_that_can_not_be_restored_makes_the_process_unclean(caplog: pytest.LogCaptureFixture) -> None:
    setting = Setting()

    def refuse(value: int) -> None:
        raise PermissionError("not allowed")

    setting.baseline = Baseline([State("the setting", lambda: setting.value, refuse)])
    assert setting.baseline.clean
    setting.run(A, 2)
    assert not setting.baseline.clean
    assert "can't be restored (not allowed)" in caplog.text


def test_change_of_a_task_that_imports_stays_only_where_imports_make_such_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for options, left in (({"by_imports": True}, 2), ({}, 1)):
        setting = Setting(**options)
        monkeypatch.setitem(sys.modules, f"imported_{left}", ModuleType("imported"))
        setting.run(A, 2)
        assert setting.value == left
        setting.run(B, 3)
        setting.baseline.restore()
        assert setting.value == left


def test_values_that_can_not_be_compared_are_replaced() -> None:
    class Odd:
        def __eq__(self, other: object) -> bool:
            raise ValueError("no")

        __hash__ = None  # type: ignore[assignment]

    setting = Setting()
    setting.run(A, Odd())  # type: ignore[arg-type]
    assert setting.value == 1


def test_process_has_its_own_states_only_where_it_is_watched(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    thread = Baseline.of_thread()
    thread.before(A)
    os.chdir("/")
    thread.after(A)
    assert os.getcwd() == "/"
