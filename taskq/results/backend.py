"""Where results come from: the rows of the database, or what ``taskq.testing`` puts in its place.

``AsyncResult`` reads, waits, forgets and revokes through ``current()``, so that a
test in memory needs no database and no second kind of result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Protocol

from . import reading, waiting

if TYPE_CHECKING:
    from taskq.models import TaskRun


class Backend(Protocol):
    """What a result needs: rows by id, waiting for them, and the two changes it may ask for."""

    def fetch(self, ids: Collection[str], columns: Collection[str]) -> dict[str, TaskRun]:
        """Return the rows of ``ids``; no columns are all columns."""

    def wait(
        self, ids: Collection[str], timeout: float | None, tick: Callable[[], object] | None, interval: float
    ) -> dict[str, TaskRun]:
        """Return the rows of ``ids`` once all are final; call ``tick`` every ``interval`` seconds until then."""

    async def await_(self, ids: Collection[str], timeout: float | None) -> dict[str, TaskRun]:
        """Do what ``wait`` does, from a coroutine."""

    def forget(self, ids: Sequence[str]) -> None:
        """Delete the rows of ``ids``."""

    def revoke(self, ids: Sequence[str], terminate: str) -> None:
        """Stop the tasks; ``terminate`` is the signal's name for those that run, empty to let them end."""


class Database:
    """The rows of ``TASKQ_DATABASE``: see ``Backend``."""

    def fetch(self, ids: Collection[str], columns: Collection[str]) -> dict[str, TaskRun]:
        """See ``Backend``."""
        return reading.fetch(ids, columns)

    def wait(
        self, ids: Collection[str], timeout: float | None, tick: Callable[[], object] | None, interval: float
    ) -> dict[str, TaskRun]:
        """See ``Backend``."""
        return waiting.wait(ids, timeout, tick, interval)

    async def await_(self, ids: Collection[str], timeout: float | None) -> dict[str, TaskRun]:
        """See ``Backend``."""
        return await waiting.await_(ids, timeout)

    def forget(self, ids: Sequence[str]) -> None:
        """See ``Backend``."""
        from taskq.store import forget

        forget.forget(ids)

    def revoke(self, ids: Sequence[str], terminate: str) -> None:
        """See ``Backend``."""
        from taskq.store import revoke

        revoke.revoke(ids, terminate)


_current: Backend = Database()


def current() -> Backend:
    """Return where results come from now."""
    return _current


def use(backend: Backend) -> Backend:
    """Read results from ``backend`` from now on, in the whole process; return what was there before."""
    global _current
    before, _current = _current, backend
    return before
