"""Starts the command again, with the same command line, and marks for the new process.

``--reload``, HUP and ``--executable`` run the command line as it was given, word for word. Marks in an environment
variable say which steps are done already, as Django's ``RUN_MAIN`` does. The command removes the variable, so that no
program that a task starts inherits it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import NoReturn

VARIABLE = "TASKQ_STARTED_AS"
#: A worker below the supervisor of ``--reload``.
RELOADED = "reloaded"
#: In the background already, by ``--detach``.
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
    """Return the command line of this process, with Python's own options, and with ``-m`` if it was started so."""
    return [executable or sys.executable, *sys.orig_argv[1:]]


def reexec(marks: Iterable[str], executable: str | None = None) -> NoReturn:
    """Replace this process by a new one with the same command line. Raises ``OSError`` if it can't be run."""
    line = command_line(executable)
    os.execve(line[0], line, environment(marks))
