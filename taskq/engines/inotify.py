"""Linux tells when a file is written: a watch that is a descriptor, for SQLite's listener."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable
from contextlib import suppress

_MODIFY = 0x00000002  # <sys/inotify.h>: IN_MODIFY
_READ_SIZE = 65536


class Watch:
    """Readable when one of ``paths`` was written by anybody on this host; ``OSError`` where that is not to be had."""

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
        """Forget what has come so far; tell whether there was anything."""
        with suppress(BlockingIOError):
            return bool(os.read(self._fd, _READ_SIZE))
        return False

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)
