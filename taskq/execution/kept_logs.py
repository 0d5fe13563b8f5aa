"""Keeps the lines that a running task logs (``TASKQ_KEEP_TASK_LOGS``). Off, nothing here is called for a task.

A pool calls ``start`` in each process that runs tasks, and ``execute`` runs a task in ``kept``. A handler of the root
logger then notes each record from the level ``INFO`` on in the log of the run of its thread or coroutine, and reports
it to the worker's main process: the first lines at once, later ones twice a second, so that a task that is killed
leaves a log. taskq's own lines are left out: the row of the task has what they say.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from taskq import clock
from taskq.conf import settings
from taskq.containment import contained
from taskq.exceptions import SoftTimeLimitExceeded
from taskq.forks import forks
from taskq.handover import LOGGED, Report
from taskq.logs import is_of_taskq

from .interrupts import CutShort
from .run import Run

#: Characters and lines of JSON that are kept of one start: half of them are its first lines, half its last ones.
MOST, MOST_LINES = 64 * 1024, 1000
#: Characters of one line, a traceback among them. Of a line that is more than twice as long in JSON a third is kept.
LONGEST = 8 * 1024
#: The first reports of a run are sent at once: so many. Later ones wait for so many seconds or characters of lines.
_AT_ONCE, _PAUSE, _BATCH = 10, 0.5, 8 * 1024

#: Whether tasks of this process run in ``kept``.
keeps = False
_current: ContextVar[RunLog | None] = ContextVar("taskq.kept_log", default=None)
_traceback = logging.Formatter().formatException
_SURROGATE = re.compile("[\ud800-\udfff]")


class RunLog:
    """The lines of one run. The last ones are only reported at its end, behind the number of those left out."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._unsent: list[str] = []
        self._reports = 0
        self._next = 0.0
        self._size = self._count = 0
        self._last: deque[str] = deque()
        self._last_size = 0
        self._left_out = 0

    def add(self, line: str) -> None:
        """Keep a line, which is JSON."""
        if self._run.forks != forks():
            return  # Two processes can't share a stream of reports.
        if self._last or self._left_out or self._size + len(line) > MOST // 2 or self._count >= MOST_LINES // 2:
            self._add_last(line)
            return
        self._size += len(line)
        self._count += 1
        self._unsent.append(line)
        now = time.monotonic()
        if self._reports < _AT_ONCE or now >= self._next or sum(map(len, self._unsent)) >= _BATCH:
            self._report()
            self._next = now + _PAUSE

    def _add_last(self, line: str) -> None:
        self._last.append(line)
        self._last_size += len(line)
        while self._last_size > MOST // 2 or len(self._last) > MOST_LINES // 2:
            self._last_size -= len(self._last.popleft())
            self._left_out += 1

    def close(self) -> None:
        """Report what is left."""
        if self._left_out:
            self._unsent.append(str(self._left_out))
        self._unsent += self._last
        self._last = deque()
        if self._unsent and self._run.forks == forks():
            self._report()

    def _report(self) -> None:
        run, lines = self._run, f"[{','.join(self._unsent)}]"
        self._unsent = []
        self._reports += 1
        if run.report is not None:
            run.report(Report(run.delivery.job, run.delivery.task_id, "", lines, at=run.started, event=LOGGED))


class Keeper(logging.Handler):
    """Notes records in the log of the run to which they belong."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record's line. If its text can't be made, the error is handled as in any handler of ``logging``.

        An exception by which the pool ends the task, at a soft limit or to terminate it, is raised.
        """
        log = _current.get()
        if log is None or is_of_taskq(record.name):
            return
        try:
            line = as_line(record)
        except (SoftTimeLimitExceeded, CutShort):
            raise
        except contained():
            self.handleError(record)
            return
        with suppress(OSError):  # The main process is gone; the child notices that itself.
            log.add(line)


def as_line(record: logging.LogRecord) -> str:
    """Return a record as JSON that every database takes: NUL and halves of surrogate pairs are escaped."""
    text = record.getMessage()
    if record.exc_info and record.exc_info[0] is not None:
        text = f"{text}\n{record.exc_text or _traceback(record.exc_info)}"
    line = _json(record, text, LONGEST)
    return line if len(line) <= 2 * LONGEST else _json(record, text, LONGEST // 3)


def _json(record: logging.LogRecord, text: str, most: int) -> str:
    cut = text if len(text) <= most else f"{text[:most]}…"
    # Letters as they are: as escapes most languages would be six times as long.
    line = json.dumps([round(clock.now(), 3), record.levelno, record.name[:100], cut], ensure_ascii=False)
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


_keeper = Keeper(logging.INFO)


def start() -> None:
    """Keep the logs of tasks that run in this process, if the setting says so."""
    global keeps
    stop()
    keeps = settings.KEEP_TASK_LOGS
    if keeps:
        for logger in _tops():
            logger.addHandler(_keeper)


def stop() -> None:
    """Keep no more."""
    global keeps
    keeps = False
    for logger in _tops():
        logger.removeHandler(_keeper)


def _tops() -> Iterator[logging.Logger]:
    """Yield the loggers that hand their records on to no other."""
    yield logging.root
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger) and not logger.propagate:
            yield logger


@contextmanager
def kept(run: Run) -> Iterator[None]:
    """Keep what is logged in the block, and in the threads and coroutines that take over its context."""
    log = RunLog(run)
    token = _current.set(log)
    try:
        yield
    finally:
        _current.reset(token)
        with suppress(OSError):
            log.close()
