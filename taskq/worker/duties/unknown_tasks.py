"""Messages that workers of another version did not know and put back: a worker that starts takes its own at once.

Runs once, on the store thread. ``loop.returns`` puts such messages back.
"""

from __future__ import annotations

from taskq.calls.registry import tasks
from taskq.conf import settings
from taskq.store.promote import hasten_unknown


def take_known(alias: str) -> None:
    """Have messages come back now that went back as unknown, and whose tasks this worker has."""
    if settings.UNKNOWN_TASK_GRACE:
        hasten_unknown(tasks.keys(), settings.UNKNOWN_TASK_GRACE, alias)
