"""Remote control as a service of a worker: it registers the mailbox with the worker's remote thread."""

from __future__ import annotations

from taskq.conf import settings
from taskq.worker.node import Service, WorkerNode

from . import registry
from .mailbox import Mailbox
from .state import WorkerState


class RemoteControl:
    """Answers commands in one worker. The commands are loaded when it is made."""

    def __init__(self) -> None:
        registry.load()

    def start(self, node: WorkerNode) -> None:
        """Read the mailbox."""
        node.remote.add(Mailbox(WorkerState(node)))

    def stop(self) -> None:
        """The mailbox ends with the thread."""


def services() -> list[Service]:
    """Return the services of a new worker, by the settings."""
    return [RemoteControl()] if settings.ENABLE_REMOTE_CONTROL else []
