"""The pid file: one worker a file, known by the pid in it.

Used by the command before and after the worker runs. It deletes nothing but what a
worker has written.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from pathlib import Path

from taskq.processes import is_gone, seconds_alive

logger = logging.getLogger("taskq.worker")
#: Seconds that a file may be empty, between its making and its writing.
_BEING_WRITTEN = 5.0
#: Seconds by which a process may seem to have begun after it wrote its file: clocks are read in ticks.
_TOLERANCE = 1.0
#: Bytes that a pid takes at most, with spaces around it.
_LONGEST = 20


class PidFileError(Exception):
    """The pid file is another worker's, or no pid file."""


class PidFile:
    """A file with the worker's pid; one of a process that is gone is stale and replaced."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def acquire(self) -> None:
        """Write the file. Raises ``PidFileError`` if a living process has it, or if something else is in it.

        A worker that HUP has started again has it already, and may be a user by now who is
        not allowed to write it a second time.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self._pid() == os.getpid():
            # Or one with this pid had it before: then the file is as old as that one, and would pass for stale.
            with suppress(PermissionError):
                os.utime(self.path)
            return
        for _ in range(2):
            try:
                descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            except FileExistsError:
                self._remove_stale()
                continue
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{os.getpid()}\n")
            return
        raise self._contested()

    def release(self) -> None:
        """Remove the file if it is this process's."""
        if self._pid() == os.getpid():
            # Another user than the one who wrote it may not be allowed to; then it is stale, and replaced.
            with suppress(FileNotFoundError, PermissionError):
                self.path.unlink()

    def _remove_stale(self) -> None:
        with suppress(FileNotFoundError):
            content = self._content()
            if content:
                self._refuse_living(content)
            elif self._age() < _BEING_WRITTEN:
                raise self._contested()
            else:
                logger.warning("Broken pid file %s: it is empty, and replaced.", self.path)
            self.path.unlink()

    def _refuse_living(self, content: bytes) -> None:
        pid = _number(content)
        if pid is None:
            raise PidFileError(f"{self.path} is no pid file: remove it, or change --pidfile.")
        age = seconds_alive(pid)
        # A process that began after the file was written has the pid of one that is gone. Of one that can't be
        # looked at nobody knows.
        if (age is None and not is_gone(pid)) or (age is not None and age > self._age() - _TOLERANCE):
            raise PidFileError(f"{self.path} says that a worker runs already, as process {pid}.")

    def _contested(self) -> PidFileError:
        return PidFileError(f"{self.path} can't be written: another worker starts at the same time.")

    def _pid(self) -> int | None:
        try:
            return _number(self._content())
        except OSError:
            return None

    def _content(self) -> bytes:
        # It may be any file, of any size.
        with self.path.open("rb") as file:
            content = file.read(_LONGEST + 1)
        return content if len(content) > _LONGEST else content.strip()

    def _age(self) -> float:
        return time.time() - self.path.stat().st_mtime


def _number(content: bytes) -> int | None:
    return int(content) if content.isdigit() and len(content) <= _LONGEST else None
