"""The tasks of the benchmarks that need nothing but this repository."""

from __future__ import annotations

import asyncio
import time

from taskq import task


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
def pause(seconds: float) -> None:
    """Wait as for the network."""
    time.sleep(seconds)


@task
async def pause_async(seconds: float) -> None:
    """Wait as for the network, and let others run."""
    await asyncio.sleep(seconds)
