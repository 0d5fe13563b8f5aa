"""Parkings: the queues in which messages wait for the rate limit of their task. Names only.

The row of a parked message has the name of the parking as its queue; its headers are unchanged. There is a parking for
each queue and task, in which messages keep the order of their priorities.
"""

from __future__ import annotations

from taskq.ids import MAX_NAME

#: The beginning of all names of parkings, which no declared queue has, and the text between queue and task.
PREFIX = "\x1flimited\x1f"
_SEPARATOR = "\x1f"
#: The first text behind all names of parkings, for comparisons.
RANGE_END = "\x1flimited "


def parking(queue: str, task: str) -> str:
    """Return the parking of a task's messages in ``queue``; an empty text if the names are too long for one."""
    name = f"{PREFIX}{queue}{_SEPARATOR}{task}"
    return name if len(name) <= MAX_NAME else ""


def home(queue: str) -> str:
    """Return the queue from which messages are parked in ``queue``; any other queue is its own home."""
    return queue[len(PREFIX) :].rpartition(_SEPARATOR)[0] if queue.startswith(PREFIX) else queue


def parked_task(queue: str) -> str:
    """Return the name of the task for which ``queue`` is a parking, an empty text if it is none."""
    return queue.rpartition(_SEPARATOR)[2] if queue.startswith(PREFIX) else ""
