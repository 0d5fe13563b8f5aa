"""Rehearses runs in a process from which those that run tasks are forked: the worker's, before it forks any.

Python writes into the memory of code that it runs for the first times: caches of methods, specialized bytecode, objects
that are made once. A child would do so at each of its first steps, and copy a page for each write. After a rehearsal
all children share these pages.

A rehearsal runs no code of the project: no receiver, handler, or filter of the log. It opens no connection.
"""

from __future__ import annotations

from taskq.calls import context as task_contexts
from taskq.calls.registry import tasks
from taskq.handover import Delivery, Outcome
from taskq.logs import task_context
from taskq.messages import protocol

from . import builtins, followups, isolation, outcomes, pipeline
from .inline import delivery_of
from .run import ReportFn, Run


def delivery() -> Delivery:
    """Return the delivery of a built-in task that does nothing. Raises ``RuntimeError`` if the project replaced it."""
    name = builtins.accumulate.name
    if tasks.get(name) is not builtins.accumulate:
        raise RuntimeError(f"{name} is a task of the project.")
    return delivery_of(protocol.build(name=name, args=(1,), kwargs={}, queue="", serializer="json"))


def run(received: Delivery, report: ReportFn) -> Outcome:
    """Run ``delivery()`` as ``execute`` would."""
    isolation.watch_process()
    isolation.before_task(received)
    outcome = isolation.fresh_context().run(_perform, Run(received, report, None, inline=False))
    isolation.after_task(received)
    return outcome


def _perform(rehearsed: Run) -> Outcome:
    """Take a run through the steps of ``pipeline.perform`` that call no code of the project."""
    with task_context(rehearsed.delivery.task_id, rehearsed.delivery.name):
        pipeline.read(rehearsed)
        token = task_contexts.enter(rehearsed.request)
        try:
            rehearsed.value = pipeline.timed(rehearsed)
            return followups.after(rehearsed, outcomes.returned(rehearsed))
        finally:
            task_contexts.leave(token)
