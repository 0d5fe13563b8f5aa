"""Launches the fork server, and is the main process's end of it.

The command calls ``launch`` after ``django.setup()`` and the import of all
tasks, before it makes any thread, connection or Hub. The server alone forks,
signals and reaps children, so a pid is never reused under a signal. It ends when
the main process does, and its children with it.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import socket
import threading
import time
from collections import deque
from contextlib import suppress

from taskq.worker.process.system import describe_exit, flush_streams

from . import frames
from .base import RunFn
from .loop import Loop

logger = logging.getLogger("taskq.worker")


class ForkServer:
    """The main process's end of the fork server. Nothing here blocks but ``wait`` and ``end``."""

    def __init__(self, pid: int, sock: socket.socket) -> None:
        self.pid = pid
        self.gone = False
        self._sock = sock
        self._sock.setblocking(False)
        self._reader = frames.FrameReader()
        self._unsent: deque[tuple[bytes, list[int]]] = deque()
        self._hub: Loop | None = None

    def attach(self, hub: Loop) -> None:
        """Tell which loop sends again what could not be sent at once."""
        self._hub = hub

    def fileno(self) -> int:
        """Return the descriptor that is readable when the server says something."""
        return self._sock.fileno()

    def spawn(self, slot: int, title: str, max_memory: int, fds: tuple[int, int]) -> None:
        """Ask for a child that gets copies of ``fds``, and begins nothing once it has ``max_memory`` KiB, if not 0."""
        copies = [os.dup(fd) for fd in fds]
        self._send(frames.encode(frames.SPAWN, (slot, title, max_memory)), copies)

    def signal(self, slot: int, pid: int, number: int) -> None:
        """Ask to send a signal to the child, if it is still the one with this pid."""
        self._send(frames.encode(frames.SIGNAL, (slot, pid, int(number))), [])

    def receive(self) -> list[frames.Frame]:
        """Return what the server has said; when it is gone, set ``gone``."""
        received: list[frames.Frame] = []
        while not self.gone:
            try:
                data = self._sock.recv(65536)
            except BlockingIOError:
                break
            except ConnectionError:
                data = b""
            self.gone = not data
            received += self._reader.feed(data)
        return received

    def wait(self, timeout: float) -> bool:
        """Wait until the server says something or ends; tell whether it did. Only for the pool's end."""
        self._flush()
        return bool(select.select([self._sock], [], [], max(0.0, timeout))[0])

    def end(self, timeout: float = 2.0) -> str:
        """End the server, and with it all children; return how it ended, in words.

        It does so by itself, unless it is frozen: it is killed then, and the children die with it.
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


def launch(run: RunFn | None = None) -> ForkServer:
    """Fork the server and return the main process's end of it.

    ``run`` is what the children run for each delivery, by default
    ``taskq.execution.execute`` with soft limits by ``setitimer``. Raises
    ``RuntimeError`` where processes can't be forked.
    """
    if not hasattr(os, "fork"):
        raise RuntimeError("The prefork pool needs os.fork, which this system does not have: use --pool threads.")
    from . import forkserver_process

    run = run or default_run()
    _warn_of_threads()
    _close_connections()
    flush_streams()
    # What exists now is shared by all processes; a collection in a child would write to it, and copy it.
    gc.collect()
    gc.freeze()
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        ours.close()
        forkserver_process.main(theirs, parent, run)
    theirs.close()
    return ForkServer(pid, ours)


def default_run() -> RunFn:
    """Return what prefork's children run for each delivery."""
    from functools import partial

    from taskq.execution import execute

    from .soft_limits import signal_limit

    return partial(execute, soft_limit=signal_limit)


def _warn_of_threads() -> None:
    names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if names:
        logger.warning(
            "Threads were started before the pool was forked: %s. They don't exist in the children, where locks "
            "they hold stay locked: start them in a receiver of taskq.signals.worker_process_init.",
            ", ".join(sorted(names)),
        )


def _close_connections() -> None:
    """Leave no connection, pool or cache client to be shared with children."""
    from django.core.cache import caches
    from django.db import connections

    for connection in connections.all(initialized_only=True):
        connection.close()
        close_pool = getattr(connection, "close_pool", None)
        if close_pool is not None:
            close_pool()
    caches.close_all()


def _reap(pid: int) -> int | None:
    with suppress(ChildProcessError):
        reaped, status = os.waitpid(pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if reaped else None
    return 0


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
