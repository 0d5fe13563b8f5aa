"""What the figures of the cluster cost with many rows in all tables.

    python -m tests.benchmarks.metrics [--database postgresql|sqlite] [--rows 1000000] [--queues 20] [--times 20]

Fills queues, the schedule and the history with as many rows each, and times what ``manage.py taskmetrics`` does after
its start: without statistics of the tables, and with them. Prints medians in milliseconds, with the processor time of
this process beside them, which other work of the machine hardly changes. The exit status is 1 if a median is above 300.
"""

from __future__ import annotations

import argparse
import sys
import time
from statistics import median

from .backlog import multiply
from .project import prepared

#: The most that a look may take, in milliseconds.
_MOST = 300.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queues", type=int, default=20)
    parser.add_argument("--times", type=int, default=20)
    options = parser.parse_args()
    with prepared(options.database):
        from django.db import connection

        _fill(options.rows // options.queues, options.queues)
        print(f"{options.database}, {options.rows:,} rows in each table, {options.queues} queues:")
        medians = [_measured("without statistics", options.times)]
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        medians.append(_measured("with statistics", options.times))
    sys.exit(1 if max(medians) > _MOST else 0)


def _fill(rows: int, queues: int) -> None:
    from taskq_bench.plain.tasks import noop

    from taskq import states
    from taskq.models import Message, ScheduledMessage, TaskRun

    for number in range(queues):
        task_id = noop.apply_async((1,), queue=f"q{number}", priority=number % 10).id
        multiply(Message, Message.objects.get(task_id=task_id).pk, rows - 1)
        TaskRun.objects.filter(task_id=task_id).update(state=[states.SUCCESS, states.FAILURE][number % 2])
        multiply(TaskRun, TaskRun.objects.get(task_id=task_id).pk, rows - 1)
        task_id = noop.apply_async((1,), queue=f"q{number}", countdown=86_400).id
        multiply(ScheduledMessage, ScheduledMessage.objects.get(task_id=task_id).pk, rows - 1)


def _measured(title: str, times: int) -> float:
    from taskq.metrics.cluster import families
    from taskq.metrics.exposition import render

    found, processor = [], []
    for _ in range(times):
        began, used = time.perf_counter(), time.process_time()
        render(families())
        found.append(1000 * (time.perf_counter() - began))
        processor.append(1000 * (time.process_time() - used))
    print(
        f"  {title:18} {median(found):8.1f} ms (at most {max(found):.1f}), {median(processor):.1f} ms of processor time"
    )
    return median(found)


if __name__ == "__main__":
    main()
