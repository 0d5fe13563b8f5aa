"""Sends calls for ``Task.apply_async``, ``send_task`` and their variants.

``calls.envelope`` makes the message; only the publisher publishes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.db import transaction

from taskq.calls.context import running
from taskq.calls.definition import TaskDefinition
from taskq.calls.envelope import envelope_for
from taskq.calls.options import SendOptions
from taskq.calls.registry import tasks
from taskq.conf import settings

from .transactions import commit_alias, open_transaction

if TYPE_CHECKING:
    from typing import Unpack

    from taskq.records import Envelope
    from taskq.results.async_result import AsyncResult

    Result = AsyncResult[Any]

__all__ = ["add_children", "asend_task", "send", "send_many", "send_on_commit", "send_task"]

Args = Sequence[Any] | None
Kwargs = Mapping[str, Any] | None


def send(name: str, task: TaskDefinition | None, args: Args, kwargs: Kwargs, options: dict[str, Any]) -> Result:
    """Send one message now, in the caller's transaction if there is one."""
    from taskq.sending.publisher import publish_one

    add_to_parent = options.get("add_to_parent", True)
    envelope = envelope_for(name, task, args, kwargs, options)
    publish_one(envelope)
    result = _result(envelope)
    if add_to_parent:
        add_children((result,))
    return result


def send_many(task: TaskDefinition, calls: Iterable[Sequence[Any]], options: dict[str, Any]) -> list[Result]:
    """Send one message for each element of ``calls`` (positional arguments), encoded and sent in chunks."""
    from taskq.sending.publisher import publish

    if options.get("task_id") is not None:
        raise TypeError(f"delay_many() of {task.name} has no option 'task_id': each message gets an id of its own.")
    add_to_parent = options.get("add_to_parent", True)
    results: list[Result] = []
    # Read it first: it may be the iterator of a query on the connection that is about to write.
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


def send_on_commit(
    name: str, task: TaskDefinition | None, args: Args, kwargs: Kwargs, options: dict[str, Any]
) -> Result:
    """Send one message when the transaction commits, at once if there is none. Errors in the call are raised now.

    A ``countdown`` starts with the commit; an ``eta`` does not move.
    """
    from taskq.sending.publisher import publish_one

    alias = commit_alias(name, options.pop("using", None))
    add_to_parent = options.get("add_to_parent", True)
    envelope = envelope_for(name, task, args, kwargs, options)
    due = time.monotonic() + envelope.delay if options.get("countdown") is None else None

    def publish() -> None:
        if due is not None:
            envelope.delay = max(0.0, due - time.monotonic())
        publish_one(envelope)

    transaction.on_commit(publish, using=alias)
    result = _result(envelope)
    if add_to_parent:
        add_children((result,), alias)
    return result


def _result(envelope: Envelope) -> Result:
    from taskq.results.async_result import AsyncResult

    return AsyncResult(envelope.task_id, ignored=bool(envelope.headers.get("ignore_result")))


def add_children(results: Iterable[Any], alias: str | None = None) -> None:
    """Add results to the children of the running task, if a task with ``trail`` runs here.

    They are removed again if the transaction on ``alias`` (default: ``TASKQ_DATABASE``) is rolled back.
    """
    parent = running()
    if parent is not None and parent.definition.trail:
        parent.remember(parent.children, results, open_transaction(alias))


def send_task(name: str, args: Args = None, kwargs: Kwargs = None, **options: Unpack[SendOptions]) -> Result:
    """Send a task by name, registered here or only at the worker: ``send_task("shop.tasks.add", (2, 2))``.

    Takes the options of ``apply_async``; a registered task's own are the defaults.
    """
    task = tasks.get(name)
    if settings.ALWAYS_EAGER:
        from taskq.eager.apply import apply

        return apply(name, task, args, kwargs, dict(options))
    return send(name, task, args, kwargs, dict(options))


async def asend_task(name: str, args: Args = None, kwargs: Kwargs = None, **options: Unpack[SendOptions]) -> Result:
    """Do ``send_task`` from a coroutine."""
    call: Callable[..., Result] = send_task
    return await sync_to_async(call)(name, args, kwargs, **options)
