"""Every exception that taskq raises or stores.

Exceptions cross processes as data, under Celery's module names (``wire_module``): Celery clients can
rebuild taskq's exceptions, and taskq can rebuild Celery's.
"""

from __future__ import annotations

import builtins
import re
from datetime import datetime
from typing import Any

from kombu.exceptions import ContentDisallowed, DecodeError, EncodeError, OperationalError

__all__ = [
    "CannotRetry",
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
    "TaskTerminated",
    "TaskqError",
    "TimeLimitExceeded",
    "TimeoutError",
    "WorkerLostError",
]


class TaskqError(Exception):
    """Base of taskq's own errors."""


class TimeoutError(TaskqError, builtins.TimeoutError):
    """The task was not ready within the ``timeout`` of ``get()``."""


class CannotRetry(TaskqError):
    """A task that can't be retried. Its text is a sentence for people; ``reason`` is a word, the same in all languages.

    ``reason`` is one of ``"missing"``, ``"unfinished"``, ``"succeeded"``, ``"masked"``, ``"unkept"``, ``"unreadable"``,
    ``"altered"``, ``"repeated"`` and ``"refused"``.
    """

    def __init__(self, reason: str, text: str = "") -> None:
        self.reason = reason
        super().__init__(reason, text)

    def __str__(self) -> str:
        return str(self.args[1])


class NotRegistered(TaskqError, KeyError):
    """A task name that no installed app defines."""

    def __str__(self) -> str:
        return f"{self.args[0] if self.args else ''!r}"


class QueueNotFound(TaskqError, KeyError):
    """A queue that is not in ``TASKQ_QUEUES`` while ``TASKQ_CREATE_MISSING_QUEUES`` is off."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class InvalidTaskError(TaskqError):
    """A message that is not a valid task."""


class SignatureMismatch(InvalidTaskError):
    """A message whose signature is missing or wrong while ``TASKQ_SIGNING`` is on."""


class MaxRetriesExceededError(TaskqError):
    """The task has no retries left."""

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
        """The id of the failed task, read from the text."""
        found = self._SAYS.match(str(self))
        return found and found[1]


class IncompleteStream(TaskqError):
    """``iterdeps()`` came to a task that has not ended: its children are not known yet."""


class WorkerLostError(TaskqError):
    """The process that ran the task is gone."""


class TimeLimitExceeded(TaskqError):
    """The hard time limit ran out and the process was killed. Argument: the limit in seconds."""


class SoftTimeLimitExceeded(TaskqError):
    """Raised inside the task when its soft time limit runs out."""

    def __str__(self) -> str:
        return f"SoftTimeLimitExceeded{self.args!r}"


class TaskTerminated(SoftTimeLimitExceeded):
    """Raised inside the task when somebody terminates it and gives it time to end: the task becomes ``REVOKED``."""


class TaskPredicate(TaskqError):
    """Base of exceptions that a task raises to choose its end, without a failure."""


class Retry(TaskPredicate):
    """The task runs again later. ``exc`` is the cause, ``when`` are seconds from now, a datetime or ISO 8601 text."""

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
        """Return the time of the next try in words."""
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
    """The worker writes no state for this run."""


class Reject(TaskPredicate):
    """The worker rejects the message; with ``requeue`` it goes back to its queue."""

    def __init__(self, reason: Any = None, requeue: bool = False) -> None:
        self.reason = reason
        self.requeue = requeue
        super().__init__(reason, requeue)

    def __repr__(self) -> str:
        return f"reject requeue={self.requeue}: {self.reason}"


#: The modules of these classes in Celery.
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
    """Return taskq's class for a Celery exception, or ``None``."""
    if module == __name__ or _WIRE_MODULES.get(name) == module:
        found = globals().get(name)
        return found if isinstance(found, type) and issubclass(found, BaseException) else None
    return None
