"""Pauses: a duty of the store thread that reads which queues are paused.

Nothing is claimed from a paused queue, and what the worker holds of it and has not started goes back.
"""

from __future__ import annotations

from collections.abc import Callable

from taskq import clock
from taskq.store import pauses
from taskq.worker import log_lines

from .watch import Watch


class Pauses(Watch):
    """``changed`` is called with the names of all paused queues when they are others than before."""

    def __init__(self, alias: str, changed: Callable[[frozenset[str]], None], *, poll: float) -> None:
        super().__init__(pauses.PAUSES_NAME, poll=poll)
        self._alias = alias
        self._changed = changed
        self._paused: frozenset[str] = frozenset()

    def read(self) -> float | None:
        """Read the pauses; return the seconds to the first end of one."""
        rows = pauses.present(self._alias)
        before, self._paused = self._paused, frozenset(row.queue for row in rows)
        if self._paused != before:
            log_lines.pauses_changed(sorted(self._paused - before), sorted(before - self._paused))
            self._changed(self._paused)
        now = clock.now()
        return min((max(0.0, row.until.timestamp() - now) for row in rows if row.until is not None), default=None)
