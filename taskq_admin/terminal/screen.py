"""The monitor in a terminal, by curses: it draws a ``Board``, and does what keys say."""

from __future__ import annotations

import curses
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from .board import Board
from .tables import cut

_ENTER = (curses.KEY_ENTER, ord("\n"), ord("\r"))
#: Milliseconds in which a key is waited for, at most: then it is looked whether the screen is to be read anew.
_WAIT = 100
_ACTS = "rcp"
_LEAVE = ("q", "\x1b")


def run(board: Board) -> None:
    """Show the monitor until q or Ctrl-C. Raises ``curses.error`` if this is no terminal."""
    with suppress(KeyboardInterrupt):
        curses.wrapper(lambda window: Screen(window, board).run())


class Screen:
    """Draws, and waits for keys."""

    def __init__(self, window: Any, board: Board) -> None:
        self._window, self._board = window, board
        self._keys: dict[int, Callable[[], object]] = {
            ord("+"): lambda: board.pace(1),
            ord("-"): lambda: board.pace(-1),
            ord(" "): board.refresh,
            ord("\t"): lambda: board.turn(1),
            curses.KEY_RIGHT: lambda: board.turn(1),
            curses.KEY_BTAB: lambda: board.turn(-1),
            curses.KEY_LEFT: lambda: board.turn(-1),
            curses.KEY_RESIZE: curses.update_lines_cols,
        }
        self._keys |= dict.fromkeys((ord("j"), curses.KEY_DOWN), lambda: board.move(1))
        self._keys |= dict.fromkeys((ord("k"), curses.KEY_UP), lambda: board.move(-1))
        self._keys |= dict.fromkeys(_ENTER, self._more)
        self._keys |= {ord(str(n)): (lambda n=n: board.show(n - 1)) for n in range(1, 5)}  # type: ignore[misc]
        self._keys |= {ord(key): (lambda key=key: self._act(key)) for key in _ACTS}  # type: ignore[misc]

    def run(self) -> None:
        """Draw, and do what keys say, until q."""
        with suppress(curses.error):
            curses.curs_set(0)
        self._window.keypad(True)
        self._window.timeout(_WAIT)
        due = 0.0
        while True:
            if time.monotonic() >= due:
                self._board.refresh()
                due = time.monotonic() + self._board.interval
                self._draw()
            key = self._window.getch()
            if key == ord("q"):
                return
            if command := self._keys.get(key):
                command()
                due = min(due, time.monotonic() + self._board.interval)
                self._draw()

    def _draw(self) -> None:
        height, width = self._window.getmaxyx()
        head, foot = self._board.head(width), self._board.foot(width)
        body, picked = self._board.body(width, max(1, height - len(head) - len(foot)))
        self._window.erase()
        for y, line in enumerate(head):
            self._write(y, line, curses.A_BOLD)
        for y, line in enumerate(body, len(head)):
            here = y - len(head)
            self._write(y, line, curses.A_UNDERLINE if not here else curses.A_REVERSE if here == picked else 0)
        for y, line in enumerate(foot, height - len(foot)):
            self._write(y, line, curses.A_DIM)
        self._window.refresh()

    def _write(self, y: int, text: str, attributes: int) -> None:
        # Curses complains of the last place of the screen, and of lines that are outside of it after a resize.
        with suppress(curses.error):
            self._window.addnstr(y, 0, text, self._window.getmaxyx()[1], attributes)

    # -- what pops up

    def _show(self, lines: Sequence[str], last: str) -> None:
        height, width = self._window.getmaxyx()
        self._window.erase()
        for y, line in enumerate(lines[: max(1, height - 1)]):
            self._write(y, cut(line, width), 0)
        self._write(height - 1, last, curses.A_DIM)
        self._window.refresh()

    def _key(self) -> int:
        """Return the next key that is pressed."""
        while (key := self._window.getch()) == -1:
            pass
        return int(key)

    def _more(self) -> None:
        """Show all of the selected row, a screen at a time, until q, Escape or the end."""
        lines = self._board.about()
        page = max(1, self._window.getmaxyx()[0] - 1)
        for start in range(0, len(lines), page):
            rest = start + page < len(lines)
            self._show(lines[start : start + page], "Space: more  q: back" if rest else "Any key goes back.")
            if chr(self._key() & 0xFF) in _LEAVE:
                return

    def _act(self, key: str) -> None:
        if question := self._board.question(key):
            self._show([question], "y: yes  any other key: no")
            if self._key() in (ord("y"), ord("Y")):
                self._board.act(key)
