"""Forks Celery's programs from one process that has imported them: that takes a second of processor time, forks do not.

Run by the Python that has Celery and Flower (``tests.support.celery_programs``), so nothing of the tests is imported
here. Each line of standard input is an order, each line of standard output its answer, both JSON; the end of the
input ends everything that still runs.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import sys
from typing import Any

# What the programs import when they need it.
import flower.command  # noqa: F401
import kombu.transport.pyamqp
import kombu.transport.redis  # noqa: F401
from celery.__main__ import main

#: The exit statuses of the programs by their pids; ``None`` while they run.
statuses: dict[int, int | None] = {}


def become_program(arguments: list[str], directory: str, log: str) -> None:
    """Have this process look like ``celery`` in a directory, printing into a file."""
    os.setsid()
    os.chdir(directory)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for number, stream in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, output)):
        os.dup2(stream, number)
    sys.argv = ["celery", *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)


def run() -> int:
    """Run the program and return its exit status, without the end of an interpreter, which copies all memory."""
    try:
        status: Any = main()
    except SystemExit as end:
        status = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status if isinstance(status, int) else int(status is not None)


def status_of(pid: int) -> int | None:
    """Return the exit status of a program, negative for a signal, or ``None``."""
    if statuses[pid] is None:
        ended, status = os.waitpid(pid, os.WNOHANG)
        statuses[pid] = os.waitstatus_to_exitcode(status) if ended else None
    return statuses[pid]


def serve() -> list[Any] | None:
    """Obey orders until the input ends. In a program that was forked, return what it is to be."""
    for line in iter(sys.stdin.readline, ""):
        order = json.loads(line)
        if isinstance(order, list):
            pid = os.fork()
            if not pid:
                return order
            statuses[pid] = None
            answer: int | None = pid
        else:
            answer = status_of(order)
        print(json.dumps(answer), flush=True)
    return None


gc.freeze()
if (program := serve()) is not None:
    become_program(*program)
    os._exit(run())
for pid in statuses:
    # Not waited for yet, so the number is still that of the program.
    if status_of(pid) is None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
