"""Whether a worker on PostgreSQL keeps its pace: what tasks cost the database, and what the past does to it.

    python -m tests.benchmarks.endurance [costs] [rounds] [pinned] [readers] [--tasks 100000] [--minutes 10]

``costs``: commits, rows written, dead rows and bytes of the log for a task, of a drain of ``--tasks``.
``rounds``: fill, drain and VACUUM ANALYZE the tables while they are all but empty, five times; each round's rate.
``pinned``: a snapshot stays open for ``--minutes``, while ``--tasks`` come in equal parts, one each minute; the rate of
each minute, and the processor time that a task takes in the worker and in the server, if that runs on this machine:
unlike the rate it hardly depends on what else the machine does.
``readers``: the rate with four sessions whose REPEATABLE READ transactions each last some seconds, beside none.

Messages are multiplied in the database from one that taskq wrote, in a single transaction; a rate counts from its
commit to the end of the last task.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from .processes import cpu_seconds, tree
from .project import Worker, one_of, prepared, wait_for

_COUNTERS = (
    "SELECT (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()), "
    "sum(n_tup_ins)::bigint, sum(n_tup_upd)::bigint, sum(n_tup_del)::bigint, "
    "pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint, sum(n_tup_hot_upd)::bigint FROM pg_stat_user_tables"
)
#: How long a reader's transaction lasts.
_READS_FOR = 5.0
#: Seconds until the counters of other sessions can be read.
_COUNTED = 2.0


def _execute(sql: str, *params: Any) -> list[tuple[Any, ...]]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall()) if cursor.description else []


class Tasks:
    """Sends many tasks at once, each like one that stays unread in another queue."""

    def __init__(self) -> None:
        from taskq_bench.plain.tasks import noop

        # As a worker does, so that waiting for the end costs the server little.
        for name in ("enable_seqscan", "jit"):
            _execute(f"SET {name} = off")
        self._sent = 0
        self._pattern = noop.apply_async((1,), queue="pattern").id

    def send(self, count: int) -> int:
        """Insert messages and runs; return the id of the last message."""
        from django.db import transaction

        with transaction.atomic():
            for table in ("taskrun", "message"):
                names = [row[0] for row in _execute(_COLUMNS, f"taskq_{table}")]
                values = [_VALUES.get(name, name) for name in names]
                _execute(
                    f"INSERT INTO taskq_{table} ({', '.join(names)}) SELECT {', '.join(values)} FROM taskq_{table} t, "
                    "(SELECT lpad(to_hex(n), 36, '0') AS new_id FROM generate_series(%s, %s) n) s WHERE t.task_id = %s",
                    self._sent + 1,
                    self._sent + count,
                    self._pattern,
                )
            self._sent += count
            ((last,),) = _execute("SELECT last_value FROM taskq_message_id_seq")
            _execute("SELECT pg_notify('taskq_message', '')")
        return int(last)

    def run(self, count: int) -> float:
        """Send tasks and wait until a worker has run them; return how many it ran in a second."""
        return self.wait(count, self.send(count))

    def wait(self, count: int, last: int) -> float:
        """Wait until ``count`` tasks that were just sent have run; return how many ran in a second."""
        began = time.perf_counter()
        tail = last - min(count, 2000)
        wait_for(lambda: not _execute("SELECT 1 FROM taskq_message WHERE id > %s LIMIT 1", tail), 3600, 0.02)
        return count / (time.perf_counter() - began)


_COLUMNS = "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND column_name <> 'id'"
_VALUES = {
    "task_id": "new_id",
    "root_id": "new_id",
    "queue": "'taskq'",
    "headers": "replace(headers, task_id, new_id)",
    "properties": "replace(properties, task_id, new_id)",
    "created_at": "clock_timestamp()",
}


def costs(tasks: Tasks, count: int) -> None:
    """Print what a task costs."""
    time.sleep(_COUNTED)
    before = _execute(_COUNTERS)[0]
    with Worker():
        rate = tasks.run(count)
    time.sleep(_COUNTED)
    commits, inserted, updated, deleted, wal, hot = (b - a for a, b in zip(before, _execute(_COUNTERS)[0], strict=True))
    print(
        f"a task, of {count:,} at {rate:,.0f}/s: {commits / count:.3f} commits, "
        f"{(inserted + updated + deleted) / count:.2f} rows written ({inserted / count:.2f} inserted, "
        f"{updated / count:.2f} updated, {hot / count:.2f} of them in their page, {deleted / count:.2f} deleted), "
        f"{(updated + deleted) / count:.2f} dead rows, {wal / count:,.0f} bytes of WAL",
        flush=True,
    )


def rounds(tasks: Tasks, count: int) -> None:
    """Print the rate of each of five rounds."""
    first = 0.0
    with Worker():
        for number in range(1, 6):
            rate = tasks.run(count)
            first = first or rate
            print(f"round {number} of {count:,}: {rate:,.0f} tasks/s, {rate / first:.2f} of the first", flush=True)
            for table in ("message", "taskrun"):
                _execute(f"VACUUM ANALYZE taskq_{table}")


@contextmanager
def _session(seconds: float) -> Iterator[None]:
    """Keep a REPEATABLE READ transaction open, or one after the other of some ``seconds``."""
    import psycopg
    from django.db import connection

    ended = threading.Event()
    parameters = connection.get_connection_params()

    def read() -> None:
        with psycopg.connect(
            host=parameters.get("host"),
            port=parameters.get("port"),
            user=parameters.get("user"),
            password=parameters.get("password"),
            dbname=parameters["dbname"],
        ) as reader:
            reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            while not ended.is_set():
                with reader.transaction():
                    reader.execute("SELECT count(*) FROM taskq_worker")
                    ended.wait(seconds)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _processor_seconds(worker: Worker) -> float:
    """Return the processor time so far of a worker and of the server's processes for its database."""
    backends = _execute("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
    seconds = 0.0
    for pid in [*tree(worker.pid), *(pid for (pid,) in backends)]:
        with suppress(OSError):
            seconds += cpu_seconds([pid])
    return seconds


def pinned(tasks: Tasks, total: int, minutes: int) -> None:
    """Print the rate of each minute under one old snapshot."""
    first = first_ms = 0.0
    count = total // minutes
    with Worker() as worker, _session(1e6):
        # Connections and children of the first tasks.
        tasks.run(1000)
        for minute in range(1, minutes + 1):
            began = time.monotonic()
            last, before = tasks.send(count), _processor_seconds(worker)
            rate = tasks.wait(count, last)
            ms = 1000 * (_processor_seconds(worker) - before) / count
            first, first_ms = first or rate, first_ms or ms
            print(
                f"minute {minute}, {count:,}: {rate:,.0f} tasks/s, {rate / first:.2f} of the first; "
                f"{ms:.3f} ms of processor time a task, {ms / first_ms:.2f} of the first",
                flush=True,
            )
            if minute < minutes:
                time.sleep(max(0.0, 60 - (time.monotonic() - began)))


def readers(tasks: Tasks, count: int) -> None:
    """Print rates with and without readers, in turns."""
    with Worker():
        for _ in range(3):
            alone = tasks.run(count)
            with _session(_READS_FOR), _session(_READS_FOR), _session(_READS_FOR), _session(_READS_FOR):
                beside = tasks.run(count)
            print(f"{alone:,.0f} tasks/s alone, {beside:,.0f} beside four readers: {beside / alone:.2f}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", type=one_of("costs", "rounds", "pinned", "readers"))
    parser.add_argument("--tasks", type=int, default=100_000, help="tasks of a round; of all minutes with `pinned`")
    parser.add_argument("--minutes", type=int, default=10)
    options = parser.parse_args()
    with prepared("postgresql"):
        tasks = Tasks()
        for what in options.what or ["costs"]:
            if what == "pinned":
                pinned(tasks, options.tasks, options.minutes)
            else:
                {"costs": costs, "rounds": rounds, "readers": readers}[what](tasks, options.tasks)


if __name__ == "__main__":
    main()
