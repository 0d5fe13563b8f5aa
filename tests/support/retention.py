"""Single steps of ``retention.sweep``, with an age of their own: each deletes one batch, and returns its size."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from taskq.conf import settings
from taskq.store import retention


def expire(state: str, age: timedelta, limit: int = retention.BATCH, alias: str | None = None) -> int:
    """Delete up to ``limit`` TaskRuns that ended in ``state`` more than ``age`` ago."""
    alias = alias or settings.DATABASE
    return _first(retention._expire_runs(state, retention._before(age, alias), limit, alias))


def expire_workflows(age: timedelta, limit: int = retention.BATCH, alias: str | None = None) -> int:
    """Delete up to ``limit`` nodes of ended workflows older than ``age``, and then groups; return how many nodes."""
    alias = alias or settings.DATABASE
    before = retention._before(age, alias)
    nodes = _first(retention._expire_nodes(before, limit, alias, None))
    _first(retention._expire_groups(before, limit, alias))
    return nodes


def _first(batches: Iterator[int]) -> int:
    return next(filter(None, batches), 0)
