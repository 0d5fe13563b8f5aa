"""Recover: what a dead worker held goes back to its queue, by token and never by name."""

from __future__ import annotations

import logging
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

logger = logging.getLogger("taskq.store")


def recover(token: str, beats: int, alias: str | None = None) -> int | None:
    """Declare a worker dead that still shows ``beats``, and give back what it held.

    Returns how many messages that were, or ``None`` if the worker has beaten since, or
    another one was quicker.
    """
    alias = alias or settings.DATABASE
    with for_alias(alias).atomic():
        # The row's lock decides between two who would recover, and against the worker's own beat.
        dead = Worker.objects.using(alias).filter(token=token, beats=beats)
        # One statement: where a project listens to deletions, delete() reads the row first and deletes by its key.
        if not dead._raw_delete(alias):
            return None
        return give_back(token, alias)


def recover_orphans(alias: str | None = None) -> int:
    """Give back what is held by tokens of which there is no worker."""
    alias = alias or settings.DATABASE
    held = set(Message.objects.using(alias).filter(token__gt="").values_list("token", flat=True).distinct())
    living = set(Worker.objects.using(alias).values_list("token", flat=True)) if held else set()
    count = 0
    for token in sorted(held - living):
        with for_alias(alias).atomic():
            count += give_back(token, alias)
    return count


def give_back(token: str, alias: str) -> int:
    """Put the messages of ``token`` back as redelivered; those that must not run again become failures."""
    engine = for_alias(alias)
    held = Message.objects.using(alias).filter(token=token)
    queues = set(held.values_list("queue", flat=True))
    # First what may run again: what its holder, should it live after all, acknowledges from now on stays held.
    count = held.filter(acked=False).update(token="", redelivered=True)
    acked = list(held.order_by("id"))
    # And what it settles meanwhile is settled.
    gone = engine.delete_held(token, [message.id for message in acked])
    lost = _lost(engine, [message for message in acked if message.id in gone]) if gone else ()
    write_ends(engine, sorted(lost, key=lambda s: s.task_id))
    wake(engine, queues)
    return count + len(gone)


def _lost(engine: Engine, messages: Iterable[Message]) -> Iterable[Settlement]:
    result = encode_exception(WorkerLostError("Worker exited prematurely: its process is gone."))
    rows = DatabaseWorkflows(engine)
    for message in messages:
        lost = Settlement(
            message_id=message.id,
            task_id=message.task_id,
            state=states.FAILURE,
            name=message.name,
            queue=message.queue,
            result=result,
            finished=engine.now(),
            tracked=message.tracked,
        )
        yield sendable(rows, complete(lost, message))
