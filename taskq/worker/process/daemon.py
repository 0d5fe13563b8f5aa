"""``--detach``, ``--uid`` and ``--gid``: leaving the terminal, and becoming another user.

Called by the command before there is any thread, connection or child.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import select
import sys
from contextlib import suppress
from dataclasses import dataclass

from taskq.files import open_log

#: Seconds that a terminal waits for a worker to be ready: longer only if its database can't be reached.
_LONGEST_START = 30.0


class Background:
    """The detached process, while the process that started it waits in the terminal for the worker to be ready."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def leave_terminal(self) -> None:
        """Close the terminal: from here on errors are in the log alone."""
        redirect_streams(None)
        self._tell()

    def report_ready(self) -> None:
        """Report that the worker takes tasks, which ends the waiting process with status 0."""
        self._tell()
        os.close(self._pipe)

    def _tell(self) -> None:
        with suppress(BrokenPipeError):
            os.write(self._pipe, b"\0")


def detach() -> Background:
    """Go on in the background, in a new session; the calling process waits in the terminal.

    It ends with status 0 when the worker is ready, or is not after 30 seconds. If the new process ends before, its
    error is printed in the terminal, or is in its log, and the status is 1.
    """
    _flush()
    read, write = os.pipe()
    if os.fork():
        os.close(write)
        os._exit(_wait_for_start(read))
    os.close(read)
    os.setsid()
    if os.fork():
        os._exit(0)
    return Background(write)


def _wait_for_start(pipe: int) -> int:
    """Wait for both reports of the background; return the exit status."""
    if not os.read(pipe, 1):
        return 1
    status = 0
    if not select.select([pipe], [], [], _LONGEST_START)[0]:
        sys.stderr.write("The worker runs in the background, but is not ready yet: see its log.\n")
    elif not os.read(pipe, 1):
        sys.stderr.write("The worker ended before it was ready: see its log.\n")
        status = 1
    _flush()
    return status


def redirect_streams(output: int | None) -> None:
    """Redirect standard output and error to a descriptor, or to nowhere (``None``), and input to nothing."""
    _flush()
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    for descriptor in (1, 2):
        os.dup2(null if output is None else output, descriptor)
    os.close(null)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


@dataclass(frozen=True, slots=True)
class User:
    """The user and the groups that the worker changes to; ``None`` is no change."""

    uid: int | None
    gid: int | None
    groups: tuple[int, ...] = ()

    @classmethod
    def find(cls, user: str | None, group: str | None) -> User:
        """Look up a user and a group, by name or number. Raises ``ValueError`` if one does not exist."""
        gid = None if group is None else _group(group)
        if user is None:
            return cls(None, gid, () if gid is None else (gid,))
        try:
            found = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
        except (KeyError, OverflowError):
            raise ValueError(f"--uid: there is no user {user!r}.") from None
        if gid is None:
            return cls(found.pw_uid, found.pw_gid, tuple(os.getgrouplist(found.pw_name, found.pw_gid)))
        return cls(found.pw_uid, gid, (gid,))

    def become(self) -> None:
        """Change to this user and group. Raises ``OSError`` if that is not allowed."""
        if self.gid is not None and (self.gid != os.getegid() or os.geteuid() == 0):
            os.setgid(self.gid)
            os.setgroups(self.groups)
        if self.uid is not None and self.uid != os.geteuid():
            os.setuid(self.uid)

    def prepare_log(self, path: str) -> None:
        """Make sure that this user can write the log file; a new file is this user's.

        Raises ``OSError`` if the user can't write it, or if root must not create it.
        """
        problem = self._try(path)
        if problem in (errno.EACCES, errno.EPERM) and self._create(path):
            problem = self._try(path)
        if problem:
            whose = "" if (self.uid, self.gid) == (None, None) else " for the worker's user"
            raise OSError(problem, f"{os.strerror(problem)}{whose}", path)

    def _try(self, path: str) -> int:
        """Open the file as this user, in a child process; return the number of the error, or 0."""
        pid = os.fork()
        if not pid:
            problem = errno.EPERM
            try:
                problem = self._problem(path)
            finally:
                os._exit(problem)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _problem(self, path: str) -> int:
        try:
            self.become()
            os.close(open_log(path))
        except OSError as error:
            return error.errno or errno.EPERM
        return 0

    def _create(self, path: str) -> bool:
        """Create the file for this user, in a directory of root's; tell whether it is new."""
        try:
            log = open_log(path, os.O_EXCL)
        except FileExistsError:
            return False
        try:
            os.fchown(log, -1 if self.uid is None else self.uid, -1 if self.gid is None else self.gid)
        finally:
            os.close(log)
        return True


def _group(text: str) -> int:
    try:
        return int(text) if text.isdecimal() else grp.getgrnam(text).gr_gid
    except KeyError:
        raise ValueError(f"--gid: there is no group {text!r}.") from None
