"""``WorkerOptions``: how a worker is to run. The command ``taskworker`` and tests make them, ``node`` reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kombu.entity import Queue

from .pools.interpreter import Interpreter


@dataclass(slots=True)
class WorkerOptions:
    """The options of a worker. ``info`` is kept in its row."""

    name: str
    queues: Sequence[Queue]
    concurrency: int
    pool: str = "prefork"
    time_limit: float | None = None
    soft_time_limit: float | None = None
    disable_rate_limits: bool = False
    prefetch_multiplier: int | None = None
    fair: bool = False
    max_tasks_per_child: int | None = None
    max_memory_per_child: int | None = None
    #: The most and the fewest slots of a pool that grows and shrinks by itself.
    autoscale: tuple[int, int] | None = None
    #: How a fresh Python is started that imports the project's code anew; without it, the pool can't.
    interpreter: Interpreter | None = None
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def hostname(self) -> str:
        """The node's name, as receivers of signals ask for it."""
        return self.name
