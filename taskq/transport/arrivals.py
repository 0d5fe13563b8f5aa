"""Waiting for messages: the engine's listener where the database can call, looking now and then behind it.

A listener only hints, so whoever waits looks again whatever it said.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from django.db import OperationalError

from taskq.engines import for_alias
from taskq.engines.base import AdaptiveListener, Listener

from .errors import BrokerUnavailable

#: Seconds after which a consumer looks though nothing called it.
LOOK_ANYWAY = 5.0


class Arrivals:
    """What one connection waits with; made by the first wait, and of the thread that waits."""

    def __init__(self, alias: str, *, notify: bool, longest: float = 0.2) -> None:
        self._alias, self._notify, self._longest = alias, notify, longest
        self._listener: Listener | None = None
        self._pid = 0
        self._looked = time.monotonic()

    def listen(self) -> Listener:
        """Return the listener. Look once more after the first call: what came before it is not announced."""
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
        """Return when it is worth looking, after ``timeout`` seconds at most."""
        self._ask(lambda listener: listener.wait(LOOK_ANYWAY if timeout is None else min(timeout, LOOK_ANYWAY)))
        self._looked = time.monotonic()

    def due(self) -> bool:
        """Tell whether it is worth looking now: something called, or nobody has looked for long."""
        called = self._ask(lambda listener: listener.poll()) != set()
        if called or time.monotonic() - self._looked >= LOOK_ANYWAY:
            self._looked = time.monotonic()
            return True
        return False

    def _ask(self, question: Callable[[Listener], set[str] | None]) -> set[str] | None:
        try:
            return question(self.listen())
        except OperationalError as error:
            self.close()
            raise BrokerUnavailable(*error.args) from error

    def pause(self) -> float:
        """Return in how many seconds to ask ``due`` again, if ``fileno`` stays quiet."""
        interval = self.listen().interval
        return LOOK_ANYWAY if interval is None else interval

    def found(self) -> None:
        """Say that there was a message, so that the next look is soon."""
        if isinstance(self._listener, AdaptiveListener):
            self._listener.found()

    def close(self) -> None:
        """Give back what the listener holds."""
        if self._listener is not None and self._pid == os.getpid():
            self._listener.close()
        self._listener = None
