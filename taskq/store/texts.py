"""Texts: the headers, properties and bodies of messages. Large texts are read for one message at a time.

``without_texts`` reads many messages, ``whole`` the texts that it has left out, ``refusal`` says what is never read.
"""

from __future__ import annotations

from copy import copy
from typing import Any, TypeVar

from django.db.models import Case, F, QuerySet, TextField, Value, When
from django.db.models.lookups import LessThanOrEqual

from taskq.conf import settings
from taskq.messages.protocol import MOST_OUTSIDE
from taskq.models.fields import Octets
from taskq.models.message import BaseMessage

M = TypeVar("M", bound=BaseMessage)
TEXTS = ("headers", "properties", "body")


def refusal(headers: int, body: int) -> str:
    """Return why a message with so many bytes is never read, or an empty text. ``headers`` has the properties too."""
    for what, size, setting in (
        ("headers and properties", headers, "MAX_HEADERS_SIZE"),
        ("body", body, "MAX_MESSAGE_SIZE"),
    ):
        limit = getattr(settings, setting)
        if limit is not None and size > limit:
            return f"A message with {size} bytes of {what} is above TASKQ_{setting}, which is {limit}."
    return ""


def without_texts(rows: QuerySet[M], most: int = MOST_OUTSIDE) -> list[M]:
    """Return the messages of ``rows``; texts of more than ``most`` bytes are left empty."""
    text = TextField()
    short = {
        f"short_{name}": Case(
            When(LessThanOrEqual(Octets(name), most), then=F(name)), default=Value(None), output_field=text
        )
        for name in TEXTS
    }
    found = list(rows.defer(*TEXTS).annotate(**short))
    for message in found:
        for name in TEXTS:
            value = getattr(message, f"short_{name}")
            setattr(message, name, value or "")
            message.shortened = message.shortened or value is None
    return found


def whole(message: Any) -> Any:
    """Return a message that ``without_texts`` has shortened with all of its texts, and any other as it is.

    Return ``None`` if its row is gone, or if the message is above the limits.
    """
    if not getattr(message, "shortened", False):
        return message
    rows = type(message)._base_manager.using(message._state.db).filter(pk=message.pk)
    sizes = rows.values_list(Octets("headers") + Octets("properties"), Octets("body")).first()
    texts = rows.values_list(*TEXTS).first() if sizes and not refusal(*sizes) else None
    if texts is None:
        return None
    full = copy(message)
    full.headers, full.properties, full.body = texts
    return full
