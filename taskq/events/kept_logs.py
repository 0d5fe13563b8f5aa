"""Lines that tasks log, as rows: a service of a worker while ``TASKQ_KEEP_TASK_LOGS`` is on.

``execution.kept_logs`` has them reported. They are written by the store thread, those of all tasks together, before the
ends that were reported after them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskq.engines import for_alias
from taskq.handover import Report
from taskq.store import logs
from taskq.store.logs import Logged
from taskq.worker.duties.store_thread import Duty, StoreThread
from taskq.worker.log_lines import task_logged
from taskq.worker.node import WorkerNode

from . import log_lines

#: Reports that wait at most while the database is away; further ones are dropped.
_MOST = 20_000


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

    __slots__ = ("_alias", "_logged")

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._logged: list[Logged] = []

    def add(self, logged: Logged) -> None:
        """Have lines written."""
        if len(self._logged) < _MOST:
            self._logged.append(logged)

    def work(self) -> bool:
        """Write all; what the database refuses is dropped: a log must not hold up the ends of tasks."""
        if self._logged:
            self._write(self._logged)
            self._logged = []
        return False

    def _write(self, logged: Sequence[Logged]) -> None:
        try:
            logs.write(logged, self._alias)
        except Exception as error:
            if for_alias(self._alias).may_pass(error):
                raise
            log_lines.lines_not_kept(len({each.task_id for each in logged}), error)

    @property
    def done(self) -> bool:
        """Whether everything is written."""
        return not self._logged
