"""A mailbox between two threads: one puts calls in, the other is woken by a descriptor and makes them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class Mailbox:
    """Calls for another thread. ``post`` from anywhere; ``run`` on the thread that watches ``fileno``."""

    def __init__(self) -> None:
        self._calls: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """Return the descriptor that is readable while there are calls."""
        return self._event

    def post(self, call: Callable[..., None], *args: Any) -> None:
        """Have ``call(*args)`` made by the other thread, in the order of posting."""
        self._calls.append((call, args))
        os.eventfd_write(self._event, 1)

    def wake(self) -> None:
        """Wake the other thread though there is nothing to call."""
        os.eventfd_write(self._event, 1)

    def run(self) -> None:
        """Make all calls that are there."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._event)
        try:
            # A call that is posted from here on is taken in this round or wakes for the next.
            while self._calls:
                call, args = self._calls.popleft()
                call(*args)
        except BaseException:
            self.wake()
            raise

    def close(self) -> None:
        """Give the descriptor back; the mailbox can't be used any more."""
        os.close(self._event)
