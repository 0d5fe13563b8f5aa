"""Fills a database with a history that could be a shop's, for benchmarks of what people look at.

``fill(1_000_000)`` writes that many tasks by INSERT ... SELECT, with arguments of 800 bytes: of 40 names in 8 queues;
most of them succeeded, some failed in 120 ways, some wait, some are scheduled, 200 run; with workers, attempts, a month
of statistics, and workflows. Rows are like those that taskq writes. It takes about two minutes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import Any

NAMES = tuple(f"shop.{app}.tasks.{verb}" for app in ("mail", "orders", "stock", "reports") for verb in (
    "send", "build", "check", "import_file", "export", "charge", "refund", "index", "notify", "expire"))  # fmt: skip
QUEUES = ("taskq", "mails", "orders", "stock", "reports", "hipri", "lopri", "slow")
WORKERS = 20
RUNNING = 200
#: Classes of exceptions and what they say; a number in it differs from failure to failure.
ERRORS = (("TimeoutError", "builtins", "the shop at 10.0.0.{} does not answer"), ("KeyError", "builtins", "sku-{}"),
          ("DeclinedCard", "shop.orders.errors", "card of order {} was declined"))  # fmt: skip
_SERIES = {
    "postgresql": "generate_series(1, {0}) AS s(n)",
    "sqlite": "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {0}) SELECT n FROM s) AS s",
}
#: A point in time so many seconds ago.
_AGO = {
    "postgresql": "to_timestamp({now} - ({0}))",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%S.000000', {now} - ({0}), 'unixepoch')",
}
#: In a thousand: 20 wait, 11 are scheduled, 30 failed, 5 were revoked, the others succeeded.
KIND = (
    "CASE WHEN n % 1000 < 20 THEN 'PENDING' WHEN n % 1000 < 31 THEN 'LATER' WHEN n % 1000 < 61 THEN 'FAILURE' "
    "WHEN n % 1000 < 66 THEN 'REVOKED' ELSE 'SUCCESS' END"
)
MONTH = 30 * 86_400


def failure(kind: str, module: str, message: str) -> str:
    """Return an exception as a row has it."""
    return json.dumps({"exc_type": kind, "exc_message": [message], "exc_module": module})


def fill(tasks: int) -> None:
    """Write ``tasks`` runs, and whatever belongs to them, into the default database."""
    rows = _Rows(tasks)
    with rows.connection.cursor() as cursor:
        for statement in rows.statements():
            cursor.execute(statement)
    _fill_workers()
    _fill_statistics()
    _fill_errors()
    _fill_workflows()
    with rows.connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if rows.vendor == "postgresql" else "ANALYZE")
        cursor.execute("CHECKPOINT" if rows.vendor == "postgresql" else "PRAGMA wal_checkpoint(TRUNCATE)")


class _Rows:
    """The statements that write runs, attempts and messages. What a row holds follows from its number ``n``."""

    def __init__(self, tasks: int) -> None:
        from django.db import connection

        self.connection = connection
        self.vendor = connection.vendor
        self.tasks = tasks

    def statements(self) -> Iterator[str]:
        """Yield the statements in order."""
        yield self.insert("taskq_taskrun", self.run(), self.tasks)
        yield self.insert("taskq_attempt", self.attempt(), self.tasks // 20)
        yield self.messages(
            "taskq_message", "state = 'PENDING' AND eta IS NULL", token="''", acked="FALSE", revoked="''"
        )
        yield self.messages("taskq_scheduledmessage", "eta IS NOT NULL", due_at="eta")

    def insert(self, table: str, columns: dict[str, str], count: int) -> str:
        """Return the statement that makes rows with the numbers from 1 to ``count``."""
        series = _SERIES[self.vendor].format(count)
        return f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(columns.values())} FROM {series}"

    def ago(self, seconds: str) -> str:
        """Return the time so many seconds ago."""
        return _AGO[self.vendor].format(seconds, now=int(time.time()))

    def age(self, number: str) -> str:
        """Return how many seconds ago the task with a number was sent: over some weeks."""
        return f"({self.tasks} - {number}) * {max(1, MONTH // self.tasks)} + 60"

    def task_id(self, number: str) -> str:
        """Return the id of the task with a number."""
        digits = (
            f"substr('000000000000' || {number}, -12)"
            if self.vendor == "sqlite"
            else f"lpad(({number})::text, 12, '0')"
        )
        return f"'00000000-0000-7000-8000-' || {digits}"

    @staticmethod
    def one_of(values: Sequence[str], number: str) -> str:
        """Return one of some texts in turn."""
        cases = " ".join(f"WHEN {at} THEN '{value}'" for at, value in enumerate(values))
        return f"CASE ({number}) % {len(values)} {cases} END"

    def run(self) -> dict[str, str]:
        """Return the columns of a run."""
        kind, task_id, age = KIND, self.task_id("n"), self.age("n")
        failed = self.one_of([failure(*error) for error in ERRORS], "n / 1000").replace("{}", "' || n || '")
        return {
            "task_id": task_id,
            "name": self.one_of(NAMES, "n / 3"),
            "state": f"CASE {kind} WHEN 'LATER' THEN 'PENDING' ELSE {kind} END",
            "queue": self.one_of(QUEUES, "n / 7"),
            "priority": "n % 10",
            "arguments": f"'[[' || n || ', \"{'customer ' * 76}\"], {{\"order_id\": ' || n || ', \"full\": true}}]'",
            "result": f"CASE {kind} WHEN 'SUCCESS' THEN '{{\"rows\": ' || n || '}}' WHEN 'FAILURE' THEN {failed} END",
            "content_type": "'application/json'",
            "traceback": f"CASE {kind} WHEN 'FAILURE' THEN 'Traceback (most recent call last):' END",
            "retries": "CASE WHEN n % 20 = 0 THEN 1 ELSE 0 END",
            "worker": f"CASE WHEN {kind} IN ('PENDING', 'LATER') THEN '' ELSE 'taskq@host' || n % {WORKERS} END",
            "root_id": task_id,
            "parent_id": "''",
            "group_id": "''",
            "created_at": self.ago(age),
            "eta": f"CASE {kind} WHEN 'LATER' THEN {self.ago('-86400 - n % 86400')} END",
            "started_at": f"CASE WHEN {kind} NOT IN ('PENDING', 'LATER') THEN {self.ago(f'{age} - 1')} END",
            "finished_at": f"CASE WHEN {kind} NOT IN ('PENDING', 'LATER') THEN {self.ago(f'{age} - 3')} END",
            "runtime": "n % 100 * 0.02",
        }

    def attempt(self) -> dict[str, str]:
        """Return the columns of an attempt of every twentieth task."""
        return {
            "task_id": self.task_id("n * 20"),
            "state": "'RETRY'",
            "retries": "0",
            "result": f"'{failure('OSError', 'builtins', 'no route')}'",
            "worker": f"'taskq@host' || n % {WORKERS}",
            "started_at": self.ago(self.age("n * 20")),
            "finished_at": self.ago(self.age("n * 20") + " - 1"),
        }

    @staticmethod
    def messages(table: str, which: str, **more: str) -> str:
        """Return the statement that makes the messages of some runs."""
        columns = {
            "queue": "queue",
            "task_id": "task_id",
            "name": "name",
            "priority": "priority",
            "headers": "'{}'",
            "body": "arguments",
            "content_type": "content_type",
            "content_encoding": "'utf-8'",
            "properties": "'{}'",
            "exchange": "''",
            "routing_key": "queue",
            "tracked": "TRUE",
            "deliveries": "0",
            "redelivered": "FALSE",
            "created_at": "created_at",
            **more,
        }
        names, values = ", ".join(columns), ", ".join(columns.values())
        return f"INSERT INTO {table} ({names}) SELECT {values} FROM taskq_taskrun WHERE {which} ORDER BY id"


def _fill_workers() -> None:
    from taskq.models import Message, TaskRun, Worker

    now = datetime.now(UTC)
    waiting = list(
        TaskRun.objects.filter(state="PENDING", eta=None).order_by("-id").values_list("id", "task_id")[:RUNNING]
    )
    for number in range(WORKERS):
        token, own = f"boot-{number}", waiting[number::WORKERS]
        slots = [{"slot": at, "pid": 100 + at, "task": task_id} for at, (_, task_id) in enumerate(own)]
        info = {"host": f"host{number}", "queues": QUEUES, "concurrency": 10, "pool": "prefork", "slots": slots}
        times = {"lease": 10**9, "started_at": now, "seen_at": now}
        Worker.objects.create(token=token, name=f"taskq@host{number}", pid=number, info=json.dumps(info), **times)
        Message.objects.filter(task_id__in=[task_id for _, task_id in own]).update(token=token)
        started = {"state": "STARTED", "started_at": now - timedelta(minutes=number), "worker": f"taskq@host{number}"}
        TaskRun.objects.filter(pk__in=[pk for pk, _ in own]).update(**started)


def _fill_statistics() -> None:
    from taskq.models import Statistic

    now, rows = int(time.time()), []
    for seconds, periods in ((60, 25 * 60), (3600, 31 * 24)):
        for ago in range(periods):
            period = (now // seconds - ago) * seconds
            for queue in QUEUES:  # the sums of its names
                figures = {"succeeded": 20 * len(NAMES), "failed": 9, "waited_2": 200, "ran_5": 200}
                rows.append(Statistic(seconds=-seconds, period=period, queue=queue, **figures))
            for at in range(0, len(NAMES), 4):
                figures = {"succeeded": 20 + ago % 7, "failed": at % 3, "waited_2": 20, "ran_5": 20 + ago % 7}
                place = {"name": NAMES[at], "queue": QUEUES[at // 4 % len(QUEUES)]}
                rows.append(Statistic(seconds=seconds, period=period, **place, **figures))
    Statistic.objects.bulk_create(rows, batch_size=2000)


def _fill_errors() -> None:
    """Write what failed runs raised, for the page of errors, in one pass over them."""
    if find_spec("taskq.messages.fingerprints") is None:
        return
    from taskq import states
    from taskq.messages.fingerprints import fingerprint, summary
    from taskq.models import Error, ErrorCount, Failure, TaskRun

    runs = TaskRun.objects.filter(state=states.FAILURE).values_list("id", "name", "result", "finished_at")
    failures, errors, counts = [], {}, {}
    for number, name, result, ended in runs.order_by("id").iterator(chunk_size=5000):
        found = summary(result)
        key = fingerprint(name, found)
        failures.append(Failure(run_id=number, error=key, exception=found.exception, message=found.message))
        seen = errors.setdefault(
            key, Error(key=key, name=name, exception=found.exception, first_seen=ended, last_seen=ended)
        )
        seen.last_run, seen.message = number, found.message
        seen.first_seen, seen.last_seen = min(seen.first_seen, ended), max(seen.last_seen, ended)
        period = int(ended.timestamp()) // ErrorCount.SECONDS * ErrorCount.SECONDS
        counts[key, period] = counts.get((key, period), 0) + 1
    Failure.objects.bulk_create(failures, batch_size=5000)
    Error.objects.bulk_create(errors.values())
    recent = int(time.time()) - 7 * 86400
    rows = (ErrorCount(error=key, period=at, failures=count) for (key, at), count in counts.items() if at >= recent)
    ErrorCount.objects.bulk_create(rows, batch_size=5000)


def _fill_workflows() -> None:
    """Send real ones, which nobody runs: 200 chords of ten, and one of a thousand."""
    from taskq import chord, signature

    def member(number: int) -> Any:
        return signature(NAMES[number % len(NAMES)], args=(number,))

    for size in (*(10 for _ in range(200)), 1000):
        chord([member(number) for number in range(size)], signature("shop.reports.tasks.build")).delay()
