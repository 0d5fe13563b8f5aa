"""The commands of workers, a module for each family. Importing this package registers them.

A handler runs on the thread of remote control, and takes what comes as keywords: ``**_`` are arguments of other
versions, and of Celery's callers.
"""

from __future__ import annotations

from . import events as events
from . import inspection as inspection
from . import pool as pool
from . import queues as queues
from . import tasks as tasks
from . import worker as worker
