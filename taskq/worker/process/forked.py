"""Processes that tasks fork start like a new Python process, and end with the process that forked them.

``prepare`` is called by each process that runs tasks, before the first of them. From then on every fork by Python's own
means counts: ``os.fork``, ``multiprocessing`` with the start method fork, ``subprocess`` with ``preexec_fn``.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

from django.db import connections

from .system import GROUP_SIGNALS, die_with_parent, signal_on_parents_death

#: Sent when the thread that forked has ended. A program that the process becomes by ``exec`` ignores it.
_PARENT_SIGNAL = signal.SIGURG

#: Closes a descriptor that belongs to the process that runs tasks.
_closers: list[Callable[[], None]] = []
_prepared = False
#: Of the thread that forks: its process, whether it is the main thread, and its signal mask.
_forking = threading.local()
# Connections of the process that forked, kept for ever: collecting one would close it for that process.
_inherited: list[Any] = []


def prepare(*closers: Callable[[], None]) -> None:
    """Have each process that is forked from now on start afresh; ``closers`` close descriptors in it."""
    global _prepared
    _closers.extend(closers)
    if not _prepared and hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_before_fork, after_in_parent=_unblock_signals, after_in_child=_start_afresh)
        _prepared = True


def kill_helpers() -> None:
    """Kill the processes of ``multiprocessing`` that tasks have left here: Python's exit would wait for them."""
    for process in multiprocessing.active_children():
        process.kill()


def _before_fork() -> None:
    _forking.parent = parent = os.getpid()
    _forking.in_main_thread = threading.get_native_id() == parent
    # Until the new process has handlers of its own: a signal to it must not meet taskq's, which would ignore it.
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)


def _unblock_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _start_afresh() -> None:
    """Undo, in a process that a task has just forked, what taskq did in the process that forked it."""
    _restore_signals()
    _unblock_signals()
    _die_with(_forking.parent, _forking.in_main_thread)
    for close in _closers:
        with suppress(OSError):
            close()
    _closers.clear()
    _forget_connections()


def _restore_signals() -> None:
    """Set taskq's signal handlers, and no others, to Python's own."""
    for number in signal.valid_signals():
        if str(getattr(signal.getsignal(number), "__module__", "")).startswith("taskq."):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    faulthandler.unregister(signal.SIGUSR1)


def _die_with(parent: int, by_main_thread: bool) -> None:
    """Have this process killed when ``parent`` ends. Linux tells of the end of the thread that has forked."""
    if by_main_thread:
        die_with_parent(parent)
    else:
        signal.signal(_PARENT_SIGNAL, partial(_end_without, parent))
        signal_on_parents_death(_PARENT_SIGNAL)
        _end_without(parent)


def _end_without(parent: int, number: int = 0, frame: FrameType | None = None) -> None:
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _forget_connections() -> None:
    """Forget the connections of the process that forked, without a word to their servers."""
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None:
            _inherited.append(connection.connection)
            connection.connection = None
