"""The asyncio pool: one child with one event loop, on which coroutines run as tasks; other tasks run in its threads."""

from __future__ import annotations

from .shared_pool import SharedPool


class AsyncioPool(SharedPool):
    """``concurrency`` tasks at a time on one event loop; see ``child_asyncio``."""

    name = "asyncio"
