"""Marks: short hashes of names. A notification holds marks, because every role of the database may listen.

The names are queues, task ids, and names with a control character that stand for something else. The listening side
compares the marks of the names that it knows. Two names may have one mark: a notification is only a hint.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from hashlib import blake2b

#: The channels of notifications: of queues, for workers, and of tasks that have ended, for those who wait.
MESSAGE_CHANNEL, RESULT_CHANNEL = "taskq_message", "taskq_result"
#: The name for "the schedule has new messages". ``store`` has more: ``REVOKED_NAME``, ``PAUSES_NAME``, ``RATES_NAME``.
SCHEDULED_NAME = "\x1fscheduled"
#: PostgreSQL takes payloads of less than 8,000 bytes.
_LONGEST = 7900


@lru_cache(maxsize=1000)
def mark(name: str) -> str:
    """Return the mark of a queue, a task id, or another name."""
    return blake2b(name.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()


def payload(names: Collection[str]) -> str:
    """Return the payload of a notification about ``names``: their marks, or empty for "several" if these are many."""
    # Sixteen digits and a comma each.
    return ",".join(map(mark, names)) if len(names) * 17 <= _LONGEST else ""
