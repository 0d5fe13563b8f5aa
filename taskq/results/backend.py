"""``ResultBackend``: where ``AsyncResult`` and ``GroupResult`` read, wait, forget and revoke.

They use the backend that ``current()`` returns: the rows, or in tests the memory of ``taskq.testing``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Generator, Sequence
from typing import TYPE_CHECKING, Any

from . import rows

if TYPE_CHECKING:
    from taskq.models import TaskRun


class ResultBackend:
    """The rows of ``TASKQ_DATABASE``. A backend of another kind overrides every method."""

    def fetch(self, ids: Collection[str], columns: Collection[str]) -> dict[str, TaskRun]:
        """Return the rows of ``ids`` by task id; no ``columns`` are all columns."""
        return rows.fetch(ids, columns)

    def arrivals(
        self, ids: Collection[str], timeout: float | None, tick: Callable[[], object] | None, interval: float
    ) -> Generator[dict[str, TaskRun], None, None]:
        """Wait for ``ids`` and yield their rows as they become final: see ``waiting.arrivals``."""
        from . import waiting  # a worker whose tasks wait for none loads no listener

        return waiting.arrivals(ids, timeout, tick, interval)

    def async_arrivals(self, ids: Collection[str], timeout: float | None) -> AsyncGenerator[dict[str, TaskRun], None]:
        """Do ``arrivals`` from a coroutine."""
        from . import waiting

        return waiting.async_arrivals(ids, timeout)

    def watch(self, ids: Collection[str], call: Callable[[dict[str, TaskRun]], object]) -> None:
        """Arrange that ``call`` gets the rows of ``ids`` once all of them are final; return at once."""
        from . import callbacks

        callbacks.watch(ids, call)

    def forget(self, ids: Sequence[str]) -> None:
        """Delete the rows of ``ids``."""
        from taskq.store import retention

        retention.forget(ids)

    def revoke(self, ids: Sequence[str], terminate: str) -> None:
        """Revoke the tasks. Those that run get the signal named ``terminate``; if it is empty they run to their end."""
        from taskq.store import revoke

        revoke.revoke(ids, terminate)

    def save_group(self, group_id: str, data: Any) -> None:
        """Save the result tuple of a group. A group that was sent is saved already."""
        from taskq.store import saved_groups

        saved_groups.save_group(group_id, data)

    def load_group(self, group_id: str) -> Any:
        """Return the result tuple of a group that was saved or sent, ``None`` for an unknown group."""
        from taskq.store import saved_groups

        return saved_groups.load_group(group_id)

    def delete_group(self, group_id: str) -> None:
        """Delete a saved group. The rows of a group that was sent stay."""
        from taskq.store import saved_groups

        saved_groups.delete_group(group_id)


_current = ResultBackend()


def current() -> ResultBackend:
    """Return the backend that results use now."""
    return _current


def use(backend: ResultBackend) -> ResultBackend:
    """Let all results of the process use ``backend`` from now on; return the previous backend."""
    global _current
    before, _current = _current, backend
    return before
