"""Retries: ``Task.retry`` and ``autoretry_for``.

The message of the next try is built here and kept in the run's context; ``execution`` puts it into
the outcome, and the transaction that settles the run sends it.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from inspect import Parameter
from typing import TYPE_CHECKING, Any

from taskq.calls import masking
from taskq.calls.context import Context
from taskq.calls.options import RetryOptions, refuse_unknown
from taskq.calls.registry import tasks
from taskq.exceptions import Retry
from taskq.messages import protocol, reprs, routing

from .validation import exceptions

if TYPE_CHECKING:
    from taskq.records import Envelope

    from .task import Task

__all__ = ["autoretry", "backoff", "retry", "should_autoretry"]

#: Options for the destination of a retry; without them it goes back to the queue of its message.
_ROUTING = ("queue", "exchange", "exchange_type", "routing_key")


def retry(
    task: Task[..., Any],
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    *,
    exc: BaseException | None,
    throw: bool,
    eta: datetime | str | None,
    countdown: float | timedelta | None,
    max_retries: int | None,
    options: dict[str, Any],
) -> Retry:
    """See ``Task.retry``."""
    refuse_unknown(options, RetryOptions.__annotations__, f"retry() of {task.name}")
    request = task.request
    if request.called_directly:
        cause = _cause(exc)
        _raise(Retry("Task can be retried", None) if cause is None else cause)
    if max_retries is None:
        limit = task.max_retries
    else:
        limit = request.max_retries = max_retries
    if limit is not None and request.retries >= limit:
        _raise(_exceeded(task, request) if exc is None else exc)
    if eta is None and countdown is None:
        countdown = task.default_retry_delay
    if isinstance(countdown, timedelta):
        countdown = countdown.total_seconds()
    request.next_try = _next_try(task, request, args, kwargs, eta, countdown, options)
    request.pending_retry = again = Retry(exc=_cause(exc), when=eta if countdown is None else countdown)
    if throw:
        raise again
    return again


def _cause(exc: BaseException | None) -> BaseException | None:
    """Return ``exc``, or without it the exception that is being handled."""
    # An exception may be false in a condition.
    return sys.exception() if exc is None else exc


def _raise(error: BaseException) -> None:
    """Raise ``error`` with the exception that is being handled as its cause."""
    handled = sys.exception()
    if handled is None or handled is error:
        raise error
    raise error from handled


def _exceeded(task: Task[..., Any], request: Context) -> BaseException:
    shown = f"args:{request.argsrepr} kwargs:{request.kwargsrepr}"
    if masked := _masked(task, request.args or (), request.kwargs or {}):
        shown = f"args:{reprs.args_repr(list(masked[0]))} kwargs:{reprs.kwargs_repr(masked[1])}"
    return task.MaxRetriesExceededError(
        f"Can't retry {task.name}[{request.id}] {shown}", task_args=request.args, task_kwargs=request.kwargs
    )


def _next_try(
    task: Task[..., Any],
    request: Context,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    eta: datetime | str | None,
    countdown: float | timedelta | None,
    options: dict[str, Any],
) -> Envelope:
    """Return the message of the next try: the received message with the changes."""
    assert request.received is not None
    changes = {name: value for name, value in options.items() if value is not None}
    if not changes.keys().isdisjoint(_ROUTING):
        route = routing.route(task.name, args or request.args or (), kwargs or request.kwargs or {}, changes, task)
        changes.pop("exchange_type", None)
        changes.update(queue=route.queue, exchange=route.exchange, routing_key=route.routing_key)
    if args is not None or kwargs is not None:
        args, kwargs = _without_doubles(task, request, args, kwargs)
        if task.dump_arguments is not None:
            args, kwargs = task.dump_arguments(args, kwargs)
        shown = _masked(task, *_all_arguments(request, args, kwargs))
        changes.update(args=args, kwargs=kwargs, shown=shown, positions=task.positions)
    changes.update(countdown=countdown, eta=None if countdown is not None else eta)
    return protocol.retry_envelope(request.received, **changes)


def _masked(task: Task[..., Any], args: Any, kwargs: Any) -> Any:
    """Return the arguments with sensitive values masked, ``None`` if there are none."""
    return masking.shown(task.name, args, kwargs) if tasks.guarded or task.sensitive else None


def _all_arguments(request: Context, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Return the arguments of the next try: those of this try where there are no new ones."""
    return request.args or () if args is None else args, request.kwargs or {} if kwargs is None else kwargs


def _without_doubles(
    task: Task[..., Any], request: Context, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None
) -> tuple[Sequence[Any] | None, Mapping[str, Any] | None]:
    """Return the new arguments, so that no parameter has both a new value and its old one in the other form.

    ``retry(args=(1,))`` removes the old ``x=0``, and ``retry(kwargs={"x": 1})`` puts the new value in the place of the
    old positional ``x``.
    """
    parameters = task.call_signature.parameters
    either = {name: i for name, i in task.positions.items() if parameters[name].kind is Parameter.POSITIONAL_OR_KEYWORD}
    if args is not None and kwargs is None and request.kwargs:
        return args, {n: value for n, value in request.kwargs.items() if either.get(n, len(args)) >= len(args)}
    if args is None and kwargs is not None and request.args:
        positional, others = list(request.args), dict(kwargs)
        for name in kwargs:
            if either.get(name, len(positional)) < len(positional):
                positional[either[name]] = others.pop(name)
        return positional, others
    return args, kwargs


# -- autoretry_for -----------------------------------------------------------------------


def should_autoretry(task: Task[..., Any], error: BaseException) -> bool:
    """Tell whether ``autoretry_for`` names ``error`` and ``dont_autoretry_for`` does not."""
    wanted, unwanted = exceptions(task.autoretry_for), exceptions(task.dont_autoretry_for)
    return isinstance(error, wanted) and not isinstance(error, unwanted)


def autoretry(task: Task[..., Any], error: BaseException) -> Retry | None:
    """Retry the task after ``error``; ``None`` if no retries are left.

    If the task has called ``retry()`` in this run, its ``max_retries`` counts, and a retry that it has planned is kept.
    """
    request = task.request
    if request.pending_retry is not None:
        return request.pending_retry
    wanted = dict(task.retry_kwargs)
    if request.max_retries is not None:
        wanted["max_retries"] = request.max_retries
    limit = wanted.get("max_retries", task.max_retries)
    retries = request.retries
    if limit is not None and retries >= limit:
        return None
    if task.retry_backoff:
        wanted["countdown"] = backoff(float(task.retry_backoff), retries, task.retry_backoff_max, task.retry_jitter)
    return task.retry(exc=error, throw=False, **wanted)


def backoff(factor: float, retries: int, most: float, jitter: bool) -> float:
    """Return the seconds before the next retry: ``factor * 2 ** retries``, ``most`` at most, random with ``jitter``."""
    wait = min(most, factor * 2.0 ** min(retries, 1000))
    return random.uniform(0, wait) if jitter else wait
