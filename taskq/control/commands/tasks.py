"""Commands about tasks: revoking and terminating them, and their limits.

Revoking is durable: it is written by the store thread, for all workers. What this worker holds is revoked here at once,
also while the database is away.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from taskq import rates
from taskq.calls.registry import tasks
from taskq.control import revoking, stamps
from taskq.control.pending import Pending
from taskq.control.registry import control_command
from taskq.messages.protocol.options import is_limit
from taskq.store import rates as rates_store
from taskq.store.revoke import revoke as write_revoked
from taskq.worker.pools.registry import WITH_CHILDREN

if TYPE_CHECKING:
    # The management commands read the commands too, and need nothing of a worker.
    from taskq.control.state import WorkerState
    from taskq.worker.loop.request import Request


@control_command(variadic="task_id", signature="<id1> [id2 [... [idN]]]")
def revoke(
    state: WorkerState,
    task_id: Any,
    terminate: bool = False,
    signal: str | int | None = None,
    grace: float | None = None,
    written: bool = False,
    **_: Any,
) -> Any:
    """Revoke tasks by id: they do not start any more.

    With ``terminate`` a running one is ended by ``signal``; with ``grace`` by an exception, and if it then runs on for
    so many seconds, by the signal. ``written`` says that the caller has written to the database that they are revoked.
    """
    ids, name = revoking.task_ids(task_id), revoking.signal_text(terminate, signal, grace)
    wanted, batches = set(ids), revoking.by_ids(ids)
    held = [request for request in state.held() if request.id in wanted]
    if not terminate:
        words = f"tasks {wanted} flagged as revoked"
    else:
        ended = [task_id for task_id, _ in _ended_before(state, written) if task_id in wanted]
        words = f"terminate: {', '.join(sorted({*ended, *(r.id for r in held)})) or 'tasks unknown'}"
    reply = _revoke_here(state, held, name) or {"ok": words}
    return reply if written else _write(state, batches, name, reply)


@control_command(args=[("signal", str)], variadic="task_id", signature="<signal> <id1> [id2 [... [idN]]]")
def terminate(state: WorkerState, signal: str | int | None = None, task_id: Any = (), **more: Any) -> Any:
    """Revoke tasks by id, and end those that run by a signal."""
    return revoke(state, task_id, **more | {"terminate": True, "signal": signal})


@control_command(variadic="headers", signature="<key1=value1> [key2=value2 [... [keyN=valueN]]]")
def revoke_by_stamped_headers(
    state: WorkerState,
    headers: Any,
    terminate: bool = False,
    signal: str | int | None = None,
    grace: float | None = None,
    written: bool = False,
    **_: Any,
) -> Any:
    """Revoke tasks that carry one of these stamps."""
    wanted, name = stamps.wanted(headers), revoking.signal_text(terminate, signal, grace)
    held = [r for r in state.held() if stamps.match(r.headers.raw, wanted)]
    # As Celery's workers show what its program sends as a list.
    headers = stamps.by_key(headers)
    if not terminate:
        words = f"headers {headers} flagged as revoked, but not terminated"
    else:
        found = held or any(stamps.match_text(text, wanted) for _, text in _ended_before(state, written))
        words = f"headers {headers} {'revoked' if found else 'were not terminated'}"
    reply = _revoke_here(state, held, name) or {"ok": words}
    return reply if written else _write(state, revoking.by_stamps(wanted, state.node.store.alias), name, reply)


@control_command(args=[("pattern", str)], signature="<pattern (e.g., reports.*)>")
def revoke_by_name(
    state: WorkerState,
    pattern: str,
    terminate: bool = False,
    signal: str | int | None = None,
    grace: float | None = None,
    written: bool = False,
    **_: Any,
) -> Any:
    """Revoke tasks whose names match a pattern, as far as they were sent."""
    name = revoking.signal_text(terminate, signal, grace)
    pattern = revoking.named("pattern", pattern)
    held = [r for r in state.held() if stamps.name_matches(r.name, pattern)]
    reply = _revoke_here(state, held, name) or {"ok": f"tasks {pattern} flagged as revoked"}
    return reply if written else _write(state, revoking.by_name(pattern, state.node.store.alias), name, reply)


def _revoke_here(state: WorkerState, held: Collection[Request], signal: str) -> dict[str, str] | None:
    """Revoke what this worker holds; return the reply if a running task was to be terminated, and can't be.

    That is an error, unless the task can at least be asked to end: then the reply says so.
    """
    if not held:
        return None
    node, jobs = state.node, {request.job for request in held}
    # Before the loop ends them: the reply is about these.
    running = [each.request.id for each in state.running() if each.request.job in jobs]
    node.calls.post(node.consumer.revoke, {request.message.id: signal or "revoke" for request in held})
    pool = node.consumer.pool
    if not (signal and running) or pool.supports_terminate:
        return None
    names = ", ".join(running)
    if pool.supports_grace and "+" in signal:
        return {"ok": f"terminate: {names}, asked to end: the {pool.name} pool can't do more"}
    return {"error": f"the {pool.name} pool can't end a running task: {names} revoked, not terminated"}


def _ended_before(state: WorkerState, written: bool) -> Iterable[tuple[str, str]]:
    """Return ids and headers of tasks that may have ended by this command: by the database, before it came."""
    return state.node.consumer.holdings.lately_terminated() if written else ()


def _write(state: WorkerState, batches: revoking.Batches, signal: str, reply: dict[str, str]) -> Pending:
    """Write that tasks are revoked, a batch in each turn of the store thread: claims go on meanwhile."""
    #: The batches that are done, and the tasks in them.
    done, revoked = 0, 0

    def late() -> dict[str, str]:
        if not done:
            return state.no_database()
        return {"ok": f"still working: {revoked} tasks revoked so far, in {done} of the steps through all messages"}

    pending = state.pending(late)
    calls, alias = state.node.store.calls, state.node.store.alias

    def step() -> None:
        nonlocal done, revoked
        try:
            ids = next(batches, None)
            if ids:
                write_revoked(ids, signal, alias)
        except Exception as error:
            pending.fail(error)
            return
        if ids is None:
            pending.give(reply)
        else:
            done, revoked = done + 1, revoked + len(ids)
            calls.post(step)

    calls.post(step)
    return pending


# -- limits


@control_command(
    args=[("task_name", str), ("soft", float), ("hard", float)], signature="<task_name> <soft_secs> [hard_secs]"
)
def time_limit(
    state: WorkerState, task_name: str = "", hard: float | None = None, soft: float | None = None, **_: Any
) -> Any:
    """Set the time limits of a task, from its next start on."""
    if task_name not in tasks:
        return {"error": "unknown task"}
    for limit in (hard, soft):
        if limit is not None and not is_limit(limit):
            raise ValueError(f"a time limit has to be a number of seconds, not {limit!r:.50}")
    if hard and soft and soft > hard:
        raise ValueError(f"the soft limit of {soft:g} s is beyond the hard limit of {hard:g} s")
    pool = state.node.consumer.pool
    if hard and not pool.supports_hard_limit:
        return {"error": f"The {pool.name} pool can't kill a task: a hard time limit needs {WITH_CHILDREN}"}
    reply = {"ok": "time limits set successfully"}

    def change() -> dict[str, str]:
        state.node.consumer.set_time_limits(tasks[task_name], hard, soft)
        return reply

    return state.on_loop(change, late=reply)


@control_command(
    args=[("task_name", str), ("rate_limit", str)], signature="<task_name> <rate_limit (e.g., 5/s | 5/m | 5/h)>"
)
def rate_limit(state: WorkerState, task_name: str = "", rate_limit: Any = None, **_: Any) -> Any:
    """Set the rate limit of a task: from the next start on, also for messages that wait for the old one."""
    if task_name not in tasks:
        return {"error": "unknown task"}
    try:
        rate = rates.per_second(rate_limit)
    except (TypeError, ValueError) as error:
        return {"error": f"Invalid rate limit string: {error!r:.300}"}
    if state.node.options.disable_rate_limits:
        return {"error": "rate limits are disabled in this worker: --disable-rate-limits, TASKQ_DISABLE_RATE_LIMITS"}
    reply = {"ok": "new rate limit set successfully" if rate else "rate limit disabled successfully"}
    if tasks[task_name].rate_limit_scope == "cluster":
        return state.on_store(_share_rate, state, task_name, rate, reply)

    def change() -> dict[str, str]:
        tasks[task_name].rate_limit = rate_limit or None
        state.node.set_rate(task_name, rate)
        return reply

    return state.on_loop(change, late=reply)


def _share_rate(state: WorkerState, task_name: str, rate: float | None, reply: dict[str, str]) -> dict[str, str]:
    """Write the limit of all workers. Each worker that is asked writes the same."""
    rates_store.set_rate(task_name, rate, state.node.store.alias)
    state.node.shared_rates.read()
    return reply
