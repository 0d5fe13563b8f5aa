"""Work that met locked rows, set aside by its message and tried again after growing pauses.

The ledger keeps it here, so that a locked row delays the message that needs it and no other.
"""

from __future__ import annotations

import math
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
Call = Callable[[], None]

#: Seconds before the second try; each further pause is twice as long.
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0
#: The pause after tries that waited for locks in vain is so many times as long as they waited.
_REST = 4


@dataclass(frozen=True, slots=True)
class Write:
    """A call that uses the database, about one message; ``otherwise`` is called if it can never succeed."""

    message_id: int
    call: Call
    otherwise: Call = lambda: None


@dataclass(slots=True)
class _Waiting(Generic[T]):
    """The work on one message, in its order; the first piece is tried next."""

    pieces: deque[T]
    due: float
    pause: float = field(default=_FIRST_PAUSE)


class SetAside(Generic[T]):
    """Pieces of work by message id. The pieces for one message are done in their order."""

    def __init__(self) -> None:
        self._waiting: dict[int, _Waiting[T]] = {}
        self._earliest = math.inf
        self._rest_until = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, message_id: int) -> bool:
        return message_id in self._waiting

    def pieces(self) -> list[T]:
        """Return all work that is set aside."""
        return [piece for waiting in self._waiting.values() for piece in waiting.pieces]

    def add(self, message_id: int, piece: T) -> None:
        """Set a piece of work aside, behind what is here for the same message."""
        waiting = self._waiting.get(message_id)
        if waiting is None:
            due = time.monotonic() + _FIRST_PAUSE * random.uniform(0.5, 1)
            self._waiting[message_id] = _Waiting(deque([piece]), due)
            self._earliest = min(self._earliest, due)
        else:
            waiting.pieces.append(piece)

    def due(self) -> list[tuple[int, T]]:
        """Return the pieces that are to be tried now, each with its message id."""
        now = time.monotonic()
        if now < self.next_due:
            return []
        return [(message_id, w.pieces[0]) for message_id, w in self._waiting.items() if w.due <= now]

    def done(self, message_id: int) -> None:
        """Forget the piece that was tried; the next piece for the message is due at once."""
        waiting = self._waiting[message_id]
        waiting.pieces.popleft()
        if waiting.pieces:
            waiting.due = 0.0
        else:
            del self._waiting[message_id]

    def failed(self, message_id: int) -> None:
        """Try the piece again after a longer pause."""
        waiting = self._waiting[message_id]
        waiting.due = time.monotonic() + waiting.pause * random.uniform(0.5, 1)
        waiting.pause = min(2 * waiting.pause, _LONGEST_PAUSE)

    def rest(self, wasted: float) -> None:
        """End a round of tries, which waited ``wasted`` seconds for locks in vain, with a pause for other work."""
        self._rest_until = time.monotonic() + _REST * wasted
        self._earliest = min((w.due for w in self._waiting.values()), default=math.inf)

    @property
    def next_due(self) -> float:
        """When the next piece is to be tried, by the monotonic clock."""
        return max(self._earliest, self._rest_until)
