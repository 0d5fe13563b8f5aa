"""The prefork pool: each delivery runs in a child process, forked by the fork server.

The worker calls ``PreforkPool`` on its loop's thread. ``children`` replaces children; ``forked_pool`` ends the pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskq.handover import Delivery
from taskq.worker import log_lines
from taskq.worker.process.system import resident_kib, signal_number

from .base import PoolEvents, PoolOptions, Slot
from .children import Children
from .forked_pool import ForkedPool
from .hub import Hub
from .prefork_slot import PreforkSlot


class PreforkPool(ForkedPool):
    """Children behind a fork server; ``options.fork_server`` comes from ``forkserver_process.launch``."""

    name = "prefork"
    children: Children

    def __init__(self, concurrency: int, events: PoolEvents, hub: Hub, options: PoolOptions) -> None:
        super().__init__(concurrency, events, hub, options)
        self.children = Children(self._server, events, hub, options)
        self._slots: list[PreforkSlot] = []

    @property
    def slots(self) -> Sequence[PreforkSlot]:
        """The slots that count towards ``concurrency``, up or not."""
        return self._slots

    def hand_over(self, slot: Slot, deliveries: Sequence[Delivery]) -> None:
        """Give deliveries to a child in one write; those beyond its ``room`` come back by ``events.returned``."""
        child_slot = self.children[slot.index]
        room = child_slot.room
        if len(deliveries) > room:
            self.hub.call_soon(self.events.returned, list(deliveries[room:]))
            deliveries = deliveries[:room]
        if deliveries:
            self.children.hand_over(child_slot, deliveries)

    def take_back(self, slot: Slot, limit: int | None = None) -> list[Delivery]:
        """Take back the child's last deliveries that have not started, at most ``limit``."""
        return self.children.take_back(self.children[slot.index], limit)

    def terminate(self, job: int, signal: str = "SIGTERM") -> bool:
        """Send ``signal`` to the child that runs ``job``, if it certainly runs it now; the child is replaced."""
        name, _, grace = signal.partition("+")
        try:
            number, seconds = signal_number(name), float(grace or 0)
        except ValueError as error:
            # The name may come from a row or a message: no reason to stop the worker.
            log_lines.job_not_terminated(job, error)
            return False
        slot = next((slot for slot in self.children if slot.head is not None and slot.head.job == job), None)
        return slot is not None and self.children.terminate_running(slot, job, f"terminate:{name}", number, seconds)

    def grow(self, n: int = 1) -> None:
        """Add ``n`` children."""
        self._slots = self._slots + [self.children.add() for _ in range(n)]
        self.concurrency = len(self._slots)

    def shrink(self, n: int = 1) -> None:
        """Remove ``n`` children, idle ones first, each when its started delivery has ended."""
        if n >= len(self._slots):
            raise ValueError(f"{len(self._slots)} children can't be made {n} fewer: one must remain.")
        leaving = sorted(self._slots, key=lambda slot: (slot.in_flight > 0, -slot.index))[:n]
        self._slots = [slot for slot in self._slots if slot not in leaving]
        self.concurrency = len(self._slots)
        for slot in leaving:
            self.children.remove(slot)

    def info(self) -> dict[str, Any]:
        """Return plain values for the statistics."""
        return {
            "implementation": f"{type(self).__module__}:{type(self).__name__}",
            "max-concurrency": self.concurrency,
            "max-tasks-per-child": self.options.max_tasks_per_child or "N/A",
            "processes": [slot.pid for slot in self._slots if slot.pid],
            "writes": _writes(self._slots),
            "fork-server": self._server.current.pid,
            "children": [_describe(slot) for slot in self.children],
        }


def _writes(slots: Sequence[PreforkSlot]) -> dict[str, Any]:
    """Return how the tasks are spread over the children, as Celery's monitors know it: counts, and shares of all."""
    done = [_completed(slot) + slot.in_flight for slot in slots]
    shares = [count / (sum(done) or 1) for count in done]
    return {
        "total": sum(done),
        "avg": f"{sum(shares) / (len(shares) or 1):.2f}",
        "all": ", ".join(f"{share:.2f}" for share in shares),
        "raw": ", ".join(map(str, done)),
        "strategy": "fair",
        "inqueues": {"total": len(slots), "active": sum(slot.in_flight > 0 for slot in slots)},
    }


def _describe(slot: PreforkSlot) -> dict[str, Any]:
    return {
        "index": slot.index,
        "pid": slot.pid,
        "state": slot.state.value,
        "in_flight": slot.in_flight,
        "completed": _completed(slot),
        "memory": resident_kib(slot.pid) if slot.pid else 0,
    }


def _completed(slot: PreforkSlot) -> int:
    # Read once: this is another thread than that which replaces children.
    child = slot.child
    return child.completed if child is not None else 0
