"""Large: texts of large messages are left in their rows, until there is room for them, or for good.

A claim leaves them: ``engines.claim_columns`` says which messages are large. All who claim then call ``keep``.
``without_texts`` is for messages whose tasks end without running.
"""

from __future__ import annotations

import sys
from typing import TypeVar

from django.db.models import Case, F, QuerySet, TextField, Value, When
from django.db.models.lookups import LessThanOrEqual

from taskq.conf import settings
from taskq.engines import for_alias
from taskq.messages.protocol import MOST_OUTSIDE
from taskq.models import Message, ScheduledMessage
from taskq.models.fields import Octets
from taskq.records import Claimed

from .requeue import requeue

_M = TypeVar("_M", Message, ScheduledMessage)
_TEXTS = ("headers", "properties", "body")


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
        elif refused := _refusal(*sizes[message.id]):
            message.refused, message.headers, message.properties = refused, "{}", "{}"
        elif room > 0:
            room -= _read(message, alias)
        else:
            surplus.add(message.id)
    if surplus:
        requeue(token, sorted(surplus), alias)
    return [message for message in claimed if message.id not in surplus]


def _refusal(headers: int, body: int) -> str:
    """Return why a message of these sizes is not read, or an empty text."""
    for what, size, setting in (
        ("headers and properties", headers, "MAX_HEADERS_SIZE"),
        ("body", body, "MAX_MESSAGE_SIZE"),
    ):
        limit = getattr(settings, setting)
        if limit is not None and size > limit:
            return f"A message with {size} bytes of {what} is above TASKQ_{setting}, which is {limit}."
    return ""


def _read(message: Claimed, alias: str) -> int:
    """Read the texts of a message; return how much memory they take."""
    texts = Message.objects.using(alias).filter(id=message.id).values_list(*_TEXTS).first()
    message.headers, message.properties, message.body = texts or ("{}", "{}", "")
    message.size = sum(map(sys.getsizeof, (message.headers, message.properties, message.body)))
    return message.size


def without_texts(rows: QuerySet[_M], most: int = MOST_OUTSIDE) -> list[_M]:
    """Return the messages of ``rows``; texts of more than ``most`` bytes are read as empty: nothing would open them."""
    text = TextField()
    short = {
        f"short_{name}": Case(
            When(LessThanOrEqual(Octets(name), most), then=F(name)), default=Value(""), output_field=text
        )
        for name in _TEXTS
    }
    found = list(rows.defer(*_TEXTS).annotate(**short))
    for message in found:
        for name in _TEXTS:
            setattr(message, name, getattr(message, f"short_{name}"))
    return found
