"""Claim: a worker takes messages of one queue; its token is on them until they are settled or given back."""

from __future__ import annotations

from collections.abc import Sequence

from taskq.conf import settings
from taskq.engines import for_alias
from taskq.models import Message

from .records import Claimed


def claim(queue: str, limit: int, token: str, alias: str | None = None) -> list[Claimed]:
    """Take up to ``limit`` waiting messages of ``queue``, the most urgent and oldest first.

    One statement over one queue, so that it reads an index in order however long the
    queue is.
    """
    return for_alias(alias or settings.DATABASE).claim(queue, limit, token)


def count_start(token: str, ids: Sequence[int], alias: str | None = None) -> set[int]:
    """Commit that redelivered messages start once more; return those that ``token`` still holds."""
    alias = alias or settings.DATABASE
    with for_alias(alias).atomic():
        held = list(
            Message.objects.using(alias)
            .select_for_update()
            .filter(id__in=ids, token=token)
            .order_by("id")
            .values_list("id", "deliveries")
        )
        for message_id, deliveries in held:
            Message.objects.using(alias).filter(id=message_id).update(deliveries=deliveries + 1)
    return {message_id for message_id, _ in held}


def acknowledge(token: str, ids: Sequence[int], alias: str | None = None) -> set[int]:
    """Commit that messages must not run again whatever happens; return those that ``token`` still holds."""
    alias = alias or settings.DATABASE
    with for_alias(alias).atomic():
        rows = Message.objects.using(alias).select_for_update().filter(id__in=ids, token=token)
        held = set(rows.order_by("id").values_list("id", flat=True))
        Message.objects.using(alias).filter(id__in=held).update(acked=True)
    return held


def asked_to_stop(token: str, alias: str | None = None) -> dict[int, str]:
    """Return the messages of ``token`` that were revoked since they were claimed, and what is asked for."""
    held = Message.objects.using(alias or settings.DATABASE).filter(token=token).exclude(revoked="")
    return dict(held.values_list("id", "revoked"))
