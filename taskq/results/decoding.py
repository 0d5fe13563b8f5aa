"""What a row says of its task's end: the value, the exception, the arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskq import states
from taskq.exceptions import ChordError, DecodeError, TaskRevokedError
from taskq.messages import values
from taskq.messages.exception_data import RemoteTraceback

from . import backend

if TYPE_CHECKING:
    from taskq.models import TaskRun

#: What is read of a task to rebuild its exception.
_COLUMNS = ("state", "result", "traceback")
#: How many failures are followed from the body of a chord to the task that began it.
_MOST_CAUSES = 50


def value(row: TaskRun) -> Any:
    """Return what the row's ``result`` says: an exception in the states that have one."""
    if row.state in states.EXCEPTION_STATES:
        return exception(row)
    return values.decode(row.result, row.content_type)


def exception(row: TaskRun) -> BaseException:
    """Rebuild the row's exception.

    Its cause is, of a chord's body that can't run, the exception of the member that
    failed, which is read; else the worker's traceback.
    """
    found = last = _alone(row)
    for _ in range(_MOST_CAUSES):
        member = last.member_id if isinstance(last, ChordError) else None
        failed = backend.current().fetch((member,), _COLUMNS).get(member) if member else None
        if failed is None or failed.state not in states.PROPAGATE_STATES:
            break
        last.__cause__ = last = _alone(failed)
    return found


def _alone(row: TaskRun) -> BaseException:
    if row.result is None and row.state == states.REVOKED:
        return TaskRevokedError("revoked")
    found = values.decode_exception(row.result)
    if row.traceback:
        found.__cause__ = RemoteTraceback(row.traceback)
    return found


def arguments(text: str | None) -> Any:
    """Return ``[args, kwargs]`` of a row, or twice ``None`` if they are not known."""
    try:
        args, kwargs = values.decode(text)
    except (ValueError, TypeError, DecodeError):
        return None, None
    return args, kwargs
