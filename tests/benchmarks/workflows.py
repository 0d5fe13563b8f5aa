"""What a workflow costs beside the same tasks without one.

    python -m tests.benchmarks.workflows [--database postgresql|sqlite] [--n 10000] [--rounds 3] [--links 1000 2000]

A chord of n: from the sending call to the first line of its body; beside it ``delay_many`` of n,
from the call to the last settled task; in turns, with the median of the ratios. Then chains: from the
call to the end of the last link, for each link, and the bytes of the first message.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

from .project import Worker, prepared, wait_for


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--links", type=int, nargs="*", default=[1000, 2000])
    options = parser.parse_args()
    with prepared(options.database):
        with Worker():
            ratios = [_round(options.n) for _ in range(options.rounds)]
        print(f"chord / delay_many: {median(ratios):.2f}")
        for links in options.links:
            _chain(links)


def _round(n: int) -> float:
    many, whole = _many(n), _chord(n)
    print(f"{n:,} tasks: delay_many {many:.2f} s, chord {whole:.2f} s to its body's first line")
    return whole / many


def _many(n: int) -> float:
    from taskq_bench.plain.tasks import noop

    from taskq.models import Message

    began = time.time()
    noop.delay_many((i,) for i in range(n))
    wait_for(lambda: not Message.objects.exists(), 300)
    return time.time() - began


def _chord(n: int) -> float:
    from taskq_bench.plain.tasks import first_line, noop

    from taskq import chord
    from taskq.models import TaskRun

    began = time.time()
    result = chord((noop.s(i) for i in range(n)), first_line.s())()
    body_began: float = result.get(timeout=300)
    if TaskRun.objects.filter(name=first_line.name, created_at__isnull=False, task_id=result.id).count() != 1:
        raise AssertionError("the body did not run once")
    return body_began - began


def _chain(links: int) -> None:
    from taskq_bench.plain.tasks import noop

    from taskq import chain
    from taskq.models import Message

    began = time.time()
    result = chain(noop.s(0), *(noop.si(i) for i in range(1, links)))()
    size = len(Message.objects.get().body)
    with Worker():
        result.get(timeout=3000)
        took = time.time() - began
        print(f"chain of {links:,}: {took:.1f} s, {1e3 * took / links:.2f} ms a link, first message {size:,} B")


if __name__ == "__main__":
    main()
