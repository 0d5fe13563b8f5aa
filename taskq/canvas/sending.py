"""Sends canvases: plans them, publishes the plan, and makes the caller's result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskq.calls.registry import tasks
from taskq.conf import settings
from taskq.sending.send import add_children, send_task
from taskq.workflows.fields import merged
from taskq.workflows.types import TASK, kind_of

from .signature import Signature

__all__ = ["send_signature"]

Args = Sequence[Any] | None
Kwargs = Mapping[str, Any] | None


def send_signature(sig: Signature[Any], args: Args, kwargs: Kwargs, options: dict[str, Any]) -> Any:
    """Send ``sig`` and return its result; ``None`` for an empty chain. See ``Signature.apply_async``."""
    if kind_of(sig) == TASK:
        return _send_task(sig, args, kwargs, options)
    if settings.ALWAYS_EAGER:
        from taskq.eager.apply import apply_canvas

        return apply_canvas(sig, args, kwargs, options)
    from taskq.results.serialization import from_frozen
    from taskq.sending.publisher import publish_plan
    from taskq.workflows.plan import plan

    add_to_parent = options.pop("add_to_parent", True)
    made = plan(sig, args or (), kwargs, **options)
    publish_plan(made)
    result = made.result and from_frozen(made.result)
    if result is not None and add_to_parent:
        add_children((result,))
    return result


def _send_task(sig: Signature[Any], args: Args, kwargs: Kwargs, options: dict[str, Any]) -> Any:
    """Send one task by the ``apply_async`` of its class, which may be overridden."""
    args, kwargs, together = merged(sig, args, kwargs, options)
    task = tasks.get(sig.task)
    if task is None:
        return send_task(sig.task, args, kwargs, **together)
    return task.apply_async(args, kwargs, **together)
