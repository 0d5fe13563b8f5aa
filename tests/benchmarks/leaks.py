"""Whether a worker grows: its memory, descriptors and threads over very many tasks, and the rows that they leave.

    python -m tests.benchmarks.leaks [--database postgresql|sqlite] [--tasks 500000]

Of each thousand tasks 700 succeed, 100 fail, 80 retry once, 60 have an ETA, 60 are revoked: some while they wait for
their ETA, some before they are sent. Commands of remote control come in between. At each tenth of all, the worker comes
to rest and is measured. The result is what it has grown since the first tenth; before that it has not yet done
everything once. Rows of ended tasks expire after a few seconds, and at the end all have to be gone. The exit status is
1 if the worker has grown by more than 5 MiB, or if anything else is left.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .processes import tree
from .project import Worker, prepared, wait_for

#: The most that main process, fork server and children may grow by together, in MiB.
_GROWTH = 5.0
#: Tasks that are sent at once, and the most that wait while more are sent.
_PART, _WAITING = 1000, 5000
#: Seconds for which rows of ended tasks are kept, and in which the worker comes to rest.
_EXPIRES, _REST = 5, 3.0
#: Seconds in which a tenth has to end, and in which all rows have to go: retention makes a round each minute.
_TENTH, _GONE = 3600.0, 600.0
#: Seconds in which a worker answers a command, also on a machine that is busy with other things.
_ANSWER = 60.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What the processes of a worker use: main process, fork server, children."""

    mib: list[float]
    descriptors: list[int]
    threads: list[int]

    @classmethod
    def of(cls, pid: int) -> Usage:
        """Read the usage of a worker's processes, by the pid of its main process."""
        pids = tree(pid)
        return cls(
            [_resident_mib(each) for each in pids],
            [len(os.listdir(f"/proc/{each}/fd")) for each in pids],
            [len(os.listdir(f"/proc/{each}/task")) for each in pids],
        )

    def __str__(self) -> str:
        each = ", ".join(f"{mib:.1f}" for mib in self.mib)
        return f"{sum(self.mib):.1f} MiB resident ({each}), descriptors {self.descriptors}, threads {self.threads}"


def _resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) / 1024


def _send(part: int) -> None:
    """Send a thousand tasks of all kinds, and a few commands."""
    from taskq_bench.plain.tasks import fails, noop, tries_twice

    from taskq import control
    from taskq.ids import new_id

    def calls(count: int) -> Iterator[tuple[int]]:
        return ((number,) for number in range(count))

    noop.delay_many(calls(700))
    fails.delay_many(calls(100))
    tries_twice.delay_many(calls(80))
    noop.delay_many(calls(60), countdown=1.0)
    for result in noop.delay_many(calls(40), countdown=3600.0):
        result.revoke()
    unsent = [new_id() for _ in range(20)]
    control.revoke(unsent)
    for task_id in unsent:
        noop.apply_async((0,), task_id=task_id)
    _command(part)


def _command(part: int) -> None:
    from taskq import control

    names = ("active", "reserved", "scheduled", "stats", "registered", "active_queues", "conf", "revoked")
    if not getattr(control.inspect(timeout=_ANSWER, limit=1), names[part % len(names)])():
        raise RuntimeError(f"No worker has answered {names[part % len(names)]}.")
    control.rate_limit("taskq_bench.plain.tasks.fails", f"{100_000 + part}/s")
    if part % 10 == 0:
        control.pool_grow(1)
        control.pool_shrink(1)


def _waiting() -> int:
    from taskq.models import Message, ScheduledMessage

    return Message.objects.count() + ScheduledMessage.objects.count()


def _rows() -> dict[str, int]:
    """Return how many rows the tasks have left, by model."""
    from django.apps import apps

    from taskq.models import Worker

    # Queues of callers, which expire by themselves; a row for each duty; and counts by time.
    kept = {"Queue", "Exchange", "Binding", "Lease", "Statistic", "ErrorCount"}
    counts = {model.__name__: model._default_manager.count() for model in apps.get_app_config("taskq").get_models()}
    # The one worker that runs.
    counts["Worker"] = Worker.objects.exclude(state=Worker.CONSUMER).count() - 1
    return {name: count for name, count in counts.items() if count and name not in kept}


def _run_tenth(worker: Worker, first: int, parts: int) -> Usage:
    for part in range(first, first + parts):
        wait_for(lambda: _waiting() < _WAITING, _TENTH, 0.05)
        _send(part)
    wait_for(lambda: not _waiting(), _TENTH, 0.1)
    time.sleep(_REST)
    return Usage.of(worker.pid)


def run(tasks: int) -> bool:
    """Run the tasks, print, and tell whether nothing was left over."""
    from taskq import control

    parts = max(1, tasks // 10 // _PART)
    with Worker("small", 2, "-l", "critical") as worker:
        wait_for(control.ping)
        first = last = _run_tenth(worker, 0, parts)
        print(f"{parts * _PART:>8,}: {first}", flush=True)
        for tenth in range(1, 10):
            last = _run_tenth(worker, tenth * parts, parts)
            print(f"{(tenth + 1) * parts * _PART:>8,}: {last}", flush=True)
        try:
            wait_for(lambda: not _rows(), _GONE, 1.0)
        except TimeoutError:
            print(f"rows left: {_rows()}")
            return False
    grown = sum(last.mib) - sum(first.mib)
    print(f"grown by {grown:.1f} MiB since the first tenth; no rows left")
    return grown < _GROWTH and (first.descriptors, first.threads) == (last.descriptors, last.threads)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--tasks", type=int, default=500_000)
    options = parser.parse_args()
    os.environ["TASKQ_BENCH_EXPIRES"] = str(_EXPIRES)
    with prepared(options.database):
        clean = run(options.tasks)
    sys.exit(0 if clean else 1)


if __name__ == "__main__":
    main()
