"""The fork server as the main process sees it: a socket to the process of ``forkserver_process``.

The fork server alone forks, signals and reaps children, so a pid is never reused under a signal. It ends when the main
process does, and its children with it. Used by ``fork_servers`` and ``forked_pool`` on the loop's thread.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import deque
from contextlib import suppress

from taskq.worker.process.system import describe_exit

from . import frames
from .hub import Hub


class ForkServer:
    """The main process's end. Nothing here blocks but ``end``."""

    def __init__(self, pid: int, sock: socket.socket) -> None:
        self.pid = pid
        self.gone = False
        #: How many pings in a row had no answer when the next one was due.
        self.silent = 0
        self._sock = sock
        self._sock.setblocking(False)
        self._reader = frames.FrameReader()
        self._unsent: deque[tuple[bytes, list[int]]] = deque()
        self._hub: Hub | None = None

    def attach(self, hub: Hub) -> None:
        """Set the hub that repeats a write for which the socket had no room."""
        self._hub = hub

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is a frame of the server, or its end."""
        return self._sock.fileno()

    def spawn(self, child: int, options: frames.ChildOptions, fds: tuple[int, int]) -> None:
        """Request a child that gets copies of ``fds``. ``child`` is the number by which the server will know it.

        Raises ``OSError`` if this process has too many descriptors.
        """
        first = os.dup(fds[0])
        try:
            copies = [first, os.dup(fds[1])]
        except OSError:
            os.close(first)
            raise
        self._send(frames.encode(frames.SPAWN, (child, *options)), copies)

    def signal(self, child: int, number: int) -> None:
        """Request a signal to the child with this number, if it was not reaped yet."""
        self._send(frames.encode(frames.SIGNAL, (child, int(number))), [])

    def ask_for_stack(self, child: int, job: int) -> None:
        """Have a child answer where the task of a job is."""
        self._send(frames.encode(frames.STACK_OF, (child, job)), [])

    def ping(self) -> None:
        """Ask for a sign of life. Counted in pings, not seconds: when this process was frozen, its clock went on."""
        self.silent += 1
        if self.silent == 1:
            self._send(frames.encode(frames.PING, None), [])

    def kill(self) -> None:
        """Kill the server, and with it all children."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def receive(self) -> list[frames.Frame]:
        """Return the frames that have arrived; set ``gone`` when the server has ended."""
        received: list[frames.Frame] = []
        while not self.gone:
            try:
                data = self._sock.recv(65536)
            except BlockingIOError:
                break
            except ConnectionError:
                data = b""
            self.gone = not data
            for frame in self._reader.feed(data):
                # Whatever it says, it lives.
                self.silent = 0
                if frame[0] != frames.PONG:
                    received.append(frame)
        return received

    def end(self, timeout: float = 2.0) -> str:
        """End the server, and with it all children; return in words how it ended.

        The server ends by itself when the socket is closed. A server that is frozen is killed after
        ``timeout`` seconds, and its children die with it.
        """
        self._sock.close()
        for _, fds in self._unsent:
            _close(fds)
        self._unsent.clear()
        deadline = time.monotonic() + timeout
        while (status := _reap(self.pid)) is None:
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.002)
        return describe_exit(status)

    def _send(self, frame: bytes, fds: list[int]) -> None:
        self._unsent.append((frame, fds))
        self._flush()

    def _flush(self) -> None:
        while self._unsent:
            frame, fds = self._unsent[0]
            try:
                # A frame is far smaller than the socket's buffer, which takes it whole or not at all.
                socket.send_fds(self._sock, [frame], fds)
            except BlockingIOError:
                if self._hub is not None:
                    self._hub.call_later(0.05, self._flush)
                return
            except OSError:
                self.gone = True
            self._unsent.popleft()
            _close(fds)


def _reap(pid: int) -> int | None:
    with suppress(ChildProcessError):
        reaped, status = os.waitpid(pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if reaped else None
    return 0


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
