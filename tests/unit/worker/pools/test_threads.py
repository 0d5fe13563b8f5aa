"""The slots of the pool threads."""

from __future__ import annotations

from typing import Any

import pytest

from taskq.worker.pools import threads
from taskq.worker.pools.thread_slot import ThreadSlot

from .driver import deliveries, driving


def test_pool_knows_its_size_if_a_thread_can_not_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def second_fails(index: int, *args: Any) -> ThreadSlot:
        if index == 2:
            raise RuntimeError("can't start new thread")
        return ThreadSlot(index, *args)

    with driving("threads", 1) as driver:
        monkeypatch.setattr(threads, "ThreadSlot", second_fails)
        with pytest.raises(RuntimeError):
            driver.pool.grow(2)
        assert driver.pool.concurrency == len(driver.pool.slots) == 2
        driver.work_off(deliveries(4))


def test_slots_that_come_and_go_use_the_same_indexes() -> None:
    with driving("threads", 2) as driver:
        for _ in range(3):
            driver.pool.grow(2)
            driver.pool.shrink(2)
        driver.pool.grow()
        assert sorted(slot.index for slot in driver.pool.slots) == [0, 1, 2]
        driver.work_off(deliveries(6))
