"""Where results come from: the rows of the database, or what ``taskq.testing`` puts in its place.

``AsyncResult`` reads, waits, forgets and revokes through ``current()``, so that a
test in memory needs no database and no second kind of result.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Generator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from . import callbacks, rows, waiting

if TYPE_CHECKING:
    from taskq.models import TaskRun


class Backend(Protocol):
    """What a result needs: rows by id, waiting for them, and the changes it may ask for."""

    def fetch(self, ids: Collection[str], columns: Collection[str]) -> dict[str, TaskRun]:
        """Return the rows of ``ids``; no columns are all columns."""

    def wait(
        self, ids: Collection[str], timeout: float | None, tick: Callable[[], object] | None, interval: float
    ) -> dict[str, TaskRun]:
        """Return the rows of ``ids`` once all are final; call ``tick`` every ``interval`` seconds until then."""

    async def await_(
        self,
        ids: Collection[str],
        timeout: float | None,
        tick: Callable[[], Awaitable[object]] | None = None,
        interval: float = 0.5,
    ) -> dict[str, TaskRun]:
        """Do what ``wait`` does, from a coroutine."""

    def arrivals(
        self, ids: Collection[str], timeout: float | None, tick: Callable[[], object] | None, interval: float
    ) -> Generator[dict[str, TaskRun], None, None]:
        """Do what ``wait`` does, and yield the rows as they become final, those that are new."""

    def async_arrivals(self, ids: Collection[str], timeout: float | None) -> AsyncGenerator[dict[str, TaskRun], None]:
        """Do what ``arrivals`` does, from a coroutine."""

    def watch(self, ids: Collection[str], call: Callable[[dict[str, TaskRun]], object]) -> None:
        """Have ``call`` called with the rows of ``ids`` once all are final; don't wait for it."""

    def forget(self, ids: Sequence[str]) -> None:
        """Delete the rows of ``ids``."""

    def revoke(self, ids: Sequence[str], terminate: str) -> None:
        """Stop the tasks; ``terminate`` is the signal's name for those that run, empty to let them end."""

    def save_group(self, group_id: str, data: Any) -> None:
        """Keep the result tuple of a group; of one that was sent it is known already."""

    def load_group(self, group_id: str) -> Any:
        """Return the result tuple of a group that was saved or sent, ``None`` if it is not known."""

    def delete_group(self, group_id: str) -> None:
        """Delete what was saved of a group. What was sent stays."""


class Database:
    """The rows of ``TASKQ_DATABASE``: see ``Backend``."""

    def fetch(self, ids: Collection[str], columns: Collection[str]) -> dict[str, TaskRun]:
        """See ``Backend``."""
        return rows.fetch(ids, columns)

    def wait(
        self, ids: Collection[str], timeout: float | None, tick: Callable[[], object] | None, interval: float
    ) -> dict[str, TaskRun]:
        """See ``Backend``."""
        return waiting.wait(ids, timeout, tick, interval)

    async def await_(
        self,
        ids: Collection[str],
        timeout: float | None,
        tick: Callable[[], Awaitable[object]] | None = None,
        interval: float = 0.5,
    ) -> dict[str, TaskRun]:
        """See ``Backend``."""
        return await waiting.await_(ids, timeout, tick, interval)

    def arrivals(
        self, ids: Collection[str], timeout: float | None, tick: Callable[[], object] | None, interval: float
    ) -> Generator[dict[str, TaskRun], None, None]:
        """See ``Backend``."""
        return waiting.arrivals(ids, timeout, tick, interval)

    def async_arrivals(self, ids: Collection[str], timeout: float | None) -> AsyncGenerator[dict[str, TaskRun], None]:
        """See ``Backend``."""
        return waiting.async_arrivals(ids, timeout)

    def watch(self, ids: Collection[str], call: Callable[[dict[str, TaskRun]], object]) -> None:
        """See ``Backend``."""
        callbacks.watch(ids, call)

    def forget(self, ids: Sequence[str]) -> None:
        """See ``Backend``."""
        from taskq.store import retention

        retention.forget(ids)

    def revoke(self, ids: Sequence[str], terminate: str) -> None:
        """See ``Backend``."""
        from taskq.store import revoke

        revoke.revoke(ids, terminate)

    def save_group(self, group_id: str, data: Any) -> None:
        """See ``Backend``."""
        from taskq.store import saved_groups

        saved_groups.save_group(group_id, data)

    def load_group(self, group_id: str) -> Any:
        """See ``Backend``."""
        from taskq.store import saved_groups

        return saved_groups.load_group(group_id)

    def delete_group(self, group_id: str) -> None:
        """See ``Backend``."""
        from taskq.store import saved_groups

        saved_groups.delete_group(group_id)


_current: Backend = Database()


def current() -> Backend:
    """Return where results come from now."""
    return _current


def use(backend: Backend) -> Backend:
    """Read results from ``backend`` from now on, in the whole process; return what was there before."""
    global _current
    before, _current = _current, backend
    return before
