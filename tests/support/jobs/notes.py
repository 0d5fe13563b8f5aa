"""How tasks tell a test what they do: lines in a file, and files that they wait for."""

from __future__ import annotations

import os
import time


def note_line(path: str, what: object) -> None:
    """Append one line; a single write of a short line is atomic."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(fd, f"{what} {time.time():.6f} {os.getpid()}\n".encode())
    finally:
        os.close(fd)


def wait_for(path: str) -> None:
    """Wait until a file is there."""
    while not os.path.exists(path):
        time.sleep(0.01)
