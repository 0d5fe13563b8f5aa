"""Charts as plain numbers: where each shape of an inline SVG is. Templates draw them.

Its modules are loaded on first use: see ``taskq_admin.late``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskq_admin.late import late_modules

if TYPE_CHECKING:
    from . import sparks as sparks
    from . import workflow as workflow
else:
    __getattr__ = late_modules(__name__)
