"""How soon a worker answers while its whole pool computes, and whether ``terminate`` ends one task alone.

    python -m tests.benchmarks.control [answers] [terminate] [--database postgresql|sqlite] [--n 20]
                                       [--pools prefork:2,threads:2,solo:1]

``answers``: in each pool every slot runs a task that computes for minutes. ``inspect().active()`` is timed from the
call to the reply, and ``manage.py taskinspect active`` from its start to its end: it starts Django first, and its
``--destination`` lets it end with the reply. ``terminate``: of 8 running tasks one is terminated, ``--n`` times; each
time the seven others have to go on, and the next task to start in the free place.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from .project import HERE, REPOSITORY, Worker, one_of, prepared, wait_for

#: Seconds that a task computes, or waits: longer than the measurement takes.
_LONG = 3600.0
_TERMINATED_AMONG = 8


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", type=one_of("answers", "terminate"))
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--pools", default="prefork:2,threads:2,solo:1")
    options = parser.parse_args()
    what = options.what or ["answers", "terminate"]
    with prepared(options.database):
        if "answers" in what:
            for text in options.pools.split(","):
                pool, _, concurrency = text.partition(":")
                _answers(options.database, pool, int(concurrency), options.n)
        if "terminate" in what:
            _terminate(options.database, options.n)


def _answers(database: str, pool: str, concurrency: int, n: int) -> None:
    from taskq_bench.plain.tasks import spin

    with Worker("small", concurrency, "-P", pool, "-n", f"{pool}@bench") as worker:
        node = f"{pool}@bench"
        running = [spin.delay(_LONG).id for _ in range(concurrency)]
        # The first questions come before the worker can hear them.
        wait_for(lambda: _active(node, 1) == set(running), 60)
        asked = [_timed(lambda: _expect(_active(node), set(running))) for _ in range(n)]
        ran = [_timed(lambda: _expect_in_words(node, running)) for _ in range(n)]
        print(
            f"{database} -P {pool} -c {concurrency}: active answers after {median(asked) * 1000:.0f} ms "
            f"(at most {max(asked) * 1000:.0f}), the command ends after {median(ran):.2f} s (at most {max(ran):.2f}), "
            f"{n} times each, load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
        # The tasks would not end by themselves.
        worker.end_at_once()
    _forget_all()


def _terminate(database: str, n: int) -> None:
    from taskq_bench.plain.tasks import wait

    from taskq import AsyncResult, control

    with Worker("small", _TERMINATED_AMONG, "-n", "eight@bench") as worker:
        running = [wait.delay(_LONG).id for _ in range(_TERMINATED_AMONG)]
        wait_for(lambda: _active("eight@bench", 1) == set(running), 60)
        took = []
        for number in range(n):
            ended = AsyncResult[Any](running.pop(number % _TERMINATED_AMONG))
            signal = ("SIGKILL", "SIGTERM")[number % 2]
            began = time.perf_counter()
            control.terminate(ended.id, signal=signal)
            wait_for(lambda e=ended: e.state == "REVOKED", 30, 0.002)  # type: ignore[misc]
            took.append(time.perf_counter() - began)
            running.append(wait.delay(_LONG).id)
            wait_for(lambda: _active("eight@bench") == set(running), 30)
        print(
            f"{database}: one of {_TERMINATED_AMONG} tasks terminated and no other, {n} times of {n}; "
            f"REVOKED after {median(took) * 1000:.0f} ms (at most {max(took) * 1000:.0f})",
            flush=True,
        )
        worker.end_at_once()
    _forget_all()


def _active(node: str, timeout: float = 20.0) -> set[str]:
    from taskq import control

    return {each["id"] for each in control.inspect(node, timeout=timeout, limit=1).active() or ()}


def _expect(found: set[str], running: set[str]) -> None:
    if found != running:
        raise AssertionError(f"{found} run, not {running}")


def _expect_in_words(node: str, running: list[str]) -> None:
    command = [sys.executable, str(HERE / "adapter" / "manage.py"), "taskinspect", "active", "-d", node, "-t", "20"]
    out = subprocess.run(command, cwd=Path(REPOSITORY), check=True, capture_output=True, text=True).stdout
    if not all(task_id in out for task_id in running):
        raise AssertionError(f"{out} does not name {running}")


def _timed(call: Callable[[], None]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _forget_all() -> None:
    """Leave nothing for the next worker to run."""
    from taskq.models import Message
    from taskq.models import Worker as Row

    Row.objects.all().delete()
    Message.objects.all().delete()


if __name__ == "__main__":
    main()
