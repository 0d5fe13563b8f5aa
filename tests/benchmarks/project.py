"""What the benchmarks that stand alone share: a database of their own, and workers on it.

``prepared`` makes a database, sets Django up on it with the project that lies beside
the adapter, and leaves nothing behind. ``Worker`` runs ``manage.py taskworker``.
Nothing here measures.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit, urlunsplit

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
#: ``manage.py`` and the settings module of each project that can be measured.
PROJECTS = {
    "small": (HERE / "adapter" / "manage.py", "taskq_bench.settings"),
    "testproject": (REPOSITORY / "manage.py", "testproject.settings"),
}
TASK = {"small": "taskq_bench.plain.tasks.noop", "testproject": "testproject.arithmetic.tasks.add"}
ARGUMENTS = {"small": (1,), "testproject": (2, 2)}
_POSTGRES = "postgres://postgres@127.0.0.1:5432/postgres"


def one_of(*parts: str) -> Callable[[str], str]:
    """Return a type of argument that takes these words alone. ``choices`` refuses that there is none with ``*``."""

    def part(text: str) -> str:
        if text not in parts:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(parts)}")
        return text

    return part


@contextmanager
def prepared(vendor: str, project: str = "small") -> Iterator[None]:
    """Set Django up on a new, migrated database of ``vendor``: ``postgresql`` or ``sqlite``. Once a process.

    The server of PostgreSQL is the one that ``TASKQ_TEST_POSTGRES_URL`` names, as for the tests.
    """
    with new_database(vendor) as url:
        paths = [str(HERE / "adapter"), str(REPOSITORY)]
        sys.path[:0] = paths
        inherited = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
        os.environ["PYTHONPATH"] = os.pathsep.join([*paths, *inherited])
        os.environ.update(DATABASE_URL=url, CONN_MAX_AGE="600", DJANGO_SETTINGS_MODULE=PROJECTS[project][1])
        import django
        from django.core.management import call_command
        from django.db import connections

        django.setup()
        call_command("migrate", verbosity=0)
        try:
            yield
        finally:
            connections.close_all()
            # Whoever still listens for results is about to lose the database.
            logging.getLogger("taskq.results").disabled = True


def new_database(vendor: str, name: str = "") -> AbstractContextManager[str]:
    """Return the URL of a new, empty database of ``vendor``, which is dropped at the end of the ``with`` block."""
    return _sqlite() if vendor == "sqlite" else _postgresql(name)


@contextmanager
def stopped(popen: subprocess.Popen[bytes]) -> Iterator[None]:
    """Stop the worker ``popen`` at the end of the ``with`` block."""
    try:
        yield
    finally:
        popen.send_signal(signal.SIGTERM)
        try:
            popen.wait(30)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()


@contextmanager
def _sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="taskq-benchmark-") as directory:
        yield f"sqlite:///{directory}/taskq.sqlite3"


@contextmanager
def _postgresql(name: str) -> Iterator[str]:
    import psycopg

    server = os.environ.get("TASKQ_TEST_POSTGRES_URL") or _POSTGRES
    name = f"taskq_benchmark_{os.getpid()}{name and '_' + name}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    try:
        yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


class Worker:
    """A worker of one of ``PROJECTS`` on the prepared database, until the end of the ``with`` block.

    ``command`` is another command of the project that runs a worker.
    """

    def __init__(
        self, project: str = "small", concurrency: int = 2, *options: str, command: str = "taskworker"
    ) -> None:
        manage, settings = PROJECTS[project]
        self.started_at = time.time()
        self.popen = subprocess.Popen(
            [sys.executable, str(manage), command, "-c", str(concurrency), "-l", "warning", *options],
            cwd=REPOSITORY,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=ends_with_this(),
        )

    @property
    def pid(self) -> int:
        """The main process; the others are below it."""
        return self.popen.pid

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.popen.send_signal(signal.SIGTERM)
        try:
            self.popen.wait(30)
        except subprocess.TimeoutExpired:
            self.end_at_once()

    def end_at_once(self) -> None:
        """Kill the main process, and so all of the worker: tasks that run for long are not waited for."""
        self.popen.kill()
        self.popen.wait()


def ends_with_this() -> Callable[[], None]:
    """Return what a process calls before its program, so that it is killed when this one ends, however that ends."""
    from taskq.worker.process.system import die_with_parent

    return partial(die_with_parent, os.getpid())


def wait_for(condition: Callable[[], object], timeout: float = 60.0, interval: float = 0.01) -> None:
    """Return as soon as ``condition()`` is true. Raises ``TimeoutError`` after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:g} s")
        time.sleep(interval)
