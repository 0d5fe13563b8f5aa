"""taskq in the shared bench: ``run.py --adapter tests/benchmarks/adapter --only 'taskq-*'``.

Workers and producers run with ``TASKQ_BENCH_PYTHON``, by default the interpreter in
this repository's ``.venv``; it needs taskq's dependencies and the database clients. The bench itself
runs with its own. Beside this file lie the Django project and the task.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from adapters.common import HERE as BENCH
from adapters.common import WORK, Adapter

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
# The bench puts this folder on the path of its children only.
sys.path.insert(0, str(HERE))

from databases import Database, Mariadb, Postgresql, Sqlite  # noqa: E402

PYTHON = os.environ.get("TASKQ_BENCH_PYTHON") or str(REPOSITORY / ".venv" / "bin" / "python")
MANAGE = str(HERE / "manage.py")


class Taskq(Adapter):
    """A row and a result a task, or with ``ignore`` neither."""

    module = "taskq_bench.producer"
    bulk = True  # delay_many
    python = PYTHON

    def __init__(self, name: str, broker: str, database: Database, *, ignore: bool = False) -> None:
        self.name, self.broker, self.database, self.ignore = name, broker, database, ignore
        self.results = "off" if ignore else "task row"
        self.workers = "prefork, 2 child processes" + (", ignore_result, TASKQ_TRACK_PENDING off" if ignore else "")

    def env(self) -> dict[str, str]:
        return {
            # The repository too, so that what is measured is this working tree.
            "PYTHONPATH": os.pathsep.join([str(HERE), BENCH, str(REPOSITORY)]),
            "DJANGO_SETTINGS_MODULE": "taskq_bench.settings",
            "DATABASE_URL": self.database.url,
            "TASKQ_BENCH_APP": "taskq_bench.marking",
            "TASKQ_BENCH_IGNORE": "1" if self.ignore else "0",
            **self.database.environment,
        }

    def prepare(self) -> None:
        self.database.create()
        environment = {**os.environ, **self.env(), "BENCH_WORK": WORK}
        subprocess.run([self.python, MANAGE, "migrate", "-v0"], env=environment, check=True, stdin=subprocess.DEVNULL)

    def reset(self) -> None:
        self.database.empty()

    def pending(self) -> int:
        return self.database.count("taskq_message where token = ''")

    def stored(self) -> int:
        return self.database.count("taskq_taskrun where state = 'SUCCESS'")

    def worker_argvs(self, concurrency: int) -> list[list[str]]:
        return [[self.python, MANAGE, "taskworker", "-c", str(concurrency), "-l", "warning"]]


ADAPTERS = [
    Taskq("taskq-pg", "postgresql", Postgresql()),
    Taskq("taskq-pg-ignore", "postgresql", Postgresql(), ignore=True),
    Taskq("taskq-sqlite", "sqlite", Sqlite()),
    Taskq("taskq-sqlite-ignore", "sqlite", Sqlite(), ignore=True),
    Taskq("taskq-mariadb", "mariadb", Mariadb()),
]
