"""Views that several ``ModelAdmin`` classes serve at addresses of their own, and parts of pages.

Its modules are loaded on first use: see ``taskq_admin.late``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskq_admin.late import late_modules

if TYPE_CHECKING:
    from . import action as action
    from . import audit as audit
    from . import buttons as buttons
    from . import overview as overview
    from . import run_page as run_page
    from . import run_task as run_task
    from . import stacks as stacks
    from . import workflow_of_task as workflow_of_task
else:
    __getattr__ = late_modules(__name__, before="taskq_admin.actions")
