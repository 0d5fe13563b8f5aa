"""What a test's transaction does to tasks that are sent or run in it.

A message lives and dies with the ``atomic()`` block that it was sent in, as a row of
the database broker does. The blocks that ``TestCase`` puts around every test never
commit; they are taken for no transaction at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from taskq.conf import database_broker_alias, settings


def own_blocks(connection: BaseDatabaseWrapper) -> list[Any]:
    """Return the open ``atomic()`` blocks that are not ``TestCase``'s."""
    return [block for block in connection.atomic_blocks if not getattr(block, "_from_testcase", False)]


class Fate:
    """Whether a message was committed, rolled back, or is still in an open transaction.

    Django itself drops the functions given to ``on_commit`` when a savepoint is
    rolled back, so that looking for ours tells. ``committed`` is called on commit,
    and by ``captureOnCommitCallbacks(execute=True)``.
    """

    def __init__(self, committed: Callable[[], object]) -> None:
        self._connection = connections[database_broker_alias() or settings.DATABASE]
        blocks = own_blocks(self._connection)
        self._block = blocks[0] if blocks else None
        self._committed = self._block is None
        self._call = committed
        if self._block is not None:
            self._connection.on_commit(self)

    def __call__(self) -> None:
        """Note that the transaction was committed."""
        self._committed = True
        self._call()

    @property
    def dropped(self) -> bool:
        """Whether its transaction, or the savepoint in it, was rolled back."""
        return not self._committed and not any(entry[1] is self for entry in self._connection.run_on_commit)

    @property
    def visible(self) -> bool:
        """Whether a worker would see the message now."""
        return self._committed or (self._block not in self._connection.atomic_blocks and not self.dropped)


@contextmanager
def as_if_committed() -> Iterator[None]:
    """Run a task inside a test's transaction as a worker would outside of one.

    What it does on commit is done at its end. If it breaks the transaction, what it
    has written is undone and the test goes on.
    """
    with ExitStack() as stack:
        for connection in connections.all(initialized_only=True):
            if connection.in_atomic_block and not own_blocks(connection):
                stack.enter_context(_one_as_if_committed(connection))
        yield


@contextmanager
def _one_as_if_committed(connection: BaseDatabaseWrapper) -> Iterator[None]:
    before = len(connection.run_on_commit)
    savepoint = connection.savepoint()
    try:
        yield
    finally:
        _end_savepoint(connection, savepoint)
    while len(connection.run_on_commit) > before:
        connection.run_on_commit.pop(before)[1]()


def _end_savepoint(connection: BaseDatabaseWrapper, savepoint: str | None) -> None:
    """Keep what the task has written, unless one of its statements broke the transaction."""
    if savepoint is None:  # a database without savepoints
        return
    try:
        connection.savepoint_commit(savepoint)
    except DatabaseError:
        connection.needs_rollback = False
        connection.savepoint_rollback(savepoint)
