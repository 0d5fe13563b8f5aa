"""Decodes the columns of a task's row: the value, the exception, the arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskq import states
from taskq.exceptions import ChordError, DecodeError, SignatureMismatch, TaskRevokedError
from taskq.messages import values
from taskq.messages.exception_data import RemoteTraceback

from . import backend

if TYPE_CHECKING:
    from taskq.models import TaskRun

#: The columns from which an exception is rebuilt.
_COLUMNS = ("state", "result", "traceback", "content_type")
#: The most rows that are read from the body of a chord to the member that failed first: members may be chords.
_MOST_CAUSES = 50


def value(row: TaskRun) -> Any:
    """Return the value of the row, or the exception in ``EXCEPTION_STATES``."""
    if row.state in states.EXCEPTION_STATES:
        return exception(row)
    return values.decode(row.result, row.content_type)


def exception(row: TaskRun) -> BaseException:
    """Rebuild the row's exception.

    The cause of a ``ChordError`` is the exception of the member that failed, read from its
    row. The cause of any other exception is the worker's traceback.
    """
    found = _own_exception(row)
    last = found
    for _ in range(_MOST_CAUSES):
        member = last.member_id if isinstance(last, ChordError) else None
        failed = backend.current().fetch((member,), _COLUMNS).get(member) if member else None
        if failed is None or failed.state not in states.PROPAGATE_STATES:
            break
        cause = _own_exception(failed)
        last.__cause__ = cause
        last = cause
    return found


def member_error(error: BaseException) -> BaseException:
    """Return the exception of the failed member, if ``error`` is the ``ChordError`` of a body.

    Other exceptions are returned unchanged, as is a ``ChordError`` whose member has no row any more.
    """
    while isinstance(error, ChordError) and error.member_id:
        if error.__cause__ is None or isinstance(error.__cause__, RemoteTraceback):
            break
        error = error.__cause__
    return error


def _own_exception(row: TaskRun) -> BaseException:
    if row.content_type == values.ALTERED:
        return SignatureMismatch("The stored exception was altered, and TASKQ_SIGNING is on.")
    if row.result is None and row.state == states.REVOKED:
        return TaskRevokedError("revoked")
    found = values.decode_exception(row.result)
    if row.traceback:
        found.__cause__ = RemoteTraceback(row.traceback)
    return found


def arguments(text: str | None) -> Any:
    """Return ``[args, kwargs]`` of a row, or ``(None, None)`` if they can't be decoded."""
    try:
        args, kwargs, *_ = values.decode(text)
    except (ValueError, TypeError, DecodeError):
        return None, None
    return args, kwargs
