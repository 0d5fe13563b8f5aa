"""Tasks that wait, as greenlets of one process do at the same time."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from django.db import connection
from django.utils import timezone, translation

from taskq import Task, task
from taskq.exceptions import SoftTimeLimitExceeded, TaskTerminated

#: How many tasks have come to the meeting; how many use the database now, and how many did at most.
_met = 0
_using = _used = 0


@task
def meet(count: int) -> int:
    """Wait until so many of these tasks run at the same time; return how many have come."""
    global _met
    _met += 1
    while _met < count:
        time.sleep(0.01)
    return _met


@task
def surroundings(language: str, zone: str, seconds: float) -> tuple[str | None, str, int]:
    """Change what belongs to this task, wait, and return it."""
    assert translation.get_language() != language, "the language of another task"
    translation.activate(language)
    timezone.activate(zone)
    time.sleep(seconds)
    return translation.get_language(), timezone.get_current_timezone_name(), os.getpid()


@task(bind=True)
def own_id(self: Task[..., object], seconds: float) -> str:
    """Return the id of the current task after a wait."""
    time.sleep(seconds)
    return str(self.request.id)


@task
def slow_query(together: int) -> int:
    """Use the database until so many tasks have used it at the same time; return how many used it at most by then."""
    global _using, _used
    with connection.cursor() as cursor:
        _using += 1
        _used = max(_used, _using)
        while _used < together:
            time.sleep(0.01)
        cursor.execute("SELECT 1" if connection.vendor == "sqlite" else "SELECT pg_sleep(0.05)")
        cursor.fetchall()
        if connection.vendor == "sqlite":
            time.sleep(0.05)
        _using -= 1
    return _used


@task
def query_in_thread() -> bool:
    """Have a thread of the task, which is a greenlet, use the database, and leave its connection open."""
    found: list[object] = []

    def query() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            found.append(cursor.fetchone())

    thread = threading.Thread(target=query)
    thread.start()
    thread.join()
    return bool(found)


@task
def leave_timer(seconds: float) -> None:
    """Leave a timer that raises something in this greenlet later."""
    if "gevent" in sys.modules:
        sys.modules["gevent"].Timeout.start_new(seconds)
    else:
        sys.modules["eventlet"].Timeout(seconds)


@task
def wait(path: str, go_on: str) -> str:
    """Note the start and wait for a file; note how an exception ends it."""
    _note(path, "started")
    try:
        while not Path(go_on).exists():
            time.sleep(0.01)
    except BaseException as error:
        _note(path, type(error).__name__)
        raise
    return "done"


@task
def soft_limited(path: str) -> str:
    """Wait, and return that the soft limit came."""
    try:
        time.sleep(60)
    except SoftTimeLimitExceeded:
        return "limit"
    return "none"


@task
def end_when_asked(path: str) -> str:
    """Return when asked to end."""
    try:
        _note(path, "started")
        time.sleep(60)
    except TaskTerminated:
        return "asked"
    return "none"


@task
def spin(path: str, go_on: str) -> str:
    """Compute without a pause until a file is there."""
    _note(path, "started")
    while not os.path.exists(go_on):
        pass
    return "done"


@task
def crash(path: str) -> None:
    """End the process."""
    _note(path, "crashing")
    os._exit(3)


@task
def leave() -> None:
    """Try to end the process politely."""
    raise SystemExit(3)


@task
def fail() -> None:
    """Fail."""
    raise LookupError("nothing here")


@task
async def coroutine() -> None:
    """What a greenlet can't run."""


@task(bind=True)
def report(self: Task[..., object], go_on: str) -> str:
    """Report a state, and wait for a file."""
    self.update_state(state="HALFWAY", meta={"done": 1})
    while not Path(go_on).exists():
        time.sleep(0.01)
    return "done"


def _note(path: str, text: str) -> None:
    with open(path, "a") as file:
        file.write(f"{text} {os.getpid()}\n")
