"""The transactions of tests, and the tasks that are sent or run in them.

A message is committed or rolled back with its ``atomic()`` block, as a row of the database broker. The
blocks that ``TestCase`` puts around every test never commit; they do not count as transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from taskq.conf import database_broker_alias, settings
from taskq.sending.transactions import own_blocks


class TransactionState:
    """Whether a message was committed, rolled back, or is still in an open transaction.

    When a savepoint is rolled back, Django drops its ``on_commit`` functions, so ours is then missing. ``committed``
    is called on commit, and by ``captureOnCommitCallbacks(execute=True)``.
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
    def rolled_back(self) -> bool:
        """Whether the message's transaction or savepoint was rolled back."""
        return not self._committed and not any(entry[1] is self for entry in self._connection.run_on_commit)

    @property
    def visible(self) -> bool:
        """Whether a worker would see the message now."""
        return self._committed or (self._block not in self._connection.atomic_blocks and not self.rolled_back)


@contextmanager
def as_if_committed() -> Iterator[None]:
    """Run a task inside a test's transaction as if there were none.

    The task's ``on_commit`` functions run at its end. If it breaks the transaction, its writes are rolled back.
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
    """Keep the task's writes, unless a statement broke the transaction."""
    if savepoint is None:  # a database without savepoints
        return
    try:
        connection.savepoint_commit(savepoint)
    except DatabaseError:
        connection.needs_rollback = False
        connection.savepoint_rollback(savepoint)
