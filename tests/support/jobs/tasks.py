"""Tasks that note what they do in a file, take their time, and die in every way."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from taskq import Task, task

from . import chatty, contexts, coroutines, endings, flows, pure  # noqa: F401 - their tasks are registered with these
from .notes import note_line, wait_for


@task
def note(path: str, number: int, seconds: float = 0.0) -> int:
    """Note a number and take some time."""
    note_line(path, number)
    if seconds:
        time.sleep(seconds)
    return number


@task(ignore_result=True)
def note_ignored(path: str, number: int) -> int:
    """Note a number and keep no result."""
    note_line(path, number)
    return number


@task
def die(path: str, number: int = -1) -> None:
    """Kill the process that runs this."""
    note_line(path, number)
    os.kill(os.getpid(), signal.SIGKILL)


@task(name="tests.poison")
def poison() -> None:
    """Do nothing: its message kills the main process (``tests.support.deaths``)."""


@task(bind=True)
def die_once_in_each(self: Task[..., object], path: str, go_on: str) -> None:
    """Kill the first process of each worker that runs this; worker ``b`` waits before."""
    here = str(self.request.hostname)
    before = Path(path).read_text()
    note_line(path, here)
    if here not in before:
        if here.startswith("b@"):
            wait_for(go_on)
        os.kill(os.getpid(), signal.SIGKILL)


@task
def kill_fork_server(path: str) -> None:
    """Kill the process that this one was forked by, and be killed with it."""
    note_line(path, "server")
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


@task
def exit_process(status: int) -> None:
    """End the process that runs this."""
    raise SystemExit(status)


@task(acks_late=False)
def die_early_acked(path: str) -> None:
    """Kill the process; never to run again."""
    note_line(path, "early")
    os.kill(os.getpid(), signal.SIGKILL)


@task(acks_late=False)
def nap_early_acked(path: str, seconds: float) -> None:
    """Take time; never to run again."""
    note_line(path, "early")
    time.sleep(seconds)


@task(soft_time_limit=0.3)
def asked_to_end() -> str:
    """Run until the soft limit, and take it well."""
    from taskq.exceptions import SoftTimeLimitExceeded

    try:
        time.sleep(60)
    except SoftTimeLimitExceeded:
        return "ended in time"
    return "not asked"


@task(bind=True, max_retries=2, default_retry_delay=0.1)
def fail_twice(self: Task[..., object], path: str) -> int:
    """Succeed at the third try."""
    note_line(path, self.request.retries)
    if self.request.retries < 2:
        raise self.retry(exc=ValueError("not yet"))
    return int(self.request.retries)


@task(bind=True, default_retry_delay=600)
def retry_later(self: Task[..., object], path: str) -> None:
    """Want to run again, much later."""
    note_line(path, self.request.retries)
    raise self.retry(exc=ValueError("not yet"))


@task(bind=True)
def progress(self: Task[..., object], path: str, go_on: str) -> str:
    """Say how far it is, and end when a file is there."""
    self.update_state(state="PROGRESS", meta={"done": 1, "of": 2})
    note_line(path, "progress")
    while not os.path.exists(go_on):
        time.sleep(0.01)
    return "done"


@task
def send_later(path: str) -> None:
    """Send a task that is due in half a second, and expires in ten minutes."""
    note.apply_async((path, 9), countdown=0.5, expires=600)


@task(bind=True, max_retries=2)
def retry_soon(self: Task[..., object], path: str) -> int:
    """Try again in a moment, twice: once after seconds, and once at a time."""
    note_line(path, "retry")
    if self.request.retries == 0:
        raise self.retry(countdown=0.3)
    if self.request.retries == 1:
        raise self.retry(countdown=0.3, expires=600)
    return self.request.retries
