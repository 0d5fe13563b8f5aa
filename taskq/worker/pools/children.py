"""The children of the prefork pool: one for each slot, which runs one delivery after the other.

Used by ``prefork`` alone, on the loop's thread. ``child_processes`` spawns the children and reads their frames.
"""

from __future__ import annotations

import signal as signals
import time
from collections.abc import Iterator, Sequence

from taskq.handover import Delivery, Outcome
from taskq.worker import log_lines

from .base import PoolEvents, PoolOptions, Unfinished
from .child_connection import ChildConnection
from .child_processes import ChildProcesses
from .fork_servers import ForkServers
from .hub import Hub
from .pool_child import State
from .prefork_child import PreforkChild
from .prefork_slot import PreforkSlot
from .soft_stop import SOFT_STOP

#: Seconds in which a child has to start the delivery at its head.
_FROZEN_AFTER = 30.0
#: Seconds between a signal that a task may handle and SIGKILL.
_GRACE = 10.0


class Children(ChildProcesses[PreforkSlot, PreforkChild]):
    """All slots, and all children that were not reaped yet."""

    def __init__(self, server: ForkServers, events: PoolEvents, hub: Hub, options: PoolOptions) -> None:
        super().__init__(server, events, hub, options)
        self._slots: dict[int, PreforkSlot] = {}

    def __getitem__(self, index: int) -> PreforkSlot:
        return self._slots[index]

    def _make_child(self, connection: ChildConnection) -> PreforkChild:
        return PreforkChild(next(self._numbers), connection)

    def unfinished(self) -> list[Unfinished]:
        """Return the deliveries without an outcome."""
        return [left for slot in self for left in slot.unfinished()]

    def __iter__(self) -> Iterator[PreforkSlot]:
        return iter(list(self._slots.values()))

    def add(self) -> PreforkSlot:
        """Add a slot, and have a child forked for it."""
        index = next(number for number in range(len(self._slots) + 1) if number not in self._slots)
        slot = self._slots[index] = PreforkSlot(index, self._options.max_tasks_per_child)
        self._spawn(slot)
        return slot

    def remove(self, slot: PreforkSlot) -> None:
        """Remove a slot as soon as the task that its child runs has ended."""
        slot.removing = True
        if slot.child is None:
            del self._slots[slot.index]
        else:
            self._retire(slot, slot.child)

    def hand_over(self, slot: PreforkSlot, deliveries: Sequence[Delivery]) -> None:
        """Give deliveries to the slot's child, which has room for them."""
        child = slot.child
        if child is None:
            raise ValueError(f"{slot!r} has no child.")
        was_idle = not child.in_flight
        child.connection.hand_over(deliveries)
        if was_idle:
            self._head_changed(child)

    def take_back(self, slot: PreforkSlot, limit: int | None = None) -> list[Delivery]:
        """Take back the last deliveries that have not started."""
        return self._take_back(slot, slot.child, limit) if slot.child is not None else []

    def _take_back(self, slot: PreforkSlot, child: PreforkChild, limit: int | None = None) -> list[Delivery]:
        back = child.connection.take_back(limit)
        if back and not child.in_flight:
            self._head_changed(child)
        self._stop_if_done(slot, child)
        return back

    def _retire(self, slot: PreforkSlot, child: PreforkChild) -> None:
        """Have a child end after the task that it runs; its other deliveries are returned."""
        child.state = State.LEAVING
        back = self._take_back(slot, child)
        if back:
            self._events.returned(back)

    def _stop_if_done(self, slot: PreforkSlot, child: PreforkChild) -> None:
        """Ask a leaving child to stop, once, if nothing is in flight."""
        if child.state is State.LEAVING and not child.stop_sent and not child.in_flight:
            child.ask_to_stop()
            self._renew(slot)

    def _renew(self, slot: PreforkSlot) -> None:
        """Fork the slot's next child while the one that was asked to stop ends; at most one ends beside it."""
        if slot.ending is None and not (self.closing or slot.removing):
            slot.ending, slot.child = slot.child, None
            slot.failures = 0
            self._spawn(slot)

    # -- the end of a child -------------------------------------------------------------

    def _on_exit(self, slot: PreforkSlot, child: PreforkChild, exit_code: int) -> None:
        """A child has ended: replace it, and report the deliveries that it had."""
        leaving = child.state is State.LEAVING
        lost = self._disconnect(slot, child, exit_code)
        if self.killing:
            return
        if child is slot.ending:
            slot.ending = None
            if slot.child is not None and slot.child.stop_sent:
                self._renew(slot)
            return
        slot.child = None
        asked = leaving and not lost.started and not lost.unstarted
        if slot.removing:
            del self._slots[slot.index]
        elif asked or lost.started or child.completed:
            slot.failures = 0
            self._spawn(slot)
        elif not self.closing:
            self._back_off(slot, exit_code)
        if not asked:
            self._events.lost(lost)

    # -- outcomes -----------------------------------------------------------------------

    def _on_outcome(self, slot: PreforkSlot, child: PreforkChild, outcome: Outcome) -> None:
        pending = child.connection.pending
        if next(iter(pending), None) != outcome.job:
            log_lines.wrong_job_answered(outcome.job, slot)
            return
        del pending[outcome.job]
        child.completed += 1
        self._head_changed(child)
        self._events.outcome(outcome)
        if self._should_recycle(slot, child, outcome.memory):
            self._retire(slot, child)
        self._stop_if_done(slot, child)

    def _should_recycle(self, slot: PreforkSlot, child: PreforkChild, memory: int) -> bool:
        if child.state is not State.UP:
            return False
        limit = self._options.max_memory_per_child
        heavy = limit is not None and memory > limit > 0
        if heavy:
            log_lines.child_too_large(slot.index, memory)
        return heavy or slot.has_run_all(child)

    def _head_changed(self, child: PreforkChild) -> None:
        child.head_changed()
        if child.deadline is not None:
            self._deadlines.add(child.deadline)

    # -- killing ------------------------------------------------------------------------

    def terminate_running(self, slot: PreforkSlot, job: int, reason: str, number: int, grace: float = 0.0) -> bool:
        """Signal the child that runs ``job``, unless the job has just ended; its other deliveries are returned.

        With ``grace`` an exception asks the task to end first, and the signal comes so many seconds later.
        """
        child = slot.child
        if child is None or child.pid is None or child.killed_for or (grace and child.asked_to_end):
            return False
        # No other delivery can start from here on, so the signal can only hit this job.
        child.connection.hold()
        self._read_all(slot, child)
        if child.head is None or child.head.job != job or not child.connection.started():
            child.connection.release()
            return False
        if grace:
            child.asked_to_end = True
            self._signal(child, SOFT_STOP)
            self._hub.call_later(grace, self._end, child, job, reason, number)
        else:
            self._end(child, job, reason, number)
        self._retire(slot, child)
        return True

    def _end(self, child: PreforkChild, job: int, reason: str, number: int) -> None:
        """Signal a leaving child that still runs ``job``."""
        if child.killed_for is None and child.head is not None and child.head.job == job:
            child.killed_for = reason
            self._signal(child, number)
            if number != signals.SIGKILL:
                self._hub.call_later(_GRACE, self._kill_if_running, child, job)

    def _kill_if_running(self, child: PreforkChild, job: int) -> None:
        """Kill a child that a signal has not ended: its task handles the signal, or is not in Python code."""
        if child.head is not None and child.head.job == job:
            self._signal(child, signals.SIGKILL)

    def _check_deadlines(self) -> None:
        now = time.monotonic()
        for slot in self:
            child = slot.child
            if child is None or child.deadline is None or child.killed_for is not None:
                continue
            head = child.head
            if head is not None and child.deadline <= now:
                ending = self.terminate_running(slot, head.job, "time_limit", signals.SIGKILL)
                if not ending and child.head is head:
                    # The delivery has not started, so its limit has not either: the child may be frozen.
                    child.deadline = now + (head.time_limit or 0.0)
            if child.deadline is not None and child.killed_for is None:
                self._deadlines.add(child.deadline)

    def _check_child(self, place: PreforkSlot, child: PreforkChild, now: float) -> None:
        """Kill a child that does not start its head: tasks would wait for ever beside idle children."""
        if child.busy_since is not None and now - child.busy_since > _FROZEN_AFTER and not self.closing:
            self._kill_frozen(place, child)

    def _kill_frozen(self, slot: PreforkSlot, child: PreforkChild) -> None:
        """Kill a child that has not started the delivery at its head, unless it starts it just now."""
        head = child.head
        if child.state is not State.UP:
            return
        child.connection.hold()
        self._read_all(slot, child)
        if child.head is not head or child.connection.started():
            child.connection.release()
            return
        log_lines.child_frozen(slot.index, _FROZEN_AFTER)
        self._signal(child, signals.SIGKILL)
        self._retire(slot, child)
