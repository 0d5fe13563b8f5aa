"""``Board``: what the monitor shows as lines of text, and what is selected. It knows nothing of curses.

It reads rows only in ``refresh`` and ``about``, and acts in ``act``, through ``taskq.control``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.db import Error
from django.utils import timezone
from kombu.exceptions import KombuError

from taskq import control, states, timezones
from taskq.exceptions import TaskqError
from taskq_admin.queries import runs

from . import details
from .snapshot import FAILED, LISTS, QUEUES, RUNNING, Listing, Row, Snapshot, take
from .tables import cell, cut, fields, table
from .user import Actor

#: The intervals, in seconds, between which + and - choose.
INTERVALS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_MOST_NOTICES = 3
#: Columns from which ids are shown whole, and the characters of their ends on narrower screens.
_WIDE, _END = 140, 12


@dataclass(slots=True)
class Board:
    """One list at a time; of its rows one is selected, by its name, so that it stays selected when others come."""

    actor: Actor = field(default_factory=lambda: Actor.of(None))
    limit: int = 100
    interval: float = 2.0
    shown: Listing = QUEUES
    snapshot: Snapshot = field(default_factory=lambda: Snapshot(timezones.now()))
    selected: str = ""
    #: What was done last, or why nothing is known.
    said: str = ""

    # -- what it knows

    def refresh(self) -> None:
        """Read everything anew. What is shown stays if the database does not answer, and a line says so."""
        try:
            self.snapshot = take(self.limit)
        except (Error, OSError) as error:
            self.said = f"The database does not answer: {error}"

    @property
    def rows(self) -> list[Row]:
        """The rows of the list that is shown."""
        return self.snapshot.rows.get(self.shown.key, [])

    @property
    def row(self) -> Row | None:
        """The selected row: the first one if the selected one is gone."""
        return next((row for row in self.rows if self._name(row) == self.selected), next(iter(self.rows), None))

    def _name(self, row: Row) -> str:
        return str(row[self.shown.name])

    # -- what keys change

    def show(self, number: int) -> None:
        """Show the list with this number, counted on beyond the ends."""
        self.shown = LISTS[number % len(LISTS)]
        self.selected = ""

    def turn(self, by: int) -> None:
        """Show the list so many further on."""
        self.show(LISTS.index(self.shown) + by)

    def move(self, by: int) -> None:
        """Select the row so many further down."""
        if (row := self.row) is not None:
            place = self.rows.index(row) + by
            self.selected = self._name(self.rows[max(0, min(len(self.rows) - 1, place))])

    def pace(self, by: int) -> None:
        """Choose the next longer or shorter interval."""
        near = min(INTERVALS, key=lambda seconds: abs(seconds - self.interval))
        self.interval = INTERVALS[max(0, min(len(INTERVALS) - 1, INTERVALS.index(near) + by))]

    # -- acting

    def question(self, key: str) -> str:
        """Return what is asked before a key acts upon the selected row, empty if it does nothing there."""
        row, words = self.row, _WORDS.get((self.shown.key, key))
        if row is None or words is None:
            return ""
        return f"{words(row)} {cell(self._name(row))}? y/n"

    def act(self, key: str) -> None:
        """Do what was asked; a line says what came of it."""
        row = self.row
        if row is None or (self.shown.key, key) not in _ACTS:
            return
        try:
            self.said = _ACTS[self.shown.key, key](row, self.actor)
        except (TaskqError, KombuError, Error, OSError, ValueError, TypeError) as error:
            self.said = str(error)
        self.refresh()

    def about(self) -> list[str]:
        """Return all that is known of the selected row as lines."""
        row = self.row
        if row is None:
            return []
        try:
            found = details.of(row["task_id"]) if self.shown in (RUNNING, FAILED) else None
        except Error as error:
            return [str(error)]
        return fields(row.items()) if found is None else details.lines(found)

    # -- lines

    def head(self, width: int) -> list[str]:
        """Return the lines above the list: time and figures, what needs attention, and the names of the lists."""
        clock = f"{timezone.localtime(self.snapshot.at):%H:%M:%S}"
        notices = [f"! {cell(text)}" for text in self.snapshot.notices[:_MOST_NOTICES]]
        tabs = "  ".join(
            f"[{n} {each.title} {len(self.snapshot.rows.get(each.key, []))}]"
            if each is self.shown
            else f"{n} {each.title} {len(self.snapshot.rows.get(each.key, []))}"
            for n, each in enumerate(LISTS, 1)
        )
        return [cut(line, width) for line in (f"{clock}  {cell(self.snapshot.figures)}", *notices, tabs)]

    def body(self, width: int, height: int) -> tuple[list[str], int]:
        """Return the heads of the columns and the rows that ``height`` lines show, and which of them is selected."""
        rows, row = self.rows, self.row
        if row is None:
            return ["Nothing here."], 0
        place, room = rows.index(row), max(1, height - 1)
        first = max(0, min(place - room // 2, len(rows) - room))
        part = rows[first : first + room]
        if width >= _WIDE:
            return table(self.shown.heads, part, width), place - first + 1
        # What went wrong is what a narrow screen is looked at for.
        heads = {key: head for key, head in self.shown.heads.items() if key != "queue"}
        return table(heads, [_short(row) for row in part], width), place - first + 1

    def foot(self, width: int) -> list[str]:
        """Return the lines below the list: what was done, and the keys."""
        more = {QUEUES.key: "p: pause/resume  ", RUNNING.key: "c: revoke  ", FAILED.key: "r: retry  "}
        keys = f"Tab, 1-4: list  j/k: row  Enter: more  {more.get(self.shown.key, '')}+/-: {self.interval:g} s  q: quit"
        return [cut(cell(self.said), width), cut(keys, width)]

    def everything(self) -> list[str]:
        """Return all lists below each other, for a print."""
        lines = [self.snapshot.figures, *(f"! {text}" for text in self.snapshot.notices)]
        found = [cell(line) for line in lines]
        for listing in LISTS:
            rows = self.snapshot.rows.get(listing.key, [])
            found += ["", f"{listing.title}:", *(table(listing.heads, rows) if rows else ["Nothing here."])]
        return found


def _short(row: Row) -> Row:
    """Return a row with the end of its id, by which ids differ."""
    task_id = row.get("task_id", "")
    return row | {"task_id": f"…{task_id[-_END:]}"} if len(task_id) > _END + 1 else row


def _retry(row: Row, actor: Actor) -> str:
    control.retry(row["task_id"], by=actor.name)
    actor.note("retry", [row["task_id"]])
    return f"{row['task_id']} runs again."


def _revoke(row: Row, actor: Actor) -> str:
    task_id = row["task_id"]
    if runs.states_of([task_id]).get(task_id) in states.READY_STATES:
        return f"{task_id} has ended meanwhile."
    control.revoke(task_id, terminate=True)
    actor.note("terminate", [task_id])
    return f"{task_id} is revoked; its worker was asked to end it."


def _pause(row: Row, actor: Actor) -> str:
    name = row["name"]
    if row["paused"]:
        if not control.resume_queue(name):
            return f"{name} was resumed meanwhile."
        actor.note_queue("resume", name)
        return f"{name} is resumed."
    control.pause_queue(name, by=actor.name)
    actor.note_queue("pause", name)
    return f"{name} is paused."


_ACTS: dict[tuple[str, str], Callable[[Row, Actor], str]] = {
    (FAILED.key, "r"): _retry,
    (RUNNING.key, "c"): _revoke,
    (QUEUES.key, "p"): _pause,
}
_WORDS: dict[tuple[str, str], Callable[[Row], Any]] = {
    (FAILED.key, "r"): lambda row: "Retry",
    (RUNNING.key, "c"): lambda row: "Revoke and terminate",
    (QUEUES.key, "p"): lambda row: "Resume" if row["paused"] else "Pause",
}
