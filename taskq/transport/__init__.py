"""``django://``: kombu's transport over the Django ORM.

Importing this registers it: ``kombu.Connection("django://")`` uses the database
``TASKQ_DATABASE``, ``django://alias`` another entry of ``DATABASES``. It carries remote
control and events, and serves any program that uses kombu. No model is loaded before a
connection is used.
"""

from __future__ import annotations

from kombu.transport import TRANSPORT_ALIASES

from .transport import Transport

TRANSPORT_ALIASES["django"] = "taskq.transport:Transport"

__all__ = ["Transport"]
