"""``Producer.batch()``: messages are collected and sent in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .channel import Channel


class PublishBatch:
    """The batch that kombu's ``Producer.batch()`` uses. A flush sends all messages or, if it raises, none."""

    def __init__(self, channel: Channel, max_size: int) -> None:
        self.channel = channel
        self._max_size = max_size
        self._collected: list[tuple[dict[str, Any], str, str]] = []

    def publish(self, message: dict[str, Any], exchange: str = "", routing_key: str = "", **kwargs: Any) -> None:
        """Collect a message; when there are ``max_size`` of them, flush."""
        self._collected.append((message, exchange or "", routing_key or ""))
        if len(self._collected) >= self._max_size:
            self.flush()

    def flush(self) -> None:
        """Send the collected messages."""
        if self._collected:
            self.channel.send(self._collected)
            self._collected = []

    def discard(self) -> None:
        """Drop the collected messages."""
        self._collected = []

    close = discard
