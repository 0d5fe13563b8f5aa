"""Repeats transactions that met another one: after a deadlock, a serialization failure or a lock time-out."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import DatabaseError, transaction

from taskq.engines import Engine, sessions

_REPEATS = 8
#: Seconds after which the caller has to repeat a transaction: a worker sends a heartbeat in between.
_REPEAT_FOR = 2.0
T = TypeVar("T")


class SentTwice(DatabaseError):
    """Two transactions send one frozen signature at the same time. Repeated, the later one sees the nodes."""


def has_begun(engine: Engine) -> bool:
    """Tell whether the calling thread's connection is in a transaction, also in one that a task has begun by SQL.

    Of the latter Django knows nothing, and it is rolled back when the task has ended. Raises an error if the connection
    is broken.
    """
    connection = engine.connection
    if engine.in_transaction():
        return True
    if connection.connection is None:
        return False
    with connection.wrap_database_errors:
        return sessions.in_transaction(connection)


def after_commit(engine: Engine, call: Callable[[], object]) -> None:
    """Call when the transaction is committed, at once if there is none."""
    if engine.connection.in_atomic_block:
        transaction.on_commit(call, using=engine.alias)
    else:
        call()


def repeated(
    engine: Engine, work: Callable[[], T], *, locked: bool = True, repeatable: Callable[[], bool] = lambda: True
) -> T:
    """Do ``work``, a transaction, and repeat it after an error that repetition may cure. Return its value.

    The error is raised if the caller is in a transaction, if ``repeatable`` says no, and after some attempts. With
    ``locked=False`` a lock time-out goes to the caller at once, who has other things to do meanwhile.
    """
    deadline = time.monotonic() + _REPEAT_FOR
    for attempt in range(_REPEATS):
        try:
            return work()
        except DatabaseError as error:
            if engine.lacks_tables(error):
                error.add_note(f"Database {engine.alias!r} lacks migrations of taskq: run manage.py migrate.")
            if engine.in_transaction() or not (isinstance(error, SentTwice) or engine.is_transient(error)):
                raise
            if not locked and engine.gave_up(error):
                raise
            if attempt == _REPEATS - 1 or time.monotonic() > deadline or not repeatable():
                raise
            time.sleep(random.uniform(0, 0.01 * 2**attempt))
    raise AssertionError("unreachable")
