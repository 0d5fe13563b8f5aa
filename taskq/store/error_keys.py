"""Bounds the number of new errors: if all messages of a task's exceptions differ, most are counted as one error.

Each error has a row ``Error`` and rows ``ErrorCount``. In an hour, a process makes at most ``MOST`` new errors of one
task, and besides these the first one of each class of exception, for ``MOST`` classes. Failures beyond that get the key
``overflow_fingerprint(name)``, "other messages". An error that has a row keeps its own key.

Called by ``failures``. The errors of this hour are in the memory of the process. A statement looks for rows only when
there are too many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from taskq.engines import Engine
from taskq.messages.fingerprints import overflow_fingerprint
from taskq.models import Error, Failure

#: New errors of one task in an hour, and the tasks of which a process remembers them.
MOST, MOST_TASKS = 100, 1000
_HOUR = 3600


@dataclass(slots=True)
class _Met:
    """The errors of one task in this hour: their keys, and the classes of their exceptions."""

    keys: set[str] = field(default_factory=set)
    classes: set[str] = field(default_factory=set)

    def has_room(self, failure: Failure) -> bool:
        """Tell whether a failure keeps its key. If it does, all later failures with that key do."""
        if failure.error in self.keys:
            return True
        is_first = failure.exception not in self.classes and len(self.classes) < MOST
        if len(self.keys) >= MOST and not is_first:
            return False
        self.keys.add(failure.error)
        if is_first:
            self.classes.add(failure.exception)
        return True


@dataclass(slots=True)
class _Hour:
    """The errors of one hour, by the alias of the database and the name of the task."""

    number: int = 0
    met: dict[tuple[str, str], _Met] = field(default_factory=dict)

    def of(self, alias: str, name: str) -> _Met:
        if (alias, name) not in self.met and len(self.met) >= MOST_TASKS:
            self.met.clear()
        return self.met.setdefault((alias, name), _Met())


_hour = _Hour()


def bound(engine: Engine, rows: Sequence[tuple[Failure, str]], now: float) -> None:
    """Change the keys of failures whose errors are too many. Each failure comes with the name of its task."""
    if _hour.number != int(now) // _HOUR:
        _hour.met.clear()
        _hour.number = int(now) // _HOUR
    left = [(failure, name) for failure, name in rows if not _hour.of(engine.alias, name).has_room(failure)]
    keys = sorted({failure.error for failure, _ in left})
    known: set[str] = set()
    for start in range(0, len(keys), engine.chunk):
        errors = Error.objects.using(engine.alias).filter(key__in=keys[start : start + engine.chunk])
        known.update(errors.values_list("key", flat=True))
    for failure, name in left:
        if failure.error not in known:
            failure.error = overflow_fingerprint(name)


def forget() -> None:
    """Forget the errors of this hour, for tests."""
    _hour.met.clear()
