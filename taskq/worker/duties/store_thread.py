"""The store thread: all database work of a worker's main process, one duty after the other.

The loop's thread never touches a database; it posts to this one, and this one posts
back. A turn gives every duty a go; when none has more to do, the thread sleeps until
it is posted to, the database calls, or the next duty is due. An error of the database
ends the turn, not the thread: connections are made anew, with growing pauses.
"""

from __future__ import annotations

import logging
import random
import select
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from django.db import DatabaseError, InterfaceError, connections
from django.db.utils import Error

from taskq.engines import for_alias
from taskq.engines.base import Listener
from taskq.worker.call_queue import CallQueue

logger = logging.getLogger("taskq.worker")
#: Seconds between two tries to reach the database, at most.
_LONGEST_PAUSE = 5.0


class Duty(Protocol):
    """Something the store thread does."""

    def work(self) -> bool:
        """Do what there is to do, shortly; tell whether there is more at once."""

    def due(self) -> float | None:
        """Return in how many seconds there will be something to do, as far as is known."""

    def news(self, names: set[str] | None) -> None:
        """Hear what the database called; ``None`` is "something"."""

    @property
    def done(self) -> bool:
        """Whether nothing is left that must be written before the worker ends."""


class StoreThread(threading.Thread):
    """Runs duties on one database until ``finish`` is called and they have nothing left to do."""

    def __init__(self, alias: str) -> None:
        super().__init__(name="taskq-store", daemon=True)
        self.alias = alias
        self.inbox = CallQueue()
        self.duties: Sequence[Duty] = ()
        self.failures = 0
        self._deadline: float | None = None
        self._last: Callable[[], None] | None = None
        self._listener: Listener | None = None
        #: Called on this thread if it ends by an error that is not the database's.
        self.on_failure: Callable[[], None] = lambda: None
        #: Called on this thread when it has reached the database, at its start and after it was away.
        self.on_connected: Callable[[], None] = lambda: None
        self.longest_pause = _LONGEST_PAUSE
        #: Called on this thread after each turn, also one that the database ended with an error.
        self.on_turn: Callable[[], None] = lambda: None

    def finish(self, timeout: float, last: Callable[[], None]) -> None:
        """End when all that was posted is written, and make one ``last`` call; give up after ``timeout`` seconds."""
        self.inbox.post(self._finish, time.monotonic() + timeout, last)

    def _finish(self, deadline: float, last: Callable[[], None]) -> None:
        self._deadline, self._last = deadline, last

    def run(self) -> None:
        """The thread's main function."""
        try:
            while not self._ended():
                self._guarded_turn()
            if self._last is not None:
                self._last()
        except (Error, OSError) as error:
            logger.error("The database was not there at the end: %s", error)
        except BaseException:
            logger.critical("The store thread failed.", exc_info=True)
            self.on_failure()
        finally:
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
        # With DEBUG Django keeps thousands of statements, with all that is written in them.
        connections[self.alias].queries_log.clear()
        self.on_turn()

    def _turn(self) -> None:
        # First, so that the end is heard of while there is no database.
        self.inbox.run()
        listener = self._listen()
        self._hear(listener)
        more = False
        for duty in self.duties:
            more = duty.work() or more
        if not more and self._deadline is None:
            self._sleep(listener)

    def _hear(self, listener: Listener) -> bool:
        names = listener.poll()
        news = names is None or bool(names)
        if news:
            for duty in self.duties:
                duty.news(names)
        return news

    def _sleep(self, listener: Listener) -> None:
        """Sleep until there is something to do. A listener that has to be asked is asked from here, often."""
        waits = [wait for duty in self.duties if (wait := duty.due()) is not None]
        deadline = time.monotonic() + min(waits, default=1.0)
        # Not select(), which knows no descriptor from 1024 on.
        poll = select.poll()
        poll.register(self.inbox.fileno(), select.POLLIN)
        if listener.fileno() >= 0:
            poll.register(listener.fileno(), select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            pause = left if listener.interval is None else min(left, listener.interval)
            if poll.poll(max(1, round(pause * 1000))):
                return
            if listener.interval is not None and self._hear(listener):
                return

    def found(self) -> None:
        """Tell the listener that a look was worth it."""
        if self._listener is not None:
            self._listener.found()

    def _listen(self) -> Listener:
        if self._listener is None:
            engine = for_alias(self.alias)
            self._listener = engine.message_listener()
            if self._listener.direct:
                engine.make_steady()
            self.on_connected()
            for duty in self.duties:
                duty.news(None)
        return self._listener

    def _recover_from(self, error: Exception) -> None:
        """Make everything anew; what was posted and not yet committed is still with the duties."""
        self.failures += 1
        transient = isinstance(error, DatabaseError | InterfaceError) and for_alias(self.alias).is_transient(error)
        level = logging.INFO if transient else logging.ERROR
        logger.log(level, "The database gave an error; trying again (%s): %s", self.failures, error)
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
            # A broken connection may also break while it is closed; what counts is the next one.
            logger.debug("closing a broken connection failed", exc_info=True)
