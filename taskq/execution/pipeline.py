"""The steps of a run, in their order.

Every message and every task ends in an ``Outcome``; only a ``SystemExit`` or ``KeyboardInterrupt`` of the task's
function is raised, in the main thread, to end the process, and ``CutShort``. ``coroutines`` takes coroutine tasks
through the same steps on a shared loop.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from taskq import clock, signals, states
from taskq.calls import context as task_contexts
from taskq.calls import masking
from taskq.calls.context import Context
from taskq.calls.registry import tasks
from taskq.containment import contained
from taskq.exceptions import DecodeError
from taskq.forks import end_if_forked
from taskq.handover import Delivery, Outcome
from taskq.logs import task_context
from taskq.messages import arguments, protocol, serializers, tracing
from taskq.results import join_guard
from taskq.tasks.task import Task

from . import call, followups, handlers, isolation, kept_logs, log_lines, outcomes, stored_bodies
from .run import ReportFn, Run, SoftLimit, write_state
from .tracebacks import release

#: The longest arguments, in characters, that a TaskRun gets with its end: the main process has to hold them meanwhile.
_MOST_ARGUMENTS = 1024 * 1024


def execute(
    delivery: Delivery,
    report: ReportFn | None = None,
    soft_limit: SoftLimit | None = None,
    guard: AbstractContextManager[None] | None = None,
) -> Outcome:
    """Run one delivery in a clean context and return its outcome.

    ``report`` sends states that the run writes before its end. ``soft_limit``, the pool's own, is put around the
    user's function to enforce ``delivery.soft_time_limit``. A pool that runs other tasks in the same process, and may
    interrupt each, gives a ``guard`` instead; what it raises may be ``CutShort``, which is raised here too.
    """
    run = Run(delivery, report, soft_limit, inline=False)
    if guard is not None:
        run.guard, run.shared = guard, True
    _shielded(isolation.before_task, delivery)
    try:
        if delivery.stored_as and (outcome := stored_bodies.read(delivery)) is not None:
            return outcome
        return isolation.fresh_context().run(_perform_with_log if kept_logs.keeps else perform_as_task, run)
    except BaseException as error:
        end_if_forked(run.forks)
        if error is run.exit:
            raise
        log_lines.run_crashed(delivery)
        return outcomes.crashed(delivery, error)
    finally:
        end_if_forked(run.forks)
        _shielded(isolation.after_task, delivery)
        _shielded(release, run.exception)


def _shielded(tidy: Callable[..., None], *args: object) -> None:
    try:
        tidy(*args)
    except contained():
        log_lines.tidying_failed()


def _perform_with_log(run: Run) -> Outcome:
    with kept_logs.kept(run):
        return perform_as_task(run)


def perform_as_task(run: Run) -> Outcome:
    """Do ``perform`` in a context in which waiting for another task is refused."""
    join_guard.running.set(True)
    return perform(run)


def perform(run: Run) -> Outcome:
    """Take ``run`` through all steps."""
    with task_context(run.delivery.task_id, run.delivery.name):
        try:
            read(run)
        except Exception as error:
            return handlers.refuse(run, followups.after_refusal(run, outcomes.refused(run, error)))
        token = task_contexts.enter(run.request)
        try:
            return _run(run) if tracing.tracer is None else tracing.tracer.run(run, _run)
        finally:
            task_contexts.leave(token)


def _run(run: Run) -> Outcome:
    if is_expired(run):
        return handlers.conclude(run, followups.after(run, outcomes.revoked(run, "expired")))
    _announce(run)
    try:
        _before_start(run)
        run.value = timed(run)
    except BaseException as error:
        outcome = outcomes.raised(run, error)
    else:
        outcome = outcomes.returned(run)
    return handlers.conclude(run, followups.after(run, outcome))


# -- before the function ------------------------------------------------------------


def read(run: Run) -> None:
    """Read the message into ``run``. Raises an error if the message can't be run."""
    delivery = run.delivery
    raw = protocol.mapping_of(delivery.headers, DecodeError)
    properties = protocol.mapping_of(delivery.properties, DecodeError)
    run.headers = headers = protocol.read_headers(raw)
    run.task = task = tasks[headers.task]  # type: ignore[assignment]  # only tasks are registered
    run.args, run.kwargs, embed = protocol.decode_body(
        delivery.body, delivery.content_type, delivery.content_encoding, raw, properties
    )
    # Now: the function may change them, and put a sensitive value into another argument.
    run.arguments = _arguments(run)
    run.request = Context(
        task,
        task_contexts.current(),
        called_directly=False,
        is_eager=run.inline,
        id=headers.id,
        args=run.args,
        kwargs=run.kwargs,
        retries=headers.retries,
        root_id=headers.root_id,
        parent_id=headers.parent_id,
        hostname=delivery.hostname,
        correlation_id=properties.get("correlation_id"),
        reply_to=properties.get("reply_to"),
        ignore_result=run.ignored,
        message=raw,
        properties=properties,
        embed=embed,
        delivery_info=_delivery_info(run),
        received=delivery,
        # No method of the run, which holds this request: only the garbage collector would free the two.
        report=partial(write_state, run.report, delivery.job, run.forks) if run.report is not None else None,
    )


def _arguments(run: Run) -> str | None:
    """Return the arguments for the row if some are sensitive, or if the task has no row yet."""
    if tasks.guarded or run.task.sensitive:
        shown = masking.shown(run.task.name, run.args, run.kwargs)
        if shown is not None:
            text = arguments.to_text(*shown, masked=True)
            return text if text is None or len(text) <= _MOST_ARGUMENTS else arguments.ALL_MASKED
    if not run.delivery.want_arguments:
        return None
    serializer = serializers.serializer_of(run.delivery.content_type)
    text = arguments.to_text(run.args, run.kwargs, serializer)
    return text if text is not None and len(text) <= _MOST_ARGUMENTS else None


def _delivery_info(run: Run) -> dict[str, object]:
    delivery = run.delivery
    info: dict[str, object] = {
        "exchange": delivery.exchange,
        "routing_key": delivery.routing_key,
        "priority": delivery.priority,
        "redelivered": delivery.redelivered,
    }
    if run.inline:
        info["is_eager"] = True
    return info


def is_expired(run: Run) -> bool:
    """Tell whether the message of ``run`` has expired."""
    left, expires = run.delivery.expires_in, run.headers.expires
    if left is None:
        return expires is not None and expires <= clock.utc_now()
    return left <= 0


def begin(run: Run) -> None:
    """Do what comes before the function."""
    _announce(run)
    _before_start(run)


def _announce(run: Run) -> None:
    """Send ``task_prerun``, and report the state ``STARTED`` if the task tracks it."""
    task = run.task
    if signals.task_prerun.receivers:
        signals.send(signals.task_prerun, task, task_id=run.headers.id, task=task, args=run.args, kwargs=run.kwargs)
    if run.request.report is not None and task.track_started:
        run.request.report(run.headers.id, states.STARTED, {"pid": os.getpid(), "hostname": run.delivery.hostname})


def _before_start(run: Run) -> None:
    if type(run.task).before_start is not Task.before_start:
        run.task.before_start(run.headers.id, run.args, run.kwargs)


def timed(run: Run) -> object:
    """Call the function, and set ``run.runtime``, in seconds, after any end."""
    run.clock = time.monotonic()
    try:
        return call.call(run)
    finally:
        if not run.inline:
            end_if_forked(run.forks)
        run.runtime = time.monotonic() - run.clock
        run.request.forget_rolled_back()
