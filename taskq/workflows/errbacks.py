"""Errbacks, with Celery's two calling conventions.

A new-style errback takes more than one positional argument besides those of its signature; the built-in task
``taskq.errback`` calls it with ``(request, exc, traceback)``. Any other errback is sent as a task: with the failed
task's id before its own arguments, or with these alone if it is immutable. The transaction that settles the failure
sends both, so the failure is certain before an errback runs, and an errback that is slow or kills its process does not
harm the failed task. It runs once for a final failure, and again only if its own process is lost. Its exceptions are
only logged.

A message may name 80,000 errbacks, each of which gets the failed task's arguments. So outside a task's process only a
few are planned; in place of many goes one message of the built-in task ``taskq.errbacks``, which plans them.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from taskq.calls.definition import TaskDefinition
from taskq.calls.registry import tasks
from taskq.conf import settings
from taskq.exceptions import EncodeError
from taskq.messages import routing, serializers, tracing
from taskq.messages.announcing import announce
from taskq.messages.protocol import MOST_IN_MAIN, RawMessage
from taskq.records import NO_FOLLOW_UPS, FollowUps, Unreachable

from . import log_lines
from . import plan as planning
from .dependents import dependents_of

#: The built-in task that calls a new-style errback, and the one that plans many errbacks.
TASK, MANY = "taskq.errback", "taskq.errbacks"
Signature = Mapping[str, Any]
_WHERE = ("queue", "exchange", "routing_key", "priority")
#: Celery calls errbacks at once, in the worker that handled the failure: ours don't wait behind other tasks.
_PRIORITY = 9
#: Characters of the traceback that are sent if the whole traceback makes the message too large.
_SHORT = 2000
#: The most that errbacks, and all arguments that they get, may weigh (``_is_light``) to be planned outside a task's
#: process.
_FEW, _FEW_ARGUMENTS = 8_192, MOST_IN_MAIN


@dataclass(slots=True)
class Failure:
    """A final failure, as errbacks get it.

    ``error`` is the exception as data, ``traceback`` is text if the task ran. ``queue`` and
    ``serializer`` are those of the failed task's message, if known.
    """

    headers: Mapping[str, Any]
    error: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    traceback: str | None = None
    queue: str = ""
    serializer: str | None = None


def failure_of(
    message: RawMessage,
    headers: Mapping[str, Any],
    error: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    traceback: str | None = None,
) -> Failure:
    """Return the failure of the task of ``message``, with the serializer of the message for its arguments."""
    queue = getattr(message, "queue", "") or ("" if message.exchange else message.routing_key)
    try:
        serializer = serializers.serializer_of(message.content_type)
    except EncodeError:
        serializer = None
    return Failure(headers, error, args, kwargs or {}, traceback, queue, serializer)


def as_list(called: Any) -> list[Signature]:
    """Return errbacks as a list: a message may also carry a single signature."""
    found = called if isinstance(called, list | tuple) else [called]
    return [errback for errback in found if isinstance(errback, Mapping)]


def is_new_style(errback: Signature) -> bool:
    """Tell whether the errback is called with ``(request, exc, traceback)``.

    The errback is a task known here whose function takes more than one positional argument, besides the arguments of
    the signature. A task that gets ``self`` is new-style only if it can't be called with an id alone.
    """
    task = tasks.get(errback.get("task") or "")
    if task is None or errback.get("subtask_type") or errback.get("immutable"):
        return False
    args, kwargs = errback.get("args") or (), errback.get("kwargs") or {}
    if task.binds:
        return not _takes(task, 1, args, kwargs) and _takes(task, 3, args, kwargs)
    return _open_positions(task, args, kwargs) > 1


def _takes(task: TaskDefinition, count: int, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Tell whether the function takes ``count`` positional arguments before ``args``."""
    try:
        task.call_signature.bind(*(None,) * count, *args, **kwargs)
    except TypeError:
        return False
    return True


def _open_positions(task: TaskDefinition, args: Sequence[Any], kwargs: Mapping[str, Any]) -> float:
    """Return how many positional arguments the function takes besides ``args`` and ``kwargs``."""
    found = 0
    for place, parameter in enumerate(task.call_signature.parameters.values()):
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            return math.inf
        if parameter.name in kwargs or parameter.name not in task.positions:
            break
        found += place >= len(args)
    return found


def call(errback: Signature, request: Any, error: BaseException, traceback: Any) -> Any:
    """Call a new-style errback in this process; it may return a coroutine."""
    task = tasks[errback["task"]]
    return task(request, error, traceback, *(errback.get("args") or ()), **(errback.get("kwargs") or {}))


def planned_outside(called: Any, failure: Failure) -> FollowUps:
    """Do ``planned`` outside a task's process, where many errbacks are left to the task ``taskq.errbacks``."""
    arguments = [failure.args, failure.kwargs]
    most = _FEW_ARGUMENTS // max(1, len(as_list(called)))
    if _is_light(called, _FEW) and (most == _FEW_ARGUMENTS or _is_light(arguments, most)):
        return planned(called, failure)
    args = [as_list(called), {**failure.headers}, failure.error, list(failure.args), dict(failure.kwargs)]
    sig = {"task": MANY, "args": [*args, failure.queue], "kwargs": {}, "options": {}, "immutable": True}
    # The workers of that queue know the errbacks.
    where = {"queue": failure.queue} if failure.queue else {}
    options: dict[str, Any] = {**where, "priority": _PRIORITY, "serializer": failure.serializer}
    try:
        task_id, root_id = _lineage(failure)
        found = planning.plan_frozen(sig, root_id=root_id, parent_id=task_id, **options).follow_ups()
    except Exception:
        return _not_planned(sig, as_list(called), failure)
    tracing.continue_trace(failure.headers, found.envelopes)
    announce(found.envelopes)
    return found


def _is_light(value: Any, most: int) -> bool:
    """Tell whether ``value`` weighs ``most`` at most: its characters, and 16 for each value in it."""
    waiting, weight = [value], 0
    while waiting:
        each = waiting.pop()
        weight += 16
        if isinstance(each, str | bytes):
            weight += len(each)
        elif isinstance(each, Mapping):
            waiting += each.keys()
            waiting += each.values()
        elif isinstance(each, list | tuple):
            waiting += each
        if weight + 16 * len(waiting) > most:
            return False
    return True


def planned(called: Any, failure: Failure) -> FollowUps:
    """Return the messages of the errbacks in ``called``. If one can't be sent, the error is logged.

    If that errback has an id, it is unreachable: a task may wait for it.
    """
    made: list[FollowUps] = []
    room = planning.room_for_bodies()
    for errback in as_list(called):
        if room < 0:
            log_lines.errbacks_too_large(failure.headers.get("id"))
            made += [FollowUps(unreachable=_unreachable_of(left)) for left in as_list(called)[len(made) :]]
            break
        try:
            messages_of = _of_new_style if is_new_style(errback) else _of_old_style
            made.append(messages_of(errback, failure))
        except Exception:
            made.append(_not_planned(errback, [errback], failure))
        room -= sum(len(envelope.body) for envelope in made[-1].envelopes)
    found = FollowUps.joined(made) if made else NO_FOLLOW_UPS
    tracing.continue_trace(failure.headers, found.envelopes)
    announce(found.envelopes)
    return found


def _not_planned(sig: Signature, called: Sequence[Signature], failure: Failure) -> FollowUps:
    """Log that errbacks can't be sent; return the tasks that therefore never run."""
    log_lines.errback_not_planned(sig, failure.headers.get("id"))
    return FollowUps(unreachable=[task for errback in called for task in _unreachable_of(errback)])


def _unreachable_of(errback: Signature) -> list[Unreachable]:
    try:
        return dependents_of(errback)
    except Exception:  # a malformed errback is logged already
        return []


def _of_old_style(errback: Signature, failure: Failure) -> FollowUps:
    task_id, root_id = _lineage(failure)
    return planning.plan_errback(errback, task_id=task_id, root_id=root_id).follow_ups()


def _of_new_style(errback: Signature, failure: Failure) -> FollowUps:
    try:
        return _call_of(errback, failure)
    except (EncodeError, ValueError):
        # The traceback makes the message too large: send a part of it.
        shortened = failure.traceback and failure.traceback[-_SHORT:]
        return _call_of(errback, replace(failure, args=(), kwargs={}, traceback=shortened))


def _call_of(errback: Signature, failure: Failure) -> FollowUps:
    """Return the message of the built-in task that calls a new-style errback."""
    task_id, root_id = _lineage(failure)
    args = [dict(errback), {**failure.headers}, failure.error, list(failure.args), dict(failure.kwargs)]
    about = {"task": TASK, "args": [*args, failure.traceback], "kwargs": {}}
    sig = {**about, "options": {}, "subtask_type": None, "immutable": True}
    options = {**_where(errback, failure.queue), "route_name": errback["task"], "serializer": failure.serializer}
    return planning.plan_frozen(sig, root_id=root_id, parent_id=task_id, **options).follow_ups()


def _where(errback: Signature, queue: str) -> dict[str, Any]:
    """Return the routing options of a new-style errback: its own, else the failed task's queue.

    The workers of that queue know the errback, and may be the only ones.
    """
    given = errback.get("options") or {}
    where = {name: value for name in _WHERE if (value := given.get(name)) is not None}
    found = routing.route(errback["task"], (), {}, where, tasks.get(errback["task"]))
    if found.priority is None:
        where["priority"] = _PRIORITY
    if queue and found.queue == settings.DEFAULT_QUEUE and not (found.exchange or "queue" in where):
        where["queue"] = queue
    return where


def _lineage(failure: Failure) -> tuple[str, str]:
    task_id = failure.headers["id"]
    return task_id, failure.headers.get("root_id") or task_id
