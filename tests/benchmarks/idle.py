"""What an idle worker costs: processor time, and on PostgreSQL transactions.

    python -m tests.benchmarks.idle [--database postgresql|sqlite] [--seconds 60]

The transactions are those of its database between two readings, taken through a
connection to another one; the server's own processes (autovacuum) are in the count.
"""

from __future__ import annotations

import argparse
import os
import time
from urllib.parse import urlsplit, urlunsplit

from .processes import cpu_seconds, tree
from .project import Worker, prepared, wait_for

#: Seconds after the first task in which the worker comes to rest, and the server's counters arrive.
_REST = 12.0


def transactions() -> int:
    """Return how many transactions the database has seen so far; 0 on SQLite."""
    url = urlsplit(os.environ["DATABASE_URL"])
    if url.scheme == "sqlite":
        return 0
    import psycopg

    with psycopg.connect(urlunsplit(url._replace(path="/postgres")), autocommit=True) as connection:
        query = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s"
        row = connection.execute(query, [url.path.lstrip("/")]).fetchone()
    return int(row[0]) if row else 0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    with prepared(options.database), Worker() as worker:
        from django.db import connections
        from taskq_bench.plain.tasks import noop

        result = noop.delay(1)
        wait_for(result.ready)
        connections.close_all()
        time.sleep(_REST)
        pids, began = tree(worker.pid), time.monotonic()
        cpu, seen = {pid: cpu_seconds([pid]) for pid in pids}, transactions()
        time.sleep(options.seconds)
        elapsed = time.monotonic() - began
        used = {pid: cpu_seconds([pid]) - cpu[pid] for pid in pids}
        seen = transactions() - seen
    print(f"idle on {options.database} for {elapsed:.0f} s:")
    each = ", ".join(f"{seconds / elapsed:.2%}" for seconds in used.values())
    print(f"  processor     {sum(used.values()) / elapsed:.2%} of one ({each}: main, fork server, children)")
    if options.database == "postgresql":
        print(f"  transactions  {seen / elapsed:.2f} a second")


if __name__ == "__main__":
    main()
