"""Processes that a task forks: such a process must end where it leaves the task's code.

It is a copy of the process that runs the task. If it went on in taskq's code, it would call the task's handlers, end
the transactions of the process that forked it, and give an outcome in its place.
"""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress

from taskq.processes import flush_streams

#: How many forks lie between the first process and this one.
_forks = 0


def _count() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count)


def forks() -> int:
    """Return a number that differs between a process and the processes that it forks."""
    return _forks


def end_if_forked(before: int) -> None:
    """End this process if it was forked since ``forks()`` was ``before``, with the exit status that Python would give.

    The exception that is handled now, if any, is the one with which the process left the task's code.
    """
    if _forks == before:
        return
    status = 1
    try:
        status = _status(sys.exception())
        flush_streams()
    finally:
        os._exit(status & 0xFF)


def _status(error: BaseException | None) -> int:
    """Return the exit status for ``error``, and print its text as Python does at its exit."""
    if error is None:
        return 0
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        return error.code or 0
    with suppress(BaseException):
        if isinstance(error, SystemExit):
            print(error.code, file=sys.stderr)
        else:
            traceback.print_exception(error)
    return 1
