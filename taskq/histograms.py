"""Histograms of times: how many of them fell between fixed bounds. Their sums are histograms again.

So workers count on their own, and a chart adds up minutes and workers before it asks for a percentile.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

#: The upper bounds of all buckets but the last one, in seconds; each is about the root of ten times the one before.
BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
#: The number of buckets.
BUCKETS = len(BOUNDS) + 1


def bucket(seconds: float) -> int:
    """Return the number of the bucket of a time: the first whose bound is not less."""
    return bisect_left(BOUNDS, seconds)


class Percentile(NamedTuple):
    """A time in seconds; ``sign`` is ``<`` or ``>`` if no more is known than that it lies below or above."""

    seconds: float
    sign: str = ""


def percentile(counts: Sequence[int], share: float) -> Percentile | None:
    """Return the time that ``share`` (0 to 1) of the counted times do not exceed; ``None`` for none.

    Within a bucket times are taken to be spread evenly by their logarithm. What is known of the first bucket is its
    upper bound only, of the last one its lower.

    >>> round(percentile([0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0], 0.5).seconds, 2)
    0.55
    """
    wanted, before = share * sum(counts), 0
    for number, count in enumerate(counts):
        if count and before + count >= wanted:
            if number == 0:
                return Percentile(BOUNDS[0], "<")
            low = BOUNDS[number - 1]
            if number == len(BOUNDS):
                return Percentile(low, ">")
            return Percentile(low * math.pow(BOUNDS[number] / low, (wanted - before) / count))
        before += count
    return None
