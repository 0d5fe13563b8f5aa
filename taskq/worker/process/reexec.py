"""Starting the command again: its command line, and what the new process has to know of the old one.

``--reload``, HUP and ``--executable`` run the command line as it was given, word for
word. What must not be done a second time is said by marks in a variable of the
environment, as Django's ``RUN_MAIN`` does it; the command takes them out, so that no
program that a task starts inherits them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import NoReturn

VARIABLE = "TASKQ_STARTED_AS"
#: The worker of a supervisor that ``--reload`` has made.
RELOADED = "reloaded"
#: In the background already.
DETACHED = "detached"
#: Started again by HUP.
RESTARTED = "restarted"
#: Run by the Python that ``--executable`` names.
EXECUTED = "executed"


def take_marks() -> frozenset[str]:
    """Return the marks of this process, and remove them from the environment."""
    return frozenset(os.environ.pop(VARIABLE, "").split())


def environment(marks: Iterable[str]) -> dict[str, str]:
    """Return the environment for a process with these marks."""
    return {**os.environ, VARIABLE: " ".join(sorted(marks))}


def command_line(executable: str | None = None) -> list[str]:
    """Return the command line of this process: with Python's own options, and by ``-m`` if it was started so."""
    return [executable or sys.executable, *sys.orig_argv[1:]]


def reexec(marks: Iterable[str], executable: str | None = None) -> NoReturn:
    """Replace this process by a new one with the same command line. Raises ``OSError`` if that can't be run."""
    line = command_line(executable)
    os.execve(line[0], line, environment(marks))
