"""Assertions about sent tasks, as functions and as a mixin for ``TestCase``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar
from unittest import TestCase

from taskq.tasks.task import Task
from taskq.timezones import to_utc

from .memory import Ended, Memory
from .message import SentTask, SentTasks
from .overrides import Mode, active, override

#: Seconds by which a time may differ from the expected time.
TOLERANCE = 1.0

AnyTask = Task[..., Any] | str


def sent() -> SentTasks:
    """Return the tasks that were sent and not rolled back, in order."""
    return active().sent


def drain(
    queue: str | None = None, until: datetime | timedelta | None = None, *, propagate: bool | None = None
) -> list[Ended]:
    """Run the sent tasks and their follow-ups: see ``Memory.drain``."""
    return active().drain(queue, until, propagate=propagate)


def assert_sent(
    task: AnyTask,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    queue: str | None = None,
    eta: datetime | None = None,
    countdown: float | None = None,
    priority: int | None = None,
    task_id: str | None = None,
    count: int | None = None,
) -> list[SentTask]:
    """Assert that ``task``, a task or its name, was sent like this, and return its messages.

    Only given arguments are compared, ``args`` and ``kwargs`` as a whole; ``unittest.mock.ANY`` is any value.
    ``eta`` and ``countdown`` (seconds) may differ by a second. ``count`` is the number of messages, default 1 or more.
    """
    found = _matching(task, args, kwargs, queue, eta, countdown, priority, task_id)
    if (not found) if count is None else len(found) != count:
        wanted = "once or more" if count is None else f"{count} times"
        raise AssertionError(
            f"{_name(task)} should have been sent like this {wanted}, but was sent {len(found)} times. {_listed()}"
        )
    return found


def assert_not_sent(
    task: AnyTask | None = None,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    queue: str | None = None,
    eta: datetime | None = None,
    countdown: float | None = None,
    priority: int | None = None,
    task_id: str | None = None,
) -> None:
    """Assert that no message like this was sent; without arguments, that no message was sent."""
    found = _matching(task, args, kwargs, queue, eta, countdown, priority, task_id)
    if found:
        raise AssertionError(f"{found[0]} was sent, but should not have been. {_listed()}")


class TaskqTestMixin(TestCase):
    """For test cases: each test has its own memory, ``self.taskq``, and the assertions as methods."""

    #: The mode of the tests: see ``override``.
    taskq_mode: ClassVar[Mode] = "memory"
    #: Whether ``drain()`` or ``delay()`` raises the exception of a failing task.
    taskq_propagate: ClassVar[bool] = False
    taskq: Memory

    assert_sent = staticmethod(assert_sent)
    assert_not_sent = staticmethod(assert_not_sent)
    drain = staticmethod(drain)

    def setUp(self) -> None:
        """Begin to keep tasks in memory."""
        mode = override(self.taskq_mode, propagate=self.taskq_propagate)
        self.taskq = mode.enable()
        self.addCleanup(mode.disable)
        super().setUp()


def _matching(
    task: AnyTask | None,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    queue: str | None,
    eta: datetime | None,
    countdown: float | None,
    priority: int | None,
    task_id: str | None,
) -> list[SentTask]:
    wanted: dict[str, Any] = {
        "name": None if task is None else _name(task),
        "args": None if args is None else _plain(args),
        "kwargs": None if kwargs is None else _plain(kwargs),
        "queue": queue,
        "priority": priority,
        "id": task_id,
    }
    due = None if eta is None else to_utc(eta).timestamp()
    return [
        message
        for message in active().sent
        if all(value is None or _plain(getattr(message, field)) == value for field, value in wanted.items())
        and (due is None or abs(message.due - due) <= TOLERANCE)
        and (countdown is None or abs(message.delay - countdown) <= TOLERANCE)
    ]


def _name(task: AnyTask) -> str:
    return task if isinstance(task, str) else task.name


def _plain(value: Any) -> Any:
    """Return a value as decoded from JSON: lists for tuples, and text as keys."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {_plain_key(key): _plain(item) for key, item in value.items()}
    return value


def _plain_key(key: Any) -> Any:
    return json.dumps(key) if key is None or isinstance(key, bool | int | float) else key


def _listed() -> str:
    messages = active().sent
    lines = "".join(f"\n  {message!r}" for message in messages)
    return f"Sent were:{lines}" if messages else "Nothing was sent."
