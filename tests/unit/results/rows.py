"""Rows of tasks as workers would have left them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from taskq import states
from taskq.messages import values
from taskq.models import TaskRun
from taskq.results.async_result import AsyncResult

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def success(task_id: str, value: Any = None, *children: Any) -> AsyncResult[Any]:
    put(task_id, states.SUCCESS, json.dumps(value), values.encode_children(children))
    return AsyncResult(task_id)


def failure(task_id: str, exc: BaseException, state: str = states.FAILURE) -> AsyncResult[Any]:
    put(task_id, state, values.encode_exception(exc))
    return AsyncResult(task_id)


def put(task_id: str, state: str, result: str | None = None, children: str | None = None) -> None:
    fields = {"state": state, "result": result, "children": children, "created_at": NOW}
    TaskRun.objects.update_or_create(task_id=task_id, defaults=fields)
