"""Django system checks; importing this package registers them (``AppConfig.ready`` does). They change nothing.

``manage.py check`` runs them, with ``--database`` those that need a connection, with ``--deploy`` those for
production. ``ids`` lists the problems.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import broker, databases, tasks, values
from .ids import PROBLEMS

__all__ = ["PROBLEMS", "broker", "databases", "reference", "tasks", "values"]


def reference() -> Iterator[str]:
    """Yield the lines of ``docs/reference/checks.md``."""
    yield "# System checks"
    yield "\n<!-- Made by `python -m taskq.checks`: change taskq/checks/ids.py instead. -->"
    yield "\n`manage.py check` finds these. To silence one that you have considered, name its id in Django's"
    yield "`SILENCED_SYSTEM_CHECKS`."
    for level, title in (("E", "Errors"), ("W", "Warnings")):
        yield f"\n## {title}\n"
        for problem in PROBLEMS:
            if problem.number.startswith(level):
                yield problem.reference()
