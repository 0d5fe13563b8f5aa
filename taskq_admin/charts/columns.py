"""A chart of stacked columns: one for each period, with the parts of its sum on top of each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: The size of a chart in its own units; the page scales it.
WIDTH, HEIGHT = 600.0, 100.0
#: The share of a column's place that stays empty.
_GAP = 0.2
#: The smallest height of a part that is not zero: one failure among a thousand successes is seen.
_LEAST = 1.5


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a column: the number of its series, its place and its size."""

    series: int
    x: float
    y: float
    width: float
    height: float


def stacked(columns: Sequence[Sequence[int]]) -> list[list[Part]]:
    """Return the parts of each column, the first series at the bottom. The highest column fills the chart.

    >>> [[(part.series, part.y, part.height) for part in parts] for parts in stacked([[1, 1], [0, 0]])]
    [[(0, 50.0, 50.0), (1, 0.0, 50.0)], []]
    """
    highest = max(map(sum, columns), default=0)
    place = WIDTH / max(1, len(columns))
    return [
        _column(number * place + place * _GAP / 2, place * (1 - _GAP), values, highest)
        for number, values in enumerate(columns)
    ]


def _column(x: float, width: float, values: Sequence[int], highest: int) -> list[Part]:
    heights = [max(_LEAST, HEIGHT * value / highest) if value else 0.0 for value in values]
    # Small parts that were made visible take their height from the largest one.
    surplus = sum(heights) - HEIGHT * sum(values) / max(1, highest)
    if surplus > 0:
        largest = heights.index(max(heights))
        heights[largest] = max(_LEAST, heights[largest] - surplus)
    parts, y = [], HEIGHT
    for series, height in enumerate(heights):
        if height:
            y -= height
            parts.append(Part(series, round(x, 2), round(max(0.0, y), 2), round(width, 2), round(height, 2)))
    return parts
