"""Tasks for workflows: they replace themselves, add to their chord, retry, and hear of failures."""

from __future__ import annotations

import os
import signal
import time
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

from django.db import models

from taskq import Task, signature, task
from taskq.exceptions import Ignore

from .notes import note_line, wait_for


@task
def add(x: int, y: int) -> int:
    return x + y


@task(bind=True)
def tell(self: Task[[int], None], done: int) -> None:
    """Tell monitors how far it is."""
    self.send_event("task-progress", done=done, of=3)


@task(ignore_result=True)
def add_ignored(x: int, y: int) -> int:
    return x + y


class Lines(models.TextChoices):
    """Queues, as a project may keep their names."""

    USUAL = "taskq", "As usual"


class Urgency(IntEnum):
    """Priorities."""

    HIGH = 8


class Stage(str, Enum):  # noqa: UP042 - as projects have them
    """States of a task's own."""

    HALF = "HALFWAY"


@task(bind=True, queue=Lines.USUAL, priority=Urgency.HIGH, max_retries=2)
def by_names(self: Any, value: int, path: str) -> list[Any]:
    """Say where this came from; use members of enumerations wherever there is a name to give."""
    if not self.request.retries:
        raise self.retry(countdown=0, queue=Lines.USUAL, priority=Urgency.HIGH, headers={"line": Lines.USUAL})
    self.update_state(state=Stage.HALF, meta={"line": Lines.USUAL})
    note_line(path, "halfway")
    wait_for(path + ".go")
    info = self.request.delivery_info
    return [value, info["routing_key"], info["priority"], self.request.message["line"]]


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@task
def same(*args: Any) -> list[Any]:
    return list(args)


@task
def boom(*args: Any) -> None:
    raise ValueError("boom")


#: The keys with which ``fragile`` works.
mended: set[str] = set()


@task
def fragile(value: Any, key: str) -> Any:
    """Return the value, or fail until the key is among ``mended``. In one process only."""
    if key not in mended:
        raise ValueError(key)
    return value


@task
def noted(path: str, *args: Any) -> None:
    """Note that this ran, and with what."""
    note_line(path, f"{args}")


@task(bind=True, max_retries=3)
def second_try(self: Any, value: int) -> int:
    """Succeed at the second try."""
    if self.request.retries < 1:
        raise self.retry(countdown=0)
    return value


@task(bind=True)
def becomes_chain(self: Any, x: int) -> Any:
    """Be replaced by a chain that gives ``(x + 1) * 2``."""
    raise self.replace(add.s(x, 1) | double.s())


@task(bind=True)
def becomes_group(self: Any, x: int) -> Any:
    """Be replaced by a group that gives ``[2x, 4x]``."""
    from taskq import group

    raise self.replace(group(add.s(x, x), add.s(2 * x, 2 * x)))


@task
def double(x: int) -> int:
    return 2 * x


@task(bind=True)
def brings_along(self: Any, x: int) -> int:
    """Add another member to the chord."""
    self.add_to_chord(add.s(x, 100))
    return x


@task(bind=True)
def brings(self: Any, sig: Any) -> int:
    """Add a member to the chord."""
    self.add_to_chord(sig)
    return 0


@task(bind=True)
def becomes(self: Any, sig: Any) -> Any:
    """Be replaced by a canvas."""
    raise self.replace(sig)


@task(bind=True)
def brings_twice(self: Any, x: int, sig: Any) -> int:
    """Add a member to the chord, and once more."""
    self.add_to_chord(sig)
    self.add_to_chord(sig)
    return x


@task
def ignores() -> None:
    raise Ignore


@task
def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@task
def waits(go_on: str, value: int = 0) -> int:
    """Wait until there is a file."""
    while not Path(go_on).exists():
        time.sleep(0.01)
    return value


@task
def on_error_old(task_id: str) -> None:
    note_line(os.environ["TEST_NOTES"], f"old {task_id}")


@task
def on_error_new(request: Any, exc: BaseException, traceback: Any) -> None:
    note_line(os.environ["TEST_NOTES"], f"new {request.id} {exc!r} {bool(traceback)}")


@task
def on_error_slow(request: Any, exc: BaseException, traceback: Any) -> None:
    """Take longer than any time limit of the task that failed."""
    note_line(os.environ["TEST_NOTES"], f"slow {request.id} {exc!r}")
    time.sleep(1.5)


@task
def on_error_dies(request: Any, exc: BaseException, traceback: Any) -> None:
    note_line(os.environ["TEST_NOTES"], f"dies {request.id} {exc!r}")
    os.kill(os.getpid(), signal.SIGKILL)


@task
def on_error_counted(path: str) -> None:
    """Note that this was called: an errback of the old style that is immutable is not told for which task."""
    note_line(path, "called")


@task
def noted_boom(path: str) -> None:
    """Note that this ran, and fail."""
    note_line(path, "boom")
    raise ValueError("boom")


@task(bind=True)
def lineage(self: Any, *args: Any) -> list[Any]:
    """Return who this task is and whose."""
    request = self.request
    return [request.id, request.root_id, request.parent_id, request.group, request.group_index]


@task(bind=True)
def stamps(self: Any, *args: Any) -> list[Any]:
    """Return the stamps of all tasks so far."""
    if self.request.retries < 1:
        raise self.retry(countdown=0)
    return [*(one for arg in args for one in arg), self.request.stamps]


@task(bind=True)
def sends(self: Any, sig: Any) -> list[str]:
    """Send a canvas of its own; say which task this is, and which is the first of all."""
    result = signature(sig).delay()
    return [self.request.id, self.request.root_id, result.id]
