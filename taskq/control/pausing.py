"""Pausing queues: the functions of ``taskq.control``. A pause is a row that all workers read."""

from __future__ import annotations

from datetime import timedelta

from taskq.ids import MAX_NAME
from taskq.models import QueuePause
from taskq.store import pauses

from .revoking import named


def pause_queue(queue: str, *, seconds: float | timedelta | None = None, reason: str = "", by: str = "") -> QueuePause:
    """Have no worker start tasks of ``queue``, within a second, for so many ``seconds`` or until it is resumed.

    What runs goes on. Messages can be sent, and wait. ``reason`` and ``by`` are texts for those who ask why. Pausing
    a paused queue replaces its pause. Raises ``TypeError`` or ``ValueError`` for what can't be a queue or a time.

    >>> pause_queue("reports", seconds=3600, reason="the warehouse is being moved", by="ann")  # doctest: +SKIP
    """
    if isinstance(seconds, timedelta):
        seconds = seconds.total_seconds()
    if seconds is not None and not 0 < seconds <= timedelta(days=3650).total_seconds():
        raise ValueError(f"seconds has to be more than 0 and at most ten years, not {seconds!r}")
    return pauses.pause(named("queue", queue), by=_short(by), reason=_short(reason), seconds=seconds)


def resume_queue(queue: str) -> bool:
    """Have workers start tasks of ``queue`` again; tell whether it was paused."""
    return pauses.resume(named("queue", queue))


def paused_queues() -> list[QueuePause]:
    """Return the pauses that hold now, by queue."""
    return pauses.present()


def _short(text: str) -> str:
    return str(text).replace("\0", "")[:MAX_NAME]
