"""``ResultListener``: one thread a process and database that reads the rows of awaited tasks, for all waiters.

``waiting`` and ``callbacks`` join it with a ``Waiter``. The thread starts with the first waiter
and ends some seconds after the last waiter has left. Meanwhile it holds two connections: the
engine's listener and a connection for reading. It only reads rows.
"""

from __future__ import annotations

import math
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from django.core import mail
from django.db import connections

from taskq import engines
from taskq.conf import settings
from taskq.engines.listeners import AdaptiveListener, Listener
from taskq.engines.marks import mark
from taskq.log_escapes import get_logger

from . import rows as run_rows
from . import unread

if TYPE_CHECKING:
    from taskq.models import TaskRun

logger = get_logger("taskq.results")

#: Seconds for which the thread and its connections are kept without waiters.
LINGER = 5.0
#: The least seconds between two reads of all awaited rows, in case a notification was lost.
SLOW_LOOK = 1.0
#: The least pause between these reads as a multiple of the duration of the last one: a million rows take seconds.
_SLOW_LOOK_FACTOR = 10
#: Seconds between attempts when the database can't be reached.
RETRY = 0.5
#: The number of failures in a row after which waiters that need a first look have to look themselves.
_MOST_FAILURES = 4


class Waiter:
    """The ids that a caller waits for, and their final rows that have come. ``wake`` is called when there are new rows.

    ``needs_first_look``: the waiter has no connection, and the listener has not read its rows yet.
    ``first_look_failed``: the listener could not read them. ``patient_until`` is the monotonic time at which the
    listener checks, once, that workers read the tasks' queues.
    """

    __slots__ = ("first_look_failed", "ids", "needs_first_look", "patient_until", "rows", "wake")

    def __init__(self, ids: Collection[str], wake: Callable[[], object]) -> None:
        self.ids = frozenset(ids)
        self.rows: dict[str, TaskRun] = {}
        self.wake = wake
        self.needs_first_look = False
        self.first_look_failed = False
        self.patient_until = time.monotonic() + unread.PATIENCE

    def take(self, rows: Mapping[str, TaskRun]) -> None:
        """Keep final rows. Any thread may call this."""
        self.rows.update(rows)

    def missing(self) -> list[str]:
        """Return the ids without a final row."""
        return [task_id for task_id in self.ids if task_id not in self.rows]

    def done(self) -> bool:
        """Tell whether all ids have a final row."""
        return len(self.rows) == len(self.ids)


class StreamingWaiter(Waiter):
    """A waiter that hands out each row when it comes."""

    __slots__ = ("_fresh", "_handed_out")

    def __init__(self, ids: Collection[str], wake: Callable[[], object]) -> None:
        super().__init__(ids, wake)
        self._fresh: deque[Mapping[str, TaskRun]] = deque()
        self._handed_out: set[str] = set()

    def take(self, rows: Mapping[str, TaskRun]) -> None:
        """See ``Waiter``."""
        self._fresh.append(rows)
        super().take(rows)

    def new_rows(self) -> dict[str, TaskRun]:
        """Return the rows that have come since the last call."""
        fresh: dict[str, TaskRun] = {}
        while self._fresh:
            fresh.update(self._fresh.popleft())
        # A row may come twice: the waiter reads it, and the listener's thread does.
        new = {task_id: row for task_id, row in fresh.items() if task_id not in self._handed_out}
        self._handed_out.update(new)
        return new


class ResultListener:
    """The thread. It runs once: after its end the next waiter starts a new ``ResultListener``."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self._lock = threading.Lock()
        self._waiting: dict[str, set[Waiter]] = {}
        #: The ids of ``_waiting`` by their marks.
        self._marks: dict[str, str] = {}
        #: The waiters that need a first look.
        self._asking: set[Waiter] = set()
        self._listening = False
        self._ended = False
        #: The seconds that the last read took, and the last read of all awaited rows.
        self._cost = 0.0
        self._cost_of_all = 0.0
        self._failures = 0
        self._patience_looked_at = 0.0
        self._left_at = time.monotonic()
        #: Objects that a child must not destroy after a fork: see ``_after_fork``.
        self._kept: list[Any] = []
        self.gone = threading.Event()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._thread = threading.Thread(target=self._run, name=f"taskq-results-{alias}", daemon=True)

    # -- called by waiters

    @property
    def alive(self) -> bool:
        """Whether it takes waiters."""
        return not self._ended

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self, waiter: Waiter) -> bool | None:
        """Add a waiter; tell whether the thread listens already, or ``None`` if it takes no more waiters."""
        with self._lock:
            if self._ended:
                return None
            for task_id in waiter.missing():
                if task_id not in self._waiting:
                    self._waiting[task_id] = set()
                    self._marks[mark(task_id)] = task_id
                self._waiting[task_id].add(waiter)
            if waiter.needs_first_look:
                self._asking.add(waiter)
            self._wake()
            return self._listening

    def leave(self, waiter: Waiter) -> bool:
        """Remove a waiter; tell whether it was the last one."""
        with self._lock:
            for task_id in waiter.ids & self._waiting.keys():
                self._remove(task_id, waiter)
            self._asking.discard(waiter)
            self._left_at = time.monotonic()
            if self._waiting:
                return False
            self._wake()
            return True

    def _remove(self, task_id: str, waiter: Waiter) -> None:
        waiters = self._waiting[task_id]
        waiters.discard(waiter)
        if not waiters:
            self._forget(task_id)

    def _forget(self, task_id: str) -> set[Waiter]:
        self._marks.pop(mark(task_id), None)
        return self._waiting.pop(task_id, set())

    def _wake(self) -> None:
        """Interrupt the thread's wait. The caller holds the lock."""
        if not self._ended:
            # A full pipe wakes the thread as well as a pipe with one byte.
            with suppress(BlockingIOError):
                os.write(self._writer, b".")

    # -- the thread

    def _run(self) -> None:
        self._kept.append(connections[self.alias])
        try:
            while not self._try_to_stop():
                try:
                    self._listen()
                except Exception:
                    logger.warning("Waiting for results: the database failed, trying again.", exc_info=True)
                    self._recover()
        finally:
            self._end()

    def _listen(self) -> None:
        """Listen, read the rows of all awaited tasks, and go on until there are no waiters."""
        with closing(self._open_listener()) as listener, selectors.DefaultSelector() as selector:
            selector.register(self._reader, selectors.EVENT_READ)
            if listener.fileno() >= 0:
                selector.register(listener.fileno(), selectors.EVENT_READ)
            self._kept[1:] = [listener, selector]
            with self._lock:
                self._listening = True
            self._look(None)
            looked_at = time.monotonic()
            while not self._try_to_stop():
                pause = SLOW_LOOK if listener.interval is None else min(listener.interval, SLOW_LOOK)
                selector.select(pause if self._waiting else max(_linger(), 0.001))
                if self._drain() and isinstance(listener, AdaptiveListener):
                    listener.mark_useful()
                ended = listener.poll()
                if ended is None:
                    self._throttle(looked_at)
                if ended is None or time.monotonic() - looked_at >= self._slow_look():
                    ended, looked_at = None, time.monotonic()
                self._look(ended)
                self._tell_of_unread_queues()

    def _open_listener(self) -> Listener:
        if not settings.NOTIFY:
            return AdaptiveListener(0.002, 0.05)
        try:
            return engines.for_alias(self.alias).result_listener()
        except Exception:
            logger.warning("Results can't be listened for on '%s', they are polled for.", self.alias, exc_info=True)
            return AdaptiveListener(0.005, 0.25)

    def _throttle(self, looked_at: float) -> None:
        """Pause as long as the last read took. Called before each read of all awaited rows.

        So polling for 10,000 tasks uses at most half of the time of the database.
        """
        if (left := looked_at + 2 * self._cost - time.monotonic()) > 0.001:
            time.sleep(min(left, SLOW_LOOK))

    def _look(self, ended: set[str] | None) -> None:
        """Read the rows of awaited tasks, and give those that are final to their waiters.

        ``ended`` are the marks of the tasks to read, ``None`` for all tasks. The tasks of all waiters that need a first
        look are read too.
        """
        with self._lock:
            asking = list(self._asking)
            if ended is None:
                wanted = list(self._waiting)
            else:
                named = {self._marks[found] for found in ended & self._marks.keys()}
                wanted = list(named.union(*(waiter.ids & self._waiting.keys() for waiter in asking)))
        if wanted:
            began = time.monotonic()
            found = run_rows.read_final(wanted)
            connections[self.alias].queries_log.clear()  # with DEBUG they would pile up
            self._give(found)
            self._cost = time.monotonic() - began
            if ended is None:
                self._cost_of_all = self._cost
            self._failures = 0
        if asking:
            self._answer(asking)

    def _slow_look(self) -> float:
        return max(SLOW_LOOK, _SLOW_LOOK_FACTOR * self._cost_of_all)

    def _answer(self, asking: Collection[Waiter], *, failed: bool = False) -> None:
        """Tell waiters that their first look was made, or has ``failed``."""
        with self._lock:
            self._asking.difference_update(asking)
        for waiter in asking:
            waiter.needs_first_look, waiter.first_look_failed = False, failed
            waiter.wake()

    def _give(self, found: Mapping[str, TaskRun]) -> None:
        given: dict[Waiter, dict[str, TaskRun]] = {}
        with self._lock:
            for task_id, row in found.items():
                for waiter in self._forget(task_id):
                    given.setdefault(waiter, {})[task_id] = row
            for waiter, rows in given.items():
                waiter.take(rows)
                waiter.wake()

    def _tell_of_unread_queues(self) -> None:
        """Log the queues without a worker in which tasks wait that were awaited for ``unread.PATIENCE`` seconds."""
        now = time.monotonic()
        if now - self._patience_looked_at < SLOW_LOOK:
            return
        self._patience_looked_at = now
        with self._lock:
            late = {waiter for waiters in self._waiting.values() for waiter in waiters if waiter.patient_until <= now}
        missing = {task_id for waiter in late for task_id in waiter.missing()}
        for waiter in late:
            waiter.patient_until = math.inf
        if missing:
            unread.tell(missing)
            connections[self.alias].queries_log.clear()

    def _drain(self) -> bool:
        """Empty the pipe; tell whether there was something in it."""
        try:
            return bool(os.read(self._reader, 4096))
        except BlockingIOError:
            return False

    def _try_to_stop(self) -> bool:
        """Take no more waiters if there were none for long enough; tell whether the thread stops."""
        with self._lock:
            if not self._waiting and time.monotonic() - self._left_at >= _linger():
                self._ended = True
            return self._ended

    def _recover(self) -> None:
        with self._lock:
            self._listening = False
            asking = list(self._asking)
        self._failures += 1
        if self._failures >= _MOST_FAILURES:
            self._answer(asking, failed=True)
        self._close()
        time.sleep(RETRY)

    def _close(self) -> None:
        """Close this thread's connection. A broken connection may also fail while it is closed."""
        try:
            connections[self.alias].close()
        except Exception:
            # The thread goes on for its waiters, with the next connection.
            logger.debug("Closing a broken connection failed.", exc_info=True)

    def _end(self) -> None:
        with self._lock:
            self._ended, self._listening = True, False
            os.close(self._reader)
            os.close(self._writer)
        self._close()
        self.gone.set()


_lock = threading.Lock()
_listeners: dict[str, ResultListener] = {}
_inherited: list[dict[str, ResultListener]] = []


def is_alive(alias: str) -> bool:
    """Tell whether there is a listener for ``alias`` that takes waiters."""
    listener = _listeners.get(alias)
    return listener is not None and listener.alive


def join(waiter: Waiter, alias: str) -> bool:
    """Add ``waiter`` to the listener of ``alias``, which gives it rows; start a listener if there is none.

    Returns true if it listens already: the waiter has to read its rows once. Otherwise the listener reads them as soon
    as it listens.
    """
    with _lock:
        listener = _listeners.get(alias)
        if listener is not None and (listening := listener.join(waiter)) is not None:
            return listening
        listener = _listeners[alias] = ResultListener(alias)
        listener.join(waiter)
        try:
            listener.start()
        except BaseException:
            # No thread can be had, or Ctrl-C: the next waiter starts a new listener.
            del _listeners[alias]
            listener.leave(waiter)
            raise
        return False


def leave(waiter: Waiter, alias: str) -> None:
    """Remove a waiter that has joined, or was about to."""
    listener = _listeners.get(alias)
    if listener is not None and listener.leave(waiter) and _linger() == 0:
        listener.gone.wait(5)


def _linger() -> float:
    # Django's test environment has an outbox. Tests delete their database, which
    # PostgreSQL refuses while there are connections.
    return 0.0 if hasattr(mail, "outbox") else LINGER


def _after_fork() -> None:
    """Start without listeners in the child, but keep the parent's: closing them would end the parent's connections."""
    global _listeners
    _lock._at_fork_reinit()  # type: ignore[attr-defined]
    if _listeners:
        _inherited.append(_listeners)
        _listeners = {}


os.register_at_fork(after_in_child=_after_fork)
