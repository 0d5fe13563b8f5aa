"""The consumer takes claimed messages to the pool, and their outcomes to the ledger.

It lives on the loop's thread, hands requests over as fast as the pool can run them, and turns outcomes into
settlements. Messages come to it by the intake, which refuses those that must not run.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

from taskq import clock, states
from taskq.calls.definition import TaskDefinition
from taskq.handover import LOGGED, Outcome, Report
from taskq.records import Claimed
from taskq.worker import log_lines
from taskq.worker.pools.base import LostChild, Pool, Slot

from . import last_starts, returns, settlements
from .autoscale import Autoscaler
from .intake import GATHER, Intake
from .prefetch import LONG, STUCK, PrefetchPolicy
from .request import Limits, Request, is_limited, time_limits

#: Seconds after which the TaskRun of a running task gets its worker and the time of its start.
_SHOWN_AFTER = 1.0


class Consumer(Intake):
    """The requests of one worker, from claimed to settled.

    No request starts while ``lease_valid()`` is false. ``store(method, *args)`` calls the ledger on the store thread.
    ``retarget`` tells the source how many messages to hold. ``on_failure`` calls the handlers after a killed child.
    """

    def __init__(
        self,
        hostname: str,
        policy: PrefetchPolicy,
        limits: Limits,
        *,
        lease_valid: Callable[[], bool],
        store: Callable[..., None],
        retarget: Callable[[int], None],
        on_failure: Callable[[Request, BaseException], None],
    ) -> None:
        super().__init__(hostname, limits, store, on_failure)
        self.policy = policy
        self.pool: Pool
        self.autoscaler: Autoscaler | None = None
        self.stopping = False
        self._lease_valid = lease_valid
        self._retarget = retarget
        self._target = 0
        self._ready: deque[Request] = deque()
        self._paused: frozenset[str] = frozenset()
        #: Whether a suspect may be held (see ``last_starts``), and how many requests the last dispatch held back.
        self._has_suspects = False
        self._held_back = 0
        #: By job, the requests whose start the ledger commits first: with a reserved slot, or with a locked message.
        self._committing: dict[int, Request] = {}
        self._locked: dict[int, Request] = {}

    # -- from the source

    def receive(self, messages: Iterable[Claimed], read_before: Iterable[Request] = ()) -> None:
        """Receive claimed messages. Redelivered ones come as requests: each was ``read_before``, alone."""
        received = [*read_before]
        self._has_suspects = self._has_suspects or (bool(received) and self.pool.shares_process)
        received += [request for message in messages if (request := self.read(message)) is not None]
        log_lines.tasks_received(received)
        self._ready.extend(received)
        self._requeue_unwanted()
        self.dispatch()

    def _requeue_unwanted(self) -> None:
        """Requeue ready requests of paused queues, and all of them while the worker stops: others can take them."""
        if self._paused:
            self._requeue_paused()
        if self.stopping:
            self._requeue_ready()

    # -- to the pool

    def dispatch(self) -> None:
        """Hand ready requests over to slots that have room."""
        self._held_back = 0
        if not self.stopping and self._ready and self._lease_valid():
            waiting = self._hold_back() if self._has_suspects else ()
            slots = [s for s in self.pool.slots if s.accepting and not self._in_flight.of(s.index).reserved]
            # A few requests are spread, so that no slot is idle beside a full one.
            share = math.ceil(len(self._ready) / len(slots)) if slots else 0
            for slot in slots:
                if self._ready:
                    self._fill(slot, share)
            self._ready.extend(waiting)
        self._set_target()

    def _hold_back(self) -> Sequence[Request]:
        """Remove those ready requests that must not start beside the running ones, and return them."""
        self._has_suspects = any(map(last_starts.is_suspect, self._by_message.values()))
        started = chain(self._in_flight, self._committing.values(), self._locked.values())
        waiting = last_starts.hold_back(self._ready, started)
        self._held_back = len(waiting)
        return waiting

    def _fill(self, slot: Slot, share: int) -> None:
        load = self._in_flight.of(slot.index)
        batch: list[Request] = []
        handed, seconds, room = slot.in_flight, load.seconds, min(slot.room, share)
        while self._ready and len(batch) < room:
            request = self._ready[0]
            request.cost = self.policy.cost(request.name)
            if request.alone:
                if handed == 0:
                    self._hand_over_alone(slot, self._ready.popleft())
                break
            if not self.policy.fits(handed, seconds, request.cost):
                break
            self._ready.popleft()
            if not self._refused(request):
                batch.append(request)
                handed += 1
                seconds += request.cost
        if batch:
            self._hand_over(slot, batch)

    def _hand_over_alone(self, slot: Slot, request: Request) -> None:
        if self._refused(request):
            return
        if request.time_limit and not self.pool.supports_hard_limit:
            log_lines.time_limit_ignored(request, self.pool.name)
        self._in_flight.of(slot.index).reserved = True
        if request.before_start:
            # The commit comes first; the slot is reserved meanwhile.
            self._committing[request.job] = request
            self._store(request.before_start, request.message.id, lambda held: self._committed(slot, request, held))
        else:
            self._hand_over(slot, [request])

    def _committed(self, slot: Slot, request: Request, held: bool | None) -> None:
        """Take the ledger's answer: whether this worker still ``held`` the message when its start was committed.

        ``None`` says that the row of the message is locked, and the answer comes later: the slot is free meanwhile.
        """
        reserved = self._committing.pop(request.job, None) is not None
        if not reserved and self._locked.pop(request.job, None) is None:
            return  # It was requeued when the worker stopped.
        if held is None:
            self._locked[request.job] = request
        elif not held:
            self._give_up(request)
        elif self._start_committed(slot, request, reserved):
            return
        if reserved:
            self._in_flight.of(slot.index).reserved = False
        self._requeue_unwanted()
        self.dispatch()

    def _start_committed(self, slot: Slot, request: Request, reserved: bool) -> bool:
        """Hand over a request whose start is committed; tell whether its slot has it. Else it is refused, or ready."""
        # If it does not start now, its start is not counted again.
        request.before_start = ""
        if self._refused(request):  # for example, it was revoked during the commit
            return False
        if reserved and slot.accepting and slot.idle and not (self.stopping or self._is_paused(request)):
            self._hand_over(slot, [request])
            return True
        self._ready.appendleft(request)
        return False

    def _hand_over(self, slot: Slot, batch: Sequence[Request]) -> None:
        now, measure = time.monotonic(), clock.measure()
        for request in batch:
            request.handed_at = now
        self._in_flight.put(slot.index, batch)
        log_lines.tasks_handed_over(batch, self._in_flight.of(slot.index).head is batch[0])
        self.pool.hand_over(slot, [request.delivery(self.hostname, measure) for request in batch])

    # -- from the pool

    def outcome(self, outcome: Outcome) -> None:
        """Settle or requeue the request of an outcome."""
        if (request := self._in_flight.take(outcome.job)) is None:
            return
        self.policy.observe(request.name, outcome.runtime)
        if outcome.state == states.REJECTED and outcome.requeue:
            self._forget(request)
            log_lines.task_put_back(request)
            self._store("requeue_rejected", request.message)
        elif outcome.state == states.REJECTED:
            self._forget(request)
            self._store("discard", request.message.id)
        else:
            self._end(request, settlements.ended(request, outcome, self.hostname))

    def report(self, report: Report) -> None:
        """Post the state of a running task to the ledger, or tell of its event or its log."""
        if (request := self._in_flight.get(report.job)) is None:
            return
        if report.event:
            tell = log_lines.task_logged if report.event == LOGGED else log_lines.event_sent_by_task
            tell(request, report)
        else:
            self._write_progress(request, settlements.progress(request, report, self.hostname))

    def lost(self, lost: LostChild) -> None:
        """Settle or requeue the requests that a lost child had started; the others run elsewhere."""
        for delivery in lost.started:
            if (request := self._in_flight.take(delivery.job)) is not None:
                try:
                    self._lost(request, lost)
                except Exception as error:
                    self._end(request, settlements.broken(request, error, self.hostname))
        for delivery in lost.interrupted:
            if (request := self._in_flight.take(delivery.job)) is not None:
                self._interrupted(request, returns.FOR_ANOTHER)
        self.returned(lost.unstarted)

    def returned(self, deliveries: Iterable[Any]) -> None:
        """Take back requests that did not start."""
        back = [request for d in deliveries if (request := self._in_flight.take(d.job)) is not None]
        if self.stopping:
            self._requeue(back)
        else:
            self._ready.extendleft(reversed(back))
            self.dispatch()

    # -- while tasks take longer than expected

    def rebalance(self) -> None:
        """Take back requests that wait behind a long task; requeue those that no slot will run soon."""
        now = time.monotonic()
        for slot in self.pool.slots:
            since = slot.busy_since
            if since is None or now - since < LONG:
                continue
            head = self._in_flight.of(slot.index).head
            if head is not None and now - since > STUCK:
                self.policy.observe_running(head.name, now - since)
                if now - since > _SHOWN_AFTER and not head.shown:
                    head.shown = True
                    self._write_progress(head, settlements.running(head, now - since, self.hostname))
            if slot.in_flight > 1:
                self.returned(self.pool.take_back(slot))
        self.dispatch()
        if self._ready and all(s.busy_since is not None and now - s.busy_since > STUCK for s in self.pool.slots):
            self._requeue_surplus()
        if self.autoscaler is not None and not self.stopping:
            self.autoscaler.step(now, self.held, self.pool.concurrency, self.policy.mean)

    def _requeue_surplus(self) -> None:
        """Requeue, for other workers, the requests that no slot will run soon."""
        surplus = self.held - self._target
        if surplus > 0:
            self._requeue([self._ready.pop() for _ in range(min(surplus, len(self._ready)))])

    # -- pauses, revocation, loss of the lease, shutdown

    def pause(self, queues: frozenset[str]) -> None:
        """Requeue requests of paused ``queues`` that have not started, and later ones; running tasks go on."""
        self._paused = queues
        if queues:
            self._take_back_all()
            self._requeue_paused()
        self.dispatch()

    def _requeue_paused(self) -> None:
        self._requeue([request for request in self._ready if self._is_paused(request)])
        self._ready = deque(request for request in self._ready if not self._is_paused(request))
        locked = {job: request for job, request in self._locked.items() if self._is_paused(request)}
        self._locked = {job: request for job, request in self._locked.items() if job not in locked}
        self._requeue_uncommitted(locked)

    def _is_paused(self, request: Request) -> bool:
        return request.message.queue in self._paused

    def revoke(self, flags: dict[int, str]) -> None:
        """Refuse or terminate held messages: ``flags`` has ``revoke``, or a signal for the process, by message id."""
        changed: set[int] = set()
        for message_id, flag in flags.items():
            if (request := self._by_message.get(message_id)) is not None and request.revoked != flag:
                request.revoked = flag
                changed.add(request.job)
        # Requests that have not started come back, and are refused with those that were not handed over.
        self._take_back_all()
        for request in [r for r in self._ready if r.revoked]:
            self._ready.remove(request)
            self._refused(request)
        for request in [r for r in self.running if r.revoked not in ("", "revoke")]:
            if self.pool.terminate(request.job, request.revoked):
                self.holdings.terminated(request)
            elif request.job in changed and not self.pool.supports_terminate:
                log_lines.task_not_terminated(request, self.pool.name)
        self.dispatch()

    def set_time_limits(self, task: TaskDefinition, hard: float | None, soft: float | None) -> None:
        """Have a task run with other time limits, in seconds, from its next start on. Both are valid."""
        self.limits.replaced.setdefault(task.name, (task.time_limit, task.soft_time_limit))
        task.time_limit, task.soft_time_limit = hard, soft
        self._take_back_all()
        for request in self._ready:
            if request.name == task.name:
                request.time_limit, request.soft_time_limit = time_limits(request.headers, task, self.limits)
                request.alone = request.alone or bool(request.time_limit or request.soft_time_limit)
        self.dispatch()

    def set_rated(self, name: str, rated: bool) -> None:
        """Have a task wait for its rate limit from now on, or no longer; requests that have not started too."""
        change = self.limits.rated.add if rated else self.limits.rated.discard
        change(name)
        self._take_back_all()
        for request in self._ready:
            if request.name == name:
                request.limited = is_limited(request.message, name, self.limits)
                request.unconditional = request.unconditional and not request.limited
        self.dispatch()

    def lease_lost(self, message_ids: set[int]) -> None:
        """Forget requests that were taken over and have not started; running ones go on and settle nothing."""
        self._take_back_all()
        taken_over = [request for request in self._ready if request.message.id in message_ids]
        self._ready = deque(request for request in self._ready if request.message.id not in message_ids)
        for request in taken_over:
            self._give_up(request)
        self.dispatch()

    def _take_back_all(self) -> None:
        """Take back all requests that have not started."""
        for slot in self.pool.slots:
            taken = [self._in_flight.take(delivery.job) for delivery in self.pool.take_back(slot)]
            self._ready.extendleft(request for request in reversed(taken) if request is not None)

    def stop(self) -> None:
        """Hand over no more, and requeue all requests that have not started."""
        self.stopping = True
        self._retarget(0)
        self._take_back_all()
        self._requeue_ready()

    def broken(self, reason: str) -> None:
        """Stop after the pool broke: the requests that it ran count as started, as with a lost child."""
        self.stop()
        self.lost(LostChild.of(self.pool.unfinished(), reason))
        self._requeue_uncommitted(self._committing)

    def abandon(self) -> None:
        """Requeue the requests that ran when the pool was killed, without counting their starts."""
        for delivery, started in self.pool.unfinished():
            request = self._in_flight.take(delivery.job)
            if request is None:
                continue
            if started:
                self._interrupted(request, returns.BY_STOP)
            else:
                self._requeue([request])
        self._requeue_uncommitted(self._committing)

    def _requeue_ready(self) -> None:
        self._requeue(list(self._ready))
        self._ready.clear()
        self._requeue_uncommitted(self._locked)

    def _requeue_uncommitted(self, uncommitted: dict[int, Request]) -> None:
        """Requeue requests that wait for their commit. The ledger works in order: this undoes that commit."""
        for request in uncommitted.values():
            request.before_start = ""
        self._requeue(list(uncommitted.values()))
        uncommitted.clear()

    @property
    def busy(self) -> bool:
        """Whether a request runs, or is about to start."""
        return bool(self._in_flight or self._committing)

    @property
    def held(self) -> int:
        """How many requests run, or wait for a slot."""
        return len(self._ready) + len(self._in_flight) + len(self._committing)

    @property
    def ends_soon(self) -> bool:
        """Whether more ends come within ``GATHER`` seconds: for so long the waiting requests keep all slots busy."""
        return self.policy.mean < GATHER and len(self._ready) * self.policy.mean >= GATHER * self.pool.concurrency

    @property
    def capacity(self) -> int:
        """How many tasks run at a time, at most: in the largest pool, if it grows."""
        return self.autoscaler.most if self.autoscaler is not None else self.pool.concurrency

    def _set_target(self) -> None:
        # Requests that were held back take no room from new ones, up to as many as can run at a time.
        target = 0 if self.stopping else self.policy.target(self.capacity) + min(self._held_back, self.capacity)
        if target != self._target:
            self._target = target
            self._retarget(target)
