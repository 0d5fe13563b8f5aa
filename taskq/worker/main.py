"""Runs a worker from its ``WorkerConfig``, and returns its ``WorkerExit``. Called by the command ``taskworker``.

The order matters: the fork server is forked before there is any thread, connection or Hub, so that children start
from a clean process. All modules are loaded by then: an import writes to names that lie all over the memory that the
processes share, and so copies much of it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings as django_settings
from django.db import connections

from taskq import __version__, signals
from taskq.calls.registry import tasks
from taskq.conf import database_broker_alias, masked_url, settings, two_databases
from taskq.containment import contain_exits
from taskq.engines import configuration
from taskq.logs import setup_worker_logging

from . import log_lines
from .node import Service, WorkerNode
from .options import WorkerOptions
from .pools.base import Pool
from .pools.forkserver_process import launch
from .pools.interpreter import Interpreter
from .pools.registry import WITH_CHILDREN, pool_class
from .process.daemon import Background, redirect_streams
from .process.forked import kill_helpers, prepare
from .process.nodenames import expand, hostname
from .process.signals import SignalHandlers
from .process.system import return_large_blocks
from .remote.connection import load_transport
from .started import Started


@dataclass(slots=True, kw_only=True)
class WorkerConfig(WorkerOptions):
    """The options of a worker and of its process: the command line's, or else the settings'."""

    loglevel: str | None
    #: Template of the log file's name; ``%i`` and ``%I`` differ between processes.
    logfile: str | None
    color: bool
    #: Whether a worker that got HUP has started this process.
    restarted: bool = False
    #: Whether the worker runs in the background; ``background`` is set while the command waits in the terminal.
    detached: bool = False
    background: Background | None = None

    def logfile_of(self, process: int) -> str | None:
        """Return the log file of a child, by its number from 1, or of the main process, which is 0."""
        return self.logfile and expand(self.logfile, self.name, process)


def validate_config(config: WorkerConfig) -> None:
    """Raise ``ValueError`` for settings and options that don't go together, before the worker leaves the terminal."""
    _refuse_unusable(_alias())
    _refuse_contradiction(config)
    pool = pool_class(config.pool)
    _refuse_unlimited(pool, config)
    _refuse_scaling(pool, config)
    pool.refuse(_interpreter(config))


@dataclass(frozen=True, slots=True)
class WorkerExit:
    """The end of a worker: its exit status, whether it is to start again, and whether a task still runs."""

    status: int
    restart: bool
    left_behind: bool


def run_worker(config: WorkerConfig, services: Sequence[Service] = ()) -> WorkerExit:
    """Run a worker until it has ended, and return how. ``services`` are rooms that take part in it."""
    signals.send(signals.worker_starting, config.name, instance=config, conf=settings, options=config)
    _set_up_logging(config)
    try:
        return _run(config, services)
    except Exception:
        if config.detached:
            # The command prints the error, but a detached process has no terminal.
            log_lines.worker_crashed()
        raise


def _run(config: WorkerConfig, services: Sequence[Service]) -> WorkerExit:
    if services:
        load_transport()
    config.info = _info(config)
    config.interpreter = _interpreter(config)
    fork_server = None
    if pool_class(config.pool).needs_fork_server:
        fork_server = launch(many=bool(config.max_tasks_per_child), interpreter=config.interpreter)
    with Started() as started:
        if fork_server is not None:
            started.will_need(fork_server.end)
        node = WorkerNode(config, _alias(), fork_server, services)
    signals.send(signals.worker_after_setup, config.name, instance=node, conf=settings)
    handlers = SignalHandlers(node, node.calls.post, restarted=config.restarted)
    handlers.install()
    contain_exits()
    prepare()
    return_large_blocks()
    try:
        status = node.run()
    finally:
        kill_helpers()
    return WorkerExit(status, handlers.restarting(), node.consumer.pool.left_behind)


def _set_up_logging(config: WorkerConfig) -> None:
    """Open the log, then leave the terminal if detached. The terminal waits until the worker is ready."""
    setup_worker_logging(
        config.loglevel,
        config.logfile_of(0),
        file_of=config.logfile_of if _own_files(config) else None,
        color=config.color and sys.stderr.isatty(),
    )
    if background := config.background:
        background.leave_terminal()
        log_lines.worker_ready.subscribe(lambda name: background.report_ready())
    elif config.detached:
        redirect_streams(None)


def _alias() -> str:
    alias = database_broker_alias()
    if alias is None:
        raise ValueError(f"TASKQ_BROKER_URL: workers take tasks from django:// in this version, not {_broker()}.")
    if alias != settings.DATABASE:
        raise ValueError(two_databases(alias))
    return alias


def _refuse_unusable(alias: str) -> None:
    if found := configuration.problems(connections[alias]):
        raise ValueError(f"The database {alias!r} can't be used: {found[0]} See DATABASES, or set TASKQ_DATABASE.")


def _broker() -> str:
    return masked_url(settings.BROKER_URL)


def _refuse_contradiction(config: WorkerConfig) -> None:
    if config.time_limit and config.soft_time_limit and config.soft_time_limit > config.time_limit:
        raise ValueError(
            f"--soft-time-limit (TASKQ_SOFT_TIME_LIMIT) is {config.soft_time_limit:g} s, "
            f"beyond --time-limit (TASKQ_TIME_LIMIT) of {config.time_limit:g} s: the soft limit would never be reached."
        )


def _refuse_unlimited(pool: type[Pool], config: WorkerConfig) -> None:
    """Raise ``ValueError`` for limits that the pool can't enforce."""
    if not pool.supports_hard_limit:
        if config.time_limit:
            raise ValueError(
                f"The {pool.name} pool can't kill a task: --time-limit (TASKQ_TIME_LIMIT) needs {WITH_CHILDREN}."
            )
        limited = sorted(name for name, task in tasks.items() if task.time_limit not in (None, 0, settings.TIME_LIMIT))
        if limited:
            raise ValueError(
                f"The {pool.name} pool can't kill a task: time_limit of {', '.join(limited)} needs {WITH_CHILDREN}."
            )
    if not pool.supports_recycling and (config.max_tasks_per_child or config.max_memory_per_child):
        raise ValueError(
            f"The {pool.name} pool has no children: --max-tasks-per-child and --max-memory-per-child need "
            f"{WITH_CHILDREN}."
        )


def _refuse_scaling(pool: type[Pool], config: WorkerConfig) -> None:
    """Raise ``ValueError`` for a number of tasks at a time that the pool can't have, or can't grow to."""
    if config.autoscale and not pool.supports_resizing:
        raise ValueError(
            f"The {pool.name} pool can't grow: --autoscale (TASKQ_AUTOSCALE) needs threads, {WITH_CHILDREN}."
        )
    most = pool.max_concurrency
    if config.autoscale and most is not None and config.autoscale[0] > most:
        raise ValueError(
            f"The {pool.name} pool runs at most {most} tasks at a time: change --autoscale (TASKQ_AUTOSCALE), "
            f"which is {config.autoscale[0]},{config.autoscale[1]}."
        )
    pool.refuse_above_most(config.concurrency)


def _interpreter(config: WorkerConfig) -> Interpreter | None:
    """Return how a fresh Python imports this project, or ``None``: its settings are in no module."""
    module = getattr(django_settings, "SETTINGS_MODULE", None)
    return module and Interpreter(
        module,
        settings.BROKER_URL,
        config.name,
        config.loglevel,
        config.logfile,
        own_files=_own_files(config),
        color=config.color and sys.stderr.isatty(),
        many=bool(config.max_tasks_per_child),
    )


def _own_files(config: WorkerConfig) -> bool:
    return config.logfile_of(0) != config.logfile_of(1)


def _info(config: WorkerConfig) -> dict[str, Any]:
    """Return the rest of the worker's row."""
    return {
        "host": hostname(),
        "queues": [queue.name for queue in config.queues],
        "concurrency": config.concurrency,
        "pool": config.pool,
        "version": __version__,
        "python": sys.version.split()[0],
    }
