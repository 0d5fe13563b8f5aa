"""The open transaction of the calling thread: whether it was rolled back, and which database it is on."""

from __future__ import annotations

from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from taskq.conf import settings


def own_blocks(connection: BaseDatabaseWrapper) -> list[Any]:
    """Return the open ``atomic()`` blocks of a connection, without those that ``TestCase`` puts around each test."""
    return [block for block in connection.atomic_blocks if not getattr(block, "_from_testcase", False)]


class OpenTransaction:
    """The transaction, or savepoint, that is open on a connection now.

    The object itself is an ``on_commit`` function. Django drops these functions at a rollback: if it was not called,
    and is no longer in Django's list, the transaction was rolled back.
    """

    __slots__ = ("_committed", "_connection")

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self._committed = False
        connection.on_commit(self)

    def __call__(self) -> None:
        """Note the commit."""
        self._committed = True

    @property
    def rolled_back(self) -> bool:
        """Whether it was rolled back. False while it is open."""
        return not self._committed and not any(entry[1] is self for entry in self._connection.run_on_commit)


def open_transaction(alias: str | None = None) -> OpenTransaction | None:
    """Return the calling thread's transaction on ``alias`` (default: ``TASKQ_DATABASE``), ``None`` if there is none."""
    connection = connections[alias or settings.DATABASE]
    return OpenTransaction(connection) if connection.in_atomic_block else None


def commit_alias(name: str, using: str | None) -> str:
    """Return the alias of the database whose commit ``delay_on_commit()`` of the task ``name`` waits for.

    It is ``using`` if given, else the database of the calling thread's transaction. Raises ``RuntimeError`` if the
    thread has transactions on several databases: which one is the innermost can't be known.
    """
    if using is not None:
        return connections[using].alias
    found = [c.alias for c in connections.all(initialized_only=True) if own_blocks(c)]
    if len(found) > 1:
        raise RuntimeError(
            f"delay_on_commit() of {name} was called inside transactions on {' and '.join(map(repr, sorted(found)))}. "
            f"Say which of them it waits for: apply_async_on_commit(..., using={sorted(found)[0]!r})."
        )
    return found[0] if found else settings.DATABASE
