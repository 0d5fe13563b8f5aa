"""What the monitor shows, at any size, and whatever events say."""

from __future__ import annotations

import time
from typing import Any

import pytest

from taskq.events.board import Board, clipped, columns, fitted, printable, tail


def board(count: int = 3, **more: Any) -> Board:
    found = Board()
    for number in range(count):
        about = {"uuid": f"id-{number}", "hostname": "w1@h", "timestamp": time.time()}
        found.event({**about, "type": "task-received", "name": "shop.tasks.add", "args": "(2, 2)", **more})
    return found


def test_the_newest_task_comes_first_and_is_selected() -> None:
    shown = board()
    assert [task.uuid for task in shown.rows(24)] == ["id-2", "id-1", "id-0"]
    assert shown.selected == "id-2"


def test_moving_stays_inside() -> None:
    shown = board()
    for by, selected in ((1, "id-1"), (1, "id-0"), (1, "id-0"), (-5, "id-2")):
        shown.move(by, 24)
        assert shown.selected == selected


def test_the_selection_stays_on_its_task_while_others_come() -> None:
    shown = board()
    shown.move(1, 24)
    shown.event({"type": "task-received", "uuid": "id-9", "hostname": "w1@h"})
    assert next(task.uuid for task in shown.rows(24)) == "id-9"
    assert shown.selected == "id-1"


def test_nothing_to_move_in() -> None:
    empty = Board()
    empty.move(1, 24)
    assert (empty.selected, empty.task, empty.info()) == ("", None, [])
    assert "(none)" in empty.foot(80)[0]


@pytest.mark.parametrize("width", [1, 20, 80, 200])
def test_lines_fit(width: int) -> None:
    shown = board(1, name="a.very.long.path." * 20 + "name")
    (task,) = shown.rows(24)
    assert len(shown.head(width)) <= width
    assert len(shown.line(task, width)) <= width
    if width >= 80:
        assert "name" in shown.line(task, width)


def test_a_screen_of_80_by_24_shows_14_tasks() -> None:
    assert len(board(30).rows(24)) == 14


@pytest.mark.parametrize(("width", "lines"), [(80, 1), (60, 2), (40, 2)])
def test_all_keys_are_in_sight(width: int, lines: int) -> None:
    foot = board(1).foot(width)
    assert all(len(line) <= width for line in foot)
    keys = "".join(foot[-lines:])
    assert keys.startswith("Keys: ")
    assert keys.endswith("^C: end")


def test_the_foot_leaves_room_for_the_tasks() -> None:
    crowded = board(30, args="x" * 1000)
    for number in range(50):
        crowded.event({"type": "worker-online", "uuid": "", "hostname": f"worker-{number}@host"})
    assert 1 + len(crowded.rows(24)) + len(crowded.foot(80)) <= 24


def test_events_send_no_commands_to_the_terminal() -> None:
    shown = board(1, name="\x1b[2Jshop\nadd\0")
    (task,) = shown.rows(24)
    assert all(line.isprintable() for line in [shown.line(task, 80), *shown.foot(80)])
    assert printable("\x1b[2J") == " [2J"


def test_results_and_tracebacks() -> None:
    shown = board(1)
    shown.rows(24)
    assert shown.result() == ["There is no result yet."]
    failed = {"type": "task-failed", "uuid": "id-0", "hostname": "w1@h", "exception": "E()", "traceback": "a\nb"}
    shown.event(failed)
    assert (shown.result(), shown.traceback()) == (["E()"], ["a", "b"])
    assert "state: FAILURE" in shown.info()


def test_long_texts_are_broken_and_end() -> None:
    assert fitted(["x" * 25], 10, 5) == ["x" * 10, "x" * 10, "x" * 5]
    assert fitted([str(n) for n in range(9)], 10, 3) == ["0", "1", "..."]
    assert tail("abcdef", 4) == "..ef"


def test_letters_of_two_columns_move_no_column_away() -> None:
    board = Board()
    board.event({"type": "task-received", "uuid": "1" * 36, "hostname": "w@h", "name": "午睡" * 20, "timestamp": 1.0})
    line = board.line(board.rows(24)[0], 80)
    assert (columns(line), line[-8:]) == (80, "RECEIVED")
    assert (tail("ab午睡", 5), tail("ab午睡", 6), tail("午", 4)) == ("..睡 ", "ab午睡", "午  ")
    assert (columns("ที่นี่"), columns("हिन्दी"), columns("a\u20dd")) == (2, 5, 1)
    assert (clipped("a午睡", 4), clipped("a午睡", 3), clipped("e\u0301e", 1)) == ("a午", "a午", "e\u0301")
