"""``django://``: kombu's transport over the Django ORM.

Importing this registers it: ``kombu.Connection("django://")`` uses the database
``TASKQ_DATABASE``, ``django://alias`` any other of ``DATABASES``. It carries remote
control and events, and serves any program of kombu. Nothing here loads a model
before a connection is used.
"""

from __future__ import annotations

from kombu.transport import TRANSPORT_ALIASES

from .transport import Transport

TRANSPORT_ALIASES["django"] = "taskq.transport:Transport"

__all__ = ["Transport"]
