"""Reads a redelivered message alone: it may have killed the workers that held it before."""

from __future__ import annotations

from collections.abc import Callable

from taskq.calls.registry import tasks
from taskq.conf import settings
from taskq.records import Claimed

from . import settlements
from .consumer import Consumer
from .request import Request


def read_alone(consumer: Consumer, message: Claimed, name: str, then: Callable[[Request | None], None]) -> None:
    """Read a message of the task ``name``; refuse it if it has used up its starts.

    If a refusal has killed a worker too, the message is given up unread. Settlements are posted to the ledger first.
    Then ``then`` gets the request, or ``None`` if the message is not to run.
    """
    most = _max_deliveries(name)
    if message.deliveries > most:
        consumer.settle(settlements.given_up(message, name, consumer.hostname))
        request = None
    else:
        # A refusal sends no signal: a receiver may have killed the workers.
        request = consumer.read(message, told=message.deliveries < most)
    consumer.post_ends()
    then(request)


def _max_deliveries(name: str) -> int:
    task = tasks.get(name)
    most = task.max_deliveries if task else settings.MAX_DELIVERIES
    # A task can get an invalid option after its definition: it fails when its message is read.
    return most if isinstance(most, int) else settings.MAX_DELIVERIES
