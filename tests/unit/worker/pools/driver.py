"""Drives a pool as the worker does: a loop, events that are written down, and tasks that do as their body says."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from kombu.asynchronous import Hub

from taskq.conf import settings
from taskq.execution import isolation
from taskq.handover import Delivery, Outcome, Report
from taskq.worker.pools.base import GREEN, LostChild, Pool, PoolEvents, PoolOptions, ReportFn
from taskq.worker.pools.forkserver_process import launch
from taskq.worker.pools.interpreter import Interpreter
from taskq.worker.pools.registry import pool_class

_jobs = count(1)


def delivery(body: str = "", **changes: Any) -> Delivery:
    """Make a delivery whose body is what ``obey`` does."""
    job = next(_jobs)
    fields: dict[str, Any] = {
        "job": job,
        "task_id": f"id-{job}",
        "name": "tests.obey",
        "headers": "{}",
        "body": body,
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "properties": "{}",
        "exchange": "",
        "routing_key": "taskq",
        "priority": 0,
        "redelivered": False,
        "deliveries": 1,
        "hostname": "taskq@test",
    }
    return Delivery(**{**fields, **changes})


def deliveries(number: int, body: str = "") -> list[Delivery]:
    return [delivery(body) for _ in range(number)]


def obey(received: Delivery, report: ReportFn) -> Outcome:
    """Do what the body says: words separated by spaces, each ``verb`` or ``verb:argument``."""
    result: Any = None
    for word in received.body.split():
        verb, _, argument = word.partition(":")
        result = _VERBS[verb](argument)
        if verb == "report":
            report(Report(received.job, received.task_id, "PROGRESS", result))
    return Outcome(received.job, received.task_id, "SUCCESS", result)


def open_files() -> set[str]:
    """What this process has open, by name."""
    links = set()
    for fd in os.listdir("/proc/self/fd"):
        # The one that lists the directory is closed by now.
        with suppress(OSError):
            links.add(os.readlink(f"/proc/self/fd/{fd}"))
    return links


def _touch(path: str) -> None:
    Path(path).write_text(str(os.getpid()))


def _until(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.005)


def _crash(kind: str) -> None:
    if kind == "error":
        raise ValueError("a fault of the runner")
    if kind == "interrupt":
        raise KeyboardInterrupt
    if kind.startswith("signal"):
        os.kill(os.getpid(), int(kind.removeprefix("signal")))
    if kind.startswith("exit"):
        sys.exit(int(kind.removeprefix("exit")))
    os._exit(int(kind))


def _handle(path: str) -> None:
    """Have SIGTERM write a file instead of ending the process."""
    signal.signal(signal.SIGTERM, lambda *_: _touch(path))


def _start_and_end(_: str) -> str:
    """Start a program, ask it to end, and say how it did."""
    program = subprocess.Popen(["sleep", "60"])
    program.terminate()
    return str(program.wait(10))


def _hoard(mib: str) -> None:
    globals().setdefault("hoard", []).append(bytearray(os.urandom(1024)) * (1024 * int(mib)))


def _leave_old_garbage(_: str) -> str:
    """Leave a cycle in the collector's oldest generation, and tell whether the collector soon takes it by itself."""
    left: deque[Any] = deque()
    left.append(left)
    alive = weakref.ref(left)
    gc.collect(1)
    del left
    for _younger in range(gc.get_threshold()[2] + 1):
        gc.collect(1)
    allocated: list[list[int]] = [[] for _ in range(2 * gc.get_threshold()[0])]
    return "taken" if allocated and alive() is None else "left"


def _spoil(_: str) -> None:
    """Leave this process in a state that can't be restored."""
    isolation.watch_process()
    isolation._thread.baseline.clean = False


_VERBS: dict[str, Callable[[str], Any]] = {
    "touch": _touch,
    "until": _until,
    "crash": _crash,
    "big": lambda size: "x" * int(size),
    "spoil": _spoil,
    "odd": lambda _: object(),
    "pid": lambda _: str(os.getpid()),
    "skip": lambda _: None,
    "report": lambda argument: argument,
    "print": lambda argument: print(argument),
    "handle": _handle,
    "hoard": _hoard,
    "garbage": _leave_old_garbage,
    "program": _start_and_end,
    "freeze": lambda _: os.kill(os.getpid(), signal.SIGSTOP),
    "close": lambda _: os.closerange(3, 1000),
    "fds": lambda _: " ".join(sorted(open_files())),
}


def _interpreter(run: Any) -> Interpreter:
    """Return the Python of a child with greenlets, which finds ``run`` by its name."""
    return Interpreter("", settings.BROKER_URL, "", run=f"{run.__module__}:{run.__name__}")


class Driver:
    """A pool with its loop, and everything that it said."""

    def __init__(self, pool: str, concurrency: int, run: Any = obey, **options: Any) -> None:
        if pool_class(pool).needs_fork_server:
            options["fork_server"] = launch(run, interpreter=_interpreter(run) if pool in GREEN else None)
        self.hub = Hub()
        self.hub.call_repeatedly(0.01, lambda: None)
        self.outcomes: dict[int, Outcome] = {}
        self.reports: list[Report] = []
        self.lost: list[LostChild] = []
        self.returned: list[Delivery] = []
        self.broken: list[str] = []
        self.ready = 0
        events = PoolEvents(
            self._outcome, self.reports.append, self.lost.append, self.returned.extend, self._ready, self.broken.append
        )
        self.pool: Pool = pool_class(pool)(concurrency, events, self.hub, PoolOptions(run=run, **options))

    def __str__(self) -> str:
        got = f"{len(self.outcomes)} outcomes, {len(self.reports)} reports, {len(self.returned)} returned"
        return f"{got}, lost: {self.lost}, broken: {self.broken}, unfinished: {self.pool.unfinished()}"

    def start(self) -> None:
        self.pool.start()
        self.until(lambda: all(slot.accepting for slot in self.pool.slots), "the slots are up")

    def until(self, condition: Callable[[], object], what: str = "", timeout: float = 60.0) -> None:
        """Run the loop until ``condition`` holds."""
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, f"after {timeout:g} s still not: {what or condition}; {self}"
            self.hub.run_once()

    def answered(self, wanted: Iterable[Delivery]) -> None:
        wanted = list(wanted)
        self.until(lambda: all(one.job in self.outcomes for one in wanted), "all answered")

    def work_off(self, work: list[Delivery], batch: int = 10) -> None:
        """Hand over all of it, keep on whatever comes back, until each has an outcome or is lost with its child."""
        waiting = list(work)

        known = len(self.lost)

        def done() -> bool:
            nonlocal known
            for lost in self.lost[known:]:
                self.returned += lost.unstarted
            known = len(self.lost)
            while self.returned:
                waiting.insert(0, self.returned.pop())
            for slot in self.pool.slots:
                if slot.accepting and slot.idle and waiting:
                    share = waiting[: min(batch, slot.room)]
                    del waiting[: len(share)]
                    self.pool.hand_over(slot, share)
            begun = {one.job for lost in self.lost for one in lost.started}
            return all(one.job in self.outcomes or one.job in begun for one in work)

        self.until(done, "the work is done", 60.0)

    def _outcome(self, outcome: Outcome) -> None:
        assert outcome.job not in self.outcomes, "answered twice"
        self.outcomes[outcome.job] = outcome

    def _ready(self) -> None:
        self.ready += 1


@contextmanager
def driving(pool: str = "prefork", concurrency: int = 1, **options: Any) -> Iterator[Driver]:
    """Drive a pool that is up; it is ended afterwards."""
    driver = Driver(pool, concurrency, **options)
    try:
        driver.start()
        yield driver
    finally:
        driver.pool.kill()
        driver.hub.close()


def server_pid(driver: Driver) -> int:
    return int(driver.pool.info()["fork-server"])


def alive(pid: int) -> bool:
    """Tell whether a process exists that is not just waiting to be reaped."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False
