"""The claims of docs/topics/optimizing.md: each with the settings that it compares.

    python -m tests.benchmarks.tuning sending|short|mixed|results|waiting|computing|connections|notify|speedups
                                      [--database postgresql|sqlite] [--rounds 3] [--scale 1]

Prints the median seconds of each variant, and the median of its ratios to the first one of the same round; below 1 is
faster. ``--scale`` multiplies the numbers of tasks. Workers have two processes unless a variant says otherwise.
``speedups`` needs no database: it has py-amqp encode messages, compiled or not, whichever is installed.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from statistics import median
from typing import Any

from .project import Worker, prepared, wait_for

Seconds = dict[str, float]


@contextmanager
def environment(variables: str) -> Iterator[None]:
    """Start processes with these variables: ``A=1 B=2``."""
    set_here = dict(pair.split("=") for pair in variables.split())
    os.environ.update(set_here)
    try:
        yield
    finally:
        for name in set_here:
            del os.environ[name]


@contextmanager
def worker(options: str = "", variables: str = "", concurrency: int = 2) -> Iterator[None]:
    """Run a worker that has had its first tasks."""
    from taskq_bench.plain.tasks import noop

    with environment(variables), Worker("small", concurrency, *options.split()):
        for _ in range(20):
            wait_for(noop.delay(1).ready)
        yield


def drained(calls: Sequence[tuple[Any, ...]], task: Any, **options: Any) -> float:
    """Send calls of a task in one transaction; return the seconds until all of their messages are settled."""
    from django.db import transaction

    from taskq.models import Message

    with transaction.atomic():
        task.delay_many(calls, **options)
    began = time.perf_counter()
    wait_for(lambda: not Message.objects.exists(), 600, 0.01)
    return time.perf_counter() - began


def timed(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


# -- the claims: each returns the seconds of its variants, the usual one first -------------


def sending(scale: float) -> Seconds:
    """One call after the other, in one transaction, and all at once."""
    from django.db import transaction
    from taskq_bench.plain.tasks import noop

    n = int(500 * scale)

    def each() -> None:
        for i in range(n):
            noop.delay(i)

    return {
        "delay()": timed(each),
        "in one transaction": timed(transaction.atomic(each)),
        "delay_many()": timed(lambda: noop.delay_many([(i,) for i in range(n)])),
    }


def short(scale: float) -> Seconds:
    """Tasks of no length: how many are handed over at once."""
    from taskq_bench.plain.tasks import noop

    found = {}
    for options in ("", "-O fair", "--prefetch-multiplier 1", "--prefetch-multiplier 4"):
        with worker(options):
            found[options or "default"] = drained([(i,) for i in range(int(4000 * scale))], noop)
    return found


def mixed(scale: float) -> Seconds:
    """Tasks of one name, of which one in 30 is long: do short ones wait behind it?"""
    from taskq_bench.plain.tasks import wait

    calls = [(0.5 if i % 30 == 0 else 0.001,) for i in range(int(300 * scale))]
    found = {}
    for options in ("", "-O fair", "--prefetch-multiplier 75"):
        with worker(options, concurrency=4):
            found[options or "default"] = drained(calls, wait)
    return found


def results(scale: float) -> Seconds:
    """With a row and a result for each task, without its result, without any row."""
    from django.test import override_settings
    from taskq_bench.plain.tasks import noop

    calls = [(i,) for i in range(int(4000 * scale))]
    with worker():
        found = {
            "row and result": drained(calls, noop),
            "ignore_result": drained(calls, noop, ignore_result=True),
        }
        with override_settings(TASKQ_TRACK_PENDING=False):
            found["and no TASKQ_TRACK_PENDING"] = drained(calls, noop, ignore_result=True)
    return found


def waiting(scale: float) -> Seconds:
    """Tasks that wait 50 ms, as for a network, in each pool."""
    from taskq_bench.plain.tasks import wait

    return _in_pools([(0.05,)] * int(400 * scale), wait, {"threads": 50, "asyncio": 50, "gevent": 50, "eventlet": 50})


def computing(scale: float) -> Seconds:
    """Tasks that compute for 20 ms, in pools that can share the machine's processors, and in one that can't."""
    from taskq_bench.plain.tasks import spin

    return _in_pools([(0.02,)] * int(150 * scale), spin, {"threads": 2})


def _in_pools(calls: Sequence[tuple[Any, ...]], task: Any, others: dict[str, int]) -> Seconds:
    from taskq.worker.pools.registry import POOLS

    found = {}
    for pool, concurrency in {"prefork": 2, **others}.items():
        if pool in POOLS and _is_installed(pool):
            with worker(f"-P {pool}", concurrency=concurrency):
                found[f"-P {pool} -c {concurrency}"] = drained(calls, task)
    return found


def _is_installed(pool: str) -> bool:
    return pool not in {"gevent", "eventlet"} or find_spec(pool) is not None


def connections(scale: float) -> Seconds:
    """Tasks that use the database, on a connection that is kept, and on one of their own."""
    from taskq_bench.plain.tasks import query

    found = {}
    for age in (600, 0):
        with worker(variables=f"TASKQ_BENCH_CONN_MAX_AGE={age}"):
            found[f"CONN_MAX_AGE = {age}"] = drained([()] * int(1000 * scale), query)
    return found


def notify(scale: float) -> Seconds:
    """One task at a time for an idle worker that is notified, and for one that polls."""
    from taskq_bench.plain.tasks import noop

    found = {}
    for on in (1, 0):
        with worker(variables=f"TASKQ_BENCH_NOTIFY={on}"):
            each = [timed(lambda: wait_for(noop.delay(1).ready, interval=0.001)) for _ in range(int(30 * scale))]
            found[f"TASKQ_NOTIFY = {bool(on)}"] = median(each)
    return found


def speedups(scale: float) -> Seconds:
    """The part of py-amqp that can be compiled: reading and writing tables of headers."""
    import amqp.serialization as serialization
    from amqp.basic_message import Message

    headers = {"id": "0" * 36, "task": "shop.tasks.add", "argsrepr": "(2, 2)", "retries": 0, "origin": "web@host"}

    def encode() -> None:
        for _ in range(int(20_000 * scale)):
            properties = Message("[]", application_headers=headers, delivery_mode=2)._serialize_properties()
            serialization.loads("F", serialization.dumps("F", [headers]), 0)
            assert properties

    compiled = str(serialization.__file__).endswith(".so")
    return {f"py-amqp, {'compiled' if compiled else 'not compiled'}": timed(encode)}


CLAIMS = {
    each.__name__: each
    for each in (sending, short, mixed, results, waiting, computing, connections, notify, speedups)
}  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("claim", choices=CLAIMS)
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    with nullcontext() if options.claim == "speedups" else prepared(options.database):
        rounds = [CLAIMS[options.claim](options.scale) for _ in range(options.rounds)]
    for variant, first in zip(rounds[0], [next(iter(rounds[0]))] * len(rounds[0]), strict=True):
        ratios = [found[variant] / found[first] for found in rounds]
        print(
            f"{variant:28} {median(found[variant] for found in rounds):8.4f} s, of {first!r} {median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
