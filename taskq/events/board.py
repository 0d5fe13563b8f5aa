"""``Board``: what the monitor shows, as lines of text. It knows the size of the screen, and nothing of curses."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from textwrap import wrap
from typing import Any
from unicodedata import category, east_asian_width

from taskq import states

from .stamps import Event
from .state import ClusterState, TaskInfo

#: The most lines of each part of the block at the bottom.
_FOOT = {"Selected": 3, "Workers online": 2, "Info": 2, "Keys": 2}
#: Lines that are no tasks: the head, and that block.
_OTHERS = 1 + sum(_FOOT.values())
_KEYS = "j/k: move  i: info  t: traceback  r: result  c: revoke  l: limit  ^C: end"
_NO_RESULT = "There is no result yet."
#: The categories of marks that are drawn onto the letter before them: accents, vowel signs, frames.
_MARKS = ("Mn", "Me")
#: Widths of time and state, and of the gaps between five columns.
_TIME, _STATE, _GAPS = 8, 8, 4


def printable(text: object) -> str:
    """Return a text as one line that a terminal can't take for commands: anybody may send events."""
    return "".join(letter if letter.isprintable() else " " for letter in str(text))


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes: letters of East Asia take two, marks none."""
    if text.isascii():
        return len(text)
    return sum(0 if category(each) in _MARKS else 2 if east_asian_width(each) in "WF" else 1 for each in text)


def clipped(text: str, width: int) -> str:
    """Return as much of the start of a text as ``width`` columns have room for."""
    text = text[: 2 * width]
    while columns(text) > width:
        text = text[:-1]
    return text


def tail(text: str, width: int) -> str:
    """Return a text in ``width`` columns; of a longer one the end, where ids and names differ."""
    if columns(text) > width:
        text = text[-2 * width :]
        while columns(text) > width - 2:
            text = text[1:]
        text = ".." + text
    return text + " " * (width - columns(text))


@dataclass(slots=True)
class Board:
    """The tasks of a cluster, of which one is selected. Events come on another thread: see ``lock``."""

    state: ClusterState = field(default_factory=ClusterState)
    selected: str = ""
    problem: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def event(self, event: Event) -> None:
        """Take over an event. Any thread may call it."""
        with self.lock:
            self.problem = ""
            self.state.event(event)

    @property
    def task(self) -> TaskInfo | None:
        """The selected task."""
        return self.state.tasks.get(self.selected)

    def rows(self, height: int) -> list[TaskInfo]:
        """Return the tasks that a screen of ``height`` lines shows, the newest first; one of them is selected."""
        found = list(self.state.recent_tasks(max(1, height - _OTHERS)))
        if found and self.selected not in {task.uuid for task in found}:
            self.selected = found[0].uuid
        return found

    def move(self, by: int, height: int) -> None:
        """Select the task ``by`` rows further down."""
        shown = [task.uuid for task in self.rows(height)]
        if shown:
            self.selected = shown[max(0, min(len(shown) - 1, shown.index(self.selected) + by))]

    # -- lines

    def head(self, width: int) -> str:
        """Return the names of the columns."""
        return _line(("UUID", "WORKER", "TASK", "TIME", "STATE"), width)

    def line(self, task: TaskInfo, width: int) -> str:
        """Return the line of a task."""
        at = time.strftime("%H:%M:%S", time.localtime(_number(task.timestamp)))
        return _line((task.uuid, task.worker or "", task.name or "", at, task.state), width)

    def foot(self, width: int) -> list[str]:
        """Return the lines of the block at the bottom, broken at ``width``."""
        task = self.task
        about = "(none)" if task is None else ", ".join(f"{name}={value}" for name, value in task.info().items())
        alive = self.state.alive_workers()
        workers = ", ".join(worker.hostname for worker in alive) or "(none)"
        counts = f"events: {self.state.event_count}  tasks: {self.state.task_count}"
        info = f"{counts}  workers: {len(alive)}/{len(self.state.workers)}  {self.problem}"
        parts = zip(_FOOT.items(), (about, workers, info, _KEYS), strict=True)
        return [line for (title, most), text in parts for line in fitted([f"{title}: {text}"], width, most)]

    # -- what pops up

    def info(self) -> list[str]:
        """Return what is known of the selected task."""
        task = self.task
        hidden = {"traceback", "result"}
        return [] if task is None else [f"{name}: {value}" for name, value in task.info().items() if name not in hidden]

    def result(self) -> list[str]:
        """Return the value or the exception of the selected task."""
        task = self.task
        if task is None:
            return [_NO_RESULT]
        found = task.result if task.state == states.SUCCESS else task.exception
        return [_NO_RESULT if found is None else str(found)]

    def traceback(self) -> list[str]:
        """Return the traceback of the selected task."""
        task = self.task
        found = None if task is None else task.traceback
        return str(found).splitlines() if found else ["There is no traceback."]


def fitted(lines: list[str], width: int, height: int) -> list[str]:
    """Return lines broken at ``width``, the last of them left out if there are more than ``height``."""
    broken = [part for line in lines for part in wrap(printable(line), max(1, width), drop_whitespace=False) or [""]]
    return broken if len(broken) <= height else [*broken[: height - 1], "..."]


def _line(texts: tuple[str, str, str, str, str], width: int) -> str:
    room = max(12, width - _TIME - _STATE - _GAPS)
    uuid, worker = min(36, room // 3), min(24, room // 4)
    widths = (uuid, worker, room - uuid - worker, _TIME, _STATE)
    return clipped(" ".join(tail(printable(text), size) for text, size in zip(texts, widths, strict=True)), width)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
