"""The pid file, which one worker at a time has.

Used by the command before and after the worker runs. It never deletes a file that a worker has not written.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from taskq.processes import is_gone, seconds_alive
from taskq.worker import log_lines

#: Seconds that a file may be empty, between its creation and its first write.
_BEING_WRITTEN = 5.0
#: Seconds by which a process may seem to have started after it wrote its file: clocks are read in ticks.
_TOLERANCE = 1.0
#: The most bytes of a pid, with spaces around it.
_LONGEST = 20


class PidFileError(Exception):
    """The file is another worker's, or is not a pid file."""


class PidFile:
    """A file with the worker's pid. A file whose process has ended is stale, and is replaced."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def acquire(self) -> None:
        """Write the file. Raises ``PidFileError`` if a living process has it, or if its content is not a pid.

        A worker that HUP has started again has the file already, and may run as a user that is not allowed to write it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self._pid() == os.getpid():
            # The file may be older: of an earlier process with the same pid. Then other workers would call it stale.
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
        """Remove the file if its pid is this process's."""
        if self._pid() == os.getpid():
            # The worker's user may not be allowed to remove it. Then it stays behind as a stale file.
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
                log_lines.pidfile_empty(self.path)
            self.path.unlink()

    def _refuse_living(self, content: bytes) -> None:
        pid = _number(content)
        if pid is None:
            raise PidFileError(f"{self.path} is no pid file: remove it, or change --pidfile.")
        age = seconds_alive(pid)
        # A process that started after the file was written is not the one that wrote it. If its start can't be
        # read, it counts as the one that wrote it.
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
        # The path may name any file, of any size.
        with self.path.open("rb") as file:
            content = file.read(_LONGEST + 1)
        return content if len(content) > _LONGEST else content.strip()

    def _age(self) -> float:
        return time.time() - self.path.stat().st_mtime


def _number(content: bytes) -> int | None:
    return int(content) if content.isdigit() and len(content) <= _LONGEST else None
