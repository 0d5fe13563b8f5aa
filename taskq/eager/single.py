"""Tasks run in the calling process: ``apply``, and everything while ``TASKQ_ALWAYS_EAGER`` is on.

The message is built and read as if it were sent, and the worker's own code runs
it, so that what would fail there fails here. Retries run at once, and so does what follows from
a task (``canvas.eager``). The caller's connections, transactions and language are shared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils.module_loading import import_string

from taskq import states
from taskq.conf import settings
from taskq.messages import values
from taskq.records import Envelope, Settlement
from taskq.results.eager import EagerResult
from taskq.sending import send

if TYPE_CHECKING:
    from taskq.execution.inline import InlineRun
    from taskq.handover import Report
    from taskq.tasks.task import Task

__all__ = ["apply", "apply_on_commit", "result_of", "run_to_end", "store_failure", "throws"]

Args = Sequence[Any] | None
Kwargs = Mapping[str, Any] | None


def apply(
    name: str,
    task: Task[..., Any] | None,
    args: Args,
    kwargs: Kwargs,
    options: dict[str, Any],
    throw: bool | None = None,
) -> EagerResult[Any]:
    """Run one task to its end, and return its result. See ``Task.apply``."""
    add_to_parent = options.get("add_to_parent", True)
    result = _ended(send.envelope_for(name, task, args, kwargs, options), throw)
    if add_to_parent:
        send.add_children((result,))
    return result


def _ended(envelope: Envelope, throw: bool | None) -> EagerResult[Any]:
    """Run one task and what follows from it, and return its result."""
    envelope, run = run_to_end(envelope)
    result = result_of(envelope, run)
    if run.outcome.follow_ups or run.outcome.dependents:
        result = import_string("taskq.eager.canvas.go_on")(envelope, run, result, throw)
    elif throws(run, throw):
        raise run.exception
    return result


def run_to_end(envelope: Envelope) -> tuple[Envelope, InlineRun]:
    """Run one task until it is not retried any more; return the message of the last try, and the try."""
    run = _run(envelope)
    while run.outcome.state == states.RETRY and run.outcome.follow_ups:
        envelope = Envelope(*run.outcome.follow_ups[0])
        run = _run(envelope)
    if settings.STORE_EAGER_RESULT:
        _store(envelope, run)
    return envelope, run


def throws(run: InlineRun, throw: bool | None) -> bool:
    """Tell whether the exception of a run is let through: with ``throw``, by default ``TASKQ_EAGER_PROPAGATES``."""
    return run.outcome.state == states.FAILURE and (settings.EAGER_PROPAGATES if throw is None else throw)


def apply_on_commit(task: Task[..., Any], args: Args, kwargs: Kwargs, options: dict[str, Any]) -> EagerResult[Any]:
    """Run the task when the transaction commits; until then its result is pending. Without one it runs now.

    What is wrong with the call is raised now.
    """
    add_to_parent = options.get("add_to_parent", True)
    envelope = send.envelope_for(task.name, task, args, kwargs, options)
    result = EagerResult[Any](
        envelope.task_id, None, states.PENDING, name=task.name, args=args or (), kwargs=kwargs, queue=envelope.queue
    )
    transaction.on_commit(lambda: _end(result, envelope), using=settings.DATABASE)
    if add_to_parent:
        send.add_children((result,))
    return result


def _end(result: EagerResult[Any], envelope: Envelope) -> None:
    """Run the task that ``result`` is pending for. An exception that is let through is in the result too."""
    try:
        result.become(_ended(envelope, None))
    except Exception as error:
        result.become(EagerResult(result.id, error, states.FAILURE, name=envelope.name, queue=envelope.queue))
        raise


def _run(envelope: Envelope) -> InlineRun:
    # By name: the worker's room lies above this one, and a process that only sends never loads it.
    run: InlineRun = import_string("taskq.execution.inline.run_inline")(envelope, _reporter(envelope))
    return run


def result_of(envelope: Envelope, run: InlineRun) -> EagerResult[Any]:
    """Return the result of a task that has run here."""
    failed = run.outcome.state in states.EXCEPTION_STATES
    value = run.exception if failed else values.decode(run.outcome.result, run.outcome.content_type)
    return EagerResult(
        envelope.task_id,
        value,
        run.outcome.state,
        run.outcome.traceback,
        name=envelope.name,
        args=run.args,
        kwargs=run.kwargs,
        retries=envelope.headers["retries"],
        queue=envelope.queue,
        date_done=datetime.now(UTC),
        children=run.children,
    )


# -- rows, with TASKQ_STORE_EAGER_RESULT ----------------------------------------------------


def _reporter(envelope: Envelope) -> Any:
    """Return what writes a running task's own states, or ``None``."""
    if not settings.STORE_EAGER_RESULT:
        return None

    def write(report: Report) -> None:
        own = _settlement(envelope, state=report.state, result=report.meta, content_type=report.content_type)
        _write(own)

    return write


def _store(envelope: Envelope, run: InlineRun) -> None:
    outcome = run.outcome
    if outcome.state not in states.READY_STATES:
        return
    _write(
        _settlement(
            envelope,
            state=outcome.state,
            result=outcome.result,
            content_type=outcome.content_type,
            traceback=outcome.traceback,
            started=outcome.started,
            finished=outcome.started + outcome.runtime,
            runtime=outcome.runtime,
            children=outcome.children,
            keep=not (run.ignored and outcome.state == states.SUCCESS),
        )
    )


def store_failure(task_id: str, name: str, error: str) -> None:
    """Write that a task, which never runs because of ``error``, has failed."""
    if settings.STORE_EAGER_RESULT:
        _write(Settlement(0, task_id, states.FAILURE, name=name, result=error, tracked=False))


def _settlement(envelope: Envelope, **fields: Any) -> Settlement:
    headers = envelope.headers
    return Settlement(
        message_id=0,
        task_id=envelope.task_id,
        name=envelope.name,
        queue=envelope.queue,
        retries=headers["retries"],
        root_id=headers.get("root_id") or "",
        parent_id=headers.get("parent_id") or "",
        group_id=headers.get("group") or "",
        arguments=envelope.arguments,
        tracked=False,
        **fields,
    )


def _write(settlement: Settlement) -> None:
    from taskq.engines import for_alias
    from taskq.store.settle import write_ends

    engine = for_alias(settings.DATABASE)
    with engine.atomic():
        write_ends(engine, [settlement])
