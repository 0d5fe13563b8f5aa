"""Ends a worker's process without waiting for its threads.

Called by the watchdog, and by the command when a threads pool has left a running task behind:
Python's normal exit would wait for the threads of its executors, for ever.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from typing import NoReturn

from taskq.processes import flush_streams

#: The most seconds that the last call may take.
_TIMEOUT = 2.0


def end_process(status: int, last_call: Callable[[], object]) -> NoReturn:
    """Call ``last_call`` and end the process with ``status``, also if that call hangs."""
    # In another thread: the call may wait for a lock of logging that a hanging thread holds.
    thread = threading.Thread(target=last_call, daemon=True)
    try:
        thread.start()
        thread.join(_TIMEOUT)
    finally:
        os._exit(status)


def run_exit_handlers() -> None:
    """Run ``atexit`` functions, which close the logs, and flush the streams, as Python's exit does after threads."""
    atexit._run_exitfuncs()
    flush_streams()
