"""A terminal for tests: a program runs on a pty, and its screen is read as a terminal shows it (pyte)."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Sequence
from contextlib import suppress

from . import services
from .waiting import wait_until

_SIZE = frozenset({"LINES", "COLUMNS"})


def _as_in_a_terminal() -> None:
    """Have Ctrl-C and a change of the size be signals to the program, also if the tests run in the background."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """Runs a command in a terminal of ``columns`` by ``lines``."""

    def __init__(
        self, command: Sequence[str], environment: dict[str, str], *, columns: int = 80, lines: int = 24
    ) -> None:
        pyte = services.module_or_skip("pyte")
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self._master, slave = pty.openpty()
        self._set_size(columns, lines)
        self._popen = subprocess.Popen(
            command,
            # Processes of pytest-xdist have a fixed size in their environment.
            env={name: value for name, value in environment.items() if name not in _SIZE} | {"TERM": "xterm"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=_as_in_a_terminal,
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        # The read fails once the program has ended.
        with suppress(OSError):
            while data := os.read(self._master, 65536):
                with self._lock:
                    self._stream.feed(data)

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    @property
    def lines(self) -> list[str]:
        """The lines of the screen."""
        with self._lock:
            return [line.rstrip() for line in self._screen.display]

    @property
    def picked(self) -> str:
        """The first line below the head that is in reverse."""
        with self._lock:
            buffer = self._screen.buffer
            found = [y for y in range(1, self._screen.lines) if buffer[y][0].reverse]
            return self._screen.display[found[0]].rstrip() if found else ""

    def shows(self, text: str, timeout: float = 60.0) -> None:
        """Wait until a line has ``text``."""
        try:
            wait_until(lambda: any(text in line for line in self.lines), timeout)
        except AssertionError:
            raise AssertionError(f"{text!r} is not on the screen:\n" + "\n".join(self.lines)) from None

    def press(self, keys: str) -> None:
        """Send keys."""
        os.write(self._master, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Change the size."""
        with self._lock:
            self._screen.resize(lines, columns)
        self._set_size(columns, lines)

    def wait(self, timeout: float = 60.0) -> int:
        """Return the exit status once the program has ended."""
        return self._popen.wait(timeout)

    def close(self) -> None:
        """End the program, if it runs."""
        if self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait()
        self._reader.join(5)
        os.close(self._master)
