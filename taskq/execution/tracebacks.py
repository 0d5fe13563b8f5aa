"""Tracebacks as text for rows and logs; ``release`` frees their frames.

Frames of taskq's own are left out, and the text is cut to ``LONGEST``. Nothing here raises.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from types import TracebackType

from taskq.containment import contained
from taskq.tasks import task as task_module

__all__ = ["ExceptionInfo", "format_exception", "log_info", "release"]

#: Longest traceback text, in characters.
LONGEST = 64 * 1024
_CUT = "\n  ... {} characters left out ...\n"
_HERE = str(Path(__file__).parent)
_OWN_FILES = (_HERE, str(task_module.__file__))
#: At most this many causes are followed: they may form a cycle.
_MOST_CAUSES = 100


class ExceptionInfo:
    """The ``einfo`` of an exception for handlers and signals; ``str()`` is its traceback."""

    __slots__ = ("exception", "traceback", "type")

    def __init__(self, exception: BaseException) -> None:
        self.exception = exception
        self.type = type(exception)
        #: The traceback as text.
        self.traceback = format_exception(exception)

    @property
    def tb(self) -> TracebackType | None:
        """Python's traceback object, until the run is over."""
        return self.exception.__traceback__

    def __str__(self) -> str:
        return self.traceback

    def __repr__(self) -> str:
        return f"<ExceptionInfo: {self.type.__name__}>"


def format_exception(error: BaseException) -> str:
    """Return the traceback of ``error`` with its causes, as Python prints it."""
    try:
        text = "".join(traceback.format_exception(type(error), error, _without_own(error.__traceback__)))
    except contained():  # an exception class may override any attribute that is read here
        text = f"{type(error).__name__}: its traceback can't be shown\n"
    # No database takes NUL, or halves of surrogate pairs (from file names that are not UTF-8).
    return _cut(text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00"))


def log_info(error: BaseException) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    """Return ``exc_info`` for a log record of ``error``, without taskq's own frames."""
    return type(error), error, _without_own(error.__traceback__)


def _without_own(trace: TracebackType | None) -> TracebackType | None:
    """Return the traceback without taskq's own frames, which come first."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OWN_FILES):
        trace = trace.tb_next
    return trace


def _cut(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    half = (LONGEST - len(_CUT) - 10) // 2
    return text[:half] + _CUT.format(len(text) - 2 * half) + text[-half:]


def release(error: BaseException | None) -> None:
    """Clear the frames of ``error`` and its causes: their local variables would live as long as ``error``."""
    for _ in range(_MOST_CAUSES):
        if error is None:
            return
        traceback.clear_frames(error.__traceback__)
        following = error.__context__ if error.__cause__ is None else error.__cause__
        error.with_traceback(None)  # not by assignment, which a class may refuse
        error = following
