"""Polling: one connection waits for messages by the engine's listener where the database can notify, else by time.

A notification is only a hint, so queues are read again now and then in any case.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection

from django.db import OperationalError

from taskq.engines import for_alias
from taskq.engines.listeners import AdaptiveListener, Listener
from taskq.engines.marks import mark

from .errors import BrokerUnavailable

#: Seconds after which queues are read without a notification.
POLL_EVERY = 5.0


class MessagePoller:
    """Waits for messages of one connection. Its listener is made by the first wait, and belongs to that thread.

    ``queues`` returns the queues that are waited for: notifications about others are passed over. In an event loop the
    queues are read at most once in ``rest`` seconds.
    """

    def __init__(
        self,
        alias: str,
        queues: Callable[[], Collection[str]],
        *,
        notify: bool,
        longest: float = 0.2,
        rest: float = 0.0,
    ) -> None:
        self._alias, self._queues, self._notify, self._longest, self.rest = alias, queues, notify, longest, rest
        #: Whether the queues may have messages since they were read last.
        self._noted = False
        self._listener: Listener | None = None
        self._pid = 0
        self._polled_at = time.monotonic()

    def listen(self) -> Listener:
        """Return the listener. Read the queues again after the first call: earlier messages are not notified of."""
        if self._listener is None or self._pid != os.getpid():
            self._listener, self._pid = self._make(), os.getpid()
        return self._listener

    def _make(self) -> Listener:
        adaptive = AdaptiveListener(0.005, self._longest)
        if not self._notify:
            return adaptive
        try:
            listener = for_alias(self._alias).message_listener()
        except Exception as error:
            raise BrokerUnavailable(f"can't wait for messages on {self._alias!r}: {error}") from error
        return adaptive if isinstance(listener, AdaptiveListener) else listener

    def wait(self, timeout: float | None) -> None:
        """Wait until the queues may have messages, for ``timeout`` seconds at most."""
        deadline = time.monotonic() + (POLL_EVERY if timeout is None else min(timeout, POLL_EVERY))
        while (left := deadline - time.monotonic()) > 0 and not self._ask(lambda listener: listener.wait(left)):
            pass
        self._polled_at = time.monotonic()

    def due(self) -> bool:
        """Tell whether to read the queues now: the database notified, or they were not read for ``POLL_EVERY``."""
        self._noted = self._ask(lambda listener: listener.poll()) or self._noted
        since = time.monotonic() - self._polled_at
        if since >= POLL_EVERY or (self._noted and since >= self.rest):
            self._noted, self._polled_at = False, time.monotonic()
            return True
        return False

    def _ask(self, question: Callable[[Listener], set[str] | None]) -> bool:
        """Tell whether the queues may have messages, by the listener's answer."""
        try:
            marks = question(self.listen())
        except OperationalError as error:
            self.close()
            raise BrokerUnavailable(*error.args) from error
        return marks is None or (bool(marks) and not marks.isdisjoint(map(mark, self._queues())))

    def pause(self) -> float:
        """Return the seconds until the next call of ``due``, if the listener's descriptor stays quiet."""
        interval = self.listen().interval
        if self._noted:
            return max(0.0, self._polled_at + self.rest - time.monotonic())
        return POLL_EVERY if interval is None else max(interval, self.rest)

    def mark_useful(self) -> None:
        """Tell an adaptive listener that there was a message: the next poll is soon."""
        if isinstance(self._listener, AdaptiveListener):
            self._listener.mark_useful()

    def close(self) -> None:
        """Close the listener."""
        if self._listener is not None and self._pid == os.getpid():
            self._listener.close()
        self._listener = None
