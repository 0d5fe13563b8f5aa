"""``lock_timeout`` of PostgreSQL: for a session, or where others use the session too, for each transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from .base import Engine


class LockTimeoutEngine(Engine):
    """The part of PostgreSQL's engine that gives up waiting for locked rows."""

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        #: The driver's connections without a proxy between, which keep the settings of their session (``make_steady``).
        self._direct: WeakSet[Any] = WeakSet()
        #: The time-out of each of the driver's connections, in ms, by ``set_patience``.
        self._patience: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    def set_patience(self, seconds: float) -> None:
        """Behind a proxy that pools transactions, only statements in ``atomic()`` give up."""
        wrapper = self.connection
        wrapper.ensure_connection()
        patience = max(1, round(seconds * 1000))
        if self._patience.get(wrapper.connection) != patience:
            if self._keeps_session(wrapper):
                with self.cursor() as cursor:
                    cursor.execute("SELECT pg_catalog.set_config('lock_timeout', %s::text, false)", [str(patience)])
            self._patience[wrapper.connection] = patience

    def _keeps_session(self, wrapper: Any) -> bool:
        return wrapper.connection in self._direct and not wrapper.settings_dict["OPTIONS"].get("pool")

    def atomic(self) -> AbstractContextManager[object]:
        """See ``base.Engine``."""
        wrapper = self.connection
        # Most processes never set a patience.
        if self._patience and wrapper.connection is not None and not wrapper.in_atomic_block:
            patience = self._patience.get(wrapper.connection)
            if patience and not self._keeps_session(wrapper):
                return self._impatient_transaction(patience)
        return super().atomic()

    @contextmanager
    def _impatient_transaction(self, patience: int) -> Iterator[None]:
        with super().atomic(), self.cursor() as cursor:
            cursor.execute("SELECT pg_catalog.set_config('lock_timeout', %s::text, true)", [str(patience)])
            yield

    def gave_up(self, error: Exception) -> bool:
        """Lock time-out: SQLSTATE 55P03."""
        return getattr(error.__cause__, "sqlstate", None) == "55P03"
