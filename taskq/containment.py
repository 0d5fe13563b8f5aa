"""Code of the project that runs around a task: its errors must not cost the task's outcome.

That code are handlers, filters and formatters of the log, receivers of signals, subscribers of hooks, and the
``__repr__`` or the ``__str__`` of values. In a worker each of their exceptions is caught, also ``SystemExit``: only the
function of a task may end its process. Elsewhere a ``SystemExit`` or a ``KeyboardInterrupt`` is the caller's own.
"""

from __future__ import annotations

_contained: type[BaseException] = Exception


def contain_exits() -> None:
    """Catch every exception of such code from now on. Called by the processes of a worker when they start."""
    global _contained
    _contained = BaseException


def contained() -> type[BaseException]:
    """Return the class of the exceptions to catch here."""
    return _contained
