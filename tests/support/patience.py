"""How a storm lets a slow machine come to an end: after some strikes without any progress it waits for some."""

from __future__ import annotations

from collections.abc import Callable

#: So many strikes in a row may hit before anything has come of the work.
_IN_VAIN = 3


class Patience:
    """Tells whether to strike. ``progress`` gives a number that changes as tasks end.

    Where a start takes longer than the time between two strikes, as on a busy machine,
    nothing would ever end without it.
    """

    def __init__(self, progress: Callable[[], int]) -> None:
        self._progress = progress
        self._seen = progress()
        self._in_vain = 0

    def may_strike(self) -> bool:
        """Tell whether the last few strikes left something to be done in between."""
        if (now := self._progress()) != self._seen:
            self._seen, self._in_vain = now, 0
        return self._in_vain < _IN_VAIN

    def struck(self) -> None:
        """Note that a strike has hit."""
        self._in_vain += 1
