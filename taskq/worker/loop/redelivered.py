"""Reads a redelivered message alone: it may be what killed the workers that had it before."""

from __future__ import annotations

from collections.abc import Callable

from taskq.calls.registry import tasks
from taskq.conf import settings
from taskq.records import Claimed

from . import settlements
from .consumer import Consumer
from .request import Request


def read_alone(consumer: Consumer, message: Claimed, name: str, then: Callable[[Request | None], None]) -> None:
    """Read a message of the task ``name``, which is to be refused if it has reached its limit.

    If the refusal has killed a worker too, it is given up unread. ``then`` gets its request, or ``None`` if it is not
    to run; what ended is posted to the ledger before.
    """
    most = _max_deliveries(name)
    if message.deliveries > most:
        consumer.settle(settlements.given_up(message, name, consumer.hostname))
        request = None
    else:
        # A receiver of the signal may be what killed the workers: the refusal does without.
        request = consumer.read(message, told=message.deliveries < most)
    consumer.post_ends()
    then(request)


def _max_deliveries(name: str) -> int:
    task = tasks.get(name)
    most = task.max_deliveries if task else settings.MAX_DELIVERIES
    # A task can get an invalid option after its definition: it fails when its message is read.
    return most if isinstance(most, int) else settings.MAX_DELIVERIES
