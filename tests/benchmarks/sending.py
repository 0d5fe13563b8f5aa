"""Sending on PostgreSQL against a bare INSERT of the same bytes.

    python -m tests.benchmarks.sending [--n 500] [--rounds 5] [--many 20000]

Each round sends ``n`` tasks one by one, outside a transaction, and does two things with
psycopg alone in autocommit: it inserts one row with the columns of the message and of
the run into a table that has a primary key and nothing else ("bare INSERT"), and it runs
the statement that a send runs, with its parameters at hand ("same statement": two rows,
all indexes, the notification). What is printed are medians over the rounds.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from .project import prepared


def rate(n: int, call: Callable[[], object]) -> float:
    """Return how many calls a second ``n`` of them make."""
    began = time.perf_counter()
    for _ in range(n):
        call()
    return n / (time.perf_counter() - began)


class Bare:
    """psycopg with a table of its own, and with the statement of a send."""

    def __init__(self) -> None:
        import psycopg

        from taskq.engines import postgresql
        from taskq.store.enqueue import message_row, run_row

        self.connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
        envelope = _envelope()
        self._run, self._message = run_row(envelope), message_row(envelope)
        self._send = postgresql._SENDS[True, False, False, True]
        row = [*self._run, *self._message]
        columns = ", ".join(f"c{i} {_TYPES.get(type(value), 'text')}" for i, value in enumerate(row))
        self.connection.execute(f"CREATE TABLE bare (id bigserial PRIMARY KEY, {columns})")
        self._row = row
        self._insert = f"INSERT INTO bare ({', '.join(f'c{i}' for i in range(len(row)))}) VALUES ({_marks(row)})"

    def insert(self) -> None:
        """Insert the bytes of a message and its run as one row."""
        self.connection.execute(self._insert, self._row)

    def send(self) -> None:
        """Run the statement of a send with a new id."""
        from taskq.ids import new_id

        task_id = new_id()
        run, message = list(self._run), list(self._message)
        run[0] = message[1] = task_id
        self.connection.execute(self._send, [*run, *message])


_TYPES: dict[type, str] = {bool: "bool", int: "int", float: "float8"}


def _marks(row: list[Any]) -> str:
    return ", ".join(["%s"] * len(row))


def _envelope() -> Any:
    from taskq_bench.plain.tasks import noop

    from taskq.sending.send import envelope_for

    return envelope_for(noop.name, noop, (123,), None, {})


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--many", type=int, default=20_000)
    options = parser.parse_args()
    with prepared("postgresql"):
        from taskq_bench.plain.tasks import noop

        bare = Bare()
        calls: dict[str, Callable[[], object]] = {
            "delay()": lambda: noop.delay(123),
            "bare INSERT": bare.insert,
            "same statement": bare.send,
            "envelope alone": _envelope,
        }
        for call in calls.values():
            rate(10, call)
        rounds = [{name: rate(options.n, call) for name, call in calls.items()} for _ in range(options.rounds)]
        began = time.perf_counter()
        noop.delay_many((i,) for i in range(options.many))
        many = options.many / (time.perf_counter() - began)
        bare.connection.close()
    for name in calls:
        print(f"{name:16} {median(r[name] for r in rounds):10,.0f}/s")
    for name in ("bare INSERT", "same statement"):
        print(f"delay() / {name}: {median(r['delay()'] / r[name] for r in rounds):.2f}")
    print(f"delay_many of {options.many:,}: {many:,.0f}/s")


if __name__ == "__main__":
    main()
