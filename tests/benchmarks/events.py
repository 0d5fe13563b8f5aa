"""What events cost: the drain of a worker that sends them to a monitor, beside one that does not.

    python -m tests.benchmarks.events [--tasks 20000] [--rounds 5] [--modes off,unheard,heard]

``unheard`` has ``-E`` while nobody reads events, ``heard`` a monitor that reads all of them, in a process of its own,
and does nothing with them; on two processors it takes time from the worker. On PostgreSQL. Rounds are paired: each mode
runs once in a round, and ratios are those of one round. The processor time of the worker's main process hardly depends
on what else the machine does, unlike the rate.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from .endurance import Tasks
from .processes import cpu_seconds, tree
from .project import REPOSITORY, Worker, ends_with_this, prepared

OPTIONS = {"off": (), "unheard": ("-E",), "heard": ("-E",)}
#: Tasks before the clock runs.
_WARM = 2_000


_MONITOR = """
import django
django.setup()
from taskq.events import Receiver
receiver = Receiver({"*": lambda event: None})
captured = receiver.itercapture()
next(captured)
print("reads", flush=True)
try:
    for _ in captured:
        pass
except KeyboardInterrupt:
    captured.close()
"""


@contextmanager
def monitor() -> Iterator[None]:
    """Have a process read all events."""
    popen = subprocess.Popen(
        [sys.executable, "-c", _MONITOR], cwd=REPOSITORY, stdout=subprocess.PIPE, preexec_fn=ends_with_this()
    )
    assert popen.stdout is not None
    popen.stdout.readline()
    try:
        yield
    finally:
        popen.send_signal(signal.SIGINT)
        popen.wait()
        popen.stdout.close()


def measure(tasks: Tasks, mode: str, count: int) -> tuple[float, float]:
    """Return the tasks that a worker ran in a second, and its main process's microseconds for each."""
    with Worker("small", 2, *OPTIONS[mode]) as worker:
        tasks.run(_WARM)
        before = _cpu(worker.pid)
        rate = tasks.run(count)
        return rate, (_cpu(worker.pid) - before) / count * 1e6


def _cpu(pid: int) -> float:
    return cpu_seconds(tree(pid)[:1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--modes", default="off,unheard,heard")
    options = parser.parse_args()
    modes = options.modes.split(",")
    found: dict[str, list[tuple[float, float]]] = {mode: [] for mode in modes}
    with prepared("postgresql"):
        tasks = Tasks()
        for _ in range(options.rounds):
            for mode in modes:
                if mode == "heard":
                    with monitor():
                        found[mode].append(measure(tasks, mode, options.tasks))
                else:
                    found[mode].append(measure(tasks, mode, options.tasks))
    for mode, rounds in found.items():
        ratios = [rate / base for (rate, _), (base, _) in zip(rounds, found[modes[0]], strict=True)]
        print(
            f"{mode:8} {median(rate for rate, _ in rounds):8,.0f} tasks/s, of {modes[0]} {median(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f}); {median(cpu for _, cpu in rounds):.1f} µs of the main process"
        )


if __name__ == "__main__":
    main()
