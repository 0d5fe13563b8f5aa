"""The store thread: all database work of a worker's main process, one duty after the other.

The loop's thread never touches a database; it posts calls to this thread, and this thread posts answers back. In a turn
every duty works once. When no duty has more to do, the thread sleeps until a call is posted, the database notifies, or
a duty is due. A database error ends the turn, not the thread: connections are opened again, after growing pauses. A
duty that meets a locked row pauses alone.
"""

from __future__ import annotations

import random
import select
import threading
import time
from collections.abc import Callable, Sequence

from django.db import DatabaseError, InterfaceError, connections
from django.db.utils import Error

from taskq.engines import for_alias
from taskq.engines.listeners import Listener
from taskq.worker import log_lines
from taskq.worker.call_queue import CallQueue

from .patience import Patience

#: The longest pause between two attempts to reach the database, in seconds.
_LONGEST_PAUSE = 5.0
#: The first and the longest pause of a duty that met a locked row, in seconds.
_LOCKED, _LOCKED_LONGEST = 0.05, 1.0


class Duty:
    """A part of the worker's database work. The store thread calls its methods, one duty after the other."""

    __slots__ = ()

    def work(self) -> bool:
        """Do the work that is due now, in a short step; tell whether there is more to do at once."""
        raise NotImplementedError

    def due(self) -> float | None:
        """Return the seconds until ``work`` has something to do; ``None`` if that does not depend on time."""
        return None

    def on_notification(self, marks: set[str] | None) -> None:
        """Take in the marks of what the database notified of; ``None`` is "something has changed"."""

    def end(self) -> None:
        """The thread ends: subscribe to no event any more."""

    @property
    def done(self) -> bool:
        """Whether the worker may end: nothing is left that must be written first."""
        return True


class StoreThread(threading.Thread):
    """Runs the duties on one database until ``finish`` is called and all duties are ``done``."""

    def __init__(self, alias: str) -> None:
        super().__init__(name="taskq-store", daemon=True)
        self.alias = alias
        self.calls = CallQueue()
        self.duties: Sequence[Duty] = ()
        self.failures = 0
        #: Whether each duty has worked once, or met an error.
        self.has_begun = False
        #: The thread ended because of the database: messages that the worker held are still held.
        self.cut_off = False
        self.patience = Patience(alias)
        #: The duties that met a locked row: when they work again, and their next pause.
        self._paused: dict[Duty, tuple[float, float]] = {}
        self._deadline: float | None = None
        self._before_end: Callable[[], None] | None = None
        self._listener: Listener | None = None
        #: Called on this thread if it ends with an error that is not the database's.
        self.on_failure: Callable[[], None] = lambda: None
        #: Called on this thread when it has connected to the database, at its start and after an outage.
        self.on_connected: Callable[[], None] = lambda: None
        self.longest_pause = _LONGEST_PAUSE
        #: Called on this thread after each turn, also after a turn that a database error has ended.
        self.on_turn: Callable[[], None] = lambda: None

    def finish(self, timeout: float, before_end: Callable[[], None]) -> None:
        """End when all duties are done, or after ``timeout`` seconds. This thread calls ``before_end`` as the last."""
        self.calls.post(self._finish, time.monotonic() + timeout, before_end)

    def _finish(self, deadline: float, before_end: Callable[[], None]) -> None:
        self._deadline, self._before_end = deadline, before_end

    def run(self) -> None:
        """The thread's main function."""
        try:
            while not self._ended():
                self._guarded_turn()
            if self._before_end is not None:
                self._before_end()
        except (Error, OSError) as error:
            self.cut_off = True
            log_lines.last_writes_failed(error)
        except BaseException:
            log_lines.store_thread_failed()
            self.on_failure()
        finally:
            for duty in self.duties:
                duty.end()
            self._drop_connections()

    def _ended(self) -> bool:
        if self._deadline is None:
            return False
        return all(duty.done for duty in self.duties) or time.monotonic() > self._deadline

    def _guarded_turn(self) -> None:
        try:
            self._turn()
            self.failures = 0
        except (Error, OSError) as error:
            self._recover_from(error)
        # With DEBUG, Django keeps the last 9,000 statements with their parameters.
        connections[self.alias].queries_log.clear()
        self.on_turn()

    def _turn(self) -> None:
        # First, so that ``finish`` works while there is no database.
        self.calls.run()
        listener = self._listen()
        self._poll_listener(listener)
        self.patience.apply()
        more = False
        for duty in self.duties:
            more = self._work(duty) or more
        self.has_begun = True
        if not more and self._deadline is None:
            self._sleep(listener)

    def _work(self, duty: Duty) -> bool:
        """Let a duty work, but not while it pauses; tell whether it has more to do."""
        due, pause = self._paused.get(duty, (0.0, _LOCKED)) if self._paused else (0.0, _LOCKED)
        if time.monotonic() < due:
            return False
        try:
            more = duty.work()
        except DatabaseError as error:
            if not self.patience.met_lock(error):
                raise
            self._paused[duty] = (time.monotonic() + pause, min(2 * pause, _LOCKED_LONGEST))
            return False
        if self._paused:
            self._paused.pop(duty, None)
        return more

    def _due(self, duty: Duty) -> float | None:
        """Return the seconds until a duty has something to do and does not pause."""
        if duty in self._paused:
            return self._paused[duty][0] - time.monotonic()
        return duty.due()

    def _poll_listener(self, listener: Listener) -> bool:
        """Hand notifications on to the duties; tell whether there were any."""
        marks = listener.poll()
        notified = marks is None or bool(marks)
        if notified:
            for duty in self.duties:
                duty.on_notification(marks)
        return notified

    def _sleep(self, listener: Listener) -> None:
        """Sleep until there is something to do; poll a listener that has no descriptor at its interval."""
        waits = [wait for duty in self.duties if (wait := self._due(duty)) is not None]
        deadline = time.monotonic() + min(waits, default=1.0)
        # Not select(), which refuses descriptors from 1024 on.
        poll = select.poll()
        poll.register(self.calls.fileno(), select.POLLIN)
        if listener.fileno() >= 0:
            poll.register(listener.fileno(), select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            pause = left if listener.interval is None else min(left, listener.interval)
            ready = [fd for fd, _ in poll.poll(max(1, round(pause * 1000)))]
            # The listener's descriptor may be ready though nothing has changed for the duties.
            if self.calls.fileno() in ready or self._poll_listener(listener):
                return

    def mark_useful(self) -> None:
        """Tell the listener that a claim got messages: a listener that polls comes back sooner."""
        if self._listener is not None:
            self._listener.mark_useful()

    def _listen(self) -> Listener:
        if self._listener is None:
            engine = for_alias(self.alias)
            self._listener = engine.store_thread_listener()
            if self._listener.direct:
                engine.make_steady()
            self.on_connected()
            for duty in self.duties:
                duty.on_notification(None)
        return self._listener

    def _recover_from(self, error: Exception) -> None:
        """Close the connections and pause; the duties still have everything that is not committed."""
        self.failures += 1
        self.has_begun = True
        transient = isinstance(error, DatabaseError | InterfaceError) and for_alias(self.alias).is_transient(error)
        log_lines.database_failed(error, self.failures, transient)
        if not transient:
            self._drop_connections()
        pause = min(self.longest_pause, 0.05 * 2 ** min(self.failures, 10)) * random.uniform(0.5, 1)
        time.sleep(pause if not transient else pause / 10)

    def _drop_connections(self) -> None:
        listener, self._listener = self._listener, None
        try:
            if listener is not None:
                listener.close()
            connections[self.alias].close()
        except Exception:
            # A broken connection may fail in close() too; the next one is opened all the same.
            log_lines.close_failed()
