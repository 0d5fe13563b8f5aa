"""The process of a child, and the child of the prefork pool: it runs one delivery after the other.

Forked by the fork server, a child works until the main process asks it to stop. It never acknowledges, never settles,
and opens a database connection only if a task's own code does. It sends each outcome at once, so a task that kills its
child loses no outcome of the tasks before it.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from django.db import connections

from taskq import clock, signals
from taskq.containment import contain_exits
from taskq.execution import execute, isolation, kept_logs, outcomes
from taskq.forks import end_if_forked, forks
from taskq.handover import Delivery, Outcome, Report
from taskq.logs import log_to_file_of
from taskq.processes import flush_streams
from taskq.worker import log_lines
from taskq.worker.process.forked import prepare
from taskq.worker.process.system import die_with_parent, heed_orders, resident_kib, set_title

from . import frames, stack_texts
from .base import GREEN, RunFn
from .child_inbox import ChildInbox
from .child_outbox import ChildOutbox
from .soft_limits import signal_limit
from .soft_stop import obey_soft_stops
from .stack_thread import StackThread

if TYPE_CHECKING:
    from .child_many import ManyChild

# Inherited connections, kept for ever: collecting one would close it for the process that it was inherited from.
_inherited: list[Any] = []


class Descriptors(NamedTuple):
    """A child's ends of the socket pair, of the pipe of permits, and of the pipe of orders to terminate.

    ``questions`` is a pipe of jobs whose stack is wanted, ``ending`` its other end.
    """

    socket: int
    permits: int
    orders: int
    questions: int
    ending: int


def main(fds: Descriptors, parent: int, run: RunFn | None, options: frames.ChildOptions) -> NoReturn:
    """Run deliveries in this process, which was forked by ``parent``, and end it.

    ``run`` is called for each delivery, by default ``taskq.execution.execute``.
    """
    code = 1
    try:
        die_with_parent(parent)
        heed_orders(fds.orders)
        contain_exits()
        set_title(options.title)
        sys.breakpointhook = _breakpoint
        log_to_file_of(options.slot + 1)
        sock = socket.socket(fileno=fds.socket)
        prepare(sock.close, *(partial(os.close, fd) for fd in fds[1:]))
        child = _make(sock, fds.permits, run, options)
        _prepare(options.hostname)
        # Receivers of worker_process_init may have configured the log.
        kept_logs.start()
        if isinstance(child, Child):
            obey_soft_stops()
            # A child that runs one task leaves nothing to another.
            isolation.watch_process(restore=options.max_tasks != 1)
        child.listen(fds.questions, fds.ending)
        code = child.work()
        signals.send(signals.worker_process_shutdown, sender=options.hostname, pid=os.getpid(), exitcode=code)
    except (EOFError, ConnectionError):
        # The main process is gone: nobody would read an outcome.
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT  # as a shell says it
    except BaseException:
        log_lines.child_failed()
    finally:
        flush_streams()
        os._exit(code & 0xFF)


def _make(sock: socket.socket, permits_fd: int, run: RunFn | None, options: frames.ChildOptions) -> Child | ManyChild:
    # A pool whose child runs many deliveries has only one child: it loads its module itself.
    many: Callable[..., ManyChild]
    if options.kind in GREEN:
        many = import_module("taskq.worker.pools.child_green").GreenChild
        return many(sock, permits_fd, options, run)
    if options.kind == "asyncio":
        many = import_module("taskq.worker.pools.child_asyncio").AsyncioChild
        return many(sock, permits_fd, options, run)
    return Child(sock, permits_fd, run or partial(execute, soft_limit=signal_limit), options.max_memory)


def _breakpoint(*args: Any, **kwargs: Any) -> Any:
    """Do what ``breakpoint()`` does if PYTHONBREAKPOINT names something else than pdb, which needs a terminal."""
    if os.environ.get("PYTHONBREAKPOINT"):
        return sys.__breakpointhook__(*args, **kwargs)
    raise RuntimeError(
        "breakpoint() needs a terminal, and a process of the pool prefork has none: start a worker with -P solo."
    )


class Child:
    """The loop of one child. After a task that leaves more than ``max_memory`` KiB, if not 0, it starts no other."""

    def __init__(self, sock: socket.socket, permits_fd: int, run: RunFn, max_memory: int) -> None:
        # The project may have set a default time-out for sockets.
        sock.setblocking(True)
        self._inbox = ChildInbox(sock, permits_fd, isolation.when_idle)
        self._outbox = ChildOutbox(sock)
        self._run = run
        self._max_memory = max_memory
        self._forks = forks()
        self._thread = threading.get_ident()
        #: The job that runs, 0 if none does.
        self._job = 0

    def work(self) -> int:
        """Run deliveries until the main process asks to stop; return the exit code."""
        end_if_forked(self._forks)  # by a receiver of worker_process_init
        self._outbox.send(frames.UP, os.getpid())
        while (delivery := self._inbox.next()) is not None:
            outcome = self._perform(delivery)
            if self._max_memory:
                outcome.memory = resident_kib()
            self._send_outcome(delivery, outcome)
            if not isolation.is_clean():
                self._outbox.send(frames.LEAVING, None)
                self._inbox.wait_for_stop()
            if outcome.memory > self._max_memory > 0:
                self._inbox.wait_for_stop()
        return 0

    def _perform(self, delivery: Delivery) -> Outcome:
        clock.use(delivery.clock)
        self._job = delivery.job
        try:
            return self._run(delivery, self._report)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            log_lines.delivery_failed(delivery, error)
            return outcomes.crashed(delivery, error)
        finally:
            end_if_forked(self._forks)
            self._job = 0

    def listen(self, questions: int, ending: int) -> None:
        """Answer in a thread of its own where a task is: this one does nothing else while it runs."""
        StackThread(questions, ending, self.answer_stack).start()

    def answer_stack(self, job: int) -> None:
        """Tell the main process where the task of a job is, if it runs. Called in another thread."""
        text = stack_texts.of_process(self._thread) if self._job == job else ""
        self._outbox.send(frames.STACK, (job, text))

    def _send_outcome(self, delivery: Delivery, outcome: Outcome) -> None:
        try:
            self._outbox.send(frames.OUTCOME, outcome.to_wire())
        except ValueError as error:
            log_lines.outcome_not_sent(delivery)
            self._outbox.send(frames.OUTCOME, outcomes.crashed(delivery, error).to_wire())

    def _report(self, report: Report) -> None:
        self._outbox.send(frames.REPORT, report.to_wire())


def _prepare(hostname: str) -> None:
    """Give this process its own connections, random numbers and, by ``worker_process_init``, app set-up."""
    drop_connections()
    if "numpy" in sys.modules:
        # Python seeds its own generator after each fork; numpy does not.
        sys.modules["numpy"].random.seed()
    signals.send(signals.worker_process_init, sender=hostname)


def drop_connections() -> None:
    """Forget inherited connections without a word to their server. There should be none."""
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None:
            log_lines.connection_inherited(connection.alias)
            _inherited.append(connection.connection)
            connection.connection = None
