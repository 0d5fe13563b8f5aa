"""Tasks that note in this process that they were called: for stores that run tasks where the test runs."""

from __future__ import annotations

from typing import Any

from taskq import Task, register, task
from taskq.exceptions import Ignore

#: What was called, in order.
calls: list[Any] = []


@task
def hears(value: Any) -> Any:
    """Note a value, and give it back."""
    calls.append(value)
    return value


@task
def old(task_id: str) -> str:
    """Note as an errback of the old convention which task has failed."""
    calls.append(("old", task_id))
    return task_id


@task
def new(request: Any, exc: BaseException, traceback: str | None) -> None:
    """Note as an errback of the new convention which task has failed, and how."""
    calls.append(("new", request.id, repr(exc), traceback is not None))


@task
def noted(task_id: str, text: str) -> None:
    """Note as an errback of the old convention, with an argument of its own, which task has failed."""
    calls.append(("noted", task_id, text))


@task
def noted_new(request: Any, exc: BaseException, traceback: str | None, text: str) -> None:
    """Note as an errback of the new convention, with an argument of its own, which task has failed."""
    calls.append(("noted_new", request.id, text))


@task(bind=True)
def bound_old(self: Any, task_id: str, more: Any = None) -> None:
    """Note as an errback of the old convention that gets itself which task has failed."""
    calls.append(("bound_old", task_id, more))


@task(bind=True)
def bound_new(self: Any, request: Any, exc: BaseException, traceback: str | None) -> None:
    """Note as an errback of the new convention that gets itself which task has failed."""
    calls.append(("bound_new", request.id))


class OldErrback(Task[..., None]):
    """Notes as an errback that is a class which task has failed."""

    name = "heard.OldErrback"

    def run(self, task_id: str, more: Any = None) -> None:
        calls.append(("class", task_id, more))


old_class = register(OldErrback)


@task
def notify(number: int, text: str) -> None:
    """Note a call with two arguments that tell nothing of a failure."""
    calls.append(("notify", number, text))


@task(bind=True)
def parent(self: Any, *args: Any) -> str | None:
    """Return the id of the parent task."""
    found: str | None = self.request.parent_id
    return found


@task
def raises(request: Any, exc: BaseException, traceback: str | None) -> None:
    """Be called, and fail."""
    calls.append(("raises", request.id))
    raise KeyError("bad")


@task
def strange() -> object:
    """Return a value that can't be encoded."""
    return object()


@task
def ignores(value: Any = None) -> None:
    """End without a state."""
    raise Ignore("nothing")


@task(bind=True)
def brings(self: Any, value: Any, *sigs: Any) -> Any:
    """Add members to the chord."""
    for sig in sigs:
        self.add_to_chord(sig)
    return value


@task
def given(*args: Any, **kwargs: Any) -> list[Any]:
    """Return the arguments."""
    return [list(args), kwargs]


@task(bind=True, max_retries=1)
def stamped(self: Any, value: Any = None, *, tries: int = 1) -> None:
    """Note the stamps of each try."""
    calls.append(self.request.stamps)
    if self.request.retries + 1 < tries:
        raise self.retry(countdown=0)


@task(bind=True, max_retries=1)
def gives_up(self: Any) -> None:
    """Be tried twice, and fail."""
    raise self.retry(exc=ValueError("tired"), countdown=0)
