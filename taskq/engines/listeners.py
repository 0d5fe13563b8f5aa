"""Listeners: they tell the marks of queues with new messages, or of tasks that have ended. An engine makes them."""

from __future__ import annotations

import select
import time


class Listener:
    """Tells that something changed in the database. It belongs to one thread.

    A caller that waits for other things too waits until ``fileno`` is readable (if it is not -1) or ``interval``
    seconds have passed, and then calls ``poll``.
    """

    #: Seconds after which to call ``poll`` though ``fileno`` is not readable; ``None`` if never.
    interval: float | None = 0.05
    #: Whether the connection is known to have no proxy between, which would change sessions.
    direct = False

    def fileno(self) -> int:
        """Return a descriptor that is readable when something may have changed, or -1."""
        return -1

    def poll(self) -> set[str] | None:
        """Return the marks of the changes (see ``marks``), empty for none; ``None`` if something unknown changed."""
        return None

    def wait(self, timeout: float) -> set[str] | None:
        """Wait up to ``timeout`` seconds for a change; return what ``poll`` does, empty after a time-out."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            pause = left if self.interval is None else min(left, self.interval)
            if self.fileno() < 0:
                time.sleep(pause)
            else:
                poll = select.poll()
                poll.register(self.fileno(), select.POLLIN)
                poll.poll(pause * 1000)
            found = self.poll()
            if found is None or found:
                return found
        return set()

    def mark_useful(self) -> None:
        """Note that the caller has found something: an adaptive listener polls more often from now on."""

    def close(self) -> None:
        """Close the listener's connection and files."""


class AdaptiveListener(Listener):
    """For a database without notifications: polls at growing intervals, and at the shortest one after a find."""

    def __init__(self, shortest: float = 0.005, longest: float = 0.25) -> None:
        self._shortest, self._longest = shortest, longest
        self.interval: float = shortest

    def poll(self) -> set[str] | None:
        """Return ``None``: the caller has to look. The next interval is longer."""
        self.interval = min(self._longest, self.interval * 1.3)
        return None

    def mark_useful(self) -> None:
        """Begin again with the shortest interval."""
        self.interval = self._shortest
