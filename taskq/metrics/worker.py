"""The figures of one worker since its start: they hang on the hooks of the worker and of the store.

Nothing subscribes unless the metrics are served, so that they cost nothing otherwise.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from taskq import __version__, clock
from taskq.records import Claimed, Settlement
from taskq.store import log_lines as store_events
from taskq.worker import log_lines as worker_events
from taskq.worker.node import WorkerNode

from .exposition import Family
from .figures import LONG, SHORT, ByName, Histogram
from .names import TaskNames

#: Why a message is dropped.
_REASONS = ("not_authentic", "replayed", "no_task")


class WorkerMetrics:
    """Counts what happens in one worker. Hooks call it on several threads, and a thread of HTTP reads it."""

    def __init__(self, node: WorkerNode) -> None:
        self._node = node
        self._started = clock.now()
        self._lock = threading.Lock()
        self._names = TaskNames()
        self._ends: Counter[tuple[str, str]] = Counter()
        self._runtimes, self._waits = ByName(LONG), ByName(LONG)
        self._claims, self._settling = Histogram(SHORT), Histogram(SHORT)
        self._claimed = self._errors = 0
        self._dropped = dict.fromkeys(_REASONS, 0)

    def subscriptions(self) -> Iterator[tuple[Any, Callable[..., None]]]:
        """Yield the hooks that are counted, each with its subscriber."""
        yield worker_events.tasks_settled, self.settled
        yield worker_events.settlement_found, self.settled_before
        yield worker_events.database_failed, self.database_failed
        yield worker_events.message_rejected, self.rejected
        yield store_events.messages_claimed, self.claimed
        yield store_events.batch_settled, self.batch_settled
        yield store_events.message_not_authentic, self.not_authentic
        yield store_events.message_replayed, self.replayed

    # -- told by the hooks

    def settled(self, settlements: Sequence[Settlement]) -> None:
        """Count ends that are committed."""
        with self._lock:
            for settlement in settlements:
                if settlement.name:
                    self._count(settlement)

    def _count(self, s: Settlement) -> None:
        name = self._names.label(s.name)
        self._ends[name, s.state] += 1
        if s.runtime is not None:
            self._runtimes.observe(name, s.runtime)
        if s.waited is not None:
            self._waits.observe(name, s.waited)

    def settled_before(self, settlement: Settlement) -> None:
        """Count an end whose commit was not known."""
        self.settled([settlement])

    def claimed(self, messages: Sequence[Claimed], seconds: float) -> None:
        """Count a claim."""
        with self._lock:
            self._claimed += len(messages)
            self._claims.observe(seconds)

    def batch_settled(self, count: int, seconds: float) -> None:
        """Count a transaction that has settled tasks."""
        with self._lock:
            self._settling.observe(seconds)

    def database_failed(self, error: Exception, failures: int, transient: bool) -> None:
        """Count an error of the database."""
        with self._lock:
            self._errors += 1

    def not_authentic(self, message: Any, error: Exception) -> None:
        """Count a message without a valid seal."""
        self._drop("not_authentic")

    def replayed(self, message: Claimed) -> None:
        """Count a copy of a message."""
        self._drop("replayed")

    def rejected(self, message: Claimed, error: Exception) -> None:
        """Count a message that is no task."""
        self._drop("no_task")

    def _drop(self, reason: str) -> None:
        with self._lock:
            self._dropped[reason] += 1

    # -- read

    def families(self) -> list[Family]:
        """Return all figures."""
        with self._lock:
            return [*self._of_node(), *self._of_tasks(), *self._of_database(), self._of_dropped()]

    def _of_node(self) -> Iterator[Family]:
        consumer, options = self._node.consumer, self._node.options
        info = Family(
            "taskq_worker_info", "gauge", "1, with the worker's name, its pool and taskq's version as labels."
        )
        info.add(1, worker=options.name, pool=options.pool, version=__version__)
        yield info
        yield _gauge("start_time_seconds", "When the worker started, as a Unix time.", self._started)
        yield _gauge("slots", "Tasks that the pool can run at a time.", consumer.pool.concurrency)
        with suppress(RuntimeError):  # the loop is too busy to be read
            running = len(consumer.holdings.running(consumer.pool))
            yield _gauge("busy_slots", "Slots of the pool that run a task.", running)
        yield _gauge(
            "held_messages", "Messages that the worker holds, running or about to.", len(consumer.holdings.ids())
        )

    def _of_tasks(self) -> Iterator[Family]:
        ends = Family(
            "taskq_worker_tasks_total", "counter", "Ends of tasks by name and state. A retry ends with RETRY."
        )
        for (name, state), count in self._ends.items():
            ends.add(count, name=name, state=state)
        yield ends
        yield self._runtimes.family("taskq_worker_task_runtime_seconds", "How long the functions of tasks ran.")
        yield self._waits.family(
            "taskq_worker_task_waiting_seconds",
            "How long tasks waited from the time when they were due, or else sent, until they started.",
        )

    def _of_database(self) -> Iterator[Family]:
        yield _counter("claimed_messages", "Messages that were claimed.", self._claimed)
        claims = Family("taskq_worker_claim_seconds", "histogram", "How long a claim took, also one of no message.")
        self._claims.add_to(claims)
        yield claims
        settling = Family("taskq_worker_settle_seconds", "histogram", "How long a transaction took that settled tasks.")
        self._settling.add_to(settling)
        yield settling
        yield _counter(
            "database_errors", "Errors of the database, after which the store thread tried again.", self._errors
        )

    def _of_dropped(self) -> Family:
        dropped = Family("taskq_worker_messages_dropped_total", "counter", "Messages that were dropped, by reason.")
        for reason, count in self._dropped.items():
            dropped.add(count, reason=reason)
        return dropped


def _gauge(name: str, about: str, value: float) -> Family:
    family = Family(f"taskq_worker_{name}", "gauge", about)
    family.add(value)
    return family


def _counter(name: str, about: str, value: int) -> Family:
    family = Family(f"taskq_worker_{name}_total", "counter", about)
    family.add(value)
    return family
