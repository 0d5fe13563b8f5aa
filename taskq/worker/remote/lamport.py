"""The Lamport clock of this process: it orders control messages and events of the whole cluster.

Everybody who sends one of those puts the clock forward; everybody who receives one moves beyond the sender's clock.
"""

from __future__ import annotations

import threading
from typing import Any

#: The largest clock that is believed: JSON carries larger numbers, other languages do not.
_MOST = 2**53


class LamportClock:
    """A counter that only grows. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.value = 0

    def forward(self) -> int:
        """Return the clock for a message that is sent now."""
        with self._lock:
            self.value += 1
            return self.value

    def forward_by(self, count: int) -> int:
        """Return the first of the clocks for ``count`` messages that are sent now."""
        with self._lock:
            self.value += count
            return self.value - count + 1

    def adjust(self, other: Any) -> int:
        """Move beyond the clock of a received message, which may be anything; return the new value."""
        if type(other) is not int or not 0 <= other < _MOST:
            return self.value
        with self._lock:
            self.value = max(self.value, other) + 1
            return self.value


#: The clock of this process.
lamport = LamportClock()
