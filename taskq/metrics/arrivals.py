"""When the messages that a worker holds were written: a duty of its store thread, only while metrics are served.

A claim does not bring that time along. One query asks for it behind each claim, before its messages can be settled.
"""

from __future__ import annotations

from collections.abc import Sequence

from taskq.models import Message
from taskq.records import Claimed
from taskq.worker.duties.lease import WorkerLease
from taskq.worker.duties.store_thread import Duty

#: Messages in one query.
_BATCH = 500
#: Times of messages that went back are kept until there are so many more than messages.
_SPARE = 1_000


class Arrivals(Duty):
    """The times at which held messages were written. Used on the store thread only."""

    __slots__ = ("_alias", "_lease", "_new", "_written")

    def __init__(self, lease: WorkerLease, alias: str) -> None:
        self._lease = lease
        self._alias = alias
        self._new: list[int] = []
        self._written: dict[int, float] = {}

    def claimed(self, messages: Sequence[Claimed]) -> None:
        """Note messages whose time is to be read."""
        self._new.extend(message.id for message in messages)

    def take(self, message_id: int) -> float | None:
        """Return when a message was written, by the database's clock; it is forgotten then."""
        return self._written.pop(message_id, None)

    def work(self) -> bool:
        """Read the times of the messages that were claimed in this turn."""
        while self._new:
            batch = self._new[:_BATCH]
            rows = Message.objects.using(self._alias).filter(id__in=batch)
            self._written.update((key, at.timestamp()) for key, at in rows.values_list("id", "created_at"))
            del self._new[:_BATCH]
        if len(self._written) > self._lease.held + _SPARE:
            self._written = {key: at for key, at in self._written.items() if self._lease.holds(key)}
        return False
