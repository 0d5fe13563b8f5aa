"""Whether cost grows with what waits, with what is scheduled, and with the history.

    python -m tests.benchmarks.backlog [--database postgresql|sqlite] [--few 1000] [--waiting 1000000]
        [--finished 2000000] [--times 200]

Times a claim of 100 with few and with many messages waiting (and as many scheduled for
tomorrow), and sending, settling 100 and waiting for a result with few and with many
finished rows. After each claim the claimed are deleted and as many new ones sent, so
that the queue moves on as in life. Rows are multiplied in the database from one that
taskq wrote. Few are measured before many and again after, so that a machine that
changes its pace shows. Prints medians in milliseconds and their ratio.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING, Any

from .project import prepared

if TYPE_CHECKING:
    from django.db.models import Model

    from taskq.records import Claimed, Settlement

TOKEN = "benchmark"
TOMORROW = 86_400
BATCH = 100
#: How a row of the multiplied gets an id of its own: in the order of time and then random, as taskq's are.
_ID = {
    "postgresql": "lpad(to_hex(n), 12, '0') || right(gen_random_uuid()::text, 24)",
    "sqlite": "printf('%012x', n) || lower(hex(randomblob(12)))",
}
_SERIES = {
    "postgresql": "generate_series(1, {0}) AS series(n)",
    "sqlite": "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {0}) SELECT n FROM s) AS s",
}


def multiply(model: type[Model], pattern: int, times: int) -> None:
    """Insert ``times`` rows that are like the one with the primary key ``pattern``, but for their task ids."""
    from django.db import connection

    if times <= 0:
        return
    columns = [field.column for field in model._meta.concrete_fields if not field.primary_key]
    values = [_ID[connection.vendor] if column == "task_id" else f"t.{column}" for column in columns]
    series = _SERIES[connection.vendor].format(times)
    table = model._meta.db_table
    with connection.cursor() as cursor:
        # Without parameters Django passes the text on as it is, percent signs too.
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} FROM {table} AS t, {series} "
            f"WHERE t.id = {pattern}"
        )


def tidy() -> None:
    """Do what the database does by itself after a while."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")
        cursor.execute("CHECKPOINT" if connection.vendor == "postgresql" else "PRAGMA wal_checkpoint(TRUNCATE)")


def clear() -> None:
    """Delete all rows."""
    from django.db import connection

    from taskq.models import Message, ScheduledMessage, TaskRun

    with connection.cursor() as cursor:
        for model in (Message, ScheduledMessage, TaskRun):
            word = "TRUNCATE" if connection.vendor == "postgresql" else "DELETE FROM"
            cursor.execute(f"{word} {model._meta.db_table}")


def timed(times: int, call: Callable[[], Any], afterwards: Callable[[Any], object] = lambda _: None) -> float:
    """Return the median of ``times`` calls in milliseconds; ``afterwards`` gets each answer, off the clock."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        answer = call()
        seconds.append(time.perf_counter() - began)
        afterwards(answer)
    return median(seconds) * 1000


# -- what waits


def fill_queue(waiting: int, scheduled: int) -> None:
    """Put messages into the live queue and into the schedule."""
    from taskq_bench.plain.tasks import noop

    from taskq.models import Message, ScheduledMessage

    clear()
    noop.delay(1)
    multiply(Message, Message.objects.get().pk, waiting - 1)
    if scheduled:
        noop.apply_async((1,), countdown=TOMORROW)
        multiply(ScheduledMessage, ScheduledMessage.objects.get().pk, scheduled - 1)
    tidy()


def claims(times: int) -> dict[str, float]:
    """Time claims of a queue that stays as long as it is."""
    from taskq_bench.plain.tasks import noop

    from taskq.models import Message
    from taskq.store.claim import claim

    def go_on(claimed: list[Claimed]) -> None:
        assert len(claimed) == BATCH
        Message.objects.filter(id__in=[m.id for m in claimed])._raw_delete("default")
        noop.delay_many((1,) for _ in range(BATCH))

    return {f"claim of {BATCH}": timed(times, lambda: claim("taskq", BATCH, TOKEN), go_on)}


# -- what has ended


def fill_history(finished: int) -> None:
    """Put rows of finished tasks into the history."""
    from taskq_bench.plain.tasks import noop

    from taskq.models import TaskRun
    from taskq.store.claim import claim
    from taskq.store.settle import settle

    clear()
    noop.delay(1)
    settle(TOKEN, [_success(m) for m in claim("taskq", 1, TOKEN)])
    multiply(TaskRun, TaskRun.objects.get().pk, finished - 1)
    tidy()


def history(times: int) -> dict[str, float]:
    """Time what writes and reads rows of tasks."""
    from taskq_bench.plain.tasks import noop

    return {
        "sending one": timed(times, lambda: noop.delay(1)),
        f"settling {BATCH}": median(_settling() for _ in range(times)),
        "settling one, until get() returns": median(_waiting() for _ in range(times)),
    }


def _held() -> list[Settlement]:
    """Send and claim a batch; return how it ends."""
    from taskq_bench.plain.tasks import noop

    from taskq.store.claim import claim

    _empty_queue()
    noop.delay_many((1,) for _ in range(BATCH))
    return [_success(m) for m in claim("taskq", BATCH, TOKEN)]


def _settling() -> float:
    from taskq.store.settle import settle

    settlements = _held()
    return timed(1, lambda: settle(TOKEN, settlements))


def _waiting() -> float:
    """Have a thread wait for a task; return the milliseconds from the start of its settling to the thread's answer."""
    from taskq_bench.plain.tasks import noop

    from taskq.store.claim import claim
    from taskq.store.settle import settle

    _empty_queue()
    result = noop.delay(1)
    settlements = [_success(m) for m in claim("taskq", 1, TOKEN)]
    returned: list[float] = []
    waiter = threading.Thread(target=lambda: (result.get(timeout=30), returned.append(time.perf_counter())))
    waiter.start()
    time.sleep(0.02)  # it is listening by then; if not, the time is the longer
    began = time.perf_counter()
    settle(TOKEN, settlements)
    waiter.join()
    return (returned[0] - began) * 1000


def _empty_queue() -> None:
    from taskq.models import Message

    Message.objects.all()._raw_delete("default")


def _success(m: Claimed) -> Settlement:
    from taskq.records import Settlement

    now = time.time()
    return Settlement(
        m.id, m.task_id, "SUCCESS", "noop", m.queue, "1", started=now, finished=now, runtime=0.001, worker="benchmark"
    )


def report(title: str, before: dict[str, float], many: dict[str, float], after: dict[str, float]) -> None:
    """Print medians and ratios; what few rows cost is the mean of two measurements, around that of many."""
    print(title)
    for what, ms in many.items():
        few = (before[what] + after[what]) / 2
        spread = f"({before[what]:.2f}, {after[what]:.2f})"
        print(f"  {what:34} {few:7.2f} ms {spread:16} {ms:7.2f} ms   ratio {ms / few:.2f}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--few", type=int, default=1_000)
    parser.add_argument("--waiting", type=int, default=1_000_000)
    parser.add_argument("--finished", type=int, default=2_000_000)
    parser.add_argument("--times", type=int, default=200)
    options = parser.parse_args()
    few, waiting, finished, times = options.few, options.waiting, options.finished, options.times
    with prepared(options.database):
        before, many, after = (
            _claims(n, scheduled, times) for n, scheduled in ((few, 0), (waiting, waiting), (few, 0))
        )
        report(f"{options.database}, {few:,} and {waiting:,} waiting, and {waiting:,} scheduled:", before, many, after)
        before, many, after = (_history(n, times) for n in (few, finished, few))
        report(f"{options.database}, {few:,} and {finished:,} finished:", before, many, after)


def _claims(waiting: int, scheduled: int, times: int) -> dict[str, float]:
    fill_queue(waiting, scheduled)
    return claims(times)


def _history(finished: int, times: int) -> dict[str, float]:
    fill_history(finished)
    return history(times)


if __name__ == "__main__":
    main()
