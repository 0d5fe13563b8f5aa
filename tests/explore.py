"""``make explore``: what throws dice, with new seeds, again and again, as long as asked.

The tests are those with the marks ``chance`` and ``hypothesis``: properties, random canvases, storms.
Each file of them is a run of pytest with a seed of its own, in ``TASKQ_TEST_SEED``, so that its tests meet
the same again when one of them is repeated. The first failure ends it, with the command that repeats it.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import SystemRandom

from tests.support.seeds import VARIABLE

ROOT = Path(__file__).resolve().parent.parent
PYTEST = ["-m", "pytest", "-n", "0"]
CHANCE = ["-m", "(chance or hypothesis) and not slow and not benchmark"]

# Not of the module ``random``'s own, which anyone may have seeded.
luck = SystemRandom()


def main() -> int:
    """Explore until the time is up (0) or a test fails (1)."""
    parser = argparse.ArgumentParser(prog="python -m tests.explore", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="begin no further run after that long; 5")
    end = time.monotonic() + 60 * parser.parse_args().minutes
    runs = 0
    for path in _in_turn(_files()):
        seed = luck.randrange(10**6)
        print(f"\n== {VARIABLE}={seed} {path}", flush=True)
        status, failed = _run(path, seed)
        if status:
            print(f"\nThis repeats it:\n\n    {repeating(failed or path, seed)}\n")
            return 1
        runs += 1
        if time.monotonic() > end:
            break
    print(f"\n{runs} runs, each with a seed of its own: nothing found")
    return 0


def repeating(test: str, seed: int) -> str:
    """Return the shell command that runs a test, or a file of them, with a seed."""
    full = "TASKQ_TEST_FULL=1 " if os.environ.get("TASKQ_TEST_FULL") == "1" else ""
    return f"{full}{VARIABLE}={seed} " + shlex.join([os.path.relpath(sys.executable, ROOT), *PYTEST, test])


def _files() -> list[str]:
    """Return the files with tests that throw dice."""
    command = [sys.executable, *PYTEST, *CHANCE, "--collect-only", "-q"]
    listed = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE)
    if listed.returncode:
        sys.exit(listed.stdout)
    return list(dict.fromkeys(line.partition("::")[0] for line in listed.stdout.splitlines() if "::" in line))


def _in_turn(files: list[str]) -> Iterator[str]:
    """Return all files again and again, each time in another order: a short exploration, too, may come to any."""
    for _ in count():
        luck.shuffle(files)
        yield from files


def _run(path: str, seed: int) -> tuple[int, str]:
    """Run a file's tests up to the first that fails, and return pytest's status and the name of that test."""
    failed = ""
    with subprocess.Popen(
        [sys.executable, *PYTEST, *CHANCE, "-x", "-q", "--color=no", path],
        cwd=ROOT,
        env={**os.environ, VARIABLE: str(seed)},
        text=True,
        errors="replace",
        stdout=subprocess.PIPE,
    ) as run:
        for line in run.stdout or ():
            print(line, end="", flush=True)
            if line.startswith((f"FAILED {path}::", f"ERROR {path}::")):
                failed = line.partition(" ")[2].partition(" - ")[0].strip()
    return run.returncode, failed


if __name__ == "__main__":
    sys.exit(main())
