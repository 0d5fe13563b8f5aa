"""Starts a fresh Python for a pool: one that imports the project anew, whatever this process has imported.

``Interpreter`` is what such a Python is told, so that it has the settings, the paths and the log of this process. It
begins with ``boot``, and goes on in ``fresh``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

#: The script that a fresh Python runs. It is not imported here: it goes on to modules that reach the database.
_BOOT = Path(__file__).with_name("boot.py")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """How a fresh Python is to be.

    ``settings`` is the module of Django's settings, ``broker`` the broker's URL. ``loglevel``, ``logfile`` (a template)
    and ``color`` are those of the worker's log, ``own_files`` says that each process has a log file; ``node`` is the
    worker's name. With ``many``, a fork server expects to fork all the time.
    """

    settings: str
    broker: str
    node: str
    loglevel: str | None = None
    logfile: str | None = None
    own_files: bool = False
    color: bool = False
    many: bool = False
    #: For tests: ``module:function`` that a child calls for each delivery.
    run: str = ""

    def command_line(self, brief: int) -> list[str]:
        """Return the command line of a fresh Python that reads its brief from a descriptor."""
        # Python's own options, such as -W and -X, count for all processes of a worker.
        options = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        # -P: the folder of the script is none to import from.
        return [sys.executable, *options, "-P", str(_BOOT), str(brief)]

    def brief(self, **role: Any) -> int:
        """Write what a fresh Python is told, and return the descriptor from which it reads that.

        Not in the command line, nor in the environment, which programs of tasks would inherit: the broker's URL may
        have a password.
        """
        told = {**asdict(self), **role, "path": sys.path, "argv": sys.argv}
        with tempfile.TemporaryFile() as file:
            file.write(json.dumps(told).encode())
            file.seek(0)
            fd = os.dup(file.fileno())
        os.set_inheritable(fd, True)
        return fd

    def replace_process(self, fds: Sequence[int], **role: Any) -> NoReturn:
        """Become a fresh Python that keeps ``fds``. Raises ``OSError``."""
        line = self.command_line(self.brief(**role))
        for fd in fds:
            os.set_inheritable(fd, True)
        os.execv(line[0], line)

    def spawn(self, fds: Sequence[int], **role: Any) -> int:
        """Start a fresh Python that has copies of ``fds`` under the same numbers; return its pid.

        Raises ``OSError`` if there is none.
        """
        brief = self.brief(**role)
        for fd in fds:
            os.set_inheritable(fd, True)
        try:
            return os.posix_spawn(sys.executable, self.command_line(brief), os.environ)
        finally:
            os.close(brief)
            for fd in fds:
                os.set_inheritable(fd, False)
