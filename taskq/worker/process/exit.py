"""Ends a worker's process without waiting for its threads.

Called by the watchdog, and by the command when a threads pool has left a running task behind:
Python's normal exit would wait for the threads of its executors, for ever.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from taskq.processes import flush_streams

#: The most seconds that the last calls may take.
_TIMEOUT = 2.0


def end_process(status: int, *last_calls: Callable[[], object]) -> NoReturn:
    """Call ``last_calls`` and end the process with ``status``, also if one of them hangs."""
    # In a thread each: a call may wait for a lock of logging that a hanging thread holds, or for a full pipe.
    threads = [threading.Thread(target=call, daemon=True) for call in last_calls]
    deadline = time.monotonic() + _TIMEOUT
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
    finally:
        os._exit(status)


def run_exit_handlers() -> None:
    """Run ``atexit`` functions, which close the logs, and flush the streams, as Python's exit does after threads."""
    atexit._run_exitfuncs()
    flush_streams()
