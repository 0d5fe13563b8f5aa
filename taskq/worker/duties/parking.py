"""Parking: a duty of the store thread that parks messages whose task has reached its rate limit.

The loop reads that of which task a message is, and posts it here. What follows it at the head of its queue is parked
without being claimed: other tasks need not wait until all of that has been read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from taskq.messages.parking import parking
from taskq.records import Claimed
from taskq.store.parking import park, park_waiting

from .lease import WorkerLease
from .store_thread import Duty

#: So many messages have to be parked at once for a look at the queue; as many found are worth another one at once.
_WORTH = 2
#: Seconds until the queue is looked at again if there was little to park.
_PAUSE = 0.5


class Parking(Duty):
    """Parks messages that one worker holds. Used on the store thread only."""

    def __init__(self, lease: WorkerLease, alias: str, note_parked: Callable[[str, str], None]) -> None:
        self._lease = lease
        self._alias = alias
        #: Called with a queue and the parking in which messages of it are now.
        self._note_parked = note_parked
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
        """Park what was posted, and what follows it; tell whether there is more."""
        groups: dict[tuple[str, str, str], list[Claimed]] = {}
        for task, message in self._messages:
            groups.setdefault((self._lease.holder(message.id), message.queue, task), []).append(message)
        for (token, queue, task), messages in groups.items():
            park(token, messages, task, self._alias)
            self._lease.drop(*[message.id for message in messages])
            parked = {message.id for message in messages}
            self._messages = [(name, message) for name, message in self._messages if message.id not in parked]
            self._note_parked(queue, parking(queue, task))
            if len(messages) >= _WORTH and time.monotonic() >= self._next_look.get((queue, task), 0.0):
                self._more.add((queue, task))
        self._more = {each for each in self._more if self._look(*each)}
        return bool(self._more)

    def _look(self, queue: str, task: str) -> bool:
        found = park_waiting(queue, task, self._alias)
        if found < _WORTH:
            self._next_look[queue, task] = time.monotonic() + _PAUSE
        return found >= _WORTH
