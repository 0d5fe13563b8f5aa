"""The threads of a child with an event loop: for tasks that are no coroutines, and synchronous code of those that are.

Each thread has its own database connections, which stay open between tasks as long as ``CONN_MAX_AGE`` says. A run
leases one thread, when it needs one, and keeps it to its end. There are so many threads at most as the pool allows;
further leases wait, without blocking the loop.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
_Call = tuple["Future[Any]", Callable[[], Any]]


class Threads:
    """Up to ``most`` threads, each started when it is needed first; the last that became free is leased first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._free: list[_Thread] = []
        self._waiting: deque[Lease] = deque()
        self.started = 0

    def _take(self, lease: Lease) -> _Thread | None:
        """Return a thread for a lease, or have it wait. Called with the lock.

        Raises ``RuntimeError`` if the system starts no thread, and there is none to wait for.
        """
        if self._free:
            return self._free.pop()
        if self.started < self._most:
            try:
                thread = _Thread(self.started + 1)
            except RuntimeError:
                if not self.started:
                    raise
            else:
                self.started += 1
                return thread
        if lease not in self._waiting:
            self._waiting.append(lease)
        return None

    def _give_back(self, thread: _Thread) -> None:
        """Pass a thread on to the lease that has waited longest. Called with the lock."""
        if self._waiting:
            self._waiting.popleft()._begin(thread)
        else:
            self._free.append(thread)


class Lease(Executor):
    """The right of one run to one thread: an executor that runs one call at a time, always on the same thread.

    ``first`` is called there before all others, but only if there are others.
    """

    def __init__(self, threads: Threads, first: Callable[[], Any] | None = None) -> None:
        self._threads = threads
        self._thread: _Thread | None = None
        self._calls: list[_Call] = [] if first is None else [(Future(), first)]
        self._released = False

    @property
    def has_thread(self) -> bool:
        """Whether there is a thread already: nothing was submitted otherwise, or it waits for one."""
        return self._thread is not None

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Have the thread call a function. From any thread. Its future fails if no thread can be started.

        So does that of a call after ``release``: nobody would give the thread back.
        """
        future: Future[T] = Future()
        call: _Call = future, lambda: function(*args, **kwargs)
        try:
            with self._threads._lock:
                if self._released:
                    raise RuntimeError("The task has ended, and its thread is given back.")
                if self._thread is None:
                    self._thread = self._threads._take(self)
                self._calls.append(call)
                if self._thread is not None:
                    self._pass_on(self._thread)
        except RuntimeError as error:
            future.set_exception(error)
        return future

    def release(self) -> None:
        """Give the thread back; what was submitted and not run is cancelled."""
        with self._threads._lock:
            self._released = True
            thread, self._thread = self._thread, None
            calls, self._calls = self._calls, []
            if self in self._threads._waiting:
                self._threads._waiting.remove(self)
            if thread is not None:
                self._threads._give_back(thread)
        for future, _ in calls:
            future.cancel()

    def _begin(self, thread: _Thread) -> None:
        self._thread = thread
        self._pass_on(thread)

    def _pass_on(self, thread: _Thread) -> None:
        for call in self._calls:
            thread.calls.put(call)
        self._calls = []


class _Thread(threading.Thread):
    def __init__(self, number: int) -> None:
        super().__init__(name=f"taskq-{number}", daemon=True)
        self.calls: SimpleQueue[_Call] = SimpleQueue()
        self.start()

    def run(self) -> None:
        while True:
            self._call(*self.calls.get())

    @staticmethod
    def _call(future: Future[Any], function: Callable[[], Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = function()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)
