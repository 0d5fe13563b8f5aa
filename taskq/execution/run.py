"""``Run``: the state of one delivery that the steps of the pipeline share."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from taskq import clock
from taskq.calls.context import Context
from taskq.forks import forks
from taskq.handover import Delivery, Report
from taskq.messages import values
from taskq.messages.protocol import TaskHeaders
from taskq.messages.serializers import JSON_TYPE
from taskq.tasks.task import Task

from .tracebacks import ExceptionInfo

#: Sends a report to the worker's main process.
ReportFn = Callable[[Report], None]
#: Raises ``SoftTimeLimitExceeded`` in this thread if the block takes more than this many seconds.
SoftLimit = Callable[[float], AbstractContextManager[None]]


class Run:
    """One run of a task. ``task``, ``headers`` and ``request`` are set when the message is read.

    ``inline`` runs share connections and language with their caller. The caller of a run ``in_memory`` keeps its
    follow-ups without rows, however large they are. ``value`` is the function's return
    value; ``exception`` is its exception, or that of an earlier step, and ``einfo`` the same with its traceback.
    ``exit`` is the exception with which the function ends the process of a pool. If other tasks run in the process
    at the same time, it is ``shared``, and no task may end it. ``guard`` is put around the function instead of
    ``soft_limit``, with or without a limit.
    """

    __slots__ = (
        "args", "arguments", "clock", "delivery", "einfo", "exception", "exit", "forks", "guard", "headers",
        "in_memory", "inline", "kwargs", "report", "request", "runtime", "shared", "soft_limit", "started", "task",
        "value",
    )  # fmt: skip

    task: Task[..., Any]
    headers: TaskHeaders
    request: Context
    args: list[Any]
    kwargs: dict[str, Any]

    def __init__(self, delivery: Delivery, report: ReportFn | None, soft_limit: SoftLimit | None, inline: bool) -> None:
        self.delivery = delivery
        self.report = report
        self.soft_limit = soft_limit
        self.inline = inline
        self.in_memory = inline
        self.guard: AbstractContextManager[None] | None = None
        self.shared = False
        self.started = clock.now()
        self.clock = time.monotonic()
        self.runtime = 0.0
        #: The arguments for the TaskRun, if some are sensitive.
        self.arguments: str | None = None
        self.value: Any = None
        self.exception: BaseException | None = None
        self.einfo: ExceptionInfo | None = None
        self.exit: BaseException | None = None
        self.forks = forks()

    @property
    def ignored(self) -> bool:
        """Whether a success keeps no row: the header of the message, else the task's option."""
        wanted = self.headers.ignore_result
        return self.task.ignore_result if wanted is None else wanted


def write_state(report: ReportFn, job: int, before: int, task_id: str, state: str, meta: Any, event: str = "") -> None:
    """Report the ``state`` of the task of ``job``. Raises ``EncodeError`` for ``meta`` that can't be stored.

    With ``event``, report an event of this type instead, with the JSON text ``meta``. ``before`` is ``forks()`` at the
    start of the run. Raises ``RuntimeError`` in a process that the task has forked: two processes can't share a stream
    of reports.
    """
    if before != forks():
        called = "send_event()" if event else "update_state()"
        raise RuntimeError(f"{called} works in the process that runs the task, not in those that it forks.")
    text, content_type = (meta, JSON_TYPE) if event else values.encode(meta, what="meta of update_state()")
    values.check_result_size(text, "meta of update_state()")
    report(Report(job, task_id, state, text, content_type, clock.now(), event))
