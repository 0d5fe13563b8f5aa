"""``running_worker``: a real worker on a thread of the test's process, on the test's database.

For tests of claiming, leases and commits; most tests need only ``override``. A worker sees only committed
messages, so this is for ``TransactionTestCase``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connections
from django.test.utils import override_settings

from taskq.conf import database_broker_alias, settings
from taskq.control.service import services
from taskq.messages import routing
from taskq.worker.node import WorkerNode
from taskq.worker.options import WorkerOptions

#: The worker's name.
HOSTNAME = "test@localhost"
#: Seconds that the worker may take to stop after the block.
END = 30.0


@contextmanager
def running_worker(queues: Sequence[str] = ()) -> Iterator[WorkerNode]:
    """Run a worker with one thread during the ``with`` block, then let it finish running tasks.

    It consumes ``queues``, by default all declared queues. Raises ``RuntimeError`` inside of a transaction, as in
    ``TestCase``, and on SQLite's database in memory.
    """
    alias = database_broker_alias() or settings.DATABASE
    _refuse_unseen(alias)
    # A watchdog would end the test's process.
    with override_settings(TASKQ_WATCHDOG_TIMEOUT=None):
        chosen = list(routing.select(queues).values())
        node = WorkerNode(WorkerOptions(HOSTNAME, chosen, 1, pool="solo"), alias, services=services())
        thread = threading.Thread(target=_run, args=(node,), name="taskq-test-worker", daemon=True)
        thread.start()
        try:
            yield node
        finally:
            node.calls.post(node.stop)
            thread.join(END)
            if thread.is_alive():
                raise RuntimeError(f"The test's worker did not end within {END:g} seconds: a task runs too long.")


def _refuse_unseen(alias: str) -> None:
    """Refuse databases in which a worker would not reliably see the test's messages."""
    connection: Any = connections[alias]
    if connection.in_atomic_block:
        raise RuntimeError(
            "A worker can't see what this test's transaction sends: use TransactionTestCase, "
            "or @pytest.mark.django_db(transaction=True)."
        )
    if connection.vendor == "sqlite" and connection.is_in_memory_db():
        # Its threads share one cache, in which a locked table is an error at once.
        raise RuntimeError(
            "A worker can't share SQLite's database in memory with a test ('database table is locked'): "
            f"set DATABASES[{alias!r}]['TEST']['NAME'] to the path of a file."
        )


def _run(node: WorkerNode) -> None:
    try:
        node.run()
    finally:
        connections.close_all()
