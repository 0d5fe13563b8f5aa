"""Tasks that fork, write where they should not, and log through handlers that raise: their worker has to survive."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from typing import Any

from taskq import Task, task
from tests.support.jobs.notes import note_line, wait_for

fork = multiprocessing.get_context("fork")


class Unruly(logging.Handler):
    """Raises at the record of the end of a task that asks for that: its repr is the name of an exception."""

    KINDS = (RuntimeError, SystemExit, KeyboardInterrupt, GeneratorExit, EOFError)

    def emit(self, record: logging.LogRecord) -> None:
        """Raise, or do nothing."""
        for kind in self.KINDS:
            if f"raise {kind.__name__} in the log" in record.getMessage():
                raise kind


logging.getLogger("taskq.worker").addHandler(Unruly())


@task
def spoil_log(kind: str) -> str:
    """Return a value whose line in the log raises."""
    return f"raise {kind} in the log"


@task
def spoil_log_by_failure(kind: str) -> None:
    """Fail with an error whose line in the log raises."""
    raise ValueError(f"raise {kind} in the log")


class Falsy(ValueError):
    """An exception that is false in a condition, or does not even say so."""

    def __init__(self, raising: str = "") -> None:
        super().__init__(raising)
        self.raising = raising

    def __bool__(self) -> bool:
        if self.raising:
            raise SystemExit(self.raising)
        return False

    __len__ = __eq__ = __hash__ = __bool__  # type: ignore[assignment]

    def __repr__(self) -> str:
        if self.raising:
            raise SystemExit(self.raising)
        return "Falsy()"

    __str__ = __repr__


@task
def fail_falsy(raising: str = "") -> None:
    """Fail with such an exception."""
    raise Falsy(raising)


@task(bind=True, max_retries=1, default_retry_delay=0)
def retry_falsy(self: Task[..., object]) -> str:
    """Retry once for such an exception."""
    if self.request.retries:
        return "again"
    raise self.retry(exc=Falsy())


# -- threads


@task(bind=True)
async def report_from_threads(self: Task[..., object], threads: int, size: int) -> str:
    """Report states from many threads at once, beside a large result."""
    reports = (asyncio.to_thread(self.update_state, state="BUSY", meta=str(n) * size) for n in range(threads))
    await asyncio.gather(*reports)
    threading.Thread(target=self.update_state, kwargs={"task_id": self.request.id, "state": "LATE", "meta": "x" * size})
    return "x" * size


# -- processes


@task
def map_in_pool(numbers: list[int]) -> list[int]:
    """Use a pool of processes."""
    with fork.Pool(2) as pool:
        return pool.map(abs, numbers)


@task
def terminate_process() -> int | None:
    """Start a process and terminate it; return its exit code."""
    process = fork.Process(target=time.sleep, args=(60,))
    process.start()
    process.terminate()
    process.join(20)
    return process.exitcode


@task
def state_of_process() -> dict[str, Any]:
    """Return what a forked process finds: its signal handlers, its sockets and pipes."""
    receiver, sender = fork.Pipe(duplex=False)

    def look() -> None:
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM)
        taskqs = [n.name for n in numbers if str(getattr(signal.getsignal(n), "__module__", "")).startswith("taskq")]
        sender.send({"taskqs": taskqs, "sockets": len(_sockets())})

    process = fork.Process(target=look)
    process.start()
    found: dict[str, Any] = receiver.recv()
    process.join()
    return {**found, "own sockets": len(_sockets())}


@task
def leave_process(notes: str, daemon: bool, in_thread: bool = False) -> int:
    """Leave a process behind that runs for long, started by this thread or by a thread that has ended since."""
    process = fork.Process(target=time.sleep, args=(600,), daemon=daemon)
    if in_thread:
        thread = threading.Thread(target=process.start)
        thread.start()
        thread.join()
    else:
        process.start()
    note_line(notes, f"left {process.pid}")
    return process.pid or 0


@task
def leave_process_and_wait(notes: str, go_on: str) -> None:
    """Leave a process behind, and run until a file is there."""
    leave_process(notes, daemon=False)
    wait_for(go_on)


@task
def return_twice(notes: str, how: str = "return") -> str:
    """Fork, and leave the function in both processes."""
    if os.fork():
        return "the task"
    note_line(notes, "forked")
    if how == "raise":
        raise ValueError("in the forked process")
    if how == "exit":
        sys.exit(3)
    return "the forked process"


@task
async def return_twice_async(notes: str) -> str:
    """Fork in a coroutine, and leave it in both processes."""
    if os.fork():
        return "the task"
    note_line(notes, "forked")
    return "the forked process"


@task(bind=True)
def report_from_process(self: Task[..., object]) -> str:
    """Report from a forked process; return its error."""
    receiver, sender = fork.Pipe(duplex=False)

    def report() -> None:
        try:
            self.update_state(state="ODD", meta="from the forked process")
        except RuntimeError as error:
            sender.send(str(error))

    process = fork.Process(target=report)
    process.start()
    process.join()
    return str(receiver.recv()) if receiver.poll() else "nothing"


@task
def run_with_preexec() -> int:
    """Run a program after a function in the forked process."""
    return subprocess.run(["true"], preexec_fn=os.getpid).returncode


# -- descriptors


@task(acks_late=True)
def scribble(notes: str, text: str) -> str:
    """Write into each socket of this process."""
    note_line(notes, "scribbling")
    for fd in _sockets():
        os.write(fd, text.encode())
    return "scribbled"


def _sockets() -> list[int]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                found.append(int(name))
        except OSError:
            continue
    return found


@task
def shout(text: str) -> str:
    """Print to both standard streams."""
    print(text, flush=True)
    print(text, file=sys.stderr, flush=True)
    return "printed"
