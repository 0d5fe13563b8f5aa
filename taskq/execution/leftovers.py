"""State of the process and of the thread that a task may change for the tasks after it, and that is restored.

The states are compared with a baseline before another task runs, when the child becomes idle, and otherwise every 50
milliseconds at most: a run of short tasks of one name pays little for it. The table in
``docs/topics/clean-tasks.md`` lists these states, and those that are left as they are.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found, unused-ignore]
import asyncio
import faulthandler
import gc
import locale
import os
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

from taskq.handover import Delivery

from . import log_lines

# Here, so that it is loaded before children are forked. Not every system has it.
try:
    import resource
except ImportError:
    resource = None  # type: ignore[assignment]

#: The signals that programs handle, and the timers, where the system has them.
_SIGNALS = [
    getattr(signal, f"SIG{name}")
    for name in (
        "HUP",
        "INT",
        "QUIT",
        "USR1",
        "USR2",
        "PIPE",
        "ALRM",
        "TERM",
        "CHLD",
        "TSTP",
        "VTALRM",
        "PROF",
        "WINCH",
    )
    if hasattr(signal, f"SIG{name}")
]
_TIMERS = [getattr(signal, name) for name in ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF") if hasattr(signal, name)]
_NO_TIMER = (0.0, 0.0)
#: Seconds between two comparisons, at least, while one task runs again and again.
_BETWEEN = 0.05


class State(NamedTuple):
    """A state: how it is read, and how a value that was read before is put back."""

    name: str
    read: Callable[[], Any]
    restore: Callable[[Any], object]
    #: Whether modules change it when they are imported: the change of a task that imports something stays.
    by_imports: bool = False


# -- the process


def _handlers() -> list[Any]:
    # Without the enumerations that `signal.getsignal` makes of them, which take ten times as long.
    return list(map(_signal.getsignal, _SIGNALS))


def _restore_handlers(handlers: list[Any]) -> None:
    # An event loop that watches signals has set it, and left it with its handlers.
    signal.set_wakeup_fd(-1)
    for number, handler in zip(_SIGNALS, handlers, strict=True):
        # None is a handler that was not set in Python.
        if handler is not None and _signal.getsignal(number) != handler:
            signal.signal(number, handler)


def _timer(which: int) -> State:
    return State("a timer", partial(signal.getitimer, which), lambda _: signal.setitimer(which, 0))


_TIMER_STATES = {which: _timer(which) for which in _TIMERS}


def _restore_streams(streams: tuple[Any, ...]) -> None:
    sys.stdin, sys.stdout, sys.stderr = streams


_LIMITS = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})


def _limits() -> list[Any]:
    assert resource is not None  # otherwise there are no numbers
    return list(map(resource.getrlimit, _LIMITS))


def _restore_limits(limits: list[Any]) -> None:
    assert resource is not None
    for number, limit in zip(_LIMITS, limits, strict=True):
        if resource.getrlimit(number) != limit:
            resource.setrlimit(number, limit)


def _restore_warning_filters(filters: Sequence[Any]) -> None:
    warnings.resetwarnings()
    warnings.filters[:] = filters  # type: ignore[index]


def _environment() -> Any:
    return os.environ._data  # type: ignore[attr-defined] # a copy of os.environ decodes each value


def _restore_environment(data: dict[Any, Any]) -> None:
    wanted = {os.fsencode(name): os.fsencode(value) for name, value in data.items()}
    for name in os.environb.keys() - wanted.keys():
        del os.environb[name]
    os.environb.update(wanted)
    time.tzset()


def _set_faulthandler(enabled: bool) -> None:
    (faulthandler.enable if enabled else faulthandler.disable)()


def _umask() -> State:
    umask = os.umask(0o077)
    os.umask(umask)
    # Reads and restores with one call, as does the state of the traceback dump.
    return State("the umask", partial(os.umask, umask), os.umask)


def _nothing(_: object) -> None:
    """Restore a state whose reading has done so."""


# Made once, and not by each child: a child would copy the pages of what it makes and reads.
_PROCESS_STATES = [
    State("signal handlers", _handlers, _restore_handlers),
    State("the working directory", os.getcwd, os.chdir),
    State("a pending traceback dump", faulthandler.cancel_dump_traceback_later, _nothing),
    State("the locale", partial(locale.setlocale, locale.LC_ALL), partial(locale.setlocale, locale.LC_ALL)),
    State("the faulthandler", faulthandler.is_enabled, _set_faulthandler),
    State("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    State("the switch interval", sys.getswitchinterval, sys.setswitchinterval),
    State("garbage collection", gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
    State("the time-out of sockets", socket.getdefaulttimeout, socket.setdefaulttimeout),
    State("the standard streams", partial(attrgetter("stdin", "stdout", "stderr"), sys), _restore_streams),
    State("environment variables", _environment, _restore_environment, by_imports=True),
    State("warning filters", partial(getattr, warnings, "filters"), _restore_warning_filters, by_imports=True),
    State("limits of resources", _limits, _restore_limits),
]


# -- the thread


def _renew_event_loop() -> None:
    """Have ``asyncio.get_event_loop()`` make a loop, as in a new thread, if a task has closed the one that was there.

    ``asyncio.run()`` does that too. A loop that is open stays: clients may be bound to it.
    """
    policy: Any = asyncio.get_event_loop_policy()
    local = getattr(policy, "_local", None)
    if local is not None and local._set_called and (local._loop is None or local._loop.is_closed()):
        policy._local = type(local)()


_THREAD_STATES = [
    State("the trace function", sys.gettrace, sys.settrace),
    State("the profile function", sys.getprofile, sys.setprofile),
    State("a running event loop", asyncio._get_running_loop, asyncio._set_running_loop),
    State("a closed event loop", _renew_event_loop, _nothing),
]
if hasattr(signal, "pthread_sigmask"):
    _mask = signal.pthread_sigmask
    _THREAD_STATES.append(
        State("the signal mask", partial(_mask, signal.SIG_BLOCK, ()), partial(_mask, signal.SIG_SETMASK))
    )


# -- comparing and restoring


class Baseline:
    """States as they are now, and as they are to be for each task. ``clean`` is false once that was not possible."""

    def __init__(self, states: Sequence[State]) -> None:
        self._values: dict[State, Any] = {}
        for state in states:
            with suppress(OSError):  # the working directory may have been deleted
                self._values[state] = copy(state.read())
        self._reads = [state.read for state in self._values]
        self._modules = len(sys.modules)
        #: The task that ran since the last comparison.
        self._ran: Delivery | None = None
        self._next = 0.0
        self.clean = True

    @classmethod
    def of_process(cls) -> Baseline:
        """Return the baseline of a process that runs one task at a time, in its main thread."""
        # A timer that runs now is the project's, such as a profiler's.
        timers = [state for which, state in _TIMER_STATES.items() if signal.getitimer(which) == _NO_TIMER]
        return cls([*timers, _umask(), *_PROCESS_STATES, *_THREAD_STATES])

    @classmethod
    def of_thread(cls) -> Baseline:
        """Return the baseline of the calling thread."""
        return cls(_THREAD_STATES)

    def before(self, delivery: Delivery) -> None:
        """Compare if another task has run than the one of ``delivery``."""
        if self._ran is not None and self._ran.name != delivery.name:
            self.restore()

    def after(self, delivery: Delivery) -> None:
        """Compare, unless that was done less than 50 milliseconds ago."""
        self._ran = delivery
        if time.monotonic() >= self._next:
            self.restore()

    def restore(self) -> None:
        """Restore the states that have changed."""
        if self._ran is not None:
            if self._differ():
                self._restore(self._ran)
            self._modules = len(sys.modules)
            self._ran = None
            self._next = time.monotonic() + _BETWEEN

    def _differ(self) -> bool:
        try:
            return [read() for read in self._reads] != list(self._values.values())
        except Exception:  # the working directory is gone, or an object of the task's can't be compared
            return True

    def _restore(self, ran: Delivery) -> None:
        imported = len(sys.modules) != self._modules
        for state, value in self._values.items():
            if _has(state, value):
                continue
            if imported and state.by_imports:
                self._values[state] = copy(state.read())
                continue
            try:
                state.restore(value)
            except Exception as error:
                self.clean = False
                log_lines.state_not_restored(ran, state.name, error)
            else:
                log_lines.state_restored(ran, state.name)


def _has(state: State, value: Any) -> bool:
    try:
        return bool(state.read() == value)
    except Exception:
        return False
