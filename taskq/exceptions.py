"""Every exception that taskq raises or stores.

Exceptions cross processes as data, under the module names that Celery uses, so
that a Celery client can rebuild ours and we can rebuild Celery's
(``wire_module``).
"""

from __future__ import annotations

import builtins
import re
from datetime import datetime
from typing import Any

from kombu.exceptions import ContentDisallowed, DecodeError, EncodeError, OperationalError

__all__ = [
    "ChordError",
    "ContentDisallowed",
    "DecodeError",
    "EncodeError",
    "Ignore",
    "IncompleteStream",
    "InvalidTaskError",
    "MaxRetriesExceededError",
    "NotRegistered",
    "OperationalError",
    "QueueNotFound",
    "Reject",
    "Retry",
    "SignatureMismatch",
    "SoftTimeLimitExceeded",
    "TaskPredicate",
    "TaskRevokedError",
    "TaskqError",
    "TimeLimitExceeded",
    "TimeoutError",
    "WorkerLostError",
]


class TaskqError(Exception):
    """Base of the errors that are taskq's own."""


class TimeoutError(TaskqError, builtins.TimeoutError):
    """``get()`` waited as long as it was told to and the task was not ready."""


class NotRegistered(TaskqError, KeyError):
    """A task name that no installed app defines."""

    def __str__(self) -> str:
        return f"{self.args[0] if self.args else ''!r}"


class QueueNotFound(TaskqError, KeyError):
    """A queue that is not in ``TASKQ_QUEUES`` while ``TASKQ_CREATE_MISSING_QUEUES`` is off."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class InvalidTaskError(TaskqError):
    """A message that looks like a task but can't be one."""


class SignatureMismatch(InvalidTaskError):
    """A message whose signature is missing or wrong while ``TASKQ_SIGNING`` is on."""


class MaxRetriesExceededError(TaskqError):
    """The task was retried as often as it may be."""

    def __init__(self, *args: Any, task_args: Any = (), task_kwargs: Any = None, **kwargs: Any) -> None:
        self.task_args = task_args
        self.task_kwargs = task_kwargs if task_kwargs is not None else {}
        super().__init__(*args, **kwargs)


class TaskRevokedError(TaskqError):
    """The task was revoked, expired or terminated, and has no result."""


class ChordError(TaskqError):
    """The body of a chord can't run, because a task of its header failed.

    ``get()`` sets ``__cause__`` to the exception of that task.
    """

    _SAYS = re.compile(r"Dependency (.+?) raised ", re.DOTALL)

    @classmethod
    def by_member(cls, task_id: str, exception: BaseException | str) -> ChordError:
        """Return the error for the member ``task_id``, in Celery's words, with ``exception`` or its ``repr``."""
        shown = exception if isinstance(exception, str) else repr(exception)
        error = cls(f"Dependency {task_id} raised {shown}")
        error.__cause__ = exception if isinstance(exception, BaseException) else None
        return error

    @property
    def member_id(self) -> str | None:
        """The id of the task that failed, as far as the text says."""
        found = self._SAYS.match(str(self))
        return found and found[1]


class IncompleteStream(TaskqError):
    """``iterdeps()`` came to a task that has not ended, so that what it sends is not known yet."""


class WorkerLostError(TaskqError):
    """The process that ran the task is gone."""


class TimeLimitExceeded(TaskqError):
    """The hard time limit ran out and the process was killed. Argument: the limit in seconds."""


class SoftTimeLimitExceeded(TaskqError):
    """Raised inside the task when its soft time limit runs out."""

    def __str__(self) -> str:
        return f"SoftTimeLimitExceeded{self.args!r}"


class TaskPredicate(TaskqError):
    """Base of what a task raises to say how it ends, not that it failed."""


class Retry(TaskPredicate):
    """The task is to run again later.

    ``exc`` is the exception that caused it, ``when`` seconds from now, a datetime
    or one in ISO 8601.
    """

    def __init__(
        self,
        message: str | None = None,
        exc: BaseException | None = None,
        when: float | datetime | str | None = None,
        **kwargs: Any,
    ) -> None:
        self.message = message or ""
        self.exc = exc
        self.when = when
        super().__init__(message, exc, when, **kwargs)

    def humanize(self) -> str:
        """Return when the task runs again, in words."""
        if isinstance(self.when, int | float):
            return f"in {self.when:g}s"
        return f"at {self.when}"

    def __str__(self) -> str:
        if self.message:
            return self.message
        if self.exc is not None:
            return f"Retry {self.humanize()}: {self.exc!r}"
        return f"Retry {self.humanize()}"


class Ignore(TaskPredicate):
    """The worker is to write no state for this run."""


class Reject(TaskPredicate):
    """The message is to be rejected; with ``requeue`` it goes back to its queue."""

    def __init__(self, reason: Any = None, requeue: bool = False) -> None:
        self.reason = reason
        self.requeue = requeue
        super().__init__(reason, requeue)

    def __repr__(self) -> str:
        return f"reject requeue={self.requeue}: {self.reason}"


#: The modules under which Celery's peers know these classes.
_WIRE_MODULES = {
    "ChordError": "celery.exceptions",
    "IncompleteStream": "celery.exceptions",
    "TimeoutError": "celery.exceptions",
    "NotRegistered": "celery.exceptions",
    "QueueNotFound": "celery.exceptions",
    "InvalidTaskError": "celery.exceptions",
    "MaxRetriesExceededError": "celery.exceptions",
    "TaskRevokedError": "celery.exceptions",
    "Retry": "celery.exceptions",
    "Ignore": "celery.exceptions",
    "Reject": "celery.exceptions",
    "TimeLimitExceeded": "billiard.exceptions",
    "SoftTimeLimitExceeded": "billiard.exceptions",
    "WorkerLostError": "billiard.exceptions",
}


def wire_module(cls: type[BaseException]) -> str:
    """Return the module name under which ``cls`` is written to messages and rows."""
    if cls.__module__ == __name__:
        return _WIRE_MODULES.get(cls.__qualname__, __name__)
    return cls.__module__


def from_wire(module: str, name: str) -> type[BaseException] | None:
    """Return taskq's class for an exception that Celery names, if there is one."""
    if module == __name__ or _WIRE_MODULES.get(name) == module:
        found = globals().get(name)
        return found if isinstance(found, type) and issubclass(found, BaseException) else None
    return None
