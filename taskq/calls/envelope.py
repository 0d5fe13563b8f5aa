"""Makes the envelope of a call: the sender's side of the hot path. Sends nothing.

Merges the options of the call with the task's own, gets the route from ``messages.routing`` and builds the
message with ``messages.protocol``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from taskq.conf import settings
from taskq.messages import protocol, routing, tracing
from taskq.messages.protocol.options import check_limit_order
from taskq.messages.reprs import repr_for_error
from taskq.messages.routing import Route
from taskq.records import Envelope

from . import masking
from .context import Context, running
from .definition import TaskDefinition
from .options import SEND_OPTIONS, check_retry_policy, refuse_unknown
from .registry import tasks

Args = Sequence[Any] | None
Kwargs = Mapping[str, Any] | None
#: Options whose default is the task's attribute.
_FROM_TASK = ("serializer", "compression", "expires", "ignore_result")
#: Options for the sender and for routing only, not for the message.
_NOT_IN_MESSAGE = ("add_to_parent", "exchange_type", "retry", "retry_policy", "route_name", "throw")
#: Options with another name in the message.
_RENAMED = {"link": "callbacks", "link_error": "errbacks"}
#: Celery's tasks that call another task: they are routed as that task.
_ROUTED_AS_INNER = frozenset({"celery.map", "celery.starmap", "celery.chunks"})


def envelope_for(
    name: str, task: TaskDefinition | None, args: Args, kwargs: Kwargs, options: dict[str, Any], *, check: bool = True
) -> Envelope:
    """Return the message of one call. ``options`` is changed; ``check`` compares arguments and signature.

    Raises ``TypeError`` for unknown options and wrong arguments, ``ValueError`` for invalid times, and for invalid
    limits of the call or of the task, ``EncodeError`` for arguments that can't be encoded, and ``QueueNotFound``.
    """
    if not options.keys() <= SEND_OPTIONS:
        _collect_stamps(options)
        refuse_unknown(options, SEND_OPTIONS, f"apply_async() of {name}")
    if "retry_policy" in options:
        check_retry_policy(name, options["retry_policy"])
    args, kwargs = _checked_arguments(name, task, args, kwargs, check)
    if task is not None and task.dump_arguments is not None:
        args, kwargs = _with_models_as_data(task, args, kwargs, options)
    route = _route(name, task, args, kwargs, options)
    for option in _NOT_IN_MESSAGE:
        options.pop(option, None)
    options.update(route.options)
    options.update(queue=route.queue, exchange=route.exchange, routing_key=route.routing_key, priority=route.priority)
    if "time_limit" in options:
        check_limit_order(name, options["time_limit"], options.get("soft_time_limit"))
    if task is not None:
        add_defaults(task, options)
    if tasks.guarded or (task is not None and task.sensitive):
        mask(name, task, args, kwargs, options, check)
    if (parent := running()) is not None:
        _add_lineage(parent, options)
    for option, header in _RENAMED.items():
        if option in options:
            options[header] = signatures(name, option, options.pop(option))
    if "chain" in options:
        options["chain"] = signatures(name, "chain", options["chain"])
    envelope = protocol.build(name=name, args=args, kwargs=kwargs, **options)
    # With signing every message has a row, which tells whether its task has run: a copied message does not run again.
    envelope.tracked = settings.TRACK_PENDING or settings.SIGNING
    return envelope


def _with_models_as_data(
    task: TaskDefinition, args: list[Any] | tuple[Any, ...], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[list[Any] | tuple[Any, ...], Mapping[str, Any]]:
    """Return the arguments with pydantic's models as data; pickle takes models as they are."""
    if task.dump_arguments is None or (options.get("serializer") or task.serializer) == "pickle":
        return args, kwargs
    return task.dump_arguments(args, kwargs)


def _collect_stamps(options: dict[str, Any]) -> None:
    """Move the stamps, each an option with its own name, into the option ``stamps``."""
    names = options.get("stamped_headers") or ()
    if stamps := {name: options.pop(name) for name in names if name in options and name not in SEND_OPTIONS}:
        options["stamps"] = {**(options.get("stamps") or {}), **stamps}


def _route(
    name: str, task: TaskDefinition | None, args: Any, kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> Route:
    if (known_as := options.get("route_name")) is None and name in _ROUTED_AS_INNER:
        known_as = (kwargs.get("task") or {}).get("task")
    if known_as is None:
        return routing.route(name, args, kwargs, options, task)
    return routing.route(known_as, args, kwargs, options, tasks.get(known_as))


def _checked_arguments(
    name: str, task: TaskDefinition | None, args: Args, kwargs: Kwargs, check: bool
) -> tuple[list[Any] | tuple[Any, ...], Mapping[str, Any]]:
    """Return the arguments as a list or tuple and a mapping; ``check`` compares them with the function's signature."""
    if args is None:
        args = ()
    elif not isinstance(args, list | tuple):
        raise TypeError(f"args of {name} must be a list or a tuple, not {type(args).__name__}: write (x,).")
    if kwargs is None:
        kwargs = {}
    elif not isinstance(kwargs, Mapping):
        raise TypeError(f"kwargs of {name} must be a mapping, not {type(kwargs).__name__}.")
    if check and task is not None and task.typing:
        task.check_arguments(args, kwargs)
    return args, kwargs


def signatures(name: str, option: str, given: Any) -> list[Any] | None:
    """Return one or several signatures as a list for the message, ``None`` for none. Raises ``TypeError``."""
    if given is None:
        return None
    several = isinstance(given, Iterable) and not isinstance(given, Mapping | str)
    found = list(given) if several else [given]
    for sig in found:
        if not isinstance(sig, Mapping) or "task" not in sig:
            raise TypeError(f"{option} of {name} takes signatures, as add.s(2, 2), not {repr_for_error(sig)}.")
    return found or None


def add_defaults(task: TaskDefinition, options: dict[str, Any]) -> None:
    """Set the options that the call does not name to the task's own."""
    hard, soft = task.time_limit, task.soft_time_limit
    if hard is not None or soft is not None:
        _add_limits(task.name, hard, soft, options)
    for option in _FROM_TASK:
        if options.get(option) is None:
            options[option] = getattr(task, option)
    options["positions"] = task.positions


def mask(
    name: str, task: TaskDefinition | None, args: Any, kwargs: Mapping[str, Any], options: dict[str, Any], check: bool
) -> None:
    """Set the option ``shown`` to the masked arguments, if some are sensitive.

    A caller's own ``argsrepr`` or ``kwargsrepr`` can't be masked: it is an error with ``check``, and else is dropped.
    """
    options["shown"] = masking.shown(name, args, kwargs)
    if options["shown"] is not None or (task is not None and task.sensitive):
        if check:
            masking.refuse_reprs(name, options)
        options.update(argsrepr=None, kwargsrepr=None)


def _add_limits(name: str, hard: float | None, soft: float | None, options: dict[str, Any]) -> None:
    if hard != settings.TIME_LIMIT and soft != settings.SOFT_TIME_LIMIT:  # both are the task's own
        check_limit_order(name, hard, soft)
    for option, limit in (("time_limit", hard), ("soft_time_limit", soft)):
        if options.get(option) is None:
            options[option] = limit


def _add_lineage(parent: Context, options: dict[str, Any]) -> None:
    """Set ``parent_id`` and ``root_id`` of a message that the running task sends, and the headers of its trace."""
    if options.get("parent_id") is None:
        options["parent_id"] = parent.id
    if options.get("root_id") is None:
        options["root_id"] = parent.root_id or parent.id
    if "traceparent" in parent.message or "sentry-trace" in parent.message:
        tracing.add_trace(tracing.trace_of(parent.message), options)
