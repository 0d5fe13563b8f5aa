"""``run``: runs a canvas to its end by each store of the workflow engine: rows on each database, memory, eager."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from taskq.models import Group
from taskq.testing import override
from tests.support.worker_here import WorkerHere

Run = Callable[[Any], Any]


@pytest.fixture
def run(store: str, alias: str) -> Run:
    """Return a function that runs a canvas and returns its result, with all that can be read of it read."""
    return {"rows": _on_rows(alias), "memory": _in_memory, "eager": _eagerly}[store]


def _on_rows(alias: str) -> Run:
    def run(sig: Any) -> Any:
        result = sig.delay()
        WorkerHere(alias).work()
        assert not Group.objects.using(alias).filter(remaining__gt=0).exists()
        return result

    return run


def _in_memory(sig: Any) -> Any:
    with override() as memory:
        result = sig.delay()
        memory.drain()
        result.get(propagate=False)  # read while there is a memory to read from
        return result


def _eagerly(sig: Any) -> Any:
    return sig.apply()
