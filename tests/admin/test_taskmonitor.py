"""``manage.py taskmonitor``: the board without a terminal, the print for pipes, and once the screen itself."""

from __future__ import annotations

import os
from io import StringIO
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import OperationalError

from taskq import send_task
from taskq.models import Message, QueuePause, TaskRun
from taskq.timezones import now
from taskq_admin.terminal import board as boards
from taskq_admin.terminal.board import Board
from taskq_admin.terminal.tables import fields, table
from taskq_admin.terminal.user import Actor
from tests.support.databases import Database
from tests.support.processes import MANAGE
from tests.support.terminal import Terminal
from tests.support.waiting import wait_until
from tests.support.workers import as_environment

ERROR = '{"exc_type": "ValueError", "exc_message": ["disk \\u001b[31m full"], "exc_module": "builtins"}'


def failed(name: str = "shop.tasks.mail") -> str:
    task_id = send_task(name).id
    Message.objects.filter(task_id=task_id).delete()
    TaskRun.objects.filter(task_id=task_id).update(state="FAILURE", result=ERROR, finished_at=now())
    return task_id


@pytest.fixture
def board(db: None) -> Board:
    board = Board()
    board.refresh()
    return board


def test_table_fits_the_screen_and_shows_nothing_that_a_terminal_obeys() -> None:
    lines = table({"a": "A", "b": "B"}, [{"a": "x" * 99, "b": "\x1b[2J\n"}, {"a": None, "b": "right"}], 70)
    assert [len(line) <= 70 for line in lines] == [True] * 3
    assert lines[1].endswith("…  \\x1b[2J…")
    assert lines[2].endswith("right")
    assert fields([("a", "x\ny"), ("b", ""), ("c", 0)]) == ["a:", "    x", "    y", "c: 0"]


def test_board_shows_a_list_at_a_time_and_keeps_the_selected_row(board: Board) -> None:
    one, two = failed(), failed("shop.tasks.pack")
    send_task("shop.tasks.wait")
    board.refresh()
    assert board.rows[0] | {"name": "taskq", "note": "no worker reads it"} == board.rows[0]
    board.show(3)
    assert [row["task_id"] for row in board.rows] == [two, one]
    assert "ValueError: disk \\x1b[31m full" in board.body(200, 9)[0][1]
    board.move(1)
    failed()
    board.refresh()
    lines, picked = board.body(80, 9)
    assert (lines[picked].startswith(f"…{one[-12:]}"), len(lines), max(map(len, lines)) <= 80) == (True, 4, True)
    assert one in board.body(200, 2)[0][1]
    assert any("disk \\x1b[31m full" in line for line in board.about())
    board.turn(1)
    assert (board.shown.key, any("No worker runs" in line for line in board.head(200))) == ("queues", True)


def test_keys_retry_revoke_and_pause_what_is_selected(board: Board) -> None:
    task_id = failed()
    board.refresh()
    assert board.question("r") == ""
    board.show(3)
    assert board.question("r") == f"Retry {task_id}? y/n"
    board.act("r")
    assert (board.said, board.rows) == (f"{task_id} runs again.", [])
    board.show(0)
    board.act("p")
    assert QueuePause.objects.get().queue == "taskq"
    assert board.question("p") == "Resume taskq? y/n"
    board.act("p")
    assert not QueuePause.objects.exists()
    Message.objects.update(token="w")
    TaskRun.objects.update(started_at=now())
    board.refresh()
    board.show(2)
    board.act("c")
    assert Message.objects.get().revoked == "SIGTERM"


def test_acts_are_in_the_admins_log_of_who_is_named(admin_user: User) -> None:
    task_id = failed()
    board = Board(actor=Actor.of("admin"))
    board.refresh()
    board.show(3)
    board.act("r")
    board.show(0)
    board.act("p")
    board.act("p")
    Message.objects.update(token="w")
    TaskRun.objects.update(started_at=now())
    board.refresh()
    board.show(2)
    TaskRun.objects.update(state="SUCCESS")
    board.act("c")
    assert board.said == f"{task_id} has ended meanwhile."
    found = LogEntry.objects.order_by("pk").values_list("change_message", "object_repr")
    assert list(found) == [
        ("Retry [taskrun.retry]", f"shop.tasks.mail[{task_id}]"),
        ("Pause [queue.pause]", "taskq"),
        ("Resume [queue.resume]", "taskq"),
    ]


def test_refused_act_and_lost_database_are_words_on_the_screen(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    failed()
    board.refresh()
    board.show(3)
    TaskRun.objects.update(state="SUCCESS")
    board.act("r")
    assert "has succeeded" in board.foot(200)[0]
    failed()
    board.refresh()

    def away(*args: Any) -> None:
        raise OperationalError("gone\nfishing")

    monkeypatch.setattr(boards, "take", away)
    board.refresh()
    assert len(board.rows) == 1
    assert board.foot(200)[0] == "The database does not answer: gone\\nfishing"


def test_interval_goes_in_steps_and_stays_within_bounds(board: Board) -> None:
    seen = [(board.pace(by), board.interval)[1] for by in (1, 1, 1, 1, 1, -1)]
    assert seen == [5.0, 10.0, 30.0, 60.0, 60.0, 30.0]


@pytest.mark.django_db
def test_once_prints_everything_for_pipes(monkeypatch: pytest.MonkeyPatch) -> None:
    failed()
    out = StringIO()
    call_command("taskmonitor", "--once", stdout=out)
    lines = out.getvalue().splitlines()
    assert [line for line in lines if line.endswith(":")] == ["Queues:", "Workers:", "Running:", "Failed:"]
    assert "ValueError: disk \\x1b[31m full" in lines[-1]
    with pytest.raises(CommandError, match="--once"):
        call_command("taskmonitor", stdout=StringIO())


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_screen_of_a_terminal(alias: str, database: Database, tmp_path: Any) -> None:
    task_id = send_task("shop.tasks.mail").id
    Message.objects.using(alias).all().delete()
    TaskRun.objects.using(alias).update(state="FAILURE", result=ERROR, finished_at=now())
    environment = {**os.environ, "DATABASE_URL": database.url, "TASKQ_BROKER_URL": "django://", **as_environment({})}
    terminal = Terminal([*MANAGE, "taskmonitor", "--interval", "0.5"], environment)
    try:
        terminal.shows("[1 Queues")
        terminal.press("4")
        terminal.shows("ValueError")
        wait_until(lambda: task_id[-12:] in terminal.picked)
        terminal.press("\r")
        terminal.shows("exception: ValueError")
        terminal.press(" r")
        terminal.shows(f"Retry {task_id}? y/n")
        terminal.press("y")
        terminal.shows("runs again.")
        assert Message.objects.using(alias).get().task_id == task_id
        terminal.resize(60, 15)
        terminal.shows("[4 Failed 0]")
        terminal.press("1")
        terminal.shows("taskq")
        terminal.press("q")
        assert terminal.wait() == 0
    finally:
        terminal.close()


@pytest.mark.parametrize(
    ("module", "name", "words"),
    [
        ("taskq_admin.management.commands.taskmonitor", "take", ("taskmonitor", "--once")),
        ("taskq_admin.queries.columns", "found_errors", ("tasks", "errors")),
    ],
)
def test_error_of_the_database_is_escaped(
    db: None, monkeypatch: pytest.MonkeyPatch, module: str, name: str, words: tuple[str, ...]
) -> None:
    def away(*args: Any) -> None:
        raise OperationalError("gone\x1b[2J")

    monkeypatch.setattr(f"{module}.{name}", away)
    with pytest.raises(CommandError, match=r"^The database does not answer: gone\\x1b\[2J$"):
        call_command(*words, stdout=StringIO())
