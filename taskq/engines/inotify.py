"""inotify of Linux: a descriptor that is readable when a file was written. Used by SQLite's listener."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable
from contextlib import suppress

_MODIFY = 0x00000002  # <sys/inotify.h>: IN_MODIFY
_READ_SIZE = 65536


class Watch:
    """Watches files for writes by any process of this host. Raises ``OSError`` where that is not possible."""

    def __init__(self, paths: Iterable[str]) -> None:
        if not sys.platform.startswith("linux"):
            raise OSError("only Linux has inotify")
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        try:
            for path in paths:
                self._checked(self._libc.inotify_add_watch(self._fd, os.fsencode(path), _MODIFY))
        except OSError:
            self.close()
            raise

    def _checked(self, result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result

    def fileno(self) -> int:
        """Return the descriptor that is readable when a file was written."""
        return self._fd

    def take(self) -> bool:
        """Discard the events so far; tell whether there were any."""
        with suppress(BlockingIOError):
            return bool(os.read(self._fd, _READ_SIZE))
        return False

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)
