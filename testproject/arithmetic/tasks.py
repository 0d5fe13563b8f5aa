"""The tasks of the guide, and a few that fail, wait and retry, to try things with."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from taskq import get_task_logger, shared_task, task

logger = get_task_logger(__name__)


@task
def add(x: int, y: int) -> int:
    return x + y


@task
def mul(x: int, y: int) -> int:
    return x * y


@task
def xsum(numbers: Iterable[int]) -> int:
    return sum(numbers)


@task
def fail(message: str = "as it was told to") -> None:
    """Fail with a ``ValueError``."""
    raise ValueError(message)


@task
def sleep(seconds: float) -> float:
    """Take ``seconds`` of time and no processor."""
    time.sleep(seconds)
    return seconds


@task
async def gather(numbers: list[int]) -> list[int]:
    """Square the numbers, all at once."""

    async def square(number: int) -> int:
        await asyncio.sleep(0)
        return number * number

    return await asyncio.gather(*(square(number) for number in numbers))


@shared_task(bind=True, max_retries=3, default_retry_delay=1)
def succeed_at(self: Any, attempt: int) -> int:
    """Retry until it is the given attempt; the first is 0."""
    if self.request.retries < attempt:
        logger.info("attempt %d of %d", self.request.retries, attempt)
        raise self.retry()
    return int(self.request.retries)
