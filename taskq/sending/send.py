"""From a call to an envelope: the sender's side of the hot path.

``Task.apply_async``, ``send_task`` and their kin come through here. It merges
options, asks ``messages.routing`` where to and has ``messages.protocol`` write the
message; only ``messages.publisher`` sends it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.db import transaction

from taskq.calls.context import Context, running
from taskq.calls.options import SEND_OPTIONS, SendOptions, check_retry_policy, refuse_unknown
from taskq.calls.registry import tasks
from taskq.conf import settings
from taskq.messages import protocol, routing

if TYPE_CHECKING:
    from typing import Unpack

    from taskq.messages.routing import Route
    from taskq.records import Envelope
    from taskq.results.async_result import AsyncResult
    from taskq.tasks.task import Task

    AnyTask = Task[..., Any]
    Result = AsyncResult[Any]

__all__ = ["add_children", "asend_task", "envelope_for", "send", "send_many", "send_on_commit", "send_task"]

Args = Sequence[Any] | None
Kwargs = Mapping[str, Any] | None
#: What a task's own attributes say where a call says nothing.
_FROM_TASK = ("serializer", "compression", "expires", "ignore_result")
#: Options of which the message says nothing: what the sender does, and what routing has answered.
_NOT_IN_MESSAGE = ("add_to_parent", "exchange_type", "retry", "retry_policy", "route_name")
#: Options that the message has under another name.
_RENAMED = {"link": "callbacks", "link_error": "errbacks"}
#: Celery's tasks that stand for calls of another one, which decides where they go.
_ROUTED_AS_INNER = frozenset({"celery.map", "celery.starmap", "celery.chunks"})


def envelope_for(
    name: str, task: AnyTask | None, args: Args, kwargs: Kwargs, options: dict[str, Any], *, check: bool = True
) -> Envelope:
    """Return the message for one call. ``options`` is used up.

    Without ``check`` the arguments are not held against the function's signature.

    Raises ``TypeError`` for unknown options and arguments of the wrong shape,
    ``ValueError`` for limits and times that make no sense, ``EncodeError`` for
    arguments that can't be sent and ``QueueNotFound``.
    """
    if not options.keys() <= SEND_OPTIONS:
        _collect_stamps(options)
        refuse_unknown(options, SEND_OPTIONS, f"apply_async() of {name}")
    check_retry_policy(name, options.get("retry_policy"))
    args, kwargs = _checked(name, task, args, kwargs, check)
    route = _route(name, task, args, kwargs, options)
    for option in _NOT_IN_MESSAGE:
        options.pop(option, None)
    options.update(route.options)
    options.update(queue=route.queue, exchange=route.exchange, routing_key=route.routing_key, priority=route.priority)
    if task is not None:
        _add_defaults(task, options)
    if (parent := running()) is not None:
        _add_lineage(parent, options)
    for option, header in _RENAMED.items():
        if option in options:
            options[header] = signatures(name, option, options.pop(option))
    if "chain" in options:
        options["chain"] = signatures(name, "chain", options["chain"])
    envelope = protocol.build(name=name, args=args, kwargs=kwargs, **options)
    envelope.tracked = settings.TRACK_PENDING
    return envelope


def _collect_stamps(options: dict[str, Any]) -> None:
    """Put stamps, which are options under names of their own, together."""
    names = options.get("stamped_headers") or ()
    if stamps := {name: options.pop(name) for name in names if name in options and name not in SEND_OPTIONS}:
        options["stamps"] = {**(options.get("stamps") or {}), **stamps}


def _route(name: str, task: AnyTask | None, args: Any, kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> Route:
    if (known_as := options.get("route_name")) is None and name in _ROUTED_AS_INNER:
        known_as = (kwargs.get("task") or {}).get("task")
    if known_as is None:
        return routing.route(name, args, kwargs, options, task)
    return routing.route(known_as, args, kwargs, options, tasks.get(known_as))


def _checked(
    name: str, task: AnyTask | None, args: Args, kwargs: Kwargs, check: bool
) -> tuple[list[Any] | tuple[Any, ...], Mapping[str, Any]]:
    """Return the arguments as a list or tuple and a mapping, checked against the signature if that is asked for."""
    if args is None:
        args = ()
    elif not isinstance(args, list | tuple):
        raise TypeError(f"args of {name} must be a list or a tuple, not {type(args).__name__}: write ({args!r},).")
    if kwargs is None:
        kwargs = {}
    elif not isinstance(kwargs, Mapping):
        raise TypeError(f"kwargs of {name} must be a mapping, not {type(kwargs).__name__}.")
    if check and task is not None and task.typing:
        task.check_arguments(args, kwargs)
    return args, kwargs


def signatures(name: str, option: str, given: Any) -> list[Any] | None:
    """Return one signature or several as the list that a message has, ``None`` for none. Raises ``TypeError``."""
    if given is None:
        return None
    several = isinstance(given, Iterable) and not isinstance(given, Mapping | str)
    found = list(given) if several else [given]
    for sig in found:
        if not isinstance(sig, Mapping) or "task" not in sig:
            raise TypeError(f"{option} of {name} takes signatures, as add.s(2, 2), not {sig!r:.200}.")
    return found or None


def _add_defaults(task: AnyTask, options: dict[str, Any]) -> None:
    for option in _FROM_TASK:
        if options.get(option) is None:
            options[option] = getattr(task, option)
    options["sensitive"] = task.sensitive
    options["sensitive_positions"] = task.positions


def _add_lineage(parent: Context, options: dict[str, Any]) -> None:
    """Say in a message that the running task sends who its parent and its root are."""
    if options.get("parent_id") is None:
        options["parent_id"] = parent.id
    if options.get("root_id") is None:
        options["root_id"] = parent.root_id or parent.id


def send(name: str, task: AnyTask | None, args: Args, kwargs: Kwargs, options: dict[str, Any]) -> Result:
    """Send one message now, in the caller's transaction if there is one."""
    from .publisher import publish_one

    add_to_parent = options.get("add_to_parent", True)
    envelope = envelope_for(name, task, args, kwargs, options)
    publish_one(envelope)
    result = _result(envelope)
    if add_to_parent:
        add_children((result,))
    return result


def send_many(task: AnyTask, calls: Iterable[Sequence[Any]], options: dict[str, Any]) -> list[Result]:
    """Send one message for each element of ``calls``, which are encoded while the chunks before are being sent."""
    from .publisher import publish

    if options.get("task_id") is not None:
        raise TypeError(f"delay_many() of {task.name} has no option 'task_id': each message gets its own.")
    add_to_parent = options.get("add_to_parent", True)
    results: list[Result] = []
    # Read to its end first: it may be a query's iterator, and on the connection that is about to write.
    calls = list(calls)

    def envelopes() -> Iterator[Envelope]:
        for args in calls:
            envelope = envelope_for(task.name, task, args, None, dict(options))
            results.append(_result(envelope))
            yield envelope

    publish(envelopes())
    if add_to_parent:
        add_children(results)
    return results


def send_on_commit(name: str, task: AnyTask | None, args: Args, kwargs: Kwargs, options: dict[str, Any]) -> Result:
    """Send one message when the transaction commits; at once if there is none. What is wrong with it is raised now.

    A ``countdown`` starts when it is sent; an ``eta`` stays where it is, however long the transaction takes.
    """
    from .publisher import publish_one

    add_to_parent = options.get("add_to_parent", True)
    envelope = envelope_for(name, task, args, kwargs, options)
    due = time.monotonic() + envelope.delay if options.get("countdown") is None else None

    def publish() -> None:
        if due is not None:
            envelope.delay = max(0.0, due - time.monotonic())
        publish_one(envelope)

    transaction.on_commit(publish, using=settings.DATABASE)
    result = _result(envelope)
    if add_to_parent:
        add_children((result,))
    return result


def _result(envelope: Envelope) -> Result:
    from taskq.results.async_result import AsyncResult

    return AsyncResult(envelope.task_id, ignored=bool(envelope.headers.get("ignore_result")))


def add_children(results: Iterable[Any]) -> None:
    """Have the running task, if there is one, remember what it has sent."""
    parent = running()
    if parent is not None and parent.definition.trail:
        parent.children.extend(results)


def send_task(name: str, args: Args = None, kwargs: Kwargs = None, **options: Unpack[SendOptions]) -> Result:
    """Send a task by name. It need not be defined here; the worker has to know it.

    Takes the options of ``apply_async``, and a registered task's own options as
    defaults. With ``TASKQ_ALWAYS_EAGER`` it runs here.
    """
    task = tasks.get(name)
    if settings.ALWAYS_EAGER:
        from taskq.eager.single import apply

        return apply(name, task, args, kwargs, dict(options))
    return send(name, task, args, kwargs, dict(options))


async def asend_task(name: str, args: Args = None, kwargs: Kwargs = None, **options: Unpack[SendOptions]) -> Result:
    """Do what ``send_task`` does, from a coroutine."""
    call: Callable[..., Result] = send_task
    return await sync_to_async(call)(name, args, kwargs, **options)
