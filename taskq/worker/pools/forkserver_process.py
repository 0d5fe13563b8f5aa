"""The fork server: ``launch`` forks it, and it forks, signals and reaps the children.

The command calls ``launch`` after ``django.setup()`` and the import of all tasks, before it makes any thread,
connection or hub. The fork server has one thread, no connection and no delivery, and reports only which child has which
pid and how each ended. When the main process is gone it kills its children and ends.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import threading
from contextlib import suppress
from itertools import chain
from typing import Any, NoReturn

from django.core.cache import caches
from django.db import connections

from taskq import signals
from taskq.processes import flush_streams
from taskq.sending import publisher as _publisher  # noqa: F401 - tasks send tasks: all children share its memory
from taskq.worker import log_lines
from taskq.worker.process.system import (
    GROUP_SIGNALS,
    die_with_parent,
    ignore_group_signals,
    return_free_memory,
    set_title,
    use_huge_pages,
)

from . import child, frames
from .base import GREEN, RunFn
from .forkserver import ForkServer
from .interpreter import Interpreter
from .rehearsal import rehearse
from .stack_thread import QUESTION


def launch(run: RunFn | None = None, *, many: bool = False, interpreter: Interpreter | None = None) -> ForkServer:
    """Fork the server and return the main process's end of it.

    ``run`` is what the children run for each delivery, by default ``taskq.execution.execute``. With ``many``, children
    will be forked all the time: the server moves its memory into huge pages.
    Children with greenlets are started by ``interpreter``.
    Raises ``RuntimeError`` where processes can't be forked.
    """
    if not hasattr(os, "fork"):
        raise RuntimeError("The prefork pool needs os.fork, which this system does not have: use --pool threads.")
    _make_forkable(run)
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _main(theirs, parent, run, many, interpreter)
    theirs.close()
    return ForkServer(pid, ours)


def become(socket_fd: int, parent: int, *, many: bool) -> NoReturn:
    """Make this process, which ``parent`` has started, a fork server, and end it when ``parent`` does."""
    _make_forkable()
    os.set_inheritable(socket_fd, False)
    _main(socket.socket(fileno=socket_fd), parent, None, many)


def _make_forkable(run: RunFn | None = None) -> None:
    """Leave nothing in this process that can't be shared with those that are forked from it."""
    _warn_of_threads()
    _close_connections()
    flush_streams()
    if run is None:
        rehearse()
    gc.collect()
    return_free_memory()
    # All processes share the objects that exist now; a collection in a child would write to them, and so copy them.
    gc.freeze()
    # The collector leaves its oldest generation alone until that has grown by a quarter of what the last full
    # collection has left: of nothing from now on, and no longer of the whole project.
    gc.collect()


def _warn_of_threads() -> None:
    names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if names:
        log_lines.threads_found(names)


def _close_connections() -> None:
    """Leave no connection, pool or cache client to be shared with children."""
    for connection in connections.all(initialized_only=True):
        connection.close()
        close_pool = getattr(connection, "close_pool", None)
        if close_pool is not None:
            close_pool()
    for alias in caches:
        with suppress(Exception):  # a child that uses the cache says what is wrong with it
            caches[alias]  # loads its module, and opens nothing
    caches.close_all()


def _main(
    sock: socket.socket, parent: int, run: RunFn | None, many: bool, interpreter: Interpreter | None = None
) -> NoReturn:
    """Serve the process ``parent`` at the other end of ``sock`` until it is gone."""
    code = 1
    try:
        ignore_group_signals()
        die_with_parent(parent)
        set_title("taskq: fork server")
        _set_streams()
        child.drop_connections()
        if many:
            use_huge_pages()
        # Children collect nothing that is older than they are.
        gc.freeze()
        ForkServerProcess(sock, run, interpreter).serve()
        code = 0
    except BaseException:
        log_lines.fork_server_failed()
    finally:
        os._exit(code)


class ForkServerProcess:
    """The loop of the fork server, and its children by number and by pid."""

    def __init__(self, sock: socket.socket, run: RunFn | None, interpreter: Interpreter | None = None) -> None:
        self._sock = sock
        self._interpreter = interpreter
        self._run = run
        self._reader = frames.FrameReader()
        self._fds: list[int] = []
        self._pids: dict[int, int] = {}
        self._numbers: dict[int, int] = {}
        #: By number, the pipe in which a child looks whether a signal is meant for it alone, and that of questions.
        self._pipes: dict[int, tuple[int, int]] = {}
        self._wakeup_read, self._wakeup_write = os.pipe()

    def serve(self) -> None:
        """Serve the requests of the main process until it is gone."""
        self._watch_children()
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        poll.register(self._wakeup_read, select.POLLIN)
        try:
            while True:
                ready = {fd for fd, _ in poll.poll()}
                if self._wakeup_read in ready:
                    self._reap()
                if self._sock.fileno() in ready:
                    self._receive()
        except (EOFError, ConnectionError):
            self._kill_all()

    def _watch_children(self) -> None:
        """Have SIGCHLD wake the loop."""
        for fd in (self._wakeup_read, self._wakeup_write):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wakeup_write, warn_on_full_buffer=False)

    def _receive(self) -> None:
        # Descriptors come no later than the frame they belong to, and in the same order.
        data, fds, _, _ = socket.recv_fds(self._sock, 65536, 64)
        if not data:
            raise EOFError
        for fd in fds:
            os.set_inheritable(fd, False)
        self._fds += fds
        for kind, payload in self._reader.feed(data):
            if kind == frames.SPAWN:
                self._spawn(payload[0], frames.ChildOptions(*payload[1:]))
            elif kind == frames.SIGNAL:
                self._signal(*payload)
            elif kind == frames.STACK_OF:
                self._ask(*payload)
            elif kind == frames.PING:
                self._send(frames.PONG, None)

    def _spawn(self, number: int, options: frames.ChildOptions) -> None:
        given, self._fds = self._fds[:2], self._fds[2:]
        signals.send(signals.worker_before_create_process, sender=options.hostname)
        try:
            pid, self._pipes[number] = self._fork(given, options)
        except OSError as error:
            self._send(frames.NOT_SPAWNED, (number, str(error)))
        else:
            self._pids[number], self._numbers[pid] = pid, number
            self._send(frames.SPAWNED, (number, pid))
        finally:
            for fd in given:
                os.close(fd)

    def _fork(self, given: list[int], options: frames.ChildOptions) -> tuple[int, tuple[int, int]]:
        """Fork a child and return its pid, and the pipes for orders and questions to it."""
        sock, permits = given
        opened = [*os.pipe()]
        parent = os.getpid()
        try:
            opened += os.pipe()
            pid = os.fork()
        except OSError:
            for fd in opened:
                os.close(fd)
            raise
        orders_read, orders, questions_read, questions = opened
        os.set_blocking(questions, False)
        if pid == 0:
            self._reset_in_child(orders)
            fds = child.Descriptors(sock, permits, orders_read, questions_read, questions)
            if options.kind in GREEN:
                self._become_python(fds, parent, options)
            child.main(fds, parent, self._run, options)
        os.close(orders_read)
        os.close(questions_read)
        return pid, (orders, questions)

    def _become_python(self, fds: child.Descriptors, parent: int, options: frames.ChildOptions) -> NoReturn:
        """Have a new child start afresh: its library has to patch Python before Django is imported."""
        try:
            die_with_parent(parent)
            for number in GROUP_SIGNALS:
                # Until the fresh Python has handlers of its own.
                signal.signal(number, signal.SIG_IGN)
            if self._interpreter is not None:
                self._interpreter.replace_process(fds, library=options.kind, parent=parent, child=(fds, options))
        except BaseException:
            log_lines.child_failed()
        finally:
            os._exit(1)

    def _reset_in_child(self, orders: int) -> None:
        """Undo in a new child the server's signal handlers, and close its descriptors."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._sock.close()
        for fd in (self._wakeup_read, self._wakeup_write, orders, *chain(*self._pipes.values()), *self._fds):
            os.close(fd)

    def _signal(self, child: int, number: int) -> None:
        # The child is not reaped yet, so the pid is still its own, even if it has ended.
        if (pid := self._pids.get(child)) is not None:
            if number in GROUP_SIGNALS:
                with suppress(BrokenPipeError):
                    os.write(self._pipes[child][0], b"\0")
            os.kill(pid, number)

    def _ask(self, child: int, job: int) -> None:
        if (pipes := self._pipes.get(child)) is not None:
            with suppress(BlockingIOError, BrokenPipeError):
                os.write(pipes[1], QUESTION.pack(job))

    def _reap(self) -> None:
        os.read(self._wakeup_read, 4096)
        while self._numbers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            number = self._numbers.pop(pid, None)
            if number is not None:
                del self._pids[number]
                for fd in self._pipes.pop(number):
                    os.close(fd)
                self._send(frames.EXITED, (number, os.waitstatus_to_exitcode(status)))

    def _kill_all(self) -> None:
        for pid in self._numbers:
            os.kill(pid, signal.SIGKILL)

    def _send(self, kind: int, payload: Any) -> None:
        self._sock.sendall(frames.encode(kind, payload))


def _set_streams() -> None:
    """Set the standard streams of the server and its children; the terminal's input is the main process's."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    for stream in (sys.stdout, sys.stderr):
        # Output appears when it is printed, and is not lost when a child is killed.
        with suppress(Exception):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
