"""What events cost: the drain of a worker that sends them to a monitor, beside one that does not.

    python -m tests.benchmarks.events [--tasks 20000] [--rounds 5] [--modes off,unheard,heard,dump]

``unheard`` has ``-E`` while nobody reads events, ``heard`` a monitor that reads all of them, in a process of its own,
and does nothing with them, ``dump`` a ``taskevents --dump > /dev/null``; on two processors a reader takes time from the
worker. ``--modes absent,off`` compares ``off`` with a worker in which events can't be switched on: nothing subscribes
to its hooks. On PostgreSQL. Rounds are paired: each mode runs once in a round, and ratios are those of one round. The
processor time of the worker's main process, and of the reader, hardly depends on what else the machine does, unlike
the rate.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from .endurance import Tasks
from .processes import cpu_seconds
from .project import PROJECTS, REPOSITORY, Worker, ends_with_this, prepared, wait_for

OPTIONS = {"absent": (), "off": (), "unheard": ("-E",), "heard": ("-E",), "dump": ("-E",)}
#: The command of the mode whose worker has no service of events; the others have ``taskworker``.
_COMMANDS = {"absent": "eventless_worker"}
#: Tasks before the clock runs.
_WARM = 2_000


_MONITOR = """
import django
django.setup()
from taskq.events import Receiver
receiver = Receiver({"*": lambda event: None})
captured = receiver.itercapture()
next(captured)
try:
    for _ in captured:
        pass
except KeyboardInterrupt:
    captured.close()
"""


#: The commands of the modes with a reader.
_READERS = {
    "heard": [sys.executable, "-c", _MONITOR],
    "dump": [sys.executable, str(PROJECTS["small"][0]), "taskevents", "--dump"],
}


@dataclass(frozen=True, slots=True)
class Round:
    """What a worker did: tasks in a second, and the microseconds for each of its main process and of the reader."""

    rate: float
    main: float
    reader: float


@contextmanager
def reading(mode: str) -> Iterator[int | None]:
    """Have a process read all events, if the mode has one, and give its id."""
    if mode not in _READERS:
        yield None
        return
    popen = subprocess.Popen(_READERS[mode], cwd=REPOSITORY, stdout=subprocess.DEVNULL, preexec_fn=ends_with_this())
    try:
        wait_for(_is_read)
        yield popen.pid
    finally:
        popen.send_signal(signal.SIGINT)
        popen.wait()


def _is_read() -> bool:
    from taskq.conf import settings
    from taskq.store import exchanges

    return exchanges.has_queue(f"{settings.NAMESPACE}ev", settings.DATABASE)


def measure(tasks: Tasks, mode: str, count: int) -> Round:
    """Run tasks in a worker of its own."""
    command = _COMMANDS.get(mode, "taskworker")
    with reading(mode) as reader, Worker("small", 2, *OPTIONS[mode], command=command) as worker:
        tasks.run(_WARM)
        main, read = _cpu(worker.pid), _cpu(reader)
        rate = tasks.run(count)
        return Round(rate, (_cpu(worker.pid) - main) / count * 1e6, (_cpu(reader) - read) / count * 1e6)


def _cpu(pid: int | None) -> float:
    return cpu_seconds([pid]) if pid else 0.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--modes", default="off,unheard,heard,dump")
    options = parser.parse_args()
    modes = options.modes.split(",")
    found: dict[str, list[Round]] = {mode: [] for mode in modes}
    with prepared("postgresql"):
        tasks = Tasks()
        for _ in range(options.rounds):
            for mode in modes:
                found[mode].append(measure(tasks, mode, options.tasks))
    for mode, rounds in found.items():
        ratios = [each.rate / base.rate for each, base in zip(rounds, found[modes[0]], strict=True)]
        print(
            f"{mode:8} {median(each.rate for each in rounds):8,.0f} tasks/s, of {modes[0]} {median(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f}); µs of the main process {median(e.main for e in rounds):.1f}, "
            f"of the reader {median(e.reader for e in rounds):.1f}"
        )


if __name__ == "__main__":
    main()
