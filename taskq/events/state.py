"""``ClusterState``: workers and tasks as their events tell. It is kept in memory, and has bounds.

Events may come in another order than they were sent, or not at all: a state replaces another one only if it comes
later in a task's life.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from taskq import states

from .stamps import Event

#: The states that only events have.
RECEIVED, REJECTED = "RECEIVED", "REJECTED"
#: The states that events lead to.
_STATE_OF = {
    "task-sent": states.PENDING,
    "task-received": RECEIVED,
    "task-started": states.STARTED,
    "task-succeeded": states.SUCCESS,
    "task-failed": states.FAILURE,
    "task-retried": states.RETRY,
    "task-revoked": states.REVOKED,
    "task-rejected": REJECTED,
}
#: The later in this list, the earlier in a task's life. Celery's order; ``None`` is any other state.
_PRECEDENCE: tuple[str | None, ...] = (
    states.SUCCESS, states.FAILURE, None, states.REVOKED, states.STARTED, RECEIVED, REJECTED, states.RETRY,
    states.PENDING,
)  # fmt: skip
#: What is taken from ``task-received`` and ``task-sent`` even if a later state is known.
_DESCRIPTION = frozenset({"name", "args", "kwargs", "root_id", "parent_id", "retries", "eta", "expires"})
#: A worker counts as alive for so many intervals after its last heartbeat. Celery's.
_MISSED = 2.0
#: Seconds between two heartbeats from which on the number is not believed.
_LONGEST = 1e6


@dataclass(slots=True)
class WorkerInfo:
    """A worker, as its last event tells it. ``seen`` is a Unix time of this machine; ``freq`` is in seconds."""

    hostname: str
    pid: int | None = None
    freq: float = 60.0
    active: int | None = None
    processed: int | None = None
    loadavg: Any = None
    sw_ident: str | None = None
    sw_ver: str | None = None
    sw_sys: str | None = None
    clock: int = 0
    seen: float = 0.0
    online: bool = False

    @property
    def alive(self) -> bool:
        """Whether its heartbeat came lately."""
        return self.online and time.time() - self.seen <= self.freq * _MISSED

    @property
    def id(self) -> str:
        """Name and process."""
        return f"{self.hostname}.{self.pid}"


@dataclass(slots=True)
class TaskInfo:
    """A task, as its events tell it. Times are Unix times; ``worker`` is the name of the worker that has it."""

    uuid: str
    name: str | None = None
    state: str = states.PENDING
    worker: str | None = None
    args: str | None = None
    kwargs: str | None = None
    sent: float | None = None
    received: float | None = None
    started: float | None = None
    succeeded: float | None = None
    failed: float | None = None
    retried: float | None = None
    revoked: float | None = None
    rejected: float | None = None
    eta: str | None = None
    expires: str | None = None
    retries: int | None = None
    result: str | None = None
    exception: str | None = None
    traceback: str | None = None
    runtime: float | None = None
    timestamp: float | None = None
    exchange: str | None = None
    routing_key: str | None = None
    queue: str | None = None
    root_id: str | None = None
    parent_id: str | None = None
    clock: int = 0

    def update(self, kind: str, event: Event) -> None:
        """Take over an event of type ``kind``."""
        timestamp = event.get("timestamp")
        when = kind.removeprefix("task-")
        if when in _FIELDS:
            setattr(self, when, timestamp)
        state = _STATE_OF.get(kind)
        if state is not None and self._is_earlier(state):
            taken = {name: event[name] for name in _DESCRIPTION & event.keys()}
        else:
            self.state = state or self.state
            taken = {name: event[name] for name in _FIELDS & event.keys() - _OWN}
        for name, value in taken.items():
            setattr(self, name, value)

    def _is_earlier(self, state: str) -> bool:
        if states.RETRY in (state, self.state):
            return False
        return _rank(state) > _rank(self.state)

    def info(self) -> dict[str, Any]:
        """Return what is known."""
        shown = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("clock", "uuid")}
        return {name: value for name, value in shown.items() if value is not None}


_FIELDS = frozenset(f.name for f in fields(TaskInfo))
_OWN = frozenset({"uuid", "state", "worker"})
_WORKER_FIELDS = frozenset(f.name for f in fields(WorkerInfo)) - {"hostname", "seen", "online"}


def _rank(state: str) -> int:
    return _PRECEDENCE.index(state if state in _PRECEDENCE else None)


@dataclass(slots=True)
class ClusterState:
    """The workers and tasks of a cluster; the oldest are forgotten when there are too many."""

    max_workers: int = 5_000
    max_tasks: int = 10_000
    workers: OrderedDict[str, WorkerInfo] = field(default_factory=OrderedDict)
    tasks: OrderedDict[str, TaskInfo] = field(default_factory=OrderedDict)
    event_count: int = 0
    task_count: int = 0

    def event(self, event: Event) -> None:
        """Take over an event that a ``Receiver`` got."""
        self.event_count += 1
        group, _, kind = event["type"].partition("-")
        hostname = event.get("hostname")
        if not isinstance(hostname, str):
            return
        if group == "worker":
            self._worker_event(hostname, kind, event)
        elif group == "task" and isinstance(uuid := event.get("uuid"), str):
            self._task_event(hostname, uuid, event)

    def _worker_event(self, hostname: str, kind: str, event: Event) -> None:
        worker = self._worker(hostname)
        for name in _WORKER_FIELDS & event.keys():
            setattr(worker, name, event[name])
        if not (isinstance(worker.freq, int | float) and 0 < worker.freq < _LONGEST):
            worker.freq = WorkerInfo(hostname).freq
        if kind in ("online", "heartbeat"):
            worker.online, worker.seen = True, event.get("local_received") or time.time()
        elif kind == "offline":
            worker.online = False

    def _worker(self, hostname: str) -> WorkerInfo:
        worker = self.workers.setdefault(hostname, WorkerInfo(hostname))
        self.workers.move_to_end(hostname)
        if len(self.workers) > self.max_workers:
            self.workers.popitem(last=False)
        return worker

    def _task_event(self, hostname: str, uuid: str, event: Event) -> None:
        task = self.tasks.get(uuid)
        if task is None:
            self.task_count += 1
            task = self.tasks[uuid] = TaskInfo(uuid)
            if len(self.tasks) > self.max_tasks:
                self.tasks.popitem(last=False)
        self.tasks.move_to_end(uuid)
        if event["type"] != "task-sent":
            task.worker = hostname
        task.update(event["type"], event)

    def alive_workers(self) -> list[WorkerInfo]:
        """Return the workers whose heartbeats come."""
        return [worker for worker in self.workers.values() if worker.alive]

    def recent_tasks(self, limit: int | None = None) -> Iterator[TaskInfo]:
        """Yield the tasks, the one of the last event first."""
        for count, task in enumerate(reversed(self.tasks.values())):
            if limit is not None and count >= limit:
                return
            yield task
