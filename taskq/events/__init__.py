"""Events: what happens to workers and tasks, as messages that monitors read while it happens.

Workers send them in Celery's layout (``dispatcher``), on the thread of remote control; ``receiving`` reads them, and
``state`` keeps what they say of a cluster. Rows are the truth about tasks: events may be lost.
"""

from __future__ import annotations

from .camera import Camera
from .receiving import Receiver
from .state import ClusterState

__all__ = ["Camera", "ClusterState", "Receiver"]
