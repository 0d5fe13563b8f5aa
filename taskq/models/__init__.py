"""The rows of taskq: one noun a module. Only ``taskq.store`` changes them."""

from .message import Message, ScheduledMessage
from .run import Attempt, TaskRun
from .topology import Binding, Exchange, Queue
from .worker import Lease, Worker

__all__ = [
    "Attempt",
    "Binding",
    "Exchange",
    "Lease",
    "Message",
    "Queue",
    "ScheduledMessage",
    "TaskRun",
    "Worker",
]
