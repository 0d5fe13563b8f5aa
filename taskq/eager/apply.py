"""``apply`` of tasks and canvases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction

from taskq import states
from taskq.calls.definition import TaskDefinition
from taskq.calls.envelope import envelope_for
from taskq.calls.registry import tasks
from taskq.canvas.signature import Signature
from taskq.records import Envelope
from taskq.results.eager import EagerResult
from taskq.sending.send import add_children
from taskq.sending.transactions import commit_alias
from taskq.workflows.fields import merged
from taskq.workflows.plan import plan
from taskq.workflows.types import TASK, kind_of

from .runs import result_of, run_to_end, store, throws
from .workflow import EagerWorkflow

Args = Sequence[Any] | None
Kwargs = Mapping[str, Any] | None


def apply_canvas(sig: Signature[Any], args: Args, kwargs: Kwargs, options: dict[str, Any]) -> Any:
    """Run ``sig`` and its follow-ups, and return its result; ``None`` for an empty chain.

    The option ``throw`` raises the first exception; the default is ``TASKQ_EAGER_PROPAGATES``.
    """
    if kind_of(sig) == TASK:
        args, kwargs, together = merged(sig, args, kwargs, options)
        return apply(sig.task, tasks.get(sig.task), args, kwargs, together)
    throw = options.pop("throw", None)
    add_to_parent = options.pop("add_to_parent", True)
    made = plan(sig, args or (), kwargs, **options)
    if made.result is None:
        return None
    result = EagerWorkflow(throw).run_plan(made)
    if add_to_parent:
        add_children((result,))
    return result


def apply(
    name: str,
    task: TaskDefinition | None,
    args: Args,
    kwargs: Kwargs,
    options: dict[str, Any],
) -> EagerResult[Any]:
    """Run one task to its end, and return its result. See ``Task.apply``."""
    throw, add_to_parent = options.get("throw"), options.get("add_to_parent", True)
    result = _run_all(envelope_for(name, task, args, kwargs, options), throw)
    if add_to_parent:
        add_children((result,))
    return result


def _run_all(envelope: Envelope, throw: bool | None) -> EagerResult[Any]:
    """Run one task and its follow-ups, and return its result."""
    envelope, run = run_to_end(envelope)
    if run.outcome.follow_ups:
        return EagerWorkflow(throw).run_after(envelope, run)
    store(envelope, run)
    if throws(run.outcome.state, throw):
        raise run.exception
    return result_of(envelope, run)


def apply_on_commit(task: TaskDefinition, args: Args, kwargs: Kwargs, options: dict[str, Any]) -> EagerResult[Any]:
    """Run the task when the transaction commits, now without one; its result is pending until then.

    Errors in the call are raised now.
    """
    alias = commit_alias(task.name, options.pop("using", None))
    add_to_parent = options.get("add_to_parent", True)
    envelope = envelope_for(task.name, task, args, kwargs, options)
    result = EagerResult[Any](
        envelope.task_id, None, states.PENDING, name=task.name, args=args or (), kwargs=kwargs, queue=envelope.queue
    )
    transaction.on_commit(lambda: _run_pending(result, envelope), using=alias)
    if add_to_parent:
        add_children((result,), alias)
    return result


def _run_pending(result: EagerResult[Any], envelope: Envelope) -> None:
    """Run the task of a pending ``result``. A raised exception is in the result too."""
    try:
        result.become(_run_all(envelope, None))
    except Exception as error:
        result.become(EagerResult(result.id, error, states.FAILURE, name=envelope.name, queue=envelope.queue))
        raise
