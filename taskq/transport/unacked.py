"""The unacknowledged messages of a channel, in place of kombu's ``QoS``.

Their rows carry the connection's token; here are only their ids, in the order in which the
messages were handed over.
"""

from __future__ import annotations

from typing import Any


class Unacked:
    """``prefetch_count`` is how many messages may be unacknowledged at a time; 0 is without limit."""

    def __init__(self, channel: Any, prefetch_count: int | None = 0) -> None:
        self.channel = channel
        self.prefetch_count = prefetch_count or 0
        self._out: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self._out)

    def can_consume(self) -> bool:
        """Tell whether one more message may be handed over."""
        return self.can_consume_max_estimate() != 0

    def can_consume_max_estimate(self) -> int | None:
        """Return how many more messages may be handed over; ``None`` without limit."""
        return max(0, self.prefetch_count - len(self._out)) if self.prefetch_count else None

    def append(self, message: Any, delivery_tag: int) -> None:
        """Note that a message was handed over."""
        self._out[delivery_tag] = message

    def get(self, delivery_tag: int) -> Any:
        """Return an unacknowledged message. Raises ``KeyError``."""
        return self._out[delivery_tag]

    def take(self, delivery_tag: int, *, multiple: bool = False) -> list[int]:
        """Remove a message, with ``multiple`` also those handed over before it; return their tags."""
        tags = [delivery_tag]
        if multiple and delivery_tag in self._out:
            order = list(self._out)
            tags = order[: order.index(delivery_tag) + 1]
        return [tag for tag in tags if self._out.pop(tag, None) is not None]

    def take_all(self) -> list[int]:
        """Remove all messages; return their tags."""
        tags = list(self._out)
        self._out.clear()
        return tags
