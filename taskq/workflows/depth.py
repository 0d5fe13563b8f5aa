"""A clear error for a canvas that is nested too deeply, in place of a ``RecursionError`` from somewhere inside.

Users meet it with chords in a row: each chord is the body of the chord before it, as in Celery.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from taskq.exceptions import EncodeError

__all__ = ["limit_depth"]

_MOST_CAUSES = 5


@contextmanager
def limit_depth() -> Iterator[None]:
    """Raise ``ValueError`` if the block nests too deeply for Python, or for the encoder of the message."""
    try:
        yield
    except (RecursionError, EncodeError) as error:
        if not _is_recursion(error):
            raise
        raise ValueError(
            "This canvas is nested too deeply to be sent. Each chord in a row is nested in the chord before it: "
            f"Python's recursion limit of {sys.getrecursionlimit()} allows about {sys.getrecursionlimit() // 6}. "
            "Send the canvas in parts: the last task of a part can replace() itself by the next part."
        ) from None


def _is_recursion(error: BaseException | None) -> bool:
    """Tell whether a ``RecursionError`` caused ``error``: encoders wrap it in errors of their own."""
    for _ in range(_MOST_CAUSES):
        if error is None or isinstance(error, RecursionError):
            break
        error = error.__cause__
    return isinstance(error, RecursionError)
