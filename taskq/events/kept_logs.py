"""Lines that tasks log, as rows: a service of a worker while ``TASKQ_KEEP_TASK_LOGS`` is on.

``execution.kept_logs`` has them reported. They are written by the store thread, those of several tasks together, before
the ends that were reported after them, unless the database fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, takewhile
from typing import Any

from taskq.engines import for_alias
from taskq.handover import Report
from taskq.store import logs
from taskq.store.logs import Logged
from taskq.worker.duties.store_thread import Duty, StoreThread
from taskq.worker.log_lines import task_logged
from taskq.worker.node import WorkerNode

from . import log_lines

#: Reports and their characters that wait at most while the database is away; further ones are dropped.
_MOST, _MOST_SIZE = 20_000, 16_000_000
#: Characters that are written at once, if it is not one report: so many bytes fit into one statement of any server.
_PART = 100_000


class KeptLogs:
    """The service: it registers the duty, and takes reports on the loop's thread."""

    def __init__(self) -> None:
        self._store: StoreThread | None = None
        self._writer: LogWriter | None = None

    def start(self, node: WorkerNode) -> None:
        """Have the lines written, with the first duty after the lease."""
        self._store, self._writer = node.store, LogWriter(node.store.alias)
        lease, *others = node.store.duties
        node.store.duties = (lease, self._writer, *others)
        task_logged.subscribe(self._logged)

    def stop(self) -> None:
        """Take nothing more."""
        task_logged.unsubscribe(self._logged)

    def _logged(self, request: Any, report: Report) -> None:
        if self._store is not None and self._writer is not None:
            logged = Logged(request.message.task_id, report.at, report.meta or "[]")
            self._store.calls.post(self._writer.add, logged)


class LogWriter(Duty):
    """Writes what was added, with the next turn of the store thread."""

    __slots__ = ("_alias", "_failed", "_logged", "_size", "_skips_turn")

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._logged: list[Logged] = []
        self._size = 0
        #: Whether the database has failed with the next part, for which it may not be to blame.
        self._failed = False
        #: Whether the next turn is for the other duties alone: each failure may have cost them one.
        self._skips_turn = False

    def add(self, logged: Logged) -> None:
        """Have lines written."""
        if len(self._logged) < _MOST and self._size < _MOST_SIZE:
            self._logged.append(logged)
            self._size += len(logged.lines)

    def work(self) -> bool:
        """Write all, in parts; one that the database refuses, or that fails twice, is dropped.

        A log must not hold up the ends of tasks. Errors of the database are raised.
        """
        skips, self._skips_turn = self._skips_turn, False
        while self._logged and not skips:
            part = self._next_part()
            try:
                self._write(part)
            except Exception:
                self._skips_turn = True
                raise
            del self._logged[: len(part)]
            self._size -= sum(len(each.lines) for each in part)
            self._failed = False
            skips = self._skips_turn
        return bool(self._logged)

    def _next_part(self) -> Sequence[Logged]:
        sizes = accumulate(len(each.lines) for each in self._logged)
        return self._logged[: max(1, sum(1 for _ in takewhile(lambda size: size <= _PART, sizes)))]

    def _write(self, part: Sequence[Logged]) -> None:
        engine = for_alias(self._alias)
        if self._failed:
            # While the database is away, this fails: the lines are not to blame.
            engine.now()
        try:
            logs.write(part, self._alias)
        except Exception as error:
            if engine.may_pass(error) and (engine.is_transient(error) or not self._failed):
                self._failed = self._failed or not engine.is_transient(error)
                raise
            self._skips_turn = True
            log_lines.lines_not_kept(len({each.task_id for each in part}), error)

    @property
    def done(self) -> bool:
        """Whether everything is written."""
        return not self._logged
