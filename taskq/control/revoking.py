"""What a revoke means: the tasks, in batches of their ids, and the signal. Callers and commands use it alike."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from signal import Signals

from taskq.store.matching import matching
from taskq.worker.process.system import signal_number

from . import stamps

Batches = Iterator[list[str]]


def signal_name(terminate: bool, signal: str | int | None) -> str:
    """Return the full name of the signal that ends running tasks, empty if they go on. Raises ``ValueError``."""
    return Signals(signal_number(str(signal or "SIGTERM"))).name if terminate else ""


def by_stamps(wanted: stamps.Stamps, alias: str) -> Batches:
    """Find the tasks whose messages carry one of the stamps."""
    return matching(alias, texts=list(wanted), matches=partial(stamps.match_text, wanted=wanted))


def by_name(pattern: str, alias: str) -> Batches:
    """Find the tasks whose messages are there, and whose names match ``pattern``: ``*``, ``?`` and ``[...]``."""
    return matching(alias, name=pattern)
