"""What rate limits cost the tasks that have none, and how exactly workers keep them.

    python -m tests.benchmarks.limits [--vendor sqlite|postgresql|mariadb] [--n 10000] [--seconds 20]

A worker gets n tasks with a limit of 50 a second. A task without a limit that is sent behind them is timed from its
sending to its start: while the others are parked, and then. After that two workers together run a task whose limit of
50 a second is for all workers, for some seconds: the starts of a second, and how they differ from 50.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median

_ENVIRONMENT = {"TEST_APPS": "tests.support.rated"}
RATE = 50


def main() -> None:
    """Measure and print."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.support.settings")
    os.environ.setdefault("TEST_APPS", "tests.support.rated")
    import django

    django.setup()
    from tests.support.databases import VENDORS, temporary_database

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vendor", choices=VENDORS, default="postgresql")
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, temporary_database(options.vendor, Path(name)) as database:
        _measure(database, Path(name), options.n, options.seconds)


def _measure(database: object, directory: Path, n: int, seconds: int) -> None:
    from tests.support import workers
    from tests.support.databases import Database
    from tests.support.rated import tasks

    assert isinstance(database, Database)
    notes = directory / "notes"
    notes.touch()
    with workers.on(database, directory) as processes:
        workers.start_worker(processes, "-c", "2", environment=_ENVIRONMENT)
        tasks.free.delay(str(notes), 0).get(timeout=60)
        tasks.fifty.delay_many([(str(notes), number) for number in range(n)])
        first = _latency(notes, 1)
        time.sleep(3)
        later = [_latency(notes, number) for number in range(2, 42)]
        print(
            f"{database.vendor}: a task without a limit behind {n:,} with one starts after {first * 1000:.0f} ms, "
            f"and once these are parked after {median(later) * 1000:.1f} ms (at most {max(later) * 1000:.0f} ms)",
            flush=True,
        )
    with workers.on(database, directory) as processes:
        for name in ("first@%h", "second@%h"):
            workers.start_worker(processes, "-c", "2", "-n", name, environment=_ENVIRONMENT)
        tasks.together.delay_many([(str(notes), number) for number in range(RATE * (seconds + 10))])
        time.sleep(2)
        begin = time.time()
        time.sleep(seconds)
        count = sum(begin <= when < begin + seconds for when in _starts(notes, "together"))
        rate = count / seconds
        print(
            f"{database.vendor}: two workers together: {rate:.1f} starts a second, {rate / RATE - 1:+.1%}", flush=True
        )


def _latency(notes: Path, number: int) -> float:
    from tests.support.rated import tasks

    sent = time.time()
    tasks.free.delay(str(notes), number)
    while True:
        for line in notes.read_text().splitlines():
            task, found, when = line.split()
            if (task, found) == ("free", str(number)):
                return float(when) - sent
        time.sleep(0.005)


def _starts(notes: Path, name: str) -> list[float]:
    return [float(line.split()[2]) for line in notes.read_text().splitlines() if line.startswith(f"{name} ")]


if __name__ == "__main__":
    main()
