"""The prefork pool under everything at once: each delivery ends in one way, once."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from random import Random

import pytest

from taskq.handover import Delivery, Outcome
from taskq.worker.pools.base import ReportFn
from taskq.worker.pools.prefork_slot import PreforkSlot
from tests.unit.worker.pools.driver import Driver, delivery, driving

pytestmark = pytest.mark.faults


def work_a_little(received: Delivery, report: ReportFn) -> Outcome:
    end = time.monotonic() + float(received.body)
    while time.monotonic() < end:
        pass
    return Outcome(received.job, received.task_id, "SUCCESS")


class Storm:
    """Hands over, and at random kills, freezes, takes back, terminates, grows and shrinks."""

    def __init__(self, driver: Driver, number: int, dice: Random) -> None:
        self.driver = driver
        self.dice = dice
        limits = [None] * 27 + [0.001, 0.003, 5.0]
        self.waiting = [delivery(str(dice.uniform(0, 0.004)), time_limit=dice.choice(limits)) for _ in range(number)]
        self.out: dict[int, Delivery] = {}
        self.begun: set[int] = set()

    def rage(self, seconds: float) -> None:
        """Rage until each delivery has ended; after ``seconds`` the rest ends in peace, however slow the machine."""
        calm = time.monotonic() + seconds

        def over() -> bool:
            assert not self.driver.broken
            self.reclaim()
            self.hand_over()
            if time.monotonic() < calm:
                self.strike(self.dice.choice(self.driver.pool.slots))
            return not self.waiting and all(job in self.driver.outcomes for job in self.out)

        self.driver.until(over, "each delivery has ended", seconds + 120)

    def back(self, deliveries: list[Delivery]) -> None:
        for one in deliveries:
            del self.out[one.job]
            self.waiting.append(one)

    def reclaim(self) -> None:
        for lost in self.driver.lost:
            self.back(lost.unstarted)
            for one in lost.started:
                del self.out[one.job]
                self.begun.add(one.job)
        self.driver.lost.clear()
        self.back(self.driver.returned)
        self.driver.returned.clear()

    def hand_over(self) -> None:
        for slot in self.driver.pool.slots:
            if slot.accepting and slot.in_flight < 8 and self.waiting:
                share = [self.waiting.pop() for _ in range(min(len(self.waiting), self.dice.randint(1, 8), slot.room))]
                self.out.update({one.job: one for one in share})
                self.driver.pool.hand_over(slot, share)

    def strike(self, slot: PreforkSlot) -> None:
        pool, chance = self.driver.pool, self.dice.random()
        with suppress(ProcessLookupError):
            if chance < 0.02 and slot.pid:
                os.kill(slot.pid, signal.SIGKILL)
            elif chance < 0.10:
                self.back(pool.take_back(slot, self.dice.choice([None, 1, 2])))
            elif chance < 0.14 and slot.head:
                pool.terminate(slot.head.job, self.dice.choice(["SIGTERM", "SIGKILL"]))
            elif chance < 0.15 and len(pool.slots) < 5:
                pool.grow()
            elif chance < 0.16 and len(pool.slots) > 1:
                pool.shrink()
            elif chance < 0.17 and slot.accepting and slot.pid:
                os.kill(slot.pid, signal.SIGSTOP)
                self.driver.hub.call_later(0.05, thaw, slot.pid)


def thaw(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def test_every_delivery_ends_once_while_children_are_killed_frozen_and_replaced(full_run: bool, dice: Random):
    number = 5000 if full_run else 500
    with driving(concurrency=3, run=work_a_little, max_tasks_per_child=5) as driver:
        storm = Storm(driver, number, dice)

        storm.rage(150)

        assert not set(driver.outcomes) & storm.begun
        assert len(driver.outcomes) + len(storm.begun) == number
        driver.pool.stop()
