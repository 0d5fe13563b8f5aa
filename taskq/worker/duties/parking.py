"""Parking: a duty of the store thread that parks messages whose task has reached its rate limit.

The loop reads the headers of a message, finds that its task is limited, and posts it here. Messages of the same task
that follow at the head of the queue are parked without being claimed, so that other tasks need not wait behind them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from taskq.messages.parking import parking
from taskq.records import Claimed
from taskq.store.parking import park, park_waiting

from .database_source import DatabaseSource
from .lease import WorkerLease
from .store_thread import Duty

#: A look at the head of a queue follows if at least so many messages of a task were parked together; and another one
#: at once if the look has found as many.
_WORTH = 2
#: Seconds until the queue is looked at again if there was little to park.
_PAUSE = 0.5


class Parking(Duty):
    """Parks messages that one worker holds. Used on the store thread only."""

    def __init__(self, lease: WorkerLease, alias: str, source: DatabaseSource) -> None:
        self._lease = lease
        self._alias = alias
        self._source = source
        self._messages: list[tuple[str, Claimed]] = []
        #: The queues and tasks of which more may wait, and when to look at the others again.
        self._more: set[tuple[str, str]] = set()
        self._next_look: dict[tuple[str, str], float] = {}

    def park(self, messages: Iterable[tuple[str, Claimed]]) -> None:
        """Park messages that this worker holds, each given with the name of its task."""
        self._messages.extend(messages)

    @property
    def done(self) -> bool:
        """Whether everything is parked."""
        return not self._messages

    def work(self) -> bool:
        """Park the posted messages, and those of the same tasks at the heads of queues; tell whether there are more."""
        groups: dict[tuple[str, str, str], list[Claimed]] = {}
        for task, message in self._messages:
            groups.setdefault((self._lease.holder(message.id), message.queue, task), []).append(message)
        for (token, queue, task), messages in groups.items():
            park(token, messages, task, self._alias)
            self._lease.drop(*[message.id for message in messages])
            parked = {message.id for message in messages}
            self._messages = [(name, message) for name, message in self._messages if message.id not in parked]
            self._source.note_parked(queue, parking(queue, task))
            if len(messages) >= _WORTH and time.monotonic() >= self._next_look.get((queue, task), 0.0):
                self._more.add((queue, task))
        self._more = {each for each in self._more if self._look(*each)}
        return bool(self._more)

    def start_unused(self, task: str) -> None:
        """Give a start back to the limit of ``task``: the message that was claimed for it does not start."""
        self._source.limits.give_back(task, 1)

    def _look(self, queue: str, task: str) -> bool:
        """Park the messages of a task at the head of a queue; tell whether another look is worth it at once."""
        if not self._source.limits.has(task):
            return False  # What waits may start: the limit is gone.
        found = park_waiting(queue, task, self._alias, after=self._source.front(queue))
        if found:
            # Those that were parked before may all have been claimed by now.
            self._source.note_parked(queue, parking(queue, task))
        if found < _WORTH:
            self._next_look[queue, task] = time.monotonic() + _PAUSE
        return found >= _WORTH
