"""The task of the benchmarks that need nothing but this repository."""

from __future__ import annotations

from taskq import task


@task
def noop(i: int) -> int:
    return i
