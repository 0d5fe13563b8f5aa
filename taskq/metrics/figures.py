"""Counters and histograms of one process. Their owner sees to it that one thread at a time uses them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from .exposition import Family

#: Upper bounds in seconds: of what takes milliseconds, and of what takes up to hours.
SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
LONG = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)


@dataclass(slots=True)
class Histogram:
    """How many observed values lie below each bound. ``bounds`` are in ascending order."""

    bounds: Sequence[float]
    total: float = 0.0
    _counts: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self._counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count a value; one below 0 counts as 0: clocks differ."""
        value = max(0.0, value)
        self._counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add_to(self, family: Family, **labels: str) -> None:
        """Add the samples of this histogram to its family: each bucket has all that lies below its bound."""
        below = 0
        for bound, count in zip(self.bounds, self._counts, strict=False):
            below += count
            family.add(below, "_bucket", **labels, le=f"{bound:g}")
        below += self._counts[-1]
        family.add(below, "_bucket", **labels, le="+Inf")
        family.add(self.total, "_sum", **labels)
        family.add(below, "_count", **labels)


@dataclass(slots=True)
class ByName:
    """A histogram for each label of a task."""

    bounds: Sequence[float]
    _histograms: dict[str, Histogram] = field(default_factory=dict)

    def observe(self, name: str, value: float) -> None:
        """Count a value of the task with this label."""
        if (histogram := self._histograms.get(name)) is None:
            histogram = self._histograms[name] = Histogram(self.bounds)
        histogram.observe(value)

    def family(self, name: str, about: str) -> Family:
        """Return all histograms as one family."""
        family = Family(name, "histogram", about)
        for label, histogram in self._histograms.items():
            histogram.add_to(family, name=label)
        return family
