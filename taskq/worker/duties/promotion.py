"""Promotion of scheduled messages: when to look at the schedule, and from where.

An old transaction keeps the index entries of all messages that were promoted since it began: see ``queue_front``. So a
look begins behind them. If the last look found a whole batch, that is behind the last promoted message; otherwise it is
``_LATE`` seconds before that look, since a message may be committed a little after it is due. Looks from the start find
messages that are committed later still.
"""

from __future__ import annotations

import time

from taskq import clock
from taskq.engines import for_alias
from taskq.records import DuePlace
from taskq.store.promote import BATCH, next_due, promote

from .pace import Pace

#: Seconds between two reads of the schedule while it is empty.
_POLL = 30.0
#: Seconds until the next read of the schedule when another worker has locked the due messages.
_CONTENDED = 0.05
#: Seconds by which a message may be committed after the time for which it is scheduled.
_LATE = 1.0


class Promotion:
    """Promotes due messages for one worker. Used on the store thread only."""

    def __init__(self, alias: str) -> None:
        self._alias = alias
        #: Whether the database keeps dead index entries.
        self._kept = for_alias(alias).keeps_dead_entries
        #: When to look at the schedule next.
        self.next_look = 0.0
        #: The place before which all messages that came in time are promoted.
        self._front: DuePlace | None = None
        #: When to look from the start.
        self._pace = Pace()

    def look_soon(self) -> None:
        """Look at the schedule with the next ``promote``: there may be news."""
        self.next_look = 0.0

    def promote(self) -> bool:
        """Promote a batch of due messages if it is time to look; tell whether there were any."""
        if time.monotonic() < self.next_look:
            return False
        front = (clock.now() - _LATE, 0)
        after = None if self._pace.is_due or not self._kept else self._front
        seconds = self._look(after)
        if seconds is None or seconds > 0:
            self._front = front
            self.next_look = self._until(seconds)
            return False
        promoted = promote(BATCH, self._alias, after=after)
        if not promoted:
            # Another worker has promoted the messages, or is about to.
            self.next_look = time.monotonic() + _CONTENDED
            return False
        self._front = promoted[-1] if len(promoted) == BATCH else front
        return True

    def _look(self, after: DuePlace | None) -> float | None:
        began = time.monotonic()
        seconds = next_due(self._alias, after)
        if after is None:
            self._pace.note(time.monotonic() - began)
        return seconds

    def _until(self, seconds: float | None) -> float:
        """Return when to look next, if nothing is due for ``seconds``, or nothing is scheduled."""
        due = time.monotonic() + min(seconds or _POLL, _POLL)
        # Nothing is due behind the front. Before it there may be messages that came late.
        return due if self._pace.is_quick else min(due, self._pace.next_look)
