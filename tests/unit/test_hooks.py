"""``taskq.hooks``: an event writes its line, then calls its subscribers, whatever one of them raises."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from taskq.execution import log_lines as execution
from taskq.hooks import Hook
from taskq.worker import log_lines as worker

calls: list[tuple[object, ...]] = []


@Hook
def lamp_lit(name: str, watts: int) -> None:
    """Write a line."""
    calls.append(("line", name, watts))


@pytest.fixture(autouse=True)
def _no_calls() -> Iterator[None]:
    calls.clear()
    yield
    lamp_lit._subscribers = ()


def subscriber(name: str, watts: int) -> None:
    calls.append(("subscriber", name, watts))


def broken(name: str, watts: int) -> None:
    raise ZeroDivisionError(name)


def test_an_event_without_subscribers_writes_its_line() -> None:
    lamp_lit("desk", 7)
    assert calls == [("line", "desk", 7)]


def test_subscribers_are_called_after_the_line() -> None:
    lamp_lit.subscribe(subscriber)
    lamp_lit("desk", 7)
    assert calls == [("line", "desk", 7), ("subscriber", "desk", 7)]


def test_a_subscriber_that_has_left_is_not_called() -> None:
    lamp_lit.subscribe(subscriber)
    lamp_lit.unsubscribe(subscriber)
    lamp_lit("desk", 7)
    assert calls == [("line", "desk", 7)]


def test_a_subscriber_may_leave_while_it_is_called() -> None:
    def once(name: str, watts: int) -> None:
        lamp_lit.unsubscribe(once)

    lamp_lit.subscribe(once)
    lamp_lit.subscribe(subscriber)
    lamp_lit("desk", 7)
    lamp_lit("hall", 9)
    assert calls[1::2] == [("subscriber", "desk", 7), ("subscriber", "hall", 9)]


def test_a_subscriber_that_raises_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    lamp_lit.subscribe(broken)
    lamp_lit.subscribe(subscriber)
    lamp_lit("desk", 7)
    assert calls[-1] == ("subscriber", "desk", 7)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("taskq", logging.ERROR)
    assert "broken" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


class Untouchable:
    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"{name} was read")

    def __iter__(self) -> object:
        raise AssertionError("it was read")


@pytest.mark.parametrize("event", [worker.tasks_received, execution.task_succeeded])
def test_an_event_of_each_task_reads_nothing_while_its_level_is_off(
    event: Hook[object], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.WARNING, "taskq.worker")
    event(Untouchable())
    # What the line of an event raises is printed.
    assert capsys.readouterr().err == ""
    caplog.set_level(logging.DEBUG, "taskq.worker")
    event(Untouchable())
    assert "was read" in capsys.readouterr().err
