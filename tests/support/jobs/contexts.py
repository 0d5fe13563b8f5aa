"""Tasks that leave things behind, and one that looks what is there."""

from __future__ import annotations

import contextvars
import os
import time
from zoneinfo import ZoneInfo

from django.db import connection, transaction
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
def leave_context() -> None:
    """Activate a language and a time zone, and set a context variable."""
    translation.activate("de")
    timezone.activate(ZoneInfo("Asia/Tokyo"))
    _variable.set("set")


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
def leave_autocommit_off() -> None:
    """Turn autocommit off."""
    connection.ensure_connection()
    connection.set_autocommit(False)


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
