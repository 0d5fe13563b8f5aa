"""In the background: leaving the terminal, the pid file, another user.

Called by the command before there is any thread, connection or child.
"""

from __future__ import annotations

import grp
import os
import pwd
import sys
from contextlib import suppress
from pathlib import Path

from taskq.processes import process_started


class PidFileError(Exception):
    """Another worker has the pid file."""


def detach(workdir: str | None = None, umask: int | None = None) -> None:
    """Go on in the background: a session of its own, no terminal. The caller's process ends with status 0."""
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir(workdir or os.getcwd())
    if umask is not None:
        os.umask(umask)
    null = os.open(os.devnull, os.O_RDWR)
    sys.stdout.flush()
    sys.stderr.flush()
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


def become(uid: str | None, gid: str | None) -> None:
    """Change to another user and group, by name or number.

    Raises ``KeyError`` for an unknown name and ``OSError`` where that is not allowed.
    """
    if gid is not None:
        number = int(gid) if gid.isdigit() else grp.getgrnam(gid).gr_gid
        os.setgid(number)
        os.setgroups([number])
    if uid is not None:
        user = pwd.getpwuid(int(uid)) if uid.isdigit() else pwd.getpwnam(uid)
        if gid is None:
            os.setgid(user.pw_gid)
            os.initgroups(user.pw_name, user.pw_gid)
        os.setuid(user.pw_uid)


class PidFile:
    """A file with the worker's pid; one of a process that is gone is stale and replaced."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def acquire(self) -> None:
        """Write the file. Raises ``PidFileError`` if a living process has it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(2):
            try:
                descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            except FileExistsError:
                self._remove_stale()
                continue
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{os.getpid()}\n")
            return
        raise PidFileError(f"{self.path} can't be written: another worker starts at the same time.")

    def _remove_stale(self) -> None:
        pid = self.read()
        if pid is not None and pid != os.getpid() and process_started(pid) is not None:
            raise PidFileError(f"{self.path} says that a worker runs already, as process {pid}.")
        with suppress(FileNotFoundError):
            self.path.unlink()

    def read(self) -> int | None:
        """Return the pid in the file, if there is one."""
        try:
            return int(self.path.read_text().strip())
        except (OSError, ValueError):
            return None

    def release(self) -> None:
        """Remove the file if it is this process's."""
        if self.read() == os.getpid():
            with suppress(FileNotFoundError):
                self.path.unlink()
