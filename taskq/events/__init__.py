"""Events: what happens to workers and tasks, as messages that monitors read while it happens.

Workers send them in Celery's layout (``dispatcher``), on the thread of remote control; ``receiving`` reads them, and
``state`` keeps what they say of a cluster. Rows are the truth about tasks: events may be lost.
Names are loaded on first use: a worker reads no events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskq.dotted import late_names

if TYPE_CHECKING:
    from .camera import Camera as Camera
    from .receiving import Receiver as Receiver
    from .state import ClusterState as ClusterState

_WHERE = {
    "Camera": "taskq.events.camera",
    "ClusterState": "taskq.events.state",
    "Receiver": "taskq.events.receiving",
}

__all__ = ["Camera", "ClusterState", "Receiver"]

__getattr__, __dir__ = late_names(__name__, _WHERE)
