"""One thread a process and database that sees tasks end, for everybody who waits.

``waiting`` joins it with a ``Ticket``. It starts with the first one and ends some
seconds after the last one has left. It holds two connections meanwhile: the
engine's listener and its own for reading. It only reads.
"""

from __future__ import annotations

import logging
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
from taskq.engines.base import AdaptiveListener, Listener

from . import rows as run_rows

if TYPE_CHECKING:
    from taskq.models import TaskRun

logger = logging.getLogger("taskq.results")

#: Seconds for which the thread and its connections are kept when nobody waits.
LINGER = 5.0
#: Seconds between looks at all that is waited for, should a notification be lost.
SLOW_LOOK = 1.0
#: Seconds between attempts when the database can't be reached.
RETRY = 0.5


class Ticket:
    """One waiter: the ids it waits for and the rows that have come. ``wake`` is called when there is news."""

    __slots__ = ("ids", "rows", "wake")

    def __init__(self, ids: Collection[str], wake: Callable[[], object]) -> None:
        self.ids = frozenset(ids)
        self.rows: dict[str, TaskRun] = {}
        self.wake = wake

    def take(self, rows: Mapping[str, TaskRun]) -> None:
        """Keep final rows, from whichever thread."""
        self.rows.update(rows)

    def missing(self) -> list[str]:
        """Return the ids that are not final yet."""
        return [task_id for task_id in self.ids if task_id not in self.rows]

    def done(self) -> bool:
        """Tell whether all are final."""
        return len(self.rows) == len(self.ids)


class Arrivals(Ticket):
    """A ticket of somebody who wants each row when it comes."""

    __slots__ = ("_fresh", "_told")

    def __init__(self, ids: Collection[str], wake: Callable[[], object]) -> None:
        super().__init__(ids, wake)
        self._fresh: deque[Mapping[str, TaskRun]] = deque()
        self._told: set[str] = set()

    def take(self, rows: Mapping[str, TaskRun]) -> None:
        """See ``Ticket``."""
        self._fresh.append(rows)
        super().take(rows)

    def news(self) -> dict[str, TaskRun]:
        """Return the rows that have come since this was last asked."""
        news: dict[str, TaskRun] = {}
        while self._fresh:
            news.update(self._fresh.popleft())
        # A row may come twice: from the waiter's own look and from the thread's.
        found = {task_id: row for task_id, row in news.items() if task_id not in self._told}
        self._told.update(found)
        return found


class Lookout:
    """The thread, from its start to its end; when it has ended, another one takes its place."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self._lock = threading.Lock()
        self._waiting: dict[str, set[Ticket]] = {}
        self._listening = False
        self._ended = False
        self._cost = 0.0
        self._left_at = time.monotonic()
        self._kept: list[Any] = []
        self.gone = threading.Event()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._thread = threading.Thread(target=self._run, name=f"taskq-results-{alias}", daemon=True)

    # -- called by those who wait

    @property
    def alive(self) -> bool:
        """Whether it takes tickets."""
        return not self._ended

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self, ticket: Ticket) -> bool | None:
        """Take a ticket; tell whether it listens already, or ``None`` if it takes no more tickets."""
        with self._lock:
            if self._ended:
                return None
            for task_id in ticket.missing():
                self._waiting.setdefault(task_id, set()).add(ticket)
            self._nudge()
            return self._listening

    def leave(self, ticket: Ticket) -> bool:
        """Give a ticket back; tell whether it was the last one."""
        with self._lock:
            for task_id in ticket.ids & self._waiting.keys():
                self._drop(task_id, ticket)
            self._left_at = time.monotonic()
            if self._waiting:
                return False
            self._nudge()
            return True

    def _drop(self, task_id: str, ticket: Ticket) -> None:
        tickets = self._waiting[task_id]
        tickets.discard(ticket)
        if not tickets:
            del self._waiting[task_id]

    def _nudge(self) -> None:
        """Interrupt the thread's wait. The caller holds the lock."""
        if not self._ended:
            # A full pipe is as good as one with a byte in it.
            with suppress(BlockingIOError):
                os.write(self._writer, b".")

    # -- the thread

    def _run(self) -> None:
        # After a fork the child must not close what the parent's thread has open: see ``_after_fork``.
        self._kept.append(connections[self.alias])
        try:
            while not self._may_end():
                try:
                    self._listen()
                except Exception:
                    logger.warning("Waiting for results: the database failed, trying again.", exc_info=True)
                    self._recover()
        finally:
            self._end()

    def _listen(self) -> None:
        """Listen, look at all that is waited for, and go on until nobody waits."""
        with closing(self._open_listener()) as listener, selectors.DefaultSelector() as selector:
            selector.register(self._reader, selectors.EVENT_READ)
            if listener.fileno() >= 0:
                selector.register(listener.fileno(), selectors.EVENT_READ)
            self._kept[1:] = [listener, selector]
            with self._lock:
                self._listening = True
            self._look(None)
            looked_at = time.monotonic()
            while not self._may_end():
                pause = SLOW_LOOK if listener.interval is None else min(listener.interval, SLOW_LOOK)
                selector.select(pause if self._waiting else max(_linger(), 0.001))
                if self._drain() and isinstance(listener, AdaptiveListener):
                    listener.mark_useful()
                ended = listener.poll()
                if ended is None:
                    self._catch_breath(looked_at)
                if ended is None or time.monotonic() - looked_at >= SLOW_LOOK:
                    ended, looked_at = None, time.monotonic()
                self._look(ended)

    def _open_listener(self) -> Listener:
        if not settings.NOTIFY:
            return AdaptiveListener(0.002, 0.05)
        try:
            return engines.for_alias(self.alias).result_listener()
        except Exception:
            logger.warning("Results can't be listened for on '%s', they are polled for.", self.alias, exc_info=True)
            return AdaptiveListener(0.005, 0.25)

    def _catch_breath(self, looked_at: float) -> None:
        """Where each look is at all that is waited for, as long as a look took lies between two of them.

        So one that waits for 10,000 tasks leaves the database half of its time, at the least.
        """
        if (left := looked_at + 2 * self._cost - time.monotonic()) > 0.001:
            time.sleep(min(left, SLOW_LOOK))

    def _look(self, ended: set[str] | None) -> None:
        """Read those of ``ended`` that are waited for, ``None`` for all, and hand them out."""
        with self._lock:
            wanted = list(self._waiting) if ended is None else [i for i in ended if i in self._waiting]
        if not wanted:
            return
        began = time.monotonic()
        rows = run_rows.finished(wanted)
        connections[self.alias].queries_log.clear()  # with DEBUG they would pile up
        news: dict[Ticket, dict[str, TaskRun]] = {}
        with self._lock:
            for task_id, row in rows.items():
                for ticket in self._waiting.pop(task_id, ()):
                    news.setdefault(ticket, {})[task_id] = row
            for ticket, its in news.items():
                ticket.take(its)
                ticket.wake()
        self._cost = time.monotonic() - began

    def _drain(self) -> bool:
        """Empty the pipe; tell whether there was something in it."""
        try:
            return bool(os.read(self._reader, 4096))
        except BlockingIOError:
            return False

    def _may_end(self) -> bool:
        """Decide, once and for all, whether this is the end."""
        with self._lock:
            if not self._waiting and time.monotonic() - self._left_at >= _linger():
                self._ended = True
            return self._ended

    def _recover(self) -> None:
        with self._lock:
            self._listening = False
        self._close()
        time.sleep(RETRY)

    def _close(self) -> None:
        """Close this thread's connection. One that is broken may also break while it is closed."""
        try:
            connections[self.alias].close()
        except Exception:
            # Waiters must not be left behind for that: what counts is the next connection.
            logger.debug("Closing a broken connection failed.", exc_info=True)

    def _end(self) -> None:
        with self._lock:
            self._ended, self._listening = True, False
            os.close(self._reader)
            os.close(self._writer)
        self._close()
        self.gone.set()


_lock = threading.Lock()
_lookouts: dict[str, Lookout] = {}
_inherited: list[dict[str, Lookout]] = []


def is_alive(alias: str) -> bool:
    """Tell whether there is a lookout for ``alias`` that takes tickets."""
    lookout = _lookouts.get(alias)
    return lookout is not None and lookout.alive


def join(ticket: Ticket, alias: str) -> bool:
    """Have the lookout of ``alias``, which is started if there is none, fill ``ticket``.

    Tells whether it listens already, so that a look by the caller is decisive; if
    not, it looks itself as soon as it does.
    """
    with _lock:
        lookout = _lookouts.get(alias)
        if lookout is not None and (listening := lookout.join(ticket)) is not None:
            return listening
        lookout = _lookouts[alias] = Lookout(alias)
        lookout.join(ticket)
        try:
            lookout.start()
        except BaseException:
            # No thread can be had, or Ctrl-C: the next one who waits starts anew.
            del _lookouts[alias]
            lookout.leave(ticket)
            raise
        return False


def leave(ticket: Ticket, alias: str) -> None:
    """Take back a ticket that was given, or was about to be."""
    lookout = _lookouts.get(alias)
    if lookout is not None and lookout.leave(ticket) and _linger() == 0:
        lookout.gone.wait(5)


def _linger() -> float:
    # Django's test environment has an outbox. Tests delete their database, which
    # PostgreSQL refuses while there are connections.
    return 0.0 if hasattr(mail, "outbox") else LINGER


def _after_fork() -> None:
    """Start anew in the child, and keep what the parent's threads have: closing it would end their connections."""
    global _lock, _lookouts
    _inherited.append(_lookouts)
    _lock = threading.Lock()
    _lookouts = {}


os.register_at_fork(after_in_child=_after_fork)
