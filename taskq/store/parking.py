"""Park: messages whose task has reached its rate limit wait in a queue of their own, its parking.

There they keep their order and cost the claims of the queue nothing. They are claimed from it one by one, at the rate.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from taskq.conf import settings
from taskq.engines import for_alias
from taskq.engines.look_ups import look_ups
from taskq.messages.parking import PREFIX, RANGE_END, home, parking
from taskq.models import CLAIM_ORDER, Message
from taskq.records import Claimed

from .enqueue import wake

#: How many messages of a queue one look reads.
_LOOK = 2000


def park(token: str, messages: Collection[Claimed], task: str, alias: str | None = None) -> None:
    """Give messages of one queue and task back into their parking. A revoked one goes back to its queue, to be refused.

    Messages that ``token`` no longer holds stay as they are.
    """
    engine = for_alias(alias or settings.DATABASE)
    (queue,) = {message.queue for message in messages}
    with engine.atomic():
        held = Message.objects.using(engine.alias).filter(token__unindexed=token)
        for message in messages:
            if message.redelivered:  # a start was counted for reading it
                held.filter(id=message.id).update(deliveries=message.deliveries)
        rows = held.filter(id__in=[message.id for message in messages])
        parked = rows.filter(revoked="").update(token="", acked=False, queue=parking(queue, task))
        if parked < len(messages):
            rows.update(token="", acked=False)
        wake(engine, {queue, parking(queue, task)})


def park_waiting(queue: str, task: str, alias: str | None = None, *, after: Mapping[int, int] | None = None) -> int:
    """Park messages of a task that wait at the head of ``queue``; return how many. ``after`` as in ``claim``."""
    engine = for_alias(alias or settings.DATABASE)
    rows = Message.objects.using(engine.alias)
    with engine.steady():
        ids = sorted(message_id for message_id, name in engine.first_waiting(queue, _LOOK, after) if name == task)
        if not ids:
            return 0
        free = rows.filter(id__in=ids, token__unindexed="", revoked="")
        if engine.skip_locked:
            ids = list(free.select_for_update(skip_locked=True).order_by("id").values_list("id", flat=True))
        parked = rows.filter(id__in=ids, token__unindexed="", revoked="").update(queue=parking(queue, task))
        if parked:
            wake(engine, {parking(queue, task)})
        return parked


def parkings(queues: Iterable[str] | None = None, alias: str | None = None) -> set[str]:
    """Return the parkings of ``queues``, or all, in which messages wait: a look into the claim's index for each."""
    engine = for_alias(alias or settings.DATABASE)
    rows = Message.objects.using(engine.alias).filter(token="", queue__lt=RANGE_END).order_by("queue", *CLAIM_ORDER)
    names, wanted = rows.values_list("queue", flat=True), None if queues is None else set(queues)
    found: set[str] = set()
    last = PREFIX
    with look_ups(engine):
        while (name := names.filter(queue__gt=last).first()) is not None:
            last = name
            if wanted is None or home(name) in wanted:
                found.add(name)
    return found
