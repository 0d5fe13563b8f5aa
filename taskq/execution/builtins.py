"""The built-in tasks of every worker: Celery's, under Celery's names, and those of taskq.

Celery's producers send maps as tasks, and the others as parts of workflows that they did not unroll.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from taskq import states
from taskq.calls.context import Context
from taskq.calls.registry import tasks as registry
from taskq.canvas.signature import Signature as CanvasSignature
from taskq.exceptions import ChordError
from taskq.messages import values
from taskq.messages.serializers import serializer_of
from taskq.results.async_result import AsyncResult
from taskq.tasks.decorator import task
from taskq.workflows import errbacks, large_bodies
from taskq.workflows.dependents import failing_tasks_of
from taskq.workflows.steps import body_call

from . import bodies, log_lines
from .call import finish

Signature = Mapping[str, Any]


@task(name="celery.accumulate")
def accumulate(*args: Any, **kwargs: Any) -> Any:
    """Return the arguments, or the argument at ``index``: the body of a group that replaces a task."""
    index = kwargs.get("index")
    return args[index] if index is not None else args


# -- one task for many calls ---------------------------------------------------------------


@task(name="celery.map")
def xmap(task: Signature, it: Sequence[Any]) -> list[Any]:
    """Call the task once for each item, one after the other; the first failure is raised."""
    call = _caller(task)
    return [call(item) for item in it]


@task(name="celery.starmap")
def xstarmap(task: Signature, it: Sequence[Sequence[Any]]) -> list[Any]:
    """Call the task once for each item, with the item's elements as arguments."""
    call = _caller(task)
    return [call(*item) for item in it]


@task(name="celery.chunks")
def chunks(task: Signature, it: Sequence[Sequence[Any]], n: int) -> list[list[Any]]:
    """As ``celery.starmap``, in lists of ``n`` items; senders usually make a group of starmaps instead."""
    call = _caller(task)
    return [[call(*item) for item in it[start : start + n]] for start in range(0, len(it), n)]


def _caller(sig: Signature) -> Callable[..., Any]:
    """Return a function that calls the task of ``sig`` here, with the signature's arguments behind its own."""
    called, own, kwargs = registry[sig["task"]], list(sig.get("args") or ()), dict(sig.get("kwargs") or {})

    def call(*args: Any) -> Any:
        return finish(called(*args, *own, **kwargs))

    return call


# -- canvases that their sender did not unroll -----------------------------------------------


@task(name="celery.group", bind=True)
def group(self: Any, tasks: Sequence[Signature], *args: Any, **kwargs: Any) -> Any:
    """Replace this task by a group: its value is the list of the members' values."""
    return _replaced(self, "group", tasks=list(tasks))


@task(name="celery.chain")
def chain(*args: Any, **kwargs: Any) -> None:
    """Raise: a chain is sent as its first task, with the other steps in the message."""
    raise NotImplementedError("A chain is no task: send its first task, with the others in the message.")


@task(name="celery.chord", bind=True)
def chord(self: Any, header: Any, body: Signature, *args: Any, **kwargs: Any) -> Any:
    """Replace this task by a chord."""
    return _replaced(self, "chord", header=header, body=body, kwargs={})


def _replaced(self: Any, kind: str, **kwargs: Any) -> Any:
    data = {"task": f"celery.{kind}", "args": [], "kwargs": kwargs, "options": {}, "subtask_type": kind}
    return self.replace(CanvasSignature.from_dict({**data, "immutable": False}))


@task(name="celery.chord_unlock", bind=True, max_retries=None, default_retry_delay=1, ignore_result=True)
def chord_unlock(
    self: Any,
    /,
    group_id: str,
    callback: Signature,
    interval: float | None = None,
    max_retries: int | None = None,
    result: Sequence[Any] = (),
    **_: Any,
) -> Any:
    """Send the body of a Celery producer's chord when its members, whose runs are rows here, have ended."""
    members = [AsyncResult[Any](_id_of(member)) for member in result]
    ended = [member.state for member in members]
    failed = next((m for m, s in zip(members, ended, strict=True) if s in states.PROPAGATE_STATES), None)
    request: Context = self.request
    if failed is not None:
        # The body fails as a dependent of this task.
        called = [errback for _, errbacks_ in failing_tasks_of(callback) for errback in errbacks_]
        request.embed = {"chain": [callback], "errbacks": called}
        raise ChordError.by_member(failed.id, failed.result)
    if not all(state == states.SUCCESS for state in ended):
        raise self.retry(countdown=interval, max_retries=max_retries)
    # The body follows this task, whose value are the members' values: so it is sent in parts if it is large.
    found = [member.result for member in members]
    request.embed = {"chain": [body_call(callback, found)[0]]}
    return found


@task(name=large_bodies.TASK, bind=True, ignore_result=True, store_errors_even_if_ignored=False, acks_late=True)
def body(self: Any, parent_id: str = "", error: str | None = None) -> None:
    """Send the large body of the chord whose group has the id of this task, or fail it with an exception as data."""
    self.request.ending = bodies.planned(self.request.id, parent_id, error)


def _id_of(member: Any) -> str:
    """Return the id in a result tuple."""
    while isinstance(member, list | tuple):
        member = member[0]
    return str(member)


# -- others ----------------------------------------------------------------------------------


@task(name="celery.backend_cleanup", ignore_result=True)
def backend_cleanup() -> None:
    """Do nothing: workers delete old rows themselves."""


@task(name="celery.ping")
def ping() -> str:
    """Answer."""
    return "pong"


@task(name=errbacks.MANY, bind=True, ignore_result=True, acks_late=True, sensitive=("args", "kwargs"))
def many_errbacks(
    self: Any,
    called: Sequence[Signature],
    headers: Mapping[str, Any],
    error: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    queue: str = "",
) -> None:
    """Send many errbacks of a task that failed outside its process, or call them."""
    request: Context = self.request
    serializer = serializer_of(request.received.content_type) if request.received else None
    failure = errbacks.Failure(headers, error, args, kwargs, None, queue, serializer)
    request.ending = bodies.Ending(errbacks.planned(called, failure), errbacks_of=error)


@task(name=errbacks.TASK, bind=True, ignore_result=True, sensitive=("args", "kwargs"))
def errback(
    self: Any,
    sig: Signature,
    headers: Mapping[str, Any],
    error: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    traceback: str | None = None,
) -> None:
    """Call an errback with ``(request, exc, traceback)``; its exceptions are logged.

    Only the message has the failed task's arguments, not the row: some may be sensitive.
    """
    request = Context(
        registry.get(headers.get("task") or "", self),
        called_directly=False,
        is_eager=self.request.is_eager,
        id=headers["id"],
        args=args,
        kwargs=kwargs,
        retries=headers.get("retries") or 0,
        root_id=headers.get("root_id"),
        parent_id=headers.get("parent_id"),
        hostname=self.request.hostname,
        message=headers,
    )
    try:
        value = errbacks.call(sig, request, values.decode_exception(error), traceback)
        finish(value)
    except (Exception, SystemExit):
        log_lines.errback_raised(sig["task"], headers)
