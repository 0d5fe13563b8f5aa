"""Tasks that leave things behind, and one that looks what is there."""

from __future__ import annotations

import asyncio
import contextvars
import decimal
import gc
import io
import locale
import os
import resource
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from zoneinfo import ZoneInfo

from asgiref.sync import sync_to_async
from django.db import DatabaseError, connection, transaction
from django.utils import timezone, translation

from taskq import task

_variable: contextvars.ContextVar[str] = contextvars.ContextVar("_variable", default="unset")


@task
def look() -> dict[str, object]:
    """Return what a task finds around it."""
    found = {
        "pid": os.getpid(),
        "language": translation.get_language(),
        "timezone": timezone.get_current_timezone_name(),
        "variable": _variable.get(),
        "queries": len(connection.queries_log),
        "atomic": connection.in_atomic_block,
    }
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        found["row"] = cursor.fetchone()[0]
    return {**found, "autocommit": connection.get_autocommit()}


@task
def leave_context() -> tuple[str | None, str, str]:
    """Activate a language and a time zone, and set a context variable; return all three."""
    translation.activate("de")
    timezone.activate(ZoneInfo("Asia/Tokyo"))
    _variable.set("set")
    return translation.get_language(), timezone.get_current_timezone_name(), _variable.get()


@task
def leave_queries(count: int) -> int:
    """Make queries that Django keeps when DEBUG is on."""
    for _ in range(count):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    return len(connection.queries_log)


@task
def leave_transaction(name: str) -> None:
    """Write a row in a transaction that never ends."""
    from testproject.reports.models import Report

    transaction.atomic().__enter__()
    Report.objects.create(title=name)


@task
def leave_autocommit_off() -> bool:
    """Turn autocommit off, and return whether it is on."""
    connection.ensure_connection()
    connection.set_autocommit(False)
    return connection.get_autocommit()


@task
def leave_broken_connection() -> None:
    """Close the connection under Django's feet."""
    connection.ensure_connection()
    assert connection.connection is not None
    connection.connection.close()


@task
def name_connection(name: str) -> None:
    """Give this process's connection to PostgreSQL a name by which it is found."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('application_name', %s, false)", [name])


@task
def connection_id() -> int:
    """Return the number of this process's connection to MariaDB."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT connection_id()")
        return int(cursor.fetchone()[0])


@task(soft_time_limit=0.3)
def write_for_too_long(name: str) -> None:
    """Run into the soft limit within a transaction."""
    from testproject.reports.models import Report

    with transaction.atomic():
        Report.objects.create(title=name)
        time.sleep(60)


# -- what only SQL, or the process, knows


def _begin() -> None:
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")


def _savepoint() -> None:
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SAVEPOINT here")


def _begin_by_driver() -> None:
    connection.ensure_connection()
    raw: Any = connection.connection
    raw.cursor().execute("BEGIN")


def _autocommit_off() -> None:
    connection.set_autocommit(False)


def _server_cursor() -> None:
    _begin()
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("DECLARE left_open CURSOR FOR SELECT generate_series(1, 1000)")
            cursor.execute("FETCH left_open")


def _failed_transaction() -> None:
    _begin()
    with suppress(DatabaseError), connection.cursor() as cursor:
        cursor.execute("SELECT no_such_column FROM reports_report")


def _closed_in_atomic() -> None:
    transaction.atomic().__enter__()
    connection.close()


OPEN_TRANSACTIONS = {
    "begin": _begin,
    "savepoint": _savepoint,
    "by driver": _begin_by_driver,
    "autocommit off": _autocommit_off,
    "server cursor": _server_cursor,
    "failed": _failed_transaction,
    "closed in atomic": _closed_in_atomic,
}


@task
def leave_open(way: str, title: str = "") -> None:
    """Leave a transaction open of which Django does not know, with a row in it."""
    from testproject.reports.models import Report

    OPEN_TRANSACTIONS[way]()
    if title:
        Report.objects.create(title=title)


@task
def leave_open_with_a_result(way: str, length: int) -> str:
    """Do so, and return a text."""
    OPEN_TRANSACTIONS[way]()
    return "x" * length


@task
def write(title: str) -> int:
    """Write a row."""
    from testproject.reports.models import Report

    Report.objects.create(title=title)
    return os.getpid()


@task
async def leave_open_async() -> None:
    """Leave a transaction open in the thread for a coroutine's synchronous code."""
    await sync_to_async(_begin)()


@task
async def write_async(title: str) -> None:
    """Write a row in that thread."""
    await sync_to_async(write)(title)


#: What a task can change in its process.
CHANGES: dict[str, Callable[[], object]] = {
    "alarm": lambda: signal.alarm(3600),
    "timers": lambda: [signal.setitimer(which, 3600) for which in (signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)],
    "handlers": lambda: [signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTERM, signal.SIGCHLD)],
    "mask": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}),
    "directory": lambda: os.chdir("/"),
    "umask": lambda: os.umask(0o077),
    "locale": lambda: locale.setlocale(locale.LC_ALL, "C.UTF-8"),
    "recursion": lambda: sys.setrecursionlimit(5000),
    "switch": lambda: sys.setswitchinterval(0.5),
    "gc": gc.disable,
    "sockets": lambda: socket.setdefaulttimeout(1),
    "streams": lambda: setattr(sys, "stdout", io.StringIO()),
    "environment": lambda: os.environ.update(TZ="Asia/Tokyo"),
    "removed variable": lambda: os.environ.pop("PATH"),
    "warnings": lambda: warnings.simplefilter("error"),
    "limits": lambda: resource.setrlimit(resource.RLIMIT_CPU, (3600, resource.getrlimit(resource.RLIMIT_CPU)[1])),
    "event loop": lambda: asyncio.set_event_loop(None),
    "running loop": lambda: asyncio._set_running_loop(asyncio.new_event_loop()),
    "trace": lambda: sys.settrace(lambda *_: None),
    "decimals": lambda: setattr(decimal.getcontext(), "prec", 3),
}


@task
def change(what: str) -> None:
    """Change what belongs to the process."""
    CHANGES[what]()


@task
def look_at_process() -> dict[str, object]:
    """Return what of the process a task can change."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return {
        "pid": os.getpid(),
        "timers": [signal.getitimer(which) for which in range(3)],
        "handlers": [repr(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "mask": sorted(map(int, mask)),
        "directory": os.getcwd(),
        "umask": os.umask(os.umask(0)),
        "locale": locale.setlocale(locale.LC_ALL),
        "numbers": [sys.getrecursionlimit(), sys.getswitchinterval(), gc.isenabled(), socket.getdefaulttimeout()],
        "stream": repr(sys.stdout),
        "environment": sorted(os.environ.items()),
        "warnings": [repr(one) for one in warnings.filters],
        "limits": resource.getrlimit(resource.RLIMIT_CPU),
        "loop": _can_get_loop(),
        "trace": repr(sys.gettrace()),
        "decimals": decimal.getcontext().prec,
    }


def _can_get_loop() -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            asyncio.get_event_loop().run_until_complete(asyncio.sleep(0))
        except RuntimeError:
            return False
    return True
