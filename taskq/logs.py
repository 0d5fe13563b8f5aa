"""Logging: loggers for tasks, the task in every record, and the worker's own set-up.

Tasks call ``get_task_logger``; ``execution`` runs them in a ``task_context``; the worker's command calls
``setup_worker_logging``. Django's ``LOGGING`` always wins: loggers that it configures, their formats and the record
factory are never changed. A root logger without handlers gets one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar, Token
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from types import TracebackType
from typing import TextIO

from django.conf import settings as django_settings

from taskq import signals
from taskq.conf import settings
from taskq.files import open_log
from taskq.log_escapes import escaped, get_logger

__all__ = [
    "TaskFilter",
    "get_task_logger",
    "is_of_taskq",
    "label_handlers",
    "log_descriptor",
    "log_to_file_of",
    "replace_stream",
    "setup_worker_logging",
    "task_context",
]

LOGGER = "taskq"
TASK_LOGGER = "taskq.task"

_current: ContextVar[tuple[str, str] | None] = ContextVar("taskq_logged_task", default=None)

_COLORS = {logging.DEBUG: "34", logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "1;31"}


class task_context:
    """Context manager: every log record in it has ``task_id`` and ``task_name``."""

    __slots__ = ("_task", "_token")

    _token: Token[tuple[str, str] | None]

    def __init__(self, task_id: str, name: str) -> None:
        self._task = (task_id, name)

    def __enter__(self) -> None:
        self._token = _current.set(self._task)

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _current.reset(self._token)


class TaskFilter(logging.Filter):
    """Add ``task_id`` and ``task_name`` to records, ``None`` outside of tasks; let all records through.

    Values from ``extra=`` stay. The worker adds the filter to all handlers that exist when it starts;
    elsewhere name it in ``LOGGING``::

        "filters": {"task": {"()": "taskq.logs.TaskFilter"}}
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Label the record and keep it."""
        task = _current.get()
        # Both come from the message.
        task_id, name = (None, None) if task is None else map(escaped, task)
        record.__dict__.setdefault("task_id", task_id)
        record.__dict__.setdefault("task_name", name)
        return True


_label = TaskFilter()
_file_of: Callable[[int], str | None] | None = None


def get_task_logger(name: str) -> logging.Logger:
    """Return the logger for a module of tasks, below ``taskq.task``: ``get_task_logger(__name__)``.

    Its records have ``task_id`` and ``task_name`` in every handler.
    """
    within = name == TASK_LOGGER or name.startswith(f"{TASK_LOGGER}.")
    logger = logging.getLogger(name if within else f"{TASK_LOGGER}.{name}")
    logger.addFilter(_label)
    return logger


def label_handlers() -> None:
    """Add ``TaskFilter`` to each handler of each logger, as the first filter: the others can read its attributes.

    Not a record factory: with that, ``extra={"task_id": ...}`` in the application's code would be an error.
    """
    for handler in _handlers():
        if not any(isinstance(known, TaskFilter) for known in handler.filters):
            handler.filters.insert(0, _label)


def replace_stream(old: TextIO, new: TextIO) -> None:
    """Have each handler of each logger that writes to ``old`` write to ``new``."""
    for handler in _handlers():
        if isinstance(handler, logging.StreamHandler) and handler.stream is old:
            # Not by setStream, which flushes the old stream: that may be broken.
            handler.stream = new


def _handlers() -> Iterator[logging.Handler]:
    for logger in (logging.root, *logging.root.manager.loggerDict.values()):
        yield from getattr(logger, "handlers", ())  # placeholders in the dictionary have none


class WorkerFormatter(logging.Formatter):
    """Format records that tasks log by ``TASKQ_TASK_LOG_FORMAT`` and all others by ``TASKQ_WORKER_LOG_FORMAT``."""

    def __init__(self, *, color: bool = False) -> None:
        super().__init__(settings.WORKER_LOG_FORMAT)
        self._task_format = logging.Formatter(settings.TASK_LOG_FORMAT)
        self._color = color

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with ``color`` in the colour of its level."""
        in_task = not is_of_taskq(record.name) and getattr(record, "task_id", None)
        text = self._task_format.format(record) if in_task else super().format(record)
        code = _COLORS.get(record.levelno) if self._color else None
        return f"\x1b[{code}m{text}\x1b[0m" if code else text


class RootHandler(logging.Handler):
    """Pass what the application's loggers say to the handlers of ``taskq``.

    It leaves out records that a handler of their own logger, or of one between it and the root, has had.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Let the handlers of ``taskq`` handle the record."""
        if _has_handlers(logging.getLogger(record.name)):
            return
        for handler in logging.getLogger(LOGGER).handlers:
            if record.levelno >= handler.level:
                handler.handle(record)


class LogFile(WatchedFileHandler):
    """The worker's log file, reopened after rotation.

    ``descriptor`` is always that of the current file, for writers that keep its number, such as ``faulthandler``.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path, encoding="utf-8")
        self.descriptor = -1
        if self.stream is not None:  # it never is: the file is opened at once
            self.descriptor = os.dup(self.stream.fileno())

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding="utf-8", opener=open_log)

    def reopenIfNeeded(self) -> None:
        """Open the file again if it was rotated. If it can't be opened, the log goes on in the file that there was."""
        before = self.stream
        try:
            super().reopenIfNeeded()
        except OSError:
            if self.stream is None:
                self.stream = os.fdopen(os.dup(self.descriptor), "a", encoding="utf-8")
        else:
            if self.stream is not before and self.stream is not None:
                os.dup2(self.stream.fileno(), self.descriptor, inheritable=False)

    def close(self) -> None:
        """Close the file, and the descriptor."""
        super().close()
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def setup_worker_logging(
    level: int | str | None = None,
    logfile: str | None = None,
    *,
    file_of: Callable[[int], str | None] | None = None,
    color: bool = False,
) -> None:
    """Give the logger ``taskq`` a handler if Django's ``LOGGING`` gave none to it or to the root logger.

    The root logger then passes to it what no other logger handles, from the same level on.
    ``level`` and ``logfile`` are the command line's, or ``None``; they also apply beside ``LOGGING``, to the logger
    ``taskq`` only. ``logfile`` is reopened after rotation; without it the log goes to standard error, with colours if
    ``color``. ``file_of`` returns the log file of a process of the pool, by its number from 1, if each has its own:
    see ``log_to_file_of``. A receiver of ``taskq.signals.setup_logging`` replaces all this.
    """
    global _file_of
    _file_of = None if signals.setup_logging.receivers else file_of
    said = {"loglevel": _number(level), "logfile": logfile, "format": settings.WORKER_LOG_FORMAT, "colorize": color}
    if signals.setup_logging.receivers:
        signals.send(signals.setup_logging, None, **said)
    else:
        logger = logging.getLogger(LOGGER)
        _set_up(logger, level, logfile, color)
        signals.send(signals.after_setup_logger, None, logger=logger, **said)
        for_tasks = {"logger": logging.getLogger(TASK_LOGGER), **said, "format": settings.TASK_LOG_FORMAT}
        signals.send(signals.after_setup_task_logger, None, **for_tasks)
    # Receivers may have added handlers.
    label_handlers()


def _set_up(logger: logging.Logger, level: int | str | None, logfile: str | None, color: bool) -> None:
    _remove_own_handlers(logger)
    _remove_root_handler()
    configured = _is_configured(logger)
    if level is not None or not configured:
        logger.setLevel(_number(level))
    if logfile:
        _add_handler(logger, LogFile(logfile), WorkerFormatter())
    elif not configured:
        _add_handler(logger, logging.StreamHandler(), WorkerFormatter(color=color))
    if not configured:
        logging.root.setLevel(logger.level)
        logging.root.addHandler(RootHandler())


def log_to_file_of(process: int) -> None:
    """Log to the own file of this process of the pool, if it has one; called when a child starts."""
    path = _file_of(process) if _file_of else None
    if path is None:
        return
    logger = get_logger(LOGGER)
    try:
        handler = LogFile(path)
    except OSError as error:
        # The directory may belong to another user: the child then logs to the common file.
        logger.warning("Process %d of the pool has no log file of its own: %s", process, error)
        return
    _remove_own_handlers(logger)
    _add_handler(logger, handler, WorkerFormatter())
    label_handlers()


def log_descriptor() -> int | None:
    """Return the descriptor of the worker's log file, if it has one."""
    handler = _log_file()
    return None if handler is None else handler.descriptor


def _log_file() -> LogFile | None:
    handlers = logging.getLogger(LOGGER).handlers
    return next((handler for handler in handlers if isinstance(handler, LogFile)), None)


def _number(level: int | str | None) -> int:
    """Return a level as a number. Raises ``KeyError`` for an unknown name."""
    if level is None:
        return logging.WARNING
    return level if isinstance(level, int) else logging.getLevelNamesMapping()[level.upper()]


def is_of_taskq(name: str) -> bool:
    """Tell whether a logger is one of taskq's own, and not one of tasks."""
    return _is_below(LOGGER, name) and not _is_below(TASK_LOGGER, name)


def _is_below(parent: str, name: str) -> bool:
    return name == parent or name.startswith(f"{parent}.")


def _has_handlers(logger: logging.Logger | None) -> bool:
    """Whether a logger below the root handles what ``logger`` says. The ``NullHandler`` of a library does not."""
    while logger is not None and logger is not logging.root:
        if any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            return True
        logger = logger.parent
    return False


def _is_configured(logger: logging.Logger) -> bool:
    if logger.handlers or logging.root.handlers:
        return True
    loggers = django_settings.LOGGING.get("loggers", {})
    return LOGGER in loggers or "" in loggers or "root" in django_settings.LOGGING


def _add_handler(logger: logging.Logger, handler: logging.Handler, formatter: logging.Formatter) -> None:
    handler.setFormatter(formatter)
    logger.addHandler(handler)


def _remove_own_handlers(logger: logging.Logger) -> None:
    """Remove the handlers of an earlier set-up, as after a fork."""
    for handler in logger.handlers[:]:
        if isinstance(handler.formatter, WorkerFormatter):
            logger.removeHandler(handler)
            handler.close()


def _remove_root_handler() -> None:
    for handler in logging.root.handlers[:]:
        if isinstance(handler, RootHandler):
            logging.root.removeHandler(handler)
