"""Coroutine tasks, for workers that run many of them on one event loop."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connection
from django.utils import timezone, translation

from taskq import Task, current_task, get_task_logger, task
from taskq.exceptions import SoftTimeLimitExceeded
from taskq.models import TaskRun

from .notes import note_line

#: How many tasks have come to the meeting.
_met: list[int] = [0]


@task
async def meet(count: int) -> int:
    """Wait until so many of these tasks run at the same time; return how many have come."""
    _met[0] += 1
    while _met[0] < count:
        await asyncio.sleep(0.01)
    return _met[0]


@task
async def pause(seconds: float) -> str:
    """Wait as for the network."""
    await asyncio.sleep(seconds)
    return "rested"


@task(bind=True)
async def surroundings(self: Task[..., Any], language: str, zone: str) -> list[Any]:
    """Change what is the task's own, give way to other tasks, and return what it is then."""
    translation.activate(language)
    timezone.activate(zone)
    await asyncio.sleep(0.05)
    get_task_logger(__name__).warning("surroundings of %s", language)
    return [self.request.id, current_task.request.id, translation.get_language(), timezone.get_current_timezone_name()]


@task
async def ask_database(count: int) -> list[Any]:
    """Query by the asynchronous ORM; return the threads in which that happened, and their connections."""
    found = []
    for _ in range(count):
        await TaskRun.objects.acount()
        found.append(await sync_to_async(_connected_thread)())
    return [sorted(set(found)), threading.current_thread().name]


def _connected_thread() -> str:
    connection.ensure_connection()
    return f"{threading.current_thread().name} {id(connection.connection)}"


@task
async def leave_transaction_open() -> None:
    """Leave a transaction to the next task of the thread."""
    await sync_to_async(_begin)()


def _begin() -> None:
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")


@task(soft_time_limit=0.2)
async def soft_limited(catch: bool) -> str:
    """Run into the soft limit."""
    try:
        async with asyncio.timeout(60):
            await asyncio.sleep(60)
    except SoftTimeLimitExceeded:
        if not catch:
            raise
        await asyncio.sleep(0.01)
        return "ended in time"
    return "not asked"


@task
async def run_until(path: str, go_on: str) -> str:
    """Note that it has started, how it was ended, and end when a file is there."""
    note_line(path, "started")
    try:
        while not Path(go_on).exists():
            await asyncio.sleep(0.01)
    except BaseException as error:
        note_line(path, type(error).__name__)
        raise
    return "done"


@task
async def refuse_to_end(path: str, go_on: str) -> str:
    """Go on whatever is raised here, until a file is there."""
    note_line(path, "started")
    while not Path(go_on).exists():
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            note_line(path, "cancelled")
    return "done"


@task
async def block(path: str, seconds: float) -> str:
    """Block the event loop, as a coroutine should not."""
    note_line(path, "started")
    time.sleep(seconds)
    return "done"


@task
async def leave_behind(path: str) -> str:
    """Leave a coroutine on the loop."""

    async def go_on() -> None:
        try:
            await asyncio.sleep(600)
        finally:
            note_line(path, "cancelled")

    asyncio.create_task(go_on(), name="left behind")  # noqa: RUF006 - it is to be left
    await asyncio.sleep(0)
    return "done"


@task
async def tasks_of_loop() -> list[str]:
    """Return the names of the asyncio tasks that are on the loop."""
    return sorted(each.get_name() for each in asyncio.all_tasks() if each.get_name() == "left behind")


@task
async def exit_process(in_another: bool) -> str:
    """Try to end the process, here or in a coroutine that is started here."""

    async def leave() -> None:
        raise SystemExit(3)

    await (asyncio.create_task(leave()) if in_another else leave())
    return "not reached"


@task
async def wait_for_another(seconds: float) -> Any:
    """Send a task and wait for it without blocking the loop."""
    result = await pause.adelay(seconds)
    return await result.aget(timeout=60, disable_sync_subtasks=False)


@task(bind=True, max_retries=3)
async def retry_twice(self: Task[..., Any]) -> int:
    """Ask for another try two times."""
    await asyncio.sleep(0)
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return self.request.retries


@task(bind=True, track_started=True)
async def tell_progress(self: Task[..., Any], path: str, go_on: str) -> str:
    """Report a state, and end when a file is there."""
    self.update_state(state="HALFWAY", meta={"done": 50})
    return await run_until.run(path, go_on)


class Handled(Task[..., Any]):
    """A task whose handlers use the database, as only synchronous code may."""

    abstract = True

    def before_start(self, task_id: Any, args: Any, kwargs: Any) -> None:
        """Query."""
        note_line(args[0], f"before {TaskRun.objects.count() >= 0}")

    def on_success(self, retval: Any, task_id: Any, args: Any, kwargs: Any) -> None:
        """Query."""
        note_line(args[0], f"success {TaskRun.objects.count() >= 0}")


@task(base=Handled)
async def handled(path: str) -> str:
    """Have handlers."""
    await asyncio.sleep(0)
    return "handled"


@task
def in_thread(path: str = "", go_on: str = "") -> str:
    """Run beside the loop; return the thread's name."""
    if path:
        note_line(path, "started")
        while not Path(go_on).exists():
            time.sleep(0.01)
    return threading.current_thread().name


@task
async def length(text: str) -> int:
    """Return the length of an argument of any size."""
    await asyncio.sleep(0)
    return len(text)


@task(bind=True)
async def beside_killer(self: Task[..., Any], notes: str) -> str:
    """Wait for the end of the process the first two times, and then end."""
    note_line(notes, self.request.id)
    while _count(notes, self.request.id) < 3:
        await asyncio.sleep(60)
    return "done"


@task(bind=True)
async def kill_process(self: Task[..., Any], notes: str, others: list[str]) -> None:
    """Kill the process, the first two times when the others have started as often."""
    note_line(notes, self.request.id)
    starts = _count(notes, self.request.id)
    while starts < 3 and any(_count(notes, other) < starts for other in others):
        await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


def _count(notes: str, task_id: str) -> int:
    return sum(each.startswith(task_id) for each in Path(notes).read_text().splitlines())
