"""Where the memory of an idle worker lies, and what its start costs: of this tree, and of others beside it.

    python -m tests.benchmarks.footprint [NAME=FOLDER ...] [--database sqlite|postgresql] [--rounds 5]

A folder is another working tree of this repository, such as that of an earlier commit. All trees take turns in each
round, so that a busy machine slows all of them: compare times within one run only. The memory (PSS) is that of the tree
of processes with two children after its first task, by process and by kind of mapping; it hardly depends on the load.
"Copied" is what a process has for itself alone: for the main process mostly memory that it shared until it wrote to it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from .processes import cpu_nanoseconds, smaps, tree
from .project import HERE, REPOSITORY, new_database, stopped, wait_for

_MANAGE = str(HERE / "adapter" / "manage.py")
_SEND = "import django, sys; django.setup(); from taskq_bench.plain.tasks import mark; mark.delay(sys.argv[1])"
_PROCESSES = ("main", "fork server", "child 1", "child 2")
#: Seconds after the first task in which the worker comes to rest.
_REST = 1.5
Figures = dict[str, float]


class Tree:
    """A working tree with a database of its own."""

    def __init__(self, folder: Path, url: str, marks: Path) -> None:
        self._mark = marks / "mark"
        # The project is this tree's: taskq alone is the other's.
        paths = [str(HERE / "adapter"), str(folder)]
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "DATABASE_URL": url,
            "DJANGO_SETTINGS_MODULE": "taskq_bench.settings",
        }
        # Processes without cached bytecode would be measured as they compile.
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._run(_MANAGE, "migrate", "-v0")

    def measure(self) -> Figures:
        """Start a worker that finds a task waiting; return its figures."""
        self._mark.unlink(missing_ok=True)
        self._run("-c", _SEND, str(self._mark))
        began = time.time()
        argv = [sys.executable, _MANAGE, "taskworker", "-c", "2", "-l", "error"]
        popen = subprocess.Popen(argv, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        with stopped(popen):
            wait_for(self._mark.exists, interval=0.002)
            cpu = sum(map(cpu_nanoseconds, tree(popen.pid))) / 1e9
            time.sleep(_REST)
            found = {"first task after, s": float(self._mark.read_text()) - began, "processor time until then, s": cpu}
            return found | _memory(popen.pid)

    def _run(self, *arguments: str) -> None:
        subprocess.run([sys.executable, *arguments], env=self._environment, check=True, stdin=subprocess.DEVNULL)


def _memory(root: int) -> Figures:
    found: Figures = defaultdict(float)
    for name, pid in zip(_PROCESSES, tree(root), strict=True):
        for kind, pss, private in smaps(pid):
            found["PSS, MiB"] += pss
            found[f"PSS of {name}, MiB"] += pss
            found[f"PSS in {kind}, MiB"] += pss
            found[f"copied by {name} in {kind}, MiB"] += private
    return found


@contextmanager
def _trees(named: list[str], vendor: str) -> Iterator[dict[str, Tree]]:
    folders = {"this": str(REPOSITORY)} | dict(each.split("=", 1) for each in named)
    with ExitStack() as stack:
        marks = {name: Path(stack.enter_context(tempfile.TemporaryDirectory())) for name in folders}
        yield {
            name: Tree(Path(folder), stack.enter_context(new_database(vendor, name)), marks[name])
            for name, folder in folders.items()
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="*", metavar="NAME=FOLDER")
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="sqlite")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with _trees(options.trees, options.database) as trees:
        for each in trees.values():
            each.measure()  # caches the bytecode
        rounds = [{name: each.measure() for name, each in trees.items()} for _ in range(options.rounds)]
    print(f"{'':40}" + "".join(f"{name:>12}" for name in trees))
    for figure in rounds[0]["this"]:
        medians = [median(each[name].get(figure, 0.0) for each in rounds) for name in trees]
        if max(medians) >= 0.1:
            print(f"{figure:40}" + "".join(f"{value:12.3f}" for value in medians))


if __name__ == "__main__":
    main()
