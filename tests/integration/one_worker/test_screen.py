"""The monitor in a real terminal of 80 by 24."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from taskq import control
from taskq.results.async_result import AsyncResult
from tests.support.databases import Database
from tests.support.jobs.endings import fail_with
from tests.support.jobs.flows import add
from tests.support.processes import MANAGE, Process
from tests.support.terminal import Terminal
from tests.support.waiting import wait_until
from tests.support.workers import as_environment

DOWN, UP, ENTER = "\x1bOB", "\x1bOA", "\r"


@pytest.fixture
def node(worker: Process) -> str:
    return worker.wait_for_log(r"(taskq@\S+) ready").group(1)


@pytest.fixture
def terminal(node: str, database: Database) -> Iterator[Terminal]:
    control.enable_events()
    environment = {**os.environ, "DATABASE_URL": database.url, "TASKQ_BROKER_URL": "django://", **as_environment({})}
    terminal = Terminal([*MANAGE, "taskevents"], environment)
    try:
        terminal.shows(f"Workers online: {node}")
        yield terminal
        terminal.press("\x03")
        assert terminal.wait() == 0
    finally:
        terminal.close()
        control.disable_events()


def test_tasks_come_and_are_looked_at(terminal: Terminal) -> None:
    good, bad = add.delay(2, 2), fail_with.delay("as it was told")
    for result in (good, bad):
        result.get(timeout=20, propagate=False)
        terminal.shows(result.id[-12:])
    assert terminal.lines[0].split() == ["UUID", "WORKER", "TASK", "TIME", "STATE"]
    terminal.shows("SUCCESS")
    terminal.shows("FAILURE")
    _pick(terminal, bad)
    terminal.press("r")
    terminal.shows("as it was told")
    terminal.press(" ")
    terminal.shows("Keys:")
    terminal.press("t")
    terminal.shows("Traceback (most recent call last)")
    terminal.press(" ")
    terminal.shows("Keys:")
    _pick(terminal, good)
    terminal.press(ENTER)
    terminal.shows("args: (2, 2)")
    terminal.press(" ")
    terminal.resize(100, 30)
    terminal.shows("Keys:")
    wait_until(lambda: terminal.lines[-1].startswith("Keys:") and len(terminal.lines) == 30)


def _pick(terminal: Terminal, result: AsyncResult[object]) -> None:
    """Select one of two tasks, by an arrow; then go away and come back by letters."""
    tail = result.id[-12:]
    if tail in terminal.picked:
        return
    lines = terminal.lines
    target = next(y for y, line in enumerate(lines) if tail in line)
    arrow, there, back = (DOWN, "j", "k") if target > lines.index(terminal.picked) else (UP, "k", "j")
    for key, there_now in ((arrow, True), (back, False), (there, True)):
        terminal.press(key)
        wait_until(lambda there_now=there_now: (tail in terminal.picked) == there_now)


def test_revoke_and_rate_limit(terminal: Terminal, node: str) -> None:
    result = add.delay(2, 2)
    result.get(timeout=20)
    terminal.shows(result.id[-12:])
    terminal.press("c")
    terminal.shows(f"Revoke: {result.id}")
    terminal.shows("revoked")
    terminal.press(" ")
    terminal.shows("Keys:")
    terminal.press("l")
    terminal.shows(f"Rate limit of {add.name}")
    terminal.press("100/x\x7fm\r")
    terminal.shows(f"Rate limit: {result.id}")
    terminal.shows(f"{node}: ")
    terminal.press(" ")
    terminal.shows("Keys:")
    control.rate_limit(add.name, 0, reply=True, limit=1)
