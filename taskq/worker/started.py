"""``Started``: the parts that a worker has started, so that none goes on if another one can't be started.

Used by ``node`` while it starts, and by ``main``.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from . import log_lines


class Started:
    """Ends what was started, the last first, if the ``with`` block fails.

    An ``Exception`` becomes a ``RuntimeError``, for a user who has no traceback; it is the cause.
    """

    def __init__(self) -> None:
        self._ends: list[Callable[[], object]] = []

    def will_need(self, end: Callable[[], object]) -> None:
        """Have ``end`` called if the block fails. It comes before the start, which may fail half-way."""
        self._ends.append(end)

    def __enter__(self) -> Started:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            return
        for end in reversed(self._ends):
            try:
                end()
            except Exception as second:  # the others are ended all the same
                log_lines.part_not_ended(second)
        if isinstance(error, Exception):
            raise RuntimeError(f"The worker can't start: {_text(error)}") from error


def _text(error: Exception) -> str:
    """Return the error in one line."""
    return " ".join((str(error) if isinstance(error, RuntimeError | OSError) else repr(error)).split())
