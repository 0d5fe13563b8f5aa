"""Tasks with a rate limit; each adds a line to a file: its name, a number, and when it starts."""

from __future__ import annotations

import time
from pathlib import Path

from taskq import task


def _note(notes: str, name: str, number: int) -> None:
    with Path(notes).open("a") as file:
        file.write(f"{name} {number} {time.time()}\n")


@task(rate_limit="50/s", ignore_result=True)
def fifty(notes: str, number: int) -> None:
    """At most 50 a second in each worker."""
    _note(notes, "fifty", number)


@task(rate_limit="1/h")
def hourly(notes: str, number: int) -> None:
    """At most one an hour."""
    _note(notes, "hourly", number)


@task(rate_limit="50/s", rate_limit_scope="cluster", ignore_result=True)
def together(notes: str, number: int) -> None:
    """At most 50 a second in all workers."""
    _note(notes, "together", number)


@task(rate_limit_scope="cluster")
def later(notes: str, number: int) -> None:
    """No limit, until one is set for all workers."""
    _note(notes, "later", number)


@task
def free(notes: str, number: int) -> None:
    """No limit."""
    _note(notes, "free", number)
