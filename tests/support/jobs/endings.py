"""Tasks that end in every way that is not a crash."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import Any

from asgiref.sync import sync_to_async

from taskq import Task, get_task_logger, task
from taskq.exceptions import Ignore, Reject, SoftTimeLimitExceeded

from .notes import note_line, wait_for


@task
def wait_for_file(path: str, go_on: str) -> str:
    """Note that it has started, and end when a file is there."""
    note_line(path, "started")
    wait_for(go_on)
    return "done"


@task
async def wait_for_file_async(path: str, go_on: str) -> str:
    """Do the same in a thread that a coroutine waits for."""
    note_line(path, "started")
    await sync_to_async(wait_for)(go_on)
    return "done"


@task(track_started=True)
def tracked(path: str, go_on: str) -> str:
    """Be seen as started, and end when a file is there."""
    note_line(path, "started")
    wait_for(go_on)
    return "done"


@task(bind=True)
def tell_progress(self: Task[..., object], path: str, go_on: str) -> str:
    """Report a state, and end when a file is there."""
    note_line(path, "started")
    self.update_state(state="HALFWAY", meta={"done": 50})
    wait_for(go_on)
    return "done"


@task
def repeat(text: str, times: int) -> str:
    """Return a text of any length."""
    return text * times


@task
async def repeat_async(text: str, times: int) -> str:
    """Do the same in a coroutine."""
    return text * times


@task(ignore_result=True)
def repeat_ignored(text: str, times: int) -> str:
    """Return what only the body of a chord gets."""
    return text * times


@task
def return_something_strange() -> object:
    """Return what JSON can't carry."""
    return object()


@task
def ignore() -> None:
    """Want no end on record."""
    raise Ignore


@task
def reject() -> None:
    """Refuse the message for good."""
    raise Reject("not for me")


@task
def reject_once(path: str) -> str:
    """Put the message back the first time."""
    first = os.path.getsize(path) == 0
    note_line(path, "tried")
    if first:
        raise Reject("not now", requeue=True)
    return "taken"


@task(bind=True)
def reject_first_delivery(self: Any, path: str) -> str:
    """Put the message back, as the guide to ``Reject`` does."""
    note_line(path, "tried")
    if not self.request.delivery_info["redelivered"]:
        raise Reject("no reason", requeue=True)
    return "received two times"


@task
def reject_for_ever(path: str) -> None:
    """Put the message back each time."""
    note_line(path, "tried")
    raise Reject("never", requeue=True)


@task(autoretry_for=(ValueError,), retry_backoff=0.05, retry_jitter=False, max_retries=2)
def retry_by_itself(path: str, succeed_at: int) -> int:
    """Fail until an attempt, 0 being the first."""
    note_line(path, "tried")
    number = len(Path(path).read_text().splitlines()) - 1
    if number < succeed_at:
        raise ValueError(f"attempt {number}")
    return number


@task(ignore_result=True)
def no_result(path: str) -> str:
    """Return what nobody will read."""
    note_line(path, "ran")
    return "nothing"


@task(soft_time_limit=0.2)
def soft_limit() -> None:
    """Run into the soft limit and let it through."""
    time.sleep(60)


@task(soft_time_limit=0.3)
def soft_limit_in_python(caught: bool) -> str:
    """Run into the soft limit where threads can be told too: not within one long call."""
    try:
        for _ in range(6000):
            time.sleep(0.01)
    except SoftTimeLimitExceeded:
        if not caught:
            raise
        return "ended in time"
    return "not asked"


@task
async def square(number: int) -> int:
    """Take the way of a coroutine."""
    await asyncio.sleep(0)
    return number * number


@task
async def fail_async() -> None:
    """Fail as a coroutine."""
    await asyncio.sleep(0)
    raise LookupError("nowhere")


@task(bind=True)
def who(self: Task[..., object], megabytes: int = 0) -> dict[str, object]:
    """Return who runs this, after taking some memory for good."""
    _kept.append(bytearray(os.urandom(1) * (megabytes << 20)))
    request = self.request
    return {
        "pid": os.getpid(),
        "hostname": request.hostname,
        "queue": (request.delivery_info or {}).get("routing_key"),
        "retries": request.retries,
    }


_kept: list[bytearray] = []


@task
def log(message: str) -> None:
    """Log a message."""
    get_task_logger(__name__).warning(message)


@task
def log_plainly(message: str) -> None:
    """Log by a logger that is not below ``taskq``."""
    logging.getLogger(__name__).info(message)


@task
def stop_in_debugger() -> None:
    """Call the debugger."""
    breakpoint()


@task
def environ(name: str) -> str | None:
    """Return a variable of the environment that programs started here would inherit."""
    return os.environ.get(name)


@task
def big(megabytes: int) -> str:
    """Return a long text."""
    return "x" * (megabytes << 20)


@task
def fail_with(message: str) -> None:
    """Fail with this message."""
    raise ValueError(message)


@task(bind=True)
def say(self: Task[..., object], state: str, megabytes: int = 0) -> str:
    """Be in a state of its own."""
    self.update_state(state=state, meta="x" * (megabytes << 20))
    return "said"


@task(sensitive=("card",))
def charge(card: str, amount: int) -> int:
    """Take a sensitive argument."""
    return amount


@task
def spin(path: str, go_on: str) -> str:
    """Note that it has started, and use the processor until a file is there."""
    note_line(path, "started")
    while not Path(go_on).exists():
        sum(range(10_000))
    return "done"


@task
def end_when_asked(path: str, go_on: str) -> str:
    """Wait for a file, and tidy up if somebody terminates this."""
    try:
        note_line(path, "started")
        wait_for(go_on)
    except SoftTimeLimitExceeded:
        return "tidied up"
    return "done"


@task
def ignore_asking(path: str, go_on: str) -> str:
    """Wait for a file, whoever asks to end."""
    note_line(path, "started")
    while True:
        try:
            wait_for(go_on)
        except SoftTimeLimitExceeded:
            note_line(path, "asked")


@task
async def wait_in_a_loop(path: str, go_on: str) -> str:
    """Note that it has started, and give way to other coroutines until a file is there."""
    note_line(path, "started")
    while not Path(go_on).exists():
        await asyncio.sleep(0.02)
    return "done"
