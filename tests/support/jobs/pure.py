"""Pure tasks for random canvases: each takes whatever comes before it, a number or lists of them, and a number."""

from __future__ import annotations

from typing import Any

from taskq import signature, task

#: Products stay below this, so that long canvases have short values.
MODULUS = 1_000_003


def weight(value: Any) -> int:
    """Return the sum of all numbers in ``value``."""
    return sum(map(weight, value)) if isinstance(value, list) else int(value)


@task
def add(value: Any, n: int) -> int:
    return weight(value) + n


@task
def mul(value: Any, n: int) -> int:
    return weight(value) * n % MODULUS


@task
def xsum(value: Any, n: int) -> int:
    return weight(value)


@task
def identity(value: Any, n: int) -> Any:
    return value


@task
def fail(value: Any, n: int) -> None:
    raise ValueError(f"m{n}")


@task(bind=True, max_retries=3)
def retry_once(self: Any, value: Any, n: int) -> Any:
    """Give back the value at the second try."""
    if self.request.retries < 1:
        raise self.retry(countdown=0)
    return value


@task(bind=True)
def becomes(self: Any, value: Any, sig: Any) -> Any:
    """Be replaced by a canvas that is called with the value."""
    raise self.replace(signature(sig).clone((value,)))
