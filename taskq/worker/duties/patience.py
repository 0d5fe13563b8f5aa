"""Patience: how long the store thread waits for rows that another transaction has locked.

All duties share one. A statement waits for a moment, as honest transactions end soon. While rows are known to be
locked for longer, nothing waits: work that meets them is set aside (``set_aside``), and the rest goes on.
"""

from __future__ import annotations

import time

from taskq.engines import for_alias
from taskq.worker import log_lines

#: Seconds that a statement waits for a locked row.
USUAL = 0.2
#: The same while rows are known to be locked.
SHORT = 0.01
#: Seconds for which rows are taken to be locked after a statement has given up.
_SUSPICIOUS_FOR = 5.0


class Patience:
    """The patience of the calling thread's connection to ``alias``. Used on the store thread only."""

    def __init__(self, alias: str) -> None:
        self._engine = for_alias(alias)
        self._short_until = 0.0

    def apply(self) -> None:
        """Set the time-out of the connection, which may be a new connection."""
        self._engine.set_patience(SHORT if time.monotonic() < self._short_until else USUAL)

    def met_lock(self, error: BaseException) -> bool:
        """Tell whether ``error`` says that a row was locked for too long; if so, wait no longer from now on."""
        if not isinstance(error, Exception) or not self._engine.gave_up(error):
            return False
        if time.monotonic() >= self._short_until:
            log_lines.rows_locked(error)
        self._short_until = time.monotonic() + _SUSPICIOUS_FOR
        self.apply()
        return True
