"""Opens the files that a worker writes: its log and its pid file.

While the worker is root, another user may own a directory on the way, and put a link there: root would write to the
file that the link names. So root follows a link only if nobody but root could have made it. Other users open files as
usual, with no more than their own rights.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: The mode of a new log file: not for everybody, since log lines hold arguments and errors.
LOG_MODE = 0o640
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
# A directory that is only passed need not be readable.
_DIRECTORY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
#: How many links a path may have, as in Linux.
_MOST_LINKS = 40


def open_log(path: str, flags: int = 0) -> int:
    """Return a descriptor that appends to a log file, which is created if it is missing.

    Can be the ``opener`` of ``open``: ``flags`` is ignored, but for ``O_EXCL``. Raises ``OSError``.
    """
    with directory_of(path) as (directory, no_links):
        return os.open(
            os.path.basename(path), _APPEND | no_links | (flags & os.O_EXCL), LOG_MODE, dir_fd=directory
        )  # fmt: skip


@contextmanager
def directory_of(path: str, *, create: bool = False) -> Iterator[tuple[int, int]]:
    """Open the directory of a file for ``dir_fd``; with ``create``, missing directories are made.

    Yields the descriptor, and the flag with which the file has to be opened: ``O_NOFOLLOW`` if it must be no link.
    Errors are of the type ``OSError``, those of the block too, and name ``path``.
    """
    opened = _walk if os.geteuid() == 0 else _open_plainly
    try:
        directory, no_links = opened(os.path.dirname(os.path.join(os.getcwd(), path)), create)
        try:
            yield directory, no_links
        finally:
            os.close(directory)
    except OSError as error:
        text = error.strerror or str(error)
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            text += " (root follows no link that another user could have made)"
        raise OSError(error.errno, text, path) from error


def _open_plainly(path: str, create: bool) -> tuple[int, int]:
    if create:
        os.makedirs(path, exist_ok=True)
    return os.open(path, _DIRECTORY), 0


def _walk(path: str, create: bool) -> tuple[int, int]:
    """Open a directory, one step after the other, so that nobody can put a link in the place of one."""
    rest = _names(path)
    here, links, others = os.open("/", _DIRECTORY), 0, False
    try:
        while True:
            safe, sticky = _writers(here)
            no_links = 0 if safe and not others else os.O_NOFOLLOW
            if not rest:
                return os.dup(here), no_links
            # Below a directory of others all is theirs. In a sticky one, as /tmp, root's directories stay root's.
            others = others or not (safe or sticky)
            name = rest.pop()
            if not no_links and links < _MOST_LINKS and (target := _link(name, here)) is not None:
                links += 1
                rest += _names(target)
                name = "/" if target.startswith("/") else "."
            elif create:
                with suppress(FileExistsError):
                    os.mkdir(name, 0o755, dir_fd=here)
            here, before = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=here), here
            os.close(before)
    finally:
        os.close(here)


def _names(path: str) -> list[str]:
    """Return the names in a path, the last one first."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]


def _writers(directory: int) -> tuple[bool, bool]:
    """Tell whether only root can change what is in a directory; and whether others can't change what is root's."""
    found = os.fstat(directory)
    shared = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return found.st_uid == 0 and not shared, found.st_uid == 0 and bool(found.st_mode & stat.S_ISVTX)


def _link(name: str, directory: int) -> str | None:
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError:
        return None
