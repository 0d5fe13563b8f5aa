"""The tasks of the benchmarks that need nothing but this repository."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from django.db import connection

from taskq import Task, task


@task
def noop(i: int) -> int:
    return i


@task
def mark(path: str) -> None:
    """Write into a file when it began. The file is there when that is in it."""
    began = Path(path + ".part")
    began.write_text(str(time.time()))
    began.rename(path)


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


@task
def now() -> float:
    """Return when it began."""
    return time.time()


@task
def echo(text: str, times: int) -> str:
    """Return ``text`` so many times."""
    return text * times


@task
def large(size: int) -> str:
    """Return a text of ``size`` bytes."""
    return "x" * size


@task
def wait(seconds: float) -> float:
    """Wait, as for a network."""
    time.sleep(seconds)
    return seconds


@task
def spin(seconds: float) -> float:
    """Compute for so much processor time."""
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        pass
    return seconds


@task
def query() -> None:
    """Use the database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


@task
async def wait_async(seconds: float) -> float:
    """Wait, as for a network, and let others run."""
    await asyncio.sleep(seconds)
    return seconds
