"""Consuming: claim, acknowledge, purge and count for kombu's consumers.

Called by ``taskq.transport``. Unlike a worker, such a consumer settles no task: acknowledged and expired messages are
deleted, and no state is written. Only ``purge`` writes one: it revokes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from django.db.models import Case, Q, QuerySet, When

from taskq.conf import settings
from taskq.engines import for_alias
from taskq.engines.claim_columns import CLAIMED_SIZE
from taskq.models import CLAIM_ORDER, Message, Worker
from taskq.records import Claimed

from . import claim as claims
from . import large, workers
from .authenticity import authentic
from .parking import parkings
from .revoke import write_revoked
from .texts import without_texts

#: How many messages one statement deletes, at most.
_CHUNK = 500
#: The state of a consuming connection's row among the workers.
CONSUMER = Worker.CONSUMER


def claim(queue: str, limit: int, token: str, alias: str) -> list[Claimed]:
    """Claim up to ``limit`` messages of ``queue`` for ``token``, the most urgent and oldest first.

    Expired messages are deleted. An empty queue costs one read and no lock.
    """
    while seen := _peek(queue, limit, alias):
        dead = [number for number, expired in seen if expired]
        if dead:
            Message.objects.using(alias).filter(id__in=dead, token__unindexed="").delete()
        if len(dead) < len(seen):
            claimed = large.keep(claims.claim(queue, limit, token, alias), token, settings.MAX_PREFETCH_SIZE, alias)
            return _without_expired(claimed, {number for number, _ in seen}, token, alias)
    return []


def take(queue: str, alias: str) -> Claimed | None:
    """Delete the first message of ``queue`` and return it, for a consumer that acknowledges nothing.

    In two statements, where a claim and its acknowledgement are seven: a caller waits for each of them. Raises
    ``NeedsClaim`` for a message that is not taken so: it has expired, is large, or another consumer was quicker.
    """
    engine = for_alias(alias)
    if not engine.can_take_waiting:
        raise NeedsClaim
    if not (seen := _peek(queue, 1, alias)):
        return None
    ((number, expired),) = seen
    taken = [] if expired else engine.take_waiting(number)
    if not taken:
        raise NeedsClaim
    return taken[0]


class NeedsClaim(Exception):
    """The first message of a queue has to be claimed."""


def _peek(queue: str, limit: int, alias: str) -> list[tuple[int, bool]]:
    """Return the ids of the messages that would be claimed, and whether they have expired."""
    waiting = Message.objects.using(alias).filter(token="", queue=queue).order_by(*CLAIM_ORDER)
    expired = Case(When(expires_at__lte=for_alias(alias).now_expression(), then=True), default=False)
    return list(waiting.values_list("id", expired)[:limit])


def _without_expired(claimed: list[Claimed], checked: Collection[int], token: str, alias: str) -> list[Claimed]:
    """Drop the expired messages among those that ``_peek`` did not see: they came after it."""
    late = [message for message in claimed if message.id not in checked and message.expires_in is not None]
    dead = {message.id for message in late if (message.expires_in or 0.0) <= 0}
    if dead:
        acknowledge(token, sorted(dead), alias)
    return [message for message in claimed if message.id not in dead]


def acknowledge(token: str, ids: Sequence[int], alias: str) -> set[int]:
    """Delete the messages that ``token`` still holds; return their ids."""
    return for_alias(alias).delete_held(token, sorted(ids))


def purge(queue: str, alias: str, newest: int | None = None, limit: int | None = None) -> int:
    """Delete the messages that wait in ``queue``, up to the id ``newest`` if it is given; return how many.

    With a ``limit`` it ends when there were so many or, by a chunk at most, more.
    Those that wait for a rate limit are deleted too. A task that has a row, or that other tasks wait for, becomes
    ``REVOKED``.
    """
    purged = 0
    for name in (queue, *sorted(parkings([queue], alias))):
        purged += _purge_one(name, alias, newest, None if limit is None else limit - purged)
    return purged


def _purge_one(queue: str, alias: str, newest: int | None, limit: int | None) -> int:
    waiting = Message.objects.using(alias).filter(token="", queue=queue)
    if newest is not None:
        waiting = waiting.filter(id__lte=newest)
    purged = 0
    # In chunks, so that the purge of a long queue holds no lock for long.
    while limit is None or purged < limit:
        ids = list(waiting.order_by(*CLAIM_ORDER).values_list("id", flat=True)[:_CHUNK])
        if not ids:
            break
        purged += _purge(Message.objects.using(alias).filter(id__in=ids, token__unindexed=""), alias)
    return purged


def _purge(waiting: QuerySet[Message], alias: str) -> int:
    engine = for_alias(alias)
    with engine.atomic():
        tasks = authentic(without_texts(waiting.select_for_update().exclude(task_id="").order_by("id"), CLAIMED_SIZE))
        purged = waiting.delete()[0]
        write_revoked(engine, tasks, untracked=False)
    return purged


def count(queue: str, alias: str) -> int:
    """Return how many messages wait in ``queue``, also for a rate limit."""
    waiting = Message.objects.using(alias).filter(token="", queue__in=[queue, *parkings([queue], alias)])
    return waiting.filter(Q(expires_at=None) | Q(expires_at__gt=for_alias(alias).now_expression())).count()


# -- consumers


def consumers(queue: str, alias: str) -> int:
    """Return how many connections of kombu consume from ``queue``."""
    return workers.readers(queue, alias, state=CONSUMER)
