"""What a fresh Python of a pool does after ``boot``: it sets up Django and the log, and is a fork server or a child.

The main process starts it by ``start_fork_server``, when a pool is restarted with new code.
"""

from __future__ import annotations

import os
import socket
from importlib import import_module
from pkgutil import resolve_name
from typing import Any, NoReturn

import django
from django.conf import settings as django_settings

from taskq.conf import settings
from taskq.logs import setup_worker_logging
from taskq.worker import log_lines
from taskq.worker.process.nodenames import expand
from taskq.worker.process.streams import protect_streams
from taskq.worker.process.system import die_with_parent, ignore_group_signals

from . import frames
from .forkserver import ForkServer
from .interpreter import Interpreter


def start_fork_server(interpreter: Interpreter) -> ForkServer:
    """Start a fork server that imports the project anew; it answers a ping once it has. Raises ``OSError``."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            pid = interpreter.spawn([theirs.fileno()], socket=theirs.fileno(), parent=os.getpid())
        except BaseException:
            ours.close()
            raise
    return ForkServer(pid, ours)


def become(brief: dict[str, Any]) -> NoReturn:
    """Be the fork server or the child that a brief describes; the process ends with it."""
    parent = brief.pop("parent")
    # The import of the project may hang.
    die_with_parent(parent)
    if (child := brief.pop("child", None)) is not None:
        _become_child(Interpreter(**brief), parent, *child)
    sock = brief.pop("socket")
    interpreter = Interpreter(**brief)
    set_up(interpreter)
    # The tasks that every worker has, and what forks: both import the models.
    import_module("taskq.execution.builtins")
    import_module("taskq.worker.pools.forkserver_process").become(sock, parent, many=interpreter.many)
    raise SystemExit


def _become_child(interpreter: Interpreter, parent: int, fds: list[int], options: list[Any]) -> NoReturn:
    """Be a child; ``parent`` is the fork server."""
    ignore_group_signals()
    set_up(interpreter)
    for fd in fds:
        os.set_inheritable(fd, False)
    import_module("taskq.execution.builtins")
    children = import_module("taskq.worker.pools.child")
    run = resolve_name(interpreter.run) if interpreter.run else None
    children.main(children.Descriptors(*fds), parent, run, frames.ChildOptions(*options))
    raise SystemExit


def set_up(interpreter: Interpreter) -> None:
    """Set up Django and the log, which imports the tasks. An error is logged, and ends the process."""
    protect_streams()
    try:
        if interpreter.broker != settings.BROKER_URL:
            # The worker's option --broker.
            django_settings.TASKQ_BROKER_URL = interpreter.broker
            settings.clear()
        django.setup()
    except Exception:
        _set_up_logging(interpreter)
        log_lines.code_not_imported()
        raise SystemExit(1) from None
    _set_up_logging(interpreter)


def _set_up_logging(interpreter: Interpreter) -> None:
    logfile, node = interpreter.logfile, interpreter.node
    setup_worker_logging(
        interpreter.loglevel,
        logfile and expand(logfile, node, 0),
        file_of=(lambda process: logfile and expand(logfile, node, process)) if interpreter.own_files else None,
        color=interpreter.color,
    )
