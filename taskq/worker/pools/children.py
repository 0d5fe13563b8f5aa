"""The children of the prefork pool: spawning, handling their frames, replacing, killing.

Used by ``prefork`` alone, on the loop's thread. It requests forks and signals from
the fork server, and calls the worker's ``PoolEvents``.
"""

from __future__ import annotations

import itertools
import select
import signal as signals
import time
from collections.abc import Iterator, Sequence
from typing import Any

from taskq.handover import Delivery, Outcome, Report
from taskq.worker import log_lines
from taskq.worker.process.system import describe_exit

from . import frames
from .base import LostChild, PoolEvents, PoolOptions
from .child_connection import ChildConnection
from .deadlines import Deadlines
from .forkserver import ForkServer
from .hub import Hub
from .prefork_child import PreforkChild, State
from .prefork_slot import PreforkSlot
from .soft_stop import SOFT_STOP

#: Seconds until a slot whose child ended before its first outcome gets another: doubled each time, up to the second.
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.05, 30.0
#: Seconds until the warning of a slow start.
_SLOW_START = 30.0
#: Seconds in which a child has to start the delivery at its head, and has to end when it has closed its socket.
_FROZEN_AFTER, _CLOSED_TIMEOUT = 30.0, 5.0
#: Seconds between checks of the children.
_CHECK_INTERVAL = 5.0
#: Seconds between a signal that a task may handle and SIGKILL.
_GRACE = 10.0


class Children:
    """All slots, and all children that were not reaped yet."""

    def __init__(self, server: ForkServer, events: PoolEvents, hub: Hub, options: PoolOptions) -> None:
        self._server = server
        self._events = events
        self._hub = hub
        self._options = options
        self._slots: dict[int, PreforkSlot] = {}
        self._living: dict[int, tuple[PreforkSlot, PreforkChild]] = {}
        self._numbers = itertools.count(1)
        self._deadlines = Deadlines(hub, self._check_deadlines)
        self._watching_starts = False
        self._hub.call_later(_CHECK_INTERVAL, self._check)
        #: No child is replaced any more.
        self.closing = False
        #: All children are being killed; their deliveries are kept for ``Pool.unfinished``.
        self.killing = False

    def __getitem__(self, index: int) -> PreforkSlot:
        return self._slots[index]

    def __iter__(self) -> Iterator[PreforkSlot]:
        return iter(list(self._slots.values()))

    @property
    def living(self) -> list[tuple[PreforkSlot, PreforkChild]]:
        """The children that were not reaped yet, each with its slot: also those that the slot does not wait for."""
        return list(self._living.values())

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

    def quiesce(self) -> None:
        """Have all children end when their deliveries have an outcome; none is replaced."""
        self.closing = True
        for slot, child in self.living:
            if child.state is not State.DOWN:
                child.state = State.LEAVING
                self._stop_if_done(slot, child)

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

    # -- start and end ------------------------------------------------------------------

    def on_server_message(self, kind: int, payload: Any) -> None:
        """Handle a frame of the fork server."""
        slot, child = self._living[payload[0]]
        if kind == frames.SPAWNED:
            child.pid = payload[1]
            if self.killing or child.connection.fault:
                self._signal(child, signals.SIGKILL)
        elif kind == frames.NOT_SPAWNED:
            log_lines.child_not_forked(payload[1])
            self._on_exit(slot, child, 1)
        elif kind == frames.EXITED:
            self._on_exit(slot, child, payload[1])

    def _spawn(self, slot: PreforkSlot) -> None:
        # This may have been scheduled some time ago.
        if self.closing or slot.removing or slot.child is not None:
            return
        try:
            connection = ChildConnection(self._hub)
        except OSError as error:
            log_lines.child_connection_failed(error)
            self._back_off(slot, 1)
            return
        child = slot.child = PreforkChild(next(self._numbers), connection)
        self._living[child.number] = slot, child
        self._hub.add_reader(connection.fileno(), self.on_readable, slot, child)
        pool = self._options
        title = f"taskq: child {slot.index} {pool.hostname}".rstrip()
        limits = pool.max_tasks_per_child or 0, pool.max_memory_per_child or 0
        self._server.spawn(child.number, frames.ChildOptions(slot.index, title, *limits), connection.child_fds)
        connection.close_child_end()
        self._watch_starts()

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

    def _disconnect(self, slot: PreforkSlot, child: PreforkChild, exit_code: int) -> LostChild:
        """Handle the last frames of a child that has ended, and close its connection."""
        # First of all: while it handles the last outcomes the worker must not hand over to this child.
        child.state = State.DOWN
        self._read_all(slot, child)
        self._hub.remove(child.connection.fileno())
        del self._living[child.number]
        if self.killing:
            slot.cut_short += child.unfinished()
            if slot.child is child:
                slot.child = None
        return child.end(exit_code)

    def reap_killed(self, deadline: float) -> None:
        """Disconnect the children, which died with the fork server: it can't report that they ended."""
        for slot, child in self.living:
            connection = child.connection
            while connection.readable and time.monotonic() < deadline:
                if not connection.receive():
                    select.select([] if connection.closed else [connection.fileno()], [], [], 0.05)
            self._disconnect(slot, child, -signals.SIGKILL)

    def _back_off(self, slot: PreforkSlot, exit_code: int) -> None:
        """Fork the next child later: this one ended before its first outcome."""
        slot.failures += 1
        pause = min(_FIRST_BACKOFF * 2 ** (slot.failures - 1), _LONGEST_BACKOFF)
        log_lines.child_exited_early(slot.index, describe_exit(exit_code), slot.failures, pause)
        self._hub.call_later(pause, self._spawn, slot)

    def _watch_starts(self) -> None:
        if not self._watching_starts:
            self._watching_starts = True
            self._hub.call_later(_SLOW_START, self._check_starts)

    def _check_starts(self) -> None:
        self._watching_starts = False
        starting = [(slot, child) for slot, child in self.living if child.state is State.STARTING]
        slow = [slot.index for slot, child in starting if time.monotonic() - child.forked_at > _SLOW_START / 2]
        if slow:
            log_lines.children_slow(slow)
        if starting:
            self._watch_starts()

    # -- frames of children -------------------------------------------------------------

    def on_readable(self, slot: PreforkSlot, child: PreforkChild) -> None:
        """Read once from a child, and handle its frames."""
        child.connection.receive()
        if child.connection.closed:
            self._hub.remove(child.connection.fileno())
            child.closed_at = time.monotonic()
        self._handle_frames(slot, child)

    def _read_all(self, slot: PreforkSlot, child: PreforkChild) -> None:
        while child.connection.receive():
            pass
        self._handle_frames(slot, child)

    def _handle_frames(self, slot: PreforkSlot, child: PreforkChild) -> None:
        """Handle the answers that have arrived, one at a time: an event's receiver may call this again."""
        room = False
        arrived = child.connection.arrived
        while arrived:
            answer = arrived.popleft()
            if isinstance(answer, Outcome):
                self._on_outcome(slot, child, answer)
                room = True
            elif isinstance(answer, Report):
                self._events.report(answer)
            elif answer is None:
                # It can't be made clean for the next task.
                if child.state is State.UP:
                    self._retire(slot, child)
            else:
                child.on_up(answer)
                room = True
        if child.connection.fault and not child.faulty:
            self._kill_faulty(slot, child)
        if room:
            self._events.ready()

    def _kill_faulty(self, slot: PreforkSlot, child: PreforkChild) -> None:
        """Kill a child whose answers can't be read: the task that it runs counts as lost."""
        child.faulty = True
        log_lines.child_unreadable(slot.index, child.connection.fault)
        self._hub.remove(child.connection.fileno())
        if child.state is not State.DOWN:
            self._signal(child, signals.SIGKILL)
            self._retire(slot, child)

    def _on_outcome(self, slot: PreforkSlot, child: PreforkChild, outcome: Outcome) -> None:
        pending = child.connection.pending
        if not pending or pending[0].job != outcome.job:
            log_lines.wrong_job_answered(outcome.job, slot)
            return
        pending.popleft()
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

    def kill_all(self) -> None:
        """Have all children killed."""
        self.closing = self.killing = True
        for _, child in self.living:
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

    def _check(self) -> None:
        """Kill children that don't start their head or can't be reached: tasks would wait for ever beside idle ones."""
        if self.killing:
            return
        now = time.monotonic()
        for slot, child in self.living:
            if child.closed_at is not None and now - child.closed_at > _CLOSED_TIMEOUT:
                # For example because its task has closed all descriptors.
                log_lines.child_unreachable(slot.index)
                self._signal(child, signals.SIGKILL)
            elif child.busy_since is not None and now - child.busy_since > _FROZEN_AFTER and not self.closing:
                self._kill_frozen(slot, child)
        self._hub.call_later(_CHECK_INTERVAL, self._check)

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

    def _signal(self, child: PreforkChild, number: int) -> None:
        if child.pid is not None and child.number in self._living:
            self._server.signal(child.number, number)
