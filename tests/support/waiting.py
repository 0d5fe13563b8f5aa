"""Waiting for a condition, the only way in which tests wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(predicate: Callable[[], T], timeout: float = 60.0, interval: float = 0.02, what: str = "") -> T:
    """Call ``predicate`` until it returns something true, and return that.

    ``timeout`` and ``interval`` are in seconds. Raises ``AssertionError`` that
    names ``what`` was waited for, when the time is up.
    """
    end = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"after {timeout:g} s still not: {what or predicate}")
        time.sleep(interval)


async def await_until(predicate: Callable[[], T], timeout: float = 60.0, interval: float = 0.002, what: str = "") -> T:
    """Do ``wait_until`` in a coroutine, while others run."""
    end = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"after {timeout:g} s still not: {what or predicate}")
        await asyncio.sleep(interval)
