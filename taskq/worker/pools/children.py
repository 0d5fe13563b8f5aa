"""The children of the prefork pool: spawning, handling their frames, replacing, killing.

Used by ``prefork`` alone, on the loop's thread. It requests forks and signals from
the fork server, and calls the worker's ``PoolEvents``.
"""

from __future__ import annotations

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
from .prefork_slot import PreforkSlot, State

#: Seconds until a slot whose child ended before its first outcome gets another: doubled each time, up to the second.
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.05, 30.0
#: Seconds after which a child that has closed its socket is killed, and seconds until the warning of a slow start.
_CLOSED_TIMEOUT, _SLOW_START = 5.0, 30.0
#: Seconds in which a child has to start the delivery at its head, and seconds between checks of that.
_FROZEN_AFTER, _CHECK_INTERVAL = 30.0, 5.0
#: Seconds between a signal that a task may handle and SIGKILL.
_GRACE = 10.0


class Children:
    """All slots with children, also those that are leaving."""

    def __init__(self, server: ForkServer, events: PoolEvents, hub: Hub, options: PoolOptions) -> None:
        self._server = server
        self._events = events
        self._hub = hub
        self._options = options
        self._slots: dict[int, PreforkSlot] = {}
        self._deadlines = Deadlines(hub, self._check_deadlines)
        self._watching_starts = False
        self._hub.call_later(_CHECK_INTERVAL, self._check_frozen)
        #: No child is replaced any more.
        self.closing = False
        #: All children are being killed; their deliveries are kept for ``Pool.unfinished``.
        self.killing = False

    def __getitem__(self, index: int) -> PreforkSlot:
        return self._slots[index]

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
        if slot.state is State.DOWN:
            del self._slots[slot.index]
        else:
            self.retire(slot)

    def hand_over(self, slot: PreforkSlot, deliveries: Sequence[Delivery]) -> None:
        """Give deliveries to the slot's child, which has room for them."""
        if slot.connection is None:
            raise ValueError(f"{slot!r} has no child.")
        was_idle = slot.idle
        slot.connection.hand_over(deliveries)
        if was_idle:
            self._head_changed(slot)

    def take_back(self, slot: PreforkSlot, limit: int | None = None) -> list[Delivery]:
        """Take back the last deliveries that have not started."""
        back = slot.connection.take_back(limit) if slot.connection is not None else []
        if back and slot.idle:
            self._head_changed(slot)
        self.stop_if_done(slot)
        return back

    def retire(self, slot: PreforkSlot) -> None:
        """Have a child end after the task that it runs; its other deliveries are returned."""
        slot.state = State.LEAVING
        back = self.take_back(slot)
        if back:
            self._events.returned(back)

    def stop_if_done(self, slot: PreforkSlot) -> None:
        """Ask a leaving child to stop, once, if nothing is in flight."""
        if slot.state is State.LEAVING and slot.connection is not None and slot.idle and not slot.stop_sent:
            slot.stop_sent = True
            slot.connection.ask_to_stop()

    # -- start and end ------------------------------------------------------------------

    def on_server_message(self, kind: int, payload: Any) -> None:
        """Handle a frame of the fork server."""
        slot = self._slots[payload[0]]
        if kind == frames.SPAWNED:
            slot.pid = payload[1]
            if self.killing or (slot.connection is not None and slot.connection.fault):
                self._signal(slot, signals.SIGKILL)
        elif kind == frames.NOT_SPAWNED:
            log_lines.child_not_forked(payload[1])
            self._on_exit(slot, 1)
        elif kind == frames.EXITED:
            self._on_exit(slot, payload[2])

    def _spawn(self, slot: PreforkSlot) -> None:
        # This may have been scheduled some time ago.
        if self.closing or slot.removing or slot.state is not State.DOWN:
            return
        try:
            connection = ChildConnection(self._hub)
        except OSError as error:
            log_lines.child_connection_failed(error)
            self._back_off(slot, 1)
            return
        slot.attach(connection)
        self._hub.add_reader(connection.fileno(), self.on_readable, slot, connection)
        title = f"taskq: child {slot.index} {self._options.hostname}".rstrip()
        self._server.spawn(slot.index, title, self._options.max_memory_per_child or 0, connection.child_fds)
        connection.close_child_end()
        self._watch_starts()

    def _on_exit(self, slot: PreforkSlot, exit_code: int) -> None:
        """A child has ended: replace it, and report the deliveries that it had."""
        leaving = slot.state is State.LEAVING
        lost = self._disconnect(slot, exit_code)
        if self.killing:
            return
        asked = leaving and not lost.started and not lost.unstarted
        if slot.removing:
            del self._slots[slot.index]
        elif asked or lost.started or slot.completed:
            slot.failures = 0
            self._spawn(slot)
        elif not self.closing:
            self._back_off(slot, exit_code)
        if not asked:
            self._events.lost(lost)

    def _disconnect(self, slot: PreforkSlot, exit_code: int) -> LostChild:
        """Handle the last frames of a child that has ended, and close its connection."""
        # First of all: while it handles the last outcomes the worker must not hand over to this slot.
        slot.state = State.DOWN
        connection = slot.connection
        assert connection is not None
        self._read_all(slot, connection)
        self._hub.remove(connection.fileno())
        if self.killing:
            slot.cut_short = slot.unfinished()
        return slot.end(exit_code)

    def reap_killed(self, slot: PreforkSlot, deadline: float) -> None:
        """Disconnect a child that died with the fork server, which can't report that it ended."""
        connection = slot.connection
        if connection is None:
            return
        while connection.readable and time.monotonic() < deadline:
            if not connection.receive():
                select.select([] if connection.closed else [connection.fileno()], [], [], 0.05)
        self._disconnect(slot, -signals.SIGKILL)

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
        starting = [slot for slot in self if slot.state is State.STARTING]
        slow = [slot.index for slot in starting if time.monotonic() - slot.forked_at > _SLOW_START / 2]
        if slow:
            log_lines.children_slow(slow)
        if starting:
            self._watch_starts()

    # -- frames of children -------------------------------------------------------------

    def on_readable(self, slot: PreforkSlot, connection: ChildConnection) -> None:
        """Read once from a child, and handle its frames."""
        connection.receive()
        if connection.closed:
            self._hub.remove(connection.fileno())
            self._hub.call_later(_CLOSED_TIMEOUT, self._kill_closed, slot, connection)
        self._handle_frames(slot, connection)

    def _read_all(self, slot: PreforkSlot, connection: ChildConnection) -> None:
        while connection.receive():
            pass
        self._handle_frames(slot, connection)

    def _handle_frames(self, slot: PreforkSlot, connection: ChildConnection) -> None:
        """Handle the answers that have arrived, one at a time: an event's receiver may call this again."""
        room = False
        while connection.arrived:
            answer = connection.arrived.popleft()
            if isinstance(answer, Outcome):
                self._on_outcome(slot, connection, answer)
                room = True
            elif isinstance(answer, Report):
                self._events.report(answer)
            elif answer is None:
                self._replace(slot)
            else:
                slot.on_up(answer)
                room = True
        if connection.fault and not slot.faulty:
            self._kill_faulty(slot, connection)
        if room:
            self._events.ready()

    def _kill_faulty(self, slot: PreforkSlot, connection: ChildConnection) -> None:
        """Kill a child whose answers can't be read: the task that it runs counts as lost."""
        slot.faulty = True
        log_lines.child_unreadable(slot.index, connection.fault)
        self._hub.remove(connection.fileno())
        if slot.state is not State.DOWN:
            self.retire(slot)
            self._signal(slot, signals.SIGKILL)

    def _on_outcome(self, slot: PreforkSlot, connection: ChildConnection, outcome: Outcome) -> None:
        if not connection.pending or connection.pending[0].job != outcome.job:
            log_lines.wrong_job_answered(outcome.job, slot)
            return
        connection.pending.popleft()
        slot.completed += 1
        self._head_changed(slot)
        self._events.outcome(outcome)
        if self._should_recycle(slot, outcome.memory):
            self.retire(slot)
        self.stop_if_done(slot)

    def _replace(self, slot: PreforkSlot) -> None:
        """Replace a child that can't be made clean for the next task."""
        if slot.state is State.UP:
            self.retire(slot)

    def _should_recycle(self, slot: PreforkSlot, memory: int) -> bool:
        if slot.state is not State.UP:
            return False
        limit = self._options.max_memory_per_child
        heavy = limit is not None and memory > limit > 0
        if heavy:
            log_lines.child_too_large(slot.index, memory)
        return heavy or slot.has_run_all

    def _head_changed(self, slot: PreforkSlot) -> None:
        slot.head_changed()
        if slot.deadline is not None:
            self._deadlines.add(slot.deadline)

    # -- killing ------------------------------------------------------------------------

    def terminate_running(self, slot: PreforkSlot, job: int, reason: str, number: int) -> bool:
        """Signal the child that runs ``job``, unless the job has just ended; its other deliveries are returned."""
        connection = slot.connection
        if connection is None or slot.pid is None or slot.killed_for is not None:
            return False
        # No other delivery can start from here on, so the signal can only hit this job.
        connection.hold()
        self._read_all(slot, connection)
        if slot.head is None or slot.head.job != job or not connection.started():
            connection.release()
            return False
        slot.killed_for = reason
        self._signal(slot, number)
        if number != signals.SIGKILL:
            self._hub.call_later(_GRACE, self._kill_if_running, slot, connection, job)
        self.retire(slot)
        return True

    def _kill_if_running(self, slot: PreforkSlot, connection: ChildConnection, job: int) -> None:
        """Kill a child that a signal has not ended: its task handles the signal, or is not in Python code."""
        if slot.connection is connection and slot.head is not None and slot.head.job == job:
            self._signal(slot, signals.SIGKILL)

    def kill_all(self) -> None:
        """Have all children killed."""
        self.closing = self.killing = True
        for slot in self:
            self._signal(slot, signals.SIGKILL)

    def _check_deadlines(self) -> None:
        now = time.monotonic()
        for slot in self:
            if slot.deadline is None or slot.killed_for is not None:
                continue
            head = slot.head
            if head is not None and slot.deadline <= now:
                ending = self.terminate_running(slot, head.job, "time_limit", signals.SIGKILL)
                if not ending and slot.head is head:
                    # The delivery has not started, so its limit has not either: the child may be frozen.
                    slot.deadline = now + (head.time_limit or 0.0)
            if slot.deadline is not None and slot.killed_for is None:
                self._deadlines.add(slot.deadline)

    def _check_frozen(self) -> None:
        """Replace children that don't start their head: it would wait for ever beside idle children."""
        if self.closing:
            return
        for slot in self:
            if slot.busy_since is not None and time.monotonic() - slot.busy_since > _FROZEN_AFTER:
                self._kill_frozen(slot)
        self._hub.call_later(_CHECK_INTERVAL, self._check_frozen)

    def _kill_frozen(self, slot: PreforkSlot) -> None:
        """Kill a child that has not started the delivery at its head, unless it starts it just now."""
        connection, head = slot.connection, slot.head
        if connection is None or slot.state is not State.UP:
            return
        connection.hold()
        self._read_all(slot, connection)
        if slot.head is not head or connection.started():
            connection.release()
            return
        log_lines.child_frozen(slot.index, _FROZEN_AFTER)
        self.retire(slot)
        self._signal(slot, signals.SIGKILL)

    def _signal(self, slot: PreforkSlot, number: int) -> None:
        if slot.pid is not None and slot.connection is not None:
            self._server.signal(slot.index, slot.pid, number)

    def _kill_closed(self, slot: PreforkSlot, connection: ChildConnection) -> None:
        """Kill a child that can't be reached any more, for example because its task closed all descriptors."""
        if slot.connection is connection:
            log_lines.child_unreachable(slot.index)
            self._signal(slot, signals.SIGKILL)
