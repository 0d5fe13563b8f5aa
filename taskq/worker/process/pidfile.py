"""The pid file, which one worker at a time has.

Used by the command before and after the worker runs, and by ``taskmulti``, which looks for the worker's process. It
never deletes a file that a worker has not written.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from pathlib import Path

from taskq.files import directory_of
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
        with directory_of(str(self.path), create=True) as (directory, _):
            if self._pid(directory) == os.getpid():
                # The file may be older: of an earlier process with the same pid. Others would call it stale.
                with suppress(PermissionError):
                    os.utime(self.path.name, dir_fd=directory, follow_symlinks=False)
                return
            for _ in range(2):
                try:
                    descriptor = os.open(self.path.name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=directory)
                except FileExistsError:
                    self._remove_stale(directory)
                    continue
                with os.fdopen(descriptor, "w") as file:
                    file.write(f"{os.getpid()}\n")
                return
        raise self._contested()

    def release(self, pid: int | None = None) -> None:
        """Remove the file if its pid is ``pid``, by default this process's."""
        # The worker's user may not be allowed to remove it. Then it stays behind as a stale file.
        with (
            suppress(FileNotFoundError, NotADirectoryError, PermissionError),
            directory_of(str(self.path)) as (directory, _),
        ):
            if self._pid(directory) == (pid or os.getpid()):
                os.unlink(self.path.name, dir_fd=directory)

    def look(self) -> tuple[int, bool] | None:
        """Return the pid in the file, and whether the process that wrote it lives; ``None`` if there is no pid.

        Raises ``PidFileError`` if the content is not a pid, and ``OSError`` if the file can't be read.
        """
        try:
            with directory_of(str(self.path)) as (directory, _):
                content, age = self._read(directory)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not content:
            return None
        pid = _number(content)
        if pid is None:
            raise self._no_pid_file()
        return pid, _wrote(pid, age)

    def _remove_stale(self, directory: int) -> None:
        with suppress(FileNotFoundError):
            content, age = self._read(directory)
            if content:
                self._refuse_living(content, age)
            elif age < _BEING_WRITTEN:
                raise self._contested()
            else:
                log_lines.pidfile_empty(self.path)
            os.unlink(self.path.name, dir_fd=directory)

    def _refuse_living(self, content: bytes, written: float) -> None:
        pid = _number(content)
        if pid is None:
            raise self._no_pid_file()
        if _wrote(pid, written):
            raise PidFileError(f"{self.path} says that a worker runs already, as process {pid}.")

    def _no_pid_file(self) -> PidFileError:
        return PidFileError(f"{self.path} is no pid file: remove it, or change --pidfile.")

    def _contested(self) -> PidFileError:
        return PidFileError(f"{self.path} can't be written: another worker starts at the same time.")

    def _pid(self, directory: int) -> int | None:
        try:
            return _number(self._read(directory)[0])
        except (OSError, PidFileError):
            return None

    def _read(self, directory: int) -> tuple[bytes, float]:
        """Return the content, and how many seconds ago it was written."""
        # The name may be that of any file, of any size.
        try:
            descriptor = os.open(self.path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise self._no_pid_file() from error
            raise
        with os.fdopen(descriptor, "rb") as file:
            content = file.read(_LONGEST + 1)
            age = time.time() - os.fstat(descriptor).st_mtime
        return content if len(content) > _LONGEST else content.strip(), age


def _number(content: bytes) -> int | None:
    return int(content) if content.isdigit() and len(content) <= _LONGEST else None


def _wrote(pid: int, written: float) -> bool:
    """Tell whether the process lives that wrote its pid ``written`` seconds ago."""
    age = seconds_alive(pid)
    # A process that started after the file was written is not the one that wrote it. If its start can't be read, it
    # counts as the one that wrote it.
    return not is_gone(pid) if age is None else age > written - _TOLERANCE
