"""The functions of ``taskq.control`` that have workers do something, with Celery's names and arguments.

Each takes ``broadcast``'s options: with ``reply=True`` it returns a list of the replies, each as ``{node: reply}``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .broadcasts import Replies, broadcast

Destination = str | Sequence[str] | None
Answer = Replies | None


def ping(destination: Destination = None, timeout: float = 1.0, **options: Any) -> Answer:
    """Return ``{node: {"ok": "pong"}}`` of each worker that answers within ``timeout`` seconds."""
    return broadcast("ping", {}, destination, reply=True, timeout=timeout, **options)


def shutdown(destination: Destination = None, **options: Any) -> Answer:
    """Shut workers down as TERM does: running tasks may end. There is no reply."""
    return broadcast("shutdown", {}, destination, **options)
