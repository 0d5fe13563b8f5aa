"""What can be done from the pages, one module for each kind of thing. Importing this registers all of it.

The modules are called by ``taskq_admin.views.action``, and act through taskq's public API.
"""

from __future__ import annotations

from . import queues, tasks, workers, workflows
from .base import ACTIONS, Action, Report, Who, get, offered, register

__all__ = [
    "ACTIONS",
    "Action",
    "Report",
    "Who",
    "get",
    "offered",
    "queues",
    "register",
    "tasks",
    "workers",
    "workflows",
]
