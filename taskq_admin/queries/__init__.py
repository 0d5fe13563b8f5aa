"""Everything that the pages read, and how stored text is made readable.

Read-only: no function here changes a row. Every query names
``TASKQ_DATABASE``'s alias, looks at a bounded number of rows or probes an index.

Its modules are loaded on first use: see ``taskq_admin.late``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskq_admin.late import late_modules

if TYPE_CHECKING:
    from . import errors as errors
    from . import listing as listing
    from . import matching as matching
    from . import queues as queues
    from . import runs as runs
    from . import tabs as tabs
    from . import times as times
    from . import workers as workers
    from . import workflow_list as workflow_list
    from . import workflows as workflows
else:
    __getattr__ = late_modules(__name__)
