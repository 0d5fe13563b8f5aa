"""In the background: leaving the terminal, another user.

Called by the command before there is any thread, connection or child.
"""

from __future__ import annotations

import grp
import os
import pwd
import sys
from dataclasses import dataclass


def detach() -> None:
    """Go on in the background: a session of its own, no terminal. The caller's process ends with status 0."""
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    sys.stdout.flush()
    sys.stderr.flush()
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


@dataclass(frozen=True, slots=True)
class User:
    """Whom the worker is to become; nobody else where nothing is given."""

    uid: int | None
    gid: int | None
    groups: tuple[int, ...] = ()

    @classmethod
    def find(cls, user: str | None, group: str | None) -> User:
        """Look up a user and a group, by name or number. Raises ``ValueError`` for what is not there."""
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
        """Change to this user and group. Raises ``OSError`` where that is not allowed."""
        if self.gid is not None and (self.gid != os.getegid() or os.geteuid() == 0):
            os.setgid(self.gid)
            os.setgroups(self.groups)
        if self.uid is not None and self.uid != os.geteuid():
            os.setuid(self.uid)

    def touch(self, path: str) -> None:
        """Make sure that a file is there and can be written; a new one is this user's."""
        new = not os.path.exists(path)
        with open(path, "a"):
            pass
        if new and (self.uid, self.gid) != (None, None):
            os.chown(path, -1 if self.uid is None else self.uid, -1 if self.gid is None else self.gid)


def _group(text: str) -> int:
    try:
        return int(text) if text.isdecimal() else grp.getgrnam(text).gr_gid
    except KeyError:
        raise ValueError(f"--gid: there is no group {text!r}.") from None
