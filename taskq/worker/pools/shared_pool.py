"""The base of the pools whose child runs many deliveries at once: asyncio, and those of greenlets.

The main process stays as with prefork: its loop, its store thread and remote control are not in the child. A task that
blocks the child costs only this pool. What a delivery runs in, and how it is interrupted, is the child's alone:
``child_many``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskq.handover import Delivery
from taskq.worker import log_lines
from taskq.worker.process.system import resident_kib, signal_number

from .base import MAX_IN_FLIGHT, PoolEvents, PoolOptions, Slot
from .forked_pool import ForkedPool
from .hub import Hub
from .shared_children import SharedChildren
from .shared_slot import SharedSlot


class SharedPool(ForkedPool):
    """``concurrency`` slots, all in one child. A subclass has the ``name``, which is the child's kind too."""

    max_concurrency = MAX_IN_FLIGHT
    shares_process = True

    children: SharedChildren

    def __init__(self, concurrency: int, events: PoolEvents, hub: Hub, options: PoolOptions) -> None:
        super().__init__(concurrency, events, hub, options)
        self.refuse_above_most(concurrency)
        self.children = SharedChildren(self._server, events, hub, options, self.name)
        self._slots: list[SharedSlot] = []
        #: Also the slots that were removed and still have a delivery.
        self._by_index: dict[int, SharedSlot] = {}

    def start(self) -> None:
        """Have the first child forked."""
        super().start()
        self.children.start()

    @property
    def slots(self) -> Sequence[SharedSlot]:
        """The slots that count towards ``concurrency``, up or not."""
        return self._slots

    def hand_over(self, slot: Slot, deliveries: Sequence[Delivery]) -> None:
        """Give a delivery to the child; those beyond the slot's ``room`` come back by ``events.returned``."""
        shared = self._by_index[slot.index]
        room = shared.room
        if len(deliveries) > room:
            self.hub.call_soon(self.events.returned, list(deliveries[room:]))
        for delivery in deliveries[:room]:
            self.children.hand_over(shared, delivery)

    def take_back(self, slot: Slot, limit: int | None = None) -> list[Delivery]:
        """Take back the slot's delivery if it has not started."""
        back = self.children.take_back(self._by_index[slot.index]) if limit != 0 else None
        return [] if back is None else [back]

    def terminate(self, job: int, signal: str = "SIGTERM") -> bool:
        """End the task of ``job`` alone, if it certainly runs now. The signal only says how it is told."""
        name, _, grace = signal.partition("+")
        try:
            signal_number(name)
            seconds = float(grace or 0)
        except ValueError as error:
            # The name may come from a row or a message: no reason to stop the worker.
            log_lines.job_not_terminated(job, error)
            return False
        slot = next((s for s in self._by_index.values() if s.delivery is not None and s.delivery.job == job), None)
        return slot is not None and self.children.terminate(slot, f"terminate:{name}", seconds)

    def grow(self, n: int = 1) -> None:
        """Add ``n`` slots."""
        self.refuse_above_most(len(self._slots) + n)
        self._by_index = {i: slot for i, slot in self._by_index.items() if not (slot.removing and slot.idle)}
        free = (index for index in range(len(self._by_index) + n) if index not in self._by_index)
        added = [SharedSlot(next(free), self.children.place) for _ in range(n)]
        self._by_index.update((slot.index, slot) for slot in added)
        self._slots = self._slots + added
        self.concurrency = len(self._slots)
        self.hub.call_soon(self.events.ready)

    def shrink(self, n: int = 1) -> None:
        """Remove ``n`` slots, idle ones first, each when its started delivery has ended."""
        if n >= len(self._slots):
            raise ValueError(f"{len(self._slots)} slots can't be made {n} fewer: one must remain.")
        leaving = sorted(self._slots, key=lambda slot: (slot.in_flight > 0, -slot.index))[:n]
        gone = {slot.index for slot in leaving}
        self._slots = [slot for slot in self._slots if slot.index not in gone]
        self.concurrency = len(self._slots)
        for slot in leaving:
            slot.removing = True
            if back := self.take_back(slot):
                self.events.returned(back)

    def info(self) -> dict[str, Any]:
        """Return plain values for the statistics."""
        living = self.children.living
        return {
            "implementation": f"{type(self).__module__}:{type(self).__name__}",
            "max-concurrency": self.concurrency,
            "max-tasks-per-child": self.options.max_tasks_per_child or "N/A",
            "processes": [child.pid for _, child in living if child.pid],
            "fork-server": self._server.current.pid,
            "children": [
                {
                    "index": place.index,
                    "pid": child.pid,
                    "state": child.state.value,
                    "in_flight": child.in_flight,
                    "completed": child.completed,
                    "memory": resident_kib(child.pid) if child.pid else 0,
                }
                for place, child in living
            ],
        }
