"""The processes of a pool behind a fork server: spawning them, reading their frames, and how they end.

The base of ``children``, where each slot has a child, and of ``shared_children``, where all slots share one. Used on
the loop's thread. It requests forks and signals from the fork server, and calls the worker's ``PoolEvents``.
"""

from __future__ import annotations

import itertools
import select
import signal as signals
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from taskq.handover import Outcome, Report
from taskq.worker import log_lines
from taskq.worker.process.system import describe_exit

from . import frames
from .base import LostChild, PoolEvents, PoolOptions, Unfinished
from .child_connection import Answer, ChildConnection, CutShort, Stack
from .deadlines import Deadlines
from .fork_servers import ForkServers
from .hub import Hub
from .pool_child import PoolChild, State

#: Seconds until a place whose child ended before its first outcome gets another: doubled each time, up to the second.
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.05, 30.0
#: Seconds until the warning of a slow start.
_SLOW_START = 30.0
#: Seconds between checks of the children.
_CHECK_INTERVAL = 5.0
#: Seconds in which a child has to end when it has closed its socket.
_CLOSED_TIMEOUT = 5.0

C = TypeVar("C", bound=PoolChild)


class Place(Generic[C]):
    """What a child fills: it outlives its children. ``child`` is ``None`` while there is none."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.child: C | None = None
        #: How many children in a row ended before their first outcome.
        self.failures = 0
        #: The place goes away with its child.
        self.removing = False
        #: Deliveries of a child that was killed with the pool, each with whether it has started.
        self.cut_short: list[Unfinished] = []


P = TypeVar("P", bound=Place[Any])


class ChildProcesses(ABC, Generic[P, C]):
    """All children that were not reaped yet, each with its place."""

    #: The ``kind`` of ``frames.ChildOptions``.
    kind = "prefork"

    def __init__(self, server: ForkServers, events: PoolEvents, hub: Hub, options: PoolOptions) -> None:
        self._server = server
        self._events = events
        self._hub = hub
        self._options = options
        self._living: dict[int, tuple[P, C]] = {}
        self._numbers = itertools.count(1)
        self._deadlines = Deadlines(hub, self._check_deadlines)
        self._watching_starts = False
        self._hub.call_later(_CHECK_INTERVAL, self._check)
        #: No child is replaced any more.
        self.closing = False
        #: All children are being killed; their deliveries are kept for ``Pool.unfinished``.
        self.killing = False

    @property
    def living(self) -> list[tuple[P, C]]:
        """The children that were not reaped yet, each with its place: also those that end beside it."""
        return list(self._living.values())

    # -- what differs

    @abstractmethod
    def unfinished(self) -> list[Unfinished]:
        """Return the deliveries without an outcome."""

    @abstractmethod
    def _make_child(self, connection: ChildConnection) -> C:
        """Return the next child, with the next of ``_numbers``."""

    @abstractmethod
    def _on_exit(self, place: P, child: C, exit_code: int) -> None:
        """A child has ended: replace it, and report the deliveries that it had."""

    @abstractmethod
    def _on_outcome(self, place: P, child: C, outcome: Outcome) -> None:
        """Handle an outcome."""

    def _on_cut_short(self, place: P, child: C, cut: CutShort) -> None:
        """A task has ended because the pool had it ended."""
        log_lines.wrong_job_answered(cut.job, place)

    @abstractmethod
    def _retire(self, place: P, child: C) -> None:
        """Have a child end after the tasks that it runs; its other deliveries are returned."""

    @abstractmethod
    def _stop_if_done(self, place: P, child: C) -> None:
        """Ask a leaving child to stop, once, if nothing is in flight."""

    @abstractmethod
    def _check_deadlines(self) -> None:
        """End the tasks that have reached their hard limits."""

    @abstractmethod
    def _check_child(self, place: P, child: C, now: float) -> None:
        """Look, every few seconds, whether a child goes on."""

    # -- start and end

    def quiesce(self) -> None:
        """Have all children end when their deliveries have an outcome; none is replaced."""
        self.closing = True
        for place, child in self.living:
            if child.state is not State.DOWN:
                child.state = State.LEAVING
                self._stop_if_done(place, child)

    def renew(self, *, starting: bool) -> None:
        """Replace all children, each when its tasks have ended; it begins no other.

        ``starting``: also those that are not up yet. Where they are as new as their successors would be, throwing
        them away only puts off the tasks that wait: for ever, if that comes again and again.
        """
        states = (State.STARTING, State.UP) if starting else (State.UP,)
        for place, child in self.living:
            if place.child is child and child.state in states and not self.closing:
                self._retire(place, child)

    def kill_all(self) -> None:
        """Have all children killed."""
        self.closing = self.killing = True
        for _, child in self.living:
            self._signal(child, signals.SIGKILL)

    def on_server_message(self, kind: int, payload: Any) -> None:
        """Handle a frame of the fork server."""
        place, child = self._living[payload[0]]
        if kind == frames.SPAWNED:
            child.pid = payload[1]
            if self.killing or child.connection.fault:
                self._signal(child, signals.SIGKILL)
        elif kind == frames.NOT_SPAWNED:
            log_lines.child_not_forked(payload[1])
            self._on_exit(place, child, 1)
        elif kind == frames.EXITED:
            self._on_exit(place, child, payload[1])

    def _spawn(self, place: P) -> None:
        # This may have been scheduled some time ago.
        if self.closing or place.removing or place.child is not None:
            return
        try:
            child = self._request_child(place)
        except OSError as error:
            log_lines.child_connection_failed(error)
            self._back_off(place, 1)
            return
        place.child = child
        self._living[child.number] = place, child
        self._hub.add_reader(child.connection.fileno(), self.on_readable, place, child)
        self._watch_starts()

    def _request_child(self, place: P) -> C:
        """Have the fork server fork a child. Raises ``OSError`` if there are no descriptors for it."""
        connection = ChildConnection(self._hub)
        child = self._make_child(connection)
        pool = self._options
        title = f"taskq: child {place.index} {pool.hostname}".rstrip()
        limits = pool.max_tasks_per_child or 0, pool.max_memory_per_child or 0
        options = frames.ChildOptions(place.index, title, *limits, self.kind, pool.hostname)
        try:
            self._server.spawn(child.number, options, connection.child_fds)
        except OSError:
            self._server.reaped(child.number)
            connection.close()
            raise
        connection.close_child_end()
        return child

    def _disconnect(self, place: P, child: C, exit_code: int) -> LostChild:
        """Handle the last frames of a child that has ended, and close its connection."""
        # First of all: while it handles the last outcomes the worker must not hand over to this child.
        child.state = State.DOWN
        self._read_all(place, child)
        self._hub.remove(child.connection.fileno())
        del self._living[child.number]
        self._server.reaped(child.number)
        if self.killing:
            place.cut_short += child.unfinished()
            if place.child is child:
                place.child = None
        return child.end(exit_code)

    def reap_killed(self, deadline: float) -> None:
        """Disconnect the children, which died with the fork server: it can't report that they ended."""
        for place, child in self.living:
            connection = child.connection
            while connection.readable and time.monotonic() < deadline:
                if not connection.receive():
                    select.select([] if connection.closed else [connection.fileno()], [], [], 0.05)
            self._disconnect(place, child, -signals.SIGKILL)

    def _back_off(self, place: P, exit_code: int) -> None:
        """Fork the next child later: this one ended before its first outcome."""
        place.failures += 1
        pause = min(_FIRST_BACKOFF * 2 ** (place.failures - 1), _LONGEST_BACKOFF)
        log_lines.child_exited_early(place.index, describe_exit(exit_code), place.failures, pause)
        self._hub.call_later(pause, self._spawn, place)

    def _watch_starts(self) -> None:
        if not self._watching_starts:
            self._watching_starts = True
            self._hub.call_later(_SLOW_START, self._check_starts)

    def _check_starts(self) -> None:
        self._watching_starts = False
        starting = [(place, child) for place, child in self.living if child.state is State.STARTING]
        slow = [place.index for place, child in starting if time.monotonic() - child.forked_at > _SLOW_START / 2]
        if slow:
            log_lines.children_slow(slow)
        if starting:
            self._watch_starts()

    def _check(self) -> None:
        """Kill children that can't be reached or don't go on: tasks would wait for ever."""
        if self.killing:
            return
        now = time.monotonic()
        for place, child in self.living:
            if child.closed_at is not None and now - child.closed_at > _CLOSED_TIMEOUT:
                # For example because its task has closed all descriptors.
                log_lines.child_unreachable(place.index)
                self._signal(child, signals.SIGKILL)
            else:
                self._check_child(place, child, now)
        self._hub.call_later(_CHECK_INTERVAL, self._check)

    # -- frames of children

    def on_readable(self, place: P, child: C) -> None:
        """Read once from a child, and handle its frames."""
        child.connection.receive()
        if child.connection.closed:
            self._hub.remove(child.connection.fileno())
            child.closed_at = time.monotonic()
        self._handle_frames(place, child)

    def _read_all(self, place: P, child: C) -> None:
        while child.connection.receive():
            pass
        self._handle_frames(place, child)

    def _handle_frames(self, place: P, child: C) -> None:
        """Handle the answers that have arrived, one at a time: an event's receiver may call this again."""
        room = False
        arrived = child.connection.arrived
        while arrived:
            room = self._handle(place, child, arrived.popleft()) or room
        if child.connection.fault and not child.faulty:
            self._kill_faulty(place, child)
        if room:
            self._events.ready()

    def _handle(self, place: P, child: C, answer: Answer) -> bool:
        """Handle an answer; tell whether there is room for deliveries now."""
        if isinstance(answer, Outcome):
            self._on_outcome(place, child, answer)
        elif isinstance(answer, Report):
            self._events.report(answer)
            return False
        elif isinstance(answer, CutShort):
            self._on_cut_short(place, child, answer)
        elif isinstance(answer, Stack):
            for tell in child.asking.pop(answer.job, ()):
                tell(answer.text)
            return False
        elif answer is None:
            # It can't be made clean for the next task.
            if child.state is State.UP:
                self._retire(place, child)
            return False
        else:
            child.on_up(answer)
        return True

    def ask_for_stack(self, job: int, tell: Callable[[str], None]) -> bool:
        """Ask the child that has a job where its task is; tell whether there is one."""
        for _, child in self.living:
            if job in child.connection.pending:
                child.asking.setdefault(job, []).append(tell)
                self._server.ask_for_stack(child.number, job)
                return True
        return False

    def _kill_faulty(self, place: P, child: C) -> None:
        """Kill a child whose answers can't be read: the task that it runs counts as lost."""
        child.faulty = True
        log_lines.child_unreadable(place.index, child.connection.fault)
        self._hub.remove(child.connection.fileno())
        if child.state is not State.DOWN:
            self._signal(child, signals.SIGKILL)
            self._retire(place, child)

    def _signal(self, child: C, number: int) -> None:
        if child.pid is not None and child.number in self._living:
            self._server.signal(child.number, number)
