"""What a revoke means: the tasks, in batches of their ids, and the signal. Callers and commands use it alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from taskq.ids import MAX_NAME
from taskq.messages.protocol.options import is_storable
from taskq.store.matching import matching
from taskq.worker.process.system import signal_number

from . import stamps

Batches = Iterator[list[str]]
#: The most seconds that a task may take after it was asked to end.
MOST_GRACE = 3600.0
#: The most ids of one command, more than there is space for if they are UUIDs; and those that one turn writes.
MOST_IDS, BATCH = 30_000, 500


def signal_text(terminate: bool, signal: str | int | None, grace: float | None = None) -> str:
    """Return what ends running tasks, empty if they go on: ``SIGTERM``, or ``SIGTERM+5`` after 5 seconds of grace.

    ``signal`` may be such a text too. Raises ``ValueError`` for a signal or a time that does not exist.
    """
    if not terminate:
        return ""
    name, _, given = str(signal or "SIGTERM").partition("+")
    seconds = float(given or 0) if grace is None else float(grace)
    if not 0 <= seconds <= MOST_GRACE:
        raise ValueError(f"grace has to be at most {MOST_GRACE:g} seconds, not {seconds:g}")
    full = signal_number(name).name
    return f"{full}+{seconds:.4g}" if seconds else full


def named(what: str, value: Any) -> str:
    """Return a name, an id or a pattern that fits into a column. Raises ``TypeError`` or ``ValueError``."""
    if not isinstance(value, str):
        raise TypeError(f"{what} has to be a text, not {value!r:.100}")
    if not is_storable(value):
        raise ValueError(
            f"{what} has to have 1 to {MAX_NAME} characters that can be written as UTF-8, and no NUL, "
            f"not {len(value)}: {value[:100]!a}"
        )
    return value


def task_ids(value: Any) -> list[str]:
    """Return the ids of a command, in order. Raises ``TypeError`` or ``ValueError``."""
    if not isinstance(value, Iterable) or isinstance(value, bytes | Mapping):
        raise TypeError(f"task_id has to be an id or a list of ids, not {value!r:.100}")
    return sorted({named("task_id", each) for each in ([value] if isinstance(value, str) else value)})


def by_ids(ids: list[str]) -> Batches:
    """Return the ids of a command in batches. Raises ``ValueError`` if they are more than one command revokes."""
    if len(ids) > MOST_IDS:
        raise ValueError(f"one command revokes at most {MOST_IDS} tasks, not {len(ids)}")
    return (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))


def by_stamps(wanted: stamps.Stamps, alias: str) -> Batches:
    """Find the tasks whose messages carry one of the stamps."""
    return matching(alias, texts=stamps.written(wanted), matches=partial(stamps.match_text, wanted=wanted))


def by_name(pattern: str, alias: str) -> Batches:
    """Find the tasks whose messages are there, and whose names match ``pattern``: ``*``, ``?`` and ``[...]``."""
    return matching(alias, name=pattern)
