"""Runs one message with the worker's own code, in the calling thread and on the caller's connections."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass

from taskq import states
from taskq.exceptions import InvalidTaskError, WorkerLostError
from taskq.execution.call import callers_connections
from taskq.execution.pipeline import perform_as_task
from taskq.execution.run import Run
from taskq.handover import Outcome, Report
from taskq.messages.exception_data import encode_exception
from taskq.records import Claimed, Settlement
from taskq.worker.loop import settlements
from taskq.worker.loop.request import Limits, Request, read
from taskq.workflows.followups import complete

from .transactions import as_if_committed

#: The worker's name in these runs.
HOSTNAME = "memory@localhost"


@dataclass(slots=True)
class RunResult:
    """The end of one message. ``settlement`` is ``None`` if the message goes back to its queue."""

    name: str
    settlement: Settlement | None
    exception: BaseException | None = None


def run(message: Claimed, report: Callable[[Request, Report], None], *, in_memory: bool = False) -> RunResult:
    """Run one message as a worker does, and return its end. ``in_memory`` says that workflows have no rows."""
    try:
        request = read(message, Limits())
    except InvalidTaskError as error:
        return RunResult("", settlements.rejected(message, error, HOSTNAME), error)
    request.starts = 1
    if message.revoked:
        return RunResult(request.name, settlements.revoked(request, "revoked", HOSTNAME))
    if request.expired():
        return RunResult(request.name, settlements.revoked(request, "expired", HOSTNAME))
    if request.task is None:
        return RunResult(request.name, settlements.not_registered(request, HOSTNAME))
    return _start(request, lambda made: report(request, made), in_memory)


def _start(request: Request, report: Callable[[Report], None], in_memory: bool) -> RunResult:
    run = Run(request.delivery(HOSTNAME, None), report, None, inline=False)
    run.in_memory = in_memory
    with as_if_committed():
        try:
            # A worker's task starts without the sender's language, time zone and context variables.
            context = Context()
            context.run(callers_connections.set, True)
            outcome = context.run(perform_as_task, run)
        except SystemExit as error:
            return _lost(run, request, error)
    if outcome.state == states.REJECTED and outcome.requeue:
        return RunResult(request.name, None)
    exception = run.exception if outcome.state == states.FAILURE else None
    return RunResult(request.name, settlements.ended(request, outcome, HOSTNAME), exception)


def _lost(run: Run, request: Request, error: SystemExit) -> RunResult:
    """Return the failure of a task that ends its process; the test's process goes on."""
    lost = WorkerLostError(f"Worker exited prematurely: exitcode {error.code or 0}.")
    outcome = Outcome(run.delivery.job, request.id, states.FAILURE, result=encode_exception(lost), started=run.started)
    settlement = settlements.ended(request, outcome, HOSTNAME)
    return RunResult(request.name, complete(settlement, request.message), lost)
