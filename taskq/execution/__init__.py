"""Runs one delivery and returns its ``Outcome``.

Called by every pool (``execute``), by eager calls (``inline``) and by ``taskq.testing`` (``pipeline.perform``).
``pipeline`` has the steps in order, ``outcomes`` the ends of a run. It never acknowledges, publishes or writes rows.
"""

from __future__ import annotations

from . import builtins as _builtins  # noqa: F401 - importing it registers the built-in tasks
from .pipeline import execute

__all__ = ["execute"]
