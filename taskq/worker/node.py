"""A node: one worker, put together and run.

The loop runs on the main thread with the pool and the consumer; all database work is on the store thread. The two
threads post calls to each other's queue.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

from kombu.asynchronous import Hub

from taskq import rates, signals
from taskq.calls.registry import tasks
from taskq.conf import settings
from taskq.execution import builtins as _builtins  # noqa: F401 - registers the built-in tasks
from taskq.messages.routing import public_name
from taskq.transport.lease import leave_to_peers

from . import failure_handlers, log_lines
from .activity import Activity
from .call_queue import CallQueue
from .changes import WorkerChanges
from .duties.database_source import DatabaseSource
from .duties.declarations import Declarations
from .duties.lease import WorkerLease
from .duties.ledger import Ledger
from .duties.maintenance import Maintenance
from .duties.parking import Parking
from .duties.parts import Parts
from .duties.pauses import Pauses
from .duties.queue_advice import tell_of_unnamed
from .duties.redeliveries import Redeliveries
from .duties.shared_rates import SharedRates
from .duties.statistics import Statistics
from .duties.store_thread import StoreThread
from .duties.unknown_tasks import UnknownTasks
from .loop.autoscale import Autoscaler
from .loop.consumer import Consumer
from .loop.prefetch import PrefetchPolicy
from .loop.redelivered import read_alone
from .loop.request import Limits, Request
from .options import WorkerOptions
from .pools.base import PoolEvents, PoolOptions
from .pools.forkserver import ForkServer
from .pools.registry import pool_class
from .process.watchdog import Watchdog
from .remote.thread import RemoteThread
from .started import Started

#: Seconds between two calls of ``Consumer.rebalance``.
_REBALANCE = 0.05
#: Seconds between two checks whether a starting worker has its row and its queues.
_ANNOUNCE = 0.01
#: A thread that makes no progress for the larger of five leases and 300 s is stuck, not slow.
_STUCK_LEASES, _STUCK_SECONDS = 5, 300.0
#: Seconds in which the pool has to end its idle children or threads.
_LAST_TASKS = 5.0
#: Seconds in which remote control has to send its last messages.
_LAST_MESSAGES = 2.0
#: Seconds that the last writes of a worker may take.
_LAST_WRITES = 3.0


class Service(Protocol):
    """A room above the worker that takes part in each worker: remote control, events."""

    def start(self, node: WorkerNode) -> None:
        """Take part in a worker that begins to run. Parts of ``node.remote`` are registered now."""

    def stop(self) -> None:
        """Take part no more: the worker ends. ``node.remote`` still sends what is posted now."""


class WorkerNode:
    """One worker. ``run`` returns the exit status when it has ended."""

    def __init__(
        self,
        options: WorkerOptions,
        alias: str,
        fork_server: ForkServer | None = None,
        services: Sequence[Service] = (),
    ) -> None:
        self.options = options
        self.started_at = time.monotonic()
        self.hub = Hub()
        self.calls = CallQueue()
        self.store = StoreThread(alias)
        self.remote = RemoteThread(may_begin=lambda: self.store.has_begun)
        self.status = 0
        self._stopping_since: float | None = None
        self._cold = self._ended = self._has_room = False
        self._announcing: Any = None
        self._make_watchdogs()
        self._make_duties(alias)
        self._make_consumer()
        self.changes = WorkerChanges(
            options, self.store, self.lease, self.declarations, self.source, self.consumer, self.calls.post
        )
        self._make_autoscaler()
        self._make_pool(fork_server)
        self.activity = Activity(self.consumer)
        self.services = (self.activity, *services)

    @property
    def hostname(self) -> str:
        """The node's name, as receivers of signals ask for it."""
        return self.options.name

    # -- putting together

    def _make_watchdogs(self) -> None:
        stuck = max(_STUCK_LEASES * settings.LEASE, _STUCK_SECONDS)
        timeout = settings.WATCHDOG_TIMEOUT
        # A loop may hang for ever if the settings say so, but not hold its messages for ever.
        self.watchdog = Watchdog(timeout or stuck, ends=timeout is not None)
        self.store_watchdog = Watchdog(stuck, "store thread")
        self.store.on_turn = self.store_watchdog.pat

    def _make_duties(self, alias: str) -> None:
        options = self.options
        self.lease = WorkerLease(
            options.name,
            settings.LEASE,
            alias,
            info=lambda: options.info | self.activity.info(),
            on_revoked=lambda asked: self.calls.post(self.consumer.revoke, asked),
            on_lost=lambda ids: self.calls.post(self.consumer.lease_lost, ids),
            loop_hangs=lambda: self.watchdog.hanging,
            patience=self.store.patience,
        )
        self.ledger = Ledger(self.lease, alias, patience=self.store.patience)
        self.redeliveries = Redeliveries(
            self.lease,
            alias,
            lambda message, name: self.calls.post(read_alone, self.consumer, message, name, self._was_read),
            lambda requests: self.calls.post(self.consumer.receive, (), requests),
            patience=self.store.patience,
        )
        self.source = DatabaseSource(
            self.lease,
            alias,
            [queue.name for queue in options.queues],
            lambda messages: self.calls.post(self.consumer.receive, messages),
            self.redeliveries.add,
            poll=settings.POLL_INTERVAL,
        )
        self.parking = Parking(self.lease, alias, self.source)
        self.source.mark_useful = self.store.mark_useful
        self.source.shared = {} if options.disable_rate_limits else rates.shared(tasks)
        self.shared_rates = SharedRates(self.source.shared, alias, self._rate_changed, poll=settings.POLL_INTERVAL)
        self.pauses = Pauses(alias, lambda queues: self.changes.pause(queues), poll=settings.POLL_INTERVAL)
        self.declarations = Declarations(options.queues, alias)
        self.statistics = Statistics(alias, tasks, self.store.patience)
        self.statistics.start()
        # The lease first: a worker that was frozen learns that it was taken for dead before it writes anything.
        self.store.duties = (
            self.lease, self.declarations, self.ledger, self.shared_rates, self.pauses, self.parking, self.source,
            self.redeliveries, UnknownTasks(alias, lambda: self.source.queues),
            Parts(self.lease, alias, self.store.calls.wake), Maintenance(self.lease, alias), self.statistics,
        )  # fmt: skip
        self.store.on_failure = lambda: self.calls.post(self._fail, "The store thread failed.")
        self.store.on_connected = self.lease.reset_peers
        # Peers take a worker for dead that connects again too late.
        self.store.longest_pause = min(self.store.longest_pause, settings.LEASE / 8)

    def _make_consumer(self) -> None:
        options = self.options
        self.consumer = Consumer(
            options.name,
            PrefetchPolicy(options.prefetch_multiplier, fair=options.fair),
            Limits(options.time_limit, options.soft_time_limit),
            lease_valid=lambda: self.lease.is_valid,
            store=self._to_store,
            retarget=self._retarget,
            on_failure=failure_handlers.schedule,
        )
        self.consumer.call_later = self.hub.call_later
        for name, rate in ({} if options.disable_rate_limits else rates.defined(tasks)).items():
            self.consumer.limits.rated.add(name)
            self.source.set_rate(name, rate)
        self.source.ended = lambda: self.consumer.ended - self.ledger.written

    def _make_autoscaler(self) -> None:
        if self.options.autoscale is not None:
            most, least = self.options.autoscale
            self.consumer.autoscaler = Autoscaler(most, least, settings.AUTOSCALE_KEEPALIVE, self.changes.scale)

    def _make_pool(self, fork_server: ForkServer | None) -> None:
        options, consumer = self.options, self.consumer
        events = PoolEvents(
            outcome=consumer.outcome,
            report=consumer.report,
            lost=consumer.lost,
            returned=consumer.returned,
            ready=self._pool_ready,
            broken=self._pool_broken,
        )
        pool_options = PoolOptions(
            hostname=options.name,
            fork_server=fork_server,
            interpreter=options.interpreter,
            max_tasks_per_child=options.max_tasks_per_child,
            max_memory_per_child=options.max_memory_per_child,
        )
        consumer.pool = pool_class(options.pool)(options.concurrency, events, self.hub, pool_options)

    # -- between the threads

    def _to_store(self, method: str, *args: Any, **kwargs: Any) -> None:
        """Post a call of the ledger, or of the parking; it answers by functions, called on the loop's thread."""
        call = getattr(self.parking if method in ("park", "start_unused") else self.ledger, method)
        self.store.calls.post(lambda: call(*(self._answering(a) for a in args), **kwargs))

    def _answering(self, argument: Any) -> Any:
        if callable(argument):
            return lambda *answer: self.calls.post(argument, *answer)
        return argument

    def set_rate(self, task: str, rate: float | None) -> None:
        """Have a task start ``rate`` times a second in this worker, or without a limit. Called on the loop's thread."""
        self.store.calls.post(self.source.set_rate, task, rate)
        self.consumer.set_rated(task, rate is not None)

    def _rate_changed(self, task: str, rate: float | None) -> None:
        """Take over a limit of all workers that has changed. Called on the store thread."""
        self.source.set_rate(task, rate)
        self.calls.post(self.consumer.set_rated, task, rate is not None)

    def _was_read(self, request: Request | None) -> None:
        self.store.calls.post(self.redeliveries.was_read, request)

    def _retarget(self, target: int) -> None:
        grown = target > self.source.target
        self.source.target, self.source.slots = target, self.consumer.capacity
        if grown:
            self.store.calls.wake()

    def _pool_ready(self) -> None:
        self._has_room = True  # the end of this turn of the loop hands over: once for all of its outcomes

    # -- running

    def run(self) -> int:
        """Run until the worker is stopped; return its exit status.

        Raises ``RuntimeError`` if a part can't be started; nothing of the worker runs then.
        """
        signals.send(signals.worker_init, self, instance=self)
        with Started() as started:
            self._start(started)
        try:
            while not self._ended:
                self.hub.run_once()
                if self._has_room:
                    self._has_room = False
                    self.consumer.dispatch()
                    self._end_if_idle()
                self.consumer.post_ends(gather=self.consumer.ends_soon)
        finally:
            self._finish()
        return self.status

    def _start(self, started: Started) -> None:
        # The fork server runs already.
        started.will_need(lambda: self.consumer.pool.stop(_LAST_TASKS))
        started.will_need(lambda: signals.send(signals.worker_shutdown, self, instance=self))
        self.hub.add_reader(self.calls.fileno(), self.calls.run)
        self._start_services(started)
        self.consumer.pool.start()
        self.hub.call_repeatedly(_REBALANCE, self.consumer.rebalance)
        self.hub.call_repeatedly(1.0, self.watchdog.pat)
        # Before the first claim takes what waits in the queues.
        names = [public_name(queue) for queue in self.options.queues]
        self.store.calls.post(tell_of_unnamed, names, self.store.alias)
        started.will_need(self._end_store)
        self.store.start()
        started.will_need(self._stop_watchdogs)
        self.watchdog.start()
        if settings.WATCHDOG_TIMEOUT is not None:
            self.store_watchdog.start()
        self._announcing = self.hub.call_repeatedly(_ANNOUNCE, self._announce)

    def _start_services(self, started: Started) -> None:
        started.will_need(lambda: self.remote.end(_LAST_MESSAGES))
        for service in self.services:
            started.will_need(service.stop)
            service.start(self)
        if self.remote.is_needed:
            self.remote.start()

    def _announce(self) -> None:
        """Announce the worker once its row is written, senders can find its queues, and callers its mailbox."""
        if self.lease.token and self.declarations.made and self.remote.is_settled:
            self._announcing.cancel()
            signals.send(signals.worker_ready, self, instance=self)
            log_lines.worker_ready(self.options.name)

    # -- ending

    def stop(self, *, sig: str = "", how: str = "Warm") -> None:
        """Warm shutdown: running tasks may end within ``TASKQ_SHUTDOWN_TIMEOUT``; other messages are requeued."""
        if self._stopping_since is not None:
            return
        self._stopping_since = time.monotonic()
        self.lease.state = "stopping"
        self.consumer.stop()
        self.consumer.pool.quiesce()
        # Only now: the requests that the pool still has are running, and no other starts after this line.
        log_lines.shutdown_began(how, sig, len(self.consumer.running))
        signals.send(signals.worker_shutting_down, self.options.name, sig=sig, how=how, exitcode=self.status)
        self.hub.call_later(settings.SHUTDOWN_TIMEOUT, self._on_timeout)
        self.hub.call_repeatedly(0.05, self._end_if_idle)

    def stop_cold(self, *, sig: str = "", after: float = 0.0) -> None:
        """Cold shutdown: kill running tasks, after ``after`` seconds in which they may end by themselves."""
        how = "Soft" if after else "Cold"
        if self._stopping_since is None:
            self.stop(sig=sig, how=how)
        else:
            log_lines.shutdown_began(how, sig, len(self.consumer.running))
        if after:
            self.hub.call_later(after, self._end_cold)
        else:
            self._end_cold()

    def _on_timeout(self) -> None:
        if self.consumer.busy and not self._ended:
            log_lines.shutdown_timed_out(settings.SHUTDOWN_TIMEOUT)
            self._end_cold()

    def _end_cold(self) -> None:
        if self._ended:
            return
        if self.consumer.busy:
            self.status = self.status or 1
        self._cold = True
        self.consumer.pool.kill()
        self.consumer.abandon()
        self._ended = True

    def _end_if_idle(self) -> None:
        if self._stopping_since is not None and not self.consumer.busy:
            self._ended = True

    def _fail(self, reason: str) -> None:
        log_lines.worker_failed(reason)
        self.status = 1
        self.consumer.abandon()
        self._ended = True

    def _pool_broken(self, reason: str) -> None:
        # Before abandon(), which counts no start: a task that breaks the pool must not run again for ever.
        self.consumer.broken(reason)
        self._fail(reason)

    def _finish(self) -> None:
        try:
            # After a cold shutdown the pool does not wait for threads: they can't be ended.
            self.consumer.pool.stop(0.0 if self._cold else _LAST_TASKS)
        finally:
            self.calls.run()
            self.consumer.post_ends()
            self._end_store()
            self._check_last_writes()
            for service in self.services:
                service.stop()
            self.remote.end(_LAST_MESSAGES)
            self._stop_watchdogs()
            signals.send(signals.worker_shutdown, self, instance=self)
            log_lines.worker_ended(self.options.name)

    def _end_store(self) -> None:
        self.store.finish(_LAST_WRITES, self._leave)
        if self.store.is_alive():
            self.store.join(_LAST_WRITES + 1)

    def _stop_watchdogs(self) -> None:
        self.watchdog.stop()
        self.store_watchdog.stop()

    def _check_last_writes(self) -> None:
        """End with status 1, and say what was not written, if the database was away."""
        unwritten = self.consumer.ended - self.ledger.written
        if unwritten or self.store.cut_off or self.store.is_alive():
            self.status = self.status or 1
            log_lines.ends_unwritten(unwritten, self.ledger.unwritten)
        if self.store.cut_off or self.store.is_alive():
            # The process would wait for the database once more, when its threads are gone.
            leave_to_peers()

    def _leave(self) -> None:
        """Delete the worker's row, which requeues its messages, then the queues that no other worker reads."""
        self.redeliveries.leave()
        self.lease.deregister()
        self.declarations.remove()
        self.statistics.leave()
