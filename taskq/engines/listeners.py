"""Listeners tell that something changed in the database. An engine makes them; each vendor has its own."""

from __future__ import annotations

import select
import time


class Listener:
    """Tells that something changed in the database.

    A caller that waits for other things too watches ``fileno`` (if it is not -1)
    or comes back after ``interval`` seconds, and then asks ``poll``. A listener has a
    connection of its own where it needs one, and belongs to one thread.
    """

    #: Seconds after which ``poll`` is worth a call though ``fileno`` is quiet; ``None`` if never.
    interval: float | None = 0.05
    #: Whether it is known that the database is reached without a proxy that changes sessions.
    direct = False

    def fileno(self) -> int:
        """Return a descriptor that is readable when there is news, or -1."""
        return -1

    def poll(self) -> set[str] | None:
        """Return the marks of what changed (see ``marks``); ``None`` means "something, look"; empty is nothing."""
        return None

    def wait(self, timeout: float) -> set[str] | None:
        """Wait up to ``timeout`` seconds for news; return what ``poll`` does, empty after a time-out."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            pause = left if self.interval is None else min(left, self.interval)
            if self.fileno() < 0:
                time.sleep(pause)
            else:
                poll = select.poll()
                poll.register(self.fileno(), select.POLLIN)
                poll.poll(pause * 1000)
            names = self.poll()
            if names is None or names:
                return names
        return set()

    def mark_useful(self) -> None:
        """Hear that a look was worth it."""

    def close(self) -> None:
        """Close the listener's connection and files."""


class AdaptiveListener(Listener):
    """For a database that can't call: look soon after there was something, and later and later after."""

    def __init__(self, shortest: float = 0.005, longest: float = 0.25) -> None:
        self._shortest, self._longest = shortest, longest
        self.interval: float = shortest

    def poll(self) -> set[str] | None:
        """Return ``None``: only a look can tell. The next look is due later."""
        self.interval = min(self._longest, self.interval * 1.3)
        return None

    def mark_useful(self) -> None:
        """Look again soon."""
        self.interval = self._shortest
