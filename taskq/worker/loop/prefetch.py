"""How many messages are fetched and handed over, by the run times of recent tasks. Pure arithmetic for the consumer.

While tasks are short, a child gets several at a time and the worker keeps some 50 ms of work in hand. While they are
long, each child gets one and the worker holds no more, so that no task waits behind a long one.
"""

from __future__ import annotations

#: Seconds of work that all children together have in hand.
IN_HAND = 0.05
#: Seconds of work that one child is handed at a time.
PER_CHILD = 0.02
#: A task that takes longer is long: it is handed over alone.
LONG = 0.025
#: A task that has run for so long is long, and not a short one that the system has delayed.
STUCK = 0.1
#: Seconds that handing over and settling take for a task, at least.
_OVERHEAD = 0.00015
_MOST_PER_CHILD = 64
_MOST_IN_HAND = 500
_WEIGHT = 0.2


class PrefetchPolicy:
    """Knows the mean run times, and decides by them.

    ``multiplier`` fixes how many messages are fetched for each child (0: no limit); ``fair`` always hands over one.
    """

    def __init__(self, multiplier: int | None = None, *, fair: bool = False) -> None:
        self._multiplier = multiplier
        self._fair = fair
        self._by_name: dict[str, float] = {}
        self._overall: float | None = None

    def observe(self, name: str, runtime: float) -> None:
        """Take note that a task of this name took ``runtime`` seconds."""
        seconds = runtime + _OVERHEAD
        self._by_name[name] = self._mean(self._by_name.get(name), seconds)
        self._overall = self._mean(self._overall, seconds)

    @staticmethod
    def _mean(before: float | None, seconds: float) -> float:
        # A long run raises the mean at once, short runs lower it step by step.
        if before is None:
            return seconds
        return max(before + _WEIGHT * (seconds - before), min(seconds, LONG) * 0.5)

    def observe_running(self, name: str, elapsed: float) -> None:
        """Take note that a task of this name has run for ``elapsed`` seconds, and has not ended."""
        if elapsed <= self._by_name.get(name, 0.0):
            return
        self._by_name[name] = elapsed
        self._overall = max(self._overall or 0.0, elapsed)

    def cost(self, name: str) -> float:
        """Return the expected seconds of a task of this name; a task without a run counts as long."""
        return self._by_name.get(name, LONG)

    @property
    def mean(self) -> float:
        """The expected seconds of any task."""
        return LONG if self._overall is None else self._overall

    def fits(self, handed: int, seconds: float, cost: float) -> bool:
        """Tell whether a task may be handed over after ``handed`` others, which are expected to take ``seconds``.

        ``cost`` is the expected seconds of this one.
        """
        if handed == 0:
            return True
        if self._fair or handed >= _MOST_PER_CHILD:
            return False
        return seconds + cost <= PER_CHILD

    def target(self, concurrency: int) -> int:
        """Return how many unfinished messages the worker should hold."""
        if self._multiplier is not None:
            return concurrency * self._multiplier if self._multiplier else 10_000
        if self._fair or self._overall is None or self._overall >= LONG:
            return concurrency
        return max(concurrency, min(_MOST_IN_HAND, int(concurrency * IN_HAND / self._overall)))
