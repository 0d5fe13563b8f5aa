"""Tasks that note what they do in a file, take their time, and die in every way."""

from __future__ import annotations

import os
import signal
import time

from taskq import Task, task


def _note(path: str, what: object) -> None:
    """Append one line; a single write of a short line is atomic."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(fd, f"{what} {time.time():.6f} {os.getpid()}\n".encode())
    finally:
        os.close(fd)


@task
def note(path: str, number: int, seconds: float = 0.0) -> int:
    """Note a number and take some time."""
    _note(path, number)
    if seconds:
        time.sleep(seconds)
    return number


@task(ignore_result=True)
def note_ignored(path: str, number: int) -> int:
    """Note a number and keep no result."""
    _note(path, number)
    return number


@task
def die(path: str, number: int = -1) -> None:
    """Kill the process that runs this."""
    _note(path, number)
    os.kill(os.getpid(), signal.SIGKILL)


@task
def exit_process(status: int) -> None:
    """End the process that runs this."""
    raise SystemExit(status)


@task(acks_late=False)
def die_early_acked(path: str) -> None:
    """Kill the process; never to run again."""
    _note(path, "early")
    os.kill(os.getpid(), signal.SIGKILL)


@task(acks_late=False)
def nap_early_acked(path: str, seconds: float) -> None:
    """Take time; never to run again."""
    _note(path, "early")
    time.sleep(seconds)


@task(time_limit=1.0)
def too_long(path: str) -> None:
    """Run until the hard limit."""
    _note(path, "too long")
    time.sleep(60)


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
    _note(path, self.request.retries)
    if self.request.retries < 2:
        raise self.retry(exc=ValueError("not yet"))
    return int(self.request.retries)


@task(bind=True)
def progress(self: Task[..., object], path: str, go_on: str) -> str:
    """Say how far it is, and end when a file is there."""
    self.update_state(state="PROGRESS", meta={"done": 1, "of": 2})
    _note(path, "progress")
    while not os.path.exists(go_on):
        time.sleep(0.01)
    return "done"
