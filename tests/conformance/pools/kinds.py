"""The pools that the suite runs on. Another pool is one more line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import pytest
from django.test import override_settings

from taskq.worker.pools.base import Pool
from taskq.worker.pools.registry import pool_class
from tests.support.length import FULL


@dataclass(frozen=True, slots=True)
class Kind:
    """A pool by its name, and what the suite can't ask the pool itself.

    ``batches``: several deliveries may be in one slot. ``slow``: a child starts as slowly as a command does.
    ``coroutines``: it runs ``async def`` tasks.
    ``settings`` are taskq's, without their prefix.
    """

    name: str
    batches: bool = True
    slow: bool = False
    coroutines: bool = True
    settings: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    @property
    def cls(self) -> type[Pool]:
        """The pool's class."""
        with self.configured():
            return pool_class(self.name)

    def configured(self) -> override_settings:
        """Return a context in which the pool has its settings."""
        return override_settings(**{f"TASKQ_{name}": value for name, value in self.settings.items()})

    @property
    def has_children(self) -> bool:
        """Whether tasks run in other processes than the worker's own."""
        return self.cls.needs_fork_server


CUSTOM = "tests.support.custom_pool:RecordingPool"

#: Their children start as slowly as a command does, and are the same but for the library. One of them passes the suite
#: of whole workers; both pass all of it in the full run (TASKQ_TEST_FULL=1). Both are in
#: tests/integration/test_green_pools.py.
GREEN = [
    Kind(name, batches=False, slow=True, coroutines=False)
    for name in ("gevent", *(["eventlet"] if FULL else []))
    if find_spec(name)
]

POOLS = (
    Kind("prefork"),
    Kind("asyncio", batches=False),
    *GREEN,
    Kind("threads"),
    Kind("solo"),
    Kind("custom", settings={"CUSTOM_POOL": CUSTOM}),
)


#: The pools that are driven here, without a worker.
DRIVEN = tuple(kind for kind in POOLS if FULL or not kind.slow)


def only(condition: Callable[[Kind], bool]) -> pytest.MarkDecorator:
    """Run a test on the pools for which ``condition`` holds: it asks what the others say that they can't."""
    return pytest.mark.parametrize("kind", [kind for kind in DRIVEN if condition(kind)], indirect=True, ids=str)


with_hard_limits = only(lambda kind: kind.cls.supports_hard_limit)
with_terminate = only(lambda kind: kind.cls.supports_terminate)
without_terminate = only(lambda kind: not kind.cls.supports_terminate)
with_recycling = only(lambda kind: kind.cls.supports_recycling)
with_children = only(lambda kind: kind.has_children)
with_batches = only(lambda kind: kind.batches)
resizable = only(lambda kind: kind.cls.supports_resizing)
of_one_size = only(lambda kind: not kind.cls.supports_resizing)
