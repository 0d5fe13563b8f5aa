"""Runs one delivery: from a message that was handed over to an ``Outcome``.

Called by every pool (``execute``), by eager calls and by ``taskq.testing``
(``inline.run_inline``). ``pipeline`` has the steps in their order, ``endings``
says how a run can end. It never acknowledges, sends or writes anything.
"""

from __future__ import annotations

from . import builtins as _builtins  # noqa: F401 - the tasks that there always are: importing registers them
from .pipeline import execute

__all__ = ["execute"]
