"""What follows a message."""

from __future__ import annotations

from typing import Any

from tests.unit.canvas.jobs import embed_of


def tail(envelope: Any) -> list[Any]:
    """Return what follows a message in its chain, the next one first."""
    return list(reversed(embed_of(envelope)["chain"] or []))
