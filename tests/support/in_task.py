"""Code that counts as a running task, without a worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from taskq.results import join_guard


@contextmanager
def inside_task() -> Iterator[None]:
    """Run the code in the block as if it were in a running task."""
    token = join_guard.running.set(True)
    try:
        yield
    finally:
        join_guard.running.reset(token)
