"""How many tasks a worker runs in a second if each of them gets a new process.

    python -m tests.benchmarks.recycling [--database postgresql|sqlite] [--n 1000] [--rounds 3] [--limit 1]

A worker with two children and ``--max-tasks-per-child`` runs ``delay_many`` of n tasks that do nothing: from the end of
the sending transaction to the last settled task. Then the processor time for a task: of the main process, of the fork
server, and of the children.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

from .processes import children_cpu_seconds, cpu_seconds, tree
from .project import Worker, prepared, wait_for


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=1, help="tasks after which a process is replaced")
    options = parser.parse_args()
    with prepared(options.database), Worker("small", 2, "--max-tasks-per-child", str(options.limit)) as worker:
        _run(20)
        rates = [_round(worker, options.n) for _ in range(options.rounds)]
    print(f"{options.database}, {options.limit} for each process, median: {median(rates):.0f} tasks/s")


def _round(worker: Worker, n: int) -> float:
    main_process, server = tree(worker.pid)[:2]
    before = _used(main_process, server)
    rate = n / _run(n)
    each = ", ".join(
        f"{name} {(after - was) / n * 1000:.1f} ms"
        for (name, after), was in zip(_used(main_process, server).items(), before.values(), strict=True)
    )
    print(f"{n:,} tasks: {rate:.0f}/s; processor time for a task: {each}", flush=True)
    return rate


def _used(main_process: int, server: int) -> dict[str, float]:
    return {
        "main process": cpu_seconds([main_process]),
        "fork server": cpu_seconds([server]) - children_cpu_seconds(server),
        "children": children_cpu_seconds(server),
    }


def _run(n: int) -> float:
    from taskq_bench.plain.tasks import noop

    from taskq.models import Message

    noop.delay_many((i,) for i in range(n))
    began = time.perf_counter()
    wait_for(lambda: not Message.objects.exists(), 300)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
