"""How well a pool runs tasks that wait for the network: beside the ideal time of its concurrency.

    python -m tests.benchmarks.waiting [--database postgresql|sqlite] [--n 1000] [--seconds 0.05] [--rounds 3]
                                       [--pools prefork:10,threads:50,asyncio:100,gevent:100,...] [--coroutines]

For each pool a worker runs ``delay_many`` of n tasks that wait so many seconds: from the start of the first task to the
end of the last one, by the times of their rows, and from the end of the sending transaction until all are settled. The
ideal time is n * seconds / concurrency. asyncio gets coroutines, the others ordinary functions; with ``--threads``
asyncio gets ordinary functions too.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from statistics import median

from .processes import cpu_seconds, tree
from .project import Worker, prepared, wait_for


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds of one round: from the first start to the last end, and from the sender's commit to the last settlement.

    ``cpu`` is the processor time of the worker.
    """

    running: float
    settled: float
    cpu: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=0.05)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pools", default="prefork:10,threads:50,asyncio:100,gevent:100,eventlet:100")
    parser.add_argument("--threads", action="store_true", help="give asyncio ordinary functions")
    options = parser.parse_args()
    print(f"{options.n:,} tasks of {options.seconds * 1000:g} ms on {options.database}, load {os.getloadavg()[0]:.1f}")
    with prepared(options.database):
        for text in options.pools.split(","):
            name, _, concurrency = text.partition(":")
            _measure(name, int(concurrency), options)


def _measure(pool: str, concurrency: int, options: argparse.Namespace) -> None:
    coroutines = pool == "asyncio" and not options.threads
    ideal = options.n * options.seconds / concurrency
    with Worker("small", concurrency, "-P", pool) as worker:
        _run(worker, concurrency * 2, options.seconds, coroutines)
        rounds = [_run(worker, options.n, options.seconds, coroutines) for _ in range(options.rounds)]
    running, settled = median(r.running for r in rounds), median(r.settled for r in rounds)
    print(
        f"-P {pool} -c {concurrency}: ideal {ideal:.2f} s, run {running:.2f} s ({running / ideal:.2f} of it), "
        f"settled {settled:.2f} s ({settled / ideal:.2f}), "
        f"processor {median(r.cpu for r in rounds) / options.n * 1000:.2f} ms a task, load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def _run(worker: Worker, n: int, seconds: float, coroutines: bool) -> Round:
    from django.db.models import Max, Min
    from taskq_bench.plain.tasks import wait, wait_async

    from taskq.models import Message, TaskRun

    TaskRun.objects.all().delete()
    before = cpu_seconds(tree(worker.pid))
    (wait_async if coroutines else wait).delay_many((seconds,) for _ in range(n))
    began = time.perf_counter()
    wait_for(lambda: not Message.objects.exists(), 300, 0.02)
    settled = time.perf_counter() - began
    cpu = cpu_seconds(tree(worker.pid)) - before
    times = TaskRun.objects.aggregate(first=Min("started_at"), last=Max("finished_at"))
    return Round((times["last"] - times["first"]).total_seconds(), settled, cpu)


if __name__ == "__main__":
    main()
