"""The lives of the prefork pool's children: how they come up, what they say, how they go.

Used by ``prefork`` alone, on the loop's thread. It asks the fork server for what
needs forking or killing, and tells the worker what came of its deliveries.
"""

from __future__ import annotations

import logging
import select
import signal as signals
import time
from collections.abc import Iterator, Sequence
from typing import Any

from taskq.handover import Delivery, Outcome, Report
from taskq.worker.process.system import describe_exit

from . import frames
from .base import LostChild, PoolEvents, PoolOptions
from .child_connection import Lane
from .deadlines import Deadlines
from .forkserver import ForkServer
from .loop import Loop
from .prefork_slot import PreforkSlot, State

logger = logging.getLogger("taskq.worker")

#: Seconds before a slot whose child has done nothing gets another one: doubled each time in a row, up to the last.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 30.0
#: Seconds after which a child that has closed its socket is killed, and after which one is called slow to start.
_CLOSED_FOR, _SLOW_START = 5.0, 30.0
#: Seconds in which a child has to begin what it was handed, and between looks whether one has not.
_BEGINS_WITHIN, _LOOK = 30.0, 5.0
#: Seconds that a task has for its own end after a signal that it may handle.
_GRACE = 10.0


class Children:
    """All slots with children, also those that are going away."""

    def __init__(self, server: ForkServer, events: PoolEvents, hub: Loop, options: PoolOptions) -> None:
        self._server = server
        self._events = events
        self._hub = hub
        self._options = options
        self._slots: dict[int, PreforkSlot] = {}
        self._deadlines = Deadlines(hub, self._check_deadlines)
        self._watching_starts = False
        self._hub.call_later(_LOOK, self._look_for_the_frozen)
        #: Nothing is replaced any more.
        self.closing = False
        #: All are being killed; what they had is kept for ``Pool.unfinished``.
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
        """Take a slot away, as soon as its child has ended what it runs."""
        slot.removing = True
        if slot.state is State.DOWN:
            del self._slots[slot.index]
        else:
            self.retire(slot)

    def hand_over(self, slot: PreforkSlot, deliveries: Sequence[Delivery]) -> None:
        """Give deliveries to the slot's child, which has room for them."""
        if slot.lane is None:
            raise ValueError(f"{slot!r} has no child.")
        was_idle = slot.idle
        slot.lane.hand_over(deliveries)
        if was_idle:
            self._head_changed(slot)

    def take_back(self, slot: PreforkSlot, limit: int | None = None) -> list[Delivery]:
        """Take back the last deliveries that have not started."""
        back = slot.lane.take_back(limit) if slot.lane is not None else []
        if back and slot.idle:
            self._head_changed(slot)
        self.stop_if_done(slot)
        return back

    def retire(self, slot: PreforkSlot) -> None:
        """Let a child go: it starts nothing more, and ends when it has answered what it runs."""
        slot.state = State.LEAVING
        back = self.take_back(slot)
        if back:
            self._events.returned(back)

    def stop_if_done(self, slot: PreforkSlot) -> None:
        """Ask a child that is to leave to do so, if nothing is left in it."""
        if slot.state is State.LEAVING and slot.lane is not None and slot.idle and not slot.stop_sent:
            slot.stop_sent = True
            slot.lane.ask_to_stop()

    # -- coming and going ---------------------------------------------------------------

    def heard(self, kind: int, payload: Any) -> None:
        """Act on what the fork server says."""
        slot = self._slots[payload[0]]
        if kind == frames.SPAWNED:
            slot.pid = payload[1]
            if self.killing:
                self._signal(slot, signals.SIGKILL)
        elif kind == frames.NOT_SPAWNED:
            logger.error("No child could be forked: %s", payload[1])
            self._ended(slot, 1)
        elif kind == frames.EXITED:
            self._ended(slot, payload[2])

    def _spawn(self, slot: PreforkSlot) -> None:
        # A pause may have passed since this was asked for.
        if self.closing or slot.removing or slot.state is not State.DOWN:
            return
        try:
            lane = Lane(self._hub)
        except OSError as error:
            logger.error("No child can be forked: %s", error)
            self._pause(slot, 1)
            return
        slot.begin(lane)
        self._hub.add_reader(lane.fileno(), self.on_readable, slot, lane)
        title = f"taskq: child {slot.index} {self._options.hostname}".rstrip()
        self._server.spawn(slot.index, title, self._options.max_memory_per_child or 0, lane.child_fds)
        lane.drop_child_end()
        self._watch_starts()

    def _ended(self, slot: PreforkSlot, exit_code: int) -> None:
        """A child has ended: replace it, and tell the worker what it leaves."""
        leaving = slot.state is State.LEAVING
        lost = self._bury(slot, exit_code)
        if self.killing:
            return
        asked = leaving and not lost.started and not lost.unstarted
        if slot.removing:
            del self._slots[slot.index]
        elif asked or lost.started or slot.completed:
            slot.failures = 0
            self._spawn(slot)
        elif not self.closing:
            self._pause(slot, exit_code)
        if not asked:
            self._events.lost(lost)

    def _bury(self, slot: PreforkSlot, exit_code: int) -> LostChild:
        """Read a child's last words, and free what connected it."""
        # From here on nothing may be handed over to it, whatever the worker does with its last outcomes.
        slot.state = State.DOWN
        lane = slot.lane
        assert lane is not None
        self._read_all(slot, lane)
        self._hub.remove(lane.fileno())
        if self.killing:
            slot.remains = slot.take_remains()
        return slot.end(exit_code)

    def bury_unreaped(self, slot: PreforkSlot, deadline: float) -> None:
        """Bury a child that was killed with the fork server, which can't say that it has ended."""
        lane = slot.lane
        if lane is None:
            return
        while not lane.closed and time.monotonic() < deadline:
            if not lane.receive():
                select.select([] if lane.closed else [lane.fileno()], [], [], 0.05)
        self._bury(slot, -signals.SIGKILL)

    def _pause(self, slot: PreforkSlot, exit_code: int) -> None:
        """Fork the next one later: this one ended before it had done anything."""
        slot.failures += 1
        pause = min(_FIRST_PAUSE * 2 ** (slot.failures - 1), _LONGEST_PAUSE)
        logger.log(
            logging.ERROR if slot.failures > 1 else logging.WARNING,
            "Child %d of the pool ended (%s) before it had run anything, %d times in a row; the next one comes in "
            "%.2f s. If this goes on, look at memory and at the receivers of taskq.signals.worker_process_init.",
            slot.index,
            describe_exit(exit_code),
            slot.failures,
            pause,
        )
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
            logger.warning("Children %s of the pool don't come up: look at worker_process_init's receivers.", slow)
        if starting:
            self._watch_starts()

    # -- what children say --------------------------------------------------------------

    def on_readable(self, slot: PreforkSlot, lane: Lane) -> None:
        """Read what a child has written, once, and act on it."""
        lane.receive()
        if lane.closed:
            self._hub.remove(lane.fileno())
            self._hub.call_later(_CLOSED_FOR, self._end_closed, slot, lane)
        self._act(slot, lane)

    def _read_all(self, slot: PreforkSlot, lane: Lane) -> None:
        while lane.receive():
            pass
        self._act(slot, lane)

    def _act(self, slot: PreforkSlot, lane: Lane) -> None:
        """Act on what was read. What the worker does in an event may get here again, so frames are taken singly."""
        room = False
        while lane.arrived:
            kind, payload = lane.arrived.popleft()
            if kind == frames.OUTCOME:
                self._answered(slot, lane, Outcome.from_wire(payload))
                room = True
            elif kind == frames.REPORT:
                self._events.report(Report.from_wire(payload))
            elif kind == frames.UP:
                slot.came_up(payload)
                room = True
        if room:
            self._events.ready()

    def _answered(self, slot: PreforkSlot, lane: Lane, outcome: Outcome) -> None:
        if not lane.pending or lane.pending[0].job != outcome.job:
            logger.error("A child answered job %d, which is not the one it had: %r.", outcome.job, slot)
            return
        lane.pending.popleft()
        slot.completed += 1
        self._head_changed(slot)
        self._events.outcome(outcome)
        if self._worn_out(slot, outcome.memory):
            self.retire(slot)
        self.stop_if_done(slot)

    def _worn_out(self, slot: PreforkSlot, memory: int) -> bool:
        if slot.state is not State.UP:
            return False
        limit = self._options.max_memory_per_child
        heavy = limit is not None and memory > limit > 0
        if heavy:
            logger.warning("Child %d has %d KiB, more than max_memory_per_child: replaced.", slot.index, memory)
        return heavy or slot.has_run_all

    def _head_changed(self, slot: PreforkSlot) -> None:
        slot.head_changed()
        if slot.deadline is not None:
            self._deadlines.expect(slot.deadline)

    # -- force --------------------------------------------------------------------------

    def end_running(self, slot: PreforkSlot, job: int, reason: str, number: int) -> bool:
        """Signal the child that runs ``job``, unless it has just finished it; what waits behind it is returned."""
        lane = slot.lane
        if lane is None or slot.pid is None or slot.killed_for is not None:
            return False
        # Nothing else can begin from here on, so what is killed is what was meant.
        lane.hold()
        self._read_all(slot, lane)
        if slot.head is None or slot.head.job != job or not lane.started():
            lane.release()
            return False
        slot.killed_for = reason
        self._signal(slot, number)
        if number != signals.SIGKILL:
            self._hub.call_later(_GRACE, self._kill_if_running, slot, lane, job)
        self.retire(slot)
        return True

    def _kill_if_running(self, slot: PreforkSlot, lane: Lane, job: int) -> None:
        """Kill a child that was told to end and did not: its task handles the signal, or isn't in Python code."""
        if slot.lane is lane and slot.head is not None and slot.head.job == job:
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
                ending = self.end_running(slot, head.job, "time_limit", signals.SIGKILL)
                if not ending and slot.head is head:
                    # It has not begun after all, so its time has not either: the child may be frozen.
                    slot.deadline = now + (head.time_limit or 0.0)
            if slot.deadline is not None and slot.killed_for is None:
                self._deadlines.expect(slot.deadline)

    def _look_for_the_frozen(self) -> None:
        """End children that begin nothing: what they were handed would wait for ever beside idle ones."""
        if self.closing:
            return
        for slot in self:
            if slot.busy_since is not None and time.monotonic() - slot.busy_since > _BEGINS_WITHIN:
                self._end_frozen(slot)
        self._hub.call_later(_LOOK, self._look_for_the_frozen)

    def _end_frozen(self, slot: PreforkSlot) -> None:
        """Kill a child that has not begun what is at its head, unless it begins it just now."""
        lane, head = slot.lane, slot.head
        if lane is None or slot.state is not State.UP:
            return
        lane.hold()
        self._read_all(slot, lane)
        if slot.head is not head or lane.started():
            lane.release()
            return
        logger.error("Child %d has begun nothing for %g s, as if it were frozen: replaced.", slot.index, _BEGINS_WITHIN)
        self.retire(slot)
        self._signal(slot, signals.SIGKILL)

    def _signal(self, slot: PreforkSlot, number: int) -> None:
        if slot.pid is not None and slot.lane is not None:
            self._server.signal(slot.index, slot.pid, number)

    def _end_closed(self, slot: PreforkSlot, lane: Lane) -> None:
        """Kill a child that nobody can talk to any more, for example because its task closed all descriptors."""
        if slot.lane is lane:
            logger.error("Child %d has closed its socket and goes on: killed.", slot.index)
            self._signal(slot, signals.SIGKILL)
