"""Recover: the messages of a dead worker go back to their queues, and acknowledged tasks become ``FAILURE``.

The worker is known by its token, never by its name.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

from django.db import DatabaseError

from taskq import states
from taskq.conf import settings
from taskq.engines import Engine, for_alias
from taskq.exceptions import WorkerLostError
from taskq.messages.exception_data import encode_exception
from taskq.messages.parking import home
from taskq.models import Message, Worker
from taskq.models.fields import OrderedId
from taskq.records import Settlement
from taskq.workflows.followups import complete
from taskq.workflows.sendable import sendable

from .authenticity import authentic, authentic_ids
from .enqueue import wake
from .progress import forget_starts
from .settle import write_ends
from .texts import without_texts
from .workflow_rows import DatabaseWorkflows


def recover(token: str, beats: int, alias: str | None = None) -> int | None:
    """End a dead worker's lease and requeue its messages; return how many they were.

    ``beats`` is the heartbeat counter by which it was judged. Returns ``None`` if the worker has renewed its
    lease since, or if another worker recovered it first.
    """
    alias = alias or settings.DATABASE
    engine = for_alias(alias)
    try:
        with engine.atomic():
            return requeue_held(token, alias) if _end_lease(token, beats, alias) else None
    except DatabaseError as error:
        if engine.in_transaction() or not engine.gave_up(error):
            raise
    # A locked message must not keep the others. If this process dies now, ``recover_orphans`` does the rest.
    with engine.atomic():
        if not _end_lease(token, beats, alias):
            return None
    return requeue_free(token, alias)


def _end_lease(token: str, beats: int, alias: str) -> bool:
    """Leave the row of a dead worker as a lost one; delete that of a connection, or of a name that has started again.

    Under another token the row is no lease: nothing that asks by the worker's token finds it.
    """
    # The row's lock decides between two workers that recover, and against the worker's own heartbeat.
    rows = Worker.objects.using(alias)
    dead = rows.filter(token=token, beats=beats)
    name, state = dead.values_list("name", "state").first() or ("", Worker.CONSUMER)
    if state != Worker.CONSUMER and not rows.filter(name=name).exclude(token=token).exists():
        return dead.update(token=uuid.uuid4().hex, state=Worker.LOST) == 1
    # Not delete(): where a project listens to deletions, it reads the row first and then deletes by the key alone.
    return bool(dead._raw_delete(alias))


def recover_orphans(alias: str | None = None) -> int:
    """Requeue the messages whose token belongs to no registered worker; return how many they were."""
    alias = alias or settings.DATABASE
    orphaned = _tokens_between(_registered(alias), alias)
    # Once more: a worker may have registered meanwhile.
    gone = orphaned - _registered(alias) if orphaned else orphaned
    return sum(requeue_free(token, alias) for token in sorted(gone))


def _registered(alias: str) -> set[str]:
    return set(Worker.objects.using(alias).values_list("token", flat=True))


def _tokens_between(tokens: Iterable[str], alias: str) -> set[str]:
    """Return the tokens of held messages that are none of ``tokens``.

    Looked for between these, in the order of an index: it may have an entry for all that a worker has ever held.
    """
    found: set[str] = set()
    low = ""
    for high in [*sorted(tokens), None]:
        between = Message.objects.using(alias).filter(token__gt=low)
        if high is not None:
            between, low = between.filter(token__lt=high), high
        found.update(between.values_list("token", flat=True).distinct())
    return found


def requeue_free(token: str, alias: str) -> int:
    """Requeue the messages of ``token`` whose rows nobody has locked, as ``requeue_held`` does; return how many.

    Locked messages stay held. Each acknowledged message has a transaction of its own: its rows may be locked.
    """
    engine = for_alias(alias)
    try:
        with engine.atomic():
            return requeue_held(token, alias)
    except DatabaseError as error:
        if engine.in_transaction() or not engine.gave_up(error):
            raise
    rows = Message.objects.using(alias).filter(token=token)
    with engine.atomic():
        found = dict(engine.lock_free(token))
        locked = Message.objects.using(alias).filter(id__in=found, token__unindexed=token)
        count = locked.update(token="", redelivered=True)
        wake(engine, set(found.values()))
    for message in without_texts(rows.filter(acked=True).order_by(OrderedId())):
        try:
            with engine.atomic():
                count += _fail(engine, token, [message])
        except DatabaseError as error:
            if not engine.gave_up(error):
                raise
    return count


def requeue_held(token: str, alias: str) -> int:
    """Requeue all messages of ``token`` as redelivered; return how many they were.

    Acknowledged messages must not run again: their tasks become ``FAILURE`` with ``WorkerLostError``.
    """
    engine = for_alias(alias)
    held = Message.objects.using(alias).filter(token=token)
    waiting = held.filter(acked=False)
    queues = set(waiting.values_list("queue", flat=True))
    forget_starts(authentic_ids(waiting), alias)
    # Unacknowledged messages first. If the worker lives after all, a message that it acknowledges between these two
    # statements stays held by it.
    count = held.filter(acked=False).update(token="", redelivered=True)
    count += _fail(engine, token, without_texts(held.order_by(OrderedId())))
    wake(engine, queues)
    return count


def _fail(engine: Engine, token: str, acked: Sequence[Message]) -> int:
    """Delete acknowledged messages and write the failures of their tasks; return how many were held."""
    known = authentic(acked)
    # Only what this deletes becomes a failure: the worker may settle a message meanwhile.
    gone = engine.delete_held(token, [message.id for message in acked])
    lost = _lost(engine, [message for message in known if message.id in gone]) if gone else ()
    write_ends(engine, sorted(lost, key=lambda s: s.task_id))
    return len(gone)


def _lost(engine: Engine, messages: Iterable[Message]) -> Iterable[Settlement]:
    result = encode_exception(WorkerLostError("Worker exited prematurely: its process is gone."))
    rows, now = DatabaseWorkflows(engine), engine.now()
    for message in messages:
        lost = Settlement(
            message_id=message.id,
            task_id=message.task_id,
            state=states.FAILURE,
            name=message.name,
            queue=home(message.queue),
            result=result,
            finished=now,
            tracked=message.tracked,
        )
        yield sendable(rows, complete(lost, message))
