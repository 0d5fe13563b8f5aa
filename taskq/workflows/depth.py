"""Canvases that are nested deeper than Python can follow: an error that says so, in place of one from somewhere inside.

Chords in a row are the case that people meet: each is the body of the one before, in
Celery's form as in ours.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from taskq.exceptions import EncodeError

__all__ = ["limited"]

_MOST_CAUSES = 5


@contextmanager
def limited() -> Iterator[None]:
    """Raise ``ValueError`` where the block goes too deep, be it in Python or in the encoder of the message."""
    try:
        yield
    except (RecursionError, EncodeError) as error:
        if not _is_recursion(error):
            raise
        raise ValueError(
            "This canvas is nested too deeply to be sent. Chords in a row count, each is nested in the one before: "
            f"with Python's recursion limit of {sys.getrecursionlimit()} there may be some "
            f"{sys.getrecursionlimit() // 6}. Send it in parts: the last task of one may replace() itself by the next."
        ) from None


def _is_recursion(error: BaseException | None) -> bool:
    """Tell whether a ``RecursionError`` is behind ``error``: encoders put their own around it."""
    for _ in range(_MOST_CAUSES):
        if error is None or isinstance(error, RecursionError):
            break
        error = error.__cause__
    return isinstance(error, RecursionError)
