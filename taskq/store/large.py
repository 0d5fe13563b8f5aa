"""Large: a claim leaves the texts of large messages in their rows; they are read while there is room for them.

Called by all who claim. ``engines.claim_columns`` says which messages are large.
"""

from __future__ import annotations

import sys

from taskq.engines import for_alias
from taskq.models import Message
from taskq.records import Claimed

from .requeue import requeue
from .texts import TEXTS, refusal


def keep(claimed: list[Claimed], token: str, room: int, alias: str) -> list[Claimed]:
    """Read the texts of large messages into ``claimed`` until ``room`` bytes are used up, the last one whole.

    Large messages without room are requeued at once, and left out of the list that is returned. A message above
    ``TASKQ_MAX_MESSAGE_SIZE`` or ``TASKQ_MAX_HEADERS_SIZE`` is not read: ``Claimed.refused`` says so.
    """
    large = [message for message in claimed if not message.body]
    if not large:
        return claimed
    sizes = for_alias(alias).sizes([message.id for message in large])
    surplus: set[int] = set()
    for message in large:
        if message.id not in sizes:
            surplus.add(message.id)  # the lease was lost, and another worker was quicker
        elif refused := refusal(*sizes[message.id]):
            message.refused, message.headers, message.properties = refused, "{}", "{}"
        elif room > 0:
            room -= _read(message, alias)
        else:
            surplus.add(message.id)
    if surplus:
        requeue(token, sorted(surplus), alias)
    return [message for message in claimed if message.id not in surplus]


def _read(message: Claimed, alias: str) -> int:
    """Read the texts of a message; return how much memory they take."""
    texts = Message.objects.using(alias).filter(id=message.id).values_list(*TEXTS).first()
    message.headers, message.properties, message.body = texts or ("{}", "{}", "")
    message.size = sum(map(sys.getsizeof, (message.headers, message.properties, message.body)))
    return message.size
