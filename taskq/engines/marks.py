"""Marks: what a notification holds in place of names. Every role of the database may listen.

Both sides make the mark of the same name: who notifies, and who looks for it among the names that it knows. The marks
of two names may be alike: a notification is only a hint.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from hashlib import blake2b

#: The channels of notifications: of queues, for workers, and of tasks that have ended, for those who wait.
MESSAGE_CHANNEL, RESULT_CHANNEL = "taskq_message", "taskq_result"
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
