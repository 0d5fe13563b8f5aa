"""Commands that tell which tasks a worker knows, holds and runs.

They read snapshots, and answer whatever else waits; ``scheduled`` and ``revoked`` need the database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from taskq.calls.registry import tasks
from taskq.control import configuration, rows, taskinfo
from taskq.control.pending import Pending
from taskq.control.registry import inspect_command
from taskq.messages.protocol.options import is_storable
from taskq.tasks.validation import HANDLERS, OPTIONS

if TYPE_CHECKING:
    # The management commands read the commands too, and need nothing of a worker.
    from taskq.control.state import WorkerState

#: The attributes of tasks that ``registered`` shows by default. Celery's.
_ITEMS = ("exchange", "routing_key", "rate_limit")
#: Those that it shows at all. Other attributes of a task's class are its own: a password may be among them.
_SHOWN = OPTIONS.keys() - set(HANDLERS)
#: The most characters of one value, and of all tasks with their attributes: then follow names only.
_MOST_VALUE, _MOST_REPLY = 200, 1_000_000
#: What ``stack`` replies if there is none.
_NOT_HERE = "the task does not run here"
_ENDED = "the task does not run any more, or has not begun"
_HOLDS_INTERPRETER = "the task's process does not answer in time: it may run code that holds the interpreter"
#: The beginnings of the names of built-in tasks.
_BUILT_IN = ("celery.", "taskq.", "taskq_admin.")


@inspect_command
def ping(state: WorkerState, **_: Any) -> dict[str, str]:
    """Ping workers."""
    return {"ok": "pong"}


@inspect_command(alias="dump_active")
def active(state: WorkerState, safe: bool = False, **_: Any) -> list[dict[str, Any]]:
    """List the tasks that run now."""
    return [taskinfo.running_info(each, state.hostname, safe=bool(safe)) for each in state.running()]


@inspect_command(alias="dump_reserved")
def reserved(state: WorkerState, **_: Any) -> list[dict[str, Any]]:
    """List the tasks that workers hold and that have not started."""
    return [taskinfo.reserved_info(request, state.hostname) for request in state.reserved()]


@inspect_command(alias="dump_schedule")
def scheduled(state: WorkerState, **_: Any) -> Pending:
    """List the tasks that are due later, in the queues that workers read."""
    queues, alias = [queue.name for queue in state.node.options.queues], state.node.store.alias
    return state.on_store(rows.scheduled, queues, state.hostname, alias)


@inspect_command(alias="dump_revoked")
def revoked(state: WorkerState, **_: Any) -> Pending:
    """List the ids of revoked tasks, of which the rows know: the latest ones."""
    held = [request.id for request in state.held() if request.revoked]

    def all_of_them() -> list[str]:
        alias = state.node.store.alias
        return sorted({*held, *rows.revoked(alias), *rows.ended_by_revoking(alias)})

    return state.on_store(all_of_them)


@inspect_command(variadic="ids", signature="<id1> [id2 [... [idN]]]")
def query_task(state: WorkerState, ids: Any = (), **_: Any) -> Any:
    """Find tasks by id: active, reserved or scheduled. Those that no worker holds are missing."""
    given = [ids] if isinstance(ids, str) else ids or ()
    wanted = {each for each in given if isinstance(each, str) and is_storable(each)}
    if len(wanted) > rows.MOST_SCHEDULED:
        raise ValueError(f"one command finds at most {rows.MOST_SCHEDULED} tasks, not {len(wanted)}")
    found = {r.id: ["reserved", taskinfo.reserved_info(r, state.hostname)] for r in state.reserved() if r.id in wanted}
    for each in state.running():
        if each.request.id in wanted:
            found[each.request.id] = ["active", taskinfo.running_info(each, state.hostname)]
    left = sorted(wanted - found.keys())
    if not left:
        return found

    def with_scheduled() -> dict[str, Any]:
        queues, alias = [queue.name for queue in state.node.options.queues], state.node.store.alias
        waiting = rows.scheduled(queues, state.hostname, alias, ids=left)
        return found | {each["request"]["id"]: ["scheduled", each["request"]] for each in waiting}

    return state.on_store(with_scheduled, late=lambda: found)


@inspect_command(args=[("task_id", str)], signature="<task_id>", default_timeout=2.0)
def stack(state: WorkerState, task_id: str, **_: Any) -> Pending | dict[str, str]:
    """Show where a running task is: its stack, without values of variables."""
    job = next((each.request.job for each in state.running() if each.request.id == task_id), None)
    if job is None:
        return {"error": _NOT_HERE}
    pending = state.pending(late=lambda: {"error": _HOLDS_INTERPRETER})

    def ask() -> None:
        try:
            state.node.consumer.pool.stack(job, lambda text: pending.give({"ok": text} if text else {"error": _ENDED}))
        except ValueError as error:
            pending.give({"error": str(error)})

    state.node.calls.post(ask)
    return pending


@inspect_command(alias="dump_tasks", variadic="taskinfoitems", signature="[attr1 [attr2 [... [attrN]]]]")
def registered(state: WorkerState, taskinfoitems: Any = None, builtins: bool = False, **_: Any) -> list[str]:
    """List the tasks that workers know, with these of their options."""
    items = list(dict.fromkeys(item for item in taskinfoitems or _ITEMS if isinstance(item, str) and item in _SHOWN))
    found, size = [], 0
    for name in sorted(tasks):
        if builtins or not name.startswith(_BUILT_IN):
            found.append(_described(name, items) if size < _MOST_REPLY else name)
            size += len(found[-1])
    return found


def _described(name: str, items: Sequence[str]) -> str:
    task = tasks[name]
    values = [(item, value) for item in items if (value := getattr(task, item, None)) is not None]
    found = [f"{item}={_value(item, value)}" for item, value in values]
    return f"{name} [{' '.join(found)}]" if found else name


def _value(item: str, value: Any) -> str:
    text = str(configuration.masked(item, value if isinstance(value, Mapping) else str(value)))
    return text if len(text) <= _MOST_VALUE else f"{text[:_MOST_VALUE]}…"
