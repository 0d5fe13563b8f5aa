"""pytest's fixtures, loaded by an entry point in every project that has taskq installed.

taskq and Django are imported only when a test uses a fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from taskq.testing.memory import Memory
    from taskq.testing.message import SentTasks
    from taskq.worker.node import WorkerNode


@pytest.fixture
def taskq_memory() -> Iterator[Memory]:
    """Keep the tasks that the test sends in memory; ``taskq_memory.drain()`` runs them."""
    from taskq.testing import override

    with override("memory") as memory:
        yield memory


@pytest.fixture
def taskq_sent(taskq_memory: Memory) -> SentTasks:
    """Return a live list of the tasks that the test sends; they are kept in memory."""
    return taskq_memory.sent


@pytest.fixture
def taskq_inline() -> Iterator[Memory]:
    """Run each task with the worker's code as soon as a worker would see it."""
    from taskq.testing import override

    with override("inline") as memory:
        yield memory


@pytest.fixture
def taskq_eager() -> Iterator[None]:
    """Run tasks in the call that sends them: ``TASKQ_ALWAYS_EAGER``."""
    from taskq.testing import override

    with override("eager"):
        yield


@pytest.fixture
def taskq_worker(transactional_db: None) -> Iterator[WorkerNode]:
    """Run a real worker on a thread, with pytest-django's ``transactional_db``."""
    from taskq.testing import running_worker

    with running_worker() as node:
        yield node
