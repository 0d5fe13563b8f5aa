"""The result backend of a ``Memory``: see ``taskq.results.backend``."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Sequence
from typing import Any

from asgiref.sync import sync_to_async

from taskq import states
from taskq.conf import settings
from taskq.exceptions import TimeoutError
from taskq.models import TaskRun
from taskq.results import callbacks
from taskq.results.backend import ResultBackend
from taskq.workflows.memory import MemoryWorkflows
from taskq.workflows.nodes import saved_group_key

from .rows import MemoryRuns

Found = dict[str, TaskRun]


class MemoryResults(ResultBackend):
    """The half of ``Memory`` that reads and waits. Waiting for a task that has not run is an error: nothing runs it."""

    inline: bool
    _lock: threading.RLock
    _runs: MemoryRuns
    _workflows: MemoryWorkflows
    _saved: dict[str, Any]
    #: When tasks were revoked that were not sent yet.
    _remembered: dict[str, float]
    _watched: list[tuple[Collection[str], Callable[[Found], object]]]

    def drain(self) -> object:
        """See ``Memory``."""
        raise NotImplementedError

    def _run_visible(self) -> None:
        raise NotImplementedError

    # -- reading

    def fetch(self, ids: Collection[str], columns: Collection[str]) -> Found:
        """Return the runs of ``ids``, with all columns."""
        self._run_visible()
        return self._present(ids)

    def _present(self, ids: Collection[str]) -> Found:
        with self._lock:
            found = {task_id: run for task_id in ids if (run := self._runs.present(task_id)) is not None}
            unsent = [task_id for task_id in ids if task_id not in found and self._was_revoked(task_id)]
            return found | {task_id: TaskRun(task_id=task_id, state=states.REVOKED) for task_id in unsent}

    def _was_revoked(self, task_id: str) -> bool:
        """Tell whether a task was revoked before it was sent, and that is remembered still."""
        kept = settings.REVOKES_EXPIRE
        revoked = self._remembered.get(task_id)
        return revoked is not None and (kept is None or time.time() < revoked + kept.total_seconds())

    def _final(self, ids: Collection[str]) -> Found:
        return {task_id: run for task_id, run in self._present(ids).items() if states.is_final(run.state)}

    # -- waiting

    def arrivals(
        self, ids: Collection[str], timeout: float | None, tick: Callable[[], object] | None, interval: float
    ) -> Generator[Found, None, None]:
        """Yield the runs that are final. If there are others, the next step raises: nothing would run their tasks.

        Raises ``TimeoutError`` at once if there is a ``timeout``, else ``RuntimeError``.
        """
        found = self._run_and_fetch(ids)
        if found:
            yield found
        self._check(ids, found, timeout)

    async def async_arrivals(self, ids: Collection[str], timeout: float | None) -> AsyncGenerator[Found, None]:
        """Do ``arrivals`` from a coroutine."""
        found = await sync_to_async(self._run_and_fetch)(ids)
        if found:
            yield found
        self._check(ids, found, timeout)

    def watch(self, ids: Collection[str], call: Callable[[Found], object]) -> None:
        """Have ``call`` called in the thread of ``drain`` when all of ``ids`` have ended."""
        self._watched.append((ids, call))
        self._call_watchers()

    def _call_watchers(self) -> None:
        ended = [(ids, call) for ids, call in self._watched if len(self._final(ids)) == len(set(ids))]
        self._watched = [watched for watched in self._watched if watched not in ended]
        for ids, call in ended:
            callbacks.call_and_log(call, self._final(ids))

    def _run_and_fetch(self, ids: Collection[str]) -> Found:
        if self.inline:
            # A task may wait for another task here: that runs now.
            self.drain()
        return self._final(ids)

    def _check(self, ids: Collection[str], found: Found, timeout: float | None) -> None:
        """Raise an error for the first task without a final run."""
        missing = next((task_id for task_id in ids if task_id not in found), None)
        if missing is not None:
            text = f"Task {missing} has not run, and in this test nothing runs it while get() waits. {self._advice()}"
            raise RuntimeError(text) if timeout is None else TimeoutError(text)

    def _advice(self) -> str:
        if self.inline:
            return "It is due later, or in a transaction that is open: drain(until=...) runs what is scheduled."
        return "Call taskq.testing.drain() first, or use taskq.testing.override('inline')."

    # -- changes

    def forget(self, ids: Sequence[str]) -> None:
        """Delete the runs of ``ids``."""
        with self._lock:
            for task_id in ids:
                self._runs.delete(task_id)

    def save_group(self, group_id: str, data: Any) -> None:
        """Save the result tuple of a group."""
        self._saved[group_id] = data

    def load_group(self, group_id: str) -> Any:
        """Return the result tuple of a group that was saved or sent, ``None`` for an unknown group."""
        if group_id in self._saved:
            return self._saved[group_id]
        if (kept := self._workflows.groups.get(saved_group_key(group_id))) is not None:
            return json.loads(kept.new.body or "null")
        ids = self._workflows.member_ids(group_id)
        return ((group_id, None), [((task_id, None), None) for task_id in ids]) if ids else None

    def delete_group(self, group_id: str) -> None:
        """Delete a saved group."""
        self._saved.pop(group_id, None)
