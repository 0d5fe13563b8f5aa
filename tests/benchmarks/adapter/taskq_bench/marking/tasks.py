"""The task that the shared bench measures: it leaves a mark, as every peer's does."""

from __future__ import annotations

from peers.mark import mark

from taskq import task


@task
def noop(i: int) -> int:
    return mark(i)
