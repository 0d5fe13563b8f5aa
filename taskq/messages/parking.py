"""Parkings: the queues in which messages wait for the rate limit of their task. Names only.

A parked message has the name of its parking in place of its queue's in its row, and nowhere else. There is a parking
for each queue and task, so that what is parked lies apart from what can run, in the order of its priorities.
"""

from __future__ import annotations

from .protocol.wire import MAX_NAME

#: What the names of all parkings begin with, and what parts them. No declared queue has such a name.
PREFIX = "\x1flimited\x1f"
_BETWEEN = "\x1f"
#: The first text behind the names of all parkings.
BEHIND = "\x1flimited "


def parking(queue: str, task: str) -> str:
    """Return the parking of a task's messages in ``queue``; an empty text if the names are too long for one."""
    name = f"{PREFIX}{queue}{_BETWEEN}{task}"
    return name if len(name) <= MAX_NAME else ""


def home(queue: str) -> str:
    """Return the queue from which messages are parked in ``queue``; any other queue is its own home."""
    return queue[len(PREFIX) :].rpartition(_BETWEEN)[0] if queue.startswith(PREFIX) else queue


def parked_task(queue: str) -> str:
    """Return the name of the task for which ``queue`` is a parking, an empty text if it is none."""
    return queue.rpartition(_BETWEEN)[2] if queue.startswith(PREFIX) else ""
