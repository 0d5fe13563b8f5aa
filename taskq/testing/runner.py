"""Runs one message with the worker's own code, in the calling thread and on the caller's connections."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass

from taskq import states
from taskq.exceptions import InvalidTaskError, WorkerLostError
from taskq.execution.pipeline import perform
from taskq.execution.run import Run
from taskq.handover import Outcome, Report
from taskq.messages.exception_data import encode_exception
from taskq.records import Claimed, Settlement
from taskq.results import join_guard as result_context
from taskq.worker.loop import settlements
from taskq.worker.loop.request import Limits, Request, read
from taskq.workflows.followups import complete

from .transactions import as_if_committed

#: What these runs have for a worker's name.
HOSTNAME = "memory@localhost"


@dataclass(slots=True)
class Ran:
    """How one message ended. ``settlement`` is ``None`` if it goes back into its queue."""

    name: str
    settlement: Settlement | None
    exception: BaseException | None = None


def run(message: Claimed, report: Callable[[Request, Report], None]) -> Ran:
    """Take one message through what a worker does with it, and return how it ends."""
    try:
        request = read(message, Limits())
    except InvalidTaskError as error:
        return Ran("", settlements.rejected(message, error, HOSTNAME), error)
    request.starts = 1
    if request.expired():
        return Ran(request.name, settlements.revoked(request, "expired", HOSTNAME))
    if request.task is None:
        return Ran(request.name, settlements.not_registered(request, HOSTNAME))
    return _start(request, lambda made: report(request, made))


def _start(request: Request, report: Callable[[Report], None]) -> Ran:
    run = Run(request.delivery(HOSTNAME), report, None, inline=False)
    with as_if_committed():
        try:
            # A worker's task starts without the language, time zone and variables of whoever sent it.
            outcome = Context().run(_perform, run)
        except SystemExit as error:
            return _lost(run, request, error)
    if outcome.state == states.REJECTED and outcome.requeue:
        return Ran(request.name, None)
    exception = run.exception if outcome.state == states.FAILURE else None
    return Ran(request.name, settlements.ended(request, outcome, HOSTNAME), exception)


def _perform(run: Run) -> Outcome:
    result_context.running.set(True)
    return perform(run)


def _lost(run: Run, request: Request, error: SystemExit) -> Ran:
    """Return what becomes of a task that ends its process: the test's process goes on."""
    lost = WorkerLostError(f"Worker exited prematurely: exitcode {error.code or 0}.")
    outcome = Outcome(run.delivery.job, request.id, states.FAILURE, result=encode_exception(lost), started=run.started)
    settlement = settlements.ended(request, outcome, HOSTNAME)
    return Ran(request.name, complete(settlement, request.message), lost)
