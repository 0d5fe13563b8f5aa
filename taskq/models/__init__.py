"""The rows of taskq: one noun a module. Only ``taskq.store`` changes them."""

from .event import TaskEvent
from .failure import Error, ErrorCount, Failure
from .large_text import LargeText
from .log import TaskLog
from .message import CLAIM_ORDER, DUE_ORDER, KeptMessage, Message, ScheduledMessage
from .pause import QueuePause
from .rate import RateLimit
from .rerun import Rerun
from .revocation import Revocation
from .run import Attempt, TaskRun
from .statistic import Statistic
from .topology import Binding, Exchange, Queue
from .worker import Lease, Worker
from .workflow import Group, Node

__all__ = [
    "CLAIM_ORDER",
    "DUE_ORDER",
    "Attempt",
    "Binding",
    "Error",
    "ErrorCount",
    "Exchange",
    "Failure",
    "Group",
    "KeptMessage",
    "LargeText",
    "Lease",
    "Message",
    "Node",
    "Queue",
    "QueuePause",
    "RateLimit",
    "Rerun",
    "Revocation",
    "ScheduledMessage",
    "Statistic",
    "TaskEvent",
    "TaskLog",
    "TaskRun",
    "Worker",
]
