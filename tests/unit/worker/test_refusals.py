"""What a worker refuses before it leaves the terminal, by its pool."""

from __future__ import annotations

from typing import Any

import pytest

from taskq.worker.main import WorkerConfig, _refuse_scaling, _refuse_unlimited
from taskq.worker.pools.registry import pool_class


def config(**options: Any) -> WorkerConfig:
    told: dict[str, Any] = {"name": "w", "queues": [], "concurrency": 10, "loglevel": None, "logfile": None}
    return WorkerConfig(**told | {"color": False} | options)


@pytest.mark.parametrize("pool", ["gevent", "eventlet", "asyncio"])
def test_more_tasks_at_a_time_than_a_pool_can_have_are_refused(pool: str) -> None:
    with pytest.raises(ValueError, match=r"at most 1000 tasks .*--autoscale .*2000,10"):
        _refuse_scaling(pool_class(pool), config(autoscale=(2000, 10)))
    with pytest.raises(ValueError, match=r"at most 1000 tasks .*--concurrency \(2000\)"):
        _refuse_scaling(pool_class(pool), config(concurrency=2000))
    _refuse_scaling(pool_class(pool), config(concurrency=1000))
    _refuse_scaling(pool_class(pool), config(autoscale=(1000, 10)))


def test_a_pool_without_a_most_has_any_number() -> None:
    many = config(concurrency=2000, autoscale=(3000, 2000))
    with pytest.raises(ValueError, match="at most 1000 tasks"):
        _refuse_scaling(pool_class("asyncio"), many)
    for pool in ("prefork", "threads"):
        _refuse_scaling(pool_class(pool), many)


def test_the_pools_that_can_do_it_are_named() -> None:
    solo = pool_class("solo")
    with pytest.raises(ValueError, match="needs threads, prefork, asyncio, gevent or eventlet"):
        _refuse_scaling(solo, config(autoscale=(2, 1)))
    for limit in ({"time_limit": 3.0}, {"max_tasks_per_child": 3}):
        with pytest.raises(ValueError, match="prefork, asyncio, gevent or eventlet"):
            _refuse_unlimited(solo, config(**limit))
