"""Tasks that note in this process that they were called: for stores that run tasks where the test runs."""

from __future__ import annotations

from typing import Any

from taskq import task
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
