"""``running_worker``: a real worker on a thread of the test's process, on the test's database.

For the few tests that are about claiming, leases and commits; most need only
``override``. A worker sees what is committed, so this is for ``TransactionTestCase``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.db import connections
from django.test.utils import override_settings

from taskq.conf import database_broker_alias, settings
from taskq.messages import routing
from taskq.worker.node import Node, NodeOptions

#: The worker's name.
HOSTNAME = "test@localhost"
#: Seconds that the worker may take to end when the block does.
END = 30.0


@contextmanager
def running_worker(queues: Sequence[str] = ()) -> Iterator[Node]:
    """Run a worker with one thread for tasks while the block lasts; then let it end what it has begun.

    ``queues`` are those to consume, by default all that are declared. Raises
    ``RuntimeError`` inside of a transaction, such as ``TestCase``'s.
    """
    alias = database_broker_alias() or settings.DATABASE
    if connections[alias].in_atomic_block:
        raise RuntimeError(
            "A worker can't see what this test's transaction sends: use TransactionTestCase, "
            "or @pytest.mark.django_db(transaction=True)."
        )
    # A watchdog ends the process, and that is the test's.
    with override_settings(TASKQ_WATCHDOG_TIMEOUT=None):
        chosen = list(routing.select(queues).values())
        node = Node(NodeOptions(HOSTNAME, chosen, 1, pool="solo"), alias)
        thread = threading.Thread(target=_run, args=(node,), name="taskq-test-worker", daemon=True)
        thread.start()
        try:
            yield node
        finally:
            node.inbox.post(node.stop)
            thread.join(END)
            if thread.is_alive():
                raise RuntimeError(f"The test's worker did not end within {END:g} seconds: a task runs too long.")


def _run(node: Node) -> None:
    try:
        node.run()
    finally:
        connections.close_all()
