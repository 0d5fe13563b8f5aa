"""The log lines that were kept with a task, by its starts."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models.functions import Left

from taskq.conf import settings
from taskq.models import TaskLog

from . import payloads
from .timeline import Try

#: Rows that a page reads at most, the newest ones.
MANY = 200
#: Lines that a page shows of one start at most.
LINES = 1_001
#: What the names of the loggers of ``get_task_logger`` begin with.
_OF_TASKS = "taskq.task."
_CLOSE = timedelta(milliseconds=50)
_TONES = ((logging.ERROR, "bad"), (logging.WARNING, "warn"))


@dataclass(frozen=True, slots=True)
class Line:
    """One line. ``left_out`` is the number of lines that were not kept, in the place of one."""

    at: datetime | None = None
    level: str = ""
    tone: str = ""
    logger: str = ""
    text: str = ""
    left_out: int = 0


@dataclass(slots=True)
class Log:
    """The lines of one start of a task; ``attempt`` is its number, 0 if it is none of those that are known."""

    started_at: datetime
    attempt: int = 0
    lines: list[Line] = field(default_factory=list)
    cut: bool = False


def kept(task_id: str, starts: Sequence[Try], space: payloads.Space) -> list[Log]:
    """Return the logs of a task, the newest start first, as far as there is ``space``."""
    cut = Left("lines", payloads.LIMIT * 2 + 1)
    rows = TaskLog.objects.using(settings.DATABASE).filter(task_id=task_id).defer("lines").annotate(cut_lines=cut)
    found: dict[datetime, Log] = {}
    for row in list(rows.order_by("-id")[:MANY])[::-1]:
        log = found.setdefault(row.started_at, Log(row.started_at, _attempt(row.started_at, starts)))
        log.lines += read(row.cut_lines)
    logs = sorted(found.values(), key=lambda log: log.started_at, reverse=True)
    for log in logs:
        _fit(log, space)
    return logs


def read(text: str) -> Iterator[Line]:
    """Yield the lines in the JSON of a row, whatever is in it."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = []
    for each in said if isinstance(said, list) else []:
        match each:
            case bool():
                pass
            case int() as count if 0 < count < 2**31:
                yield Line(left_out=count)
            case [int() | float() as at, int() as level, str() as logger, str() as written]:
                tone = next((tone for least, tone in _TONES if level >= least), "")
                yield Line(
                    _moment(at),
                    str(logging.getLevelName(level)),
                    tone,
                    _shown(logger.removeprefix(_OF_TASKS)),
                    _shown(written),
                )


def _attempt(started_at: datetime, starts: Sequence[Try]) -> int:
    """Return the number of the start: the last one before; that of a lost process is noted by another clock."""
    before = [start for start in starts if start.started is not None and start.started <= started_at + _CLOSE]
    return before[-1].number if before else 0


def _fit(log: Log, space: payloads.Space) -> None:
    shown: list[Line] = []
    for line in log.lines[:LINES]:
        if space.cut(line.text) != line.text:
            break
        shown.append(line)
    log.cut = len(shown) < len(log.lines)
    log.lines = shown


def _shown(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _moment(at: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(at, UTC)
    except (OverflowError, OSError, ValueError):
        return None
