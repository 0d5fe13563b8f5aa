"""A sparkline: the last hour of a queue as one path of bars, small enough for a table's row."""

from __future__ import annotations

from collections.abc import Sequence

#: The size of a sparkline in its own units.
WIDTH, HEIGHT = 60, 16


def spark(values: Sequence[int]) -> str:
    """Return the path of bars, a unit wide each; whatever is not zero is seen. Without any, the path is empty.

    >>> spark([0, 1, 2])
    'M1 16V8H2V16ZM2 16V0H3V16Z'
    """
    highest = max(values, default=0)
    bars = []
    for number, value in enumerate(values):
        if value > 0:
            top = min(HEIGHT - 1, HEIGHT - round(HEIGHT * value / highest))
            bars.append(f"M{number} {HEIGHT}V{top}H{number + 1}V{HEIGHT}Z")
    return "".join(bars)
