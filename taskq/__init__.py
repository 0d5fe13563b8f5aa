"""taskq: a Django-native distributed task queue.

This is the public API; all other names may change::

    from taskq import task

    @task
    def add(x, y):
        return x + y

    add.delay(2, 2).get(timeout=1)

Names are loaded on first use: Django's settings may then import ``taskq.conf``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskq.calls.registry import register as register
    from taskq.canvas.chain import chain as chain
    from taskq.canvas.chord import chord as chord
    from taskq.canvas.group import group as group
    from taskq.canvas.maps import chunks as chunks
    from taskq.canvas.maps import xmap as xmap
    from taskq.canvas.maps import xstarmap as xstarmap
    from taskq.canvas.signature import Signature as Signature
    from taskq.canvas.signature import maybe_signature as maybe_signature
    from taskq.canvas.signature import signature as signature
    from taskq.canvas.signature import subtask as subtask
    from taskq.canvas.stamping import StampingVisitor as StampingVisitor
    from taskq.logs import get_task_logger as get_task_logger
    from taskq.results.async_result import AsyncResult as AsyncResult
    from taskq.results.group_result import GroupResult as GroupResult
    from taskq.results.result_set import ResultSet as ResultSet
    from taskq.sending.send import asend_task as asend_task
    from taskq.sending.send import send_task as send_task
    from taskq.tasks.current import current_task as current_task
    from taskq.tasks.decorator import shared_task as shared_task
    from taskq.tasks.decorator import task as task
    from taskq.tasks.task import Task as Task

    from . import states as states

__version__ = "0.1.0.dev0"

_WHERE = {
    "AsyncResult": "taskq.results.async_result",
    "GroupResult": "taskq.results.group_result",
    "ResultSet": "taskq.results.result_set",
    "Signature": "taskq.canvas.signature",
    "StampingVisitor": "taskq.canvas.stamping",
    "Task": "taskq.tasks.task",
    "asend_task": "taskq.sending.send",
    "chain": "taskq.canvas.chain",
    "chord": "taskq.canvas.chord",
    "chunks": "taskq.canvas.maps",
    "current_task": "taskq.tasks.current",
    "get_task_logger": "taskq.logs",
    "group": "taskq.canvas.group",
    "maybe_signature": "taskq.canvas.signature",
    "register": "taskq.calls.registry",
    "send_task": "taskq.sending.send",
    "shared_task": "taskq.tasks.decorator",
    "signature": "taskq.canvas.signature",
    "subtask": "taskq.canvas.signature",
    "task": "taskq.tasks.decorator",
    "xmap": "taskq.canvas.maps",
    "xstarmap": "taskq.canvas.maps",
}

__all__ = [
    "AsyncResult",
    "GroupResult",
    "ResultSet",
    "Signature",
    "StampingVisitor",
    "Task",
    "__version__",
    "asend_task",
    "chain",
    "chord",
    "chunks",
    "current_task",
    "get_task_logger",
    "group",
    "maybe_signature",
    "register",
    "send_task",
    "shared_task",
    "signature",
    "states",
    "subtask",
    "task",
    "xmap",
    "xstarmap",
]


def __getattr__(name: str) -> Any:
    if name == "states":
        return import_module("taskq.states")
    if name not in _WHERE:
        raise AttributeError(f"module 'taskq' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_WHERE[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
