"""The end of a worker's process that waits for none of its threads.

Called by the watchdog, and by the command when a pool of threads has left a task behind:
the interpreter's own end would wait for the threads of its executors, for ever.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from typing import NoReturn

from .system import flush_streams

#: Seconds for the last words, at most.
_PATIENCE = 2.0


def end_process(status: int, last_words: Callable[[], object]) -> NoReturn:
    """Call ``last_words`` and end the process with ``status``, also if that call hangs."""
    # On a thread of its own: another one may hang in logging, and hold what this would wait for.
    speaker = threading.Thread(target=last_words, daemon=True)
    speaker.start()
    speaker.join(_PATIENCE)
    os._exit(status)


def run_exit_handlers() -> None:
    """Do what the interpreter does at its end but wait for threads: ``atexit``, which closes the logs, and streams."""
    atexit._run_exitfuncs()
    flush_streams()
