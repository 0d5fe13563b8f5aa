"""Recover: the messages of a dead worker go back to their queues, and acknowledged tasks become ``FAILURE``.

The worker is known by its token, never by its name.
"""

from __future__ import annotations

from collections.abc import Iterable

from taskq import states
from taskq.conf import settings
from taskq.engines import Engine, for_alias
from taskq.exceptions import WorkerLostError
from taskq.messages.exception_data import encode_exception
from taskq.models import Message, Worker
from taskq.records import Settlement
from taskq.workflows.advance import sendable
from taskq.workflows.followups import complete

from .enqueue import wake
from .settle import write_ends
from .workflow_rows import DatabaseWorkflows


def recover(token: str, beats: int, alias: str | None = None) -> int | None:
    """Delete a dead worker's row and requeue its messages; return how many they were.

    ``beats`` is the heartbeat counter by which it was judged. Returns ``None`` if the worker has renewed its
    lease since, or if another worker recovered it first.
    """
    alias = alias or settings.DATABASE
    with for_alias(alias).atomic():
        # The row's lock decides between two workers that recover, and against the worker's own heartbeat.
        dead = Worker.objects.using(alias).filter(token=token, beats=beats)
        # Not delete(): where a project listens to deletions, it reads the row first and then deletes by the key alone.
        if not dead._raw_delete(alias):
            return None
        return requeue_held(token, alias)


def recover_orphans(alias: str | None = None) -> int:
    """Requeue the messages whose token belongs to no registered worker; return how many they were."""
    alias = alias or settings.DATABASE
    held = set(Message.objects.using(alias).filter(token__gt="").values_list("token", flat=True).distinct())
    living = set(Worker.objects.using(alias).values_list("token", flat=True)) if held else set()
    count = 0
    for token in sorted(held - living):
        with for_alias(alias).atomic():
            count += requeue_held(token, alias)
    return count


def requeue_held(token: str, alias: str) -> int:
    """Requeue all messages of ``token`` as redelivered; return how many they were.

    Acknowledged messages must not run again: their tasks become ``FAILURE`` with ``WorkerLostError``.
    """
    engine = for_alias(alias)
    held = Message.objects.using(alias).filter(token=token)
    queues = set(held.values_list("queue", flat=True))
    # Unacknowledged messages first. If the worker lives after all, a message that it acknowledges between these two
    # statements stays held by it.
    count = held.filter(acked=False).update(token="", redelivered=True)
    acked = list(held.order_by("id"))
    # Only what this deletes becomes a failure: the worker may settle a message meanwhile.
    gone = engine.delete_held(token, [message.id for message in acked])
    lost = _lost(engine, [message for message in acked if message.id in gone]) if gone else ()
    write_ends(engine, sorted(lost, key=lambda s: s.task_id))
    wake(engine, queues)
    return count + len(gone)


def _lost(engine: Engine, messages: Iterable[Message]) -> Iterable[Settlement]:
    result = encode_exception(WorkerLostError("Worker exited prematurely: its process is gone."))
    rows, now = DatabaseWorkflows(engine), engine.now()
    for message in messages:
        lost = Settlement(
            message_id=message.id,
            task_id=message.task_id,
            state=states.FAILURE,
            name=message.name,
            queue=message.queue,
            result=result,
            finished=now,
            tracked=message.tracked,
        )
        yield sendable(rows, complete(lost, message))
