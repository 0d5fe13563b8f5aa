"""How long a worker takes to run its first task, and what it weighs when idle.

    python -m tests.benchmarks.start [--project small|testproject] [--database postgresql|sqlite] [--rounds 5]

Each round starts one interpreter that only calls ``django.setup()`` and one worker that
finds a task waiting. Both are timed from the start of the process; the task says itself
when it began. Then the memory (PSS) of the idle tree with two children is read.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from statistics import median

from .processes import pss_mib, tree
from .project import ARGUMENTS, PROJECTS, REPOSITORY, TASK, Worker, prepared, wait_for

_SETUP = "import django; django.setup(); import time; print(time.time())"
#: Seconds after the first task in which the worker comes to rest.
_REST = 1.5


def bare_setup(project: str) -> float:
    """Return the seconds from the start of an interpreter to the end of its ``django.setup()``."""
    started = time.time()
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": PROJECTS[project][1]}
    ended = subprocess.check_output([sys.executable, "-c", _SETUP], cwd=REPOSITORY, env=environment)
    return float(ended) - started


def first_task(project: str) -> tuple[float, float]:
    """Return the seconds from the start of a worker to its first task, and its idle memory in MiB."""
    from taskq.models import TaskRun
    from taskq.sending.send import send_task

    run = TaskRun.objects.filter(task_id=send_task(TASK[project], ARGUMENTS[project], None).id)
    with Worker(project) as worker:
        wait_for(run.filter(finished_at__isnull=False).exists)
        time.sleep(_REST)
        memory = pss_mib(tree(worker.pid))
    return run.get().started_at.timestamp() - worker.started_at, memory


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", choices=sorted(PROJECTS), default="small")
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with prepared(options.database):
        rounds = [(bare_setup(options.project), *first_task(options.project)) for _ in range(options.rounds)]
    setups, firsts, memories = zip(*rounds, strict=True)
    print(f"{options.project} on {options.database}, median of {options.rounds}:")
    print(f"  django.setup()      {median(setups):6.2f} s")
    print(f"  first task running  {median(firsts):6.2f} s")
    print(f"  ratio               {median(f / s for s, f, _ in rounds):6.2f}")
    print(f"  idle tree, PSS      {median(memories):6.1f} MiB")


if __name__ == "__main__":
    main()
