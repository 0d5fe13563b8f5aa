"""The tasks of the benchmarks that need nothing but this repository."""

from __future__ import annotations

import time

from taskq import Task, task


@task
def noop(i: int) -> int:
    return i


@task
def first_line(values: list[int]) -> float:
    """Return when it began, and make sure that it got everything."""
    began = time.time()
    if values != list(range(len(values))):
        raise ValueError("values are missing, or not in their order")
    return began


@task
def fails(i: int) -> None:
    raise ValueError(i)


@task(bind=True)
def tries_twice(self: Task, i: int) -> int:
    if not self.request.retries:
        raise self.retry(countdown=0)
    return i
