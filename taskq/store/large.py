"""Large: a claim leaves the texts of large messages in their rows; they are read while there is room for them.

Called by all who claim. ``engines.claim_columns`` says which messages are large. A worker leaves the largest bodies
where they are: nothing in its main process opens them, and ``body_of`` reads one where its task runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from taskq.conf import settings
from taskq.engines import for_alias
from taskq.messages.protocol import MOST_OUTSIDE
from taskq.models import Message
from taskq.records import Claimed

from .authenticity import authentic
from .requeue import requeue
from .texts import TEXTS, refusal


def keep(claimed: list[Claimed], token: str, room: int, alias: str, *, in_rows: bool = False) -> list[Claimed]:
    """Read the texts of large messages into ``claimed`` until ``room`` bytes are used up, the last one whole.

    Large messages without room are requeued at once, and left out of the list that is returned. A message above
    ``TASKQ_MAX_MESSAGE_SIZE`` or ``TASKQ_MAX_HEADERS_SIZE`` is not read: ``Claimed.refused`` says so. With ``in_rows``,
    bodies that are only opened in a task's process stay in their rows: ``Claimed.in_row`` says so. While
    ``TASKQ_SIGNING`` is on they are read for their seals, and dropped by ``leave``.
    """
    large = [message for message in claimed if not message.body]
    if not large:
        return claimed
    sizes = for_alias(alias).message_sizes([message.id for message in large])
    surplus: set[int] = set()
    for message in large:
        if message.id not in sizes:
            surplus.add(message.id)  # the lease was lost, and another worker was quicker
        elif refused := refusal(*sizes[message.id]):
            message.refused, message.headers, message.properties = refused, "{}", "{}"
        elif room <= 0:
            surplus.add(message.id)
        elif in_rows and sizes[message.id][1] > MOST_OUTSIDE and not settings.SIGNING:
            room -= _read_headers(message, alias)
        else:
            room -= _read(message, alias)
    if surplus:
        requeue(token, sorted(surplus), alias)
    return [message for message in claimed if message.id not in surplus]


def leave(claimed: Iterable[Claimed]) -> None:
    """Drop bodies that are only opened in a task's process: they are read from their rows there."""
    for message in claimed:
        if message.size > MOST_OUTSIDE and len(message.body.encode()) > MOST_OUTSIDE:
            message.body, message.in_row, message.size = "", True, 0


def body_of(message_id: int, headers: str, properties: str, alias: str | None = None) -> str | None:
    """Return the body of a claimed message; ``None`` if its row is gone, or with ``TASKQ_SIGNING`` was altered.

    ``headers`` and ``properties`` are those of the claim, whose seal was verified.
    """
    rows = Message.objects.using(alias or settings.DATABASE).filter(id=message_id)
    if not settings.SIGNING:
        return rows.values_list("body", flat=True).first()
    message = rows.first()
    if message is None or (message.headers, message.properties) != (headers, properties) or not authentic([message]):
        return None
    return message.body


def _read(message: Claimed, alias: str) -> int:
    """Read the texts of a message; return how much memory they take."""
    texts = Message.objects.using(alias).filter(id=message.id).values_list(*TEXTS).first()
    message.headers, message.properties, message.body = texts or ("{}", "{}", "")
    message.size = sum(map(sys.getsizeof, (message.headers, message.properties, message.body)))
    return message.size


def _read_headers(message: Claimed, alias: str) -> int:
    """Read the headers and properties of a message, if the claim did not; return how much memory they take."""
    message.in_row = True
    if not (message.headers and message.properties):
        texts = Message.objects.using(alias).filter(id=message.id).values_list("headers", "properties").first()
        message.headers, message.properties = texts or ("{}", "{}")
        message.size = sum(map(sys.getsizeof, (message.headers, message.properties)))
    return message.size
