"""The prefork pool: each delivery runs in a child process, forked by the fork server.

The worker calls ``PreforkPool`` on its loop's thread. ``children`` spawns and replaces children, ``child_connection``
knows the deliveries in one of them, and the fork server forks and kills.
"""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from typing import Any

from taskq.handover import Delivery
from taskq.worker import log_lines
from taskq.worker.process.system import resident_kib, signal_number

from .base import Pool, PoolEvents, PoolOptions, Slot
from .children import Children
from .hub import Hub
from .prefork_slot import PreforkSlot

#: Seconds between two pings of the fork server, and how many may stay without an answer.
_PING_EVERY, _MOST_SILENT = 1.0, 8


class PreforkPool(Pool):
    """Children behind a fork server; ``options.fork_server`` comes from ``forkserver_process.launch``."""

    name = "prefork"
    supports_hard_limit = True
    supports_terminate = True
    supports_recycling = True

    def __init__(self, concurrency: int, events: PoolEvents, hub: Hub, options: PoolOptions) -> None:
        super().__init__(concurrency, events, hub, options)
        if options.fork_server is None:
            raise ValueError("The prefork pool needs PoolOptions.fork_server, from forkserver_process.launch().")
        self._server = options.fork_server
        self._children = Children(self._server, events, hub, options)
        self._slots: list[PreforkSlot] = []
        self._ended = False
        self._frozen = False

    def start(self) -> None:
        """Fork the children."""
        self._server.attach(self.hub)
        self.hub.add_reader(self._server.fileno(), self._on_server)
        self.hub.call_later(_PING_EVERY, self._ping)
        self.grow(self.concurrency)

    @property
    def slots(self) -> Sequence[PreforkSlot]:
        """The slots that count towards ``concurrency``, up or not."""
        return self._slots

    def hand_over(self, slot: Slot, deliveries: Sequence[Delivery]) -> None:
        """Give deliveries to a child in one write; those beyond its ``room`` come back by ``events.returned``."""
        child_slot = self._children[slot.index]
        room = child_slot.room
        if len(deliveries) > room:
            self.hub.call_soon(self.events.returned, list(deliveries[room:]))
            deliveries = deliveries[:room]
        if deliveries:
            self._children.hand_over(child_slot, deliveries)

    def take_back(self, slot: Slot, limit: int | None = None) -> list[Delivery]:
        """Take back the child's last deliveries that have not started, at most ``limit``."""
        return self._children.take_back(self._children[slot.index], limit)

    def terminate(self, job: int, signal: str = "SIGTERM") -> bool:
        """Send ``signal`` to the child that runs ``job``, if it certainly runs it now; the child is replaced."""
        name, _, grace = signal.partition("+")
        try:
            number, seconds = signal_number(name), float(grace or 0)
        except ValueError as error:
            # The name may come from a row or a message: no reason to stop the worker.
            log_lines.job_not_terminated(job, error)
            return False
        slot = next((slot for slot in self._children if slot.head is not None and slot.head.job == job), None)
        return slot is not None and self._children.terminate_running(slot, job, f"terminate:{name}", number, seconds)

    def grow(self, n: int = 1) -> None:
        """Add ``n`` children."""
        self._slots = self._slots + [self._children.add() for _ in range(n)]
        self.concurrency = len(self._slots)

    def shrink(self, n: int = 1) -> None:
        """Remove ``n`` children, idle ones first, each when its started delivery has ended."""
        if n >= len(self._slots):
            raise ValueError(f"{len(self._slots)} children can't be made {n} fewer: one must remain.")
        leaving = sorted(self._slots, key=lambda slot: (slot.in_flight > 0, -slot.index))[:n]
        self._slots = [slot for slot in self._slots if slot not in leaving]
        self.concurrency = len(self._slots)
        for slot in leaving:
            self._children.remove(slot)

    def quiesce(self) -> None:
        """Begin a warm shutdown: children end when their deliveries have an outcome; none is replaced."""
        self._children.quiesce()

    def stop(self, timeout: float = 5.0) -> None:
        """End the children and the fork server, and wait; after ``timeout`` seconds by force."""
        self.quiesce()
        self._wait_for_children(timeout)
        self.kill()

    def kill(self) -> None:
        """Kill all children and end the fork server."""
        if self._ended:
            return
        self._children.kill_all()
        self._wait_for_children(2.0)
        if not self._ended:
            self._end_server()

    def unfinished(self) -> list[tuple[Delivery, bool]]:
        """Return the deliveries without an outcome, each with whether it has started."""
        return [left for slot in self._children for left in slot.unfinished()]

    def info(self) -> dict[str, Any]:
        """Return plain values for the statistics."""
        return {
            "implementation": f"{type(self).__module__}:{type(self).__name__}",
            "max-concurrency": self.concurrency,
            "max-tasks-per-child": self.options.max_tasks_per_child or "N/A",
            "processes": [slot.pid for slot in self._slots if slot.pid],
            "fork-server": self._server.pid,
            "children": [_describe(slot) for slot in self._children],
        }

    def _ping(self) -> None:
        """Watch the fork server as the children are watched: kill it if it is frozen, which breaks the pool."""
        self._on_server()
        if self._ended:
            return
        self._server.ping()
        if self._server.silent > _MOST_SILENT:
            self._frozen = True
            log_lines.fork_server_frozen(_PING_EVERY * _MOST_SILENT)
            self._server.kill()
        else:
            self.hub.call_later(_PING_EVERY, self._ping)

    def _on_server(self) -> None:
        for kind, payload in self._server.receive():
            self._children.on_server_message(kind, payload)
        if self._server.gone and not self._ended:
            wanted = self._children.killing
            status = self._end_server()
            if not wanted:
                how = "did not answer and was killed" if self._frozen else f"ended with {status}"
                self.events.broken(f"The fork server {how}: the pool has lost its children.")

    def _end_server(self) -> str:
        """End the fork server and the remaining children with it; handle their last frames."""
        self._ended = True
        self._children.closing = self._children.killing = True
        self.hub.remove(self._server.fileno())
        status = self._server.end()
        self._children.reap_killed(time.monotonic() + 1.0)
        return status

    def _wait_for_children(self, timeout: float) -> None:
        """Handle frames without the loop until all children have ended; ``PoolEvents`` are still called."""
        deadline = time.monotonic() + timeout
        while not self._ended and self._children.living:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self._wait_once(left)

    def _wait_once(self, timeout: float) -> None:
        poll = select.poll()
        poll.register(self._server.fileno(), select.POLLIN)
        connected = [(slot, child) for slot, child in self._children.living if child.connection.readable]
        for _, child in connected:
            poll.register(child.connection.fileno(), select.POLLIN)
            child.connection.flush()
        if not poll.poll(timeout * 1000):
            return
        for slot, child in connected:
            self._children.on_readable(slot, child)
        self._on_server()


def _describe(slot: PreforkSlot) -> dict[str, Any]:
    return {
        "index": slot.index,
        "pid": slot.pid,
        "state": slot.state.value,
        "in_flight": slot.in_flight,
        "completed": slot.child.completed if slot.child is not None else 0,
        "memory": resident_kib(slot.pid) if slot.pid else 0,
    }
