"""The threads pool: each delivery runs in a thread of the main process, beside its loop.

For tasks that wait for the network, and for systems without ``fork``. A thread can't be killed: hard time limits and
recycling are not supported, ``terminate`` can only ask a task to end, that and a soft limit interrupt Python code only,
and a task that holds the GIL holds the loop with it. A task that is still running at a cold end is left behind.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import count
from typing import Any

from taskq.execution import kept_logs
from taskq.handover import Delivery, Outcome, Report
from taskq.worker.call_queue import CallQueue

from . import stack_texts
from .base import Pool, PoolEvents, PoolOptions, Slot, Unfinished
from .hub import Hub
from .thread_slot import ThreadSlot

#: Seconds for which a thread that computes keeps the interpreter while another one wants it, in place of Python's 5 ms.
#: The loop, the store thread and remote control wait so long after each statement. To switch more often costs the
#: tasks less than 2 % of processor time.
_SWITCH = 0.001


class ThreadsPool(Pool):
    """``concurrency`` threads, each with its own deliveries."""

    name = "threads"
    supports_grace = True
    shares_process = True

    def __init__(self, concurrency: int, events: PoolEvents, hub: Hub, options: PoolOptions) -> None:
        super().__init__(concurrency, events, hub, options)
        self._calls = CallQueue()
        hub.add_reader(self._calls.fileno(), self._calls.run)
        self._slots: list[ThreadSlot] = []
        #: Also the slots that were removed and still run a task.
        self._by_index: dict[int, ThreadSlot] = {}
        self._ended = False
        self._interval = sys.getswitchinterval()

    def start(self) -> None:
        """Start the threads."""
        sys.setswitchinterval(min(_SWITCH, self._interval))
        kept_logs.start()
        self.grow(self.concurrency)

    @property
    def slots(self) -> Sequence[ThreadSlot]:
        """The slots that count towards ``concurrency``."""
        return self._slots

    def hand_over(self, slot: Slot, deliveries: Sequence[Delivery]) -> None:
        """Give deliveries to a thread; those beyond its ``room`` come back by ``events.returned``."""
        thread_slot = self._by_index[slot.index]
        room = thread_slot.room
        if len(deliveries) > room:
            self.hub.call_soon(self.events.returned, list(deliveries[room:]))
        thread_slot.put(deliveries[:room])

    def take_back(self, slot: Slot, limit: int | None = None) -> list[Delivery]:
        """Take back the thread's last deliveries that have not started, at most ``limit``."""
        return self._by_index[slot.index].take_back(limit)

    def terminate(self, job: int, signal: str = "SIGTERM") -> bool:
        """Ask the task of ``job`` to end, if ``signal`` has a grace as ``SIGTERM+5``: a thread can't be killed."""
        return "+" in signal and any(slot.ask_to_end(job) for slot in self._by_index.values())

    def stack(self, job: int, tell: Callable[[str], None]) -> None:
        """Call ``tell`` with the stack of the thread that runs ``job``."""
        ident = next((slot.ident for slot in self._by_index.values() if slot.runs(job)), None)
        tell(stack_texts.of_thread(ident) if ident is not None else "")

    def grow(self, n: int = 1) -> None:
        """Add ``n`` threads."""
        post = partial(self._calls.post, self._on_answer)
        for _ in range(n):
            # The lowest that is free: what is kept for each index elsewhere stays small.
            index = next(index for index in count() if index not in self._by_index)
            slot = ThreadSlot(index, self.options.run, post, self._around)
            # At once: the next thread may be one too many for this system.
            self._by_index[slot.index] = slot
            self._slots = [*self._slots, slot]
            self.concurrency = len(self._slots)
            self.hub.call_soon(self.events.ready)

    def shrink(self, n: int = 1) -> None:
        """Remove ``n`` threads, idle ones first, each when its started delivery has ended."""
        if n >= len(self._slots):
            raise ValueError(f"{len(self._slots)} threads can't be made {n} fewer: one must remain.")
        leaving = sorted(self._slots, key=lambda slot: (slot.in_flight > 0, -slot.index))[:n]
        self._slots = [slot for slot in self._slots if slot not in leaving]
        self.concurrency = len(self._slots)
        for slot in leaving:
            self._retire(slot)

    def quiesce(self) -> None:
        """Begin a warm shutdown: no delivery is accepted any more; those in flight still run."""
        for slot in self._by_index.values():
            slot.closing = True

    def stop(self, timeout: float = 5.0) -> None:
        """End the threads and wait, at most ``timeout`` seconds; a task that goes on is left behind."""
        self.quiesce()
        slots = list(self._by_index.values())
        for slot in slots:
            slot.ask_to_stop()
        deadline = time.monotonic() + timeout
        for slot in slots:
            slot.join(max(0.0, deadline - time.monotonic()))
        self.kill()

    def kill(self) -> None:
        """Start no more deliveries, and handle no outcome of the running ones."""
        self.quiesce()
        for slot in self._by_index.values():
            slot.abandon()
        if not self._ended:
            self._calls.run()
            self.hub.remove(self._calls.fileno())
            self._ended = True
            sys.setswitchinterval(self._interval)
            kept_logs.stop()

    def unfinished(self) -> list[Unfinished]:
        """Return the deliveries without an outcome."""
        return [left for slot in self._by_index.values() for left in slot.unfinished()]

    @property
    def left_behind(self) -> bool:
        """Whether a thread of the pool is still alive."""
        return self._ended and any(slot.alive for slot in self._by_index.values())

    def info(self) -> dict[str, Any]:
        """Return plain values for the statistics."""
        return {
            "implementation": f"{type(self).__module__}:{type(self).__name__}",
            "max-concurrency": self.concurrency,
            "max-tasks-per-child": "N/A",
            "processes": [os.getpid()],
            "threads": [{"index": slot.index, "in_flight": slot.in_flight} for slot in self._slots],
        }

    def _around(self) -> AbstractContextManager[None]:
        """Return what a thread does before its first delivery and after its last one."""
        return nullcontext()

    def _retire(self, slot: ThreadSlot) -> None:
        slot.closing = True
        back = slot.take_back()
        slot.ask_to_stop()
        if slot.idle:
            del self._by_index[slot.index]
        if back:
            self.events.returned(back)

    def _on_answer(self, slot: ThreadSlot, answer: Outcome | Report) -> None:
        if isinstance(answer, Report):
            self.events.report(answer)
            return
        slot.answered()
        if slot.idle and slot not in self._slots:
            del self._by_index[slot.index]
        self.events.outcome(answer)
        self.events.ready()
