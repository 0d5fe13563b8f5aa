"""The monitor in a terminal, by curses: a list of tasks, and commands for the selected one."""

from __future__ import annotations

import curses
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from django.db import connections

from taskq import states
from taskq.containment import contained
from taskq.control import caller

from .board import Board, clipped, fitted
from .receiving import Receiver

#: Milliseconds between two drawings, if no key is pressed.
_REDRAW = 500
#: Seconds until a lost connection is opened again, and for which replies to a command are collected.
_AGAIN, _REPLIES = 1.0, 1.0
_ENTER = (curses.KEY_ENTER, ord("\n"), ord("\r"))
_FAILED = frozenset({states.FAILURE, states.RETRY, "REJECTED"})


def run() -> None:
    """Show the monitor until Ctrl-C. Raises ``curses.error`` if this is no terminal."""
    board = Board()
    receiver = Receiver({"*": board.event}, wait=_REDRAW / 1000)
    reader = threading.Thread(target=_read, args=(receiver, board), name="taskq-monitor", daemon=True)
    reader.start()
    with suppress(KeyboardInterrupt):
        curses.wrapper(lambda window: Screen(window, board).run())
    receiver.should_stop = True
    reader.join(2 * _AGAIN)


def _read(receiver: Receiver, board: Board) -> None:
    """Read events, again after each loss of the connection."""
    while not receiver.should_stop:
        try:
            receiver.capture()
        except Exception as error:
            board.problem = f"no connection: {error!r}"
            time.sleep(_AGAIN)
    connections.close_all()


class Screen:
    """Draws a ``Board``, and does what keys say."""

    def __init__(self, window: Any, board: Board) -> None:
        self._window = window
        self._board = board
        self._keys = self._commands()
        self._colours()

    def _commands(self) -> dict[int, Callable[[], None]]:
        board = self._board
        keys: dict[int, Callable[[], None]] = {
            ord("t"): lambda: self._pop_up("Traceback", board.traceback()),
            ord("r"): lambda: self._pop_up("Result", board.result()),
            ord("c"): self._revoke,
            ord("l"): self._rate_limit,
        }
        keys |= dict.fromkeys((ord("j"), curses.KEY_DOWN), lambda: self._move(1))
        keys |= dict.fromkeys((ord("k"), curses.KEY_UP), lambda: self._move(-1))
        return keys | dict.fromkeys((ord("i"), *_ENTER), lambda: self._pop_up("Info", board.info()))

    def _colours(self) -> None:
        self._colour: dict[str, int] = {}
        with suppress(curses.error):
            curses.curs_set(0)
        if curses.has_colors():
            curses.use_default_colors()
            pairs = ((states.SUCCESS, curses.COLOR_GREEN), (states.REVOKED, curses.COLOR_MAGENTA),
                     (states.STARTED, curses.COLOR_YELLOW), ("failed", curses.COLOR_RED))  # fmt: skip
            for number, (state, colour) in enumerate(pairs, 1):
                curses.init_pair(number, colour, -1)
                self._colour[state] = curses.color_pair(number)

    def run(self) -> None:
        """Draw, and wait for keys, for ever."""
        self._window.keypad(True)
        self._window.timeout(_REDRAW)
        while True:
            self._draw()
            key = self._window.getch()
            if key == curses.KEY_RESIZE:
                curses.update_lines_cols()
            elif command := self._keys.get(key):
                command()

    # -- drawing

    def _draw(self) -> None:
        height, width = self._window.getmaxyx()
        self._window.erase()
        with self._board.lock:
            self._write(0, self._board.head(width), curses.A_BOLD | curses.A_UNDERLINE)
            for y, task in enumerate(self._board.rows(height), 1):
                picked = curses.A_REVERSE if task.uuid == self._board.selected else curses.A_NORMAL
                state = "failed" if task.state in _FAILED else task.state
                self._write(y, self._board.line(task, width), picked | self._colour.get(state, 0))
            # On a low screen the last lines of the foot: the head and a task stay in sight.
            foot = self._board.foot(width)[-max(1, height - 2) :]
        for y, line in enumerate(foot, height - len(foot)):
            self._write(y, line, curses.A_NORMAL)
        self._window.refresh()

    def _write(self, y: int, text: str, attributes: int) -> None:
        # Curses complains of the last place of the screen, and of lines that are outside of it after a resize.
        with suppress(curses.error):
            self._window.addstr(y, 0, clipped(text, self._window.getmaxyx()[1]), attributes)

    def _move(self, by: int) -> None:
        with self._board.lock:
            self._board.move(by, self._window.getmaxyx()[0])

    # -- what pops up

    def _show(self, title: str, lines: Sequence[str], last: str) -> None:
        height, width = self._window.getmaxyx()
        self._window.erase()
        self._write(0, title, curses.A_BOLD)
        for y, line in enumerate(fitted(list(lines), width, max(1, height - 4)), 2):
            self._write(y, line, curses.A_NORMAL)
        self._write(height - 1, last, curses.A_DIM)
        self._window.refresh()

    def _pop_up(self, title: str, lines: Sequence[str]) -> None:
        """Show lines until a key is pressed."""
        while True:
            self._show(f"{title}: {self._board.selected}", lines, "Any key goes back.")
            if self._window.getch() not in (-1, curses.KEY_RESIZE):
                return

    def _ask(self, question: str) -> str:
        """Return what the user types, up to Enter; Escape is nothing."""
        text = ""
        while True:
            self._show(question, [f"> {text}"], "Enter sends, Escape goes back.")
            key = self._window.getch()
            if key in _ENTER:
                return text
            if key == 27:
                return ""
            if key in (curses.KEY_BACKSPACE, 127, 8):
                text = text[:-1]
            elif 32 <= key < 127:
                text += chr(key)

    # -- commands

    def _revoke(self) -> None:
        if (task := self._board.task) is not None:
            self._send("Revoke", caller.revoke, task.uuid)

    def _rate_limit(self) -> None:
        task = self._board.task
        if task is None or not task.name:
            self._pop_up("Rate limit", ["The name of the task is not known."])
        elif limit := self._ask(f"Rate limit of {task.name}, such as 10/m (0 is none)"):
            self._send("Rate limit", caller.rate_limit, task.name, limit)

    def _send(self, title: str, command: Callable[..., Any], *about: str) -> None:
        self._show(title, ["Waiting for replies."], "")
        try:
            replies = command(*about, reply=True, timeout=_REPLIES)
            lines = [f"{node}: {reply}" for found in replies or () for node, reply in found.items()]
        except contained() as error:
            lines = [repr(error)]
        self._pop_up(title, lines or ["No worker answered."])
