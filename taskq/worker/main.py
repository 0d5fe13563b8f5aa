"""From a parsed command line to a running worker, and back with its exit status.

The order matters: the fork server is made before there is any thread, connection or
Hub, so that children start from a clean process.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from kombu.entity import Queue

from taskq import signals
from taskq.calls.registry import tasks
from taskq.conf import database_broker_alias, masked_url, settings, two_databases
from taskq.logs import setup_worker_logging

from .node import Node, NodeOptions
from .pools import pool_class
from .pools.base import Pool
from .pools.forkserver import launch
from .process.daemon import Background, lead_streams
from .process.nodenames import expand, hostname
from .process.signals import SignalHandlers

logger = logging.getLogger("taskq.worker")


@dataclass(slots=True)
class Start:
    """How a worker is to be started: the command line with the settings behind it."""

    name: str
    queues: Sequence[Queue]
    concurrency: int
    pool: str
    time_limit: float | None
    soft_time_limit: float | None
    prefetch_multiplier: int | None
    fair: bool
    max_tasks_per_child: int | None
    max_memory_per_child: int | None
    loglevel: str | None
    #: Template of the log file's name; what ``%i`` and ``%I`` stand for differs between processes.
    logfile: str | None
    color: bool
    #: HUP has started this process.
    restarted: bool = False
    #: In the background; ``background`` is there while somebody waits in the terminal.
    detached: bool = False
    background: Background | None = None

    def logfile_of(self, process: int) -> str | None:
        """Return the log file of a process of the pool, by its number from 1; 0 is the main process."""
        return self.logfile and expand(self.logfile, self.name, process)


def refuse_impossible(start: Start) -> None:
    """Raise ``ValueError`` for settings and options that don't go together, while somebody watches."""
    _alias()
    _refuse_contradiction(start)
    _refuse_unlimited(pool_class(start.pool), start)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a worker has ended: its exit status, whether it is to be started again, and whether a task still runs."""

    status: int
    restart: bool
    left_behind: bool


def run_worker(start: Start) -> Ended:
    """Run a worker and return how it ended."""
    signals.send(signals.worker_starting, start.name, options=start)
    _set_up_logging(start)
    try:
        return _run(start)
    except Exception:
        if start.detached:
            # Nobody reads what the command says of it.
            logger.critical("The worker ends.", exc_info=True)
        raise


def _run(start: Start) -> Ended:
    fork_server = launch() if start.pool == "prefork" else None
    node = Node(_options(start), _alias(), fork_server)
    signals.send(signals.worker_after_setup, start.name, instance=node)
    handlers = SignalHandlers(node, restarted=start.restarted)
    handlers.install()
    status = node.run()
    return Ended(status, handlers.restarting(), node.consumer.pool.left_behind)


def _set_up_logging(start: Start) -> None:
    """Open the log, and leave the terminal, which has nothing to hear after that."""
    own = start.logfile_of(0) != start.logfile_of(1)
    setup_worker_logging(
        start.loglevel,
        start.logfile_of(0),
        file_of=start.logfile_of if own else None,
        color=start.color and sys.stderr.isatty(),
    )
    if start.background:
        start.background.leave_terminal()
    elif start.detached:
        lead_streams(None)


def _alias() -> str:
    alias = database_broker_alias()
    if alias is None:
        raise ValueError(f"TASKQ_BROKER_URL: workers take tasks from django:// in this version, not {_broker()}.")
    if alias != settings.DATABASE:
        raise ValueError(two_databases(alias))
    return alias


def _broker() -> str:
    return masked_url(settings.BROKER_URL)


def _refuse_contradiction(start: Start) -> None:
    if start.time_limit and start.soft_time_limit and start.soft_time_limit > start.time_limit:
        raise ValueError(
            f"--soft-time-limit (TASKQ_SOFT_TIME_LIMIT) is {start.soft_time_limit:g} s, "
            f"beyond --time-limit (TASKQ_TIME_LIMIT) of {start.time_limit:g} s: no task would ever get it."
        )


def _refuse_unlimited(pool: type[Pool], start: Start) -> None:
    """Refuse what a pool can't do, rather than ignore it."""
    if not pool.supports_hard_limit:
        if start.time_limit:
            raise ValueError(f"The {pool.name} pool can't kill a task: --time-limit (TASKQ_TIME_LIMIT) needs prefork.")
        limited = sorted(name for name, task in tasks.items() if task.time_limit)
        if limited:
            raise ValueError(
                f"The {pool.name} pool can't kill a task: time_limit of {', '.join(limited)} needs prefork."
            )
    if not pool.supports_recycling and (start.max_tasks_per_child or start.max_memory_per_child):
        raise ValueError(f"The {pool.name} pool has no children: --max-tasks-per-child and its kin need prefork.")


def _options(start: Start) -> NodeOptions:
    return NodeOptions(
        hostname=start.name,
        queues=start.queues,
        concurrency=start.concurrency,
        pool=start.pool,
        time_limit=start.time_limit,
        soft_time_limit=start.soft_time_limit,
        prefetch_multiplier=start.prefetch_multiplier,
        fair=start.fair,
        max_tasks_per_child=start.max_tasks_per_child,
        max_memory_per_child=start.max_memory_per_child,
        info={
            "host": hostname(),
            "queues": [queue.name for queue in start.queues],
            "concurrency": start.concurrency,
            "pool": start.pool,
            "python": sys.version.split()[0],
        },
    )
