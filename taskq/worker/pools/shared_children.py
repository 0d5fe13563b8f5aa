"""The children of a pool whose child is shared: one child gets the deliveries of all slots and runs them at once.

A child that is to be replaced ends when its tasks have; the next one gets deliveries meanwhile. Used by ``shared_pool``
alone, on the loop's thread. ``child_processes`` spawns the children and reads their frames.
"""

from __future__ import annotations

import signal as signals
import time

from taskq.handover import Delivery, Outcome
from taskq.worker import log_lines

from .base import LostChild, PoolEvents, PoolOptions, Unfinished
from .child_connection import ChildConnection, CutShort
from .child_processes import ChildProcesses
from .fork_servers import ForkServers
from .hub import Hub
from .pool_child import State
from .shared_child import Ended, SharedChild
from .shared_slot import SharedPlace, SharedSlot

#: Seconds that a task has to end, once it was ended; then its child is killed.
_GRACE = 5.0
#: Seconds in which a child has to start a delivery.
_FROZEN_AFTER = 30.0


class SharedChildren(ChildProcesses[SharedPlace, SharedChild]):
    """The place of the current child, and all children that were not reaped yet. ``kind`` is the children's."""

    def __init__(self, server: ForkServers, events: PoolEvents, hub: Hub, options: PoolOptions, kind: str) -> None:
        super().__init__(server, events, hub, options)
        self.kind = kind
        self.place = SharedPlace(options.max_tasks_per_child)

    def start(self) -> None:
        """Have the first child forked."""
        self._spawn(self.place)

    def unfinished(self) -> list[Unfinished]:
        """Return the deliveries without an outcome."""
        return self.place.cut_short + [left for _, child in self.living for left in child.unfinished()]

    def hand_over(self, slot: SharedSlot, delivery: Delivery) -> None:
        """Give a delivery to the current child, for a slot that accepts it."""
        child = self.place.child
        if child is None:
            raise ValueError("The pool has no child.")
        now = time.monotonic()
        child.connection.hand_over([delivery])
        child.given += 1
        child.slots[delivery.job] = slot
        slot.fill(delivery, child, now)
        if delivery.time_limit:
            child.limits[delivery.job] = deadline = now + delivery.time_limit
            self._deadlines.add(deadline)
        if self.place.room == 0:
            self._replace(self.place, child)

    def take_back(self, slot: SharedSlot) -> Delivery | None:
        """Take back the delivery of a slot, if it has not started."""
        child, delivery = slot.child, slot.delivery
        if child is None or delivery is None or not child.connection.withdraw(delivery.job):
            return None
        child.forget(delivery.job)
        child.given -= 1
        self._stop_if_done(self.place, child)
        return delivery

    def _make_child(self, connection: ChildConnection) -> SharedChild:
        return SharedChild(next(self._numbers), connection)

    # -- the end of a child

    def _retire(self, place: SharedPlace, child: SharedChild) -> None:
        """Have a child end after the tasks that it runs; its other deliveries are returned."""
        self._replace(place, child)
        waiting = list(child.connection.pending.values())[child.connection.started() :]
        # Each may have started meanwhile.
        back = [delivery for delivery in waiting if child.connection.withdraw(delivery.job)]
        for delivery in back:
            child.forget(delivery.job)
        self._stop_if_done(place, child)
        if back:
            self._events.returned(back)

    def _replace(self, place: SharedPlace, child: SharedChild) -> None:
        """Have a child end when its deliveries have; the next child gets the deliveries from now on."""
        child.state = State.LEAVING
        if place.child is child:
            place.child = None
            place.failures = 0
            self._spawn(place)
        self._stop_if_done(place, child)

    def _stop_if_done(self, place: SharedPlace, child: SharedChild) -> None:
        if child.state is State.LEAVING and not child.stop_sent and not child.in_flight:
            child.ask_to_stop()

    def _on_exit(self, place: SharedPlace, child: SharedChild, exit_code: int) -> None:
        leaving = child.state is State.LEAVING
        lost = self._disconnect(place, child, exit_code)
        for slot in child.slots.values():
            slot.clear()
        if self.killing:
            return
        if place.child is child:
            place.child = None
            if lost.started or child.completed:
                place.failures = 0
                self._spawn(place)
            elif not self.closing:
                self._back_off(place, exit_code)
        if not leaving or lost.started or lost.unstarted:
            for each in child.blame(lost):
                self._events.lost(each)

    # -- outcomes

    def _on_outcome(self, place: SharedPlace, child: SharedChild, outcome: Outcome) -> None:
        if outcome.job not in child.connection.pending:
            log_lines.wrong_job_answered(outcome.job, child.number)
            return
        child.forget(outcome.job)
        child.completed += 1
        self._events.outcome(outcome)
        self._after_task(place, child, outcome.memory)

    def _on_cut_short(self, place: SharedPlace, child: SharedChild, cut: CutShort) -> None:
        ended = child.ended.get(cut.job)
        if ended is None:
            log_lines.wrong_job_answered(cut.job, child.number)
            return
        child.forget(cut.job)
        child.completed += 1
        self._events.lost(LostChild([ended.delivery], [], "The task was ended.", ended.reason))
        self._after_task(place, child, cut.memory)

    def _after_task(self, place: SharedPlace, child: SharedChild, memory: int) -> None:
        limit = self._options.max_memory_per_child
        if child.state is State.UP and limit is not None and memory > limit > 0:
            log_lines.child_too_large(place.index, memory)
            self._retire(place, child)
        self._stop_if_done(place, child)

    # -- ending tasks

    def terminate(self, slot: SharedSlot, reason: str, grace: float) -> bool:
        """Have the child end the task of a slot, if it has started; with ``grace``, by an exception first."""
        child, delivery = slot.child, slot.delivery
        if child is None or delivery is None or delivery.job in child.ended or (grace and delivery.job in child.asked):
            return False
        if self._is_waiting(child, delivery.job):
            return False
        if grace:
            child.asked.add(delivery.job)
            child.connection.end_task(delivery.job, "soft")
            self._hub.call_later(grace, self._end, child, delivery, reason)
        else:
            self._end(child, delivery, reason)
        return True

    def _is_waiting(self, child: SharedChild, job: int) -> bool:
        """Tell whether a delivery may not have started, or has ended, after reading what has arrived."""
        child.connection.hold()
        self._read_all(self.place, child)
        waiting = list(child.connection.pending)[child.connection.started() :]
        child.connection.release()
        return job in waiting or job not in child.connection.pending

    def _end(self, child: SharedChild, delivery: Delivery, reason: str) -> None:
        """Have a child end a task that it still runs; kill the child if the task goes on."""
        job = delivery.job
        if job in child.connection.pending and job not in child.ended and child.state is not State.DOWN:
            child.ended[job] = Ended(delivery, reason)
            child.connection.end_task(job, "hard")
            self._hub.call_later(_GRACE, self._kill_if_running, child, job)

    def _kill_if_running(self, child: SharedChild, job: int) -> None:
        """Kill a child whose task does not end: it blocks the child, or refuses."""
        ended = child.ended.get(job)
        if ended is not None and child.state is not State.DOWN and not child.killed_for_task:
            log_lines.child_killed_for_task(ended.delivery, child.in_flight - 1)
            child.killed_for_task = True
            self._signal(child, signals.SIGKILL)
            self._retire(self.place, child)

    def _check_deadlines(self) -> None:
        now = time.monotonic()
        for _, child in self.living:
            for job, deadline in list(child.limits.items()):
                if deadline <= now and job in child.slots:
                    slot = child.slots[job]
                    delivery = slot.delivery
                    del child.limits[job]
                    if delivery is not None and not self.terminate(slot, "time_limit", 0.0) and job in child.slots:
                        # The delivery has not started, so its limit has not either.
                        child.limits[job] = now + (delivery.time_limit or 0.0)
            for deadline in child.limits.values():
                self._deadlines.add(deadline)

    def _check_child(self, place: SharedPlace, child: SharedChild, now: float) -> None:
        """Kill a child that starts nothing and runs nothing; tell of one that a task blocks."""
        started = child.connection.started()
        waiting = list(child.slots.values())[started:]
        since = waiting[0].busy_since if waiting else None
        if self.closing or since is None or now - since <= _FROZEN_AFTER:
            return
        if started:
            log_lines.child_blocked(list(child.connection.pending.values())[:started], now - since)
        elif child.state is State.UP and self._is_frozen(child):
            log_lines.child_frozen(place.index, _FROZEN_AFTER)
            self._signal(child, signals.SIGKILL)
            self._retire(place, child)

    def _is_frozen(self, child: SharedChild) -> bool:
        """Tell whether a child still has not started anything; if so, it will not."""
        child.connection.hold()
        self._read_all(self.place, child)
        frozen = bool(child.in_flight) and not child.connection.started()
        if not frozen:
            child.connection.release()
        return frozen
