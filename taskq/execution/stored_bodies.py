"""Reads a body that the worker has left in its row: its main process holds no large body. Called by ``pipeline``."""

from __future__ import annotations

import time

from django.db import DatabaseError, InterfaceError

from taskq import clock, states
from taskq.handover import Delivery, Outcome
from taskq.store.large import body_of

from . import isolation, log_lines

#: Seconds before each further try while the database is away; after the last the message goes back.
_PAUSES = (0.1, 0.5, 2.0)


def read(delivery: Delivery) -> Outcome | None:
    """Read the body into ``delivery``; return the outcome of a message that can't be run now, or must not.

    While the database is away the message goes back to its queue. It is discarded if its row is gone or was altered.
    """
    for pause in (*_PAUSES, None):
        try:
            body = body_of(delivery.stored_as, delivery.headers, delivery.properties)
        except (DatabaseError, InterfaceError) as error:
            log_lines.body_not_read(delivery, error)
            isolation.tidy_connections()
            if pause is not None:
                time.sleep(pause)
            continue
        if body is None:
            log_lines.body_gone(delivery)
            return _rejected(delivery, requeue=False)
        delivery.body = body
        return None
    return _rejected(delivery, requeue=True)


def _rejected(delivery: Delivery, *, requeue: bool) -> Outcome:
    return Outcome(delivery.job, delivery.task_id, states.REJECTED, started=clock.now(), requeue=requeue)
