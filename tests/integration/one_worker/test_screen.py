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
        result.get(timeout=60, propagate=False)
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
    # What is drawn just now may lack either line.
    place, picked = wait_until(lambda: _places(terminal, tail), what="both lines")
    if place == picked:
        return
    arrow, there, back = (DOWN, "j", "k") if place > picked else (UP, "k", "j")
    for key, there_now in ((arrow, True), (back, False), (there, True)):
        terminal.press(key)
        wait_until(lambda there_now=there_now: (tail in terminal.picked) == there_now)


def _places(terminal: Terminal, tail: str) -> tuple[int, int] | None:
    """Return where the line with ``tail`` is, and where the one that is picked."""
    lines, picked = terminal.lines, terminal.picked
    found = [place for place, line in enumerate(lines) if tail in line]
    return (found[0], lines.index(picked)) if found and picked and picked in lines else None


@pytest.fixture
def unlimited(node: str) -> Iterator[None]:
    """The task has no rate limit, whatever happens."""
    yield
    assert control.rate_limit(add.name, 0, reply=True, limit=1, timeout=60)


@pytest.mark.usefixtures("unlimited")
def test_revoke_and_rate_limit(terminal: Terminal, node: str) -> None:
    def limited() -> bool:
        return f"{add.name} [rate_limit=100/m]" in control.inspect(node, timeout=60, limit=1).registered("rate_limit")

    assert not limited()
    result = add.delay(2, 2)
    result.get(timeout=60)
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
    assert limited()
